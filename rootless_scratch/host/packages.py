"""Which package has what an essential needs, as this host's own package manager calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rootless_scratch import spawn

_MANAGERS: Final = {
    "apt-get": "sudo apt-get install",
    "dnf": "sudo dnf install",
    "apk": "sudo apk add",
    "zypper": "sudo zypper install",
    "pacman": "sudo pacman -S",
}
_PACKAGES: Final[dict[str, dict[str, str]]] = {
    "ca-certificates": {},
    "tzdata": {"zypper": "timezone"},
    "services": {"apt-get": "netbase", "dnf": "setup", "apk": "alpine-baselayout-data", "pacman": "iana-etc"},
    "locale": {"apt-get": "libc-bin", "dnf": "glibc-common", "zypper": "glibc-locale-base", "pacman": "glibc"},
    "terminfo": {
        "apt-get": "ncurses-base",
        "dnf": "ncurses-base",
        "apk": "ncurses-terminfo-base",
        "zypper": "terminfo-base",
        "pacman": "ncurses",
    },
    "mime": {
        "apt-get": "media-types",
        "dnf": "mailcap",
        "apk": "mailcap",
        "zypper": "mailcap",
        "pacman": "mailcap",
    },
}
"""By essential and manager; a package that is not named here has the essential's own name."""


def install_command(packages: Mapping[str, str]) -> str | None:
    """The line that installs a package here, of those named by manager; None where no manager is known."""
    return next(
        (f"{_MANAGERS[name]} {packages[name]}" for name in _MANAGERS if name in packages and spawn.find(name)),
        None,
    )


def install_line(package: str) -> str:
    """One sentence that says how a package is installed here."""
    manager = next((_MANAGERS[name] for name in _MANAGERS if spawn.find(name)), None)
    return f"Install it: `{manager} {package}`." if manager else "Install it."


def install_advice(essential: str) -> str:
    """One sentence that says how what `essential` needs is installed here."""
    manager = next((name for name in _MANAGERS if spawn.find(name)), None)
    if manager is None:
        return f"Install the package that has it ({essential}), or give a path: `--with {essential}=PATH`."
    if essential == "locale" and manager == "apk":
        return "Leave it out: musl, the C library here, has C.UTF-8 built in."
    package = _PACKAGES[essential].get(manager, essential)
    return f"Install it: `{_MANAGERS[manager]} {package}`, or give a path: `--with {essential}=PATH`."
