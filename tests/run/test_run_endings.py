"""How a program that fails is explained: below all that it said itself, to the byte, and with a way out."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Home

pytestmark = pytest.mark.podman

CRASHES = """
#include <unistd.h>
int main(int count, char **words) {
    write(1, "out", 3);
    write(2, "mine", 4);
    if (count > 1) __asm__ volatile ("ud2");
    __asm__ volatile ("mov $0xffffffffff600400, %rax");
    return *(volatile int *)8;
}
"""
"""For a processor of the third level, and with an old address of time(); it ends by SIGILL or by SIGSEGV."""


def below(home: Home, image: str, *words: str) -> tuple[int, str]:
    """The exit code and the rule of a failure, once it stands where it must: below the program's own words."""
    own = rs.run(image, words, network="none")
    found = own.explanation
    assert found is not None
    assert found.fix
    assert found.rule.encode() not in own.stdout + own.stderr
    done = home.cli("run", "-q", "--network", "none", image, *words)
    broken = b"" if own.stderr.endswith(b"\n") else b"\n"
    told = f"{found.severity}: {found.message} [{found.rule}]\n  fix: {found.fix}\n".encode()
    assert done.stdout == own.stdout == b"out"
    assert done.stderr == own.stderr + broken + told
    assert done.returncode == own.exit_code
    return done.returncode, found.rule


@pytest.mark.parametrize(
    ("script", "code", "rule"),
    [
        ("git clone x", 127, "needs-other-programs"),
        ("/plain", 126, "not-executable"),
        ("printf 'tls: x509: certificate signed by unknown authority' >&2; exit 1", 1, "needs-ca-certificates"),
        ("printf 'panic: unknown time zone Europe/Paris' >&2; exit 2", 2, "needs-time-zones"),
        ("exec /busybox httpd -f -p 80", 1, "privileged-port"),
        ("printf 'listen tcp :80: bind: permission denied' >&2; exit 1", 1, "privileged-port"),
        ("exec /busybox touch /x", 1, "root-read-only"),
    ],
)
def test_what_a_program_wanted_stands_below_its_words(
    tools: Home, python_home: Home, script: str, code: int, rule: str
) -> None:
    assert tools is python_home
    assert below(tools, "tools", "sh", "-c", f"printf out; {script}") == (code, rule)


@pytest.mark.buildah
@pytest.mark.compiler
def test_why_it_crashed_stands_below_its_words(python_home: Home, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text(CRASHES)
    subprocess.run(["gcc", "-static", "-Wl,-z,x86-64-v3", "-o", "app", "x.c"], cwd=tmp_path, check=True)
    assert python_home.cli("build", "-q", str(tmp_path / "app"), "-t", "why-crashes").returncode == 0
    assert below(python_home, "why-crashes") == (139, "needs-vsyscall")
    assert below(python_home, "why-crashes", "ill") == (132, "needs-processor")
