"""Rules on the image's user: whether it can be found and mapped, and what it may execute, read and listen on."""

from __future__ import annotations

import stat
from itertools import islice
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding, Severity
from rootless_scratch.image.rootfs import Entry, File, Ignored, Loss
from rootless_scratch.rules.access import EXECUTE, READ, Answer, is_listed, number, obstacle
from rootless_scratch.rules.advice import listed, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.rules.view import ImageView

_EFFECTIVE: Final = expression(r"[+=](?=[eip]*e)[eip]*p")
"""Permitted and effective: the kernel asks for no others (bprm_caps_from_vfs_caps())."""


_BEHIND: Final = "behind the destination of --copy"
_LOSSES: Final[dict[str, tuple[Severity, str, str]]] = {
    "capabilities": (
        "info",
        "carries the file capabilities {} on this host, and none in the image.",
        f"Keep them, if it needs them, by `xattrs=keep` {_BEHIND}, or name them by `cap=`.",
    ),
    "set-id": (
        "info",
        "has the setuid or setgid bit on this host (mode {}), and not in the image.",
        f"Keep it, if it is needed, by `mode=keep` {_BEHIND}.",
    ),
    "execute": (
        "warning",
        "is executable on this host (mode {}), not in the image: it is neither a program nor a script with `#!`.",
        f"Keep it by `mode=keep` {_BEHIND}, or add `mode=0755` there for a single file.",
    ),
    "private": (
        "info",
        "is not for everybody to read on this host (mode {}), and everybody in the container may read it.",
        f"Keep it private, if it is, by `mode=keep` {_BEHIND}, with `uid=` for the user who reads it.",
    ),
    "attributes": (
        "warning",
        "has the attributes {} on this host, which no image keeps.",
        f"Set the modes and owners that they stand for by `mode=`, `uid=` and `gid=` {_BEHIND}.",
    ),
}
"""By what is lost: how grave it is, how it is said, and what keeps it."""

_USUAL_MAX = 65535
"""Users usually get 65536 subordinate ids: useradd(8), SUB_UID_COUNT."""

_LISTED = 10
"""Ports that a message names."""

_FIRST_FREE_PORT = 1024
_PORT: Final = expression(r"[0-9]{1,5}")
_INSTEAD: Final = {80: 8080, 443: 8443}


def judge_execution(view: ImageView, paths: Iterable[str]) -> Iterator[Finding]:
    """Judge, for every path that the kernel opens to start the image, whether the user may execute it."""
    for _, entry, answer in _obstacles(view, paths, EXECUTE):
        yield _not_executable(view, entry, answer)


def judge_reading(view: ImageView, paths: Iterable[str]) -> Iterator[Finding]:
    """Judge whether the user may read the libraries that the loader opens; the first that is not is told."""
    for path, entry, answer in islice(_obstacles(view, paths, READ), 1):
        may = "may not" if answer == "no" else "might not"
        yield Finding(
            rule="not-readable",
            severity="error" if answer == "no" else "warning",
            subject=path,
            message=f"{_owned(entry)}, so {_user(view)} {may} read the library {shown(path)}.",
            fix="Give libraries the mode 0755 or 0644, and the directories above them 0755.",
        )


def _obstacles(view: ImageView, paths: Iterable[str], wish: int) -> Iterator[tuple[str, Entry, Answer]]:
    """What keeps the user from what it must do with these paths."""
    for path in paths:
        steps = view.tree.walk(path)
        found = obstacle(view.account, steps, wish) if steps else None
        if found is not None:
            yield path, *found


def _user(view: ImageView) -> str:
    return f"the user {shown(view.config.user)}" if view.config.user else "root"


def _owned(entry: Entry) -> str:
    return f"{shown(entry.path)} has the mode {entry.mode:04o} and the owner {entry.uid}:{entry.gid}"


def _not_executable(view: ImageView, entry: Entry, answer: Answer) -> Finding:
    user = _user(view)
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
        message=f"{_owned(entry)}, and {judged}.",
        fix=f"{fix}.",
    )


def judge_losses(losses: Sequence[Loss]) -> Iterator[Finding]:
    """Say what files have on the host and not in the image, for each kind in one finding."""
    for what, (severity, message, fix) in _LOSSES.items():
        found = [loss for loss in losses if loss.what == what]
        if not found:
            continue
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield Finding(
            rule="metadata-not-kept",
            severity=severity,
            subject=first.path,
            message=f"{shown(first.path)}{more} {message.format(shown(first.had))}",
            fix=f"Bring the program by --copy, and start it by --entrypoint: {fix}" if first.named else fix,
        )


def judge_ignored(ignored: Sequence[Ignored]) -> Iterator[Finding]:
    """Say what ignore files of copied directories have left out: nobody named them for this image."""
    for each in ignored:
        what = f"{shown(each.first)} and {each.count - 1} more" if each.count > 1 else shown(each.first)
        yield Finding.info(
            rule="copy-ignored",
            subject=each.path,
            message=f"{shown(each.by)} leaves {what} out of {shown(each.path)}.",
            fix="Take back what is meant by `--exclude '!PATTERN'`.",
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


def judge_account(view: ImageView) -> Iterator[Finding]:
    """Judge the names, the ids, and the ports of the image's user."""
    user, _, group = view.config.user.partition(":")
    yield from _judge_name(view, user, "/etc/passwd", view.lists.passwd, rule="user-unknown")
    yield from _judge_name(view, group, "/etc/group", view.lists.group, rule="group-unknown")
    yield from _judge_ids(view, user, group)
    yield from _judge_ports(view, user)


def _judge_name(
    view: ImageView, name: str, path: str, lines: tuple[tuple[str, ...], ...] | None, *, rule: str
) -> Iterator[Finding]:
    if name and number(name) is None and not is_listed(lines, name):
        there = view.is_file(path)
        why = f"{path} of the image does not have it" if there else f"the image has no {path} that has its id"
        more = f"add a line to {path}" if there else f"add an {path} by `--with nonroot`"
        yield Finding.error(
            rule=rule,
            subject=view.config.user,
            message=f"The {rule.removesuffix('-unknown')} {shown(name)} is a name, and {why}.",
            fix=f"Give it by numbers, e.g. `--user 65532:65532`, or {more}.",
        )


def _judge_ids(view: ImageView, user: str, group: str) -> Iterator[Finding]:
    high = [text for text in (user, group) if (number(text) or 0) > _USUAL_MAX]
    if high:
        yield Finding.warning(
            rule="id-too-high",
            subject=view.config.user,
            message=f"The user or group id {listed(high)} lies beyond the 65536 ids that a user without root "
            "usually has.",
            fix="Choose ids up to 65535, e.g. `--user 65532:65532`.",
        )
    owned = [entry for entry in view.rootfs if max(entry.uid, entry.gid) > _USUAL_MAX]
    if owned:
        more = f" (and {len(owned) - 1} more)" if len(owned) > 1 else ""
        yield Finding.warning(
            rule="id-too-high",
            subject=owned[0].path,
            message=f"{shown(owned[0].path)}{more} belongs to {owned[0].uid}:{owned[0].gid}, beyond the "
            "65536 ids that a user without root usually has.",
            fix="Choose owners up to 65535 by `uid=` and `gid=`.",
        )


def _judge_ports(view: ImageView, user: str) -> Iterator[Finding]:
    if view.account.is_root or user == "root":
        return
    found = [_PORT.match(port) for port in view.config.ports]
    low = sorted({int(match[0]) for match in found if match and int(match[0]) < _FIRST_FREE_PORT})
    if low:
        protocol = "" if f"{low[0]}/tcp" in view.config.ports else "/udp"
        more = f" and {len(low) - _LISTED} more" if len(low) > _LISTED else ""
        instead = _INSTEAD.get(low[0], low[0] + 8000)
        yield Finding.warning(
            rule="privileged-port",
            subject=listed([str(port) for port in low[:_LISTED]]),
            message=f"The user {shown(view.config.user)} is not root, and may not listen on the "
            f"port{'s' if len(low) > 1 else ''} {listed([str(port) for port in low[:_LISTED]])}{more} below 1024.",
            fix=f"Listen on e.g. {instead}, and publish it as {low[0]}: `-p {low[0]}:{instead}{protocol}`; or run "
            "it by `podman run --sysctl net.ipv4.ip_unprivileged_port_start=0`.",
        )
