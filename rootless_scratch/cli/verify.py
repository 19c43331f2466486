"""`rootless-scratch verify`: is this image what these options build, and if not, what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.image_options import image_options, spec_from
from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, named, print_json, print_verdict, say

if TYPE_CHECKING:
    from rootless_scratch.backends.verify import Difference, Verification
    from rootless_scratch.cli.show import Show


@click.command("verify")
@click.argument("image")
@image_options
@verb_options("verify")
@common_options
def command(
    *,
    image: str,
    limits: dict[str, int] | None,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of image_options
) -> int:
    """Make the image of PROGRAMs and options, those of `build`, in memory, and compare IMAGE with it.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE or docker-archive:FILE.
    Nothing is written.

    Exits 0 where the image ID is the same (identical), or the files and the config are, in other bytes (equal);
    1 where anything differs, which is listed.
    """
    from rootless_scratch.verbs.verify import verify_spec

    empty = "Nothing to compare the image with: name its PROGRAMs and options, as for `build`."
    found = verify_spec(image, spec_from(values, empty=empty), limits=limits)
    if show.as_json:
        answer = named(found, "verdict image_id planned_image_id reason")
        print_json({"subject": image, **answer, "differences": [_plain(each) for each in found.differences]})
    else:
        _show(image, found, quiet=show.quiet)
        if show.verbose:
            say(f"image ID: {found.image_id}")
            say(f"planned: {found.planned_image_id}")
    return 1 if found.verdict == "differs" else 0


def _plain(difference: Difference) -> dict[str, object]:
    where = {"path": difference.path} if difference.key is None else {"key": difference.key}
    if difference.platform is not None:
        where["platform"] = difference.platform
    return {**where, "what": difference.what, "planned": difference.planned, "found": difference.found}


def _show(image: str, found: Verification, *, quiet: bool) -> None:
    print_verdict(image, found.verdict, f" ({found.reason})" if found.reason else "")
    for each in () if quiet else found.differences:
        click.echo(showable(f"  {_line(each)}"))


def _line(each: Difference) -> str:
    line = _without_platform(each)
    return line if each.platform is None or each.key == "platform" else f"{each.platform} {line}"


def _without_platform(each: Difference) -> str:
    if each.key == "platform":
        return f"no image for {each.planned}" if each.what == "missing" else f"{each.found} is not planned"
    if each.what == "missing":
        return f"{each.path}: missing, a {each.planned} is planned"
    if each.what == "added":
        return f"{each.path}: a {each.found} that is not planned"
    if each.key is not None:
        return f"{each.key}: {_value(each.found)}, planned is {_value(each.planned)}"
    return f"{each.path}: {each.what} {_value(each.found)}, planned is {_value(each.planned)}"


def _value(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
