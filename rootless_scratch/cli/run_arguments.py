"""The arguments of `run` as podman's users write them, before click reads them."""

from __future__ import annotations

from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PULL = "--pull"
_POLICIES = ("always", "missing", "newer", "never")
_SWITCH = {"true": True, "false": False}


def own_count(arguments: Sequence[str], takes_value: Callable[[str], bool]) -> int:
    """How many of the arguments come before the image."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] not in ("-", "--"):
        at += 2 if _waits(arguments[at], takes_value) else 1
    return min(at, len(arguments))


def _waits(argument: str, takes_value: Callable[[str], bool]) -> bool:
    """Whether the value of this option is the next argument: short ones may stand together."""
    if argument.startswith("--"):
        return takes_value(argument)
    for at, letter in enumerate(argument[1:], 2):
        if takes_value(f"-{letter}"):
            return at == len(argument)
    return False


def as_options(arguments: Sequence[str], takes_value: Callable[[str], bool]) -> list[str]:
    """The same, where `-v` with a volume is `--volume`, `--pull` has its policy, and no switch has a value.

    Only what comes before the image is changed. `-v` is `--verbose` unless its value names a path in the container
    behind a colon.
    """
    found: list[str] = []
    at = 0
    while at < len(arguments):
        argument, rest = arguments[at], arguments[at + 1 :]
        if not argument.startswith("-") or argument in ("-", "--"):
            break
        used = 1
        if argument == _PULL:
            # A policy with nothing behind it is the image.
            policy = rest[0] if len(rest) > 1 and rest[0] in _POLICIES else None
            found.append(f"{_PULL}={policy or 'missing'}")
            used += policy is not None
        elif argument.startswith("--"):
            found += _switched(argument, takes_value)
            if takes_value(argument):
                found += rest[:1]
                used += 1
        else:
            before, volume, behind = _parted(argument, takes_value)
            if volume is None:
                found.append(argument)
                if _waits(argument, takes_value):
                    found += rest[:1]
                    used += 1
            elif volume or (rest and _is_volume(rest[0], rest[1:])):
                found += [f"-{before}"] if before else []
                found.append(f"--volume={volume or rest[0]}")
                used += not volume
            else:
                found.append(f"-{before}v{behind}")
        at += used
    return [*found, *arguments[at:]]


def _parted(argument: str, takes_value: Callable[[str], bool]) -> tuple[str, str | None, str]:
    """Short options up to `v`, the volume that is written to it (empty: none), and what else is behind it.

    The volume is None where there is no `v` among them.
    """
    letters = argument[1:]
    for at, letter in enumerate(letters):
        if letter == "v":
            behind = letters[at + 1 :]
            volume = behind.removeprefix("=")
            # Volumes have a path, and letters of options none.
            return letters[:at], volume if "/" in volume else "", behind
        if takes_value(f"-{letter}"):
            break
    return letters, None, ""


def _is_volume(value: str, behind: Sequence[str]) -> bool:
    """Whether this is a volume, not the image; one of a path alone needs an image behind it."""
    source, colon, target = value.partition(":")
    if colon:
        from rootless_scratch.image.references import is_reference

        return bool(source) and target.startswith("/") and not (is_reference(value) or target.startswith("//"))
    from os.path import isfile

    return value.startswith("/") and bool(behind) and not isfile(value)


def _switched(argument: str, takes_value: Callable[[str], bool]) -> Iterator[str]:
    """`--switch=true` as `--switch`, `--switch=false` as nothing, all else as it is."""
    name, equals, value = argument.partition("=")
    if not equals or takes_value(name) or value.lower() not in _SWITCH:
        yield argument
    elif _SWITCH[value.lower()]:
        yield name
    elif name == "--read-only":
        yield "--writable"
    elif name == "--rm":
        raise UsageError("--rm=false keeps the container, which has a name of its own here.", fix="Write --keep.")
