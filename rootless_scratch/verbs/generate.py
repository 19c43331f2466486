"""`generate`: what starts an image later and elsewhere, from what the image says of itself."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.deployments.compose import compose
from rootless_scratch.deployments.facts import service_name, workload
from rootless_scratch.deployments.kubernetes import kubernetes
from rootless_scratch.deployments.quadlet import quadlet
from rootless_scratch.deployments.systemd import systemd
from rootless_scratch.deployments.workload import Generated
from rootless_scratch.engine.request.options import check_text, request_of
from rootless_scratch.errors import BuildError, UsageError, did_you_mean
from rootless_scratch.host.environment import write_whole
from rootless_scratch.image.kinds import read
from rootless_scratch.image.names import image_name
from rootless_scratch.image.references import is_reference, is_remote, parse_reference, parse_remote
from rootless_scratch.image.tree import Tree
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.rules.access import account_of, number, read_lists
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.inspect import inspect_image
from rootless_scratch.verbs.options import OF_RUN, in_python
from rootless_scratch.verbs.subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.deployments.workload import Workload
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.image.finished import Image

FORMATS: dict[str, Callable[[Workload], tuple[str, tuple[str, ...]]]] = {
    "kubernetes": kubernetes,
    "quadlet": quadlet,
    "compose": compose,
    "systemd": systemd,
}

_ID = re.compile(r"(?:sha256:)?[0-9a-f]{6,64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,400}\Z")
_MOST_REPLICAS = 1000


def generate(
    form: str,
    image: str | Image,
    arguments: Sequence[str],
    options: Mapping[str, Any],
    *,
    progress: Progress = SILENT,
) -> Generated:
    """See rootless_scratch.api.generate; `options` are by the names of Python, and not yet read."""
    write = FORMATS.get(form)
    if write is None:
        listed = f"Use one of {', '.join(FORMATS)}."
        raise UsageError(f"{form!r} is not a format.", fix=did_you_mean(form, FORMATS, otherwise=listed))
    rows = in_python("generate")
    own = {name: row for name, row in rows.items() if name not in OF_RUN}
    values = {name: row.kind.default for name, row in own.items()}
    values |= read(own, {name: value for name, value in options.items() if name not in OF_RUN}, "`generate`")
    subject = subject_of(image)
    request = request_of(subject, arguments, {name: options[name] for name in OF_RUN if name in options})  # type: ignore[arg-type] # of those of a run
    _check(request, values)
    access = Access(**{name: values[name] for name in Access.options if name in values})
    stored = inspect_image(subject, values["platform"], access=access, limits=values["limits"], progress=progress)
    names = () if isinstance(image, str) else image.names
    name, notes = _name(names[0] if names else subject, stored, request, values["image_name"])
    load = workload(
        stored,
        request,
        image=name,
        account=_account(subject, stored, request),
        replicas=values["replicas"] or 1,
        notes=notes,
    )
    text, noted = write(load)
    return Generated(format=form, name=load.name, image=name, text=text, notes=noted)


def write_file(text: str, path: str) -> None:
    """Write it whole, in place of what is there. Raises BuildError."""
    try:
        write_whole(os.path.abspath(path), text.encode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BuildError(
            f"{path!r} cannot be written: {reason}.", fix="Name a file in a directory of yours that exists."
        ) from error


def _check(request: Request, values: Mapping[str, Any]) -> None:
    replicas = values["replicas"]
    if replicas is not None and not 0 < replicas <= _MOST_REPLICAS:
        raise UsageError(f"--replicas {replicas} is not a number of containers.", fix="Write it as 2.")
    paths = [path for mount in request.mounts for path in (mount.source, mount.target)]
    for path in (*paths, *(memory.target for memory in request.memories)):
        if not path.isprintable() or path.endswith(("\\", " ")):
            raise UsageError(
                f"The path {path!r} cannot be written into every format.",
                fix="Use one without control characters, and without a blank or a backslash at its end.",
            )


def _name(subject: str, stored: StoredImage, request: Request, wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """What the image is called where it runs, and what is to be said of that."""
    if wanted is not None:
        check_text(wanted)
        if not _NAME.match(wanted):
            raise UsageError(f"{wanted!r} is not an image name.", fix="Write it as registry.example.com/web:1.")
        return wanted, ()
    if is_remote(subject):
        return parse_remote(subject).path, ()
    if not is_reference(subject):
        bare = subject.removeprefix("sha256:")
        if _ID.match(subject) and stored.image_id.startswith(bare):
            note = "An image ID is known on this host alone; --image says the name that others know."
            return stored.image_id, (note,)
        return (subject if "@" in subject else image_name(subject)), ()
    reference = parse_reference(subject)
    for named in (reference.ref, request.name, service_name(os.path.basename(reference.path))):
        try:
            name = image_name(named or "")
        except UsageError:
            continue
        break
    else:
        name = "localhost/app:latest"
    way = f"skopeo copy {subject} containers-storage:{name}"
    return name, (f"The image must be there as {name}: `{way}`, or --image says what it is called.",)


def _account(subject: str, stored: StoredImage, request: Request) -> tuple[int | None, int | None]:
    """The numbers of the user and of its group, as far as the image tells them."""
    user = request.user or stored.runtime_config().user or "0"
    name, _, group = user.partition(":")
    uid, gid = number(name or "0"), number(group)
    if uid is not None and (gid is not None or not group):
        return uid, gid
    files = {file.path: file.content for file in _with_contents(subject, stored).files}
    account = account_of(user, read_lists(Tree(stored.rootfs()), lambda entry: files.get(entry.path)))
    return account.uid, account.gid


def _with_contents(subject: str, stored: StoredImage) -> StoredImage:
    """The image with its lists of users: those of storage are read for who asks."""
    if is_reference(subject) or is_remote(subject):
        return stored
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.stored import read_image

    with Session("read-programs") as session:
        return read_image(stored.image_id, session)
