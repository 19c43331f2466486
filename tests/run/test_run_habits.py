"""What podman's users write, seen from inside a container: volumes, files of variables, hostnames, devices."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from containers import Home, containers, make_image, podman, shell

import rootless_scratch as rs
from rootless_scratch.errors import UsageError
from rootless_scratch.host.cgroups import choose_runtime, forgetful_crun

pytestmark = pytest.mark.podman


def said(home: Home, script: str, *options: str) -> str:
    done = shell(home, script, *options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture
def place(tools: Home, tmp_path: Path) -> Path:
    """A directory that nobody but the caller may write to."""
    directory = tools.path / f"habits-{tmp_path.name}"
    directory.mkdir(mode=0o700)
    return directory


def test_v_is_podmans_volume(tools: Home, place: Path) -> None:
    assert said(tools, "echo x > /v/new && cat /v/new", "--rm", "-v", f"{place}:/v") == "x\n"
    assert (place / "new").stat().st_uid == os.getuid()
    assert "Read-only" in shell(tools, "echo x > /v/y", "-v", f"{place}:/v:ro").stderr.decode()
    named = said(tools, "echo kept > /v/x; cat /v/x", "-v", "habits:/v", "--user", "0")
    assert named == said(tools, "cat /v/x", "-v", "habits:/v") == "kept\n"
    done = tools.cli("run", "-v", "tools", "true")
    assert (done.returncode, done.stdout) == (0, b""), "alone it is --verbose"


@pytest.mark.parametrize("option", ["z", "Z", "U", "ro,Z", "noexec"])
def test_options_of_volumes_do_what_they_do_with_podman(tools: Home, place: Path, option: str) -> None:
    (place / "file").write_text("mine")
    script = "cat /v/file; echo; mount | grep ' /v '; id -u"
    text = said(tools, script, "-v", f"{place}:/v:{option}")
    assert text.startswith("mine\n")
    assert text.endswith("65532\n")
    assert ("noexec" in text) == (option == "noexec")
    assert (place / "file").stat().st_uid == os.getuid(), "what is the caller's stays the caller's"


def test_a_volume_without_a_name_is_gone_with_the_container(fresh_home: Home) -> None:
    make_image(fresh_home, "tools", "/busybox")
    script = "mount | grep -c ' /data '; touch /data/x && echo written"
    assert said(fresh_home, script, "-v", "/data", "--user", "0") == "1\nwritten\n"
    assert podman(fresh_home, "volume", "ls", "-q") == []
    build = "c=$(buildah from tools); buildah config --volume /data $c; buildah commit -q $c tools; buildah rm $c"
    fresh_home.run(["sh", "-ec", build])
    assert said(fresh_home, script, "--user", "0") == "1\nwritten\n", "the volume that the image names"
    assert podman(fresh_home, "volume", "ls", "-q") == []


def test_mounts_of_each_type_are_there(tools: Home, place: Path) -> None:
    (place / "file").write_text("mine")
    script = "cat /b/file; echo; mount | grep -E ' /(b|m|n) '; touch /n/x"
    words = ("--mount", f"type=bind,src={place},dst=/b,ro", "--mount", "type=tmpfs,dst=/m,tmpfs-size=1m")
    text = said(tools, script, *words, "--mount", "src=habits-mount,dst=/n,U")
    lines = {line.split()[2]: line for line in text.splitlines()[1:]}
    assert text.startswith("mine\n")
    assert "(ro," in lines["/b"]
    assert "size=1024k" in lines["/m"]
    # By podman's own wish; crun before 1.11.1 forgets it where a container has ids of its own.
    forgets = choose_runtime().name is None and forgetful_crun(tools.environment) is not None
    assert ("nosuid,nodev" in lines["/n"]) != forgets


def test_variables_come_from_a_file_and_from_the_command_line(tools: Home, place: Path) -> None:
    (place / "env").write_text("# a comment\nA=from file\nB=b\nSECRET_WORD\n")
    words = ("--env-file", str(place / "env"), "-e", "B=mine")
    done = shell(tools, "echo $A; echo $B; echo $SECRET_WORD", *words, environment={"SECRET_WORD": "w"})
    assert done.stdout == b"from file\nmine\nw\n", done.stderr


def test_names_of_hosts_are_those_that_were_said(tools: Home) -> None:
    script = "hostname; grep db /etc/hosts; cat /etc/resolv.conf"
    words = ("--hostname", "web.local", "--add-host", "db:192.0.2.7")
    text = said(tools, script + " 2>/dev/null; true", *words)
    assert text.startswith("web.local\n192.0.2.7\tdb\n")
    done = shell(tools, script, *words, "--dns", "192.0.2.53", "--dns-search", "example.com")
    done = tools.cli(
        "run", *words, "--dns", "192.0.2.53", "--dns-search", "example.com", "tools", "sh", "-c", script
    )
    resolved = b"nameserver 192.0.2.53" in done.stdout and b"search example.com" in done.stdout
    assert resolved != (b"--dns and --dns-search have no effect" in done.stderr), "done, or said"


def test_a_device_that_the_caller_may_open_is_there_and_others_are_refused(tools: Home) -> None:
    assert said(tools, "head -c 3 /dev/nought | wc -c", "--device", "/dev/zero:/dev/nought") == "3\n"
    closed = next(
        (
            each
            for each in ("/dev/mem", "/dev/kmsg", "/dev/loop-control", "/dev/fuse")
            if Path(each).exists() and not os.access(each, os.R_OK)
        ),
        None,
    )
    if closed is not None:
        done = tools.cli("run", "--device", closed, "tools", "true")
        assert done.returncode == 125
        assert b"without root a container has no right that its caller lacks" in done.stderr
    for wrong, why in (("/dev/nosuch", b"No such file"), ("/etc/passwd", b"is not a device")):
        done = tools.cli("run", "--device", wrong, "tools", "true")
        assert (done.returncode, why in done.stderr) == (125, True), done.stderr


def test_what_this_host_has_not_is_a_sentence(tools: Home) -> None:
    for words, cause in (
        (("--log-driver", "journald", "--keep"), b"journald, which does not run here"),
        (("--security-opt", "apparmor=nosuch"), b"apparmor"),
        (("--security-opt", "seccomp=nosuch.json"), b"nosuch.json cannot be used"),
    ):
        done = tools.cli("run", "--name", "lacking", *words, "tools", "true")
        assert done.returncode in (0, 125)
        assert done.returncode == 0 or cause in done.stderr.lower() or cause in done.stderr, done.stderr
    tools.run(["podman", "rm", "--force", "--ignore", "lacking"])


def test_capabilities_are_all_but_those_that_are_dropped(tools: Home) -> None:
    script = "grep CapBnd /proc/self/status"
    assert int(said(tools, script, "--cap-drop", "ALL").split()[1], 16) == 0
    every = int(said(tools, script, "--cap-add", "ALL").split()[1], 16)
    most = int(said(tools, script, "--cap-add", "ALL", "--cap-drop", "net_raw").split()[1], 16)
    assert every & ~most == 1 << 13, "CAP_NET_RAW"


def test_security_options_are_podmans(tools: Home) -> None:
    script = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/scsi 2>/dev/null | wc -l"
    words = ("--security-opt", "label=disable", "--security-opt", "no-new-privileges", "--cap-drop=ALL")
    assert said(tools, script, *words).split()[:4] == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    open_ = ("--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges:false")
    assert said(tools, script, *open_).split()[:4] == ["NoNewPrivs:", "0", "Seccomp:", "0"]
    assert said(tools, "wc -c < /proc/version", "--security-opt", "mask=/proc/version") == "0\n"


def test_the_stop_signal_and_its_grace_are_those_that_were_said(fresh_home: Home) -> None:
    make_image(fresh_home, "tools", "/busybox")
    script = "trap 'echo came; exit 7' USR1; echo up; while :; do sleep 0.1; done"
    words = (
        "-d",
        "--rm",
        "--name",
        "web",
        "--stop-signal",
        "USR1",
        "--stop-timeout",
        "30",
        "--log-driver",
        "json-file",
    )
    done = fresh_home.cli("run", *words, "tools", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    shown = ["podman", "inspect", "--format", "{{.Config.StopSignal}} {{.Config.StopTimeout}}", "web"]
    # The number, and from podman 5 on the name.
    assert fresh_home.run(shown).stdout.split() in ([b"10", b"30"], [b"SIGUSR1", b"30"])
    podman(fresh_home, "stop", "web")
    # podman removes it by a process of its own, after it has said that it stopped.
    deadline = time.monotonic() + 30
    while containers(fresh_home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert containers(fresh_home) == [], "--rm removes what was detached too"
    slow = "trap 'sleep 3; echo cleaned; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    done = fresh_home.cli("run", "--timeout", "1", "--stop-timeout", "20", "tools", "sh", "-c", slow)
    assert (done.returncode, done.stdout) == (124, b"up\ncleaned\n"), "it had its time"


@pytest.mark.parametrize(
    ("words", "there_is"),
    [
        (["--privileged"], "--cap-add"),
        (["--pid", "host"], "debug"),
        (["--restart=always"], "systemd"),
        (["--gpus", "all"], "--device"),
        (["-P"], "--publish"),
        (["--bundle-libraries"], "run ./program"),
        (["--net-alias", "x"], "--network"),
        (["--volum", "/a:/b"], "--volume"),
        (["--nosuch"], "--help"),
    ],
)
def test_an_option_of_podman_that_there_is_not_says_what_there_is(
    tools: Home, words: list[str], there_is: str
) -> None:
    done = tools.cli("run", *words, "tools", "true")
    assert done.returncode == 2
    assert f"There is no {words[0].partition('=')[0]}." in done.stderr.decode()
    assert there_is in done.stderr.decode()


@pytest.mark.parametrize("verb", ["ps", "images", "rmi", "logs", "exec", "stop", "kill", "cp", "pull", "login"])
def test_a_verb_of_podman_answers_with_its_line(tools: Home, verb: str) -> None:
    done = tools.cli(verb, "web", "-a")
    assert done.returncode == 2
    assert f"`podman {verb} web -a`" in done.stderr.decode()


@pytest.mark.usefixtures("tools", "python_home")
def test_python_has_the_same_by_its_keywords(place: Path) -> None:
    (place / "env").write_text("A=b\n")
    result = rs.run(
        "tools",
        ["sh", "-c", "echo $A; hostname; ls /v"],
        env_file=[str(place / "env")],
        hostname="web",
        mounts=[f"type=bind,src={place},dst=/v,ro"],
        rm=True,
        pull="never",
    )
    assert result.stdout == b"b\nweb\nenv\n"
    with pytest.raises(UsageError):
        rs.run("tools", pull="often")
