"""`build -f`: from a Containerfile to what a Spec and its contents say, and then as every build."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile.evaluating import Surroundings, evaluate, stages_of
from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.containerfile.ignoring import IgnoreFile, ignore_file_of
from rootless_scratch.containerfile.origins import HostOrigin
from rootless_scratch.containerfile.others import LocalOthers, NoOthers
from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.containerfile.reducing import stage_named
from rootless_scratch.containerfile.request import STDIN, FileRequest
from rootless_scratch.elf.platforms import host_platform, parse_platform
from rootless_scratch.errors import RefusedError, ScratchError, SourceError, UsageError
from rootless_scratch.image.exclusions import read_patterns
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.spec import Part
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.rules.containerfile.containerfiles import judge_document
from rootless_scratch.verbs.build import build_parts, read_way
from rootless_scratch.verbs.contents import contents_of, spec_of_stage
from rootless_scratch.verbs.contexts import stage_options
from rootless_scratch.verbs.namespaced import call_inside, enter_namespace
from rootless_scratch.verbs.origins import Origins
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.containerfile.document import Document, Stage
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.others import Others
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.ship.access import Access

_LONGEST = 16 << 20
PlannedFile = tuple[tuple["Planned", ...], tuple["Finding", ...]]
_USUAL_NAMES = ("Containerfile", "Dockerfile")


class FileParts:
    """What a Containerfile comes to: a part for each platform, with what its stage was worked off into."""

    def __init__(self, parts: Sequence[Part], evaluated: Sequence[Evaluated], opened: HostFiles) -> None:
        self.parts = tuple(parts)
        self.evaluated = tuple(evaluated)
        self._opened = opened
        self.notes: dict[str, None] = {}

    def related(self, number: int, plan: Plan, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings about a part in terms of the file, and those about the file."""
        from rootless_scratch.rules.containerfile.containerfiles import judge_containerfile
        from rootless_scratch.rules.containerfile.mending import meant_command
        from rootless_scratch.rules.view import view_of

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
        """Raise RefusedError where an instruction could not be worked off, with all that there is to say."""
        if all(fault.tolerated for each in self.evaluated for fault in each.faults):
            return
        try:
            plan_all(self.parts, opened, related=self.related)
        except RefusedError:
            raise
        except ScratchError as error:
            # What is planned of half a file may lack anything.
            raise RefusedError(self.faults()) from error


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
    document: Document | None = None,
    **how: Any,  # noqa: ANN401 - as build_parts has them
) -> Image:
    """Build the image of a Containerfile; `options` are those of every image, by their names in Python.

    `how` is as `build_parts` has it. `session` is one that was started early, which is closed here. With a
    `document`, which is the file, this is inside the namespace already. Raises what `build_parts` raises.
    """
    require_utf8()
    with HostFiles() as opened, ExitStack() as kept:
        if session is not None:
            kept.callback(session.close)
        if document is None:
            document = read_file(request)
            stage = _first_of_buildah(document, request)
            if stage is not None:
                kept.close()
                arguments = {"request": request, "options": options, **how}
                image: Image = _inside("build_file", document, stage, progress, arguments)
                return image
        others = _others(document, request, how.get("access"), kept, progress)
        file = file_parts(request, options, kept, opened, others, document=document)
        file.require_whole(opened)
        image = build_parts(file.parts, opened, session=session, progress=progress, related=file.related, **how)
    return _with_notes(image, file)


def plan_file(
    request: FileRequest,
    options: Mapping[str, object],
    *,
    check: bool,
    output: Sequence[str],
    backend: str | None,
    compress: str | None,
    document: Document | None = None,
    progress: Progress = SILENT,
) -> PlannedFile:
    """What `build_file` with the same options would build, and the findings about it; raises what that does."""
    with HostFiles() as opened, ExitStack() as kept:
        if document is None:
            document = read_file(request)
            stage = _first_of_buildah(document, request)
            if stage is not None:
                how = {"check": check, "output": output, "backend": backend, "compress": compress}
                arguments = {"request": request, "options": options, **how}
                planned: PlannedFile = _inside("plan_file", document, stage, progress, arguments)
                return planned
        others = _others(document, request, None, kept, progress)
        file = file_parts(request, options, kept, opened, others, document=document)
        file.require_whole(opened)
        read_way(file.parts[0].spec, file.parts, output=output, backend=backend, compress=compress)
        return plan_all(file.parts, opened, check=check, related=file.related)


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

    Raises UsageError, SourceError; RefusedError where no stage can be worked off at all.
    """
    document = document or read_file(request)
    if not document.stages:
        raise RefusedError(judge_document(document))
    build = host_platform(os.uname().machine)
    context = _context(request, kept)
    parts, every = [], []
    wanted: list[str | None] = [*sorted(request.platforms)]
    for name in wanted or [None]:
        platform = None if name is None else parse_platform(name)
        provided = NoOthers() if others is None else others(platform)
        surroundings = Surroundings(
            context=context,
            others=LocalOthers(provided, kept),
            kept=kept,
            platform=platform or build,
            build_platform=build,
            build_args=_arguments(request),
            contexts=dict(request.build_contexts),
            compat=request.compat,
            network=request.network not in (None, "none"),
        )
        evaluated = _evaluated(document, request, surroundings)
        spec, settings = spec_of_stage(evaluated.config, options, request.compat)
        if isinstance(provided, Origins) and spec.bundle_libraries and spec.sysroot is None:
            spec = spec.but(sysroot=provided.sysroot_of(evaluated.entries))
        contents = contents_of(evaluated, settings, request.compat, platform=name)
        several = name if len(request.platforms) > 1 else None
        parts.append(Part(spec=spec, platform=several, contents=contents))
        every.append(evaluated)
    return FileParts(parts, every, opened)


def _first_of_buildah(document: Document, request: FileRequest) -> Stage | None:
    """The first stage that is needed and that buildah makes; None also where that cannot be told yet."""
    build = host_platform(os.uname().machine)
    with ExitStack() as kept:
        surroundings = Surroundings(
            context=None,
            others=NoOthers(),
            kept=kept,
            platform=parse_platform(request.platforms[0]) if request.platforms else build,
            build_platform=build,
            build_args=_arguments(request),
            contexts=dict(request.build_contexts),
            compat=request.compat,
        )
        try:
            stages = stages_of(document, surroundings, [], [])
            others = stages.others(stages.target(request.target)) if document.stages else ()
        except InstructionError:
            return None
    return next((each.stage for each in others if each.stage is not None), None)


def _inside(
    function: str, document: Document, stage: Stage, progress: Progress, arguments: Mapping[str, object]
) -> Any:  # noqa: ANN401 - the function's
    """What a function of this module returns where stages of buildah can be read."""
    with enter_namespace(document, stage) as within:
        return call_inside(
            within,
            f"verbs.containerfiles:{function}",
            {**arguments, "document": document},
            document=document,
            stage=stage,
            progress=progress,
        )


def _others(
    document: Document, request: FileRequest, access: Access | None, kept: ExitStack, progress: Progress
) -> Callable[[Platform | None], Origins]:
    """Makes the stages and images that are not made here, for each platform."""

    def others(platform: Platform | None) -> Origins:
        ignore = request.ignorefile
        if ignore is None:
            found = ignore_file_of(None if request.file == STDIN else request.file, request.context)
            ignore = None if found is None else found.path
        name = None if platform is None else str(platform)
        options = stage_options(request, ignore_file=ignore, platform=name, access=access)
        contexts = dict(request.build_contexts)
        origins = Origins(
            document,
            _target(document, request),
            options=options,
            contexts=contexts,
            platform=platform,
            access=access,
            progress=progress,
        )
        return kept.enter_context(origins)

    return others


def _target(document: Document, request: FileRequest) -> Stage:
    """The stage to build, as far as its name says; the last where it says nothing."""
    return stage_named(document.stages, request.target or "") or document.stages[-1]


def _evaluated(document: Document, request: FileRequest, surroundings: Surroundings) -> Evaluated:
    try:
        return evaluate(document, request.target, surroundings)
    except InstructionError as error:
        raise RefusedError(judge_document(document, (*document.faults, error.fault))) from error


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


def _with_notes(image: Image, file: FileParts) -> Image:
    """The image with notes on what a reader of the file would not expect of it."""
    from msgspec.structs import replace

    contents = file.parts[0].contents
    notes = [*image.notes, *file.notes]
    if contents is not None and image.backend == "buildah" and (contents.history or contents.beyond_oci):
        notes.append("The backend buildah writes neither history nor what OCI has no key for: use `-o`.")
    unused = [
        name
        for name in file.evaluated[0].unused_arguments
        if all(name in each.unused_arguments for each in file.evaluated)
    ]
    notes.extend(f"No ARG of the Containerfile takes `--build-arg {name}`." for name in unused)
    return replace(image, notes=tuple(dict.fromkeys(notes)))
