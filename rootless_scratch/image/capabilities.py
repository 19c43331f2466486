"""File capabilities as data: from the notation of cap_from_text(3) to the bytes of the extended attribute."""

from __future__ import annotations

import re
import struct

from rootless_scratch.errors import SpecError

XATTR = "security.capability"

_NAMES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]
"""By number: include/uapi/linux/capability.h."""

_REVISION_2 = 0x02000000
_EFFECTIVE = 0x000001
_TEXT = re.compile(r"(?P<names>[a-z_]+(?:,[a-z_]+)*)[+=](?P<flags>[eip]+)\Z")


def encode_capabilities(text: str) -> bytes:
    """The value of `security.capability`, revision 2 (vfs_cap_data), for e.g. `cap_net_bind_service+ep`.

    One clause of cap_from_text(3), in which `cap_` may be left out and upper case is lower case; the bytes are
    those that setcap(8) writes. Raises SpecError for unknown names or another form.
    """
    match = _TEXT.match(text.lower())
    if match is None:
        raise SpecError(
            f"{text!r} does not read as file capabilities.",
            fix="Write them as `cap_net_bind_service+ep` (cap_from_text(3)).",
        )
    bits = 0
    for name in match["names"].split(","):
        if name.removeprefix("cap_") not in _NAMES:
            raise SpecError(f"There is no capability {name!r}.", fix="See capabilities(7) for their names.")
        bits |= 1 << _NAMES.index(name.removeprefix("cap_"))
    flags = match["flags"]
    if not {"p", "i"} & set(flags):
        raise SpecError(
            f"{text!r} makes no capability permitted, so a program gets none.",
            fix="Write `+ep`, as in `cap_net_bind_service+ep` (cap_from_text(3)).",
        )
    permitted = bits if "p" in flags else 0
    inheritable = bits if "i" in flags else 0
    low = 0xFFFFFFFF
    return struct.pack(
        "<5I",
        _REVISION_2 | (_EFFECTIVE if "e" in flags else 0),
        permitted & low,
        inheritable & low,
        permitted >> 32,
        inheritable >> 32,
    )
