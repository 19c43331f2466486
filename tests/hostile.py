"""Images made to cost more than they are: small files of many kinds, each of harmless parts.

Run as a program (`python hostile.py PLACE VERB...`, subjects as lines of JSON on stdin) it does what a verb does
with each, in a process of its own, and tells how long that took, in how much memory, and how it ended. With
`--make PLACE ENTRIES` it makes the subjects, and names them line by line.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tinyelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Make = Callable[[], bytes | tuple[bytes, ...]]

MEGABYTE = 1 << 20
OCI = "application/vnd.oci.image"
VERBS = ("check", "inspect", "verify", "save", "save-anew", "repair")


class Subject(NamedTuple):
    """A kind of trouble, the word by which the image is named, and how much of it there is on disk."""

    kind: str
    name: str
    word: str


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


class Layout:
    """An image layout that says what it is told to, with right digests of all that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, content: bytes, kind: str) -> dict[str, Any]:
        """Add a blob, and give its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, *layers: bytes, diff_ids: list[str] | None = None, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        """Add an image of these layers as they are stored; `config` is put into that of a working image."""
        settings = {"Entrypoint": ["/hello"], "User": "65532:65532", **config}
        known = {layer: diff_id(layer) for layer in set(layers)} if diff_ids is None else {}
        ids = diff_ids or [known[layer] for layer in layers]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": ids},
        }
        described = [self.blob(layer, layer_type(layer)) for layer in layers]
        return self.manifest(self.blob(json.dumps(document).encode(), f"{OCI}.config.v1+json"), described)

    def manifest(self, config: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
        kind = f"{OCI}.manifest.v1+json"
        document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
        return self.blob(json.dumps(document).encode(), kind)

    def index(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Add an index below the outermost one."""
        kind = f"{OCI}.index.v1+json"
        return self.blob(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode(), kind)

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Write the outermost index."""
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def diff_id(layer: bytes) -> str:
    """The digest of what a layer holds, if that is small enough to say; else one that is wrong."""
    found = hashlib.sha256()
    opened = io.BytesIO(layer) if layer[:2] != b"\x1f\x8b" else gzip.GzipFile(fileobj=io.BytesIO(layer))
    try:
        for _ in range(256):
            block = opened.read(MEGABYTE)
            found.update(block)
            if not block:
                break
        else:
            return "sha256:" + "0" * 64
    except (OSError, EOFError):
        return "sha256:" + "1" * 64
    return f"sha256:{found.hexdigest()}"


def layer_type(layer: bytes) -> str:
    return f"{OCI}.layer.v1.tar" + {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}.get(layer[:2], "")


def packed(*parts: bytes) -> bytes:
    """A layer: the parts, in one member of gzip each."""
    return b"".join(gzip.compress(part, 1, mtime=0) if part[:2] != b"\x1f\x8b" else part for part in parts)


def subjects(place: Path, *, entries: int = 300_000) -> Iterator[Subject]:
    """Make them all, one after the other."""
    numerous: dict[str, dict[str, _Make]] = {"entries": {f"{entries}": partial(many, entries)}}
    for kind, makes in (_LAYERS | numerous).items():
        for name, make in makes.items():
            layout = Layout(place / f"{kind}-{name}")
            made = make()
            layers = made if isinstance(made, tuple) else (made,)
            layout.write([layout.image(*layers)])
            yield Subject(kind, name, f"oci:{layout.path}")
    for kind, builds in _LAYOUTS.items():
        for name, build in builds.items():
            layout = Layout(place / f"{kind}-{name}")
            build(layout)
            yield Subject(kind, name, f"oci:{layout.path}")
    for kind, writes in _ARCHIVES.items():
        for name, write in writes.items():
            path = place / f"{kind}-{name}.tar"
            write(path)
            yield Subject(kind, name, f"docker-archive:{path}")


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

_LAYERS: dict[str, dict[str, _Make]] = {
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


def wide(layout: Layout) -> None:
    inner = layout.index(
        [
            {"mediaType": f"{OCI}.manifest.v1+json", "digest": f"sha256:{at:064x}", "size": 1}
            for at in range(20_000)
        ]
    )
    layout.write([inner] * 20_000)


def nested(depth: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        item = layout.image(packed(program() + END))
        for _ in range(depth):
            item = layout.index([item])
        layout.write([item])

    return build


def numbered(count: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        kind = f"{OCI}.index.v1+json"
        layout.write([{"mediaType": kind, "digest": f"sha256:{at:064x}", "size": 1} for at in range(count)])

    return build


def raw_index(content: bytes) -> Callable[[Layout], object]:
    return lambda layout: (layout.path / "index.json").write_bytes(content)


def configured(**config: Any) -> Callable[[Layout], object]:  # noqa: ANN401 - any JSON
    return lambda layout: layout.write([layout.image(packed(program() + END), **config)])


def layered(count: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        layout.write([layout.image(*[packed(program() + END)] * count)])

    return build


def many_images(layout: Layout) -> None:
    """Many images of one large layer, which is unpacked once."""
    layer = packed(program() + header(b"zeros", size=64 * MEGABYTE)) + zeros(64 * MEGABYTE) + packed(END)
    layout.write([layout.image(layer, diff_ids=["sha256:" + "0" * 64], Labels={"n": str(at)}) for at in range(40)])


_LAYOUTS: dict[str, dict[str, Callable[[Layout], object]]] = {
    "index-wide": {
        "20000-by-20000": wide,
        "60000": numbered(60_000),
        "20000-missing": numbered(20_000),
    },
    "index-deep": {"9": nested(9), "400": nested(400), "7": nested(7)},
    "documents": {
        "large": raw_index(b" " * (5 * MEGABYTE)),
        "brackets": raw_index(b"[" * (3 * MEGABYTE)),
        "objects": raw_index(b'{"manifests":[' + b"{}," * MEGABYTE + b"{}]}"),
        "numbers": raw_index(b'{"manifests":[' + b"1," * MEGABYTE + b"1]}"),
        "digits": raw_index(b'{"manifests":' + b"9" * (3 * MEGABYTE) + b"}"),
        "deep": raw_index(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "half-characters": lambda layout: layout.write(
            [
                layout.index(
                    [{**layout.image(packed(program() + END)), "platform": {"os": "\ud800", "architecture": "x"}}]
                )
            ]
        ),
        "not-utf-8": raw_index(b'{"manifests":[{"mediaType":"\xed\xa0\x80"}]}'),
        "strings": raw_index(b'{"manifests":["' + b"\\u0000" * 600_000 + b'"]}'),
    },
    "config": {
        "path": configured(Env=["PATH=" + "a:" * MEGABYTE], Entrypoint=["hello"]),
        "path-short": configured(Env=["PATH=" + "a:" * 60_000], Entrypoint=["hello"]),
        "path-of-links": lambda layout: layout.write(
            [
                layout.image(
                    links([f"{'a/../' * 800}s{at + 1}" for at in range(40)]),
                    Env=["PATH=" + ":".join(f"s0/{'./' * at}" for at in range(400))],
                    Entrypoint=["hello"],
                )
            ]
        ),
        "slashes": configured(Entrypoint=["/" * MEGABYTE + "hello"]),
        "parts": configured(Entrypoint=["/a/.." * 400_000 + "/hello"]),
        "variables": configured(Env=[f"A{at}=b" for at in range(100_000)]),
        "volumes": configured(Volumes={f"/v{at}": {} for at in range(50_000)}),
        "user": configured(User="9" * MEGABYTE),
        "directory": configured(WorkingDir="/w" * 400_000),
        "types": configured(Entrypoint=7, Env={"a": 1}, User=[1], Volumes=[2]),
    },
    "layers": {"600": layered(600), "200": layered(200)},
    "images": {"40": many_images},
}


def archive(*members: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(b"".join(members) + END)


def docker(manifest: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    return entry(json.dumps(manifest).encode(), name=b"manifest.json")


def holes(size: int, start: bytes) -> Callable[[Path], object]:
    """A file that is large and takes no room on disk."""

    def write(path: Path) -> None:
        path.write_bytes(start)
        os.truncate(path, size)

    return write


_ARCHIVES: dict[str, dict[str, Callable[[Path], object]]] = {
    "archive-header": {
        "2-gigabytes": holes(3 << 30, header(b"h", kind=b"x", size=1 << 31)),
        "long-name": holes(3 << 30, header(b"h", kind=b"L", size=1 << 31)),
    },
    "archive": {
        "tags": archive(
            docker([{"Config": "c.json", "RepoTags": [f"a:{at}" for at in range(100_000)], "Layers": []}])
        ),
        "layers": archive(entry(b"{}", name=b"c.json"), docker([{"Config": "c.json", "Layers": ["l"] * 5000}])),
        "links": archive(
            header(b"manifest.json", kind=b"2", link=b"b"), header(b"b", kind=b"2", link=b"manifest.json")
        ),
        "deep-name": archive(pax({"path": "a/" * 60_000}) + header()),
        "sparse": archive(header(b"manifest.json", kind=b"S", real=number(1 << 60))),
        "size": archive(header(b"manifest.json", size=1 << 60)),
        "members": lambda path: path.write_bytes(gzip.decompress(many(100_000))),
        "zeros": holes(1 << 40, b""),
    },
}


def do(verb: str, word: str, place: str) -> str:
    """What a verb does with an image, and in one word how it ended; all else is an exception."""
    import rootless_scratch as rs
    from rootless_scratch.backends.open_image import read_any

    try:
        if verb == "check":
            return rs.check(word).verdict
        if verb == "inspect":
            return f"{len(read_any(word).files)} files"
        if verb == "verify":
            return rs.verify(word, f"{place}/program").verdict
        if verb == "repair":
            rs.save(word, f"oci:{place}/out-{os.getpid()}", repair=True)
        elif verb == "save":
            rs.save(word, f"oci:{place}/out-{os.getpid()}")
        else:
            rs.save(word, f"{place}/out-{os.getpid()}.tar", compress="none")
    except rs.ScratchError as error:
        return error.kind if error.message and error.fix else "an error without words"
    return "saved"


def main() -> None:
    """Do each verb of the arguments with each subject of stdin, one process each."""
    import importlib

    for module in (
        "api",
        "backends.layouts",
        "backends.verify",
        "verbs.ship",
        "ship.copy_image",
        "image.read.faults",
        "verbs.planning",
    ):
        importlib.import_module(f"rootless_scratch.{module}")
    import isal.igzip  # noqa: F401 - loaded before memory is measured

    place, *verbs = sys.argv[1:]
    for line in sys.stdin:
        kind, name, word = json.loads(line)
        for verb in verbs:
            out, into = os.pipe()
            began = time.monotonic()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.write(into, do(verb, word, place).encode())
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            os.close(into)
            _, status, usage = os.wait4(child, 0)
            took = time.monotonic() - began
            said = os.read(out, 1000).decode()
            os.close(out)
            answer = {
                "kind": kind,
                "name": name,
                "verb": verb,
                "ended": said if status == 0 else f"status {status}",
                "seconds": round(took, 2),
                "megabytes": usage.ru_maxrss // 1024,
            }
            print(json.dumps(answer), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        for made in subjects(Path(sys.argv[2]), entries=int(sys.argv[3])):
            print(json.dumps(made), flush=True)  # noqa: T201 - its answer
    else:
        main()
