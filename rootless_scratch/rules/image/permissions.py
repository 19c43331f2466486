"""Rules on what the image's user may execute, and on rights that files carry and containers withhold."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.access import EXECUTE, READ, obstacle
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.image.rootfs import Entry
    from rootless_scratch.rules.access import Answer
    from rootless_scratch.rules.view import ImageView

_EFFECTIVE: Final = re.compile(r"[+=](?=[eip]*e)[eip]*p")
"""Permitted and effective: the kernel asks for no others (bprm_caps_from_vfs_caps())."""


def judge_execution(view: ImageView, paths: Iterable[str]) -> Iterator[Finding]:
    """Judge, for every path that the kernel opens to start the image, whether the user may execute it."""
    for path in paths:
        steps = view.tree.walk(path)
        found = obstacle(view.account, steps, EXECUTE) if steps else None
        if found is not None:
            yield _not_executable(view, *found)


def judge_reading(view: ImageView, paths: Iterable[str]) -> Iterator[Finding]:
    """Judge whether the user may read the libraries that the loader opens; the first that is not is told."""
    for path in paths:
        steps = view.tree.walk(path)
        found = obstacle(view.account, steps, READ) if steps else None
        if found is not None:
            entry, answer = found
            user = f"the user {shown(view.config.user)}" if view.config.user else "root"
            may = "may not" if answer == "no" else "might not"
            yield Finding(
                rule="not-readable",
                severity="error" if answer == "no" else "warning",
                subject=path,
                message=f"{shown(entry.path)} has the mode {entry.mode:04o} and the owner {entry.uid}:{entry.gid}"
                f", so {user} {may} read the library {shown(path)}.",
                fix="Give libraries the mode 0755 or 0644, and the directories above them 0755.",
            )
            return


def _not_executable(view: ImageView, entry: Entry, answer: Answer) -> Finding:
    user = f"the user {shown(view.config.user)}" if view.config.user else "root"
    is_file = isinstance(entry, File)
    deed = "execute it" if is_file else "pass through it"
    flag = f"--copy SRC:{shown(entry.path)}" if is_file else f"--mkdir {shown(entry.path)}"
    fix = f"Give it the mode 0755, e.g. by `{flag}:mode=0755`"
    if answer == "no":
        judged = f"{user} may not {deed}"
    elif answer == "with-capability":
        judged = f"root may {deed} only with CAP_DAC_OVERRIDE, which hardened containers lack"
        fix += ", or to the owner 0"
    else:
        judged = f"whether {user} may {deed} depends on the image's /etc/passwd and /etc/group"
        fix += ", or the user as UID:GID"
    return Finding(
        rule="not-executable",
        severity="error" if answer == "no" else "warning",
        subject=entry.path,
        message=f"{shown(entry.path)} has the mode {entry.mode:04o} and the owner {entry.uid}:{entry.gid}, "
        f"and {judged}.",
        fix=f"{fix}.",
    )


def judge_privileges(view: ImageView, started: Iterable[File]) -> Iterator[Finding]:
    """Warn of file capabilities that keep a program from starting, and of bits without effect."""
    for file in started:
        if file.capabilities is not None and _EFFECTIVE.search(file.capabilities):
            yield Finding.warning(
                rule="file-capabilities",
                subject=file.path,
                message=f"{shown(file.path)} carries the file capabilities {shown(file.capabilities)}, and "
                "the kernel does not start it in a container that lacks one of them, as `run` makes them.",
                fix="Leave them out (`sudo setcap -r FILE`); a program that listens on ports from 1024 on "
                "needs none.",
            )
    marked = [file for file in view.rootfs.files if file.mode & (stat.S_ISUID | stat.S_ISGID)]
    if marked:
        more = f" (and {len(marked) - 1} more)" if len(marked) > 1 else ""
        yield Finding.warning(
            rule="setuid",
            subject=marked[0].path,
            message=f"{shown(marked[0].path)}{more} has the setuid or setgid bit (mode "
            f"{marked[0].mode:04o}), which has no effect in containers without new privileges.",
            fix="Leave the bit out, and choose the user of the whole image by `--user`.",
        )
