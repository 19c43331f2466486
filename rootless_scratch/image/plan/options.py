"""The options of an image, each defined once: for the command line, for `scratch.toml` and for Python.

The table is read for the help too, so it loads no msgspec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from rootless_scratch.image import syntax
from rootless_scratch.image.arguments import names, pairs, texts
from rootless_scratch.image.kinds import COMMAND, FLAG, PAIRS, TEXT, TEXTS, Kind, Option, each, fields_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from rootless_scratch.image.spec import Copy, Essential, Spec


class ImageOptions(TypedDict, total=False):
    """The options of an image as Python has them, but for its programs and its names."""

    platforms: Mapping[str, str | os.PathLike[str]] | None
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
    bundle_libraries: bool
    include_libraries: Sequence[str]
    sysroot: str | os.PathLike[str] | None
    created: int | str | None


class _Said(tuple[str, ...]):
    """Words of the command line, where Python and files have a mapping."""

    __slots__ = ()


def _platforms(name: str, given: Any) -> tuple[tuple[str, Copy], ...]:  # noqa: ANN401 - a caller's value
    words = given if isinstance(given, _Said) else (f"{key}={word}" for key, word in pairs(name, given))
    return tuple(syntax.parse_platform_program(word) for word in words)


def _essentials(name: str, given: Any) -> tuple[Essential, ...]:  # noqa: ANN401 - a caller's value
    words = (given,) if isinstance(given, str) else texts(name, given)
    return tuple(found for word in words for found in syntax.parse_essentials(word))


_ONE_OR_MORE = {"type": ["string", "array"], "items": {"type": "string"}}
_TAG = Kind(lambda _name, given: names(given), _ONE_OR_MORE, many=True)
_ESSENTIALS = Kind(_essentials, _ONE_OR_MORE, many=True)
_DIRECTORIES = each(syntax.parse_directory)
_PLATFORMS = PAIRS.but(value=_platforms, words=lambda _flag, words: _Said(words))
_USER = TEXT.but(words=lambda _flag, word: word or None)
"""An empty word on the command line, as an unset variable of a script makes it, is none."""

TAG = Option("-t, --tag NAME[:TAG]", _TAG, "Name the image; repeatable.", kept_as="names")

OPTIONS = (
    Option(
        "PROGRAM[:DEST]...",
        each(syntax.parse_program, one="a program"),
        "The programs; the first is the entrypoint unless another is named.",
        called="programs",
    ),
    Option(
        "--platform OS/ARCH=PROGRAM[:DEST]",
        _PLATFORMS,
        "A program for one of several platforms, each with an image of its own; repeatable.",
        called="platforms",
    ),
    Option("--entrypoint JSON", COMMAND, "Entrypoint [default: the first program]."),
    Option("--cmd JSON", COMMAND, "Default arguments of the entrypoint."),
    Option("-e, --env K=V", PAIRS, "Set an environment variable."),
    Option("-l, --label K=V", PAIRS, "Add a label.", called="labels"),
    Option("--annotation K=V", PAIRS, "Add an annotation.", called="annotations"),
    Option("-u, --user UID[:GID]", _USER, "User [default: 65532:65532]."),
    Option("-w, --workdir PATH", TEXT, "Working directory [default: /]."),
    Option("-p, --port PORT[/udp]", TEXTS, "Declare a port.", called="ports"),
    Option("--volume PATH", TEXTS, "Declare a volume.", called="volumes"),
    Option("--stop-signal SIGNAL", TEXT, "Stop signal [default: the runtime's SIGTERM]."),
    Option(
        "--copy SRC:DST[:mode=,uid=,gid=,cap=]",
        each(syntax.parse_copy),
        "Add a file, or what a directory holds.",
        kept_as="copies",
    ),
    Option("--mkdir PATH[:mode=,uid=,gid=]", _DIRECTORIES, "Add an empty directory.", kept_as="directories"),
    Option("--symlink TARGET:PATH", each(syntax.parse_symlink), "Add a symbolic link.", kept_as="symlinks"),
    Option(
        "--with ESSENTIAL[=VALUE][,..]",
        _ESSENTIALS,
        "Add files that programs expect: ca-certificates, tzdata, tmp ... or auto (docs/essentials.md).",
        called="essentials",
        in_file="with",
    ),
    Option("--bundle-libraries", FLAG, "Add the loaders and libraries that the programs need."),
    Option(
        "--include-library NAME|PATH",
        TEXTS,
        "Also bundle a library that a program opens with dlopen(3).",
        called="include_libraries",
    ),
    Option("--sysroot DIR", TEXT, "Look libraries up in DIR [default: this host]."),
    Option("--created TIME", TEXT, "Seconds since 1970, ISO 8601, or `now` [default: SOURCE_DATE_EPOCH, else 0]."),
    TAG,
)
"""In the order of the help."""

_BY_NAME = {option.name: option for option in OPTIONS}


def options_among(variables: Mapping[str, object]) -> dict[str, object]:
    """Those that are options, of the `locals()` of a function with a keyword for each."""
    return {name: variables[name] for name in _BY_NAME if name in variables}


def spec_of(given: Mapping[str, object], base: Spec | None = None) -> Spec:
    """What these options make of `base`, an empty Spec unless given; raises UsageError."""
    from msgspec.structs import replace

    from rootless_scratch.image.spec import Spec

    base = base or Spec()
    return replace(base, **fields_of(_BY_NAME, given, base, what="An image"))
