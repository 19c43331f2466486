"""/etc/passwd and /etc/group of an image, made for the user that it names: passwd(5), group(5)."""

from __future__ import annotations

from typing import Final

from rootless_scratch.errors import SpecError
from rootless_scratch.expressions import expression
from rootless_scratch.image.spec import NONROOT

_NONROOT_ID: Final = int(NONROOT.partition(":")[0])
_NOBODY_ID: Final = 65534
_NAME: Final = expression(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_SHELL: Final = "/sbin/nologin"


def account_files(user: str) -> tuple[bytes, bytes, tuple[tuple[str, int, int], ...]]:
    """/etc/passwd, /etc/group, and home directories with their owners, for root, nobody, nonroot and `user`.

    A name that is none of these gets the id of nonroot. A numeric id gets the name `user`, its group `group`.
    Raises SpecError for names that no such file can hold.
    """
    text, _, group_text = user.partition(":")
    uid, name = _account(text, "user")
    gid, group = _account(group_text, "group") if group_text else (uid, name)
    accounts = {"root": (0, 0, "/root"), "nonroot": (_NONROOT_ID, _NONROOT_ID, "/home/nonroot")}
    if name not in accounts or accounts[name][:2] != (uid, gid):
        # The first line of an id gives the name of it.
        home = "/root" if uid == 0 else f"/home/{name}"
        accounts = {name: (uid, gid, home)} | {key: found for key, found in accounts.items() if key != name}
    groups = {"root": 0, "nonroot": _NONROOT_ID}
    if groups.get(group) != gid:
        groups = {group: gid} | {key: found for key, found in groups.items() if key != group}
    accounts["nobody"] = (_NOBODY_ID, _NOBODY_ID, "/nonexistent")
    groups["nobody"] = _NOBODY_ID
    passwd = "".join(f"{key}:x:{of}:{to}:{key}:{home}:{_SHELL}\n" for key, (of, to, home) in accounts.items())
    homes = {home: (of, to) for of, to, home in accounts.values() if home.startswith("/home/")}
    return (
        passwd.encode(),
        "".join(f"{key}:x:{number}:\n" for key, number in groups.items()).encode(),
        tuple((home, *owner) for home, owner in homes.items()),
    )


def _account(text: str, unnamed: str) -> tuple[int, str]:
    """The id and the name that a part of `--user` stands for; an empty one is root."""
    known = {0: "root", _NONROOT_ID: "nonroot", _NOBODY_ID: "nobody"}
    if not text:
        return 0, "root"
    if text.isascii() and text.isdecimal():
        return int(text), known.get(int(text), unnamed)
    if not _NAME.fullmatch(text):
        raise SpecError(
            f"{text!r} is not a name that /etc/passwd or /etc/group can hold.",
            fix="Use letters, digits, `-`, `_` and `.`, or numbers such as 65532:65532.",
        )
    return next((number for number, name in known.items() if name == text), _NONROOT_ID), text
