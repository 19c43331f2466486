"""`inspect`, `check`, `containerfile` and the words of the command line, as a user meets them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
VERBS = ("build", "run", "debug", "check", "doctor", "containerfile", "verify", "inspect")
STORED = """set -e
container=$(buildah from scratch)
root=$(buildah mount "$container")
cp "$1" "$root/program"
chmod "$2" "$root/program"
buildah config --entrypoint "$3" "$container"
buildah commit -q "$container" "$4"
buildah rm "$container"
"""


@pytest.fixture
def image(shared_home: Home, tmp_path: Path) -> str:
    """An image with a tree worth drawing."""
    program = tinyelf.write(tmp_path / "server")
    (tmp_path / "page").write_text("x" * 1500)
    words = [
        "--copy",
        f"{tmp_path / 'page'}:/srv/www/index.html",
        "--mkdir",
        "/data:mode=0700,uid=65532,gid=65532",
    ]
    words += ["--symlink", "/usr/bin/server:/server", "--env", "MODE=live", "--port", "8080", "--label", "a=b"]
    done = shared_home.cli("build", f"{program}:/usr/bin/server", "-t", "drawn", *words)
    assert done.returncode == 0, done.stderr
    return "drawn"


@pytest.mark.buildah
def test_inspect_draws_config_layer_and_every_file(shared_home: Home, image: str) -> None:
    done = shared_home.cli("inspect", image)
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for line in (
        'entrypoint:  ["/usr/bin/server"]',
        "platform:    linux/amd64",
        "variable:    MODE=live",
        "ports:       8080/tcp",
        "├── data/  0700 65532:65532",
        "├── server -> /usr/bin/server",
        "│       └── index.html  1.5 kB  0644",
    ):
        assert line in said
    assert re.search(r"^layer: +sha256:[0-9a-f]{64} ", said, re.MULTILINE)


@pytest.mark.buildah
def test_inspect_as_json_has_the_keys_of_the_contract(shared_home: Home, image: str) -> None:
    answer = shared_home.json("inspect", image)
    assert {"schema", "image_id", "config", "layers", "files"} <= set(answer)
    assert answer["schema"] == 1
    assert answer["config"]["config"]["Labels"] == {"a": "b"}
    for file in answer["files"]:
        assert {"path", "type", "mode", "uid", "gid", "size", "sha256", "target"} <= set(file)
    assert answer == shared_home.json("inspect", answer["image_id"]), "an image ID is a name too"
    assert answer == shared_home.json("inspect", "localhost/drawn:latest")


@pytest.mark.buildah
@pytest.mark.parametrize("verb", ["inspect", "check"])
def test_an_image_that_is_not_there_is_named_and_nothing_is_fetched(shared_home: Home, verb: str) -> None:
    done = shared_home.cli(verb, "docker.io/library/never-built:1")
    assert done.returncode == 1
    assert b"There is no image 'docker.io/library/never-built:1' in local storage." in done.stderr
    assert done.stderr.count(b"\n  fix: ") == 1
    answer = json.loads(shared_home.cli(verb, "never-built", "--json").stdout)
    assert answer["error"]["kind"] == "image-not-found"


@pytest.mark.podman
@pytest.mark.parametrize(
    ("mode", "entrypoint", "rule"),
    [
        ("0755", '["/program"]', None),
        ("0644", '["/program"]', "not-executable"),
        ("0755", '["program"]', "command-not-in-path"),
        ("0755", '["/programm"]', "command-missing"),
        ("0755", "/program", "shell-form"),
    ],
)
def test_the_verdict_on_an_image_that_others_built_agrees_with_podman(
    shared_home: Home, tmp_path: Path, mode: str, entrypoint: str, rule: str | None
) -> None:
    verdict = "starts" if rule is None else "fails"
    program = tinyelf.write(tmp_path / "program")
    shared_home.run(["buildah", "unshare", "sh", "-c", STORED, "sh", str(program), mode, entrypoint, "judged"])
    judged = shared_home.cli("check", "judged", "--json")
    answer = json.loads(judged.stdout)
    assert answer["verdict"] == verdict
    assert judged.returncode == (0 if verdict == "starts" else 1)
    assert (rule in {finding["rule"] for finding in answer["findings"]}) == (rule is not None)
    ran = shared_home.cli("run", "judged")
    assert (ran.stdout == b"Hello World\n") == (verdict == "starts")


def test_check_of_a_program_needs_no_tool_and_says_what_to_do(shared_home: Home, tmp_path: Path) -> None:
    good = tinyelf.write(tmp_path / "good")
    done = shared_home.cli("check", str(good), environment={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{good}: starts\n"
    (tmp_path / "bad").write_bytes(good.read_bytes()[:100])
    done = shared_home.cli("check", "./bad", cwd=tmp_path)
    assert done.returncode == 1
    assert b"./bad: fails" in done.stdout
    assert b"\n  fix: " in done.stderr
    (tmp_path / "garbled").write_bytes(b"\x7fELF" + b"\xff" * 60)
    answer = json.loads(shared_home.cli("check", "./garbled", "--json", cwd=tmp_path).stdout)
    assert (answer["subject"], answer["verdict"]) == ("./garbled", "fails")
    assert [finding["rule"] for finding in answer["findings"]] == ["unreadable-elf"]
    assert set(answer["findings"][0]) >= {"rule", "severity", "subject", "message", "fix"}


def test_a_containerfile_is_printed_or_written_with_its_files(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "hello")
    printed = shared_home.cli("containerfile", "./hello", "-t", "hello", cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert b"\nFROM scratch\n" in printed.stdout
    assert b'\nENTRYPOINT ["/hello"]\n' in printed.stdout
    written = shared_home.cli("containerfile", "./hello", "-t", "hello", "-o", "out", cwd=tmp_path)
    assert (written.returncode, written.stdout) == (0, b"")
    assert (tmp_path / "out/Containerfile").read_bytes() == printed.stdout
    assert (tmp_path / "out/rootfs/hello").read_bytes() == (tmp_path / "hello").read_bytes()
    again = shared_home.cli("containerfile", "./hello", "-o", "out", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.count(b"\n  fix: ") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(shared_home: Home, verb: str) -> None:
    done = shared_home.cli(verb, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    for option in (b"--json", b"-q, --quiet", b"-v, --verbose", b"-h, --help"):
        assert option in done.stdout


def test_the_overview_names_every_verb_and_a_typing_error_the_nearest(shared_home: Home) -> None:
    overview = shared_home.cli("--help").stdout.decode()
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", overview, re.MULTILINE)
    done = shared_home.cli("biuld")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Did you mean `build`?" in done.stderr
    assert shared_home.cli("--version").stdout == b"rootless-scratch 0.2.0\n"


@pytest.mark.buildah
def test_in_another_locale_names_stay_the_bytes_that_they_are(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "größe")
    # Python that does not coerce the C locale reads file names as ASCII.
    foreign = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    answer = shared_home.json("build", str(program), "-t", "locale", "--dry-run", environment=foreign)
    assert answer["plan"]["entries"][0]["path"] == "/größe"


@pytest.mark.buildah
def test_on_a_terminal_a_long_build_shows_its_progress_and_elsewhere_nothing(
    shared_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "big")
    with program.open("ab") as file:
        # No hole, which would cost nothing to copy.
        os.posix_fallocate(file.fileno(), 0, 1_000_000_000)
    words = [sys.executable, "-m", "rootless_scratch", "build", str(program), "-t", "progress"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, env=shared_home.environment, stdout=subprocess.PIPE, stderr=theirs) as build:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 4096):
                shown += block
        except OSError:
            os.close(ours)
        said = build.communicate()[0]
    assert build.returncode == 0, shown
    assert len(said) == 65
    assert "━".encode() in shown
    done = subprocess.run(words, env=shared_home.environment, capture_output=True, check=True)
    assert done.stderr == b""
    shared_home.run(["buildah", "rmi", "progress"])


def test_closed_streams_are_no_reason_to_fail(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        script = f'"$0" -m rootless_scratch check "$1" {closing}'
        done = shared_home.run(["sh", "-c", script, sys.executable, str(program)], check=False)
        assert done.returncode == 0, (closing, done.stderr)


def test_what_is_exported_is_there_and_nothing_else(shared_home: Home) -> None:
    script = (
        "import rootless_scratch as rs\n"
        "assert dir(rs) == rs.__all__ == sorted(rs.__all__)\n"
        "for name in rs.__all__: getattr(rs, name)\n"
        "for name in ('build', 'check', 'run', 'scratch'): assert callable(getattr(rs, name)), name\n"
    )
    done = shared_home.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_verb_the_overview_is_shown(shared_home: Home) -> None:
    done = shared_home.cli()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"\nVerbs:\n" in done.stderr


@pytest.mark.podman
def test_options_behind_the_image_of_a_run_are_the_programs(shared_home: Home) -> None:
    done = shared_home.cli("run", "no-such-image", "--json")
    assert (done.returncode, done.stdout) == (125, b"")
    assert (
        json.loads(shared_home.cli("run", "--json", "no-such-image").stdout)["error"]["kind"] == "image-not-found"
    )


@pytest.mark.buildah
def test_when_the_reader_has_gone_the_exit_code_says_so_and_nothing_is_printed(
    shared_home: Home, image: str
) -> None:
    script = '("$0" -m rootless_scratch inspect "$1"; echo $? >&2) | true'
    done = shared_home.run(["bash", "-c", script, sys.executable, image])
    assert done.stderr.decode().strip() in {"141", "0"}, "0 where all was written before the reader had gone"


def test_check_of_nothing_is_a_usage_error(shared_home: Home) -> None:
    done = shared_home.cli("check", "")
    assert done.returncode == 2
    assert done.stderr.count(b"\n  fix: ") == 1


def test_where_the_output_finds_no_room_one_sentence_says_so(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    for words in (["check", str(program)], ["build", "--dry-run", str(program)], ["--version"], ["--help"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "rootless_scratch", *words],
                env=shared_home.environment,
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 1, words
        assert done.stderr.startswith(
            b"rootless-scratch: The output cannot be written: No space left on device."
        ), words
        assert b"Traceback" not in done.stderr


@pytest.mark.buildah
def test_an_image_name_is_never_taken_for_an_option(shared_home: Home) -> None:
    done = shared_home.cli("inspect", "--", "--help")
    assert done.returncode == 1
    assert b"JSONDecodeError" not in done.stderr


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_none(shared_home: Home, tmp_path: Path, setting: dict[str, str]) -> None:
    (tmp_path / "empty").write_bytes(b"")
    environment = shared_home.environment | {"TERM": "xterm"}
    command = f"{sys.executable} -m rootless_scratch check {tmp_path / 'empty'}"
    words = ["script", "-qec", command, "/dev/null"]
    plain = subprocess.run(words, env=environment | setting, capture_output=True, check=False)
    assert b"fails" in plain.stdout
    assert b"\x1b" not in plain.stdout
    coloured = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert b"\x1b" in coloured.stdout


@pytest.mark.parametrize("place", ["/proc/x", "/sys/x", "/dev/shm/x", "/etc/hosts"])
def test_a_program_where_a_runtime_mounts_its_own_is_refused(
    shared_home: Home, tmp_path: Path, place: str
) -> None:
    program = tinyelf.write(tmp_path / "program")
    done = shared_home.cli("build", f"{program}:{place}", "-t", "hidden", "--dry-run")
    assert done.returncode == 1
    assert b"[hidden-by-runtime]" in done.stderr
    assert shared_home.cli("build", f"{program}:/etc/hostsfile", "-t", "seen", "--dry-run").returncode == 0
