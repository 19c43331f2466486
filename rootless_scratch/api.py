"""The Python surface: plain types in, frozen types out; `rootless_scratch` re-exports it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rootless_scratch.errors import ElfError, HostError, RefusedError, UsageError
from rootless_scratch.findings import Finding, Judgement, errors_of
from rootless_scratch.image.given import essentials as given_essentials
from rootless_scratch.image.given import maybe, names, pairs, text, texts
from rootless_scratch.image.spec import (
    NONROOT,
    Copy,
    Spec,
    parse_copy,
    parse_directory,
    parse_program,
    parse_symlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan import Plan

    StrPath = str | os.PathLike[str]


def build(
    *programs: StrPath,
    tag: str | Sequence[str],
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
    """Build an image of programs in local storage; every word reads as on the command line (`PROGRAM[:DEST]`).

    With `bundle_libraries` the loaders and libraries that the programs need come along, found in `sysroot`.
    With `check` False a program that would not start is built all the same. `progress` is told the bytes that
    have been written. Raises RefusedError with the findings, SourceError, ElfError, SpecError, UsageError,
    HostError, BuildError.
    """
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
    return build_spec(spec, check=check, progress=progress)


def build_spec(
    spec: Spec,
    *,
    check: bool = True,
    session: Session | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Plan, judge and build; see `build`.

    `session` is one that was started early, and is closed here; `begun` is told the bytes that there are to write.
    """
    from rootless_scratch.backends.session import Session

    require_utf8()
    # The worker comes up while the program is read. Without buildah the program's own faults are told first.
    try:
        session = session or Session("build")
    except HostError:
        plan_and_judge(spec, check=check)
        raise
    with session:
        from rootless_scratch.backends.buildah import build_image

        planned, findings = plan_and_judge(spec, check=check)
        if begun is not None:
            begun(planned.rootfs.size)
        return build_image(planned, session, findings=findings, progress=progress)


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
    name = image if isinstance(image, str) else _image_id(image)
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

    A word that is the path of a file, or begins with `/` or `.`, is a program; any other names an image.
    Iterating over the answer gives its findings. Raises SourceError, ImageNotFoundError, HostError.
    """
    from rootless_scratch.judging import judge_stored

    require_utf8()
    if not isinstance(subject, (str, os.PathLike)):
        return judge_stored(_image_id(subject))
    word = text("the subject", subject)
    if not word or "\0" in word:
        raise UsageError(
            f"{word!r} names neither a program nor an image.", fix="Name a file, or an image such as hello."
        )
    if word.startswith(("/", ".")) or isinstance(subject, os.PathLike) or os.path.lexists(word):
        where = maybe(text, "sysroot", sysroot)
        return _check_program(word, bundle_libraries=bundle_libraries, sysroot=where, root=root)
    return judge_stored(word)


def require_utf8() -> None:
    """Names in images are bytes; Python must read those of this host as they are. Raises HostError."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        raise HostError(
            f"Python reads file names as {encoding} here, and would change those of the image.",
            fix="Start Python with PYTHONUTF8=1, or in a UTF-8 locale such as C.UTF-8.",
        )


def _check_program(path: str, *, bundle_libraries: bool, sysroot: str | None, root: HostRoot | None) -> Judgement:
    from rootless_scratch.image.plan import plan
    from rootless_scratch.rules.files import unreadable
    from rootless_scratch.rules.images import judge_plan
    from rootless_scratch.rules.programs import verdict

    try:
        program = Copy(source=path, destination="/program")
        spec = Spec(programs=(program,), bundle_libraries=bundle_libraries, sysroot=sysroot)
        findings = judge_plan(plan(spec, root=root))
    except ElfError as error:
        findings = (unreadable(path, error),)
    return Judgement(subject=path, verdict=verdict(findings), findings=findings)


def _image_id(image: Image) -> str:
    """The ID of what `build` returned; raises UsageError for anything else that is no name either."""
    image_id = getattr(image, "image_id", None)
    if not isinstance(image_id, str):
        raise UsageError(
            f"{image!r} is neither the name of an image nor an image.", fix="Give a name, e.g. 'hello'."
        )
    return image_id
