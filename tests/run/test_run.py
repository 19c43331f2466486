"""`run` as its users see it: real images, real containers, a real podman service."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import LOOP, Home, containers, left, make_image, podman, running, services, shell

from rootless_scratch.engine.run import run
from rootless_scratch.errors import ImageNotFoundError
from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.podman


def test_output_goes_apart_and_byte_for_byte_and_the_exit_code_is_the_programs(tools: Home) -> None:
    done = shell(tools, r"printf 'a\000\377b'; printf 'e\200' >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"a\0\xffb", b"e\x80")


def test_arguments_and_variables_arrive_as_they_are(tools: Home) -> None:
    words = ["a b", "--flag", "-q", "$HOME", "'\"\n", "é", ""]
    script = 'printf "%s|" "$A$MINE" "$@"'
    options = ["-q", "-e", "A=1=2 3", "-e", "MINE"]
    done = tools.cli("run", *options, "tools", "sh", "-c", script, "x", *words, environment={"MINE": "!"})
    assert done.stdout.decode() == "1=2 3!|" + "".join(f"{word}|" for word in words)


def test_the_container_is_hardened(tools: Home) -> None:
    status = shell(tools, "/busybox cat /proc/self/status").stdout.decode()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {name: int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")} == {
        "CapPrm": 0,
        "CapEff": 0,
        "CapBnd": 0,
        "CapAmb": 0,
        "CapInh": 0,
    }
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert facts["Uid"].split() == ["65532"] * 4


def test_the_root_is_read_only_and_tmp_lies_in_memory(tools: Home) -> None:
    done = shell(tools, "echo x > /tmp/a && echo x > /var/tmp/a && echo fine; echo x > /data/a")
    assert done.stdout == b"fine\n"
    assert b"Read-only file system" in done.stderr


def test_the_user_can_be_another_one(tools: Home) -> None:
    assert shell(tools, "/busybox id -u", "--user", "0").stdout == b"0\n"
    assert shell(tools, "/busybox id -u; /busybox id -g", "--user", "5:6").stdout == b"5\n6\n"


def test_volumes_are_mounted_writable_or_not(tools: Home, tmp_path: Path) -> None:
    place = tools.path / f"volume {tmp_path.name}"
    place.mkdir()
    place.chmod(0o777)
    done = shell(tools, "echo hi > /v/new; cat() { :; }; /busybox cat /v/new", "--volume", f"{place}:/v")
    assert done.stdout == b"hi\n"
    done = shell(tools, "/busybox cat /v/new; echo x > /v/x", "--volume", f"{place}:/v:ro")
    assert done.stdout == b"hi\n"
    assert b"Read-only" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nosuch"], 125, "There is no image 'nosuch'"),
        (["No::such"], 125, "not an image name"),
        (["--user", "nobody", "tools"], 125, "'nobody' is not in the image's /etc/passwd"),
        (["--user", "4000000", "tools"], 125, "lies outside the ids"),
        (["--volume", "/no/such:/v", "tools"], 125, "/no/such"),
        (["--network", "no-such", "tools"], 125, "knows no network 'no-such'"),
        (["--volume", "x", "tools"], 2, "--volume"),
        (["--publish", "x", "tools"], 2, "--publish"),
        (["--timeout", "0", "tools"], 2, "not a positive number"),
        (["--no-such-option", "tools"], 2, "--no-such-option"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(tools: Home, words: list[str], code: int, said: str) -> None:
    done = tools.cli("run", *words)
    assert done.returncode == code
    assert done.stdout == b""
    assert said in done.stderr.decode()
    assert "\n  fix: " in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("entrypoint", "code", "said"),
    [
        ("/missing", 127, "/missing is not in the image"),
        ("missing", 127, "missing is not in any directory of the image's PATH"),
        ("/plain", 126, "is in the image and cannot be executed"),
        ("/data", 126, "is in the image and cannot be executed"),
        ("/dynamic", 127, "[needs-loader]"),
        ("/text", 126, "[not-a-program]"),
    ],
)
def test_a_program_that_cannot_start_is_explained(tools: Home, entrypoint: str, code: int, said: str) -> None:
    name = f"broken-{entrypoint.strip('/')}-{entrypoint.count('/')}"
    make_image(tools, name, entrypoint)
    done = tools.cli("run", "-q", name)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert "\n  fix: " in done.stderr.decode()


def test_an_explanation_is_in_the_json(tools: Home) -> None:
    make_image(tools, "loaderless", "/dynamic")
    answer = json.loads(tools.cli("run", "--json", "loaderless").stdout)
    assert (answer["schema"], answer["exit_code"]) == (1, 127)
    assert answer["explanation"]["rule"] == "needs-loader"
    assert "no such file" in answer["stderr"].lower(), "runc's words, and crun's"


def test_an_image_is_found_by_short_name_full_name_and_id(tools: Home) -> None:
    image_id = podman(tools, "images", "--no-trunc", "--quiet", "localhost/tools")[0].removeprefix("sha256:")
    for name in ("tools", "tools:latest", "localhost/tools:latest", image_id, image_id[:12]):
        assert tools.cli("run", "-q", name, "echo", "hi").stdout == b"hi\n"


def test_where_no_private_network_is_possible_the_default_is_none_and_that_is_said(tools: Home) -> None:
    done = tools.cli("run", "-v", "tools", "ls", "/sys/class/net")
    names = done.stdout.decode().split()
    assert done.returncode == 0
    assert "lo" in names
    assert (names == ["lo"]) == ("The container has no network, because" in done.stderr.decode())


def test_what_is_the_same_for_each_run_is_said_once_or_to_those_who_ask(lonely_tools: Home) -> None:
    words = ("run", "tools", "true")
    asked = lonely_tools.cli("run", "--json", *words[1:])
    notes = [f"note: {note}" for note in json.loads(asked.stdout)["notes"]]
    first, second, verbose = (lonely_tools.cli(*each) for each in (words, words, ("run", "-v", *words[1:])))
    assert first.stderr.decode().splitlines() == verbose.stderr.decode().splitlines() == notes
    assert second.stderr == b""
    stamps = lonely_tools.path / ".local/state/rootless-scratch/said"
    assert len(list(stamps.iterdir())) == len(notes)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for stamp in list(stamps.iterdir()):
        stamp.rename(stamp.with_name(stamp.name.replace(boot, "an-earlier-boot")))
    assert lonely_tools.cli(*words).stderr == first.stderr
    assert all(stamp.name.startswith(boot) for stamp in stamps.iterdir())


def test_a_network_that_was_asked_for_is_given_or_refused_never_replaced(tools: Home) -> None:
    assert tools.cli("run", "-q", "--network", "none", "tools", "ls", "/sys/class/net").stdout == b"lo\n"
    done = tools.cli("run", "-q", "--network", "private", "tools", "ls", "/sys/class/net")
    if done.returncode == 0:
        assert len(done.stdout.split()) > 1
    else:
        assert done.returncode == 125
        assert b"cannot have its own network here" in done.stderr


def test_a_hundred_megabytes_arrive_whole_in_little_memory(tools: Home) -> None:
    size = 100_000_000
    script = f"/busybox head -c {size} /dev/zero | /busybox tr '\\0' x"
    # A small process in between: a child's peak counts from its parent's, and this one is large.
    measuring = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
    )
    words = [sys.executable, "-m", "rootless_scratch", "run", "-q", "tools", "sh", "-c", script]
    process = subprocess.Popen(
        [sys.executable, "-c", measuring, *words],
        env=tools.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    digest, slow = hashlib.sha256(), True
    while piece := process.stdout.read(1 << 20):
        digest.update(piece)
        if slow:
            # The reader stalls: the container must wait, and nothing be lost or piled up.
            time.sleep(1)
            slow = False
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert digest.hexdigest() == hashlib.sha256(b"x" * size).hexdigest()
    assert int(said) < 80_000, "kB"


def test_a_container_that_ignores_sigterm_is_ended_at_its_timeout(lonely_tools: Home) -> None:
    done = shell(lonely_tools, f"trap '' TERM; echo up; {LOOP}", "--timeout", "1")
    assert (done.returncode, done.stdout) == (124, b"up\n")
    assert left(lonely_tools) == []


def test_a_container_that_heeds_sigterm_may_say_goodbye_at_its_timeout(tools: Home) -> None:
    done = shell(tools, f"trap 'echo bye; exit 3' TERM; {LOOP}", "--timeout", "1")
    assert (done.returncode, done.stdout) == (124, b"bye\n")


def test_a_second_signal_kills_a_container_that_ignores_the_first(lonely_tools: Home) -> None:
    with running(lonely_tools, f"trap '' INT; echo set; {LOOP}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"set\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 137
    assert left(lonely_tools) == []


def test_when_the_reader_goes_away_the_container_ends_quietly(lonely_tools: Home) -> None:
    with running(lonely_tools, "while :; do echo more; done") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141
    assert left(lonely_tools) == []


def test_a_full_disk_at_our_output_is_said(tools: Home) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rootless_scratch", "run", "-q", "tools", "echo", "hi"],
            env=tools.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 125
    assert b"No space left on device" in done.stderr


def test_killed_by_sigkill_the_next_run_cleans_up_and_leaves_the_living_alone(lonely_tools: Home) -> None:
    with (
        running(lonely_tools, f"{LOOP}") as dead,
        running(lonely_tools, f"trap 'exit 5' TERM; {LOOP}") as living,
    ):
        dead.kill()
        dead.wait()
        assert len(containers(lonely_tools)) == 2
        assert shell(lonely_tools, "echo next").stdout == b"next\n"
        assert len(containers(lonely_tools)) == 1
        living.terminate()
        assert living.wait(timeout=30) == 5
    deadline = time.monotonic() + 20
    # The service of the killed one ends by itself when nobody has asked it anything for a while.
    while services(lonely_tools) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left(lonely_tools) == []


@contextmanager
def service(home: Home, path: Path, runtime: str | None) -> Iterator[str]:
    """A podman service of the user's own on this socket."""
    chosen = [] if runtime is None else ["--runtime", runtime]
    argv = ["podman", *chosen, "system", "service", "--time=0", f"unix://{path}"]
    with subprocess.Popen(
        argv, env=home.environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            for _ in range(2000):
                with socket.socket(socket.AF_UNIX) as probe:
                    if probe.connect_ex(str(path)) == 0:
                        break
                time.sleep(0.01)
            yield f"unix://{path}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def test_the_service_named_by_container_host_is_used(tools: Home, tmp_path: Path) -> None:
    path = tools.path / f"{tmp_path.name}.s"
    with service(tools, path, choose_runtime().name) as address:
        done = tools.cli("run", "tools", "echo", "hi", environment={"CONTAINER_HOST": address})
    assert (done.returncode, done.stdout) == (0, b"hi\n")
    # A runtime is chosen only for a service that we start.
    assert b"The runtime is" not in done.stderr
    done = tools.cli("run", "tools", "echo", "hi", environment={"CONTAINER_HOST": address})
    assert done.returncode == 125
    assert b"CONTAINER_HOST" in done.stderr


def test_what_was_killed_at_a_service_that_died_is_removed_by_the_next_run(lonely_tools: Home) -> None:
    socket_path = lonely_tools.path / "own.sock"
    with service(lonely_tools, socket_path, choose_runtime().name) as address:
        words = [
            sys.executable,
            "-m",
            "rootless_scratch",
            "run",
            "-q",
            "--network",
            "none",
            "tools",
            "sh",
            "-c",
            LOOP,
        ]
        environment = lonely_tools.environment | {"CONTAINER_HOST": address}
        with subprocess.Popen(words, env=environment) as dead:
            deadline = time.monotonic() + 30
            while not containers(lonely_tools) and time.monotonic() < deadline:
                time.sleep(0.1)
            dead.kill()
    assert len(containers(lonely_tools)) == 1
    assert lonely_tools.cli("run", "tools", "echo", "hi").stdout == b"hi\n"
    assert left(lonely_tools) == []


def test_when_the_timeout_runs_out_one_sentence_says_so(tools: Home) -> None:
    done = tools.cli("run", "--timeout", "0.5", "--network", "none", "tools", "sleep", "60")
    assert done.returncode == 124
    assert b"The timeout of 0.5 s has run out" in done.stderr
    assert tools.cli("run", "-q", "--timeout", "0.5", "tools", "sleep", "60").stderr == b""


def test_where_the_users_service_has_a_runtime_that_cannot_work_another_is_started_and_that_is_said(
    lonely_tools: Home,
) -> None:
    (lonely_tools.runtime / "podman").mkdir(mode=0o700)
    socket_path = lonely_tools.runtime / "podman/podman.sock"
    runtime = "crun" if shutil.which("crun") else None
    with service(lonely_tools, socket_path, runtime) as address:
        done = lonely_tools.cli("run", "tools", "echo", "hi")
        assert (done.returncode, done.stdout) == (0, b"hi\n")
        said = b"a private one is used" in done.stderr
        direct = lonely_tools.cli("run", "tools", "echo", "hi", environment={"CONTAINER_HOST": address})
        # The service answers either way; on a hybrid host it is crun that cannot.
        assert said == (direct.returncode == 125)
    assert containers(lonely_tools) == []


def test_a_service_that_dies_at_its_start_is_named_with_its_cause(tools: Home) -> None:
    done = tools.cli("run", "tools", environment={"CONTAINERS_CONF": "/no/such.conf"})
    assert done.returncode == 125
    assert b"The podman service did not start" in done.stderr
    assert b"\n  fix: " in done.stderr


@pytest.mark.usefixtures("tools", "python_home")
def test_from_python_output_is_captured_and_errors_are_raised() -> None:
    said: list[str] = []
    result = run("tools", ["sh", "-c", "echo out; echo err >&2; exit 3"], network="none", say=said.append)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert not result.timed_out
    assert result.explanation is None
    assert tuple(said) == result.notes
    with pytest.raises(ImageNotFoundError):
        run("nosuch")
    late = run("tools", ["sleep", "60"], network="none", timeout=0.5)
    assert (late.exit_code, late.timed_out) == (124, True)


def test_for_a_mistyped_image_the_nearest_is_named(tools: Home) -> None:
    done = tools.cli("run", "-q", "toolz", "sh")
    assert done.returncode == 125
    assert done.stderr.decode().splitlines()[1] == "  fix: Did you mean localhost/tools:latest?"
