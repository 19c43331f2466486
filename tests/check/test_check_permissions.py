"""The rules on whole images: who may execute what, and rights that files carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from imaging import Bench, directory, file, only, rules, stored

from rootless_scratch.image.rootfs import Symlink
from rootless_scratch.image.spec import Copy, NewDirectory
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path


GLIBC = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_program_that_lost_its_execute_bits_is_refused() -> None:
    finding = only(stored(file(mode=0o644)))
    assert (finding.rule, finding.severity) == ("not-executable", "error")
    assert finding.message == (
        "/app has the mode 0644 and the owner 0:0, and the user 65532:65532 may not execute it."
    )
    assert "mode=0755" in finding.fix


@pytest.mark.parametrize(
    ("user", "mode", "owner"),
    [
        ("65532:65532", 0o001, (0, 0)),
        ("65532:65532", 0o100, (65532, 0)),
        ("65532:65532", 0o010, (0, 65532)),
        ("1000", 0o750, (0, 0)),  # without a group it is 0
        ("", 0o700, (0, 0)),
        ("0:0", 0o711, (7, 7)),
        ("root:root", 0o755, (0, 0)),
    ],
)
def test_the_bits_that_count_for_the_user_are_enough(user: str, mode: int, owner: tuple[int, int]) -> None:
    accounts = (file("/etc/passwd", 0o644), file("/etc/group", 0o644)) if "root" in user else ()
    assert stored(file(mode=mode, owner=owner), *accounts, user=user) == ()


@pytest.mark.parametrize(
    ("user", "mode", "owner"),
    [
        ("65532:65532", 0o700, (0, 0)),
        ("65532:65532", 0o750, (0, 0)),
        ("1000:1000", 0o750, (0, 0)),
        ("65532:65532", 0o677, (65532, 0)),  # the owner's bits count for the owner, though others may
        ("65532:65532", 0o705, (0, 65532)),
        ("0", 0o644, (0, 0)),
    ],
)
def test_bits_that_count_for_others_do_not_help(user: str, mode: int, owner: tuple[int, int]) -> None:
    finding = only(stored(file(mode=mode, owner=owner), user=user))
    assert (finding.rule, finding.severity) == ("not-executable", "error")


def test_root_without_capabilities_is_not_above_the_bits(bench: Bench) -> None:
    finding = only(stored(file(mode=0o700, owner=(7, 7)), user="0"))
    assert (finding.rule, finding.severity) == ("not-executable", "warning")
    assert "CAP_DAC_OVERRIDE" in finding.message
    assert verdict([finding]) == "unknown"
    closed = stored(directory("/opt", 0o700, (7, 7)), file("/opt/app"), entrypoint=("/opt/app",), user="0:0")
    assert only(closed).subject == "/opt"
    assert bench.judge(bench.program(), user="0") == ()


def test_a_directory_that_the_user_may_not_pass_is_named() -> None:
    entries = (directory("/opt", 0o700), file("/opt/app"), Symlink(path="/app", target="/opt/app"))
    finding = only(stored(*entries))
    assert (finding.rule, finding.severity, finding.subject) == ("not-executable", "error", "/opt")
    assert "pass through it" in finding.message
    assert stored(*entries, user="0") == ()


def test_a_named_user_is_given_the_benefit_of_the_doubt() -> None:
    accounts = file("/etc/passwd", 0o644)
    finding = only(stored(file(mode=0o700, owner=(1000, 1000)), accounts, user="app"))
    assert (finding.rule, finding.severity) == ("not-executable", "warning")
    assert "/etc/passwd" in finding.message
    assert only(stored(file(mode=0o644), accounts, user="app")).severity == "error"
    assert stored(file(), accounts, user="app") == ()


def test_the_group_of_a_user_in_passwd_may_open_the_program() -> None:
    accounts = file("/etc/passwd", 0o644)
    assert only(stored(file(mode=0o750, owner=(0, 1000)), accounts, user="1000")).severity == "warning"
    assert stored(file(mode=0o755, owner=(0, 1000)), accounts, user="1000") == ()


def test_the_interpreter_of_a_script_must_be_executable_too(bench: Bench) -> None:
    script = Copy(source=bench.put("start", b"#!/bin/sh\necho hi\n"))
    shell = Copy(source=bench.put("busybox"), destination="/bin/sh", mode=0o644)
    finding = bench.finding(script, copies=(shell,))
    assert (finding.rule, finding.subject) == ("not-executable", "/bin/sh")
    assert bench.judge(script, copies=(shell.but(mode=0o755),)) == ()


def test_the_loader_of_a_program_must_be_executable_too(bench: Bench) -> None:
    program = Copy(source=bench.put("app", tinyelf.elf(interpreter=GLIBC)))
    loader = Copy(source=bench.put("ld.so", tinyelf.elf()), destination=GLIBC, mode=0o644)
    findings = bench.judge(program, copies=(loader,))
    assert rules(findings) == ["not-executable"]
    assert findings[0].subject == GLIBC
    usual = bench.judge(program, copies=(loader.but(mode=0o755),))
    assert rules(usual) == []


def test_effective_file_capabilities_of_the_started_program_are_warned_of(bench: Bench) -> None:
    finding = bench.finding(bench.program(capabilities="cap_net_bind_service+ep"))
    assert (finding.rule, finding.severity) == ("file-capabilities", "warning")
    assert verdict([finding]) == "unknown"
    assert bench.judge(bench.program(capabilities="cap_net_bind_service+p")) == ()
    helper = Copy(source=bench.put("ping"), destination="/ping", capabilities="cap_net_raw+ep")
    assert bench.judge(bench.program(), copies=(helper,)) == ()


def test_setuid_bits_are_said_to_have_no_effect(bench: Bench) -> None:
    finding = bench.finding(bench.program(mode=0o4755), bench.program("other", mode=0o2755))
    assert (finding.rule, finding.severity) == ("setuid", "warning")
    assert "/helloworld (and 1 more)" in finding.message
    shared = NewDirectory(path="/shared", mode=0o2775)
    assert bench.judge(bench.program(mode=0o755), directories=(shared,)) == ()
