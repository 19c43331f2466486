"""What is done otherwise on a host that lacks something: decided by facts and wants alone, nothing is tried."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.host.causes import cause_in
from rootless_scratch.host.own_storage import has_storage
from rootless_scratch.host.settings import (
    POLICY,
    STORAGE,
    Settings,
    Temporary,
    ToolFacts,
    Wants,
    as_caller,
    by_chroot,
    for_commands,
    for_container,
    for_tools,
    otherwise,
    without_limits,
    without_network,
)

if TYPE_CHECKING:
    from pathlib import Path

NONROOT = Wants(user="65532")
PLAIN = Settings(variables={})


def facts(variables: dict[str, str] | None = None, **changes: object) -> ToolFacts:
    """A healthy host, but for what is changed."""
    own = {"HOME": "/home/a", "PATH": "/bin", "USER": "a"} | (variables or {})
    healthy = ToolFacts(
        variables=own,
        account="a",
        home="/home/a",
        home_problem=None,
        runtime_dir_problem=None,
        temporaries=(Temporary("/var/tmp", None),),
        search_path="/bin",
    )
    return healthy.but(**changes)


def test_a_healthy_host_gets_its_own_environment_without_what_leads_to_another_podman() -> None:
    settings = for_tools(facts({"CONTAINER_HOST": "ssh://a", "DOCKER_HOST": "b"}))
    assert settings.workarounds == ()
    assert settings.variables == {"HOME": "/home/a", "PATH": "/bin", "USER": "a", "LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize(
    ("rule", "variable", "value", "changed"),
    [
        ("host-environment", "USER", "a", facts({"USER": "root"})),
        ("host-environment", "PATH", "/bin", facts({"PATH": "./bin:/bin"})),
        ("host-environment", "XDG_STATE_HOME", None, facts({"XDG_STATE_HOME": "here"})),
        ("host-home", "HOME", "/var/tmp/own", facts(home_problem="does not exist", own_home="/var/tmp/own")),
        (
            "host-runtime-dir",
            "XDG_RUNTIME_DIR",
            None,
            facts({"XDG_RUNTIME_DIR": "/run"}, runtime_dir_problem="no"),
        ),
        ("host-policy-missing", POLICY, "/own/policy.json", facts(policy="/own/policy.json")),
        ("host-storage-overlay", STORAGE, "/own/storage.conf", facts(own_storage="/own/storage.conf")),
    ],
)
def test_each_thing_that_tools_would_stumble_over_is_replaced_and_said_once(
    rule: str, variable: str, value: str | None, changed: ToolFacts
) -> None:
    settings = for_tools(changed)
    assert [each.rule for each in settings.workarounds] == [rule]
    assert settings.variables.get(variable) == value
    assert settings.notes[0].endswith(f". [{rule}]")


def test_temporary_files_go_where_there_is_room_unless_there_is_none_anywhere() -> None:
    full = Temporary("/full", "/full has 0 MiB left", "host-disk-full", named=True)
    usual, other = Temporary("/var/tmp", None), Temporary("/tmp", None)
    named = {"TMPDIR": "/full"}
    assert "TMPDIR" not in for_tools(facts(named, temporaries=(full, usual))).variables
    short = Temporary("/var/tmp", "/var/tmp has 0 MiB left", "host-disk-full")
    settings = for_tools(facts(named, temporaries=(full, short, other)))
    assert settings.variables["TMPDIR"] == "/tmp"
    assert [each.rule for each in settings.workarounds] == ["host-disk-full", "host-disk-full"]
    settings = for_tools(facts(named, temporaries=(full, short)))
    assert (settings.variables["TMPDIR"], settings.workarounds) == ("/full", ())
    unsafe = Temporary("/open", "other users can exchange what lies in /open", named=True)
    assert "TMPDIR" not in for_tools(facts({"TMPDIR": "/open"}, temporaries=(unsafe, short))).variables


def test_a_service_of_ours_has_the_runtime_that_works_and_sets_no_sysctl_that_cannot_be_set() -> None:
    settings = for_container(PLAIN, runtime="runc", reason="cgroups are hybrid here", is_proc_sys_fixed=True)
    assert settings.runtime == "runc"
    assert settings.configuration == (("containers", "default_sysctls", ()),)
    assert [each.rule for each in settings.workarounds] == ["host-runtime-chosen", "host-proc-masked"]
    assert for_container(PLAIN, runtime=None, reason=None, is_proc_sys_fixed=False) == PLAIN


def test_run_gets_what_works_and_what_the_user_has_chosen_stays() -> None:
    host = {"runtime": "runc", "reason": "cgroups are hybrid here", "problem": "/dev/net/tun cannot be opened"}
    settings = for_commands(PLAIN, network=None, **host)
    assert (settings.runtime, settings.network) == ("runc", "none")
    assert [each.rule for each in settings.workarounds] == ["host-runtime-chosen", "host-tun"]
    assert for_commands(PLAIN, network="host", **host).network is None
    chosen = Settings(variables={"BUILDAH_ISOLATION": "chroot"})
    assert for_commands(chosen, network=None, **host) == chosen
    assert for_commands(Settings(variables={"BUILDAH_RUNTIME": "crun"}), network="host", **host).runtime is None


def test_run_is_isolated_by_chroot_only_where_that_takes_nothing_that_was_asked_for() -> None:
    chroot = by_chroot(PLAIN, "host-proc-masked", network=None)
    assert chroot is not None
    assert (chroot.isolation, chroot.runtime, chroot.network) == ("chroot", None, None)
    assert by_chroot(chroot, "host-proc-masked", network=None) is None
    assert by_chroot(PLAIN, "host-proc-masked", network="none") is None
    assert by_chroot(PLAIN, "host-disk-full", network=None) is None
    assert by_chroot(Settings(variables={"BUILDAH_ISOLATION": "oci"}), "host-proc-masked", network=None) is None


@pytest.mark.parametrize(
    ("said", "field", "value"),
    [
        ("crun: create keyring `a`: Disk quota exceeded", "configuration", (("containers", "keyring", False),)),
        (
            "crun: sd-bus call: Interactive authentication required.: Permission denied",
            "configuration",
            (("engine", "cgroup_manager", "cgroupfs"),),
        ),
        ("creating cgroup directory `/sys/fs/cgroup/a`: No such file or directory", "cgroups", "disabled"),
        ("crun: mount `proc` to `proc`: Operation not permitted", "pid", "host"),
        ("'overlay' is not supported over overlayfs, a mount_program is required", "vfs", True),
        ("fuse: failed to open /dev/fuse: Permission denied", "vfs", True),
    ],
)
def test_what_a_tool_says_leads_to_the_next_way_which_is_taken_once(said: str, field: str, value: object) -> None:
    cause = cause_in(said)
    assert cause is not None
    settings = otherwise(PLAIN, cause.rule, NONROOT)
    assert settings is not None
    assert getattr(settings, field) == value
    assert otherwise(settings, cause.rule, NONROOT) is None


@pytest.mark.parametrize(
    "wants",
    [Wants(user="0"), Wants(user="00"), Wants(user=None), Wants(user="65532", strict=True)],
)
def test_the_processes_of_this_host_are_shared_with_nobody_who_could_end_them(wants: Wants) -> None:
    assert otherwise(PLAIN, "host-proc-masked", wants) is None
    assert otherwise(as_caller(PLAIN), "host-proc-masked", NONROOT) is None


def test_no_limit_that_was_asked_for_is_dropped_with_the_control_group() -> None:
    assert otherwise(PLAIN, "host-cgroup-absent", Wants(limits=True)) is None
    assert otherwise(PLAIN, "host-cgroup-absent", Wants(strict=True)) is None


def test_a_storage_that_the_user_names_is_never_replaced() -> None:
    for name in (STORAGE, "STORAGE_DRIVER"):
        assert otherwise(Settings(variables={name: "a"}), "host-storage-overlay", Wants()) is None


def test_what_nothing_helps_against_stays_an_error() -> None:
    assert otherwise(PLAIN, "host-user-namespaces-seccomp", NONROOT) is None
    assert otherwise(PLAIN, "", NONROOT) is None


def test_what_a_container_goes_without_is_said_with_the_rule_of_doctor() -> None:
    settings = without_network(PLAIN, "neither pasta nor slirp4netns is installed")
    assert (settings.network, settings.workarounds[-1].rule) == ("none", "host-network-helper")
    assert without_limits(PLAIN).workarounds[-1].rule == "host-cgroup-limits"
    assert "cpu" in without_limits(PLAIN, ["cpu"]).notes[-1]
    assert without_limits(PLAIN, ["cpu"]).workarounds[-1].rule == "host-cgroup-delegation"
    assert as_caller(PLAIN).user == "0"


@pytest.mark.parametrize("key", ["graphroot", "rootless_storage_path", "imagestore"])
@pytest.mark.parametrize("root", ["$HOME/my-$UID", "${HOME}/my-${UID}"])
def test_images_are_found_where_settings_name_a_place_by_variables(tmp_path: Path, key: str, root: str) -> None:
    settings = tmp_path / ".config/containers/storage.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[storage]\ndriver = "overlay"\n{key} = "{root}"\n')
    assert not has_storage({"HOME": str(tmp_path)})
    images = tmp_path / f"my-{os.getuid()}/overlay-images/images.json"
    images.parent.mkdir(parents=True)
    images.write_text('[{"id": "a"}]')
    assert has_storage({"HOME": str(tmp_path)})


def test_volumes_keep_their_options_by_runc_where_crun_forgets_them_and_that_is_said() -> None:
    found = otherwise(PLAIN, "host-runtime-chosen", NONROOT)
    assert found is not None
    assert found.runtime == "runc"
    assert "noexec" in found.notes[0]
    assert otherwise(found, "host-runtime-chosen", NONROOT) is None


def test_a_file_of_logins_that_is_not_there_is_ignored_and_one_that_is_there_is_found_from_anywhere() -> None:
    named = {"REGISTRY_AUTH_FILE": "auth.json"}
    assert for_tools(facts(named, logins="/auth/auth.json")).variables["REGISTRY_AUTH_FILE"] == "/auth/auth.json"
    ignored = for_tools(facts(named))
    assert "REGISTRY_AUTH_FILE" not in ignored.variables
    assert ignored.notes == ("REGISTRY_AUTH_FILE is ignored: there is no file auth.json. [host-environment]",)
    assert for_tools(facts({"REGISTRY_AUTH_FILE": ""})).notes == ()
