"""Tars and layers out of parts, whole or broken: headers, records, and what packs them."""

from __future__ import annotations

import gzip
from typing import Any

import tinyelf

MEGABYTE = 1 << 20


def header(
    name: bytes = b"file", *, kind: bytes = b"0", size: int | bytes = 0, link: bytes = b"", **fields: bytes
) -> bytes:
    """One header of GNU tar with a right sum; `fields` are put in as they are, at the offsets of `_FIELDS`."""
    block = bytearray(512)
    block[: len(name[:100])] = name[:100]
    block[100:108], block[108:116], block[116:124] = b"0000755\0", b"0000000\0", b"0000000\0"
    block[124:136] = size if isinstance(size, bytes) else number(size)
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[157 : 157 + len(link[:100])] = link[:100]
    block[257:265] = b"ustar  \0"
    for field, value in fields.items():
        at = _FIELDS[field]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


_FIELDS = {"mode": 100, "uid": 108, "gid": 116, "mtime": 136, "sparse": 386, "extended": 482, "real": 483}


def number(value: int) -> bytes:
    """A number of twelve bytes: octal digits, or GNU's binary form for what these cannot say."""
    return b"%011o\0" % value if value < 1 << 33 else b"\x80" + value.to_bytes(11, "big")


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(records: dict[str, str | bytes], *, kind: bytes = b"x") -> bytes:
    """An extended header with these records."""
    content = b""
    for key, value in records.items():
        said = b" " + key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()) + b"\n"
        length = len(said) + len(str(len(said)))
        length = len(said) + len(str(length))
        content += str(length).encode() + said
    return header(b"pax", kind=kind, size=len(content)) + padded(content)


def entry(content: bytes = b"", **words: Any) -> bytes:  # noqa: ANN401 - as they come
    return header(size=len(content), **words) + padded(content)


END = bytes(1024)
PROGRAM = tinyelf.hello()


def program(name: bytes = b"hello") -> bytes:
    """The program that the image starts."""
    return entry(PROGRAM, name=name)


def zeros(count: int) -> bytes:
    """So many bytes of zeros as members of gzip, 16 MB each."""
    piece = gzip.compress(bytes(16 * MEGABYTE), 9, mtime=0)
    return piece * (count // (16 * MEGABYTE))


def zstd(content: bytes, window: int = 20) -> bytes:
    """One frame of zstd, which asks for a window of so many bits."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters(compression_level=1, window_log=window)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return writer.compress(content) + writer.flush()


def packed(*parts: bytes) -> bytes:
    """A layer: the parts, in one member of gzip each."""
    return b"".join(gzip.compress(part, 1, mtime=0) if part[:2] != b"\x1f\x8b" else part for part in parts)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind=kind, size=len(name) + 1) + padded(name + b"\0")


def many(count: int, kind: bytes = b"0", name: bytes = b"d/%x") -> bytes:
    """A layer of so many entries, whose sums are right, in little time."""
    template = header(b"", kind=kind)
    total = sum(template[:148]) + 8 * 32 + sum(template[156:])
    parts = [program()]
    for at in range(count):
        said = name % at
        checksum = b"%06o\0 " % (total + sum(said))
        parts.append(said + template[len(said) : 148] + checksum + template[156:])
    return gzip.compress(b"".join(parts) + END, 1, mtime=0)


def sparse(real: int, segments: bytes = b"") -> bytes:
    return packed(program() + header(b"big", kind=b"S", sparse=segments, real=number(real)) + END)


def pax_sparse(records: dict[str, str | bytes], content: bytes = b"") -> bytes:
    return packed(program() + pax(records) + entry(content, name=b"big") + END)


def with_record(records: dict[str, str | bytes], *, kind: bytes = b"0") -> bytes:
    return packed(program() + pax(records) + header(b"odd", kind=kind) + END)


def with_field(**fields: bytes) -> bytes:
    return packed(program() + header(b"odd", **fields) + END)
