"""Libraries that a program opens by itself once it runs, as far as its files tell: dlopen(3) and its users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.notes import Priority  # noqa: TC001 - msgspec resolves it for JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.libraries import Closure

_UNWINDING: Final = ("pthread_cancel", "pthread_exit")
_ACCOUNTS: Final = ("getpw", "getgr", "initgroups", "getserv", "getproto")
_HOSTS: Final = ("getaddrinfo", "gethostby", "getnameinfo")
_NSS_BUILT_IN: Final = "GLIBC_2.34"
"""Since that version `files` and `dns` are parts of libc.so.6: NEWS of glibc 2.34."""


class OpenedLater(msgspec.Struct, frozen=True, kw_only=True):
    """A library, any one of `names`, that `wanted_by` opens when it comes to `reason`."""

    names: tuple[str, ...]
    reason: str
    wanted_by: str
    priority: Priority


def opened_later(elf: ElfFacts, path: str, closure: Closure) -> tuple[OpenedLater, ...]:
    """List what the program and its libraries open by themselves, those that are loaded anyway left out."""
    loaded = {name for each in closure.libraries for name in (each.name, each.elf.soname if each.elf else None)}
    files = [(path, elf)] + [(each.path, each.elf) for each in closure.libraries if each.elf is not None]
    libc = next((each.elf for each in closure.libraries if each.name == "libc.so.6"), None)
    found = dict.fromkeys(
        need for where, facts in files for need in _of_file(where, facts, glibc=not closure.musl, libc=libc)
    )
    seen: set[tuple[str, ...]] = set()
    answer = []
    for need in found:
        if need.names not in seen and not loaded & set(need.names):
            seen.add(need.names)
            answer.append(need)
    return tuple(answer)


def _of_file(path: str, elf: ElfFacts, *, glibc: bool, libc: ElfFacts | None) -> Iterator[OpenedLater]:
    for note in elf.dlopen:
        if note.soname:
            yield OpenedLater(
                names=note.soname,
                reason=note.description or note.feature or "a feature that it notes",
                wanted_by=path,
                priority=note.priority,
            )
    if not glibc or libc is elf:
        return
    if any(name in elf.imports for name in _UNWINDING):
        reason = "ending a thread (pthread_exit, pthread_cancel)"
        yield OpenedLater(names=("libgcc_s.so.1",), reason=reason, wanted_by=path, priority="recommended")
    if libc is None or libc.defined_versions is None or _NSS_BUILT_IN in libc.defined_versions:
        return
    if any(name.startswith(_ACCOUNTS + _HOSTS) for name in elf.imports):
        reason = "looking up users and hosts in files"
        yield OpenedLater(names=("libnss_files.so.2",), reason=reason, wanted_by=path, priority="recommended")
    if any(name.startswith(_HOSTS) for name in elf.imports):
        reason = "asking a name server"
        yield OpenedLater(names=("libnss_dns.so.2",), reason=reason, wanted_by=path, priority="recommended")
