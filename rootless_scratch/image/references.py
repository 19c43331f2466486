"""Where an image lies or is to lie beside local storage: `TRANSPORT:PATH[:REF]`, as skopeo and podman read it."""

from __future__ import annotations

import os
import re

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

TRANSPORTS = ("oci", "oci-archive", "docker-archive")
"""Those of files, which are read as well as written."""

REGISTRY = "docker"
_REF = expression(r"[A-Za-z0-9]+(?:(?:[-._:@+/]|--)[A-Za-z0-9]+)*\Z")
"""OCI image-spec v1.1, annotations.md: the grammar of org.opencontainers.image.ref.name."""

_HOSTED = expression(r"(?:localhost|(?=[^/]*[.:])[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(?::\d+)?/")
"""What begins with the name of a host, as docker and podman tell it: a dot, a port, or localhost."""


class Reference(Data):
    """A reference; `text` is as the user wrote it, `path` absolute, `ref` the image's name in there or None.

    Of a registry `path` is HOST/NAME:TAG, with the tag that is meant, and `ref` the tag. A `passing` one is a
    layout that is read by other programs and removed before this process ends: nothing of it is synced.
    """

    text: str
    transport: str
    path: str
    ref: str | None
    passing: bool = False


def is_reference(text: str) -> bool:
    """Whether a text names an image by one of the transports of files."""
    return text.partition(":")[0] in TRANSPORTS and ":" in text


def parse_reference(text: str) -> Reference:
    """Read `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]` or `docker://HOST/NAME[:TAG]`.

    Raises UsageError.
    """
    transport, _, rest = text.partition(":")
    if transport == REGISTRY:
        return _registry(text, rest)
    path, colon, ref = rest.partition(":")
    if transport not in TRANSPORTS or not path or "\0" in path:
        raise UsageError(
            f"{text!r} does not name a location for an image.",
            fix="Write `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE` or `docker://HOST/NAME:TAG`.",
        )
    if path == "-":
        raise UsageError(
            f"{text!r} names no file.",
            fix=f"Write `{transport}:./-` for one of that name; `build -o` and `save -o` send archives to stdout.",
        )
    if transport == "docker-archive" and colon:
        from rootless_scratch.image.names import image_name

        ref = image_name(ref)
    elif colon and not _REF.match(ref):
        raise UsageError(
            f"{ref!r} in {text!r} is not a name for an image in a layout.",
            fix="Write letters and digits with single `-._:@+/` between them, e.g. `:latest`.",
        )
    return Reference(text=text, transport=transport, path=os.path.abspath(path), ref=ref if colon else None)


def with_transports(paths: Iterable[str]) -> tuple[str, ...]:
    """References for `save`, where a path alone is an archive that `docker load` and `podman load` read."""
    known = (*TRANSPORTS, REGISTRY)
    return tuple(path if path.partition(":")[0] in known else f"docker-archive:{path}" for path in paths)


def is_remote(text: str) -> bool:
    """Whether a text names an image in a registry."""
    return text.startswith(f"{REGISTRY}://")


def parse_remote(text: str) -> Reference:
    """Read `docker://HOST/NAME[:TAG][@DIGEST]`, of which a digest counts alone; raises UsageError."""
    name, at, digest = text.partition("@sha256:")
    named = parse_reference(name)
    if not at:
        return named
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise UsageError(f"{text!r} does not end with a digest.", fix="Write NAME@sha256: and 64 digits.")
    path = f"{named.path.rpartition(':')[0]}@sha256:{digest}"
    return Reference(text=text, transport=REGISTRY, path=path, ref=None)


def with_transport(text: str) -> str:
    """The destination of a push: HOST/NAME[:TAG] is one in a registry, as for podman; all else stays."""
    transport = text.partition(":")[0]
    if transport in (*TRANSPORTS, REGISTRY) or not _HOSTED.match(text):
        return text
    return f"{REGISTRY}://{text}"


def _registry(text: str, rest: str) -> Reference:
    from rootless_scratch.image.names import image_name

    name = rest.removeprefix("//")
    host, slash, _ = name.partition("/")
    # Nothing is ever sent to a registry that was not named.
    if not rest.startswith("//") or not slash or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{text!r} does not name a registry and an image there.",
            fix="Write `docker://HOST/NAME:TAG`, e.g. `docker://registry.example.com/team/hello:1.0`.",
        )
    if "@" in host:
        raise UsageError(
            "A reference to a registry must not contain a login, which everybody could read.",
            fix="Log in by `skopeo login HOST`, and write `docker://HOST/NAME:TAG`.",
        )
    full = image_name(name)
    return Reference(text=text, transport=REGISTRY, path=full, ref=full.rpartition(":")[2])


def parse_references(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Read all of them; raises UsageError, also where two name one location."""
    references = tuple(parse_reference(text) for text in texts)
    locations: dict[str, Reference] = {}
    for reference in references:
        # One layout may hold several images; whatever else is written twice would be lost once.
        location = reference.path if reference.transport == REGISTRY else os.path.realpath(reference.path)
        known = locations.setdefault(location, reference)
        both_layouts = known.transport == reference.transport == "oci" and known.ref != reference.ref
        if known is not reference and not both_layouts:
            raise UsageError(
                f"{known.text!r} and {reference.text!r} are the same.", fix="Write each output to its own."
            )
    return references
