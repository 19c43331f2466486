"""Signals to `run` are the program's: each arrives as itself, and ends nothing that the program does not end."""

from __future__ import annotations

import signal

import pytest
from containers import LOOP, Home, running
from screens import screen

pytestmark = pytest.mark.podman


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_every_signal_goes_to_the_program_as_itself(tools: Home, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    # Of all that might arrive in its place, nothing may go unseen.
    others = " ".join({"INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"} - {name})
    script = f"trap 'echo another; exit 1' {others}; trap 'echo got {name}; exit 42' {name}; echo set; {LOOP}"
    with running(tools, script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"set\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (42, f"got {name}\n".encode())


@pytest.mark.parametrize("name", ["USR1", "USR2", "QUIT", "HUP", "WINCH"])
def test_those_that_ask_for_no_end_may_come_again_and_again(tools: Home, name: str) -> None:
    script = f"trap 'echo got {name}' {name}; trap 'exit 4' TERM; echo set; {LOOP}"
    # Should nothing come, the run's own end is what we read.
    with running(tools, script, "--timeout", "30") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"set\n"
        for _ in range(2):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert process.stdout.readline() == f"got {name}\n".encode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 4


def test_with_a_terminal_a_change_of_its_size_is_the_signal_and_the_size_is_there_by_then(tools: Home) -> None:
    script = f"trap '/busybox stty size; exit 6' WINCH; echo up; {LOOP}"
    with screen(tools, "run", "-q", "-it", "tools", "sh", "-c", script) as shown:
        shown.shows("up")
        shown.resize(50, 120)
        shown.shows("50 120")
        assert shown.ends() == 6
