"""What a run may be asked for, defined once: for the command line, for Python, and read into a Request."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypedDict, TypeVar

import msgspec

from rootless_scratch.engine.request import values as words
from rootless_scratch.engine.request.destination import destination_of
from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.arguments import maybe, pairs, text, texts
from rootless_scratch.image.plan.settings import require_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.engine.request.destination import Destination

_T = TypeVar("_T")

NETWORKS = ("none", "host", "private", "slirp4netns", "pasta", "bridge")

DETACH_KEYS = "ctrl-p,ctrl-q"
"""What podman and docker have for a terminal."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

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
    publish: Sequence[str] | Mapping[int | str, words.Place]
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


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is put beside, by `debug`.

    `namespaces` are those of a running container that it joins: a key of podman's SpecGenerator, a mode, and
    whose they are. `image` is one whose files it sees at `place`.
    """

    namespaces: tuple[tuple[str, str, str], ...] = ()
    image: str | None = None
    place: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller asked for, read and checked; `network` None leaves the choice to us."""

    image: str
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    network: str | None = None
    mounts: tuple[words.Mount, ...] = ()
    memories: tuple[words.Memory, ...] = ()
    secrets: tuple[words.Secret, ...] = ()
    ports: tuple[words.Port, ...] = ()
    user: str | None = None
    userns: str | None = None
    workdir: str | None = None
    entrypoint: tuple[str, ...] | None = None
    platform: tuple[str, str, str] | None = None
    pull: bool = False
    timeout: float | None = None
    name: str | None = None
    replace: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    keep: bool = False
    detach: bool = False
    tty: bool = False
    interactive: bool = False
    detach_keys: bytes = b""
    init: bool = False
    health_cmd: tuple[str, ...] | None = None
    memory: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    ulimits: tuple[words.Limit, ...] = ()
    strict: bool = False
    writable: bool = False
    cap_add: tuple[str, ...] = ()
    allow_new_privileges: bool = False
    seccomp: str | None = None
    beside: Beside | None = None
    url: str | None = None
    connection: str | None = None

    @property
    def destination(self) -> Destination | None:
        """The service that is named by these words or by the environment; raises UsageError for two at once."""
        return destination_of(self.url, self.connection)

    @property
    def stays(self) -> bool:
        """Whether the container may outlive this call, so that podman must keep its output."""
        return self.keep or self.detach or (self.tty and self.interactive and bool(self.detach_keys))


def request(image: str, arguments: Sequence[str], options: Options) -> Request:
    """Read and check what was asked; raises UsageError."""
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise UsageError(
            f"A run has no option {min(unknown)!r}.",
            fix=f"There are {', '.join(Options.__annotations__)}.",
        )
    if not image:
        raise UsageError("No image was named.", fix="Name one, for example `rootless-scratch run hello`.")
    asked = Request(
        image=image,
        arguments=texts("arguments", arguments),
        env=pairs("env", options.get("env")),
        network=maybe(text, "network", options.get("network")),
        mounts=tuple(words.parse_volume(word) for word in texts("volumes", options.get("volumes", ()))),
        memories=tuple(words.parse_tmpfs(word) for word in texts("tmpfs", options.get("tmpfs", ()))),
        secrets=tuple(words.parse_secret(word) for word in texts("secrets", options.get("secrets", ()))),
        ports=words.parse_ports(options.get("publish", ())),
        user=_read(require_user, maybe(text, "user", options.get("user"))),
        userns=maybe(text, "userns", options.get("userns")),
        workdir=maybe(text, "workdir", options.get("workdir")),
        entrypoint=_entrypoint(options.get("entrypoint")),
        platform=_read(words.parse_platform, maybe(text, "platform", options.get("platform"))),
        timeout=_number("timeout", options.get("timeout"), least=0, most=1e9),
        name=maybe(text, "name", options.get("name")),
        labels=pairs("labels", options.get("labels")),
        detach_keys=words.parse_keys(text("detach_keys", options.get("detach_keys", DETACH_KEYS))),
        health_cmd=_words("--health-cmd", options.get("health_cmd")),
        memory=_read(words.parse_memory, maybe(text, "memory", options.get("memory"))),
        cpus=_number("cpus", options.get("cpus"), least=_LEAST_CPUS, most=_MOST_CPUS),
        pids_limit=_pids(options.get("pids_limit")),
        ulimits=tuple(words.parse_limit(word) for word in texts("ulimits", options.get("ulimits", ()))),
        cap_add=tuple(words.parse_capability(word) for word in texts("cap_add", options.get("cap_add", ()))),
        url=maybe(text, "url", options.get("url")),
        connection=maybe(text, "connection", options.get("connection")),
        seccomp=_seccomp(maybe(text, "seccomp", options.get("seccomp"))),
        pull=bool(options.get("pull")),
        replace=bool(options.get("replace")),
        keep=bool(options.get("keep")),
        detach=bool(options.get("detach")),
        tty=bool(options.get("tty")),
        interactive=bool(options.get("interactive")),
        init=bool(options.get("init")),
        strict=bool(options.get("strict")),
        writable=bool(options.get("writable")),
        allow_new_privileges=bool(options.get("allow_new_privileges")),
    )
    _check(asked)
    return asked


def _check(asked: Request) -> None:
    if asked.network is not None and not _NAME.fullmatch(asked.network):
        raise UsageError(
            f"--network {asked.network!r} is not known.",
            fix=f"Use one of {', '.join(NETWORKS)}, or the name of a network that podman knows.",
        )
    if asked.ports and asked.network in ("none", "host"):
        raise UsageError(
            f"Ports cannot be published with --network {asked.network}.",
            fix="Leave out --publish: with host its ports are the host's, with none there are none.",
        )
    if asked.name is not None and not _NAME.fullmatch(asked.name):
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
    given = (asked.image, *asked.arguments, *(word for pair in (*asked.env, *asked.labels) for word in pair))
    places = [word for place in asked.mounts for word in (place.source, place.target)]
    places += [memory.target for memory in asked.memories]
    rest = [
        asked.url,
        asked.connection,
        asked.user,
        asked.workdir,
        asked.seccomp,
        *(asked.entrypoint or ()),
        *(asked.health_cmd or ()),
    ]
    for word in (*given, *places, *(secret.target for secret in asked.secrets), *rest):
        check_text(word or "")
    for name, _ in asked.env:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of a variable.", fix="Use a name without `=`.")


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


def _read(read: Callable[[str], _T], word: str | None) -> _T | None:
    return None if word is None else read(word)


def _words(option: str, word: object) -> tuple[str, ...] | None:
    return None if word is None else words.parse_words(option, text(option, word))


def _entrypoint(given: object) -> tuple[str, ...] | None:
    """One path, a JSON array in a string, or a list; a path is not split."""
    if isinstance(given, (list, tuple)):
        given = texts("entrypoint", given)
    elif given is not None:
        word = text("entrypoint", given)
        given = words.parse_words("--entrypoint", word) if word.lstrip().startswith("[") else (word,)
    if given is not None and not (given and given[0]):
        raise UsageError("The entrypoint is empty.", fix="Name a program of the image: --entrypoint /program.")
    return given


def _seccomp(word: str | None) -> str | None:
    return word if word in (None, "unconfined") else os.path.abspath(word)


def _number(option: str, value: object, *, least: float, most: float) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UsageError(f"{option} is {value!r} and not a number.", fix=f"Write it as {option}=10.")
    if not least < value < most:
        if option == "timeout":
            raise UsageError(f"The timeout {value:g} is no number of seconds above 0.", fix="Write it as 30.")
        raise UsageError(f"--{option} {value:g} is no number above {least:g}.", fix="Write it as 0.5 or 2.")
    return float(value)


def _pids(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 22:
        raise UsageError(f"--pids-limit {value!r} is no number of processes.", fix="Write it as 100.")
    return value
