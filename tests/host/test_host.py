"""The doctor's judgement of hosts that are not at hand: facts by hand, one thing changed at a time."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import msgspec
import pytest

from rootless_scratch.host.facts import Cgroups, HostFacts, Network, Pause, Runtime, Sentinel, Socket, Tool
from rootless_scratch.host.identity import Identity, IdRange, MapHelper, SubordinateIds
from rootless_scratch.host.namespaces import IdMap, Probe, UserNamespaces
from rootless_scratch.host.quotas import Quotas
from rootless_scratch.host.storage import Location, Storage
from rootless_scratch.host.surroundings import Surroundings
from rootless_scratch.rules.host.hosts import HostJudgement, judge_host

ALL_CAPABILITIES = (1 << 41) - 1
GIB = 1 << 30


def place(path: str) -> Location:
    return Location(path=path, fstype="ext4", writable=True, noexec=False, free=50 * GIB)


def helper(name: str) -> MapHelper:
    return MapHelper(name=name, path=f"/usr/bin/{name}", setuid=True, file_capabilities=False, nosuid_mount=False)


HEALTHY = HostFacts(
    identity=Identity(
        uid=1000,
        gid=1000,
        user="anna",
        primary_gid=1000,
        no_new_privileges=False,
        seccomp=False,
        effective=0,
        bounding=ALL_CAPABILITIES,
        mapped_ids=2**32 - 1,
        confinement=None,
    ),
    tools=(
        Tool(name="podman", path="/usr/bin/podman", version="5.4.2"),
        Tool(name="buildah", path="/usr/bin/buildah", version="1.39.3"),
        Tool(name="runc", path=None),
        Tool(name="crun", path="/usr/bin/crun"),
        Tool(name="conmon", path="/usr/bin/conmon"),
        Tool(name="slirp4netns", path=None),
        Tool(name="pasta", path="/usr/bin/pasta"),
        Tool(name="skopeo", path="/usr/bin/skopeo"),
        Tool(name="busybox", path="/usr/bin/busybox"),
    ),
    surroundings=Surroundings(family="debian"),
    quotas=Quotas(),
    home="/home/anna",
    home_problem=None,
    subuids=SubordinateIds(
        kind="subuid",
        ranges=(IdRange(start=100_000, count=65_536),),
        source="/etc/subuid",
        first_free=165_536,
    ),
    subgids=SubordinateIds(
        kind="subgid",
        ranges=(IdRange(start=100_000, count=65_536),),
        source="/etc/subgid",
        first_free=165_536,
    ),
    map_helpers=(helper("newuidmap"), helper("newgidmap")),
    user_namespaces=UserNamespaces(
        max_user_namespaces=100_000,
        unprivileged_userns_clone=None,
        apparmor_restrict=None,
        probe=Probe(failed_step=None, errno=0),
        id_map=IdMap(ids=65_537, problem=None),
    ),
    cgroups=Cgroups(mode="v2", runtime=Runtime(name=None, reason=None), controllers=("cpu", "memory", "pids")),
    network=Network(tun=None, bridge=None),
    storage=Storage(
        images=place("/home/anna/.local/share/containers/storage"),
        driver="overlay",
        temporary=place("/home/anna/tmp"),
        state=place("/home/anna/.local/state/rootless-scratch"),
        policy="/etc/containers/policy.json",
        problem=None,
    ),
    runtime_dir="/run/user/1000",
    runtime_dir_problem=None,
    socket=Socket(path="/run/user/1000/podman/podman.sock", named=False, state="listening"),
    pause=Pause(path="/run/user/1000/libpod/tmp/pause.pid", pid=None, alive=False),
    sentinel=Sentinel(path=None, another_boot=False),
)

replace = msgspec.structs.replace


def working(judgement: HostJudgement) -> set[str]:
    return {each.name for each in judgement.operations if each.works}


def fix_of(judgement: HostJudgement, rule: str) -> str:
    return next(finding.fix for finding in judgement.findings if finding.rule == rule)


def without_namespaces(number: int, step: str = "user namespace", **changes: object) -> HostFacts:
    problem = IdMap(ids=0, problem="Error during unshare(CLONE_NEWUSER)")
    spaces = replace(
        HEALTHY.user_namespaces, probe=Probe(failed_step=step, errno=number), id_map=problem, **changes
    )
    return replace(HEALTHY, user_namespaces=spaces)


def test_on_a_healthy_host_everything_works_and_there_is_nothing_to_say() -> None:
    judgement = judge_host(HEALTHY)
    assert working(judgement) == {"build-direct", "build-buildah", "run", "network", "limits", "push", "debug"}
    assert judgement.findings == ()


def test_every_operation_of_the_contract_is_named_once_and_in_order() -> None:
    names = [each.name for each in judge_host(HEALTHY).operations]
    assert names == ["build-direct", "build-buildah", "run", "network", "limits", "push", "debug"]


def test_a_host_hardened_by_stig_is_told_the_sysctl_that_sorts_last() -> None:
    judgement = judge_host(without_namespaces(errno.ENOSPC, max_user_namespaces=0))
    assert working(judgement) == {"build-direct", "push"}
    assert "user.max_user_namespaces=28633" in fix_of(judgement, "host-user-namespaces-limit")
    assert "/etc/sysctl.d/99-zz-userns.conf" in fix_of(judgement, "host-user-namespaces-limit")


@pytest.mark.parametrize(
    ("facts", "rule", "word"),
    [
        pytest.param(
            without_namespaces(errno.EPERM, unprivileged_userns_clone=0),
            "host-user-namespaces-switch",
            "kernel.unprivileged_userns_clone=1",
            id="old-debian",
        ),
        pytest.param(
            without_namespaces(errno.EPERM, step="uid map", apparmor_restrict=1),
            "host-user-namespaces-apparmor",
            "apparmor_restrict_unprivileged_userns=0",
            id="ubuntu-24.04",
        ),
        pytest.param(
            replace(
                without_namespaces(errno.EPERM),
                identity=replace(HEALTHY.identity, seccomp=True),
            ),
            "host-user-namespaces-seccomp",
            "seccomp=unconfined",
            id="docker-container",
        ),
        pytest.param(
            replace(
                without_namespaces(errno.EACCES, step="private mounts"),
                identity=replace(HEALTHY.identity, confinement="docker-default (enforce)"),
            ),
            "host-user-namespaces-confined",
            "apparmor=unconfined",
            id="docker-apparmor",
        ),
        pytest.param(
            without_namespaces(errno.EINVAL), "host-user-namespaces-absent", "CONFIG_USER_NS", id="gvisor"
        ),
        pytest.param(
            without_namespaces(errno.ENOSPC, step="network namespace"),
            "host-user-namespaces",
            "sysctl -w user.max_net_namespaces",
            id="no-network-namespaces",
        ),
    ],
)
def test_a_host_that_refuses_namespaces_is_told_which_knob_refuses(facts: HostFacts, rule: str, word: str) -> None:
    judgement = judge_host(facts)
    assert working(judgement) == {"build-direct", "push"}
    assert word in fix_of(judgement, rule)
    assert {finding.severity for finding in judgement.findings} == {"error"}


def test_apparmor_that_refuses_python_but_not_buildah_is_no_hindrance() -> None:
    spaces = replace(
        HEALTHY.user_namespaces,
        apparmor_restrict=1,
        probe=Probe(failed_step="mount namespace", errno=errno.EPERM),
    )
    assert judge_host(replace(HEALTHY, user_namespaces=spaces)).findings == ()


def test_a_masked_proc_stops_what_runs_as_user_0_but_not_building() -> None:
    spaces = replace(HEALTHY.user_namespaces, probe=Probe(failed_step="mount of proc", errno=errno.EPERM))
    facts = replace(HEALTHY, user_namespaces=spaces)
    assert working(judge_host(facts)) & {"run", "debug"} == {"run"}
    facts = replace(facts, subuids=replace(HEALTHY.subuids, ranges=()))
    assert working(judge_host(facts)) == {"build-direct", "build-buildah", "push"}


def test_a_user_without_subids_can_build_and_is_given_the_next_free_range() -> None:
    judgement = judge_host(
        replace(
            HEALTHY,
            subuids=replace(HEALTHY.subuids, ranges=()),
            subgids=replace(HEALTHY.subgids, ranges=()),
            user_namespaces=replace(HEALTHY.user_namespaces, id_map=IdMap(ids=1, problem=None)),
        )
    )
    assert {"build-buildah", "run"} < working(judgement)
    assert judgement.findings[0].severity == "warning"
    assert fix_of(judgement, "host-subids") == (
        "`sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 anna && podman system migrate`."
    )


def test_a_range_that_is_too_short_for_the_nonroot_user_is_counted() -> None:
    short = replace(HEALTHY.subuids, ranges=(IdRange(start=100_000, count=1000),))
    judgement = judge_host(replace(HEALTHY, subuids=short))
    assert "run" not in working(judgement)
    assert "only 1000 subuids" in judgement.findings[0].message


def test_a_range_that_includes_the_own_id_is_refused_as_podman_refuses_it() -> None:
    overlapping = replace(HEALTHY.subuids, ranges=(IdRange(start=1000, count=65_536),))
    judgement = judge_host(replace(HEALTHY, subuids=overlapping))
    assert judgement.operation("run").findings == ("host-subids-overlap",)


def test_missing_newuidmap_is_fixed_by_the_package_of_each_distribution() -> None:
    absent = replace(helper("newuidmap"), path=None, setuid=False)
    judgement = judge_host(replace(HEALTHY, map_helpers=(absent, helper("newgidmap"))))
    assert working(judgement) == {"build-direct", "push"}
    assert "apt-get install -y uidmap" in fix_of(judgement, "host-newuidmap-missing")
    elsewhere = replace(HEALTHY, map_helpers=(absent, helper("newgidmap")), surroundings=Surroundings())
    assert "shadow-utils" in fix_of(judge_host(elsewhere), "host-newuidmap-missing")


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        pytest.param(
            replace(HEALTHY, map_helpers=(replace(helper("newuidmap"), setuid=False), helper("newgidmap"))),
            "host-newuidmap-rights",
            id="setuid-bit-lost",
        ),
        pytest.param(
            replace(HEALTHY, identity=replace(HEALTHY.identity, no_new_privileges=True)),
            "host-no-new-privileges",
            id="kubernetes-without-escalation",
        ),
        pytest.param(
            replace(HEALTHY, identity=replace(HEALTHY.identity, bounding=0)),
            "host-capabilities",
            id="all-capabilities-dropped",
        ),
        pytest.param(replace(HEALTHY, identity=replace(HEALTHY.identity, gid=4444)), "host-group", id="newgrp"),
    ],
)
def test_a_newuidmap_that_cannot_raise_its_rights_stops_running(facts: HostFacts, rule: str) -> None:
    judgement = judge_host(facts)
    assert working(judgement) == {"build-direct", "build-buildah", "push"}
    assert judgement.operation("run").findings == (rule,)


def test_a_random_uid_of_openshift_is_told_about_passwd() -> None:
    identity = replace(HEALTHY.identity, uid=1_000_710_000, user=None, primary_gid=None, gid=0)
    judgement = judge_host(replace(HEALTHY, identity=identity))
    assert {"build-buildah", "run"}.isdisjoint(working(judgement))
    assert "1000710000" in fix_of(judgement, "host-no-account")


def test_what_no_rule_foresaw_is_reported_in_the_words_of_buildah() -> None:
    spaces = replace(HEALTHY.user_namespaces, id_map=IdMap(ids=0, problem="the moon is in the way"))
    judgement = judge_host(replace(HEALTHY, user_namespaces=spaces))
    assert "the moon is in the way" in judgement.findings[0].message


def test_hybrid_cgroups_without_runc_stop_running_and_with_it_are_only_mentioned() -> None:
    refused = judge_host(replace(HEALTHY, cgroups=Cgroups(mode="hybrid", runtime=None, controllers=())))
    assert working(refused) == {"build-direct", "build-buildah", "push"}
    assert "runc" in fix_of(refused, "host-runtime-hybrid")
    choice = Runtime(name="runc", reason="cgroups are hybrid here")
    chosen = judge_host(replace(HEALTHY, cgroups=Cgroups(mode="hybrid", runtime=choice, controllers=())))
    assert working(chosen) == {"build-direct", "build-buildah", "run", "network", "push", "debug"}


def test_a_noexec_home_stops_running_but_not_building() -> None:
    storage = replace(HEALTHY.storage, driver="vfs", images=replace(HEALTHY.storage.images, noexec=True))
    judgement = judge_host(replace(HEALTHY, storage=storage))
    assert working(judgement) == {"build-direct", "build-buildah", "push"}
    assert "graphroot" in fix_of(judgement, "host-storage-noexec")


def test_storage_that_is_full_scarce_read_only_or_remote_is_told_apart() -> None:
    def judged(**changes: object) -> HostJudgement:
        images = replace(HEALTHY.storage.images, **changes)
        return judge_host(replace(HEALTHY, storage=replace(HEALTHY.storage, images=images)))

    assert judged(free=0).operation("build-buildah").findings == ("host-disk-full",)
    assert "512 MiB" in judged(free=GIB // 2).findings[0].message
    assert "run" not in working(judged(writable=False))
    assert judged(fstype="nfs4").findings[0].severity == "warning"


def test_without_a_policy_json_tools_are_given_one() -> None:
    judgement = judge_host(replace(HEALTHY, storage=replace(HEALTHY.storage, policy=None)))
    assert working(judgement) == {each.name for each in judgement.operations}
    assert {finding.severity for finding in judgement.findings} == {"warning"}


@pytest.mark.parametrize(
    ("tool", "operation"),
    [("buildah", "build-buildah"), ("podman", "run"), ("conmon", "run"), ("skopeo", "push")],
)
def test_each_missing_program_stops_the_operation_that_needs_it(tool: str, operation: str) -> None:
    tools = tuple(replace(each, path=None) if each.name == tool else each for each in HEALTHY.tools)
    judgement = judge_host(replace(HEALTHY, tools=tools))
    assert operation not in working(judgement)
    assert "apt-get install" in fix_of(judgement, f"host-{tool}-missing")


def test_without_a_network_helper_or_tun_containers_run_alone_and_that_is_no_error() -> None:
    tools = tuple(replace(each, path=None) if each.name == "pasta" else each for each in HEALTHY.tools)
    judgement = judge_host(
        replace(HEALTHY, tools=tools, network=Network(tun="No such file or directory", bridge=None))
    )
    assert judgement.operation("network").findings == ("host-network-helper", "host-tun")
    assert judgement.operation("run").works
    assert {finding.severity for finding in judgement.findings} == {"warning"}


def test_limits_without_delegated_controllers_name_those_that_are_absent() -> None:
    judgement = judge_host(replace(HEALTHY, cgroups=replace(HEALTHY.cgroups, controllers=("memory", "pids"))))
    assert "controllers cpu " in judgement.findings[0].message
    assert not judgement.operation("limits").works


def test_root_in_a_ci_container_needs_no_namespace_no_subids_and_no_newuidmap() -> None:
    root = replace(
        HEALTHY.identity, uid=0, gid=0, user="root", primary_gid=0, effective=ALL_CAPABILITIES, seccomp=True
    )
    facts = replace(
        without_namespaces(errno.EPERM),
        identity=root,
        subuids=replace(HEALTHY.subuids, ranges=()),
        subgids=replace(HEALTHY.subgids, ranges=()),
        network=Network(tun=None, bridge="/usr/lib/podman/netavark"),
    )
    assert judge_host(facts).findings == ()


def test_root_without_sys_admin_is_judged_like_any_other_user() -> None:
    root = replace(HEALTHY.identity, uid=0, gid=0, user="root", primary_gid=0, effective=0, seccomp=True)
    judgement = judge_host(replace(without_namespaces(errno.EPERM), identity=root))
    assert "run" not in working(judgement)
    assert judgement.findings[0].rule == "host-user-namespaces-seccomp"


def test_an_old_podman_is_a_warning_that_names_both_versions() -> None:
    tools = tuple(replace(each, version="3.4.4") if each.name == "podman" else each for each in HEALTHY.tools)
    judgement = judge_host(replace(HEALTHY, tools=tools))
    assert judgement.findings[0].message == "podman 3.4.4 is older than 4.3, the oldest that is tested."
    assert judgement.operation("run").works


def test_root_in_a_namespace_of_one_id_cannot_run_the_nonroot_user() -> None:
    root = replace(HEALTHY.identity, uid=0, gid=0, effective=ALL_CAPABILITIES, mapped_ids=1)
    network = Network(tun=None, bridge="/usr/lib/podman/netavark")
    judgement = judge_host(replace(HEALTHY, identity=root, network=network))
    assert working(judgement) == {"build-direct", "build-buildah", "push"}


def test_a_podman_service_that_is_named_must_answer_and_one_that_is_not_is_started() -> None:
    named = Socket(path="/run/gone.sock", named=True, state="absent")
    refused = judge_host(replace(HEALTHY, socket=named))
    assert working(refused) == {"build-direct", "build-buildah", "push"}
    assert "Unset CONTAINER_HOST" in fix_of(refused, "host-socket-named")
    private = judge_host(replace(HEALTHY, socket=replace(named, named=False)))
    assert private.operation("run").works
    assert private.findings[0].severity == "info"


def test_every_rule_is_explained_in_the_documentation() -> None:
    source = Path(__file__).resolve().parents[2]
    code = "".join(
        (source / f"rootless_scratch/rules/{name}.py").read_text()
        for name in ("host/hosts", "host/rights", "host/storage", "host/quotas")
    )
    rules = set(re.findall(r'rule = ?"(host-[a-z0-9-]+)"|rule="(host-[a-z0-9-]+)"', code))
    named = {name for pair in rules for name in pair if name}
    page = (source / "docs/hosts.md").read_text()
    assert {name for name in named if f"`{name}`" not in page} == set()
