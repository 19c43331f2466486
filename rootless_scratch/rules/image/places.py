"""Rules on paths: directories that the config names, and what a runtime mounts over, which is never seen."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final

from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding, Severity
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.rules.access import EXECUTE, WRITE, obstacle
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.view import ImageView, dead_end

_KERNEL: Final = ("/proc", "/sys")
_DEVICES: Final = expression(r"/dev/(?:console|full|null|ptmx|u?random|std(?:err|in|out)|tty|zero)")
_IN_KERNEL: Final = expression(
    r"/proc(?:/(?:1|bus|driver|fs|irq|net|self|sys|thread-self|tty)(?:/.*)?)?"
    r"|/sys(?:/(?:block|bus|class|dev|devices|firmware|fs|hypervisor|kernel|module|power)(?:/.*)?)?",
    re.DOTALL,
)
"""What the kernel shows there: proc(5), sysfs(5)."""

_LINKS_LIMIT: Final = 40

_OVER_SYS: Final = ("/sys", "/sys/fs/cgroup")

_MOUNTED: Final = ("/proc", "/sys", "/dev")
"""runc mounts these over ordinary directories alone, and over no link."""

_IN_MEMORY: Final = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - places in the container
"""`run` mounts these (engine/container/specification.py); podman /run alone unless the root is read-only."""

_GIVEN: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Files that podman writes and mounts over those of the image."""

_MARK: Final = "/run/.containerenv"


def judge_places(view: ImageView) -> Iterator[Finding]:
    """Judge the working directory and every volume."""
    if view.config.working_dir:
        yield from _judge_working_directory(view, view.config.working_dir)
    for volume in view.config.volumes:
        yield from _judge_volume(view, volume)


def _judge_working_directory(view: ImageView, path: str) -> Iterator[Finding]:
    reason = None if path.startswith("/") else "it is not an absolute path"
    entry = view.tree.resolve(path)
    place = _place(view, path)
    if reason is None and (_below(place, _KERNEL) or _DEVICES.fullmatch(place)):
        if _IN_KERNEL.fullmatch(place):
            return
        reason = f"a runtime mounts its own file system there, and {shown(place)} is not a directory in it"
    elif isinstance(entry, File):
        reason = f"{shown(entry.path)} is a file, not a directory"
    elif entry is None:
        reason = reason or dead_end(view, path)
    if reason is not None:
        yield Finding.error(
            rule="working-directory-unusable",
            subject=path,
            message=f"No container can begin in the working directory {shown(path)}: {reason}.",
            fix="Choose another by `--workdir`, e.g. `--workdir /`.",
        )
    elif entry is None:
        yield Finding.info(
            rule="working-directory-missing",
            subject=path,
            message=f"The working directory {shown(path)} is not in the image; podman makes it when the "
            "container starts, and not every other engine does.",
            fix=f"Add it by `--mkdir {shown(path)}`.",
        )


def _judge_volume(view: ImageView, path: str) -> Iterator[Finding]:
    steps = view.tree.walk(path)
    place = _place(view, path)
    severity: Severity = "error"
    rule = "volume-unusable"
    fix = "Give another directory to `--volume`, e.g. `--volume /data`."
    covered = _below(place, ("/proc",)) or place == "/dev" or _DEVICES.fullmatch(place)
    if path == "/":
        message = "`/` is the root of the container, and no volume can be mounted over it."
        fix = "Give the directory of persistent data to `--volume`, e.g. `--volume /data`."
    elif covered or (_below(place, ("/sys",)) and place not in _OVER_SYS):
        message = f"{shown(path)} belongs to what a runtime mounts by itself; no volume can be mounted there."
    elif not steps and _is_below_file(view, path):
        message = f"{shown(path)} lies below a file of the image, and no volume can be mounted there."
    elif not steps:
        severity = "info"
        rule = "volume-missing"
        message = f"The volume {shown(path)} is not in the image; podman makes it for the image's user, "
        message += "and other engines make it for root."
        fix = f"Add it by `--mkdir {_owned(view, path)}`."
    elif isinstance(steps[-1], File):
        message = f"{shown(path)} is a file of the image, and no volume can be mounted over it."
        fix = "Give the directory that holds it to `--volume`."
    elif (obstacle(view.account, steps, WRITE | EXECUTE) or (None, ""))[1] == "no":
        severity = "warning"
        rule = "volume-not-writable"
        message = f"The user {shown(view.config.user)} may not write to the volume {shown(path)}: a new volume "
        message += f"takes over the mode {steps[-1].mode:04o} and the owner {steps[-1].uid}:{steps[-1].gid} that "
        message += "it has here."
        fix = f"Make it by `--mkdir {_owned(view, path)}`."
    else:
        return
    yield Finding(rule=rule, severity=severity, subject=path, message=message, fix=fix)


def _place(view: ImageView, path: str) -> str:
    """The path with all links of the image followed, also where its end is not in the image."""
    rest: list[str] = []
    above = posixpath.join("/", posixpath.normpath(path))
    for _ in range(_LINKS_LIMIT):
        entry = view.tree.resolve(above)
        if entry is not None:
            return posixpath.join(entry.path, *rest)
        link = view.link(above)
        if link is not None:
            above = posixpath.normpath(posixpath.join(posixpath.dirname(above), link.target))
        else:
            above, name = posixpath.split(above)
            rest.insert(0, name)
    return posixpath.join(above, *rest)


def _is_below_file(view: ImageView, path: str) -> bool:
    while (path := posixpath.dirname(path)) not in {"/", ""}:
        if view.is_file(path):
            return True
    return False


def _below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _owned(view: ImageView, path: str) -> str:
    account = view.account
    if account.uid is None or account.is_root:
        return shown(path)
    return f"{shown(path)}:uid={account.uid}" + (f",gid={account.gid}" if account.gid is not None else "")


def judge_hidden(view: ImageView, opened: Iterable[str]) -> Iterator[Finding]:
    """Refuse to start by what lies where every runtime mounts something else; `opened` are paths."""
    covered = {entry.path for path in _GIVEN if (entry := view.tree.resolve(path)) is not None}
    files = (view.tree.resolve(path) for path in opened)
    for path in dict.fromkeys(file.path for file in files if file is not None):
        if path in covered or path.startswith(tuple(f"{place}/" for place in _MOUNTED)):
            yield Finding.error(
                rule="hidden-by-runtime",
                subject=path,
                message=f"The image is started by {shown(path)}, but a container runtime mounts its own over it.",
                fix="Put it elsewhere, e.g. PROGRAM:/usr/bin/NAME.",
            )


def judge_mount_points(view: ImageView) -> Iterator[Finding]:
    """Refuse entries over which a runtime cannot mount what every container gets."""
    entries = {entry.path: entry for entry in view.rootfs}
    for path in _MOUNTED:
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
