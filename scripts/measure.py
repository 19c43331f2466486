"""What scripts/bench measures: medians of alternating runs, in one go, as markdown tables of ratios."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench_home import Bench, seconds, table
from measure_files import measure_containerfiles

from rootless_scratch import __version__
from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OURS = str(Path(sys.executable).with_name("rootless-scratch"))
SIZES = {"0.75 MB": (0, 15), "100 MB": (100_000_000, 7), "500 MB": (500_000_000, 5)}
"""Size of the padded program in bytes (0: as compiled), and how often each way of building it is timed."""

_LOOP = 50

CONTAINERFILE = """FROM scratch
COPY hello /hello
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

BARE = """set -e
container=$(buildah from scratch)
root=$(buildah mount "$container")
cp "$1" "$root/hello"
buildah config --user 65532:65532 --entrypoint '["/hello"]' "$container"
buildah umount "$container" >&2
buildah commit -q "$container" bench
buildah rm "$container" >&2
"""


def machine(bench: Bench) -> str:
    """Name what was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    driver = re.search(r'"GraphDriverName": "(\w+)"', bench.ask("buildah", "info"))
    parts = (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()} {platform.machine()}",
        f"storage driver {driver[1] if driver else 'unknown'}",
        bench.ask("buildah", "--version").partition(" (")[0].replace(" version", ""),
        bench.ask("podman", "--version").replace(" version", ""),
        f"Python {platform.python_version()}",
        f"rootless-scratch {__version__}",
    )
    return "Measured by `scripts/bench`: " + "; ".join(parts) + ". Medians; lower is better."


def measure_build(bench: Bench, program: Path) -> str:
    """Whole builds, from the command to its end."""
    head = (
        "program",
        "`rootless-scratch build`",
        "`buildah build`",
        "bare script",
        "ratio to build",
        "to script",
    )
    rows: list[Sequence[str]] = [head]
    for label, (size, runs) in SIZES.items():
        context = prepare(bench, program, size)
        ours, theirs, bare = bench.alternate(
            {
                "ours": [OURS, "build", "-q", str(context / "hello"), "-t", "bench"],
                "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
                "bare": ["buildah", "unshare", "sh", "-c", BARE, "sh", str(context / "hello")],
            },
            runs=runs,
            clean=True,
        ).values()
        times = (seconds(ours), seconds(theirs), seconds(bare))
        rows.append((label, *times, f"{ours / theirs:.2f}", f"{ours / bare:.2f}"))
    return table("Building", rows)


def measure_layouts(bench: Bench, program: Path) -> str:
    """Whole builds to a layout, against buildah's into storage, and against what any copy and sum costs."""
    head = ("program", "`build -o oci:`", "`buildah build`", "`cp` + sha256", "ratio to build", "to `cp` + sha256")
    rows: list[Sequence[str]] = [head]
    for label, (size, runs) in SIZES.items():
        context = prepare(bench, program, size)
        source, copy = str(context / "hello"), str(bench.home / "copy")
        layout = str(bench.home / "layout")
        ours, theirs, copied = bench.alternate(
            {
                # What is there already would not be written again.
                "ours": ["sh", "-c", 'rm -rf "$1"; exec "$0" build -q "$2" -o "oci:$1"', OURS, layout, source],
                "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
                "copied": ["sh", "-c", 'rm -f "$1"; cp "$0" "$1" && openssl sha256 "$1"', source, copy],
            },
            runs=runs,
            clean=True,
        ).values()
        times = (seconds(ours), seconds(theirs), seconds(copied))
        rows.append((label, *times, f"{ours / theirs:.2f}", f"{ours / copied:.2f}"))
    return table("Writing a layout", rows)


def measure_interpreter(bench: Bench) -> str:
    """An interpreter with what its recipe brings, against copying the very files, and `buildah build` of them."""
    words = ["/usr/bin/python3", "--bundle-libraries", "--with", "auto"]
    layout, tree, context = (bench.home / name for name in ("python", "python-tree", "python-context"))
    bench.time([OURS, "build", "-q", *words, "-o", f"oci:{layout}"])
    blobs = (layout / "blobs/sha256").iterdir()
    tree.mkdir()
    bench.time(["tar", "-xf", str(max(blobs, key=lambda path: path.stat().st_size)), "-C", str(tree)])
    context.mkdir()
    shutil.copytree(tree, context / "tree", symlinks=True)
    (context / "Containerfile").write_text("FROM scratch\nCOPY tree /\n", encoding="ascii")
    copying = 'rm -rf "$1"; cp -a "$0" "$1" && find "$1" -type f -exec cat {} + | openssl sha256'
    ours, stored, copied, theirs = bench.alternate(
        {
            "ours": [
                "sh",
                "-c",
                'rm -rf "$1"; out=$1; shift; exec "$0" build -q "$@" -o "oci:$out"',
                OURS,
                str(layout),
                *words,
            ],
            "stored": [OURS, "build", "-q", *words, "-t", "bench"],
            "copied": ["sh", "-c", copying, str(tree), str(bench.home / "copy-of-python")],
            "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
        },
        runs=7,
        clean=True,
    ).values()
    head = ("", "time", "against the same files copied and summed", "against `buildah build` of them")
    rows = [
        (label, seconds(time), f"{time / copied:.2f}", f"{time / theirs:.2f}")
        for label, time in (("`-o oci:`", ours), ("`-t`", stored))
    ]
    return table("`build /usr/bin/python3 --bundle-libraries --with auto`", (head, *rows))


def measure_archives(bench: Bench, program: Path) -> str:
    """A compressed archive, against the usual way to one: save from storage, then gzip."""
    source = bench.home / "padded"
    pad(program, source, 100_000_000)
    bench.time([OURS, "build", "-q", str(source), "-t", "bench"])
    archive = str(bench.home / "archive.tar")
    ways = {
        "ours": [OURS, "build", "-q", str(source), "-o", f"oci-archive:{archive}", "--compress", "gzip"],
        "theirs": ["sh", "-c", 'podman save -q --format oci-archive bench | gzip -n >"$0"', f"{archive}.gz"],
    }
    ours, theirs = bench.alternate(ways, runs=3, clean=False).values()
    head = ("program", "`build -o oci-archive: --compress gzip`", "`podman save \\| gzip`", "ratio")
    row = ("100 MB", seconds(ours), seconds(theirs), f"{ours / theirs:.2f}")
    return table("Writing a compressed archive", (head, row)) + "\n\n" + memory(bench, program)


def memory(bench: Bench, program: Path) -> str:
    """Name the most memory that a build of 2 GB has at once, as getrusage(2) tells it of an ended child."""
    source = bench.home / "sparse"
    shutil.copy(program, source)
    os.truncate(source, 2_000_000_000)
    words = [OURS, "build", "-q", str(source), "-o", f"oci:{bench.home}/large"]
    return f"A program of 2 GB is written to a layout with {peak(bench, words):.0f} MB of memory at most."


def peak(bench: Bench, words: Sequence[str]) -> float:
    """Megabytes that a command has at once, or a process that it waits for, such as a service of ours."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return int(bench.ask(sys.executable, "-c", script, *words)) / 1000


def prepare(bench: Bench, program: Path, size: int) -> Path:
    """The folder that is built: the program, padded to `size` bytes, and a Containerfile that does as we do."""
    context = bench.home / "context"
    context.mkdir(exist_ok=True)
    pad(program, context / "hello", size)
    (context / "Containerfile").write_text(CONTAINERFILE, encoding="utf-8")
    return context


def pad(program: Path, target: Path, size: int) -> None:
    """Copy a program and append noise that does not compress; an ELF file may have a tail."""
    shutil.copy(program, target)
    with target.open("ab") as file:
        while (missing := size - file.tell()) > 0:
            file.write(os.urandom(min(missing, 1 << 20)))


def measure_run(bench: Bench, program: Path) -> str:
    """Whole runs of a program that prints one line: by themselves, beside a service, in a loop, and at once."""
    bench.time([OURS, "build", "-q", str(program), "-t", "bench"])
    runtime = choose_runtime().name
    podman = ["podman", *(["--runtime", runtime] if runtime else [])]
    ours, theirs = (
        [OURS, "run", "-q", "--network", "none", "bench"],
        [*podman, "run", "--rm", "--network", "none", "bench"],
    )
    loop = f"import rootless_scratch as rs\nfor _ in range({_LOOP}): rs.run('bench', network='none')"
    repeat = ["sh", "-c", f'for each in $(seq {_LOOP}); do "$@" >&2; done', "sh", *theirs]
    at_once = ["sh", "-c", f'for each in $(seq {_LOOP}); do "$@" >&2 & done; wait', "sh"]
    socket = bench.runtime / "bench.sock"
    service = subprocess.Popen(
        [*podman, "system", "service", "--time=0", f"unix://{socket}"],
        env=bench.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    beside = ["env", f"CONTAINER_HOST=unix://{socket}"]
    try:
        while not socket.exists():
            time.sleep(0.05)
        ways = (
            ("whole process", 1, ours, theirs, 15),
            ("beside a service", 1, [*beside, *ours], theirs, 15),
            (f"`rs.run`, each of {_LOOP} in a loop", _LOOP, [*beside, sys.executable, "-c", loop], repeat, 2),
            (f"{_LOOP} at once", 1, [*at_once, *ours], [*at_once, *theirs], 2),
        )
        rows: list[Sequence[str]] = [("", "`rootless-scratch run`", f"`{' '.join(theirs[:-1])}`", "ratio")]
        for name, count, mine, other, runs in ways:
            taken, needed = bench.alternate({"ours": mine, "theirs": other}, runs=runs, clean=False).values()
            rows.append((name, seconds(taken / count), seconds(needed / count), f"{taken / needed:.2f}"))
    finally:
        os.killpg(service.pid, 15)
        service.wait()
    return table("Running", rows)


def measure_streams(bench: Bench) -> str:
    """Send 2 GB through stdin and stdout of `cat`, from a file and to a pipe that is read at once."""
    bench.time([OURS, "build", "-q", "--bundle-libraries", "/bin/cat", "-t", "cat"])
    source = bench.home / "zeros"
    source.touch()
    os.truncate(source, 2_000_000_000)  # no block of it lies on a disk, so nobody waits for one
    runtime = choose_runtime().name
    podman = [
        "podman",
        *(["--runtime", runtime] if runtime else []),
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        "cat",
    ]
    words = [OURS, "run", "-q", "-i", "--network", "none", "cat"]
    through = ["sh", "-c", '"$@" <"$0" | cat >/dev/null', str(source)]
    ways = {"ours": [*through, *words], "theirs": [*through, *podman]}
    ours, theirs = bench.alternate(ways, runs=3, clean=False).values()
    head = ("stdin to stdout", "`rootless-scratch run -i`", "`podman run -i`", "ratio", "our memory")
    most = peak(bench, ["sh", "-c", 'exec "$@" <"$0"', str(source), *words])
    speeds = (f"{2000 / ours:.0f} MB/s", f"{2000 / theirs:.0f} MB/s", f"{theirs / ours:.2f}")
    return table("Streaming, where higher is better", (head, ("2 GB", *speeds, f"{most:.0f} MB")))


def measure_check(bench: Bench) -> str:
    """Judge every program of /usr/bin in one call, against ldd(1), which asks the loader one by one."""
    programs = [str(path) for path in sorted(Path("/usr/bin").iterdir()) if is_program(path)]
    # Both say by their exit code what they found, which is not asked here.
    ways = {
        "ours": ["sh", "-c", '"$@" >checked 2>&1 || :', "sh", OURS, "check", "--bundle-libraries", *programs],
        "theirs": ["sh", "-c", 'for each; do ldd "$each"; done >listed 2>&1 || :', "sh", *programs],
    }
    ours, theirs = bench.alternate(ways, runs=3, clean=False).values()
    head = ("programs", "`check --bundle-libraries`", "programs per second", "`ldd` one by one", "ratio")
    count = len(programs)
    row = (str(count), seconds(ours), f"{count / ours:.0f}", seconds(theirs), f"{ours / theirs:.2f}")
    return table("Checking", (head, row))


def is_program(path: Path) -> bool:
    """Tell ELF files from scripts, and from what is not to be read."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def measure_start(bench: Bench) -> str:
    """Time the start of the program itself against that of Python, and name what it imports."""
    base = [sys.executable, "-c", "pass"]
    ways = {
        "`python -c pass`": base,
        "`--version`": [OURS, "--version"],
        "`build --help`": [OURS, "build", "--help"],
    }
    times = bench.alternate(ways, runs=20, clean=False)
    bare = times["`python -c pass`"]
    rows: list[Sequence[str]] = [("start of", "time", "ratio")]
    rows += [(name, f"{taken * 1000:.0f} ms", f"{taken / bare:.1f}") for name, taken in times.items()]
    return table("Starting", rows) + "\n\n" + imports(bench)


def imports(bench: Bench) -> str:
    """Name the slowest imports of `--version` that a bare Python does not make."""
    baseline = set(import_times(bench, "-c", "pass"))
    found = import_times(bench, "-m", "rootless_scratch", "--version")
    own = {name: taken for name, taken in found.items() if name not in baseline}
    top = sorted(own.items(), key=lambda each: -each[1])[:10]
    named = ", ".join(f"{name} {taken / 1000:.1f}" for name, taken in top)
    return (
        f"`--version` imports {len(own)} modules that a bare Python does not; "
        f"the slowest by themselves, in ms: {named}."
    )


def import_times(bench: Bench, *argv: str) -> dict[str, int]:
    """Microseconds that each import took by itself, as `python -X importtime` tells."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        env=bench.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE)
    return {name: int(taken) for taken, name in lines}


def write(report: str) -> None:
    """Replace what stands between the marks in docs/performance.md."""
    before, begin, rest = REPORT.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"bench: {REPORT} lacks the marks {BEGIN} and {END}")
    REPORT.write_text(f"{before}{BEGIN}\n{report}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure, print, and with --write also keep."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="also write the tables into docs/performance.md")
    parser.add_argument("--driver", help="storage driver of the bench (default: the host's)")
    options = parser.parse_args()
    bench = Bench(options.driver)
    try:
        program = bench.home / "hello"
        bench.time(["gcc", "-static", "-o", str(program), str(ROOT / "docs/hello.c")])
        parts = (
            machine(bench),
            measure_build(bench, program),
            measure_layouts(bench, program),
            measure_interpreter(bench),
            measure_containerfiles(bench, program),
            measure_archives(bench, program),
            measure_run(bench, program),
            measure_streams(bench),
            measure_check(bench),
            measure_start(bench),
        )
    finally:
        bench.close()
    report = "\n\n".join(parts)
    sys.stdout.write(report + "\n")
    if options.write:
        write(report)


if __name__ == "__main__":
    main()
