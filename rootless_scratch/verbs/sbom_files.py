"""The SBOMs that a build writes beside its image: begun once it is planned, written once it is built."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.finished import WrittenSbom
from rootless_scratch.image.plan.settings import times
from rootless_scratch.inventory.composing import compose
from rootless_scratch.inventory.documents import ENDINGS, document
from rootless_scratch.rules.image.composition import judge_composition
from rootless_scratch.verbs.sbom_parts import image_root, listed_files, write_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.image.spec import Part, Spec
    from rootless_scratch.inventory.facts import Composition

_NAMELESS = "image"


class SbomFiles:
    """Those of one build. Reading the files is done beside the build, which waits for other programs.

    `output` are the references of the build. Raises UsageError, SourceError for files that cannot be written.
    """

    def __init__(self, parts: Sequence[Part], output: Sequence[str]) -> None:
        spec = parts[0].spec
        self._sysroot = spec.sysroot
        self._name = (*spec.names, *output, _NAMELESS)[0]
        self._wanted = _files_of(spec, self._name)
        self._thread: threading.Thread | None = None
        self._found: list[Composition] = []
        self._error: BaseException | None = None
        self._plans: Sequence[Planned] = ()
        files = [os.path.realpath(file) for _, file in self._wanted]
        if len(set(files)) < len(files):
            raise UsageError(
                "Two SBOMs would be written to one file.", fix="Name one for each: `--sbom FORMAT:FILE`."
            )
        for _, file in self._wanted:
            _require_directory(file)
            _spare_sources(file, parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def begin(self, plans: Sequence[Planned]) -> None:
        """Begin to read what these images will consist of."""
        self._plans = plans
        self._thread = threading.Thread(target=self._read, name="sbom")
        self._thread.start()

    def written(self, image: Image) -> Image:
        """Write the documents; the image with what was written, and the findings about it."""
        from msgspec.structs import replace

        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        written = tuple(self._write(image))
        findings: dict[Finding, None] = dict.fromkeys(image.findings)
        for composition in self._found:
            findings |= dict.fromkeys(judge_composition(composition))
        return replace(image, sboms=written, findings=tuple(findings))

    def _read(self) -> None:
        try:
            for each in self._plans:
                root = image_root(self._name, each.plan.platform)
                self._found.append(compose(root, listed_files(each.plan), HostRoot(self._sysroot or "/")))
        except BaseException as error:  # noqa: BLE001 - raised again where the build waits for it
            self._error = error

    def _write(self, image: Image) -> Iterator[WrittenSbom]:
        from msgspec.structs import replace

        ids = {each.platform: each.image_id for each in image.images}
        for planned, composition in zip(self._plans, self._found, strict=True):
            image_id = ids.get(planned.platform or "", image.image_id)
            whole = replace(composition, root=replace(composition.root, version=f"sha256:{image_id}"))
            created = _created(planned)
            for form, file in self._wanted:
                path = _for_platform(file, planned.platform if len(self._plans) > 1 else None)
                text = document(whole, form, created).decode()
                write_document(path, text)
                digest = hashlib.sha256(text.encode()).hexdigest()
                yield WrittenSbom(format=form, file=path, sha256=digest, platform=planned.platform)


def require_apart(images: Iterable[tuple[str, Spec, Sequence[str]]]) -> None:
    """Raise UsageError where two images, each with its name, its Spec and its outputs, would write one SBOM."""
    found: dict[str, str] = {}
    for name, spec, output in images:
        for _, file in _files_of(spec, (*spec.names, *output, _NAMELESS)[0]):
            other = found.setdefault(os.path.realpath(file), name)
            if other != name:
                raise UsageError(
                    f"{other!r} and {name!r} would write one SBOM, {file!r}.",
                    fix='Name a file for each in the file of the images: `sbom = ["FORMAT:FILE"]`.',
                )


def _files_of(spec: Spec, image: str) -> list[tuple[str, str]]:
    """Each format with its file."""
    return [(form, file or _usual_name(image) + ENDINGS[form]) for form, file in spec.sboms]


def _created(planned: Planned) -> int:
    """SOURCE_DATE_EPOCH, else the time that the image has, unless that is the moment of the build."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return times(None, os.environ)[0]
    return times(planned.plan.config.created, {})[0]


def _usual_name(image: str) -> str:
    """The last part of an image's name, or of an output's path, without tag and ending."""
    name = image.rstrip("/").rpartition("/")[2]
    name = name.partition(":")[2] or name if name.startswith(("oci:", "oci-archive:", "docker-archive:")) else name
    name = name.partition("@")[0].partition(":")[0]
    for ending in (".tar", ".oci"):
        name = name.removesuffix(ending)
    return name if name not in ("", "-", ".", "..") else _NAMELESS


def _for_platform(file: str, platform: str | None) -> str:
    if platform is None:
        return file
    known = next((ending for ending in ENDINGS.values() if file.endswith(ending)), os.path.splitext(file)[1])
    stem = file.removesuffix(known) if known else file
    return f"{stem}.{platform.replace('/', '-')}{known}"


def _require_directory(file: str) -> None:
    directory = os.path.dirname(file) or "."
    if os.path.isdir(file) or not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        raise SourceError(
            f"The SBOM cannot be written to {file!r}.", fix="Name a file in a directory that you can write to."
        )


def _spare_sources(file: str, parts: Iterable[Part]) -> None:
    """Raise UsageError where it would take the place of a file that is named to go into the image."""
    for spec in (part.spec for part in parts):
        for copy in (*spec.programs, *spec.copies, *(program for _, program in spec.platforms)):
            if os.path.exists(file) and os.path.exists(copy.source) and os.path.samefile(file, copy.source):
                raise UsageError(
                    f"The SBOM would be written over {copy.source!r}, which goes into the image.",
                    fix="Name another file.",
                )
