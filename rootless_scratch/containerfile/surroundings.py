"""What a Containerfile is evaluated with, beside its text, and its stages told apart by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rootless_scratch.containerfile.expanded import InstructionError, expanded
from rootless_scratch.containerfile.scopes import GlobalScope, platform_arguments
from rootless_scratch.containerfile.stages import Stages, declare
from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from rootless_scratch.containerfile.document import Document, Fault
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.others import Others
    from rootless_scratch.elf.platforms import Platform


class Surroundings(Value):
    """All that is not in the file.

    `context` is None where there is no directory to copy from. `build_args` have their values, `contexts` those of
    `--build-context`. `kept` holds what is unpacked until the image is written.
    """

    context: Origin | None
    others: Others
    kept: ExitStack
    platform: Platform
    build_platform: Platform
    build_args: Mapping[str, str] = {}
    contexts: Mapping[str, str] = {}
    compat: Literal["buildah", "docker"] | None = None
    network: bool = False


def stages_of(document: Document, surroundings: Surroundings, faults: list[Fault]) -> Stages:
    """The stages of a file, told apart by the arguments in front of the first."""
    platforms = platform_arguments(surroundings.platform, surroundings.build_platform)
    above = GlobalScope(surroundings.build_args, platforms)
    for instruction in document.global_arguments:
        try:
            declare(instruction, above, lambda token: expanded(token, above.variables, document.escape).text)
        except InstructionError as error:
            faults.append(error.fault)
    return Stages(document, above, surroundings.contexts, triggers=surroundings.compat != "buildah")
