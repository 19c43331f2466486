"""Which control groups this host has, and which OCI runtime can therefore start a container on it."""

from __future__ import annotations

import os

from rootless_scratch import command
from rootless_scratch.data import Data
from rootless_scratch.errors import HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.containers_conf import runtime_named
from rootless_scratch.processes import text
from rootless_scratch.spawn import find

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    CgroupMode = Literal["v2", "hybrid", "v1", "none"]

_MOUNT = "/sys/fs/cgroup"
_MOUNTS_MENDED = (1, 11, 1)


class RuntimeChoice(Data):
    """The runtime to ask podman for: `name`, or None for podman's own default; `reason` where we choose."""

    name: str | None
    reason: str | None


def cgroup_mode(root: str = "") -> CgroupMode:
    """How control groups are mounted: cgroup2 alone, cgroup1, cgroup1 beside a cgroup2 with controllers, not.

    A cgroup2 at `unified` without controllers (systemd's default hybrid) counts as v1: crun accepts it.
    """
    types = _mounted(root)
    if types.get(_MOUNT) == "cgroup2":
        return "v2"
    if types.get(f"{_MOUNT}/unified") == "cgroup2" and text(f"{root}{_MOUNT}/unified/cgroup.controllers").strip():
        return "hybrid"
    return "v1" if "cgroup" in types.values() else "none"


def choose_runtime(root: str = "") -> RuntimeChoice:
    """The runtime that works under this host's cgroups: crun refuses the hybrid mode, runc does not.

    Raises HostError on a hybrid host without runc.
    """
    mode = cgroup_mode(root)
    if mode in ("v2", "none"):
        return RuntimeChoice(name=None, reason=None)
    if find("runc") is not None:
        return RuntimeChoice(name="runc", reason=f"cgroups are {mode} here")
    if mode == "hybrid":
        raise HostError(
            "This host mounts cgroup v1 and v2 side by side; crun refuses that, and runc is missing.",
            fix=f"{command.install_hint('runc')} Or boot with systemd.unified_cgroup_hierarchy=1.",
        )
    return RuntimeChoice(name=None, reason=None)


def forgetful_crun(variables: Mapping[str, str]) -> str | None:
    """The version of podman's crun where it mounts without the options of a volume in a user namespace of its own.

    It does so before 1.11.1, unless the volume is read-only. None for another version or runtime.
    """
    path = find("crun")
    if path is None or (runtime_named(variables, rootful=is_rootful()) or "crun") != "crun":
        return None
    import re

    try:
        answer = command.ask([path, "--version"], environment=variables).text
    except HostError:
        return None
    found = re.search(r"crun version (\d+(?:\.\d+)*)", answer)
    if found is None or tuple(map(int, found[1].split("."))) >= _MOUNTS_MENDED:
        return None
    return found[1]


def delegated_controllers(root: str = "", *, rootful: bool) -> tuple[str, ...]:
    """The controllers of cgroup v2 by which this user may set limits; real root has all that there are.

    Delegation is what systemd grants the user's manager; inside a container it is the root of the view.
    """
    uid = os.getuid()
    manager = f"user.slice/user-{uid}.slice/user@{uid}.service"
    for name in ("",) if rootful else (manager, _own_cgroup(root), ""):
        directory = f"{root}{_MOUNT}/{name}"
        if os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.controllers", os.R_OK):
            return tuple(text(f"{directory}/cgroup.controllers").split())
    return ()


def _own_cgroup(root: str) -> str:
    """Below the mount point, without a slash at its beginning: cgroups(7)."""
    lines = text(f"{root}/proc/self/cgroup").splitlines()
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")


def _mounted(root: str) -> dict[str, str]:
    """Mount points at and below /sys/fs/cgroup with their file system types; proc(5) gives the format."""
    types: dict[str, str] = {}
    for line in text(f"{root}/proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        # A later line hides an earlier one that is mounted at the same place, and what is mounted below that.
        if len(fields) > 4 and (fields[4] == "/sys" or fields[4].startswith(_MOUNT)):  # noqa: PLR2004 - the fifth field of proc(5)
            types = {point: kind for point, kind in types.items() if not f"{point}/".startswith(f"{fields[4]}/")}
            types[fields[4]] = source.split(" ", 1)[0]
    return types
