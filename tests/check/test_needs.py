"""What a program will miss once it runs: said with its evidence, and no more once the image has it."""

from __future__ import annotations

import random
import subprocess
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import symbolic
import tinyelf

from rootless_scratch.elf.program import read_program
from rootless_scratch.errors import ElfError
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, NewDirectory, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.findings import Finding

DIAL = "net/http.(*Transport).dialConn"
MUSL = "/lib/ld-musl-x86_64.so.1"


def judged(
    place: Path,
    program: bytes,
    *files: str,
    env: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - a Spec's
) -> dict[str, Finding]:
    """Findings by rule, those of the loader left out, for a program in an image that also has `files`."""
    app = place / "app"
    app.write_bytes(program)
    empty = place / "empty"
    empty.write_bytes(b"x")
    spec = Spec(
        programs=(Copy(source=str(app)),),
        copies=tuple(Copy(source=str(empty), destination=path) for path in files),
        env=tuple((env or {}).items()),
        **more,
    )
    findings = judge_plan(plan(spec, environ={}))
    return {finding.rule: finding for finding in findings if finding.rule != "needs-loader"}


CASES = [
    ("needs-ca-certificates", symbolic.go_program(DIAL), DIAL, "/etc/ssl/certs/ca-certificates.crt"),
    ("needs-ca-certificates", symbolic.importing("curl_easy_perform"), "curl_easy_perform", "/etc/ssl/cert.pem"),
    ("needs-time-zones", symbolic.go_program("time.LoadLocation"), "LoadLocation", "/usr/share/zoneinfo/UTC"),
    ("needs-tmp", symbolic.linked("mkstemp"), "mkstemp", "/tmp/file"),
    ("needs-tmp", symbolic.go_program("os.MkdirTemp"), "os.MkdirTemp", "/tmp/file"),
    ("needs-accounts", symbolic.go_program("os/user.Current"), "os/user.Current", "/etc/passwd"),
    ("needs-accounts", symbolic.importing("getpwuid_r"), "getpwuid_r", "/etc/passwd"),
    ("needs-nsswitch", symbolic.importing("getaddrinfo"), "getaddrinfo", "/etc/nsswitch.conf"),
    ("needs-services", symbolic.linked("getservbyname"), "getservbyname", "/etc/services"),
    ("needs-terminfo", symbolic.importing("setupterm"), "setupterm", "/lib/terminfo/x/xterm"),
    ("needs-mime-types", symbolic.go_program("mime.TypeByExtension"), "TypeByExtension", "/etc/mime.types"),
    ("needs-shell", symbolic.linked("system"), "system", "/bin/sh"),
    ("needs-shell", symbolic.importing("popen"), "popen", "/bin/sh"),
]


@pytest.mark.parametrize(("rule", "program", "evidence", "file"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_a_program_is_warned_of_by_what_it_calls_until_the_image_has_it(
    tmp_path: Path, rule: str, program: bytes, evidence: str, file: str
) -> None:
    found = judged(tmp_path, program)
    assert list(found) == [rule]
    assert found[rule].severity == "warning"
    assert found[rule].subject == str(tmp_path / "app")
    assert evidence in found[rule].message
    for sentence in (found[rule].message, found[rule].fix):
        assert sentence.isprintable()
        assert sentence.endswith(".")
    assert judged(tmp_path, program, file) == {}


def test_a_warning_is_no_reason_to_doubt_the_start(tmp_path: Path) -> None:
    assert verdict(tuple(judged(tmp_path, symbolic.go_program(DIAL)).values())) == "starts"


def test_what_only_looks_like_a_need_is_not_spoken_of(tmp_path: Path) -> None:
    noise = b"/tmp\0/etc/ssl/certs/ca-certificates.crt\0/usr/share/zoneinfo\0os/exec\0mkstemp\0getaddrinfo\0"
    assert judged(tmp_path, tinyelf.elf(code=b"\xf4" + noise)) == {}
    assert judged(tmp_path, symbolic.linked("setlocale", "_nl_load_locale", "localtime_r", "my_mkstemps2")) == {}
    assert (
        judged(tmp_path, symbolic.go_program("net.(*ListenConfig).Listen", "time.Now", "crypto/tls.Server")) == {}
    )


def test_a_name_that_is_the_end_of_another_counts_only_where_a_symbol_has_it(tmp_path: Path) -> None:
    assert judged(tmp_path, symbolic.linked("my_system")) == {}


def test_functions_of_its_own_are_no_imports_of_a_dynamic_program(tmp_path: Path) -> None:
    program = tinyelf.elf(interpreter=MUSL, needed=["libc.so"])
    assert judged(tmp_path, symbolic.with_symbols(program, "system")) == {}


def test_in_a_static_program_the_reentrant_forms_tell_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, symbolic.linked("getpwnam_r")) == {}


@pytest.mark.parametrize("magic", [0xFFFFFFF1, 0xFFFFFFF0, 0xFFFFFFFA])
def test_the_functions_of_every_go_since_1_16_are_read(tmp_path: Path, magic: int) -> None:
    assert list(judged(tmp_path, symbolic.go_program("os.CreateTemp", magic=magic))) == ["needs-tmp"]


def test_go_that_carries_its_zones_needs_none(tmp_path: Path) -> None:
    assert judged(tmp_path, symbolic.go_program("time.LoadLocation", "time/tzdata.loadFromEmbeddedTZData")) == {}


def test_a_time_zone_of_the_image_is_a_need_and_utc_is_none(tmp_path: Path) -> None:
    (finding,) = judged(tmp_path, tinyelf.hello(), env={"TZ": "Europe/Berlin"}).values()
    assert finding.rule == "needs-time-zones"
    assert "TZ=Europe/Berlin" in finding.message
    for zone in ("UTC", "CET-1CEST,M3.5.0,M10.5.0/3", ""):
        assert judged(tmp_path, tinyelf.hello(), env={"TZ": zone}) == {}


def test_certificates_elsewhere_count_if_the_variable_leads_to_them(tmp_path: Path) -> None:
    program = symbolic.go_program(DIAL)
    env = {"SSL_CERT_FILE": "/opt/ca.pem"}
    assert list(judged(tmp_path, program, env=env)) == ["needs-ca-certificates"]
    assert judged(tmp_path, program, "/opt/ca.pem", env=env) == {}


def test_temporary_files_elsewhere_need_that_directory(tmp_path: Path) -> None:
    program, env = symbolic.linked("mkdtemp"), {"TMPDIR": "/var/tmp"}
    assert "--mkdir /var/tmp:mode=1777" in judged(tmp_path, program, env=env)["needs-tmp"].fix
    assert judged(tmp_path, program, env=env, directories=(NewDirectory(path="/var/tmp"),)) == {}


def test_a_home_must_be_there_and_belong_to_the_user(tmp_path: Path) -> None:
    program, env = symbolic.go_program("os.UserCacheDir"), {"HOME": "/data"}
    assert "--with nonroot" in judged(tmp_path, program)["needs-home"].fix
    assert judged(tmp_path, program, "/etc/passwd") == {}
    assert "--mkdir /data:uid=65532,gid=65532" in judged(tmp_path, program, env=env)["needs-home"].fix
    own = NewDirectory(path="/data", uid=65532, gid=65532)
    assert judged(tmp_path, program, env=env, directories=(own,)) == {}
    assert list(judged(tmp_path, program, env=env, directories=(NewDirectory(path="/data"),))) == ["needs-home"]
    assert judged(tmp_path, program, user="0") == {}


def test_a_locale_of_the_image_is_a_need_of_glibc_alone(tmp_path: Path) -> None:
    env = {"LANG": "C.UTF-8"}
    glibc = symbolic.linked("setlocale", "_nl_load_locale")
    assert "--with locale" in judged(tmp_path, glibc, env=env)["needs-locale"].fix
    assert judged(tmp_path, glibc, "/usr/lib/locale/C.utf8/LC_CTYPE", env=env) == {}
    assert judged(tmp_path, glibc, env={"LANG": "C"}) == {}
    assert "--with locales" in judged(tmp_path, glibc, env={"LANG": "de_DE.UTF-8"})["needs-locale"].fix
    assert judged(tmp_path, symbolic.linked("setlocale"), env=env) == {}
    assert judged(tmp_path, symbolic.importing("setlocale", interpreter=MUSL), env=env) == {}


def test_musl_has_no_name_service_switch(tmp_path: Path) -> None:
    assert judged(tmp_path, symbolic.importing("getaddrinfo", interpreter=MUSL)) == {}
    assert judged(tmp_path, symbolic.linked("getaddrinfo")) == {}


def test_a_static_name_service_of_glibc_stays_worth_a_word(tmp_path: Path) -> None:
    program = symbolic.linked("getaddrinfo", "__nss_lookup")
    assert list(judged(tmp_path, program)) == ["needs-nsswitch", "static-name-service"]
    assert list(judged(tmp_path, program, "/etc/nsswitch.conf")) == ["static-name-service"]


def test_go_that_starts_programs_wants_one_to_be_there(tmp_path: Path) -> None:
    program = symbolic.go_program("os/exec.(*Cmd).Start")
    assert list(judged(tmp_path, program)) == ["needs-other-programs"]
    git = tmp_path / "git"
    git.write_bytes(tinyelf.hello())
    app = tmp_path / "app"
    spec = Spec(programs=(Copy(source=str(app)), Copy(source=str(git))))
    assert judge_plan(plan(spec, environ={})) == ()


def test_a_crate_of_rust_is_known_by_its_source_files(tmp_path: Path) -> None:
    path = b"/root/.cargo/registry/src/index.crates.io-6f17d22bba15001f/"
    comment = tinyelf.comment("rustc version 1.75.0")

    def rust(*crates: bytes) -> bytes:
        sources = b"".join(path + crate + b"/src/lib.rs" for crate in crates)
        return tinyelf.elf(code=b"\xf4" + sources, tail=comment)

    assert list(judged(tmp_path, rust(b"rustls-native-certs-0.7.0"))) == ["needs-ca-certificates"]
    assert judged(tmp_path, rust(b"rustls-native-certs-0.7.0", b"webpki-roots-0.26.1")) == {}
    assert list(judged(tmp_path, rust(b"tempfile-3.10.1"))) == ["needs-tmp"]
    assert judged(tmp_path, rust(b"serde-1.0.1")) == {}


@pytest.mark.parametrize("cut", range(0, 700, 23))
def test_tables_that_are_cut_off_say_less_and_break_nothing(tmp_path: Path, cut: int) -> None:
    whole = symbolic.linked("mkstemp", "system")
    file = tmp_path / "app"
    garbled = bytearray(whole)
    garbled[0x28:0x30] = (2**63 + cut).to_bytes(8, "little")
    for content in (whole[: max(len(whole) - cut, 200)], bytes(garbled)):
        file.write_bytes(content)
        facts = read_program(str(file))
        assert facts.elf is not None
        assert set(facts.elf.functions) <= {"mkstemp", "system"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "whole", [symbolic.go_program("os.MkdirTemp"), symbolic.importing("popen")], ids=["go", "c"]
)
def test_flipped_bytes_give_facts_or_an_error_of_ours(tmp_path: Path, whole: bytes) -> None:
    chance = random.Random(0)  # noqa: S311 - mutations, the same each time
    file = tmp_path / "app"
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(4, len(content))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        file.write_bytes(content)
        try:
            facts = read_program(str(file))
        except ElfError:
            continue
        assert facts.elf is not None
        assert set(facts.elf.functions) <= {"os.MkdirTemp", "popen"}


@pytest.mark.slow
def test_a_table_of_one_name_over_and_over_is_read_in_bounded_memory(tmp_path: Path) -> None:
    whole = bytearray(symbolic.linked("system"))
    strings = b"\0" + b"system\0" * 2_000_000
    table = int.from_bytes(whole[0x28:0x30], "little")
    section = table + 2 * 64
    whole[section + 24 : section + 40] = len(whole).to_bytes(8, "little") + len(strings).to_bytes(8, "little")
    file = tmp_path / "app"
    file.write_bytes(bytes(whole) + strings)
    tracemalloc.start()
    facts = read_program(str(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert facts.elf is not None
    assert facts.elf.functions == ("system",)
    assert peak < 60_000_000


@pytest.mark.buildah
def test_an_image_read_back_is_judged_alike(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(symbolic.go_program("os.MkdirTemp"))
    shared_home.json("build", str(tmp_path / "app"), "-t", "needs-bare")
    shared_home.json("build", str(tmp_path / "app"), "-t", "needs-none", "--with", "auto")
    answer = shared_home.json("check", "needs-bare")
    assert [finding["rule"] for finding in answer["findings"]] == ["needs-tmp"]
    assert answer["verdict"] == "starts"
    assert shared_home.json("check", "needs-none")["findings"] == []


C = """#include <netdb.h>
#include <stdlib.h>
#include <stdio.h>
int main(void) {
    struct addrinfo *r; char t[] = "/tmp/xXXXXXX";
    return getaddrinfo("localhost", "http", 0, &r) + mkstemp(t) + system("ls");
}
"""
QUIET = (
    "#include <stdio.h>\n#include <time.h>\nint main(void) { time_t t = time(0); puts(ctime(&t)); return 0; }\n"
)
CLIENT = 'package main\n\nimport "net/http"\n\nfunc main() { _, _ = http.Get("https://example.com") }\n'
SERVER = 'package main\n\nimport "net/http"\n\nfunc main() { _ = http.ListenAndServe(":8080", nil) }\n'
CLOCK = 'package main\n\nimport "time"\n\nfunc main() { println(time.Now().String()) }\n'


def compiled(place: Path, source: str, *command: str) -> set[str]:
    name = "main.go" if command[0] == "go" else "main.c"
    (place / name).write_text(source)
    environment = {"PATH": "/usr/local/go/bin:/usr/bin:/bin", "CGO_ENABLED": "0", "HOME": str(place)}
    words = [*command, "-o", "app", name]
    subprocess.run(words, cwd=place, check=True, env=environment, capture_output=True)
    return set(judged(place, (place / "app").read_bytes()))


STRIPPED = ("go", "build", "-ldflags=-s -w")


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("source", "command", "rules"),
    [
        (C, ("gcc", "-static"), {"needs-nsswitch", "static-name-service", "needs-tmp", "needs-shell"}),
        (C, ("gcc",), {"needs-nsswitch", "needs-tmp", "needs-shell"}),
        (C, ("gcc", "-s"), {"needs-nsswitch", "needs-tmp", "needs-shell"}),
        (C, ("gcc", "-static", "-s"), set()),
        (C, ("musl-gcc", "-static"), {"needs-tmp", "needs-shell"}),
        (QUIET, ("gcc", "-static"), set()),
        (QUIET, ("musl-gcc", "-static"), set()),
        (CLIENT, STRIPPED, {"needs-ca-certificates"}),
        (SERVER, STRIPPED, set()),
        (CLOCK, STRIPPED, set()),
        (CLIENT, ("go", "build", "-buildmode=pie"), {"needs-ca-certificates"}),
    ],
)
def test_what_compilers_make_tells_what_it_needs_and_nothing_else(
    tmp_path: Path, source: str, command: tuple[str, ...], rules: set[str]
) -> None:
    assert compiled(tmp_path, source, *command) == rules


def test_what_a_dynamic_program_imports_is_seen_without_section_headers(tmp_path: Path) -> None:
    for machine in ("x86_64", "i386", "aarch64", "s390x"):
        program = tinyelf.elf(machine=machine, interpreter="/lib/ld.so.1", needed=["libc.so.6"], imports=["popen"])
        (tmp_path / machine).write_bytes(program)
        elf = read_program(str(tmp_path / machine)).elf
        assert elf is not None
        assert elf.functions == elf.imports == ("popen",), machine


@pytest.mark.parametrize(
    ("zone", "files", "fix"),
    [
        ("Europe/Berlin", ("/usr/share/zoneinfo/UTC",), "`--with tzdata=Europe/Berlin`"),
        ("Japan", (), "`--with tzdata`"),
        ("Japan", ("/usr/share/zoneinfo/UTC",), "`--with tzdata=Japan`"),
        (":/usr/share/zoneinfo/Europe/Berlin", (), "`--with tzdata=Europe/Berlin`"),
        ("/zones/Berlin", (), "`--copy FILE:/zones/Berlin`"),
        ("/zones/Berlin", ("/zones/Berlin",), None),
        ("Europe/Berlin", ("/usr/share/zoneinfo/Europe/Berlin",), None),
        ("GMT", ("/usr/share/zoneinfo/Europe/Berlin",), None),
        ("EST5EDT", (), None),
    ],
)
def test_a_zone_that_tz_names_and_the_image_lacks_is_told(
    tmp_path: Path, zone: str, files: tuple[str, ...], fix: str | None
) -> None:
    found = judged(tmp_path, tinyelf.hello(), *files, env={"TZ": zone})
    assert list(found) == ([] if fix is None else ["needs-time-zones"])
    assert fix is None or fix in found["needs-time-zones"].fix
