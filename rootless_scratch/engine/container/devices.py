"""Which devices of the host a container without root can have."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from rootless_scratch.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless_scratch.engine.request.request import Device

_MODES = {"r": os.R_OK, "w": os.W_OK}


def require_devices(devices: Iterable[Device]) -> None:
    """Raise HostError for a device that the program could not open: in there it has this account's rights alone.

    The account's groups are not among them: a user namespace does not have them.
    """
    for device in devices:
        try:
            status = os.stat(device.source)
        except OSError as error:
            raise HostError(
                f"The device {device.source} cannot be added: {error.strerror}.",
                fix="Correct the path of --device.",
            ) from error
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise HostError(f"{device.source} is not a device.", fix="Mount it by --volume.")
        if os.geteuid() and not all(
            _may(device.source, status, _MODES[each]) for each in device.access if each != "m"
        ):
            raise HostError(
                f"The device {device.source} cannot be had: without root a container has no right that its caller "
                "lacks, and none of the caller's groups.",
                fix=f"Have an administrator open it to you yourself, `sudo setfacl -m u:{os.geteuid()}:rw "
                f"{device.source}`, or ask for less: --device {device.source}:r.",
            )


def _may(path: str, status: os.stat_result, mode: int) -> bool:
    """Whether this account may, by itself and not only by one of its groups."""
    by_itself = status.st_mode >> 6 if status.st_uid == os.geteuid() else status.st_mode
    return bool(by_itself & mode) or (_has_acl(path) and os.access(path, mode))


def _has_acl(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False
