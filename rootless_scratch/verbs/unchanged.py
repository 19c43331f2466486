"""A bake in which nothing has changed: one record has what was read and written, and by their status all is known.

Only what names each of its files counts: programs and single files (docs/decisions/0034-nothing-to-bake.md).
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any

from rootless_scratch import __version__, sums
from rootless_scratch.image.references import parse_references
from rootless_scratch.image.write.hints import numbers_at, numbers_of
from rootless_scratch.image.write.remembered import Memory
from rootless_scratch.image.write.settled import is_settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.bakefiles.results import Result
    from rootless_scratch.bakefiles.target import Target
    from rootless_scratch.image.spec import Copy, Spec

_MADE_HERE = ("tmp", "nsswitch")
"""Essentials that no file of the host decides on."""

_RECORDS_MAX = 64
_RECORD_SIZE = 16 << 20
_SMALL = 4 << 20
"""Bytes of a document of an image."""

Status = dict[str, tuple[int, ...]]


class Unchanged:
    """What a bake is remembered by; `is_possible` tells whether it can be."""

    def __init__(self, targets: Sequence[Target], *, check: bool, compress: str | None) -> None:
        self._targets = targets
        self.is_possible = bool(targets) and compress is None and all(map(_names_all_files, targets))
        if not self.is_possible:
            return
        decisive = (
            __version__,
            os.getcwd(),
            os.environ.get("SOURCE_DATE_EPOCH"),
            check,
            [(each.name, each.spec, each.output) for each in targets],
        )
        self._key = sums.digest(repr(decisive).encode("utf-8", "surrogateescape"))
        self._memory = Memory(os.environ, "bakes", most=_RECORDS_MAX, size=_RECORD_SIZE)
        self._settled: Status | None = None

    def recall(self) -> list[Result] | None:
        """The results, where every file that was read and written then is what it was."""
        if not self.is_possible:
            return None
        values = self._memory.recall(self._key)
        if values is not None:
            status, images = json.loads(values[0])
            if all([*numbers_at(path)] == numbers for path, numbers in status):
                return _results(images)
        # What is to be remembered must show each change from here on, before it is read.
        self._settled = _settled(each.source for target in self._targets for each in _sources(target.spec))
        return None

    def keep(self, results: Sequence[Result]) -> None:
        """Remember what came of it, if nothing can have changed meanwhile without being noticed."""
        images = {each.name: each.image for each in results if each.image is not None}
        if not self.is_possible or self._settled is None or len(images) < len(results):
            return
        written = self._written({name: image.digest for name, image in images.items()})
        if written is None or any(numbers_at(path) != numbers for path, numbers in self._settled.items()):
            return
        import msgspec

        text = msgspec.json.encode([list({**self._settled, **written}.items()), images]).decode()
        if len(text) < _RECORD_SIZE // 2:
            self._memory.keep(self._key, [text])

    def _written(self, digests: Mapping[str, str]) -> Status | None:
        """The files of all layouts that images consist of; None where one is not whole, or not settled yet."""
        found: Status = {}
        for path, refs in self._layouts(digests).items():
            index = _Read(f"{path}/index.json")
            entries = index.document().get("manifests", ())
            there = {each.get("annotations", {}).get(_REF): each.get("digest") for each in entries}
            if index.numbers is None or any(there.get(ref) != digest for ref, digest in refs.items()):
                return None
            found[index.path] = index.numbers
            waiting = [*refs.values()]
            while waiting:
                blob = _Read(f"{path}/blobs/{waiting.pop().replace(':', '/')}")
                if blob.path in found:
                    continue
                if blob.numbers is None or blob.digest != os.path.basename(blob.path):
                    return None
                found[blob.path] = blob.numbers
                waiting += blob.below()
        return found

    def _layouts(self, digests: Mapping[str, str]) -> dict[str, dict[str | None, str]]:
        """The names that each layout has, with the digests of their images."""
        found: dict[str, dict[str | None, str]] = {}
        for target in self._targets:
            for reference in parse_references(target.output):
                found.setdefault(reference.path, {})[reference.ref] = digests[target.name]
        return found


_REF = "org.opencontainers.image.ref.name"


class _Read:
    """A file that was read; `numbers` are None where a change of it might not show from now on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.numbers: tuple[int, ...] | None = None
        self.digest = ""
        self._content = b""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            settled = is_settled(descriptor, time.time_ns())
            self._content = file.read(_SMALL) if status.st_size < _SMALL else b""
            file.seek(0)
            self.digest = sums.file_digest(file)
            if settled and numbers_of(os.fstat(descriptor)) == numbers_of(status):
                self.numbers = numbers_of(status)

    def document(self) -> dict[str, Any]:
        """What it is as JSON; empty where it is none."""
        try:
            found = json.loads(self._content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def below(self) -> Iterator[str]:
        """The digests of what a manifest or an index names."""
        if not self._content.startswith(b"{"):
            return
        document = self.document()
        every = [document.get("config"), *document.get("layers", ()), *document.get("manifests", ())]
        yield from (each["digest"] for each in every if isinstance(each, dict) and "digest" in each)


def _names_all_files(target: Target) -> bool:
    """Whether nothing but the files that it names decides on the image, which goes to layouts alone."""
    spec = target.spec
    brings = (spec.bundle_libraries, spec.include_libraries, spec.bundle_packages, spec.sysroot, spec.exclude)
    return (
        target.file is None
        and not target.names
        and bool(target.output)
        and all(each.startswith("oci:") for each in target.output)
        and not any(brings)
        # Databases of packages decide on these too, and they may be gone.
        and not spec.sboms
        and spec.created != "now"
        and all(each.name in _MADE_HERE for each in spec.essentials)
        # One of a virtual environment goes to where that lies.
        and not any(os.path.basename(each.source).startswith("python") for each in spec.programs)
    )


def _sources(spec: Spec) -> list[Copy]:
    return [*spec.programs, *spec.copies, *(program for _, program in spec.platforms)]


def _settled(paths: Iterator[str]) -> Status | None:
    """What files are; None where one is not a file, or a change of it might not show."""
    found: Status = {}
    now = time.time_ns()
    for path in dict.fromkeys(paths):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not is_settled(descriptor, now):
                return None
        finally:
            os.close(descriptor)
        found[path] = numbers_of(status)
    return found


def _results(images: Mapping[str, object]) -> list[Result]:
    import msgspec

    from rootless_scratch.bakefiles.results import Result
    from rootless_scratch.image.finished import Image

    return [Result(name=name, image=msgspec.convert(each, Image)) for name, each in images.items()]
