"""What runtimes say of a start that failed, in their own words (runc 1.1), and what is made of it."""

from __future__ import annotations

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
            "library-missing",
            "libfoo.so in",
        ),
    ],
)
def test_what_a_kernel_or_a_loader_says_of_files_that_it_cannot_load(said: str, rule: str, word: str) -> None:
    finding = explaining.explain(127, wrote=len(said), output=said.encode())
    assert finding is not None
    assert finding.rule == rule
    assert word in finding.message
