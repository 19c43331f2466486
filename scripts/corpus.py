"""Build, judge and run every program of tests/corpus/programs.txt, and a broken variant of each.

    sound    with --bundle-libraries the verdict is `starts`, and it says who it is, as nobody and without network
    broken   without one of its libraries the verdict is `fails` by `needs-libraries`, and it does fail

Images lie in a store of their own, which is removed at the end. Exits 1 where verdict and reality differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_NOT_LOADED = 127
"""With this code a loader ends that does not find a library: elf/dl-error.c of glibc."""

LIST = ROOT / "tests" / "corpus" / "programs.txt"


class Entry(NamedTuple):
    """One line of the list."""

    package: str
    program: str
    arguments: tuple[str, ...]

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

    def try_out(self, entry: Entry) -> Answer:
        """Both variants of one program."""
        built = self.cli("build", f"{entry.program}:/app", "-t", entry.image, "--bundle-libraries", "--json")
        if built.returncode:
            return Answer(entry, 0, (f"not built: {built.stderr.decode()}{built.stdout.decode()}",))
        faults = list(self._sound(entry))
        faults += self._broken(entry)
        self.cli_of("buildah", "rmi", "-f", entry.image, f"{entry.image}-broken")
        return Answer(entry, json.loads(built.stdout)["size"], tuple(faults))

    def cli_of(self, *words: str) -> None:
        """Run another program."""
        subprocess.run(words, env=self.environment, capture_output=True, timeout=300, check=False)

    def _sound(self, entry: Entry) -> list[str]:
        judged = json.loads(self.cli("check", entry.image, "--json").stdout)
        done = self.cli("run", "--network", "none", entry.image, *entry.arguments)
        starts = done.returncode == 0 and bool(done.stdout or done.stderr)
        if judged["verdict"] == "starts" and starts:
            return []
        said = (done.stderr or done.stdout).decode("utf-8", "replace")[-300:]
        return [f"the verdict is {judged['verdict']}, and it ended with {done.returncode}: {said}"]

    def _broken(self, entry: Entry) -> list[str]:
        """The same image by hand, without the last library that is no part of the C library's family."""
        words = [f"{entry.program}:/app", "--bundle-libraries", "--dry-run", "--json"]
        entries: list[dict[str, Any]] = json.loads(self.cli("build", *words).stdout)["plan"]["entries"]
        libraries = [each for each in entries if each["type"] == "file" and ".so" in each["path"]]
        libraries = [each for each in libraries if not os.path.basename(each["path"]).startswith("ld-")]
        left_out = libraries[-1]["path"]
        words = [f"{entry.program}:/app"]
        for each in entries:
            if each["type"] == "symlink" and os.path.basename(left_out) != each["target"]:
                words += ["--symlink", f"{each['target']}:{each['path']}"]
            elif each["type"] == "file" and each["path"] not in {left_out, "/app"}:
                words += ["--copy", f"{each['source']}:{each['path']}"]
        image = f"{entry.image}-broken"
        built = self.cli("build", *words, "-t", image, "--no-check")
        if built.returncode:
            return [f"the broken variant is not built: {built.stderr.decode()}"]
        judged = json.loads(self.cli("check", image, "--json").stdout)
        rules = [finding["rule"] for finding in judged["findings"] if finding["severity"] == "error"]
        done = self.cli("run", "--network", "none", image, *entry.arguments)
        code = done.returncode
        if judged["verdict"] == "fails" and set(rules) == {"needs-libraries"} and code == _NOT_LOADED:
            return []
        return [f"without {left_out} the verdict is {judged['verdict']} by {rules}, and it ended with {code}"]


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
            for answer in pool.map(bench.try_out, entries_of(sys.argv[1:])):
                answers.append(answer)
                word = "differs" if answer.faults else "agrees"
                sys.stdout.write(f"{word:8} {answer.size / 1e6:7.1f} MB  {answer.entry.program}\n")
                sys.stdout.writelines(f"         {fault}\n" for fault in answer.faults)
                sys.stdout.flush()
        bench.cli_of("buildah", "unshare", "rm", "-rf", f"{home}/.local")
    wrong = sum(bool(answer.faults) for answer in answers)
    sys.stdout.write(f"{len(answers)} programs, {wrong} where verdict and reality differ\n")
    return 1 if wrong or not answers else 0


if __name__ == "__main__":
    sys.exit(main())
