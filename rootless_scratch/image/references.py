"""Where an image lies or is to lie beside local storage: `TRANSPORT:PATH[:REF]`, as skopeo and podman read it."""

from __future__ import annotations

import os
import re

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

TRANSPORTS = ("oci", "oci-archive", "docker-archive")
"""Those of files, which are read as well as written."""

REGISTRY = "docker"
_REF = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+/]|--)[A-Za-z0-9]+)*\Z")
"""OCI image-spec v1.1, annotations.md: the grammar of org.opencontainers.image.ref.name."""


class Reference(Data):
    """One place; `word` is as it was given, `path` absolute, `ref` the image's name in there or None.

    Of a registry `path` is HOST/NAME:TAG, with the tag that is meant, and `ref` the tag.
    """

    word: str
    transport: str
    path: str
    ref: str | None


def is_reference(word: str) -> bool:
    """Whether a word names an image by one of the transports of files."""
    return word.partition(":")[0] in TRANSPORTS and ":" in word


def parse_reference(word: str) -> Reference:
    """Read `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]` or `docker://HOST/NAME[:TAG]`.

    Raises UsageError.
    """
    transport, _, rest = word.partition(":")
    if transport == REGISTRY:
        return _registry(word, rest)
    path, colon, ref = rest.partition(":")
    if transport not in TRANSPORTS or not path or "\0" in path:
        raise UsageError(
            f"{word!r} does not name a place for an image.",
            fix="Write `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE` or `docker://HOST/NAME:TAG`.",
        )
    if transport == "docker-archive" and colon:
        from rootless_scratch.image.names import image_name

        ref = image_name(ref)
    elif colon and not _REF.match(ref):
        raise UsageError(
            f"{ref!r} in {word!r} is not a name for an image in a layout.",
            fix="Write letters and digits with single `-._:@+/` between them, e.g. `:latest`.",
        )
    return Reference(word=word, transport=transport, path=os.path.abspath(path), ref=ref if colon else None)


def in_words(words: Iterable[str]) -> tuple[str, ...]:
    """Words of `save`, where a path alone is an archive that `docker load` and `podman load` read."""
    known = (*TRANSPORTS, REGISTRY)
    return tuple(word if word.partition(":")[0] in known else f"docker-archive:{word}" for word in words)


def _registry(word: str, rest: str) -> Reference:
    from rootless_scratch.image.names import image_name

    name = rest.removeprefix("//")
    host, slash, _ = name.partition("/")
    # Nothing is ever sent to a registry that was not named.
    if not rest.startswith("//") or not slash or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{word!r} does not name a registry and an image there.",
            fix="Write `docker://HOST/NAME:TAG`, e.g. `docker://registry.example.com/team/hello:1.0`.",
        )
    if "@" in host:
        raise UsageError(
            "A login has no place in the word for a registry, where everybody sees it.",
            fix="Log in by `skopeo login HOST`, and write `docker://HOST/NAME:TAG`.",
        )
    full = image_name(name)
    return Reference(word=word, transport=REGISTRY, path=full, ref=full.rpartition(":")[2])


def parse_references(words: Iterable[str]) -> tuple[Reference, ...]:
    """Read all of them; raises UsageError, also where two go to one place."""
    outputs = tuple(parse_reference(word) for word in words)
    places: dict[str, Reference] = {}
    for output in outputs:
        # One layout may hold several images; whatever else is written twice would be lost once.
        place = output.path if output.transport == REGISTRY else os.path.realpath(output.path)
        known = places.setdefault(place, output)
        both_layouts = known.transport == output.transport == "oci" and known.ref != output.ref
        if known is not output and not both_layouts:
            raise UsageError(
                f"{known.word!r} and {output.word!r} are one place.", fix="Write each output to its own."
            )
    return outputs
