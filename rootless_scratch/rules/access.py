"""Whom the image runs as, and what its files let that user do: path_resolution(7), capabilities(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rootless_scratch.image.rootfs import File

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless_scratch.image.rootfs import Entry
    from rootless_scratch.image.tree import Tree

Answer = Literal["yes", "no", "with-capability", "unknown"]
"""`with-capability`: root may with CAP_DAC_OVERRIDE; `unknown`: /etc/passwd or /etc/group decides."""

EXECUTE: Final = 0o1
WRITE: Final = 0o2
READ: Final = 0o4


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user of an image as far as its config tells; None is an id that only files of the image tell."""

    uid: int | None
    gid: int | None

    @property
    def is_root(self) -> bool:
        """Whether this is uid 0 for certain."""
        return self.uid == 0


def account_of(user: str, tree: Tree) -> Account:
    """Read `UID`, `UID:GID`, names, or nothing for root, as runtimes do.

    Without a group it is the one of the image's /etc/passwd, which may also lead to more in /etc/group; where
    there is no /etc/passwd it is 0.
    """
    name, _, group = user.partition(":")
    uid = number(name) if name else 0
    if group:
        return Account(uid=uid, gid=number(group))
    return Account(uid=uid, gid=None if uid is None or tree.is_present("/etc/passwd") else 0)


def number(text: str) -> int | None:
    """Read a numeric id; None for a name."""
    return int(text) if text.isascii() and text.isdecimal() else None


def allowed(account: Account, entry: Entry, wish: int) -> Answer:
    """Say whether the permission bits of `entry` grant `wish` (EXECUTE, WRITE) to the account."""
    owner, group, other = (entry.mode >> shift & wish == wish for shift in (6, 3, 0))
    if account.uid is None:
        if owner and group and other:
            return "yes"
        # Root is served even by a directory without any bit, and by a file only if it has one.
        never = isinstance(entry, File) and not (owner or group or other)
        return "no" if never else "unknown"
    if account.uid == entry.uid:
        granted = owner
    elif account.gid is None and group != other:
        return "unknown"
    elif account.gid == entry.gid:
        granted = group
    else:
        granted = other
    if granted:
        return "yes"
    overridable = not isinstance(entry, File) or owner or group or other
    return "with-capability" if account.is_root and overridable else "no"


def obstacle(account: Account, steps: Iterable[Entry], wish: int) -> tuple[Entry, Answer] | None:
    """Find what keeps the account from its wish at the end of `Tree.walk`, what does for certain first."""
    *directories, last = steps
    answers = [(directory, allowed(account, directory, EXECUTE)) for directory in directories]
    answers.append((last, allowed(account, last, wish)))
    for sought in ("no", "unknown", "with-capability"):
        for entry, answer in answers:
            if answer == sought:
                return entry, answer
    return None
