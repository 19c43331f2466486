"""`build -f`: from a Containerfile to what a Spec and its contents say, and then as every build."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile.evaluating import Surroundings, evaluate
from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.containerfile.ignoring import IgnoreFile, ignore_file_of
from rootless_scratch.containerfile.origins import HostOrigin
from rootless_scratch.containerfile.others import LocalOthers, NoOthers
from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.containerfile.request import STDIN, FileRequest
from rootless_scratch.elf.platforms import host_platform, parse_platform
from rootless_scratch.errors import RefusedError, ScratchError, SourceError, UsageError
from rootless_scratch.image.exclusions import read_patterns
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.spec import Part
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.rules.containerfile.findings import findings_of
from rootless_scratch.verbs.build import build_parts, read_way
from rootless_scratch.verbs.contents import contents_of, spec_of_stage
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.containerfile.document import Document
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.others import Others
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Plan, Planned

_LONGEST = 16 << 20
_USUAL_NAMES = ("Containerfile", "Dockerfile")


class FileParts:
    """What a Containerfile comes to: a part for each platform, with what its stage was worked off into."""

    def __init__(self, document: Document, parts: Sequence[Part], evaluated: Sequence[Evaluated]) -> None:
        self.document = document
        self.parts = tuple(parts)
        self.evaluated = tuple(evaluated)

    def related(self, number: int, _plan: Plan, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings about a part in terms of the file, and those about the file."""
        return findings_of(self.document, self.evaluated[number], image=findings)

    def require_whole(self, opened: HostFiles) -> None:
        """Raise RefusedError where an instruction could not be worked off, with all that there is to say."""
        if not any(each.faults for each in self.evaluated):
            return
        try:
            plan_all(self.parts, opened, related=self.related)
        except RefusedError:
            raise
        except ScratchError as error:
            # What is planned of half a file may lack anything.
            found = [findings_of(self.document, each) for each in self.evaluated]
            raise RefusedError(tuple(dict.fromkeys(each for part in found for each in part))) from error


def read_request(
    path: object, context: object, values: Mapping[str, object]
) -> tuple[FileRequest, dict[str, object], dict[str, Any]]:
    """What a caller of Python said: of the file, of the image, and the rest as `read_options` has it.

    Raises UsageError.
    """
    from rootless_scratch.verbs.options import in_python, read_options

    own = {name: value for name, value in values.items() if name in in_python("build")}
    of_file = {name: value for name, value in values.items() if name in FileRequest.options}
    for name, value in (("file", path), ("context", context)):
        if name in of_file:
            raise UsageError(f"{name!r} has no keyword.", fix="Write build_file(FILE, CONTEXT, tag=...).")
        of_file[name] = value
    image = {name: value for name, value in values.items() if name not in own and name not in of_file}
    return FileRequest().with_options(of_file, "A Containerfile"), image, read_options("build", own)


def build_file(
    request: FileRequest,
    options: Mapping[str, object],
    *,
    session: Session | None = None,
    progress: Progress = SILENT,
    others: Others | None = None,
    **how: Any,  # noqa: ANN401 - as build_parts has them
) -> Image:
    """Build the image of a Containerfile; `options` are those of every image, by their names in Python.

    `others` has stages and images that are not made here; `how` is as `build_parts` has it. `session` is one that
    was started early, which is closed here. Raises what `build_parts` raises.
    """
    require_utf8()
    with HostFiles() as opened, ExitStack() as kept:
        if session is not None:
            kept.callback(session.close)
        file = file_parts(request, options, kept, others)
        file.require_whole(opened)
        image = build_parts(file.parts, opened, session=session, progress=progress, related=file.related, **how)
    return _with_notes(image, file.parts)


def plan_file(
    request: FileRequest,
    options: Mapping[str, object],
    *,
    check: bool,
    output: Sequence[str],
    backend: str | None,
    compress: str | None,
    others: Others | None = None,
) -> tuple[tuple[Planned, ...], tuple[Finding, ...]]:
    """What `build_file` with the same options would build, and the findings about it; raises what that does."""
    with HostFiles() as opened, ExitStack() as kept:
        file = file_parts(request, options, kept, others)
        file.require_whole(opened)
        read_way(file.parts[0].spec, file.parts, output=output, backend=backend, compress=compress)
        return plan_all(file.parts, opened, check=check, related=file.related)


def file_parts(
    request: FileRequest, options: Mapping[str, object], kept: ExitStack, others: Others | None = None
) -> FileParts:
    """What a Containerfile comes to; `kept` holds what was unpacked for it.

    Raises UsageError, SourceError; RefusedError where no stage can be worked off at all.
    """
    document = read_file(request)
    build = host_platform(os.uname().machine)
    context = _context(request, kept)
    parts, every = [], []
    wanted: list[str | None] = [*sorted(request.platforms)]
    for name in wanted or [None]:
        surroundings = Surroundings(
            context=context,
            others=LocalOthers(others or NoOthers(), kept),
            kept=kept,
            platform=build if name is None else parse_platform(name),
            build_platform=build,
            build_args=_arguments(request),
            contexts=dict(request.build_contexts),
            compat=request.compat,
            network=request.network not in (None, "none"),
        )
        evaluated = _evaluated(document, request, surroundings)
        spec, settings = spec_of_stage(evaluated.config, options, request.compat)
        contents = contents_of(evaluated, settings, request.compat, platform=name)
        several = name if len(request.platforms) > 1 else None
        parts.append(Part(spec=spec, platform=several, contents=contents))
        every.append(evaluated)
    return FileParts(document, parts, every)


def _evaluated(document: Document, request: FileRequest, surroundings: Surroundings) -> Evaluated:
    if not document.stages:
        raise RefusedError(findings_of(document, None))
    try:
        return evaluate(document, request.target, surroundings)
    except InstructionError as error:
        raise RefusedError(findings_of(document, None, (error.fault,))) from error


def read_file(request: FileRequest) -> Document:
    """The Containerfile, as the working directory or else the context has it; raises SourceError, HostError."""
    path = request.file
    if path == STDIN:
        return parse(_decoded(_read(0, "The Containerfile from stdin")), STDIN)
    inside = os.path.join(request.context, path)
    if not os.path.lexists(path) and os.path.lexists(inside):
        path = inside
    if os.path.isdir(path):
        names = [name for name in _USUAL_NAMES if os.path.isfile(os.path.join(path, name))]
        name = os.path.join(path, (names or _USUAL_NAMES)[0])
        raise SourceError(f"{request.file!r} is a directory.", fix=f"Name the file: `-f {name}`.")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(
            f"The Containerfile {request.file!r} cannot be read: {error.strerror}.",
            fix="Name one that is there after -f, by a path from the working directory.",
        ) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise SourceError(f"{request.file!r} is not a file.", fix="Name a Containerfile after -f.")
        return parse(_decoded(_read(descriptor, repr(request.file))), path)
    finally:
        os.close(descriptor)


def _read(descriptor: int, what: str) -> bytes:
    found = bytearray()
    try:
        while block := os.read(descriptor, 1 << 20):
            found += block
            if len(found) > _LONGEST:
                raise SourceError(f"{what} has more than {_LONGEST >> 20} MiB.", fix="Name a Containerfile.")
    except OSError as error:
        raise SourceError(
            f"{what} cannot be read: {error.strerror}.", fix="Name another Containerfile."
        ) from error
    return bytes(found)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _arguments(request: FileRequest) -> dict[str, str]:
    """The values of `--build-arg`; what the environment has no value for is not set."""
    found = {}
    for name, value in request.build_args:
        text = os.environ.get(name) if value is None else value
        if text is not None:
            found[name] = text
    return found


def _context(request: FileRequest, kept: ExitStack) -> Origin:
    if "://" in request.context or request.context == STDIN:
        raise UsageError(
            f"The context {request.context!r} is not a directory.",
            fix="Fetch and unpack it first, and name the directory.",
        )
    if not os.path.isdir(request.context):
        raise SourceError(
            f"There is no directory {request.context!r} to copy from.", fix="Name the context after the options."
        )
    if request.ignorefile is not None:
        patterns = read_patterns(request.ignorefile)
        if patterns is None:
            raise SourceError(
                f"There is no ignore file {request.ignorefile!r}.", fix="Name one that is there, or leave it out."
            )
        ignore: IgnoreFile | None = IgnoreFile(path=request.ignorefile, patterns=patterns)
    else:
        path = None if request.file == STDIN else request.file
        ignore = ignore_file_of(path, request.context, compat=request.compat or "ours")
    return kept.enter_context(HostOrigin(request.context, name="the context", ignore=ignore))


def _with_notes(image: Image, parts: Sequence[Part]) -> Image:
    """The image with notes on what a reader of the file would not expect of it."""
    from msgspec.structs import replace

    contents = parts[0].contents
    notes = []
    if contents is not None and image.backend == "buildah" and (contents.history or contents.beyond_oci):
        notes.append("The backend buildah writes neither history nor what OCI has no key for: use `-o`.")
    if contents is not None and contents.platform is None and contents.platform_is_hosts:
        notes.append(f"No program tells the platform of the image: it has this host's, {image.platform}.")
    return replace(image, notes=(*image.notes, *notes))
