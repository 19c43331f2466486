"""Processors: their names in this project, and as platforms of OCI image-spec v1.1 (GOOS/GOARCH/variant)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.elf.records import Header

_MACHINES: Final = {
    ("X86_64", 64, True): "x86_64",
    ("X86_64", 32, True): "x32",
    ("386", 32, True): "i386",
    ("AARCH64", 64, True): "aarch64",
    ("ARM", 32, True): "arm",
    ("RISCV", 64, True): "riscv64",
    ("RISCV", 32, True): "riscv32",
    ("PPC64", 64, True): "ppc64le",
    ("PPC64", 64, False): "ppc64",
    ("S390", 64, False): "s390x",
    ("MIPS", 32, False): "mips",
    ("MIPS", 32, True): "mipsel",
    ("MIPS", 64, False): "mips64",
    ("MIPS", 64, True): "mips64el",
    ("LOONGARCH", 64, True): "loongarch64",
}

_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "i386": "386",
    "aarch64": "arm64",
    "arm": "arm",
    "riscv64": "riscv64",
    "ppc64le": "ppc64le",
    "ppc64": "ppc64",
    "s390x": "s390x",
    "mips": "mips",
    "mipsel": "mipsle",
    "mips64": "mips64",
    "mips64el": "mips64le",
    "loongarch64": "loong64",
}

_SYSTEMS: Final = {2: "netbsd", 6: "solaris", 9: "freebsd", 12: "openbsd"}
"""EI_OSABI of other systems; Linux programs say 0 (System V) or 3 (GNU/Linux)."""

_OWNERS: Final = {"NetBSD": "netbsd", "FreeBSD": "freebsd", "OpenBSD": "openbsd", "DragonFly": "dragonfly"}
"""Owners of notes by which the systems that leave EI_OSABI at 0 know their own programs."""

_ARM_VARIANTS: Final = {
    **dict.fromkeys((3, 4, 5), "v5"),
    **dict.fromkeys((6, 7, 8, 9, 11, 12), "v6"),
    **dict.fromkeys((10, 13), "v7"),
    **dict.fromkeys((14, 15, 22), "v8"),
}
"""Tag_CPU_arch of "Addenda to, and Errata in, the ABI for the Arm Architecture"."""

_MACHINES_OF_KERNELS: Final = {
    "i686": ("386", None),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
}
"""Names of uname(2) that no ELF header says."""

_WORD: Final = expression(r"[a-z0-9._-]+\Z")

_ARM_TEXT_TAGS: Final = {4, 5, 32, 65, 67}
_ARM_CPU_ARCH = 6
_ARM_TAGS_LIMIT = 128


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry or an engine chooses an image by; `str()` gives e.g. `linux/arm64/v8`."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse_platform(text: str) -> Platform:
    """Read `OS/ARCHITECTURE[/VARIANT]`; raises UsageError."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(_WORD.match(part) for part in parts):
        raise UsageError(
            f"{text!r} is not a platform.", fix="Write it as linux/amd64, linux/arm64 or linux/arm/v7."
        )
    return Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) > 2 else None)  # noqa: PLR2004


def host_platform(machine: str) -> Platform:
    """The platform of this host, by the machine that uname(2) tells."""
    architecture, variant = _MACHINES_OF_KERNELS.get(machine, (_ARCHITECTURES.get(machine, machine), None))
    return Platform(os="linux", architecture=architecture, variant="v8" if machine == "aarch64" else variant)


def chosen_platform(platforms: Sequence[Platform], wanted: Platform) -> int | None:
    """The number of the one to take: the very one, that for every processor of its kind, or the least of them."""

    def distance(at: int) -> tuple[int, str]:
        variant = platforms[at].variant
        return (0 if variant == wanted.variant else 1 if variant is None else 2, variant or "")

    kind = (wanted.os, wanted.architecture)
    fitting = [at for at, each in enumerate(platforms) if (each.os, each.architecture) == kind]
    return min(fitting, key=distance, default=None)


def level_of(isa_level: int | None, go_amd64: str | None) -> str | None:
    """The variant of amd64, v2 to v4, that a linker's note or GOAMD64 asks for; None for every amd64."""
    noted = f"v{isa_level}" if isa_level is not None else ""
    return max((each for each in (noted, go_amd64 or "") if each in {"v2", "v3", "v4"}), default=None)


def machine_name(header: Header) -> str:
    """Give the usual name of the processor (`uname -m`), or `unknown-0x1234`."""
    key = (header.machine, header.bits, header.little_endian)
    return _MACHINES.get(key, f"unknown-0x{header.machine_number:04x}")


def system_name(os_abi: int, note_owners: frozenset[str], go_os: str | None) -> str:
    """Name the operating system that the program was made for, as GOOS does."""
    if go_os:
        return go_os
    for owner, system in _OWNERS.items():
        if owner in note_owners:
            return system
    return _SYSTEMS.get(os_abi, "linux")


def platform_of(machine: str, system: str, arm_variant: str | None) -> Platform | None:
    """Give the OCI platform of a program; None for a processor that OCI has no name for."""
    architecture = _ARCHITECTURES.get(machine)
    if architecture is None:
        return None
    variant = {"arm64": "v8", "arm": arm_variant}.get(architecture)
    return Platform(os=system, architecture=architecture, variant=variant)


def arm_variant(go_arm: str | None, build_attributes: bytes) -> str | None:
    """Tell v5 to v8 by the GOARM of a Go program, else by `.ARM.attributes`; None if neither says."""
    if go_arm and go_arm[0] in "567":
        return f"v{go_arm[0]}"
    _, found, tags = build_attributes.partition(b"aeabi\0\x01")
    return _cpu_variant(tags[4:]) if found else None


def _cpu_variant(tags: bytes) -> str | None:
    offset = 0
    for _ in range(_ARM_TAGS_LIMIT):
        tag, offset = _uleb128(tags, offset)
        if tag in _ARM_TEXT_TAGS:
            if tag == 32:  # noqa: PLR2004 - Tag_compatibility: a number, then a text
                _, offset = _uleb128(tags, offset)
            offset = tags.find(b"\0", offset) + 1
            if not offset:
                return None
            continue
        value, offset = _uleb128(tags, offset)
        if tag == _ARM_CPU_ARCH:
            return _ARM_VARIANTS.get(value)
        if offset >= len(tags):
            return None
    return None


def _uleb128(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[offset : offset + 8]:
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit of LEB128
            break
        shift += 7
    return value, offset
