"""Where a program's loader would look for libraries in the image: ld.so(8), and musl's ldso/dynlink.c.

Only the libraries that the program itself names are looked for; what these need in turn is not.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootless_scratch.elf.facts import ElfFacts

_GLIBC_DIRECTORIES: Final = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib32", "/usr/lib32")
_MUSL_DIRECTORIES: Final = ("/lib", "/usr/local/lib", "/usr/lib")
_MULTIARCH: Final = {
    "x86_64": "x86_64-linux-gnu",
    "i386": "i386-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "loongarch64": "loongarch64-linux-gnu",
}
_ARM_MULTIARCH: Final = ("arm-linux-gnueabihf", "arm-linux-gnueabi")
_MUSL_OWN: Final = ("c", "pthread", "rt", "m", "dl", "util", "xnet")
"""Libraries that musl's loader is itself: load_library() in ldso/dynlink.c."""

_NODEFLIB = 0x800

_PATHS_LIMIT = 100
"""A hostile file could name thousands of paths for thousands of libraries."""


def is_musl(interpreter: str | None) -> bool:
    """Tell whether a loader is musl's, by the name that musl fixes for it."""
    return posixpath.basename(interpreter or "").startswith("ld-musl-")


def has_search_list(elf: ElfFacts, is_present: Callable[[str], bool]) -> bool:
    """Tell whether the image has a file by which the loader may look elsewhere; what it says is not read."""
    if is_musl(elf.interpreter):
        return is_present(f"/etc/ld-musl-{elf.machine}.path")
    return is_present("/etc/ld.so.cache")


def missing_libraries(
    elf: ElfFacts, *, is_present: Callable[[str], bool], image_path: str | None, library_path: str
) -> tuple[str, ...]:
    """List those of the program's DT_NEEDED that its loader would not find in the image."""
    return tuple(
        name
        for name in dict.fromkeys(elf.needed)
        if not _is_own(elf, name)
        and not any(is_present(path) for path in _candidates(elf, name, image_path, library_path))
    )


def _is_own(elf: ElfFacts, name: str) -> bool:
    """Tell whether the loader, once there, is that library."""
    if is_musl(elf.interpreter):
        stem = name.removeprefix("lib").partition(".")[0]
        return name.startswith("lib") and stem in _MUSL_OWN
    return name == posixpath.basename(elf.interpreter or "")


def _candidates(elf: ElfFacts, name: str, image_path: str | None, library_path: str) -> Iterator[str]:
    if "/" in name:
        # ld.so(8): a name with a slash is a path; a relative one begins at a working directory unknown here.
        if name.startswith("/"):
            yield posixpath.normpath(name)
        return
    for directory in _own_directories(elf, image_path):
        yield posixpath.join(directory, name)
    for directory in library_path.replace(";", ":").split(":"):
        if directory.startswith("/"):
            yield posixpath.join(directory, name)
    if elf.flags_1 & _NODEFLIB and not is_musl(elf.interpreter):
        return
    for directory in _default_directories(elf):
        yield f"{directory}/{name}"


def _own_directories(elf: ElfFacts, image_path: str | None) -> Iterator[str]:
    """Read RUNPATH, else RPATH; `$ORIGIN` is the program's directory; what stays relative is left out."""
    origin = posixpath.dirname(image_path) if image_path else None
    paths = elf.runpath if elf.runpath is not None else elf.rpath or ""
    for item in paths.split(":")[:_PATHS_LIMIT]:
        path = item
        if origin is not None:
            path = path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        if path.startswith("/") and "$" not in path:
            yield posixpath.normpath(path)


def _default_directories(elf: ElfFacts) -> tuple[str, ...]:
    if is_musl(elf.interpreter):
        return _MUSL_DIRECTORIES
    triplets = _ARM_MULTIARCH if elf.machine == "arm" else tuple(filter(None, [_MULTIARCH.get(elf.machine)]))
    multiarch = [f"{root}/{triplet}" for triplet in triplets for root in ("/lib", "/usr/lib")]
    return (*_GLIBC_DIRECTORIES, *multiarch)
