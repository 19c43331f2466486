"""What a Containerfile brings into a plan, beside what its Spec names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.rootfs import Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.rootfs import Entry, Loss
    from rootless_scratch.image.spec import Contents


def with_contents(named: list[Entry], contents: Contents) -> list[Entry]:
    """Both; of one path what is named holds, but for directories, which `--mkdir` names alone."""
    if not contents.entries:
        return named
    own = {entry.path: entry for entry in named}
    shared = {
        entry.path
        for entry in contents.entries
        if isinstance(entry, Directory) and isinstance(own.get(entry.path), Directory)
    }
    return [
        *(entry for entry in named if entry.path not in shared),
        *(entry for entry in contents.entries if entry.path not in own or entry.path in shared),
    ]


def losses_of(contents: Contents, entries: Sequence[Entry]) -> list[Loss]:
    """What the files of the Containerfile have on the host alone, of those that are in the image."""
    if not contents.losses:
        return []
    own = {entry.path: entry for entry in contents.entries}
    kept = {entry.path for entry in entries if own.get(entry.path) is entry}
    return [loss for loss in contents.losses if loss.path in kept]


def platform_for(contents: Contents, own: str | None) -> str | None:
    """The platform that was asked for, else the programs' `own`; their variant goes with it."""
    if contents.platform is None:
        return own or contents.fallback_platform
    return own if own is not None and own.startswith(f"{contents.platform}/") else contents.platform
