"""Programs, archives and databases that are made to cost much, or to lie: bounded, and said."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put
from sbom_subjects import debian, faults, go_program, paragraph, rust_program, with_section

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BROKEN = "sbom-metadata-broken"
MEMORY = 400 << 20
SECONDS = 20


def crates(content: bytes) -> bytes:
    return with_section(tinyelf.elf(), b".dep-v0", content)


def noted(text: bytes) -> bytes:
    return tinyelf.elf(notes=[tinyelf.note("FDO", 0xCAFE1A7E, text)])


def bomb(size: int) -> bytes:
    packing = zlib.compressobj(9)
    return b"".join(packing.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packing.flush()


PROGRAMS: dict[str, Callable[[], bytes]] = {
    "go-claims-a-gigabyte": lambda: go_program("path\tx", length=1 << 30),
    "go-has-two-megabytes": lambda: go_program(*(f"dep\texample.com/m{n}\tv1.0.0\th1:x=" for n in range(60_000))),
    "go-has-control-characters": lambda: go_program("mod\tx\x1b[2J\tv1\t"),
    "go-version-is-no-version": lambda: go_program("path\tx", version="go1\n" + "9" * 3000),
    "crates-are-a-bomb": lambda: crates(bomb(1 << 30)),
    "crates-are-cut": lambda: crates(zlib.compress(b'{"packages":[]}')[:-4]),
    "crates-are-no-zlib": lambda: crates(b"PK\3\4" * 10),
    "crates-are-deep": lambda: crates(zlib.compress(b"[" * 1_000_000)),
    "crates-are-another-json": lambda: crates(zlib.compress(b'{"packages":7}')),
    "crates-point-nowhere": lambda: rust_program(
        {"name": "a", "version": "1", "source": "local", "root": True, "dependencies": [9]}
    ),
    "note-is-no-json": lambda: noted(b"{"),
    "note-is-a-list": lambda: noted(b"[1]"),
    "note-is-deep": lambda: noted(b'{"name":' + b"[" * 20_000),
    "note-has-no-name": lambda: noted(b'{"name":{"a":1}}'),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_lies_costs_little_and_is_told_of(tmp_path: Path, name: str) -> None:
    program = put(tmp_path, "program", PROGRAMS[name]())
    answer = bounded("sbom", program, "--json")
    assert [each["rule"] for each in answer["findings"] if each["severity"] == "warning"][:1] == [BROKEN]
    assert program in str(answer["components"]), "the file itself is listed in any case"


def bounded(*words: str) -> dict[str, list[dict[str, str]]]:
    """The answer of a process with little memory and little time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    argv = [sys.executable, "-m", "rootless_scratch", *words]
    done = subprocess.run(argv, capture_output=True, timeout=120, check=False, preexec_fn=limit)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    answer: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return answer


def test_archives_of_java_that_are_bombs_are_told_of(tmp_path: Path) -> None:
    place = tmp_path / "jars"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/maven/a/b/pom.properties", b"version=" + b"1" * (64 << 20))
    put(place, "bomb.jar", content.getvalue())
    put(place, "short.jar", content.getvalue()[:100])
    huge = bytearray(content.getvalue())
    huge[-10:-6] = (0x7FFFFFFF).to_bytes(4, "little")
    put(place, "directory.jar", bytes(huge))
    hello = put(tmp_path, "hello", tinyelf.elf())
    rs.build(hello, copy=[f"{place}:/jars"], output=f"oci:{tmp_path}/out", check=False)
    answer = bounded("sbom", f"oci:{tmp_path}/out", "--json")
    told = [each["subject"] for each in answer["findings"] if each["rule"] == BROKEN]
    assert told == ["/jars/bomb.jar", "/jars/directory.jar", "/jars/short.jar"]


def test_odd_metadata_of_languages_is_told_of(tmp_path: Path) -> None:
    place = tmp_path / "app"
    put(place, "x-1.dist-info/METADATA", b"\xff\xfe no headers")
    put(place, "node_modules/x/package.json", b"[" * 100_000)
    put(place, "node_modules/y/package.json", b'{"name":"y","version":7}')
    put(place, "specifications/x.gemspec", b"raise 'no'")
    put(place, "package.json", b'{"private":true}')
    hello = put(tmp_path, "hello", tinyelf.elf())
    rs.build(hello, copy=[f"{place}:/app"], output=f"oci:{tmp_path}/out", check=False)
    found = rs.sbom(f"oci:{tmp_path}/out")
    assert {subject for rule, subject in faults(found) if rule == BROKEN} == {
        "/app/node_modules/x/package.json",
        "/app/node_modules/y/package.json",
        "/app/specifications/x.gemspec",
        "/app/x-1.dist-info/METADATA",
    }
    assert "/app/package.json" in [each.name for each in found.components]


def test_packages_that_depend_on_each_other_in_circles_end(tmp_path: Path) -> None:
    program = tinyelf.elf()
    count = 300
    root = debian(
        tmp_path / "circle",
        {f"p{n}": paragraph(f"p{n}", Depends=f"p{(n + 1) % count}, p{n}") for n in range(count)},
        {f"p{n}": [(f"usr/bin/p{n}", program + str(n).encode())] for n in range(count)},
    )
    with open(root / "var/lib/dpkg/status", "a", encoding="utf-8") as status:
        status.write("\nPackage\n\n::\nPackage: \n\n" + "Package: p1\n" * 1000)
    os.mkfifo(root / "var/lib/dpkg/info/pipe.list")
    words = [f"{root}/usr/bin/p{n}:/usr/bin/p{n}" for n in range(count)]
    rs.build(*words, output=f"oci:{tmp_path}/out", check=False)
    answer = bounded("sbom", f"oci:{tmp_path}/out", "--sysroot", str(root), "--json")
    assert len([each for each in answer["components"] if each["kind"] == "library"]) == count


def test_a_list_of_python_claims_no_file_of_others(tmp_path: Path) -> None:
    place = tmp_path / "app"
    put(place, "site/x-1.dist-info/METADATA", b"Name: x\nVersion: 1\n")
    put(place, "site/x-1.dist-info/RECORD", b"../../hello,,\n../secret,sha256=AAAA,\n" + b'"' * 100)
    put(place, "secret", b"secret")
    hello = put(tmp_path, "hello", tinyelf.elf())
    rs.build(hello, copy=[f"{place}:/app"], output=f"oci:{tmp_path}/out", check=False)
    unknown = [each.name for each in rs.sbom(f"oci:{tmp_path}/out").components if each.kind == "file"]
    assert unknown == ["/app/secret", "/hello"]
