"""From what a Spec says of configuration to an image's config: read, checked and put into one form."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rootless_scratch.errors import SpecError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.config import RuntimeConfig
from rootless_scratch.image.paths import image_path, is_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.image.spec import Spec

_PORT = expression(r"(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp|sctp))?\Z")
_PORT_MAX = 65535
_USER = expression(r"[^\s:+-][^\s:]*(?::[^\s:+-][^\s:]*)?\Z")
_ID = expression(r"[0-9]+\Z")
_ID_LIMIT = 2**31
"""Runtimes read the ids of a config as 31 bits: minID and maxID of github.com/moby/sys/user."""

_REALTIME = {f"SIGRTMIN+{count}" for count in range(16)} | {f"SIGRTMAX-{count}" for count in range(15)}
"""What runtimes know besides the names of signal(7)."""

_SECONDS = expression(r"0*(?P<seconds>[0-9]{1,12})\Z")
_SECONDS_MAX = 253402300799
"""The end of the year 9999, the last one that RFC 3339 can write."""


def runtime_config(spec: Spec, first_program: str | None) -> RuntimeConfig:
    """The config that `spec` asks for; without an entrypoint of its own it is the first program."""
    entrypoint = spec.entrypoint
    if entrypoint is None and first_program is not None:
        entrypoint = (first_program,)
    for argument in entrypoint or ():
        _config_text("The entrypoint", argument, fix="Give the file a name in the image that is: PROGRAM:/name.")
    for argument in spec.cmd or ():
        _config_text("The command", argument)
    return RuntimeConfig(
        user=require_user(spec.user),
        env=pairs("--env", spec.env),
        entrypoint=entrypoint or None,
        cmd=spec.cmd or None,
        working_dir=_config_text("The working directory", image_path(spec.workdir, what="working directory")),
        labels=pairs("--label", spec.labels),
        ports=tuple(sorted({_port(port) for port in spec.ports})),
        volumes=tuple(
            sorted({_config_text("The volume", image_path(path, what="volume")) for path in spec.volumes})
        ),
        stop_signal=None if spec.stop_signal is None else signal_name(spec.stop_signal),
    )


def _config_text(what: str, text: str, *, fix: str = "Write it in UTF-8.") -> str:
    if not is_utf8(text):
        raise UsageError(
            f"{what} {text!r} is not UTF-8, and an image's config is JSON (OCI image-spec v1.1, config.md).",
            fix=fix,
        )
    if "\0" in text:
        raise UsageError(f"{what} {text!r} contains a NUL byte.", fix="Remove the NUL byte.")
    return text


def pairs(flag: str, values: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The pairs of `--env`, `--label` or `--annotation`, each name once."""
    chosen: dict[str, str] = {}
    for key, value in values:
        _config_text(flag, key)
        _config_text(flag, value)
        if not key or "=" in key:
            raise UsageError(f"{flag}: {key!r} is not a name.", fix="Names are not empty and hold no `=`.")
        chosen[key] = value
    # The order of environment variables is the user's; the later of two settings of one name wins.
    return tuple(chosen.items()) if flag == "--env" else tuple(sorted(chosen.items()))


def require_user(user: str) -> str:
    """The user itself, if it can be one: ids or names, with or without a group; raises UsageError."""
    if not _USER.match(user) or not is_utf8(user) or "\0" in user:
        raise UsageError(
            f"{user!r} is not a user.",
            fix="Give it as UID, UID:GID, or names that the image's /etc/passwd has.",
        )
    for part in user.split(":"):
        if _ID.match(part) and (len(part) > len(str(_ID_LIMIT)) or int(part) >= _ID_LIMIT):
            raise UsageError(
                f"{user[:60]!r} has an id that no runtime takes.",
                fix=f"Ids are below {_ID_LIMIT}; 65532 is usual.",
            )
    return user


def _port(text: str) -> str:
    match = _PORT.match(text.lower())
    if match is None or not 1 <= int(match["port"]) <= _PORT_MAX:
        raise UsageError(f"{text!r} is not a port.", fix="Give it as 8080, 8080/tcp, 53/udp or 9899/sctp.")
    return f"{int(match['port'])}/{match['protocol'] or 'tcp'}"


def signal_name(text: str) -> str:
    """A signal's name in full, or its number in digits; raises UsageError."""
    import signal

    if _ID.match(text) and len(text) <= len("64") and 1 <= int(text) <= signal.SIGRTMAX:
        return str(int(text))
    name = "SIG" + text.upper().removeprefix("SIG")
    if name not in signal.Signals.__members__ and name not in _REALTIME:
        raise UsageError(
            f"{text!r} is not a signal.", fix="Give it as SIGTERM, TERM, 15 or SIGRTMIN+3; see signal(7)."
        )
    return name


def times(created: str | None, environ: Mapping[str, str]) -> tuple[int, str | None]:
    """The entries' mtime, and the config's `created`; None for `now`.

    A time given with --created stands for SOURCE_DATE_EPOCH, of which see
    reproducible-builds.org/specs/source-date-epoch.
    """
    epoch = _epoch(environ.get("SOURCE_DATE_EPOCH") or "0")
    if created == "now":
        return epoch, None
    seconds = epoch if created is None else _seconds(created)
    return seconds, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _epoch(text: str) -> int:
    match = _SECONDS.match(text)
    if match is None or int(match["seconds"]) > _SECONDS_MAX:
        raise SpecError(
            f"SOURCE_DATE_EPOCH is {text[:60]!r}, which is not a number of seconds until the year 9999.",
            fix="Set it to e.g. `$(git log -1 --format=%ct)`, or unset it.",
        )
    return int(match["seconds"])


def _seconds(text: str) -> int:
    shown = repr(text[:60])
    digits = text.removeprefix("-")
    if _ID.match(digits):
        match = _SECONDS.match(digits)
        seconds = int(match["seconds"]) if match else _SECONDS_MAX + 1
        seconds *= -1 if text.startswith("-") else 1
    else:
        seconds = _iso_seconds(text)
    if seconds < 0:
        raise UsageError(f"{shown} is before 1970.", fix="Give a later time.")
    if seconds > _SECONDS_MAX:
        raise UsageError(f"{shown} is after the year 9999.", fix="Give an earlier time, in seconds since 1970.")
    return seconds


def _iso_seconds(text: str) -> int:
    """ISO 8601, in UTC where no zone is named; parts of a second are cut off, also before 1970."""
    import math
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text[:60]!r} is not a time.",
            fix="Give --created as `now`, seconds since 1970, or e.g. 2026-01-31T12:00:00Z.",
        ) from error
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
