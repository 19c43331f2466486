"""Kills the caller, its worker, the podman service, its tools, or all of them, at random moments of every verb.

After each kill one more call of the same kind is let come, which must succeed. Then nothing may be there that was
not there before the first: no container, also of those that storage alone knows, no process, no layer, no file.
The store, the home and the registry are the campaign's own. Exits 1 where anything stays, and tells what.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conftest import Home
from containers import make_image
from figures import write_table
from registries import registry
from traces import Process, Store, adopt_orphans, descendants, files, reap, shared_files, store_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUNDS = 500
PATIENCE = 90
TRIES = 5
"""Moments that are drawn for one kill: a call, or the process that is meant, may have ended before."""

SETTLED = 3.0
"""Seconds in which what has been told to end has ended."""

VICTIMS = ("caller", "worker", "service", "tools", "caller and helpers", "whole tree")
_OWN = ("worker/main.py", "tether.py")


def is_worker(process: Process) -> bool:
    """A process of ours that works for the caller, or conmon, which does so for a run."""
    ours = process.name.startswith("python") and any(word.endswith(_OWN) for word in process.words)
    return ours or process.name == "conmon"


def is_service(process: Process) -> bool:
    """Of podman's pair, either."""
    return process.name != "conmon" and "system" in process.words and "service" in process.words


def is_tool(process: Process) -> bool:
    """A program of others at work: buildah as a user namespace calls it, skopeo, the runtime."""
    return process.name.startswith(("buildah", "skopeo", "runc", "crun"))


def is_of_tools(trace: str) -> bool:
    """What tools make for a moment, do not remove when they are killed, and do not mark: nobody may remove it.

    Lists of containers/storage that are being written; an empty file of buildah's or podman's, an empty directory
    of runc's; where conmon of podman 5 notes the end of a container.
    """
    kind, _, path = trace.partition(": ")
    name = os.path.basename(path)
    noted = os.path.dirname(path).endswith("/libpod/tmp/persist")
    return kind == "file" and (noted or name.isdecimal() or name.startswith((".tmp-", "containers.", "runctop")))


class Verb(NamedTuple):
    """How it is called, `words` told which round it is; and what makes it have work to do again."""

    words: Callable[[int], Sequence[str]]
    forget: Sequence[str] = ()


class Left(NamedTuple):
    """What one round left."""

    number: int
    verb: str
    victim: str
    what: str


class Campaign:
    """A home with an image, a layout and a registry, and calls in it."""

    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.out = home.path / "out"
        self.out.mkdir()
        make_image(home, "tools", "/busybox")
        self.store = Store(home.environment)
        program, data = home.path / "program", home.path / "data"
        busybox = shutil.which("busybox")
        if busybox is None:
            sys.exit("install busybox-static")
        shutil.copy(busybox, program)
        data.write_bytes(os.urandom(8 << 20))
        build = ("build", "-q", str(program), "--copy", f"{data}:/data", "--entrypoint", '["/program"]')
        self._call([*build, "-t", "stored", "-o", f"oci:{home.path}/layout"])
        layout, archive = f"oci:{self.out}/layout", f"oci-archive:{self.out}/archive"
        there = f"docker://localhost:{port}"
        self.verbs: Mapping[str, Verb] = {
            "build -t": Verb(lambda _: (*build, "--env", "A=1", "-t", "one"), ("one",)),
            "build -o": Verb(lambda _: (*build, "-o", layout, "-o", archive)),
            "build -t -o": Verb(lambda _: (*build, "--env", "A=2", "-t", "two", "-o", layout), ("two",)),
            "run": Verb(lambda _: ("run", "-q", "tools", "sleep", "0.05")),
            "save": Verb(lambda _: ("save", "-q", "stored", "-o", archive)),
            "push": Verb(
                lambda number: ("push", "-q", "stored", f"{there}/r{number}/stored", "--tls-verify=false")
            ),
            "check oci:": Verb(lambda _: ("check", "-q", f"oci:{home.path}/layout")),
            "check NAME": Verb(lambda _: ("check", "-q", "stored")),
            "debug": Verb(lambda _: ("debug", "-q", "tools", "--exec", "sleep 0.05")),
        }
        self.takes: dict[str, float] = {}
        self.has: dict[str, set[str]] = {}
        self._outputs: dict[str, set[str]] = {}
        self.of_tools = 0
        self._known: set[str] = set()
        self._spared: set[int] = set()

    def get_ready(self, verbs: Sequence[str]) -> None:
        """Call each as it is meant, see how long it takes and who works for it; what is there then may be."""
        self._spared = {pid for pid, process in descendants().items() if not process.is_pause}
        for name in verbs:
            verb, took = self.verbs[name], []
            for attempt in range(3):
                self._forget(verb)
                began = time.monotonic()
                with self._start(name, -attempt) as process:
                    said = process.communicate()[1].decode(errors="replace")
                took.append(time.monotonic() - began)
                if process.returncode:
                    sys.exit(f"{name} does not work here: {said}")
            self.takes[name] = statistics.median(took)
            self._outputs[name] = files(self.out)
            self.has[name] = self._who_works(name)
        for path in self.out.iterdir():
            _remove(path)
        self._known = self._traces() | {*self.store.asked()}

    def _who_works(self, name: str) -> set[str]:
        """The victims that one more call has."""
        self._forget(self.verbs[name])
        found = {"caller", "whole tree"}
        with self._start(name, -9) as process:
            while process.poll() is None:
                for each in self._started():
                    found |= {victim for victim, fits in KINDS.items() if fits(each)}
                time.sleep(0.002)
        return found | ({"caller and helpers"} if {"worker", "service"} & found else set())

    def round(self, number: int, name: str, victim: str, chance: random.Random) -> list[str] | None:
        """Kill once, let the next call come, and look; None where the call had ended before."""
        verb = self.verbs[name]
        self._forget(verb)
        moment = chance.uniform(0, self.takes[name])
        with self._start(name, number) as process:
            killed = self._kill(process, victim, moment)
            try:
                said = process.communicate(timeout=PATIENCE)[1].decode(errors="replace")
            except subprocess.TimeoutExpired:
                process.kill()
                said = process.communicate()[1].decode(errors="replace")
                return [f"the call hangs: {said[-300:]}"]
        if not killed:
            return None
        found = ["a traceback: " + said[-600:]] if "Traceback" in said else []
        reap()
        with self._start(name, number) as following:
            try:
                said = following.communicate(timeout=PATIENCE)[1].decode(errors="replace")
            except subprocess.TimeoutExpired:
                following.kill()
                said = "it hangs"
        if following.returncode:
            found.append(f"the next call ended with {following.returncode}: {said[-300:].strip()}")
        return [f"{line} (after {moment:.3f} s of {self.takes[name]:.3f})" for line in [*found, *self._left(name)]]

    def _kill(self, process: subprocess.Popen[bytes], victim: str, moment: float) -> bool:
        """Kill from that moment on whoever is the victim as soon as there is one; whether there was."""
        time.sleep(moment)
        while process.poll() is None:
            chosen = [each.pid for each in self._started() if self._is_victim(each, process.pid, victim)]
            for pid in chosen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if chosen:
                while victim == "whole tree" and (more := self._started()):
                    # What was being started at that moment.
                    for each in more:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(each.pid, signal.SIGKILL)
                return True
            time.sleep(0.001)
        return False

    def _is_victim(self, process: Process, caller: int, victim: str) -> bool:
        if victim == "caller":
            return process.pid == caller
        if victim == "caller and helpers":
            helps = is_service(process) or (is_worker(process) and process.name != "conmon")
            return process.pid == caller or helps
        return victim == "whole tree" or KINDS[victim](process)

    def _started(self) -> list[Process]:
        return [process for pid, process in descendants().items() if pid not in self._spared]

    def _left(self, verb: str) -> list[str]:
        """What is there that was not before, after what has been told to end has ended."""
        known = self._known | {f"file: {path}" for path in self._outputs[verb]}
        deadline = time.monotonic() + SETTLED
        while (new := self._traces() - known) and time.monotonic() < deadline:
            if all(map(is_of_tools, new)):
                break
            time.sleep(0.1)
        # Before that the tools are not asked: they might tidy up.
        new |= {*self.store.asked()} - known
        reap()
        # Each is told once.
        self._known |= new
        for process in self._started():
            if not process.is_pause:
                os.kill(process.pid, signal.SIGKILL)
        own = set(filter(is_of_tools, new))
        self.of_tools += len(own)
        return sorted(new - own)

    def _traces(self) -> set[str]:
        reap()
        found = {f"process: {each.pid} {each}" for each in self._started() if not each.is_pause}
        places = (self.home.path / ".local/state", self.home.temporary, self.home.runtime, self.out)
        paths = files(*places) | shared_files() | store_files(self.store)
        return {*found, *self.store.traces(), *(f"file: {path}" for path in paths)}

    def _forget(self, verb: Verb) -> None:
        for name in verb.forget:
            self.home.run(["buildah", "rmi", name], check=False)
        for path in self.out.iterdir():
            _remove(path)
        reap()

    def _start(self, name: str, number: int) -> subprocess.Popen[bytes]:
        words = self.verbs[name].words(number + 1000)
        return subprocess.Popen(
            [sys.executable, "-m", "rootless_scratch", *words],
            env=self.home.environment,
            cwd=self.home.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def _call(self, words: Sequence[str]) -> None:
        done = self.home.cli(*words)
        if done.returncode:
            sys.exit(f"{words[0]} does not work here: {done.stderr.decode(errors='replace')}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


KINDS: Mapping[str, Callable[[Process], bool]] = {"worker": is_worker, "service": is_service, "tools": is_tool}


def main() -> int:
    """Kill as often as was asked, in turn, and print the table."""
    parser = argparse.ArgumentParser(prog="scripts/campaign kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"kills in all [default: {ROUNDS}]")
    parser.add_argument("--verb", action="append", help="only this one, as the table names it; may be repeated")
    parser.add_argument("--victim", action="append", choices=VICTIMS, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other moments [default: 0]")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    words = parser.parse_args()
    adopt_orphans()
    home = Home(Path(tempfile.mkdtemp(prefix="rsk-")))
    try:
        with registry(home.path / "registry") as host:
            campaign = Campaign(home, host.port)
            verbs = words.verb or list(campaign.verbs)
            if unknown := set(verbs) - set(campaign.verbs):
                parser.error(f"no such verb: {', '.join(unknown)}; there are: {', '.join(campaign.verbs)}")
            campaign.get_ready(verbs)
            victims = words.victim or VICTIMS
            pairs = [(verb, victim) for victim in victims for verb in verbs if victim in campaign.has[verb]]
            sys.stderr.write(f"seed {words.seed}; {len(pairs)} pairs of verb and victim\n")
            kills, left = _kills(campaign, pairs, rounds=words.rounds, seed=words.seed)
    finally:
        for process in descendants().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        home.remove()
    rows = []
    for verb in verbs:
        cells = []
        for victim in victims:
            bad = len({each.number for each in left if (each.verb, each.victim) == (verb, victim)})
            count = kills.get((verb, victim))
            cells.append("-" if count is None else f"{count}: {bad}")
        rows.append([verb, *cells])
    bad = len({each.number for each in left})
    totals = [str(sum(count for (_, each), count in kills.items() if each == victim)) for victim in victims]
    rows.append([f"all {sum(kills.values())}: {bad}", *totals])
    sys.stderr.write(f"tools' own temporary files: {campaign.of_tools}\n")
    heading = ["verb", *victims]
    write_table("kill", heading, rows, into=Path("docs/reliability.md") if words.write else None)
    return 1 if left else 0


def _kills(
    campaign: Campaign, pairs: Sequence[tuple[str, str]], *, rounds: int, seed: int
) -> tuple[dict[tuple[str, str], int], list[Left]]:
    """How often each pair was tried, and what was left."""
    kills = dict.fromkeys(pairs, 0)
    left: list[Left] = []
    number = 0
    for verb, victim in itertools.islice(itertools.cycle(pairs), rounds):
        found = None
        for _attempt in range(TRIES):
            chance = random.Random(f"{seed} {number}")  # noqa: S311 - to be repeated, not to be secret
            found = campaign.round(number, verb, victim, chance)
            number += 1
            if found is not None:
                kills[verb, victim] += 1
                break
        for what in found or ():
            left.append(Left(number - 1, verb, victim, what))
            sys.stderr.write(f"left in round {number - 1}, {verb}, {victim}: {what}\n")
    return kills, left


if __name__ == "__main__":
    sys.exit(main())
