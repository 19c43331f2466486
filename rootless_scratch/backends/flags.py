"""From a plan's config to the arguments of `buildah config`.

Their syntax was tried out on buildah 1.28 and 1.39: `--cmd` is split as by a shell, `--entrypoint` is JSON,
`--volume` is a line of CSV, `--env` expands variables of the container in its value, all else is taken as it is.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from rootless_scratch.errors import SpecError

if TYPE_CHECKING:
    from rootless_scratch.image.plan.planner import Plan

_CARRIER = "ROOTLESS_SCRATCH_VALUE_"
_UNASKED = ("org.opencontainers.image.base.name", "org.opencontainers.image.base.digest")
"""Annotations that buildah adds with an empty value to every image from scratch."""


def config_flags(plan: Plan) -> tuple[tuple[str, ...], dict[str, str]]:
    """All flags that make the container's config the plan's, and the environment that buildah needs for them.

    The values of variables may be secrets, so they are in that environment and not in the flags, which all users
    of the host can see. Raises SpecError for what buildah cannot say.
    """
    config = plan.config.config
    flags = ["--arch", plan.config.architecture, "--os", plan.config.os]
    if plan.config.variant is not None:
        flags += ["--variant", plan.config.variant]
    flags += ["--user", config.user, "--workingdir", config.working_dir]
    arguments, values = _environment(config.env)
    flags += arguments
    if config.entrypoint is not None:
        flags += ["--entrypoint", json.dumps(config.entrypoint)]
    if config.cmd is not None:
        # After the entrypoint, which clears it.
        flags += ["--cmd", shlex.join(config.cmd)]
    if config.stop_signal is not None:
        flags += ["--stop-signal", config.stop_signal]
    for port in config.ports:
        flags += ["--port", port]
    for volume in config.volumes:
        flags += ["--volume", _csv(volume)]
    for key, value in config.labels:
        flags += ["--label", f"{key}={value}"]
    return (*flags, *_annotations(plan)), values


def _annotations(plan: Plan) -> list[str]:
    flags: list[str] = []
    named = {key for key, _ in plan.annotations}
    for key in _UNASKED:
        if key not in named:
            flags += ["--annotation", f"{key}-"]
    for key, value in plan.annotations:
        flags += ["--annotation", f"{key}={value}"]
    return flags


def _csv(volume: str) -> str:
    if volume.endswith("-"):
        raise SpecError(
            f"The volume {volume!r} ends in `-`, by which buildah removes a volume.",
            fix="Give the volume another path.",
        )
    return '"' + volume.replace('"', '""') + '"'


def _environment(env: tuple[tuple[str, str], ...]) -> tuple[list[str], dict[str, str]]:
    """The arguments for the variables, and what buildah itself must have in its environment.

    A variable without a value is taken from there (buildah-config(1)), and another one of the container can be
    made of it, whatever its own name would do to buildah. What is expanded once is not expanded again.
    """
    flags: list[str] = []
    values: dict[str, str] = {}
    names = {name for name, _ in env}
    for name, value in env:
        if not value:
            flags += ["--env", f"{name}="]
            continue
        carrier = f"{_CARRIER}{len(values)}"
        while carrier in names:
            carrier += "_"
        values[carrier] = value
        flags += ["--env", carrier, "--env", f"{name}=${{{carrier}}}", "--env", f"{carrier}-"]
    return flags, values
