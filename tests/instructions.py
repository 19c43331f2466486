"""The cases of tests/containerfiles/instructions.txt, and the context that all of them share."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from typing import TYPE_CHECKING

from shapes import FILES, MTIME, TWIN, Shape, date, make_directory, program, put

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = FILES / "instructions.txt"
LIKE_ARGUMENTS = ("arg-global", "directives", "directive-escape", "directive-too-late", "comments")
"""Cases that begin with what another case has below FROM."""


def read_cases() -> dict[str, tuple[list[str], str, str | None]]:
    """Of each case the options, the Containerfile, and what buildah 1.28 reads in its place."""
    cases = {}
    for part in SOURCE.read_text().split("\n--- ")[1:]:
        head, _, body = part.partition("\n")
        name, *flags = head.split()
        own, _, twin = body.partition("=== 1.28\n")
        cases[name] = (flags, whole(name, own), whole(name, twin) if twin else None)
    return cases


def whole(name: str, text: str) -> str:
    if text.lower().startswith("from ") or name in LIKE_ARGUMENTS:
        return text
    return f"FROM scratch\n{text}"


CASES = read_cases()


def prepare(name: str, parent: Path) -> Shape:
    """A context for one case; the same files as for every other."""
    flags, text, twin = CASES[name]
    context = parent / "context"
    make_context(context)
    put(context / "Containerfile", text.encode(), 0o644)
    if twin is not None:
        put(parent / TWIN, twin.encode(), 0o644)
    date(context)
    more = tuple(at(flag, context) for flag in flags)
    return Shape(name=name, context=context, twin=parent / TWIN if twin else None, options={}, more=more)


def at(flag: str, context: Path) -> str:
    """Paths of options are relative to the context."""
    for option in ("--ignorefile=", "--build-context=other=", "--build-context=second="):
        if flag.startswith(option):
            return f"{option}{context / flag.removeprefix(option)}"
    return flag


def make_context(context: Path) -> None:
    """Files, modes, links and archives to copy."""
    make_directory(context)
    texts = ("a.txt", "b.txt", "c.txt", "with space.txt", "x.log", "left-out/x", "other/o.txt", "other/deep/p.txt")
    for path in texts:
        # buildah's driver vfs does not see that a file has changed which keeps its size and its time.
        put(context / path, f"{path}\n".encode() * ord(path[0]), 0o644)
    for path in ("tree/file", "tree/sub/inner", "tree/other/o", "patterns/[x].txt", "dots/.hidden", "dots/shown"):
        put(context / path, f"{path}\n".encode(), 0o644)
    put(context / "app", program("amd64"), 0o755)
    put(context / "passwd", b"root:x:0:0::/:/x\napp:x:1000:1001::/home/app:/app\n", 0o644)
    put(context / "group", b"root:x:0:\nstaff:x:50:app\napp:x:1001:\n", 0o644)
    put(context / ".dockerignore", b"left-out\n*.log\nContainerfile\n", 0o644)
    put(context / "own.ignore", b"tree/*\n!tree/sub\n*.tar*\nContainerfile\n", 0o644)
    for name in ("empty", "empty2", "tree/sub/empty"):
        make_directory(context / name)
    put_modes(context)
    put_links(context)
    put_heredocs(context / "here")
    put_archives(context)


def put_modes(context: Path) -> None:
    put(context / "private/inside", b"inside\n", 0o600)
    put(context / "private/deep/file", b"deep\n", 0o666)
    (context / "private/deep").chmod(0o750)
    (context / "private").chmod(0o700)
    put(context / "set-id/program", program("amd64"), 0o4755)
    put(context / "set-id/group", program("amd64"), 0o2711)
    make_directory(context / "set-id/directory")
    (context / "set-id/directory").chmod(0o3770)
    make_directory(context / "set-id/sticky")
    (context / "set-id/sticky").chmod(0o1777)


def put_links(context: Path) -> None:
    put(context / "links/directory/inner", b"inner\n", 0o644)
    put(context / "links/target", b"target\n", 0o640)
    (context / "links/to-file").symlink_to("target")
    (context / "links/to-directory").symlink_to("directory")
    make_directory(context / "far")
    (context / "far/to-new").symlink_to("/else/where")
    (context / "far/to-nothing").symlink_to("../nothing")
    put(context / "hard/one", b"one\n", 0o644)
    os.link(context / "hard/one", context / "hard/two")


def put_heredocs(directory: Path) -> None:
    """What the heredocs of `copy-heredoc` come to."""
    put(directory / "expanded", b"value and value and $V\n", 0o644)
    put(directory / "plain", b"$V and ${V} and \\$V\n", 0o644)
    put(directory / "one", b"tabs are gone\n", 0o644)
    put(directory / "two", b"\ttabs stay\n", 0o644)
    put(directory / "empty", b"", 0o644)


def put_archives(context: Path) -> None:
    import zstandard

    plain = tar()
    put(context / "plain.tar", plain, 0o644)
    put(context / "archive.bin", plain, 0o644)
    put(context / "packed.tar.gz", gzip.compress(plain, mtime=0), 0o644)
    put(context / "packed.tar.bz2", tar("w:bz2"), 0o644)
    put(context / "packed.tar.xz", tar("w:xz"), 0o644)
    put(context / "packed.tar.zst", zstandard.ZstdCompressor().compress(plain), 0o644)
    put(context / "only.gz", gzip.compress(b"not a tar\n", mtime=0), 0o644)
    (context / "linked.tar").symlink_to("plain.tar")


def tar(mode: str = "w") -> bytes:
    """Members of every kind, with owners and modes of their own; some parents have no member."""
    members = (
        ("directory", tarfile.DIRTYPE, 0o750, (7, 8), ""),
        ("directory/file", tarfile.REGTYPE, 0o640, (5, 6), ""),
        ("directory/hard", tarfile.LNKTYPE, 0o640, (5, 6), "directory/file"),
        ("directory/link", tarfile.SYMTYPE, 0o777, (0, 0), "file"),
        ("missing/parent/program", tarfile.REGTYPE, 0o4755, (0, 0), ""),
        ("sticky", tarfile.DIRTYPE, 0o1777, (0, 0), ""),
        ("sub/inner", tarfile.REGTYPE, 0o600, (0, 0), ""),
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, kind, bits, (uid, gid), target in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = kind, bits, uid, gid
            member.linkname, member.mtime = target, MTIME + 1
            content = f"{name}\n".encode() if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
