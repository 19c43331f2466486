"""The options of `run`, each seen from inside a container, for podman ignores keys that it does not know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tinyelf
from containers import Home, make_image, podman, shell

import rootless_scratch as rs
from rootless_scratch.cli.run_options import options_from
from rootless_scratch.errors import UsageError
from rootless_scratch.keywords import Options

pytestmark = pytest.mark.podman

PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64/v8", "s390x": "linux/s390x"}


def status(home: Home, *options: str) -> dict[str, str]:
    """/proc/self/status of a program in a container."""
    text = shell(home, "/busybox cat /proc/self/status", *options).stdout.decode()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def said(home: Home, script: str, *options: str) -> str:
    done = shell(home, script, *options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_a_capability_is_left_to_it_alone(tools: Home) -> None:
    facts = status(tools, "--cap-add", "net_bind_service")
    assert {int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {1 << 10}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def test_new_privileges_are_allowed_and_nothing_else(tools: Home) -> None:
    facts = status(tools, "--allow-new-privileges")
    assert (facts["NoNewPrivs"], facts["Seccomp"], int(facts["CapBnd"], 16)) == ("0", "2", 0)


def test_the_filter_of_system_calls_is_another_or_none(tools: Home, tmp_path: Path) -> None:
    assert status(tools, "--seccomp", "unconfined")["Seccomp"] == "0"
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}],
    }
    place = tools.path / f"{tmp_path.name}.json"
    place.write_text(json.dumps(profile))
    done = shell(tools, "mkdir /tmp/x", "--seccomp", str(place))
    assert b"Quota exceeded" in done.stderr or b"quota exceeded" in done.stderr.lower()


def test_the_root_can_be_written_to_and_tmp_still_lies_in_memory(tools: Home) -> None:
    script = "echo x > /data/x; echo $?; /busybox mount | /busybox grep -c 'tmpfs on /tmp'"
    assert said(tools, script, "--writable", "--user", "0") == "0\n1\n"


def test_there_is_no_privileged_and_the_way_out_is_named(tools: Home) -> None:
    done = tools.cli("run", "--privileged", "tools", "true")
    assert done.returncode == 2
    assert b"--cap-add" in done.stderr
    assert b"--privileged" not in tools.cli("run", "--help").stdout


def test_a_place_in_memory_has_the_options_that_it_was_given(tools: Home) -> None:
    script = "/busybox mount | /busybox grep ' /cache '; echo x > /cache/x && echo written"
    text = said(tools, script, "--tmpfs", "/cache:size=1m,noexec,mode=0777")
    assert all(word in text for word in ("size=1024k", "noexec", "nosuid", "nodev", "written"))
    assert "written" in said(tools, script, "--tmpfs", "/cache"), "open to all, as podman's"


def test_secrets_are_files_or_variables(tools: Home, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s3\0cret")
    (tmp_path / "word").write_text("pass word")
    podman(tools, "secret", "create", "bytes", str(tmp_path / "secret"))
    podman(tools, "secret", "create", "word", str(tmp_path / "word"))
    script = (
        "/busybox stat -c '%a %u %g' /run/secrets/bytes /key; /busybox wc -c < /run/secrets/bytes;"
        "/busybox cat /key; echo; echo $PASS"
    )
    words = ["--secret", "bytes", "--secret", "word,target=/key,uid=65532,gid=7,mode=0400"]
    text = said(tools, script, *words, "--secret", "word,type=env,target=PASS")
    assert text == "444 0 0\n400 65532 7\n7\npass word\npass word\n"
    done = tools.cli("run", "--secret", "nosuch", "tools", "true")
    assert done.returncode == 125
    assert b"podman secret" in done.stderr


def test_limits_of_the_process_are_set(tools: Home) -> None:
    script = "ulimit -n; ulimit -Hn; ulimit -c"
    assert said(tools, script, "--ulimit", "nofile=100:200", "--ulimit", "core=0") == "100\n200\n0\n"


LIMITS = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "20")
SEEN = (
    "c=/sys/fs/cgroup; /busybox cat $c/memory.max $c/cpu.max $c/pids.max 2>/dev/null ||"
    " /busybox cat $c/memory/memory.limit_in_bytes $c/cpu/cpu.cfs_quota_us $c/pids/pids.max; true"
)


def test_limits_of_the_container_are_enforced_or_it_is_said_that_they_are_not(tools: Home) -> None:
    done = tools.cli("run", *LIMITS, "tools", "sh", "-c", SEEN)
    strict = tools.cli("run", "--strict", *LIMITS, "tools", "sh", "-c", SEEN)
    if b"The limits are not enforced" in done.stderr:
        assert done.returncode == 0
        assert "67108864" not in done.stdout.decode()
        assert (strict.returncode, strict.stdout) == (125, b"")
        assert b"The limits are not enforced" in strict.stderr
    else:
        assert done.stdout.decode().split() in (
            ["67108864", "50000", "100000", "20"],
            ["67108864", "50000", "20"],
        )
        assert strict.stdout == done.stdout


def test_strict_refuses_nothing_that_can_be_had(tools: Home) -> None:
    assert said(tools, "echo fine", "--strict", "--ulimit", "core=0") == "fine\n"


def test_a_small_init_is_process_1_and_reaps(tools: Home) -> None:
    assert said(tools, "echo $$") == "1\n"
    assert said(tools, "test $$ != 1 && /busybox cat /proc/1/comm", "--init") in ("podman-init\n", "catatonit\n")


def test_directory_and_program_are_others(tools: Home) -> None:
    assert said(tools, "pwd", "--workdir", "/data") == "/data\n"
    words = ("--entrypoint", '["/busybox", "echo", "a b"]')
    assert tools.cli("run", "-q", *words, "tools", "c").stdout == b"a b c\n"
    assert tools.cli("run", "-q", "--entrypoint", "/busybox", "tools", "echo", "x").stdout == b"x\n"
    done = tools.cli("run", "-q", "--workdir", "/nosuch", "--entrypoint", "/busybox", "tools", "pwd")
    assert done.returncode in (0, 125), "podman makes it where the root can be written to"


def test_an_image_of_another_platform_is_refused(tools: Home) -> None:
    here, other = ("arm64", "amd64") if os.uname().machine == "aarch64" else ("amd64", "arm64")
    assert said(tools, "echo fine", "--platform", f"linux/{here}") == "fine\n"
    done = tools.cli("run", "--platform", f"linux/{other}", "tools", "true")
    assert done.returncode == 125
    assert f"for linux/{here}, not for linux/{other}".encode() in done.stderr


def test_of_a_list_the_image_for_the_platform_that_is_asked_for_is_taken(
    shared_home: Home, tmp_path: Path
) -> None:
    here = "aarch64" if os.uname().machine == "aarch64" else "x86_64"
    foreign = "s390x"
    programs = tinyelf.for_machines(tmp_path, here, foreign)
    words = [
        word for machine in programs for word in ("--platform", f"{PLATFORMS[machine]}={programs[machine]}:/app")
    ]
    done = shared_home.cli("build", "-t", "listed", *words)
    assert done.returncode == 0, done.stderr.decode()
    for asked in ([], ["--platform", PLATFORMS[here]]):
        assert shared_home.cli("run", "-q", *asked, "listed").stdout == b"Hello World\n"
    answer = shared_home.cli("run", "--json", "--platform", PLATFORMS[foreign], "listed")
    assert answer.returncode == 126, answer.stderr.decode()
    explanation = json.loads(answer.stdout)["explanation"]
    assert explanation["rule"] == "exec-format"
    assert "is built for s390x" in explanation["message"], "the image that was started is the one that is judged"
    done = shared_home.cli("run", "--platform", "linux/riscv64", "listed")
    assert done.returncode == 125
    assert f"is for {PLATFORMS[here]}, {PLATFORMS[foreign]}, not for linux/riscv64" in done.stderr.decode()


def test_a_health_check_is_known_to_podman_and_whether_it_runs_is_said(fresh_home: Home) -> None:
    make_image(fresh_home, "tools", "/busybox")
    words = ["--name", "web", "--health-cmd", "/busybox test -e /tmp/well", "tools", "sleep", "60"]
    done = fresh_home.cli("run", "-d", *words)
    assert done.returncode == 0, done.stderr
    check = ["podman", "healthcheck", "run", "web"]
    assert fresh_home.run(check, check=False).returncode == 1
    podman(fresh_home, "exec", "web", "/busybox", "touch", "/tmp/well")
    assert fresh_home.run(check, check=False).returncode == 0
    timers = Path(fresh_home.environment["XDG_RUNTIME_DIR"]) / "systemd/private"
    assert (b"Nothing runs the health check by itself" in done.stderr) != timers.exists()
    podman(fresh_home, "rm", "--force", "--time", "0", "web")


@pytest.fixture
def place(tools: Home, tmp_path: Path) -> Path:
    """A directory that nobody but the caller may write to."""
    directory = tools.path / f"volume-{tmp_path.name}"
    directory.mkdir(mode=0o700)
    return directory


def test_what_the_images_user_writes_into_a_volume_is_the_callers(tools: Home, place: Path) -> None:
    assert said(tools, "/busybox id -u; echo x > /v/new", "--volume", f"{place}:/v") == "65532\n"
    written = (place / "new").stat()
    assert (written.st_uid, written.st_gid) == (os.getuid(), os.getgid())
    (place / "private").write_text("mine")
    (place / "private").chmod(0o600)
    assert said(tools, "/busybox cat /v/private", "--volume", f"{place}:/v:ro") == "mine"


@pytest.mark.parametrize("user", ["0", "1234:5678", "77"])
def test_so_is_what_any_other_user_writes(tools: Home, place: Path, user: str) -> None:
    script = "/busybox id -u; echo x > /v/new"
    assert said(tools, script, "--user", user, "--volume", f"{place}:/v") == f"{user.partition(':')[0]}\n"
    written = (place / "new").stat()
    assert written.st_uid == os.getuid()
    assert user == "77" or written.st_gid == os.getgid(), "a group that nobody named is podman's"


def test_without_a_volume_and_with_a_word_of_ones_own_ids_are_podmans(tools: Home, place: Path) -> None:
    ids = said(tools, "/busybox cat /proc/self/uid_map").split()
    assert ids[:2] == ["0", str(os.getuid())]
    assert said(tools, "/busybox cat /proc/self/uid_map", "--volume", "data:/v").split() == ids
    assert said(tools, "/busybox cat /proc/self/uid_map", "--volume", f"{place}:/v").split() != ids
    words = ("--userns", "host", "--volume", f"{place}:/v")
    assert said(tools, "/busybox cat /proc/self/uid_map", *words).split() == ids
    done = shell(tools, "/busybox id -u", "--userns", "keep-id:uid=5,gid=6", "--user", "5:6")
    assert done.stdout == b"5\n"


def test_nothing_is_fetched_unasked_and_a_fetch_that_fails_is_a_sentence(tools: Home) -> None:
    done = tools.cli("run", "127.0.0.1:1/hello", "true")
    assert b"There is no image" in done.stderr
    done = tools.cli("run", "--pull", "127.0.0.1:1/hello", "true")
    assert done.returncode == 125
    assert b"could not be pulled" in done.stderr
    assert said(tools, "echo here", "--pull") == "here\n", "what is there is not fetched"


@pytest.mark.parametrize(
    "words",
    [
        ["--memory", "0"],
        ["--memory", "lots"],
        ["--cpus", "0"],
        ["--pids-limit", "0"],
        ["--ulimit", "files=1"],
        ["--ulimit", "nofile=9:1"],
        ["--tmpfs", "cache"],
        ["--tmpfs", "/cache:bad"],
        ["--tmpfs", "/a", "--volume", "/tmp:/a/"],
        ["--secret", "x,mode=9"],
        ["--secret", "x,target"],
        ["--cap-add", "a b"],
        ["--platform", "linux"],
        ["--workdir", "x"],
        ["--entrypoint", ""],
        ["--entrypoint", "[1]"],
        ["--health-cmd", "'"],
        ["--name", "a/b"],
        ["--userns", "auto"],
        ["--label", "=x"],
        ["--detach-keys", "ctrl-"],
        ["--replace"],
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(tools: Home, words: list[str]) -> None:
    done = tools.cli("run", *words, "tools", "true")
    assert done.returncode == 2
    assert words[0].encode() in done.stderr or any(
        said in done.stderr for said in (b"have the target", b"entrypoint", b"is not a platform")
    )
    assert b"\n  fix: " in done.stderr


def test_the_help_shows_every_option_in_its_group(tools: Home) -> None:
    text = tools.cli("run", "--help").stdout.decode()
    groups = (
        "Program:",
        "Terminal and life:",
        "Files and network:",
        "Limits:",
        "Another podman:",
        "Hardening:",
        "Less hardening:",
        "Everywhere:",
    )
    assert [line for line in text.splitlines() if line in groups] == list(groups)
    assert text.index("Limits:") < text.index("--memory") < text.index("--strict") < text.index("Less hardening:")
    assert text.index("Everywhere:") < text.index("--json")
    assert text.count("IMAGE") == text[: text.index("Program:")].count("IMAGE"), "arguments are no options"


def test_the_words_of_the_command_line_are_those_of_python() -> None:
    from rootless_scratch.cli.run import command

    common = {"image", "arguments", "as_json", "quiet", "verbose"}
    words: dict[str, Any] = {param.name: () for param in command.params if param.name not in common}
    assert set(options_from(words)) == set(Options.__annotations__)


@pytest.mark.usefixtures("tools")
def test_from_python_all_of_it_is_said_by_keywords(python_home: Home, place: Path) -> None:
    result = rs.run(
        "tools",
        ["sh", "-c", "pwd; ulimit -n; echo x > /v/new; echo $A"],
        env={"A": "b"},
        network="none",
        volumes=[f"{place}:/v"],
        tmpfs=["/cache"],
        workdir="/cache",
        ulimits=["nofile=64"],
        labels={"a": "b"},
        keep=True,
        name="from-python",
    )
    assert (result.exit_code, result.stdout) == (0, b"/cache\n64\nb\n")
    assert (place / "new").stat().st_uid == os.getuid()
    named = podman(python_home, "inspect", "--format", "{{.ID}}", "from-python")
    assert [result.container_id] == named
    podman(python_home, "rm", "from-python")


@pytest.mark.parametrize(
    "options", [{"memory": 1.5}, {"nosuch": 1}, {"cpus": "two"}, {"tmpfs": "/x"}, {"pids_limit": True}]
)
def test_from_python_what_makes_no_sense_is_a_usage_error(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        rs.run("tools", **options)
