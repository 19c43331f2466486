"""The options that say what goes into an image, shared by the verbs that plan one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.image.spec import Spec

_PAIRS = ("env", "label", "annotation")


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options; `spec_from` reads them."""
    options = (
        click.argument("programs", metavar="PROGRAM[:DEST]...", nargs=-1, required=False),
        click.option("--spec", "spec_file", metavar="FILE", help="Read words from a file of TOML (docs/spec.md)."),
        click.option(
            "--platform",
            "platforms",
            metavar="OS/ARCH=PROGRAM[:DEST]",
            multiple=True,
            help="A program for one of several platforms, each with an image of its own; repeatable.",
        ),
        click.option("--entrypoint", metavar="JSON", help="What is started [default: the first program]."),
        click.option("--cmd", metavar="JSON", help="Arguments of the entrypoint, which a run may replace."),
        click.option("-e", "--env", metavar="K=V", multiple=True, help="Set a variable."),
        click.option("-l", "--label", metavar="K=V", multiple=True, help="Add a label."),
        click.option("--annotation", metavar="K=V", multiple=True, help="Add an annotation."),
        click.option("-u", "--user", metavar="UID[:GID]", help="Who runs it [default: 65532:65532]."),
        click.option("-w", "--workdir", metavar="PATH", default="/", show_default=True, help="Where it starts."),
        click.option("-p", "--port", metavar="PORT[/udp]", multiple=True, help="Declare a port."),
        click.option("--volume", metavar="PATH", multiple=True, help="Declare a place for data."),
        click.option("--stop-signal", metavar="SIGNAL", help="What ends it [default: the runtime's SIGTERM]."),
        click.option(
            "--copy",
            metavar="SRC:DST[:mode=,uid=,gid=,cap=]",
            multiple=True,
            help="Add a file, or what a directory holds.",
        ),
        click.option("--mkdir", metavar="PATH[:mode=,uid=,gid=]", multiple=True, help="Add an empty directory."),
        click.option("--symlink", metavar="TARGET:PATH", multiple=True, help="Add a symbolic link."),
        click.option(
            "--with",
            "essentials",
            metavar="ESSENTIAL[=VALUE][,..]",
            multiple=True,
            help="Add what programs expect: ca-certificates, tzdata, tmp ... or auto (docs/essentials.md).",
        ),
        click.option(
            "--bundle-libraries",
            is_flag=True,
            help="Add the loaders and libraries that the programs need.",
        ),
        click.option(
            "--include-library",
            metavar="NAME|PATH",
            multiple=True,
            help="Bundle this library too, which a program opens by itself.",
        ),
        click.option("--sysroot", metavar="DIR", help="Where libraries are looked for [default: this host]."),
        click.option(
            "--created",
            metavar="TIME",
            help="Seconds since 1970, ISO 8601, or `now` [default: SOURCE_DATE_EPOCH, else 0].",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def spec_from(names: tuple[str, ...], words: dict[str, Any]) -> Spec:
    """Read the words of `image_options` and the file of --spec; raises UsageError, SpecError, SourceError."""
    from rootless_scratch.image import spec, syntax

    pairs = {name: tuple(syntax.parse_pair(f"--{name}", word) for word in words[name]) for name in _PAIRS}
    entrypoint, cmd = words["entrypoint"], words["cmd"]
    said = spec.Spec(
        names=names,
        programs=tuple(syntax.parse_program(word) for word in words["programs"]),
        platforms=tuple(syntax.parse_platform_program(word) for word in words["platforms"]),
        copies=tuple(syntax.parse_copy(word) for word in words["copy"]),
        directories=tuple(syntax.parse_directory(word) for word in words["mkdir"]),
        symlinks=tuple(syntax.parse_symlink(word) for word in words["symlink"]),
        essentials=tuple(found for word in words["essentials"] for found in syntax.parse_essentials(word)),
        entrypoint=None if entrypoint is None else syntax.parse_words("--entrypoint", entrypoint),
        cmd=None if cmd is None else syntax.parse_words("--cmd", cmd),
        env=pairs["env"],
        labels=pairs["label"],
        annotations=pairs["annotation"],
        user=words["user"] or spec.NONROOT,
        workdir=words["workdir"],
        ports=tuple(words["port"]),
        volumes=tuple(words["volume"]),
        stop_signal=words["stop_signal"],
        created=words["created"],
        bundle_libraries=words["bundle_libraries"],
        include_libraries=tuple(words["include_library"]),
        sysroot=words["sysroot"],
    )
    if words["spec_file"] is None:
        return said
    from rootless_scratch.image.plan.specfile import combined, read_spec

    return combined(read_spec(words["spec_file"]), said)
