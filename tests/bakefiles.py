"""What a docker-bake.hcl comes to, for tests of what it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.reading import read_targets

if TYPE_CHECKING:
    from collections.abc import Mapping

STAGE_THAT_IS_RUN = """FROM localhost/tools AS made
USER 0
RUN ["/busybox", "cp", "/busybox", "/made"]
FROM scratch
COPY --from=made /made /made
ENTRYPOINT ["/made"]
"""
"""A Containerfile whose image has a file that a command of a stage has made."""


def inline(containerfile: str, *attributes: str) -> str:
    """A bake file with one target, the default, of that Containerfile."""
    lines = "".join(f"  {each}\n" for each in attributes)
    return f'target "default" {{\n  dockerfile-inline = <<EOT\n{containerfile}EOT\n{lines}}}\n'


def targets(
    text: str, *names: str, settings: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What `--print` has of each target."""
    with open("docker-bake.hcl", "w", encoding="utf-8") as file:
        file.write(text)
    found = read_targets(("docker-bake.hcl",), names, settings=settings, environ=environ or {})
    return {each.name: dict(each.shown) for each in (*found.targets, *found.linked)}


def value(expression: str, before: str = "") -> str:
    """What an expression is as a text."""
    found = targets(f'{before}\ntarget "default" {{\n  args = {{ V = {expression} }}\n}}\n')
    text: str = found["default"]["args"]["V"]
    return text
