"""Hard links of the host are hard links in the image: in layers, in storage, in the context of a Containerfile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import planned, put

from rootless_scratch.errors import SourceError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.image.syntax import parse_copy
from rootless_scratch.image.write.containerfile import write_context
from rootless_scratch.image.write.layer import write_layer

if TYPE_CHECKING:
    from conftest import Home

    from rootless_scratch.image.rootfs import Entry

SIZE = 2 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program under three names, one of which no ustar header holds, and one that is not UTF-8."""
    place = tmp_path / "tree"
    put(place, "b/tool", tinyelf.hello() + os.urandom(SIZE))
    for name in (b"a/first", b"c/" + b"n" * 120 + b"/tool", b"c/\xff"):
        path = os.path.join(os.fsencode(place), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(place / "b/tool", path)
    return place


def links(entries: dict[str, Entry]) -> dict[str, str | None]:
    return {path: entry.linked for path, entry in entries.items() if isinstance(entry, File)}


def plan_of(*copies: str, program: str = "") -> Plan:
    programs = (Copy(source=program, destination="/app"),) if program else ()
    return plan(Spec(programs=programs, copies=tuple(map(parse_copy, copies)), names=("x",)), environ={})


def layer(planned_image: Plan) -> tarfile.TarFile:
    with open(os.memfd_create("layer"), "w+b") as file:
        write_layer(planned_image.rootfs, file.fileno(), mtime=0, size=planned_image.rootfs.size)
        file.seek(0)
        return tarfile.open(fileobj=io.BytesIO(file.read()), errors="surrogateescape")


def test_the_first_path_is_the_file_and_the_others_are_links_to_it(tree: Path) -> None:
    image = plan_of(f"{tree}:/t")
    paths = [entry.path for entry in image.rootfs.files]
    assert [entry.linked for entry in image.rootfs.files] == [None, *(["/t/a/first"] * 3)]
    assert image.rootfs.size == (tree / "b/tool").stat().st_size
    with layer(image) as tar:
        members = [member for member in tar.getmembers() if not member.isdir()]
        assert ["/" + member.name for member in members] == paths
        assert [(member.type, member.linkname, member.size) for member in members[1:]] == (
            [(tarfile.LNKTYPE, "t/a/first", 0)] * 3
        )
        assert members[0].isreg()
        assert {member.mode for member in members} == {0o755}


def test_files_that_were_told_to_differ_are_copies(tree: Path) -> None:
    for other in (f"{tree}/b/tool:/u:mode=0700", f"{tree}/b/tool:/u:gid=9", f"{tree}/b/tool:/u:cap=cap_kill+ep"):
        image = plan_of(f"{tree}:/t", other)
        found = {entry.path: entry.linked for entry in image.rootfs.files}
        assert found["/u"] is None
        assert image.rootfs.size == 2 * (tree / "b/tool").stat().st_size


def test_links_that_stay_outside_the_image_are_no_links(tmp_path: Path) -> None:
    outside = put(tmp_path, "outside")
    (tmp_path / "tree").mkdir()
    os.link(outside, tmp_path / "tree/inside")
    assert links(planned(copies=(Copy(source=f"{tmp_path}/tree", destination="/t"),))) == {"/t/inside": None}


def test_the_order_of_names_on_the_host_and_on_the_command_line_leaves_no_trace(tmp_path: Path) -> None:
    contents = []
    for place, names in ((tmp_path / "one", "abc"), (tmp_path / "two", "cba")):
        put(place, names[0])
        for name in names[1:]:
            os.link(place / names[0], place / name)
        copies = [f"{place}/{name}:/{name}" for name in names]
        with layer(plan_of(*copies)) as tar:
            contents.append([(member.name, member.type, member.linkname) for member in tar.getmembers()])
    assert contents[0] == contents[1]


def test_a_layout_holds_the_bytes_once_and_is_read_back_whole(
    tree: Path, tmp_path: Path, shared_home: Home
) -> None:
    out = f"oci:{tmp_path}/out"
    words = [f"{tree}/b/tool:/app", "--copy", f"{tree}:/t"]
    built = shared_home.json("build", *words, "-o", out, "-o", f"docker-archive:{tmp_path}/archive.tar")
    assert built["files"] == 5
    assert (
        SIZE < sum(path.stat().st_size for path in Path(tmp_path, "out").rglob("*") if path.is_file()) < 1.2 * SIZE
    )
    for word in (out, f"docker-archive:{tmp_path}/archive.tar"):
        files = {file["path"]: file for file in shared_home.json("inspect", word)["files"]}
        assert len({(file["sha256"], file["size"]) for file in files.values() if file["type"] == "file"}) == 1
        assert shared_home.json("check", word)["verdict"] == "starts"
    assert shared_home.json("verify", out, *words)["verdict"] == "identical"
    dry = shared_home.json("build", *words, "-t", "x", "--dry-run")
    entries = {entry["path"]: entry for entry in dry["plan"]["entries"]}
    assert (entries["/app"]["linked"], entries["/t/b/tool"]["linked"]) == (None, "/app")


def mounted(home: Home, name: str, script: str) -> bytes:
    """What a script of Python says within the files of an image."""
    mount = 'c=$(buildah from "$1"); cd "$(buildah mount $c)" && python3 -c "$2"; buildah rm $c >&2'
    return home.run(["buildah", "unshare", "sh", "-c", mount, "-", name, script]).stdout


@pytest.mark.buildah
def test_buildah_has_the_same_links_in_storage_and_in_its_layer(
    tree: Path, tmp_path: Path, shared_home: Home
) -> None:
    words = [f"{tree}/b/tool:/app", "--copy", f"{tree}:/t", "--copy", f"{tree}/b/tool:/own:uid=5"]
    shared_home.json("build", *words, "-t", "links")
    verdict = shared_home.json("verify", "links", *words)
    assert verdict["verdict"] in {"equal", "identical"}
    script = "import os; print(*(os.stat(p).st_nlink for p in ('app', 't/a/first', 't/b/tool', 'own')))"
    assert mounted(shared_home, "links", script).split() == [b"5", b"5", b"5", b"1"]
    shared_home.json("save", "links", "-o", f"oci:{tmp_path}/buildah")
    shared_home.json("build", *words, "-o", f"oci:{tmp_path}/direct")
    assert said(tmp_path / "buildah") == said(tmp_path / "direct")


def said(layout: Path) -> list[tuple[object, ...]]:
    """The members of a layout's one layer, but for what buildah before 1.39 writes otherwise."""
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    with tarfile.open(layout / "blobs/sha256" / manifest["layers"][0]["digest"][7:]) as tar:
        return [(each.name, each.type, each.linkname, each.size, each.mode & 0o7777, each.uid) for each in tar]


@pytest.mark.buildah
def test_links_beside_capabilities_are_links_for_buildah_too(tmp_path: Path, shared_home: Home) -> None:
    tool = put(tmp_path, "tool", tinyelf.hello())
    words = ["--copy", f"{tool}:/a:cap=cap_kill+ep", "--copy", f"{tool}:/b:cap=cap_kill+ep"]
    shared_home.json("build", tool, *words, "-t", "links")
    shared_home.json("save", "links", "-o", f"oci:{tmp_path}/buildah")
    shared_home.json("build", tool, *words, "-o", f"oci:{tmp_path}/direct")
    assert said(tmp_path / "buildah") == said(tmp_path / "direct")
    assert shared_home.json("verify", "links", tool, *words)["verdict"] in {"equal", "identical"}


def test_the_context_of_a_containerfile_has_the_links_too(tree: Path, tmp_path: Path) -> None:
    image = plan_of(f"{tree}:/t", f"{tree}:/own:uid=5", program=f"{tree}/b/tool")
    with HostFiles() as files:
        write_context(image, f"{tmp_path}/context", files)
    root = tmp_path / "context/rootfs"
    assert os.stat(root / "app").st_nlink == 4
    with tarfile.open(tmp_path / "context/rootfs.tar", errors="surrogateescape") as tar:
        found = {member.name: (member.type, member.linkname) for member in tar if not member.isdir()}
    assert found.pop("./own/a/first") == (tarfile.REGTYPE, "")
    # What is not UTF-8 goes into the archive alone, and is a file there.
    assert found.pop("./t/c/\udcff") == (tarfile.REGTYPE, "")
    assert set(found.values()) == {(tarfile.LNKTYPE, "./own/a/first")}


@pytest.mark.buildah
def test_gnu_tar_unpacks_the_links(tree: Path, tmp_path: Path, shared_home: Home) -> None:
    shared_home.json("build", f"{tree}/b/tool:/app", "--copy", f"{tree}:/t", "-o", f"oci:{tmp_path}/out")
    index = json.loads((tmp_path / "out/index.json").read_bytes())
    manifest = json.loads((tmp_path / "out/blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    blob = tmp_path / "out/blobs/sha256" / manifest["layers"][0]["digest"][7:]
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", blob, "-C", tmp_path / "unpacked"], check=True)
    assert (tmp_path / "unpacked/app").stat().st_nlink == 5


def test_a_file_of_several_names_that_changes_is_noticed(tree: Path) -> None:
    image = plan_of(f"{tree}:/t")
    with open(tree / "b/tool", "ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match="changed"):
        layer(image)
