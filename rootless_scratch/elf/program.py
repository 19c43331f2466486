"""A program file of the host: what kind of file it is, and what the kernel would make of it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

import msgspec

from rootless_scratch.elf.facts import ElfFacts, read_elf
from rootless_scratch.elf.identity import FileIdentity, identity_of
from rootless_scratch.elf.records import MAGIC
from rootless_scratch.errors import HostError, SourceError
from rootless_scratch.expressions import expression
from rootless_scratch.troubles import limit_met

Kind = Literal["elf", "script", "empty", "text", "git-lfs", "html", "mach-o", "pe", "archive", "other"]

_HEAD = 4096
_SHEBANG = 256
"""The kernel reads so much of a script's first line: BINPRM_BUF_SIZE, since Linux 5.1."""

_BOM: Final = b"\xef\xbb\xbf"
_STARTS: Final[tuple[tuple[Kind, tuple[bytes, ...]], ...]] = (
    ("elf", (MAGIC,)),
    ("script", (b"#!", _BOM + b"#!")),
    ("git-lfs", (b"version https://git-lfs.github.com/spec/",)),
    ("mach-o", (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")),
    ("pe", (b"MZ",)),
    (
        "archive",
        (
            b"PK\x03\x04",
            b"\x1f\x8b",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
            b"BZh",
            b"7z\xbc\xaf",
            b"!<arch>\n",
            b"!<thin>\n",
        ),
    ),
)
_FAT_MACH_O: Final = b"\xca\xfe\xba\xbe"
_JAVA_CLASS_MAJOR = 45
_TAR_MAGIC: Final = slice(257, 262)
_HTML: Final = expression(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|\?xml[^>]*>\s*<!doctype\s+html)", re.IGNORECASE
)
_BINARY: Final = expression(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_NEIGHBOURS = 10000


class ProgramFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One program file; `elf` is there for the kind `elf`, the script's facts for the kind `script`.

    mode           the permission bits, setuid and sticky included
    shebang        the interpreter and, at most, one argument, as the kernel takes them; () for an empty line
    shebang_crlf   the first line ends in CR LF, and the kernel takes the CR for a part of it
    shebang_bom    a UTF-8 byte order mark stands before `#!`, and the kernel does not see a script
    shebang_cut    the interpreter's path does not fit into the 256 bytes that the kernel reads
    """

    path: str
    identity: FileIdentity
    mode: int
    kind: Kind
    elf: ElfFacts | None = None
    shebang: tuple[str, ...] | None = None
    shebang_crlf: bool = False
    shebang_bom: bool = False
    shebang_cut: bool = False


def read_program(path: str) -> ProgramFacts:
    """Read what kind of program `path` is (surrogateescape for other bytes than UTF-8); links are followed.

    Never blocks on a FIFO or device. Raises SourceError for what is no readable regular file, ElfError for an
    ELF file that no kernel could read. Files that cannot start are facts, not errors: `check` judges them.
    """
    try:
        require_program(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            return program_of(file, path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def program_of(file: BinaryIO, path: str) -> ProgramFacts:
    """Read an open file, `path` in messages; raises ElfError, OSError, SourceError where it changes meanwhile."""
    status = os.fstat(file.fileno())
    file.seek(0)
    head = file.read(_HEAD)
    facts = ProgramFacts(
        path=path, identity=identity_of(status), mode=stat.S_IMODE(status.st_mode), kind=_kind(head)
    )
    if facts.kind == "elf":
        facts = msgspec.structs.replace(facts, elf=read_elf(file, name=repr(path)))
    elif facts.kind == "script":
        facts = _with_shebang(facts, head)
    if identity_of(os.fstat(file.fileno())) != facts.identity:
        raise SourceError(f"{path!r} changed while it was read.", fix="Wait until whatever writes it is done.")
    return facts


def _kind(head: bytes) -> Kind:
    if not head:
        return "empty"
    for kind, starts in _STARTS:
        if head.startswith(starts):
            return kind
    if head.startswith(_FAT_MACH_O):
        # Java class files begin alike; there the next bytes are a version, here a small count.
        return "mach-o" if int.from_bytes(head[4:8], "big") < _JAVA_CLASS_MAJOR else "other"
    if head[_TAR_MAGIC] == b"ustar":
        return "archive"
    if _HTML.match(head):
        return "html"
    return "other" if _BINARY.search(head) else "text"


def _with_shebang(facts: ProgramFacts, head: bytes) -> ProgramFacts:
    """By the rules of load_script() in the kernel's fs/binfmt_script.c."""
    bom = head.startswith(_BOM)
    if bom:
        head = head[len(_BOM) :]
    buffer = head[:_SHEBANG]
    line, newline, _ = buffer.partition(b"\n")
    if not newline:
        line = buffer.partition(b"\0")[0]
    crlf = bool(newline) and line.endswith(b"\r")
    stripped = line[2:].rstrip(b"\r" if crlf else b"").strip(b" \t")
    interpreter, *rest = re.split(rb"[ \t\0]", stripped, maxsplit=1)
    argument = b"".join(rest).strip(b" \t")
    unended = not newline and len(head) > _SHEBANG
    return msgspec.structs.replace(
        facts,
        shebang=tuple(os.fsdecode(part) for part in (interpreter, argument) if part),
        shebang_crlf=crlf,
        shebang_bom=bom,
        shebang_cut=unended and not rest and not line.endswith((b" ", b"\t")),
    )


def require_program(path: str, mode: int) -> None:
    """Raise SourceError for what is not a regular file: opening a FIFO would block, and a device might act."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        what, fix = "a directory", "Name the program file in it; whole directories are added with --copy."
    elif stat.S_ISFIFO(mode):
        what, fix = "a pipe", "Write what comes out of it to a file, and name that file."
    elif stat.S_ISSOCK(mode):
        what, fix = "a socket", "Name the program file; a socket holds no program."
    else:
        what, fix = "a device", "Name the program file; devices do not go into an image."
    raise SourceError(f"{path!r} is {what}, not a program.", fix=fix)


_REASONS: Final = {
    errno.EACCES: (
        "cannot be read: permission denied",
        "Make the file readable, and every directory on the way to it searchable, for the user who builds.",
    ),
    errno.EPERM: ("cannot be read: permission denied", "Make the file readable for the user who builds."),
    errno.ENOTDIR: ("does not exist: a part of its path is a file, not a directory", "Check the path."),
    errno.ELOOP: ("cannot be found: its symbolic links form a loop", "Correct the links."),
    errno.ENAMETOOLONG: ("cannot be found: the path is too long", "Check the path."),
}


def unreadable(path: str, error: OSError | ValueError) -> SourceError | HostError:
    """Why a file of the host cannot be read, and what to do; the nearest name if there is none of this one."""
    limit = limit_met(error)
    if limit is not None:
        return limit
    if not isinstance(error, OSError):
        what = "characters that no file name can have" if isinstance(error, UnicodeError) else "a NUL byte"
        return SourceError(f"{path!r} is not a path: it contains {what}.", fix="Check the path.")
    if error.errno == errno.ENOENT:
        return _missing(path)
    cause, fix = _REASONS.get(
        error.errno or 0,
        (f"cannot be read: {error.strerror}", "Check the path and the file system that it lies on."),
    )
    return SourceError(f"{path!r} {cause}.", fix=fix)


def _missing(path: str) -> SourceError:
    from difflib import get_close_matches
    from pathlib import Path

    place = Path(path)
    if path and place.is_symlink():
        return SourceError(
            f"{path!r} is a symbolic link to {str(place.readlink())!r}, which does not exist.",
            fix="Correct the link, or name the file itself.",
        )
    fix = "Check the path; it is relative to where you are."
    if not place.parent.is_dir():
        fix = f"Check the path: the directory {str(place.parent)!r} does not exist either."
    else:
        close = get_close_matches(place.name, _neighbours(str(place.parent)), n=1)
        if close:
            fix = f"Did you mean {str(place.parent / close[0])!r}?"
    return SourceError(f"{path!r} does not exist.", fix=fix)


def _neighbours(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as listing:
            for _, item in zip(range(_NEIGHBOURS), listing, strict=False):
                yield item.name
    except OSError:
        return
