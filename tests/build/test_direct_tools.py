"""What `build -o` writes is read by tools that nobody here wrote, and is what buildah builds."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.buildah

_TYPE_BITS = 0o170000
"""buildah 1.28 puts the type of a file into the mode of its header."""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Words of a build with all kinds of entries."""
    program = tinyelf.write(tmp_path / "program")
    for name in ("b", "a.b", "a/c", "a-b", "ü", "sub/" + "n" * 200, f"{'d' * 120}/{'e' * 90}"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return [
        *("build", f"{program}:/usr/bin/program", "--copy", f"{tmp_path}/tree:/tree"),
        *("--mkdir", "/tmp:mode=1777", "--symlink", "program:/usr/bin/link", "--env", "B=<1>&2"),
        *("--copy", f"{program}:/raw:mode=4755,uid=1000,gid=7", "--label", "b=2", "--label", "a=1"),
        *("--copy", f"{program}:/capable:cap=cap_net_raw+ep", "--symlink", f"{'t' * 150}:/long"),
        *("--port", "80", "--volume", "/data", "--annotation", "k=v", "--cmd", '["x y"]'),
    ]


def headers(layer: Path, mask: int) -> list[dict[str, Any]]:
    """All that the headers of a layer say, and the sum of each content."""
    found: list[dict[str, Any]] = []
    with tarfile.open(layer) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            info: dict[str, Any] = dict(member.get_info())
            info["mode"] &= ~mask
            del info["chksum"]
            found.append({**info, "sum": hashlib.sha256(file.read()).hexdigest() if file else None})
    return found


def blobs(place: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """Manifest, config and layer of the only image of a layout."""

    def blob(descriptor: dict[str, Any]) -> Path:
        return place / "blobs/sha256" / str(descriptor["digest"]).removeprefix("sha256:")

    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    manifest: dict[str, Any] = json.loads(blob(entry).read_text())
    return manifest, json.loads(blob(manifest["config"]).read_text()), blob(manifest["layers"][0])


def test_the_files_and_the_config_are_those_of_the_backend_buildah(
    shared_home: Home, tmp_path: Path, words: list[str]
) -> None:
    by_buildah = shared_home.json(*words, "-t", "twin", "--no-check")
    ours = shared_home.json(*words, "-o", f"oci:{tmp_path}/ours", "--no-check")
    copy = ["skopeo", "copy", "-q", "--dest-oci-accept-uncompressed-layers"]
    shared_home.run(["buildah", "unshare", *copy, "containers-storage:localhost/twin", f"oci:{tmp_path}/theirs"])
    our_manifest, our_config, our_layer = blobs(tmp_path / "ours")
    their_manifest, their_config, their_layer = blobs(tmp_path / "theirs")
    old = by_buildah["image_id"] != ours["image_id"]
    mask = _TYPE_BITS if old else 0
    assert headers(our_layer, mask) == headers(their_layer, mask)
    # Apart from that the layers are the same, byte for byte: the mode and the sum of a header differ.
    pairs = enumerate(zip(our_layer.read_bytes(), their_layer.read_bytes(), strict=True))
    different = {at % 512 for at, (ours_there, theirs_there) in pairs if ours_there != theirs_there}
    assert different <= ({*range(100, 108), *range(148, 156)} if old else set())
    for config in (our_config, their_config):
        del config["rootfs"]
    assert our_config == their_config
    assert our_manifest["annotations"] == their_manifest["annotations"]
    assert our_manifest["layers"][0]["mediaType"] == their_manifest["layers"][0]["mediaType"]
    if old:
        version = shared_home.run(["buildah", "--version"]).stdout.decode().split()[2]
        assert tuple(int(part) for part in version.split(".")[:2]) < (1, 39)


@pytest.mark.parametrize("how", ["none", "gzip"])
def test_skopeo_buildah_and_umoci_read_every_output(
    shared_home: Home, tmp_path: Path, words: list[str], how: str
) -> None:
    outputs = {
        "oci": f"oci:{tmp_path}/layout:latest",
        "oci-archive": f"oci-archive:{tmp_path}/oci.tar:latest",
        "docker-archive": f"docker-archive:{tmp_path}/docker.tar:localhost/hello:1",
    }
    asked = [word for output in outputs.values() for word in ("-o", output)]
    built = shared_home.json(*words, *asked, "--no-check", "--compress", how)
    for kind, output in outputs.items():
        raw = shared_home.run(["skopeo", "inspect", "--raw", output]).stdout
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert (digest == built["digest"]) == (kind != "docker-archive")
        config = shared_home.run(["skopeo", "inspect", "--config", "--raw", output]).stdout
        assert hashlib.sha256(config).hexdigest() == built["image_id"], kind
        pulled = shared_home.run(["buildah", "pull", "-q", output]).stdout.decode().strip()
        assert pulled == built["image_id"], kind
    bundle = tmp_path / "bundle"
    shared_home.run(["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/layout:latest", str(bundle)])
    assert (bundle / "rootfs/tree/a/c").read_text() == "a/c"
    assert (bundle / "rootfs/usr/bin/link").readlink().as_posix() == "program"


@pytest.mark.podman
def test_podman_loads_both_archives_and_the_program_runs(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    built = shared_home.json(
        *("build", str(program), "-o", f"oci-archive:{tmp_path}/oci.tar:loaded"),
        *("-o", f"docker-archive:{tmp_path}/docker.tar:loaded-too:1"),
    )
    for archive, name in (("oci", "loaded"), ("docker", "loaded-too:1")):
        shared_home.run(["podman", "load", "-i", f"{tmp_path}/{archive}.tar"])
        found = shared_home.run(["podman", "image", "inspect", "--format", "{{.Id}}", name])
        assert found.stdout.decode().strip() == built["image_id"]
        ran = shared_home.cli("run", name)
        assert (ran.returncode, ran.stdout) == (0, b"Hello World\n")


def test_direct_with_a_name_lies_in_local_storage_and_leaves_nothing_behind(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "program")
    names = ("-t", "one:1", "-t", "two")
    built = fresh_home.json("build", str(program), *names, "-o", f"oci:{tmp_path}/layout")
    assert (built["backend"], len(built["outputs"])) == ("direct", 1)
    alone = fresh_home.json("build", str(program), "-t", "three", "--backend", "direct")
    assert alone["image_id"] == built["image_id"]
    listed = fresh_home.run(["buildah", "images", "--all", "--no-trunc", "--format", "{{.Name}}:{{.Tag}} {{.ID}}"])
    assert sorted(listed.stdout.decode().split()[::2]) == [
        "localhost/one:1",
        "localhost/three:latest",
        "localhost/two:latest",
    ]
    assert fresh_home.temporary_files() == []


def test_where_user_namespaces_are_off_a_name_alone_fails_with_the_line_that_works(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "program")
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && "
        'exec setpriv --inh-caps=-all --bounding-set=-all "$0" -m rootless_scratch "$@"'
    )
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, "build", str(program)]
    alone = fresh_home.run([*inside, "-t", "hello"], check=False)
    assert alone.returncode == 1
    assert b"-o oci-archive:hello.tar" in alone.stderr
    written = fresh_home.run([*inside, "-o", f"oci:{tmp_path}/layout"])
    outside = fresh_home.json("build", str(program), "-o", f"oci:{tmp_path}/other")
    assert written.stdout.decode().strip() == outside["image_id"]
    fresh_home.json("build", str(program), "-t", "stored")
    save = [*inside[:-2], "save", "stored", "-o", f"{tmp_path}/stored.tar"]
    refused = fresh_home.run(save, check=False)
    assert refused.returncode == 1
    assert b"user namespace" in refused.stderr
