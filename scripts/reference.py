"""Write what is made of tables: keywords.py, docs/options.md, docs/scratch.schema.json and docs/recipes.md."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.engine.request.request import Request
from rootless_scratch.image.recipes import read_recipe, recipes
from rootless_scratch.image.spec import CONFIG, Spec
from rootless_scratch.root import scratch
from rootless_scratch.verbs.options import OF_VERB, in_python
from rootless_scratch.verbs.schema import schema_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless_scratch.image.kinds import Option

SOURCE = Path(__file__).resolve().parent.parent

KEYWORDS = """\
\"\"\"The options by their keywords in Python; made by `python scripts/reference.py` of the rows of options.\"\"\"

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor
"""

CLASS = """

class {name}({base}, total=False):
    \"\"\"{says}\"\"\"

{fields}
"""

RUN = """The options that any container has; all have a default.

    `url` and `connection` name the podman service; else the environment does, or it is one of this host. `publish`
    has values as `--publish`, or ports of the container, each with where the host listens for it: a port,
    `(address, port)`, or None for a free one.
    """

PAGE = """\
# Options

Made by `python scripts/reference.py` of the tables that the command line, `scratch.toml` and Python read.

## Of an image

The verbs `build`, `containerfile` and `verify` take them, `verify` without `-t`, `build` alone `--sbom`;
a file of `--spec` by their keys
([scratch.toml](spec.md)); `rootless_scratch.build` and `verify` by their keywords.

{image}

Of these `rootless_scratch.scratch` takes {scratch}; in its block, `config` takes {config}.

## Of a Containerfile

The verb `build` takes them with `-f`, and `rootless_scratch.build_file` by their keywords
([containerfile.md](containerfile.md)).

{file}

## Of a run

The verb `run` takes them, and `rootless_scratch.run` by their keywords; `rootless_scratch.container` takes all but
{lasting}.

{run}

## Of a verb

Beside these, and in Python by the keywords of the function of the verb's name.

{verb}
"""

FUNCTIONS = ("bake", "build", "check", "generate", "push", "save", "sbom", "verify", "watch")
"""Verbs that are functions of Python too."""


_POSITIONAL = ("file", "context")
"""What `build_file` takes without a keyword."""


def recipes_page() -> str:
    """The page of the recipes, its table made anew."""
    head, _, rest = (SOURCE / "docs/recipes.md").read_text().partition("| name |")
    tail = rest.partition("\n\n")[2]
    kinds = {"runtime": "error", "data": "warning", "offer": ""}
    rows = (
        (
            f"`{each.name}`",
            each.what,
            kinds[each.kind],
            "character sets"
            if any(bring.charsets for bring in each.brings)
            else ", ".join(f"`{name}`" for name in each.offers()),
        )
        for each in recipes()
    )
    return f"{head}{_table(('name', 'brings', 'where it lacks', 'values'), rows)}\n\n{tail}"


def keywords_file() -> str:
    """The module of the keywords, for type checkers and for those who read."""
    image, run = Spec.options.values(), Request.options.values()
    config = [each for each in image if each.keywords == CONFIG]
    lasting = [each for each in run if not each.keywords]
    entries = [each for each in image if not each.keywords and each.flags]
    save = [each for each in in_python("save").values() if each.name != "output"]
    build = [each for each in image if each.keywords == "BuildOptions"]
    return KEYWORDS + "".join(
        (
            _class(CONFIG, "TypedDict", "What an image says to a runtime.", config),
            _class("ImageOptions", CONFIG, "Those of an image, but for its programs and its names.", entries),
            _class(
                "BuildOptions", "ImageOptions", "The options of `build`.", [*build, *in_python("build").values()]
            ),
            _class(
                "FileOptions",
                "BuildOptions",
                "The options of `build_file`; those of an image override the file.",
                [each for name, each in FileRequest.options.items() if name not in _POSITIONAL],
            ),
            _class("BakeOptions", "TypedDict", "The options of `bake`.", in_python("bake").values()),
            _class("VerifyOptions", "ImageOptions", "The options of `verify`.", in_python("verify").values()),
            _class("CheckOptions", "TypedDict", "The options of `check`.", in_python("check").values()),
            _class("GenerateOptions", "TypedDict", "The options of `generate`.", in_python("generate").values()),
            _class("PushOptions", "TypedDict", "The options of `push`.", in_python("push").values()),
            _class("SaveOptions", "TypedDict", "The options of `save`.", save),
            _class("SbomOptions", "TypedDict", "The options of `sbom`.", in_python("sbom").values()),
            _class("ContainerOptions", "TypedDict", RUN, lasting),
            _class(
                "Options", "ContainerOptions", "The options of `run`.", [each for each in run if each.keywords]
            ),
        )
    )


def options_page() -> str:
    """The page of the options."""
    image = (
        (f"`{each.usage}`", f"`{each.key}`", f"`{each.name}`" if each.flags else f"`*{each.name}`", each.help)
        for each in Spec.options.values()
    )
    run = ((each.group, f"`{each.usage}`", f"`{each.name}`", each.help) for each in Request.options.values())
    verbs: dict[tuple[str, str, str], list[str]] = {}
    for verb, rows in OF_VERB.items():
        for each in rows:
            keyword = f"`{each.name}`" if verb in FUNCTIONS and each.kind.python else ""
            verbs.setdefault((f"`{each.usage}`", keyword, each.help), []).append(f"`{verb}`")
    verb_rows = ((", ".join(names), *row) for row, names in verbs.items())
    return PAGE.format(
        image=_table(("Command line", "Key", "Keyword", "What it says"), image),
        config=_names(name for name, each in Spec.options.items() if each.keywords == CONFIG),
        scratch=_names(_taken(scratch)),
        lasting=_names(name for name, each in Request.options.items() if each.keywords),
        verb=_table(("Verb", "Command line", "Keyword", "What it says"), verb_rows),
        file=_table(
            ("Command line", "Keyword", "What it says"),
            (
                (f"`{each.usage}`", "" if name in _POSITIONAL else f"`{name}`", each.help)
                for name, each in FileRequest.options.items()
            ),
        ),
        run=_table(("Group", "Command line", "Keyword", "What it says"), run),
    )


def _class(name: str, base: str, says: str, options: Iterable[Option]) -> str:
    fields = "\n".join(f"    {each.name}: {each.kind.python}" for each in options)
    return CLASS.format(name=name, base=base, says=says, fields=fields)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _taken(function: Callable[..., object]) -> Iterable[str]:
    taken = inspect.signature(function).parameters
    return (name for name in Spec.options if name in taken)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def recipes_file() -> str:
    """All recipes of ours in one file, a line each."""
    found = [read_recipe(str(path)) for path in sorted((SOURCE / "rootless_scratch/recipes").glob("*.toml"))]
    return "[\n" + ",\n".join(msgspec.json.encode(each).decode() for each in found) + "\n]\n"


MADE = {
    "rootless_scratch/recipes/recipes.json": recipes_file,
    "rootless_scratch/keywords.py": keywords_file,
    "docs/options.md": options_page,
    "docs/scratch.schema.json": schema_text,
    "docs/recipes.md": recipes_page,
}

if __name__ == "__main__":
    for path, made in MADE.items():
        (SOURCE / path).write_text(made())
