"""User namespaces: the switches of this kernel, and what came of trying them in throw-away processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.command import last_cause
from rootless_scratch.errors import HostError
from rootless_scratch.host.probing import Question
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.host.identity import Identity


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The first step of making a container's namespaces that the kernel refused, with its errno; or none.

    `problem` is why it could not even be tried.
    """

    failed_step: str | None
    errno: int
    problem: str = ""


class IdMap(msgspec.Struct, frozen=True, kw_only=True):
    """What `buildah unshare` really maps: how many ids, or why there is no map at all.

    `stderr` is all that buildah said, which may tell why it mapped less than was granted.
    """

    ids: int
    problem: str | None
    stderr: str = ""


class UserNamespaces(msgspec.Struct, frozen=True, kw_only=True):
    """The switches of sysctl(8), None where the kernel has none of that name; then what was tried."""

    max_user_namespaces: int | None
    unprivileged_userns_clone: int | None
    apparmor_restrict: int | None
    probe: Probe
    id_map: IdMap | None


class NamespaceQuestions:
    """The probes, under way; `id_map` is not asked for where buildah is missing or no map is needed."""

    def __init__(self, identity: Identity, *, environment: Mapping[str, str]) -> None:
        self._probe = _start_probe(environment)
        self._map = (
            None
            if identity.rootful or not find("buildah")
            else Question(["buildah", "unshare", "cat", "/proc/self/uid_map"], environment=environment)
        )

    def answer(self) -> UserNamespaces:
        """Switches, and what the probes came to."""
        return UserNamespaces(
            max_user_namespaces=_switch("user/max_user_namespaces"),
            unprivileged_userns_clone=_switch("kernel/unprivileged_userns_clone"),
            apparmor_restrict=_switch("kernel/apparmor_restrict_unprivileged_userns"),
            probe=_probe_of(self._probe),
            id_map=None if self._map is None else _map_of(self._map),
        )


def probe_namespaces(*, environment: Mapping[str, str]) -> Probe:
    """Make the namespaces of a container in a throw-away process."""
    return _probe_of(_start_probe(environment))


def _start_probe(environment: Mapping[str, str]) -> Question:
    program = Path(__file__).with_name("namespace_probe.py")
    return Question([sys.executable or "python3", "-I", "-S", str(program)], environment=environment)


def _probe_of(question: Question) -> Probe:
    try:
        answer = question.answer()
        return msgspec.convert(json.loads(answer.text), Probe)
    except HostError as error:
        return Probe(failed_step="start of the probe", errno=0, problem=error.message)
    except (ValueError, msgspec.ValidationError):
        # A seccomp filter may end the process instead of refusing.
        return Probe(failed_step="start of the probe", errno=0)


def _map_of(question: Question) -> IdMap:
    try:
        answer = question.answer()
    except HostError as error:
        return IdMap(ids=0, problem=error.message.rstrip("."))
    stderr = answer.stderr.decode("utf-8", "replace")
    if answer.exit_code != 0:
        cause = last_cause(stderr) or f"it ended with code {answer.exit_code}"
        return IdMap(ids=0, problem=cause, stderr=stderr)
    counts = [line.split()[2] for line in answer.text.splitlines() if len(line.split()) == 3]  # noqa: PLR2004 - the fields of uid_map
    return IdMap(ids=sum(int(count) for count in counts if count.isdigit()), problem=None, stderr=stderr)


def _switch(name: str) -> int | None:
    try:
        return int((Path("/proc/sys") / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
