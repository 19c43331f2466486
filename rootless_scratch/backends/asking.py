"""A session's one job, and what it means where the host did not let it be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.errors import BuildError
from rootless_scratch.troubles import trouble_said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless_scratch.backends.session import Session


def do(session: Session, job: Mapping[str, Any], *, told: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What `Session.do` answers and raises; HostError where buildah or the worker met a limit or a full disk."""
    try:
        return session.do(job, told=told)
    except BuildError as error:
        trouble = trouble_said(error.message)
        if trouble is None:
            raise
        raise trouble.error(error.detail) from error
