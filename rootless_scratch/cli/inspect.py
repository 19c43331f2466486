"""`rootless-scratch inspect`: what an image says and holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import common_options, named, print_json
from rootless_scratch.cli.progress import Bar
from rootless_scratch.cli.terminal import colour

if TYPE_CHECKING:
    from rich.tree import Tree as Drawing

    from rootless_scratch.backends.stored import StoredFile, StoredImage
    from rootless_scratch.cli.show import Show


_GUIDE = 4
"""Columns of the lines beside a file, for each directory above it."""


@click.command("inspect")
@click.argument("image")
@verb_options("inspect")
@common_options
def command(
    *,
    image: str,
    platform: str | None,
    limits: dict[str, int] | None,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of reading_options
) -> int:
    """Show config, layers and every file of IMAGE.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE or
    docker://HOST/NAME:TAG, which is fetched to be read.
    """
    from rootless_scratch.verbs.inspect import inspect_image

    with Bar(quiet=show.quiet or show.as_json) as progress:
        stored = inspect_image(image, platform, access=access_from(values), limits=limits, progress=progress)
    if show.as_json:
        print_json(
            {
                "image_id": stored.image_id,
                "config": json.loads(stored.config),
                "layers": stored.layers,
                "files": [_file(file) for file in stored.files],
            }
        )
    else:
        _draw(image, stored, quiet=show.quiet)
    return 0


def _file(file: StoredFile) -> dict[str, object]:
    answer = named(file, "path type mode uid gid size sha256 target mtime capabilities linked")
    return {**answer, "mode": f"{file.mode:04o}", "capabilities_text": file.capabilities_text()}


def _draw(name: str, stored: StoredImage, *, quiet: bool) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    if not quiet:
        for key, value in _facts(stored):
            click.echo(f"{key + ':':<12} {showable(value)}")
    guides = "" if colour() is False else "dim"
    root = Tree(Text(f"{showable(name)} ({_sum(stored.files)})"), guide_style=guides)
    drawn: dict[str, Drawing] = {"": root}
    width = cell_len(str(root.label))
    for file in stored.files:
        above, _, last = file.path.rpartition("/")
        line = Text(_line(file, showable(last)))
        drawn[file.path] = drawn[above].add(line)
        width = max(width, line.cell_len + file.path.count("/") * _GUIDE)
    # A narrow pipe or terminal must not cut names: the reader may be a program.
    Console(highlight=False, width=width).print(root, soft_wrap=True)


def _facts(stored: StoredImage) -> list[tuple[str, str]]:
    config = stored.runtime_config()
    facts = [
        ("image ID", stored.image_id),
        ("platform", stored.platform or "unknown"),
        ("created", str(json.loads(stored.config).get("created", "unknown"))),
        ("entrypoint", json.dumps(config.entrypoint) if config.entrypoint else ""),
        ("command", json.dumps(config.cmd) if config.cmd else ""),
        ("user", config.user or "0 (root)"),
        ("directory", config.working_dir),
        *(("variable", f"{key}={value}") for key, value in config.env),
        *(("label", f"{key}={value}") for key, value in config.labels),
        ("ports", ", ".join(config.ports)),
        ("volumes", ", ".join(config.volumes)),
        ("stop signal", config.stop_signal or ""),
        *(("layer", f"{layer.digest} ({_size(layer.size)})") for layer in stored.layers),
    ]
    return [(key, value) for key, value in facts if value]


def _line(file: StoredFile, name: str) -> str:
    if file.type == "directory":
        return f"{name}/{_metadata(file, 0o755)}"
    if file.type == "symlink":
        return f"{name} -> {showable(file.target or '')}"
    if file.type != "file":
        return f"{name} ({file.type}){_metadata(file, None)}"
    if file.linked is not None:
        return f"{name}  hard link to {showable(file.linked)}"
    return f"{name}  {_size(file.size)}{_metadata(file, None)}"


def _metadata(file: StoredFile, usual: int | None) -> str:
    """Mode and owner; of directories only where they are not as usual."""
    owner = "" if file.uid == file.gid == 0 else f" {file.uid}:{file.gid}"
    mode = "" if file.mode == usual else f"  {file.mode:04o}"
    rights = file.capabilities_text()
    return f"{mode}{owner}{f'  {showable(rights)}' if rights else ''}"


def _sum(files: tuple[StoredFile, ...]) -> str:
    regular = [file for file in files if file.type == "file"]
    stored = sum(file.size for file in regular if file.linked is None)
    return f"{len(regular)} file{'' if len(regular) == 1 else 's'}, {_size(stored)}"


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)
