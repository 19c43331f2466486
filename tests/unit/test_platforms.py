"""One program built for several platforms: an image for each, in an index that names them."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import ImageNotFoundError, RefusedError, UsageError
from rootless_scratch.image.read.faults import validate
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.references import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

GOLDEN = "sha256:4cfc30cde56f45036e82f8f5dfc535d6bd0fb76b09d867643626bfefb0407622"
"""An index of four images: a change here is a change of every user's digests."""

INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """Words of one program for several processors, all to be /hello."""
    written = tinyelf.for_machines(tmp_path, "x86_64", "aarch64", "riscv64", "s390x")
    return {machine: str(path) for machine, path in written.items()}


def level(number: int) -> bytes:
    """The note of a linker that was told -z x86-64-v2 and the like."""
    content = struct.pack("<IIII", 0xC0008002, 4, 1 << (number - 1), 0)
    return tinyelf.elf(notes=[tinyelf.note("GNU", 5, content)])


def put(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


def blob(place: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    return found


def index_of(place: Path) -> dict[str, Any]:
    """The index that a layout holds alone."""
    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    assert entry["mediaType"] == INDEX
    return blob(place, entry["digest"])


def named(image: rs.Image) -> list[str]:
    return [each.platform for each in image.images]


def faults(word: str) -> tuple[str, ...]:
    with ImageReader(parse_reference(word)) as source:
        return validate(source)


def test_programs_of_two_processors_in_one_place_make_an_index_with_an_image_for_each(
    tmp_path: Path, shared_home: Home, programs: dict[str, str]
) -> None:
    (tmp_path / "conf").write_text("x")
    also = ["--copy", f"{tmp_path}/conf:/etc/conf", "--with", "tmp", "--env", "A=1"]
    words = [programs["x86_64"], programs["aarch64"], *also]
    built = shared_home.json("build", *words, "-o", f"oci:{tmp_path}/out:1", "-o", f"oci-archive:{tmp_path}/a.tar")
    index = index_of(tmp_path / "out")
    assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
    assert [each["platform"] for each in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert [each["platform"] for each in built["images"]] == ["linux/amd64", "linux/arm64/v8"]
    assert {output["digest"] for output in built["outputs"]} == {built["digest"]}
    for found, image in zip(index["manifests"], built["images"], strict=True):
        assert found["digest"] == image["digest"]
        manifest = blob(tmp_path / "out", found["digest"])
        assert manifest["config"]["digest"] == f"sha256:{image['image_id']}"
        config = blob(tmp_path / "out", manifest["config"]["digest"])
        assert config["config"]["Entrypoint"] == ["/hello"]
        assert config["config"]["Env"] == ["A=1"]
        shown = shared_home.json("inspect", f"oci:{tmp_path}/out", "--platform", image["platform"])
        assert shown["image_id"] == image["image_id"]
        assert {"/hello", "/etc/conf", "/tmp"} <= {file["path"] for file in shown["files"]}
    assert faults(f"oci:{tmp_path}/out") == faults(f"oci-archive:{tmp_path}/a.tar") == ()


def test_each_image_of_an_index_is_the_one_that_its_program_alone_makes(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    image = rs.build(*programs.values(), output=f"oci:{tmp_path}/all", env={"A": "1"})
    assert named(image) == ["linux/amd64", "linux/arm64/v8", "linux/riscv64", "linux/s390x"]
    alone = [rs.build(path, output=f"oci:{tmp_path}/one", env={"A": "1"}) for path in programs.values()]
    assert {each.image_id for each in image.images} == {each.image_id for each in alone}
    assert {each.digest for each in image.images} == {each.digest for each in alone}
    assert {each.images for each in alone} == {()}


def test_the_order_of_the_words_changes_no_digest(tmp_path: Path, programs: dict[str, str]) -> None:
    paths = sorted(programs.values())
    first = rs.build(*paths, output=f"oci:{tmp_path}/a", labels={"a": "1", "b": "2"}, created=0)
    second = rs.build(*reversed(paths), output=f"oci:{tmp_path}/b", labels={"b": "2", "a": "1"}, created=0)
    assert first.digest == second.digest
    named_all = {"linux/s390x": programs["s390x"], "linux/amd64": programs["x86_64"]}
    rest = [programs["riscv64"], programs["aarch64"]]
    third = rs.build(
        *rest, output=f"oci:{tmp_path}/c", labels={"a": "1", "b": "2"}, created=0, platforms=named_all
    )
    assert third.digest == first.digest == GOLDEN


def test_a_place_that_is_said_once_holds_for_the_program_of_every_platform(tmp_path: Path) -> None:
    amd64 = put(tmp_path / "hello-amd64", tinyelf.elf())
    arm64 = put(tmp_path / "hello-arm64", tinyelf.elf(machine="aarch64"))
    plain = rs.build(amd64, f"{arm64}:/hello", output=f"oci:{tmp_path}/a")
    options = rs.build(
        output=f"oci:{tmp_path}/b", platforms={"linux/amd64": f"{amd64}:/hello", "linux/arm64": arm64}
    )
    both = rs.build(f"{amd64}:/hello", platforms={"linux/arm64/v8": arm64}, output=f"oci:{tmp_path}/c")
    assert plain.digest == options.digest == both.digest
    assert named(plain) == ["linux/amd64", "linux/arm64/v8"]
    own = rs.build(amd64, platforms={"linux/arm64": arm64}, output=f"oci:{tmp_path}/d")
    entrypoints = {
        json.loads(read.config)["config"]["Entrypoint"][0]
        for read in (_stored(f"oci:{tmp_path}/d", platform) for platform in named(own))
    }
    assert entrypoints == {"/hello-amd64"}


def _stored(word: str, platform: str) -> Any:  # noqa: ANN401 - a StoredImage
    from rootless_scratch.backends.open_image import read_any
    from rootless_scratch.elf.platforms import parse_platform

    return read_any(word, parse_platform(platform))


def test_programs_of_two_processors_in_two_places_are_still_one_image_that_cannot_be(tmp_path: Path) -> None:
    amd64 = put(tmp_path / "server", tinyelf.elf())
    arm64 = put(tmp_path / "helper", tinyelf.elf(machine="aarch64"))
    refused = refusal(lambda: rs.build(amd64, arm64, output=f"oci:{tmp_path}/out"), RefusedError)
    assert isinstance(refused, RefusedError)
    assert [finding.rule for finding in refused.findings if finding.severity == "error"] == ["mixed-architectures"]
    assert "PROGRAM:/hello" in refused.findings[0].fix
    assert not (tmp_path / "out").exists()


def test_a_program_that_one_platform_lacks_is_named(tmp_path: Path, programs: dict[str, str]) -> None:
    tool = put(tmp_path / "tool", tinyelf.elf())
    error = refusal(lambda: rs.build(programs["x86_64"], programs["aarch64"], tool, output=f"oci:{tmp_path}/out"))
    assert "none of the programs for linux/arm64/v8 is /tool" in error.message
    other = put(tmp_path / "arm/tool", tinyelf.elf(machine="aarch64"))
    image = rs.build(tool, programs["aarch64"], other, programs["x86_64"], output=f"oci:{tmp_path}/out")
    configs = [json.loads(_stored(f"oci:{tmp_path}/out", each).config)["config"] for each in named(image)]
    assert [config["Entrypoint"] for config in configs] == [["/tool"], ["/tool"]]


def test_a_script_goes_into_the_image_of_every_platform(tmp_path: Path, programs: dict[str, str]) -> None:
    script = put(tmp_path / "script", b"#!/hello\n")
    image = rs.build(programs["x86_64"], script, programs["aarch64"], output=f"oci:{tmp_path}/out")
    for platform in named(image):
        assert {"/hello", "/script"} == {file.path for file in _stored(f"oci:{tmp_path}/out", platform).files}


def test_variants_come_from_notes_and_from_go(tmp_path: Path) -> None:
    paths = [
        put(tmp_path / "1/hello", tinyelf.elf()),
        put(tmp_path / "2/hello", level(2)),
        put(tmp_path / "3/hello", tinyelf.elf(data=tinyelf.go_build_info(GOARCH="amd64", GOAMD64="v3"))),
        put(tmp_path / "6/hello", tinyelf.elf(machine="arm", data=tinyelf.go_build_info(GOARM="6"))),
        put(tmp_path / "7/hello", tinyelf.elf(machine="arm", tail=tinyelf.arm_attributes(10))),
    ]
    image = rs.build(*paths, output=f"oci:{tmp_path}/out", check=False)
    assert named(image) == ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/arm/v6", "linux/arm/v7"]
    for path, platform in zip(paths, named(image), strict=True):
        alone = rs.build(path, output=f"oci:{tmp_path}/{platform.replace('/', '-')}", check=False)
        assert _stored(f"oci:{tmp_path}/out", platform).image_id == alone.image_id


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("linux/arm64={amd64}", "is for linux/amd64, and not for linux/arm64"),
        ("linux/amd64={level}", "is for linux/amd64/v3, and not for linux/amd64/v2"),
        ("linux/amd64={text}", "does not say for which platform"),
        ("linux={amd64}", "is not a platform"),
        ("LINUX/amd64={amd64}", "is not a platform"),
        ("{amd64}", "does not name a program"),
    ],
)
def test_a_program_that_is_not_for_its_platform_is_refused(
    shared_home: Home, tmp_path: Path, word: str, said: str
) -> None:
    places = {
        "amd64": put(tmp_path / "amd64", tinyelf.elf()),
        "level": put(tmp_path / "level", level(3)),
        "text": put(tmp_path / "text", b"#!/bin/sh\n"),
    }
    word = word.replace("amd64={level}", "amd64/v2={level}").format(**places)
    done = shared_home.cli("build", "--platform", word, "-o", f"oci:{tmp_path}/out")
    assert done.returncode in {1, 2}
    assert said in done.stderr.decode()
    assert b"fix: " in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_platform_alone_is_an_ordinary_image(tmp_path: Path, programs: dict[str, str]) -> None:
    image = rs.build(platforms={"linux/arm64": programs["aarch64"]}, output=f"oci:{tmp_path}/out")
    assert image.platform == "linux/arm64/v8"
    assert image.images == ()
    assert image.digest == rs.build(programs["aarch64"], output=f"oci:{tmp_path}/other").digest


def test_the_image_of_this_host_stands_for_the_index_where_there_is_one(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    here = rs.build(programs["x86_64"], programs["aarch64"], output=f"oci:{tmp_path}/here")
    machine = {"linux/amd64": "x86_64", "linux/arm64/v8": "aarch64"}[here.platform]
    alone = rs.build(programs[machine], output=f"oci:{tmp_path}/alone")
    assert (here.image_id, here.layers) == (alone.image_id, alone.layers)
    assert rs.check(here).verdict == "starts"
    foreign = rs.build(programs["s390x"], programs["riscv64"], output=f"oci:{tmp_path}/foreign")
    assert (foreign.platform, foreign.image_id) == ("linux/riscv64", foreign.images[0].image_id)


def test_an_archive_for_docker_cannot_hold_an_index(
    shared_home: Home, tmp_path: Path, programs: dict[str, str]
) -> None:
    words = ["build", programs["x86_64"], programs["aarch64"]]
    outputs = ["-o", f"oci:{tmp_path}/out", "-o", f"docker-archive:{tmp_path}/out.tar"]
    done = shared_home.cli(*words, *outputs)
    assert done.returncode == 2
    assert b"cannot hold images for several platforms" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tar").exists()
    by_buildah = shared_home.cli(*words, "-t", "x", "--backend", "buildah")
    assert by_buildah.returncode == 2
    assert b"one platform at a time" in by_buildah.stderr
    recipe = shared_home.cli("containerfile", *words[1:])
    assert recipe.returncode == 2
    assert b"linux/amd64 and linux/arm64/v8" in recipe.stderr


def test_a_dry_run_shows_the_plan_of_every_platform(shared_home: Home, programs: dict[str, str]) -> None:
    shown = shared_home.json("build", programs["aarch64"], programs["x86_64"], "--dry-run")
    assert [plan["platform"] for plan in shown["plans"]] == ["linux/amd64", "linux/arm64/v8"]
    assert "plan" not in shown, "each is printed once"


def warned(home: Home, tmp_path: Path, **imports: str) -> list[str]:
    """The warnings of a build of programs that import these functions, by their machine."""
    words = [
        put(
            tmp_path / machine / "app",
            tinyelf.elf(machine=machine, imports=[name], interpreter="/lib/ld.so.1", needed=["libc.so.6"]),
        )
        for machine, name in imports.items()
    ]
    done = home.cli("build", *words, "-o", f"oci:{tmp_path}/warned", "--no-check")
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.decode().splitlines() if line.startswith("warning:")]


def test_a_warning_that_holds_for_every_platform_is_said_once(shared_home: Home, tmp_path: Path) -> None:
    (warning,) = warned(shared_home, tmp_path, x86_64="mkstemp", aarch64="mkstemp")
    assert warning.endswith("[needs-tmp]")
    assert warning.startswith("warning: /app ")
    judged = json.loads(shared_home.cli("check", f"oci:{tmp_path}/warned", "--json").stdout)
    said = [f"warning: {finding['message']} [needs-tmp]" for finding in judged["findings"]]
    assert said.count(warning) == 1


def test_a_warning_that_holds_for_one_platform_names_it(shared_home: Home, tmp_path: Path) -> None:
    (warning,) = warned(shared_home, tmp_path, x86_64="mkstemp", aarch64="abs")
    assert warning.startswith(f"warning: For linux/amd64: {tmp_path}/x86_64/app ")


def test_libraries_are_bundled_for_each_platform_or_the_build_is_refused(tmp_path: Path) -> None:
    loaders = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
    paths = [
        put(tmp_path / machine / "hello", tinyelf.elf(machine=machine, interpreter=path, needed=["libx.so"]))
        for machine, path in loaders.items()
    ]
    (tmp_path / "root").mkdir()
    refused = refusal(
        lambda: rs.build(*paths, output=f"oci:{tmp_path}/out", bundle_libraries=True, sysroot=tmp_path / "root"),
        RefusedError,
    )
    assert isinstance(refused, RefusedError)
    told = " ".join(finding.message for finding in refused.findings if finding.severity == "error")
    assert all(path in told for path in loaders.values())
    for machine, path in loaders.items():
        put(
            tmp_path / f"root{path}",
            tinyelf.elf(machine=machine, type=tinyelf.DYN, code=b"\0/lib/\0/usr/lib/\0\0"),
        )
    # One file of a name serves one processor: the other's search passes it over.
    put(tmp_path / "root/lib/libx.so", tinyelf.elf(machine="aarch64", type=tinyelf.DYN, soname="libx.so"))
    still = refusal(
        lambda: rs.build(*paths, output=f"oci:{tmp_path}/out", bundle_libraries=True, sysroot=tmp_path / "root"),
        RefusedError,
    )
    assert isinstance(still, RefusedError)
    assert {finding.subject for finding in still.findings if finding.severity == "error"} == {paths[0]}


def test_every_image_of_an_index_is_judged_and_a_fault_says_for_which_platform(
    shared_home: Home, tmp_path: Path, programs: dict[str, str]
) -> None:
    bad = put(
        tmp_path / "bad/hello", tinyelf.elf(machine="aarch64", interpreter="/lib/ld.so", needed=["libc.so.6"])
    )
    words = ["build", programs["x86_64"], bad, "-o", f"oci:{tmp_path}/out"]
    assert shared_home.cli(*words).returncode == 1
    assert not (tmp_path / "out").exists()
    assert shared_home.cli(*words, "--no-check").returncode == 0
    done = shared_home.cli("check", f"oci:{tmp_path}/out", "--json")
    assert done.returncode == 1
    judged = json.loads(done.stdout)
    assert judged["verdict"] == "fails"
    assert all(found["message"].startswith("For linux/arm64/v8: ") for found in judged["findings"])
    fine = shared_home.json("check", f"oci:{tmp_path}/out", "--platform", "linux/amd64")
    assert (fine["verdict"], fine["findings"]) == ("starts", [])
    assert rs.check(f"oci:{tmp_path}/out", platform="linux/arm64").verdict == "fails"
    error = refusal(lambda: rs.check(f"oci:{tmp_path}/out", platform="linux/s390x"), ImageNotFoundError)
    assert "there are: linux/amd64, linux/arm64/v8" in error.message
    refusal(lambda: rs.check("hello", platform="linux/s390x"), UsageError)
    refusal(lambda: rs.check(programs["x86_64"], platform="linux/s390x"), UsageError)


def test_two_names_in_one_layout_may_stand_for_one_index(tmp_path: Path, programs: dict[str, str]) -> None:
    words = [f"oci:{tmp_path}/out:{name}" for name in ("a", "b")]
    image = rs.build(programs["x86_64"], programs["aarch64"], output=words)
    for word in words:
        assert _stored(word, "linux/amd64").image_id == image.images[0].image_id
    assert _stored(f"oci:{tmp_path}/out", "linux/amd64").image_id == image.images[0].image_id
    index = tmp_path / "out/blobs/sha256" / image.digest.removeprefix("sha256:")
    index.write_bytes(index.read_bytes() + b" ")
    assert any(image.digest.removeprefix("sha256:") in fault for fault in faults(words[0]))


def test_verify_compares_every_image_of_an_index(tmp_path: Path, programs: dict[str, str]) -> None:
    both = (programs["x86_64"], programs["aarch64"])
    word = f"oci:{tmp_path}/out"
    image = rs.build(*both, output=word, env={"A": "1"})
    found = rs.verify(word, *reversed(both), env={"A": "1"})
    assert (found.verdict, found.differences) == ("identical", ())
    assert found.image_id == found.planned_image_id == image.image_id
    assert rs.verify(word, both[1], env={"A": "1"}).image_id == image.images[1].image_id
    other = rs.verify(word, *both, env={"A": "2"}, platforms={"linux/s390x": programs["s390x"]})
    assert other.verdict == "differs"
    assert [(each.platform, each.key, each.what) for each in other.differences] == [
        ("linux/amd64", "config.Env", "value"),
        ("linux/arm64/v8", "config.Env", "value"),
        ("linux/s390x", "platform", "missing"),
    ]
    rs.build(both[0], output=f"oci:{tmp_path}/one")
    assert "is one image" in refusal(lambda: rs.verify(f"oci:{tmp_path}/one", *both), UsageError).message
    assert "local storage" in refusal(lambda: rs.verify("hello", *both), UsageError).message


def test_a_root_file_system_with_programs_of_two_processors_in_one_place_is_an_index(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    with rs.scratch(output=f"oci:{tmp_path}/a") as root:
        for machine in ("aarch64", "x86_64"):
            root.add(programs[machine], "/usr/bin/hello")
        root.mkdir("/tmp", mode=0o1777)
    words = [f"{programs[machine]}:/usr/bin/hello" for machine in ("x86_64", "aarch64")]
    built = rs.build(*words, mkdir=["/tmp:mode=1777"], output=f"oci:{tmp_path}/b")
    assert named(root.image) == ["linux/amd64", "linux/arm64/v8"]
    assert root.image.digest == built.digest
