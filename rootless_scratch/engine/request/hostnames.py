"""Hostnames and addresses of a run: `--hostname`, `--add-host`, `--dns` and `--dns-search`."""

from __future__ import annotations

import re
import socket

from rootless_scratch.errors import UsageError

_NAME_LIMIT, _LABEL_LIMIT = 64, r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
"""HOST_NAME_MAX of Linux; a label of a hostname, RFC 1123 2.1, with the underscores that are in use."""


def parse_hostname(value: str) -> str:
    """A hostname of at most 64 characters."""
    if len(value) > _NAME_LIMIT or not all(re.fullmatch(_LABEL_LIMIT, label) for label in value.split(".")):
        raise UsageError(
            f"--hostname {value!r} is not a hostname.",
            fix="Use letters, digits and `-`, at most 64 of them: web.local.",
        )
    return value


def parse_host(value: str) -> str:
    """`NAME:IP`; IP may be host-gateway."""
    name, _, address = value.partition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if not all(re.fullmatch(_LABEL_LIMIT, label) for label in name.split(".")) or not (
        bare == "host-gateway" or _is_address(bare)
    ):
        raise UsageError(
            f"--add-host {value!r} is not valid.",
            fix="Write NAME:IP, for example db.local:192.0.2.7 or db:host-gateway.",
        )
    return f"{name}:{bare}"


def parse_dns(value: str) -> str:
    """The address of a DNS server."""
    if not _is_address(value):
        raise UsageError(f"--dns {value!r} is not an IP address.", fix="Write it as --dns 192.0.2.53.")
    return value


def parse_domain(value: str) -> str:
    """A domain to look names up in; `.` is none."""
    if value != "." and not all(re.fullmatch(_LABEL_LIMIT, label) for label in value.removesuffix(".").split(".")):
        raise UsageError(f"--dns-search {value!r} is not a domain.", fix="Write it as --dns-search example.com.")
    return value


def _is_address(value: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value)
        except (OSError, ValueError):
            continue
        return True
    return False
