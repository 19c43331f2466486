"""A Spec as one part for each platform that its programs are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.spec import Part, Spec

if TYPE_CHECKING:
    from rootless_scratch.image.host_files import HostFiles


def parts_of(spec: Spec, files: HostFiles) -> tuple[Part, ...]:
    """One part per platform that the programs are for; split.py is loaded only where there may be two."""
    is_plain = not spec.platforms and all(copy.platform is None for copy in spec.copies)
    if len(spec.programs) < 2 and is_plain:  # noqa: PLR2004 - two may differ
        return (Part(spec=spec),)
    from rootless_scratch.image.plan.split import split

    return split(spec, files)
