"""One build, inside the user namespace: from scratch, mount, write, config, commit."""

from __future__ import annotations

import os
import sys

from rootless_scratch import sums
from rootless_scratch.backends.caller import Cancelled, Failed, WorkerPaths, check_caller, read_job
from rootless_scratch.backends.jobs import BuildJob, Done
from rootless_scratch.backends.record import Lock, Record
from rootless_scratch.backends.store_files import stored_texts, verify
from rootless_scratch.backends.tool import Tool, call, no_space
from rootless_scratch.backends.worker.entries import Writer, check_ids
from rootless_scratch.private import remove_below

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence


_RUNTIME = {"GOGC": "200", "GOMAXPROCS": "1"}
"""What Go is told unless the user has set it: package `runtime`.

The heap grows to three times what is in use before garbage is collected, which short calls then need not do: a
commit of 10,000 files takes 57 MB in place of 51, one of a large file no more. On one processor, what a commit
hands over from one of its steps to the next wakes no other.
"""


def build(paths: WorkerPaths) -> Done:
    """All steps of one build; whatever happens, the working container goes and so does the record."""
    record = Record.create(paths, inherited=True)
    mountpoint = ""
    try:
        # buildah spools the layer below TMPDIR; what it leaves there when it is killed goes with the record.
        os.environ["TMPDIR"] = record.scratch
        os.environ.update({name: value for name, value in _RUNTIME.items() if name not in os.environ})
        call(paths, "from", "--name", record.name, "--pull-never", "scratch")
        mountpoint = call(paths, "mount", record.name).rstrip("\n")
        images = images_directory(mountpoint)
        job = read_job(BuildJob)
        check_ids(job.entries)
        known = None if job.known is None else named_again(paths, job, images, *job.known)
        if known is not None:
            record.take_back(paths)
            return known
        environment = {**os.environ, **job.config_environment}
        # `mount` writes the container's record too, so that the two of them cannot run at once.
        config = Tool(paths, ("config", *job.config, record.name), environment=environment)
        try:
            writer = Writer(mountpoint, job.mtime, job.opened)
            writer.write(job.entries)
        finally:
            config.finish(check=sys.exc_info()[0] is None, cancel=False)
        record.commits(images, job.expected)
        with explaining_full_disk(mountpoint, writer.written):
            image_id, config_text, manifest_text = commit(paths, job, record, images)
    except BaseException:
        # On a full disk nothing can be removed from storage before there is room again.
        make_room(mountpoint)
        record.take_back(paths)
        raise
    record.remove()
    return Done(image_id, config_text, manifest_text, images)


def make_room(mountpoint: str) -> None:
    """Empty the container's files where they still are, if it is mounted."""
    if not mountpoint:
        return
    import contextlib

    # The container goes as a whole all the same.
    with contextlib.suppress(OSError, RecursionError):
        descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            remove_below(descriptor)
        finally:
            os.close(descriptor)


class explaining_full_disk:  # noqa: N801 - a context manager; contextlib costs 1 ms to import
    """buildah often names only the pipe that broke when a disk was full: the room that is left tells the rest."""

    def __init__(self, mountpoint: str, size: int) -> None:
        self._directories = (mountpoint, os.environ["TMPDIR"])
        self._size = size

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Failed) and "closed pipe" in error.answer.detail:
            for directory in self._directories:
                room = os.statvfs(directory)
                if room.f_bavail * room.f_frsize < self._size:
                    raise no_space("buildah wrote the image", error.answer.detail) from error


def commit(paths: WorkerPaths, job: BuildJob, record: Record, images: str | None) -> tuple[str, str, str]:
    """Make the image under its first name, prove it, and give it the others.

    It is never long without a name: whoever takes back a build removes images that have none. Where it is not
    what was planned, or nobody wants it any more, the names belong to what they named before.
    """
    flags = ["--quiet", "--rm", "--format", "oci", "--identity-label=false", "--omit-history"]
    flags += job.policy
    if job.timestamp is not None:
        flags += ["--timestamp", str(job.timestamp)]
    first, *others = job.names
    # buildah looks its own image up by the name that it gave, and would find that of another build (1.28).
    with Lock(paths.records, first):
        before = stored_names(images)
        committing = Tool(paths, ("commit", *flags, record.name, first))
        warm_up()
        # The last line of its output is the image's ID: a file for that would be one more place.
        image_id = (committing.finish().split() or [""])[-1].removeprefix("sha256:")
        try:
            config_text, manifest_text = image_texts(paths, images, image_id)
            verify(job.expected, config_text)
            if others:
                call(paths, "tag", image_id, *others)
            check_caller()
        except (Failed, Cancelled):
            give_back(paths, job.names, before)
            raise
    return image_id, config_text, manifest_text


def named_again(paths: WorkerPaths, job: BuildJob, images: str | None, image_id: str, digest: str) -> Done | None:
    """Give the names to the image that is known to come of the job; None where storage has another, or none."""
    found = stored_texts(images, image_id)
    # Images that differ in annotations alone have one ID, and storage keeps the manifest of the last.
    if found is None or sums.digest(found[1].encode()) != digest:
        return None
    with Lock(paths.records, job.names[0]):
        before = stored_names(images)
        try:
            verify(job.expected, found[0])
            call(paths, "tag", image_id, *job.names)
            check_caller()
        except Failed:
            give_back(paths, job.names, before)
            return None
        except Cancelled:
            give_back(paths, job.names, before)
            raise
    return Done(image_id, *found, images)


def stored_names(images: str | None) -> bytes:
    """The store's own list of images and their names, to be read only if they must be given back."""
    try:
        with open(os.path.join(images or "", "images.json"), "rb") as file:
            return file.read()
    except OSError:
        return b"[]"


def give_back(paths: WorkerPaths, names: Sequence[str], before: bytes) -> None:
    """Take `names` from the new image, and give them to the images that had them."""
    import json

    try:
        images = json.loads(before)
    except ValueError:
        # The list is damaged, which buildah says too: that is the error to tell.
        images = []
    for name in names:
        Tool(paths, ("rmi", name)).finish(check=False, cancel=False)
        for image in images:
            if name in (image.get("names") or ()):
                Tool(paths, ("tag", image["id"], name)).finish(check=False, cancel=False)


def warm_up() -> None:
    """Load what is needed after the commit while buildah still works at it."""
    import json  # noqa: F401 - see above


def images_directory(mountpoint: str) -> str | None:
    """Where the store of this mount keeps its images (`GRAPHROOT/DRIVER-images`), or None if it looks new."""
    above, name = os.path.split(mountpoint)
    while name:
        candidate = os.path.join(above, name + "-images")
        if os.path.isdir(candidate):
            return candidate
        above, name = os.path.split(above)
    return None


def image_texts(paths: WorkerPaths, images: str | None, image_id: str) -> tuple[str, str]:
    """The image's config and manifest as stored; from the store's files if these prove to be right."""
    import json

    found = stored_texts(images, image_id)
    if found is not None:
        return found
    described = json.loads(call(paths, "inspect", "--type", "image", image_id))
    return described["Config"], described["Manifest"]
