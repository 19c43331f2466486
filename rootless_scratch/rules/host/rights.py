"""The doctor's rules on rights: user namespaces, subordinate ids, and the helpers that map them."""

from __future__ import annotations

import errno
import os
import shlex
from typing import TYPE_CHECKING

from rootless_scratch.host.capabilities import CAP_SYS_ADMIN
from rootless_scratch.host.causes import cause_in
from rootless_scratch.host.identity import CAP_SETGID, CAP_SETUID, SubordinateIds
from rootless_scratch.rules.host.judged import Judged, Operation, Repair, forbid, limit_in, remark
from rootless_scratch.rules.host.repairs import administering, as_root, escalating, install, unconfined, unmasked
from rootless_scratch.rules.host.storage import is_homeless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.host.facts import HostFacts

NONROOT = 65532
"""The user that images run as by default; it must be among the mapped ids."""

USUAL_COUNT = 65536

_KINDS = {"mount namespace": "mnt", "network namespace": "net"}
"""The kind of namespaces in the name of its limit (namespaces(7)), where that is another than the step's."""

_BUILD_NEEDS = ("user namespace", "uid map", "gid map", "mount namespace")
"""The steps without which `buildah unshare` comes to nothing; what follows is a container's alone."""


def judge_rights(facts: HostFacts) -> Iterator[Judged]:
    """Whether this user gets a namespace with all the ids that a container needs; root needs none of it."""
    if facts.identity.rootful:
        if facts.identity.mapped_ids <= NONROOT:
            yield forbid(
                "run",
                rule="host-id-map",
                subject="root",
                message=f"This root is in a user namespace of {facts.identity.mapped_ids} ids; a container's "
                f"user {NONROOT} is none of them.",
                fix="Give the surrounding container 65536 ids or more, by the subuid range of its user.",
            )
        return
    if facts.identity.user is None:
        yield forbid(
            "build-buildah",
            "run",
            rule="host-no-account",
            subject=f"uid {facts.identity.uid}",
            message=f"The user id {facts.identity.uid} is not in /etc/passwd, which buildah insists on.",
            fix=f"Add one: `echo 'builder:x:{facts.identity.uid}:0::/tmp:/bin/sh' >> /etc/passwd` (in the "
            "image of a "
            "CI job, where /etc/passwd is given to group 0), or run as a user that the image knows.",
            evidence=f"getpwuid({facts.identity.uid}): no entry",
        )
        yield from _namespaces(facts)
        return
    refused = tuple(_namespaces(facts))
    yield from refused
    ids = tuple(_subordinate_ids(facts))
    yield from ids
    helpers = tuple(_helpers(facts))
    yield from helpers
    # A masked /proc says nothing of ids.
    if not (any("run" in each.forbids for each in refused) or ids or helpers):
        yield from _end_to_end(facts)


def _namespaces(facts: HostFacts) -> Iterator[Judged]:
    spaces = facts.user_namespaces
    step, number = spaces.probe.failed_step, spaces.probe.errno
    if step is None or limit_in(spaces.probe.problem) is not None:
        return
    granted = spaces.id_map is not None and spaces.id_map.problem is None
    if granted and (spaces.apparmor_restrict == 1 or step in _BUILD_NEEDS):
        # AppArmor grants namespaces by the path of the program: buildah has a profile, Python has none.
        return
    name = errno.errorcode.get(number, str(number))
    evidence = f"{step}: {name}"
    if step == "mount of proc":
        message = f"A fresh /proc cannot be mounted ({name}): this container's own /proc is masked."
        if facts.subuids.ranges and facts.subgids.ranges:
            yield remark(
                "run",
                stops=("debug",),
                severity="warning",
                rule="host-proc-masked",
                subject="/proc",
                message=f"{message} Programs that run as another user than 0 see the processes of this container, "
                "and others are refused; RUN is isolated by chroot.",
                fix=unmasked(facts),
                evidence=evidence,
            )
        else:
            yield forbid(
                "run",
                rule="host-proc-masked",
                subject="/proc",
                message=message,
                fix=unmasked(facts),
                evidence=evidence,
            )
        return
    rule, message, fix = _refused(facts, step, number)
    # Where buildah gets its namespace, it needs no more of them.
    operations: tuple[Operation, ...] = ("run",) if granted else ("build-buildah", "run")
    if not granted:
        message += " What needs none works: `build -o oci:DIR`, `check oci:DIR`, `run --unpacked oci:DIR`."
    yield forbid(*operations, rule=rule, subject="user namespaces", message=message, fix=fix, evidence=evidence)


def _refused(  # noqa: PLR0911 - one for each cause
    facts: HostFacts, step: str, number: int
) -> tuple[str, str, str | Repair]:
    """Rule, cause and repair for a step that the kernel refused."""
    spaces = facts.user_namespaces
    name = errno.errorcode.get(number, str(number))
    fix: str | Repair
    if number == errno.ENOSPC and step != "user namespace" and step.endswith(" namespace"):
        kind = _KINDS.get(step, step.removesuffix(" namespace"))
        message = f"The limit user.max_{kind}_namespaces is 0 or reached: no {step} can be made ({name})."
        meanwhile = "; until then `run --network host` works." if kind == "net" else "."
        fix = as_root(facts, f"sysctl -w user.max_{kind}_namespaces=28633", end=meanwhile)
        return "host-user-namespaces", message, fix
    if spaces.max_user_namespaces == 0 or (number == errno.ENOSPC and step == "user namespace"):
        message = (
            f"user.max_user_namespaces is {spaces.max_user_namespaces}: no user namespace can be made ({name})."
        )
        raised = as_root(
            facts,
            "sh -c 'echo user.max_user_namespaces=28633 > /etc/sysctl.d/99-zz-userns.conf'",
            "sysctl --system",
        )
        fix = Repair(
            fix=f"{raised.fix[:-1]}; hardening guides (STIG) exempt documented container hosts.",
            commands=raised.commands,
            needs_root=True,
        )
        return "host-user-namespaces-limit", message, fix
    if spaces.unprivileged_userns_clone == 0:
        message = f"kernel.unprivileged_userns_clone is 0: no user namespace without root ({name})."
        return (
            "host-user-namespaces-switch",
            message,
            as_root(facts, "sysctl -w kernel.unprivileged_userns_clone=1"),
        )
    if spaces.apparmor_restrict == 1 and step != "user namespace":
        message = f"AppArmor restricts user namespaces (the step {step!r} failed with {name})."
        raised = as_root(facts, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        fix = Repair(
            fix="Use podman and buildah from the distribution's packages, which have AppArmor profiles, or "
            f"{raised.fix}",
            commands=raised.commands,
            needs_root=True,
        )
        return "host-user-namespaces-apparmor", message, fix
    if number == errno.EPERM and facts.identity.seccomp:
        message = f"A seccomp filter of the surrounding container refuses the step {step!r} ({name})."
        return "host-user-namespaces-seccomp", message, unconfined(facts)
    if number == errno.EACCES:
        message = f"A security module (profile {facts.identity.confinement}) refuses the step {step!r} ({name})."
        return "host-user-namespaces-confined", message, unconfined(facts)
    if number in (errno.EINVAL, errno.ENOSYS) and step == "user namespace":
        message = f"This kernel has no user namespaces ({name})."
        fix = "Use a kernel built with CONFIG_USER_NS=y, or a host that is not sandboxed by gVisor or the like."
        return "host-user-namespaces-absent", message, fix
    reason = f"{name}, {os.strerror(number)}" if number else spaces.probe.problem or "the probe was ended"
    message = f"The kernel refuses the step {step!r} of making a container ({reason})."
    fix = "Compare the limits of `sysctl user` with those of a host that works, and ask its administrator."
    return "host-user-namespaces", message, fix


def _subordinate_ids(facts: HostFacts) -> Iterator[Judged]:
    who = facts.identity.user or str(facts.identity.uid)
    first = max(facts.subuids.first_free, facts.subgids.first_free)
    span = f"{first}-{first + USUAL_COUNT - 1}"
    lacking = [ids for ids in (facts.subuids, facts.subgids) if ids.total < NONROOT]
    if lacking:
        options = " ".join(f"--add-{ids.kind}s {span}" for ids in lacking)
        seen = " and ".join(_seen(ids) for ids in lacking)
        added = as_root(facts, f"usermod {options} {shlex.quote(who)}")
        fix = Repair(fix=f"{added.fix[:-2]} && podman system migrate`.", commands=added.commands, needs_root=True)
        evidence = ", ".join(f"{ids.source}: {ids.total} ids for {who}" for ids in lacking)
        if all(ids.ranges for ids in (facts.subuids, facts.subgids)):
            yield forbid(
                "run",
                rule="host-subids",
                subject=who,
                message=f"{seen}; a container's user {NONROOT} needs at least {NONROOT} of both. `run --user 0` "
                "works.",
                fix=fix,
                evidence=evidence,
            )
        else:
            # podman and buildah then map the one own id. `run` starts the program as that, `debug` keeps its user.
            yield remark(
                "build-buildah",
                "run",
                severity="warning",
                stops=("debug",),
                rule="host-subids",
                subject=who,
                message=f"{seen}: programs run as user 0 of their containers, which is {who}, whatever the "
                "image's "
                "user is.",
                fix=fix,
                evidence=evidence,
            )
    own = {"subuid": facts.identity.uid, "subgid": facts.identity.gid}
    for ids in (facts.subuids, facts.subgids):
        if any(each.start <= own[ids.kind] < each.start + each.count for each in ids.ranges):
            yield forbid(
                "run",
                rule="host-subids-overlap",
                subject=who,
                message=f"A range of {who} in {ids.source} includes the own id {own[ids.kind]}, "
                "which podman refuses.",
                fix=f"Give {who} another range in {ids.source}, such as `{who}:{first}:{USUAL_COUNT}`, "
                "then `podman system migrate`.",
                evidence=f"{ids.source}: {_ranges(ids)}",
            )
    yield from _unusable(facts, who)


def _unusable(facts: HostFacts, who: str) -> Iterator[Judged]:
    """Ranges that are not this user's alone, or that no process here can have."""
    outside = [
        ids
        for ids, own in ((facts.subuids, facts.identity.uid), (facts.subgids, facts.identity.gid))
        if ids.outside and not any(each.start <= own < each.start + each.count for each in ids.ranges)
    ]
    for ids in (facts.subuids, facts.subgids):
        if ids.shared_with is not None:
            yield remark(
                "run",
                severity="warning",
                rule="host-subids-shared",
                subject=who,
                message=f"A range of {who} in {ids.source} overlaps one of {ids.shared_with}, so each can "
                "reach files "
                "of the other's containers.",
                fix=f"Give {who} another range in {ids.source}, such as "
                f"`{who}:{ids.first_free}:{USUAL_COUNT}`, then "
                "`podman system migrate`.",
                evidence=f"{ids.source}: {_ranges(ids)}",
            )
            break
    if outside:
        sources = " and ".join(ids.source for ids in outside)
        yield forbid(
            "run",
            rule="host-subids-outside",
            subject=who,
            message=f"A range of {who} in {sources} has ids that this container itself was not given.",
            fix=f"Make the range fit into the ids of /proc/self/{outside[0].kind[3:]}_map, as `{who}:1:999` and "
            f"`{who}:1001:64535` do in podman's own image, or start the container with more ids.",
            evidence=f"{sources}: {_ranges(outside[0])}; ids of this container: {facts.identity.mapped_ids}",
        )


def _ranges(ids: SubordinateIds) -> str:
    return ", ".join(f"{each.start}:{each.count}" for each in ids.ranges)


def _seen(ids: SubordinateIds) -> str:
    if not ids.ranges:
        return f"{ids.source} grants this user no {ids.kind}s"
    return f"{ids.source} grants this user only {ids.total} {ids.kind}s"


def _helpers(facts: HostFacts) -> Iterator[Judged]:
    absent = [helper.name for helper in facts.map_helpers if helper.path is None]
    granted = facts.subuids.ranges and facts.subgids.ranges
    if not (granted or absent):
        # The one own id is mapped then, which needs no right.
        return
    identity, subject = facts.identity, "newuidmap"
    operations: tuple[Operation, ...] = ("run",)
    powerless = [
        helper.path or "" for helper in facts.map_helpers if not (helper.setuid or helper.file_capabilities)
    ]
    fix: str | Repair
    if absent:
        # buildah asks for them even where it has nothing to map by them.
        operations = ("build-buildah", "run") if granted else ("build-buildah",)
        rule = "host-newuidmap-missing"
        message = f"{' and '.join(absent)}, which map subordinate ids, {_are(absent)} not installed."
        evidence = f"PATH: no {', no '.join(absent)}"
        fix = install(facts, "newuidmap")
    elif powerless:
        rule = "host-newuidmap-rights"
        message = (
            f"{' and '.join(powerless)} {'have' if len(powerless) > 1 else 'has'} neither setuid bit nor file "
        )
        message += "capabilities, as happens when an image is copied without them."
        evidence = f"stat({powerless[0]}): no setuid bit; getxattr(security.capability): none"
        fix = as_root(facts, *(f"chmod u+s {shlex.quote(path)}" for path in powerless))
    elif identity.no_new_privileges or any(helper.nosuid_mount for helper in facts.map_helpers):
        seen = "no_new_privs is set" if identity.no_new_privileges else "its file system is mounted nosuid"
        rule = "host-no-new-privileges"
        message = f"newuidmap cannot raise its rights: {seen}."
        evidence = "/proc/self/status: NoNewPrivs 1" if identity.no_new_privileges else "statvfs: ST_NOSUID"
        fix = escalating(facts)
    elif not (identity.bounding >> CAP_SETUID & 1 and identity.bounding >> CAP_SETGID & 1):
        rule = "host-capabilities"
        message = "This container lacks the capabilities SETUID and SETGID, which newuidmap needs."
        evidence = f"/proc/self/status: CapBnd {identity.bounding:x}"
        fix = escalating(facts)
    elif identity.primary_gid is not None and identity.gid != identity.primary_gid:
        rule = "host-group"
        subject = identity.user or ""
        message = f"This process has the group {identity.gid}, but newuidmap insists on the user's primary group "
        message += f"{identity.primary_gid}."
        evidence = f"getgid(): {identity.gid}; /etc/passwd: {identity.primary_gid}"
        fix = f"Run it with the primary group: `newgrp $(id -gn {identity.user})`, or `runAsGroup: "
        fix += f"{identity.primary_gid}` in Kubernetes."
    else:
        return
    yield forbid(*operations, rule=rule, subject=subject, message=message, fix=fix, evidence=evidence)


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _has_one_range_of_each(facts: HostFacts) -> bool:
    return all(len(kind.ranges) == 1 for kind in (facts.subuids, facts.subgids))


def _end_to_end(facts: HostFacts) -> Iterator[Judged]:
    """Whatever no rule above foresaw: buildah itself was asked for a namespace."""
    id_map = facts.user_namespaces.id_map
    if id_map is None or limit_in(id_map.problem or "") is not None:
        return
    operations: tuple[Operation, ...] = ("build-buildah", "run")
    if id_map.problem is not None:
        known = cause_in(id_map.stderr)
        if known is not None and known.rule == "host-home" and is_homeless(facts):
            return
        if known is not None and known.rule == "host-root-confined" and _has_one_range_of_each(facts):
            # With these a build makes the namespace by itself: backends/worker/namespace.py.
            operations = ("run",)
        rule = "host-id-map" if known is None else known.rule
        message = f"`buildah unshare` fails: {id_map.problem}." if known is None else known.cause
        fix = (
            "Run `buildah unshare cat /proc/self/uid_map` to see all that it says; `podman system migrate` helps "
        )
        fix += "after a change of /etc/subuid."
        fix = fix if known is None else known.fix
        evidence = f"buildah unshare: {id_map.problem}"
    elif id_map.ids <= NONROOT and not facts.identity.bounding >> CAP_SYS_ADMIN & 1:
        # It goes on as the user only once it has opened the map: user_namespaces(7).
        operations = ("run",)
        rule = "host-capabilities"
        message = "newuidmap may not write a map of ids: this container lacks the capability SYS_ADMIN."
        evidence = f"buildah unshare: {id_map.ids} ids; /proc/self/status: CapBnd {facts.identity.bounding:x}"
        fix = administering(facts)
    elif id_map.ids <= NONROOT:
        operations = ("run",)
        rule = "host-id-map"
        message = f"Only {id_map.ids} ids are really mapped, although {facts.subuids.source} grants more."
        fix = "Run `podman system migrate`; `buildah unshare cat /proc/self/uid_map` shows what is mapped."
        evidence = f"buildah unshare: {id_map.ids} ids"
    else:
        return
    yield forbid(*operations, rule=rule, subject="buildah unshare", message=message, fix=fix, evidence=evidence)
