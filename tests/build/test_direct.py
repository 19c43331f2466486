"""`build -o`: an image as a layout or an archive, made by nothing but Python, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import UsageError
from rootless_scratch.image.read.faults import validate
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.references import parse_reference, parse_references

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

GOLDEN = "f21a47252c39a27619fbd674e86033256a34025e414354f2dedd57c123c2375b"
"""The image that `tree` makes: a change here is a change of every user's image IDs."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tinyelf.write(tmp_path / "program")


@pytest.fixture
def tree(tmp_path: Path, program: Path) -> list[str]:
    """Words of a build with all kinds of entries."""
    for name in ("b", "a", "ü", "sub/x", "sub/" + "n" * 200):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return [
        *("build", f"{program}:/usr/bin/program", "--copy", f"{tmp_path}/tree:/tree"),
        *("--mkdir", "/tmp:mode=1777", "--symlink", "program:/usr/bin/link", "--env", "B=<1>&2"),
        *("--copy", f"{program}:/raw:cap=cap_net_raw+ep,uid=3000000,gid=7", "--label", "b=2", "--label", "a=1"),
    ]


def document(place: Path, digest: str) -> dict[str, Any]:
    content = (place / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
    found: dict[str, Any] = json.loads(content)
    return found


def faults(word: str) -> tuple[str, ...]:
    with ImageReader(parse_reference(word)) as source:
        return validate(source)


def test_a_layout_holds_the_image_by_the_book(tmp_path: Path, program: Path) -> None:
    place = tmp_path / "layout"
    image = rs.build(program, output=f"oci:{place}:latest", annotations={"k": "v"})
    assert json.loads((place / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    manifest = document(place, entry["digest"])
    assert manifest["annotations"] == {"k": "v"}
    config = document(place, manifest["config"]["digest"])
    assert config["config"] == {"User": "65532:65532", "Entrypoint": ["/program"], "WorkingDir": "/"}
    assert list(config) == ["created", "architecture", "os", "config", "rootfs"]
    assert manifest["config"]["digest"] == f"sha256:{image.image_id}"
    assert config["rootfs"]["diff_ids"] == list(image.diff_ids)
    assert image.digest == entry["digest"] == image.outputs[0].digest
    assert sorted(path.name for path in place.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert faults(f"oci:{place}") == ()


def test_the_image_id_is_golden(tmp_path: Path, tree: list[str], shared_home: Home) -> None:
    built = shared_home.json(
        *tree, "-o", f"oci:{tmp_path}/layout", environment={"SOURCE_DATE_EPOCH": "1700000000"}
    )
    assert built["image_id"] == GOLDEN
    assert built["backend"] == "direct"


@pytest.mark.parametrize(
    "changed",
    [{"TZ": "Asia/Kolkata"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "LANG": "de_DE"}, {"PYTHONHASHSEED": "7"}],
)
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_neither_umask_nor_zone_nor_locale_nor_times_leave_a_trace(
    tmp_path: Path, tree: list[str], shared_home: Home, changed: dict[str, str], umask: int
) -> None:
    for path in (tmp_path / "tree").rglob("*"):
        os.utime(path, (umask, umask))
    environment = shared_home.environment | changed | {"SOURCE_DATE_EPOCH": "1700000000"}
    head, *options = tree
    pairs = [(options[at], options[at + 1]) for at in range(1, len(options), 2)]
    words = [head, options[0], *(word for pair in reversed(pairs) for word in pair)]
    script = f'umask {umask:03o}; exec "$0" -m rootless_scratch "$@"'
    argv = ["sh", "-c", script, sys.executable, *words, "-o", f"oci-archive:{tmp_path}/image.tar"]
    done = subprocess.run(argv, env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() == GOLDEN


def test_every_output_of_one_build_is_the_same_image(tmp_path: Path, tree: list[str], shared_home: Home) -> None:
    words = [f"oci:{tmp_path}/one:a", f"oci:{tmp_path}/one:b", f"oci:{tmp_path}/two"]
    words += [f"oci-archive:{tmp_path}/oci.tar:x", f"docker-archive:{tmp_path}/docker.tar:hello:1"]
    outputs = [word for each in words for word in ("-o", each)]
    built = shared_home.json(*tree, *outputs, "--compress", "gzip")
    assert [output["ref"] for output in built["outputs"]] == words
    shown = [shared_home.json("inspect", word) for word in words]
    for each, word in zip(shown, words, strict=True):
        assert each["image_id"] == built["image_id"], word
        assert each["files"] == shown[0]["files"], word
        assert faults(word) == (), word
    files = {file["path"]: file for file in shown[0]["files"]}
    assert (files["/raw"]["uid"], files["/raw"]["gid"], files["/raw"]["mode"]) == (3000000, 7, "0755")
    assert files["/raw"]["capabilities"].startswith("01000002")
    assert files["/usr/bin/link"]["target"] == "program"
    assert "/tree/sub/" + "n" * 200 in files
    with tarfile.open(tmp_path / "oci.tar") as tar:
        assert tar.getnames()[:2] == ["blobs", "blobs/sha256"]
    with tarfile.open(tmp_path / "docker.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == ["localhost/hello:1"]


def test_an_image_is_added_beside_others_and_replaces_its_own_name(tmp_path: Path, program: Path) -> None:
    word = f"oci:{tmp_path}/layout"
    first = rs.build(program, output=[f"{word}:first", word])
    second = rs.build(program, output=f"{word}:second", env={"A": "1"})
    third = rs.build(program, output=f"{word}:first", env={"A": "2"})
    index = json.loads((tmp_path / "layout/index.json").read_text())
    found = {
        (each.get("annotations") or {}).get("org.opencontainers.image.ref.name"): each
        for each in index["manifests"]
    }
    assert {ref: each["digest"] for ref, each in found.items()} == {
        None: first.digest,
        "first": third.digest,
        "second": second.digest,
    }
    assert rs.check(f"{word}:second").verdict == "starts"


def test_a_root_that_is_scripted_goes_to_an_output_too(tmp_path: Path, program: Path) -> None:
    with rs.scratch(output=f"oci:{tmp_path}/layout", compress="gzip") as root:
        root.add(program)
    assert root.image.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert rs.check(root.image).verdict == "starts"


def test_a_full_disk_leaves_the_outputs_as_they_were(tmp_path: Path, shared_home: Home) -> None:
    program = tinyelf.write(tmp_path / "program")
    os.truncate(program, 30_000_000)
    (tmp_path / "out").mkdir()
    archive = tmp_path / "out/image.tar"
    archive.write_bytes(b"old")
    # A limit of the file's size is met as a full disk is: in the middle of a write.
    script = 'ulimit -f 20000; exec "$0" -m rootless_scratch "$@"'
    words = ["build", str(program), "-o", f"oci-archive:{archive}", "-o", f"oci:{tmp_path}/out/new"]
    done = shared_home.run(["bash", "-c", script, sys.executable, *words], check=False)
    assert done.returncode == 1
    assert b"cannot be written" in done.stderr
    assert archive.read_bytes() == b"old"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["image.tar"]


def test_two_writers_at_once_both_win(tmp_path: Path, program: Path) -> None:
    words = [sys.executable, "-m", "rootless_scratch", "build", str(program), "-q"]
    writers = [
        subprocess.Popen([*words, "-o", f"oci:{tmp_path}/layout:v{number}"], stdout=subprocess.DEVNULL)
        for number in range(8)
    ]
    assert [writer.wait() for writer in writers] == [0] * 8
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 8
    assert faults(f"oci:{tmp_path}/layout") == ()


def test_a_directory_of_something_else_is_refused_and_stays(
    tmp_path: Path, program: Path, shared_home: Home
) -> None:
    place = tmp_path / "home"
    place.mkdir()
    (place / "letter").write_text("x")
    done = shared_home.cli("build", str(program), "-o", f"oci:{place}")
    assert done.returncode == 1
    assert b"not an image layout: it holds 'letter'" in done.stderr
    assert [path.name for path in place.iterdir()] == ["letter"]


def test_what_is_refused_leaves_nothing_and_an_old_archive_stays(tmp_path: Path, program: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"old")
    with pytest.raises(rs.RefusedError):
        rs.build(program, cmd=["program"], output=[f"oci-archive:{archive}", f"oci:{tmp_path}/new"])
    assert archive.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "program"]
    rs.build(program, output=f"oci-archive:{archive}")
    assert faults(f"oci-archive:{archive}") == ()


@pytest.mark.slow
def test_killed_at_any_moment_no_half_image_stays(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    with program.open("ab") as file:
        file.truncate(40_000_000)
    layout, archive = tmp_path / "out/layout", tmp_path / "out/image.tar"
    layout.parent.mkdir()
    argv = [sys.executable, "-m", "rootless_scratch", "build", str(program), "-q"]
    argv += ["-o", f"oci:{layout}", "-o", f"oci-archive:{archive}"]
    for number in range(12):
        killed = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(0.05 + number * 0.04)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        if (layout / "index.json").exists():
            assert faults(f"oci:{layout}") == ()
        if archive.exists():
            assert faults(f"oci-archive:{archive}") == ()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    assert sorted(path.name for path in layout.parent.iterdir()) == ["image.tar", "layout"]
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert len(list((layout / "blobs/sha256").iterdir())) == 3
    assert faults(f"oci:{layout}") == faults(f"oci-archive:{archive}") == ()


def test_without_podman_and_buildah_an_image_is_built_and_checked(
    tmp_path: Path, program: Path, shared_home: Home
) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    environment = {"PATH": str(nothing)}
    word = f"oci:{tmp_path}/layout"
    assert shared_home.cli("build", str(program), "-o", word, environment=environment).returncode == 0
    assert shared_home.json("check", word, environment=environment)["verdict"] == "starts"


def test_check_tells_what_is_wrong_with_an_image_of_a_layout(tmp_path: Path, program: Path) -> None:
    rs.build(program, cmd=["program"], output=f"docker-archive:{tmp_path}/image.tar", check=False)
    judgement = rs.check(f"docker-archive:{tmp_path}/image.tar")
    assert judgement.verdict == "fails"
    assert [finding.rule for finding in judgement] == ["command-not-in-path"]


@pytest.mark.parametrize("damage", ["layer", "config", "missing", "size", "version"])
def test_a_damaged_layout_is_named_fault_by_fault(tmp_path: Path, program: Path, damage: str) -> None:
    place = tmp_path / "layout"
    image = rs.build(program, output=f"oci:{place}")
    blobs = place / "blobs/sha256"
    layer, config = image.layers[0].digest.removeprefix("sha256:"), image.image_id
    said = {"layer": "diff_id", "config": "digest", "missing": "missing", "size": "bytes", "version": "version"}
    if damage == "layer":
        (blobs / layer).write_bytes((blobs / layer).read_bytes().replace(b"program", b"progrxm"))
    elif damage == "config":
        (blobs / config).write_bytes((blobs / config).read_bytes().replace(b"65532", b"65533"))
    elif damage == "missing":
        (blobs / layer).unlink()
    elif damage == "size":
        with (blobs / layer).open("ab") as file:
            file.write(bytes(512))
    else:
        (place / "oci-layout").write_text('{"imageLayoutVersion": "9"}')
    judgement = rs.check(f"oci:{place}")
    assert judgement.verdict == "fails"
    assert {finding.rule for finding in judgement} == {"broken-image"}
    assert any(said[damage] in finding.message for finding in judgement)


def test_whiteouts_hide_what_lower_layers_have(tmp_path: Path, program: Path, shared_home: Home) -> None:
    place = tmp_path / "layout"
    (tmp_path / "d").mkdir()
    (tmp_path / "d/kept").write_text("k")
    (tmp_path / "d/gone").write_text("g")
    rs.build(program, output=f"oci:{place}", copy=[f"{tmp_path}/d:/d", f"{tmp_path}/d:/opaque"])
    upper = tmp_path / "upper.tar"
    with tarfile.open(upper, "w") as tar:
        for name in ("d/.wh.gone", "opaque/.wh..wh..opq", "opaque/new"):
            tar.addfile(tarfile.TarInfo(name))
    append_layer(place, upper.read_bytes())
    assert rs.check(f"oci:{place}").verdict == "starts"
    files = [file["path"] for file in shared_home.json("inspect", f"oci:{place}")["files"]]
    assert files == ["/d", "/d/kept", "/opaque", "/opaque/new", "/program"]


def append_layer(place: Path, content: bytes) -> None:
    """Put one more layer onto the only image of a layout."""

    def store(blob: bytes) -> dict[str, Any]:
        name = hashlib.sha256(blob).hexdigest()
        (place / "blobs/sha256" / name).write_bytes(blob)
        return {"digest": f"sha256:{name}", "size": len(blob)}

    index = json.loads((place / "index.json").read_text())
    manifest = document(place, index["manifests"][0]["digest"])
    config = document(place, manifest["config"]["digest"])
    layer = store(content)
    config["rootfs"]["diff_ids"].append(layer["digest"])
    manifest["layers"].append({"mediaType": manifest["layers"][0]["mediaType"], **layer})
    manifest["config"] |= store(json.dumps(config).encode())
    index["manifests"][0] |= store(json.dumps(manifest).encode())
    (place / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "words", [["oci"], ["oci:"], ["dir:/x"], ["oci:/x:a b"], ["oci:/x:"], ["docker-archive:/x:UP"], ["oci:/x"] * 2]
)
def test_words_that_are_no_output_are_refused(words: list[str]) -> None:
    refusal(lambda: parse_references(words), UsageError)


def test_python_and_the_command_line_need_a_name_or_an_output(program: Path, shared_home: Home) -> None:
    with pytest.raises(UsageError):
        rs.build(program, backend="direct")
    with pytest.raises(UsageError):
        rs.build(program, output="oci:x", backend="rocket")
    assert shared_home.cli("build", str(program)).returncode == 2
