"""What loaders are told beside DT_NEEDED: filters, auxiliary filters, watchers, and preloaded libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put

from rootless_scratch.elf.libraries import preloaded
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from rootless_scratch.findings import Finding

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"


class System:
    """A sysroot with both loaders, and a program in it that needs a library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put(GLIBC, tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2"))
        self.put(MUSL, tinyelf.elf(type=tinyelf.DYN, dynamic=True))

    def put(self, place: str, content: bytes) -> str:
        return put(self.path, place.lstrip("/"), content)

    def library(self, place: str, **more: Any) -> str:  # noqa: ANN401 - passed on
        return self.put(place, tinyelf.elf(type=tinyelf.DYN, dynamic=True, **more))

    def planned(self, loader: str = GLIBC, audits: dict[str, str] | None = None, **settings: Any) -> Plan:  # noqa: ANN401
        content = tinyelf.elf(interpreter=loader, needed=["libstub.so"], **(audits or {}))  # type: ignore[arg-type]
        programs = (Copy(source=self.put("/app", content)),)
        return plan(Spec(programs=programs, bundle_libraries=True, sysroot=str(self.path), **settings), environ={})


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def files(planned: Plan) -> set[str]:
    return {entry.path for entry in planned.rootfs if isinstance(entry, File)} - {"/app", GLIBC, MUSL}


def rules(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in findings]


def test_a_filtee_is_bundled_and_an_error_where_it_is_not_there(system: System) -> None:
    system.library("/lib/libstub.so", filtee="libreal.so")
    (finding,) = judge_plan(system.planned())
    assert (finding.rule, finding.severity) == ("needs-libraries", "error")
    assert "/lib/libstub.so, which" in finding.message
    assert "DT_FILTER" in finding.message
    system.library("/lib/libreal.so")
    planned = system.planned()
    assert files(planned) == {"/lib/libstub.so", "/lib/libreal.so"}
    assert judge_plan(planned) == ()


def test_an_auxiliary_library_is_bundled_and_a_warning_where_it_is_not_there(system: System) -> None:
    system.library("/lib/libstub.so", auxiliary="libfast.so")
    findings = judge_plan(system.planned())
    assert rules(findings) == [("library-passed-over", "warning")]
    assert "silently" in findings[0].message
    assert verdict(findings) == "starts"
    system.library("/lib/libfast.so")
    planned = system.planned()
    assert files(planned) == {"/lib/libstub.so", "/lib/libfast.so"}
    assert judge_plan(planned) == ()


def test_musl_knows_no_filters_and_no_watchers(system: System) -> None:
    system.library("/lib/libstub.so", filtee="libreal.so", auxiliary="libfast.so")
    planned = system.planned(MUSL, {"audit": "libwatch.so"}, env=(("LD_AUDIT", "/x.so"),))
    assert judge_plan(planned) == ()
    assert files(planned) == {"/lib/libstub.so"}


@pytest.mark.parametrize("tag", ["audit", "depaudit"])
def test_what_watches_the_loader_is_bundled_or_told_and_only_a_program_names_it(system: System, tag: str) -> None:
    system.library("/lib/libstub.so", **{tag: "libnobody.so"})
    audits = {tag: "libwatch.so:libother.so"}
    findings = judge_plan(system.planned(audits=audits))
    assert rules(findings) == [("library-passed-over", "warning")] * 2
    assert "DT_AUDIT" in findings[0].message
    system.library("/lib/libother.so")
    system.library("/lib/libwatch.so", needed=["libdeep.so"])
    system.library("/lib/libdeep.so")
    planned = system.planned(audits=audits)
    assert judge_plan(planned) == ()
    assert files(planned) == {f"/lib/lib{name}.so" for name in ("stub", "other", "watch", "deep")}


@pytest.mark.parametrize(
    ("name", "loader", "silent"),
    [("LD_PRELOAD", GLIBC, False), ("LD_AUDIT", GLIBC, False), ("LD_PRELOAD", MUSL, True)],
)
def test_a_library_that_the_environment_names_is_bundled_or_told(
    system: System, name: str, loader: str, *, silent: bool
) -> None:
    system.library("/lib/libstub.so")
    for word, place in (("libhook.so", "/lib/libhook.so"), ("/opt/hook/libhook.so", "/opt/hook/libhook.so")):
        env = ((name, word),)
        findings = judge_plan(system.planned(loader, env=env))
        assert rules(findings) == [("library-passed-over", "warning")]
        assert findings[0].message.startswith(f"{name} of the image names")
        assert ("says nothing" in findings[0].message) == silent
        assert ("--copy FILE:/opt/hook/libhook.so" in findings[0].fix) == ("/" in word)
        system.library(place)
        planned = system.planned(loader, env=env)
        assert files(planned) == {"/lib/libstub.so", place}
        assert judge_plan(planned) == ()
        Path(f"{system.path}{place}").unlink()


def test_the_images_own_list_of_preloaded_libraries_counts_and_the_hosts_does_not(system: System) -> None:
    system.library("/lib/libstub.so")
    system.library("/lib/libhook.so")
    listed = system.put("/etc/ld.so.preload", b"# hooks\nlibhook.so:libgone.so # both\n")
    assert files(system.planned()) == {"/lib/libstub.so"}
    planned = system.planned(copies=(Copy(source=listed, destination="/etc/ld.so.preload"),))
    assert files(planned) == {"/lib/libstub.so", "/lib/libhook.so", "/etc/ld.so.preload"}
    findings = judge_plan(planned)
    assert rules(findings) == [("library-passed-over", "warning")]
    assert "libgone.so" in findings[0].message
    assert "/etc/ld.so.preload" in findings[0].message


def test_the_list_is_read_as_glibc_reads_it() -> None:
    assert preloaded(b"a.so b.so:c.so\td.so#x.so\n#y.so\ne.so") == ("a.so", "b.so", "c.so", "d.so", "e.so")
    assert preloaded(b"") == ()


SOURCES = {
    "real.c": "int foo(void) { return 42; }\n",
    "stub.c": "int foo(void) { return -1; }\n",
    "app.c": "int foo(void);\nint main(void) { return foo(); }\n",
    "hook.c": "int foo(void) { return 7; }\n",
}


@pytest.mark.compiler
@pytest.mark.parametrize(("kind", "whole", "without"), [("-F", 42, 127), ("-f", 42, 255), ("preload", 7, 255)])
def test_a_real_loader_does_what_the_verdict_says(tmp_path: Path, kind: str, whole: int, without: int) -> None:
    home = str(tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)

    def gcc(*words: str) -> None:
        subprocess.run(["gcc", *words], cwd=tmp_path, check=True, capture_output=True)

    gcc("-shared", "-fPIC", "-o", "libreal.so", "real.c")
    gcc("-shared", "-fPIC", "-o", "libhook.so", "hook.c")
    linked = [f"-Wl,{kind},libreal.so"] if kind != "preload" else []
    gcc("-shared", "-fPIC", *linked, f"-Wl,-rpath,{home}", "-o", "libstub.so", "stub.c")
    gcc("-o", "app", "app.c", "-L.", "-lstub", f"-Wl,-rpath,{home}")
    env = (("LD_PRELOAD", f"{home}/libhook.so"),) if kind == "preload" else ()
    spec = Spec(programs=(Copy(source=f"{home}/app"),), bundle_libraries=True, env=env)
    assert judge_plan(plan(spec, environ={})) == ()
    assert started(plan(spec, environ={}), tmp_path / "whole") == whole
    for name in ("libreal.so", "libhook.so"):
        (tmp_path / name).unlink()
    findings = judge_plan(plan(spec, environ={}))
    assert verdict(findings) == ("fails" if without == 127 else "starts")
    assert len(findings) == 1
    assert started(plan(spec, environ={}), tmp_path / "without") == without


@pytest.mark.compiler
@pytest.mark.parametrize("workdir", ["/", "/srv/app"])
@pytest.mark.parametrize(
    "linked",
    [
        ["./libfoo.so"],
        ["-L.", "-lfoo", "-Wl,-rpath,."],
        ["-L.", "-lfoo", "-Wl,-rpath,/nowhere:"],
        ["-L.", "-lfoo", "-Wl,--disable-new-dtags,-rpath,sub/.."],
    ],
    ids=["path", "dot", "empty", "relative"],
)
def test_a_relative_path_begins_at_the_images_working_directory(
    tmp_path: Path, workdir: str, linked: list[str]
) -> None:
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "libfoo.so", "real.c"], cwd=tmp_path, check=True)
    subprocess.run(["gcc", "-o", "app", "app.c", *linked], cwd=tmp_path, check=True)
    library = str(tmp_path / "libfoo.so")
    wanted = f"{workdir.rstrip('/')}/libfoo.so"
    findings: tuple[Finding, ...] = ()
    for number, place in enumerate((wanted, "/other/libfoo.so")):
        copies = (Copy(source=library, destination=place), Copy(source=library, destination=f"{workdir}/sub/x"))
        spec = Spec(
            programs=(Copy(source=str(tmp_path / "app")),), bundle_libraries=True, copies=copies, workdir=workdir
        )
        planned = plan(spec, environ={})
        findings = judge_plan(planned)
        code = started(planned, tmp_path / f"root{number}")
        assert (verdict(findings), code) == (("starts", 42) if place == wanted else ("fails", 127))
    (finding,) = findings
    assert finding.rule == "needs-libraries"
    if linked == ["./libfoo.so"]:
        assert f"opens {wanted} for ./libfoo.so, from the image's working directory" in finding.message
        assert f"--copy FILE:{wanted}`, or name the directory that has it by `--workdir`" in finding.fix


def test_an_empty_search_path_and_empty_directories_of_musl_are_nothing(system: System) -> None:
    library = system.library("/build/libstub.so")
    copies = (Copy(source=library, destination="/libstub.so"),)
    for loader, runpath, found in (
        (GLIBC, "", False),
        (GLIBC, "/x::/y", True),
        (MUSL, "/x::/y", False),
        (MUSL, ".", True),
    ):
        planned = system.planned(loader, {"runpath": runpath}, copies=copies)
        assert (judge_plan(planned) == ()) == found


def started(planned: Plan, root: Path) -> int:
    """How the program ends in a root that has nothing but the files of the plan."""
    for entry in planned.rootfs:
        place = root / entry.path.lstrip("/")
        if isinstance(entry, Directory):
            place.mkdir(parents=True, exist_ok=True)
        elif isinstance(entry, Symlink):
            place.symlink_to(entry.target)
        else:
            assert entry.source is not None
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(entry.source, place)
            place.chmod(0o755)
    # unshare is told the same, which does it no harm.
    told = [f"{name}={value}" for name, value in planned.config.config.env]
    command = ["env", "-i", *told, "/usr/bin/unshare", "--user", "--map-root-user", f"--root={root}"]
    command.append(f"--wd={planned.config.config.working_dir}")
    return subprocess.run([*command, "/app"], capture_output=True, timeout=60, check=False).returncode
