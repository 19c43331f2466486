"""A build from its options to what is printed of it: without click, which a plain `build` does without."""

from __future__ import annotations

from rootless_scratch.cli.output import image_answer, print_findings, print_json, say
from rootless_scratch.cli.terminal import write_line

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.cli.show import Show
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image, WrittenOutput


def build_shown(values: Mapping[str, Any], show: Show, begun: Session | Storing | None) -> int:
    """Build the one image that these values of options ask for, print it, and return the exit code.

    `begun` is what was started early. Raises what `build_spec` does.
    """
    from rootless_scratch.cli.lean import import_msgspec
    from rootless_scratch.image.kinds import options_set
    from rootless_scratch.image.spec import Spec, spec_of
    from rootless_scratch.ship.access import Access

    import_msgspec()
    access = Access(**options_set(Access.options.values(), values))
    spec = spec_of(options_set(Spec.options.values(), values))
    from rootless_scratch.verbs.build import build_spec

    check = values.get("check", True)
    how = {
        "check": check,
        "backend": values.get("backend"),
        "compress": values.get("compress"),
        "access": access,
        "cache_from": values.get("cache_from", ()),
        "cache_to": values.get("cache_to", ()),
    }

    def build(**more: Any) -> Image:  # noqa: ANN401 - as `build_spec` has it
        return build_spec(spec, **more)

    output = values.get("output", ())
    print_image(built(build, output, how, show, begun), output, show, forced=not check)
    return 0


def built(
    build: Callable[..., Image],
    output: tuple[str, ...],
    how: Mapping[str, Any],
    show: Show,
    begun: Session | Storing | None,
) -> Image:
    """The image, by `how` as `build_spec` has it; outputs are called as the user wrote them."""
    from msgspec.structs import replace

    from rootless_scratch.cli.piped import to_stdout
    from rootless_scratch.cli.progress import Bar

    with (
        to_stdout(output, as_json=show.as_json) as outputs,
        Bar(quiet=show.quiet or show.as_json) as progress,
    ):
        image = build(session=begun, progress=progress, output=outputs, **how)
    written = [replace(each, ref=ref) for each, ref in zip(image.outputs, output, strict=True)]
    return replace(image, outputs=tuple(written))


def print_image(image: Image, output: tuple[str, ...], show: Show, *, forced: bool, label: str = "") -> None:
    """Print what a build has come to; `forced` is whether errors were no reason not to, `label` its name."""
    if show.as_json:
        print_json(image_answer(image))
        return
    report(image.findings, quiet=show.quiet, forced=forced)
    if not show.quiet:
        for note in image.notes:
            say(f"note: {note}")
    print_written(f"{label}{image.image_id}", image.outputs, output, quiet=show.quiet)
    for sbom in () if show.quiet else image.sboms:
        say(f"SBOM: {sbom.file}")
    if show.verbose:
        _describe(image)


def report(findings: Iterable[Finding], *, quiet: bool, forced: bool) -> None:
    """Show what the rules said, and whether it was built all the same."""
    findings = tuple(findings)
    shown = [finding for finding in findings if finding.severity != "info"]
    print_findings(shown, quiet=quiet)
    if forced and any(finding.severity == "error" for finding in findings):
        say("rootless-scratch: built anyway, as --no-check says; it will not start.")


def _describe(image: Image) -> None:
    say(f"names: {', '.join(image.names)}")
    say(f"platform: {image.platform}")
    say(f"files: {image.files}, {image.size} bytes in {len(image.layers)} layer")
    say(f"{'index' if image.images else 'manifest'}: {image.digest}")
    for each in image.images:
        say(f"image for {each.platform}: {each.image_id}")
    for output in image.outputs:
        say(f"written: {output.ref}")


def print_written(name: str, written: Iterable[WrittenOutput], outputs: Sequence[str], *, quiet: bool) -> None:
    """Print the ID or the digest, unless stdout has the image, and say by which names registries have it."""
    from rootless_scratch.cli.piped import goes_to_stdout

    if not quiet:
        for pulled in dict.fromkeys(output.pull for output in written if output.pull is not None):
            say(f"pushed: {pulled}")
    if not any(map(goes_to_stdout, outputs)):
        write_line(name)
    elif not quiet:
        say(name)
