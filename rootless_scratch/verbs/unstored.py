"""Images that a run brings along: those of a program file, of a layout and of an archive.

The service gets them over its API, for its storage may be another than that of this account. They are found again
by their ID, which their content makes, so that what runs once more is neither built nor loaded.
"""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import ExitStack

from rootless_scratch.data import Data
from rootless_scratch.errors import ElfError, EngineError, SourceError, UsageError
from rootless_scratch.image.references import Reference, is_reference, parse_reference

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.engine.service.local import Service
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.host_files import HostFiles

REPOSITORY = "localhost/rootless-scratch/run"
"""The name of these images; their tags begin with the time at which they were loaded."""

KEPT = 10
"""How many of them stay in storage."""


class Unstored(Data):
    """An image by its ID and the digest of its manifest, empty where it has none yet.

    `write` writes it to a reference, and returns its ID and what is to be noted of it.
    """

    image_id: str
    digest: str
    write: Callable[[str], tuple[str, tuple[str, ...]]]


def is_unstored(image: object) -> bool:
    """Whether this names a program file, a layout or an archive: a path begins with `/` or `.`, or is a Path."""
    if isinstance(image, os.PathLike):
        return True
    return isinstance(image, str) and (image.startswith(("/", ".")) or is_reference(image))


def unstored(subject: str, *, essentials: Sequence[str] = (), platform: str | None = None) -> Unstored:
    """The image that a subject names, read and judged, and not written yet.

    A program brings its libraries and what `auto` and `essentials` add. Raises what `build` and reading raise.
    """
    if is_reference(subject):
        if essentials:
            raise UsageError("--with is for a program file; an image has its own.", fix="Leave --with out.")
        return _of_files(parse_reference(subject), platform)
    return _of_program(subject, essentials)


def provide(service: Service, image: Unstored) -> tuple[str, tuple[str, ...]]:
    """The ID of the image, which the service has when this returns, and what is to be noted if it was written.

    Raises EngineError.
    """
    from rootless_scratch.engine.api.images import config_of, is_image, load, remove_oldest

    client = service.client
    found = config_of(client, image.image_id)
    if found is not None and (not image.digest or is_image(found, image_id=image.image_id, digest=image.digest)):
        return image.image_id, ()
    from rootless_scratch.host.environment import private_temporary, tool_environment

    with (
        # A service of ours ends after a few seconds without a request: this one lasts until it is closed.
        contextlib.closing(client.begin("GET", "/events?stream=true")),
        private_temporary(variables := tool_environment().variables) as directory,
    ):
        archive = os.path.join(directory.path, "image.tar")
        tag = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{image.image_id[:12]}"
        image_id, notes = image.write(f"oci-archive:{archive}:{REPOSITORY}:{tag}")
        load(client, archive, variables=None if service.elsewhere else variables)
    if config_of(client, image_id) is None:
        raise EngineError(
            "podman has lost the image that was just loaded.", fix="Run it again, while nothing removes images."
        )
    remove_oldest(client, REPOSITORY, KEPT)
    return image_id, notes


def _of_program(path: str, essentials: Sequence[str]) -> Unstored:
    from rootless_scratch.backends.direct import planned_image
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.parts import parts_of
    from rootless_scratch.image.spec import spec_of
    from rootless_scratch.verbs.build import build_spec
    from rootless_scratch.verbs.planning import plan_all
    from rootless_scratch.verbs.subject import require_utf8

    require_utf8()
    chosen = tuple(dict.fromkeys((*essentials, "auto")))
    # The same image whatever SOURCE_DATE_EPOCH says.
    spec = spec_of({"programs": (path,), "essentials": chosen, "bundle_libraries": True, "created": "0"})
    with HostFiles() as files:
        _refuse_images(path, files)
        plans, _ = plan_all(parts_of(spec, files), files)
        planned = planned_image(plans[0].plan, files)

    def write(output: str) -> tuple[str, tuple[str, ...]]:
        built = build_spec(spec, output=[output])
        return built.image_id, (*built.notes, *_warnings(built))

    return Unstored(planned.config.name, planned.manifest.digest, write)


def _refuse_images(path: str, files: HostFiles) -> None:
    """Raise UsageError for a layout or an archive that is named as a program would be."""
    way = "oci" if os.path.isfile(os.path.join(path, "oci-layout")) else None
    # What cannot be read as a program is for `build` to tell.
    with contextlib.suppress(ElfError, SourceError):
        if files.program(path).kind == "archive":
            way = "docker-archive"
    if way is not None:
        what = "a layout" if way == "oci" else "an archive"
        other = "" if way == "oci" else f", or as oci-archive:{path}"
        raise UsageError(f"{path!r} is {what} of an image, not a program.", fix=f"Name it as {way}:{path}{other}.")


def _warnings(image: Image) -> tuple[str, ...]:
    return tuple(f"{each.message} [{each.rule}]" for each in image.findings if each.severity == "warning")


def _of_files(reference: Reference, platform: str | None) -> Unstored:
    from rootless_scratch.elf.platforms import parse_platform
    from rootless_scratch.image.oci import digest_of
    from rootless_scratch.image.read.found import find_image
    from rootless_scratch.image.read.reader import ImageReader

    wanted = None if platform is None else parse_platform(platform)
    with ImageReader(reference) as reader:
        found = find_image(reader, wanted)

    def write(output: str) -> tuple[str, tuple[str, ...]]:
        from rootless_scratch.backends.direct import unwritable, write_outputs
        from rootless_scratch.progress import SILENT
        from rootless_scratch.ship.copy_image import copy_single

        destination = parse_reference(output)
        with ExitStack() as stack:
            again = stack.enter_context(ImageReader(reference))
            chosen = find_image(again, wanted)
            try:
                directory = os.path.dirname(destination.path)
                copied = copy_single(again, chosen, directory, stack, progress=SILENT)
                write_outputs(copied.image, (destination,), ())
            except OSError as error:
                raise unwritable(error, (destination,)) from error
        return copied.image_id, copied.notes

    return Unstored(found.image_id, "" if found.manifest is None else digest_of(found.manifest), write)
