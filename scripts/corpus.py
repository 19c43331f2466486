"""Build, judge and run every program of tests/corpus/programs.txt, and broken variants of each.

    sound    with --bundle-libraries the verdict is `starts`, and it says who it is, as nobody, without network
             and with a home that it can write to
    broken   without a library, without the loader, with a library elsewhere or for another processor, with the
             wrong path in the command or without execute bits the verdict is `fails` by the right rule

The variant without a library is built and run for each program, the others for every twelfth, and for the first.
Images lie in a store of their own, which is removed at the end. Exits 1 where verdict and reality differ.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_NOT_LOADED = 127
"""With this code a loader ends that does not find a library: elf/dl-error.c of glibc."""

_MACHINE, _AARCH64 = 18, b"\xb7\0"
"""Where e_machine stands in an ELF header: elf(5)."""

_AS_NOBODY = ("--network", "none", "--env", "HOME=/tmp")

_REALLY = 12
"""Every so many programs all variants are run."""

LIST = ROOT / "tests" / "corpus" / "programs.txt"


class Entry(NamedTuple):
    """One line of the list."""

    package: str
    program: str
    arguments: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where it lies in the broken images, and a link in the sound one; programs of several names go by it."""
        return f"/{os.path.basename(self.program)}"

    @property
    def image(self) -> str:
        """The name of its image."""
        word = "".join(char if char.isalnum() else "-" for char in os.path.basename(self.program).lower())
        return f"corpus-{word.strip('-')}"


class Answer(NamedTuple):
    """What was seen of one program; `faults` is empty where verdict and reality agree."""

    entry: Entry
    size: int
    faults: tuple[str, ...]


class Variant(NamedTuple):
    """A broken image: the rule that must refuse it, and the words that build it."""

    rule: str
    words: list[str]


class Bench:
    """A store of images of its own, and the command line in it."""

    def __init__(self, home: Path) -> None:
        runtime = home / "run"
        runtime.mkdir(mode=0o700)
        self.home = home
        self.environment = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    def cli(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run `rootless-scratch WORDS`."""
        return subprocess.run(
            [sys.executable, "-m", "rootless_scratch", *words],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )

    def try_out(self, entry: Entry, *, really: bool) -> Answer:
        """All variants of one program; the broken ones are only judged unless they are `really` to be run."""
        built = self.cli("build", entry.program, "-t", entry.image, "--bundle-libraries", "--json")
        if built.returncode:
            return Answer(entry, 0, (f"not built: {built.stderr.decode()}{built.stdout.decode()}",))
        faults = list(self._sound(entry))
        for name, variant in self._variants(entry).items():
            faults += self._judged(name, variant)
            if really or name == "library left out":
                faults += self._refused(name, variant, entry)
        self.cli_of("buildah", "rmi", "-f", entry.image, f"{entry.image}-broken")
        return Answer(entry, json.loads(built.stdout)["size"], tuple(faults))

    def remove(self) -> None:
        """End podman's pause process, and remove the files of subordinate ids."""
        pause = self.home / "run/libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)
        self.cli_of("buildah", "unshare", "rm", "-rf", f"{self.home}/.local")

    def cli_of(self, *words: str) -> None:
        """Run another program."""
        subprocess.run(words, env=self.environment, capture_output=True, timeout=300, check=False)

    def _sound(self, entry: Entry) -> list[str]:
        judged = json.loads(self.cli("check", entry.image, "--json").stdout)
        done = self.cli("run", *_AS_NOBODY, entry.image, *entry.arguments)
        starts = done.returncode == 0 and bool(done.stdout or done.stderr)
        if judged["verdict"] == "starts" and starts:
            return []
        said = (done.stderr or done.stdout).decode("utf-8", "replace")[-300:]
        return [f"the verdict is {judged['verdict']}, and it ended with {done.returncode}: {said}"]

    def _variants(self, entry: Entry) -> dict[str, Variant]:
        """The same image by hand, each time with another mistake, of which static programs have fewer."""
        placed = f"{entry.program}:{entry.path}"
        words = [placed, "--bundle-libraries", "--dry-run", "--json"]
        entries: list[dict[str, Any]] = json.loads(self.cli("build", *words).stdout)["plan"]["entries"]
        libraries = [each for each in entries if each["type"] == "file" and each["path"] != entry.path]
        links = [each for each in entries if each["type"] == "symlink"]
        app, there = [placed], _copies(libraries, links)
        bare = ["--copy", f"{entry.program}:{entry.path}:mode=0644", "--entrypoint", json.dumps([entry.path])]
        elsewhere = [*app, "--entrypoint", json.dumps([f"/usr/bin{entry.path}"])]
        variants = {
            "wrong path": Variant("command-missing", [*elsewhere, *there]),
            "no execute bit": Variant("not-executable", [*bare, *there]),
        }
        loader = next((each for each in libraries if os.path.basename(each["path"]).startswith("ld-")), None)
        # The last one that is no part of the C library's family, where there is one.
        library = next((each for each in libraries[::-1] if each is not loader), None)
        if loader is not None:
            rest = [each for each in libraries if each is not loader]
            variants["loader left out"] = Variant("needs-loader", [*app, *_copies(rest, links)])
            foreign = [*rest, loader | {"source": self._foreign(loader["source"])}]
            variants["loader for another processor"] = Variant("loader-unusable", [*app, *_copies(foreign, links)])
        if library is not None:
            rest = [each for each in libraries if each is not library]
            variants["library left out"] = Variant("needs-libraries", [*app, *_copies(rest, links)])
            moved = library | {"path": f"/elsewhere/{os.path.basename(library['path'])}"}
            variants["library elsewhere"] = Variant("needs-libraries", [*app, *_copies([*rest, moved], links)])
            foreign = [*rest, library | {"source": self._foreign(library["source"])}]
            variants["library for another processor"] = Variant(
                "needs-libraries", [*app, *_copies(foreign, links)]
            )
        return variants

    def _foreign(self, source: str) -> str:
        """A copy of a library that claims to be for aarch64."""
        copy = self.home / f"foreign-{source.replace('/', '_')}"
        if not copy.exists():
            content = bytearray(Path(source).read_bytes())
            content[_MACHINE : _MACHINE + 2] = _AARCH64
            copy.write_bytes(content)
        return str(copy)

    def _judged(self, name: str, variant: Variant) -> list[str]:
        """What `build` says of it before it builds anything."""
        answer = json.loads(self.cli("build", *variant.words, "--dry-run", "--json").stdout)
        rules = {finding["rule"] for finding in answer["findings"] if finding["severity"] == "error"}
        return [] if rules == {variant.rule} else [f"{name}: refused by {rules}, not by {variant.rule}"]

    def _refused(self, name: str, variant: Variant, entry: Entry) -> list[str]:
        """What `check` says of it once it is built all the same, and what the kernel says."""
        image = f"{entry.image}-broken"
        built = self.cli("build", *variant.words, "-t", image, "--no-check")
        if built.returncode:
            return [f"{name}: not built: {built.stderr.decode()}"]
        judged = json.loads(self.cli("check", image, "--json").stdout)
        rules = {finding["rule"] for finding in judged["findings"] if finding["severity"] == "error"}
        done = self.cli("run", *_AS_NOBODY, image, *entry.arguments)
        fits = done.returncode == _NOT_LOADED if name == "library left out" else done.returncode not in {0, 125}
        if judged["verdict"] == "fails" and rules == {variant.rule} and fits:
            return []
        return [f"{name}: the verdict is {judged['verdict']} by {rules}, and it ended with {done.returncode}"]


def _copies(files: list[dict[str, Any]], links: list[dict[str, Any]]) -> list[str]:
    """Words for these files, and for the links that still lead to one of them."""
    names = {os.path.basename(each["path"]) for each in files}
    words = []
    for each in files:
        words += ["--copy", f"{each['source']}:{each['path']}"]
    for each in links:
        if os.path.basename(each["target"]) in names:
            words += ["--symlink", f"{each['target']}:{each['path']}"]
    return words


def entries_of(words: list[str]) -> list[Entry]:
    """The lines of the list, or those that have one of the words."""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    chosen = [line.split() for line in lines if not words or any(word in line for word in words)]
    return [Entry(package, program, tuple(rest)) for package, program, *rest in chosen]


def main() -> int:
    """Try all of them, two at a time; say what differs."""
    with tempfile.TemporaryDirectory(prefix="rsc-", ignore_cleanup_errors=True) as home:
        bench = Bench(Path(home))
        answers = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            tried = [
                pool.submit(bench.try_out, entry, really=number % _REALLY == 0)
                for number, entry in enumerate(entries_of(sys.argv[1:]))
            ]
            for answer in (each.result() for each in tried):
                answers.append(answer)
                word = "differs" if answer.faults else "agrees"
                sys.stdout.write(f"{word:8} {answer.size / 1e6:7.1f} MB  {answer.entry.program}\n")
                sys.stdout.writelines(f"         {fault}\n" for fault in answer.faults)
                sys.stdout.flush()
        bench.remove()
    wrong = sum(bool(answer.faults) for answer in answers)
    sys.stdout.write(f"{len(answers)} programs, {wrong} where verdict and reality differ\n")
    return 1 if wrong or not answers else 0


if __name__ == "__main__":
    sys.exit(main())
