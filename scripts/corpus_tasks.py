"""Put every program of tests/corpus/tasks.txt to its task: with `--with auto` it must do its job.

Without `--with` the image must be refused, or a warning must name the option that mends it, and the same task must
then fail; whether `run` explains its end is counted. A program of which the list says that it needs nothing must
do its job with its libraries alone, and may not be refused. Images lie in a store of their own, which is removed
at the end. Exits 1 where verdict and reality differ.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from corpus import ROOT, Bench

LIST = ROOT / "tests" / "corpus" / "tasks.txt"


class Task(NamedTuple):
    """One line of the list: `built` and `run` are options of these verbs, `mends` a name for `--with` or `-`."""

    package: str
    mends: str
    program: str
    printed: str
    arguments: tuple[str, ...]
    built: tuple[str, ...]
    run: tuple[str, ...]
    text: str

    @classmethod
    def read(cls, line: str) -> Task:
        """Read a line; raises ValueError."""
        package, mends, program, printed, *rest = shlex.split(line)
        text = rest.pop()[2:].replace("\\n", "\n") if rest and rest[-1].startswith("< ") else ""
        return cls(
            package=package,
            mends=mends,
            program=program,
            printed=printed,
            arguments=tuple(word for word in rest if word[:1] not in {"@", "+"} or word == "+"),
            built=tuple(word[1:] for word in rest if word.startswith("+") and word != "+"),
            run=tuple(word[1:] for word in rest if word.startswith("@")),
            text=text,
        )


class Done(NamedTuple):
    """What became of a program: why it did not do its job (None: it did), and what explained that."""

    why: str | None
    fix: str


class Answer(NamedTuple):
    """The size of an image, where verdict and reality differ, whether its end without `--with` was explained."""

    size: int
    faults: tuple[str, ...]
    explained: bool | None


class Desk:
    """A bench on which programs do their jobs."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def answer(self, task: Task, number: int) -> Answer:
        """Build it, put it to its task, and the same without `--with`."""
        name = f"task-{number}"
        words = [task.program, "--bundle-libraries", *task.built]
        built = self._bench.cli("build", *words, "-t", name, "--with", "auto", "--json")
        if built.returncode:
            return Answer(0, (f"not built: {built.stderr.decode()[-400:]}",), None)
        verdict = json.loads(self._bench.cli("check", name, "--json").stdout)["verdict"]
        why = self._done(name, task).why
        faults = [] if why is None and verdict == "starts" else [f"with auto the verdict is {verdict}: {why}"]
        self._bench.cli_of("buildah", "rmi", "-f", name)
        judged = json.loads(self._bench.cli("build", *words, "--dry-run", "--json").stdout)["findings"]
        self._bench.cli("build", *words, "-t", f"{name}-bare", "--no-check", "--json")
        bare = self._done(f"{name}-bare", task)
        self._bench.cli_of("buildah", "rmi", "-f", f"{name}-bare")
        if task.mends == "-":
            faults += [f"without: {each['message']}" for each in judged if each["severity"] == "error"]
            faults += [] if bare.why is None else [f"without: {bare.why}"]
        else:
            said = any(f"`--with {task.mends}`" in each["fix"] for each in judged)
            faults += [] if said else [f"without: nobody says `--with {task.mends}`"]
            faults += ["without: it does its job all the same"] if bare.why is None else []
        explained = f"`--with {task.mends}`" in bare.fix if task.mends != "-" else None
        return Answer(json.loads(built.stdout)["size"], tuple(faults), explained)

    def _done(self, name: str, task: Task) -> Done:
        command = [sys.executable, "-m", "rootless_scratch", "run", "-q", "-i", "--network", "none"]
        done = subprocess.run(
            [*command, *task.run, name, *task.arguments],
            env=self._bench.environment,
            cwd=self._bench.home,
            input=task.text.encode(),
            capture_output=True,
            timeout=300,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        if done.returncode == 0 and re.search(task.printed, said, re.MULTILINE):
            return Done(None, "")
        return Done(f"it ended with {done.returncode}: {said[-300:]}", said[-600:])


def tasks(words: list[str]) -> list[Task]:
    """The lines of the list, or those that have one of the words."""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [Task.read(line) for line in lines if not words or any(word in line for word in words)]


def main() -> int:
    """Try all of them, two at a time; say what differs."""
    with tempfile.TemporaryDirectory(prefix="rst-", ignore_cleanup_errors=True) as home:
        bench = Bench(Path(home))
        desk = Desk(bench)
        found = tasks(sys.argv[1:])
        answers = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for task, answer in zip(found, pool.map(desk.answer, found, range(len(found))), strict=True):
                answers.append(answer)
                word = "differs" if answer.faults else "agrees"
                note = "" if answer.explained is None else "explained" if answer.explained else "not explained"
                sys.stdout.write(f"{word:8} {answer.size / 1e6:7.1f} MB  {task.mends:12} {task.program}  {note}\n")
                sys.stdout.writelines(f"         {fault}\n" for fault in answer.faults)
                sys.stdout.flush()
        bench.remove()
    wrong = sum(bool(answer.faults) for answer in answers)
    told = [answer.explained for answer in answers if answer.explained is not None]
    sys.stdout.write(f"{len(found)} tasks, {wrong} where verdict and reality differ; ")
    sys.stdout.write(f"of {len(told)} ends without `--with` {sum(told)} are explained\n")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
