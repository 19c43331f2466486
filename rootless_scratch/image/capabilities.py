"""File capabilities as data: the notation of cap_from_text(3), and the bytes of the extended attribute."""

from __future__ import annotations

import struct

from rootless_scratch.errors import SpecError
from rootless_scratch.expressions import expression

XATTR = "security.capability"

_BY_NUMBER = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot "
    "sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease "
    "audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read "
    "perfmon bpf checkpoint_restore"
)
"""From 0 on: include/uapi/linux/capability.h."""

CAPABILITIES = _BY_NUMBER.split()

_REVISION_1 = 0x01000000
_REVISION_2 = 0x02000000
_REVISION_3 = 0x03000000
_REVISION_MASK = 0xFF000000
_WORDS = {_REVISION_1: 3, _REVISION_2: 5, _REVISION_3: 6}
"""How many words of 32 bits each has; the last of revision 3 is the root of a user namespace."""

_EFFECTIVE = 0x000001
_TEXT = expression(r"(?P<names>[a-z_]+(?:,[a-z_]+)*)[+=](?P<flags>[eip]+)\Z")


def encode_capabilities(text: str) -> bytes:
    """The value of `security.capability`, revision 2 (vfs_cap_data), for e.g. `cap_net_bind_service+ep`.

    One clause of cap_from_text(3), in which `cap_` may be left out and upper case is lower case; the bytes are
    those that setcap(8) writes. Raises SpecError for unknown names or another form.
    """
    match = _TEXT.match(text.lower())
    if match is None:
        raise SpecError(
            f"{text!r} is not a set of file capabilities.",
            fix="Write them as `cap_net_bind_service+ep` (cap_from_text(3)).",
        )
    bits = 0
    for name in match["names"].split(","):
        if name.removeprefix("cap_") not in CAPABILITIES:
            raise SpecError(f"There is no capability {name!r}.", fix="See capabilities(7) for their names.")
        bits |= 1 << CAPABILITIES.index(name.removeprefix("cap_"))
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


def decode_capabilities(value: bytes) -> str | None:
    """The text of the value of `security.capability`, e.g. `cap_net_raw+ep`; None where no kernel reads it.

    One clause for each set of flags; `=` where no capability is named. `[rootid=N]` behind it, as getcap(8) writes
    it, is the root of the user namespace in which alone they count (revision 3 of vfs_cap_data).
    """
    words = [word for (word,) in struct.iter_unpack("<I", value[: len(value) // 4 * 4])]
    if not words or len(words) * 4 != len(value) or len(words) != _WORDS.get(words[0] & _REVISION_MASK):
        return None
    low, high = words[1:3], words[3:5] or [0, 0]
    permitted, inheritable = (lower | upper << 32 for lower, upper in zip(low, high, strict=True))
    effective = "e" if words[0] & _EFFECTIVE else ""
    clauses = [
        f"{_listed(bits)}+{effective}{flags}"
        for bits, flags in (
            (permitted & inheritable, "ip"),
            (permitted & ~inheritable, "p"),
            (inheritable & ~permitted, "i"),
        )
        if bits
    ]
    root = f" [rootid={words[5]}]" if words[0] & _REVISION_MASK == _REVISION_3 else ""
    return (" ".join(clauses) or "=") + root


def _listed(bits: int) -> str:
    """The names of a set, by number; what this table does not know is its number, as cap_to_text(3) has it."""
    numbers = [number for number in range(64) if bits >> number & 1]
    return ",".join(
        f"cap_{CAPABILITIES[number]}" if number < len(CAPABILITIES) else str(number) for number in numbers
    )
