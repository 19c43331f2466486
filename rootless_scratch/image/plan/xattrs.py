"""Extended attributes of files of the host: those that an image can keep, and those that it cannot.

`user.*` and file capabilities belong to the file; other names (labels of SELinux, access control lists, what only
root can read) belong to the host.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import ScratchError, SourceError
from rootless_scratch.image.capabilities import XATTR, decode_capabilities, encode_capabilities

if TYPE_CHECKING:
    from rootless_scratch.image.rootfs import Xattrs

_OF_USERS = "user."
_OF_HOSTS = (XATTR, "security.selinux", "security.ima", "security.evm", "security.SMACK64", "security.apparmor")
"""Capabilities are kept by themselves, labels are given anew by each host."""

_NONE = (errno.ENODATA, errno.ENOTSUP)


def capability_of(source: str) -> tuple[str, bytes] | None:
    """The file capabilities, as text and as they are stored; None where there are none that can be seen."""
    try:
        value = os.getxattr(source, XATTR)
    except OSError:
        return None
    return decode_capabilities(value) or value.hex(), value


def kept_capability(source: str, text: str, value: bytes) -> str:
    """The text that an image writes as the same bytes; raises SourceError where there is none."""
    try:
        same = encode_capabilities(text) == value
    except ScratchError:
        same = False
    if not same:
        raise SourceError(
            f"{source!r} carries the file capabilities {text!r}, which an image cannot keep as they are.",
            fix="Name those that the program needs behind its own --copy, e.g. `cap=cap_net_raw+ep`.",
        )
    return text


def xattrs_of(source: str) -> tuple[Xattrs, tuple[str, ...]]:
    """The attributes that an image keeps, and the names of others; raises SourceError."""
    try:
        names = sorted(os.listxattr(source))
        kept = tuple((name, os.getxattr(source, name)) for name in names if name.startswith(_OF_USERS))
    except OSError as error:
        if error.errno in _NONE:
            return (), ()
        raise unreadable(source, error) from error
    for name, _ in kept:
        if "=" in name:
            raise SourceError(
                f"{source!r} has the attribute {name!r}, and no layer holds a name with a `=`.",
                fix="Remove it (`setfattr -x NAME FILE`), or leave `xattrs=keep` out.",
            )
    return kept, tuple(name for name in names if not name.startswith(_OF_USERS) and name not in _OF_HOSTS)
