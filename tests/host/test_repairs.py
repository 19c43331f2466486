"""Repairs as commands: for the distribution, for what surrounds the process, by `doctor --fix` and its script."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from test_host import HEALTHY, fix_of, helper, without_namespaces

from rootless_scratch.host.facts import Pause
from rootless_scratch.host.identity import IdRange
from rootless_scratch.host.namespaces import IdMap
from rootless_scratch.host.quotas import Quotas
from rootless_scratch.host.surroundings import Surroundings, read_surroundings
from rootless_scratch.rules.host.hosts import judge_host
from rootless_scratch.verbs.doctor import repair, script

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.host.facts import HostFacts
    from rootless_scratch.host.surroundings import Family, Kind, Service
    from rootless_scratch.rules.host.judged import Operation

INSTALL = {
    "debian": "sudo apt-get install -y uidmap",
    "fedora": "sudo dnf install -y shadow-utils",
    "alpine": "sudo apk add shadow-uidmap",
    "arch": "sudo pacman -S --noconfirm shadow",
    "suse": "sudo zypper install -y shadow",
}
RELEASES = {
    "debian": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n',
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "alpine": "ID=alpine\n",
    "manjaro": "ID=manjaro\nID_LIKE=arch\n",
    "leap": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "nixos": "ID=nixos\n",
}
FAMILIES = dict(zip(RELEASES, ("debian", "debian", "fedora", "alpine", "arch", "suse", "unknown"), strict=True))
SECCOMP = replace(without_namespaces(errno.EPERM), identity=replace(HEALTHY.identity, seccomp=True))


@pytest.mark.parametrize("family", INSTALL)
def test_a_missing_newuidmap_is_installed_by_the_command_of_the_distribution(family: Family) -> None:
    absent = replace(helper("newuidmap"), path=None, setuid=False)
    facts = replace(HEALTHY, map_helpers=(absent, absent), surroundings=Surroundings(family=family))
    finding = judge_host(facts).findings[0]
    assert finding.commands == (INSTALL[family],)
    assert finding.needs_root
    as_root = replace(facts, identity=replace(facts.identity, uid=0))
    assert judge_host(as_root).findings[0].commands == (INSTALL[family].removeprefix("sudo "),)


@pytest.mark.parametrize("name", RELEASES)
def test_the_distribution_is_known_by_its_os_release(name: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(RELEASES[name])
    assert read_surroundings({}, root=str(tmp_path)).family == FAMILIES[name]


@pytest.mark.parametrize(
    ("kind", "service", "word"),
    [
        ("kubernetes", "none", "`seccompProfile: {type: Unconfined}`"),
        ("openshift", "none", "SCC"),
        ("docker", "gitlab", "config.toml"),
        ("docker", "none", "`--security-opt seccomp=unconfined"),
        ("podman", "none", "`--security-opt seccomp=unconfined"),
        ("plain", "none", "gitlab: "),
    ],
)
def test_a_filter_of_the_surrounding_container_is_lifted_where_that_was_started(
    kind: Kind, service: Service, word: str
) -> None:
    facts = replace(SECCOMP, surroundings=Surroundings(kind=kind, service=service))
    assert word in fix_of(judge_host(facts), "host-user-namespaces-seccomp")


def test_what_surrounds_a_process_is_known_by_the_marks_of_engines_and_services(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert read_surroundings({}, root=root) == Surroundings()
    assert read_surroundings({"GITLAB_CI": "true"}, root=root).service == "gitlab"
    assert read_surroundings({"GITHUB_ACTIONS": "true", "CI": "true"}, root=root).service == "github"
    assert read_surroundings({"container": "oci"}, root=root).kind == "container"
    assert read_surroundings({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root=root).kind == "kubernetes"
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("5.15.90.1-microsoft-standard-WSL2\n")
    assert read_surroundings({}, root=root).kind == "wsl"
    # An exported container that was booted has docker's file too.
    (tmp_path / ".dockerenv").touch()
    assert read_surroundings({}, root=root).kind == "wsl"
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mountinfo").write_text("1 2 8:1 /x /etc/hostname rw - ext4 /dev/sda rw\n")
    assert read_surroundings({}, root=root).kind == "docker"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.containerenv").touch()
    assert read_surroundings({}, root=root).kind == "podman"


def worst() -> HostFacts:
    """A host on which much is wrong that only an administrator can repair."""
    lost = tuple(replace(helper(name), setuid=False) for name in ("newuidmap", "newgidmap"))
    short = replace(HEALTHY.subuids, ranges=(IdRange(start=100_000, count=1000),))
    tools = tuple(replace(each, path=None) if each.name == "skopeo" else each for each in HEALTHY.tools)
    spaces = replace(
        without_namespaces(errno.ENOSPC).user_namespaces,
        max_user_namespaces=0,
        id_map=IdMap(ids=0, problem="Error during unshare(CLONE_NEWUSER): No space left on device"),
    )
    cgroups = replace(HEALTHY.cgroups, controllers=())
    return replace(HEALTHY, map_helpers=lost, subuids=short, tools=tools, user_namespaces=spaces, cgroups=cgroups)


def test_the_script_for_an_administrator_has_every_command_and_is_one_that_sh_reads() -> None:
    judgement = judge_host(worst())
    text = script(judgement)
    assert subprocess.run(["sh", "-n"], input=text.encode(), check=False).returncode == 0
    for command in (
        "sudo chmod u+s /usr/bin/newuidmap",
        "sudo usermod --add-subuids 165536-231071 anna",
        "sudo apt-get install -y skopeo",
        "sudo sysctl --system",
        "sudo systemctl daemon-reload",
    ):
        assert command in text.splitlines()
    for rule in ("host-newuidmap-rights", "host-user-namespaces-limit"):
        assert f"# {rule}: " in text
    assert script(judge_host(HEALTHY)) == ""


def test_a_path_with_a_line_break_adds_no_command_to_the_script() -> None:
    odd = "/tmp/a b\nreboot"
    lost = replace(helper("newuidmap"), setuid=False, path=odd)
    facts = replace(worst(), map_helpers=(lost,), home=odd, home_problem="does not exist")
    images = replace(facts.storage.images, path=f"{odd}/.local")
    text = script(judge_host(replace(facts, storage=replace(facts.storage, images=images))))
    assert "sudo chmod u+s '/tmp/a b\nreboot'" in text
    assert "# host-home: HOME is /tmp/a b?reboot, which does not exist" in text


def test_what_needs_no_root_is_repaired_and_nothing_that_is_there_is_replaced(tmp_path: Path) -> None:
    pause = tmp_path / "pause.pid"
    pause.write_text("999999")
    facts = replace(
        HEALTHY,
        home=str(tmp_path),
        quotas=Quotas(keys=0),
        storage=replace(HEALTHY.storage, policy=None),
        pause=Pause(path=str(pause), pid=999_999, alive=False),
        tools=tuple(replace(each, version="4.3.1") if each.name == "podman" else each for each in HEALTHY.tools),
    )
    settings = tmp_path / ".config/containers"
    assert len(repair(facts, judge_host(facts))) == 3
    assert json.loads((settings / "policy.json").read_text())["default"]
    assert "keyring = false" in (settings / "containers.conf").read_text()
    assert not pause.exists()
    (settings / "containers.conf").write_text("mine")
    (settings / "policy.json").write_text("mine")
    assert repair(facts, judge_host(facts)) == ()
    assert (settings / "containers.conf").read_text() == (settings / "policy.json").read_text() == "mine"


def test_a_finding_says_what_was_tried_and_what_it_stops() -> None:
    finding = judge_host(SECCOMP).findings[0]
    assert finding.evidence == "user namespace: EPERM"
    assert finding.effect == "build-buildah and run do not work"


def test_one_operation_is_judged_alone() -> None:
    wanted: set[Operation] = {"push"}
    judgement = judge_host(worst()).of(wanted)
    assert [each.name for each in judgement.operations] == ["push"]
    assert {finding.rule for finding in judgement.findings} == {"host-skopeo-missing"}


@pytest.mark.buildah
def test_a_job_that_asks_for_one_operation_gets_its_answer_as_exit_code(shared_home: Home) -> None:
    assert shared_home.cli("doctor", "--for", "build-direct").returncode == 0
    gone = {"CONTAINER_HOST": "unix:///run/gone.sock"}
    assert shared_home.cli("doctor", "--for", "build-buildah", environment=gone).returncode == 0
    done = shared_home.cli("doctor", "--for", "run", "--for", "push", "--json", environment=gone)
    assert done.returncode == 1
    assert list(json.loads(done.stdout)["operations"]) == ["run", "push"]
    assert shared_home.cli("doctor", "--for", "fly").returncode == 2


@pytest.mark.slow
def test_a_tool_that_hangs_is_given_up_in_a_few_seconds_and_named(shared_home: Home) -> None:
    programs = shared_home.path / "hanging"
    programs.mkdir()
    (programs / "buildah").write_text("#!/bin/sh\nexec sleep 60\n")
    (programs / "buildah").chmod(0o755)
    done = shared_home.cli(
        "doctor", "--json", environment={"PATH": f"{programs}:{os.environ['PATH']}"}, timeout=30
    )
    messages = [each["message"] for each in json.loads(done.stdout)["findings"]]
    assert any("`buildah unshare cat /proc/self/uid_map` did not end within 5 s" in each for each in messages)


@pytest.mark.buildah
def test_fix_writes_no_script_where_nothing_is_to_be_done_and_reads_as_one_elsewhere(shared_home: Home) -> None:
    done = shared_home.cli("doctor", "--fix")
    assert subprocess.run(["sh", "-n"], input=done.stdout, check=False).returncode == 0
    assert json.loads(shared_home.cli("doctor", "--fix", "--json").stdout)["script"] == done.stdout.decode()
