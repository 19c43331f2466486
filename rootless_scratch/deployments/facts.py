"""What an image says of itself, made safe to be repeated: its config may be anybody's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.deployments.workload import Health, Workload, shown
from rootless_scratch.engine.request.request import Mount
from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.settings import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.image.config import RuntimeConfig

_MOST = 64
"""So many ports and volumes are taken from an image; no program has as many."""

_LONGEST = 200
"""Characters of a description."""

_LABEL = "org.opencontainers.image."
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?\Z")
_PORT_MAX = 65_535
_PATH = re.compile(r"/[^:,\\]*[^:,\\\s/]/*\Z")
"""A path that podman's and docker's option, and a unit file, pass on as it is."""

_SECOND = 1_000_000_000
_LONGEST_SECONDS = 86_400
_NAME = re.compile(r"[^a-z0-9]+")
_NAME_MAX = 50
"""Characters of a name that is made here; what is added to it fits into 63."""

_ID, _SHORT_ID = re.compile(r"[0-9a-f]{64}\Z"), 12
"""An image ID, and the digits of it that are shown."""


def service_name(image: str) -> str:
    """A name that every format takes, after that of an image."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    name = _NAME.sub("-", last.lower())[: _SHORT_ID if _ID.match(last) else _NAME_MAX].strip("-") or "app"
    return name if name[0].isalpha() else f"app-{name}"


def workload(
    stored: StoredImage,
    request: Request,
    *,
    image: str,
    account: tuple[int | None, int | None],
    replicas: int,
    notes: Sequence[str],
) -> Workload:
    """The container of an image as `request` wants it; `account` are the numbers of its user, as far as known."""
    config = stored.runtime_config()
    noted = list(notes)
    name = request.name or service_name(image)
    uid, gid = account
    if uid == 0:
        noted.append("The program runs as root of its container; `build --user 65532` and --user name another.")
    elif uid is None:
        noted.append(
            f"The image alone knows its user {shown(config.user[:_LONGEST])}; --user UID:GID says it in numbers."
        )
    labels = dict(config.labels)
    exposed = tuple(_exposed(config, noted))
    taken = {mount.target.rstrip("/") for mount in request.mounts}
    taken |= {memory.target.rstrip("/") for memory in request.memories}
    return Workload(
        name=name,
        image=image,
        image_id=stored.image_id,
        about=_about(labels, name),
        version=shown(labels.get(f"{_LABEL}version", ""))[:_LONGEST],
        arguments=request.arguments,
        env=request.env,
        uid=uid,
        gid=gid,
        exposed=exposed,
        ports=request.ports,
        data=tuple(_data(config, name, taken, noted)),
        mounts=request.mounts,
        memories=request.memories,
        health=_health(stored, request, noted),
        stop_signal=_stop_signal(config, noted),
        seconds=10 if request.stop_timeout is None else request.stop_timeout,
        memory=request.memory,
        cpus=request.cpus,
        pids=request.pids_limit,
        replicas=replicas,
        writable=request.writable,
        capabilities=request.cap_add,
        notes=tuple(noted),
    )


def _about(labels: dict[str, str], name: str) -> str:
    """One line of what the image is for; nothing of it can end the line or continue it."""
    found = labels.get(f"{_LABEL}description") or labels.get(f"{_LABEL}title") or ""
    return shown(" ".join(found.split())[:_LONGEST]) or f"The container {name}"


def _exposed(config: RuntimeConfig, noted: list[str]) -> Iterator[tuple[int, str]]:
    known: dict[tuple[int, str], None] = {}
    for text in config.ports:
        match = _PORT.match(text)
        if match is None or not 0 < int(match[1]) <= _PORT_MAX or len(known) >= _MOST:
            noted.append(f"The image's port {shown(text[:_LONGEST])} is left out.")
            break
        known[int(match[1]), match[2] or "tcp"] = None
    yield from sorted(known)


def _data(config: RuntimeConfig, name: str, taken: set[str], noted: list[str]) -> Iterator[Mount]:
    """The image's volumes, each with a name after its path."""
    names: set[str] = set()
    for path in config.volumes:
        if path.rstrip("/") in taken:
            continue
        if not (_PATH.match(path) and path.isprintable()) or len(names) >= _MOST:
            noted.append(f"The image's volume {shown(path[:_LONGEST])} is left out; --volume mounts it.")
            break
        base = _NAME.sub("-", path.rpartition("/")[2].lower()).strip("-")[:_NAME_MAX] or "data"
        volume = f"{name}-{base}"
        if volume in names:
            volume = f"{volume}-{len(names) + 1}"
        names.add(volume)
        yield Mount(source=volume, target=path.rstrip("/"), read_only=False)


def _health(stored: StoredImage, request: Request, noted: list[str]) -> Health | None:
    if request.health_cmd is not None:
        return Health(command=request.health_cmd)
    config = json.loads(stored.config).get("config")
    found = config.get("Healthcheck") if isinstance(config, dict) else None
    test = stored.runtime_config().healthcheck
    if not isinstance(found, dict) or test[:1] not in (("CMD",), ("CMD-SHELL",)) or not test[1:]:
        return None
    command = test[1:] if test[0] == "CMD" else ("/bin/sh", "-c", *test[1:2])
    if any("\0" in argument for argument in command) or not command[0]:
        noted.append("The image's health check has no program, or a NUL byte, and is left out.")
        return None
    if len(command) == 1 and (command[0].split() != [command[0]]):
        noted.append("The image's health check has blanks in the name of its program, and is left out.")
        return None
    usual = Health(command=command)
    return msgspec.structs.replace(
        usual,
        interval=_seconds(found.get("Interval"), usual.interval),
        timeout=_seconds(found.get("Timeout"), usual.timeout),
        start_period=_seconds(found.get("StartPeriod"), usual.start_period),
        retries=_whole(found.get("Retries"), usual.retries),
    )


def _seconds(nanoseconds: object, usual: int) -> int:
    """Nanoseconds in whole seconds, at least one; 0 stands for the usual."""
    found = _whole(nanoseconds, 0)
    return min(max(round(found / _SECOND), 1), _LONGEST_SECONDS) if found else usual


def _whole(value: object, usual: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 62
    return int(value) if is_number else usual  # type: ignore[call-overload] # an integer


def _stop_signal(config: RuntimeConfig, noted: list[str]) -> str | None:
    if config.stop_signal is None:
        return None
    try:
        return signal_name(config.stop_signal)
    except UsageError:
        noted.append("The image's stop signal is none that is known, and is left out.")
        return None
