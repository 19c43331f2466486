"""Each rule of the doctor that other tests meet without its name: one fact changed, and the rule speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from test_host import GIB, HEALTHY, fix_of, working

from rootless_scratch.host.facts import Cgroups, Runtime, Sentinel, Socket
from rootless_scratch.host.namespaces import IdMap, Probe
from rootless_scratch.host.podman_database import Database
from rootless_scratch.host.quotas import Quotas
from rootless_scratch.rules.host.hosts import HostJudgement, judge_host

if TYPE_CHECKING:
    from rootless_scratch.host.facts import HostFacts

RUNC = Runtime(name="runc", reason="because cgroups are hybrid here")


def images(**changes: object) -> HostFacts:
    place = replace(HEALTHY.storage.images, **changes)
    return replace(HEALTHY, storage=replace(HEALTHY.storage, images=place))


CHANGED = {
    "host-cgroup-delegation": replace(HEALTHY, cgroups=replace(HEALTHY.cgroups, controllers=("memory",))),
    "host-keys": replace(HEALTHY, quotas=Quotas(keys=0)),
    "host-toolbox-missing": replace(
        HEALTHY,
        tools=tuple(replace(tool, path=None) if tool.name == "busybox" else tool for tool in HEALTHY.tools),
    ),
    "host-cgroup-limits": replace(HEALTHY, cgroups=Cgroups(mode="v1", runtime=RUNC, controllers=())),
    "host-disk-space": images(free=GIB // 2),
    "host-id-map": replace(
        HEALTHY, user_namespaces=replace(HEALTHY.user_namespaces, id_map=IdMap(ids=1, problem=None))
    ),
    "host-not-writable": images(writable=False),
    "host-policy-missing": replace(HEALTHY, storage=replace(HEALTHY.storage, policy=None)),
    "host-runtime-chosen": replace(HEALTHY, cgroups=replace(HEALTHY.cgroups, runtime=RUNC)),
    "host-runtime-missing": replace(
        HEALTHY, tools=tuple(replace(tool, path=None) if tool.name == "crun" else tool for tool in HEALTHY.tools)
    ),
    "host-runtime-left": replace(
        HEALTHY,
        sentinel=Sentinel(path="/run/user/1000/libpod/tmp/alive", another_boot=True),
        tools=tuple(replace(each, version="5.4.2") if each.name == "podman" else each for each in HEALTHY.tools),
    ),
    "host-socket": replace(HEALTHY, socket=Socket(path="/run/x", named=False, state="absent")),
    "host-socket-elsewhere": replace(HEALTHY, socket=Socket(path="ssh://builder", named=True, state="elsewhere")),
    "host-storage": replace(HEALTHY, storage=replace(HEALTHY.storage, problem="it is broken")),
    "host-storage-network-file-system": images(fstype="nfs"),
    "host-storage-vfs": replace(HEALTHY, storage=replace(HEALTHY.storage, driver="vfs")),
}


@pytest.mark.parametrize("rule", CHANGED)
def test_one_changed_fact_makes_the_rule_speak_and_a_healthy_host_does_not(rule: str) -> None:
    assert rule in [finding.rule for finding in judge_host(CHANGED[rule]).findings]
    assert judge_host(HEALTHY).findings == ()


def test_what_overlay_mounts_has_options_of_its_own() -> None:
    assert judge_host(images(noexec=True)).findings == ()


def test_root_without_rights_builds_with_ids_of_its_own_and_not_without() -> None:
    refused = IdMap(ids=0, problem="memfd_create()", stderr="memfd_create(): Invalid argument")
    facts = replace(HEALTHY, user_namespaces=replace(HEALTHY.user_namespaces, id_map=refused))
    assert judge_host(facts).operation("build-buildah").works
    assert not judge_host(facts).operation("run").works
    two = replace(facts.subuids, ranges=facts.subuids.ranges * 2)
    judgement = judge_host(replace(facts, subuids=two))
    assert not judgement.operation("build-buildah").works
    assert "host-root-confined" in [each.rule for each in judgement.findings]


def test_the_driver_of_podmans_database_is_the_one_that_counts() -> None:
    def judged(**changes: object) -> HostJudgement:
        return judge_host(replace(HEALTHY, storage=replace(HEALTHY.storage, **changes)))

    database = Database(path="/home/anna/.local/share/containers/storage/db.sql", driver="overlay")
    assert judged(database=database).findings == ()
    other = judged(database=database, driver="vfs", others=("overlay",))
    assert "run" not in working(other)
    assert "Set the driver overlay" in fix_of(other, "host-storage-settings")
    assert "host-storage-drivers" not in other.operation("run").findings
    left = "export STORAGE_DRIVER=vfs"
    assert left in fix_of(judged(others=("vfs",)), "host-storage-drivers")
    assert left not in fix_of(judged(others=("vfs",), database=database), "host-storage-drivers")
    refused = {
        "driver": None,
        "problem": "no",
        "stderr": "'overlay' is not supported over overlayfs",
        "is_used": True,
    }
    assert left in fix_of(judged(**refused), "host-storage-overlay")
    assert left not in fix_of(judged(**refused, database=database), "host-storage-overlay")


def test_a_container_without_sys_admin_is_told_so_also_where_its_proc_is_masked() -> None:
    identity = replace(HEALTHY.identity, bounding=HEALTHY.identity.bounding & ~(1 << 21))
    spaces = replace(HEALTHY.user_namespaces, id_map=IdMap(ids=1, problem=None))
    for probe in (spaces.probe, Probe(failed_step="mount of proc", errno=1)):
        facts = replace(HEALTHY, identity=identity, user_namespaces=replace(spaces, probe=probe))
        judgement = judge_host(facts)
        assert "run" not in working(judgement)
        assert "`--cap-add SYS_ADMIN`" in fix_of(judgement, "host-capabilities")
    # Where newuidmap has it by its file, it needs no more.
    assert judge_host(replace(HEALTHY, identity=identity)).findings == ()
