"""The rules on what loaders and libraries bring later: versions, conversion modules, plugins."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from msgspec.structs import replace
from planning import put

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}


def judged(path: Path, *imports: str, machine: str = "x86_64", also: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """An image with a glibc loader that looks in Debian's directories, a C library, and a program that imports."""
    loader = LOADERS[machine]
    triplet = f"/lib/{machine}-linux-gnu"
    searched = f"\0{triplet}/\0/usr{triplet}/\0/lib/\0/usr/lib/\0\0".encode()
    libc = tinyelf.elf(machine=machine, type=tinyelf.DYN, dynamic=True)
    program = tinyelf.elf(machine=machine, interpreter=loader, needed=["libc.so.6"])
    files = {
        loader: tinyelf.elf(machine=machine, type=tinyelf.DYN, soname=loader.rpartition("/")[2], code=searched),
        f"{triplet}/libc.so.6": libc,
        **dict.fromkeys(also, b"x"),
    }
    copies = tuple(
        Copy(source=put(path, f"files/{number}", content), destination=place, mode=0o755)
        for number, (place, content) in enumerate(files.items())
    )
    app = Copy(source=put(path, "app", program))
    planned = plan(Spec(programs=(app,), copies=copies), environ={})
    facts = planned.programs[0].facts
    assert facts.elf is not None
    known = replace(
        planned.programs[0], facts=replace(facts, elf=replace(facts.elf, imports=imports, functions=imports))
    )
    return judge_plan(replace(planned, programs=(known,)))


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


def test_a_program_that_converts_and_opens_by_itself_is_told_of_both(tmp_path: Path) -> None:
    findings = judged(tmp_path, "iconv_open", "dlopen")
    assert rules(findings) == ["opens-gconv", "opens-unknown"]
    assert [finding.severity for finding in findings] == ["warning", "info"]
    assert verdict(findings) == "starts"


@pytest.mark.parametrize(("imported", "rule"), [("iconv_open", "opens-gconv"), ("dlopen", "opens-unknown")])
def test_each_import_by_itself_is_told_of(tmp_path: Path, imported: str, rule: str) -> None:
    assert rules(judged(tmp_path, imported)) == [rule]
    assert rules(judged(tmp_path, "puts")) == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_conversion_modules_in_the_directory_of_the_machine_are_enough(tmp_path: Path, machine: str) -> None:
    (finding,) = judged(tmp_path, "iconv_open", machine=machine)
    assert "`--with gconv`" in finding.fix
    modules = f"/usr/lib/{machine}-linux-gnu/gconv/gconv-modules"
    assert rules(judged(tmp_path, "iconv_open", machine=machine, also=(modules,))) == []


@pytest.mark.compiler
def test_a_library_without_the_version_that_was_linked_is_refused_as_its_loader_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "lib.c").write_text("int f(void) { return 0; }\n")
    (tmp_path / "app.c").write_text("int f(void);\nint main(void) { return f(); }\n")

    def gcc(*words: str) -> None:
        subprocess.run(["gcc", *words], cwd=tmp_path, check=True)

    for version in ("V_1", "V_2"):
        (tmp_path / f"{version}.map").write_text(f"{version} {{ global: f; }};\n")
        (tmp_path / version).mkdir()
        gcc("-shared", "-fPIC", f"-Wl,--version-script={version}.map", "-o", f"{version}/libf.so", "lib.c")
    gcc("-o", "app", "app.c", "-LV_2", "-lf", f"-Wl,-rpath,{tmp_path}/V_2")
    where: dict[str, Any] = {"programs": (Copy(source=str(tmp_path / "app")),), "bundle_libraries": True}
    found = {}
    for version in ("V_1", "V_2"):
        taken = Copy(source=f"{tmp_path}/{version}/libf.so", destination=f"{tmp_path}/V_2/libf.so")
        found[version] = judge_plan(plan(Spec(copies=(taken,), **where), environ={}))
        done = subprocess.run(
            [tmp_path / "app"], env={"LD_LIBRARY_PATH": str(tmp_path / version)}, capture_output=True, check=False
        )
        assert done.returncode == (0 if version == "V_2" else done.returncode or 1)
    assert found["V_2"] == ()
    (finding,) = found["V_1"]
    assert (finding.rule, finding.severity) == ("library-version-missing", "error")
    assert "V_2 of libf.so" in finding.message


@pytest.mark.parametrize(
    ("loader", "bundling", "way"),
    [
        ("/lib/ld-none.so.1", False, "`--bundle-libraries`"),
        ("/lib/ld-none.so.1", True, "`--sysroot DIR`"),
        ("lib/ld-none.so.1", True, "`-Wl,--dynamic-linker=/PATH`"),
        ("lib/ld-none.so.1", False, "`-Wl,--dynamic-linker=/PATH`"),
    ],
)
def test_the_way_to_a_loader_is_one_that_was_not_tried(
    tmp_path: Path, loader: str, way: str, *, bundling: bool
) -> None:
    app = Copy(source=put(tmp_path, "app", tinyelf.elf(interpreter=loader, needed=["libc.so.6"])))
    findings = judge_plan(plan(Spec(programs=(app,), bundle_libraries=bundling), environ={}))
    assert findings[0].rule == "needs-loader"
    assert way in findings[0].fix
    assert ("--bundle-libraries" in findings[0].fix) == (way == "`--bundle-libraries`")
