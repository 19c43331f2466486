"""Tar headers as Go's archive/tar writes them, so that a layer has the bytes that buildah 1.39 and later give it.

POSIX.1-2017, pax: ustar where a header's fields hold everything, else a record in an extended header before it.
Owners have numbers only; a name that is not UTF-8 stands in its record as the bytes that it is.
"""

from __future__ import annotations

from functools import lru_cache

from rootless_scratch.image.capabilities import XATTR, encode_capabilities
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.rootfs import Directory, Symlink

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.image.rootfs import Entry, Xattrs

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends an archive."""

FILE, HARD_LINK, SYMLINK, DIRECTORY, _EXTENDED = b"0", b"1", b"2", b"5", b"x"
_NAME, _PREFIX = 100, 155
_BLANK_SUM = 8 * 32
"""A checksum counts itself as eight spaces."""
_ID_LIMIT, _SIZE_LIMIT = 1 << 21, 1 << 33
"""From here on an octal field of 8, of 12 bytes is too short."""


def entry_header(entry: Entry, mtime: int) -> bytes:
    """All header blocks of an entry of a layer; the name has no leading slash, a directory's a trailing one.

    What most files need, which is a block that holds everything, is looked at first.
    """
    name = encoded(entry.path)[1:]
    if isinstance(entry, Directory):
        return header(
            name + b"/",
            kind=DIRECTORY,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            mtime=mtime,
            xattrs=entry.xattrs,
        )
    if isinstance(entry, Symlink):
        return header(
            name,
            kind=SYMLINK,
            link=encoded(entry.target),
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            mtime=mtime,
        )
    if (
        entry.linked is None
        and len(name) <= _NAME
        and name.isascii()
        and entry.capabilities is None
        and not entry.xattrs
        and max(entry.uid, entry.gid) < _ID_LIMIT
        and max(entry.identity.size, mtime) < _SIZE_LIMIT
    ):
        return _block(name, FILE, entry.mode, entry.uid, entry.gid, entry.identity.size, mtime, b"")
    # buildah gives a hard link the owner, mode and attributes of the file again, and no size.
    link = None if entry.linked is None else encoded(entry.linked)[1:]
    return header(
        name,
        kind=FILE if link is None else HARD_LINK,
        link=link or b"",
        size=entry.identity.size if link is None else 0,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=mtime,
        capabilities=encode_capabilities(entry.capabilities) if entry.capabilities else None,
        xattrs=entry.xattrs,
    )


def header(
    name: bytes,
    *,
    kind: bytes = FILE,
    size: int = 0,
    mode: int = 0o644,
    link: bytes = b"",
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    capabilities: bytes | None = None,
    xattrs: Xattrs = (),
) -> bytes:
    """The header blocks of one member, extended header included."""
    records: dict[bytes, bytes] = {}
    split = _split(name)
    fields = (kind, mode, uid, gid, size, mtime)
    if len(link) > _NAME or not link.isascii():
        records[b"linkpath"] = link
    for field, number, limit in (
        (b"uid", uid, _ID_LIMIT),
        (b"gid", gid, _ID_LIMIT),
        (b"size", size, _SIZE_LIMIT),
        (b"mtime", mtime, _SIZE_LIMIT),
    ):
        if number >= limit:
            records[field] = b"%d" % number
    if capabilities is not None:
        records[b"SCHILY.xattr." + XATTR.encode()] = capabilities
    for key, value in xattrs:
        records[b"SCHILY.xattr." + encoded(key)] = value
    if len(name) > _NAME or not name.isascii():
        # Where another record is needed anyway, a long name gets one too, even if it could be split.
        if split is not None and not records:
            return _block(split[1], *fields, link, split[0])
        records[b"path"] = name
    if not records:
        return _block(name, *fields, link)
    content = b"".join(_record(key, records[key]) for key in sorted(records))
    above, _, last = name.rpartition(b"/")
    parts = (part for part in (above, b"PaxHeaders.0", last) if part)
    extended = _ascii(b"/".join(parts))[:_NAME].rstrip(b"/")
    return b"".join(
        (
            _extended_block(extended, len(content)),
            content,
            padding(len(content)),
            _block(_ascii(name), *fields, _ascii(link)),
        )
    )


def padding(size: int) -> bytes:
    """What fills the last block of `size` bytes of content."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """The two fields of a ustar header that a long name is put into, where they hold it."""
    length = len(name)
    if length <= _NAME or not name.isascii():
        return None
    if length > _PREFIX + 1:
        length = _PREFIX + 1
    elif name.endswith(b"/"):
        length -= 1
    at = name.rfind(b"/", 0, length)
    rest = len(name) - at - 1
    if at <= 0 or not 0 < rest <= _NAME or at > _PREFIX:
        return None
    return name[:at], name[at + 1 :]


def _record(key: bytes, value: bytes) -> bytes:
    """LENGTH, a space, KEY=VALUE and a newline, in which the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _ascii(text: bytes) -> bytes:
    """Go leaves out what is not ASCII, character by character; no byte of one is."""
    return text if text.isascii() else bytes(byte for byte in text if byte < 128)  # noqa: PLR2004 - ASCII's end


def _text(text: bytes, width: int) -> bytes:
    """A field; Go ends a cut name before a slash, which some readers take for a directory's, by a NUL."""
    if len(text) > width and text[width - 1 : width] == b"/":
        end = len(text[: width - 1].rstrip(b"/"))
        text = text[:end] + b"\0" + text[end + 1 :]
    return text[:width].ljust(width, b"\0")


def _octal(number: int, width: int) -> bytes:
    """A number that has a record instead is 0 here."""
    limit = 1 << 3 * (width - 1)
    return b"%0*o\0" % (width - 1, number if number < limit else 0)


def _block(  # noqa: PLR0917 - the fields of a header, in their order but for the size
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    prefix: bytes = b"",
) -> bytes:
    owner, time, rest, checksum = _frame((kind, mode, uid, gid, mtime, link, prefix))
    name, length = _text(name, _NAME), _octal(size, 12)
    return b"%b%b%b%b%06o\0 %b" % (name, owner, length, time, checksum + sum(name) + sum(length), rest)


@lru_cache(maxsize=256)
def _frame(fields: tuple[bytes, int, int, int, int, bytes, bytes]) -> tuple[bytes, bytes, bytes, int]:
    """What the blocks of most files have in common: what stands between and behind their own, and its sum."""
    kind, mode, uid, gid, mtime, link, prefix = fields
    owner, time = _octal(mode, 8) + _octal(uid, 8) + _octal(gid, 8), _octal(mtime, 12)
    rest = b"%b%bustar\x0000%b0000000\x000000000\0%b%b" % (
        kind,
        _text(link, _NAME),
        bytes(64),
        prefix.ljust(_PREFIX, b"\0"),
        bytes(12),
    )
    return owner, time, rest, sum(owner) + sum(time) + _BLANK_SUM + sum(rest)


def _extended_block(name: bytes, size: int) -> bytes:
    """The header of an extended header; its device numbers are empty, where others have zeros."""
    return _summed(
        _text(name, _NAME) + b"0000000\0" * 3 + _octal(size, 12) + _octal(0, 12),
        _EXTENDED + bytes(_NAME) + b"ustar\x0000" + bytes(BLOCK - 265),
    )


def _summed(before: bytes, after: bytes) -> bytes:
    """Both halves around their checksum."""
    return before + b"%06o\0 " % (sum(before) + sum(after) + _BLANK_SUM) + after
