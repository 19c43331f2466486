"""Layers that others have made, in a registry: read from there layer by layer, and sent there, by skopeo."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.caching.artifact import EMPTY, Artifact, manifest_of, merged, read_artifact
from rootless_scratch.caching.source import Source, artifact_in, opened
from rootless_scratch.errors import RegistryError, ScratchError
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.references import REGISTRY
from rootless_scratch.image.write.layout import (
    BLOBS,
    Blob,
    WrittenImage,
    add_to_layout,
    descriptor_digest,
    layout_directory,
    put_blob,
)
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import OCI, Access
from rootless_scratch.ship.registry import Attempts, push_layout, reachable_logins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.caching.store import Entry, Store
    from rootless_scratch.image.references import Reference

IDLE = 30.0
"""Seconds without a byte after which a registry is not waited for: to make a layer takes less."""

_STAGED = "staged"
_TRIES = 5
"""Of writing a cache that others write to at the same time."""

_NONE_THERE = "has no image"
_LOST = "no such file or directory"
"""What skopeo says of a blob that neither a registry nor the layout has."""


class RegistrySource(Source):
    """An artifact in a registry; `name` is HOST/NAME:TAG there."""

    def __init__(self, text: str, name: str, access: Access) -> None:
        super().__init__(text)
        self._name = name
        self._access = access

    def load(self) -> Artifact:
        """See Source."""
        found = artifact_there(self._name, self._access)
        if found is None:
            raise RegistryError(f"There is no cache {self._name}.", fix="Write one with --cache-to.")
        return found

    @contextmanager
    def blob(self, entry: Entry) -> Iterator[int]:
        """See Source."""
        environment = tool_environment().variables
        with private_temporary(environment) as made:
            layout = f"{made.path}/layout"
            blobs = f"{layout}/{BLOBS}"
            os.makedirs(blobs)
            # skopeo copies no blob that is there: all but the one stand as holes of the same size.
            for other in self.entries().values():
                if other.digest != entry.digest:
                    with open(f"{blobs}/{other.digest}", "wb") as file:
                        file.truncate(other.size)
            attempts = _attempts(self._name, made.path, self._access)
            attempts.on_pause = lambda: _refuse_more(layout, entry, self._name)
            there = f"docker://{self._name.rpartition(':')[0]}@{self.digest}"
            arguments = ("copy", "--preserve-digests", *self._access.flags(prefix="src-"))
            attempts.follow(*arguments, there, f"oci:layout:{_STAGED}")
            with opened(f"{blobs}/{entry.digest}", lambda _: self._lacking(entry)) as descriptor:
                yield descriptor

    def _lacking(self, entry: Entry) -> RegistryError:
        return RegistryError(
            f"{self._name} has not given the blob sha256:{entry.digest}.",
            fix="Write the cache again with --cache-to.",
        )


def artifact_there(name: str, access: Access) -> Artifact | None:
    """The artifact that a registry has under HOST/NAME:TAG; None where it has nothing. Raises ScratchError.

    RegistryError also for what has this name and is none.
    """
    command.require("skopeo")
    access.check()
    environment = tool_environment().variables
    with private_temporary(environment) as made:
        attempts = _attempts(name, made.path, access)
        try:
            content = attempts.follow("inspect", "--raw", *access.flags(prefix=""), f"docker://{name}")
        except RegistryError as error:
            if _NONE_THERE in error.message:
                return None
            raise
    found = read_artifact(content)
    if found is None:
        raise RegistryError(f"{name} is not a cache.", fix="Name another tag, e.g. `docker://HOST/NAME:cache`.")
    return found


def write_cache(
    reference: Reference, entries: Sequence[Entry], store: Store, access: Access, progress: Progress = SILENT
) -> None:
    """Add layers, which are in the store, to a cache of others. Raises ScratchError, OSError.

    What it has already stays, within its bounds. Nothing names a part of it: its manifest comes last.
    """
    progress.step(f"writing the cache {reference.text}")
    if reference.transport == REGISTRY:
        _send(reference, entries, store, access, progress)
        return
    with layout_directory(reference.path) as path:
        old = _entries(artifact_in(path, reference.ref))
        ours = _put(path, entries, store)
        kept = [each for each in old if os.path.exists(f"{path}/{BLOBS}/{each.digest}")]
        add_to_layout(path, _artifact(merged(ours, kept)), (reference.ref,))


def _send(
    reference: Reference, entries: Sequence[Entry], store: Store, access: Access, progress: Progress
) -> None:
    environment = tool_environment().variables
    old = artifact_there(reference.path, access)
    with private_temporary(environment) as made:
        layout = f"{made.path}/layout"
        os.makedirs(layout)
        ours = _put(layout, entries, store, passing=True)
        kept = _entries(old)
        for left in reversed(range(_TRIES)):
            image = _artifact(merged(ours, kept))
            add_to_layout(layout, image, (_STAGED,), passing=True)
            try:
                push_layout(
                    layout,
                    (reference,),
                    digest=image.manifest.digest,
                    access=access.but(format=OCI),
                    environment={**environment, "TMPDIR": made.path},
                    progress=progress,
                )
            except ScratchError as error:
                if not left:
                    raise
                if _LOST in error.detail and kept:
                    # The registry has lost a blob of those that it had, and it is not here.
                    kept = []
                    continue
                now = artifact_there(reference.path, access)
                if now is None or (old is not None and now.digest == old.digest):
                    raise
                # Another one has written at the same time.
                old, kept = now, _entries(now)
                if all(now.entries.get(each.key) == each for each in ours):
                    return
            else:
                return


def _put(path: str, entries: Iterable[Entry], store: Store, *, passing: bool = False) -> list[Entry]:
    """Put layers of the store into a layout; those that are whole there."""
    found = []
    os.makedirs(f"{path}/{BLOBS}", exist_ok=True)
    for entry in dict.fromkeys(entries):
        with Temporary(path) as file:
            if store.copy(entry, file.descriptor):
                blob = Blob(f"sha256:{entry.digest}", entry.size, source=file)
                put_blob(path, blob, descriptor_digest, passing=passing)
                found.append(entry)
    return found


def _entries(artifact: Artifact | None) -> list[Entry]:
    return [] if artifact is None else list(artifact.entries.values())


def _artifact(entries: Sequence[Entry]) -> WrittenImage:
    """The documents; the layers are where they go already."""
    return WrittenImage(Blob.of(manifest_of(entries)), EMPTY, ())


def _attempts(name: str, directory: str, access: Access) -> Attempts:
    environment = {**tool_environment().variables, "TMPDIR": directory}
    logins = reachable_logins(environment, directory)
    return Attempts(name, directory, logins, access.retries, SILENT, [], is_reading=True, idle=IDLE)


def _refuse_more(layout: str, entry: Entry, name: str) -> None:
    """Raise RegistryError where more comes than the layer has; holes do not count."""
    size = 0
    for above, _, files in os.walk(layout):
        for file in files:
            try:
                size += os.stat(f"{above}/{file}").st_blocks * 512
            except FileNotFoundError:
                continue
    if size > entry.size + (64 << 20):
        raise RegistryError(
            f"{name} sends more than the {entry.size} bytes of a layer.",
            fix="Write the cache again with --cache-to.",
        )
