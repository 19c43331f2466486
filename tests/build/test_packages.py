"""Files of installed packages in an image: read from the databases of dpkg, apk and rpm, as systems have them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put, refusal
from rpms import install

from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, NewSymlink, Spec
from rootless_scratch.rules.image.images import judge_plan

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.image.rootfs import Entry

LIST = """/.
/etc
/etc/web
/etc/web/web.conf
/bin
/bin/webctl
/usr
/usr/lib
/usr/lib/libweb.so
/usr/lib/libweb.so.1
/usr/share
/usr/share/doc
/usr/share/doc/web
/usr/share/doc/web/README
/usr/share/man/man1/web.1.gz
/usr/share/locale/de/LC_MESSAGES/web.mo
/usr/share/web/page.html
/usr/share/web/gone.html
/var/lib/web
"""
STATUS = """Package: web
Status: install ok installed
Architecture: amd64
Depends: libc6 (>= 2.36), web-common | web-light

Package: web-common
Status: install ok installed
Architecture: all
"""


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A system with a merged /usr and the package web."""
    root = tmp_path / "debian"
    for name in ("usr/bin", "usr/lib", "etc/web", "usr/share/web", "usr/share/doc/web", "var/lib/web"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    put(root, "usr/bin/webctl", tinyelf.elf())
    put(root, "usr/lib/libweb.so.1", tinyelf.elf(type=tinyelf.DYN))
    (root / "usr/lib/libweb.so").symlink_to("libweb.so.1")
    for name in (
        "usr/share/doc/web/README",
        "usr/share/man/man1/web.1.gz",
        "usr/share/locale/de/LC_MESSAGES/web.mo",
    ):
        put(root, name)
    put(root, "etc/web/web.conf", b"listen 8080\n")
    os.chmod(root / "etc/web/web.conf", 0o600)
    put(root, "usr/share/web/page.html", b"hello")
    put(root, "var/lib/dpkg/info/web.list", LIST.encode())
    put(root, "var/lib/dpkg/info/web-common.list", b"/.\n/usr/share/doc/web/README\n")
    put(root, "var/lib/dpkg/status", STATUS.encode())
    return root


def brought(root: Path, *names: str, **more: Any) -> dict[str, Entry]:  # noqa: ANN401 - passed on
    spec = Spec(bundle_packages=names, sysroot=str(root), **more)
    return {entry.path: entry for entry in plan(spec, environ={}).rootfs}


def test_a_package_of_debian_comes_without_its_documentation(debian: Path) -> None:
    entries = brought(debian, "web")
    assert [path for path, entry in entries.items() if not isinstance(entry, Directory)] == [
        "/bin/webctl",
        "/etc/web/web.conf",
        "/usr/bin/webctl",
        "/usr/lib/libweb.so",
        "/usr/lib/libweb.so.1",
        "/usr/share/web/page.html",
    ]
    assert entries["/usr/lib/libweb.so"] == Symlink(path="/usr/lib/libweb.so", target="libweb.so.1")
    assert isinstance(entries["/var/lib/web"], Directory)
    assert "/usr/share/doc" not in entries


def test_modes_and_owners_are_those_of_all_files(debian: Path) -> None:
    entries = brought(debian, "web")
    modes = [(entries[path].mode, entries[path].uid) for path in ("/usr/bin/webctl", "/etc/web/web.conf")]
    assert modes == [(0o755, 0), (0o644, 0)]


def test_what_was_listed_below_bin_lies_below_usr_and_is_found_by_both(debian: Path) -> None:
    entries = brought(debian, "web")
    assert isinstance(entries["/usr/bin/webctl"], File)
    assert entries["/bin/webctl"] == Symlink(path="/bin/webctl", target="/usr/bin/webctl")


def test_no_link_is_written_through_one_that_the_image_has(debian: Path) -> None:
    entries = brought(debian, "web", symlinks=(NewSymlink(path="/bin", target="usr/bin"),))
    assert entries["/bin"] == Symlink(path="/bin", target="usr/bin")
    assert "/usr/bin/webctl" in entries


def test_a_diverted_file_lies_where_the_diversion_says(debian: Path) -> None:
    put(debian, "usr/share/web/page.html.real", b"the package's own")
    lines = "/usr/share/web/page.html\n/usr/share/web/page.html.real\nother\n"
    put(debian, "var/lib/dpkg/diversions", lines.encode())
    entries = brought(debian, "web")
    assert "/usr/share/web/page.html.real" in entries
    assert "/usr/share/web/page.html" not in entries


def test_a_package_that_is_all_documentation_comes_with_it(debian: Path) -> None:
    assert "/usr/share/doc/web/README" in brought(debian, "web-common")


@pytest.mark.parametrize("name", ["web", "web:amd64"])
def test_a_package_is_named_with_or_without_its_architecture(debian: Path, name: str) -> None:
    assert "/etc/web/web.conf" in brought(debian, name)
    info = debian / "var/lib/dpkg/info"
    (info / "web.list").rename(info / "web:amd64.list")
    assert "/etc/web/web.conf" in brought(debian, name)


def test_of_two_architectures_the_native_one_is_meant(debian: Path) -> None:
    info = debian / "var/lib/dpkg/info"
    (info / "web.list").rename(info / "web:amd64.list")
    put(info, "web:i386.list", b"/usr/share/web/page.html\n")
    put(debian, "var/lib/dpkg/arch", b"i386\namd64\n")
    assert "/etc/web/web.conf" not in brought(debian, "web")
    assert "/etc/web/web.conf" in brought(debian, "web:amd64")


def test_a_package_that_is_not_installed_is_refused_with_those_that_are_like_it(debian: Path) -> None:
    error = refusal(lambda: brought(debian, "webb"), SourceError)
    assert error.message == "--bundle-package webb: no package of that name is installed."
    assert error.fix.startswith("Did you mean web")
    assert "nstall it" in error.fix
    refusal(lambda: brought(debian, "web:arm64"), SourceError)


def test_a_system_without_a_database_says_so(tmp_path: Path) -> None:
    error = refusal(lambda: brought(tmp_path, "web"), SourceError)
    assert "no database of dpkg, rpm or apk" in error.message
    assert "--sysroot" in error.fix


def test_what_the_user_brings_stays_and_is_told(debian: Path, tmp_path: Path) -> None:
    own = Copy(source=put(tmp_path, "mine.conf", b"listen 1\n"), destination="/etc/web/web.conf")
    same = Copy(source=str(debian / "usr/share/web/page.html"), destination="/usr/share/web/page.html")
    found = plan(Spec(bundle_packages=("web",), sysroot=str(debian), copies=(own, same)), environ={})
    assert {entry.path: entry for entry in found.rootfs.files}["/etc/web/web.conf"].source == own.source
    (finding,) = [each for each in judge_plan(found) if each.rule == "essential-covered"]
    assert finding.subject == "/etc/web/web.conf"
    assert "--bundle-package web does not replace it" in finding.message
    assert "if that of web is meant" in finding.fix


def test_the_programs_and_libraries_of_a_package_bring_theirs(debian: Path) -> None:
    put(debian, "lib64/ld-linux-x86-64.so.2", tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2"))
    put(debian, "usr/lib/libc.so.6", tinyelf.elf(type=tinyelf.DYN, soname="libc.so.6", dynamic=True))
    put(debian, "usr/bin/webctl", tinyelf.elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=["libc.so.6"]))
    entries = brought(debian, "web", bundle_libraries=True)
    assert "/lib64/ld-linux-x86-64.so.2" in entries
    assert any(path.endswith("/libc.so.6") for path in entries)


def test_a_sysroot_without_anything_to_take_from_it_is_refused(debian: Path) -> None:
    refusal(lambda: brought(debian), UsageError)


def test_a_package_of_alpine_is_read_from_the_database_of_apk(tmp_path: Path) -> None:
    text = (
        "C:Q1abc=\nP:web\nV:1.0-r0\nA:x86_64\nD:musl so:libc.musl-x86_64.so.1\nF:etc/web\nM:0:0:0755\nR:web.conf\n"
        "Z:Q1x=\nF:usr/share/man/man1\nR:web.1\nF:\nR:motd\n\nP:web-doc\nF:usr/share/doc/web\nR:README\n"
    )
    put(tmp_path, "lib/apk/db/installed", text.encode())
    for name in ("etc/web/web.conf", "usr/share/man/man1/web.1", "motd", "usr/share/doc/web/README"):
        put(tmp_path, name)
    files = [entry.path for entry in brought(tmp_path, "web").values() if isinstance(entry, File)]
    assert files == ["/etc/web/web.conf", "/motd"]
    assert "/usr/share/doc/web/README" in brought(tmp_path, "web-doc")
    assert "web, web-doc" in refusal(lambda: brought(tmp_path, "we"), SourceError).fix


SPEC = """Name: web
Version: 1
Release: 1
Summary: x
License: x
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/etc/web %{buildroot}/usr/share/man/man1
echo x > %{buildroot}/etc/web/web.conf
echo x > %{buildroot}/usr/share/man/man1/web.1
%files
/etc/web
/usr/share/man/man1/web.1*
"""


@pytest.mark.compiler
def test_a_package_of_fedora_is_asked_of_rpm(tmp_path: Path) -> None:
    root = tmp_path / "fedora"
    root.mkdir()
    install(SPEC, tmp_path, root)
    put(root, "etc/web/web.conf")
    put(root, "usr/share/man/man1/web.1")
    files = [entry.path for entry in brought(root, "web").values() if isinstance(entry, File)]
    assert files == ["/etc/web/web.conf"]
    error = refusal(lambda: brought(root, "webb"), SourceError)
    assert "Did you mean web?" in error.fix


def test_scratch_toml_and_the_command_line_name_packages(shared_home: Home, debian: Path, tmp_path: Path) -> None:
    program = put(tmp_path, "hello", tinyelf.elf())
    words = ["--bundle-package", "web", "--sysroot", str(debian)]
    planned = shared_home.json("build", program, "-o", f"oci:{tmp_path}/out", "--dry-run", *words)["plan"]
    assert "/etc/web/web.conf" in [entry["path"] for entry in planned["entries"]]
    text = f'programs = ["{program}"]\nbundle-packages = ["web"]\nsysroot = "{debian}"\n'
    file = put(tmp_path, "scratch.toml", text.encode())
    assert shared_home.json("build", "--spec", file, "-o", f"oci:{tmp_path}/out", "--dry-run")["plan"] == planned


@pytest.mark.parametrize("name", ["", "-x", "../etc", "a b", "a\nb", "bash*", "bash=5"])
def test_what_is_no_name_of_a_package_is_not_advised_to_be_installed(debian: Path, name: str) -> None:
    error = refusal(lambda: brought(debian, name), UsageError)
    assert "is not the name of a package" in error.message
    assert "install" not in error.fix
