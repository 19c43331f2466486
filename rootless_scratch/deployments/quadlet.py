"""A container as a .container file of quadlet, with the keys that podman 4.4 knows and later ones have kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.deployments.podmans import mounted, notes_of_unit, other_options, published
from rootless_scratch.deployments.unittext import WAIT, command_line, described, quoted, unit, unquoted
from rootless_scratch.deployments.workload import heading
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from rootless_scratch.deployments.workload import Workload

_UNITS = (".volume", ".build", ".image", ".mount")
"""What quadlet takes for the name of another unit."""


def quadlet(load: Workload) -> tuple[str, tuple[str, ...]]:
    """The text, and what it could not say; raises UsageError for what quadlet would read as something else."""
    for argument in load.arguments:
        # It drops what is empty with all that follows, and writes a semicolon so that systemd ends the command.
        if argument in ("", ";"):
            raise UsageError(
                f"Quadlet cannot pass on the argument {argument!r}.",
                fix="Put it into the command of the image, or use `generate systemd`.",
            )
    mounts = (*load.data, *load.mounts)
    for mount in mounts:
        if not mount.is_bind and mount.source.endswith(_UNITS):
            raise UsageError(
                f"Quadlet takes the volume {mount.source!r} for a unit.", fix="Name the volume without a dot."
            )
    notes = notes_of_unit(load)
    user = [] if load.uid is None else [("User", str(load.uid))]
    group = [] if load.gid is None or load.uid is None else [("Group", str(load.gid))]
    container = [
        ("ContainerName", load.name),
        ("Image", unquoted(load.image)),
        *([("Exec", command_line(*load.arguments))] if load.arguments else []),
        *user,
        *group,
        *([] if load.writable else [("ReadOnly", "true"), ("VolatileTmp", "true")]),
        ("DropCapability", "all"),
        *(("AddCapability", name) for name in load.capabilities),
        ("NoNewPrivileges", "true"),
        *(("Environment", quoted(f"{name}={value}")) for name, value in load.env),
        *(("PublishPort", published(port)) for port in load.published()),
        *(("Volume", unquoted(mounted(mount))) for mount in mounts),
        *(("PodmanArgs", quoted(option)) for option in other_options(load)),
    ]
    text = unit(
        Unit=[("Description", described(load.about))],
        Container=container,
        Service=[("Restart", "on-failure"), ("TimeoutStopSec", str(load.seconds + WAIT))],
        Install=[("WantedBy", "default.target")],
    )
    place = f"Its place is ~/.config/containers/systemd/{load.name}.container."
    return f"{heading(load, 'quadlet', notes, place)}\n{text}", notes
