"""What a service that is not ours has made of a container beside what it was asked for: its containers.conf."""

from __future__ import annotations

from rootless_scratch.engine.api.images import config_of
from rootless_scratch.engine.container.unfiltered import is_unfiltered

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any

    from rootless_scratch.engine.api.http import Client
    from rootless_scratch.engine.request.request import Request

_SET_BY_PODMAN = {"PATH", "TERM", "container", "HOME", "HOSTNAME"}
_OWN_ANNOTATIONS = (
    "io.podman",
    "io.container",
    "io.kubernetes.cri-o",
    "org.opencontainers",
    "org.systemd",
    "module",
)
_WRITE_OF_OTHERS = 0o022


def weakened(
    client: Client,
    found: dict[str, Any],
    request: Request,
    hidden: Collection[str],
    variables: Mapping[str, str],
) -> str | None:
    """One sentence on what `inspect` tells of a new container that nobody asked for; None for nothing.

    podman does not tell there what its configuration mounts: `hidden` are keys that are seen to be set. Tools have
    the environment `variables`.
    """
    settings, config = found.get("HostConfig") or {}, found.get("Config") or {}
    what = [*_namespaces(settings, request), *_confinement(settings, request), *_files(found, request)]
    if request.seccomp is None and is_unfiltered(client, variables, is_asked=request.strict):
        what.append("no seccomp filter")
    what += _program(client, config, settings, request)
    what += [f"its {key}" for key in ("volumes", "mounts", "devices") if key in hidden]
    if not what:
        return None
    return f"The configuration of the service (containers.conf) weakens this run: {', '.join(what)}."


def _namespaces(settings: dict[str, Any], request: Request) -> Iterator[str]:
    if request.beside is not None:
        return
    for key, name in (("PidMode", "process ids"), ("IpcMode", "IPC"), ("UTSMode", "hostname")):
        if settings.get(key) == "host":
            yield f"the {name} of the host"


def _confinement(settings: dict[str, Any], request: Request) -> Iterator[str]:
    if settings.get("Privileged"):
        yield "privileged"
    wanted = {f"{key}={value}" for key, value in request.security} | {f"seccomp={request.seccomp}"}
    for each in settings.get("SecurityOpt") or ():
        if each in ("seccomp=unconfined", "apparmor=unconfined", "label=disable") and each not in wanted:
            yield each


def _files(found: dict[str, Any], request: Request) -> Iterator[str]:
    targets = {mount.target.rstrip("/") for mount in request.mounts} | {each.target for each in request.devices}
    for mount in found.get("Mounts") or ():
        if mount.get("Type") == "bind" and mount.get("Destination") not in targets:
            yield f"{mount.get('Source')} mounted at {mount.get('Destination')}"
    for device in (found.get("HostConfig") or {}).get("Devices") or ():
        if device.get("PathInContainer") not in targets:
            yield f"the device {device.get('PathInContainer')}"


def _program(client: Client, config: dict[str, Any], settings: dict[str, Any], request: Request) -> Iterator[str]:
    image = config_of(client, request.image) or {}
    own = {str(pair).partition("=")[0] for pair in (image.get("Config") or {}).get("Env") or ()}
    own |= {name for name, _ in request.env} | _SET_BY_PODMAN
    own |= {secret.target for secret in request.secrets if secret.variable}
    own |= {name for file in request.env_files for name, _ in file}
    for pair in config.get("Env") or ():
        name = str(pair).partition("=")[0]
        if name not in own:
            yield f"the environment variable {name}"
    for name in config.get("Annotations") or ():
        if not str(name).startswith(_OWN_ANNOTATIONS):
            yield f"the annotation {name}"
    if settings.get("Init") and not request.init:
        yield "an init process"
    try:
        loose = int(config.get("Umask") or "0022", 8) & _WRITE_OF_OTHERS != _WRITE_OF_OTHERS
    except ValueError:
        loose = False
    if loose:
        yield f"the umask {config['Umask']}"
