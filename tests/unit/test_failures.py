"""What runtimes say of a start that failed, in their own words (runc 1.1, crun 1.8, 1.21), and what that means."""

from __future__ import annotations

import msgspec
import pytest

from rootless_scratch.engine.diagnose import explaining, failures
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import CommandNotFoundError, EngineError, HostError

RUNC = "runc: runc create failed: unable to start container process: "
ASKED = Request(image="image")
GONE = ": OCI runtime attempted to invoke a command that was not found"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (f"{RUNC}unable to setup user: stat /dev/null: no such file or directory{GONE}", "/dev"),
        (f"{RUNC}unable to setup user: stat /dev/null: permission denied: OCI permission denied", "/dev"),
        (f"crun: failed open()ing `/dev/null`: No such file or directory{GONE}", "/dev"),
        (f"crun: failed open()ing /dev/null: No such file or directory{GONE}", "/dev"),
        (f"crun: chdir `/proc/x`: No such file or directory{GONE}", "working directory /proc/x: no such"),
        (f"crun: open /dev directory in `/merged`: No such file or directory{GONE}", "/dev"),
        (
            f"crun: chdir to `/proc/x`: No such file or directory{GONE}",
            "working directory /proc/x: no such",
        ),
        (f"{RUNC}error during container init: error setting up ptmx: symlink pts/ptmx /x{GONE}", "/dev"),
        (
            f"{RUNC}error during container init: mkdir /proc/x: no such file or directory{GONE}",
            "working directory /proc/x: no such",
        ),
        (
            f"{RUNC}error during container init: mkdir /sys/x: read-only file system: OCI runtime error",
            "working directory /sys/x: read-only",
        ),
        ("unable to find user app: no matching entries in passwd file", "'app' is not in the image's"),
    ],
)
def test_what_is_not_about_the_program_is_not_said_to_be(said: str, cause: str) -> None:
    error = failures.start_failure(said, ASKED)
    assert isinstance(error, EngineError)
    assert not isinstance(error, CommandNotFoundError)
    assert cause in error.message
    assert "PATH" not in error.message + error.fix
    assert "copy an" not in error.fix


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (f'{RUNC}exec: "hello": cannot run executable found relative to current directory', "relative directory"),
        (f'{RUNC}exec: "hello": executable file not found in $PATH{GONE}', "hello is not in any directory of"),
        (f'{RUNC}exec: "/hello": stat /hello: no such file or directory{GONE}', "/hello is not in the image"),
        (f"{RUNC}something new{GONE}", "something new"),
    ],
)
def test_what_is_about_the_program_names_it(said: str, cause: str) -> None:
    error = failures.start_failure(said, ASKED)
    assert isinstance(error, CommandNotFoundError)
    assert cause in error.message


def test_a_chain_of_scripts_that_is_too_long_is_explained() -> None:
    said = b"exec /s6: too many levels of symbolic links\n"
    finding = explaining.explain(1, wrote=len(said), output=said)
    assert finding is not None
    assert (finding.rule, finding.subject) == ("script-too-deep", "/s6")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort",
            "no more threads",
        ),
        ("runc: fatal error: failed to reserve page summary memory", "too little memory"),
        ("creating overlay mount: open /x: too many open files", "ulimit -n"),
    ],
)
def test_a_limit_that_a_runtime_meets_is_told_as_one(said: str, cause: str) -> None:
    error = failures.start_failure(said, ASKED)
    assert isinstance(error, HostError)
    assert cause in error.message
    assert "Raise it" in error.fix


@pytest.mark.parametrize(
    ("said", "rule", "word"),
    [
        ("exec /app: accessing a corrupted shared library", "loader-unusable", "loader of /app"),
        ("exec /app: Accessing a corrupted shared library", "loader-unusable", "loader of /app"),
        ("exec container process `/app`: Input/output error", "loader-unusable", "loader of /app"),
        (
            "/app: error while loading shared libraries: /lib/libfoo.so: file too short",
            "library-unloadable",
            "/lib/libfoo.so in",
        ),
        (
            "/app: error while loading shared libraries: /lib/libfoo.so: invalid ELF header",
            "library-unloadable",
            "/lib/libfoo.so in",
        ),
        (
            "/app: error while loading shared libraries: libfoo.so: wrong ELF class: ELFCLASS32",
            "library-unloadable",
            "libfoo.so in",
        ),
        (
            "/app: error while loading shared libraries: libfoo.so: cannot dynamically load executable",
            "library-unloadable",
            "libfoo.so in",
        ),
        (
            "Error loading shared library libfoo.so: Exec format error (needed by /app)",
            "library-unloadable",
            "libfoo.so in",
        ),
        (
            "/app: error while loading shared libraries: libfoo.so: cannot open shared object file: No such file",
            "needs-libraries",
            "libfoo.so in",
        ),
    ],
)
def test_what_a_kernel_or_a_loader_says_of_files_that_it_cannot_load(said: str, rule: str, word: str) -> None:
    finding = explaining.explain(127, wrote=len(said), output=said.encode())
    assert finding is not None
    assert finding.rule == rule
    assert word in finding.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("exec /app: exec format error\n", 126),
        ("exec /app: permission denied\n", 126),
        ("exec /app: no such file or directory\n", 127),
        (
            '{"msg":"exec container process `/app`: Exec format error","level":"error","time":"2026-01-01T00:00"}',
            126,
        ),
        ("exec container process (missing dynamic library?) `/app`: No such file or directory", 127),
        ("2026/01/01 00:00:00 fork/exec /app: exec format error\n", 1),
        ("exec /app: exec format error\nexec /app: exec format error\n", 1),
        ("sh: exec: line 1: /app: Permission denied\n", 1),
    ],
)
def test_what_the_runtime_could_not_execute_ends_as_podman_run_has_it(said: str, code: int) -> None:
    words = said.encode()
    assert explaining.exit_code_of(1, wrote=len(words), output=words) == code
    assert explaining.exit_code_of(3, wrote=len(words), output=words) == 3
    assert explaining.exit_code_of(1, wrote=len(words) + 1, output=words) == 1, "the program was there"


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [
        ("exec /app: no such file or directory", "needs-loader", "loader-missing"),
        ("/a: error while loading shared libraries: x.so: cannot open", "needs-libraries", "library-missing"),
        ("/a: /lib/libc.so.6: version `GLIBC_2.38' not found", "library-version-missing", "library-version"),
        ("Fatal glibc error: CPU does not support x86-64-v3", "needs-processor", "processor-too-old"),
        ("FATAL: kernel too old", "needs-kernel", "kernel-too-old"),
    ],
)
def test_a_cause_has_the_id_that_check_gives_it_and_keeps_that_of_a_run(
    said: str, before: str, after: str
) -> None:
    finding = explaining.explain(127, wrote=len(said), output=said.encode())
    assert finding is not None
    assert msgspec.to_builtins(finding)["rule"] == before
    assert msgspec.to_builtins(finding)["aliases"] == (after,)
