"""The Python surface: plain types in, frozen types out; `rootless_scratch` re-exports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.checking import check_subject, require_utf8
from rootless_scratch.errors import HostError, RefusedError, UsageError
from rootless_scratch.findings import Finding, Judgement, errors_of
from rootless_scratch.image.given import essentials as given_essentials
from rootless_scratch.image.given import image_id, maybe, names, pairs, text, texts
from rootless_scratch.image.given import outputs as outputs_of
from rootless_scratch.image.spec import (
    NONROOT,
    Spec,
    parse_copy,
    parse_directory,
    parse_program,
    parse_symlink,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.outputs import Output
    from rootless_scratch.image.plan import Plan
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
    check: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Build an image of programs; every word reads as on the command line (`PROGRAM[:DEST]`).

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
        from rootless_scratch.shipping import access_of

        access = access_of(authfile, cert_dir, tls_verify=tls_verify, retries=retries)
    spec = Spec(
        names=names(tag),
        programs=tuple(parse_program(text("a program", program)) for program in programs),
        copies=tuple(parse_copy(word) for word in texts("copy", copy)),
        directories=tuple(parse_directory(word) for word in texts("mkdir", mkdir)),
        symlinks=tuple(parse_symlink(word) for word in texts("symlink", symlink)),
        essentials=given_essentials(essentials),
        entrypoint=maybe(texts, "entrypoint", entrypoint),
        cmd=maybe(texts, "cmd", cmd),
        env=pairs("env", env),
        labels=pairs("labels", labels),
        annotations=pairs("annotations", annotations),
        user=text("user", user),
        workdir=text("workdir", workdir),
        ports=texts("ports", ports),
        volumes=texts("volumes", volumes),
        stop_signal=maybe(text, "stop_signal", stop_signal),
        created=maybe(text, "created", created),
        bundle_libraries=bundle_libraries,
        include_libraries=texts("include_libraries", include_libraries),
        sysroot=maybe(text, "sysroot", sysroot),
    )
    return build_spec(
        spec,
        check=check,
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
    chosen = chosen_backend(backend, outputs=bool(output))
    outputs = _destinations(spec, chosen, output, compress)
    if chosen == "direct":
        from rootless_scratch.shipping import build_direct

        if session is not None:
            session.close()
        planned, findings = plan_and_judge(spec, check=check)
        if begun is not None:
            begun(planned.rootfs.size)
        return build_direct(
            planned,
            outputs,
            compress=compress,
            access=access,
            findings=findings,
            progress=progress,
            step=step,
        )
    from rootless_scratch.backends.session import Session

    # The worker comes up while the program is read. Without buildah the program's own faults are told first.
    try:
        session = session or Session("build")
    except HostError as error:
        plan_and_judge(spec, check=check)
        raise _with_way_out(error, spec) from error
    with session:
        from rootless_scratch.backends.buildah import build_image

        planned, findings = plan_and_judge(spec, check=check)
        if begun is not None:
            begun(planned.rootfs.size)
        try:
            image = build_image(planned, session, findings=findings, progress=progress)
        except HostError as error:
            raise _with_way_out(error, spec) from error
    if not output:
        return image
    from msgspec.structs import replace

    from rootless_scratch.shipping import ship_image

    shipped = ship_image(image, output, compress=compress, access=access, step=step)
    notes = tuple(dict.fromkeys((*image.notes, *shipped.notes)))
    return replace(image, outputs=shipped.outputs, notes=notes)


def _destinations(spec: Spec, backend: str, output: Sequence[str], compress: str | None) -> tuple[Output, ...]:
    """What `-o` and `--compress` say, read before anything is done; raises UsageError."""
    if backend == "direct" and not (spec.names or output):
        raise UsageError("The image has neither a name nor an output.", fix="Say `-t NAME` or `-o oci:DIR`.")
    if not output and compress is None:
        return ()
    from rootless_scratch.shipping import read_outputs

    if backend == "buildah" and not (output and spec.names):
        raise UsageError(
            "The backend buildah builds into local storage, by a name, and layers there are not compressed.",
            fix="Say `-t NAME` too, or leave `--backend buildah` out: the backend direct needs no name.",
        )
    return read_outputs(output, compress)


def chosen_backend(backend: str | None, *, outputs: bool) -> str:
    """`direct` where the image goes to outputs, `buildah` for local storage alone, unless named; UsageError."""
    if backend not in (None, "buildah", "direct"):
        raise UsageError(f"There is no backend {backend!r}.", fix="The backends are buildah and direct.")
    return backend or ("direct" if outputs else "buildah")


def _with_way_out(error: HostError, spec: Spec) -> HostError:
    """What needs no namespace and no other program is a way on every host."""
    name = (spec.names or ("image",))[0].rpartition("/")[2].partition(":")[0]
    way = f"Or write the image to a file, which needs neither: `-o oci-archive:{name}.tar` in place of -t."
    return type(error)(error.message, fix=f"{error.fix} {way}", detail=error.detail)


def plan_and_judge(spec: Spec, *, check: bool = True) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan and all findings about it; raises RefusedError for those of severity `error` unless told not to."""
    from rootless_scratch.image.plan import plan
    from rootless_scratch.rules.images import judge_plan
    from rootless_scratch.rules.needs import with_needed

    planned = plan(spec)
    findings = judge_plan(planned)
    completed = with_needed(spec, findings)
    if completed != spec:
        planned = plan(completed)
        findings = judge_plan(planned)
    if check and errors_of(findings):
        raise RefusedError(findings)
    return planned, findings


def run(
    image: str | Image,
    arguments: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    network: str | None = None,
    volumes: Sequence[str] = (),
    publish: Sequence[str] = (),
    user: int | str | None = None,
    timeout: float | None = None,
) -> RunResult:
    """Run an image of local storage, hardened, and return its exit code and output (bytes).

    Where the start failed, `explanation` of the result, or of the EngineError, names the cause that the rules see.
    `timeout` in seconds; see rootless_scratch.engine.run for all that is promised and raised.
    """
    from rootless_scratch.engine.run import run as run_image
    from rootless_scratch.judging import explained

    if not isinstance(timeout, (int, float, type(None))):
        raise UsageError(f"timeout is {timeout!r} and not a number of seconds.", fix="Write it as timeout=10.")
    name = image if isinstance(image, str) else image_id(image)
    words = texts("arguments", arguments)
    account = maybe(text, "user", user)

    def call() -> RunResult:
        return run_image(
            name,
            words,
            env=dict(pairs("env", env)),
            network=maybe(text, "network", network),
            volumes=texts("volumes", volumes),
            publish=texts("publish", publish),
            user=account,
            timeout=timeout,
        )

    return explained(call, name, arguments=words, user=account)


def check(
    subject: StrPath | Image,
    *,
    bundle_libraries: bool = False,
    sysroot: StrPath | None = None,
    root: HostRoot | None = None,
) -> Judgement:
    """Judge a program file, or an image of local storage, without building or running it.

    With `bundle_libraries` a program is judged in the image that `build` would make of it with that option; `root`
    is where its libraries are looked for, and may be shared by calls that follow each other closely.

    `oci:DIR[:REF]`, `oci-archive:FILE` and `docker-archive:FILE` are read without any tool, and every digest is
    checked. A word that is the path of a file, or begins with `/` or `.`, is a program; any other names an image.
    Iterating over the answer gives its findings. Raises SourceError, ImageNotFoundError, HostError.
    """
    where = maybe(text, "sysroot", sysroot)
    return check_subject(subject, bundle_libraries=bundle_libraries, sysroot=where, root=root)
