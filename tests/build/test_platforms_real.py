"""An index in local storage and in other tools' hands, with programs that a compiler made and that really run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from conftest import Home

pytestmark = pytest.mark.buildah

GO = 'package main\n\nimport ("os"; "runtime")\n\nfunc main() { os.Stdout.WriteString(runtime.GOARCH + "\\n") }\n'
BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    """A program for two processors; only that for amd64 runs."""
    return [str(path) for path in tinyelf.for_machines(tmp_path, "x86_64", "aarch64").values()]


def listed(home: Home) -> list[str]:
    """Names of all images in storage; those without are <none>:<none>."""
    said = home.run(["buildah", "images", "--all", "--format", "{{.Name}}:{{.Tag}}"])
    return sorted(said.stdout.decode().split())


def test_skopeo_and_umoci_read_the_index(shared_home: Home, tmp_path: Path, programs: list[str]) -> None:
    words = ["-o", f"oci:{tmp_path}/out:1", "-o", f"oci-archive:{tmp_path}/out.tar:1", "--compress", "gzip"]
    built = shared_home.json("build", *programs, *words)
    for number, output in enumerate((f"oci:{tmp_path}/out:1", f"oci-archive:{tmp_path}/out.tar:1")):
        raw = json.loads(shared_home.run(["skopeo", "inspect", "--raw", output]).stdout)
        digests = [each["digest"] for each in built["images"]]
        assert [each["digest"] for each in raw["manifests"]] == digests
        copy = f"oci:{tmp_path}/copy{number}:1"
        shared_home.run(["skopeo", "copy", "-q", "--all", output, copy])
        again = json.loads(shared_home.run(["skopeo", "inspect", "--raw", copy]).stdout)
        assert again == raw
        for image in built["images"]:
            system, architecture, *variant = image["platform"].split("/")
            chosen = ["--override-os", system, "--override-arch", architecture]
            chosen += [word for each in variant for word in ("--override-variant", each)]
            config = shared_home.run(["skopeo", *chosen, "inspect", "--config", "--raw", output]).stdout
            assert json.loads(config)["architecture"] == architecture
            shown = shared_home.json("inspect", copy, "--platform", image["platform"])
            assert shown["image_id"] == image["image_id"]
    listed_refs = shared_home.run(["umoci", "ls", "--layout", f"{tmp_path}/out"]).stdout.decode().split()
    assert listed_refs == ["1"]


def test_a_name_in_local_storage_is_a_list_and_nothing_else_has_a_name(
    fresh_home: Home, tmp_path: Path, programs: list[str]
) -> None:
    built = fresh_home.json("build", *programs, "-t", "one", "-t", "two:2", "-o", f"oci:{tmp_path}/out")
    assert built["names"] == ["localhost/one:latest", "localhost/two:2"]
    assert [output["ref"] for output in built["outputs"]] == [f"oci:{tmp_path}/out"]
    assert listed(fresh_home) == ["<none>:<none>", "<none>:<none>", "localhost/one:latest", "localhost/two:2"]
    for name in built["names"]:
        found = json.loads(fresh_home.run(["buildah", "manifest", "inspect", name]).stdout)
        platforms = ["/".join(each["platform"].values()) for each in found["manifests"]]
        assert platforms == ["amd64/linux", "arm64/linux/v8"]
        assert [each["digest"] for each in found["manifests"]] == [each["digest"] for each in built["images"]]
    for image in built["images"]:
        assert fresh_home.json("inspect", image["image_id"])["image_id"] == image["image_id"]
    if os.uname().machine == "x86_64":
        assert fresh_home.json("inspect", "one")["image_id"] == built["image_id"]
        assert fresh_home.json("verify", "one", programs[0])["verdict"] == "identical"
    assert fresh_home.temporary_files() == []


def test_a_name_moves_to_the_new_list_and_an_image_that_was_there_stays_without_it(
    fresh_home: Home, programs: list[str]
) -> None:
    single = fresh_home.json("build", programs[0], "-t", "moved", "--backend", "direct")
    assert listed(fresh_home) == ["localhost/moved:latest"]
    built = fresh_home.json("build", *programs, "-t", "moved")
    assert built["images"][0]["image_id"] == single["image_id"]
    assert listed(fresh_home) == ["<none>:<none>", "<none>:<none>", "localhost/moved:latest"]
    again = fresh_home.json("build", *reversed(programs), "-t", "moved")
    assert again["digest"] == built["digest"]
    back = fresh_home.json("build", programs[1], "-t", "moved", "--backend", "direct")
    assert fresh_home.json("inspect", "moved")["image_id"] == back["image_id"]


def test_what_fails_on_the_way_into_local_storage_leaves_nothing_behind(
    fresh_home: Home, tmp_path: Path, programs: list[str]
) -> None:
    kept = fresh_home.json("build", programs[0], "-t", "kept", "--backend", "direct")
    real, tools = shutil.which("buildah"), tmp_path / "tools"
    tools.mkdir()
    for call in ("create", "tag"):
        refusing = f'case " $* " in *" {call} "*) echo no >&2; exit 1;; esac'
        (tools / "buildah").write_text(f'#!/bin/sh\n{refusing}\nexec {real} "$@"\n')
        (tools / "buildah").chmod(0o755)
        path = f"{tools}:{os.environ['PATH']}"
        done = fresh_home.cli("build", *programs, "-t", "kept", environment={"PATH": path})
        assert done.returncode == 1
        assert b"fix: " in done.stderr
        assert listed(fresh_home) == ["localhost/kept:latest"]
        assert fresh_home.json("inspect", "kept")["image_id"] == kept["image_id"]
    assert fresh_home.temporary_files() == []


@pytest.mark.parametrize("call", ["create", "tag", "manifest rm"])
def test_what_sigkill_leaves_of_a_list_the_next_call_removes(
    fresh_home: Home, tmp_path: Path, programs: list[str], call: str
) -> None:
    real, tools = shutil.which("buildah"), tmp_path / "tools"
    tools.mkdir()
    # The call is the tool's parent, or that of what holds the tool for it.
    killing = (
        f'case " $* " in *" {call} "*) pid=$PPID\n'
        "while ! tr '\\0' ' ' < /proc/$pid/cmdline | grep -q -e '-m rootless_scratch build'; do\n"
        "pid=$(cut -d ' ' -f 4 /proc/$pid/stat); done; kill -9 $pid; exit 1;; esac"
    )
    (tools / "buildah").write_text(f'#!/bin/sh\n{killing}\nexec {real} "$@"\n')
    (tools / "buildah").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    done = fresh_home.cli("build", *programs, "-t", "killed", environment={"PATH": path})
    assert done.returncode == -9
    assert len(fresh_home.temporary_files()) == 1
    after = fresh_home.json("build", programs[0], "-t", "after")
    assert fresh_home.temporary_files() == []
    if call != "manifest rm":
        assert listed(fresh_home) == ["localhost/after:latest"]
        return
    # One has no name, and buildah 1.39 gives one that is both members the name of the other image alone.
    *members, after_name, killed_name = listed(fresh_home)
    assert {*members} == {"<none>:<none>"}
    assert (after_name, killed_name) == ("localhost/after:latest", "localhost/killed:latest")
    assert fresh_home.json("verify", "killed", programs[0])["verdict"] == "identical"
    assert after["names"] == ["localhost/after:latest"]


def test_without_namespaces_a_name_alone_fails_with_the_line_that_works(
    fresh_home: Home, tmp_path: Path, programs: list[str]
) -> None:
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && "
        'exec setpriv --inh-caps=-all --bounding-set=-all "$0" -m rootless_scratch "$@"'
    )
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, "build", *programs]
    alone = fresh_home.run([*inside, "-t", "hello"], check=False)
    assert alone.returncode == 1
    assert b"-o oci-archive:hello.tar" in alone.stderr
    written = fresh_home.run([*inside, "-o", f"oci:{tmp_path}/out"])
    assert len(written.stdout.decode().strip()) == 64


@pytest.mark.compiler
@pytest.mark.podman
def test_go_programs_of_one_list_run_here_and_under_an_emulator(fresh_home: Home, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(GO)
    for architecture in ("amd64", "arm64", "arm"):
        settings = {"CGO_ENABLED": "0", "GOARCH": architecture, "GOARM": "6", "GO111MODULE": "off"}
        environment = os.environ | settings | {"GOCACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
        argv = ["go", "build", "-ldflags=-s -w", "-o", f"{architecture}/hello", "main.go"]
        subprocess.run(argv, cwd=tmp_path, env=environment, check=True, timeout=300)
    words = [str(tmp_path / architecture / "hello") for architecture in ("amd64", "arm64", "arm")]
    built = fresh_home.json("build", *words, "-t", "hello", "-o", f"oci:{tmp_path}/out")
    platforms = [each["platform"] for each in built["images"]]
    # Go before 1.20 does not tell GOARM.
    assert platforms[0::2] == ["linux/amd64", "linux/arm64/v8"]
    assert platforms[1].startswith("linux/arm")
    here = {"x86_64": b"amd64\n", "aarch64": b"arm64\n"}[os.uname().machine]
    ran = fresh_home.cli("run", "hello")
    assert (ran.returncode, ran.stdout) == (0, here), ran.stderr
    # The bytes that lie in the index, run as the kernel would have an emulator run them.
    for architecture, emulator in (("arm64", "qemu-aarch64-static"), ("arm", "qemu-arm-static")):
        alone = f"oci:{tmp_path}/{architecture}.layout:1"
        chosen = ["skopeo", "--override-os", "linux", "--override-arch", architecture]
        variant = [] if architecture == "arm64" else ["--override-variant", "v7"]
        fresh_home.run([*chosen, *variant, "copy", "-q", f"oci:{tmp_path}/out", alone])
        bundle = tmp_path / f"{architecture}.bundle"
        image = alone.removeprefix("oci:")
        fresh_home.run(["umoci", "unpack", "--rootless", "--image", image, str(bundle)])
        emulated = fresh_home.run([emulator, str(bundle / "rootfs/hello")])
        assert emulated.stdout.decode() == f"{architecture}\n"
    if BINFMT.exists():
        foreign = fresh_home.cli("run", built["images"][2]["image_id"])
        assert (foreign.returncode, foreign.stdout) == (0, b"arm64\n"), foreign.stderr
