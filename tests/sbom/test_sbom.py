"""What images and programs consist of: by their own words, by packages of a system, by metadata beside them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put, refusal
from sbom_subjects import debian, faults, go_program, names, paragraph, require_valid, rust_program

import rootless_scratch as rs
from rootless_scratch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.keywords import BuildOptions

COPYRIGHT = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Files: *
License: GPL-2+ or Expat

Files: odd/*
License: odd-terms
 Do as
 you like.

License: GPL-2+
 text
"""
MODULES = (
    "path\texample.com/hello/cmd",
    "mod\texample.com/hello\tv1.4.0\t",
    "dep\tgithub.com/BurntSushi/toml\tv1.3.2\th1:o7IhLm0Msx3BaB+n3Ag7L8EVlByGnpq14C4YWiu/gL8=",
    "dep\texample.com/old\tv0.1.0",
    "=>\texample.com/new\tv0.2.0\th1:abc=",
    "dep\texample.com/beside\tv0.3.0",
    "=>\t../beside\t(devel)\t",
    "build\tvcs.revision=0123456789abcdef",
    "build\tCGO_ENABLED=0",
)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A small Debian: a program and its library, of two packages that need each other, and a Go program."""
    program, library = tinyelf.elf(), tinyelf.elf(type=tinyelf.DYN)
    root = debian(
        tmp_path / "debian",
        {
            "web": paragraph("web", "1:2.0-1+b2", Source="web-server (1:2.0-1)", Depends="libweb1 (>= 2), libc6"),
            "libweb1": paragraph("libweb1", Depends="web"),
            "gotool": paragraph(
                "gotool", Built_Using="golang-1.19 (= 1.19.8-2), golang-dbus (= 5.1.0-1)", Static_Built_Using=""
            ),
        },
        {
            "web": [("usr/bin/web", program), ("usr/share/doc/web/copyright", COPYRIGHT)],
            "libweb1": [("usr/lib/libweb.so.1", library)],
            "gotool": [("usr/bin/gotool", go_program("path\tgotool"))],
        },
    )
    (root / "bin").symlink_to("usr/bin")
    return root


def test_a_go_program_names_its_modules_what_replaces_them_and_its_toolchain(tmp_path: Path) -> None:
    found = rs.sbom(put(tmp_path, "hello", go_program(*MODULES)))
    purls = {each.name: each.purl for each in found.components}
    assert purls == {
        "example.com/hello/cmd": "pkg:golang/example.com/hello@v1.4.0",
        "github.com/BurntSushi/toml": "pkg:golang/github.com/burntsushi/toml@v1.3.2",
        "example.com/new": "pkg:golang/example.com/new@v0.2.0",
        "example.com/beside": "pkg:golang/example.com/beside",
        "stdlib": "pkg:golang/stdlib@1.22.1",
    }
    more = {each.name: dict(each.more) for each in found.components}
    assert more["example.com/new"] == {"go:sum": "h1:abc=", "go:replaces": "example.com/old@v0.1.0"}
    assert more["example.com/beside"]["go:replaced-by"] == "../beside"
    assert more["example.com/hello/cmd"] == {"go:vcs.revision": "0123456789abcdef"}
    assert faults(found) == []


def test_a_rust_program_names_its_crates_and_those_that_only_built_it(tmp_path: Path) -> None:
    program = rust_program(
        {"name": "app", "version": "0.1.0", "source": "local", "root": True, "dependencies": [1, 2]},
        {"name": "serde", "version": "1.0.200", "source": "crates.io"},
        {"name": "cc", "version": "1.0.90", "source": "crates.io", "kind": "build"},
    )
    found = rs.sbom(put(tmp_path, "app", program), format="cyclonedx")
    assert names(found) == [("app", "0.1.0"), ("cc", "1.0.90"), ("serde", "1.0.200")]
    document = json.loads(found.document)
    scopes = {each["name"]: each.get("scope") for each in document["components"]}
    assert scopes == {"app": None, "cc": "excluded", "serde": None}
    graph = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert graph[f"pkg:cargo/app@0.1.0#{tmp_path}/app"] == ["pkg:cargo/cc@1.0.90", "pkg:cargo/serde@1.0.200"]


def test_the_note_of_a_distribution_names_its_package(tmp_path: Path) -> None:
    text = b'{"type":"rpm","os":"fedora","osVersion":"40","name":"cp","version":"9.4-6","architecture":"i386"}'
    program = tinyelf.elf(notes=[tinyelf.note("FDO", 0xCAFE1A7E, text + b"\0")])
    (component,) = rs.sbom(put(tmp_path, "true", program)).components
    assert component.purl == "pkg:rpm/fedora/cp@9.4-6?arch=i386&distro=fedora-40"


def test_packages_of_a_system_own_their_files_with_source_and_license(system: Path) -> None:
    found = rs.sbom(system / "usr/bin/web", sysroot=system)
    (web,) = found.components
    assert web.purl == "pkg:deb/debian/web@1:2.0-1%2Bb2?arch=amd64&distro=debian-12&upstream=web-server%401:2.0-1"
    assert web.license == "GPL-2.0-or-later AND (GPL-2.0-or-later OR MIT) AND LicenseRef-web-odd-terms"
    assert web.license_texts == (("LicenseRef-web-odd-terms", "Do as\nyou like."),)
    assert dict(web.more) == {"source": "web-server 1:2.0-1"}


def test_a_file_that_was_changed_since_is_no_longer_the_packages(system: Path) -> None:
    put(system, "usr/bin/web", tinyelf.elf() + b"changed")
    (file,) = rs.sbom(system / "usr/bin/web", sysroot=system).components
    assert (file.kind, dict(file.more)) == ("file", {"changed-since": "web 1:2.0-1+b2"})


def test_debians_go_programs_are_named_by_what_their_package_was_built_using(system: Path, tmp_path: Path) -> None:
    found = rs.sbom(system / "usr/bin/gotool", sysroot=system)
    assert ("golang-dbus", "5.1.0-1") in names(found)
    assert "pkg:deb/debian/golang-1.19@1.19.8-2?arch=source&distro=debian-12" in [e.purl for e in found.components]
    assert faults(found) == []
    alone = put(tmp_path, "alone", go_program("path\tgotool"))
    assert faults(rs.sbom(alone, sysroot=system)) == [("sbom-modules-unknown", alone)]


def test_the_same_document_is_written_by_a_build_and_read_from_its_image(system: Path, tmp_path: Path) -> None:
    made = put(tmp_path, "made", b"nobody knows")
    options: BuildOptions = {
        "copy": [f"{made}:/srv/made"],
        "sysroot": str(system),
        "bundle_libraries": True,
        "output": f"oci:{tmp_path}/out",
        "check": False,
    }
    plain = rs.build(f"{system}/usr/bin/web:/usr/bin/web", **options)
    files = [f"spdx:{tmp_path}/a.json", f"cyclonedx:{tmp_path}/b.json"]
    image = rs.build(f"{system}/usr/bin/web:/usr/bin/web", **(options | {"sbom": files}))
    assert image.image_id == plain.image_id
    for written in image.sboms:
        with open(written.file, encoding="utf-8") as file:
            text = file.read()
        assert hashlib.sha256(text.encode()).hexdigest() == written.sha256
        assert "/srv/made" in text
        assert hashlib.sha256(b"nobody knows").hexdigest() in text
        assert text == rs.sbom(f"oci:{tmp_path}/out", format=written.format, sysroot=system).document
        require_valid(written.format, text, tmp_path)
    assert len(image.sboms) == len(files)
    assert [each.rule for each in image.findings if each.rule.startswith("sbom-")] == ["sbom-files-unknown"]


def test_metadata_below_a_copied_directory_names_packages_of_languages(tmp_path: Path) -> None:
    app = tmp_path / "app"
    site = "lib/python3.11/site-packages"
    module = b"VERSION = 1\n"
    digest = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(module).digest()).decode().rstrip("=")
    record = f"demo/__init__.py,{digest},12\ndemo/changed.py,{digest},12\ndemo-1.0.dist-info/METADATA,,\n"
    put(app, f"{site}/demo/__init__.py", module)
    put(app, f"{site}/demo/changed.py", b"something else")
    put(
        app,
        f"{site}/demo-1.0.dist-info/METADATA",
        b"Metadata-Version: 2.1\nName: Demo_Pkg\nVersion: 1.0\nLicense: MIT\n",
    )
    put(app, f"{site}/demo-1.0.dist-info/RECORD", record.encode())
    put(
        app,
        "node_modules/@scope/left-pad/package.json",
        b'{"name":"@scope/left-pad","version":"1.3.0","license":"WTFPL"}',
    )
    put(app, "node_modules/@scope/left-pad/esm/package.json", b'{"type":"module"}')
    put(app, "node_modules/@scope/left-pad/index.js", b"module.exports = 1")
    put(
        app,
        "gems/specifications/rack-3.0.8.gemspec",
        b'# -*- encoding: utf-8 -*-\n# stub: rack 3.0.8 ruby lib\n\n  s.licenses = ["MIT".freeze]\n',
    )
    put(app, "gems/gems/rack-3.0.8/lib/rack.rb", b"module Rack; end")
    put(
        app,
        "lib/shaded.jar",
        jar(
            {
                "META-INF/maven/org.a/one/pom.properties": b"groupId=org.a\nartifactId=one\nversion=1.1\n",
                "BOOT-INF/lib/inner.jar": jar(
                    {"META-INF/MANIFEST.MF": b"Implementation-Title: inner\r\nImplementation-Version: 2.0\r\n\r\n"}
                ),
            }
        ),
    )
    hello = put(tmp_path, "hello", tinyelf.elf())
    rs.build(hello, copy=[f"{app}:/app"], output=f"oci:{tmp_path}/out", check=False)
    found = rs.sbom(f"oci:{tmp_path}/out")
    assert [(each.purl, each.license) for each in found.components if each.kind != "file"] == [
        ("pkg:gem/rack@3.0.8", "MIT"),
        ("pkg:generic/inner@2.0", None),
        ("pkg:maven/org.a/one@1.1", None),
        ("pkg:npm/%40scope/left-pad@1.3.0", "WTFPL"),
        ("pkg:pypi/demo-pkg@1.0", "MIT"),
    ]
    unknown = [each.name for each in found.components if each.kind == "file"]
    assert unknown == [f"/app/{site}/demo/changed.py", "/hello"]
    for form in ("spdx", "cyclonedx"):
        require_valid(form, rs.sbom(f"oci:{tmp_path}/out", format=form).document, tmp_path)


def jar(entries: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_alpines_packages_own_their_files_with_the_license_that_they_name(tmp_path: Path) -> None:
    root = tmp_path / "alpine"
    program = tinyelf.elf()
    digest = base64.b64encode(hashlib.sha1(program).digest()).decode()  # noqa: S324 - apk's
    text = f"P:busybox\nV:1.36.1-r5\nA:x86_64\nL:GPL-2.0-only\no:busybox\nF:bin\nR:busybox\nZ:Q1{digest}\n\n"
    put(root, "lib/apk/db/installed", text.encode())
    put(root, "etc/os-release", b"ID=alpine\nVERSION_ID=3.19.1\n")
    (component,) = rs.sbom(put(root, "bin/busybox", program), sysroot=root).components
    assert component.purl == "pkg:apk/alpine/busybox@1.36.1-r5?arch=x86_64&distro=alpine-3.19.1"
    assert component.license == "GPL-2.0-only"


def test_the_time_of_a_document_is_source_date_epoch_and_never_that_of_day(
    shared_home: Home, tmp_path: Path
) -> None:
    program = put(tmp_path, "hello", tinyelf.elf())
    documents = [
        shared_home.cli("sbom", program, environment={"SOURCE_DATE_EPOCH": when}).stdout
        for when in ("0", "0", "86400")
    ]
    assert documents[0] == documents[1] != documents[2]
    assert json.loads(documents[2])["creationInfo"]["created"] == "1970-01-02T00:00:00Z"


def test_names_that_are_no_utf8_are_escaped(shared_home: Home, tmp_path: Path) -> None:
    directory = tmp_path / "odd"
    directory.mkdir()
    with open(os.fsencode(directory) + b"/caf\xe9", "wb") as file:
        file.write(b"x")
    program = put(tmp_path, "hello", tinyelf.elf())
    rs.build(program, copy=[f"{directory}:/odd"], output=f"oci:{tmp_path}/out", check=False)
    done = shared_home.cli("sbom", f"oci:{tmp_path}/out", "--format", "cyclonedx")
    assert done.returncode == 0, done.stderr
    require_valid("cyclonedx", done.stdout.decode(), tmp_path)
    assert "/odd/caf\\xe9" in [each["name"] for each in json.loads(done.stdout)["components"]]


def test_what_is_written_is_counted(shared_home: Home, tmp_path: Path) -> None:
    first, second = (put(tmp_path, name, tinyelf.elf() + name.encode()) for name in ("one", "two"))
    for programs, said in (
        ([first], b"1 component, 1 unknown file among them"),
        ([first, second], b"2 components, 2 unknown files among them"),
    ):
        done = shared_home.cli("sbom", *programs, "-o", f"{tmp_path}/parts.json")
        assert said in done.stderr


def test_scratch_toml_asks_for_documents_beside_it(shared_home: Home, tmp_path: Path) -> None:
    put(tmp_path, "hello", tinyelf.elf())
    text = f'programs = ["hello"]\noutput = ["oci:{tmp_path}/out"]\nsbom = ["cyclonedx:parts.json"]\n'
    file = put(tmp_path, "scratch.toml", text.encode())
    answer = shared_home.json("build", "--spec", file, "--no-check")
    assert [each["format"] for each in answer["sboms"]] == ["cyclonedx"]
    require_valid("cyclonedx", (tmp_path / "parts.json").read_text(), tmp_path)


def test_an_index_has_a_document_for_each_platform(shared_home: Home, tmp_path: Path) -> None:
    programs = tinyelf.for_machines(tmp_path, "x86_64", "aarch64")
    words = [f"{each}:/hello" for each in programs.values()]
    answer = shared_home.json(
        "build", *words, "-o", f"oci:{tmp_path}/out", "--sbom", f"spdx:{tmp_path}/p.spdx.json"
    )
    assert [each["platform"] for each in answer["sboms"]] == [each["platform"] for each in answer["images"]]
    for written, image in zip(answer["sboms"], answer["images"], strict=True):
        assert written["file"].endswith(f"p.{image['platform'].replace('/', '-')}.spdx.json")
        with open(written["file"], encoding="utf-8") as file:
            assert json.load(file)["packages"][0]["versionInfo"] == f"sha256:{image['image_id']}"


def test_what_cannot_be_done_is_said_with_a_fix(tmp_path: Path) -> None:
    program = put(tmp_path, "hello", tinyelf.elf())
    output = f"oci:{tmp_path}/out"
    assert "spdx and cyclonedx" in refusal(lambda: rs.sbom(program, format="swid"), UsageError).fix
    assert "names no file" in refusal(lambda: rs.build(program, output=output, sbom="spdx:-"), UsageError).message
    refusal(lambda: rs.build(program, output=output, sbom=f"spdx:{tmp_path}/no/such/file"), SourceError)
    two = ["spdx:x.json", "cyclonedx:./x.json"]
    refusal(lambda: rs.build(program, output=output, sbom=two), UsageError)
    over = refusal(lambda: rs.build(program, output=output, sbom=f"spdx:{program}"), UsageError)
    assert "goes into the image" in over.message
    assert not os.path.exists(tmp_path / "out"), "refused before anything is built"
    refusal(lambda: rs.sbom(output, bundle_libraries=True), UsageError)
