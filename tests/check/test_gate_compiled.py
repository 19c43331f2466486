"""The gate and real compilers: what it says beforehand is what the kernel does in an otherwise empty root."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment
from planning import Present

from rootless_scratch.elf.facts import read_elf
from rootless_scratch.elf.program import ProgramFacts, read_program
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import ElfError
from rootless_scratch.rules.program.programs import judge_program, verdict
from rootless_scratch.rules.view import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.findings import Finding, Verdict

pytestmark = pytest.mark.compiler

C = "#include <stdio.h>\nint main(void) { puts(VALUE); return 0; }\n".replace("VALUE", '"Hello World"')
CXX = "#include <iostream>\nint main() { std::cout << VALUE << std::endl; }\n".replace("VALUE", '"Hello World"')
GO = 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("Hello World\\n") }\n'
CGO = (
    'package main\n\n// #include <stdlib.h>\nimport "C"\nimport "os"\n\n'
    'func main() { _ = C.abs(1); os.Stdout.WriteString("Hello World\\n") }\n'
)
SOURCES = {"hello.c": C, "hello.cc": CXX, "hello.go": GO, "cgo.go": CGO}


class Recipe(NamedTuple):
    """How a program is compiled, what the gate says of it, and a part of the fix."""

    command: Sequence[str]
    rule: str | None = None
    advice: str = ""
    cgo: str = "0"


RECIPES = {
    "c-static": Recipe(["gcc", "-static", "hello.c"]),
    "c-static-pie": Recipe(["gcc", "-static-pie", "hello.c"]),
    "c-static-stripped": Recipe(["gcc", "-static", "-s", "hello.c"]),
    "c-dynamic": Recipe(["gcc", "hello.c"], "needs-loader", "`gcc -static`"),
    "c-dynamic-no-pie": Recipe(["gcc", "-no-pie", "-s", "hello.c"], "needs-loader", "`gcc -static`"),
    "c-shared": Recipe(["gcc", "-shared", "-fPIC", "hello.c"], "shared-library", "-shared"),
    "c-object": Recipe(["gcc", "-c", "hello.c"], "object-file", "gcc -static"),
    "musl-static": Recipe(["musl-gcc", "-static", "hello.c"]),
    "musl-dynamic": Recipe(["musl-gcc", "hello.c"], "needs-loader", "`musl-gcc -static`"),
    "cxx-static": Recipe(["g++", "-static", "hello.cc"]),
    "cxx-dynamic": Recipe(["g++", "hello.cc"], "needs-loader", "`g++ -static`"),
    "go-exe": Recipe(["go", "build", "hello.go"]),
    "go-exe-stripped": Recipe(["go", "build", "-ldflags=-s -w", "hello.go"]),
    "go-pie": Recipe(
        ["go", "build", "-buildmode=pie", "-ldflags=-s -w", "hello.go"],
        "needs-loader",
        "`go build -buildmode=exe`",
    ),
    "go-cgo": Recipe(["go", "build", "cgo.go"], "needs-loader", "`CGO_ENABLED=0 go build`", cgo="1"),
    "go-cgo-static": Recipe(["go", "build", "-ldflags=-linkmode external -extldflags -static", "cgo.go"], cgo="1"),
    "go-arm64": Recipe(["env", "GOARCH=arm64", "go", "build", "hello.go"]),
    "go-armv6": Recipe(["env", "GOARCH=arm", "GOARM=6", "go", "build", "hello.go"]),
    "go-s390x": Recipe(["env", "GOARCH=s390x", "go", "build", "hello.go"]),
    "go-windows": Recipe(["env", "GOOS=windows", "go", "build", "hello.go"], "not-linux", "GOOS=linux"),
    "go-darwin": Recipe(["env", "GOOS=darwin", "go", "build", "hello.go"], "not-linux", "GOOS=linux"),
    "go-freebsd": Recipe(["env", "GOOS=freebsd", "go", "build", "hello.go"], "not-linux", "GOOS=linux"),
}
FOREIGN = {
    "go-arm64": "linux/arm64/v8",
    "go-armv6": "linux/arm/v6",
    "go-s390x": "linux/s390x",
}


class Workshop:
    """Compiles each recipe once, and starts programs in a root that has nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in SOURCES.items():
            (path / name).write_text(text)

    def make(self, name: str) -> Path:
        program = self.path / name
        if not program.exists():
            recipe = RECIPES[name]
            compiler, *rest = recipe.command
            at = rest.index("build") + 1 if "build" in rest else 0
            subprocess.run(
                [compiler, *rest[:at], "-o", str(program), *rest[at:]],
                cwd=self.path,
                env=os.environ
                | {"CGO_ENABLED": recipe.cgo, "GOCACHE": str(self.path / "go-cache"), "GO111MODULE": "off"},
                check=True,
                capture_output=True,
                timeout=300,
            )
        return program

    def judge(self, program: Path, root: Path | None = None) -> tuple[Verdict, tuple[Finding, ...], ProgramFacts]:
        facts = read_program(str(program))
        findings = judge_program(
            facts,
            subject=program.name,
            around=Surroundings(root=Present() if root is None else HostRoot(str(root))),
            image_path="/app",
        )
        return verdict(findings), findings, facts

    def start(self, program: Path, root: Path) -> bool:
        """Whether the program says hello when it is started in `root`, with no other file in reach."""
        root.mkdir(exist_ok=True)
        shutil.copy2(program, root / "app")
        (root / "app").chmod(0o755)
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--root", str(root), "--wd", "/", "/app"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0 and done.stdout == b"Hello World\n"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.parametrize("name", RECIPES)
def test_the_verdict_is_what_the_kernel_does_in_an_empty_root(
    workshop: Workshop, tmp_path: Path, name: str
) -> None:
    program = workshop.make(name)
    recipe = RECIPES[name]
    answer, findings, facts = workshop.judge(program)
    assert [finding.rule for finding in findings] == ([recipe.rule] if recipe.rule else [])
    assert all(recipe.advice in finding.fix for finding in findings)
    if name in FOREIGN:
        assert facts.elf is not None
        assert str(facts.elf.platform) == FOREIGN[name]
    else:
        assert (answer == "starts") == workshop.start(program, tmp_path / "root")


def test_a_go_program_says_how_it_was_built(workshop: Workshop) -> None:
    facts = read_program(str(workshop.make("go-cgo")))
    assert facts.elf is not None
    go = facts.elf.go
    assert go is not None
    assert go.version is not None
    assert go.version.startswith("go1.")
    assert go.setting("CGO_ENABLED") == "1"
    assert go.path == "command-line-arguments"


@pytest.mark.parametrize("name", ["c-dynamic", "cxx-dynamic", "musl-dynamic", "go-cgo"])
def test_with_its_loader_and_libraries_in_the_image_a_program_starts_and_without_one_of_them_it_does_not(
    workshop: Workshop, tmp_path: Path, name: str
) -> None:
    program = workshop.make(name)
    root = tmp_path / "root"
    for file in loaded_by(program):
        copy = root / str(file).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    answer, findings, facts = workshop.judge(program, root)
    assert (answer, [finding.rule for finding in findings]) == ("starts", [])
    assert workshop.start(program, root)
    assert facts.elf is not None
    for needed in facts.elf.needed:
        for copy in root.rglob(needed):
            copy.unlink()
            answer, findings, _ = workshop.judge(program, root)
            assert (answer, [finding.rule for finding in findings]) == ("fails", ["needs-libraries"])
            assert needed in findings[0].message
            assert not workshop.start(program, root)


def loaded_by(program: Path) -> Iterator[Path]:
    """The loader and the libraries of a program that we compiled ourselves, as its loader lists them."""
    facts = read_program(str(program))
    assert facts.elf is not None
    assert facts.elf.interpreter is not None
    yield Path(facts.elf.interpreter)
    listing = subprocess.run(
        [facts.elf.interpreter, "--list", str(program)], capture_output=True, text=True, check=True
    )
    for line in listing.stdout.splitlines():
        _, arrow, rest = line.partition(" => ")
        if arrow and rest.startswith("/"):
            yield Path(rest.partition(" (")[0])


def test_half_a_program_is_refused_and_does_not_start(workshop: Workshop, tmp_path: Path) -> None:
    whole = workshop.make("c-static").read_bytes()
    half = tmp_path / "half"
    half.write_bytes(whole[: len(whole) // 2])
    answer, findings, _ = workshop.judge(half)
    assert (answer, [finding.rule for finding in findings]) == ("fails", ["truncated"])
    assert not workshop.start(half, tmp_path / "root")


def test_split_debug_information_is_refused_and_does_not_start(workshop: Workshop, tmp_path: Path) -> None:
    debug = tmp_path / "app.debug"
    subprocess.run(["objcopy", "--only-keep-debug", workshop.make("c-static"), debug], check=True)
    answer, findings, _ = workshop.judge(debug)
    assert (answer, [finding.rule for finding in findings]) == ("fails", ["no-code"])
    assert not workshop.start(debug, tmp_path / "root")


def test_a_program_without_section_headers_is_read_all_the_same(workshop: Workshop, tmp_path: Path) -> None:
    program = tmp_path / "sstripped"
    content = bytearray(workshop.make("c-dynamic").read_bytes())
    content[0x28:0x30] = b"\xff" * 8
    content[0x3A:0x40] = b"\xff" * 6
    program.write_bytes(content)
    answer, findings, facts = workshop.judge(program)
    assert (answer, findings[0].rule) == ("fails", "needs-loader")
    assert facts.elf is not None
    assert facts.elf.needed == ("libc.so.6",)


def elf_files(*directories: str) -> Iterator[Path]:
    for directory in directories:
        for path in sorted(Path(directory).iterdir()):
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield path


def test_the_programs_of_this_host_are_read_as_pyelftools_reads_them() -> None:
    count = 0
    for path in elf_files("/usr/bin", "/usr/sbin"):
        with path.open("rb") as file:
            ours = read_elf(file)
            theirs = ELFFile(file)  # type: ignore[no-untyped-call, unused-ignore] # typed since pyelftools 0.33
            interpreter, needed, runpath = None, [], None
            for segment in theirs.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                if isinstance(segment, DynamicSegment):
                    tags = list(segment.iter_tags())
                    named = {tag.entry.d_tag: getattr(tag, "runpath", None) for tag in tags}
                    needed = [getattr(tag, "needed", "") for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
                    runpath = named.get("DT_RUNPATH")
        assert (ours.interpreter, list(ours.needed), ours.runpath) == (interpreter, needed, runpath), path
        assert not ours.truncated, path
        assert ours.entry_loaded, path
        count += 1
    assert count > 20


def test_no_program_of_this_host_is_taken_for_a_library_or_damaged() -> None:
    rules = set()
    for path in elf_files("/usr/bin", "/usr/sbin"):
        facts = read_program(str(path))
        rules |= {
            finding.rule for finding in judge_program(facts, subject="x", around=Surroundings(root=Present()))
        }
    assert rules == {"needs-loader"}


def test_no_library_of_this_host_is_taken_for_a_program() -> None:
    directory = Path(subprocess.check_output(["gcc", "-print-file-name=libz.so.1"], text=True).strip()).parent
    if not directory.is_absolute():
        directory = Path(subprocess.check_output(["gcc", "-print-file-name=libm.so.6"], text=True).strip()).parent
    for path in elf_files(str(directory.resolve())):
        facts = read_program(str(path))
        (finding, *_) = judge_program(facts, subject="x", around=Surroundings(root=Present())) or (None,)
        if finding is None:
            assert path.name.startswith("ld-"), path
        else:
            assert finding.severity == "error", path


def test_mutated_real_programs_give_facts_or_an_elf_error(workshop: Workshop) -> None:
    chance = random.Random(20260131)  # noqa: S311 - the same mutations in every run
    for name in ("c-dynamic", "c-static-pie", "go-pie", "cxx-dynamic"):
        original = workshop.make(name).read_bytes()
        program = read_program(str(workshop.make(name)))
        for _ in range(300):
            content = bytearray(original[: 1 << 20])
            for _ in range(chance.randint(1, 8)):
                # Nearly all that is read lies in the first page.
                offset = chance.randrange(chance.choice((64, 1024, 4096, len(content))))
                content[offset] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            try:
                elf = read_elf(io.BytesIO(content))
            except ElfError:
                continue
            facts = ProgramFacts(path="x", identity=program.identity, mode=0o755, kind="elf", elf=elf)
            for finding in judge_program(facts, subject="x", around=Surroundings(root=Present())):
                assert finding.message.isprintable()
