"""From files to targets: which files are read, what is chosen of them, and what the command line sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.bakefiles.target import Target, Targets
from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.plan.overrides import parse_settings
from rootless_scratch.image.plan.specfile import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCRATCH = "scratch.toml"
_ENDING = ".toml"
_ENDINGS = (_ENDING, ".hcl", ".json", ".yaml", ".yml")

USUAL = (
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
)
"""Those that `docker buildx bake` reads, in its order; of the names of compose files the first counts."""


def read_targets(
    paths: str | Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Targets:
    """The targets of these names in a scratch.toml, or in bake files, which count together.

    Without paths these are the files of the working directory, a scratch.toml alone if it is there. Without names
    the default group is meant. `settings` are values of `--set`. Raises SourceError, SpecFileError, UsageError.
    """
    environ = os.environ if environ is None else environ
    found = _usual() if not paths else ([paths] if isinstance(paths, str) else list(paths))
    # A file of another name is TOML, as it always was.
    own = [path for path in found if not path.lower().endswith(_ENDINGS[1:])]
    if own and len(found) > 1:
        raise UsageError(
            f"{own[0]!r} and other files cannot be read as one.", fix="Name one file of TOML, or bake files alone."
        )
    if own:
        return _of_scratch(own[0], names, settings, environ)
    from rootless_scratch.bakefiles.together import read_together

    return read_together(found, names, settings=settings, environ=environ)


def _of_scratch(path: str, names: Sequence[str], settings: Sequence[str], environ: Mapping[str, str]) -> Targets:
    variables, overrides = parse_settings(settings)
    file = read_file(path, values=variables, overrides=overrides, environ=environ)
    tables = dict(file.tables)
    targets = tuple(
        Target(
            name=image.name,
            spec=image.spec.but(names=()),
            names=image.spec.names,
            output=image.output,
            shown=tuple(tables[image.name].items()),
        )
        for image in file.chosen(path, names)
    )
    return Targets(path=path, targets=targets, groups=file.groups)


def _usual() -> list[str]:
    """The files of the working directory; raises SourceError where there are none."""
    if os.path.lexists(SCRATCH):
        return [SCRATCH]
    found = [name for name in USUAL if os.path.lexists(name)]
    composed = [name for name in found if not name.startswith("docker-bake")]
    found = [*composed[:1], *(name for name in found if name not in composed)]
    if not found:
        raise SourceError(
            f"There is neither {SCRATCH}, docker-bake.hcl nor compose.yaml here.",
            fix="Name a file: `rootless-scratch bake FILE`.",
        )
    return found


def is_file(argument: str) -> bool:
    """Whether the first argument of the command line names a file: no target has such a name."""
    return "/" in argument or argument.endswith(_ENDINGS)
