"""The doctor's rules on rights: user namespaces, subordinate ids, and the helpers that map them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rootless_scratch.command import install_hint
from rootless_scratch.host.identity import CAP_SETGID, CAP_SETUID, SubordinateIds
from rootless_scratch.rules.host.judged import Judged, Operation, forbid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.host.facts import HostFacts

NONROOT = 65532
"""The user that images run as by default; it must be among the mapped ids."""

USUAL_COUNT = 65536

_UNCONFINED = "docker: `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`; Kubernetes: "
_UNCONFINED += "`seccompProfile: {type: Unconfined}`; GitLab docker executor: `security_opt = "
_UNCONFINED += '["seccomp:unconfined", "apparmor:unconfined"]`'


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
            fix=f"Add one: `echo 'builder:x:{facts.identity.uid}:0::/tmp:/bin/sh' >> /etc/passwd`, "
            "or run as a user that the image of the CI job knows.",
        )
    refused = tuple(_namespaces(facts))
    yield from refused
    ids = tuple(_subordinate_ids(facts))
    yield from ids
    helpers = tuple(_helpers(facts))
    yield from helpers
    if not (refused or ids or helpers):
        yield from _end_to_end(facts)


def _namespaces(facts: HostFacts) -> Iterator[Judged]:
    spaces = facts.user_namespaces
    step, number = spaces.probe.failed_step, spaces.probe.errno
    if step is None:
        return
    granted = spaces.id_map is not None and spaces.id_map.problem is None and spaces.id_map.ids > NONROOT
    if granted and (spaces.apparmor_restrict == 1 or step in ("user namespace", "uid map", "gid map")):
        # AppArmor grants namespaces by the path of the program: buildah has a profile, Python has none.
        return
    name = errno.errorcode.get(number, str(number))
    rule, message, fix = "host-user-namespaces", "", ""
    if step == "mount of proc":
        yield forbid(
            "run",
            rule="host-proc-masked",
            subject="/proc",
            message=f"A fresh /proc cannot be mounted ({name}): this container's own /proc is masked.",
            fix="Start the outer container with `--security-opt unmask=ALL` (podman), "
            "`--security-opt systempaths=unconfined` (docker) or `procMount: Unmasked` (Kubernetes).",
        )
        return
    if spaces.max_user_namespaces == 0 or (number == errno.ENOSPC and step == "user namespace"):
        rule = "host-user-namespaces-limit"
        seen = spaces.max_user_namespaces
        message = f"user.max_user_namespaces is {seen}: no user namespace can be made ({name})."
        fix = (
            "`echo user.max_user_namespaces=28633 | sudo tee /etc/sysctl.d/99-zz-userns.conf && "
            "sudo sysctl --system`; hardening guides (STIG) exempt documented container hosts."
        )
    elif spaces.unprivileged_userns_clone == 0:
        rule = "host-user-namespaces-switch"
        message = f"kernel.unprivileged_userns_clone is 0: no user namespace without root ({name})."
        fix = "`sudo sysctl -w kernel.unprivileged_userns_clone=1`."
    elif spaces.apparmor_restrict == 1 and step != "user namespace":
        rule = "host-user-namespaces-apparmor"
        message = f"AppArmor restricts user namespaces (the step {step!r} failed with {name})."
        fix = (
            "Use podman and buildah from the distribution's packages, which have AppArmor profiles, or "
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`."
        )
    elif number == errno.EPERM and facts.identity.seccomp:
        rule = "host-user-namespaces-seccomp"
        message = f"A seccomp filter of the surrounding container refuses the step {step!r} ({name})."
        fix = f"Start that container without the filter; {_UNCONFINED}."
    elif number == errno.EACCES:
        rule = "host-user-namespaces-confined"
        message = f"A security module (profile {facts.identity.confinement}) refuses the step {step!r} ({name})."
        fix = f"Start the surrounding container unconfined; {_UNCONFINED}."
    elif number in (errno.EINVAL, errno.ENOSYS) and step == "user namespace":
        rule = "host-user-namespaces-absent"
        message = f"This kernel has no user namespaces ({name})."
        fix = "Use a kernel built with CONFIG_USER_NS=y, or a host that is not sandboxed by gVisor or the like."
    else:
        reason = f"{name}, {os.strerror(number)}" if number else "the probe was ended"
        message = f"The kernel refuses the step {step!r} of making a container ({reason})."
        fix = "Compare the limits of `sysctl user` with those of a host that works, and ask its administrator."
    yield forbid("build-buildah", "run", rule=rule, subject="user namespaces", message=message, fix=fix)


def _subordinate_ids(facts: HostFacts) -> Iterator[Judged]:
    who = facts.identity.user or str(facts.identity.uid)
    first = max(facts.subuids.first_free, facts.subgids.first_free)
    span = f"{first}-{first + USUAL_COUNT - 1}"
    lacking = [ids for ids in (facts.subuids, facts.subgids) if ids.total < NONROOT]
    if lacking:
        options = " ".join(f"--add-{ids.kind}s {span}" for ids in lacking)
        seen = " and ".join(_seen(ids) for ids in lacking)
        yield forbid(
            "run",
            rule="host-subids",
            subject=who,
            message=f"{seen}; a container's user {NONROOT} needs at least {NONROOT} of both.",
            fix=f"`sudo usermod {options} {who} && podman system migrate`.",
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
            )


def _seen(ids: SubordinateIds) -> str:
    if not ids.ranges:
        return f"{ids.source} grants this user no {ids.kind}s"
    return f"{ids.source} grants this user only {ids.total} {ids.kind}s"


def _helpers(facts: HostFacts) -> Iterator[Judged]:
    absent = [helper.name for helper in facts.map_helpers if helper.path is None]
    granted = facts.subuids.ranges or facts.subgids.ranges
    identity, subject = facts.identity, "newuidmap"
    operations: tuple[Operation, ...] = ("run",)
    powerless = [
        helper.path or "" for helper in facts.map_helpers if not (helper.setuid or helper.file_capabilities)
    ]
    if absent:
        # Without ranges buildah maps the one own id, and asks for no helper.
        operations = ("build-buildah", "run") if granted else ("run",)
        rule = "host-newuidmap-missing"
        message = f"{' and '.join(absent)}, which map subordinate ids, {_are(absent)} not installed."
        fix = install_hint("newuidmap")
    elif not granted:
        return
    elif powerless:
        rule = "host-newuidmap-rights"
        message = f"{' and '.join(powerless)} has neither setuid bit nor file capabilities, as happens when an "
        message += "image is copied without them."
        fix = "; ".join(f"`sudo chmod u+s {path}`" for path in powerless) + "."
    elif identity.no_new_privileges or any(helper.nosuid_mount for helper in facts.map_helpers):
        seen = "no_new_privs is set" if identity.no_new_privileges else "its file system is mounted nosuid"
        rule = "host-no-new-privileges"
        message = f"newuidmap cannot raise its rights: {seen}."
        fix = "Kubernetes: `allowPrivilegeEscalation: true`; systemd: `NoNewPrivileges=no`; docker: leave out "
        fix += "`--security-opt no-new-privileges`."
    elif not (identity.bounding >> CAP_SETUID & 1 and identity.bounding >> CAP_SETGID & 1):
        rule = "host-capabilities"
        message = "This container lacks the capabilities SETUID and SETGID, which newuidmap needs."
        fix = "Add them: `--cap-add SETUID,SETGID` (docker, podman), `capabilities: {add: [SETUID, SETGID]}` "
        fix += "(Kubernetes)."
    elif identity.primary_gid is not None and identity.gid != identity.primary_gid:
        rule = "host-group"
        subject = identity.user or ""
        message = f"This process has the group {identity.gid}, but newuidmap insists on the user's primary group "
        message += f"{identity.primary_gid}."
        fix = f"Run it with the primary group: `newgrp $(id -gn {identity.user})`, or `runAsGroup: "
        fix += f"{identity.primary_gid}` in Kubernetes."
    else:
        return
    yield forbid(*operations, rule=rule, subject=subject, message=message, fix=fix)


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _end_to_end(facts: HostFacts) -> Iterator[Judged]:
    """Whatever no rule above foresaw: buildah itself was asked for a namespace, and for its storage."""
    id_map = facts.user_namespaces.id_map
    if id_map is None:
        return
    operations: tuple[Operation, ...] = ("build-buildah", "run")
    rule = "host-id-map"
    subject = "buildah unshare"
    if id_map.problem is not None:
        message = f"`buildah unshare` fails: {id_map.problem}."
        fix = (
            "Run `buildah unshare cat /proc/self/uid_map` to see all that it says; `podman system migrate` helps "
        )
        fix += "after a change of /etc/subuid."
    elif id_map.ids <= NONROOT:
        operations = ("run",)
        message = f"Only {id_map.ids} ids are really mapped, although {facts.subuids.source} grants more."
        fix = "Run `podman system migrate`; `buildah unshare cat /proc/self/uid_map` shows what is mapped."
    elif facts.storage.problem is not None:
        rule = "host-storage"
        subject = facts.storage.images.path
        message = f"buildah cannot open the image storage: {facts.storage.problem}."
        fix = "Run `buildah info` to see all that it says, and compare ~/.config/containers/storage.conf."
    else:
        return
    yield forbid(*operations, rule=rule, subject=subject, message=message, fix=fix)
