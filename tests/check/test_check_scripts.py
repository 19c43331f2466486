"""The rules on scripts in images: what env is asked for, where it looks, and how deep interpreters may nest."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.image.envline import EnvLine, env_line
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.verbs.build import build_spec

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from conftest import Home

    from rootless_scratch.findings import Finding


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("hello", EnvLine(program="hello")),
        ("hello -x", EnvLine(program="hello -x")),
        ("./hello", EnvLine(program="./hello")),
        ("A=b", EnvLine(program=None)),
        ("-i", EnvLine(program=None)),
        ("-S hello -x", EnvLine(program="hello")),
        ("-Shello", EnvLine(program="hello")),
        ("-vS A=b 'my tool' -x", EnvLine(program="my tool")),
        ("--split-string=hello", EnvLine(program="hello")),
        ("-S PATH=/opt:/x hello", EnvLine(program="hello", path=("/opt", "/x"))),
        ("-S -i hello", EnvLine(program="hello", path=("/bin", "/usr/bin"))),
        ("-iS hello", EnvLine(program="hello", path=("/bin", "/usr/bin"))),
        ("-S -u PATH hello", EnvLine(program="hello", path=("/bin", "/usr/bin"))),
        ("-S -u HOME -C /srv -- ./hello", EnvLine(program="./hello", directory="/srv")),
        ("-S A=b", EnvLine(program=None)),
        ("-S ${TOOL}", None),
        ("-S --unheard-of hello", None),
        ("-S 'unended", None),
        ("-x hello", None),
    ],
)
def test_the_line_is_read_as_env_reads_it(argument: str, expected: EnvLine | None) -> None:
    assert env_line(("/usr/bin/env", argument)) == expected


def test_only_env_with_an_argument_is_asked_for_something() -> None:
    assert env_line(("/usr/bin/env",)) is None
    assert env_line(("/bin/sh", "-e")) is None
    assert env_line(None) is None


class Bench:
    """Judgements on an image with a script `/s`, `env` and other files, planned, and read back from a layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.program = str(tinyelf.write(path / "hello"))

    def judge(self, line: str, *places: str, **settings: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a Spec's
        script = self.path / "s"
        script.write_text(f"{line}\n")
        copies = tuple(Copy(source=self.program, destination=place, mode=0o755) for place in places)
        copies += (Copy(source=str(script), destination="/s"),)
        return self.judged(Spec(copies=copies, entrypoint=("/s",), **settings))

    def judged(self, spec: Spec) -> list[tuple[str, str]]:
        before = judge_plan(plan(spec, environ={}))
        build_spec(spec, check=False, output=(f"oci:{self.path}/image",))
        assert told(rs.check(f"oci:{self.path}/image").findings) == told(before)
        return told(before)


def told(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    assert all(found.message.isprintable() and found.fix.endswith(".") for found in findings)
    return [(found.rule, found.severity) for found in findings]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


MISSING = [("script-env-program-missing", "error")]


@pytest.mark.parametrize(
    "asked", ["hello -x", "/nope", "./nope", "nope", "A=b", "-S nope", "-S PATH=/opt hello", "-S -i /nope"]
)
def test_what_env_does_not_find_is_refused(bench: Bench, asked: str) -> None:
    assert bench.judge(f"#!/usr/bin/env {asked}", "/usr/bin/env", "/bin/hello") == MISSING


@pytest.mark.parametrize(
    "asked", ["hello", "-S hello -x", "/bin/hello", "-S ./bin/hello", "-S -i hello", "-S PATH=/bin hello"]
)
def test_what_env_finds_is_not_spoken_about(bench: Bench, asked: str) -> None:
    assert bench.judge(f"#!/usr/bin/env {asked}", "/usr/bin/env", "/bin/hello") == []


def test_the_path_of_the_image_is_where_env_looks(bench: Bench) -> None:
    line = "#!/usr/bin/env hello"
    assert bench.judge(line, "/usr/bin/env", "/bin/hello", env=(("PATH", "/opt"),)) == MISSING
    assert bench.judge(line, "/usr/bin/env", "/opt/hello", env=(("PATH", "/opt"),)) == []
    assert bench.judge(line, "/usr/bin/env", "/srv/hello", env=(("PATH", "/x:"),), workdir="/srv")[:1] == []


def test_what_cannot_be_told_is_warned_of(bench: Bench) -> None:
    found = bench.judge("#!/usr/bin/env -S ${TOOL}", "/usr/bin/env", "/bin/hello")
    assert found == [("script-env-program-missing", "warning")]
    assert rs.check(f"oci:{bench.path}/image").verdict == "unknown"


def test_the_program_that_env_starts_is_judged_as_one_that_is_started(bench: Bench) -> None:
    dynamic = bench.path / "dynamic"
    dynamic.write_bytes(tinyelf.elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=["libc.so.6"]))
    script = bench.path / "s"
    script.write_text("#!/usr/bin/env tool\n")
    entries = ((str(script), "/s", 0o755), (bench.program, "/usr/bin/env", 0o755))
    for mode, rules in ((0o755, ["needs-loader"]), (0o644, ["not-executable", "needs-loader"])):
        copies = [Copy(source=source, destination=place, mode=bits) for source, place, bits in entries]
        copies.append(Copy(source=str(dynamic), destination="/bin/tool", mode=mode))
        found = bench.judged(Spec(copies=tuple(copies), entrypoint=("/s",)))
        assert [rule for rule, _ in found] == rules


DEEP = [("script-too-deep", "error")]


def chain(path: Path, length: int) -> tuple[Copy, ...]:
    """`/s1` is interpreted by `/hello`, `/s2` by `/s1`, and so on."""
    copies = []
    for number in range(1, length + 1):
        script = path / f"s{number}"
        script.write_text(f"#!/{f's{number - 1}' if number > 1 else 'hello'}\n")
        copies.append(Copy(source=str(script), destination=f"/s{number}", mode=0o755))
    return tuple(copies)


@pytest.mark.parametrize(("length", "found"), [(1, []), (5, []), (6, DEEP), (8, DEEP)])
def test_five_scripts_in_a_row_are_started_and_not_six(
    bench: Bench, length: int, found: list[tuple[str, str]]
) -> None:
    program = Copy(source=bench.program, destination="/hello")
    spec = Spec(programs=(program,), copies=chain(bench.path, length), entrypoint=(f"/s{length}",))
    assert bench.judged(spec) == found


def test_a_script_that_is_its_own_interpreter_is_refused(bench: Bench) -> None:
    program = Copy(source=bench.program, destination="/hello")
    assert bench.judge("#!/s", programs=(program,)) == DEEP


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.parametrize(("length", "code"), [(5, 0), (6, 126)])
def test_the_kernel_agrees(bench: Bench, shared_home: Home, length: int, code: int) -> None:
    chain(bench.path, length)
    copies = [word for number in range(1, length + 1) for word in ("--copy", f"{bench.path}/s{number}:/s{number}")]
    words = ("build", "-q", bench.program, *copies, "--entrypoint", f'["/s{length}"]', "--no-check", "-t", "chain")
    assert shared_home.cli(*words).returncode == 0
    done = shared_home.cli("run", "chain")
    assert done.returncode == code
    assert (b"[script-too-deep]" in done.stderr) == bool(code)


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.parametrize(
    ("asked", "path", "code"),
    [("hello", "/opt", 0), ("hello", "/srv", 127), ("hello -x", "/opt", 127), ("./opt/hello", "/", 0)],
)
def test_env_agrees(bench: Bench, shared_home: Home, asked: str, path: str, code: int) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    (bench.path / "s").write_text(f"#!/usr/bin/env {asked}\n")
    words = ["build", "-q", f"{busybox}:/usr/bin/env", "--copy", f"{bench.program}:/opt/hello"]
    words += ("--copy", f"{bench.path}/s:/s", "--entrypoint", '["/s"]', "--env", f"PATH={path}", "-t", "env-asked")
    assert (shared_home.cli(*words).returncode == 0) == (code == 0)
    assert shared_home.cli(*words, "--no-check").returncode == 0
    assert shared_home.cli("run", "env-asked").returncode == code
