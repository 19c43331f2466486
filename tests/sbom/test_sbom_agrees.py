"""What others say of the same files: `go version -m` of programs, package managers of the files of hosts."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put
from rpms import install
from sbom_subjects import require_valid

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIANS = ("buildah", "podman", "skopeo", "umoci", "docker-registry")
FIELDS = ("Package", "Version", "Architecture", "source:Package", "source:Version")
PROGRAMS = 30


def module(proxy: Path, name: str, version: str) -> None:
    """A module in a directory that GOPROXY may name."""
    put(proxy, f"{name}/@v/list", f"{version}\n".encode())
    put(proxy, f"{name}/@v/{version}.info", json.dumps({"Version": version}).encode())
    text = f"module {name}\n"
    put(proxy, f"{name}/@v/{version}.mod", text.encode())
    with zipfile.ZipFile(proxy / f"{name}/@v/{version}.zip", "w") as archive:
        archive.writestr(f"{name}@{version}/go.mod", text)
        archive.writestr(f"{name}@{version}/lib.go", f"package {name.rpartition('/')[2]}\n\nfunc Speak() {{}}\n")


@pytest.fixture(scope="module")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Programs with none, one and several modules, replaced ones too, built in several ways; and Debian's."""
    place = tmp_path_factory.mktemp("go")
    proxy = place / "proxy"
    for name, version in (("one", "v1.2.3"), ("new", "v0.9.0"), ("old", "v0.1.0")):
        module(proxy, f"example.com/{name}", version)
    put(place, "beside/go.mod", b"module example.com/beside\n")
    put(place, "beside/lib.go", b"package beside\n\nfunc Speak() {}\n")
    environment = os.environ | {
        "GOPROXY": f"file://{proxy}",
        "GONOSUMDB": "*",
        "GOFLAGS": "-mod=mod -modcacherw",
        "GOPATH": str(place / "path"),
        "GOCACHE": str(place / "cache"),
        "CGO_ENABLED": "0",
    }
    replaced = "require example.com/old v0.1.0\nreplace example.com/old => example.com/new v0.9.0\n"
    beside = "require example.com/beside v0.0.0\nreplace example.com/beside => ../beside\n"
    needs = {
        "none": ("", []),
        "one": ("require example.com/one v1.2.3\n", ["one"]),
        "new": (replaced, ["old"]),
        "all": (f"{beside}require example.com/one v1.2.3\n{replaced}", ["beside", "old", "one"]),
    }
    made = []
    for (name, (lines, modules)), (flags, mode) in itertools.product(
        needs.items(), itertools.product(("", "-s -w"), ("exe", "pie"))
    ):
        source = place / name
        put(source, "go.mod", f"module example.com/{name}program\n\ngo 1.19\n\n{lines}".encode())
        imports = "".join(f'import {each} "example.com/{each}"\n' for each in modules)
        calls = "".join(f"{each}.Speak()\n" for each in modules)
        put(source, "main.go", f"package main\n\n{imports}\nfunc main() {{ {calls} }}\n".encode())
        output = str(place / f"{name}-{mode}{'-stripped' if flags else ''}")
        argv = ["go", "build", "-buildvcs=false", f"-buildmode={mode}", f"-ldflags={flags}", "-o", output, "."]
        subprocess.run(argv, cwd=source, env=environment, check=True, capture_output=True)
        made.append(output)
    there = (f"/usr/bin/{name}" for name in DEBIANS)
    return [*made, *(path for path in there if os.path.exists(path))]


def said_by_go(program: str) -> set[tuple[str, str, str]]:
    """Modules with version and sum, a replaced one by what replaces it; what has no version by its own name."""
    done = subprocess.run(["go", "version", "-m", program], check=True, capture_output=True, text=True)
    found: list[tuple[str, str, str]] = []
    for line in done.stdout.splitlines()[1:]:
        kind, *parts = line.strip("\t").split("\t")
        name, version, checksum = (*parts, "", "", "")[:3]
        version = "" if version == "(devel)" else version
        if kind == "dep":
            found.append((name, version, checksum))
        elif kind == "=>":
            before = found.pop()
            found.append((before[0], "", checksum) if name.startswith(".") else (name, version, checksum))
    return set(found)


@pytest.mark.compiler
def test_go_says_the_same_of_go_programs(go_programs: list[str]) -> None:
    assert len(go_programs) >= 20
    for program in go_programs:
        found = rs.sbom(program)
        ours = {
            (each.name, each.version or "", dict(each.more).get("go:sum", ""))
            for each in found.components
            if each.found_by == "Go build information" and each.inner and each.name != "stdlib"
        }
        assert ours == said_by_go(program), program
        version = subprocess.run(["go", "version", program], check=True, capture_output=True, text=True).stdout
        toolchains = {each.version for each in found.components if each.name == "stdlib"}
        assert toolchains == {version.split()[1].removeprefix("go")}, program


def programs_of_the_host() -> Iterator[str]:
    """Programs from all over /usr/bin, each once."""
    found = sorted({str(path.resolve()) for path in Path("/usr/bin").iterdir() if path.is_file()})
    for path in found[:: max(1, len(found) // (3 * PROGRAMS))]:
        with open(path, "rb") as file:
            if file.read(4) == b"\x7fELF" and path.startswith("/usr/bin/"):
                yield path


def owner(path: str) -> dict[str, str] | None:
    """What the package manager of the host says of a file; None where nothing owns it."""
    if os.path.exists("/usr/bin/dpkg-query"):
        for each in (path, path.removeprefix("/usr"), f"/usr{path}"):
            done = subprocess.run(["dpkg", "-S", each], capture_output=True, text=True, check=False)
            lines = [line for line in done.stdout.splitlines() if not line.startswith("diversion by")]
            if lines:
                name = lines[0].rpartition(": ")[0].partition(", ")[0]
                form = "\\n".join(f"${{{field}}}" for field in FIELDS)
                shown = subprocess.run(
                    ["dpkg-query", "-W", f"-f={form}", name], check=True, capture_output=True, text=True
                )
                return dict(zip(FIELDS, shown.stdout.splitlines(), strict=True))
        return None
    form = "%{NAME}\\n%{VERSION}-%{RELEASE}\\n%{ARCH}\\n%{SOURCERPM}\\n"
    done = subprocess.run(["rpm", "-qf", "--queryformat", form, path], capture_output=True, text=True, check=False)
    return dict(zip(FIELDS, done.stdout.splitlines(), strict=False)) if done.returncode == 0 else None


@pytest.mark.slow
@pytest.mark.compiler
def test_the_hosts_package_manager_says_the_same_of_thirty_bundled_programs(tmp_path: Path) -> None:
    programs = list(programs_of_the_host())[:PROGRAMS]
    assert len(programs) == PROGRAMS
    files = [f"{form}:{tmp_path}/{form}" for form in ("spdx", "cyclonedx")]
    rs.build(*programs, bundle_libraries=True, output=f"oci:{tmp_path}/out", sbom=files, check=False)
    found = rs.sbom(f"oci:{tmp_path}/out")
    ours: dict[str, Any] = {
        path: each for each in found.components for path in each.paths if each.found_by.startswith("database of")
    }
    assert set(programs) <= ours.keys()
    for path in sorted({path for each in found.components for path in each.paths}):
        theirs = owner(path)
        mine = ours.get(path)
        assert (None if mine is None else mine.name) == (None if theirs is None else theirs["Package"]), path
        if theirs is not None and mine is not None:
            assert mine.version == theirs["Version"]
            assert f"arch={theirs['Architecture']}" in mine.purl
            if "source:Package" in theirs and theirs.get("source:Version"):
                assert dict(mine.more)["source"] == f"{theirs['source:Package']} {theirs['source:Version']}"
    for form in ("spdx", "cyclonedx"):
        text = (tmp_path / form).read_text()
        require_valid(form, text, tmp_path)
        assert text == rs.sbom(f"oci:{tmp_path}/out", format=form).document


SPEC = """Name: web
Epoch: 1
Version: 2.0
Release: 3
Summary: web
License: MIT
BuildArch: noarch
%description
web
%install
mkdir -p %{buildroot}/usr/bin
cp %{_topdir}/program %{buildroot}/usr/bin/web
%files
/usr/bin/web
"""


@pytest.mark.compiler
def test_a_file_of_fedora_is_its_packages(tmp_path: Path) -> None:
    program = tinyelf.elf()
    put(tmp_path, "rpm/program", program)
    root = tmp_path / "fedora"
    put(root, "etc/os-release", b"ID=fedora\nVERSION_ID=40\n")
    install(SPEC, tmp_path, root)
    web = put(root, "usr/bin/web", program)
    (component,) = rs.sbom(web, sysroot=root).components
    assert component.purl == "pkg:rpm/fedora/web@2.0-3?arch=noarch&distro=fedora-40&epoch=1"
    assert (component.version, component.license) == ("1:2.0-3", "MIT")
    put(root, "usr/bin/web", program + b"changed")
    (file,) = rs.sbom(web, sysroot=root).components
    assert (file.kind, dict(file.more)) == ("file", {"changed-since": "web 1:2.0-3"})
