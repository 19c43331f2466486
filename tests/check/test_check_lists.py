"""Search lists and accounts that lie inside a finished image: `check` reads them there too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"


def words_for(path: Path, interpreter: str, lists: dict[str, bytes], *, mode: str = "0755") -> list[str]:
    """Words of `build` for a program whose library lies in /far, where no loader looks by itself."""
    loader = tinyelf.elf(type=tinyelf.DYN, soname=interpreter.rpartition("/")[2])
    files = {
        "/app": tinyelf.elf(interpreter=interpreter, needed=["libfar.so"]),
        interpreter: loader,
        "/far/libfar.so": tinyelf.elf(type=tinyelf.DYN, dynamic=True),
        **lists,
    }
    words = ["--entrypoint", '["/app"]']
    for place, content in files.items():
        source = path / place.replace("/", "_")
        source.write_bytes(content)
        of_app = f":mode={mode},uid=0,gid=2000" if place == "/app" else ":mode=0644" if place in lists else ""
        words += ["--copy", f"{source}:{place}{of_app}"]
    return words


FAR = {"/etc/ld.so.cache": tinyelf.loader_cache(("libfar.so", "/far/libfar.so"))}
GONE = {"/etc/ld.so.cache": tinyelf.loader_cache(("libfar.so", "/gone/libfar.so"))}
CASES = {
    "the cache knows the library": (GLIBC, FAR, "starts", []),
    "the cache names a place where it is not": (GLIBC, GONE, "fails", ["needs-libraries"]),
    "the cache is garbled": (GLIBC, {"/etc/ld.so.cache": b"\xff" * 99}, "fails", ["needs-libraries"]),
    "the list of musl names its directory": (MUSL, {"/etc/ld-musl-x86_64.path": b"/lib\n/far\n"}, "starts", []),
    "the list of musl does not": (MUSL, {"/etc/ld-musl-x86_64.path": b"/lib\n"}, "fails", ["needs-libraries"]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_search_lists_of_a_layout_are_read(shared_home: Home, tmp_path: Path, name: str) -> None:
    interpreter, lists, verdict, rules = CASES[name]
    words = words_for(tmp_path, interpreter, lists)
    done = shared_home.cli("build", *words, "-o", f"oci:{tmp_path}/image", "--no-check")
    assert done.returncode == 0, done.stderr.decode()
    judgement = rs.check(f"oci:{tmp_path}/image")
    assert (judgement.verdict, [finding.rule for finding in judgement]) == (verdict, rules)


@pytest.mark.buildah
def test_the_search_lists_of_an_image_in_storage_are_read(shared_home: Home, tmp_path: Path) -> None:
    for name, lists in (("far", FAR), ("gone", GONE)):
        words = words_for(tmp_path, GLIBC, lists)
        done = shared_home.cli("build", *words, "-t", f"lists-{name}", "--no-check")
        assert done.returncode == 0, done.stderr.decode()
    assert shared_home.json("check", "lists-far")["verdict"] == "starts"
    done = shared_home.cli("check", "lists-gone")
    assert done.returncode == 1
    assert b"[needs-libraries]" in done.stderr


ACCOUNTS = {"/etc/passwd": b"app:x:1000:2000::/:\n", "/etc/group": b"staff:x:2000:\nwheel:x:10:admin\n"}
USERS = {
    "app": ([], "0750"),
    "app:staff": ([], "0750"),
    "1000": ([], "0750"),
    "app:wheel": (["not-executable"], "0750"),
    "other": (["user-unknown"], "0755"),
    "app:admin": (["group-unknown"], "0755"),
}


@pytest.mark.parametrize("user", USERS)
def test_users_and_groups_are_looked_up_in_the_files_of_the_image(
    shared_home: Home, tmp_path: Path, user: str
) -> None:
    rules, mode = USERS[user]
    words = words_for(tmp_path, GLIBC, FAR | ACCOUNTS, mode=mode)
    # The same before the image is written and after it was read back.
    planned = shared_home.cli("build", *words, "--user", user, "-o", f"oci:{tmp_path}/refused")
    assert (planned.returncode, [rule for rule in rules if f"[{rule}]".encode() not in planned.stderr]) == (
        1 if rules else 0,
        [],
    )
    done = shared_home.cli("build", *words, "--user", user, "-o", f"oci:{tmp_path}/image", "--no-check")
    assert done.returncode == 0, done.stderr.decode()
    assert [finding.rule for finding in rs.check(f"oci:{tmp_path}/image")] == rules


def test_a_user_whom_the_group_file_adds_to_other_groups_is_not_judged_by_one(
    shared_home: Home, tmp_path: Path
) -> None:
    groups = {"/etc/passwd": b"app:x:1000:1000::/:\n", "/etc/group": b"staff:x:2000:app\n"}
    words = words_for(tmp_path, GLIBC, FAR | groups, mode="0750")
    done = shared_home.cli("build", *words, "--user", "app", "-o", f"oci:{tmp_path}/image", "--no-check")
    assert done.returncode == 0, done.stderr.decode()
    assert rs.check(f"oci:{tmp_path}/image").verdict == "unknown"
