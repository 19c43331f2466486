"""`build`: from a Spec to an image, in local storage or in outputs."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from rootless_scratch.errors import CacheError, HostError, UsageError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from rootless_scratch.backends.direct import Adding
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.caching.layers import Layers
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.image.references import Reference
    from rootless_scratch.image.spec import Part, Spec
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.planning import Related
    from rootless_scratch.verbs.sharing import Sharing


def build_spec(
    spec: Spec,
    *,
    check: bool = True,
    output: Sequence[str] = (),
    backend: str | None = None,
    compress: str | None = None,
    access: Access | None = None,
    cache_from: Sequence[str] = (),
    cache_to: Sequence[str] = (),
    session: Session | Storing | None = None,
    files: HostFiles | None = None,
    progress: Progress = SILENT,
) -> Image:
    """Plan, judge and build; see rootless_scratch.api.build.

    `session` is one that was started early, `files` has what was opened already; both are closed here.
    """
    require_utf8()
    with files or HostFiles() as opened:
        return build_parts(
            parts_of(spec, opened),
            opened,
            check=check,
            output=output,
            backend=backend,
            compress=compress,
            access=access,
            cache_from=cache_from,
            cache_to=cache_to,
            session=session,
            progress=progress,
        )


def build_parts(parts: Sequence[Part], opened: HostFiles, **how: Any) -> Image:  # noqa: ANN401 - see below
    """Plan, judge and build what a Spec was split into, or what a Containerfile comes to, and write its SBOMs.

    `how` is as `_build_parts` has it.
    """
    spec = parts[0].spec
    if not spec.sboms:
        return _build_parts(parts, opened, **how)
    from rootless_scratch.verbs.sbom_files import SbomFiles

    heard = how.pop("on_plans", None)
    with SbomFiles(parts, how.get("output", ())) as sboms:

        def on_plans(plans: Sequence[Planned]) -> None:
            sboms.begin(plans)
            if heard is not None:
                heard(plans)

        try:
            image = _build_parts(parts, opened, on_plans=on_plans, **how)
        except CacheError as error:
            error.image = sboms.written(error.image)
            raise
        return sboms.written(image)


def _build_parts(
    parts: Sequence[Part],
    opened: HostFiles,
    *,
    check: bool = True,
    output: Sequence[str] = (),
    backend: str | None = None,
    compress: str | None = None,
    access: Access | None = None,
    cache_from: Sequence[str] = (),
    cache_to: Sequence[str] = (),
    session: Session | Storing | None = None,
    progress: Progress = SILENT,
    related: Related | None = None,
    sharing: Sharing | None = None,
    add: Adding | None = None,
    on_plans: Callable[[Sequence[Planned]], None] | None = None,
    layers: Layers | None = None,
) -> Image:
    """Plan, judge and build what a Spec was split into, or what a Containerfile comes to.

    `related` is as `plan_all` has it, `add` and `layers` as `build_images`, in place of those of this user and of
    `cache_from`; with `sharing` others are built at the same time. `on_plans` hears what is about to be built. All
    else is as for `build_spec`.
    """
    plan = partial(_plan, parts, opened, check=check, related=related, sharing=sharing, on_plans=on_plans)
    spec = parts[0].spec
    chosen, outputs = read_way(spec, parts, output=output, backend=backend, compress=compress)
    _require_caches(cache_from, cache_to, outputs if chosen == "direct" else (), compress)
    if not (spec.names or outputs):
        raise UsageError("The image has neither a name nor an output.", fix="Pass `-t NAME` or `-o oci:DIR`.")
    if chosen == "direct":
        try:
            storing = _storing(spec.names, session, several=len(parts) > 1)
        except HostError as error:
            plan()
            raise error if output else _with_way_out(error, spec) from error
        with storing or nullcontext():
            plans, findings = plan()
            progress.begin(sum(each.plan.rootfs.size for each in plans))
            layers = layers or _layers(plans, outputs, compress, cache_from, access)
            with _telling_way_out(spec, wanted=not output):
                image = _build_directly(
                    storing,
                    plans,
                    outputs=outputs,
                    files=opened,
                    compress=compress,
                    access=access,
                    findings=findings,
                    progress=progress,
                    add=add,
                    layers=layers,
                )
        return _with_caches(with_added(image, [each.plan for each in plans]), layers, cache_to, access, progress)
    from rootless_scratch.backends.session import Session

    if session is not None and not isinstance(session, Session):
        session.close()
        session = None
    # The worker comes up while the program is read. Without buildah the program's own faults are told first.
    try:
        session = session or Session("build")
    except HostError as error:
        plan()
        raise _with_way_out(error, spec) from error
    with session:
        from rootless_scratch.backends.buildah import build_image

        plans, findings = plan()
        planned = plans[0].plan
        progress.begin(planned.rootfs.size)
        with _telling_way_out(spec):
            try:
                image = build_image(planned, session, opened, findings=findings, progress=progress)
            except HostError as error:
                from rootless_scratch.host.own_storage import with_own_storage

                if with_own_storage(session.settings, error.rule) is None:
                    raise
                with Session("build") as again:
                    image = build_image(planned, again, opened, findings=findings, progress=progress)
    image = with_added(image, (planned,))
    if not output:
        return image
    from msgspec.structs import replace

    from rootless_scratch.verbs.ship import ship_image

    shipped = ship_image(image, output, compress=compress, access=access, progress=progress.steps())
    notes = tuple(dict.fromkeys((*image.notes, *shipped.notes)))
    return replace(image, outputs=shipped.outputs, notes=notes)


def _plan(
    parts: Sequence[Part],
    opened: HostFiles,
    *,
    sharing: Sharing | None,
    on_plans: Callable[[Sequence[Planned]], None] | None,
    **how: Any,  # noqa: ANN401 - of `plan_all`
) -> tuple[tuple[Planned, ...], tuple[Finding, ...]]:
    """What `plan_all` does, one image at a time where others are built too."""
    with nullcontext() if sharing is None else sharing.planning():
        root = None if sharing is None else sharing.root
        plans, findings = plan_all(parts, opened, root=root, **how)
    if on_plans is not None:
        on_plans(plans)
    return plans, findings


def _build_directly(
    storing: Storing | None,
    plans: Sequence[Planned],
    **how: Any,  # noqa: ANN401 - of `build_direct`
) -> Image:
    """What `build_direct` does, unless it is an image that storage alone is to have, and has already."""

    def build(storing: Storing | None) -> Image:
        return _build_anywhere(storing, plans=plans, **how)

    if storing is None or how["outputs"] or len(plans) > 1:
        return build(storing)
    from rootless_scratch.backends.known import stored_once

    return stored_once(plans[0].plan, how["files"], storing, build, findings=how["findings"])


def _build_anywhere(storing: Storing | None, **how: Any) -> Image:  # noqa: ANN401 - likewise
    """What `build_direct` does, with a storage of ours where that of this host cannot be opened."""
    from rootless_scratch.verbs.ship import build_direct

    try:
        return build_direct(storing=storing, **how)
    except HostError as error:
        from rootless_scratch.backends.storing import Storing
        from rootless_scratch.host.own_storage import with_own_storage

        if storing is None or with_own_storage(storing.settings, error.rule) is None:
            raise
        with Storing(storing.name) as again:
            return build_direct(storing=again, **how)


def _require_caches(
    cache_from: Sequence[str], cache_to: Sequence[str], outputs: Sequence[Reference], compress: str | None
) -> None:
    """Raise UsageError for caches that are none, or of no use."""
    if cache_from or cache_to:
        from rootless_scratch.verbs.caching import require_use

        require_use(cache_from, cache_to, [outputs], compress)


def _layers(
    plans: Sequence[Planned],
    outputs: Sequence[Reference],
    compress: str | None,
    cache_from: Sequence[str],
    access: Access | None,
) -> Layers | None:
    """Compressed layers that were made before, where these take long to make."""
    if not outputs:
        return None
    from rootless_scratch.verbs.ship import compression_for

    compression = compression_for(compress, outputs)
    if not any(compression.is_worth_keeping(each.plan.rootfs.size) for each in plans):
        return None
    from rootless_scratch.verbs.caching import open_layers

    return open_layers(cache_from, access)


def _with_caches(
    image: Image, layers: Layers | None, cache_to: Sequence[str], access: Access | None, progress: Progress
) -> Image:
    """The image, once its layers are in all caches of others; raises CacheError, with the image."""
    if layers is None and not cache_to:
        return image
    from rootless_scratch.verbs.caching import with_notes, write_caches

    image = image if layers is None else with_notes(image, layers)
    used = () if layers is None else tuple(layers.used)
    write_caches(cache_to, used, access, image=image, progress=progress.steps())
    return image


def _storing(names: Sequence[str], begun: Session | Storing | None, *, several: bool) -> Storing | None:
    """What stores an image of these names, begun already where it is that; None where nothing is to be stored.

    Raises ToolMissingError, HostError.
    """
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.image.names import image_name

    name = None if several or not names else image_name(names[0])
    if isinstance(begun, Storing) and names and begun.name == name:
        return begun
    if begun is not None:
        begun.close()
    return Storing(name) if names else None


def plan_spec(
    spec: Spec, *, check: bool, output: Sequence[str], backend: str | None, compress: str | None
) -> tuple[tuple[Planned, ...], tuple[Finding, ...]]:
    """What `build_spec` with the same options would build, and the findings about it; raises what that does."""
    with HostFiles() as files:
        parts = parts_of(spec, files)
        read_way(spec, parts, output=output, backend=backend, compress=compress)
        return plan_all(parts, files, check=check)


def with_added(image: Image, plans: Iterable[Plan]) -> Image:
    """The image with a note on what `auto` has brought."""
    added = tuple(dict.fromkeys(name for each in plans for name in each.added))
    if not added:
        return image
    from msgspec.structs import replace

    return replace(image, notes=(*image.notes, f"`--with auto` added {', '.join(added)}."))


def read_way(
    spec: Spec, parts: Sequence[Part], *, output: Sequence[str], backend: str | None, compress: str | None
) -> tuple[str, tuple[Reference, ...]]:
    """The backend that makes the image, and its outputs; raises UsageError for a way that there is not.

    It is `direct` for outputs and for several `parts`, `buildah` for storage alone, unless named.
    """
    several = len(parts) > 1
    if backend not in (None, "buildah", "direct"):
        raise UsageError(f"There is no backend {backend!r}.", fix="The backends are buildah and direct.")
    if several and backend == "buildah":
        raise UsageError(
            "The backend buildah builds for one platform at a time.", fix="Leave `--backend buildah` out."
        )
    chosen = backend or ("direct" if output or several else "buildah")
    if chosen == "buildah" and compress is not None and not output:
        raise UsageError(
            "Local storage keeps layers as they are, and --compress is for outputs.",
            fix="Leave --compress out, or name an output, e.g. `-o oci-archive:image.tar`.",
        )
    if chosen == "buildah" and output and not spec.names:
        raise UsageError(
            "The backend buildah builds into local storage, by a name.",
            fix="Add `-t NAME`, or leave `--backend buildah` out: the backend direct needs no name.",
        )
    if not output and compress is None:
        return chosen, ()
    from rootless_scratch.verbs.ship import read_outputs

    return chosen, read_outputs(output, compress)


@contextmanager
def _telling_way_out(spec: Spec, *, wanted: bool = True) -> Iterator[None]:
    """To an error of the host what works on every one is added, where that is `wanted`."""
    try:
        yield
    except HostError as error:
        if not wanted:
            raise
        raise _with_way_out(error, spec) from error


def _with_way_out(error: HostError, spec: Spec) -> HostError:
    """What needs no namespace and no other program is a way on every host."""
    name = (spec.names or ("image",))[0].rpartition("/")[2].partition(":")[0]
    way = f"Or write the image to a file, which needs neither: `-o oci-archive:{name}.tar` in place of -t."
    explained = type(error)(error.message, fix=f"{error.fix} {way}", detail=error.detail)
    explained.rule = error.rule
    return explained
