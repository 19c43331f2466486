"""What builds take from caches, and what they write to those of others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.caching.artifact import parse_cache
from rootless_scratch.caching.layers import Layers
from rootless_scratch.caching.source import LayoutSource, Source
from rootless_scratch.caching.store import Store
from rootless_scratch.errors import CacheError, ScratchError, UsageError
from rootless_scratch.image.references import REGISTRY
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import Access
from rootless_scratch.troubles import limit_met

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.caching.store import Entry
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.references import Reference


def open_store() -> Store:
    """The layers that this user has made before."""
    return Store.of_user(os.environ)


def open_sources(texts: Sequence[str], access: Access | None) -> tuple[Source, ...]:
    """Where others keep theirs; nothing is asked yet. Raises UsageError."""
    found: list[Source] = []
    for text in texts:
        reference = parse_cache(text)
        if reference.transport == REGISTRY:
            from rootless_scratch.ship.cached import RegistrySource

            found.append(RegistrySource(text, reference.path, access or Access()))
        else:
            found.append(LayoutSource(text, reference.path, reference.ref))
    return tuple(found)


def open_layers(texts: Sequence[str], access: Access | None) -> Layers:
    """What one image takes and keeps; raises UsageError."""
    return Layers(open_store(), open_sources(texts, access))


def require_use(
    cache_from: Sequence[str],
    cache_to: Sequence[str],
    images: Iterable[Sequence[Reference]],
    compress: str | None,
) -> None:
    """Raise UsageError for what is no cache, and where no layer of `images`, by their outputs, is compressed."""
    from rootless_scratch.verbs.ship import compression_for

    for text in (*cache_from, *cache_to):
        parse_cache(text)
    if not any(outputs and compression_for(compress, outputs).name != "none" for outputs in images):
        raise UsageError(
            "A cache has compressed layers, and no layer of this build is made compressed.",
            fix="Pass `-o` with `--compress gzip` and no `--backend`, or leave out --cache-from and --cache-to.",
        )


def write_caches(
    texts: Sequence[str],
    used: Iterable[Entry],
    access: Access | None,
    *,
    image: Image | None = None,
    progress: Progress = SILENT,
) -> None:
    """Add layers of what was built to caches of others; raises CacheError, with the `image` that is made."""
    if not texts:
        return
    from rootless_scratch.ship.cached import write_cache

    entries, store, failed = tuple(dict.fromkeys(used)), open_store(), []
    for text in texts:
        try:
            write_cache(parse_cache(text), entries, store, access or Access(), progress)
        except ScratchError as error:
            failed.append((text, error))
        except OSError as error:
            unwritten = limit_met(error) or ScratchError(
                f"{error.strerror}.", fix="Name another directory, with some room."
            )
            failed.append((text, unwritten))
    if failed:
        raise _error(failed, image)


def _error(failed: Sequence[tuple[str, ScratchError]], image: Image | None) -> CacheError:
    made = "The images are" if image is None else f"The image {image.image_id} is"
    causes = "; ".join(f"the cache {text} could not be written: {error.message}" for text, error in failed)
    fixes = " ".join(dict.fromkeys(error.fix for _, error in failed))
    details = "\n".join(error.detail for _, error in failed if error.detail)
    return CacheError(f"{made} built, but {causes}", fix=fixes, detail=details, image=image)


def with_notes(image: Image, layers: Layers) -> Image:
    """The image with what the user should know of caches."""
    if not layers.notes:
        return image
    from msgspec.structs import replace

    return replace(image, notes=(*image.notes, *dict.fromkeys(layers.notes)))
