"""What a run is asked for: each option defined once, for the command line and for Python."""

from __future__ import annotations

from rootless_scratch.data import Value
from rootless_scratch.image.kinds import FILE, FLAG, ON, PAIRS, TEXT, TEXTS, Table, each, late, option, parsed

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.engine.request.destination import Destination


class Mount(Value):
    """`source` is an absolute path of the host or the name of a volume."""

    source: str
    target: str
    read_only: bool


class Memory(Value):
    """A place in memory, with the options of mount(8) for tmpfs."""

    target: str
    options: tuple[str, ...]


class Port(Value):
    """A port of the container to be reached on the host; `host` 0 lets podman choose a free one."""

    address: str
    host: int
    container: int
    protocol: str


class Secret(Value):
    """A secret that podman knows: a file below /run/secrets (or at an absolute `target`), or a variable."""

    name: str
    target: str
    variable: bool
    uid: int
    gid: int
    mode: int


class Limit(Value):
    """A limit of setrlimit(2); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Beside(Value):
    """What a container is put beside, by `debug`.

    `namespaces` are those of a running container that it joins: a key of podman's SpecGenerator, a mode, and
    whose they are. `image` is one whose files it sees at `mountpoint`.
    """

    namespaces: tuple[tuple[str, str, str], ...] = ()
    image: str | None = None
    mountpoint: str = ""


_RUN = "Options"
"""The keywords that `container` has not: what contradicts the life of a block."""


def _of_all(parse: str) -> Callable[[str, Any], Any]:
    """A function of values.py that reads all values of an option, whose name it need not know."""
    return lambda _name, values: late(f"engine.request.values:{parse}")(values)


_ENV = PAIRS.but(from_flag=_of_all("parse_env"))
_LABELS = PAIRS.but(from_flag=_of_all("parse_labels"))
_USER = parsed("engine.request.values:parse_user").but(python="int | str | None")
_BOOL = FLAG.but(python="bool | None", type=bool, default=None)
_PLATFORM = parsed("elf.platforms:parse_platform")
_ENTRYPOINT = TEXT.but(value=late("engine.request.values:parse_entrypoint"), python="str | Sequence[str] | None")
_HEALTH_CMD = TEXT.but(value=late("engine.request.values:parse_health_cmd"))
_KEYS = parsed("engine.request.values:parse_keys").but(python="str", default=b"")
_PORTS = TEXTS.but(
    value=_of_all("parse_ports"),
    python="Sequence[str] | Mapping[int | str, int | tuple[str, int | None] | None]",
)
_MEMORY = parsed("engine.request.values:parse_memory").but(python="int | str | None")
_TIMEOUT = TEXT.but(value=late("engine.request.values:parse_timeout"), python="float | None", type=float)
_CPUS = _TIMEOUT.but(value=late("engine.request.values:parse_cpus"))
_PIDS = TEXT.but(value=late("engine.request.values:parse_pids"), python="int | None", type=int)
_SECCOMP = parsed("engine.request.values:parse_seccomp").but(python=FILE.python)


class Request(Table):
    """What the caller asked for, read and checked; `network` None leaves the choice to us.

    The rows have podman's names, and stand in the groups of the help.
    """

    image: str
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = option(
        "-e, --env K=V", _ENV, "Set an environment variable; K alone passes yours on.", group="Program"
    )
    user: str | None = option("-u, --user UID[:GID]", _USER, "Override the image's user.")
    workdir: str | None = option("-w, --workdir PATH", TEXT, "Override the image's working directory.")
    entrypoint: tuple[str, ...] | None = option(
        "--entrypoint PATH|JSON", _ENTRYPOINT, "Override the image's entrypoint."
    )
    platform: Platform | None = option(
        "--platform OS/ARCH", _PLATFORM, "Platform of the image, of a list its member."
    )
    pull: bool = option("--pull", ON, "Pull the image if local storage lacks it.")
    authfile: str | None = option("--authfile FILE", FILE, "For --pull: registry credentials [default: podman's].")
    tls_verify: bool | None = option(
        "--tls-verify BOOL", _BOOL, "For --pull: require TLS [default: as registries.conf says, else true]."
    )
    cert_dir: str | None = option(
        "--cert-dir DIR", FILE, "For --pull: also trust the certificate authorities in DIR/*.crt."
    )
    init: bool = option("--init", ON, "Run an init process that reaps zombies.")
    health_cmd: tuple[str, ...] | None = option(
        "--health-cmd COMMAND", _HEALTH_CMD, "Health check command, run without a shell."
    )
    interactive: bool = option(
        "-i, --interactive", ON, "Pass stdin to the program.", keywords=_RUN, group="Terminal and life"
    )
    tty: bool = option("-t, --tty", ON, "Allocate a terminal; with -i, yours is raw meanwhile.", keywords=_RUN)
    detach_keys: bytes = option(
        "--detach-keys KEYS", _KEYS, "Keys that detach from -t [default: ctrl-p,ctrl-q].", keywords=_RUN
    )
    detach: bool = option("-d, --detach", ON, "Run in the background and print the container's ID.", keywords=_RUN)
    timeout: float | None = option(
        "--timeout SECONDS", _TIMEOUT, "Stop it after SECONDS, with exit code 124.", keywords=_RUN
    )
    name: str | None = option("--name NAME", TEXT, "Name the container.")
    replace: bool = option("--replace", ON, "Remove a container of the same name first.")
    keep: bool = option("--keep", ON, "Keep the container after its end.", keywords=_RUN)
    labels: tuple[tuple[str, str], ...] = option(
        "-l, --label K=V", _LABELS, "Label the container.", called="labels"
    )
    mounts: tuple[Mount, ...] = option(
        "--volume HOST:CTR[:ro]",
        each("engine.request.values:parse_volume"),
        "Mount a file, a directory or a volume.",
        called="volumes",
        group="Files and network",
    )
    memories: tuple[Memory, ...] = option(
        "--tmpfs CTR[:OPTIONS]",
        each("engine.request.values:parse_tmpfs"),
        "A directory in memory: /cache:size=64m,mode=0700.",
    )
    secrets: tuple[Secret, ...] = option(
        "--secret NAME[,...]",
        each("engine.request.values:parse_secret"),
        "Pass a podman secret; ,type=env,target=VAR.",
        called="secrets",
    )
    userns: str | None = option("--userns MODE", TEXT, "host, keep-id or keep-id:uid=N,gid=N.")
    network: str | None = option(
        "--network NAME", TEXT, "none, host, private, slirp4netns, pasta, bridge, or its name."
    )
    ports: tuple[Port, ...] = option("-p, --publish [[IP:]HOST:]CTR", _PORTS, "Publish a port of the container.")
    memory: int | None = option("-m, --memory SIZE", _MEMORY, "Memory, e.g. 512m or 1.5g.", group="Limits")
    cpus: float | None = option("--cpus NUMBER", _CPUS, "CPUs, e.g. 0.5.")
    pids_limit: int | None = option("--pids-limit NUMBER", _PIDS, "Processes and threads.")
    ulimits: tuple[Limit, ...] = option(
        "--ulimit NAME=SOFT[:HARD]",
        each("engine.request.values:parse_limit"),
        "Limit of setrlimit(2), e.g. nofile=1024.",
        called="ulimits",
    )
    strict: bool = option("--strict", ON, "Refuse limits that this host cannot enforce.")
    url: str | None = option(
        "--url URL", TEXT, "Service: ssh://[USER@]HOST[:PORT][/SOCKET] or unix:///SOCKET.", group="Another podman"
    )
    connection: str | None = option("--connection NAME", TEXT, "Name from `podman system connection list`.")
    writable: bool = option("--writable", ON, "Make the root file system writable.", group="Less hardening")
    cap_add: tuple[str, ...] = option(
        "--cap-add NAME", each("engine.request.values:parse_capability"), "Add a capability."
    )
    allow_new_privileges: bool = option("--allow-new-privileges", ON, "Let set-user-ID programs gain privileges.")
    seccomp: str | None = option("--seccomp FILE|unconfined", _SECCOMP, "Use another seccomp profile, or none.")
    beside: Beside | None = None

    @property
    def destination(self) -> Destination | None:
        """The service that is named by these options or by the environment; raises UsageError for two at once."""
        from rootless_scratch.engine.request.destination import destination_of

        return destination_of(self.url, self.connection)

    @property
    def stays(self) -> bool:
        """Whether the container may outlive this call, so that podman must keep its output."""
        return self.keep or self.detach or (self.tty and self.interactive and bool(self.detach_keys))
