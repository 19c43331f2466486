"""Values of the options of a `run`, read one by one: volumes, ports, sizes, limits, secrets, keys."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping

from rootless_scratch.engine.request.request import Device, Limit, Port, Secret
from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import text, texts

_PORT_LIMIT = 65_535
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECRET_KEYS = frozenset({"type", "target", "uid", "gid", "mode"})
_LIMITS = (
    "(core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending|stack)="
    r"(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?"
)
"""The resources of setrlimit(2), as `podman run --ulimit` names them."""


_ENV_FILE_LIMIT = 1 << 20
_PULLS = ("always", "missing", "newer", "never")
_DRIVERS = {"k8s-file": "k8s-file", "json-file": "k8s-file", "journald": "journald", "none": "none"}
"""As podman has them: it writes json-file as k8s-file."""

_SECURITY = ("label", "apparmor", "seccomp", "mask", "unmask", "no-new-privileges")

_MOST_CPUS = 10_000
_LEAST_CPUS = 0.01
"""The kernel's least quota is 1 ms of a period of 100 ms: kernel, cgroup-v2 `cpu.max`."""


def parse_env(pairs: Iterable[str], caller: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`K=V`, or `K` for the caller's own value (nothing where the caller has none, as podman does it)."""
    env: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name:
            raise UsageError(f"--env {pair!r} names no variable.", fix="Write NAME=VALUE, or NAME alone.")
        if separator:
            env[name] = value
        elif name in caller:
            env[name] = caller[name]
    return env


def parse_env_file(path: str, caller: Mapping[str, str] = os.environ) -> tuple[tuple[str, str], ...]:
    """The lines `K=V` and `K` of a file, as podman reads them: nothing is unquoted, `#` begins a comment."""
    try:
        with open(path, "rb") as file:
            content = file.read(_ENV_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--env-file {path!r} cannot be read: {reason}.", fix="Name a file of lines K=V."
        ) from error
    try:
        lines = content.decode().replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        lines = []
    if len(content) > _ENV_FILE_LIMIT or "\0" in "".join(lines) or (content and not lines):
        raise UsageError(
            f"--env-file {path!r} is not a file of environment variables.",
            fix="Write lines K=V in UTF-8, at most a megabyte of them.",
        )
    env: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, separator, value = line.lstrip().partition("=")
        if not line.strip() or name.startswith("#"):
            continue
        if not name:
            raise UsageError(f"Line {number} of {path!r} names no variable.", fix="Write K=V, or K alone.")
        if separator:
            env[name] = value
        elif name.rstrip().endswith("*"):
            prefix = name.rstrip()[:-1]
            env |= {each: theirs for each, theirs in caller.items() if each.startswith(prefix)}
        elif name.rstrip() in caller:
            env[name.rstrip()] = caller[name.rstrip()]
    return tuple(env.items())


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """`K=V`, or `K` for an empty value."""
    labels: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name:
            raise UsageError(f"--label {pair!r} has no name.", fix="Write NAME=VALUE.")
        labels[name] = value
    return labels


def parse_port(value: str) -> Port:
    """`[[IP:]HOST:]CONTAINER[/tcp|/udp|/sctp]`; IPv6 addresses in brackets."""
    match = re.fullmatch(
        r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<host>\d*):)?(?P<container>\d+)(?:/(?P<protocol>tcp|udp|sctp))?",
        value,
    )
    numbers = [] if match is None else [int(match["host"] or 0), int(match["container"])]
    if match is None or max(numbers) > _PORT_LIMIT or numbers[1] == 0:
        raise UsageError(
            f"--publish {value!r} is not valid.",
            fix="Write CONTAINER, HOST:CONTAINER or IP:HOST:CONTAINER (ports from 1 to 65535), then /tcp or "
            "/udp if needed; repeat the option for more ports.",
        )
    address, protocol = (match["address"] or "").strip("[]"), match["protocol"] or "tcp"
    return Port(address=address, host=numbers[0], container=numbers[1], protocol=protocol)


def parse_ports(value: object) -> tuple[Port, ...]:
    """The values of `--publish`, or ports of the container, each with where the host listens for it."""
    if not isinstance(value, Mapping):
        return tuple(parse_port(each) for each in texts("publish", value))
    ports = []
    for inside, listen in value.items():
        address, port = listen if isinstance(listen, tuple) and len(listen) == 2 else ("", listen)  # noqa: PLR2004
        address = f"[{address}]" if ":" in str(address) else address
        front = ":".join(str(each) for each in (address, "" if port is None else port) if each != "" or address)
        ports.append(parse_port(f"{front}:{inside}" if front else str(inside)))
    return tuple(ports)


def parse_secret(value: str) -> Secret:
    """`NAME[,type=mount|env][,target=PATH|VARIABLE][,uid=N][,gid=N][,mode=0444]`, as `podman run --secret`."""
    name, *fields = value.split(",")
    settings = dict(field.split("=", 1) for field in fields if "=" in field)
    numbers = all(re.fullmatch(r"\d{1,9}", settings.get(key, "0")) for key in ("uid", "gid"))
    octal = re.fullmatch(r"[0-7]{3,4}", settings.get("mode", "0444"))
    kind = settings.get("type", "mount")
    if (
        not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", name)
        or len(settings) != len(fields)
        or not _SECRET_KEYS.issuperset(settings)
        or kind not in ("mount", "env")
        or not (numbers and octal)
    ):
        raise UsageError(
            f"--secret {value!r} is not valid.",
            fix="Write NAME, or NAME,type=env,target=VARIABLE, or NAME,target=FILE,uid=65532,mode=0400; "
            "`podman secret create` makes one.",
        )
    target, mode = settings.get("target", name), int(settings.get("mode", "0444"), 8)
    uid, gid = (int(settings.get(key, "0")) for key in ("uid", "gid"))
    return Secret(name=name, target=target, variable=kind == "env", uid=uid, gid=gid, mode=mode)


def parse_limit(value: str) -> Limit:
    """`NAME=SOFT[:HARD]` of setrlimit(2); -1 and `unlimited` are the same."""
    match = re.fullmatch(_LIMITS, value)
    if match is None:
        raise UsageError(
            f"--ulimit {value!r} is not valid.",
            fix="Write NAME=SOFT or NAME=SOFT:HARD, for example nofile=1024:4096 or core=0.",
        )
    soft, hard = (-1 if number == "unlimited" else int(number) for number in (match[2], match[3] or match[2]))
    if hard != -1 and (soft == -1 or soft > hard):
        raise UsageError(f"--ulimit {value!r}: the soft limit is above the hard one.", fix="Write SOFT:HARD.")
    return Limit(name=match[1], soft=soft, hard=hard)


def parse_memory(value: str) -> int:
    """Bytes of `512m`, `1.5g`, `1048576`; units are powers of 1024, as podman's."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([bkmgt]?)(?:ib|b)?", value.strip().lower())
    size = 0 if match is None else int(float(match[1]) * _UNITS[match[2]])
    if not 0 < size < 1 << 62:
        raise UsageError(f"--memory {value!r} is not a size above 0.", fix="Write it as 64m, 1.5g, or in bytes.")
    return size


def parse_command(option: str, value: str) -> tuple[str, ...]:
    """A command: a JSON array, or a line that is split as a shell does; no shell ever runs it."""
    try:
        found = json.loads(value) if value.lstrip().startswith("[") else shlex.split(value)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or not found[0] or not all(isinstance(one, str) for one in found):
        raise UsageError(
            f"{option} {value!r} is not valid.",
            fix=f"""Write {option} /program, or with arguments: {option} '["/program", "--flag"]'.""",
        )
    return tuple(found)


def parse_keys(value: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes that a terminal sends for them; an empty value is no bytes."""
    keys = bytearray()
    for key in value.split(",") if value else ():
        match = re.fullmatch(r"ctrl-([a-z@\[\\\]^_])", key)
        if match is not None:
            keys.append(ord(match[1].upper()) & 0x1F)
        elif len(key) == 1 and key.isascii() and key.isprintable():
            keys += key.encode()
        else:
            raise UsageError(
                f"--detach-keys {value!r} is not valid.",
                fix="Write letters, or ctrl- and a letter, with commas between: ctrl-p,ctrl-q.",
            )
    return bytes(keys)


def parse_capability(value: str) -> str:
    """A name of capabilities(7), with or without CAP_, or ALL; as podman names it."""
    name = value.upper().removeprefix("CAP_")
    if re.fullmatch(r"[A-Z][A-Z_]*", name) is None:
        raise UsageError(
            f"--cap-add {value!r} is not a capability name.",
            fix="Write for example --cap-add NET_BIND_SERVICE; capabilities(7) lists them.",
        )
    return name if name == "ALL" else f"CAP_{name}"


def parse_entrypoint(_name: str, value: object) -> tuple[str, ...]:
    """One path, a JSON array in a string, or a list; a path is not split."""
    if isinstance(value, (list, tuple)):
        found = texts("entrypoint", value)
    else:
        path = text("entrypoint", value)
        found = parse_command("--entrypoint", path) if path.lstrip().startswith("[") else (path,)
    if not (found and found[0]):
        raise UsageError("The entrypoint is empty.", fix="Name a program of the image: --entrypoint /program.")
    return found


def parse_user(value: str) -> str:
    """A user or its id, and a group behind a colon."""
    from rootless_scratch.image.plan.settings import require_user

    return require_user(value)


def parse_seccomp(value: str) -> str:
    """A profile's absolute path, or `unconfined`."""
    return value if value == "unconfined" else os.path.abspath(value)


def parse_health_cmd(_name: str, value: object) -> tuple[str, ...]:
    """The command of a health check."""
    return parse_command("--health-cmd", text("--health-cmd", value))


def parse_timeout(option: str, value: object) -> float:
    """Seconds, above 0."""
    return _number(option, value, least=0, most=1e9)


def parse_cpus(option: str, value: object) -> float:
    """CPUs, or a part of one."""
    return _number(option, value, least=_LEAST_CPUS, most=_MOST_CPUS)


def _number(option: str, value: object, *, least: float, most: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UsageError(f"{option} is {value!r} and not a number.", fix=f"Write it as {option}=10.")
    if not least < value < most:
        if option == "timeout":
            raise UsageError(f"The timeout {value:g} is not a positive number of seconds.", fix="Write it as 30.")
        raise UsageError(f"--{option} {value:g} is not a number above {least:g}.", fix="Write it as 0.5 or 2.")
    return float(value)


def parse_pids(_name: str, value: object) -> int:
    """A number of processes."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 22:
        raise UsageError(f"--pids-limit {value!r} is not a number of processes.", fix="Write it as 100.")
    return value


def parse_pull(_name: str, value: object) -> str:
    """A policy; True is `missing`, False is `never`."""
    if isinstance(value, bool):
        return "missing" if value else "never"
    if value not in _PULLS:
        raise UsageError(f"--pull {value!r} is not a policy.", fix=f"Use one of {', '.join(_PULLS)}.")
    return str(value)


def parse_signal(value: str) -> int:
    """The number of a signal of signal(7)."""
    import signal

    from rootless_scratch.image.plan.settings import signal_name

    name = signal_name(value)
    if name.isdigit():
        return int(name)
    base, sign, offset = re.fullmatch(r"(SIG[A-Z0-9]+)([+-]?)(\d*)", name).groups()  # type: ignore[union-attr] # one of these
    return int(signal.Signals[base]) + int(sign + (offset or "0"))


def parse_seconds(option: str, value: object) -> int:
    """Whole seconds, from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        flag = f"--{option.replace('_', '-')}"
        raise UsageError(f"{flag} {value!r} is not a number of seconds.", fix=f"Write it as {flag} 30.")
    return value


def parse_log_driver(value: str) -> str:
    """A driver of podman's logs."""
    if value not in _DRIVERS:
        raise UsageError(f"--log-driver {value!r} is not known.", fix=f"Use one of {', '.join(_DRIVERS)}.")
    return _DRIVERS[value]


def parse_security(value: str) -> tuple[str, str]:
    """`KEY=VALUE` of `podman run --security-opt`, docker's `KEY:VALUE` too, or `no-new-privileges`."""
    key, separator, rest = re.fullmatch(r"([^=:]*)([=:]?)(.*)", value, re.DOTALL).groups()  # type: ignore[union-attr] # any text
    if key == "no-new-privileges" and rest in ("", "true", "false"):
        return key, rest or "true"
    if key not in _SECURITY[:-1] or not separator or not rest:
        raise UsageError(
            f"--security-opt {value!r} is not known.",
            fix="Use label=disable or another label=, apparmor=PROFILE, seccomp=FILE, mask=PATH, unmask=PATH, or "
            "no-new-privileges.",
        )
    return key, parse_seccomp(rest) if key == "seccomp" else rest


def parse_device(value: str) -> Device:
    """`HOST[:CONTAINER][:rwm]`, paths of devices."""
    source, *rest = value.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    target = rest.pop() if rest else source
    if rest or not source.startswith("/") or not target.startswith("/") or not re.fullmatch(r"r?w?m?", access):
        raise UsageError(
            f"--device {value!r} is not valid.",
            fix="Write HOST, HOST:CONTAINER or HOST:CONTAINER:rw: /dev/fuse:/dev/fuse.",
        )
    return Device(source=os.path.normpath(source), target=target, access=access)
