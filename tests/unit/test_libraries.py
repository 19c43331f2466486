"""The resolver's own inputs: caches of any bytes, lists of directories, roots with links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tinyelf
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless_scratch.elf.ldcache import read_cache, read_conf, read_path_file
from rootless_scratch.elf.libraries import Closure, resolve
from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.roots import HostRoot

if TYPE_CHECKING:
    from pathlib import Path

FUZZ = settings(deadline=None, max_examples=300, database=None)
GLIBC = "/lib64/ld-linux-x86-64.so.2"
LOADER = tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2")


def put(root: Path, path: str, content: bytes = LOADER) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def library(**more: str) -> bytes:
    return tinyelf.elf(type=tinyelf.DYN, dynamic=True, **more)  # type: ignore[arg-type]


def resolved(root: Path, content: bytes, path: str = "/app") -> Closure:
    elf = read_program(str(put(root, path, content))).elf
    assert elf is not None
    return resolve(elf, path=path, root=HostRoot(str(root)))


@FUZZ
@given(st.binary(max_size=300), st.integers(0, 200), st.binary(max_size=8))
def test_a_cache_of_any_bytes_gives_entries_or_none(content: bytes, at: int, patch: bytes) -> None:
    for start in (b"", b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1"):
        assert all(entry.path.startswith("/") for entry in read_cache(start + content))
    whole = tinyelf.loader_cache(("libz.so.1", "/opt/libz.so.1"))
    read_cache(whole[:at] + patch + whole[at + len(patch) :])


def test_what_the_cache_says_is_found_and_what_is_for_an_old_c_library_is_not(tmp_path: Path) -> None:
    put(tmp_path, GLIBC)
    put(tmp_path, "/opt/libz.so.1", library())
    program = tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"])
    put(tmp_path, "/etc/ld.so.cache", tinyelf.loader_cache(("libz.so.1", "/opt/libz.so.1")))
    assert resolved(tmp_path, program).libraries[0].how == "cache"
    put(tmp_path, "/etc/ld.so.cache", tinyelf.loader_cache(("libz.so.1", "/opt/libz.so.1"), flags=0x301))
    assert [each.name for each in resolved(tmp_path, program).unresolved] == ["libz.so.1"]


def test_ld_so_conf_is_read_with_what_it_includes_even_if_that_includes_itself(tmp_path: Path) -> None:
    put(tmp_path, "/etc/ld.so.conf", b"include ld.so.conf.d/*.conf\n/opt/last # why\nhwcap 0 nosegneg\n")
    put(tmp_path, "/etc/ld.so.conf.d/b.conf", b"/opt/b\ninclude /etc/ld.so.conf\n")
    put(tmp_path, "/etc/ld.so.conf.d/a.conf", b"/opt/a/=libc6\n")
    put(tmp_path, "/etc/ld.so.conf.d/note.txt", b"/opt/never\n")
    assert set(read_conf(HostRoot(str(tmp_path)))) == {"/opt/a", "/opt/b", "/opt/last"}


def test_the_directories_that_are_compiled_into_a_loader_are_those_that_it_searches(tmp_path: Path) -> None:
    """Fedora's and Nix's, also where the number before them is no zero, as in big-endian files."""
    for code, directories in (
        (b"\t\0\0\0/lib64/\0/usr/lib64/\0\0", ("/lib64", "/usr/lib64")),
        (b"\0\0\0\t/lib64/\0/usr/lib64/\0\0", ("/lib64", "/usr/lib64")),
        (b"\0/nix/store/x-glibc-2.38/lib/\0/lib/\0\0", ("/nix/store/x-glibc-2.38/lib", "/lib")),
    ):
        put(tmp_path, GLIBC, tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2", code=code))
        assert resolved(tmp_path, tinyelf.elf(interpreter=GLIBC)).defaults == directories


def test_the_path_file_of_musl_takes_lines_and_colons() -> None:
    assert read_path_file(b"/lib:/usr/lib\n/opt\nrelative\n") == ("/lib", "/usr/lib", "/opt")


def test_links_of_a_sysroot_lead_to_its_own_files_and_never_to_the_hosts(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib64/ld-linux-x86-64.so.2")
    put(tmp_path, "/usr/lib/x86_64-linux-gnu/libz.so.1.2", library())
    (tmp_path / "lib64").symlink_to("usr/lib64")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "usr/lib/x86_64-linux-gnu/libz.so.1").symlink_to("/lib/x86_64-linux-gnu/libz.so.1.2")
    closure = resolved(tmp_path, tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"]))
    (found,) = closure.libraries
    assert found.path == "/lib/x86_64-linux-gnu/libz.so.1"
    assert found.real == "/usr/lib/x86_64-linux-gnu/libz.so.1.2"
    assert [(link.path, link.target) for link in found.links] == [
        ("/lib", "/usr/lib"),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1.2"),
        ("/lib", "/usr/lib"),
    ]
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "out").symlink_to("../../../../../../../../etc/passwd")
    assert HostRoot(str(tmp_path)).locate("/loop") is None
    assert HostRoot(str(tmp_path)).locate("/out") is None


def test_the_tokens_of_a_search_path_are_replaced(tmp_path: Path) -> None:
    put(tmp_path, GLIBC)
    for path in ("/opt/app/lib/liba.so", "/opt/app/x86_64/libb.so"):
        put(tmp_path, path, library())
    runpath = "$ORIGIN/../lib:${ORIGIN}/../$PLATFORM:$NOWHERE:relative::$ORIGINAL"
    program = tinyelf.elf(interpreter=GLIBC, needed=["liba.so", "libb.so", "libc.so"], runpath=runpath)
    closure = resolved(tmp_path, program, "/opt/app/bin/app")
    assert [each.path for each in closure.libraries] == [
        "/opt/app/bin/../lib/liba.so",
        "/opt/app/bin/../x86_64/libb.so",
    ]
    (missing,) = closure.unresolved
    assert missing.searched[:2] == ("/opt/app/bin/../lib/libc.so", "/opt/app/bin/../x86_64/libc.so")
    assert not any("relative" in path for path in missing.searched)


def test_what_a_search_meets_under_the_name_of_a_library_and_is_none_is_told(tmp_path: Path) -> None:
    put(tmp_path, GLIBC)
    put(tmp_path, "/lib/libtext.so", b"INPUT(libc.so.6)\n")
    put(tmp_path, "/lib/libarm.so", tinyelf.elf(machine="aarch64", type=tinyelf.DYN))
    closure = resolved(tmp_path, tinyelf.elf(interpreter=GLIBC, needed=["libtext.so", "libarm.so"]))
    assert [(each.name, each.unfit) for each in closure.unresolved] == [
        ("libtext.so", ("/lib/libtext.so",)),
        ("libarm.so", ("/lib/libarm.so",)),
    ]


def test_a_loader_that_is_not_there_or_for_another_processor_is_told(tmp_path: Path) -> None:
    program = tinyelf.elf(interpreter=GLIBC)
    assert resolved(tmp_path, program).interpreter_state == "missing"
    put(tmp_path, GLIBC, tinyelf.elf(machine="aarch64", type=tinyelf.DYN))
    assert resolved(tmp_path, program).interpreter_state == "unfit"
    assert resolved(tmp_path, tinyelf.hello()).interpreter_state == "none"
    put(tmp_path, GLIBC)
    assert resolved(tmp_path, program).interpreter_state == "found"


def test_libraries_that_need_each_other_in_a_circle_are_loaded_once(tmp_path: Path) -> None:
    put(tmp_path, GLIBC)
    put(tmp_path, "/lib/liba.so", tinyelf.elf(type=tinyelf.DYN, needed=["libb.so", "liba.so"]))
    put(tmp_path, "/lib/libb.so", tinyelf.elf(type=tinyelf.DYN, needed=["liba.so"]))
    closure = resolved(tmp_path, tinyelf.elf(interpreter=GLIBC, needed=["liba.so"]))
    assert [each.name for each in closure.libraries] == ["liba.so", "libb.so"]
    assert not closure.unresolved
