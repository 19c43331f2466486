"""What a program opens by itself once it runs, told by evidence in its files."""

from __future__ import annotations

import io

import msgspec
import pytest
import tinyelf

from rootless_scratch.elf.facts import ElfFacts, read_elf
from rootless_scratch.elf.libraries import Closure, Library
from rootless_scratch.elf.opened import opened_later

GLIBC = "/lib64/ld-linux-x86-64.so.2"


def program(*imports: str) -> ElfFacts:
    return msgspec.structs.replace(read_elf(io.BytesIO(tinyelf.elf(interpreter=GLIBC))), imports=imports)


def loaded(version: str, *names: str, musl: bool = False) -> Closure:
    """A C library that defines all versions up to this one, and others."""
    elf = read_elf(io.BytesIO(tinyelf.elf(type=tinyelf.DYN)))
    libc = msgspec.structs.replace(elf, defined_versions=("GLIBC_2.2.5", version), imports=("pthread_exit",))
    libraries = [
        Library(name=name, path=f"/lib/{name}", real=f"/lib/{name}", links=(), how="default", elf=facts)
        for name, facts in [("libc.so.6", libc), *((name, elf) for name in names)]
    ]
    return Closure(
        interpreter=None,
        interpreter_state="found",
        libraries=tuple(libraries),
        unresolved=(),
        passed_over=(),
        missing_versions=(),
        incomplete=(),
        list_unread=False,
        defaults=("/lib",),
        musl=musl,
    )


def names(elf: ElfFacts, closure: Closure) -> list[str]:
    return [name for need in opened_later(elf, "/app", closure) for name in need.names]


@pytest.mark.parametrize("function", ["pthread_exit", "pthread_cancel"])
def test_who_ends_a_thread_opens_libgcc_unless_it_is_loaded_already(function: str) -> None:
    assert names(program(function), loaded("GLIBC_2.36")) == ["libgcc_s.so.1"]
    assert names(program(function), loaded("GLIBC_2.36", "libgcc_s.so.1")) == []
    assert names(program(function), loaded("GLIBC_2.36", musl=True)) == []


def test_the_c_librarys_own_use_of_a_function_says_nothing_of_the_program() -> None:
    assert names(program(), loaded("GLIBC_2.36")) == []


def test_name_services_are_files_of_their_own_before_glibc_2_34() -> None:
    assert names(program("getpwnam"), loaded("GLIBC_2.31")) == ["libnss_files.so.2"]
    assert names(program("getaddrinfo"), loaded("GLIBC_2.31")) == ["libnss_files.so.2", "libnss_dns.so.2"]
    assert names(program("getaddrinfo", "getpwnam"), loaded("GLIBC_2.34")) == []
