"""Build the smallest images of well-known programs, start them, and compare their sizes with other bases.

Needs Debian with the packages of CASES installed. The other bases are computed from what dpkg knows: nothing is
fetched. With --write the table goes into docs/sizes.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from corpus import ROOT, Bench

REPORT = ROOT / "docs/sizes.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_STILL_RUNNING = 124

SLIMMED = ("doc", "man", "info", "locale", "lintian", "linda", "groff")
"""Directories below /usr/share that debian:*-slim does without: debuerreotype, .slimify-excludes."""

DISTROLESS = (
    *("base-files", "netbase", "tzdata", "ca-certificates", "media-types"),
    *("libc6", "libssl3", "libgcc-s1", "libgomp1", "libstdc++6"),
)
"""The packages of gcr.io/distroless/cc-debian12."""

NGINX = """daemon off;
master_process off;
error_log stderr;
pid /tmp/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server { listen 8080; root /srv; }
}
"""


class Case(NamedTuple):
    """A program, its package, what its image needs more, and words that make it work; `says` tells that it does.

    A `server` has to be still running after two seconds.
    """

    package: str
    words: tuple[str, ...]
    arguments: tuple[str, ...]
    says: str
    server: bool = False


TEMPORARY = "/tmp"  # noqa: S108 - of the images
CASES = {
    "curl": Case(
        "curl",
        ("/usr/bin/curl", "--with", "ca-certificates"),
        ("-s", "file:///etc/ssl/certs/ca-certificates.crt"),
        "BEGIN CERTIFICATE",
    ),
    "git": Case(
        "git",
        ("/usr/bin/git", "--with", "auto"),
        ("init", f"{TEMPORARY}/repository"),
        "Initialized empty Git repository",
    ),
    "python3": Case(
        "python3",
        ("/usr/bin/python3", "--with", "auto"),
        ("-c", "import ssl, sqlite3, ctypes; print(6 * 7)"),
        "42",
    ),
    "nginx": Case(
        "nginx",
        (
            *("/usr/sbin/nginx", "--copy", "nginx.conf:/etc/nginx/nginx.conf", "--with", "tmp,nonroot"),
            *("--mkdir", "/srv", "--mkdir", "/var/log/nginx", "--mkdir", "/var/lib/nginx"),
        ),
        (),
        "",
        server=True,
    ),
    "redis-server": Case(
        "redis-server", ("/usr/bin/redis-server",), ("--save", ""), "Ready to accept connections", server=True
    ),
    "sqlite3": Case("sqlite3", ("/usr/bin/sqlite3",), (":memory:", "select 6 * 7"), "42"),
    "node": Case("nodejs", ("/usr/bin/node",), ("-e", "console.log(6 * 7)"), "42"),
}


def ask(*argv: str) -> str:
    """Ask dpkg, which says in part what it knows even where it does not know all."""
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120).stdout


class Package(NamedTuple):
    """A package that is installed: bytes, and for each dependency the packages that would do."""

    size: int
    essential: bool
    depends: tuple[tuple[str, ...], ...]


@cache
def packages() -> dict[str, Package]:
    """All that are installed."""
    return _installed()[0]


@cache
def _installed() -> tuple[dict[str, Package], dict[str, str]]:
    """All that are installed, and by other names that they provide the first that does."""
    form = "${Package}\t${Installed-Size}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\t${Status}\n"
    found: dict[str, Package] = {}
    provided: dict[str, str] = {}
    for line in ask("dpkg-query", "-W", "-f", form).splitlines():
        name, size, essential, depends, provides, status = line.split("\t")
        if status.endswith(" installed"):
            found[name] = Package(int(size or 0) * 1024, essential == "yes", tuple(_alternatives(depends)))
            for other in _alternatives(provides):
                provided.setdefault(other[0], name)
    return found, provided


def _alternatives(text: str) -> list[tuple[str, ...]]:
    parts = (part.split("|") for part in text.split(",") if part.strip())
    return [tuple(re.split(r"[\s:(]", name.strip())[0] for name in part) for part in parts]


def closure(*names: str) -> set[str]:
    """These packages and all that they depend on, of alternatives the first that is installed."""
    found: set[str] = set()
    pending = list(names)
    provided = _installed()[1]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for choice in packages()[name].depends:
            real = (each if each in packages() else provided.get(each) for each in choice)
            pending += [each for each in real if each is not None][:1]
    return found


def size_of(names: set[str]) -> int:
    """Sum of Installed-Size."""
    return sum(packages()[name].size for name in names)


def slimmed_of(names: set[str]) -> int:
    """Bytes of the files that slim images leave out."""
    paths = set(ask("dpkg-query", "-L", *sorted(names)).splitlines())
    wanted = tuple(f"/usr/share/{name}/" for name in SLIMMED)
    files = (path for path in paths if path.startswith(wanted) and not path.endswith("/copyright"))
    return sum(os.lstat(path).st_size for path in files if os.path.isfile(path) and not os.path.islink(path))


def owners_of(paths: set[str]) -> set[str]:
    """The packages that these files are from, under either name that a merged /usr gives them."""
    both = {path for each in paths for path in (each, each.removeprefix("/usr"), f"/usr{each}")}
    lines = ask("dpkg-query", "-S", *sorted(both)).splitlines()
    return {re.split(r"[:,]", line)[0] for line in lines}


def measure(bench: Bench, name: str, case: Case, slim: set[str]) -> tuple[str, ...]:
    """One row: megabytes of ours, on a base as debian:slim, on one as distroless."""
    words = (*case.words, "--bundle-libraries")
    built = bench.cli("build", *words, "-t", name, "--json")
    if built.returncode:
        sys.exit(f"sizes: {name} is not built:\n{built.stderr.decode()}{built.stdout.decode()}")
    answer: dict[str, Any] = json.loads(built.stdout)
    options = ("--timeout", "2") if case.server else ()
    done = bench.cli("run", "--network", "none", *options, name, *case.arguments)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    if done.returncode != (_STILL_RUNNING if case.server else 0) or case.says not in said:
        sys.exit(f"sizes: {name} ended with {done.returncode}:\n{said}")
    planned = json.loads(bench.cli("build", *words, "--dry-run", "--json").stdout)["plan"]["entries"]
    sources = {os.path.realpath(entry["source"]) for entry in planned if entry.get("source")}
    on_slim = size_of(slim | closure(case.package)) - slimmed_of(slim | closure(case.package))
    on_distroless = size_of(closed(DISTROLESS) | (owners_of(sources) & set(packages())))
    ours = answer["size"]
    ratio = f"{on_slim / ours:.1f}", f"{on_distroless / ours:.1f}"
    return (name, megabytes(ours), megabytes(on_slim), megabytes(on_distroless), *ratio)


def closed(names: tuple[str, ...]) -> set[str]:
    """Those of the packages that are installed here."""
    return {name for name in names if name in packages()}


def megabytes(size: int) -> str:
    """As in `12.3 MB`."""
    return f"{size / 1e6:.1f} MB"


def main() -> int:
    """Measure all, print a table, and with --write keep it."""
    essential = {name for name, package in packages().items() if package.essential}
    slim = closure(*essential, "apt")
    head = ("program", "from scratch", "on a slim Debian", "on distroless", "ratio to slim", "to distroless")
    rows: list[tuple[str, ...]] = [head]
    with tempfile.TemporaryDirectory(prefix="rsz-", ignore_cleanup_errors=True) as home:
        bench = Bench(Path(home))
        (Path(home) / "nginx.conf").write_text(NGINX)
        rows += [measure(bench, name, case, slim) for name, case in CASES.items()]
        bench.remove()
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    bases = (
        f"A slim Debian alone has {megabytes(size_of(slim) - slimmed_of(slim))}, "
        f"distroless {megabytes(size_of(closed(DISTROLESS)))}."
    )
    report = "\n".join((lines[0], "|---" * len(head) + "|", *lines[1:], "", bases))
    sys.stdout.write(report + "\n")
    if "--write" in sys.argv[1:]:
        before, _, rest = REPORT.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        REPORT.write_text(f"{before}{BEGIN}\n{report}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
