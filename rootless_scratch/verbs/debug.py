"""`debug`: tools beside a running container, or over the files of an image, out of a toolbox made here."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from rootless_scratch.backends.direct import planned_image
from rootless_scratch.engine.api.images import config_of, is_image, load
from rootless_scratch.engine.container.opening import Opening
from rootless_scratch.engine.container.targets import Target, look
from rootless_scratch.engine.diagnose.failures import IpcClosedError
from rootless_scratch.engine.request.destination import destination_of
from rootless_scratch.engine.run import run
from rootless_scratch.errors import EngineError
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.arguments import maybe, text
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.plan.toolbox import TARGET, TOOLBOX, toolbox_program, toolbox_spec, toolbox_tools
from rootless_scratch.verbs.build import build_spec
from rootless_scratch.verbs.planning import plan_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.engine.service.local import Service
    from rootless_scratch.image.spec import Spec
    from rootless_scratch.keywords import Options

_KILLED = 137
_REAPED_WITHIN = 0.5
"""Seconds in which a container whose tools were killed with it is seen to have ended."""


def debug(
    subject: str,
    command: str | None = None,
    *,
    toolbox: str | None = None,
    user: str | None = None,
    url: str | None = None,
    connection: str | None = None,
    terminal: bool = False,
    stdout: int | None = None,
    stderr: int | None = None,
    say: Callable[[str], None] | None = None,
    opening: Opening | None = None,
) -> RunResult:
    """Run a shell, or with `command` what `sh -c` makes of it, beside the container or over the image `subject`.

    Beside a container it has the same processes, network and IPC, and the container's root is at `/target`; an
    image's files are there read-only. The tools are those of the program `toolbox`, by default the host's busybox;
    `user` (UID[:GID]) is the one of the container's program unless given. Without `command` stdin is passed on,
    and with `terminal` is one. `url` and `connection` name the service that has the subject. The rest is as in
    rootless_scratch.engine.run, and main thread only.

    Raises what `run` raises, and ToolMissingError, SourceError, ElfError, CommandError and RefusedError for what
    cannot be a toolbox.
    """
    notes: list[str] = []

    def tell(sentence: str) -> None:
        notes.append(sentence)
        if say is not None:
            say(sentence)

    program = toolbox_program(toolbox)
    where = (maybe(text, "url", url), maybe(text, "connection", connection))
    destination = destination_of(*where)
    with contextlib.closing(opening or Opening(destination)) as begun:
        begun.turn_to(destination)
        # Made while the service comes up: mostly it is a container that is looked into.
        tools = toolbox_tools(program)
        likely = _Toolbox(toolbox_spec(program, tools, linked=True))
        service = begun.service()
        target = look(service, subject, user=user, mountpoint=TARGET)
        fitting = likely if target.is_container else _Toolbox(toolbox_spec(program, tools, linked=False))
        image = _provided(service, fitting)
        for sentence in target.notes:
            tell(sentence)

        def attempt(target: Target, opening: Opening | None) -> RunResult:
            return run(
                image,
                () if command is None else ("-c", command),
                stdout=stdout,
                stderr=stderr,
                forward_signals=True,
                say=say,
                opening=opening,
                beside=target.beside,
                **_options(target, where, interactive=command is None, terminal=terminal),
            )

        try:
            result = attempt(target, begun)
        except IpcClosedError:
            tell("The container does not share its IPC namespace, so its shared memory is not visible.")
            result = attempt(target.without_ipc(), None)
    if result.exit_code == _KILLED and _has_ended(target):
        tell(f"The container {subject} has ended, and what ran beside it was killed.")
    return result.but(notes=(*notes, *result.notes))


def _options(
    target: Target, where: tuple[str | None, str | None], *, interactive: bool, terminal: bool
) -> Options:
    url, connection = where
    return {
        "url": url,
        "connection": connection,
        "user": target.user,
        "cap_add": target.capabilities,
        # None of its own: beside a container it joins that one's.
        "network": "none",
        "interactive": interactive,
        "tty": terminal,
        # Tools that nobody is at are of no use, and would hold the container that they stand beside.
        "detach_keys": "",
    }


class _Toolbox:
    """What is asked for, and the very image that it makes."""

    def __init__(self, spec: Spec) -> None:
        with HostFiles() as files:
            plans, _ = plan_all(parts_of(spec, files), files)
            image = planned_image(plans[0].plan, files)
        self.spec = spec
        self.image_id = image.config.name
        self.digest = image.manifest.digest


def _provided(service: Service, toolbox: _Toolbox) -> str:
    """The ID of the toolbox, which the service has when this returns; made where it lacks it.

    It runs in the namespaces of the target, so its name does not prove it: an archive of somebody else may have
    brought another image of that name. Its ID is the sum of the config alone; the manifest's digest, which stands
    for the layers as well, is compared too.
    """
    for attempt in range(2):
        found = config_of(service.client, toolbox.image_id)
        if found is not None and is_image(found, image_id=toolbox.image_id, digest=toolbox.digest):
            return toolbox.image_id
        if attempt == 0:
            _make(service, toolbox, is_there=found is not None)
    raise EngineError(
        "podman has lost the toolbox that was just loaded: its program or podman's storage changes.",
        fix="Run it again; if that does not help, remove all toolboxes: "
        f"`podman rmi --force $(podman images --quiet {TOOLBOX})`.",
    )


def _make(service: Service, toolbox: _Toolbox, *, is_there: bool) -> None:
    """Write the toolbox and give it to the service, whose storage may be another than that of this account."""
    with (
        # A service of ours ends after a few seconds without a request: this one lasts until it is closed.
        contextlib.closing(service.client.begin("GET", "/events?stream=true")),
        private_temporary(variables := tool_environment().variables) as directory,
    ):
        archive = os.path.join(directory.path, "toolbox.tar")
        build_spec(toolbox.spec, output=[f"oci-archive:{archive}:{TOOLBOX}:{toolbox.image_id[:12]}"])
        try:
            load(service.client, archive, variables=None if service.elsewhere else variables)
        except EngineError as error:
            if not is_there:
                raise
            raise EngineError(
                f"podman has an image of the toolbox's ID, {toolbox.image_id[:12]}, that is not the toolbox.",
                fix=f"Remove it: `podman rmi --force {toolbox.image_id}`. Somebody made it to run in its place: "
                "see where its archive came from.",
                detail=error.message,
            ) from error


def _has_ended(target: Target) -> bool:
    deadline = time.monotonic() + _REAPED_WITHIN
    while not target.has_ended:
        if target.pid is None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
