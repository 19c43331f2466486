"""What a program wants by the libraries that it loads, and by the programs that it names: with who asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import symbolic
import tinyelf
from planning import put

from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.image.plan.homes import displaced
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Essential, Spec
from rootless_scratch.image.syntax import parse_program
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.image.others import judge_displaced
from rootless_scratch.rules.program.symptoms import judge_ending
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

LOADER = "/lib64/ld-linux-x86-64.so.2"
TRUST = "gnutls_certificate_set_x509_system_trust"


class System:
    """A sysroot with a loader and a C library; programs of it are judged as they would be built from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put(LOADER, tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2"))
        self.library("libc.so.6")

    def put(self, path: str, content: bytes) -> str:
        file = put(self.path, path.lstrip("/"), content)
        os.chmod(file, 0o755)  # noqa: S103 - a program
        return file

    def library(self, name: str, *imports: str, needed: tuple[str, ...] = ()) -> None:
        content = tinyelf.elf(type=tinyelf.DYN, soname=name, dynamic=True, imports=imports, needed=needed)
        self.put(f"/usr/lib/{name}", content)

    def program(self, path: str, *imports: str, needed: tuple[str, ...] = (), texts: str = "") -> str:
        code = b"\xf4\0" + "".join(f"{text}\0" for text in texts.split("|")).encode()
        every = [*needed, "libc.so.6"]
        return self.put(path, tinyelf.elf(interpreter=LOADER, needed=every, imports=imports, code=code))

    def spec(self, *programs: str, **more: Any) -> Spec:  # noqa: ANN401 - passed on
        words = tuple(parse_program(word) for word in programs)
        return Spec(programs=words, bundle_libraries=True, sysroot=str(self.path), **more)

    def judged(self, *programs: str, **more: Any) -> dict[str, Finding]:  # noqa: ANN401 - passed on
        findings = judge_plan(plan(self.spec(*programs, **more), environ={}))
        assert [finding for finding in findings if finding.severity == "error"] == []
        return {finding.rule: finding for finding in findings}


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "system")


def test_a_library_of_a_library_that_makes_tls_connections_is_named(system: System) -> None:
    system.library("libnet.so.1", TRUST)
    system.library("libmedia.so.1", needed=("libnet.so.1",))
    program = system.program("/usr/bin/player", needed=("libmedia.so.1",))
    finding = system.judged(program)["needs-ca-certificates"]
    assert f"makes TLS connections (libnet.so.1 calls {TRUST})" in finding.message


def test_auto_takes_what_a_library_asks_for(system: System) -> None:
    system.library("libaria2.so.0", TRUST)
    program = system.program("/usr/bin/aria2c", needed=("libaria2.so.0",))
    made, findings = plan_and_judge(system.spec(program, essentials=(Essential(name="auto"),)))
    assert made.added == ("ca-certificates",)
    assert findings == ()


def test_what_any_library_may_do_is_no_finding_about_every_program(system: System) -> None:
    system.library("libglib-2.0.so.0", "getpwuid", "mkostemp", "getaddrinfo", "system")
    program = system.program("/usr/bin/viewer", needed=("libglib-2.0.so.0",))
    assert system.judged(program) == {}


@pytest.mark.parametrize(
    ("program", "library", "thin"),
    [
        ("ruby3.1", "libruby-3.1.so.3.1", True),
        ("svn", "libsvn_subr-1.so.1", True),
        ("svnadmin", "libsvn_subr-1.so.1", False),
        ("llvm-ar", "libLLVM-14.so.1", False),
    ],
)
def test_a_thin_program_is_its_library(system: System, program: str, library: str, *, thin: bool) -> None:
    system.library(library, "getpwnam", "getpwuid")
    found = system.judged(system.program(f"/usr/bin/{program}", needed=(library,)))
    assert ("needs-accounts" in found) == thin
    if thin:
        assert f"({library} calls getpwnam and getpwuid)" in found["needs-accounts"].message


def test_zones_are_wanted_where_the_texts_name_their_directory_and_icu_does_not_have_them(system: System) -> None:
    system.library("libicuuc.so.72")
    php = system.program("/usr/bin/php", texts="/usr/share/zoneinfo")
    assert (
        "looks up time zones (/usr/share/zoneinfo in its texts)" in system.judged(php)["needs-time-zones"].message
    )
    node = system.program("/usr/bin/node", texts="/usr/share/zoneinfo", needed=("libicuuc.so.72",))
    assert "needs-time-zones" not in system.judged(node)


def test_the_zones_of_chrono_are_said_as_they_are_written(system: System) -> None:
    program = system.program("/usr/bin/clock", "_ZNSt6chrono8get_tzdbEv")
    assert "std::chrono::get_tzdb" in system.judged(program)["needs-time-zones"].message
    symbol = "_ZNSt6chrono11locate_zoneESt17basic_string_viewIcSt11char_traitsIcEE"
    program = system.program("/usr/bin/calendar", symbol)
    assert "std::chrono::locate_zone" in system.judged(program)["needs-time-zones"].message


def test_a_program_that_insists_on_utf_8_is_told_of_the_locale(system: System) -> None:
    texts = "need UTF-8 locale (LC_CTYPE) but have %s"
    program = system.program("/usr/bin/tmux", "setlocale", texts=texts)
    finding = system.judged(program)["needs-locale"]
    assert "insists on a UTF-8 locale" in finding.message
    assert "`--with locale`" in finding.fix
    assert "needs-locale" not in system.judged(system.program("/usr/bin/cat", "setlocale"))


def test_programs_that_are_named_by_their_paths_are_wanted(system: System) -> None:
    system.program("/usr/bin/ssh")
    scp = system.program("/usr/bin/scp", "execvp", texts="/usr/bin/ssh|/usr/bin/gone|/bin/sh|/usr/bin")
    found = system.judged(scp)
    assert "can start /usr/bin/ssh, which the image does not have" in found["needs-other-programs"].message
    assert "(/bin/sh in its texts)" in found["needs-shell"].message
    assert "needs-other-programs" not in system.judged(scp, f"{system.path}/usr/bin/ssh:/usr/bin/ssh")


def test_a_mere_call_of_exec_is_no_finding(system: System) -> None:
    system.program("/usr/bin/sort")
    assert system.judged(system.program("/usr/bin/timeout", "execvp", texts="sort|/etc/hosts|/usr/bin")) == {}
    assert system.judged(system.program("/usr/bin/view", texts="/usr/bin/sort")) == {}


@pytest.mark.parametrize(
    ("program", "helper", "texts"),
    [
        ("/usr/bin/gcc", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "/usr/lib/gcc/|cc1"),
        ("/usr/bin/git", "/usr/lib/git-core/git-remote-https", "/usr/lib/git-core|git-remote-https"),
        ("/usr/bin/gpg", "/usr/bin/gpg-agent", "/agent/gpg-agent"),
    ],
)
def test_helpers_are_known_by_name_where_they_lie_in_a_place_of_their_own(
    system: System, program: str, helper: str, texts: str
) -> None:
    system.program(helper)
    path = system.program(program, "execv", texts=texts)
    assert f"can start {helper}, which" in system.judged(path)["needs-other-programs"].message


def test_one_package_that_has_all_helpers_is_named(system: System) -> None:
    helpers = [
        f"/usr/lib/git-core/git-{name}" for name in ("remote-https", "upload-pack", "fetch-pack", "index-pack")
    ]
    for helper in helpers:
        system.program(helper)
    put(system.path, "var/lib/dpkg/info/git.list", "".join(f"{helper}\n" for helper in helpers).encode())
    texts = "|".join(["/usr/lib/git-core", *(os.path.basename(helper) for helper in helpers)])
    finding = system.judged(system.program("/usr/bin/git", "execv", texts=texts))["needs-other-programs"]
    assert "and 1 more" in finding.message
    assert "`--bundle-package git`" in finding.fix
    whole = system.judged(f"{system.path}/usr/bin/git", bundle_packages=("git",))
    assert "needs-other-programs" not in whole


def test_bundled_libraries_and_loaders_are_no_other_programs(system: System) -> None:
    go = symbolic.go_program("os/exec.(*Cmd).Start")
    app = system.put("/usr/bin/app", go)
    library = Copy(source=f"{system.path}/usr/lib/libc.so.6", destination="/usr/lib/libc.so.6")
    assert "needs-other-programs" in system.judged(app, copies=(library,))
    tool = Copy(source=app, destination="/usr/bin/tool")
    assert "needs-other-programs" not in system.judged(app, copies=(library, tool))


def test_a_program_that_looks_for_itself_and_lies_elsewhere_is_told_where_it_was() -> None:
    """The system is this host: only what root owns is a program of the system."""
    made = plan(Spec(programs=(Copy(source="/usr/bin/cat"),)), environ={})
    facts = read_program(os.path.realpath("/usr/bin/cat"))
    assert facts.elf is not None
    elf = msgspec.structs.replace(facts.elf, mentions=("its own file",))
    told = msgspec.structs.replace(facts, elf=elf)
    assert list(displaced({"/cat": told}, HostRoot())) == [("/cat", facts.path)]
    (finding,) = judge_displaced(msgspec.structs.replace(made, displaced=(("/cat", facts.path),)))
    assert (finding.rule, finding.severity) == ("placed-elsewhere", "info")
    assert facts.path in finding.message
    assert list(displaced({facts.path: told}, HostRoot())) == []
    assert list(displaced({"/cat": facts}, HostRoot())) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("need UTF-8 locale (LC_CTYPE) but have ANSI_X3.4-1968", "needs-locale"),
        ("mosh-server needs a UTF-8 native locale to run.", "needs-locale"),
        ("git: 'remote-https' is not a git command. See 'git --help'.", "needs-data"),
        ("gcc: fatal error: cannot execute 'cc1': execvp: No such file or directory", "needs-other-programs"),
        ('program "postgres" is needed by initdb but was not found', "needs-runtime"),
        ("gpg: error running '/usr/bin/gpg-agent': probably not installed", "needs-other-programs"),
        ("The certificate is NOT trusted. The certificate issuer is unknown.", "needs-ca-certificates"),
        (
            "svn: E230001: Server SSL certificate verification: issuer is not trusted",
            "needs-ca-certificates",
        ),
    ],
)
def test_last_words_that_tell_of_it_are_understood(line: str, rule: str) -> None:
    finding = judge_ending(1, line.encode())
    assert finding is not None
    assert finding.rule == rule
