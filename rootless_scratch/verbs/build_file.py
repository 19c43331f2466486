"""`build -f`: from a Containerfile to what a Spec and its contents say, and then as every build."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile.own_options import together
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.errors import UsageError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.build import build_parts, read_way
from rootless_scratch.verbs.elsewhere import Elsewhere
from rootless_scratch.verbs.file_parts import FileParts, file_parts, read_file
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.backends.direct import Adding
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.caching.layers import Layers
    from rootless_scratch.caching.store import Entry
    from rootless_scratch.containerfile.document import Document
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.sharing import Sharing

_ELSEWHERE = ("file", "context", "programs", "platforms")
"""What other functions take; the error for these says where it belongs."""

PlannedFile = tuple[tuple["Planned", ...], tuple["Finding", ...]]


def read_request(
    path: object, context: object, values: Mapping[str, object]
) -> tuple[FileRequest, dict[str, object], dict[str, Any]]:
    """What a caller of Python said: of the file, of the image, and the rest as `read_options` has it.

    Raises UsageError.
    """
    from rootless_scratch.keywords import FileOptions
    from rootless_scratch.verbs.options import in_python, read_options

    own = {name: value for name, value in values.items() if name in in_python("build")}
    for name in values:
        if name not in FileOptions.__annotations__ and name not in _ELSEWHERE:
            there = ", ".join(FileOptions.__annotations__)
            raise UsageError(f"build_file has no option {name!r}.", fix=f"There are {there}.")
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
    session: Session | Storing | None = None,
    progress: Progress = SILENT,
    document: Document | None = None,
    text: Document | None = None,
    sharing: Sharing | None = None,
    add: Adding | None = None,
    layers: Layers | None = None,
    **how: Any,  # noqa: ANN401 - as build_parts has them
) -> Image:
    """Build the image of a Containerfile; `options` are those of every image, by their names in Python.

    `how`, `sharing`, `add` and `layers` are as `build_parts` has them. `session` is one that was started early,
    which is closed here. `text` is the file if it was read already; with a `document`, which is the file too,
    this is inside the namespace already. Raises what `build_parts` raises.
    """
    require_utf8()
    with ExitStack() as kept:
        if session is not None:
            kept.callback(session.close)
        found = document or text or read_file(request)
        options = together(found.text, options)
        other = Elsewhere(
            found,
            request,
            kept,
            libraries=bool(options.get("bundle_libraries")),
            access=how.get("access"),
            progress=progress,
        )
        stage = None if document else other.unreadable()
        if stage is not None:
            if session is not None:
                session.close()
            # Who is told of plans is in this process.
            how.pop("on_plans", None)
            arguments = {"request": request, "options": options, **how}
            if layers is None:
                inside: Image = other.call("verbs.build_file:build_file", arguments, stage)
                return inside
            arguments["cache_from"] = [each.text for each in layers.sources]
            made: tuple[Image, tuple[Entry, ...]] = other.call("verbs.build_file:build_kept", arguments, stage)
            layers.used += made[1]
            return made[0]
        others = other.origins if other.is_needed else None
        # What others make is read where they are, and while it is made nobody waits for it.
        shared = None if others is not None else sharing
        opened = kept.enter_context(HostFiles()) if shared is None else shared.files
        with nullcontext() if shared is None else shared.planning():
            file = file_parts(request, options, kept, opened, others, document=found)
            file.require_whole(opened)
        how |= {"session": session, "progress": progress, "sharing": shared, "add": add, "layers": layers}
        image = build_parts(file.parts, opened, related=file.related, **how)
    return _with_notes(image, file)


def build_kept(
    *,
    access: Access | None,
    cache_from: Sequence[str],
    **how: Any,  # noqa: ANN401 - of `build_file`
) -> tuple[Image, tuple[Entry, ...]]:
    """What `build_file` returns, and the compressed layers that the image has; raises what that raises."""
    from rootless_scratch.verbs.caching import open_layers

    layers = open_layers(cache_from, access)
    image = build_file(access=access, layers=layers, **how)
    return image, tuple(layers.used)


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
        found = document or read_file(request)
        options = together(found.text, options)
        libraries = bool(options.get("bundle_libraries"))
        other = Elsewhere(found, request, kept, libraries=libraries, progress=progress)
        stage = None if document else other.unreadable()
        if stage is not None:
            how = {"check": check, "output": output, "backend": backend, "compress": compress}
            arguments = {"request": request, "options": options, **how}
            inside: PlannedFile = other.call("verbs.build_file:plan_file", arguments, stage)
            return inside
        others = other.origins if other.is_needed else None
        file = file_parts(request, options, kept, opened, others, document=found)
        file.require_whole(opened)
        read_way(file.parts[0].spec, file.parts, output=output, backend=backend, compress=compress)
        return plan_all(file.parts, opened, check=check, related=file.related)


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
