"""The Python surface: plain types in, frozen types out; `rootless_scratch` re-exports it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Unpack

from rootless_scratch.errors import HostError, UsageError
from rootless_scratch.image.plan.arguments import flag, image_id, maybe, text, texts
from rootless_scratch.image.plan.arguments import limits as limits_of
from rootless_scratch.image.plan.arguments import outputs as outputs_of
from rootless_scratch.image.plan.image_arguments import spec_of
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.spec import NONROOT
from rootless_scratch.verbs.check import check_subject, require_utf8
from rootless_scratch.verbs.planning import plan_all

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.verify import Verification
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.engine.container.readiness import Ready
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.engine.request.options import ContainerOptions, Options
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.findings import Judgement
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.image_arguments import ImageWords
    from rootless_scratch.image.plan.planner import Plan
    from rootless_scratch.image.references import Output
    from rootless_scratch.image.spec import Part, Spec
    from rootless_scratch.ship.registry import Access

    StrPath = str | os.PathLike[str]


def build(
    *programs: StrPath,
    tag: str | Sequence[str] = (),
    output: str | Sequence[str] = (),
    backend: str | None = None,
    compress: str | None = None,
    authfile: StrPath | None = None,
    tls_verify: bool | None = None,
    cert_dir: StrPath | None = None,
    retries: int = 3,
    entrypoint: Sequence[str] | None = None,
    cmd: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    user: int | str = NONROOT,
    workdir: str = "/",
    ports: Iterable[int | str] = (),
    volumes: Iterable[str] = (),
    stop_signal: str | None = None,
    copy: Iterable[str] = (),
    mkdir: Iterable[str] = (),
    symlink: Iterable[str] = (),
    essentials: Iterable[str] = (),
    created: int | str | None = None,
    bundle_libraries: bool = False,
    include_libraries: Sequence[str] = (),
    sysroot: StrPath | None = None,
    platforms: Mapping[str, StrPath] | None = None,
    check: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Build an image of programs; every word reads as on the command line (`PROGRAM[:DEST]`).

    Programs for several platforms with one DEST, or `platforms` such as `{"linux/arm64": "hello"}`, make an index
    with an image for each (`Image.images`).

    `tag` names it in local storage, `output` writes it to `oci:DIR`, `oci-archive:FILE` or `docker-archive:FILE`,
    which needs no other program, or to `docker://HOST/NAME:TAG` (see `push`); one of the two is wanted. `backend`
    is buildah or direct, `compress` none, gzip[:LEVEL] or zstd[:LEVEL]: by default gzip where an output is a
    registry. With `bundle_libraries` the loaders and libraries that the programs need come along, found in
    `sysroot`. With `check` False a program that would not start is built all the same. `progress` is told the
    bytes that have been written. Raises RefusedError with the findings, SourceError, ElfError, SpecError,
    UsageError, HostError, BuildError, RegistryError.
    """
    access = None
    if output:
        from rootless_scratch.verbs.ship import access_of

        access = access_of(authfile, cert_dir, tls_verify=tls_verify, retries=retries)
    spec = spec_of(
        programs,
        tag=tag,
        entrypoint=entrypoint,
        cmd=cmd,
        env=env,
        labels=labels,
        annotations=annotations,
        user=user,
        workdir=workdir,
        ports=ports,
        volumes=volumes,
        stop_signal=stop_signal,
        copy=copy,
        mkdir=mkdir,
        symlink=symlink,
        essentials=essentials,
        created=created,
        bundle_libraries=flag("bundle_libraries", bundle_libraries),
        include_libraries=include_libraries,
        sysroot=sysroot,
        platforms=platforms,
    )
    return build_spec(
        spec,
        check=flag("check", check),
        output=outputs_of(output),
        backend=backend,
        compress=maybe(text, "compress", compress),
        access=access,
        progress=progress,
    )


def build_spec(
    spec: Spec,
    *,
    check: bool = True,
    output: Sequence[str] = (),
    backend: str | None = None,
    compress: str | None = None,
    access: Access | None = None,
    session: Session | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
    step: Callable[[str], None] | None = None,
) -> Image:
    """Plan, judge and build; see `build`.

    `session` is one that was started early, and is closed here; `begun` is told the bytes that there are to write,
    `step` what is done after that.
    """
    require_utf8()
    parts = parts_of(spec)
    chosen, outputs = read_way(spec, parts, output=output, backend=backend, compress=compress)
    if not (spec.names or outputs):
        raise UsageError("The image has neither a name nor an output.", fix="Say `-t NAME` or `-o oci:DIR`.")
    if chosen == "direct":
        from rootless_scratch.verbs.ship import build_direct

        if session is not None:
            session.close()
        plans, findings = plan_all(parts, check=check)
        if begun is not None:
            begun(sum(each.plan.rootfs.size for each in plans))
        with _telling_way_out(spec, wanted=not output):
            image = build_direct(
                plans,
                outputs,
                compress=compress,
                access=access,
                findings=findings,
                progress=progress,
                step=step,
            )
        return _with_added(image, [each.plan for each in plans])
    from rootless_scratch.backends.session import Session

    # The worker comes up while the program is read. Without buildah the program's own faults are told first.
    try:
        session = session or Session("build")
    except HostError as error:
        plan_all(parts, check=check)
        raise _with_way_out(error, spec) from error
    with session:
        from rootless_scratch.backends.buildah import build_image

        plans, findings = plan_all(parts, check=check)
        planned = plans[0].plan
        if begun is not None:
            begun(planned.rootfs.size)
        with _telling_way_out(spec):
            image = build_image(planned, session, findings=findings, progress=progress)
    image = _with_added(image, (planned,))
    if not output:
        return image
    from msgspec.structs import replace

    from rootless_scratch.verbs.ship import ship_image

    shipped = ship_image(image, output, compress=compress, access=access, step=step)
    notes = tuple(dict.fromkeys((*image.notes, *shipped.notes)))
    return replace(image, outputs=shipped.outputs, notes=notes)


def _with_added(image: Image, plans: Iterable[Plan]) -> Image:
    """The image with a note on what `auto` has brought."""
    added = tuple(dict.fromkeys(name for each in plans for name in each.added))
    if not added:
        return image
    from msgspec.structs import replace

    return replace(image, notes=(*image.notes, f"`--with auto` added {', '.join(added)}."))


def read_way(
    spec: Spec, parts: Sequence[Part], *, output: Sequence[str], backend: str | None, compress: str | None
) -> tuple[str, tuple[Output, ...]]:
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
            fix="Say `-t NAME` too, or leave `--backend buildah` out: the backend direct needs no name.",
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
    return type(error)(error.message, fix=f"{error.fix} {way}", detail=error.detail)


def run(
    image: str | Image,
    arguments: Sequence[str] = (),
    *,
    input: bytes | None = None,  # noqa: A002 - the name that subprocess.run has for it
    **options: Unpack[Options],
) -> RunResult:
    """Run an image of local storage, hardened, and return its exit code and output (bytes).

    `input` is what the program reads from its stdin. All other options are those of the command line, by the
    names of rootless_scratch.engine.request.options.Options. Where the start failed, `explanation` of the result,
    or of the EngineError, names the cause that the rules see. See rootless_scratch.engine.run for all that is
    promised and raised.
    """
    from rootless_scratch.engine.request.destination import destination_of
    from rootless_scratch.engine.run import run as run_image
    from rootless_scratch.verbs.judge import explained

    name = image if isinstance(image, str) else image_id(image)
    words = texts("arguments", arguments)
    account = maybe(text, "user", options.get("user"))

    def call() -> RunResult:
        return run_image(name, words, stdin=input, **options)

    named = destination_of(options.get("url"), options.get("connection")) is not None
    return explained(call, name, arguments=words, user=account, elsewhere=named)


@contextmanager
def container(
    image: str | Image,
    arguments: Sequence[str] = (),
    *,
    ready: Ready | None = None,
    ready_timeout: float = 30.0,
    **options: Unpack[ContainerOptions],
) -> Iterator[RunningContainer]:
    """A container of an image that is ready when the block begins, and gone when it ends, whatever happens.

    `publish={8080: None}` publishes a port on a free one of this host, which `port(8080)` tells. `ready` is
    "started", "port" (its published ports answer: the default where there are any), "healthy" (its health check is
    content), a compiled expression that matches a line of its output, or a function. See
    rootless_scratch.engine.container.running for all that is promised and raised.
    """
    from rootless_scratch.engine.container.running import container as beside
    from rootless_scratch.engine.request.destination import destination_of
    from rootless_scratch.verbs.judge import explaining

    name = image if isinstance(image, str) else image_id(image)
    words = texts("arguments", arguments)
    account = maybe(text, "user", options.get("user"))
    named = destination_of(options.get("url"), options.get("connection")) is not None
    with ExitStack() as stack:
        with explaining(name, arguments=words, user=account, elsewhere=named):
            running = stack.enter_context(beside(name, words, ready=ready, ready_timeout=ready_timeout, **options))
        yield running


def check(
    subject: StrPath | Image,
    *,
    bundle_libraries: bool = False,
    sysroot: StrPath | None = None,
    platform: str | None = None,
    root: HostRoot | None = None,
    limits: Mapping[str, int] | None = None,
) -> Judgement:
    """Judge a program file, or an image of local storage, without building or running it.

    With `bundle_libraries` a program is judged in the image that `build` would make of it with that option; `root`
    is where its libraries are looked for, and may be shared by calls that follow each other closely.

    `oci:DIR[:REF]`, `oci-archive:FILE` and `docker-archive:FILE` are read without any tool, and every digest is
    checked; of an index every image is judged, or that for `platform` (`linux/arm64`). A word that is the path of
    a file, or begins with `/` or `.`, is a program; any other names an image. `limits={"expanded": 2 << 40}`
    raises what reading an image may cost (docs/limits.md).
    Iterating over the answer gives its findings. Raises SourceError, LimitError, ImageNotFoundError, HostError.
    """
    where = maybe(text, "sysroot", sysroot)
    wanted = maybe(text, "platform", platform)
    return check_subject(
        subject,
        bundle_libraries=bundle_libraries,
        sysroot=where,
        platform=wanted,
        root=root,
        limits=limits_of(limits),
    )


def verify(
    image: str | Image,
    *programs: StrPath,
    limits: Mapping[str, int] | None = None,
    **words: Unpack[ImageWords],
) -> Verification:
    """Make the image of these words, those of `build`, in memory, and say whether `image` is the same one.

    `image` is a name or an ID of local storage, `oci:DIR[:REF]`, `oci-archive:FILE`, `docker-archive:FILE`, or
    what `build` returned. Nothing is written, and nothing is judged; `limits` as for `check`. Raises
    ImageNotFoundError, SourceError, LimitError, ElfError, SpecError, UsageError, HostError.
    """
    return verify_spec(image, spec_of(programs, **words), limits=limits_of(limits))


def verify_spec(image: str | Image, spec: Spec, *, limits: Mapping[str, int] | None = None) -> Verification:
    """See `verify`."""
    from rootless_scratch.backends.verify import compare_all
    from rootless_scratch.verbs.check import word_of

    require_utf8()
    plans, _ = plan_all(parts_of(spec), check=False)
    return compare_all(plans, word_of(image), limits=limits)
