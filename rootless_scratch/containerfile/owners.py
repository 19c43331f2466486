"""Who a USER is, by the accounts that the stage holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootless_scratch.containerfile.files import StageFiles

_ACCOUNT_FIELDS = 4


def owner_of(user: str | None, files: StageFiles) -> tuple[int, int]:
    """The ids of the directories that WORKDIR makes: USER's, root's where the stage has no such name."""
    name, _, group = (user or "0").partition(":")
    accounts = _lines(files, "/etc/passwd")
    found = next((each for each in accounts if len(each) >= _ACCOUNT_FIELDS and name in (each[0], each[2])), None)
    if found is None and not name.isdigit():
        return 0, 0
    uid = int(name) if found is None else _number(found[2])
    gid = uid if found is None else _number(found[3])
    if group:
        groups = _lines(files, "/etc/group")
        gid = int(group) if group.isdigit() else next((_number(each[2]) for each in groups if each[0] == group), 0)
    return uid, gid


def _lines(files: StageFiles, path: str) -> list[list[str]]:
    content = files.content(path)
    if content is None:
        return []
    return [line.split(":") for line in content.decode("utf-8", "replace").splitlines() if line.count(":") > 1]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
