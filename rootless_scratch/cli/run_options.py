"""The options of `run`, in the groups in which its help shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.engine.request.options import Options


def _flag(*names: str, help: str) -> Callable[[Any], Any]:  # noqa: A002 - click's word
    return click.option(*names, is_flag=True, help=help)


def _text(*names: str, metavar: str, help: str, **more: Any) -> Callable[[Any], Any]:  # noqa: A002, ANN401 - click's words
    return click.option(*names, metavar=metavar, help=help, **more)


def _many(*names: str, metavar: str, help: str) -> Callable[[Any], Any]:  # noqa: A002 - click's word
    return click.option(*names, metavar=metavar, multiple=True, help=help)


SERVICE = (
    _text("--url", metavar="URL", help="Its service: ssh://[USER@]HOST[:PORT][/SOCKET] or unix:///SOCKET."),
    _text("--connection", metavar="NAME", help="Its name in `podman system connection list`."),
)
"""The options of each verb that speaks to a service; names of podman's own."""

GROUPS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "Program": (
        _many("-e", "--env", metavar="K=V", help="Set a variable; K alone takes yours."),
        _text("-u", "--user", metavar="UID[:GID]", help="Run as this user instead of the image's."),
        _text("-w", "--workdir", metavar="PATH", help="Start in this directory."),
        _text("--entrypoint", metavar="PATH|JSON", help="Start this instead of the image's program."),
        _text("--platform", metavar="OS/ARCH", help="Refuse an image of another platform."),
        _flag("--pull", help="Fetch the image if local storage lacks it."),
        _flag("--init", help="Run it below a small init that reaps its orphans."),
        _text("--health-cmd", metavar="COMMAND", help="Tells whether it is well; started without a shell."),
    ),
    "Terminal and life": (
        _flag("-i", "--interactive", help="Pass stdin on to the program."),
        _flag("-t", "--tty", help="Give it a terminal; with -i yours becomes raw meanwhile."),
        _text("--detach-keys", metavar="KEYS", help="Leave a -t running [default: ctrl-p,ctrl-q]."),
        _flag("-d", "--detach", help="Print the container's ID and leave it to podman."),
        click.option("--timeout", metavar="SECONDS", type=float, help="End it then, with exit code 124."),
        _text("--name", metavar="NAME", help="Name the container."),
        _flag("--replace", help="Remove a container of the same name first."),
        _flag("--keep", help="Do not remove the container at its end."),
        _many("-l", "--label", metavar="K=V", help="Label the container."),
    ),
    "Files and network": (
        _many("--volume", metavar="HOST:CTR[:ro]", help="Mount a file, a directory or a volume."),
        _many("--tmpfs", metavar="CTR[:OPTIONS]", help="A directory in memory: /cache:size=64m,mode=0700."),
        _many("--secret", metavar="NAME[,...]", help="A secret of podman; ,type=env,target=VAR."),
        _text("--userns", metavar="MODE", help="host, keep-id or keep-id:uid=N,gid=N."),
        _text("--network", metavar="NAME", help="none, host, private, slirp4netns, pasta, bridge, or its name."),
        _many("-p", "--publish", metavar="[[IP:]HOST:]CTR", help="Publish a port of the container."),
    ),
    "Limits": (
        _text("-m", "--memory", metavar="SIZE", help="Memory, as 512m or 1.5g."),
        click.option("--cpus", metavar="NUMBER", type=float, help="Processors, as 0.5."),
        click.option("--pids-limit", metavar="NUMBER", type=int, help="Processes and threads."),
        _many("--ulimit", metavar="NAME=SOFT[:HARD]", help="A limit of setrlimit(2), as nofile=1024."),
        _flag("--strict", help="Refuse what this host cannot enforce, instead of saying so."),
    ),
    "Another podman": SERVICE,
    "Less hardening": (
        _flag("--writable", help="The container's root can be written to."),
        _many("--cap-add", metavar="NAME", help="Leave it this capability."),
        _flag("--allow-new-privileges", help="Set-user-ID programs may raise its rights."),
        _text("--seccomp", metavar="FILE|unconfined", help="Another filter of system calls, or none."),
    ),
}

_PLURALS = {
    "volume": "volumes",
    "secret": "secrets",
    "label": "labels",
    "ulimit": "ulimits",
}
"""Words that are repeated on the command line and lists in Python."""


def run_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options of all groups."""
    for options in reversed(GROUPS.values()):
        for option in reversed(options):
            verb = option(verb)
    return click.option("--privileged", is_flag=True, hidden=True)(verb)


def options_from(words: dict[str, Any]) -> Options:
    """The words of the command line as those of Python; raises UsageError."""
    from rootless_scratch.engine.request.values import parse_env, parse_labels

    if words.pop("privileged"):
        raise UsageError(
            "There is no --privileged.",
            fix="Open only what the program needs: --cap-add NAME, --writable, --allow-new-privileges, --seccomp.",
        )
    given = {_PLURALS.get(name, name): value for name, value in words.items() if value is not None}
    given["env"] = parse_env(given["env"], os.environ)
    given["labels"] = parse_labels(given["labels"])
    options: Options = given  # type: ignore[assignment] # their names are those of GROUPS, which a test compares
    return options


class GroupedCommand(click.Command):
    """Shows its options below the names of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each group, and one for the rest."""
        records = {
            param.name: param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        for title, options in GROUPS.items():
            named = [name for name in _names(options) if name in records]
            rows = [row for row in (records.pop(name) for name in named) if row is not None]
            with formatter.section(title):
                formatter.write_dl(rows)
        rest = [row for row in records.values() if row is not None]
        with formatter.section("Everywhere"):
            formatter.write_dl(rest)


def _names(options: tuple[Callable[[Any], Any], ...]) -> list[str | None]:
    """The names of options in the order in which they were written."""

    def nothing() -> None:
        """Carry the options."""

    carrier: Any = nothing
    for option in options:
        carrier = option(carrier)
    return [param.name for param in carrier.__click_params__]
