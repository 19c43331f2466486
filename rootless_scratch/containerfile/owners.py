"""Who a USER is, by the accounts that the stage holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.containerfile.metadata import ID_MAX
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from rootless_scratch.containerfile.files import StageFiles

_ACCOUNT_FIELDS = 4
_ID = expression(r"[0-9]{1,10}\Z")


def user_owner(user: str | None, files: StageFiles) -> tuple[int, int]:
    """The ids of the directories that WORKDIR makes: USER's, root's where the stage has no such name."""
    name, _, group = (user or "0").partition(":")
    accounts = _lines(files, "/etc/passwd")
    found = next((each for each in accounts if len(each) >= _ACCOUNT_FIELDS and name in (each[0], each[2])), None)
    if found is None and not _ID.match(name):
        return 0, 0
    uid = _number(name if found is None else found[2])
    gid = uid if found is None else _number(found[3])
    if group:
        groups = _lines(files, "/etc/group")
        gid = _number(next((each[2] for each in groups if each[0] == group), group))
    return uid, gid


def _lines(files: StageFiles, path: str) -> list[list[str]]:
    content = files.content(path)
    if content is None:
        return []
    return [line.split(":") for line in content.decode("utf-8", "replace").splitlines() if line.count(":") > 1]


def _number(text: str) -> int:
    """An id; 0 for a name, and for what is none."""
    return int(text) if _ID.match(text) and int(text) <= ID_MAX else 0
