"""Loaders and libraries that are found and cannot be loaded: the verdict is what happens in such a root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.findings import Finding

GLIBC = "/lib64/ld-linux-x86-64.so.2"
HOME = "/opt"


class Workshop:
    """A program that needs libfoo.so in /opt, with a loader and a C library of this host."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "foo.c").write_text("int foo(void) { return 42; }\n")
        (path / "app.c").write_text("int foo(void);\nint main(void) { return foo() != 42; }\n")
        (path / "pie.c").write_text("int foo(void) { return 42; }\nint main(void) { return 0; }\n")
        self.gcc("-shared", "-fPIC", "-o", "libfoo.so", "foo.c")
        self.gcc("-o", "app", "app.c", "-L.", "-lfoo", f"-Wl,-rpath,{HOME}")
        libc = subprocess.check_output(["gcc", "-print-file-name=libc.so.6"], text=True).strip()
        self.libc = str(Path(libc).resolve())

    def gcc(self, *words: str) -> None:
        subprocess.run(["gcc", *words], cwd=self.path, check=True, capture_output=True)

    def library(self) -> bytes:
        return (self.path / "libfoo.so").read_bytes()

    def without_dynamic(self) -> bytes:
        """PT_DYNAMIC becomes PT_NULL: elf(5)."""
        whole = bytearray(self.library())
        for at in range(64, 64 + 56 * int.from_bytes(whole[56:58], "little"), 56):
            if whole[at] == 2:
                whole[at] = 0
        return bytes(whole)

    def made(self, *words: str) -> bytes:
        self.gcc("-o", "made", *words)
        return (self.path / "made").read_bytes()

    def tried(
        self, *, library: bytes | None = None, loader: bytes | None = None
    ) -> tuple[tuple[Finding, ...], int]:
        """What is said of the image, and how the program ends in its files."""
        files = {
            "/app": (self.path / "app").read_bytes(),
            GLIBC: Path(GLIBC).read_bytes() if loader is None else loader,
            f"{HOME}/libfoo.so": self.library() if library is None else library,
            f"{HOME}/libc.so.6": Path(self.libc).read_bytes(),
        }
        root = self.path / "root"
        shutil.rmtree(root, ignore_errors=True)
        for place, content in files.items():
            Path(put(root, place.lstrip("/"), content)).chmod(0o755)
        copies = tuple(Copy(source=f"{root}{place}", destination=place, mode=0o755) for place in files)
        spec = Spec(programs=(Copy(source=f"{root}/app", destination="/app"),), copies=copies[1:])
        command = ["unshare", "--user", "--map-root-user", "--root", str(root), "--wd", "/", "/app"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        return judge_plan(plan(spec, environ={})), done.returncode


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("soundness"))


LIBRARIES: dict[str, tuple[Callable[[Workshop], bytes], str]] = {
    "3000 bytes": (lambda at: at.library()[:3000], "truncated"),
    "half": (lambda at: at.library()[: len(at.library()) // 2], "truncated"),
    "empty": (lambda _: b"", "needs-libraries"),
    "within its header": (lambda at: at.library()[:40], "needs-libraries"),
    "text": (lambda _: b"a text that is longer than a header\n" * 9, "needs-libraries"),
    "object file": (lambda at: at.made("-c", "foo.c"), "needs-libraries"),
    "static program": (lambda at: at.made("-static", "pie.c"), "needs-libraries"),
    "no dynamic section": (lambda at: at.without_dynamic(), "library-unloadable"),
    "program": (lambda at: at.made("-pie", "-fPIE", "-rdynamic", "pie.c"), "library-unloadable"),
}

LOADERS: dict[str, tuple[Callable[[Workshop], bytes], str]] = {
    "3000 bytes": (lambda _: Path(GLIBC).read_bytes()[:3000], "truncated"),
    "half": (lambda _: Path(GLIBC).read_bytes()[:100_000], "truncated"),
    "empty": (lambda _: b"", "loader-unusable"),
    "text": (lambda _: b"a text that is longer than a header\n" * 9, "loader-unusable"),
    "object file": (lambda at: at.made("-c", "foo.c"), "loader-unusable"),
    "library": (lambda at: at.library(), "loader-unusable"),
    "program": (lambda at: at.made("pie.c"), "loader-unusable"),
    "for arm64": (lambda _: tinyelf.elf(machine="aarch64", type=tinyelf.DYN), "loader-unusable"),
}


@pytest.mark.compiler
def test_whole_files_start(workshop: Workshop) -> None:
    assert workshop.tried() == ((), 0)


@pytest.mark.compiler
@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_that_cannot_be_loaded_is_an_error(workshop: Workshop, kind: str) -> None:
    make, rule = LIBRARIES[kind]
    findings, code = workshop.tried(library=make(workshop))
    assert code != 0
    assert verdict(findings) == "fails"
    assert [finding.rule for finding in findings] == [rule]
    assert f"{HOME}/libfoo.so" in findings[0].message


@pytest.mark.compiler
@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_that_is_none_is_an_error(workshop: Workshop, kind: str) -> None:
    make, rule = LOADERS[kind]
    findings, code = workshop.tried(loader=make(workshop))
    assert code != 0
    assert verdict(findings) == "fails"
    assert [finding.rule for finding in findings] == [rule]
    assert GLIBC in findings[0].message


def test_a_truncated_library_that_is_included_for_later_is_an_error_too(tmp_path: Path) -> None:
    for place, content in {
        GLIBC: tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2"),
        "/lib/libplugin.so": tinyelf.elf(type=tinyelf.DYN, dynamic=True)[:-8],
        "/app": tinyelf.elf(interpreter=GLIBC, dynamic=True),
    }.items():
        put(tmp_path, place.lstrip("/"), content)
    spec = Spec(
        programs=(Copy(source=f"{tmp_path}/app"),),
        bundle_libraries=True,
        sysroot=str(tmp_path),
        include_libraries=("libplugin.so",),
    )
    (finding,) = judge_plan(plan(spec, environ={}))
    assert (finding.rule, finding.severity, finding.subject) == ("truncated", "error", "/lib/libplugin.so")
