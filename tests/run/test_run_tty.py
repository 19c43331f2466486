"""`run -it` as a person at a terminal sees it: typing, keys, windows, detaching; through a real pty."""

from __future__ import annotations

import re
import time

import pytest
from containers import Home, containers, left, podman
from screens import PROMPT, screen

pytestmark = pytest.mark.podman


def test_a_shell_is_typed_at_with_arrow_keys_ctrl_c_and_ctrl_d(lonely_tools: Home) -> None:
    with screen(lonely_tools, "run", "-q", "-it", "tools", "sh") as shown:
        shown.shows(PROMPT)
        assert shown.says("echo $((6 * 7))") == "42"
        # Left by one, and a letter in between.
        assert shown.says("echo ab\x1b[Dc").endswith("acb")
        shown.type("sleep 60\r")
        shown.shows("sleep 60")
        time.sleep(0.5)
        shown.type("\x03")
        shown.shows(PROMPT)
        assert shown.says("echo $?").endswith("130"), "Ctrl-C was a key of the program's own terminal"
        shown.type("\x04")
        assert shown.ends() == 0
    assert left(lonely_tools) == []


def test_the_program_sees_the_windows_size_and_every_change(tools: Home) -> None:
    with screen(tools, "run", "-q", "-it", "tools", "sh") as shown:
        shown.shows(PROMPT)
        assert shown.says("stty size") == "30 101"
        shown.resize(50, 120)
        deadline = time.monotonic() + 20
        while (size := shown.says("stty size")) != "50 120" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert size == "50 120"
        shown.type("exit 3\r")
        assert shown.ends() == 3


def test_the_keys_leave_it_running_and_podman_has_it(lonely_tools: Home) -> None:
    with screen(lonely_tools, "run", "-it", "--name", "shell", "tools", "sh") as shown:
        shown.shows(PROMPT)
        shown.says("echo mark")
        shown.type("\x10\x11")
        shown.shows("runs on in the container shell")
        assert shown.ends() == 0
    assert lonely_tools.cli("run", "-q", "tools", "true").returncode == 0
    assert containers(lonely_tools) == ["shell"], "no later run takes it for a leftover"
    assert podman(lonely_tools, "ps", "--format", "{{.Names}}") == ["shell"]
    assert "mark" in podman(lonely_tools, "logs", "shell")
    podman(lonely_tools, "rm", "--force", "--time", "0", "shell")
    assert left(lonely_tools) == []


@pytest.mark.parametrize(("keys", "typed"), [("", "\x10\x11"), ("ctrl-a,d", "\x10\x11")])
def test_other_keys_or_none_let_ctrl_p_and_ctrl_q_pass(tools: Home, keys: str, typed: str) -> None:
    script = "stty raw -echo; echo up; /busybox head -c 2 | /busybox hexdump -C"
    with screen(tools, "run", "-q", "-it", "--detach-keys", keys, "tools", "sh", "-c", script) as shown:
        shown.shows("up")
        shown.type(typed)
        shown.shows("10 11")
        assert shown.ends() == 0


def test_a_signal_goes_to_the_program_and_the_terminal_is_given_back(tools: Home) -> None:
    script = "trap 'echo bye; exit 9' TERM; echo up; while :; do /busybox sleep 0.1; done"
    with screen(tools, "run", "-q", "-it", "tools", "sh", "-c", script) as shown:
        shown.shows("up")
        shown.process.terminate()
        shown.shows("bye")
        assert shown.ends() == 9


def test_without_i_the_program_has_a_terminal_and_reads_nothing(tools: Home) -> None:
    done = tools.cli("run", "-q", "-t", "tools", "sh", "-c", "test -t 1 && echo yes")
    assert (done.returncode, done.stdout) == (0, b"yes\r\n")


def test_notes_stand_in_lines_of_their_own(tools: Home) -> None:
    with screen(tools, "run", "-it", "--timeout", "1", "tools", "sleep", "60") as shown:
        seen = shown.shows("is being ended.")
        assert shown.ends() == 124
    assert re.search(r"\r\nnote: The timeout", "\r\n" + seen), seen


def test_json_and_a_terminal_exclude_each_other(tools: Home) -> None:
    done = tools.cli("run", "--json", "-t", "tools", "true")
    assert done.returncode == 2
    assert b"--tty" in done.stdout
