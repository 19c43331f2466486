"""The Python surface: plain types in, frozen types out; `rootless_scratch` re-exports it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from rootless_scratch.checking import check_subject, require_utf8
from rootless_scratch.errors import HostError, RefusedError, UsageError
from rootless_scratch.findings import Finding, Judgement, errors_of
from rootless_scratch.image.spec import (
    NONROOT,
    Copy,
    NewDirectory,
    NewSymlink,
    Spec,
    parse_copy,
    parse_directory,
    parse_program,
    parse_symlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from rootless_scratch.backends.session import Session
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan import Plan

    StrPath = str | os.PathLike[str]


def build(
    *programs: StrPath,
    tag: str | Sequence[str] = (),
    output: str | Sequence[str] = (),
    backend: str | None = None,
    compress: str = "none",
    entrypoint: Sequence[str] | None = None,
    cmd: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    user: str = NONROOT,
    workdir: str = "/",
    ports: Iterable[int | str] = (),
    volumes: Iterable[str] = (),
    stop_signal: str | None = None,
    copy: Iterable[str] = (),
    mkdir: Iterable[str] = (),
    symlink: Iterable[str] = (),
    created: str | None = None,
    check: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Build an image of programs; every word reads as on the command line (`PROGRAM[:DEST]`).

    `tag` names it in local storage, `output` writes it to `oci:DIR`, `oci-archive:FILE` or `docker-archive:FILE`,
    which needs no other program; one of the two is wanted. `backend` is buildah or direct, `compress` none or
    gzip[:LEVEL]. With `check` False a program that would not start is built all the same. `progress` is told the
    bytes that have been written. Raises RefusedError with the findings, SourceError, ElfError, SpecError,
    UsageError, HostError, BuildError.
    """
    spec = Spec(
        names=_names(tag),
        programs=tuple(parse_program(os.fspath(program)) for program in programs),
        copies=tuple(parse_copy(word) for word in copy),
        directories=tuple(parse_directory(word) for word in mkdir),
        symlinks=tuple(parse_symlink(word) for word in symlink),
        entrypoint=_words("entrypoint", entrypoint),
        cmd=_words("cmd", cmd),
        env=tuple((env or {}).items()),
        labels=tuple((labels or {}).items()),
        annotations=tuple((annotations or {}).items()),
        user=user,
        workdir=workdir,
        ports=tuple(str(port) for port in ports),
        volumes=tuple(volumes),
        stop_signal=stop_signal,
        created=created,
    )
    return build_spec(
        spec, check=check, output=_names(output), backend=backend, compress=compress, progress=progress
    )


def build_spec(
    spec: Spec,
    *,
    check: bool = True,
    output: Sequence[str] = (),
    backend: str | None = None,
    compress: str = "none",
    session: Session | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Plan, judge and build; see `build`.

    `session` is one that was started early, and is closed here; `begun` is told the bytes that there are to write.
    """
    require_utf8()
    if chosen_backend(backend, outputs=bool(output)) == "direct":
        from rootless_scratch.backends.building import build_direct
        from rootless_scratch.image.layer import parse_compression
        from rootless_scratch.image.outputs import parse_outputs

        if session is not None:
            session.close()
        outputs, compression = parse_outputs(output), parse_compression(compress)
        if not (spec.names or outputs):
            raise UsageError("The image has neither a name nor an output.", fix="Say `-t NAME` or `-o oci:DIR`.")
        planned, findings = plan_and_judge(spec, check=check)
        if begun is not None:
            begun(planned.rootfs.size)
        return build_direct(planned, outputs, compression=compression, findings=findings, progress=progress)
    if output or compress != "none":
        raise UsageError(
            "The backend buildah builds into local storage alone.",
            fix="Leave `--backend buildah` out: outputs are written by the backend direct.",
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
            return build_image(planned, session, findings=findings, progress=progress)
        except HostError as error:
            raise _with_way_out(error, spec) from error


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

    planned = plan(spec)
    findings = judge_plan(planned)
    if check and errors_of(findings):
        raise RefusedError(findings)
    return planned, findings


class Root:
    """An empty root file system that becomes an image when the block ends without an exception.

    `image` is the image then. Files are read when they are named here, and must not change until they are
    written, at the end of the block.
    """

    image: Image

    def __init__(self, names: tuple[str, ...], **how: Any) -> None:  # noqa: ANN401 - keywords of build_spec
        self._how = how
        self._names = names
        self._programs: list[Copy] = []
        self._copies: list[Copy] = []
        self._directories: list[NewDirectory] = []
        self._symlinks: list[NewSymlink] = []
        self._config: dict[str, object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.image = build_spec(self._spec(), **self._how)

    def add(
        self,
        program: StrPath,
        destination: str | None = None,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        capabilities: str | None = None,
    ) -> None:
        """Add a program; the first one is the entrypoint unless `config` names another.

        `destination` is `/` and the file's name by default, `capabilities` in the notation of
        cap_from_text(3). Raises SourceError, ElfError.
        """
        from rootless_scratch.elf.program import read_program

        source = os.fspath(program)
        read_program(source)
        self._programs.append(
            Copy(
                source=source,
                destination=destination,
                mode=mode,
                uid=uid,
                gid=gid,
                capabilities=capabilities,
            )
        )

    def copy(
        self, source: StrPath, destination: str, *, mode: int | None = None, uid: int = 0, gid: int = 0
    ) -> None:
        """Copy a file, or all that a directory holds; `mode` None means 0755 for programs, 0644 for others."""
        self._copies.append(Copy(source=os.fspath(source), destination=destination, mode=mode, uid=uid, gid=gid))

    def mkdir(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Make an empty directory."""
        self._directories.append(NewDirectory(path=path, mode=mode, uid=uid, gid=gid))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`; `target` is kept as it is."""
        self._symlinks.append(NewSymlink(path=path, target=target))

    def config(
        self,
        *,
        entrypoint: Sequence[str] | None = None,
        cmd: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        ports: Iterable[int | str] | None = None,
        volumes: Iterable[str] | None = None,
        stop_signal: str | None = None,
        created: str | None = None,
    ) -> None:
        """Set what the image says to a runtime; what is not named here keeps its value."""
        given: dict[str, object] = {
            "entrypoint": _words("entrypoint", entrypoint),
            "cmd": _words("cmd", cmd),
            "env": None if env is None else tuple(env.items()),
            "labels": None if labels is None else tuple(labels.items()),
            "annotations": None if annotations is None else tuple(annotations.items()),
            "user": user,
            "workdir": workdir,
            "ports": None if ports is None else tuple(str(port) for port in ports),
            "volumes": None if volumes is None else tuple(volumes),
            "stop_signal": stop_signal,
            "created": created,
        }
        self._config |= {key: value for key, value in given.items() if value is not None}

    def _spec(self) -> Spec:
        import msgspec

        spec = Spec(
            names=self._names,
            programs=tuple(self._programs),
            copies=tuple(self._copies),
            directories=tuple(self._directories),
            symlinks=tuple(self._symlinks),
        )
        return msgspec.structs.replace(spec, **self._config)


def scratch(
    *,
    tag: str | Sequence[str] = (),
    output: str | Sequence[str] = (),
    backend: str | None = None,
    compress: str = "none",
    check: bool = True,
) -> Root:
    """An empty root file system, to be filled within a `with` block and built at its end; see `Root`, `build`."""
    return Root(_names(tag), output=_names(output), backend=backend, compress=compress, check=check)


def run(
    image: str | Image,
    arguments: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    network: str | None = None,
    volumes: Sequence[str] = (),
    publish: Sequence[str] = (),
    user: str | None = None,
    timeout: float | None = None,
) -> RunResult:
    """Run an image of local storage, hardened, and return its exit code and output (bytes).

    `timeout` in seconds; see rootless_scratch.engine.run for all that is promised and raised.
    """
    from rootless_scratch.engine.run import run as run_image

    return run_image(
        image,
        _words("arguments", arguments) or (),
        env=env,
        network=network,
        volumes=volumes,
        publish=publish,
        user=user,
        timeout=timeout,
    )


def check(subject: StrPath | Image) -> Judgement:
    """Judge a program file, or an image of local storage, without building or running it.

    `oci:DIR[:REF]`, `oci-archive:FILE` and `docker-archive:FILE` are read without any tool, and every digest is
    checked. A word that is the path of a file, or begins with `/` or `.`, is a program; any other names an image.
    Iterating over the answer gives its findings. Raises SourceError, ImageNotFoundError, HostError.
    """
    return check_subject(subject)


def _names(tag: str | Sequence[str]) -> tuple[str, ...]:
    return (tag,) if isinstance(tag, str) else tuple(tag)


def _words(what: str, words: Sequence[str] | None) -> tuple[str, ...] | None:
    """A string is a sequence too, of letters, and never meant as one."""
    if isinstance(words, str):
        raise UsageError(
            f"{what} is the string {words!r} and not a list of words.", fix=f"Write it as [{words!r}]."
        )
    return None if words is None else tuple(words)
