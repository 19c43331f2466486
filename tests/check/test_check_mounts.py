"""The rules on what runtimes mount over: entries, volumes and working directories in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.verbs.build import build_spec

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from conftest import Home

    from rootless_scratch.findings import Finding


class Bench:
    """Judgements on images with one static program, before they are built and read back from a layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program = str(tinyelf.write(path / "hello"))

    def judge(self, *, at: str = "/hello", **settings: Any) -> tuple[Finding, ...]:  # noqa: ANN401 - a Spec's
        spec = Spec(programs=(Copy(source=self.program, destination=at),), **settings)
        before = judge_plan(plan(spec, environ={}))
        build_spec(spec, check=False, output=(f"oci:{self.path}/image",))
        after = rs.check(f"oci:{self.path}/image").findings
        assert [found.rule for found in after] == [found.rule for found in before]
        assert all(found.message.isprintable() and found.message.endswith(".") for found in before)
        return before

    def file(self, path: str) -> dict[str, Any]:
        return {"copies": (Copy(source=self.program, destination=path, mode=0o644),)}


def link(target: str, path: str) -> dict[str, Any]:
    return {"symlinks": (NewSymlink(path=path, target=target),)}


def directories(*paths: str) -> dict[str, Any]:
    return {"directories": tuple(NewDirectory(path=path) for path in paths)}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def told(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(found.rule, found.severity, found.subject) for found in findings]


@pytest.mark.parametrize("path", ["/etc", "/proc", "/dev", "/sys", "/run", "/tmp", "/var/tmp", "/var"])
def test_a_file_where_every_container_gets_a_directory_is_refused(bench: Bench, path: str) -> None:
    assert told(bench.judge(**bench.file(path))) == [("mount-point-unusable", "error", path)]


@pytest.mark.parametrize("path", ["/etc", "/proc", "/dev", "/sys", "/run", "/tmp", "/var/tmp"])
def test_a_link_to_a_file_is_refused_there_too(bench: Bench, path: str) -> None:
    assert told(bench.judge(**link("/hello", path)))[0] == ("mount-point-unusable", "error", path)


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        ("/etc", ["mount-point-unusable"]),
        ("/proc", ["mount-point-unusable"]),
        ("/dev", ["mount-point-unusable"]),
        ("/sys", ["mount-point-unusable"]),
        ("/run", []),
        ("/tmp", []),
        ("/var/tmp", []),
        ("/etc/hosts", []),
    ],
)
def test_a_link_to_nothing_is_refused_where_nothing_makes_it_good(
    bench: Bench, path: str, rules: list[str]
) -> None:
    assert [found.rule for found in bench.judge(**link("/nowhere", path))] == rules


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        ("/etc", []),
        ("/run", []),
        ("/tmp", []),
        ("/proc", ["mount-point-unusable"]),
        ("/dev", ["mount-point-unusable"]),
    ],
)
def test_a_link_to_a_directory_is_refused_where_the_kernel_lives_alone(
    bench: Bench, path: str, rules: list[str]
) -> None:
    assert [found.rule for found in bench.judge(**link("/d", path), **directories("/d"))] == rules


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"])
def test_a_directory_in_the_place_of_a_file_that_podman_gives_is_refused(bench: Bench, path: str) -> None:
    assert told(bench.judge(**directories(path))) == [("mount-point-unusable", "error", path)]


def test_the_mark_of_podman_as_a_directory_is_warned_of_because_run_does_without(bench: Bench) -> None:
    found = bench.judge(**directories("/run/.containerenv"))
    assert told(found) == [("mount-point-unusable", "warning", "/run/.containerenv")]


def test_directories_and_files_that_are_merely_covered_are_let_be(bench: Bench) -> None:
    assert bench.judge(**directories("/etc", "/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")) == ()
    for path in ("/etc/hosts", "/etc/resolv.conf", "/dev/null", "/proc/x", "/run/secrets", "/dev/shm"):
        assert bench.judge(**bench.file(path)) == (), path


@pytest.mark.parametrize("path", ["/dev/hello", "/proc/hello", "/etc/hosts"])
def test_a_program_that_is_covered_is_refused(bench: Bench, path: str) -> None:
    assert told(bench.judge(at=path))[0] == ("hidden-by-runtime", "error", path)


def test_a_program_over_which_a_link_brings_the_hosts_file_is_refused(bench: Bench) -> None:
    assert told(bench.judge(**link("/hello", "/etc/hosts"))) == [("hidden-by-runtime", "error", "/hello")]
    for path in ("/tmp/hello", "/run/hello", "/var/tmp/hello"):
        assert bench.judge(at=path) == (), path


@pytest.mark.parametrize("path", ["/proc", "/proc/x", "/proc/sys", "/dev", "/dev/null", "/sys/x"])
def test_a_volume_over_what_the_runtime_mounts_is_refused(bench: Bench, path: str) -> None:
    assert told(bench.judge(volumes=(path,))) == [("volume-unusable", "error", path)]


def test_a_volume_behind_a_link_or_a_file_is_judged_by_where_that_leads(bench: Bench) -> None:
    assert told(bench.judge(volumes=("/data",), **link("/proc", "/data"))) == [
        ("volume-unusable", "error", "/data")
    ]
    assert told(bench.judge(volumes=("/hello/x",))) == [("volume-unusable", "error", "/hello/x")]
    assert told(bench.judge(volumes=("/data",), **link("/nowhere", "/data"))) == [
        ("volume-missing", "info", "/data")
    ]


@pytest.mark.parametrize(
    "path", ["/sys", "/tmp", "/run", "/etc", "/dev/x", "/dev/shm", "/etc/hosts", "/sys/fs/cgroup"]
)
def test_volumes_that_podman_can_mount_are_not_refused(bench: Bench, path: str) -> None:
    assert [found.severity for found in bench.judge(volumes=(path,))] == ["info"]


@pytest.mark.parametrize("path", ["/proc/x", "/sys/x", "/dev/null", "/w"])
def test_a_working_directory_that_nobody_can_make_is_refused(bench: Bench, path: str) -> None:
    found = bench.judge(workdir=path, **link("/proc/x", "/w"), **directories("/proc/x"))
    assert ("working-directory-unusable", "error", path) in told(found)


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/proc/sys/kernel", "/sys", "/sys/fs"])
def test_a_working_directory_that_the_kernel_has_is_fine(bench: Bench, path: str) -> None:
    assert bench.judge(workdir=path) == ()
    assert [found.rule for found in bench.judge(workdir="/dev/x")] == ["working-directory-missing"]


REAL = (
    ("--symlink /hello:/etc", 125),
    ("--symlink /nowhere:/dev", 125),
    ("--mkdir /etc/hosts", 125),
    ("--volume /dev", 125),
    ("--workdir /proc/x", 125),
    ("--volume /sys --workdir /proc/self --symlink /nowhere:/tmp", 0),
)


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.parametrize(("words", "code"), REAL)
def test_the_verdict_is_what_a_real_run_says(bench: Bench, shared_home: Home, words: str, code: int) -> None:
    built = ("build", "-q", bench.program, *words.split(), "-t", "mounts")
    assert (shared_home.cli(*built).returncode == 0) == (code == 0)
    assert shared_home.cli(*built, "--no-check").returncode == 0
    judged = shared_home.cli("check", "mounts")
    assert judged.stdout == (b"mounts: fails\n" if code else b"mounts: starts\n")
    done = shared_home.cli("run", "mounts")
    assert done.returncode == code
    assert b"PATH" not in done.stderr


@pytest.mark.podman
@pytest.mark.buildah
def test_a_volume_over_proc_is_refused_by_one_runtime_and_dropped_by_another(
    bench: Bench, shared_home: Home
) -> None:
    built = ("build", "-q", bench.program, "--volume", "/proc", "-t", "mounts")
    assert shared_home.cli(*built).returncode == 1
    assert shared_home.cli(*built, "--no-check").returncode == 0
    assert shared_home.cli("check", "mounts").stdout == b"mounts: fails\n"
    done = shared_home.cli("run", "mounts")
    # crun 1.21 mounts its own /proc over it.
    assert done.returncode == 0 if done.stdout else done.returncode == 125
    assert b"PATH" not in done.stderr
