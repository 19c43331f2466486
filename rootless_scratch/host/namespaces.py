"""What the kernel grants: its switches for user namespaces, and what happens when one is really made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.command import ask, last_cause
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.host.identity import Identity


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The first step of making a container's namespaces that the kernel refused, with its errno; or none."""

    failed_step: str | None
    errno: int


class IdMap(msgspec.Struct, frozen=True, kw_only=True):
    """What `buildah unshare` really maps: how many ids, or why there is no map at all."""

    ids: int
    problem: str | None


class UserNamespaces(msgspec.Struct, frozen=True, kw_only=True):
    """The switches of sysctl(8), None where the kernel has none of that name; then what was tried."""

    max_user_namespaces: int | None
    unprivileged_userns_clone: int | None
    apparmor_restrict: int | None
    probe: Probe
    id_map: IdMap | None


def read_user_namespaces(identity: Identity, *, environment: Mapping[str, str]) -> UserNamespaces:
    """Switches and probes; `id_map` is None where buildah is missing or no map is needed."""
    return UserNamespaces(
        max_user_namespaces=_switch("user/max_user_namespaces"),
        unprivileged_userns_clone=_switch("kernel/unprivileged_userns_clone"),
        apparmor_restrict=_switch("kernel/apparmor_restrict_unprivileged_userns"),
        probe=probe_namespaces(environment=environment),
        id_map=None if identity.rootful or not find("buildah") else _ask_map(environment),
    )


def probe_namespaces(*, environment: Mapping[str, str]) -> Probe:
    """Make the namespaces of a container in a throw-away process."""
    program = Path(__file__).with_name("namespace_probe.py")
    answer = ask([sys.executable or "python3", "-I", "-S", str(program)], environment=environment, check=False)
    try:
        return msgspec.convert(json.loads(answer.text), Probe)
    except (ValueError, msgspec.ValidationError):
        # A seccomp filter may end the process instead of refusing.
        return Probe(failed_step="start of the probe", errno=0)


def _ask_map(environment: Mapping[str, str]) -> IdMap:
    try:
        answer = ask(["buildah", "unshare", "cat", "/proc/self/uid_map"], environment=environment)
    except CommandError as error:
        return IdMap(ids=0, problem=last_cause(error.stderr) or error.message)
    except HostError as error:
        return IdMap(ids=0, problem=error.message)
    counts = [line.split()[2] for line in answer.text.splitlines() if len(line.split()) == 3]  # noqa: PLR2004 - the fields of uid_map
    return IdMap(ids=sum(int(count) for count in counts if count.isdigit()), problem=None)


def _switch(name: str) -> int | None:
    try:
        return int((Path("/proc/sys") / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
