"""What podman has and a run does not, with what there is in its place; and the verbs that are podman's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMESPACE = (
    "The container has namespaces of its own; `rootless-scratch debug CONTAINER` looks into one that runs."
)
_LIMITS = "Use --memory, --cpus, --pids-limit or --ulimit."
_IDS = "Use --userns keep-id:uid=N,gid=N; what is mounted by --volume is the caller's anyway."
_PODS = "Use `podman run` for containers that belong together."
_ENVIRONMENT = "Name each variable that the program may see: --env NAME, or --env-file FILE."
_HEALTH = "Use --health-cmd; podman's defaults hold for the rest."
_NETWORK = "Use --network NAME, of a network made by `podman network create`."
_REGISTRY = "Log in by `podman login`, or pull it before: `podman pull`."
_SYSTEMD = "Use `podman run` for an image with systemd; here the program itself is process 1, or --init."
_KEPT = "Use --keep, and podman's own verbs on the container."
_ATTACHED = "Output is always attached, stdin by -i; -d runs it in the background."

_HERE = {
    "--privileged": "Open only what the program needs: --cap-add NAME, --writable, --allow-new-privileges, "
    "--seccomp.",
    "--ipc --pid --uts --cgroupns --shm-size --shm-size-systemd": _NAMESPACE,
    "--memory-swap --memory-reservation --memory-swappiness --cpu-period --cpu-quota --cpu-shares --cpuset-cpus "
    "--cpuset-mems --cpu-rt-period --cpu-rt-runtime --blkio-weight --blkio-weight-device --device-read-bps "
    "--device-write-bps --device-read-iops --device-write-iops --cgroup-conf --cgroup-parent --cgroups "
    "--oom-kill-disable --oom-score-adj --rdt-class": _LIMITS,
    "--uidmap --gidmap --subuidname --subgidname --group-add --hostuser --group-entry --passwd-entry "
    "--passwd": _IDS,
    "--pod --pod-id-file --requires --infra --volumes-from --link": _PODS,
    "--env-host --http-proxy --unsetenv --unsetenv-all --env-merge": _ENVIRONMENT,
    "--health-interval --health-retries --health-start-period --health-timeout --health-on-failure "
    "--no-healthcheck --healthcheck-command --health-startup-cmd": _HEALTH,
    "--ip --ip6 --mac-address --network-alias --net-alias": _NETWORK,
    "--creds --decryption-key --disable-content-trust": _REGISTRY,
    "--systemd --sdnotify --cidfile --conmon-pidfile --pidfile": _SYSTEMD,
    "--restart": "Let systemd start it again, by `rootless-scratch generate quadlet` (or `systemd`).",
    "--attach -a --sig-proxy": _ATTACHED,
    "--gpus": "Name its devices: --device /dev/dri/renderD128, of those that you may open.",
    "--expose --publish-all -P": "Publish each port by itself: --publish 8080 chooses a free one of the host.",
    "--annotation": "Use --label; annotations of an image are `build --annotation`.",
    "--label-file": "Use --label K=V, repeated.",
    "--sysctl": "Set it on the host, or use `podman run`.",
    "--dns-option --dns-opt": "Use --dns and --dns-search, or --volume ./resolv.conf:/etc/resolv.conf:ro.",
    "--no-hosts --no-hostname --hosts-file": "Mount a file of your own: --volume ./hosts:/etc/hosts:ro.",
    "--tz": "Use --env TZ=Europe/Berlin, with time zones in the image: `build --with tzdata`.",
    "--umask": "Let the program set it, or give directories their modes: `build --mkdir PATH:mode=0777`.",
    "--arch --os --variant": "Use --platform OS/ARCH[/VARIANT].",
    "--rootfs": "Use `rootless-scratch run ./program`, or build an image of the directory: `build --copy DIR:/`.",
    "--image-volume --read-only-tmpfs": "Use --tmpfs for more places in memory than the three that there are.",
    "--log-opt --log-level": "Use --log-driver; `podman logs` reads what a container has printed that stays.",
    "--preserve-fds --preserve-fd": "Use -i, which passes stdin, or --volume.",
    "--tls-details --device-cgroup-rule": "Use --device, of a device that you may open.",
    "--storage-opt --rmi --runtime --cidfile-dir --chrootdirs --personality --secret-env": _KEPT,
    "--bundle-libraries": "Leave it out: `run ./program` brings the libraries that the program needs.",
    "--no-rm": _KEPT,
}
_FIXES = {name: fix for names, fix in _HERE.items() for name in names.split()}

_VERBS = """
attach auto-update commit container cp create diff events exec export healthcheck history
images image import info init kill kube load login logout logs machine manifest mount network pause
play pod port ps pull rename restart rm rmi search secret start stats stop system tag top umount
unmount unpause unshare untag update volume wait
"""
"""Of podman; what is a verb here is never looked for in it."""


def refuse_option(name: str, near: Sequence[str] | None) -> UsageError:
    """The error for an option that `run` does not have; `near` are options of much the same name."""
    fix = _FIXES.get(name)
    if fix is None:
        hint = f"Did you mean {' or '.join(sorted(near))}? " if near else ""
        fix = f"{hint}`rootless-scratch run --help` lists the options; what it lacks is podman's: `podman run`."
    return UsageError(f"There is no {name}.", fix=fix)


def podmans_verb(arguments: Sequence[str]) -> UsageError | None:
    """The error for a verb that is podman's own, with podman's line; None where it is not one."""
    if not arguments or arguments[0] not in _VERBS.split():
        return None
    line = shlex.join(("podman", *arguments))
    return UsageError(
        f"`{arguments[0]}` is a verb of podman, which has the same images and containers.", fix=f"Run `{line}`."
    )
