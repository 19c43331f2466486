"""What a run may be asked for, defined once: for the command line, for Python, and read into a Request."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypedDict

from rootless_scratch.engine.request import values
from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import text, texts
from rootless_scratch.image.kinds import FLAG, PAIRS, TEXT, TEXTS, Kind, Option, each, fields_of, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.engine.request.request import Request

NETWORKS = ("none", "host", "private", "slirp4netns", "pasta", "bridge")

DETACH_KEYS = "ctrl-p,ctrl-q"
"""What podman and docker have for a terminal."""

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"

_MOST_CPUS = 10_000
_LEAST_CPUS = 0.01
"""The kernel's least quota is 1 ms of a period of 100 ms: kernel, cgroup-v2 `cpu.max`."""


class ContainerOptions(TypedDict, total=False):
    """The words that any container may be asked for by; all have a default.

    `url` and `connection` name the podman service; else the environment does, or it is one of this host. `publish`
    has words as `--publish`, or ports of the container, each with where the host answers for it: a port,
    `(address, port)`, or None for a free one.
    """

    url: str | None
    connection: str | None
    env: Mapping[str, str] | None
    network: str | None
    volumes: Sequence[str]
    tmpfs: Sequence[str]
    secrets: Sequence[str]
    publish: Sequence[str] | Mapping[int | str, values.Place]
    user: int | str | None
    userns: str | None
    workdir: str | None
    entrypoint: str | Sequence[str] | None
    platform: str | None
    pull: bool
    name: str | None
    replace: bool
    labels: Mapping[str, str] | None
    init: bool
    health_cmd: str | None
    memory: int | str | None
    cpus: float | None
    pids_limit: int | None
    ulimits: Sequence[str]
    strict: bool
    writable: bool
    cap_add: Sequence[str]
    allow_new_privileges: bool
    seccomp: str | os.PathLike[str] | None


class Options(ContainerOptions, total=False):
    """The words of a run, as `rootless_scratch.run` and `rootless-scratch run` take them; all have a default."""

    timeout: float | None
    keep: bool
    detach: bool
    tty: bool
    interactive: bool
    detach_keys: str


def _entrypoint(_name: str, given: object) -> tuple[str, ...]:
    """One path, a JSON array in a string, or a list; a path is not split."""
    if isinstance(given, (list, tuple)):
        found = texts("entrypoint", given)
    else:
        word = text("entrypoint", given)
        found = values.parse_words("--entrypoint", word) if word.lstrip().startswith("[") else (word,)
    if not (found and found[0]):
        raise UsageError("The entrypoint is empty.", fix="Name a program of the image: --entrypoint /program.")
    return found


def _user(word: str) -> str:
    from rootless_scratch.image.plan.settings import require_user

    return require_user(word)


def _seccomp(word: str) -> str:
    return word if word == "unconfined" else os.path.abspath(word)


def _health_cmd(_name: str, word: object) -> tuple[str, ...]:
    return values.parse_words("--health-cmd", text("--health-cmd", word))


def _number(*, least: float, most: float) -> Kind:
    def read(option: str, value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise UsageError(f"{option} is {value!r} and not a number.", fix=f"Write it as {option}=10.")
        if not least < value < most:
            if option == "timeout":
                raise UsageError(
                    f"The timeout {value:g} is not a positive number of seconds.", fix="Write it as 30."
                )
            raise UsageError(f"--{option} {value:g} is no number above {least:g}.", fix="Write it as 0.5 or 2.")
        return float(value)

    return TEXT.but(value=read, type=float)


def _pids(_name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 22:
        raise UsageError(f"--pids-limit {value!r} is no number of processes.", fix="Write it as 100.")
    return value


def _platform(word: str) -> Platform:
    from rootless_scratch.elf.platforms import parse_platform

    return parse_platform(word)


_ON = FLAG.but(value=lambda _name, value: bool(value))
_ENV = PAIRS.but(words=lambda _flag, words: values.parse_env(words, os.environ))
_LABELS = PAIRS.but(words=lambda _flag, words: values.parse_labels(words))
_ENTRYPOINT = TEXT.but(value=_entrypoint)
_HEALTH_CMD = TEXT.but(value=_health_cmd)
_LIMITS = each(values.parse_limit)
_SECRETS = each(values.parse_secret)
_PORTS = TEXTS.but(value=lambda _name, given: values.parse_ports(given))

SERVICE = (
    Option("--url URL", TEXT, "Service: ssh://[USER@]HOST[:PORT][/SOCKET] or unix:///SOCKET."),
    Option("--connection NAME", TEXT, "Name from `podman system connection list`."),
)
"""The options of each verb that speaks to a service; names of podman's own."""

GROUPS = {
    "Program": (
        Option("-e, --env K=V", _ENV, "Set an environment variable; K alone passes yours on."),
        Option("-u, --user UID[:GID]", parsed(_user), "Override the image's user."),
        Option("-w, --workdir PATH", TEXT, "Override the image's working directory."),
        Option("--entrypoint PATH|JSON", _ENTRYPOINT, "Override the image's entrypoint."),
        Option("--platform OS/ARCH", parsed(_platform), "Refuse an image of another platform."),
        Option("--pull", _ON, "Pull the image if local storage lacks it."),
        Option("--init", _ON, "Run an init process that reaps zombies."),
        Option("--health-cmd COMMAND", _HEALTH_CMD, "Health check command, run without a shell."),
    ),
    "Terminal and life": (
        Option("-i, --interactive", _ON, "Pass stdin to the program."),
        Option("-t, --tty", _ON, "Allocate a terminal; with -i, yours is raw meanwhile."),
        Option(
            "--detach-keys KEYS", parsed(values.parse_keys), "Keys that detach from -t [default: ctrl-p,ctrl-q]."
        ),
        Option("-d, --detach", _ON, "Run in the background and print the container's ID."),
        Option("--timeout SECONDS", _number(least=0, most=1e9), "Stop it after SECONDS, with exit code 124."),
        Option("--name NAME", TEXT, "Name the container."),
        Option("--replace", _ON, "Remove a container of the same name first."),
        Option("--keep", _ON, "Keep the container after its end."),
        Option("-l, --label K=V", _LABELS, "Label the container.", called="labels"),
    ),
    "Files and network": (
        Option(
            "--volume HOST:CTR[:ro]",
            each(values.parse_volume),
            "Mount a file, a directory or a volume.",
            called="volumes",
            kept_as="mounts",
        ),
        Option(
            "--tmpfs CTR[:OPTIONS]",
            each(values.parse_tmpfs),
            "A directory in memory: /cache:size=64m,mode=0700.",
            kept_as="memories",
        ),
        Option("--secret NAME[,...]", _SECRETS, "Pass a podman secret; ,type=env,target=VAR.", called="secrets"),
        Option("--userns MODE", TEXT, "host, keep-id or keep-id:uid=N,gid=N."),
        Option("--network NAME", TEXT, "none, host, private, slirp4netns, pasta, bridge, or its name."),
        Option("-p, --publish [[IP:]HOST:]CTR", _PORTS, "Publish a port of the container.", kept_as="ports"),
    ),
    "Limits": (
        Option("-m, --memory SIZE", parsed(values.parse_memory), "Memory, e.g. 512m or 1.5g."),
        Option("--cpus NUMBER", _number(least=_LEAST_CPUS, most=_MOST_CPUS), "CPUs, e.g. 0.5."),
        Option("--pids-limit NUMBER", TEXT.but(value=_pids, type=int), "Processes and threads."),
        Option("--ulimit NAME=SOFT[:HARD]", _LIMITS, "Limit of setrlimit(2), e.g. nofile=1024.", called="ulimits"),
        Option("--strict", _ON, "Refuse limits that this host cannot enforce."),
    ),
    "Another podman": SERVICE,
    "Less hardening": (
        Option("--writable", _ON, "Make the root file system writable."),
        Option("--cap-add NAME", each(values.parse_capability), "Add a capability."),
        Option("--allow-new-privileges", _ON, "Let set-user-ID programs gain privileges."),
        Option("--seccomp FILE|unconfined", parsed(_seccomp), "Use another seccomp profile, or none."),
    ),
}
"""The options, in the groups in which the help shows them."""

_BY_NAME = {option.name: option for options in GROUPS.values() for option in options}


def request(image: str, arguments: Sequence[str], options: Options) -> Request:
    """Read and check what was asked; raises UsageError."""
    from msgspec.structs import replace

    from rootless_scratch.engine.request.request import Request

    if not image:
        raise UsageError("No image was named.", fix="Name one, for example `rootless-scratch run hello`.")
    bare = Request(image=image, arguments=texts("arguments", arguments))
    asked = replace(bare, **fields_of(_BY_NAME, {"detach_keys": DETACH_KEYS, **options}, bare, what="A run"))
    _check(asked)
    return asked


def _check(asked: Request) -> None:
    if asked.network is not None and not re.fullmatch(_NAME, asked.network):
        raise UsageError(
            f"--network {asked.network!r} is not known.",
            fix=f"Use one of {', '.join(NETWORKS)}, or the name of a network that podman knows.",
        )
    if asked.ports and asked.network in ("none", "host"):
        raise UsageError(
            f"Ports cannot be published with --network {asked.network}.",
            fix="Leave out --publish: with host its ports are the host's, with none there are none.",
        )
    if asked.name is not None and not re.fullmatch(_NAME, asked.name):
        raise UsageError(
            f"--name {asked.name!r} is no name of a container.",
            fix="Use letters and digits, then `_.-` as well.",
        )
    if asked.replace and asked.name is None:
        raise UsageError("--replace replaces the container of a name.", fix="Say which one: --name NAME.")
    if (
        asked.userns is not None
        and re.fullmatch(r"host|keep-id(:[ug]id=\d+(,[ug]id=\d+)?)?", asked.userns) is None
    ):
        raise UsageError(
            f"--userns {asked.userns!r} is not known.", fix="Use host, keep-id or keep-id:uid=65532,gid=65532."
        )
    if asked.workdir is not None and not asked.workdir.startswith("/"):
        raise UsageError(f"--workdir {asked.workdir!r} is no absolute path.", fix="Begin it with `/`.")
    _check_places(asked)
    _check_words(asked)


def _check_places(asked: Request) -> None:
    targets = [mount.target.rstrip("/") for mount in asked.mounts]
    targets += [memory.target.rstrip("/") for memory in asked.memories]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"Two things are to be mounted at {twice}.", fix="Name each place in the container once.")


def _check_words(asked: Request) -> None:
    from msgspec import to_builtins

    for word in _words(to_builtins(asked)):
        check_text(word)
    for name, _ in asked.env:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of a variable.", fix="Use a name without `=`.")


def _words(plain: object) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, (dict, list, tuple)):
        for each in plain.values() if isinstance(plain, dict) else plain:
            yield from _words(each)


def check_text(word: str) -> None:
    """What goes into JSON must be text: the service would turn other bytes into question marks unasked."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{word!r} is not UTF-8, and podman's API can carry nothing else.", fix="Use names in UTF-8."
        ) from error
    if "\0" in word:
        raise UsageError(f"{word!r} has a NUL byte in it.", fix="Leave the NUL byte out.")
