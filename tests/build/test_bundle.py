"""Where loader and libraries go in the image: planned from a small system of our own, without any tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put, refusal

from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import Directory, Symlink
from rootless_scratch.image.spec import Copy, NewSymlink, Spec
from rootless_scratch.image.syntax import parse_program
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"
TRIPLET = "/lib/x86_64-linux-gnu"
SYSTEM_DIRECTORIES = b"\0" + f"{TRIPLET}/\0/usr{TRIPLET}/\0/lib/\0/usr/lib/\0".encode() + b"\0"
LOADER = tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2", code=SYSTEM_DIRECTORIES)


class System:
    """A sysroot with a loader and a C library, in which programs are put and bundled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put(GLIBC, LOADER)
        self.library(f"{TRIPLET}/libc.so.6")

    def put(self, path: str, content: bytes) -> str:
        return put(self.path, path.lstrip("/"), content)

    def link(self, path: str, target: str) -> None:
        link = self.path / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def library(self, path: str, *needed: str, **more: Any) -> str:  # noqa: ANN401 - passed on
        return self.put(path, tinyelf.elf(type=tinyelf.DYN, dynamic=True, needed=needed, **more))

    def program(self, *needed: str, at: str = "/usr/bin/app", **more: Any) -> str:  # noqa: ANN401 - passed on
        return self.put(at, tinyelf.elf(interpreter=GLIBC, needed=[*needed, "libc.so.6"], **more))

    def bundle(self, *programs: str, **more: Any) -> Plan:  # noqa: ANN401 - passed on
        spec = Spec(
            programs=tuple(parse_program(word) for word in programs),
            bundle_libraries=True,
            sysroot=str(self.path),
            **more,
        )
        return plan(spec, environ={})


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def shown(planned: Plan) -> dict[str, str]:
    """Files and links of the image: what is where."""
    return {
        entry.path: f"-> {entry.target}" if isinstance(entry, Symlink) else "file"
        for entry in planned.rootfs
        if not isinstance(entry, Directory)
    }


def starts(planned: Plan) -> bool:
    findings = judge_plan(planned)
    assert all(finding.severity != "error" for finding in findings), findings
    return verdict(findings) == "starts"


def rules(planned: Plan) -> list[str]:
    return [finding.rule for finding in judge_plan(planned)]


def test_the_loader_lies_at_its_exact_path_and_a_library_under_its_soname(system: System) -> None:
    system.library(f"/usr{TRIPLET}/libz.so.1.2.13", soname="libz.so.1")
    system.link(f"/usr{TRIPLET}/libz.so.1", "libz.so.1.2.13")
    planned = system.bundle(system.program("libz.so.1"))
    assert shown(planned) == {
        GLIBC: "file",
        "/app": "file",
        f"{TRIPLET}/libc.so.6": "file",
        f"/usr{TRIPLET}/libz.so.1": "-> libz.so.1.2.13",
        f"/usr{TRIPLET}/libz.so.1.2.13": "file",
    }
    assert starts(planned)
    modes = {entry.mode for entry in planned.rootfs.files}
    assert modes == {0o755}


def test_on_a_merged_system_the_image_has_plain_directories_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "lib64").symlink_to("usr/lib64")
    (tmp_path / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("../../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    (tmp_path / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").write_bytes(LOADER)
    system = object.__new__(System)
    system.path = tmp_path
    system.library(f"{TRIPLET}/libc.so.6")
    planned = system.bundle(system.program())
    assert shown(planned) == {GLIBC: "file", "/app": "file", f"{TRIPLET}/libc.so.6": "file"}
    assert starts(planned)


def test_a_library_that_only_a_list_leads_to_goes_where_the_loader_looks_by_itself(system: System) -> None:
    system.library("/opt/far/libfar.so")
    system.put("/etc/ld.so.conf", b"/opt/far\n")
    planned = system.bundle(system.program("libfar.so"))
    assert shown(planned)[f"{TRIPLET}/libfar.so"] == "file"
    assert starts(planned)


def test_origin_is_where_the_program_lies_in_the_image(system: System) -> None:
    system.library("/opt/shop/lib/libshop.so", "libdeep.so", runpath="$ORIGIN/deep/../deeper")
    system.library("/opt/shop/lib/deeper/libdeep.so")
    (system.path / "opt/shop/lib/deep").mkdir()
    program = system.program("libshop.so", at="/opt/shop/bin/shop", runpath="$ORIGIN/../lib")
    for destination, library in (("/srv/bin/shop", "/srv/lib"), ("/shop", "/lib")):
        planned = system.bundle(f"{program}:{destination}")
        assert shown(planned)[f"{library}/libshop.so"] == "file"
        assert shown(planned)[f"{library}/deeper/libdeep.so"] == "file"
        assert starts(planned)


def test_a_directory_that_a_program_names_is_kept(system: System) -> None:
    system.library("/opt/shop/libshop.so")
    planned = system.bundle(system.program("libshop.so", rpath="/nowhere:/opt/shop"))
    assert shown(planned)["/opt/shop/libshop.so"] == "file"
    assert starts(planned)


def test_two_programs_share_what_both_need_and_a_second_path_is_a_link(system: System) -> None:
    system.library(f"{TRIPLET}/libz.so.1")
    system.link("/opt/lib/libz.so.1", f"{TRIPLET}/libz.so.1")
    first = system.program("libz.so.1", at="/usr/bin/first")
    second = system.program("libz.so.1", at="/usr/bin/second", runpath="/opt/lib")
    planned = system.bundle(first, second)
    assert shown(planned)[f"{TRIPLET}/libz.so.1"] == "file"
    assert shown(planned)["/opt/lib/libz.so.1"] == f"-> {TRIPLET}/libz.so.1"
    assert starts(planned)


def test_what_the_user_has_put_at_a_librarys_path_stays(system: System) -> None:
    own = system.library("/home/me/libc.so.6")
    copies = (Copy(source=own, destination=f"{TRIPLET}/libc.so.6"),)
    planned = system.bundle(system.program(), copies=copies)
    (found,) = [file for file in planned.rootfs.files if file.path == f"{TRIPLET}/libc.so.6"]
    assert found.source == own
    assert starts(planned)


def test_links_among_the_directories_of_the_image_are_followed(system: System) -> None:
    links = (NewSymlink(path="/lib", target="usr/lib"), NewSymlink(path="/lib64", target="/usr/lib64"))
    planned = system.bundle(system.program(), symlinks=links)
    assert shown(planned)["/usr/lib64/ld-linux-x86-64.so.2"] == "file"
    assert shown(planned)[f"/usr{TRIPLET}/libc.so.6"] == "file"
    assert starts(planned)


def test_a_library_that_the_host_lacks_refuses_the_build_with_who_wants_it_and_where_it_was_looked_for(
    system: System,
) -> None:
    system.library(f"{TRIPLET}/libshop.so", "libdeep.so.3")
    planned = system.bundle(system.program("libshop.so"))
    (finding,) = judge_plan(planned)
    assert (finding.rule, finding.severity) == ("needs-libraries", "error")
    assert f"{TRIPLET}/libshop.so, which " in finding.message
    assert f"looked for as {TRIPLET}/libdeep.so.3, " in finding.message
    assert "Install the package that has libdeep.so.3" in finding.fix


def test_what_a_program_says_that_it_opens_is_taken_unless_it_is_only_suggested(system: System) -> None:
    def note(name: str, priority: str) -> bytes:
        return tinyelf.note("FDO", 0x407C0C0A, f'[{{"soname":["{name}"],"priority":"{priority}"}}]\0'.encode())

    names = {"liba.so": "required", "libb.so": "recommended", "libc2.so": "suggested", "libd.so": "required"}
    for name in list(names)[:3]:
        system.library(f"{TRIPLET}/{name}")
    planned = system.bundle(system.program(notes=[note(*each) for each in names.items()]))
    assert f"{TRIPLET}/liba.so" in shown(planned)
    assert f"{TRIPLET}/libb.so" in shown(planned)
    assert f"{TRIPLET}/libc2.so" not in shown(planned)
    told = [(finding.rule, finding.severity) for finding in judge_plan(planned)]
    assert told == [("opens-library", "warning"), ("opens-library", "info")]
    assert starts(planned)


def test_included_libraries_come_along_with_what_they_need(system: System) -> None:
    system.library(f"{TRIPLET}/libplug.so.1", "libdeep.so")
    system.library(f"{TRIPLET}/libdeep.so")
    own = system.library("/home/me/libown.so")
    planned = system.bundle(system.program(), include_libraries=("libplug.so.1", own))
    for name in ("libplug.so.1", "libdeep.so", "libown.so"):
        assert shown(planned)[f"{TRIPLET}/{name}"] == "file"
    error = refusal(lambda: system.bundle(system.program(), include_libraries=("libnone.so",)), kind=SourceError)
    assert "libnone.so" in error.message


def test_plugins_that_are_copied_get_their_libraries_and_a_missing_one_is_warned_of(system: System) -> None:
    system.library(f"{TRIPLET}/libssl.so.3")
    system.library("/usr/lib/plugins/tls.so", "libssl.so.3", "liblost.so")
    copies = (Copy(source=str(system.path / "usr/lib/plugins"), destination="/usr/lib/plugins"),)
    planned = system.bundle(system.program(), copies=copies)
    assert shown(planned)[f"{TRIPLET}/libssl.so.3"] == "file"
    (finding,) = judge_plan(planned)
    assert (finding.rule, finding.subject) == ("copied-library-incomplete", "/usr/lib/plugins/tls.so")
    assert "liblost.so" in finding.message


def test_musl_needs_its_loader_alone_and_its_path_file_is_not_taken_along(system: System) -> None:
    system.put(MUSL, tinyelf.elf(type=tinyelf.DYN, soname="libc.so"))
    system.put("/etc/ld-musl-x86_64.path", b"/lib/x86_64-linux-musl\n")
    system.library("/lib/x86_64-linux-musl/libz.so.1")
    program = system.put("/bin/app", tinyelf.elf(interpreter=MUSL, needed=["libc.so", "libz.so.1"]))
    planned = system.bundle(program)
    assert shown(planned) == {MUSL: "file", "/app": "file", "/lib/libz.so.1": "file"}
    assert starts(planned)


def test_programs_of_another_architecture_take_everything_from_the_sysroot(tmp_path: Path) -> None:
    system = object.__new__(System)
    system.path = tmp_path
    arm: dict[str, Any] = {"machine": "aarch64", "type": tinyelf.DYN, "dynamic": True}
    system.put("/lib/ld-linux-aarch64.so.1", tinyelf.elf(soname="ld-linux-aarch64.so.1", **arm))
    system.put("/lib/aarch64-linux-gnu/libc.so.6", tinyelf.elf(**arm))
    loader = "/lib/ld-linux-aarch64.so.1"
    program = system.put("/app", tinyelf.elf(machine="aarch64", interpreter=loader, needed=["libc.so.6"]))
    planned = system.bundle(program)
    assert planned.platform == "linux/arm64/v8"
    assert shown(planned) == {loader: "file", "/app": "file", "/lib/aarch64-linux-gnu/libc.so.6": "file"}
    assert starts(planned)


def test_words_about_bundling_without_bundling_are_refused(system: System) -> None:
    program = parse_program(system.program())
    for spec in (
        Spec(programs=(program,), include_libraries=("libz.so.1",)),
        Spec(programs=(program,), sysroot="/"),
    ):
        refusal(lambda spec=spec: plan(spec, environ={}), UsageError)  # type: ignore[misc] # bound in the loop
    nowhere = Spec(programs=(program,), sysroot="/nowhere", bundle_libraries=True)
    refusal(lambda: plan(nowhere, environ={}))
    static = Spec(
        programs=(parse_program(system.put("/s", tinyelf.hello())),),
        include_libraries=("x",),
        bundle_libraries=True,
    )
    assert "no dynamically linked program" in refusal(lambda: plan(static, environ={})).message


def test_a_static_program_needs_nothing(system: System) -> None:
    planned = system.bundle(system.put("/s", tinyelf.hello()))
    assert shown(planned) == {"/s": "file"}
    assert starts(planned)


# Images that somebody else has made: what is wrong in them is told by the right rule.


def broken(system: System, *copies: Copy, **more: Any) -> list[str]:  # noqa: ANN401 - passed on
    program = Copy(source=system.program("libz.so.1", at="/usr/bin/app", **more), destination="/app")
    return rules(plan(Spec(programs=(program,), copies=copies), environ={}))


def test_each_thing_that_is_wrong_in_an_image_has_its_rule(system: System) -> None:
    loader = Copy(source=str(system.path / GLIBC.lstrip("/")), destination=GLIBC)
    libc = Copy(source=str(system.path / TRIPLET.lstrip("/") / "libc.so.6"), destination=f"{TRIPLET}/libc.so.6")
    libz = Copy(source=system.library("/z/libz.so.1"), destination=f"{TRIPLET}/libz.so.1")
    deep = Copy(source=system.library("/d/libz.so.1", "libdeep.so"), destination=f"{TRIPLET}/libz.so.1")
    text = Copy(source=system.put("/t/libz.so.1", b"INPUT(x)"), destination=f"{TRIPLET}/libz.so.1")
    arm = Copy(
        source=system.put("/arm", tinyelf.elf(machine="aarch64", type=tinyelf.DYN)), destination=libz.destination
    )
    far = Copy(source=libz.source, destination="/far/libz.so.1")
    wrong = Copy(source=arm.source, destination=GLIBC)
    assert broken(system, loader, libc, libz) == []
    assert broken(system, libc, libz) == ["needs-loader"]
    assert broken(system, wrong, libc, libz) == ["loader-unusable"]
    secret = Copy(source=libz.source, destination=libz.destination, mode=0o600)
    assert broken(system, loader, libc, secret) == ["not-readable"]
    for instead in ((), (far,), (arm,), (text,), (deep,)):
        assert broken(system, loader, libc, *instead) == ["needs-libraries"]
