"""Whether a service gives programs no seccomp filter, of which only its own description tells.

podman starts half a dozen programs to describe itself, half a second in all, so what a service has said is kept as
long as its process lives.
"""

from __future__ import annotations

import os

from rootless_scratch.host.environment import own_state
from rootless_scratch.processes import text

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.engine.api.http import Client

_BOOT = "/proc/sys/kernel/random/boot_id"
_KEPT = "services"
_UNCONFINED = "unconfined"


def is_unfiltered(client: Client, variables: Mapping[str, str], *, is_asked: bool) -> bool:
    """Whether its profile is `unconfined`; with `is_asked` by what it says now, as it may read its files again.

    `variables` are those of tools. Raises EngineError where it does not answer.
    """
    process = _process(client.listener())
    path = None if process is None else _path(process, variables)
    if path is not None and not is_asked and (known := text(path)):
        return known == _UNCONFINED
    response = client.request("GET", "/info")
    host = response.json().get("host") or {} if response.ok else {}
    profile = str((host.get("security") or {}).get("seccompProfilePath") or "")
    if path is not None and profile:
        _keep(path, profile)
    return profile == _UNCONFINED


def _process(pid: int) -> str | None:
    """What names a process of podman, and no later one; None where systemd listens for those that come and go."""
    status = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    # Not by comm: podman executes itself once more, by the name of /proc/self/exe.
    program = text(f"/proc/{pid}/cmdline").partition("\0")[0]
    if not pid or os.path.basename(program) != "podman" or len(status) < 20:  # noqa: PLR2004 - proc(5)
        return None
    # Field 22, of which two stand before the bracket: when it was started, in ticks since the boot.
    return f"{text(_BOOT).strip()}-{pid}-{status[19]}"


def _path(process: str, variables: Mapping[str, str]) -> str | None:
    try:
        return f"{own_state(variables, _KEPT)}/{process}"
    except OSError:
        return None


def _keep(path: str, profile: str) -> None:
    """Write it down whole, and remove what was kept of processes that have ended."""
    directory, own = os.path.split(path)
    boot = text(_BOOT).strip()
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(profile)
        os.rename(temporary, path)
        for name in os.listdir(directory):
            pid = name.removeprefix(f"{boot}-").partition("-")[0]
            if name != own and not os.path.exists(f"/proc/{pid}"):
                os.unlink(f"{directory}/{name}")
    except OSError:
        return
