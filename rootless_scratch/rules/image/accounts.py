"""Rules on the user of an image: whether it can be found, mapped, and do what the config announces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules.access import is_listed, number
from rootless_scratch.rules.advice import listed, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.rules.view import ImageView

_USUAL_MAX = 65535
"""Users usually get 65536 subordinate ids: useradd(8), SUB_UID_COUNT."""

_FIRST_FREE_PORT = 1024
_PORT: Final = re.compile(r"[0-9]{1,5}")
_INSTEAD: Final = {80: 8080, 443: 8443}


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
        instead = _INSTEAD.get(low[0], low[0] + 8000)
        yield Finding.warning(
            rule="privileged-port",
            subject=listed([str(port) for port in low]),
            message=f"The user {shown(view.config.user)} is not root, and may not listen on the "
            f"port{'s' if len(low) > 1 else ''} {listed([str(port) for port in low])} below 1024.",
            fix=f"Listen on e.g. {instead}, and publish it as {low[0]}: `-p {low[0]}:{instead}{protocol}`; or run "
            "it by `podman run --sysctl net.ipv4.ip_unprivileged_port_start=0`.",
        )
