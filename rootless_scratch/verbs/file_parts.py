"""From a Containerfile and its context to a part for each platform, and how findings about them are told."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.evaluating import evaluate
from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.containerfile.ignoring import IgnoreFile, ignore_file_of
from rootless_scratch.containerfile.origins import HostOrigin
from rootless_scratch.containerfile.others import LocalOthers, NoOthers
from rootless_scratch.containerfile.own_options import own_options, together
from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.containerfile.request import STDIN, FileRequest
from rootless_scratch.containerfile.surroundings import Surroundings
from rootless_scratch.elf.platforms import host_platform, parse_platform
from rootless_scratch.errors import RefusedError, ScratchError, SourceError, UsageError
from rootless_scratch.image.exclusions import read_patterns
from rootless_scratch.image.spec import Part
from rootless_scratch.rules.containerfile.containerfiles import judge_containerfile, judge_document
from rootless_scratch.rules.containerfile.mending import meant_command
from rootless_scratch.rules.view import view_of
from rootless_scratch.verbs.contents import contents_of, spec_of_stage
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.systems import with_systems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from rootless_scratch.containerfile.document import Document
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.others import Others
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan

_LONGEST = 16 << 20
_USUAL_NAMES = ("Containerfile", "Dockerfile")


class FileParts:
    """What a Containerfile comes to: a part for each platform, with what its stage was evaluated into."""

    def __init__(self, parts: Sequence[Part], evaluated: Sequence[Evaluated], opened: HostFiles) -> None:
        self.parts = tuple(parts)
        self.evaluated = tuple(evaluated)
        self._opened = opened
        self.notes: dict[str, None] = {}

    def related(self, number: int, plan: Plan, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings about a part in terms of the file, and those about the file."""
        part = self.parts[number]
        contents = part.contents
        if (
            contents is not None
            and contents.platform_is_hosts
            and not any(each.facts.elf for each in plan.programs)
        ):
            self.notes[f"No program tells the platform of the image: it has this host's, {plan.platform}."] = None
        view = view_of(plan.rootfs, plan.config.config, self._opened.content)
        meant = meant_command(view)
        if meant is not None:
            # What will be wrong with the program once it is found is said at once.
            mended = part.but(spec=part.spec.but(entrypoint=meant, cmd=()))
            findings = (*findings, *plan_all((mended,), self._opened, check=False)[1])
        return judge_containerfile(
            self.evaluated[number],
            view,
            findings,
            content=self._opened.content,
            beyond_oci=contents is not None and bool(contents.beyond_oci),
        )

    def faults(self) -> tuple[Finding, ...]:
        """What is found of the file alone, where nothing can be planned of it."""
        found = [judge_document(each.document, each.faults) for each in self.evaluated]
        return tuple(dict.fromkeys(each for part in found for each in part))

    def require_whole(self, opened: HostFiles) -> None:
        """Raise RefusedError where an instruction could not be evaluated, with all that there is to say."""
        if all(fault.tolerated for each in self.evaluated for fault in each.faults):
            return
        try:
            plan_all(self.parts, opened, related=self.related)
        except RefusedError:
            raise
        except ScratchError as error:
            # What is planned of half a file may lack anything.
            raise RefusedError(self.faults()) from error


def file_parts(
    request: FileRequest,
    options: Mapping[str, object],
    kept: ExitStack,
    opened: HostFiles,
    others: Callable[[Platform | None], Others] | None = None,
    *,
    document: Document | None = None,
) -> FileParts:
    """What a Containerfile comes to; `kept` holds what was unpacked for it, `opened` reads its files.

    `others` has, for a platform, the stages and images that are not made here. `document` is the file if it was
    read already.

    Raises UsageError, SourceError; RefusedError where no stage can be evaluated at all.
    """
    document = document or read_file(request)
    if not document.stages:
        raise RefusedError(judge_document(document))
    options = together(document.text, options)
    build = host_platform(os.uname().machine)
    context = _context(request, kept)
    parts, every = [], []
    wanted: list[str | None] = [*sorted(request.platforms)]
    for name in wanted or [None]:
        platform = None if name is None else parse_platform(name)
        elsewhere = NoOthers() if others is None else others(platform)
        surroundings = Surroundings(
            context=context,
            others=LocalOthers(elsewhere, kept),
            kept=kept,
            platform=platform or build,
            build_platform=build,
            build_args=build_arguments(request),
            contexts=dict(request.build_contexts),
            compat=request.compat,
            network=request.network not in (None, "none"),
        )
        evaluated = _evaluated(document, request, surroundings)
        spec, settings = spec_of_stage(evaluated.config, options, request.compat)
        spec, roots = with_systems(spec, evaluated.entries, elsewhere.roots, opened)
        contents = contents_of(evaluated, settings, request.compat, platform=name).but(roots=roots)
        several = name if len(request.platforms) > 1 else None
        parts.append(Part(spec=spec, platform=several, contents=contents))
        every.append(evaluated)
    return FileParts(parts, every, opened)


def _evaluated(document: Document, request: FileRequest, surroundings: Surroundings) -> Evaluated:
    try:
        return evaluate(document, request.target, surroundings)
    except InstructionError as error:
        raise RefusedError(judge_document(document, (*document.faults, error.fault))) from error


def read_file(request: FileRequest) -> Document:
    """The Containerfile, as the working directory or else the context has it; raises SourceError, HostError."""
    path, text = read_text(request)
    return document_of(text, path)


def document_of(text: str, path: str) -> Document:
    """A Containerfile that was read, with what cannot be read of its own options."""
    document, (_, faults) = parse(text, path), own_options(text)
    return document.but(faults=(*document.faults, *faults)) if faults else document


def read_text(request: FileRequest) -> tuple[str, str]:
    """Path and text of the Containerfile; raises SourceError, HostError."""
    if request.file == STDIN:
        text = _decoded(_read(0, "The Containerfile from stdin"))
        if not text:
            raise SourceError("Stdin is empty.", fix="Redirect a Containerfile to it: `-f - < Containerfile`.")
        return STDIN, text
    path = path_of(request)
    if os.path.isdir(path):
        names = [name for name in _USUAL_NAMES if os.path.isfile(os.path.join(path, name))]
        name = os.path.join(path, (names or _USUAL_NAMES)[0])
        raise SourceError(f"{request.file!r} is a directory.", fix=f"Name the file: `-f {name}`.")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(
            f"The Containerfile {request.file!r} cannot be read: {error.strerror}.",
            fix="Make it readable for the user who builds, and every directory on the way to it searchable."
            if isinstance(error, PermissionError)
            else "Name one that is there after -f, by a path from the working directory.",
        ) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise SourceError(f"{request.file!r} is not a file.", fix="Name a Containerfile after -f.")
        return path, _decoded(_read(descriptor, repr(request.file)))
    finally:
        os.close(descriptor)


def path_of(request: FileRequest) -> str:
    """The path of the Containerfile, which the context may have."""
    inside = os.path.join(request.context, request.file)
    return inside if not os.path.lexists(request.file) and os.path.lexists(inside) else request.file


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


def build_arguments(request: FileRequest) -> dict[str, str]:
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
    return kept.enter_context(HostOrigin(request.context, name="the context", ignore=ignore_file(request)))


def ignore_file(request: FileRequest) -> IgnoreFile | None:
    """The ignore file that counts, for us and for buildah; raises SourceError, SpecError."""
    if request.ignorefile is None:
        path = None if request.file == STDIN else path_of(request)
        return ignore_file_of(path, request.context, compat=request.compat or "ours")
    patterns = read_patterns(request.ignorefile)
    if patterns is None:
        raise SourceError(
            f"There is no ignore file {request.ignorefile!r}.", fix="Name one that is there, or leave it out."
        )
    return IgnoreFile(path=request.ignorefile, patterns=patterns)
