"""The Python surface: plain types in, frozen types out; `rootless_scratch` re-exports it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from rootless_scratch.image.arguments import text, texts
from rootless_scratch.progress import Progress
from rootless_scratch.verbs.options import read_options, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from rootless_scratch.backends.verify import Verification
    from rootless_scratch.bakefiles.results import Baked
    from rootless_scratch.deployments.workload import Generated
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.engine.container.readiness import Ready
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.findings import Judgement
    from rootless_scratch.image.finished import Image, Shipped
    from rootless_scratch.keywords import (
        BakeOptions,
        BuildOptions,
        CheckOptions,
        ContainerOptions,
        FileOptions,
        GenerateOptions,
        Options,
        PushOptions,
        SaveOptions,
        SbomOptions,
        VerifyOptions,
    )
    from rootless_scratch.verbs.making import Watcher
    from rootless_scratch.verbs.sbom import Sbom
    from rootless_scratch.verbs.watch import Watching

    StrPath = str | os.PathLike[str]


def build(
    *programs: StrPath,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[BuildOptions],
) -> Image:
    """Build an image of programs; every value reads as on the command line (`PROGRAM[:DEST]`).

    The options are those of rootless_scratch.keywords.BuildOptions; docs/options.md says what each does.

    Programs for several platforms with one DEST, or `platforms` such as `{"linux/arm64": "hello"}`, make an index
    with an image for each (`Image.images`).

    `tag` names it in local storage, `output` writes it to `oci:DIR`, `oci-archive:FILE` or `docker-archive:FILE`,
    which needs no other program, or to `docker://HOST/NAME:TAG` (see `push`); one of the two is wanted. `backend`
    is buildah or direct, `compress` none, gzip[:LEVEL] or zstd[:LEVEL]: by default gzip where an output is a
    registry. With `bundle_libraries` the loaders and libraries that the programs need come along, found in
    `sysroot`, as are the files of installed `bundle_packages`. With `check` False a program that would not start
    is built all the same. `progress` is told the bytes that have been written. `format` is as for `push`. Raises
    RefusedError with the findings, SourceError, ElfError, SpecError, UsageError, HostError, BuildError,
    RegistryError.
    """
    from rootless_scratch.verbs.build import build_spec

    spec, how = read_spec("build", programs, options)
    return build_spec(spec, progress=Progress(progress), **how)


def build_file(
    path: StrPath,
    context: StrPath = ".",
    *,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[FileOptions],
) -> Image:
    """Build the image of a Containerfile whose last stage begins with `scratch`; `-` is stdin.

    `context` is the directory that COPY and ADD read. `build_args`, `build_contexts`, `target`, `secrets`, `ssh`,
    `network`, `ignorefile`, `no_cache` and `pull` are those of buildah-build(1). `platform` is one, or several for
    an index; by default that of the program. `compat` is buildah or docker, whose defaults then hold
    (docs/containerfile.md). Options of `build` override what the file says; variables, labels, ports and volumes
    are added.

    The options are those of rootless_scratch.keywords.FileOptions. Raises RefusedError with the findings, each of
    which has its line as `location`, and what `build` raises.
    """
    from rootless_scratch.verbs.build_file import build_file as build_containerfile
    from rootless_scratch.verbs.build_file import read_request

    request, image, how = read_request(path, context, options)
    return build_containerfile(request, image, progress=Progress(progress), **how)


def bake(
    file: StrPath | Sequence[StrPath] = (),
    targets: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    watcher: Watcher | None = None,
    **options: Unpack[BakeOptions],
) -> Baked:
    """Build the images that a scratch.toml describes, or bake files and compose files, several at a time.

    `file` is one, or bake files that count together; by default those of the working directory. `targets` are
    names of images and groups, `settings` values of `--set`. Images go where the file says; with
    `output="oci:DIR"` to one layout, with `push` to the registries of their tags, with `load` to local storage.
    `check_only` makes none and judges them. `executor` is threads, processes, dask:ADDRESS, a Client of
    distributed, or any of concurrent.futures, whose workers see the same files. `shard` is I/N, one share of N.
    `watcher` is told what is begun and done (docs/bake.md).

    What keeps one image from being built is the `error` of its result, and keeps no other. Raises SpecFileError,
    SourceError and UsageError for the file and the options, before anything is built. The options are those of
    rootless_scratch.keywords.BakeOptions.
    """
    from rootless_scratch.bakefiles.reading import read_targets
    from rootless_scratch.verbs.bake import bake as bake_targets

    paths = texts("file", [file] if isinstance(file, (str, os.PathLike)) else file)
    found = read_targets(paths, targets, settings=settings)
    return bake_targets(found, watcher=watcher, **read_options("bake", options))


def watch(
    *programs: StrPath,
    file: StrPath | None = None,
    context: StrPath = ".",
    run: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    poll: float | None = None,
    **options: Unpack[FileOptions],
) -> Watching:
    """Build an image, and build it again whenever a file that it is made of has changed.

    The answer is a block, and iterated it gives a Rebuilt for the first build, and for each change that comes to
    another image, or to none: that is then its `error`. The options are those of `build`, with `file`, a
    Containerfile, those of `build_file`. `run` are options of `container`, with which each image is run in place
    of the one before, and `arguments` are the program's; the end of the block ends it. `poll` in seconds looks at
    the files so often, in place of being told by the kernel.

    Raises ToolMissingError without watchfiles, and UsageError; what keeps the first image from being built is
    raised too where no file is the cause. See docs/watch.md.
    """
    from rootless_scratch.verbs.watch import watch_programs

    return watch_programs(programs, options, file=file, context=context, run=run, arguments=arguments, poll=poll)


def check_file(path: StrPath, context: StrPath = ".", **options: Unpack[FileOptions]) -> Judgement:
    """Judge a Containerfile with its context, while nothing is run, built or pulled; `-` is stdin.

    The options are those of `build_file`, of which those that only a build heeds change nothing. Each finding has
    its line as `location`. The verdict is `unknown` where the image has files that only a build makes, unless an
    error is certain. Raises SourceError where file or context cannot be read; UsageError, HostError.
    """
    from rootless_scratch.verbs.build_file import read_request
    from rootless_scratch.verbs.check_file import check_file as check_containerfile

    request, image, _ = read_request(path, context, options)
    return check_containerfile(request, image)


def run(
    image: StrPath | Image,
    arguments: Sequence[str] = (),
    *,
    input: bytes | None = None,  # noqa: A002 - the name that subprocess.run has for it
    **options: Unpack[Options],
) -> RunResult:
    """Run an image of local storage, hardened, and return its exit code and output (bytes).

    A Path, or a string that begins with `/` or `.`, is a program file: its image, with its libraries and what
    `auto` and `essentials` add, is made unless it is there from before. `oci:DIR[:REF]`, `oci-archive:FILE` and
    `docker-archive:FILE` run too.
    `input` is what the program reads from its stdin. All other options are those of the command line, by the
    names of rootless_scratch.keywords.Options. Where the start failed, `explanation` of the result,
    or of the EngineError, names the cause that the rules see. See rootless_scratch.engine.run for all that is
    promised and raised.
    """
    from rootless_scratch.verbs.run import run_image

    return run_image(image, arguments, options, stdin=input)


def container(
    image: StrPath | Image,
    arguments: Sequence[str] = (),
    *,
    ready: Ready | None = None,
    ready_timeout: float = 30.0,
    **options: Unpack[ContainerOptions],
) -> AbstractContextManager[RunningContainer]:
    """A container of an image that is ready when the block begins, and gone when it ends, whatever happens.

    `publish={8080: None}` publishes a port on a free one of this host, which `port(8080)` tells. `ready` is
    "started", "port" (its published ports answer: the default where there are any), "healthy" (its health check is
    content), a compiled expression that matches a line of its output, or a function. See
    rootless_scratch.engine.container.block for all that is promised and raised.
    """
    from rootless_scratch.verbs.container import hold_container

    return hold_container(image, arguments, options, ready=ready, ready_timeout=ready_timeout)


def check(
    subject: StrPath | Image,
    *,
    root: HostRoot | None = None,
    **options: Unpack[CheckOptions],
) -> Judgement:
    """Judge a program file, or an image, without building or running it.

    With `bundle_libraries` a program is judged in the image that `build` would make of it with that option; `root`
    is where its libraries are looked for, and may be shared by calls that follow each other closely.

    `oci:DIR[:REF]`, `oci-archive:FILE` and `docker-archive:FILE` are read without any tool, and every digest is
    checked; of an index every image is judged, or that for `platform` (`linux/arm64`). A name that is the path of
    a file, or begins with `/` or `.`, is a program; any other names an image of local storage.
    `docker://HOST/NAME[:TAG][@DIGEST]` is fetched by skopeo; `authfile`, `tls_verify` and `cert_dir` are as
    for `push`. `limits={"expanded": 2 << 40}` raises what reading an image may cost (docs/limits.md).
    Iterating over the answer gives its findings. Raises SourceError, LimitError, ImageNotFoundError, HostError.
    """
    from rootless_scratch.verbs.check import check_subject

    return check_subject(subject, root=root, **read_options("check", options))


def sbom(*subjects: StrPath | Image, **options: Unpack[SbomOptions]) -> Sbom:
    """Say what an image, or one or several programs, consist of, from the files alone (docs/sbom.md).

    A subject is as for `check`; with `bundle_libraries` a program has its libraries beside it. `format` is spdx or
    cyclonedx; the answer's `document` is that as JSON text, its `components` are the same for both. Packages of
    `sysroot`, by default this host, are told of files that are theirs byte for byte. Raises SourceError, ElfError,
    LimitError, ImageNotFoundError, RegistryError, UsageError, HostError.
    """
    from rootless_scratch.verbs.sbom import sbom_of

    return sbom_of(*subjects, **read_options("sbom", options))


def verify(
    image: str | Image,
    *programs: StrPath,
    **options: Unpack[VerifyOptions],
) -> Verification:
    """Make the image of these options, those of `build`, in memory, and say whether `image` is the same one.

    `image` is a name or an ID of local storage, `oci:DIR[:REF]`, `oci-archive:FILE`, `docker-archive:FILE`, or
    what `build` returned. Nothing is written, and nothing is judged; `limits` as for `check`. Raises
    ImageNotFoundError, SourceError, LimitError, ElfError, SpecError, UsageError, HostError.
    """
    from rootless_scratch.verbs.verify import verify_spec

    spec, how = read_spec("verify", programs, options)
    return verify_spec(image, spec, **how)


def push(
    image: str | Image,
    destination: str,
    *,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[PushOptions],
) -> Shipped:
    """Send an image of local storage, a layout or an archive to `docker://HOST/NAME:TAG`, or any other output.

    Layouts and archives of OCI are sent byte for byte, unless `compress` says how (see `build`); others are
    compressed by gzip for a registry. Logins are those of skopeo and podman, or of `authfile`; certificates of
    `cert_dir` are trusted as well. What may pass is tried `retries` times more. `format` is oci, docker (the media
    types of its schema 2, by which the manifest has another digest) or auto: docker where the registry refuses
    OCI's, which is noted. The tag names a whole image, or what it named before. `limits` raises what reading the
    image may cost (docs/limits.md). HOST/NAME:TAG alone is a registry too.

    Raises RegistryError, ImageNotFoundError, SourceError, LimitError, UsageError, HostError, BuildError.
    """
    from rootless_scratch.image.references import with_transport
    from rootless_scratch.verbs.ship import ship_image

    output = (with_transport(text("the destination", destination)),)
    return ship_image(image, output, progress=Progress(progress), **read_options("push", options))


def save(
    image: str | Image,
    output: str | Sequence[str],
    *,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[SaveOptions],
) -> Shipped:
    """Write an image of local storage, a layout or an archive to other places; see `push`.

    A path alone is an archive that `docker load` and `podman load` read. An output is there whole or as it was.
    With `repair` layers that storage refuses are made anew, with new digests, which are noted.
    """
    from rootless_scratch.image.references import with_transports
    from rootless_scratch.verbs.ship import ship_image

    how = read_options("save", {**options, "output": output})
    return ship_image(image, with_transports(how.pop("output")), progress=Progress(progress), **how)


def generate(
    form: str,
    image: str | Image,
    arguments: Sequence[str] = (),
    **options: Unpack[GenerateOptions],
) -> Generated:
    """Make the text that starts an image later and elsewhere, hardened as `run` starts it (docs/generate.md).

    `form` is kubernetes, quadlet, compose or systemd. `image` is named as for `check`; `image_name` is what it is
    called where it runs, by default the name that it is read by. `arguments` are the program's. `notes` of the
    answer, which are comments of its `text` too, tell what the form has no words for. Raises UsageError,
    ImageNotFoundError, SourceError, LimitError, HostError, RegistryError.
    """
    from rootless_scratch.verbs.generate import generate as generate_text

    return generate_text(form, image, arguments, options)
