"""`--with`: what it brings, where it takes it from, and that the user's own files win."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put, refusal

import rootless_scratch as rs
from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.plan import certificates, essentials
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, Essential, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.syntax import parse_essentials
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from conftest import Home

    from rootless_scratch.image.rootfs import Entry

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
HOST = Path(certificates.host_bundle() or BUNDLE)


def one_certificate() -> str:
    """The first certificate of the host's bundle: a real one, without making any."""
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(HOST.read_text().partition("-----END")[0] + END))


END = "-----END CERTIFICATE-----\n"


def entries(*words: str, user: str = "65532:65532", copies: tuple[Copy, ...] = ()) -> dict[str, Entry]:
    found = tuple(each for word in words for each in parse_essentials(word))
    return {
        entry.path: entry for entry in plan(Spec(essentials=found, user=user, copies=copies), environ={}).rootfs
    }


def content(entry: Entry) -> bytes:
    assert isinstance(entry, File)
    return Path(entry.source).read_bytes() if entry.source is not None else entry.content or b""


# How the words are read.


def test_essentials_are_named_with_commas_and_their_values_with_colons() -> None:
    assert parse_essentials("tmp,tzdata=Europe/Berlin:UTC,ca-certificates=./a=b.pem") == (
        Essential(name="tmp"),
        Essential(name="tzdata", values=("Europe/Berlin", "UTC")),
        Essential(name="ca-certificates", values=("./a=b.pem",)),
    )


@pytest.mark.parametrize(
    "word",
    ["auto=1", "auto=1,tmp", "tmp=1", "nonroot=x", "nsswitch=x", "locale=de_DE", "services=ssh", "mime=./a:x"],
)
def test_a_value_that_an_essential_cannot_have_is_a_usage_error(word: str) -> None:
    name = word.partition("=")[0]
    error = refusal(lambda: parse_essentials(word), UsageError)
    assert f"{name} " in error.message
    assert parse_essentials(name) == (Essential(name=name),)


def test_paths_are_values_of_essentials_that_come_from_files() -> None:
    for word in ("locale=/usr/lib/locale/C.utf8", "services=./etc", "mime=./types"):
        assert parse_essentials(word)[0].values == (word.partition("=")[2],)


@pytest.mark.parametrize("word", ["ca-certificate", "", "tmp,", "tzdata=", "tzdata=UTC:", "=x", "TMP"])
def test_what_is_no_essential_is_refused_with_those_that_there_are(word: str) -> None:
    error = refusal(lambda: parse_essentials(word), UsageError)
    assert "--with" in error.message
    if word == "ca-certificate":
        assert "'ca-certificates'" in error.fix


@pytest.mark.buildah
def test_python_takes_the_same_words(shared_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shared_home.environment.items():
        monkeypatch.setenv(name, value)
    app = put(tmp_path, "app", tinyelf.hello())
    with rs.scratch(tag="essential-python") as root:
        root.add(app)
        root.add_essential("tmp,nsswitch", "tzdata=UTC")
    same = rs.build(app, tag="essential-words", essentials=["tmp", "nsswitch", "tzdata=UTC"])
    assert root.image.image_id == same.image_id
    assert same.files == len(("app", "nsswitch.conf", "UTC"))


# What each brings.


def test_tmp_is_a_directory_for_all() -> None:
    assert entries("tmp") == {"/tmp": Directory(path="/tmp", mode=0o1777, uid=0, gid=0)}


def test_the_hosts_certificates_lie_where_programs_look() -> None:
    found = entries("ca-certificates")
    assert content(found[BUNDLE]) == HOST.read_bytes()
    links = {path: entry.target for path, entry in found.items() if isinstance(entry, Symlink)}
    assert links == dict.fromkeys(("/etc/ssl/cert.pem", "/usr/lib/ssl/cert.pem", "/etc/pki/tls/cert.pem"), BUNDLE)


def test_a_private_authority_replaces_the_hosts_or_joins_them(tmp_path: Path) -> None:
    pem = put(tmp_path, "corp.pem", one_certificate().encode().rstrip(b"\n"))
    other = put(tmp_path, "other.pem", b"Corp Two\n" + one_certificate().encode())
    assert content(entries(f"ca-certificates={pem}")[BUNDLE]) == Path(pem).read_bytes()
    joined = content(entries("ca-certificates", f"ca-certificates={pem}:{other}")[BUNDLE])
    assert joined == HOST.read_bytes() + Path(pem).read_bytes() + b"\n" + Path(other).read_bytes()


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    good = one_certificate()
    lines = good.splitlines()
    garbled = {
        "text": "hello\n",
        "empty": "",
        "not-base64": good.replace(lines[3], "*" * 64),
        "flipped": "\n".join([*lines[:2], lines[2][::-1], *lines[3:]]) + "\n",
        "unended": good + lines[0] + "\n" + lines[1] + "\n",
        "key": good + "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n",
    }
    for name, text in garbled.items():
        path = put(tmp_path, name, text.encode())
        error = refusal(lambda path=path: entries(f"ca-certificates={path}"), SourceError)  # type: ignore[misc]
        assert repr(path) in error.message, name
        assert ("private key" in error.message) is (name == "key")
    refusal(lambda: entries(f"ca-certificates={tmp_path}/none.pem"), SourceError)
    refusal(lambda: entries(f"ca-certificates={tmp_path}"), SourceError)


def test_certificates_may_come_from_a_command_of_the_shell() -> None:
    """`<(...)` is a pipe below /dev/fd."""
    pem = one_certificate().encode()
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:
            pipe.write(pem)
        assert content(entries(f"ca-certificates=/dev/fd/{reading}")[BUNDLE]) == pem
    finally:
        os.close(reading)


def test_a_pipe_for_a_certificate_does_not_keep_anyone_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refusal(lambda: entries(f"ca-certificates={tmp_path}/pipe"), SourceError)


def test_time_zones_come_whole_or_by_name() -> None:
    some = entries("tzdata=Europe/Berlin:America/New_York")
    assert [path for path, entry in some.items() if isinstance(entry, File)] == [
        "/usr/share/zoneinfo/America/New_York",
        "/usr/share/zoneinfo/Europe/Berlin",
    ]
    assert all(content(entry).startswith(b"TZif") for entry in some.values() if isinstance(entry, File))
    every = set(entries("tzdata"))
    assert {f"/usr/share/zoneinfo/{zone}" for zone in ("Europe/Berlin", "UTC", "zone.tab", "tzdata.zi")} <= every
    hidden = ("posix", "right", "localtime", "posixrules")
    assert not any(path.startswith(f"/usr/share/zoneinfo/{name}") for path in every for name in hidden)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "zone.tab", "Europe/../../../etc/passwd"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    assert repr(zone)[1:-1] in refusal(lambda: entries(f"tzdata={zone}")).message


def test_a_directory_stands_in_for_the_hosts_own(tmp_path: Path) -> None:
    put(tmp_path, "UTC", b"TZif2")
    put(tmp_path, "Mars/Olympus", b"TZif3")
    assert content(entries(f"tzdata={tmp_path}:Mars/Olympus")["/usr/share/zoneinfo/Mars/Olympus"]) == b"TZif3"
    assert "/usr/share/zoneinfo/UTC" in entries(f"tzdata={tmp_path}")
    put(tmp_path, "services")
    put(tmp_path, "protocols")
    assert content(entries(f"services={tmp_path}")["/etc/services"]) == b"x"
    assert content(entries(f"mime={tmp_path}/services")["/etc/mime.types"]) == b"x"
    refusal(lambda: entries(f"terminfo={tmp_path}"), SourceError)
    refusal(lambda: entries(f"locale={tmp_path}"), SourceError)


def test_users_are_named_and_have_homes_of_their_own() -> None:
    found = entries("nonroot")
    assert content(found["/etc/passwd"]).decode().splitlines() == [
        "root:x:0:0:root:/root:/sbin/nologin",
        "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin",
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin",
    ]
    assert content(found["/etc/group"]).decode().splitlines() == [
        "root:x:0:",
        "nonroot:x:65532:",
        "nobody:x:65534:",
    ]
    assert found["/home/nonroot"] == Directory(path="/home/nonroot", mode=0o755, uid=65532, gid=65532)
    assert found["/etc/passwd"].mode == 0o644


@pytest.mark.parametrize(
    ("user", "line", "group"),
    [
        ("1000", "user:x:1000:1000:user:/home/user:/sbin/nologin", "user:x:1000:"),
        ("1000:5", "user:x:1000:5:user:/home/user:/sbin/nologin", "group:x:5:"),
        ("1000:0", "user:x:1000:0:user:/home/user:/sbin/nologin", "root:x:0:"),
        ("app", "app:x:65532:65532:app:/home/app:/sbin/nologin", "app:x:65532:"),
        ("app:web", "app:x:65532:65532:app:/home/app:/sbin/nologin", "web:x:65532:"),
        ("0:7", "root:x:0:7:root:/root:/sbin/nologin", "group:x:7:"),
    ],
)
def test_the_images_user_is_among_them(user: str, line: str, group: str) -> None:
    found = entries("nonroot", user=user)
    lines = content(found["/etc/passwd"]).decode().splitlines()
    assert line in lines
    by_id = [each for each in lines if each.split(":")[2] == line.split(":")[2]]
    assert by_id[0] == line
    assert group in content(found["/etc/group"]).decode().splitlines()


def test_a_name_that_no_passwd_can_hold_is_refused() -> None:
    refusal(lambda: entries("nonroot", user="a b"), UsageError)


def test_the_others_bring_the_hosts_files() -> None:
    found = entries("nsswitch,services,locale,terminfo,mime")
    assert b"hosts: files dns\n" in content(found["/etc/nsswitch.conf"])
    for path in ("/etc/services", "/etc/protocols", "/etc/mime.types", "/usr/lib/locale/C.utf8/LC_CTYPE"):
        assert content(found[path]) == Path(path).read_bytes()
    for name in ("xterm", "vt100", "dumb"):
        assert content(found[f"/usr/share/terminfo/{name[0]}/{name}"])
    named = entries("terminfo=vt100")
    assert [path for path, entry in named.items() if isinstance(entry, File)] == ["/usr/share/terminfo/v/vt100"]
    refusal(lambda: entries("terminfo=no-such-terminal"))
    refusal(lambda: entries("services=http"), UsageError)
    refusal(lambda: entries("tmp=/var/tmp"), UsageError)


def test_what_the_host_lacks_is_refused_with_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(certificates, "BUNDLES", ("/nowhere/ca.crt",))
    monkeypatch.setattr(essentials, "ZONES", str(tmp_path))
    for name, package in (("ca-certificates", "ca-certificates"), ("tzdata", "tzdata")):
        error = refusal(lambda name=name: entries(name), SourceError)  # type: ignore[misc]
        assert name in error.message
        assert re.search(rf"`sudo [a-z -]+S? {package}`", error.fix)


# The user's own files win.


def test_what_the_user_brings_is_not_replaced_and_that_is_said(tmp_path: Path) -> None:
    app, own = put(tmp_path, "app", tinyelf.hello()), put(tmp_path, "passwd", b"me:x:1:1::/:\n")
    spec = Spec(
        programs=(Copy(source=app),),
        copies=(Copy(source=own, destination="/etc/passwd"),),
        directories=(NewDirectory(path="/tmp", mode=0o700),),
        symlinks=(NewSymlink(path="/etc/ssl/cert.pem", target="mine"),),
        essentials=parse_essentials("nonroot,tmp,ca-certificates"),
    )
    decided, findings = plan_and_judge(spec)
    found = {entry.path: entry for entry in decided.rootfs}
    assert content(found["/etc/passwd"]) == b"me:x:1:1::/:\n"
    assert found["/tmp"].mode == 0o700
    assert found["/etc/ssl/cert.pem"] == Symlink(path="/etc/ssl/cert.pem", target="mine")
    assert {"/etc/group", "/home/nonroot", BUNDLE} <= set(found)
    covered = [finding for finding in findings if finding.rule == "essential-covered"]
    assert [finding.subject for finding in covered] == ["/etc/passwd", "/tmp", "/etc/ssl/cert.pem"]
    assert {finding.severity for finding in covered} == {"info"}


def test_a_directory_that_only_came_with_a_tree_gives_way(tmp_path: Path) -> None:
    put(tmp_path, "tree/tmp/file")
    found = entries("tmp", copies=(Copy(source=f"{tmp_path}/tree", destination="/"),))
    assert found["/tmp"].mode == 0o1777
    assert isinstance(found["/tmp/file"], File)


def test_files_go_where_a_linked_directory_leads(tmp_path: Path) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/usr/etc").mkdir(parents=True)
    (tmp_path / "tree/etc").rmdir()
    (tmp_path / "tree/etc").symlink_to("usr/etc")
    found = entries("nonroot", copies=(Copy(source=f"{tmp_path}/tree", destination="/"),))
    assert {"/usr/etc/passwd", "/usr/etc/group"} <= set(found)
    assert isinstance(found["/etc"], Symlink)
