"""`--with`, all the way: what `auto` finds that a program needs, and the same image by every way to write it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import symbolic
import tinyelf
from planning import put

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.image.syntax import parse_essentials
from rootless_scratch.image.write.containerfile import containerfile, write_context
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


def test_auto_takes_what_the_findings_ask_for_and_keeps_what_is_named(tmp_path: Path) -> None:
    program = symbolic.go_program("net/http.(*Transport).dialConn", "time.LoadLocation", "os.MkdirTemp")
    app = put(tmp_path, "app", program)
    spec = Spec(programs=(Copy(source=app),), essentials=parse_essentials("auto,tzdata=UTC"))
    decided, findings = plan_and_judge(spec)
    assert findings == ()
    zones = [file.path for file in decided.rootfs.files if "zoneinfo" in file.path]
    assert zones == ["/usr/share/zoneinfo/UTC"]
    assert {"/etc/ssl/certs/ca-certificates.crt", "/tmp"} <= {entry.path for entry in decided.rootfs}


def test_auto_gives_a_named_user_its_passwd(tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    spec = Spec(programs=(Copy(source=app),), user="app:app", essentials=parse_essentials("auto"))
    decided, findings = plan_and_judge(spec)
    assert findings == ()
    assert "/etc/passwd" in {file.path for file in decided.rootfs.files}


def test_auto_adds_nothing_to_a_program_that_needs_nothing(tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    decided, _ = plan_and_judge(Spec(programs=(Copy(source=app),), essentials=parse_essentials("auto")))
    assert [entry.path for entry in decided.rootfs] == ["/app"]
    assert decided.added == ()


def test_what_auto_has_added_is_said(tmp_path: Path, shared_home: Home) -> None:
    app = put(tmp_path, "app", symbolic.go_program("time.LoadLocation", "os.MkdirTemp"))
    words = ("build", app, "-o", f"oci:{tmp_path}/image", "--with")
    told = "`--with auto` added tmp, tzdata."
    assert shared_home.json(*words, "auto")["notes"] == [told]
    assert f"note: {told}".encode() in shared_home.cli(*words, "auto").stderr
    assert shared_home.json(*words, "auto,tzdata")["notes"] == ["`--with auto` added tmp."]
    assert shared_home.json(*words, "auto,tzdata,tmp")["notes"] == []
    assert shared_home.json(*words, "auto", "--dry-run")["plan"]["added"] == ["tmp", "tzdata"]


# Written, by both ways.


def test_made_files_go_into_the_context_of_a_containerfile(tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    decided = plan(Spec(programs=(Copy(source=app),), essentials=parse_essentials("nonroot,tmp")), environ={})
    assert "/etc/passwd" in containerfile(decided)
    write_context(decided, str(tmp_path / "context"))
    passwd = tmp_path / "context/rootfs/etc/passwd"
    assert passwd.read_bytes().startswith(b"root:x:0:0:")
    assert passwd.stat().st_mtime == 0


@pytest.mark.buildah
def test_built_and_by_containerfile_the_image_is_the_same(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    words = (app, "--with", "nonroot,tmp,nsswitch,ca-certificates", "--with", "tzdata=UTC", "--user", "app")
    built = shared_home.json("build", *words, "-t", "essential")
    again = shared_home.json("build", *words, "-t", "essential-again")
    assert built["image_id"] == again["image_id"]
    context = str(tmp_path / "context")
    assert shared_home.cli("containerfile", *words, "-o", context).returncode == 0
    shared_home.run(["buildah", "build", "-q", "-t", "essential-file", "--timestamp", "0", context])
    ours = shared_home.json("inspect", "essential")["files"]
    theirs = shared_home.json("inspect", "essential-file")["files"]
    assert ours == theirs
    by_path = {file["path"]: file for file in ours}
    assert by_path["/home/app"]["uid"] == 65532
    assert by_path["/tmp"]["mode"] in (0o1777, "1777")


@pytest.mark.podman
@pytest.mark.buildah
def test_a_named_user_runs_once_the_image_has_accounts(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    shared_home.json("build", app, "-t", "essential-user", "--user", "app", "--with", "auto")
    assert shared_home.cli("run", "essential-user").stdout == b"Hello World\n"


ZONE = """package main

import (
	"fmt"
	"os"
	"os/user"
	"time"
)

func main() {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	who, err := user.Current()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, err = os.MkdirTemp("", "x")
	fmt.Println(time.Unix(0, 0).In(zone).Format(time.RFC3339), who.Username, who.HomeDir, err)
}
"""


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.compiler
def test_go_finds_zone_user_and_tmp_by_auto_and_misses_them_without(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(ZONE)
    environment = os.environ | {"CGO_ENABLED": "0", "HOME": str(tmp_path), "GO111MODULE": "off"}
    words = ["go", "build", "-ldflags=-s -w", "-o", "app", "main.go"]
    subprocess.run(words, cwd=tmp_path, check=True, env=environment)
    app = str(tmp_path / "app")
    bare = shared_home.json("build", app, "-t", "zones-bare")
    assert {finding["rule"] for finding in bare["findings"]} == {
        "needs-time-zones",
        "needs-accounts",
        "needs-tmp",
    }
    failed = shared_home.cli("run", "zones-bare")
    assert (failed.returncode, failed.stdout) == (1, b"unknown time zone Europe/Berlin\n")
    full = shared_home.json("build", app, "-t", "zones-full", "--with", "auto,tzdata=Europe/Berlin")
    assert full["findings"] == []
    done = shared_home.cli("run", "zones-full")
    berlin = dt.datetime.fromtimestamp(0, dt.timezone(dt.timedelta(hours=1))).isoformat()
    assert done.stdout.decode() == f"{berlin} nonroot /home/nonroot <nil>\n"


def test_a_dry_run_shows_what_is_made(tmp_path: Path, shared_home: Home) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    done = shared_home.cli("build", app, "--with", "nsswitch", "--dry-run")
    made = {entry["path"]: entry for entry in json.loads(done.stdout)["plan"]["entries"]}["/etc/nsswitch.conf"]
    assert made["content"].startswith("passwd: files\n")
    assert made["source"] is None
