"""Names of images, by the grammar that registries and podman share."""

from __future__ import annotations

import re

from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression

TYPE_CHECKING = False  # importing typing costs 8 ms, and the worker loads this
if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = expression(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z")
_PATH = expression(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = expression(r"[\w][\w.-]{0,127}\Z", re.ASCII)
_NAME_MAX = 255
_DOCKER, _DOCKER_BEFORE = "docker.io", "index.docker.io"
_ID = expression(r"[0-9a-f]{64}\Z")
_SCHEME = expression(r"[a-z-]+://")
_NO_IMAGE = (
    "not known",
    "no such image",
    "invalid reference format",
    "unsupported transport",
    "must be lowercase",
)
"""Of what buildah says where storage has no image of a name, or could have none."""


def image_name(name: str) -> str:
    """The full form under which local storage keeps `name`: `hello` gives `localhost/hello:latest`.

    Raises UsageError for what no registry and no storage would take (distribution-spec v1.1, "Pulling
    manifests").
    """
    host, path, tag = _parts(name)
    if not _is_name(name):
        raise _refusal(name)
    return f"{host}/{path}:{tag}"


def full_names(name: str) -> tuple[str, ...]:
    """The names that `name` may mean in an archive for docker: without a host podman's comes first, then docker's.

    podman loads `x/a:1` as `localhost/x/a:1`, docker as `docker.io/x/a:1`, and a name of one part as one of its
    library (distribution/reference, ParseNormalizedNamed).
    """
    host, path, tag = _parts(name)
    if host == _DOCKER_BEFORE:
        host = _DOCKER
    official = f"{_DOCKER}/{path if '/' in path else f'library/{path}'}:{tag}"
    if host == _DOCKER:
        return (official,)
    here = f"{host}/{path}:{tag}"
    return (here,) if name.startswith(f"{host}/") else (here, official)


def near_names(wanted: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names among `names` that read much like `wanted`, the nearest first."""
    from difflib import get_close_matches

    # A user leaves out what podman adds: the host of local images, and the tag.
    short = {name.removeprefix("localhost/").removesuffix(":latest"): name for name in names}
    return tuple(short[match] for match in get_close_matches(wanted, short, n=2))


def is_unknown(stderr: str) -> bool:
    """Whether buildah says that storage has no image of the name that it was asked for."""
    return any(text in stderr for text in _NO_IMAGE)


def unknown_image(name: str, listed: str, *, otherwise: str) -> tuple[str, str]:
    """Cause and fix: names much like it among those that `buildah images` listed, or what to do otherwise."""
    near = near_names(name, [each for each in listed.split() if "<none>" not in each])
    fix = f"Did you mean {' or '.join(near)}?" if near else f"`podman images` lists what is there; {otherwise}"
    return f"There is no image {name!r} in local storage.", fix


def _parts(name: str) -> tuple[str, str, str]:
    repository, tag = name, "latest"
    head, colon, tail = name.rpartition(":")
    if colon and "/" not in tail:
        repository, tag = head, tail
    first, slash, rest = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest, tag
    return "localhost", repository, tag


def _is_name(name: str) -> bool:
    host, path, tag = _parts(name)
    return bool(
        _HOST.match(host)
        and _PATH.match(path)
        and _TAG.match(tag)
        and len(f"{host}/{path}") <= _NAME_MAX
        and not _reads_as_id(name)
    )


def _reads_as_id(name: str) -> bool:
    return _ID.match(name.partition(":")[0]) is not None


def _refusal(name: str) -> UsageError:
    host, path, tag = _parts(name)
    cause, fix = f"{name!r} is not an image name.", _spelling(name)
    if "@" in name:
        cause = f"The image name {name!r} contains a digest, which is known only after the build."
        fix = "Give a name and a tag, e.g. `-t hello:1.0`."
    elif scheme := _SCHEME.match(name):
        cause = f"The image name {name!r} begins with the transport {scheme[0]!r}, and names have none."
        fix = f"Give the name alone{_example(name[scheme.end() :])}."
    elif _reads_as_id(name):
        cause, fix = f"The image name {name!r} reads as an image ID.", "Give a name, e.g. `-t hello:latest`."
    elif not _TAG.match(tag):
        cause = f"{tag!r} in the image name {name!r} is not a tag."
        fix = "A tag has up to 128 letters, digits, `_`, `.` or `-`, and starts with none of the last two."
    elif not _HOST.match(host):
        cause = f"{host!r} in the image name {name!r} is not a host."
        fix = "Write the host as `registry.example.com`, `localhost:5000` or `[::1]:5000`."
    elif _PATH.match(path):
        cause = f"The image name {name[:60]!r}... has more than {_NAME_MAX} characters."
        fix = "Shorten it."
    return UsageError(cause, fix=fix)


def _spelling(name: str) -> str:
    _, path, _ = _parts(name)
    rules = "Use lower-case letters, digits, and single `.`, `_`, `-` or `/` between them"
    return f"{rules}{_example(name.replace(path, path.lower(), 1) if path else '')}."


def _example(name: str) -> str:
    return f", e.g. `-t {name if _is_name(name) else 'hello:1.0'}`"
