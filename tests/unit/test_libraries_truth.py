"""The libraries that we find are those that the real loader maps: the programs of this host, and hard cases."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.elf.libraries import resolve
from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.libraries import Closure

pytestmark = pytest.mark.compiler


def the_loader_says(program: Path, interpreter: str) -> list[str]:
    """The real paths of what the loader maps, in its order, without itself; `NAME not found` for the others."""
    done = subprocess.run(
        [interpreter, str(program)],
        env={"LD_TRACE_LOADED_OBJECTS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = []
    for line in done.stdout.splitlines():
        path = line.partition(" => ")[2] or line.strip()
        path = re.sub(r" \(0x[0-9a-f]+\)$", "", path)
        if path == "not found":
            found.append(f"{line.split()[0]} not found")
        elif path.startswith("/") and os.path.realpath(path) != os.path.realpath(interpreter):
            found.append(os.path.realpath(path))
    return list(dict.fromkeys(found))


def we_say(closure: Closure) -> list[str]:
    return [os.path.realpath(each.path) for each in closure.libraries if not each.again]


def level_of_this_host(interpreter: str) -> int:
    """The level of x86-64 as the loader itself tells it."""
    done = subprocess.run([interpreter, "--help"], capture_output=True, text=True, check=False)
    levels = re.findall(r"x86-64-v(\d) \(supported", done.stdout)
    return max(map(int, levels), default=1)


def resolved(program: Path, root: HostRoot | None = None) -> Closure:
    elf = read_program(str(program)).elf
    assert elf is not None
    assert elf.interpreter is not None
    level = level_of_this_host(elf.interpreter)
    return resolve(elf, path=str(program), root=root or HostRoot(), isa_level=level)


def dynamic_programs() -> Iterator[Path]:
    seen = set()
    for directory in ("/usr/bin", "/usr/sbin"):
        for path in sorted(Path(directory).iterdir()):
            real = path.resolve()
            if real in seen or not real.is_file() or not os.access(real, os.R_OK | os.X_OK):
                continue
            seen.add(real)
            try:
                facts = read_program(str(real))
            except ScratchError:
                continue
            if facts.elf is not None and facts.elf.interpreter is not None:
                yield real


def test_for_every_program_of_this_host_the_loader_maps_what_we_found_in_the_same_order() -> None:
    root = HostRoot()
    count = 0
    for program in dynamic_programs():
        if program.stat().st_mode & 0o6000:
            continue  # its loader heeds no environment, so it would be run
        closure = resolved(program, root)
        assert closure.interpreter is not None
        assert we_say(closure) == the_loader_says(program, closure.interpreter.path), program
        assert [*closure.unresolved, *closure.missing_versions, *closure.incomplete] == [], program
        count += 1
    assert count > 20


class Bench:
    """Compiles programs and libraries into a directory of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def library(
        self, name: str, *flags: str, needs: str = "", at: str | None = None, compiler: str = "gcc"
    ) -> Path:
        """`libNAME.so` with a function NAME, which calls that of the library `needs`."""
        target = self.path / (at or f"lib{name}.so")
        call = f"int {needs}(void); " if needs else ""
        source = f"{call}int {name}(void) {{ return {needs + '()' if needs else '7'}; }}\n"
        soname = f"-Wl,-soname,{target.name}"
        return self._compile(source, target, compiler, "-shared", "-fPIC", soname, *flags)

    def program(self, calls: str, *flags: str, at: str = "app", compiler: str = "gcc") -> Path:
        source = f"int {calls}(void); int main(void) {{ return {calls}() == 7 ? 0 : 1; }}\n"
        return self._compile(source, self.path / at, compiler, *flags)

    def _compile(self, source: str, target: Path, compiler: str, *flags: str) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [compiler, "-x", "c", "-", "-o", str(target), "-x", "none", *flags],
            input=source.encode(),
            check=True,
            capture_output=True,
            cwd=self.path,
        )
        return target


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def starts(program: Path) -> bool:
    return subprocess.run([program], env={}, capture_output=True, check=False).returncode == 0


def check_against_the_loader(program: Path) -> Closure:
    closure = resolved(program)
    assert closure.interpreter is not None
    missing = [f"{each.name} not found" for each in closure.unresolved]
    assert sorted([*we_say(closure), *missing]) == sorted(the_loader_says(program, closure.interpreter.path))
    assert starts(program) == (not closure.unresolved and not closure.missing_versions)
    return closure


def chain(bench: Bench, kind: str) -> Path:
    """The program needs libfirst, which needs libsecond; only the program says where both are."""
    second = bench.library("second", at="deep/libsecond.so")
    first = bench.library("first", str(second), needs="second", at="deep/libfirst.so")
    tags = "--disable-new-dtags" if kind == "rpath" else "--enable-new-dtags"
    return bench.program("first", str(first), f"-Wl,{tags},-rpath,{first.parent},--allow-shlib-undefined")


def test_rpath_is_inherited_by_what_a_library_needs(bench: Bench) -> None:
    closure = check_against_the_loader(chain(bench, "rpath"))
    assert [each.how for each in closure.libraries][:1] == ["rpath"]
    assert not closure.unresolved


def test_runpath_is_not_inherited_so_the_library_of_a_library_is_not_found(bench: Bench) -> None:
    program = chain(bench, "runpath")
    closure = check_against_the_loader(program)
    (missing,) = closure.unresolved
    assert (missing.name, missing.wanted_by) == ("libsecond.so", str(bench.path / "deep/libfirst.so"))
    assert any(path.startswith("/usr/lib") for path in missing.searched)


def test_a_librarys_own_runpath_turns_the_rpath_of_the_program_off(bench: Bench) -> None:
    second = bench.library("second", at="deep/libsecond.so")
    flags = ("-Wl,--enable-new-dtags,-rpath,/nowhere", str(second))
    first = bench.library("first", *flags, needs="second", at="deep/libfirst.so")
    own = f"-Wl,--disable-new-dtags,-rpath,{first.parent},--allow-shlib-undefined"
    closure = check_against_the_loader(bench.program("first", str(first), own))
    assert [each.name for each in closure.unresolved] == ["libsecond.so"]


def test_rpath_along_the_chain_of_loaders_reaches_the_library_of_a_library_of_a_library(bench: Bench) -> None:
    """The case that resolvers get wrong: main, libx with RPATH, liby, libz."""
    z = bench.library("z", at="deep/libz1.so")
    y = bench.library("y", str(z), needs="z", at="deep/liby1.so")
    rpath = f"-Wl,--disable-new-dtags,-rpath,{z.parent},--allow-shlib-undefined"
    x = bench.library("x", str(y), rpath, needs="y", at="top/libx1.so")
    main = f"-Wl,--enable-new-dtags,-rpath,{x.parent},--allow-shlib-undefined"
    closure = check_against_the_loader(bench.program("x", str(x), main))
    assert not closure.unresolved


def test_origin_of_a_program_started_by_a_link_is_where_the_program_itself_lies(bench: Bench) -> None:
    first = bench.library("first", at="real/lib/libfirst.so")
    program = bench.program("first", str(first), "-Wl,-rpath,$ORIGIN/../lib", at="real/bin/app")
    link = bench.path / "elsewhere" / "app"
    link.parent.mkdir()
    link.symlink_to(program)
    assert not resolved(link).unresolved
    assert starts(link)


def test_lib_stands_for_the_directory_of_this_hosts_own_libraries(bench: Bench) -> None:
    own = Path(subprocess.check_output(["gcc", "-print-file-name=libc.so.6"], text=True).strip()).resolve().parent
    below = str(own).removeprefix("/usr/")
    first = bench.library("first", at=f"{below}/libfirst.so")
    program = bench.program("first", str(first), "-Wl,-rpath,$ORIGIN/$LIB")
    closure = check_against_the_loader(program)
    assert closure.libraries[0].path == str(first)


def test_nodeflib_keeps_the_loader_out_of_its_own_directories(bench: Bench) -> None:
    program = bench.program("puts", "-Wl,-z,nodefaultlib")
    closure = check_against_the_loader(program)
    assert [each.name for each in closure.unresolved] == ["libc.so.6"]


def test_a_name_with_a_slash_is_a_path(bench: Bench) -> None:
    target = bench.path / "anywhere" / "libfirst.so"
    bench.library("first", f"-Wl,-soname,{target}", at="anywhere/libfirst.so")
    closure = check_against_the_loader(bench.program("first", str(target)))
    assert (closure.libraries[0].how, closure.libraries[0].path) == ("path", str(target))


def test_a_library_for_another_processor_is_passed_over_as_the_loader_does(bench: Bench) -> None:
    first = bench.library("first", at="good/libfirst.so")
    other = bytearray(first.read_bytes())
    other[18] = 183  # e_machine: aarch64
    wrong = bench.path / "wrong"
    wrong.mkdir()
    (wrong / "libfirst.so").write_bytes(other)
    program = bench.program("first", str(first), f"-Wl,-rpath,{wrong}:{first.parent}")
    closure = check_against_the_loader(program)
    assert closure.libraries[0].path == str(first)


def test_one_file_under_two_names_is_one_library(bench: Bench) -> None:
    first = bench.library("first", at="libfirst.so")
    (bench.path / "libagain.so").symlink_to("libfirst.so")
    again = bench.library("again", at="fake/libagain.so")
    flags = ("-Wl,--no-as-needed", str(first), str(again), f"-Wl,-rpath,{bench.path}")
    closure = resolved(bench.program("first", *flags))
    assert [each.again for each in closure.libraries if each.name.startswith(("libfirst", "libagain"))] == [
        False,
        True,
    ]


def test_a_version_that_the_library_does_not_define_is_missing(bench: Bench) -> None:
    (bench.path / "new.map").write_text("FIRST_1 { };\nFIRST_2 { global: first; local: *; };\n")
    (bench.path / "old.map").write_text("FIRST_1 { global: first; local: *; };\n")
    flag = "-Wl,--version-script="
    new = bench.library("first", f"{flag}new.map", at="new/libfirst.so")
    old = bench.library("first", f"{flag}old.map", at="old/libfirst.so")
    program = bench.program("first", str(new), f"-Wl,-rpath,{old.parent}")
    closure = check_against_the_loader(program)
    (missing,) = closure.missing_versions
    assert (missing.version, missing.path, missing.wanted_by) == ("FIRST_2", str(old), str(program))


def test_the_variant_for_better_processors_is_taken_at_that_level_only(bench: Bench) -> None:
    first = bench.library("first", at="lib/libfirst.so")
    better = bench.library("first", at="lib/glibc-hwcaps/x86-64-v2/libfirst.so")
    program = bench.program("first", str(first), f"-Wl,-rpath,{first.parent}")
    elf = read_program(str(program)).elf
    assert elf is not None
    found = [resolve(elf, path=str(program), root=HostRoot(), isa_level=level).libraries[0] for level in (1, 2, 4)]
    assert [each.path for each in found] == [str(first), str(better), str(better)]
    check_against_the_loader(program)


def test_a_library_that_only_the_cache_knows_is_found_there(bench: Bench) -> None:
    """A root of our own with a cache that ldconfig itself made."""
    root = bench.path / "root"
    first = bench.library("first", at="root/opt/far/libfirst.so")
    program = bench.program("first", str(first), at="root/app")
    elf = read_program(str(program)).elf
    assert elf is not None
    assert elf.interpreter is not None
    for file in (elf.interpreter, "/lib/x86_64-linux-gnu/libc.so.6"):
        target = root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(file).read_bytes())
        target.chmod(0o755)
    (root / "etc").mkdir()
    (root / "etc/ld.so.conf").write_text("include ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d").mkdir()
    (root / "etc/ld.so.conf.d/far.conf").write_text("# where it lies\n/opt/far\n")
    sysroot = HostRoot(str(root))
    by_conf = resolve(elf, path="/app", root=sysroot).libraries[0]
    assert (by_conf.path, by_conf.how) == ("/opt/far/libfirst.so", "conf")
    for form in ("old", "new", "compat"):
        (root / "etc/ld.so.cache").unlink(missing_ok=True)
        made = ["unshare", "--user", "--map-root-user", "/sbin/ldconfig", "-r", str(root), "-X", "-c", form]
        subprocess.run(made, check=True, capture_output=True)
        closure = resolve(elf, path="/app", root=HostRoot(str(root)))
        assert (closure.libraries[0].path, closure.libraries[0].how) == ("/opt/far/libfirst.so", "cache"), form
        assert not closure.unresolved


def test_musl_inherits_runpath_and_reads_its_path_file(bench: Bench) -> None:
    second = bench.library("second", at="deep/libsecond.so", compiler="musl-gcc")
    first = bench.library("first", str(second), needs="second", at="deep/libfirst.so", compiler="musl-gcc")
    flag = f"-Wl,--enable-new-dtags,-rpath,{first.parent},--allow-shlib-undefined"
    program = bench.program("first", str(first), flag, compiler="musl-gcc")
    closure = resolved(program)
    assert [Path(each.path).name for each in closure.libraries] == ["libfirst.so", "libsecond.so"]
    assert closure.musl
    assert not closure.unresolved
    assert starts(program)
    bare = bench.program("first", str(first), "-Wl,--allow-shlib-undefined", at="bare", compiler="musl-gcc")
    assert [each.name for each in resolved(bare).unresolved] == ["libfirst.so"]
    assert not starts(bare)
