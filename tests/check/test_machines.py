"""What a program asks of any host: processor, kernel, pages; and programs that are more than their headers say."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
import symbolic
import tinyelf

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

GLIBC = "/lib64/ld-linux-x86-64.so.2"
DOTNET = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")
COOKIE = b"MEI\x0c\x0b\x0a\x0b\x0e" + bytes(80)


def level(number: int) -> bytes:
    """The note of `-z x86-64-vN`."""
    return tinyelf.elf(notes=[tinyelf.note("GNU", 5, struct.pack("<IIII", 0xC0008002, 4, 1 << (number - 1), 0))])


def for_kernel(*version: int) -> bytes:
    return tinyelf.elf(notes=[tinyelf.note("GNU", 1, struct.pack("<4I", 0, *version))])


def calling(address: int) -> bytes:
    return tinyelf.elf(code=b"\xf4" + b"\x48\xc7\xc0" + struct.pack("<I", address) + b"\xff\xd0")


def judged(path: Path, program: bytes, **more: Any) -> tuple[Finding, ...]:  # noqa: ANN401 - a Spec's
    app = path / "app"
    app.write_bytes(program)
    return judge_plan(plan(Spec(programs=(Copy(source=str(app)),), **more), environ={}))


def spoken_of(path: Path, program: bytes, **more: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a Spec's
    findings = judged(path, program, **more)
    for finding in findings:
        assert finding.message.isprintable()
        assert finding.fix.endswith(".")
    return [(finding.rule, finding.severity) for finding in findings if finding.rule != "needs-loader"]


HOSTS = {
    "the third level": (level(3), [("needs-processor", "warning")]),
    "the second level": (level(2), [("needs-processor", "info")]),
    "the first level": (level(1), []),
    "Go for the third": (tinyelf.elf(data=tinyelf.go_build_info(GOAMD64="v3")), [("needs-processor", "warning")]),
    "Go for all": (tinyelf.elf(data=tinyelf.go_build_info(GOAMD64="v1")), []),
    "a new kernel": (for_kernel(5, 10, 0), [("needs-kernel", "warning")]),
    "an old kernel": (for_kernel(3, 2, 0), []),
    "time() at its old address": (calling(0xFF600400), [("needs-vsyscall", "warning")]),
    "another address": (calling(0xFF600401), []),
    "that address as data": (tinyelf.elf(data=b"\x48\xc7\xc0\0\x04\x60\xff"), []),
    "small pages for aarch64": (tinyelf.elf(machine="aarch64", page=4096), [("needs-small-pages", "warning")]),
    "large pages for aarch64": (tinyelf.elf(machine="aarch64", page=65536), []),
    "small pages for x86_64": (tinyelf.elf(page=4096), []),
}


@pytest.mark.parametrize("name", HOSTS)
def test_what_a_program_asks_of_its_host_is_told(tmp_path: Path, name: str) -> None:
    program, expected = HOSTS[name]
    assert spoken_of(tmp_path, program) == expected


BUNDLES = {
    "PyInstaller": (tinyelf.elf(tail=b"archive" + COOKIE), True),
    "a signature behind it": (tinyelf.elf(tail=COOKIE + bytes(9000)), True),
    "its cookie far from the end": (tinyelf.elf(tail=COOKIE + bytes(40_000)), False),
    "a bundle of .NET": (tinyelf.elf(data=struct.pack("<Q", 70_000) + DOTNET), True),
    "a host of .NET without a bundle": (tinyelf.elf(data=bytes(8) + DOTNET), False),
    "AppImage": (tinyelf.elf()[:8] + b"AI\x02" + tinyelf.elf()[11:], True),
    "any program": (tinyelf.elf(), False),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_whether_what_unpacks_itself_starts_is_not_known(tmp_path: Path, name: str) -> None:
    program, expected = BUNDLES[name]
    assert spoken_of(tmp_path, program) == ([("self-extracting", "warning")] if expected else [])
    assert verdict(judged(tmp_path, program)) == ("unknown" if expected else "starts")


def test_a_bundle_that_needs_a_loader_is_refused_for_that(tmp_path: Path) -> None:
    program = tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], tail=COOKIE)
    assert verdict(judged(tmp_path, program)) == "fails"
    assert ("self-extracting", "warning") in spoken_of(tmp_path, program)


@pytest.mark.parametrize(
    ("program", "more", "expected"),
    [
        (symbolic.importing("setlocale"), {}, True),
        (symbolic.importing("setlocale", "sigaction"), {}, False),
        (symbolic.importing("signalfd"), {}, False),
        (symbolic.importing("setlocale"), {"stop_signal": "SIGKILL"}, False),
        (symbolic.linked("setlocale"), {}, False),
        (symbolic.with_symbols(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6", "libuv.so.1"])), {}, False),
    ],
    ids=["no handler", "sigaction", "signalfd", "killed anyway", "static", "another library may have one"],
)
def test_a_server_without_handlers_does_not_end_as_the_first_process(
    tmp_path: Path, program: bytes, more: dict[str, str], *, expected: bool
) -> None:
    assert (("ignores-signals", "info") in spoken_of(tmp_path, program, ports=("8080",), **more)) == expected
    assert ("ignores-signals", "info") not in spoken_of(tmp_path, program, **more)
