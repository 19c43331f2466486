"""What this process may do: its effective capabilities (capabilities(7))."""

from __future__ import annotations

import os

CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24


def effective_capabilities() -> int:
    """The effective set as a bit mask; 0 where /proc does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("CapEff:"):
                    return int(line.split()[1], 16)
    except OSError:
        pass
    return 0


def is_rootful() -> bool:
    """Whether podman and buildah work here without a user namespace of their own."""
    return os.geteuid() == 0 and bool(effective_capabilities() >> CAP_SYS_ADMIN & 1)
