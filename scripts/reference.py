"""Write what is made of tables: docs/options.md, docs/scratch.schema.json, and the table of docs/recipes.md."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rootless_scratch.engine.request.options import GROUPS, ContainerOptions, Options
from rootless_scratch.image.plan.options import OPTIONS
from rootless_scratch.image.plan.specfile import schema
from rootless_scratch.image.recipes import recipes
from rootless_scratch.root import Root, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOCS = Path(__file__).resolve().parent.parent / "docs"

PAGE = """\
# Options

Made by `python scripts/reference.py` of the tables that the command line, `scratch.toml` and Python read.

## Of an image

The verbs `build`, `containerfile` and `verify` take them, `verify` without `-t`; a file of `--spec` by their keys
([scratch.toml](spec.md)); `rootless_scratch.build` and `verify` by their keywords.

{image}

Of these `rootless_scratch.scratch` takes {scratch}; in its block, `config` takes {config}.

## Of a run

The verb `run` takes them, and `rootless_scratch.run` by their keywords; `rootless_scratch.container` takes all but
{lasting}.

{run}
"""


def recipes_page() -> str:
    """The page of the recipes, its table made anew."""
    head, _, rest = (DOCS / "recipes.md").read_text().partition("| name |")
    tail = rest.partition("\n\n")[2]
    rows = ((f"`{each.name}`", each.what, ", ".join(f"`{name}`" for name in each.offers())) for each in recipes())
    return f"{head}{_table(('name', 'brings', 'values'), rows)}\n\n{tail}"


def options_page() -> str:
    """The page of the options."""
    image = (
        (f"`{each.usage}`", f"`{each.key}`", f"`{each.name}`" if each.flags else f"`*{each.name}`", each.help)
        for each in OPTIONS
    )
    run = (
        (title, f"`{each.usage}`", f"`{each.name}`", each.help)
        for title, group in GROUPS.items()
        for each in group
    )
    return PAGE.format(
        image=_table(("Command line", "Key", "Keyword", "What it says"), image),
        config=_names(_taken(Root.config)),
        scratch=_names(_taken(scratch)),
        lasting=_names(name for name in Options.__annotations__ if name not in ContainerOptions.__annotations__),
        run=_table(("Group", "Command line", "Keyword", "What it says"), run),
    )


def schema_file() -> str:
    """The JSON Schema of `scratch.toml`."""
    return json.dumps(schema(), indent=2) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _taken(function: Callable[..., object]) -> Iterable[str]:
    taken = inspect.signature(function).parameters
    return (each.name for each in OPTIONS if each.name in taken)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    (DOCS / "options.md").write_text(options_page())
    (DOCS / "scratch.schema.json").write_text(schema_file())
    (DOCS / "recipes.md").write_text(recipes_page())
