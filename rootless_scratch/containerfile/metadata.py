"""`--chown` and `--chmod`: the owner and the mode that an instruction gives to what it copies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rootless_scratch.errors import SpecError
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.containerfile.files import StageFiles

ID_MAX = 2**32 - 2
"""The highest number means "no change" to chown(2)."""

_DECIMAL = expression(r"[0-9]{1,10}\Z")
_OCTAL = expression(r"(0o)?0*([0-7]{1,4})\Z")
_CLAUSE = expression(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)\Z")
_CHANGE = expression(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_SET_ID = {"u": 0o4000, "g": 0o2000}
_STICKY = 0o1000
_EXECUTE = 0o111


def owner_of(chown: str, files: StageFiles) -> tuple[int, int]:
    """The owner that `USER[:GROUP]` names, by the image's own /etc/passwd and /etc/group; raises SpecError.

    A name alone has its primary group, a number alone the group of that number, and `:GROUP` alone is root's.
    """
    user, _, group = chown.partition(":")
    if not user and not group:
        raise SpecError("--chown names neither a user nor a group.", fix="Write it as `--chown=65532:65532`.")
    uid = primary = 0
    if _DECIMAL.match(user):
        uid = primary = _id(user)
    elif user:
        fields = _line(files, "/etc/passwd", "user", user)
        uid, primary = _id(fields[2]), _id(fields[3])
    if not group:
        return uid, primary
    return uid, _id(group if _DECIMAL.match(group) else _line(files, "/etc/group", "group", group)[2])


def _line(files: StageFiles, path: str, what: str, name: str) -> list[str]:
    """The fields of the line of a name, one for each that passwd(5) or group(5) needs."""
    content = files.content(path)
    count = 4 if what == "user" else 3
    for line in (content or b"").decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) >= count and all(map(_DECIMAL.match, fields[2:count])):
            return fields
    where = f"the image has no {path}" if content is None else f"the image's {path} does not have it"
    raise SpecError(
        f"--chown names the {what} {name!r}, but {where}.",
        fix=f"Write its number, e.g. `--chown=65532:65532`, or copy {path} with that name before.",
    )


def _id(text: str) -> int:
    number = int(text)
    if number > ID_MAX:
        raise SpecError(
            f"The owner {number} is not a user or group id.", fix=f"Ids are from 0 to {ID_MAX}; 65532 is usual."
        )
    return number


def mode_of(chmod: str, *, keeps_set_id: bool) -> Callable[[int, bool], int]:
    """What `--chmod` makes of the mode of a file or a directory (the second argument); raises SpecError.

    Octal digits, or the symbols of chmod(1), where no letter of a user means all of them.
    """
    octal = _OCTAL.match(chmod)
    if octal is not None:
        mode = int(octal[2], 8)
        return partial(_same, mode if keeps_set_id else mode & ~0o6000)
    clauses = [_CLAUSE.match(clause) for clause in chmod.split(",")]
    if None in clauses:
        raise SpecError(f"--chmod={chmod} is not a file mode.", fix="Write it as `--chmod=755` or `--chmod=a+rX`.")
    changes = [
        (clause[1].replace("a", "ugo") or "ugo", sign, bits)
        for clause in clauses
        if clause is not None
        for sign, bits in _CHANGE.findall(clause[2])
    ]
    return partial(_changed, changes)


def _same(mode: int, _before: int, _is_directory: bool) -> int:
    return mode


def _changed(changes: list[tuple[str, str, str]], mode: int, is_directory: bool) -> int:
    for users, sign, bits in changes:
        change = mask = 0
        for user in users:
            change |= _bits_of(user, bits, mode, is_directory=is_directory)
            mask |= 7 << _SHIFTS[user] | _SET_ID.get(user, 0)
        if "t" in bits and bits not in _SHIFTS:
            change |= _STICKY
        if sign == "+":
            mode |= change
        elif sign == "-":
            mode &= ~change
        else:
            mode = mode & ~mask | change
    return mode


def _bits_of(user: str, bits: str, mode: int, *, is_directory: bool) -> int:
    if bits in _SHIFTS:
        return (mode >> _SHIFTS[bits] & 7) << _SHIFTS[user]
    found = sum(_BITS[bit] for bit in set(bits) if bit in _BITS)
    if "X" in bits and (is_directory or mode & _EXECUTE):
        found |= 1
    return found << _SHIFTS[user] | (_SET_ID.get(user, 0) if "s" in bits else 0)
