"""The options that say what goes into an image, shared by the verbs that plan one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import click_option
from rootless_scratch.image.kinds import options_set
from rootless_scratch.image.spec import NamedSpec, Spec, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TAG = Spec.options["tag"]

SBOM = Spec.options["sbom"]

tag_option, sbom_option = click_option(TAG), click_option(SBOM)

_NOTHING = "Nothing to put into the image: name a PROGRAM, or use --copy."

_OF_A_FILE = (
    click.option("--spec", "spec_file", metavar="FILE", help="Read options from a TOML file (docs/spec.md)."),
    click.option(
        "--image",
        "spec_images",
        metavar="NAME",
        multiple=True,
        help="Take this image or group of --spec [default: group `default`, else all]; repeatable.",
    ),
    click.option(
        "--set",
        "spec_values",
        metavar="NAME=VALUE",
        multiple=True,
        help="Set a variable of --spec, or a key by IMAGE.KEY=VALUE; repeatable.",
    ),
)


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options; `spec_from` and `images_from` read them."""
    for option in reversed(Spec.options.values()):
        if option.flags and option not in (TAG, SBOM):
            function = click_option(option)(function)
    for of_a_file in reversed(_OF_A_FILE):
        function = of_a_file(function)
    metavar = Spec.options["programs"].metavar
    return click.argument("programs", metavar=metavar, nargs=-1, required=False)(function)


def spec_from(values: Mapping[str, Any], *, empty: str = _NOTHING) -> Spec:
    """Read the values of `image_options`, and of the file of --spec one image.

    Raises UsageError, SpecError, SourceError. `empty` is said where they name no file of the host.
    """
    images = images_from(values, empty=empty)
    if len(images) > 1:
        listed = ", ".join(image.name for image in images)
        raise click.UsageError(f"The file has the images {listed}: choose one by --image.")
    return images[0].spec


def images_from(values: Mapping[str, Any], *, empty: str = _NOTHING) -> tuple[NamedSpec, ...]:
    """The images of the file of --spec that are chosen, each with the other options; without it, one of these.

    Raises as `spec_from`.
    """
    options = options_set(Spec.options.values(), values)
    path = values["spec_file"]
    if path is None:
        for name in ("image", "set"):
            if values["spec_images" if name == "image" else "spec_values"]:
                raise click.UsageError(f"Option '--{name}' is about the file of '--spec', and there is none.")
        images: tuple[NamedSpec, ...] = (NamedSpec(spec=spec_of(options)),)
    else:
        from rootless_scratch.image.plan.overrides import parse_settings
        from rootless_scratch.image.plan.specfile import combined, read_file

        variables, overrides = parse_settings(values["spec_values"])
        read = read_file(path, values=variables, overrides=overrides)
        images = read.chosen(path, values["spec_images"])
        images = tuple(image.but(spec=combined(image.spec, options)) for image in images)
    for image in images:
        if not (image.spec.programs or image.spec.platforms or image.spec.copies):
            raise click.UsageError(f"Image {image.name!r}: {empty}" if image.name else empty)
    return images
