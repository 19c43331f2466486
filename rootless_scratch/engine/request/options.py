"""The options of a run, read into a Request and checked."""

from __future__ import annotations

import os
import re

from rootless_scratch.data import Value
from rootless_scratch.engine.request.request import Memory, Mount, Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import texts

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.keywords import Options

NETWORKS = ("none", "host", "private", "slirp4netns", "pasta", "bridge")

DETACH_KEYS = "ctrl-p,ctrl-q"
"""What podman and docker have for a terminal."""

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"


def request_of(image: str, arguments: Sequence[str], options: Options) -> Request:
    """Read and check what was asked; raises UsageError."""
    if not image:
        raise UsageError("No image was named.", fix="Name one, for example `rootless-scratch run hello`.")
    bare = Request(image=image, arguments=texts("arguments", arguments))
    request = _gathered(bare.with_options({"detach_keys": DETACH_KEYS, **options}, "A run"))
    _check(request)
    return request


def _gathered(request: Request) -> Request:
    """With what can be said in several ways in one place."""
    mounts = tuple(each for each in request.placed if isinstance(each, Mount))
    memories = tuple(each for each in request.placed if isinstance(each, Memory))
    request = request.but(mounts=request.mounts + mounts, memories=request.memories + memories, placed=())
    for key, value in request.security:
        if key == "seccomp":
            if request.seccomp not in (None, value):
                raise UsageError("Two seccomp profiles are named.", fix="Leave one of them out.")
            request = request.but(seccomp=value)
        elif key == "no-new-privileges":
            request = request.but(allow_new_privileges=request.allow_new_privileges or value == "false")
    return request


def _check_opposites(request: Request) -> None:
    """Refuse what is asked for and ruled out at once."""
    for one, other, both in (
        ("--rm", "--keep", request.rm and request.keep),
        ("--read-only", "--writable", request.read_only and request.writable),
    ):
        if both:
            raise UsageError(f"{one} and {other} contradict each other.", fix="Leave out one of them.")
    twice = set(request.cap_add).intersection(request.cap_drop)
    if twice:
        raise UsageError(f"{min(twice)} is both added and dropped.", fix="Leave out one of them.")
    if (request.dns or request.dns_search) and request.network in ("none", "host"):
        raise UsageError(
            f"With --network {request.network} there is no DNS of the container's own.",
            fix="Leave out --dns and --dns-search; --add-host adds to /etc/hosts.",
        )


def _check(request: Request) -> None:
    wrong = _contradiction(request)
    if wrong is not None:
        raise UsageError(wrong[0], fix=wrong[1])
    _check_pull(request)
    _check_service(request)
    _check_opposites(request)
    _check_places(request)
    _check_strings(request)


def _check_service(request: Request) -> None:
    """What keeps a service of ours has nothing to keep where another one is named beside it."""
    named = "--url" if request.url is not None else "--connection" if request.connection is not None else None
    if request.keep_service and named is not None:
        raise UsageError(
            f"--keep-service keeps a podman service of ours, and {named} names another.",
            fix=f"Leave out --keep-service or {named}.",
        )


def _check_pull(request: Request) -> None:
    access = {"--authfile": request.authfile, "--tls-verify": request.tls_verify, "--cert-dir": request.cert_dir}
    present = [option for option, value in access.items() if value is not None]
    if present and request.pull == "never":
        raise UsageError(f"{present[0]} is about a registry, and nothing is pulled.", fix="Add --pull.")
    for option, path in (("--authfile", request.authfile), ("--cert-dir", request.cert_dir)):
        if path is not None and not os.access(path, os.R_OK):
            raise UsageError(f"{option} {path!r} cannot be read.", fix="Check the path, and who may read it.")
    if request.destination is not None and (request.authfile is not None or request.cert_dir is not None):
        raise UsageError(
            f"{present[0]} names files of this host, and another podman pulls by those of its own.",
            fix="Use `podman login` and /etc/containers/certs.d over there.",
        )


def _contradiction(request: Request) -> tuple[str, str] | None:
    """What is none of the values that there are, or cannot be beside another: cause and fix."""
    network, name, userns, workdir = request.network, request.name, request.userns, request.workdir
    if network is not None and not re.fullmatch(_NAME, network):
        cause = f"--network {network!r} is not known."
        fix = f"Use one of {', '.join(NETWORKS)}, or the name of a network that podman knows."
    elif request.ports and network in ("none", "host"):
        cause = f"Ports cannot be published with --network {network}."
        fix = "Leave out --publish: with host its ports are the host's, with none there are none."
    elif name is not None and not re.fullmatch(_NAME, name):
        cause = f"--name {name!r} is not a container name."
        fix = "Use letters and digits, then `_.-` as well."
    elif request.replace and name is None:
        cause, fix = "--replace replaces the container of a name.", "Add --name NAME."
    elif userns is not None and not re.fullmatch(r"host|keep-id(:[ug]id=\d+(,[ug]id=\d+)?)?", userns):
        cause, fix = f"--userns {userns!r} is not known.", "Use host, keep-id or keep-id:uid=65532,gid=65532."
    elif workdir is not None and not workdir.startswith("/"):
        cause, fix = f"--workdir {workdir!r} is not an absolute path.", "Begin it with `/`."
    else:
        return None
    return cause, fix


def _check_places(request: Request) -> None:
    targets = [mount.target.rstrip("/") for mount in request.mounts]
    targets += [memory.target.rstrip("/") for memory in request.memories]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"Two mounts have the target {twice}.", fix="Use each target once.")


def _check_strings(request: Request) -> None:
    for string in _strings(request):
        check_text(string)
    for name, _ in (*request.env, *(pair for file in request.env_files for pair in file)):
        if not name or "=" in name:
            raise UsageError(f"{name!r} is not a variable name.", fix="Use a name without `=`.")


def _strings(plain: object) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, (tuple, Value)):
        for each in vars(plain).values() if isinstance(plain, Value) else plain:
            yield from _strings(each)


def check_text(string: str) -> None:
    """What goes into JSON must be text: the service would turn other bytes into question marks unasked."""
    try:
        string.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{string!r} is not UTF-8, and podman's API can carry nothing else.", fix="Use names in UTF-8."
        ) from error
    if "\0" in string:
        raise UsageError(f"{string!r} has a NUL byte in it.", fix="Leave the NUL byte out.")
