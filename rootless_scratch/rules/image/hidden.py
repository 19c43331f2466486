"""Rules on paths that a runtime mounts over: what an image may have there, and what of it is never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.rules.view import ImageView

_KERNEL: Final = ("/proc", "/sys", "/dev")
"""runc mounts these over ordinary directories alone, and over no link."""

_IN_MEMORY: Final = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - places in the container
"""`run` mounts these (engine/container/specification.py); podman /run alone unless the root is read-only."""

_GIVEN: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Files that podman writes and mounts over those of the image."""

_MARK: Final = "/run/.containerenv"


def judge_hidden(view: ImageView, opened: Iterable[str]) -> Iterator[Finding]:
    """Refuse to start by what lies where every runtime mounts something else; `opened` are paths."""
    covered = {entry.path for path in _GIVEN if (entry := view.tree.resolve(path)) is not None}
    files = (view.tree.resolve(path) for path in opened)
    for path in dict.fromkeys(file.path for file in files if file is not None):
        if path in covered or path.startswith(tuple(f"{place}/" for place in _KERNEL)):
            yield Finding.error(
                rule="hidden-by-runtime",
                subject=path,
                message=f"The image is started by {shown(path)}, but a container runtime mounts its own over it.",
                fix="Put it elsewhere, e.g. PROGRAM:/usr/bin/NAME.",
            )


def judge_mount_points(view: ImageView) -> Iterator[Finding]:
    """Refuse entries over which a runtime cannot mount what every container gets."""
    entries = {entry.path: entry for entry in view.rootfs}
    for path in _KERNEL:
        entry = entries.get(path)
        if entry is not None and not isinstance(entry, Directory):
            yield _unusable(entry, f"a runtime mounts {path} over an ordinary directory alone")
    etc = entries.get("/etc")
    if etc is not None and not isinstance(view.tree.resolve("/etc"), Directory):
        yield _unusable(etc, "podman writes files into that directory")
    for path in _IN_MEMORY:
        blocked = _blocked(view, entries, path)
        if blocked is not None:
            who = "a runtime mounts" if path == "/run" else "`run` mounts an empty"
            yield _unusable(blocked, f"{who} {path} over a directory")
    for path in (*_GIVEN, _MARK):
        entry = view.tree.resolve(path)
        if isinstance(entry, Directory):
            mark = path == _MARK
            yield Finding(
                rule="mount-point-unusable",
                severity="warning" if mark else "error",
                subject=path,
                message=f"{shown(path)} is a directory of the image, and podman mounts a file of its own over it"
                f"{'; `run` does without' if mark else ''}.",
                fix="Leave it out.",
            )


def _blocked(view: ImageView, entries: dict[str, Entry], path: str) -> Entry | None:
    """The entry on the way to a directory that is, or leads to, a file; links to nothing are made good."""
    reached = ""
    for name in path.strip("/").split("/"):
        reached = f"{reached}/{name}"
        if isinstance(view.tree.resolve(reached), File):
            return entries.get(reached)
    return None


def _unusable(entry: Entry, why: str) -> Finding:
    what = f"a symbolic link to {shown(entry.target)}" if isinstance(entry, Symlink) else "a file"
    return Finding.error(
        rule="mount-point-unusable",
        subject=entry.path,
        message=f"{shown(entry.path)} is {what} in the image, and {why}.",
        fix="Leave it out, or make it a directory by `--mkdir`; a file for one of its directories is named with "
        f"it: `--copy FILE:{shown(entry.path)}/FILE`.",
    )
