"""What a program wanted that failed: known last words, and what they are not mistaken for."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from containers import Home, shell

import rootless_scratch as rs
from rootless_scratch.rules.program.symptoms import LINES, SYMPTOMS, judge_ending
from rootless_scratch.verbs.explain import Started, explained

if TYPE_CHECKING:
    from pathlib import Path

SAID = (
    # The words as programs print them, and what must stand in message or fix.
    ("needs-ca-certificates", "Get https://a.b: x509: certificate signed by unknown authority", "ca-certificates"),
    ("needs-ca-certificates", "invalid peer certificate: UnknownIssuer", "ca-certificates"),
    ("needs-ca-certificates", "curl: (60) SSL certificate problem: unable to get ...", "ca-certificates"),
    (
        "needs-ca-certificates",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
        "ca-certificates",
    ),
    ("needs-time-zones", "panic: unknown time zone Europe/Paris", "no time zone Europe/Paris."),
    ("needs-time-zones", "ZoneInfoNotFoundError: 'No time zone found with key Asia/Tokyo'", "Asia/Tokyo"),
    ("privileged-port", "listen tcp :80: bind: permission denied", "1024"),
    ("privileged-port", "nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", "1024"),
    ("privileged-port", "Error: listen EACCES: permission denied 0.0.0.0:80", "1024"),
    ("root-read-only", "open /state/db: read-only file system", "/state/db"),
    ("root-read-only", "touch: /x: Read-only file system", "--tmpfs"),
    ("root-read-only", "OSError: [Errno 30] Read-only file system: '/cache'", "/cache"),
    ("root-read-only", "cannot save: Read-only file system (os error 30)", "--writable"),
    ("needs-accounts", "user: unknown userid 65532", "--with nonroot"),
    ("needs-accounts", "KeyError: 'getpwuid(): uid not found: 65532'", "--with nonroot"),
    ("needs-home", "neither $XDG_CACHE_HOME nor $HOME are defined", "HOME"),
    ("needs-home", "mkdir /.cache: permission denied", "HOME"),
    ("needs-other-programs", 'exec: "git": executable file not found in $PATH', "started git,"),
    ("needs-other-programs", "sh: line 1: jq: command not found", "started jq,"),
    ("needs-other-programs", "sh: git: not found", "started git,"),
    ("network-unreachable", "dial tcp 1.2.3.4:443: connect: network is unreachable", "--network"),
    ("network-unreachable", "lookup a.b on [::1]:53: read udp: connection refused", "--network"),
    ("network-unreachable", "wget: bad address 'a.b'", "--network"),
    ("needs-services", "getaddrinfo: Servname not supported for ai_socktype", "--with services"),
    ("needs-terminfo", "Error opening terminal: xterm.", "--with terminfo"),
    ("needs-locale", "what():  locale::facet::_S_create_c_locale name not valid", "--with locale"),
    ("needs-locale", "tmux: need UTF-8 locale (LC_CTYPE) but have ANSI_X3.4-1968", "--with locale"),
    ("needs-other-programs", "gcc: fatal error: cannot execute 'cc1': execvp: No such file or directory", "cc1"),
    ("path-forbidden", "open /data/log: permission denied", "/data/log"),
    ("path-forbidden", "touch: cannot create '/data/log': Permission denied", "/data/log"),
    ("path-forbidden", "PermissionError: [Errno 13] Permission denied: '/data'", "/data"),
    ("not-executable", "sh: /app/tool: Permission denied", "/app/tool"),
    ("capability-missing", "chown: /data: Operation not permitted", "called chown,"),
    ("capability-missing", "setgroups: Operation not permitted", "--cap-add"),
    (
        "needs-shell",
        "cannot popen '/usr/bin/which 'uname' 2>/dev/null', probable reason 'Cannot allocate memory'",
        "--with shell",
    ),
    ("memory-limit", "terminate called after throwing an instance of 'std::bad_alloc'", "--memory"),
    ("memory-limit", "fatal error: runtime: out of memory", "--memory"),
    ("limit-reached", "accept: too many open files", "nofile"),
    ("limit-reached", "sh: can't fork: Resource temporarily unavailable", "--pids-limit"),
    ("port-in-use", "listen tcp :8080: bind: address already in use", "ss -ltnp"),
)

OTHER = (
    "certificate is valid for a.b, not c.d",
    "using the time zone Europe/Paris",
    "permission denied by policy 7",
    "bound to port 80",
    "bind mount of /x: permission denied",
    "opening the file system read-only",
    "user 65532 logged in",
    "executing git",
    "git not found in the cache",
    "the network was reached",
    "the terminal was opened",
    "operation not permitted on weekends",
    "out of ideas",
    "a file was opened",
    "listening on :8080",
)


@pytest.mark.parametrize(("rule", "said", "told"), SAID)
def test_known_last_words_of_a_failure_are_explained_with_a_fix(rule: str, said: str, told: str) -> None:
    finding = judge_ending(1, f"starting\n{said}\nbye\n".encode())
    assert finding is not None
    assert (finding.rule, finding.severity) == (rule, "error")
    assert told in f"{finding.message} {finding.fix}"
    assert finding.message.endswith(".")
    assert finding.fix.endswith(".")
    assert "{" not in finding.message


@pytest.mark.parametrize("said", [said for _, said, _ in SAID])
def test_the_same_words_mean_nothing_of_a_success_far_from_the_end_or_after_ctrl_c(said: str) -> None:
    words = said.encode()
    assert judge_ending(0, words) is None
    assert judge_ending(130, words) is None
    assert judge_ending(1, words + b"\nmore" * LINES) is None
    assert judge_ending(1, words + b"\nmore" * (LINES - 1)) is not None


@pytest.mark.parametrize("said", OTHER)
def test_words_that_only_sound_like_them_are_not_explained(said: str) -> None:
    assert judge_ending(1, said.encode()) is None


def test_every_pattern_of_the_table_has_its_words_here() -> None:
    for symptom in SYMPTOMS:
        assert any(re.search(symptom.pattern, said) for rule, said, _ in SAID if rule == symptom.rule), symptom


def test_of_two_known_words_the_last_counts() -> None:
    finding = judge_ending(1, b"open /a: read-only file system\nlisten tcp :80: bind: permission denied\n")
    assert finding is not None
    assert finding.rule == "privileged-port"


def test_bytes_that_are_no_text_are_read_past() -> None:
    finding = judge_ending(1, b"\xff\xfe\x00 unknown time zone {0}\xff")
    assert finding is not None
    assert finding.rule == "needs-time-zones"


def result(**more: Any) -> rs.RunResult:  # noqa: ANN401 - a RunResult's
    usual: dict[str, Any] = {
        "exit_code": 137,
        "stdout": b"",
        "stderr": b"",
        "explanation": None,
        "timed_out": False,
        "notes": (),
    }
    return rs.RunResult(**usual | more)


def test_one_that_the_kernel_killed_for_its_limit_is_told_by_podmans_word_alone() -> None:
    started = Started.of("image", (), {})
    found = explained(result(out_of_memory=True), started).explanation
    assert found is not None
    assert (found.rule, "--memory" in found.fix) == ("memory-limit", True)
    assert explained(result(), started).explanation is None
    words = b"unknown time zone A/B"
    assert explained(result(timed_out=True, last_words=words), started).explanation is None


def answer(home: Home, script: str, *options: str) -> dict[str, Any]:
    done = shell(home, script, "--json", *options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.podman
@pytest.mark.parametrize(
    ("script", "rule"),
    [
        ("echo x > /tmp/x && cp /tmp/x /busybox2", "root-read-only"),
        ("exec /busybox httpd -f -p 80", "privileged-port"),
        ("/plain", "not-executable"),
        ("git clone x", "needs-other-programs"),
        ("exec /busybox chown 0 /tmp", "capability-missing"),
        ("ulimit -n 3; exec /busybox cat /plain", "limit-reached"),
    ],
)
def test_what_the_kernel_really_refuses_is_explained(tools: Home, script: str, rule: str) -> None:
    found = answer(tools, script, "--network", "none")
    assert found["exit_code"] != 0
    assert found["explanation"] is not None, found
    assert found["explanation"]["rule"] == rule


@pytest.mark.podman
def test_the_finding_stands_below_the_programs_words_and_never_in_them(tools: Home) -> None:
    said = b"panic: unknown time zone Europe/Paris"
    done = shell(tools, f"printf %s '{said.decode()}' >&2; exit 2")
    assert done.returncode == 2
    assert done.stdout == b""
    own, _, rest = done.stderr.partition(b"\n")
    assert own == said
    assert rest.startswith(b"error: The image has no time zone Europe/Paris. [needs-time-zones]\n  fix: ")
    done = shell(tools, f"printf '%s\n' '{said.decode()}' >&2")
    assert (done.returncode, done.stderr) == (0, said + b"\n")
    done = shell(tools, f"printf '%s\n' '{said.decode()}' >&2; exit 2")
    assert done.stderr.startswith(said + b"\nerror: ")


@pytest.mark.podman
@pytest.mark.usefixtures("tools")
def test_an_early_end_of_a_container_is_explained_too(python_home: Home) -> None:
    assert python_home.path.exists()
    script = "echo 'listen tcp :80: bind: permission denied' >&2; exit 1"
    with (
        pytest.raises(rs.EndedEarlyError) as caught,
        rs.container("tools", ["sh", "-c", script], ready=re.compile("up")),
    ):
        pytest.fail("the block began")
    assert caught.value.explanation is not None
    assert caught.value.explanation.rule == "privileged-port"


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.compiler
def test_a_crash_that_a_warning_foresaw_is_explained_by_it(shared_home: Home, tmp_path: Path) -> None:
    code = 'int main(void) { __asm__ volatile ("mov $0xffffffffff600400, %rax"); return *(volatile int *)8; }\n'
    (tmp_path / "x.c").write_text(code)
    subprocess.run(["gcc", "-static", "-o", "app", "x.c"], cwd=tmp_path, check=True)
    assert shared_home.cli("build", "-q", str(tmp_path / "app"), "-t", "why-vsyscall").returncode == 0
    found = json.loads(shared_home.cli("run", "--json", "why-vsyscall").stdout)
    assert (found["exit_code"], found["explanation"]["rule"]) == (139, "needs-vsyscall")
