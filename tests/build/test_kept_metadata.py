"""Modes, attributes and capabilities of the host: what an image leaves behind is told, and `keep` takes it."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from imaging import Bench
from planning import planned, put, refusal

import rootless_scratch as rs
from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.rootfs import Directory, File
from rootless_scratch.image.spec import NewDirectory
from rootless_scratch.image.syntax import parse_copy, parse_directory

if TYPE_CHECKING:
    from conftest import Home

    from rootless_scratch.findings import Finding

RULE = "metadata-not-kept"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory as an application has it: a key, a helper with setuid, an archive that runs, notes."""
    place = tmp_path / "tree"
    for name, content, mode in (
        ("key.pem", b"secret", 0o600),
        ("bin/helper", tinyelf.hello(), 0o4755),
        ("bin/tool.pyz", b"PK\3\4", 0o755),
        ("bin/run.sh", b"#!/bin/sh\n", 0o755),
        ("notes", b"x", 0o644),
    ):
        Path(put(place, name, content)).chmod(mode)
    (place / "bin").chmod(0o2750)
    os.setxattr(place / "notes", "user.mime_type", b"text/plain")
    os.setxattr(place / "bin", "user.binary", b"\0\xff=\n")
    return place


def judged(tmp_path: Path, *copies: str, **more: object) -> dict[str, Finding]:
    bench = Bench(tmp_path)
    found = bench.judge(bench.program(), copies=tuple(map(parse_copy, copies)), **more)
    return {finding.subject: finding for finding in found if finding.rule == RULE}


def test_what_files_lose_is_said_once_for_each_kind(tmp_path: Path, tree: Path) -> None:
    put(tree, "more/second.pem")
    (tree / "more/second.pem").chmod(0o640)
    found = judged(tmp_path, f"{tree}:/t")
    assert {path: finding.severity for path, finding in found.items()} == {
        "/t/key.pem": "info",
        "/t/bin/helper": "info",
        "/t/bin/tool.pyz": "warning",
    }
    assert "(and 1 more) is not for everybody to read on this host (mode 0600)" in found["/t/key.pem"].message
    assert "setuid" in found["/t/bin/helper"].message
    for finding in found.values():
        assert "`mode=keep`" in finding.fix
        assert finding.message.endswith(".")


def test_what_was_asked_for_is_no_loss(tmp_path: Path, tree: Path) -> None:
    for options in ("mode=keep", "mode=0755", "mode=keep,xattrs=keep"):
        assert judged(tmp_path, f"{tree}:/t:{options}") == {}


def test_keep_takes_over_the_modes_of_files_and_directories(tree: Path) -> None:
    entries = planned(copies=(parse_copy(f"{tree}:/t:mode=keep,uid=7"),))
    modes = {path: entry.mode for path, entry in entries.items()}
    assert modes == {
        "/t": tree.stat().st_mode & 0o7777,
        "/t/bin": 0o2750,
        "/t/bin/helper": 0o4755,
        "/t/bin/run.sh": 0o755,
        "/t/bin/tool.pyz": 0o755,
        "/t/key.pem": 0o600,
        "/t/notes": 0o644,
    }
    assert {entry.uid for entry in entries.values()} == {7}


def test_a_directory_that_is_named_holds_beside_kept_modes(tree: Path) -> None:
    entries = planned(
        copies=(parse_copy(f"{tree}:/t:mode=keep"),), mkdir=(NewDirectory(path="/t/bin", mode=0o711),)
    )
    assert entries["/t/bin"].mode == 0o711


def test_keep_takes_over_attributes_of_users(tree: Path) -> None:
    plain = planned(copies=(parse_copy(f"{tree}:/t"),))
    assert not any(entry.xattrs for entry in plain.values() if isinstance(entry, (File, Directory)))
    kept = planned(copies=(parse_copy(f"{tree}:/t:xattrs=keep"),))
    found = {path: entry.xattrs for path, entry in kept.items() if isinstance(entry, (File, Directory))}
    assert found["/t/notes"] == (("user.mime_type", b"text/plain"),)
    assert found["/t/bin"] == (("user.binary", b"\0\xff=\n"),)
    assert kept["/t/bin"].mode == 0o755


def test_an_attribute_that_no_layer_holds_is_refused(tree: Path) -> None:
    os.setxattr(tree / "notes", "user.a=b", b"x")
    error = refusal(lambda: planned(copies=(parse_copy(f"{tree}:/t:xattrs=keep"),)), SourceError)
    assert "'user.a=b'" in error.message


def test_an_access_control_list_is_told(tmp_path: Path, tree: Path) -> None:
    # u::rwx,u:1000:r,g::r,m::r,o::r in the words of linux/posix_acl_xattr.h.
    entry = "".join(f"{tag:02x}00{perm:02x}00{who}" for tag, perm, who in (
        (1, 6, "ffffffff"), (2, 4, "e8030000"), (4, 4, "ffffffff"), (16, 4, "ffffffff"), (32, 4, "ffffffff"),
    ))  # fmt: skip
    os.setxattr(tree / "notes", "system.posix_acl_access", bytes.fromhex("02000000" + entry))
    finding = judged(tmp_path, f"{tree}:/t:mode=keep,xattrs=keep")["/t/notes"]
    assert (finding.rule, finding.severity) == ("metadata-not-kept", "warning")
    assert "system.posix_acl_access" in finding.message


@pytest.mark.parametrize("word", ["a:/a:xattrs=all", "a:/a:mode=kept", "a:/a:xattrs=keep,xattrs=keep"])
def test_other_words_than_keep_are_refused(word: str) -> None:
    refusal(lambda: parse_copy(word), UsageError)


def test_a_new_directory_has_nothing_to_keep() -> None:
    for word in ("/a:mode=keep", "/a:xattrs=keep"):
        refusal(lambda word=word: parse_directory(word), UsageError)  # type: ignore[misc]


def test_python_keeps_them_too(tmp_path: Path, tree: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    with rs.scratch(output=f"oci:{tmp_path}/out") as root:
        root.add(program)
        root.copy(tree, "/t", mode="keep", xattrs="keep")
    assert members(tmp_path / "out")["t/key.pem"][0] == 0o600
    with pytest.raises(UsageError, match="xattrs"), rs.scratch(output=f"oci:{tmp_path}/no") as root:
        root.copy(tree, "/t", xattrs="all")  # type: ignore[arg-type]


def members(layout: Path) -> dict[str, tuple[int, dict[str, bytes]]]:
    """Mode and attributes of what the one layer of a layout holds."""
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    with tarfile.open(layout / "blobs/sha256" / manifest["layers"][0]["digest"][7:]) as tar:
        return {
            each.name: (
                each.mode & 0o7777,
                {
                    key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
                    for key, value in each.pax_headers.items()
                    if key.startswith("SCHILY.xattr.")
                },
            )
            for each in tar
        }


@pytest.mark.buildah
def test_both_backends_keep_the_same(tmp_path: Path, tree: Path, shared_home: Home) -> None:
    program = tinyelf.write(tmp_path / "hello")
    words = ["build", str(program), "--copy", f"{tree}:/t:mode=keep,xattrs=keep"]
    shared_home.json(*words, "-t", "kept")
    shared_home.json("save", "kept", "-o", f"oci:{tmp_path}/buildah")
    shared_home.json(*words, "-o", f"oci:{tmp_path}/direct")
    found = members(tmp_path / "direct")
    assert found["t/bin"] == (0o2750, {"user.binary": b"\0\xff=\n"})
    assert found["t/notes"] == (0o644, {"user.mime_type": b"text/plain"})
    assert members(tmp_path / "buildah") == found


@pytest.mark.buildah
def test_a_builder_of_the_containerfile_keeps_the_same(tmp_path: Path, tree: Path, shared_home: Home) -> None:
    program = tinyelf.write(tmp_path / "hello")
    words = [str(program), "--copy", f"{tree}:/t:mode=keep,xattrs=keep"]
    done = shared_home.cli("containerfile", *words, "-o", str(tmp_path / "context"))
    assert done.returncode == 0, done.stderr
    shared_home.run(["buildah", "build", "-q", "-t", "kept-file", str(tmp_path / "context")])
    shared_home.json("save", "kept-file", "-o", f"oci:{tmp_path}/built")
    shared_home.json("build", *words, "-o", f"oci:{tmp_path}/direct")
    built, direct = members(tmp_path / "built"), members(tmp_path / "direct")
    assert {path: found[0] for path, found in built.items()} == {path: found[0] for path, found in direct.items()}


CAPABLE = """
import os, runpy, sys
from rootless_scratch.image.capabilities import encode_capabilities
os.setxattr(sys.argv[1], "security.capability", encode_capabilities("cap_net_raw+ep"))
del sys.argv[1]
runpy.run_module("rootless_scratch", run_name="__main__")
"""


@pytest.mark.buildah
def test_capabilities_are_kept_or_told(tmp_path: Path, shared_home: Home) -> None:
    """Within a user namespace its root may give them; outside they are those of that namespace alone."""
    tool = tinyelf.write(tmp_path / "ping")
    inside = ["podman", "unshare", sys.executable, "-c", CAPABLE, str(tool), "build", str(tool)]
    kept = [
        "--copy",
        f"{tool}:/kept:xattrs=keep",
        "--copy",
        f"{tool}:/lost",
        "--copy",
        f"{tool}:/own:cap=cap_kill+p",
    ]
    done = shared_home.run([*inside, *kept, "-o", f"oci:{tmp_path}/out", "--json"])
    found = {path: xattrs for path, (_, xattrs) in members(tmp_path / "out").items()}
    assert found["kept"]["security.capability"].hex() == "0100000200200000" + "00" * 12
    assert found["lost"] == found["ping"] == {}
    assert found["own"]["security.capability"].hex() == "0000000220000000" + "00" * 12
    told = [each for each in json.loads(done.stdout)["findings"] if each["rule"] == "metadata-not-kept"]
    assert [each["subject"] for each in told] == ["/ping"]
    assert "cap_net_raw+ep" in told[0]["message"]
    assert "--entrypoint" in told[0]["fix"]
    error = refusal(lambda: planned(copies=(parse_copy(f"{tool}:/kept:xattrs=keep"),)), SourceError)
    assert "rootid=" in error.message
    assert "cap=" in error.fix
