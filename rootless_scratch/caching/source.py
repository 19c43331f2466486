"""Where layers come from that others have made: a layout here; a registry is in ship/."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from rootless_scratch.caching.artifact import DOCUMENT_LIMIT, Artifact, read_artifact
from rootless_scratch.errors import SourceError
from rootless_scratch.image.host_files import open_descriptor, open_regular
from rootless_scratch.image.oci import digest_of, ref_of
from rootless_scratch.image.write.layout import BLOBS, INDEX_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from rootless_scratch.caching.store import Entry
    from rootless_scratch.errors import ScratchError


class Source(ABC):
    """Layers that others have made, called `text`; looked at once, by whatever thread. Nothing is believed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lock = Lock()
        self._artifact: Artifact | None = None
        self._is_over = False
        self._refused: set[str] = set()

    def entries(self) -> Mapping[str, Entry]:
        """Its layers by their keys; none where it was given up. Raises ScratchError."""
        with self._lock:
            if self._is_over:
                return {}
            if self._artifact is None:
                self._artifact = self.load()
            found = self._artifact.entries
        return {key: entry for key, entry in found.items() if key not in self._refused}

    def give_up(self) -> bool:
        """Have it looked at no more; False where that is so already."""
        with self._lock:
            before, self._is_over = self._is_over, True
            return not before

    def refuse(self, entry: Entry) -> None:
        """Have a layer looked at no more."""
        self._refused.add(entry.key)

    @property
    def digest(self) -> str:
        """Of the manifest that was read."""
        assert self._artifact is not None  # noqa: S101 - only what it holds is asked for
        return self._artifact.digest

    @abstractmethod
    def load(self) -> Artifact:
        """Read its manifest; raises ScratchError."""

    @abstractmethod
    def blob(self, entry: Entry) -> AbstractContextManager[int]:
        """A file that begins with a layer, open for reading while the block lasts; raises ScratchError."""


class LayoutSource(Source):
    """An artifact in a layout."""

    def __init__(self, text: str, path: str, ref: str | None) -> None:
        super().__init__(text)
        self._path = path
        self._ref = ref

    def load(self) -> Artifact:
        """See Source."""
        found = artifact_in(self._path, self._ref)
        if found is None:
            raise SourceError(f"There is no cache {self._ref!r}.", fix="Write one there with --cache-to.")
        return found

    def blob(self, entry: Entry) -> AbstractContextManager[int]:
        """See Source."""

        def refused(error: OSError) -> ScratchError:
            what = f"Its blob sha256:{entry.digest} cannot be read: {error.strerror}."
            return SourceError(what, fix="Write the cache again with --cache-to.")

        return opened(f"{self._path}/{BLOBS}/{entry.digest}", refused)


@contextmanager
def opened(path: str, refused: Callable[[OSError], ScratchError]) -> Iterator[int]:
    """A file, open for reading while the block lasts; raises what `refused` makes of an OSError."""
    try:
        descriptor, _ = open_descriptor(path)
    except OSError as error:
        raise refused(error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def artifact_in(path: str, ref: str | None) -> Artifact | None:
    """The artifact that a layout has by this name; None where it has none. Raises SourceError.

    SourceError also for what has this name and is none.
    """
    try:
        with open_regular(f"{path}/{INDEX_FILE}") as file:
            index = json.loads(file.read(DOCUMENT_LIMIT))
        named = next((each for each in index["manifests"] if ref_of(each) == ref), None)
        if named is None:
            return None
        with open_regular(f"{path}/{BLOBS}/{str(named['digest']).removeprefix('sha256:')}") as file:
            content = file.read(DOCUMENT_LIMIT)
        whole = digest_of(content) == named["digest"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or f"its {INDEX_FILE} is damaged"
        raise SourceError(f"{path!r} cannot be read as a layout: {why}.", fix="Name another directory.") from error
    found = read_artifact(content) if whole else None
    if found is None:
        raise SourceError(
            f"{ref!r} in {path!r} is not a cache, or is damaged.",
            fix="Name another one, e.g. `oci:DIR:cache`.",
        )
    return found
