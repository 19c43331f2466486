"""/etc/passwd and /etc/group of an image, made for the user that it names: passwd(5), group(5)."""

from __future__ import annotations

import re
from typing import Final

from rootless_scratch.errors import SpecError
from rootless_scratch.image.spec import NONROOT

_NONROOT_ID: Final = int(NONROOT.partition(":")[0])
_NOBODY_ID: Final = 65534
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_SHELL: Final = "/sbin/nologin"


def account_files(user: str) -> tuple[bytes, bytes, tuple[tuple[str, int, int], ...]]:
    """/etc/passwd, /etc/group, and home directories with their owners, for root, nobody, nonroot and `user`.

    A name that is none of these gets the id of nonroot. A numeric id gets the name `user`, its group `group`.
    Raises SpecError for names that no such file can hold.
    """
    word, _, group_word = user.partition(":")
    uid, name = _account(word, "user")
    gid, group = _account(group_word, "group") if group_word else (uid, name)
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


def _account(word: str, unnamed: str) -> tuple[int, str]:
    """The id and the name that a word of `--user` stands for; no word is root."""
    known = {0: "root", _NONROOT_ID: "nonroot", _NOBODY_ID: "nobody"}
    if not word:
        return 0, "root"
    if word.isascii() and word.isdecimal():
        return int(word), known.get(int(word), unnamed)
    if not _NAME.fullmatch(word):
        raise SpecError(
            f"{word!r} is no name that /etc/passwd or /etc/group can hold.",
            fix="Use letters, digits, `-`, `_` and `.`, or numbers such as 65532:65532.",
        )
    return next((number for number, name in known.items() if name == word), _NONROOT_ID), word
