"""From files to targets: which file is read, what is chosen of it, and what the command line sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rootless_scratch.bakefiles.target import Target, Targets
from rootless_scratch.errors import SourceError
from rootless_scratch.image.plan.overrides import parse_settings
from rootless_scratch.image.plan.specfile import read_file

SCRATCH = "scratch.toml"
_ENDING = ".toml"


def read_targets(
    path: str,
    names: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Targets:
    """The targets of these names in a scratch.toml, or of its default group; `settings` are values of `--set`.

    Raises SourceError, SpecFileError, UsageError.
    """
    if path == SCRATCH and not os.path.lexists(path):
        raise SourceError(f"There is no {SCRATCH} here.", fix="Name a file: `rootless-scratch bake FILE`.")
    variables, overrides = parse_settings(settings)
    file = read_file(
        path, values=variables, overrides=overrides, environ=os.environ if environ is None else environ
    )
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


def is_file(argument: str) -> bool:
    """Whether the first argument of the command line names a file: no target has such a name."""
    return "/" in argument or argument.endswith(_ENDING)
