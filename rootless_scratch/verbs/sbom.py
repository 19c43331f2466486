"""`sbom`: what an image or a program consists of, as a document of SPDX or CycloneDX."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.elf.platforms import parse_platform
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import UsageError
from rootless_scratch.findings import Finding  # noqa: TC001 - msgspec resolves it for JSON
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.arguments import text
from rootless_scratch.image.plan.settings import times
from rootless_scratch.image.references import Reference, is_reference, is_remote, parse_reference
from rootless_scratch.image.syntax import SBOM_FORMATS, sbom_format
from rootless_scratch.inventory.composing import ListedFile, compose, is_read
from rootless_scratch.inventory.documents import document
from rootless_scratch.inventory.facts import Component, Composition
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.rules.image.composition import judge_composition
from rootless_scratch.verbs.sbom_parts import image_root, listed_files
from rootless_scratch.verbs.subject import is_program, require_utf8, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.ship.access import Access


class Sbom(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject consists of; `document` is that in `format` (spdx or cyclonedx), as JSON text."""

    subject: str
    format: str
    document: str
    components: tuple[Component, ...]
    findings: tuple[Finding, ...]


def sbom_of(
    *subjects: str | os.PathLike[str] | Image,
    format: str | None = None,  # noqa: A002 - the option's name
    bundle_libraries: bool = False,
    sysroot: str | None = None,
    platform: str | None = None,
    limits: Mapping[str, int] | None = None,
    access: Access | None = None,
    progress: Progress = SILENT,
) -> Sbom:
    """Read the image, or the programs, that are named; see rootless_scratch.api.sbom."""
    require_utf8()
    form = SBOM_FORMATS[0] if format is None else sbom_format(format)
    root = HostRoot(sysroot or "/")
    named = [_named(each) for each in subjects]
    if not named:
        raise UsageError(
            "Neither an image nor a program is named.", fix="Name one, e.g. `rootless-scratch sbom hello`."
        )
    images = [name for name, is_file in named if not is_file]
    if not images:
        if platform is not None:
            raise UsageError(
                f"{named[0][0]!r} is a program, which has one platform.", fix="Leave `--platform` out."
            )
        names = [name for name, _ in named]
        composition = _of_programs(names, root, bundle_libraries=bundle_libraries)
        return _sbom(names[0], composition, form, times(None, os.environ)[0])
    name = images[0]
    if len(named) > 1:
        raise UsageError(
            f"{name!r} is an image, which has a document of its own.", fix="Name it alone, or several programs."
        )
    if bundle_libraries:
        raise UsageError(
            f"{name!r} is an image, which has the libraries that it has.", fix="Leave `--bundle-libraries` out."
        )
    with _layout(name, platform, access, limits, progress) as reference:
        return _of_image(name, reference, form, root, platform=platform, limits=limits)


def _named(subject: str | os.PathLike[str] | Image) -> tuple[str, bool]:
    """The name of a subject, and whether that is a file's."""
    if not isinstance(subject, (str, bytes, os.PathLike)):
        return subject_of(subject), False
    name = text("the subject", subject)
    if not name or "\0" in name:
        raise UsageError(
            f"{name!r} names neither a program nor an image.", fix="Name a file, or an image such as hello."
        )
    return name, isinstance(subject, os.PathLike) or (
        is_program(name) and not (is_reference(name) or is_remote(name))
    )


def _sbom(subject: str, composition: Composition, form: str, created: int) -> Sbom:
    return Sbom(
        subject=subject,
        format=form,
        document=document(composition, form, created).decode(),
        components=composition.components,
        findings=tuple(judge_composition(composition)),
    )


def _of_programs(paths: Sequence[str], system: HostRoot, *, bundle_libraries: bool) -> Composition:
    from rootless_scratch.image.host_files import HostFiles

    with HostFiles() as files:
        known = {os.path.abspath(path): files.program(path) for path in paths}
        root = Component(
            key="program",
            kind="application",
            name=", ".join(dict.fromkeys(os.path.basename(path) for path in known)),
            found_by="its path",
            paths=tuple(known),
        )
        if bundle_libraries:
            return compose(root, _with_libraries(paths, system, files), system)
        alone = [
            ListedFile(
                path=path,
                size=facts.identity.size,
                source=(real := os.path.realpath(path)),
                origin=real,
                identity=facts.identity,
            )
            for path, facts in known.items()
        ]
        return compose(root, alone, system)


def _with_libraries(paths: Sequence[str], system: HostRoot, files: HostFiles) -> Iterable[ListedFile]:
    from rootless_scratch.image.plan.planner import plan
    from rootless_scratch.image.spec import Copy, Spec

    sysroot = system.on_host("") or None
    programs = tuple(Copy(source=path) for path in paths)
    spec = Spec(programs=programs, bundle_libraries=True, sysroot=sysroot)
    return tuple(listed_files(plan(spec, root=system, files=files)))


@contextmanager
def _layout(
    name: str,
    platform: str | None,
    access: Access | None,
    limits: Mapping[str, int] | None,
    progress: Progress,
) -> Iterator[Reference]:
    """Where the image can be read from: itself, or a copy of one in a registry or in storage."""
    if is_remote(name):
        from rootless_scratch.ship.fetch import fetched

        wanted = None if platform is None else parse_platform(platform)
        with fetched(name, access, platform=wanted, every=False, limits=limits, progress=progress) as layout:
            yield layout
    elif is_reference(name):
        yield parse_reference(name)
    else:
        if platform is not None:
            from rootless_scratch.backends.open_image import refuse_local_choice

            refuse_local_choice(name)
        from rootless_scratch.verbs.ship import exported

        variables = tool_environment().variables
        with private_temporary(variables) as made:
            progress.step(f"reading {name}")
            yield exported(name, made.path, {**variables, "TMPDIR": made.path})[0]


def _of_image(
    name: str,
    reference: Reference,
    form: str,
    system: HostRoot,
    *,
    platform: str | None,
    limits: Mapping[str, int] | None,
) -> Sbom:
    from rootless_scratch.backends.layouts import LayoutImage
    from rootless_scratch.image.read.reader import ImageReader

    wanted = None if platform is None else parse_platform(platform)
    with (
        private_temporary(tool_environment().variables) as made,
        ImageReader(reference, limits) as reader,
    ):
        image = LayoutImage(reader, wanted)
        regular = [file for file in image.stored.files if file.type == "file"]
        copies = image.copy_out((file.path for file in regular), made.path, only=is_read)
        files = [
            ListedFile(
                path=file.path,
                size=file.size,
                source=copies[file.path][0] if file.path in copies else None,
                sha256=file.sha256,
            )
            for file in regular
        ]
        root = image_root(name, image.stored.platform, image.stored.image_id)
        composition = compose(root, files, system)
        return _sbom(name, composition, form, _created(image.stored.config))


def _created(config: str) -> int:
    """SOURCE_DATE_EPOCH, else the time of the image, else 0."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return times(None, os.environ)[0]
    found = msgspec.json.decode(config)
    created = found.get("created") if isinstance(found, dict) else None
    try:
        return times(created if isinstance(created, str) else None, {})[0]
    except UsageError:
        return 0
