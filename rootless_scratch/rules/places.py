"""Rules on directories that the config names: the working directory, and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding
from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.access import EXECUTE, WRITE, obstacle
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.scene import dead_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.rules.scene import Scene


def judge_places(scene: Scene) -> Iterator[Finding]:
    """Judge the working directory and every volume."""
    if scene.config.working_dir:
        yield from _judge_working_directory(scene, scene.config.working_dir)
    for volume in scene.config.volumes:
        yield from _judge_volume(scene, volume)


def _judge_working_directory(scene: Scene, path: str) -> Iterator[Finding]:
    reason = None if path.startswith("/") else "it is not an absolute path"
    entry = scene.tree.resolve(path)
    if isinstance(entry, File):
        reason = f"{shown(entry.path)} is a file, not a directory"
    elif entry is None:
        reason = reason or dead_end(scene, path)
    if reason is not None:
        yield Finding(
            rule="working-directory-unusable",
            severity="error",
            subject=path,
            message=f"No container can begin in the working directory {shown(path)}: {reason}.",
            fix="Choose another by `--workdir`, e.g. `--workdir /`.",
        )
    elif entry is None:
        yield Finding(
            rule="working-directory-missing",
            severity="info",
            subject=path,
            message=f"The working directory {shown(path)} is not in the image; podman makes it when the "
            "container starts, and not every other engine does.",
            fix=f"Add it by `--mkdir {shown(path)}`.",
        )


def _judge_volume(scene: Scene, path: str) -> Iterator[Finding]:
    if path == "/":
        yield Finding(
            rule="volume-unusable",
            severity="error",
            subject=path,
            message="`/` is the root of the container, and no volume can be mounted over it.",
            fix="Give the directory that holds what shall last to `--volume`, e.g. `--volume /data`.",
        )
        return
    steps = scene.tree.walk(path)
    user = shown(scene.config.user)
    if not steps:
        yield Finding(
            rule="volume-missing",
            severity="info",
            subject=path,
            message=f"The volume {shown(path)} is not in the image; podman makes it for the image's user, "
            "and other engines make it for root.",
            fix=f"Add it by `--mkdir {_owned(scene, path)}`.",
        )
    elif isinstance(steps[-1], File):
        yield Finding(
            rule="volume-unusable",
            severity="error",
            subject=path,
            message=f"{shown(path)} is a file of the image, and no volume can be mounted over it.",
            fix="Give the directory that holds it to `--volume`.",
        )
    elif (obstacle(scene.account, steps, WRITE | EXECUTE) or (None, ""))[1] == "no":
        yield Finding(
            rule="volume-not-writable",
            severity="warning",
            subject=path,
            message=f"The user {user} may not write to the volume {shown(path)}: a new volume takes over "
            f"the mode {steps[-1].mode:04o} and the owner {steps[-1].uid}:{steps[-1].gid} that it has here.",
            fix=f"Make it by `--mkdir {_owned(scene, path)}`.",
        )


def _owned(scene: Scene, path: str) -> str:
    account = scene.account
    if account.uid is None or account.is_root:
        return shown(path)
    return f"{shown(path)}:uid={account.uid}" + (f",gid={account.gid}" if account.gid is not None else "")
