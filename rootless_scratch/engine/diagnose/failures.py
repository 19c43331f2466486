"""What podman, runc and crun say when a container does not start, as causes and fixes.

The texts are those of podman 4.3 to 5, runc 1.1 and crun 1.8 to 1.21; each is matched on its stable part.
"""

from __future__ import annotations

import re

from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import (
    CannotInvokeError,
    CommandNotFoundError,
    EngineError,
    HostError,
    ImageNotFoundError,
    ScratchError,
)
from rootless_scratch.expressions import expression
from rootless_scratch.host.causes import cause_in
from rootless_scratch.troubles import trouble_in

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.engine.request.request import Request


class RuntimeUnsuitedError(HostError):
    """The service's OCI runtime cannot start any container on this host; another one may."""


class IdsMissingError(HostError):
    """The ids of the container's user cannot be mapped for this account."""


class IpcClosedError(EngineError):
    """The container that was to be joined lets nobody into its IPC namespace."""


class NetworkMissingError(HostError):
    """Nothing but the container's network keeps it from starting; `reason` is one clause."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"The container cannot have its own network here: {reason}.",
            fix="Use --network none or --network host, without --publish; `rootless-scratch doctor` says "
            "what is missing.",
        )


_NO_NETWORK = expression(
    r"could not find (?:slirp4netns|pasta|\"netavark\"|\"aardvark)|slirp4netns failed|pasta failed"
    r"|slirp4netns support has been removed|/dev/net/tun|slirp4netns sync pipe|Failed to open tun socket"
    r"|Couldn't open network namespace|netavark|plugin type=\"|failed to find plugin|iptables|nftables"
    r"|CNI|cni plugin|unable to upgrade to .*, received"
)

_NOT_FOUND = expression(
    r'exec: "(?P<runc>[^"]*)": (?:stat [^:]*: no such file|executable file not found)'
    r"|executable file `(?P<crun>[^`]*)` not found"
)

_NOT_EXECUTABLE = expression(
    r'exec: "(?P<runc>[^"]*)": (?:permission denied|is a directory)|open executable: Permission denied'
)


class _Failure(Diagnosis):
    """What podman or a runtime says, and the class of the error."""

    kind: type[EngineError | HostError] = EngineError


_FAILURES = (
    _Failure(
        r"cgroups in hybrid mode not supported",
        "The podman service uses crun, which refuses hosts with cgroup v1 and v2 side by side.",
        'Set `runtime="runc"` below [engine] in its containers.conf and restart it, or use another service.',
        RuntimeUnsuitedError,
    ),
    _Failure(
        r"unable to find user (\S+): no matching entries in passwd file",
        "The user {0!r} is not in the image's /etc/passwd.",
        "Give the user as numbers, for example --user 65532:65532, or add it to the /etc/passwd of the image.",
    ),
    _Failure(
        r"unable to find group (\S+): no matching entries in group file",
        "The group {0!r} is not in the image's /etc/group.",
        "Give the group as a number, for example --user 65532:65532, or add it to the /etc/group of the image.",
    ),
    _Failure(
        r"unable to setup user: invalid argument|cannot setresuid|cannot setresgid|setgroups: [Ii]nvalid"
        r"|insufficient UIDs or GIDs|keep-id requires additional UIDs|are all the IDs mapped in the user",
        "The container's user or group id lies outside the ids that this host gives you.",
        "Use an id below the count in your lines of /etc/subuid and /etc/subgid (usually 65536); where "
        "there are none, --user 0, or ask for some: `sudo usermod --add-subuids 100000-165535 "
        "--add-subgids 100000-165535 $USER`.",
        IdsMissingError,
    ),
    _Failure(
        r"cannot expose privileged port (\d+)|Listen failed for HOST \S+ port (\S+?): Permission denied",
        "The host's port {0} is reserved for root.",
        "Publish on a port from 1024 on, or `sudo sysctl net.ipv4.ip_unprivileged_port_start={0}`.",
        HostError,
    ),
    _Failure(
        r"failed to initialize journal",
        "The log cannot go to journald, which does not run here.",
        "Leave --log-driver out, or use k8s-file.",
        HostError,
    ),
    _Failure(
        r"apparmor profile \"([^\"]*)\" specified, but Apparmor is not enabled",
        "The AppArmor profile {0!r} has no effect: this host has no AppArmor.",
        "Leave --security-opt apparmor= out.",
        HostError,
    ),
    _Failure(
        r"address already in use",
        "A port to publish is already in use on this host.",
        "Publish on another port of the host; `ss -ltnp` shows who uses it.",
    ),
    _Failure(
        r"statfs ([^:]+): (no such file or directory|permission denied)",
        "The file or directory {0} cannot be mounted: {1}.",
        "Correct the path in front of the first `:` of --volume, or create it.",
    ),
    _Failure(
        r"unable to find network with name or ID (\S+?): network not found",
        "podman knows no network {0!r}.",
        "`podman network ls` lists those that exist; `podman network create {0}` makes it.",
    ),
    _Failure(
        r"invalid network \"?(\w+)\"?|slirp4netns support has been removed",
        "This podman does not support the requested network.",
        "pasta needs podman 4.4 or later, slirp4netns one before 6; `--network private` takes what there is.",
    ),
    _Failure(
        r"no command or entrypoint provided",
        "The image names no program to run, and no command was given.",
        "Add the program's absolute path after the image's name.",
    ),
    _Failure(
        r"workdir \"([^\"]*)\" does not exist",
        "The image's working directory {0} does not exist in it.",
        "Build the image with `--mkdir {0}`, or with another --workdir.",
    ),
    _Failure(
        r"container init: mkdir (/[^:]*): "
        r"(no such file or directory|read-only file system|not a directory|file exists)",
        "No container can begin in the working directory {0}: {1}.",
        "Build the image with another --workdir.",
    ),
    _Failure(
        r"chdir (?:to )?`([^`]*)`: No such file or directory",
        "No container can begin in the working directory {0}: no such file or directory.",
        "Build the image with another --workdir.",
    ),
    _Failure(
        r"stat /dev/null: |failed open\(\)ing `?/dev/null`?|open /dev directory in `"
        r"|error creating device nodes: |error setting up ptmx: ",
        "The image or one of its volumes has something where the runtime makes /dev.",
        "Leave /dev out of the image, and choose another path for --volume.",
    ),
    _Failure(
        r"exec: \"([^\"]+)\": cannot run executable found relative to current directory",
        "PATH leads to the program {0} by a relative directory, from which runc starts nothing.",
        "Give its absolute path; `rootless-scratch inspect` lists every file of the image.",
        CommandNotFoundError,
    ),
    _Failure(
        r"setrlimit|setting rlimit",
        "This host does not let the container have the resource limits that podman asks for.",
        "Lower them by `default_ulimits` below [containers] in containers.conf (`ulimit -Hn` shows yours).",
        HostError,
    ),
    _Failure(
        r"non-shareable IPC",
        "The container does not share its IPC namespace.",
        "Start it with `--ipc shareable`, which is podman's default.",
        IpcClosedError,
    ),
    _Failure(
        r"container name \"([^\"]*)\" is already in use",
        "There is a container {0!r} already.",
        "Give another --name, or add --replace to remove that one (`podman rm {0}` does it by hand).",
    ),
    _Failure(
        r"no such secret|no secret with name or id \"?([^\":]*)",
        "podman knows no secret of that name.",
        "`podman secret ls` lists those that exist; `podman secret create NAME FILE` makes one.",
    ),
    _Failure(
        r"(?:opening|loading|open) seccomp profile.*?: (?:open )?([^ :]*): ([a-z ]+)|seccomp profile \(([^)]*)\)",
        "The seccomp profile {0} cannot be used.",
        "Name a file in the format of containers-common's seccomp.json, or `unconfined`.",
    ),
    _Failure(
        r"(?:unknown|invalid|unsupported) capability|capability.* (?:is not|unknown)",
        "A capability of --cap-add is not known here.",
        "capabilities(7) lists them, for example NET_BIND_SERVICE.",
    ),
    _Failure(
        r"container-init binary not found|catatonit",
        "podman finds no init program for --init.",
        "Install catatonit, or leave --init out where the program waits for its children itself.",
        HostError,
    ),
    _Failure(
        r"controllers? .{1,40} (?:is|are) not available|cgroup.*(?:memory\.max|pids\.max|cpu\.max)",
        "This host cannot enforce the limits of the container.",
        "Leave out --memory, --cpus, --pids-limit, or have the controllers delegated: `rootless-scratch doctor`.",
        HostError,
    ),
    _Failure(
        r"no space left on device",
        "The disk that holds podman's storage is full.",
        "Make room there; `podman system df` shows what takes it.",
        HostError,
    ),
)


def limits_ignored(warning: str) -> bool:
    """Whether podman warns that limits of memory, processors and processes do not hold."""
    return "cgroups V1 rootless" in warning


def create_failure(text: str, request: Request, *, elsewhere: str | None = None) -> ScratchError:
    """The error for a refused create; `elsewhere` is the address of the service, where the caller named it."""
    if "image not known" in text or "no such image" in text:
        where = "in local storage" if elsewhere is None else f"at {elsewhere}"
        cause = f"There is no image {request.image!r} {where}."
        fix = f"Bring it there: `podman save {request.image} | podman --url {elsewhere} load`, or by a registry: "
        fix += "`rootless-scratch push`, then `run --pull`."
        if elsewhere is None:
            fix = "`podman images` lists what is there; build it with `rootless-scratch build`, or pull it with "
            fix += "`podman pull` or `run --pull`."
    elif "unsupported transport" in text:
        cause = f"{request.image!r} lies outside of local storage, and only images in it are run."
        fix = "Build it with `-t NAME`; an archive is loaded by `podman load --input FILE`."
    elif "invalid reference format" in text or "must be lowercase" in text:
        cause = f"{request.image!r} is not an image name."
        fix = "A name is NAME[:TAG] in lower case, or an image ID."
    else:
        return start_failure(text, request)
    return ImageNotFoundError(cause, fix=fix)


def start_failure(text: str, request: Request) -> ScratchError:  # noqa: PLR0911 - one for each table
    """The error for a container that podman could not start."""
    cause = cause_in(text)
    if cause is not None:
        return cause.error(text, what="podman could not start the container")
    known = diagnose(_FAILURES, text)
    if known is not None:
        return known.kind(known.cause, fix=known.fix, detail=text)
    if _NO_NETWORK.search(text) is not None:
        tun = "/dev/net/tun" in text
        return NetworkMissingError("/dev/net/tun cannot be opened" if tun else _brief(text))
    found = _NOT_FOUND.search(text)
    if found is not None:
        program = found["runc"] or found["crun"] or "to run"
        shell = program == "/bin/sh"
        where = "the image" if "/" in program else "any directory of the image's PATH"
        return CommandNotFoundError(
            f"The program {program} is not in {where}.",
            fix="Use the exec form for ENTRYPOINT and CMD: a scratch image has no shell."
            if shell
            else "Give its absolute path; `rootless-scratch inspect` lists every file of the image.",
        )
    if "command that was not found" in text:
        return CommandNotFoundError(
            f"The runtime does not find what it needs to start the container: {_brief(text)}.",
            fix="`rootless-scratch check` on the image says what it lacks.",
        )
    found = _NOT_EXECUTABLE.search(text)
    if found is not None or "OCI permission denied" in text:
        program = (found["runc"] if found is not None else None) or "The program"
        return CannotInvokeError(
            f"{program} is in the image and cannot be executed: permission denied.",
            fix="It must be a file with its execute bits set (mode 0755), in directories that the image's "
            "user may enter, on a storage that is not mounted noexec.",
        )
    return _otherwise(text, request)


def _otherwise(text: str, request: Request) -> ScratchError:
    """The error for what no table knows: mostly it has nothing to do with the image."""
    trouble = trouble_in(text)
    if trouble is not None:
        return HostError(trouble.after("podman could not start the container"), fix=trouble.fix, detail=text)
    return EngineError(
        f"podman could not start the container: {_brief(text)}.",
        fix=f"Run `rootless-scratch doctor`; `podman run --rm {request.image}` shows whether podman fails too.",
    )


def _brief(text: str) -> str:
    """The part of podman's chain of causes that tells: without ids, helper warnings and trailing repeats."""
    text = re.sub(r"^preparing container [0-9a-f]{64} for attach: ", "", text.strip())
    text = re.sub(r"\\n", "\n", text).replace('\\"', '"')
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
    line = re.sub(r": (?:OCI runtime error|OCI permission denied)$", "", " ".join(lines[:2]))
    return line[:300].rstrip(". ")
