"""The words by which Python asks for an image, the same for every function that plans one, read into a Spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from rootless_scratch.image.plan.arguments import essentials as given_essentials
from rootless_scratch.image.plan.arguments import maybe, names, pairs, text, texts
from rootless_scratch.image.spec import NONROOT, Spec
from rootless_scratch.image.syntax import (
    parse_copy,
    parse_directory,
    parse_platform_program,
    parse_program,
    parse_symlink,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence


class ImageWords(TypedDict, total=False):
    """What `build` may be told about the image itself; each reads as on the command line."""

    entrypoint: Sequence[str] | None
    cmd: Sequence[str] | None
    env: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    user: int | str
    workdir: str
    ports: Iterable[int | str]
    volumes: Iterable[str]
    stop_signal: str | None
    copy: Iterable[str]
    mkdir: Iterable[str]
    symlink: Iterable[str]
    essentials: Iterable[str]
    created: int | str | None
    bundle_libraries: bool
    include_libraries: Sequence[str]
    sysroot: str | os.PathLike[str] | None
    platforms: Mapping[str, str | os.PathLike[str]] | None


def spec_of(
    programs: Iterable[str | os.PathLike[str]], *, tag: str | Sequence[str] = (), **words: Unpack[ImageWords]
) -> Spec:
    """Read what a caller gave; raises UsageError, SpecError."""
    return Spec(
        names=names(tag),
        programs=tuple(parse_program(text("a program", program)) for program in programs),
        platforms=tuple(
            parse_platform_program(f"{platform}={program}")
            for platform, program in pairs("platforms", words.get("platforms"))
        ),
        copies=tuple(parse_copy(word) for word in texts("copy", words.get("copy", ()))),
        directories=tuple(parse_directory(word) for word in texts("mkdir", words.get("mkdir", ()))),
        symlinks=tuple(parse_symlink(word) for word in texts("symlink", words.get("symlink", ()))),
        essentials=given_essentials(words.get("essentials", ())),
        entrypoint=maybe(texts, "entrypoint", words.get("entrypoint")),
        cmd=maybe(texts, "cmd", words.get("cmd")),
        env=pairs("env", words.get("env")),
        labels=pairs("labels", words.get("labels")),
        annotations=pairs("annotations", words.get("annotations")),
        user=text("user", words.get("user", NONROOT)),
        workdir=text("workdir", words.get("workdir", "/")),
        ports=texts("ports", words.get("ports", ())),
        volumes=texts("volumes", words.get("volumes", ())),
        stop_signal=maybe(text, "stop_signal", words.get("stop_signal")),
        created=maybe(text, "created", words.get("created")),
        bundle_libraries=words.get("bundle_libraries", False),
        include_libraries=texts("include_libraries", words.get("include_libraries", ())),
        sysroot=maybe(text, "sysroot", words.get("sysroot")),
    )
