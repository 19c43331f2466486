"""What tools say of a host that lacks something, in their own words, and the finding that it becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rootless_scratch.backends.session import about_namespaces
from rootless_scratch.engine.diagnose.failures import start_failure
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.causes import cause_in
from rootless_scratch.ship.refusals import judge_refusal

SAID = (
    (
        (
            "cannot clone: No space left on device\nuser namespaces are not enabled in "
            "/proc/sys/user/max_user_namespaces\nError: cannot re-exec process"
        ),
        "host-user-namespaces-limit",
    ),
    ("Error during unshare(CLONE_NEWUSER): No space left on device", "host-user-namespaces-limit"),
    ("cannot clone: No space left on device\nError: cannot re-exec process", "host-user-namespaces"),
    ("Error during unshare(...): No space left on device", "host-user-namespaces"),
    (
        (
            "cannot clone: Operation not permitted\nuser namespaces are not enabled in "
            "/proc/sys/kernel/unprivileged_userns_clone"
        ),
        "host-user-namespaces-switch",
    ),
    ("Error during unshare(...): Operation not permitted", "host-user-namespaces-apparmor"),
    ("unshare: write failed /proc/self/uid_map: Operation not permitted", "host-user-namespaces-apparmor"),
    (
        (
            'Error during unshare(CLONE_NEWUSER): Operation not permitted\nparsing PID "": strconv.Atoi: parsing '
            "invalid syntax\n(Unable to determine exit status)"
        ),
        "host-user-namespaces-seccomp",
    ),
    ("cannot clone: Operation not permitted\nError: cannot re-exec process", "host-user-namespaces-seccomp"),
    ("remount /, flags: 0x44000: permission denied", "host-user-namespaces-confined"),
    ("mount a/overlay:a/overlay, flags: 0x1000: permission denied", "host-user-namespaces-confined"),
    ("crun: mount `proc` to `proc`: Operation not permitted: OCI permission denied", "host-proc-masked"),
    (
        (
            'runc: error mounting "proc" to rootfs at "/proc": mount proc:/proc (via /proc/self/fd/6): '
            "operation not permitted"
        ),
        "host-proc-masked",
    ),
    ("crun: open /proc/sys/net/ipv4/ping_group_range: Read-only file system", "host-proc-masked"),
    ("crun: open `/proc/sys/net/ipv4/ping_group_range`: Read-only file system", "host-proc-masked"),
    ('runc: error mounting "sysfs" to rootfs at "/sys": flags: 0xf: operation not permitted', "host-proc-masked"),
    (
        "crun: opening file `/sys/fs/cgroup/cgroup.subtree_control` for writing: Read-only file system",
        "host-cgroup-absent",
    ),
    ("memfd_create(): Invalid argument", "host-root-confined"),
    ("Failed to obtain podman configuration: runroot must be set", "host-root-confined"),
    (
        "failed to get default container config: stat /.config: no such file or directory",
        "host-home",
    ),
    ("error determining current user: user: unknown userid 3002", "host-no-account"),
    ("newuidmap: Cannot determine your user name.", "host-no-account"),
    (
        (
            'command required for rootless mode with multiple IDs: exec: "newuidmap": executable file not found '
            "in $PATH"
        ),
        "host-newuidmap-missing",
    ),
    ("/usr/bin/newuidmap should be setuid or have filecaps setuid", "host-newuidmap-rights"),
    (
        (
            "newuidmap: write to uid_map failed: Operation not permitted\ncannot set up namespace using "
            '"/usr/bin/newuidmap": should have setuid or have filecaps setuid: exit status 1'
        ),
        "host-newuidmap-rights",
    ),
    ("newuidmap: write to uid_map failed: Operation not permitted", "host-no-new-privileges"),
    (
        (
            "newuidmap: Target process 7 is owned by a different user: uid:3003 pw_uid:3003 st_uid:3003, gid:4444 "
            "pw_gid:3003 st_gid:4444"
        ),
        "host-group",
    ),
    ("newuidmap: uid range [1-65537) -> [100000-165536) not allowed", "host-subids"),
    (
        'invalid configuration: the specified mapping 3000:65536 in "/etc/subuid" includes the user UID',
        "host-subids-overlap",
    ),
    ('XDG_RUNTIME_DIR directory "/run/user/0" is not owned by the current user', "host-runtime-dir"),
    (
        "Failed to obtain podman configuration: lstat /run/user/1001: no such file or directory",
        "host-runtime-dir",
    ),
    (
        (
            "failed to get new shm lock manager: failed to create 2048 locks in /libpod_rootless_lock_1: "
            "permission denied"
        ),
        "host-locks",
    ),
    ("failed to open 2048 locks in /libpod_lock: numerical result out of range", "host-locks"),
    ("allocation failed; exceeded num_locks (2048)", "host-locks"),
    (
        (
            "'overlay' is not supported over overlayfs, a mount_program is required: backing file system is "
            "unsupported "
            "for this graph driver"
        ),
        "host-storage-overlay",
    ),
    ('overlay: can\'t stat program "/usr/bin/fuse-overlayfs": stat: no such file', "host-storage-mount-program"),
    ("fuse: failed to open /dev/fuse: Permission denied", "host-storage-mount-program"),
    ("vfs driver does not support overlay.mountopt options", "host-storage-settings"),
    (
        (
            'database storage graph driver "vfs" does not match our storage graph driver "overlay": database '
            "configuration mismatch"
        ),
        "host-storage-settings",
    ),
    ("a network file system with user namespaces is not supported", "host-storage-network-file-system"),
    (
        "obtaining default signature policy: open /etc/containers/policy.json: no such file or directory",
        "host-policy-missing",
    ),
    ("current system boot ID differs from cached boot ID; an unhandled reboot has occurred", "host-runtime-left"),
    ("cannot set user namespace", "host-pause"),
    ("crun: create keyring `ab`: Disk quota exceeded", "host-keys"),
    ("unable to join session keyring: unable to create session key: disk quota exceeded", "host-keys"),
    ("creating cgroup directory `/sys/fs/cgroup/x`: Permission denied", "host-cgroup-absent"),
    ("writing file '/sys/fs/cgroup//x/cgroup.procs': Permission denied", "host-cgroup-absent"),
    ("crun: sd-bus call: Interactive authentication required.: Permission denied", "host-session"),
    ("lsetxattr(label=system_u:object_r:container_file_t:s0) /x: operation not permitted", "host-selinux"),
    ("could not find a working conmon binary (configured options: [])", "host-conmon-missing"),
    ("no valid executable found for OCI runtime crun: invalid argument", "host-runtime-missing"),
)


@pytest.mark.parametrize(("text", "rule"), SAID)
def test_a_text_of_a_tool_becomes_the_finding_of_doctor(text: str, rule: str) -> None:
    cause = cause_in(text)
    assert cause is not None
    assert cause.rule == rule
    assert cause.cause.endswith(".")
    assert cause.fix.endswith(".")
    assert "{" not in cause.cause
    assert f"`{rule}`" in (Path(__file__).resolve().parents[2] / "docs/hosts.md").read_text()


def test_what_is_about_an_image_or_a_registry_is_left_to_those_who_know_these() -> None:
    for text in (
        "crun: executable file `sh` not found in $PATH: No such file or directory",
        "unauthorized: authentication required",
        "no space left on device",
        "open /dev/net/tun: Permission denied",
        "crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2",
    ):
        assert cause_in(text) is None


def test_a_warning_is_not_the_cause_of_an_error_that_says_why() -> None:
    warned = 'time="2026-01-01T00:00:00Z" level=warning msg="dial unix /run/user/1000/bus: connect: refused"\n'
    assert cause_in(warned + "Error: unauthorized: authentication required") is None
    keys = cause_in(warned + "Error: crun: create keyring `ab`: Disk quota exceeded")
    assert keys is not None
    assert keys.rule == "host-keys"


def test_a_warning_is_the_cause_of_an_error_that_leaves_the_reason_open() -> None:
    warned = 'time="x" level=warning msg="/usr/bin/newuidmap should be setuid or have filecaps"\n'
    for ended in ("", "Error: cannot re-exec process", "error setting owner: lchown /app: invalid argument"):
        cause = cause_in(warned + ended)
        assert cause is not None
        assert cause.rule == "host-newuidmap-rights"


def test_labels_that_a_file_system_does_not_keep_are_not_the_fault_of_selinux() -> None:
    assert cause_in("lsetxattr(label=system_u:object_r:container_file_t:s0) /x: operation not supported") is None


def test_build_run_and_push_raise_it_with_the_original_kept() -> None:
    text = "Error during unshare(CLONE_NEWUSER): Operation not permitted"
    built = about_namespaces(CommandError("failed", fix="none", stderr=text))
    started = start_failure(text, Request(image="hello"))
    for error in (built, started):
        assert isinstance(error, HostError)
        assert error.rule == "host-user-namespaces-seccomp"
        assert error.detail == text
    assert "user namespace" in judge_refusal(text, name="localhost/hello").cause


def test_every_rule_of_the_table_is_one_of_the_documentation() -> None:
    root = Path(__file__).resolve().parents[2]
    rules = re.findall(r'rule="(host-[a-z-]+)"', (root / "rootless_scratch/host/causes.py").read_text())
    page = (root / "docs/hosts.md").read_text()
    assert [rule for rule in rules if f"`{rule}`" not in page] == []
