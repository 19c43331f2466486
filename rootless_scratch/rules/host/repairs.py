"""Repairs as commands, for the distribution of a host and for what surrounds this process on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.command import install_hint
from rootless_scratch.rules.host.judged import Repair

if TYPE_CHECKING:
    from rootless_scratch.host.facts import HostFacts
    from rootless_scratch.host.surroundings import Family

_INSTALL: Final[dict[Family, str]] = {
    "debian": "apt-get install -y",
    "fedora": "dnf install -y",
    "alpine": "apk add",
    "arch": "pacman -S --noconfirm",
    "suse": "zypper install -y",
}
_PACKAGES: Final[dict[str, dict[Family, str]]] = {
    "newuidmap": {
        "debian": "uidmap",
        "fedora": "shadow-utils",
        "alpine": "shadow-uidmap",
        "arch": "shadow",
        "suse": "shadow",
    },
    "netavark": {"alpine": "netavark aardvark-dns"},
    "pasta": {"debian": "passt", "fedora": "passt", "alpine": "passt", "arch": "passt", "suse": "passt"},
    "busybox": {"debian": "busybox-static", "alpine": "busybox-static", "suse": "busybox-static"},
}
"""Where the package is not called as the program."""

_SECCOMP: Final = {
    "gitlab": 'in config.toml of the runner, [runners.docker]: `security_opt = ["seccomp:unconfined", '
    '"apparmor:unconfined"]`',
    "kubernetes": "in the container's securityContext: `seccompProfile: {type: Unconfined}` and `appArmorProfile: "
    "{type: Unconfined}`",
    "openshift": "have the cluster's administrator grant an SCC that allows `seccompProfile: {type: Unconfined}`",
    "docker": "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`",
}
_PROC: Final = {
    "gitlab": "in config.toml of the runner, [runners.docker]: `privileged = true`",
    "kubernetes": "in the pod: `hostUsers: false`, and in the container's securityContext `procMount: Unmasked`",
    "docker": "`docker run --security-opt systempaths=unconfined`",
    "podman": "`podman run --security-opt unmask=ALL`",
}
_ESCALATION: Final = {
    "kubernetes": "in the container's securityContext: `allowPrivilegeEscalation: true` and `capabilities: {add: "
    "[SETUID, SETGID]}`",
    "docker": "without `--security-opt no-new-privileges`, and with `--cap-add SETUID --cap-add SETGID`",
    "plain": "in the unit of systemd that starts it: `NoNewPrivileges=no`; its file system without the option "
    "nosuid",
}

_ADMINISTRATION = {
    "kubernetes": "in its securityContext: `capabilities: {add: [SYS_ADMIN]}`",
    "docker": "`--cap-add SYS_ADMIN`",
    "gitlab": '`cap_add = ["SYS_ADMIN"]` below [runners.docker] in config.toml',
}


def install(facts: HostFacts, *tools: str) -> Repair:
    """Install programs by the package manager of the host's distribution."""
    family = facts.surroundings.family
    if family not in _INSTALL:
        return Repair(fix=" ".join(install_hint(tool) for tool in tools))
    packages = " ".join(dict.fromkeys(_PACKAGES.get(tool, {}).get(family, tool) for tool in tools))
    return as_root(facts, f"{_INSTALL[family]} {packages}", begin="Install it: ")


def as_root(facts: HostFacts, *commands: str, begin: str = "", end: str = ".") -> Repair:
    """Commands that need root, by sudo where this process is not root's."""
    wanted = commands if facts.identity.uid == 0 else tuple(f"sudo {command}" for command in commands)
    return Repair(fix=f"{begin}`{' && '.join(wanted)}`{end}", commands=wanted, needs_root=True)


def unconfined(facts: HostFacts) -> str:
    """How what surrounds this process is started without its filters."""
    return f"Start the surrounding container without the filter: {_by_surroundings(facts, _SECCOMP)}."


def unmasked(facts: HostFacts) -> str:
    """How it is started with the whole of /proc."""
    return f"Start the surrounding container with the whole of /proc: {_by_surroundings(facts, _PROC)}."


def escalating(facts: HostFacts) -> str:
    """How it is started so that the setuid bit has its effect."""
    return f"Start this process so that it may raise its rights: {_by_surroundings(facts, _ESCALATION)}."


def administering(facts: HostFacts) -> str:
    """How it is started so that newuidmap may write the map of another process."""
    return f"Start the surrounding container with that capability: {_by_surroundings(facts, _ADMINISTRATION)}."


def _by_surroundings(facts: HostFacts, texts: dict[str, str]) -> str:
    """What fits the service and the surroundings; all that there is where they are not known."""
    around = facts.surroundings
    if around.service == "gitlab" and around.kind in ("docker", "container") and "gitlab" in texts:
        return texts["gitlab"]
    kind = str(around.kind)
    if kind not in texts:
        kind = {"openshift": "kubernetes", "podman": "docker"}.get(kind, kind)
    if kind in texts:
        return texts[kind]
    return "; ".join(f"{name}: {text}" for name, text in texts.items() if name != "openshift")
