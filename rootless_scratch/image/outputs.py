"""Where an image can be written to beside local storage: `TRANSPORT:PATH[:REF]`, as skopeo and podman read it."""

from __future__ import annotations

import os
import re

from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

TRANSPORTS = ("oci", "oci-archive", "docker-archive")
_REF = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+/]|--)[A-Za-z0-9]+)*\Z")
"""OCI image-spec v1.1, annotations.md: the grammar of org.opencontainers.image.ref.name."""


class Output:
    """One destination; `word` is as it was given, `path` absolute, `ref` the image's name in there or None."""

    __slots__ = ("path", "ref", "transport", "word")

    def __init__(self, *, word: str, transport: str, path: str, ref: str | None) -> None:
        self.word = word
        self.transport = transport
        self.path = path
        self.ref = ref


def is_output(word: str) -> bool:
    """Whether a word names an image by one of the transports."""
    return word.partition(":")[0] in TRANSPORTS and ":" in word


def parse_output(word: str) -> Output:
    """Read `oci:DIR[:REF]`, `oci-archive:FILE[:REF]` or `docker-archive:FILE[:REF]`; raises UsageError."""
    transport, _, rest = word.partition(":")
    path, colon, ref = rest.partition(":")
    if transport not in TRANSPORTS or not path or "\0" in path:
        raise UsageError(
            f"{word!r} does not say where to write the image.",
            fix="Write `oci:DIR`, `oci-archive:FILE` or `docker-archive:FILE`; `:NAME` may follow.",
        )
    if transport == "docker-archive" and colon:
        from rootless_scratch.errors import SpecError
        from rootless_scratch.image.names import image_name

        try:
            ref = image_name(ref)
        except SpecError as error:
            raise UsageError(error.message, fix=error.fix) from error
    elif colon and not _REF.match(ref):
        raise UsageError(
            f"{ref!r} in {word!r} is not a name for an image in a layout.",
            fix="Write letters and digits with single `-._:@+/` between them, e.g. `:latest`.",
        )
    return Output(word=word, transport=transport, path=os.path.abspath(path), ref=ref if colon else None)


def parse_outputs(words: Iterable[str]) -> tuple[Output, ...]:
    """Read all of them; raises UsageError, also where two go to one place."""
    outputs = tuple(parse_output(word) for word in words)
    places: dict[str, Output] = {}
    for output in outputs:
        # One layout may hold several images; whatever else is written twice would be lost once.
        place = os.path.realpath(output.path)
        known = places.setdefault(place, output)
        both_layouts = known.transport == output.transport == "oci" and known.ref != output.ref
        if known is not output and not both_layouts:
            raise UsageError(
                f"{known.word!r} and {output.word!r} are one place.", fix="Write each output to its own."
            )
    return outputs
