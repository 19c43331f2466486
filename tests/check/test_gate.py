"""The program gate: what each file is refused for, and what its owner is told to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import Present

from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.searching import Start
from rootless_scratch.rules.program.programs import judge_platforms, judge_program, verdict
from rootless_scratch.rules.view import Surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"


class Shelf:
    """A directory to put program files into, and the judgement on them in an image that has `present`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, content: bytes, name: str = "app") -> str:
        file = self.path / name
        file.write_bytes(content)
        return str(file)

    def judge(self, content: bytes, *present: str, image_path: str | None = None) -> tuple[Finding, ...]:
        facts = read_program(self.put(content))
        return judge_program(
            facts, subject="./app", around=Surroundings(root=Present(*present)), image_path=image_path
        )

    def refusal(self, content: bytes, *present: str, image_path: str | None = None) -> Finding:
        (finding,) = self.judge(content, *present, image_path=image_path)
        assert finding.severity == "error"
        assert verdict([finding]) == "fails"
        assert finding.subject == "./app"
        assert finding.message.startswith("./app ")
        assert finding.message.endswith(".")
        assert finding.fix.endswith((".", "?"))
        return finding


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_static_program_is_not_spoken_about(shelf: Shelf) -> None:
    assert shelf.judge(tinyelf.hello()) == ()
    assert verdict(()) == "starts"


def test_a_static_pie_is_not_spoken_about(shelf: Shelf) -> None:
    assert shelf.judge(tinyelf.elf(type=tinyelf.DYN, flags_1=tinyelf.PIE)) == ()


def test_a_static_pie_of_an_old_linker_is_not_spoken_about(shelf: Shelf) -> None:
    assert shelf.judge(tinyelf.elf(type=tinyelf.DYN, debug_tag=True)) == ()


def test_a_loader_is_a_program_though_it_looks_like_a_library(shelf: Shelf) -> None:
    assert shelf.judge(tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2")) == ()
    loader = read_program(shelf.put(tinyelf.elf(type=tinyelf.DYN, dynamic=True), "ld-musl-x86_64.so.1"))
    assert judge_program(loader, subject="ld", around=Surroundings(root=Present())) == ()


def test_a_dynamic_program_is_refused_with_the_loader_and_every_library_it_needs(shelf: Shelf) -> None:
    finding = shelf.refusal(tinyelf.elf(interpreter=GLIBC, needed=["libm.so.6", "libz.so.1", "libc.so.6"]))
    assert finding.rule == "needs-loader"
    assert finding.message == (
        f"./app is dynamically linked: it needs the loader {GLIBC} and the libraries "
        "libm.so.6, libz.so.1 and libc.so.6, which the image does not have."
    )
    assert "gcc -static" in finding.fix
    assert "CGO_ENABLED=0" in finding.fix


def test_a_loader_without_any_library_is_needed_all_the_same(shelf: Shelf) -> None:
    finding = shelf.refusal(tinyelf.elf(type=tinyelf.DYN, interpreter=GLIBC, flags_1=tinyelf.PIE))
    assert finding.rule == "needs-loader"
    assert "although it needs no library" in finding.message


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (
            {"tail": tinyelf.comment("GCC: (Debian 12.2.0) 12.2.0")},
            "`gcc -static`, or compile it with `musl-gcc -static`",
        ),
        ({"tail": tinyelf.comment("clang version 16.0.0")}, "`gcc -static`"),
        ({"tail": tinyelf.comment("GCC: (x) 1"), "interpreter": MUSL}, "`musl-gcc -static`"),
        ({"needed": ["libstdc++.so.6", "libc.so.6"]}, "`g++ -static`"),
        ({"data": tinyelf.go_build_info(CGO_ENABLED="1")}, "`CGO_ENABLED=0 go build example.com/hello`"),
        ({"data": tinyelf.go_build_info(CGO_ENABLED="1")}, "-extldflags -static"),
        ({"data": tinyelf.go_build_info(CGO_ENABLED="0")}, "although CGO_ENABLED is 0"),
        ({"data": tinyelf.go_build_info(path="command-line-arguments")}, "`CGO_ENABLED=0 go build`"),
        ({"data": tinyelf.go_build_info(path="$(reboot)")}, "`CGO_ENABLED=0 go build`"),
        (
            {
                "data": tinyelf.go_build_info(CGO_ENABLED="0", _buildmode="pie"),
                "needed": [],
                "type": tinyelf.DYN,
            },
            "`go build -buildmode=exe example.com/hello`",
        ),
        (
            {
                "data": tinyelf.go_build_info(CGO_ENABLED="1", _buildmode="pie"),
                "needed": [],
                "type": tinyelf.DYN,
            },
            "`CGO_ENABLED=0 go build -buildmode=exe example.com/hello`",
        ),
        ({"tail": tinyelf.comment("rustc version 1.75.0 (x)")}, "--target x86_64-unknown-linux-musl"),
        ({"tail": tinyelf.comment("rustc version 1.75.0 (x)")}, "RUSTFLAGS='-C target-feature=+crt-static'"),
        (
            {"tail": tinyelf.comment("rustc version 1.75.0 (x)"), "machine": "aarch64"},
            "--target aarch64-unknown-linux-musl",
        ),
        (
            {"tail": tinyelf.comment("rustc version 1.75.0 (x)"), "interpreter": MUSL},
            "RUSTFLAGS='-C target-feature=+crt-static' cargo build --release`",
        ),
        ({"needed": [], "tail": tinyelf.comment("GCC: (x) 1")}, "`-static-pie`"),
    ],
)
def test_the_fix_tells_how_this_very_program_is_made_static(
    shelf: Shelf, options: dict[str, object], advice: str
) -> None:
    options = {"interpreter": GLIBC, "needed": ["libc.so.6"], **options}
    finding = shelf.refusal(tinyelf.elf(**options))  # type: ignore[arg-type] # a table of keyword arguments
    assert finding.rule == "needs-loader"
    assert advice in finding.fix


def test_a_loader_in_the_image_without_the_library_is_still_a_refusal(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1", "libc.so.6"])
    finding = shelf.refusal(program, GLIBC, "/lib/libc.so.6")
    assert finding.rule == "needs-libraries"
    assert "the library libz.so.1" in finding.message
    assert "libc.so.6" not in finding.message


@pytest.mark.parametrize(
    "directory",
    [
        "/lib",
        "/usr/lib",
        "/lib64",
        "/usr/lib64",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/opt/x",
        "/app/lib",
    ],
)
def test_a_program_whose_loader_and_libraries_were_copied_in_is_let_through_as_unproven(
    shelf: Shelf, directory: str
) -> None:
    program = tinyelf.elf(
        interpreter=GLIBC, needed=["libz.so.1", "ld-linux-x86-64.so.2"], runpath="/opt/x:${ORIGIN}/../lib:rel"
    )
    findings = shelf.judge(program, GLIBC, f"{directory}/libz.so.1", image_path="/app/bin/app")
    assert [(finding.rule, finding.severity) for finding in findings] == [("loader-included", "info")]
    assert verdict(findings) == "unknown"


def test_a_library_where_the_loader_does_not_look_is_missing(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"])
    assert shelf.refusal(program, GLIBC, "/opt/x/libz.so.1").rule == "needs-libraries"


def test_without_default_directories_only_the_programs_own_path_counts(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"], rpath="/x", flags_1=tinyelf.NODEFLIB)
    assert shelf.refusal(program, GLIBC, "/lib/libz.so.1").rule == "needs-libraries"
    assert verdict(shelf.judge(program, GLIBC, "/x/libz.so.1")) == "unknown"


def test_runpath_hides_rpath(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"], rpath="/x", runpath="/y")
    assert shelf.refusal(program, GLIBC, "/x/libz.so.1").rule == "needs-libraries"


def test_a_library_in_the_images_ld_library_path_is_found(shelf: Shelf) -> None:
    facts = read_program(shelf.put(tinyelf.elf(interpreter=GLIBC, needed=["libz.so.1"])))
    for path, answer in (
        ("rel:/opt/x", "unknown"),
        ("/a;/opt/x", "unknown"),
        ("/opt", "fails"),
        ("", "fails"),
    ):
        findings = judge_program(
            facts,
            subject="./app",
            around=Surroundings(root=Present(GLIBC, "/opt/x/libz.so.1"), start=Start(library_path=path)),
        )
        assert verdict(findings) == answer


@pytest.mark.parametrize(
    ("loader", "search_list"), [(GLIBC, "/etc/ld.so.cache"), (MUSL, "/etc/ld-musl-x86_64.path")]
)
def test_where_the_image_tells_its_loader_to_look_elsewhere_nothing_is_claimed(
    shelf: Shelf, loader: str, search_list: str
) -> None:
    findings = shelf.judge(tinyelf.elf(interpreter=loader, needed=["libz.so.1"]), loader, search_list)
    assert [finding.rule for finding in findings] == ["loader-included"]
    assert verdict(findings) == "unknown"
    assert shelf.refusal(tinyelf.elf(interpreter=loader, needed=["libz.so.1"]), loader).rule == "needs-libraries"


def test_a_library_named_by_its_path_is_looked_for_there(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["/opt/libz.so.1"])
    assert verdict(shelf.judge(program, GLIBC, "/opt/libz.so.1")) == "unknown"
    assert shelf.refusal(program, GLIBC, "/lib/libz.so.1").rule == "needs-libraries"


def test_the_loader_of_musl_is_its_c_library_too(shelf: Shelf) -> None:
    program = tinyelf.elf(interpreter=MUSL, needed=["libc.musl-x86_64.so.1", "libm.so"])
    assert verdict(shelf.judge(program, MUSL)) == "unknown"
    other = tinyelf.elf(interpreter=MUSL, needed=["libc.so", "libz.so.1"])
    assert "libz.so.1" in shelf.refusal(other, MUSL, "/lib64/libz.so.1").message
    assert verdict(shelf.judge(other, MUSL, "/usr/local/lib/libz.so.1")) == "unknown"


def test_a_program_that_needs_libraries_but_names_no_loader_is_refused(shelf: Shelf) -> None:
    finding = shelf.refusal(tinyelf.elf(needed=["libc.so.6"]))
    assert finding.rule == "no-loader-named"
    assert "libc.so.6" in finding.message


def test_a_relative_loader_is_not_taken_for_one_in_the_image(shelf: Shelf) -> None:
    assert shelf.refusal(tinyelf.elf(interpreter="ld.so"), "ld.so", "/ld.so").rule == "needs-loader"


def test_upx_is_a_warning_and_an_unknown(shelf: Shelf) -> None:
    findings = shelf.judge(tinyelf.elf(code=b"\xf4abcUPX!\x0d"))
    assert [(finding.rule, finding.severity) for finding in findings] == [("upx-packed", "warning")]
    assert verdict(findings) == "unknown"
    assert "upx -d" in findings[0].fix


@pytest.mark.parametrize(
    ("content", "rule", "words"),
    [
        (
            tinyelf.elf(type=tinyelf.DYN, needed=["libc.so.6"], soname="liba.so"),
            "shared-library",
            "shared library",
        ),
        (tinyelf.elf(type=tinyelf.DYN, flags_1=tinyelf.PIE, entry=0), "shared-library", "shared library"),
        (tinyelf.elf(type=tinyelf.REL), "object-file", "not linked"),
        (tinyelf.elf(type=tinyelf.CORE), "core-file", "crashed"),
        (tinyelf.elf(type=0xFE00), "not-a-program", "does not execute"),
        (tinyelf.elf(entry=0), "no-code", "no code at 0x0"),
        (tinyelf.elf(code=bytes(5000))[:3000], "truncated", "it has 3000 bytes"),
        (tinyelf.elf(os_abi=9), "not-linux", "freebsd"),
        (tinyelf.elf(machine_number=0x1234), "unknown-architecture", "unknown-0x1234"),
        (b"", "empty-file", "is empty"),
        (b"hello\n", "not-a-program", "without a `#!` line"),
        (b"\x00\x01\x02", "not-a-program", "neither"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "git-lfs-pointer",
            "Git LFS",
        ),
        (b"\n<!DOCTYPE html>\n<html>404</html>", "html-page", "HTML"),
        (b"<?xml version='1.0'?>\n<!DOCTYPE html><html/>", "html-page", "HTML"),
        (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "not-linux", "macOS"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "not-linux", "macOS"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x41", "not-a-program", "neither"),
        (b"MZ\x90\x00", "not-linux", "Windows"),
        (b"\x1f\x8b\x08\x00", "archive", "archive"),
        (b"PK\x03\x04", "archive", "archive"),
        (b"!<arch>\n", "archive", "archive"),
        (bytes(257) + b"ustar\x0000", "archive", "archive"),
    ],
)
def test_what_is_no_program_is_refused_by_what_it_is(shelf: Shelf, content: bytes, rule: str, words: str) -> None:
    finding = shelf.refusal(content, GLIBC, "/lib/libc.so.6")
    assert finding.rule == rule
    assert words in finding.message


def test_a_go_library_is_told_to_become_a_program(shelf: Shelf) -> None:
    library = tinyelf.elf(type=tinyelf.DYN, soname="a", data=tinyelf.go_build_info(_buildmode="c-shared"))
    assert "without `-buildmode=c-shared`" in shelf.refusal(library).fix


def test_a_go_program_for_another_system_is_told_its_goos(shelf: Shelf) -> None:
    finding = shelf.refusal(tinyelf.elf(data=tinyelf.go_build_info(GOOS="illumos")))
    assert (finding.rule, "GOOS=linux" in finding.fix) == ("not-linux", True)


def test_a_script_is_refused_without_its_interpreter(shelf: Shelf) -> None:
    finding = shelf.refusal(b"#!/bin/sh -e\necho\n")
    assert finding.rule == "script-interpreter-missing"
    assert "a script for /bin/sh, which" in finding.message
    assert "busybox" in finding.fix
    assert shelf.judge(b"#!/bin/sh -e\necho\n", "/bin/sh") == ()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"#!/bin/sh\r\necho\r\n", "script-crlf"),
        (b"#!/bin/sh -e\r\necho\r\n", "script-crlf"),
        (b"\xef\xbb\xbf#!/bin/sh\necho\n", "script-bom"),
        (b"#!\necho\n", "script-interpreter-unnamed"),
        (b"#!  \t\n", "script-interpreter-unnamed"),
        (b"#!/" + b"x" * 300 + b"\n", "script-line-too-long"),
        (b"#!sh\n", "script-interpreter-missing"),
    ],
)
def test_a_broken_first_line_is_refused_though_the_interpreter_is_there(
    shelf: Shelf, content: bytes, rule: str
) -> None:
    assert shelf.refusal(content, "/bin/sh").rule == rule


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"#!/bin/sh", ("/bin/sh",)),
        (b"#! /bin/sh -e -x \n", ("/bin/sh", "-e -x")),
        (b"#!/bin/sh\t-e\n", ("/bin/sh", "-e")),
        (b"#!/bin/sh " + b"x" * 300, ("/bin/sh", "x" * 246)),
        (b"#!/bin/sh\0rest", ("/bin/sh",)),
        (b"#!/\xff\n", (b"/\xff".decode("utf-8", "surrogateescape"),)),
    ],
)
def test_the_first_line_is_taken_apart_as_the_kernel_does(
    shelf: Shelf, line: bytes, words: tuple[str, ...]
) -> None:
    facts = read_program(shelf.put(line))
    assert facts.kind == "script"
    assert facts.shebang == words
    assert not facts.shebang_cut


def test_env_is_asked_for_the_program_behind_it(shelf: Shelf) -> None:
    script = b"#!/usr/bin/env -S python3 -I\n"
    findings = shelf.judge(script, "/usr/bin/env")
    assert [finding.rule for finding in findings] == ["script-env-program-missing"]
    assert "python3" in findings[0].message
    assert verdict(findings) == "fails"
    assert shelf.judge(script, "/usr/bin/env", "/usr/bin/python3") == ()


def test_names_from_a_hostile_file_cannot_speak_to_the_terminal(shelf: Shelf) -> None:
    finding = shelf.refusal(tinyelf.elf(interpreter="/\x1b[2Jld", needed=["\x1b]0;x\x07", "y" * 3000]))
    assert (finding.message + finding.fix).isprintable()
    assert len(finding.message) < 1000


def test_programs_of_two_architectures_are_refused_by_name(shelf: Shelf) -> None:
    one = read_program(shelf.put(tinyelf.hello(), "one"))
    two = read_program(shelf.put(tinyelf.elf(machine="aarch64"), "two"))
    script = read_program(shelf.put(b"#!/bin/sh\n", "script"))
    (finding,) = judge_platforms([one, two, script])
    assert finding.rule == "mixed-architectures"
    assert finding.severity == "error"
    assert f"{one.path} is for x86_64 and {two.path} is for aarch64" in finding.message
    assert judge_platforms([one, one, script]) == ()
