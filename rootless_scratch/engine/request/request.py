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
    """`source` is an absolute path of the host or the name of a volume; empty, a new volume without a name.

    `options` are those of podman's `--volume` beside ro and rw.
    """

    source: str
    target: str
    read_only: bool
    options: tuple[str, ...] = ()

    @property
    def is_bind(self) -> bool:
        """Whether a file or directory of the host is mounted, not a volume."""
        return self.source.startswith("/")


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


class Device(Value):
    """A device of the host, its path in the container, and what of r, w and m is allowed."""

    source: str
    target: str
    access: str


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
_PULL = TEXT.but(
    value=late("engine.request.values:parse_pull"),
    from_flag=lambda _name, value: value,
    python="bool | str",
    default="never",
)
_SIGNAL = parsed("engine.request.values:parse_signal").but(python="int | str | None")
_SECONDS = TEXT.but(value=late("engine.request.values:parse_seconds"), python="int | None", type=int)
_KEEP = TEXT.but(value=late("engine.service.keeping:parse_keep"), python="int | str | None")
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
    env_files: tuple[tuple[tuple[str, str], ...], ...] = option(
        "--env-file FILE", each("engine.request.values:parse_env_file"), "Set those of a file; --env overrides it."
    )
    user: str | None = option("-u, --user UID[:GID]", _USER, "Override the image's user.")
    workdir: str | None = option("-w, --workdir PATH", TEXT, "Override the image's working directory.")
    entrypoint: tuple[str, ...] | None = option(
        "--entrypoint PATH|JSON", _ENTRYPOINT, "Override the image's entrypoint."
    )
    platform: Platform | None = option(
        "--platform OS/ARCH", _PLATFORM, "Platform of the image, of a list its member."
    )
    essentials: tuple[str, ...] = option(
        "--with NAME[,...]", TEXTS, "Add to a program file, as `build` does, beside auto.", called="essentials"
    )
    pull: str = option(
        "--pull POLICY", _PULL, "always, missing, newer or never [default: never]; alone it means missing."
    )
    authfile: str | None = option(
        "--authfile FILE", FILE, "For --pull: registry credentials [default: REGISTRY_AUTH_FILE, else podman's]."
    )
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
    stop_signal: int | None = option("--stop-signal SIGNAL", _SIGNAL, "Override the image's stop signal.")
    stop_timeout: int | None = option(
        "--stop-timeout SECONDS",
        _SECONDS,
        "Seconds from the stop signal to SIGKILL [default: 10; 2 at --timeout].",
    )
    hostname: str | None = option(
        "--hostname NAME", parsed("engine.request.hostnames:parse_hostname"), "Hostname of the container."
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
    rm: bool = option("--rm", ON, "Remove it at its end, with -d too; the default without.", keywords=_RUN)
    keep_service: int | None = option(
        "--keep-service DURATION",
        _KEEP,
        "Keep our podman service for the next call; 0: none [default: 10s in a series of runs].",
    )
    log_driver: str | None = option(
        "--log-driver NAME",
        parsed("engine.request.values:parse_log_driver"),
        "k8s-file, journald or none, for a container that stays.",
        keywords=_RUN,
    )
    labels: tuple[tuple[str, str], ...] = option(
        "-l, --label K=V", _LABELS, "Label the container.", called="labels"
    )
    mounts: tuple[Mount, ...] = option(
        "--volume HOST:CTR[:OPTIONS]",
        each("engine.request.mounts:parse_volume"),
        "Mount a file, a directory or a volume; options are ro, z, Z, U; -v HOST:CTR is the same.",
        called="volumes",
        group="Files and network",
    )
    placed: tuple[Mount | Memory, ...] = option(
        "--mount type=TYPE,...",
        each("engine.request.mounts:parse_mount"),
        "Mount a bind, a volume or a tmpfs: type=bind,src=PATH,dst=CTR,ro.",
        called="mounts",
    )
    memories: tuple[Memory, ...] = option(
        "--tmpfs CTR[:OPTIONS]",
        each("engine.request.mounts:parse_tmpfs"),
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
        "--net, --network NAME", TEXT, "none, host, private, slirp4netns, pasta, bridge, or its name."
    )
    hosts: tuple[str, ...] = option(
        "--add-host NAME:IP", each("engine.request.hostnames:parse_host"), "Add a line to /etc/hosts."
    )
    dns: tuple[str, ...] = option("--dns IP", each("engine.request.hostnames:parse_dns"), "Ask this DNS server.")
    dns_search: tuple[str, ...] = option(
        "--dns-search DOMAIN",
        each("engine.request.hostnames:parse_domain"),
        "Look hostnames up in this domain too.",
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
    read_only: bool = option(
        "--read-only", ON, "Keep the root file system read-only, the default.", group="Hardening"
    )
    cap_drop: tuple[str, ...] = option(
        "--cap-drop NAME",
        each("engine.request.values:parse_capability"),
        "Drop a capability; all are, by default.",
    )
    security: tuple[tuple[str, str], ...] = option(
        "--security-opt KEY[=VALUE]",
        each("engine.request.values:parse_security"),
        "label=, apparmor=, seccomp=, mask=, unmask= or no-new-privileges, as podman's.",
        called="security_opt",
    )
    unpacked: bool = option(
        "--unpacked",
        ON,
        "Start the program without a container, as you, on this host, isolated from nothing.",
        keywords=_RUN,
        group="No container",
    )
    writable: bool = option("--writable", ON, "Make the root file system writable.", group="Less hardening")
    cap_add: tuple[str, ...] = option(
        "--cap-add NAME", each("engine.request.values:parse_capability"), "Add a capability."
    )
    allow_new_privileges: bool = option("--allow-new-privileges", ON, "Let set-user-ID programs gain privileges.")
    seccomp: str | None = option("--seccomp FILE|unconfined", _SECCOMP, "Use another seccomp profile, or none.")
    devices: tuple[Device, ...] = option(
        "--device HOST[:CTR][:rwm]",
        each("engine.request.values:parse_device"),
        "Add a device that you may open yourself.",
        called="devices",
    )
    beside: Beside | None = None
    pidns: str | None = None
    cgroups: str | None = None

    @property
    def destination(self) -> Destination | None:
        """The service that is named by these options or by the environment; raises UsageError for two at once."""
        from rootless_scratch.engine.request.destination import destination_of

        return destination_of(self.url, self.connection)

    @property
    def stays(self) -> bool:
        """Whether the container may outlive this call, so that podman must keep its output."""
        return self.keep or self.detach or (self.tty and self.interactive and bool(self.detach_keys))
