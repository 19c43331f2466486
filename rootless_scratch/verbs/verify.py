"""`verify`: whether an image is the one that these options make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8, subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.backends.verify import Verification
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.spec import Spec


def verify_spec(image: str | Image, spec: Spec, *, limits: Mapping[str, int] | None = None) -> Verification:
    """See rootless_scratch.api.verify."""
    from rootless_scratch.backends.verify import verify_all

    require_utf8()
    with HostFiles() as files:
        plans, _ = plan_all(parts_of(spec, files), files, check=False)
        return verify_all(plans, subject_of(image), files, limits=limits)
