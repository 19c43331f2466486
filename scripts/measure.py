"""Measure ours and theirs in turn: tables of ratios, aims that are met or missed, and what has become worse.

scripts/bench runs it, and tells it what git knows: the unprivileged user's copy of a checkout has no repository.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benches import history, report
from benches.groups import GROUPS
from benches.home import ROOT, Bench

from rootless_scratch import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benches.groups import Group

PAGE = ROOT / "docs/performance.md"
HISTORY = ROOT / "docs/performance-history.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and do what the options say with it."""
    options = parse(argv)
    try:
        kept = history.read_history(HISTORY)
        before = base(options, kept)
        if options.measured:
            line, text = history.parse_line(options.measured.read_text(encoding="utf-8")), None
        else:
            line, text = measure(options)
    except history.HistoryError as error:
        sys.exit(f"bench: {error}")
    if text is not None and options.json != Path("-"):
        aimed = [group for group in wanted(options.only) if group.aims]
        sys.stdout.write(f"{text}\n" + (f"\n### Aims\n\n{report.aims([line], aimed)}\n" if aimed else ""))
    if options.json == Path("-"):
        sys.stdout.write(line.to_json() + "\n")
    elif options.json:
        options.json.write_text(line.to_json() + "\n", encoding="utf-8")
    if options.write:
        with HISTORY.open("a", encoding="utf-8") as file:
            file.write(line.to_json() + "\n")
        page = report.renew(PAGE.read_text(encoding="utf-8"), [*kept, line], text)
        PAGE.write_text(page, encoding="utf-8")
    return compare(before, line) if before else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options; those that contradict each other end the program."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure ours and theirs in turn.")
    names = [group.name for group in GROUPS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"groups: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="time each way less often")
    parser.add_argument("--driver", help="storage driver of the bench (default: the host's)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write one line of JSON, as the history has; - prints it"
    )
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md and its history")
    parser.add_argument(
        "--compare", metavar="REV", help="name what is more than a tenth worse than at REV; exit code 1"
    )
    parser.add_argument("--measured", type=Path, metavar="FILE", help="compare what --json wrote, measure nothing")
    parser.add_argument("--commit", default="unknown", help=argparse.SUPPRESS)
    parser.add_argument("--changed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--commits", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.write and (options.only or options.quick or options.measured):
        parser.error("--write keeps whole measurements: without --only, --quick and --measured")
    if options.measured and not options.compare:
        parser.error("--measured needs --compare REV")
    return options


def base(options: argparse.Namespace, kept: Sequence[history.Line]) -> history.Line | None:
    """The line to compare with, if any; raises HistoryError where there is none."""
    if not options.compare:
        return None
    commits = options.commits.read_text(encoding="ascii").split() if options.commits else [options.compare]
    found = history.find_base(kept, commits)
    if found is None:
        raise history.HistoryError(
            f"{HISTORY.name} has no line of {options.compare}, nor of a commit before it (scripts/bench --write)"
        )
    return found


def measure(options: argparse.Namespace) -> tuple[history.Line, str]:
    """Measure the groups that are wanted; a line for the history, and tables to read."""
    figures: dict[str, float] = {}
    reasons: dict[str, str] = {}
    bench = Bench(options.driver, quick=options.quick)
    try:
        driver = re.search(r'"GraphDriverName": "(\w+)"', bench.ask("buildah", "info"))
        line = history.Line(
            commit=options.commit,
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            changed=options.changed,
            quick=options.quick,
            machine=machine(),
            tools=tools(bench),
            driver=driver[1] if driver else "unknown",
            ratios=figures,
            reasons=reasons,
        )
        parts = [introduction(line)]
        for group in wanted(options.only):
            begin = time.monotonic()
            result = group.measure(bench)
            figures.update(result.figures)
            reasons.update(result.reasons)
            parts += result.tables
            sys.stderr.write(f"bench: {group.name}: {time.monotonic() - begin:.0f} s\n")
    finally:
        begin = time.monotonic()
        bench.close()
        sys.stderr.write(f"bench: cleared away: {time.monotonic() - begin:.0f} s\n")
    return line, "\n\n".join(parts)


def wanted(names: Sequence[str] | None) -> list[Group]:
    """The groups of these names, all without, in the order of their table."""
    return [group for group in GROUPS if not names or group.name in names]


def machine() -> dict[str, str | int]:
    """What was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def tools(bench: Bench) -> dict[str, str]:
    """The versions of ours, and of what it is measured against."""
    found = {"rootless-scratch": __version__, "python": platform.python_version()}
    for name in ("buildah", "podman"):
        version = re.search(r"\d\S*", bench.ask(name, "--version"))
        found[name] = version[0] if version else "unknown"
    return found


def introduction(line: history.Line) -> str:
    """One paragraph that says what the tables were measured with."""
    host = line.machine
    parts = (
        f"{host['cores']} cores, {host['memory']}, {host['kernel']} {host['architecture']}",
        f"storage driver {line.driver}",
        *(f"{name} {version}" for name, version in line.tools.items()),
    )
    return (
        f"Measured by `scripts/bench`{' --quick' if line.quick else ''}: {'; '.join(parts)}. Medians, also "
        "of the ratios of each round; lower is better."
    )


def compare(before: history.Line, now: history.Line) -> int:
    """Print what is worse, and return the exit code."""
    found = list(history.worse(before, now))
    for remark in history.remarks(before, now):
        sys.stderr.write(f"bench: {remark}\n")
    verdict = "worse" if found else "nothing is worse"
    sys.stderr.write(f"bench: {verdict} by more than 10 % than at {before.commit[:12]} ({before.date})\n")
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
