"""The image of tools that `debug` puts beside a container: made here, from one program of the host."""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING

from rootless_scratch import command, spawn
from rootless_scratch.errors import ToolMissingError
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOLBOX = "localhost/rootless-scratch-toolbox"
"""What all toolboxes are called; their tags tell their content."""

TARGET = "/target"
"""Where the tools see the root of the container, or of the image."""

SHELL = "/bin/sh"

_FORM = "1"
"""Goes up when the same program would become another image here."""

_MULTICALL = ("busybox", "toybox")


def toolbox_program(given: str | None) -> str:
    """The program of the tools: the one that is `given`, else the host's busybox. Raises ToolMissingError."""
    if given is not None:
        return given
    found = spawn.find("busybox")
    if found is None:
        raise ToolMissingError(
            "There is no busybox on this host to make a toolbox of.",
            fix="Install it (`sudo apt-get install busybox-static`), or name a program by --toolbox PROGRAM.",
        )
    return found


def toolbox_name(program: str, *, linked: bool) -> str:
    """What the toolbox of this very content is called; raises SourceError for a program that cannot be read."""
    from rootless_scratch.elf.program import unreadable

    found = hashlib.sha256(f"{_FORM} {linked} {posixpath.basename(program)}\0".encode("utf-8", "surrogateescape"))
    try:
        with open(program, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise unreadable(program, error) from error
    return f"{TOOLBOX}:{found.hexdigest()[:12]}"


def toolbox_spec(program: str, *, linked: bool) -> Spec:
    """The image of tools made of `program`, a busybox or toybox, by what it lists, or else a shell; unnamed.

    With `linked` its `/target` leads to the root of the first process, which is a container's where its process
    ids are shared: proc(5), `/proc/PID/root`; else it is a directory to mount an image on. Its libraries come
    along, should it have any. Raises CommandError where it cannot tell its tools.
    """
    name = posixpath.basename(program)
    place = f"/bin/{name}"
    tools = ({"sh", *_applets(program)} if name.startswith(_MULTICALL) else {"sh"}) - {name}
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
    )


def _applets(program: str) -> Iterable[str]:
    """The names that a multi-call program answers to, as it lists them itself."""
    lists = ["--list"] if "busybox" in posixpath.basename(program) else []
    said = command.ask([posixpath.abspath(program), *lists], environment=tool_environment().variables)
    return [word for word in said.text.split() if "/" not in word]
