"""Containerfiles of tests/containerfiles/shapes with their contexts, and the images that they begin with.

A shape is a directory: `Containerfile`, the files of its context, and what Git cannot keep in `options.toml`:

    programs   files of the context that the tests make: "amd64", "arm64", "arm" (programs for these), "busybox"
    dynamic    a program that is linked dynamically; its loader and libraries lie beside it in lib64/ and lib/
    links, directories, modes, owners    of files of the context (owners count in archives only)
    archives   made of a directory of the context, which is gone then, by the suffix of their name
    build_args, target, platform, contexts, secrets    options of the build
    runs       what the image prints when it is started

What buildah 1.28 cannot read has a twin for it, `Containerfile.1.28`, which gives the same image.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tinyelf

FILES = Path(__file__).parent / "containerfiles"
SHAPES = sorted(path.name for path in (FILES / "shapes").iterdir())
TWIN = "Containerfile.1.28"
NOT_IN_CONTEXT = frozenset({"options.toml", TWIN})
MTIME = 1_700_000_000

BASES = (
    *("alpine:3.20", "busybox:1.36", "clang:17", "debian:12-slim", "gcc:13", "golang:1.22", "golang:1.22-alpine"),
    *("node:20", "rust:1.79", "rust:1.79-alpine", "gcr.io/distroless/static-debian12:nonroot"),
)
"""The names of the image of tests/containerfiles/workshop."""

ZONES = ("UTC", "Europe/Berlin", "America/New_York")


class Home(Protocol):
    """What the tests' conftest gives: a home directory with an image store of its own."""

    path: Path
    environment: dict[str, str]


class Shape(NamedTuple):
    """A context that is ready to be built."""

    name: str
    context: Path
    twin: Path | None
    options: dict[str, Any]
    more: tuple[str, ...] = ()

    def flags(self) -> list[str]:
        """The options of a build; those of `buildah build` have the same names as ours."""
        options = self.options
        flags = [*self.more]
        flags += [f"--build-arg={name}={value}" for name, value in options.get("build_args", {}).items()]
        flags += [f"--{name}={options[name]}" for name in ("target", "platform") if name in options]
        flags += [
            f"--build-context={name}={self.context / path}" for name, path in options.get("contexts", {}).items()
        ]
        return flags + [
            f"--secret=id={name},src={self.context / path}" for name, path in options.get("secrets", {}).items()
        ]


def program(kind: str) -> bytes:
    """A program that prints Hello World where its processor is this host's."""
    if kind == "busybox":
        busybox = shutil.which("busybox")
        assert busybox is not None, "install busybox-static"
        return Path(busybox).read_bytes()
    if kind == "amd64":
        return tinyelf.hello()
    if kind == "arm":
        return tinyelf.elf(machine="arm", tail=tinyelf.arm_attributes(10))
    return tinyelf.elf(machine={"arm64": "aarch64"}[kind])


def options_of(name: str) -> dict[str, Any]:
    """What options.toml of a shape says."""
    path = FILES / "shapes" / name / "options.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def prepare(name: str, parent: Path) -> Shape:
    """Make the context of a shape below `parent`; no mode and no time in it depends on this host or on Git."""
    source, context = FILES / "shapes" / name, parent / "context"
    copy_tree(source, context)
    options = options_of(name)
    for path, kind in options.get("programs", {}).items():
        put(context / path, program(kind), 0o755)
    if "dynamic" in options:
        put_dynamic(context, options["dynamic"])
    for path in options.get("directories", []):
        make_directory(context / path)
    for path, target in options.get("links", {}).items():
        make_directory((context / path).parent)
        (context / path).symlink_to(target)
    for path, mode in options.get("modes", {}).items():
        (context / path).chmod(int(mode, 8))
    for path, tree in options.get("archives", {}).items():
        archive(context / path, context / tree, tree, options.get("owners", {}))
    date(context)
    twin = source / TWIN
    return Shape(name=name, context=context, twin=twin if twin.exists() else None, options=options)


def copy_tree(source: Path, to: Path) -> None:
    """Copy files with the modes 0755 and 0644."""
    make_directory(to)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if str(relative) in NOT_IN_CONTEXT:
            continue
        if path.is_dir():
            make_directory(to / relative)
        else:
            executable = path.stat().st_mode & stat.S_IXUSR
            put(to / relative, path.read_bytes(), 0o755 if executable else 0o644)


def make_directory(path: Path) -> None:
    """A directory and those above it, with the mode 0755 whatever the umask is."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def put(path: Path, content: bytes, mode: int) -> None:
    make_directory(path.parent)
    path.write_bytes(content)
    path.chmod(mode)


def put_dynamic(context: Path, name: str) -> None:
    """A dynamic program, and what ldd(1) says that it needs."""
    source = FILES.parent.parent / "docs/hello.c"
    subprocess.run(["gcc", "-o", context / name, source], check=True)
    lines = subprocess.run(["ldd", context / name], check=True, capture_output=True, text=True).stdout
    for line in lines.splitlines():
        library = next((part for part in line.split() if part.startswith("/")), None)
        if library is not None:
            within = "lib64" if "/ld-" in library else "lib/x86_64-linux-gnu"
            put(context / within / Path(library).name, Path(library).read_bytes(), 0o755)


def archive(path: Path, tree: Path, name: str, owners: dict[str, list[int]]) -> None:
    """Pack what a directory holds, or a single file, as the suffix of the archive's name says."""
    if tree.is_file():
        path.write_bytes(gzip.compress(tree.read_bytes(), mtime=0))
        return
    suffix = path.suffix.removeprefix(".")
    mode = "w" if suffix == "tar" else f"w:{suffix}"

    def settle(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = owners.get(f"{name}/{member.name.removeprefix('./')}", (0, 0))
        member.uname = member.gname = ""
        member.mtime = MTIME + 1
        return member

    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for each in sorted(tree.iterdir()):
            packed.add(each, f"./{each.name}", filter=settle)
    shutil.rmtree(tree)


def date(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)


def buildah(home: Home, *argv: str | Path) -> str:
    """Run buildah; RUN needs no container runtime, so that it works wherever buildah does."""
    done = subprocess.run(
        ["buildah", *argv],
        env=home.environment | {"BUILDAH_ISOLATION": "chroot"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def make_bases(home: Home, directory: Path) -> None:
    """Build the workshop, and give it the names of the images that it stands for."""
    context = directory / "workshop"
    copy_tree(FILES / "workshop", context)
    put(context / "busybox", program("busybox"), 0o755)
    for kind in ("amd64", "arm64"):
        put(context / "root/opt/programs" / kind, program(kind), 0o755)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt").read_bytes()
    put(context / "root/etc/ssl/certs/ca-certificates.crt", certificates, 0o644)
    for zone in ZONES:
        put(context / "root/usr/share/zoneinfo" / zone, Path("/usr/share/zoneinfo", zone).read_bytes(), 0o644)
    date(context)
    buildah(home, "build", "-q", "-t", BASES[0], context)
    buildah(home, "tag", *BASES)


def build(home: Home, shape: Shape, layout: Path) -> None:
    """What `buildah build` makes of a shape, as a layout."""
    file = shape.twin or shape.context / "Containerfile"
    name = f"shape-{shape.name}"
    flags = [flag for flag in shape.flags() if shape.twin is None or not flag.startswith("--target=")]
    buildah(home, "build", "-q", "-t", name, "-f", file, *flags, shape.context)
    buildah(home, "push", "-q", name, f"oci:{layout}:built")
