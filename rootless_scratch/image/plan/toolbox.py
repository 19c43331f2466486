"""The image of tools that `debug` puts beside a container: made here, from one program of the host."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from rootless_scratch import command, spawn
from rootless_scratch.errors import ToolMissingError
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec

TOOLBOX = "localhost/rootless-scratch-toolbox"
"""What all toolboxes are called, for who lists images; anybody can name one so."""

TARGET = "/target"
"""Where the tools see the root of the container, or of the image."""

SHELL = "/bin/sh"

_MULTICALL = ("busybox", "toybox")

_PATIENCE = 20.0
"""Seconds for a program to list its tools."""


def toolbox_program(program: str | None) -> str:
    """The program of the tools: `program` where it is named, else the host's busybox. Raises ToolMissingError."""
    if program is not None:
        return program
    found = spawn.find("busybox")
    if found is None:
        raise ToolMissingError(
            "There is no busybox on this host for the toolbox.",
            fix="Install it (`sudo apt-get install busybox-static`), or name a program by --toolbox PROGRAM.",
        )
    return found


def toolbox_tools(program: str) -> frozenset[str]:
    """The names that `program` answers to: those that a busybox or toybox lists, or else a shell's.

    Raises CommandError where it cannot tell its tools.
    """
    name = posixpath.basename(program)
    return frozenset({"sh", *_applets(program)} if name.startswith(_MULTICALL) else {"sh"}) - {name}


def toolbox_spec(program: str, tools: Iterable[str], *, linked: bool) -> Spec:
    """The image of tools made of `program`, which answers to the names of `tools` and its own; unnamed.

    With `linked` its `/target` leads to the root of the first process, which is a container's where its process
    ids are shared: proc(5), `/proc/PID/root`; else it is a directory to mount an image on. Its libraries come
    along, should it have any.
    """
    name = posixpath.basename(program)
    place = f"/bin/{name}"
    links = [NewSymlink(path=f"/bin/{tool}", target=name) for tool in sorted(tools)]
    directories = [NewDirectory(path="/tmp", mode=0o1777)]  # noqa: S108 - in the image
    if linked:
        links.append(NewSymlink(path=TARGET, target="/proc/1/root"))
    else:
        directories.append(NewDirectory(path=TARGET))
    return Spec(
        programs=(Copy(source=program, destination=place),),
        directories=tuple(directories),
        symlinks=tuple(links),
        entrypoint=(SHELL,),
        env=(("PATH", "/bin"),),
        user="0:0",
        bundle_libraries=True,
        # The same image whatever SOURCE_DATE_EPOCH says.
        created="0",
    )


def _applets(program: str) -> Iterable[str]:
    """The names that a multi-call program answers to, as it lists them itself."""
    lists = ["--list"] if "busybox" in posixpath.basename(program) else []
    argv = [posixpath.abspath(program), *lists]
    listed = command.follow(argv, environment=tool_environment().variables, idle=_PATIENCE)
    if listed.exit_code != 0:
        raise command.failed(argv, exit_code=listed.exit_code, stderr=listed.stderr)
    return [name for name in listed.text.split() if "/" not in name]
