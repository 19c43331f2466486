"""Whom the image runs as, and what its files let that user do: path_resolution(7), capabilities(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rootless_scratch.image.rootfs import Entry, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless_scratch.image.tree import Tree

Answer = Literal["yes", "no", "with-capability", "unknown"]
"""`with-capability`: root may with CAP_DAC_OVERRIDE; `unknown`: /etc/passwd or /etc/group decides."""

EXECUTE: Final = 0o1
WRITE: Final = 0o2
READ: Final = 0o4

_DIGITS = 40
_ID, _GROUP_ID, _MEMBERS = 2, 3, 3
"""Fields of passwd(5), and of group(5)."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user of an image as far as its config tells; None is an id that only files of the image tell."""

    uid: int | None
    gid: int | None

    @property
    def is_root(self) -> bool:
        """Whether this is uid 0 for certain."""
        return self.uid == 0


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of /etc/passwd and /etc/group of an image, in fields; None where what they say is not known."""

    passwd: tuple[tuple[str, ...], ...] | None
    group: tuple[tuple[str, ...], ...] | None


def read_lists(tree: Tree, content: Callable[[File], bytes | None]) -> Lists:
    """Read both as runtimes do: passwd(5), group(5); a file that is not there has no lines."""
    return Lists(passwd=_lines(tree, content, "/etc/passwd"), group=_lines(tree, content, "/etc/group"))


def account_of(user: str, lists: Lists) -> Account:
    """Read `UID`, `UID:GID`, names, or nothing for root, as runtimes do: GetExecUser() of moby/sys/user.

    Without a group it is the one of the image's /etc/passwd, or 0. A user whom /etc/group adds to more groups
    counts as one whose group is not known.
    """
    name, _, group = user.partition(":")
    uid = number(name) if name else 0
    line = _line_of(lists.passwd, name or "0")
    if uid is None and line is not None:
        uid = number(line[_ID])
    if group:
        return Account(uid=uid, gid=_group_id(lists.group, group))
    if lists.passwd is None or uid is None:
        return Account(uid=uid, gid=None)
    gid = 0 if line is None else number(line[_GROUP_ID])
    return Account(uid=uid, gid=None if line is not None and _has_more_groups(lists.group, line[0]) else gid)


def is_listed(lines: tuple[tuple[str, ...], ...] | None, name: str) -> bool:
    """Whether a name is in /etc/passwd or /etc/group; also where those lines are not known."""
    return lines is None or _line_of(lines, name) is not None


def _lines(tree: Tree, content: Callable[[File], bytes | None], path: str) -> tuple[tuple[str, ...], ...] | None:
    entry = tree.resolve(path)
    if not isinstance(entry, File):
        return ()
    found = content(entry)
    if found is None:
        return None
    lines = found.decode("utf-8", "surrogateescape").split("\n")
    return tuple((*line.split(":"), "") for line in lines if line.count(":") >= _ID)


def _line_of(lines: tuple[tuple[str, ...], ...] | None, name: str) -> tuple[str, ...] | None:
    """The first line of that name, or of that number."""
    return next((line for line in lines or () if name in {line[0], line[_ID]}), None)


def _group_id(lines: tuple[tuple[str, ...], ...] | None, group: str) -> int | None:
    gid = number(group)
    line = _line_of(lines, group) if gid is None else None
    return gid if line is None else number(line[_ID])


def _has_more_groups(lines: tuple[tuple[str, ...], ...] | None, name: str) -> bool:
    return lines is None or any(name in line[_MEMBERS].split(",") for line in lines)


def number(text: str) -> int | None:
    """Read a numeric id; None for a name. Of more digits than any id has, the first say that it is too large."""
    return int(text[:_DIGITS]) if text.isascii() and text.isdecimal() else None


def allowed(account: Account, entry: Entry, wish: int) -> Answer:
    """Say whether the permission bits of `entry` grant `wish` (EXECUTE, WRITE) to the account."""
    mode = entry.mode
    owner, group, other = mode >> 6 & wish == wish, mode >> 3 & wish == wish, mode & wish == wish
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
    if all(answer == "yes" for _, answer in answers):
        return None
    for sought in ("no", "unknown", "with-capability"):
        for entry, answer in answers:
            if answer == sought:
                return entry, answer
    return None
