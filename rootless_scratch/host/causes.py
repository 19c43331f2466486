"""What buildah, podman, skopeo and the programs below them say of a host that lacks something, by doctor's rules.

The texts are those of podman 4.3 to 6, buildah 1.28 to 1.42, skopeo 1.9, crun, runc, conmon and shadow's
newuidmap; each is matched on its stable part, and what explains the rest stands first.
"""

from __future__ import annotations

from rootless_scratch.diagnosis import diagnose
from rootless_scratch.errors import HostError
from rootless_scratch.expressions import expression
from rootless_scratch.troubles import Trouble

OWN_HOME = "`export HOME=$(mktemp -d -p /var/tmp)`"
"""A command for jobs in whose HOME nothing can be kept."""

STORAGE_CONF = "~/.config/containers/storage.conf"

_DOCTOR = "`rootless-scratch doctor` says which it is, and how to repair it"
_UNCONFINED = (
    "Start the surrounding container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
)


class HostCause(Trouble):
    """A row: the trouble, and the rule of doctor that finds it."""

    rule: str

    def error(self, detail: str = "", *, what: str = "") -> HostError:
        """As what is raised; `what` failed of it."""
        return HostError(self.after(what) if what else self.cause, fix=self.fix, detail=detail, rule=self.rule)


_CAUSES = (
    HostCause(
        r"(?i)user namespaces are not enabled in /proc/sys/user/max_user_namespaces",
        "No user namespace can be made: user.max_user_namespaces is 0 or reached.",
        "`echo user.max_user_namespaces=28633 | sudo tee /etc/sysctl.d/99-zz-userns.conf && sudo sysctl "
        "--system`.",
        rule="host-user-namespaces-limit",
    ),
    HostCause(
        r"(?i)/proc/sys/kernel/unprivileged_userns_clone",
        "No user namespace can be made without root: kernel.unprivileged_userns_clone is 0.",
        "`sudo sysctl -w kernel.unprivileged_userns_clone=1`.",
        rule="host-user-namespaces-switch",
    ),
    HostCause(
        r"unshare\(CLONE_NEWUSER\): No space left on device",
        "No user namespace can be made: user.max_user_namespaces is 0 or reached.",
        "`echo user.max_user_namespaces=28633 | sudo tee /etc/sysctl.d/99-zz-userns.conf && sudo sysctl "
        "--system`.",
        rule="host-user-namespaces-limit",
    ),
    HostCause(
        r"(?:cannot clone|unshare\([^)\n]*\)|fork/exec /proc/self/exe|clone): [Nn]o space left on device"
        r"|can't get final child's PID from pipe",
        "The kernel's limit on a kind of namespaces (user.max_*_namespaces) is 0 or reached.",
        f"Raise it by `sudo sysctl`; {_DOCTOR}.",
        rule="host-user-namespaces",
    ),
    HostCause(
        r"unshare\(\.\.\.\): Operation not permitted|write failed /proc/self/uid_map: Operation not permitted"
        r"|operation=\"userns_create\"",
        "AppArmor lets only known programs use a user namespace.",
        "Use podman and buildah from the distribution's packages, or "
        "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`.",
        rule="host-user-namespaces-apparmor",
    ),
    HostCause(
        r"unshare\(CLONE_NEWUSER\): Operation not permitted|cannot clone: Operation not permitted",
        "The surrounding container, or this host, refuses to make a user namespace.",
        f"{_UNCONFINED}; Kubernetes: `seccompProfile: {{{{type: Unconfined}}}}`.",
        rule="host-user-namespaces-seccomp",
    ),
    HostCause(
        r"unshare\(CLONE_NEWUSER\): (?:Invalid argument|Function not implemented)"
        r"|cannot clone: (?:Invalid argument|Function not implemented)",
        "This kernel has no user namespaces.",
        "Use a kernel built with CONFIG_USER_NS=y, or a host that is not sandboxed by gVisor or the like.",
        rule="host-user-namespaces-absent",
    ),
    HostCause(
        r"flags: 0x[0-9a-f]+: permission denied|failed to mount shm tmpfs \S+: permission denied"
        r"|remounting \S+ in mount namespace read-only: permission denied",
        "A security module of the surrounding container refuses to mount.",
        f"{_UNCONFINED}; Kubernetes: `appArmorProfile: {{{{type: Unconfined}}}}`.",
        rule="host-user-namespaces-confined",
    ),
    HostCause(
        r"(?i)mount `?proc`? to `?(?:/proc|proc)`?: operation not permitted"
        r"|mounting \\?\"proc\\?\" to rootfs at \\?\"/proc\\?\".*operation not permitted",
        "A fresh /proc cannot be mounted: the /proc of the surrounding container is masked.",
        "Start that container with `--security-opt unmask=ALL` (podman), `--security-opt systempaths=unconfined` "
        "(docker) or `procMount: Unmasked` (Kubernetes).",
        rule="host-proc-masked",
    ),
    HostCause(
        r"(?i)mount `?sysfs`? to `?/?sys`?: operation not permitted"
        r"|mounting \\?\"sysfs\\?\" to rootfs at \\?\"/sys\\?\".*operation not permitted",
        "A fresh /sys cannot be mounted: the /sys of the surrounding container is masked.",
        "Start that container with `--security-opt unmask=ALL` (podman), `--security-opt systempaths=unconfined` "
        "(docker) or `procMount: Unmasked` (Kubernetes).",
        rule="host-proc-masked",
    ),
    HostCause(
        r"/proc/sys/net/ipv4/ping_group_range`?: (?:Read-only file system|No such file or directory)",
        "/proc/sys is read-only here, and podman sets ping_group_range in it.",
        "Set `default_sysctls = []` below [containers] in ~/.config/containers/containers.conf.",
        rule="host-proc-masked",
    ),
    HostCause(
        # buildah unshare, as root without SYS_ADMIN, starts itself again until its name is too long.
        r"memfd_create\(\): Invalid argument|runroot must be set",
        "buildah and podman make no user namespace for a root without the capability SYS_ADMIN.",
        "Run as another user than root, or start the surrounding container with `--cap-add SYS_ADMIN`.",
        rule="host-root-confined",
    ),
    HostCause(
        r"failed to get default container config: (?:stat|cannot resolve|mkdir) (\S+?)(?:/\.config)?: ",
        "HOME ({0}) is not a directory in which buildah finds and keeps its files.",
        f"Set HOME to a directory of your own, in a CI job for example {OWN_HOME}.",
        rule="host-home",
    ),
    HostCause(
        r"unknown userid (\d+)",
        "The user id {0} is not in /etc/passwd.",
        "Add it, or run as a user that the image of the CI job knows: "
        "`echo 'builder:x:{0}:0::/tmp:/bin/sh' >> /etc/passwd`.",
        rule="host-no-account",
    ),
    HostCause(
        r"Cannot determine your user name",
        "The user id of this process is not in /etc/passwd.",
        "Add it, or run as a user that the image of the CI job knows.",
        rule="host-no-account",
    ),
    HostCause(
        r'exec: "(new[ug]idmap)": executable file not found',
        "{0}, which maps subordinate ids, is not installed.",
        "Install the package uidmap (Debian, Ubuntu), shadow-utils (Fedora, RHEL), shadow-uidmap (Alpine), "
        "shadow (Arch, "
        "openSUSE).",
        rule="host-newuidmap-missing",
    ),
    HostCause(
        r"(/\S*new[ug]idmap)\"?:? should (?:have|be) set[ug]id or have filecaps",
        "{0} has neither setuid bit nor file capabilities.",
        "`sudo chmod u+s {0}`.",
        rule="host-newuidmap-rights",
    ),
    HostCause(
        r"Target process \d+ is owned by a different user: .*?gid:(\d+) pw_gid:(\d+)",
        "This process has the group {0}, but newuidmap insists on the user's primary group {1}.",
        "Run it with that group: `newgrp`, or `runAsGroup: {1}` in Kubernetes.",
        rule="host-group",
    ),
    HostCause(
        r"new[ug]idmap: [ug]id range \S+ -> \S+ not allowed",
        "newuidmap does not grant the subordinate ids that podman asks for: they are another user's.",
        "Set USER to the name of this account, and compare /etc/subuid and /etc/subgid.",
        rule="host-subids",
    ),
    HostCause(
        r"new[ug]idmap: write to [ug]id_map failed: Operation not permitted|newuidmap: Could not set caps",
        "newuidmap may not map the subordinate ids: no_new_privs is set, its file system is mounted nosuid, or "
        "the surrounding container does not have these ids or lacks a capability (SETUID, SETGID, SYS_ADMIN).",
        "Run `rootless-scratch doctor`, which says which of these it is, and how to repair it.",
        rule="host-no-new-privileges",
    ),
    HostCause(
        r'the specified mapping (\S+) in "([^"]+)" includes the user [UG]ID',
        "The range {0} of {1} includes the user's own id.",
        "Give the user another range there, then run `podman system migrate`.",
        rule="host-subids-overlap",
    ),
    HostCause(
        r'XDG_RUNTIME_DIR directory "([^"]*)" is not owned by the current user',
        "XDG_RUNTIME_DIR is {0}, which is another user's.",
        "Log in directly instead of with `su` or `sudo`, or unset XDG_RUNTIME_DIR.",
        rule="host-runtime-dir",
    ),
    HostCause(
        r"lstat (/run/user/\d+): no such file or directory",
        "The runtime directory {0} does not exist: nobody has logged in as this user.",
        "`sudo loginctl enable-linger $USER`, or set XDG_RUNTIME_DIR to a directory of your own with mode 0700.",
        rule="host-runtime-dir",
    ),
    HostCause(
        r"failed to (?:open|create) \d+ locks in (\S+): "
        r"(read-only file system|permission denied|no such file[^\n\"]*)",
        "podman's locks {0} in /dev/shm cannot be used: {1}.",
        "Mount a writable tmpfs at /dev/shm; a file there of another user is for an administrator to remove.",
        rule="host-locks",
    ),
    HostCause(
        r"failed to open \d+ locks in (\S+): numerical result out of range",
        "podman's locks {0} in /dev/shm were made with another number of locks.",
        "`podman system renumber`.",
        rule="host-locks",
    ),
    HostCause(
        r"allocation failed; exceeded num_locks",
        "All of podman's locks are taken by containers, pods and volumes.",
        "Remove some: `podman container prune`, `podman volume prune`.",
        rule="host-locks",
    ),
    HostCause(
        r"(?s)overwritten by graph driver \\?\"(\w+)\\?\" from database.*"
        r"(?:'overlay' is not supported over|kernel does not support overlay fs|'overlay' not found as a)",
        "The storage driver {0}, which podman keeps because its database has it, does not work on the file system "
        "of the image storage.",
        f"Put the storage on another file system (`graphroot` in {STORAGE_CONF}); with the same storage podman "
        "ignores STORAGE_DRIVER.",
        rule="host-storage-overlay",
    ),
    HostCause(
        r"'overlay' is not supported over (\w+)|kernel does not support overlay fs"
        r"|'overlay' not found as a supported filesystem",
        "The storage driver overlay does not work on the file system of the image storage ({0}).",
        f"Put the storage on another file system (`graphroot` in {STORAGE_CONF}), or, unless podman has used it "
        "with overlay, use the driver vfs: `export STORAGE_DRIVER=vfs`.",
        rule="host-storage-overlay",
    ),
    HostCause(
        r"overlay: can't stat program \\?\"([^\"\\]*)",
        "The storage is set to mount by {0}, which is not installed.",
        f"Install fuse-overlayfs, or remove `mount_program` from {STORAGE_CONF}: kernels from 5.13 on need none.",
        rule="host-storage-mount-program",
    ),
    HostCause(
        r"fuse: device not found|failed to open /dev/fuse|fuse-overlayfs: cannot mount",
        "fuse-overlayfs, by which the storage is set to mount, cannot use /dev/fuse.",
        "Start the surrounding container with `--device /dev/fuse`, or remove `mount_program` from "
        f"{STORAGE_CONF}: kernels from 5.13 on need none.",
        rule="host-storage-mount-program",
    ),
    HostCause(
        r"vfs driver does not support (\S+) options",
        "The storage is set to the driver vfs and has the option {0}, which is for overlay.",
        f"Remove it from {STORAGE_CONF}, or `export STORAGE_OPTS=`.",
        rule="host-storage-settings",
    ),
    HostCause(
        r"database storage graph driver \"?(\w*)\"? does not match|database configuration mismatch",
        "podman's database was made with other storage settings (driver {0}) than those in force.",
        f"Set them as they were in {STORAGE_CONF}; `podman system reset` begins again and removes all images.",
        rule="host-storage-settings",
    ),
    HostCause(
        r"BoltDB database backend was removed",
        "podman's database has the old format BoltDB, which podman 6 does not read.",
        "Migrate it with podman 5 (`podman system migrate --migrate-db`), or set another `graphroot`.",
        rule="host-storage-settings",
    ),
    HostCause(
        r"network file system with user namespaces is not supported",
        "The image storage is on a network file system, where overlay cannot work.",
        f"Set `graphroot` in {STORAGE_CONF} to a directory on a local disk.",
        rule="host-storage-network-file-system",
    ),
    HostCause(
        r"open (\S*policy\.json): no such file|no policy\.json file found",
        "There is no policy.json, without which buildah and skopeo refuse to work.",
        "`rootless-scratch doctor --fix` writes one into ~/.config/containers.",
        rule="host-policy-missing",
    ),
    HostCause(
        r"current system boot ID differs from cached boot ID",
        "podman's runtime directory is left from before the last boot.",
        "Remove the directories that podman names (`podman info`), then run it again.",
        rule="host-runtime-left",
    ),
    HostCause(
        r"cannot (?:re-exec process to join the existing user namespace|set user namespace)"
        r"|pause\.pid file refers to PID \d+ which is not a pause process",
        "The process that keeps podman's user namespace has ended, and podman still looks for it.",
        '`rm "$XDG_RUNTIME_DIR/libpod/tmp/pause.pid"`, or `podman system migrate`, which stops running '
        "containers.",
        rule="host-pause",
    ),
    HostCause(
        r"(?i)keyring `?.*?`?: Disk quota exceeded|session key.*disk quota exceeded|join keyctl",
        "Your quota of kernel keys is used up (this is not about the disk).",
        "`sudo sysctl -w kernel.keys.maxkeys=20000`, or set `keyring=false` below [containers] in "
        "~/.config/containers/containers.conf.",
        rule="host-keys",
    ),
    HostCause(
        r"(?:mkdir|creating cgroup directory `?) ?(/sys/fs/cgroup[^\s:`]*)`?: "
        r"((?i:no such file or directory|permission denied|read-only file system))"
        r"|(?:writing|opening) file `?'?(/sys/fs/cgroup[^\s:`']*)'?`?(?: for writing)?: "
        r"(Permission denied|Read-only file system)",
        "The runtime cannot make a control group here ({0}: {1}).",
        "Mount /sys/fs/cgroup writable in the surrounding container (`--cgroupns=private`, `--privileged`).",
        rule="host-cgroup-absent",
    ),
    HostCause(
        r"sd-bus call: ([^\n\"]*)|dial unix (\S+/bus): connect",
        "The runtime cannot ask systemd for a control group: there is no session of this user ({0}).",
        '`sudo loginctl enable-linger $USER`, then log in again; or set `cgroup_manager="cgroupfs"` below '
        "[engine] in "
        "~/.config/containers/containers.conf.",
        rule="host-session",
    ),
    HostCause(
        r"lsetxattr\(label=[^\n]*(?i:operation not permitted|permission denied)"
        r"|cannot apply additional memory protection after relocation",
        "SELinux refuses: the image storage does not have the labels of container storage.",
        "`sudo semanage fcontext -a -e /var/lib/containers/storage DIRECTORY && sudo restorecon -R DIRECTORY`, "
        "with the "
        "`graphroot` of `podman info`.",
        rule="host-selinux",
    ),
    HostCause(
        r"could not find a working conmon binary|outdated conmon version",
        "podman finds no conmon that works.",
        "Install conmon; where it is there, the limit of open files (`ulimit -n`) may be too low for it.",
        rule="host-conmon-missing",
    ),
    HostCause(
        r"no valid executable found for OCI runtime|(?:runc|crun)\"?: executable file not found"
        r"|default OCI runtime \"[^\"]*\" not found",
        "podman finds no OCI runtime.",
        "Install crun or runc.",
        rule="host-runtime-missing",
    ),
)


_REMARK = expression(r'time="[^"]*" level=(?:warning|info|debug|trace) |(?:WARN|INFO|DEBU)\[\d+\]')
"""How a line of logrus begins that is no error."""

_ERROR = expression(r'(?i:error:)|time="[^"]*" level=(?:error|fatal) |(?:ERRO|FATA)\[\d+\]')

_OPEN = expression(
    r"re-exec process|insufficient UIDs|enough IDs|chown |setting owner|setresuid|exit (?:status|code) \d"
)
"""In an error that does not tell why, or that comes of having one id alone: a remark before it may."""


def cause_in(text: str) -> HostCause | None:
    """What this host lacks, by what a program said of it; None where it says nothing of that kind.

    What it only remarked on counts where its errors leave the reason open.
    """
    lines = text.splitlines()
    errors = [line for line in lines if _REMARK.match(line) is None]
    found = _cause("\n".join(errors))
    if found is not None or len(errors) == len(lines):
        return found
    closed = any(_ERROR.match(line) and _OPEN.search(line) is None for line in errors)
    return None if closed else _cause(text)


def _cause(text: str) -> HostCause | None:
    return diagnose(_CAUSES, text, tidy=lambda group: group.rstrip(".").lower() if group.isupper() else group)
