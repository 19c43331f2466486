"""`debug`: tools beside a running container, or over the files of an image, out of a toolbox made here."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import private
from rootless_scratch.api import build_spec
from rootless_scratch.backends.comparing import planned_image_id
from rootless_scratch.backends.session import unusable
from rootless_scratch.engine.destination import destination_of
from rootless_scratch.engine.failures import IpcClosedError
from rootless_scratch.engine.images import config_of, load
from rootless_scratch.engine.opening import Opening
from rootless_scratch.engine.run import run
from rootless_scratch.engine.targets import look
from rootless_scratch.errors import EngineError
from rootless_scratch.host.environment import temporary_directory, tool_environment
from rootless_scratch.image.given import maybe, text
from rootless_scratch.image.parts import parts_of
from rootless_scratch.image.toolbox import TARGET, toolbox_name, toolbox_program, toolbox_spec
from rootless_scratch.planning import plan_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.engine.http import Client
    from rootless_scratch.engine.options import Options
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.engine.targets import Target
    from rootless_scratch.image.spec import Spec

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
        service = begun.service()
        client = service.client
        target = look(service, subject, user=user, place=TARGET)
        tools = _provided(client, program, linked=target.is_container)
        for sentence in target.notes:
            tell(sentence)

        def attempt(target: Target, opening: Opening | None) -> RunResult:
            return run(
                tools,
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
            tell("The container shares its IPC with nobody, so its shared memory is not seen.")
            result = attempt(target.without_ipc(), None)
    if result.exit_code == _KILLED and _has_ended(target):
        tell(f"The container {subject} has ended, and what ran beside it was killed.")
    return msgspec.structs.replace(result, notes=(*notes, *result.notes))


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


def _provided(client: Client, program: str, *, linked: bool) -> str:
    """The ID of the toolbox, which the service has then.

    Its tag can be foreseen, and an archive of anybody's may have brought an image of that name: what runs in the
    namespaces of a container is known by its content.
    """
    spec = toolbox_spec(program, linked=linked)
    plans, _ = plan_all(parts_of(spec))
    image_id = planned_image_id(plans[0].plan)
    if not _has(client, image_id):
        image_id = _make(client, spec, toolbox_name(program, linked=linked))
    if not _has(client, image_id):
        raise EngineError(
            "podman has loaded another image than the toolbox that was made for it.",
            fix="Run it again; if it happens again, report it with the version of podman.",
        )
    return image_id


def _has(client: Client, image_id: str) -> bool:
    found = config_of(client, image_id)
    return found is not None and found.get("Id") == image_id


def _make(client: Client, spec: Spec, name: str) -> str:
    """Write the toolbox and give it to the service, whose storage may be another than that of this account."""
    temporary = temporary_directory(tool_environment().variables)
    private.sweep(temporary)
    with (
        # A service of ours ends after a few seconds without a request: this one lasts until it is closed.
        contextlib.closing(client.begin("GET", "/events?stream=true")),
        _private(temporary) as directory,
    ):
        archive = os.path.join(directory.path, "toolbox.tar")
        image = build_spec(spec, output=[f"docker-archive:{archive}:{name}"])
        load(client, archive)
    return image.image_id


def _private(temporary: str) -> private.PrivateDirectory:
    try:
        return private.make_private(temporary)
    except OSError as error:
        raise unusable(temporary, error) from error


def _has_ended(target: Target) -> bool:
    deadline = time.monotonic() + _REAPED_WITHIN
    while not target.has_ended:
        if target.pid is None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
