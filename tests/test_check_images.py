"""The rules on whole images: what a runtime would make of the config, the files and the user together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import tinyelf

from rootless_scratch.elf.program import FileIdentity, read_program
from rootless_scratch.image.config import RuntimeConfig
from rootless_scratch.image.plan import Program, plan
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink, make_rootfs
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.rules.images import judge_image, judge_plan
from rootless_scratch.rules.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

NOBODY_KNOWS = FileIdentity(device=0, inode=0, size=1, mtime_ns=0, ctime_ns=0)
GLIBC = "/lib64/ld-linux-x86-64.so.2"


class Bench:
    """A directory of program files, and judgements on the images that are planned from them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str = "helloworld", content: bytes | None = None) -> str:
        file = self.path / name
        file.write_bytes(tinyelf.hello() if content is None else content)
        return str(file)

    def program(self, name: str = "helloworld", destination: str | None = None, **more: Any) -> Copy:  # noqa: ANN401
        return Copy(source=self.put(name), destination=destination, **more)

    def judge(self, *programs: Copy, **settings: Any) -> tuple[Finding, ...]:  # noqa: ANN401 - a Spec's
        return judge_plan(plan(Spec(programs=programs, **settings), environ={}))

    def finding(self, *programs: Copy, **settings: Any) -> Finding:  # noqa: ANN401 - a Spec's
        return only(self.judge(*programs, **settings))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    assert finding.message.isprintable()
    assert finding.fix.isprintable()
    assert finding.message.endswith(".")
    assert finding.fix.endswith(".")
    return finding


def file(path: str = "/app", mode: int = 0o755, owner: tuple[int, int] = (0, 0), **more: Any) -> File:  # noqa: ANN401
    uid, gid = owner
    return File(path=path, mode=mode, uid=uid, gid=gid, source=path, identity=NOBODY_KNOWS, **more)


def directory(path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> Directory:
    return Directory(path=path, mode=mode, uid=owner[0], gid=owner[1])


def stored(
    *entries: Entry,
    platform: str | None = "linux/amd64",
    programs: tuple[Program, ...] = (),
    **config: object,
) -> tuple[Finding, ...]:
    """Judge an image as it is read back: by default `/app` is started by the usual user."""
    usual = RuntimeConfig(
        user="65532:65532",
        env=(),
        entrypoint=("/app",),
        cmd=None,
        working_dir="",
        labels=(),
        ports=(),
        volumes=(),
        stop_signal=None,
    )
    return judge_image(
        rootfs=make_rootfs(entries),
        config=msgspec.structs.replace(usual, **config),
        programs=programs,
        platform=platform,
    )


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


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
    assert finding.message == "The image is to start /helo, which is not in it."
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


# Who may execute what.


def test_a_program_that_lost_its_execute_bits_is_refused() -> None:
    finding = only(stored(file(mode=0o644)))
    assert (finding.rule, finding.severity) == ("not-executable", "error")
    assert finding.message == (
        "/app has the mode 0644 and the owner 0:0, and the user 65532:65532 may not execute it."
    )
    assert "mode=0755" in finding.fix


@pytest.mark.parametrize(
    ("user", "mode", "owner"),
    [
        ("65532:65532", 0o001, (0, 0)),
        ("65532:65532", 0o100, (65532, 0)),
        ("65532:65532", 0o010, (0, 65532)),
        ("1000", 0o750, (0, 0)),  # without a group it is 0
        ("", 0o700, (0, 0)),
        ("0:0", 0o711, (7, 7)),
        ("root:root", 0o755, (0, 0)),
    ],
)
def test_the_bits_that_count_for_the_user_are_enough(user: str, mode: int, owner: tuple[int, int]) -> None:
    accounts = (file("/etc/passwd", 0o644), file("/etc/group", 0o644)) if "root" in user else ()
    assert stored(file(mode=mode, owner=owner), *accounts, user=user) == ()


@pytest.mark.parametrize(
    ("user", "mode", "owner"),
    [
        ("65532:65532", 0o700, (0, 0)),
        ("65532:65532", 0o750, (0, 0)),
        ("1000:1000", 0o750, (0, 0)),
        ("65532:65532", 0o677, (65532, 0)),  # the owner's bits count for the owner, though others may
        ("65532:65532", 0o705, (0, 65532)),
        ("0", 0o644, (0, 0)),
    ],
)
def test_bits_that_count_for_others_do_not_help(user: str, mode: int, owner: tuple[int, int]) -> None:
    finding = only(stored(file(mode=mode, owner=owner), user=user))
    assert (finding.rule, finding.severity) == ("not-executable", "error")


def test_root_without_capabilities_is_not_above_the_bits(bench: Bench) -> None:
    finding = only(stored(file(mode=0o700, owner=(7, 7)), user="0"))
    assert (finding.rule, finding.severity) == ("not-executable", "warning")
    assert "CAP_DAC_OVERRIDE" in finding.message
    assert verdict([finding]) == "unknown"
    closed = stored(directory("/opt", 0o700, (7, 7)), file("/opt/app"), entrypoint=("/opt/app",), user="0:0")
    assert only(closed).subject == "/opt"
    assert bench.judge(bench.program(), user="0") == ()


def test_a_directory_that_the_user_may_not_pass_is_named() -> None:
    entries = (directory("/opt", 0o700), file("/opt/app"), Symlink(path="/app", target="/opt/app"))
    finding = only(stored(*entries))
    assert (finding.rule, finding.severity, finding.subject) == ("not-executable", "error", "/opt")
    assert "pass through it" in finding.message
    assert stored(*entries, user="0") == ()


def test_a_named_user_is_given_the_benefit_of_the_doubt() -> None:
    accounts = file("/etc/passwd", 0o644)
    finding = only(stored(file(mode=0o700, owner=(1000, 1000)), accounts, user="app"))
    assert (finding.rule, finding.severity) == ("not-executable", "warning")
    assert "/etc/passwd" in finding.message
    assert only(stored(file(mode=0o644), accounts, user="app")).severity == "error"
    assert stored(file(), accounts, user="app") == ()


def test_the_group_of_a_user_in_passwd_may_open_the_program() -> None:
    accounts = file("/etc/passwd", 0o644)
    assert only(stored(file(mode=0o750, owner=(0, 1000)), accounts, user="1000")).severity == "warning"
    assert stored(file(mode=0o755, owner=(0, 1000)), accounts, user="1000") == ()


def test_the_interpreter_of_a_script_must_be_executable_too(bench: Bench) -> None:
    script = Copy(source=bench.put("start", b"#!/bin/sh\necho hi\n"))
    shell = Copy(source=bench.put("busybox"), destination="/bin/sh", mode=0o644)
    finding = bench.finding(script, copies=(shell,))
    assert (finding.rule, finding.subject) == ("not-executable", "/bin/sh")
    assert bench.judge(script, copies=(msgspec.structs.replace(shell, mode=0o755),)) == ()


def test_the_loader_of_a_program_must_be_executable_too(bench: Bench) -> None:
    program = Copy(source=bench.put("app", tinyelf.elf(interpreter=GLIBC)))
    loader = Copy(source=bench.put("ld.so", tinyelf.elf()), destination=GLIBC, mode=0o644)
    findings = bench.judge(program, copies=(loader,))
    assert rules(findings) == ["not-executable"]
    assert findings[0].subject == GLIBC
    usual = bench.judge(program, copies=(msgspec.structs.replace(loader, mode=0o755),))
    assert rules(usual) == []


def test_effective_file_capabilities_of_the_started_program_are_warned_of(bench: Bench) -> None:
    finding = bench.finding(bench.program(capabilities="cap_net_bind_service+ep"))
    assert (finding.rule, finding.severity) == ("file-capabilities", "warning")
    assert verdict([finding]) == "unknown"
    assert bench.judge(bench.program(capabilities="cap_net_bind_service+p")) == ()
    helper = Copy(source=bench.put("ping"), destination="/ping", capabilities="cap_net_raw+ep")
    assert bench.judge(bench.program(), copies=(helper,)) == ()


def test_setuid_bits_are_said_to_have_no_effect(bench: Bench) -> None:
    finding = bench.finding(bench.program(mode=0o4755), bench.program("other", mode=0o2755))
    assert (finding.rule, finding.severity) == ("setuid", "warning")
    assert "/helloworld (and 1 more)" in finding.message
    shared = NewDirectory(path="/shared", mode=0o2775)
    assert bench.judge(bench.program(mode=0o755), directories=(shared,)) == ()


# The user.


@pytest.mark.parametrize("user", ["app", "root", "app:1000"])
def test_a_named_user_needs_a_passwd_file(user: str) -> None:
    finding = only(stored(file(), user=user))
    assert (finding.rule, finding.severity) == ("user-unknown", "error")
    assert "--user 65532:65532" in finding.fix
    assert stored(file(), file("/etc/passwd", 0o644), user=user) == ()


def test_a_named_group_needs_a_group_file() -> None:
    finding = only(stored(file(), user="1000:staff"))
    assert (finding.rule, finding.severity) == ("group-unknown", "error")
    assert stored(file(), file("/etc/group", 0o644), user="1000:staff") == ()
    assert rules(stored(file(), user="app:staff")) == ["user-unknown", "group-unknown"]


@pytest.mark.parametrize("user", ["", "0", "0:0", "1000", "65532:65532", "65535:65535"])
def test_numeric_users_need_no_file(user: str) -> None:
    assert stored(file(), user=user) == ()


def test_a_user_beyond_the_usual_range_is_warned_of() -> None:
    finding = only(stored(file(), user="1000710000:70000"))
    assert (finding.rule, finding.severity) == ("id-too-high", "warning")
    assert "1000710000 and 70000" in finding.message
    assert verdict([finding]) == "unknown"


def test_an_owner_beyond_the_usual_range_is_warned_of() -> None:
    finding = only(stored(file(owner=(100000, 0)), directory("/data", owner=(0, 100000))))
    assert (finding.rule, finding.subject) == ("id-too-high", "/app")
    assert "(and 1 more)" in finding.message


def test_a_port_below_1024_is_warned_of_for_all_but_root(bench: Bench) -> None:
    finding = bench.finding(bench.program(), ports=("443", "80", "53/udp", "8080"))
    assert (finding.rule, finding.severity) == ("privileged-port", "warning")
    assert "ports 53, 80 and 443" in finding.message
    assert "`-p 80:8080`" in bench.finding(bench.program(), ports=("80",)).fix
    assert "`-p 53:8053/udp`" in bench.finding(bench.program(), ports=("53/udp",)).fix
    assert bench.judge(bench.program(), ports=("80",), user="0") == ()
    assert bench.judge(bench.program(), ports=("1024", "8080/udp")) == ()


# Directories.


def test_a_volume_over_the_root_is_refused(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/",))
    assert (finding.rule, finding.severity) == ("volume-unusable", "error")


def test_a_missing_working_directory_is_only_mentioned_because_podman_makes_it(bench: Bench) -> None:
    finding = bench.finding(bench.program(), workdir="/srv")
    assert (finding.rule, finding.severity) == ("working-directory-missing", "info")
    assert finding.fix == "Add it by `--mkdir /srv`."
    assert bench.judge(bench.program(), workdir="/srv", directories=(NewDirectory(path="/srv"),)) == ()


@pytest.mark.parametrize("path", ["/app", "/app/data", "/gone", "/gone/data", "srv"])
def test_a_working_directory_that_cannot_be_made_is_refused(path: str) -> None:
    finding = only(stored(file(), Symlink(path="/gone", target="/nowhere"), working_dir=path))
    assert (finding.rule, finding.severity) == ("working-directory-unusable", "error")


def test_a_working_directory_behind_a_link_is_one() -> None:
    assert stored(file(), directory("/srv"), Symlink(path="/w", target="srv"), working_dir="/w") == ()


def test_a_missing_volume_is_only_mentioned_because_podman_makes_it(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/data",))
    assert (finding.rule, finding.severity) == ("volume-missing", "info")
    assert finding.fix == "Add it by `--mkdir /data:uid=65532,gid=65532`."


def test_a_volume_that_belongs_to_root_is_warned_of(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/data",), directories=(NewDirectory(path="/data"),))
    assert (finding.rule, finding.severity) == ("volume-not-writable", "warning")
    for own in (NewDirectory(path="/data", uid=65532), NewDirectory(path="/data", mode=0o1777)):
        assert bench.judge(bench.program(), volumes=("/data",), directories=(own,)) == ()
    by_root = bench.judge(bench.program(), volumes=("/data",), directories=(NewDirectory(path="/data"),), user="0")
    assert by_root == ()


def test_a_volume_over_a_file_is_refused() -> None:
    finding = only(stored(file(), file("/data", 0o644), volumes=("/data",)))
    assert (finding.rule, finding.severity) == ("volume-unusable", "error")


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
        Copy(source=bench.put("libapp.so", tinyelf.elf(type=tinyelf.DYN)), destination="/opt/libapp.so"),
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
