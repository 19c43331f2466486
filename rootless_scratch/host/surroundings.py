"""Where this process runs, as far as repairs differ by it: the distribution, and what surrounds it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

from rootless_scratch.processes import text

if TYPE_CHECKING:
    from collections.abc import Mapping

Family = Literal["debian", "fedora", "alpine", "arch", "suse", "unknown"]
Kind = Literal["plain", "wsl", "docker", "podman", "kubernetes", "openshift", "lxc", "container"]
Service = Literal["none", "github", "gitlab", "jenkins", "other"]

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("debian", "ubuntu"), "debian"),
    **dict.fromkeys(("fedora", "rhel", "centos"), "fedora"),
    "alpine": "alpine",
    "arch": "arch",
    **dict.fromkeys(("suse", "opensuse"), "suse"),
}
_SERVICES: tuple[tuple[str, Service], ...] = (
    ("GITHUB_ACTIONS", "github"),
    ("GITLAB_CI", "gitlab"),
    ("JENKINS_URL", "jenkins"),
    ("CI", "other"),
)
_RANDOM_IDS = 1_000_000_000
"""OpenShift gives each project ids from here on."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """`family` of the distribution, `kind` of what is around this process, `service` whose job it is."""

    family: Family = "unknown"
    kind: Kind = "plain"
    service: Service = "none"

    @property
    def in_container(self) -> bool:
        """Whether something has been started around this process that can be started otherwise."""
        return self.kind not in ("plain", "wsl")


def read_surroundings(environ: Mapping[str, str], *, root: str = "") -> Surroundings:
    """Read os-release(5), the marks that engines leave in their containers, and the variables of CI services."""
    return Surroundings(
        family=_family(root),
        kind=_kind(environ, root),
        service=next((service for name, service in _SERVICES if environ.get(name)), "none"),
    )


def _family(root: str) -> Family:
    release = text(f"{root}/etc/os-release") or text(f"{root}/usr/lib/os-release")
    fields = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").replace("'", "").split()
    for name in names:
        if name in _FAMILIES or name.partition("-")[0] in _FAMILIES:
            return _FAMILIES.get(name) or _FAMILIES[name.partition("-")[0]]
    return "unknown"


def _kind(environ: Mapping[str, str], root: str) -> Kind:
    if environ.get("KUBERNETES_SERVICE_HOST") or os.path.isdir(f"{root}/var/run/secrets/kubernetes.io"):
        return "openshift" if os.getuid() >= _RANDOM_IDS else "kubernetes"
    if os.path.exists(f"{root}/run/.containerenv"):
        return "podman"
    # What was exported from a container and booted has the file too, but not the mounts.
    if os.path.exists(f"{root}/.dockerenv") and " /etc/hostname " in text(f"{root}/proc/self/mountinfo"):
        return "docker"
    if environ.get("container") == "lxc" or "container=lxc" in text(f"{root}/run/systemd/container"):
        return "lxc"
    if environ.get("container"):
        return "container"
    kernel = text(f"{root}/proc/sys/kernel/osrelease").lower()
    return "wsl" if "microsoft" in kernel else "plain"
