"""The options that say what goes into an image, shared by the verbs that plan one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import click_option, options_set
from rootless_scratch.image.spec import Spec, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

TAG = Spec.options["tag"]

tag_option = click_option(TAG)


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options; `spec_from` reads them."""
    for option in reversed(Spec.options.values()):
        if option.flags and option is not TAG:
            function = click_option(option)(function)
    file = click.option(
        "--spec", "spec_file", metavar="FILE", help="Read options from a TOML file (docs/spec.md)."
    )
    metavar = Spec.options["programs"].metavar
    return click.argument("programs", metavar=metavar, nargs=-1, required=False)(file(function))


def spec_from(
    values: dict[str, Any],
    *,
    empty: str = "Nothing to put into the image: name a PROGRAM, or use --copy.",
) -> Spec:
    """Read the values of `image_options` and the file of --spec; raises UsageError, SpecError, SourceError.

    `empty` is said where they name no file.
    """
    spec = _spec(options_set(Spec.options.values(), values), values["spec_file"])
    if not (spec.programs or spec.platforms or spec.copies):
        raise click.UsageError(empty)
    return spec


def _spec(options: dict[str, Any], file: str | None) -> Spec:
    if file is None:
        return spec_of(options)
    from rootless_scratch.image.plan.specfile import combined, read_spec

    return combined(read_spec(file), options)
