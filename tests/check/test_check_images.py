"""The rules on whole images: commands, platforms, and programs beside each other."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import tinyelf
from imaging import Bench, directory, file, only, rules, stored

from rootless_scratch.backends.stored import StoredImage
from rootless_scratch.elf.program import read_program
from rootless_scratch.image.plan.planner import Program
from rootless_scratch.image.rootfs import Symlink
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path


GLIBC = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# The recipe that everybody copies, and what goes wrong with commands.


def test_a_static_program_with_our_defaults_is_not_spoken_about(bench: Bench) -> None:
    assert bench.judge(bench.program()) == ()


def test_the_recipe_of_copy_and_cmd_is_refused_with_the_absolute_path(bench: Bench) -> None:
    copied = Copy(source=bench.put(), destination="/helloworld")
    finding = bench.finding(copies=(copied,), cmd=("helloworld",))
    assert (finding.rule, finding.severity) == ("command-not-in-path", "error")
    assert "helloworld, which no directory of its PATH has (/usr/local/sbin, " in finding.message
    assert finding.fix == """Name it by its absolute path: `--cmd '["/helloworld"]'`."""


def test_the_recipe_with_our_own_entrypoint_is_refused_because_cmd_is_not_needed(bench: Bench) -> None:
    finding = bench.finding(bench.program(), cmd=("helloworld",))
    assert (finding.rule, finding.severity) == ("command-not-in-path", "error")
    assert finding.subject == "helloworld"
    assert "a name that no directory of PATH has" in finding.message
    assert finding.fix == "Leave --cmd out: the entrypoint /helloworld already is the program."


def test_arguments_behind_the_repeated_name_are_kept_in_the_fix(bench: Bench) -> None:
    finding = bench.finding(bench.program(), cmd=("helloworld", "--name", "it's"))
    assert finding.fix == """Give the arguments alone: `--cmd '["--name", "it'"'"'s"]'`."""


@pytest.mark.parametrize("argument", ["--help", "serve", "/etc/app.conf", "./x", "-", "", "helloworld.conf"])
def test_arguments_of_the_entrypoint_are_left_alone(bench: Bench, argument: str) -> None:
    assert bench.judge(bench.program(), cmd=(argument,)) == ()


def test_a_path_that_has_the_program_makes_its_name_a_command(bench: Bench) -> None:
    copied = Copy(source=bench.put(), destination="/helloworld")
    assert bench.judge(copies=(copied,), cmd=("helloworld",), env=(("PATH", "/bin:/"),)) == ()
    assert bench.judge(bench.program(destination="/usr/bin/helloworld"), entrypoint=("helloworld",)) == ()


def test_the_program_named_twice_is_warned_of_where_path_has_it(bench: Bench) -> None:
    finding = bench.finding(bench.program(destination="/usr/bin/helloworld"), cmd=("helloworld",))
    assert (finding.rule, finding.severity) == ("command-repeated", "warning")
    assert "as an argument" in finding.message
    by_path = bench.finding(bench.program(), cmd=("/helloworld", "-v"))
    assert by_path.rule == "command-repeated"
    assert by_path.fix == """Give the arguments alone: `--cmd '["-v"]'`."""


def test_another_name_of_a_program_of_many_names_is_an_argument(bench: Bench) -> None:
    link = NewSymlink(path="/bin/sh", target="busybox")
    busybox = bench.program("busybox", "/bin/busybox")
    assert bench.judge(busybox, symlinks=(link,), cmd=("sh", "-c", "echo")) == ()
    nowhere = NewSymlink(path="/ls", target="/busybox")
    assert bench.judge(bench.program("busybox"), symlinks=(nowhere,), cmd=("ls",)) == ()


def test_the_name_of_a_second_program_may_be_a_subcommand(bench: Bench) -> None:
    finding = bench.finding(bench.program("server"), bench.program("migrate"), cmd=("migrate", "up"))
    assert (finding.rule, finding.severity) == ("command-not-in-path", "warning")
    assert """`--entrypoint '["/migrate", "up"]'`""" in finding.fix
    assert verdict([finding]) == "starts"


def test_an_argument_that_is_the_name_of_a_data_file_is_left_alone(bench: Bench) -> None:
    data = Copy(source=bench.put("words", b"a b c\n"), destination="/words")
    assert bench.judge(bench.program(), copies=(data,), cmd=("words",)) == ()


def test_a_mistyped_name_gets_the_nearest_program(bench: Bench) -> None:
    finding = bench.finding(bench.program(destination="/usr/bin/helloworld"), entrypoint=("heloworld",))
    assert finding.rule == "command-not-in-path"
    assert finding.fix == (
        """Did you mean /usr/bin/helloworld? Then write: `--entrypoint '["/usr/bin/helloworld"]'`."""
    )


def test_a_path_of_nothing_is_searched_nowhere() -> None:
    finding = only(stored(file("/hello"), entrypoint=("hello",), env=(("PATH", ""),)))
    assert finding.rule == "command-not-in-path"
    assert "which is empty" in finding.message


def test_a_directory_and_a_file_without_execute_bits_do_not_end_the_search_in_path() -> None:
    path = (("PATH", "/a:/b:/c"),)
    entries = (directory("/a/hello"), file("/b/hello", 0o644), file("/c/hello"))
    assert stored(*entries, entrypoint=("hello",), env=path) == ()
    refused = only(stored(*entries[:2], entrypoint=("hello",), env=path))
    assert (refused.rule, refused.subject) == ("not-executable", "/b/hello")


def test_a_relative_directory_of_path_begins_at_the_working_directory() -> None:
    env = (("PATH", "bin:/usr/bin"),)
    found = only(stored(file("/srv/bin/hello"), entrypoint=("hello",), env=env, working_dir="/srv"))
    assert (found.rule, found.severity) == ("command-by-relative-path", "warning")
    assert found.fix == """Name it by its absolute path: `--entrypoint '["/srv/bin/hello"]'`."""
    assert verdict([found]) == "unknown"


@pytest.mark.parametrize(
    ("path", "is_told"),
    [(":", 1), (".", 1), (":/bin", 1), ("bin", 1), ("/bin:", 0), ("/bin:.", 0), ("/bin", 0)],
)
def test_a_program_that_path_finds_first_by_a_relative_directory_is_not_started_by_runc(
    path: str, is_told: int
) -> None:
    found = stored(file("/hello"), file("/bin/hello"), entrypoint=("hello",), env=(("PATH", path),))
    assert rules(found) == ["command-by-relative-path"] * is_told
    assert stored(file("/hello"), entrypoint=("/hello",), env=(("PATH", path),)) == ()
    here = (file("/bin/hello"), file("/hello", mode=0o644))
    assert stored(*here, entrypoint=("hello",), env=(("PATH", ".:/bin"),)) == ()


def test_an_image_without_any_command_is_refused() -> None:
    finding = only(stored(file(), entrypoint=None))
    assert (finding.rule, finding.severity) == ("no-command", "error")
    assert stored(file(), entrypoint=None, cmd=("/app",)) == ()


def test_the_shell_form_is_refused_and_turned_into_the_exec_form() -> None:
    finding = only(stored(file(), entrypoint=None, cmd=("/bin/sh", "-c", "exec /app --name 'a b'")))
    assert (finding.rule, finding.severity) == ("shell-form", "error")
    assert finding.fix == """Write it in exec form: `--cmd '["/app", "--name", "a b"]'`."""


def test_json_in_single_quotes_is_recognised_in_the_shell_form() -> None:
    finding = only(stored(file(), entrypoint=("/bin/sh", "-c", "['/app', '-v']")))
    assert finding.fix == """Write it in exec form: `--entrypoint '["/app", "-v"]'`."""


@pytest.mark.parametrize("text", ["cd /x && ./app", "/app $HOME", "/app 'unended", "A=b /app", "[", ""])
def test_what_only_a_shell_can_do_is_not_turned_into_the_exec_form(text: str) -> None:
    finding = only(stored(file(), entrypoint=None, cmd=("/bin/sh", "-c", text)))
    assert finding.rule == "shell-form"
    assert "must do itself" in finding.fix


def test_the_shell_form_is_fine_where_the_shell_is_in_the_image() -> None:
    shell = (file("/bin/busybox"), Symlink(path="/bin/sh", target="busybox"))
    assert stored(*shell, entrypoint=None, cmd=("/bin/sh", "-c", "echo")) == ()
    assert stored(*shell, entrypoint=None, cmd=("sh", "-c", "echo")) == ()


def test_a_mistyped_path_gets_the_nearest_program() -> None:
    finding = only(stored(file("/hello"), entrypoint=("/helo", "-v")))
    assert (finding.rule, finding.severity) == ("command-missing", "error")
    assert finding.message == "The image's command is /helo, which is not in it."
    assert finding.fix == """Did you mean /hello? Then write `--entrypoint '["/hello", "-v"]'`."""


def test_the_right_name_in_the_wrong_directory_is_found() -> None:
    entries = (file("/opt/app/bin/app"), file("/opt/app/apps", 0o644))
    finding = only(stored(*entries, entrypoint=("/usr/bin/app",)))
    assert "Did you mean /opt/app/bin/app?" in finding.fix


def test_a_missing_program_in_an_image_without_files_has_a_fix_all_the_same() -> None:
    finding = only(stored())
    assert finding.fix == "Add the program at that path, or correct --entrypoint."


def test_a_relative_path_begins_at_the_working_directory() -> None:
    entries = (directory("/srv"), file("/srv/app"))
    assert stored(*entries, entrypoint=("./app",), working_dir="/srv") == ()
    finding = only(stored(*entries, entrypoint=("./app",), working_dir="/"))
    assert "./app (from the working directory: /app)" in finding.message


def test_a_link_to_a_file_of_the_host_is_named_as_such() -> None:
    finding = only(stored(Symlink(path="/app", target="/usr/bin/hello")))
    assert finding.rule == "command-missing"
    assert "/app is a symbolic link to /usr/bin/hello, which leads to nothing in the image" in finding.message
    assert "never to the host" in finding.fix


def test_links_that_go_round_in_a_circle_are_named() -> None:
    finding = only(stored(Symlink(path="/app", target="b"), Symlink(path="/b", target="/app")))
    assert "/app is a symbolic link to b" in finding.message


def test_a_link_to_a_file_of_the_image_is_followed() -> None:
    links = (Symlink(path="/app", target="/usr/bin/hello"), Symlink(path="/usr", target="opt"))
    assert stored(file("/opt/bin/hello"), *links) == ()


def test_a_path_that_leads_through_a_file_names_it() -> None:
    finding = only(stored(file("/app"), entrypoint=("/app/bin/start",)))
    assert "/app is a file, not a directory" in finding.message


def test_a_directory_is_no_command() -> None:
    finding = only(stored(directory("/app")))
    assert (finding.rule, finding.severity) == ("command-is-directory", "error")


# The health check.


@pytest.mark.parametrize(
    "test", [("CMD-SHELL", "curl -f http://localhost"), ("CMD", "curl", "-f"), ("CMD", "/gone")]
)
def test_a_health_check_that_the_image_cannot_run_is_warned_of(test: tuple[str, ...]) -> None:
    finding = only(stored(file(), healthcheck=test))
    assert (finding.rule, finding.severity) == ("healthcheck-unusable", "warning")


@pytest.mark.parametrize("test", [("CMD", "/app", "health"), ("NONE",), ("CMD-SHELL",), ()])
def test_a_health_check_by_the_program_itself_is_fine(test: tuple[str, ...]) -> None:
    assert stored(file(), healthcheck=test) == ()


def test_a_health_check_in_shell_form_is_fine_where_the_shell_is_in_the_image() -> None:
    assert stored(file(), file("/bin/sh"), healthcheck=("CMD-SHELL", "true")) == ()


def test_the_health_check_of_an_image_in_dockers_format_is_read() -> None:
    config = {"config": {"Entrypoint": ["/app"], "Healthcheck": {"Test": ["CMD-SHELL", "true"]}}}
    image = StoredImage(image_id="", config=json.dumps(config), layers=(), files=())
    assert image.runtime_config().healthcheck == ("CMD-SHELL", "true")


# Platforms and programs.


def read_back(path: str, source: str) -> Program:
    return Program(path=path, facts=msgspec.structs.replace(read_program(source), path=path))


def test_an_image_that_claims_another_platform_than_its_program_is_refused(bench: Bench) -> None:
    program = read_back("/app", bench.put())
    finding = only(stored(file(), programs=(program,), platform="linux/arm64/v8"))
    assert (finding.rule, finding.severity) == ("platform-mismatch", "error")
    assert "linux/arm64/v8" in finding.message
    assert "linux/amd64" in finding.message
    assert rules(stored(file(), programs=(program,), platform="windows/amd64")) == ["platform-mismatch"]


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("x86_64", "linux/amd64/v2"),
        ("i386", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("arm", "linux/arm64/v8"),
        ("arm", "linux/arm/v7"),
    ],
)
def test_platforms_that_run_the_program_are_fine(bench: Bench, machine: str, platform: str) -> None:
    program = read_back("/app", bench.put("app", tinyelf.elf(machine=machine)))
    assert stored(file(), programs=(program,), platform=platform) == ()


def test_an_image_for_no_platform_is_refused_if_nothing_else_explains_it() -> None:
    finding = only(stored(file(), platform=None))
    assert (finding.rule, finding.severity) == ("no-platform", "error")
    assert rules(stored(platform=None)) == ["command-missing"]


def test_every_program_is_judged_under_the_path_that_the_user_typed(bench: Bench) -> None:
    dynamic = Copy(source=bench.put("second", tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"])))
    finding = bench.finding(bench.program(), dynamic)
    assert (finding.rule, finding.subject) == ("needs-loader", dynamic.source)


def test_programs_of_two_architectures_are_refused(bench: Bench) -> None:
    foreign = Copy(source=bench.put("second", tinyelf.elf(machine="aarch64")))
    assert bench.finding(bench.program(), foreign).rule == "mixed-architectures"


def test_a_script_whose_interpreter_is_a_directory_is_refused(bench: Bench) -> None:
    script = Copy(source=bench.put("start", b"#!/bin/sh\n"))
    findings = bench.judge(script, bench.program(), directories=(NewDirectory(path="/bin/sh"),))
    assert rules(findings) == ["script-interpreter-missing"]


def test_the_library_path_of_the_image_counts(bench: Bench) -> None:
    program = Copy(source=bench.put("app", tinyelf.elf(interpreter=GLIBC, needed=["libapp.so"])))
    copies = (
        Copy(source=bench.put("ld.so", tinyelf.elf()), destination=GLIBC, mode=0o755),
        Copy(
            source=bench.put("libapp.so", tinyelf.elf(type=tinyelf.DYN, dynamic=True)),
            destination="/opt/libapp.so",
        ),
    )
    assert rules(bench.judge(program, copies=copies)) == ["needs-libraries"]
    env = (("LD_LIBRARY_PATH", "/opt"),)
    assert rules(bench.judge(program, copies=copies, env=env)) == []


# All rules together.


def test_errors_come_first_and_nothing_is_said_twice() -> None:
    findings = stored(
        file(mode=0o4644), user="app", ports=("80/tcp",), working_dir="/srv", volumes=("/data", "/data")
    )
    assert [finding.severity for finding in findings] == ["error"] * 2 + ["warning"] * 2 + ["info"] * 2
    assert len(set(findings)) == len(findings)


def test_names_that_a_terminal_would_obey_stay_harmless() -> None:
    entries = (file("/\x1b[2J\udcff/app"), Symlink(path="/\n", target="\x07"))
    for word in ("/\x1b[2J", "app", "/\n", "\x1b", "/\x1b[2J\udcff/ap", "x" * 5000):
        only(stored(*entries, entrypoint=(word, "\x1b[31m")))


def test_ten_thousand_files_are_judged_in_no_time() -> None:
    entries = [file(f"/data/{number // 100}/file-{number}.txt", 0o755) for number in range(10_000)]
    start = time.monotonic()
    finding = only(stored(*entries, entrypoint=("/data/filed-5000.text",)))
    assert finding.rule == "command-missing"
    assert time.monotonic() - start < 3
