"""The oracle: COPY and ADD bring the same files as `buildah build`: type, mode, owner, content and target."""

from __future__ import annotations

import gzip
import json
import shlex
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from copied import Seen, copied, link, tar, usual
from planning import put

from rootless_scratch.errors import ScratchError
from rootless_scratch.image.capabilities import encode_capabilities

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

COPIES = (
    "COPY a.txt /",
    "COPY a.txt /x/y/new",
    "COPY a.txt bin/app /x/y/",
    "COPY a.txt b.txt /t",
    "COPY d /t",
    "COPY d/ /t/",
    "COPY private /p",
    "COPY pri* /p",
    "COPY suid sg /t/",
    "COPY . /c",
    "COPY la /t",
    "COPY la /t/",
    "COPY ld /t",
    "COPY l?oot /t/",
    "COPY ../a.txt /",
    "COPY ld/../a.txt /",
    "COPY links /t",
    "COPY ld/sub/y /t/",
    "COPY ha /t",
    "COPY a*.txt /t",
    "COPY *.txt /t/",
    "COPY d* /t/",
    "COPY d* /t",
    "COPY [ab].txt /t/",
    "COPY [^a].txt /t/",
    "COPY ?.txt /t/",
    "COPY \\a.txt /t/",
    "COPY */x /t/",
    "COPY **/x /t/",
    "COPY empty *.zip /t/",
    "COPY a.txt *.zip /t",
    "COPY empty /t",
    "COPY a.txt /t\nCOPY b.txt /t",
    "COPY d /t\nCOPY a.txt /t",
    "COPY tree /t\nCOPY tree2 /t",
    "COPY tree /t\nCOPY tree2/k /t/k",
    "COPY d2 /t\nCOPY d /t",
    "COPY d /t\nCOPY d2 /t",
    "WORKDIR /real\nCOPY sl /s\nCOPY a.txt /s/lnk",
    "COPY sl /s\nCOPY a.txt /s/lnk",
    "COPY a.txt /real\nCOPY sl /s\nCOPY b.txt /s/lnk",
    "COPY sl /s\nCOPY a.txt /s/up/",
    "COPY sl /s\nCOPY a.txt /s/dangling",
    "COPY sl /s\nCOPY a.txt /s/lnk/x/y",
    "COPY sl /s\nCOPY d /s/lnk",
    "COPY sl /s\nCOPY sl2 /s",
    "COPY sl2 /s\nCOPY sl /s",
    "COPY sl /s\nCOPY sl3 /s",
    "COPY sl3 /s\nCOPY sl /s",
    "WORKDIR /w\nCOPY a.txt b\nCOPY a.txt .\nCOPY b.txt ./\nCOPY a.txt x/y/",
    "WORKDIR /w\nCOPY a.txt /w",
    "COPY a.txt /w",
    "WORKDIR /a/b\nCOPY a.txt ../c/\nCOPY a.txt ../..",
    "COPY --chown=5:6 d /x/y/t",
    "COPY --chown=5 a.txt /x/y/t",
    "COPY --chown=:6 a.txt /x/t",
    "COPY --chown=4:5 links /x/t",
    "COPY --chown=5:6 a.txt /\nCOPY --chown=7 d /",
    "COPY d /t\nCOPY --chown=3:3 d /t",
    "COPY etc /etc\nCOPY --chown=web a.txt /t\nCOPY --chown=web:staff a.txt /t2\nCOPY --chown=33 a.txt /t3",
    "COPY etc /etc\nCOPY --chown=33:staff a.txt /t4\nCOPY --chown=99 a.txt /t5\nCOPY --chown=:staff a.txt /t6",
    "COPY --chmod=640 d /x/t",
    "COPY --chmod=4750 a.txt /x/t",
    "COPY --chmod=0755 a.txt /x/t",
    "COPY --chmod=7711 sg /x/t",
    "COPY --chmod=600 links /x/t",
)
ADDS = (
    *(f"ADD {name} /o" for name in ("t.tar", "t.bin", "t.tgz", "t.bz", "t.xz", "linked", "plain.gz", "zeros")),
    "ADD plain.gz /o/",
    "ADD t.tar a.txt /o/",
    "ADD t.tar t.tgz /o",
    "ADD --chown=3:4 --chmod=700 t.tar /x/o",
    "COPY a.txt /o/top\nADD t.tar /o/",
    "ADD t.t* /o/",
    "ADD up.tar /o/",
    "ADD absolute.tar /o/",
    "ADD out.tar /o/",
    "ADD twice.tar /o/",
    "ADD dot.tar /o/",
    "ADD dot.tar /",
    "ADD through.tar /o/",
    "ADD bare.tar /o/",
    "ADD --chown=3:3 bare.tar /o/",
    "ADD root.tar /",
    "ADD --chown=3:3 --chmod=600 a.txt /x/y",
    "COPY t.tar /o",
)
FROM_STAGE = (
    "/o /t",
    "o /t",
    "/o/f /t",
    "/o/l /t/",
    "/lo /t/",
    "/lo/f /t/",
    "/o/* /t/",
    "/o/sub /t/q",
    "--chown=1:2 /o /t/q",
    "--chmod=711 /o /t/q",
    "../../o /t",
    "up /t",
    "/ /",
)
IGNORED = (
    ("*.md", None, (". /t",)),
    ("*.md", "*.c", (". /t",)),
    ("*.md", "", (". /t",)),
    ("**/*.md\nk\n!k/sub", None, (". /t", "k /t", "k/sub /t", "k* /t/")),
    ("deep\n!deep/a/b/c/keep", None, (". /t", "deep /t", "deep/a/b/c/keep /t", "--chown=3:4 deep /t")),
    ("*", None, (". /t",)),
    ("*\n!b", None, (". /t",)),
    (".dockerignore\nk/\n/b", None, (". /t",)),
    ("k/a.md", None, ("link /t", "k/*.c /t/", "k /t")),
    ("b/*", None, ("b /t", ". /t")),
)
REFUSED = (
    "COPY labs /t",
    "COPY lout /t",
    "COPY ../outside /",
    "COPY *.zip *.gif /t/",
    "COPY a.txt nope /t/",
    "COPY nope /t/",
    "COPY w/[z].txt /t/",
    "COPY a.txt /t\nCOPY d /t",
    "COPY a.txt /t\nCOPY b.txt /t/",
    "COPY a.txt /t\nCOPY b.txt /t/b",
    "COPY --chown=web a.txt /t",
    "COPY etc /etc\nCOPY --chown=web:nope a.txt /t",
    "COPY --chown=-1 a.txt /t",
    "COPY --chmod=9 a.txt /t",
    "COPY a.txt /o\nADD t.tar /o",
    "ADD cut.tar /o",
    "ADD nolink.tar /o/",
    "COPY l* /t/",
)

PROGRAM = """
import json, sys
from contextlib import ExitStack
from rootless_scratch.containerfile.copying import CopyRequest, copy_into
from rootless_scratch.containerfile.files import StageFiles
from rootless_scratch.containerfile.origins import HostOrigin
files = StageFiles()
with ExitStack() as kept, HostOrigin(sys.argv[1], name="the stage a", is_stage=True) as origin:
    copy_into(files, CopyRequest(sources=("/lo/*",), destination="/t/"), origin, kept)
kinds = {"File": "file", "Directory": "directory", "Symlink": "link"}
found = {e.path: (kinds[type(e).__name__], e.mode, e.uid, e.gid) for e in files.entries()}
file = files.entry("/t/f")
kept, losses = [[file.capabilities, len(file.xattrs)]], []
for compat in ("ours", "buildah", "docker"):
    files = StageFiles()
    with ExitStack() as stack, HostOrigin(sys.argv[1], name="the context") as origin:
        answer = copy_into(files, CopyRequest(sources=("o/f",), destination="/", compat=compat), origin, stack)
    kept.append([files.entry("/f").capabilities, len(files.entry("/f").xattrs)])
    losses += [loss.had for loss in answer.losses if loss.what == "capabilities"]
kept += losses
print(json.dumps([found, kept]))
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("copying")
    put(here, "outside", b"out")
    directory = here / "context"
    for name in ("d/x", "d/sub/y", "d2/x/inner", "ha/one", "sl2/lnk/inside", "sl3/lnk", "w/[z].txt", "w/q.txt"):
        put(directory, name, name.encode())
    for name, content in (("a.txt", b"A"), ("b.txt", b"B"), ("tree/k/f1", b"1"), ("tree2/k/f3", b"3")):
        put(directory, name, content)
    for name in ("bin/app", "suid", "sg/f", "private/z"):
        put(directory, name)
    put(directory, "etc/passwd", b"root:x:0:0:r:/:/x\nweb:x:33:44::/:/x\n")
    put(directory, "etc/group", b"root:x:0:\nstaff:x:50:web\n")
    (directory / "empty").mkdir()
    for name, mode in (("bin/app", 0o755), ("suid", 0o4755), ("sg/f", 0o2755), ("private/z", 0o600)):
        (directory / name).chmod(mode)
    for name, mode in (("sg", 0o3770), ("private", 0o700), ("tree/k", 0o750), ("tree2/k", 0o711)):
        (directory / name).chmod(mode)
    for name, target in (("la", "a.txt"), ("ld", "d"), ("labs", "/etc/shells"), ("lout", "../../outside")):
        link(directory, name, target)
    for name, target in (
        ("l1oot", "/a.txt"),
        ("links/i", "../a.txt"),
        ("links/abs", "/etc/x"),
        ("links/d", "../d"),
    ):
        link(directory, name, target)
    for name, target in (("sl/lnk", "/real"), ("sl/dangling", "gone"), ("sl/up", "../up"), ("linked", "t.tar")):
        link(directory, name, target)
    archives(directory)
    return directory


def archives(directory: Path) -> None:
    for name, mode in (("t.tar", "w"), ("t.bin", "w"), ("t.tgz", "w:gz"), ("t.bz", "w:bz2"), ("t.xz", "w:xz")):
        put(directory, name, usual(mode))
    put(directory, "plain.gz", gzip.compress(b"plain", mtime=0))
    put(directory, "zeros", bytes(10240))
    put(directory, "cut.tar", usual()[:1800])
    put(directory, "up.tar", tar(("../../esc", {"data": b"e"})))
    put(directory, "absolute.tar", tar(("/abs/x", {"data": b"e"})))
    out = {"type": tarfile.SYMTYPE, "linkname": "../.."}
    put(directory, "out.tar", tar(("l", out), ("l/pw", {"data": b"p"})))
    put(directory, "nolink.tar", tar(("h", {"type": tarfile.LNKTYPE, "linkname": "nope"})))
    again = ("y", {"type": tarfile.DIRTYPE, "mode": 0o711})
    put(directory, "twice.tar", tar(("x", {"data": b"1"}), ("x", {"data": b"2"}), ("y", {"data": b"y"}), again))
    dot = ("./", {"type": tarfile.DIRTYPE, "mode": 0o711, "uid": 5, "gid": 5})
    put(directory, "dot.tar", tar(dot, ("./x", {"data": b"1", "mode": 0o600})))
    real = ("real", {"type": tarfile.DIRTYPE, "mode": 0o755})
    within = ("l", {"type": tarfile.SYMTYPE, "linkname": "real"})
    put(directory, "through.tar", tar(real, within, ("l/in", {"data": b"p"})))
    put(directory, "bare.tar", tar(("a/b/c", {"data": b"p", "uid": 4, "gid": 4})))
    value = encode_capabilities("cap_net_raw+ep").decode("utf-8", "surrogateescape")
    attributes = {"SCHILY.xattr.security.capability": value, "SCHILY.xattr.user.a": "b"}
    put(
        directory,
        "root.tar",
        tar(
            ("o", {"type": tarfile.DIRTYPE, "mode": 0o2750, "uid": 7, "gid": 8}),
            ("o/f", {"data": b"tf", "mode": 0o4755, "uid": 9, "gid": 10, "pax_headers": attributes}),
            ("o/l", {"type": tarfile.SYMTYPE, "linkname": "/o/f", "uid": 3, "gid": 3}),
            ("lo", {"type": tarfile.SYMTYPE, "linkname": "/o", "uid": 3, "gid": 3}),
            ("o/sub", {"type": tarfile.DIRTYPE, "mode": 0o700, "uid": 5, "gid": 5}),
            ("o/sub/x", {"data": b"x", "mode": 0o600, "uid": 6, "gid": 6}),
            ("up", {"type": tarfile.SYMTYPE, "linkname": "../../../o"}),
        ),
    )


def buildah(home: Home, text: str, context: Path, at: Path) -> Seen:
    """What buildah makes of a Containerfile, from the layers of the image."""
    at.mkdir()
    begin = "" if text.startswith("FROM ") else "FROM scratch\n"
    (at / "Containerfile").write_text(f"{begin}{text}\n")
    build = ["buildah", "build", "-q", "--format", "oci", "-f", str(at / "Containerfile")]
    home.run([*build, "-t", f"oci:{at / 'image'}", str(context)])
    blobs = at / "image/blobs/sha256"
    index = json.loads((at / "image/index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    found: Seen = {}
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].partition(":")[2]) as archive:
            for member in archive:
                file = None if member.isdir() or member.issym() else archive.extractfile(member)
                content = member.linkname if member.issym() else None if file is None else file.read()
                kind = "link" if member.issym() else "directory" if member.isdir() else "file"
                mode = member.mode & 0o7777
                found[f"/{member.name.rstrip('/')}"] = (kind, mode, member.uid, member.gid, content)
    return found


@pytest.mark.buildah
@pytest.mark.parametrize("lines", [COPIES, ADDS], ids=["copy", "add"])
def test_copy_and_add_bring_what_buildah_brings(
    lines: tuple[str, ...], shared_home: Home, context: Path, tmp_path: Path
) -> None:
    for number, text in enumerate(lines):
        assert copied(text, context) == buildah(shared_home, text, context, tmp_path / str(number)), text


@pytest.mark.buildah
def test_what_comes_from_a_stage_keeps_its_owners_as_with_buildah(
    shared_home: Home, context: Path, tmp_path: Path
) -> None:
    for number, rest in enumerate(FROM_STAGE):
        text = f"FROM scratch AS a\nADD root.tar /\nFROM scratch\nCOPY --from=a {rest}"
        assert copied(text, context) == buildah(shared_home, text, context, tmp_path / str(number)), text


@pytest.mark.buildah
def test_the_mounted_root_of_a_stage_is_copied_from_with_the_owners_that_it_has_inside(
    shared_home: Home, context: Path, tmp_path: Path
) -> None:
    text = "ADD root.tar /"
    buildah(shared_home, text, context, tmp_path / "stage")
    program = put(tmp_path, "program.py", PROGRAM.encode())
    python = shlex.join([sys.executable, program])
    mount = f'c=$(buildah from oci:{tmp_path}/stage/image) && {python} "$(buildah mount $c)"; buildah rm $c >&2'
    answer = shared_home.run(["buildah", "unshare", "sh", "-c", mount]).stdout
    copy = f"FROM scratch AS a\n{text}\nFROM scratch\nCOPY --from=a /lo/* /t/"
    theirs = buildah(shared_home, copy, context, tmp_path / "copy")
    found, kept = json.loads(answer)
    assert {path: tuple(of) for path, of in found.items()} == {path: of[:4] for path, of in theirs.items()}
    # Capabilities and the number of attributes: of the stage, of a context by each way. Only we tell of them.
    raw = "cap_net_raw+ep"
    assert kept == [[raw, 1], [None, 0], [raw, 1], [None, 0], raw]


@pytest.mark.buildah
def test_ignore_files_leave_out_what_they_leave_out_for_buildah(shared_home: Home, tmp_path: Path) -> None:
    directory = tmp_path / "context"
    for name in ("b/f", "n.md", "k/a.md", "k/b.c", "k/sub/c.md", "deep/a/b/c/keep", "deep/a/other"):
        put(directory, name)
    (directory / "deep/a/b").chmod(0o700)
    link(directory, "link", "k")
    for number, (docker, container, copies) in enumerate(IGNORED):
        put(directory, ".dockerignore", docker.encode())
        (directory / ".containerignore").unlink(missing_ok=True)
        if container is not None:
            put(directory, ".containerignore", container.encode())
        for of, rest in enumerate(copies):
            text = f"COPY {rest}"
            theirs = buildah(shared_home, text, directory, tmp_path / f"{number}-{of}")
            assert copied(text, directory) == theirs, (docker, container, text)


@pytest.mark.buildah
def test_what_buildah_refuses_is_refused_in_one_sentence(shared_home: Home, context: Path, tmp_path: Path) -> None:
    for number, text in enumerate(REFUSED):
        with pytest.raises(ScratchError) as caught:
            copied(text, context)
        assert caught.value.message.isprintable()
        assert caught.value.fix, text
        with pytest.raises(AssertionError):
            buildah(shared_home, text, context, tmp_path / str(number))
