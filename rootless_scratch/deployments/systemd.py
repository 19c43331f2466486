"""A container as a unit of systemd that runs podman, for versions of podman before quadlet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.deployments.podmans import mounted, notes_of_unit, other_options, published
from rootless_scratch.deployments.unittext import WAIT, command_line, described, unit
from rootless_scratch.deployments.workload import heading

if TYPE_CHECKING:
    from rootless_scratch.deployments.workload import Workload

_PODMAN = "/usr/bin/podman"
_ID_FILE = "--cidfile=%t/%N.cid"


def systemd(load: Workload) -> tuple[str, tuple[str, ...]]:
    """The text, and what it could not say."""
    notes = notes_of_unit(load)
    service = [
        ("Environment", "PODMAN_SYSTEMD_UNIT=%n"),
        ("Type", "notify"),
        ("NotifyAccess", "all"),
        ("Restart", "on-failure"),
        ("TimeoutStopSec", str(load.seconds + WAIT)),
        # What was killed leaves the file, with which podman would refuse to start.
        ("ExecStartPre", "/bin/rm -f %t/%N.cid"),
        ("ExecStart", f"{_PODMAN} run {_ID_FILE} {_run(load)}"),
        ("ExecStop", f"{_PODMAN} stop --ignore {_ID_FILE}"),
        ("ExecStopPost", f"-{_PODMAN} rm --force --ignore {_ID_FILE}"),
    ]
    text = unit(
        Unit=[("Description", described(load.about)), ("RequiresMountsFor", "%t/containers")],
        Service=service,
        Install=[("WantedBy", "default.target")],
    )
    place = f"Its place is ~/.config/systemd/user/{load.name}.service."
    return f"{heading(load, 'systemd', notes, place)}\n{text}", notes


def _run(load: Workload) -> str:
    """The arguments of `podman run`, an option a line."""
    user = [] if load.uid is None else [f"--user={load.uid}" + ("" if load.gid is None else f":{load.gid}")]
    options = [
        ("--name", load.name),
        ("--replace",),
        ("--rm",),
        ("--detach",),
        ("--sdnotify=conmon",),
        ("--cgroups=no-conmon",),
        *([] if load.writable else [("--read-only",)]),
        ("--cap-drop=all",),
        *((f"--cap-add={name}",) for name in load.capabilities),
        ("--security-opt=no-new-privileges",),
        *((each,) for each in user),
        *(("--env", f"{name}={value}") for name, value in load.env),
        *(("--publish", published(port)) for port in load.published()),
        *(("--volume", mounted(mount)) for mount in (*load.data, *load.mounts)),
        *((option,) for option in other_options(load)),
        (load.image, *load.arguments),
    ]
    return " \\\n    ".join(command_line(*each) for each in options)
