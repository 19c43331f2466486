"""Which installed package each of many files came with, and what the databases of dpkg, apk and rpm say of it.

A database is read once for all files, and only the paragraphs of packages that own one of them are parsed. What
depends on what is never followed, so packages may depend on each other in circles.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

_DATABASE_LIMIT = 256 << 20
_LIST_LIMIT = 64 << 20
_FEW = 24
"""So many paths are sought in a list one by one; for more it is split."""

_FIELD: Final = expression(rb"^([A-Za-z][A-Za-z-]*):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_RELATION: Final = expression(r"([a-z0-9][a-z0-9+.-]+)(?::\w+)?(?:\s*\(\s*=\s*([^)\s]+)\s*\))?", re.IGNORECASE)
_CONFFILE: Final = expression(r"^\s(\S.*?) ([0-9a-f]{32})(?: .*)?$", re.MULTILINE)
_DIGESTS: Final = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""By the number of their digits: rpm names the algorithm by a number only."""

_OF_NOBODY: Final = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/run/", "/proc/", "/dev/", "/sys/")  # noqa: S108
"""Where no package has files: hier(7)."""

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

Kind = Literal["deb", "rpm", "apk"]


class PackageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One installed package. `license` is what the database says of it, `copyright` where a file tells, or None.

    `built_using` are source packages, with their versions, that it was made of besides its own: Built-Using and
    Static-Built-Using of deb-control(5). `depends` are names alone.
    """

    kind: Kind
    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    license: str | None = None
    copyright: str | None = None
    built_using: tuple[tuple[str, str], ...] = ()
    depends: tuple[str, ...] = ()


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """The package of a file; `digest` is the algorithm and what the file was when it came, None if unknown."""

    package: PackageRecord
    digest: tuple[str, str] | None = None


def dpkg_owned(base: str, paths: Collection[str]) -> dict[str, Owned]:
    """What dpkg says of files of the system at `base`, by their real paths there."""
    info = f"{base}/var/lib/dpkg/info"
    listed = dict(_listed(base, info, paths))
    status = _paragraphs(f"{base}/var/lib/dpkg/status", b"Package", {name for name, _, _ in listed.values()})
    records: dict[str, tuple[PackageRecord, Mapping[str, str]] | None] = {}
    sums: dict[str, Mapping[str, str]] = {}
    found = {}
    for path, (name, file, inside) in listed.items():
        if file not in records:
            records[file] = _debian(file, status.get(name, ()))
            sums[file] = _sums(f"{info}/{file}.md5sums")
        known = records[file]
        if known is None:
            continue
        record, conffiles = known
        digest = sums[file].get(inside.removeprefix("/")) or conffiles.get(inside)
        found[path] = Owned(package=record, digest=None if digest is None else ("md5", digest))
    return found


def _listed(base: str, info: str, paths: Iterable[str]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """By path: the package's name, the name of its lists, and the path as that has it."""
    diversions = _diversions(base)
    paths = {path for path in paths if not path.startswith(_OF_NOBODY)}
    origins = {moved: origin for origin, (moved, _) in diversions.items()}
    wanted: dict[bytes, str] = {}
    for path in paths:
        # Also by the path that a merged /usr had before.
        for each in (path, path.removeprefix("/usr")):
            wanted[os.fsencode(each)] = path
            if each in origins:
                wanted[os.fsencode(origins[each])] = path
    left = set(paths)
    needles = [(b"\n" + each + b"\n", each) for each in wanted]
    for file in _likely_first(
        (each.removesuffix(".list") for each in _names(info) if each.endswith(".list")), paths
    ):
        if not left:
            return
        name = file.partition(":")[0]
        content = b"\n" + _content(f"{info}/{file}.list", _LIST_LIMIT)
        few = len(needles) <= _FEW
        for raw in [w for n, w in needles if n in content] if few else wanted.keys() & set(content.split(b"\n")):
            inside, path = os.fsdecode(raw), wanted[raw]
            moved, by = diversions.get(inside, (inside, name))
            lies = moved if by != name else inside
            if path in left and lies in (path, path.removeprefix("/usr")):
                left.discard(path)
                yield path, (name, file, inside)


def _likely_first(names: Iterable[str], paths: Collection[str]) -> list[str]:
    """The lists in which the files are likely to be before the others: most packages begin as their files do."""
    starts: set[str] = set()
    for path in paths:
        name = posixpath.basename(path)
        stem = name.removeprefix("lib").removeprefix("ld-linux").partition(".")[0][:2]
        starts |= {stem, f"lib{stem}"} if name.startswith(("lib", "ld-")) else {name[:3]}
    likely = tuple(start for start in starts if start)
    return sorted(names, key=lambda name: (not name.startswith(likely), name))


def _diversions(base: str) -> dict[str, tuple[str, str]]:
    lines = os.fsdecode(_content(f"{base}/var/lib/dpkg/diversions", _LIST_LIMIT)).splitlines()
    return {path: (moved, by) for path, moved, by in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


def _paragraphs(path: str, field: bytes, names: Collection[str]) -> dict[str, list[bytes]]:
    """The paragraphs of packages with these names."""
    wanted = {os.fsencode(name): name for name in names}
    found: dict[str, list[bytes]] = {}
    start = field + b":"
    for paragraph in _content(path, _DATABASE_LIMIT).split(b"\n\n") if wanted else ():
        at = 0 if paragraph.startswith(start) else paragraph.find(b"\n" + start) + 1
        if at == 0 and not paragraph.startswith(start):
            continue
        name = wanted.get(paragraph[at + len(start) :].partition(b"\n")[0].strip())
        if name is not None:
            found.setdefault(name, []).append(paragraph)
    return found


def _debian(file: str, paragraphs: Iterable[bytes]) -> tuple[PackageRecord, Mapping[str, str]] | None:
    """The record of the package whose lists are named `file`, and the digests of its conffiles."""
    name, _, architecture = file.partition(":")
    for paragraph in paragraphs:
        fields = {key.decode().lower(): os.fsdecode(value) for key, value in _FIELD.findall(paragraph)}
        if not fields.get("version") or (architecture and fields.get("architecture") != architecture):
            continue
        version = fields["version"].strip()
        source = _RELATION.match(fields.get("source", name).replace("(", "(= "))
        depends = ",".join(fields.get(key, "") for key in ("pre-depends", "depends"))
        using = ",".join(fields.get(key, "") for key in ("built-using", "static-built-using"))
        record = PackageRecord(
            kind="deb",
            name=name,
            version=version,
            architecture=fields.get("architecture", "").strip(),
            source=source.group(1) if source else name,
            source_version=(source.group(2) if source else None) or version,
            copyright=f"/usr/share/doc/{name}/copyright",
            built_using=tuple(sorted({(each, number) for each, number in _relations(using) if number})),
            depends=tuple(dict.fromkeys(each for each, _ in _relations(depends))),
        )
        return record, dict(_CONFFILE.findall("\n" + fields.get("conffiles", "")))
    return None


def _relations(text: str) -> Iterator[tuple[str, str]]:
    for clause in text.split(","):
        for one in clause.split("|"):
            found = _RELATION.match(one.strip())
            if found:
                yield found.group(1), found.group(2) or ""


def _sums(path: str) -> dict[str, str]:
    lines = os.fsdecode(_content(path, _LIST_LIMIT)).splitlines()
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs}


def apk_owned(path: str, paths: Collection[str]) -> dict[str, Owned]:
    """What the database of apk at `path` says of files, by their real paths."""
    wanted = set(paths) | {each.removeprefix("/usr") for each in paths}
    found: dict[str, Owned] = {}
    for paragraph in os.fsdecode(_content(path, _DATABASE_LIMIT)).split("\n\n"):
        fields: dict[str, str] = {}
        directory = file = ""
        owned: dict[str, tuple[str, str] | None] = {}
        for line in paragraph.splitlines():
            key, value = line[:1], line[2:]
            if key == "F":
                directory = f"/{value}".rstrip("/")
            elif key == "R":
                file = posixpath.join(directory or "/", value)
                if file in wanted:
                    owned[file] = None
            elif key == "Z" and file in owned:
                owned[file] = _checksum(value)
            elif line[1:2] == ":":
                fields.setdefault(key, value)
        if owned and "P" in fields and "V" in fields:
            record = _alpine(fields)
            found |= {each: Owned(package=record, digest=digest) for each, digest in owned.items()}
    known = ((each, found.get(each) or found.get(each.removeprefix("/usr"))) for each in paths)
    return {each: owner for each, owner in known if owner is not None}


def _alpine(fields: Mapping[str, str]) -> PackageRecord:
    depends = (re.match(r"[\w+.-]+", each) for each in fields.get("D", "").split() if ":" not in each)
    return PackageRecord(
        kind="apk",
        name=fields["P"],
        version=fields["V"],
        architecture=fields.get("A", ""),
        source=fields.get("o", fields["P"]),
        source_version=fields["V"],
        license=fields.get("L") or None,
        depends=tuple(dict.fromkeys(each.group() for each in depends if each)),
    )


def _checksum(text: str) -> tuple[str, str] | None:
    """`Q1` and SHA-1 in base64: apk's format of installed databases."""
    import base64
    import binascii

    if not text.startswith("Q1"):
        return None
    try:
        return "sha1", base64.b64decode(text[2:], validate=True).hex()
    except (binascii.Error, ValueError):
        return None


_MARK: Final = "\x01"
_TAGS: Final = ("NAME", "EPOCHNUM", "VERSION", "RELEASE", "ARCH", "SOURCERPM", "LICENSE")
RPM_FORMAT: Final = (
    _MARK
    + "\\t".join(f"%{{{tag}}}" for tag in _TAGS)
    + "\\t[%{REQUIRENAME} ]\\n[%{FILEDIGESTS}\\t%{FILENAMES}\\n]"
)
"""What `rpm --queryformat` is to print of a package: one line of it, then one of each file."""

_AT_ONCE = 500


def rpm_owned(paths: Collection[str], query: Callable[..., str | None]) -> dict[str, Owned]:
    """What rpm says of files; `query` runs it with arguments, and gives its output."""
    wanted = sorted(paths)
    found: dict[str, Owned] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        output = query("-qf", "--queryformat", RPM_FORMAT, *wanted[start : start + _AT_ONCE]) or ""
        for text in output.split(_MARK)[1:]:
            head, *files = text.split("\n")
            record = _fedora(head.split("\t"))
            for line in files if record is not None else ():
                digest, _, path = line.partition("\t")
                if path in paths and record is not None:
                    kind = _DIGESTS.get(len(digest))
                    found[path] = Owned(package=record, digest=None if kind is None else (kind, digest))
    return found


def _fedora(values: list[str]) -> PackageRecord | None:
    if len(values) != len(_TAGS) + 1:
        return None
    name, epoch, version, release, architecture, source, license_text, requires = values
    full = f"{version}-{release}" if epoch in ("0", "(none)") else f"{epoch}:{version}-{release}"
    parts = source.removesuffix(".src.rpm").rsplit("-", 2)
    known = len(parts) == 3  # noqa: PLR2004 - name, version, release
    return PackageRecord(
        kind="rpm",
        name=name,
        version=full,
        architecture="" if architecture == "(none)" else architecture,
        source=parts[0] if known else name,
        source_version="-".join(parts[1:]) if known else f"{version}-{release}",
        license=None if license_text == "(none)" else license_text,
        depends=tuple(dict.fromkeys(each for each in requires.split() if "(" not in each and "/" not in each)),
    )


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _content(path: str, limit: int) -> bytes:
    """All of a regular file; nothing of one that is larger than any such file, or is not there."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return b""
        return os.read(descriptor, status.st_size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
