"""Tar headers as Go's archive/tar writes them, so that a layer has the bytes that buildah 1.39 and later give it.

POSIX.1-2017, pax: ustar where a header's fields hold everything, else a record in an extended header before it.
Owners have numbers only; a name that is not UTF-8 stands in its record as the bytes that it is.
"""

from __future__ import annotations

from rootless_scratch.image.capabilities import XATTR, encode_capabilities
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.rootfs import Directory, Symlink

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import Any

    from rootless_scratch.image.rootfs import Entry, Xattrs

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends an archive."""

FILE, HARD_LINK, SYMLINK, DIRECTORY, _EXTENDED = b"0", b"1", b"2", b"5", b"x"
_NAME, _PREFIX = 100, 155
_ID_LIMIT, _SIZE_LIMIT = 1 << 21, 1 << 33
"""From here on an octal field of 8, of 12 bytes is too short."""


def entry_header(entry: Entry, mtime: int) -> bytes:
    """All header blocks of an entry of a layer; the name has no leading slash, a directory's a trailing one."""
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
    fields: Any = {"kind": kind, "mode": mode, "uid": uid, "gid": gid, "size": size, "mtime": mtime}
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
            return _block(split[1], prefix=split[0], link=link, **fields)
        records[b"path"] = name
    if not records:
        return _block(name, prefix=b"", link=link, **fields)
    content = b"".join(_record(key, records[key]) for key in sorted(records))
    above, _, last = name.rpartition(b"/")
    parts = (part for part in (above, b"PaxHeaders.0", last) if part)
    extended = _ascii(b"/".join(parts))[:_NAME].rstrip(b"/")
    return b"".join(
        (
            _extended_block(extended, len(content)),
            content,
            padding(len(content)),
            _block(_ascii(name), prefix=b"", link=_ascii(link), **fields),
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


def _block(
    name: bytes,
    *,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    prefix: bytes,
) -> bytes:
    return _summed(
        _text(name, _NAME)
        + _octal(mode, 8)
        + _octal(uid, 8)
        + _octal(gid, 8)
        + _octal(size, 12)
        + _octal(mtime, 12),
        kind
        + _text(link, _NAME)
        + b"ustar\x0000"
        + bytes(64)
        + b"0000000\x000000000\0"
        + prefix.ljust(_PREFIX, b"\0")
        + bytes(12),
    )


def _extended_block(name: bytes, size: int) -> bytes:
    """The header of an extended header; its device numbers are empty, where others have zeros."""
    return _summed(
        _text(name, _NAME) + b"0000000\0" * 3 + _octal(size, 12) + _octal(0, 12),
        _EXTENDED + bytes(_NAME) + b"ustar\x0000" + bytes(BLOCK - 265),
    )


def _summed(before: bytes, after: bytes) -> bytes:
    """Both halves around their checksum, which counts itself as eight spaces."""
    return before + b"%06o\0 " % (sum(before) + sum(after) + 8 * 32) + after
