"""Layers made to cost more than they are, by kind of trouble."""

from __future__ import annotations

import gzip
from functools import partial
from typing import TYPE_CHECKING

from tars import (
    END,
    MEGABYTE,
    entry,
    header,
    long_name,
    many,
    number,
    packed,
    padded,
    pax,
    pax_sparse,
    program,
    sparse,
    with_field,
    with_record,
    zeros,
    zstd,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Make = Callable[[], bytes | tuple[bytes, ...]]


def huge(kind: bytes) -> bytes:
    """A header that says it has 2 GB, and has a good part of them."""
    return packed(program() + header(b"h", kind=kind, size=1 << 31)) + zeros(96 * MEGABYTE)


def listed(name: bytes, line: bytes) -> bytes:
    """A file with as many lines as are read of it."""
    return packed(program() + entry(line * (MEGABYTE // len(line)), name=name) + END)


def garbled(content: bytes) -> bytes:
    return packed(
        program() + header(b"pax", kind=b"x", size=len(content)) + padded(content) + header(b"odd") + END
    )


def links(targets: list[str]) -> bytes:
    """A chain of links with these targets, and a directory to go back and forth in."""
    chain = b"".join(pax({"path": f"s{at}", "linkpath": to}) + header(kind=b"2") for at, to in enumerate(targets))
    return packed(program() + header(b"a/", kind=b"5"), chain + END)


def whiteouts(names: Iterator[bytes]) -> tuple[bytes, bytes]:
    below = packed(program() + b"".join(entry(b"x", name=b"d/%d" % at) for at in range(2000)) + END)
    return below, packed(b"".join(entry(name=name) for name in names) + END)


_HUGE = "9" * 4000

LAYERS: dict[str, dict[str, _Make]] = {
    "deep-path": {
        "pax": lambda: with_record({"path": "a/" * 60_000 + "x"}),
        "gnu": lambda: packed(program() + long_name(b"a/" * 60_000) + header() + END),
        "300": lambda: with_record({"path": "a/" * 300 + "x"}),
        "dots": lambda: with_record({"path": "a/../" * 20_000 + "x"}),
        "slashes": lambda: with_record({"path": "/" * 100_000 + "x"}),
        "whiteout": lambda: with_record({"path": "a/" * 60_000 + ".wh.x"}),
        "paths": lambda: packed(
            program()
            + b"".join(pax({"path": "/".join(["d" * 240] * 16) + f"/{at}"}) + header() for at in range(9000))
            + END
        ),
        "wide-paths": lambda: packed(
            program()
            + b"".join(pax({"path": "\U0001f600/" * 200 + f"/{at}"}) + header() for at in range(15_000))
            + END
        ),
        "many": lambda: packed(
            program() + b"".join(pax({"path": f"{at}/" + "a/" * 250 + "x"}) + header() for at in range(2000)) + END
        ),
    },
    "long-name": {
        "300": lambda: with_record({"path": "n" * 300}),
        "5000": lambda: with_record({"path": "n" * 5000}),
        "900000": lambda: with_record({"path": "n" * 900_000}),
        "gnu": lambda: packed(program() + long_name(b"n" * 900_000) + header() + END),
        "not-utf-8": lambda: with_record({"path": b"\xff" * 900_000}),
    },
    "huge-header": {kind.decode(): partial(huge, kind) for kind in (b"x", b"g", b"L", b"K")}
    | {
        "exabyte": lambda: packed(program() + header(b"h", kind=b"x", size=1 << 60) + END),
        "negative": lambda: packed(program() + header(b"h", kind=b"x", size=b"\xff" * 12) + END),
        "many": lambda: packed(
            program(), *[pax({"comment": "c" * 900_000}) for _ in range(40)], header(b"odd") + END
        ),
    },
    "sparse-gnu": {
        "exabyte": lambda: sparse(1 << 60),
        "terabyte": lambda: sparse(1 << 40),
        "40-gigabytes": lambda: sparse(40 << 30),
        "backwards": lambda: sparse(1000, number(900) + number(10) + number(0) + number(10)),
        "beyond": lambda: sparse(1000, number(1 << 50) + number(1 << 50)),
        "map": lambda: packed(
            program(),
            header(b"big", kind=b"S", extended=b"\1", real=number(1 << 40)),
            *[(bytes([0, 0, 1]) + bytes(509)) * 2000] * 20,
        ),
        "small": lambda: sparse(20 * MEGABYTE),
    },
    "sparse-pax": {
        "0.0": lambda: pax_sparse(
            {"GNU.sparse.size": str(1 << 60), "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "0"}
        ),
        "0.1": lambda: pax_sparse({"GNU.sparse.size": str(1 << 60), "GNU.sparse.map": "0,0"}),
        "0.1-map": lambda: pax_sparse({"GNU.sparse.size": "9", "GNU.sparse.map": "1," * 400_000}),
        "1.0": lambda: pax_sparse(
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 60)},
            padded(b"1\n0\n0\n"),
        ),
        "1.0-count": lambda: pax_sparse(
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"},
            padded(b"99999999999999\n"),
        ),
        "1.0-no-end": lambda: pax_sparse(
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}, b"1" * 5120
        ),
        "negative": lambda: pax_sparse({"GNU.sparse.size": "-5", "GNU.sparse.map": "0,0"}),
    },
    "sparse-program": {
        "40-gigabytes": lambda: packed(header(b"hello", kind=b"S", real=number(40 << 30)) + END),
        "exabyte": lambda: packed(header(b"hello", kind=b"S", real=number(1 << 60)) + END),
    },
    "opaque": {
        "same": lambda: whiteouts(b"d/.wh..wh..opq" for _ in range(20_000)),
        "different": lambda: whiteouts(b"e%d/.wh..wh..opq" % at for at in range(20_000)),
        "between": lambda: whiteouts(name for at in range(10_000) for name in (b"d/n%d" % at, b"d/.wh..wh..opq")),
        "root": lambda: whiteouts(b".wh..wh..opq" for _ in range(20_000)),
    },
    "whiteout": {
        "missing": lambda: whiteouts(b"d/.wh.none%d" % at for at in range(20_000)),
        "there": lambda: whiteouts(b"d/.wh.%d" % (at % 2000) for at in range(20_000)),
        "directory": lambda: whiteouts(b".wh.d" for _ in range(20_000)),
        "nameless": lambda: whiteouts(b"d/.wh." for _ in range(20_000)),
    },
    "time": {
        (word[:20] or "nothing"): partial(with_record, {"mtime": word})
        for word in ("inf", "-inf", "nan", "1e400", "1_0", "0x10", _HUGE[:300], "", "1.5.5", "-99999999999")
    },
    "number": {
        "uid": lambda: with_record({"uid": _HUGE}),
        "uid-negative": lambda: with_record({"uid": "-1"}),
        "uid-word": lambda: with_record({"uid": "root"}),
        "gid-infinite": lambda: with_record({"gid": "inf"}),
        "size-negative": lambda: with_record({"size": "-1"}),
        "size-huge": lambda: with_record({"size": _HUGE}),
        "size-float": lambda: with_record({"size": "1e9"}),
        "size-exabyte": lambda: with_record({"size": str(1 << 62)}),
        "binary-uid": lambda: with_field(uid=b"\x80\x7f\xff\xff\xff\xff\xff\xff"),
        "binary-negative": lambda: with_field(uid=b"\xff" * 8),
        "binary-size": lambda: with_field(size=b"\x80" + b"\xff" * 11),
        "binary-mtime": lambda: with_field(mtime=b"\xff" + b"\x00" * 11),
        "letters": lambda: with_field(size=b"not a number"),
        "mode": lambda: with_field(mode=b"99999999"),
    },
    "records": {
        "length-lies": lambda: garbled(b"99999 path=a\n"),
        "length-huge": lambda: garbled(b"9" * 400 + b" path=a\n"),
        "length-zero": lambda: garbled(b"0 path=a\n"),
        "no-length": lambda: garbled(b"path=a\n"),
        "no-sign": lambda: garbled(b"8 patha\n"),
        "nul": lambda: with_record({"path": b"a\0b"}),
        "many": lambda: garbled(b"6 a=b\n" * 150_000),
    },
    "no-tar": {
        "text": lambda: b"This is no layer.\n" * 100,
        "packed-text": lambda: gzip.compress(b"This is no layer.\n" * 100, mtime=0),
        "zip": lambda: b"PK\3\4" + bytes(3000),
        "noise": lambda: bytes(at * 7919 % 251 for at in range(10_000)),
        "cut": lambda: packed(program() + END)[:-40],
        "cut-tar": lambda: (program() + END)[:700],
        "half-header": lambda: program() + header()[:300],
        "wrong-sum": lambda: program() + b"x" + header()[1:] + END,
        "one-zero-block": lambda: program() + bytes(512) + header() + END,
        "empty": lambda: b"",
    },
    "bomb": {
        "file": lambda: packed(program() + header(b"zeros", size=2 << 30)) + zeros(2 << 30) + packed(END),
        "behind-the-end": lambda: packed(program() + END) + zeros(2 << 30),
        "claims-more": lambda: packed(program() + header(b"zeros", size=1 << 50)) + zeros(160 * MEGABYTE),
        "directory": lambda: packed(program() + header(b"d/", kind=b"5", size=1 << 40) + END),
        "zstd": lambda: zstd(program() + header(b"zeros", size=2 << 30)) + zstd(bytes(16 * MEGABYTE)) * 128,
        "zstd-window": lambda: (
            zstd(program() + header(b"zeros", size=64 * MEGABYTE), window=31)
            + zstd(bytes(64 * MEGABYTE), window=31)
        ),
    },
    "links": {
        "itself": lambda: packed(program() + header(b"a", kind=b"1", link=b"a") + END),
        "missing": lambda: packed(program() + header(b"a", kind=b"1", link=b"nowhere") + END),
        "long-target": lambda: packed(pax({"linkpath": "x/" * 400_000}) + header(b"hello", kind=b"2") + END),
        "many-long-targets": lambda: links(["x" * 900_000] * 60),
        "through-each-other": lambda: links([f"{'a/../' * 800}s{at + 1}" for at in range(40)]),
        "loop": lambda: packed(
            header(b"hello", kind=b"2", link=b"b") + header(b"b", kind=b"2", link=b"hello") + END
        ),
        "farm": lambda: many(20_000, kind=b"2", name=b"l/%x"),
        "up": lambda: packed(program() + header(b"a", kind=b"2", link=b"../" * 30) + END),
    },
    "lists": {
        name.replace("/", "-"): partial(listed, name.encode(), line)
        for name, line in (
            ("etc/passwd", b":::\n"),
            ("etc/group", b"a:b:0:" + b"c," * 500 + b"\n"),
            ("etc/ld.so.cache", b"glibc-ld.so.cache1.1" + b"\xff" * 1000),
        )
    },
    "attributes": {
        "capabilities": lambda: packed(
            program(),
            *[pax({"SCHILY.xattr.security.capability": b"v" * 900_000}) + header(b"f%d" % at) for at in range(90)],
            END,
        ),
        "lists": lambda: packed(
            program(),
            *[entry(b"x\n" * (MEGABYTE // 2), name=b"d%d/etc/ld-musl-x86_64.path" % at) for at in range(90)],
            END,
        ),
    },
    "names": {
        "dots": lambda: packed(program() + b"".join(map(header, (b"..", b".", b"./", b"a/../../b", b"/"))) + END),
        "nothing": lambda: packed(program() + header(b"") + END),
        "control": lambda: packed(program() + header(b"\x1b[2J\r\n\x07") + END),
    },
}
