"""Libraries for better processors: told with their level, and taken where they are asked for."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put, refusal

from rootless_scratch.errors import SourceError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"
SEARCHED = b"\0/lib/\0/usr/lib/\0\0"
V3 = "/lib/glibc-hwcaps/x86-64-v3/libfoo.so"
ISA_NOTE = tinyelf.note("GNU", 5, bytes.fromhex("028000c0") + bytes([4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]))
"""GNU_PROPERTY_X86_ISA_1_NEEDED of level 3."""


class System:
    """A sysroot with loaders, and a program that needs libfoo.so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put(GLIBC, tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2", code=SEARCHED))
        self.put(MUSL, tinyelf.elf(type=tinyelf.DYN, dynamic=True))

    def put(self, place: str, content: bytes) -> str:
        return put(self.path, place.lstrip("/"), content)

    def library(self, place: str, **more: Any) -> str:  # noqa: ANN401 - passed on
        return self.put(place, tinyelf.elf(type=tinyelf.DYN, dynamic=True, **more))

    def app(self, loader: str = GLIBC, runpath: str | None = None) -> Copy:
        content = tinyelf.elf(interpreter=loader, needed=["libfoo.so"], runpath=runpath)
        return Copy(source=self.put("/app", content), destination="/app")

    def judged(self, app: Copy | None = None, **more: Any) -> tuple[Plan, tuple[Finding, ...]]:  # noqa: ANN401 - a Spec's
        programs = () if "platforms" in more else (app or self.app(),)
        spec = Spec(programs=programs, bundle_libraries=True, sysroot=str(self.path), **more)
        return plan_and_judge(spec, check=False)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def places(planned: Plan) -> set[str]:
    return {entry.path for entry in planned.rootfs if isinstance(entry, File)} - {"/app", GLIBC, MUSL}


def test_a_library_for_better_processors_alone_is_told_with_its_level(system: System) -> None:
    system.library(V3)
    system.library("/lib/glibc-hwcaps/x86-64-v4/libfoo.so")
    (finding,) = system.judged()[1]
    assert (finding.rule, finding.severity) == ("needs-libraries", "error")
    assert f"{V3} is found on processors of the level x86-64-v3 or better alone" in finding.message
    assert "not found on this host" not in finding.message
    assert f"--include-library {V3}" in finding.fix
    assert "--platform linux/amd64/v3=PROGRAM" in finding.fix
    assert V3 not in system.judged(system.app(MUSL))[1][0].message


@pytest.mark.parametrize("noted", [True, False])
def test_it_is_included_by_its_path_and_says_what_it_needs(system: System, *, noted: bool) -> None:
    system.library(V3, notes=[ISA_NOTE] if noted else [])
    planned, findings = system.judged(include_libraries=(V3,))
    assert places(planned) == {"/lib/libfoo.so"}
    assert [(finding.rule, finding.severity) for finding in findings] == [("needs-processor", "warning")]
    assert "x86-64-v3" in findings[0].message
    assert verdict(findings) == "starts"


def test_included_by_its_name_it_is_told_with_its_path(system: System) -> None:
    system.library(V3)
    error = refusal(lambda: system.judged(include_libraries=("libfoo.so",)), SourceError)
    assert f"--include-library {V3}" in error.fix


@pytest.mark.parametrize(("variant", "taken"), [("", False), ("/v2", False), ("/v3", True), ("/v4", True)])
def test_a_platform_takes_the_variants_up_to_its_level(system: System, variant: str, *, taken: bool) -> None:
    system.library(V3)
    planned, findings = system.judged(platforms=((f"linux/amd64{variant}", system.app()),))
    assert [finding.rule for finding in findings] == ["needs-processor" if taken else "needs-libraries"]
    assert places(planned) == ({"/lib/libfoo.so"} if taken else set())


def test_an_index_has_each_variant_for_its_own(system: System) -> None:
    system.library("/lib/libfoo.so")
    system.library(V3)
    both = tuple((f"linux/amd64{variant}", system.app()) for variant in ("", "/v3"))
    spec = Spec(platforms=both, bundle_libraries=True, sysroot=str(system.path))
    with HostFiles() as files:
        parts = parts_of(spec, files)
        plans = [plan(part.spec, environ={}, files=files, isa_level=part.isa_level) for part in parts]
    assert [part.platform for part in parts] == ["linux/amd64", "linux/amd64/v3"]
    sources = [each.facts.path for planned in plans for each in planned.libraries if each.path == "/lib/libfoo.so"]
    assert [source.removeprefix(str(system.path)) for source in sources] == ["/lib/libfoo.so", V3]


def test_one_that_an_rpath_leads_to_lies_where_all_processors_look(system: System) -> None:
    system.library("/opt/glibc-hwcaps/x86-64-v2/libfoo.so")
    planned, findings = system.judged(platforms=(("linux/amd64/v2", system.app(runpath="/opt")),))
    assert places(planned) == {"/opt/libfoo.so"}
    assert [(finding.rule, finding.severity) for finding in findings] == [("needs-processor", "info")]


def test_an_image_that_has_it_for_better_processors_alone_is_refused_with_where_it_lies(system: System) -> None:
    library = system.library("/build/libfoo.so")
    planned, findings = system.judged(copies=(Copy(source=library, destination=V3),))
    assert places(planned) == {V3}
    (finding,) = findings
    assert finding.rule == "needs-libraries"
    assert f"{V3} in the image is found on processors of the level x86-64-v3" in finding.message
    assert finding.fix.startswith("Put it in /lib,")


@pytest.mark.compiler
def test_a_real_program_starts_with_the_variant_that_was_included(tmp_path: Path) -> None:
    (tmp_path / "foo.c").write_text("int foo(void) { return 42; }\n")
    (tmp_path / "app.c").write_text("int foo(void);\nint main(void) { return foo(); }\n")
    variant = tmp_path / "glibc-hwcaps" / "x86-64-v2" / "libfoo.so"
    variant.parent.mkdir(parents=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(variant), "foo.c"], cwd=tmp_path, check=True)
    linked = [f"-L{variant.parent}", "-lfoo", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(["gcc", "-o", "app", "app.c", *linked], cwd=tmp_path, check=True)
    app = Copy(source=str(tmp_path / "app"), destination="/app")
    (refused,) = judge_plan(plan(Spec(programs=(app,), bundle_libraries=True), environ={}))
    assert refused.rule == "needs-libraries"
    assert f"--include-library {variant}" in refused.fix
    spec = Spec(programs=(app,), bundle_libraries=True, include_libraries=(str(variant),))
    planned = plan(spec, environ={})
    assert verdict(judge_plan(planned)) == "starts"
    root = tmp_path / "root"
    for entry in planned.rootfs:
        if isinstance(entry, File):
            assert entry.source is not None
            place = root / entry.path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(entry.source, place)
            place.chmod(0o755)
        elif isinstance(entry, Symlink):
            (root / entry.path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / entry.path.lstrip("/")).symlink_to(entry.target)
    command = ["unshare", "--user", "--map-root-user", f"--root={root}", "--wd=/", "/app"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 42
