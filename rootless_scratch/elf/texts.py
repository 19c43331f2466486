"""The texts of a program: strings of C among its constants, each between two NUL bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from rootless_scratch.elf.records import Records
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Iterator

    from rootless_scratch.elf.records import Segment

_TEXT: Final = expression(rb"\0([\x21-\x7e]{3,200})(?=\0)")
"""It begins with the one byte that re looks for by memchr(3); a lookbehind would be tried at every byte."""

_PATH: Final = expression(rb"/(?<=\0/)([\x21-\x7e]{2,199})(?=\0)")
"""Those texts that begin with a slash: NUL bytes are half of what there is to read."""

_LONGEST = 256
_LIMIT = 8 << 20


def constants_of(records: Records) -> Iterator[Segment]:
    """The segments that hold texts: those that cannot be written to, without code where that lies apart."""
    constant = [segment for segment in records.segments if segment.type == "LOAD" and not segment.writable]
    # Linkers keep texts apart from code, or both in one segment with the ELF header, which is the first.
    apart = bool(constant) and not constant[0].executable
    return (segment for segment in constant if not (apart and segment.executable))


def stands_in(text: bytes, data: bytes) -> bool:
    """Whether a text with a NUL byte at its end is in there; looked for without it first, which is far faster."""
    # bytes.find looks at the last byte first, and NUL is everywhere.
    return text.strip(b"\0") in data and text in data


def texts_of(file: BinaryIO, names: Collection[str]) -> set[str]:
    """Those of `names` that are texts, or the last names of paths that are; texts are without spaces.

    They have 3 to 200 characters; of large programs the first are looked at. Raises ElfError, OSError.
    """
    wanted = frozenset(name.encode("ascii") for name in names)
    found: set[bytes] = set()
    for texts in _found(_TEXT, file):
        found |= wanted.intersection(texts)
        found |= wanted.intersection([text.rpartition(b"/")[2] for text in texts if b"/" in text])
    return {text.decode("ascii") for text in found}


def paths_of(file: BinaryIO) -> set[str]:
    """The texts that begin with a slash, found far faster."""
    found: set[bytes] = set()
    for texts in _found(_PATH, file):
        found.update(texts)
    return {"/" + text.decode("ascii") for text in found}


def _found(pattern: re.Pattern[bytes], file: BinaryIO) -> Iterator[list[bytes]]:
    records = Records(file, name="The program")
    budget = _LIMIT
    for segment in constants_of(records):
        size = min(segment.file_size, budget)
        budget -= size
        for _, chunk in records.source.chunks(segment.offset, size, overlap=_LONGEST):
            yield pattern.findall(chunk)
