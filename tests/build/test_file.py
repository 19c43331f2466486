"""`build -f`: a Containerfile becomes an image here, with no other program; what is wrong in it has its line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from evaluating import ANY, made, make_context
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import RefusedError, SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.findings import Finding


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make_context(tmp_path / "context")


def refused(context: Path, text: str, **options: Any) -> list[Finding]:  # noqa: ANN401
    """The errors for which a file is refused."""
    error = refusal(lambda: made(context, text, **options), RefusedError)
    assert isinstance(error, RefusedError)
    return [finding for finding in error.findings if finding.severity == "error"]


def where(finding: Finding) -> tuple[int, int]:
    assert finding.location is not None
    return finding.location.line, finding.location.column


def test_a_dockerfile_becomes_the_image_that_a_program_becomes(context: Path) -> None:
    config, files = made(context, 'FROM scratch\nCOPY --chmod=755 hello /\nENTRYPOINT ["/hello"]\n')
    image = rs.build(str(context / "hello"), output=f"oci:{context.parent / 'other'}")
    other = json.loads((context.parent / "other/blobs/sha256" / image.image_id).read_bytes())
    assert config == other
    assert list(files) == ["/hello"]


def test_an_option_holds_over_the_file_and_adds_where_there_can_be_several(context: Path) -> None:
    text = (
        "FROM scratch\nCOPY hello d /\nENV A=1 B=1\nLABEL a=1\nUSER 5\nEXPOSE 80\nVOLUME /v\n"
        'ENTRYPOINT ["/hello"]\n'
    )
    config, files = made(
        context,
        text,
        user="7",
        env={"B": "2"},
        labels={"b": "2"},
        ports=["53/udp"],
        volumes=["/w"],
        copy=[f"{context / 'f'}:/g"],
        essentials=["tmp"],
        check=False,
    )
    assert config["config"]["User"] == "7"
    assert config["config"]["Env"] == ["A=1", "B=2"]
    assert config["config"]["Labels"] == {"a": "1", "b": "2"}
    assert config["config"]["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert config["config"]["Volumes"] == {"/v": {}, "/w": {}}
    assert files["/g"].size == 1
    assert "/tmp" in files


def test_an_artefact_has_no_command_and_the_platform_of_its_programs_or_of_this_host(context: Path) -> None:
    config, files = made(context, "FROM scratch\nCOPY f /data/\n")
    assert "Entrypoint" not in config["config"]
    assert config["architecture"]
    assert set(files) == {"/data", "/data/f"}
    tinyelf.write(context / "riscv", machine="riscv64")
    assert made(context, "FROM scratch\nCOPY f riscv /data/\n")[0]["architecture"] == "riscv64"
    config, _ = made(context, "FROM scratch\nARG TARGETARCH\nCOPY f /$TARGETARCH\n", platform="linux/s390x")
    assert config["architecture"] == "s390x"


def test_this_hosts_platform_is_told_of(context: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("FROM scratch\nCOPY f /\n")
    image = rs.build_file(tmp_path / "file", context, output=f"oci:{tmp_path / 'layout'}")
    assert [note for note in image.notes if "this host's" in note]


def test_several_platforms_are_an_index_with_the_arguments_of_each(context: Path, tmp_path: Path) -> None:
    for name, machine in {"amd64": "x86_64", "arm64": "aarch64"}.items():
        tinyelf.write(context / f"hello-{name}", machine=machine)
    (tmp_path / "file").write_text('FROM scratch\nARG TARGETARCH\nCOPY hello-$TARGETARCH /hello\nCMD ["/hello"]\n')
    image = rs.build_file(
        tmp_path / "file", context, output=f"oci:{tmp_path / 'layout'}", platform="linux/arm64,linux/amd64", **ANY
    )
    assert [each.platform for each in image.images] == ["linux/amd64", "linux/arm64"]


def test_only_what_the_target_needs_is_looked_at(context: Path) -> None:
    text = (
        "FROM nosuch:1 AS builder\nRUN x\nFROM scratch AS one\nCOPY f /\nFROM scratch\nCOPY --from=builder /x /\n"
    )
    assert set(made(context, text, target="one")[1]) == {"/f"}
    assert set(made(context, text, target="1")[1]) == {"/f"}


def test_values_of_the_command_line_and_of_the_environment_reach_arg(
    context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B", "of the environment")
    monkeypatch.delenv("C", raising=False)
    text = "ARG A=0\nFROM scratch\nARG A B=0 C=0 D=0\nLABEL a=$A b=$B c=$C d=$D\n"
    config, _ = made(context, text, build_args={"A": "1", "B": None, "C": None})
    assert config["config"]["Labels"] == {"a": "1", "b": "of the environment", "c": "0", "d": "0"}


def test_an_argument_that_no_arg_takes_is_told_of(context: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("FROM scratch\nCOPY f /\n")
    image = rs.build_file(
        tmp_path / "file", context, output=f"oci:{tmp_path / 'layout'}", build_args={"NOPE": "1"}
    )
    assert [note for note in image.notes if "NOPE" in note]


def test_shell_holds_for_what_is_below_it(context: Path) -> None:
    text = 'FROM scratch\nSHELL ["/sh", "-e"]\nENTRYPOINT a $B\nCMD c\n'
    config, _ = made(context, text, check=False)
    assert config["config"]["Entrypoint"] == ["/sh", "-e", "a $B"]
    assert config["config"]["Cmd"] == ["/sh", "-e", "c"]


def test_triggers_of_a_stage_are_worked_off_by_the_stage_that_begins_with_it(context: Path) -> None:
    text = "FROM scratch AS base\nONBUILD COPY f /\nONBUILD LABEL a=1\nFROM base\nCOPY d/g /\n"
    config, files = made(context, text)
    assert set(files) == {"/f", "/g"}
    assert config["config"]["Labels"] == {"a": "1"}
    assert set(made(context, text, compat="buildah")[1]) == {"/g"}


def test_compat_docker_has_what_docker_leaves_in_an_image(context: Path) -> None:
    os.utime(context / "f", (10**9, 10**9))
    text = (
        "FROM scratch\nCOPY f /d/\nEXPOSE 80/TCP 90-91\nONBUILD COPY f /\n"
        'HEALTHCHECK --interval=1m30s --retries=3 CMD ["/h"]\nSHELL ["/x"]\n'
    )
    config, files = made(context, text, compat="docker", check=False)
    assert config["config"]["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert "User" not in config["config"]
    assert config["config"]["WorkingDir"] == "/"
    assert set(config["config"]["ExposedPorts"]) == {"80/tcp", "90/tcp", "91/tcp"}
    health = {"Test": ["CMD", "/h"], "Interval": 90 * 10**9, "Retries": 3}
    assert config["config"]["Healthcheck"] == health
    assert config["config"]["OnBuild"] == ["COPY f /"]
    assert config["config"]["Shell"] == ["/x"]
    assert [step["created_by"] for step in config["history"]][:2] == [
        "COPY f /d/ # buildkit",
        "EXPOSE 80/TCP 90-91",
    ]
    assert ["empty_layer" in step for step in config["history"]] == [True] * 4 + [False]
    assert not config["created"].startswith("1970")
    assert files["/d/f"].mtime == 10**9
    assert files["/d"].mtime > 10**9


def test_without_compat_a_file_gives_the_same_image_every_time(context: Path) -> None:
    text = "FROM scratch\nCOPY d /d/\nHEALTHCHECK NONE\n"
    first, _ = made(context, text)
    os.utime(context / "d/g", (5, 5))
    assert made(context, text)[0] == first


def test_every_fault_has_its_line_and_the_rest_is_judged_all_the_same(context: Path) -> None:
    text = (
        "FROM scratch\nFOO bar\nCOPY nothing /\nEXPOSE 80:90\nCOPY hello /\nUSER a b\nSTOPSIGNAL nope\n"
        'VOLUME data\nLABEL a="\nCMD ["hello"]\n'
    )
    errors = refused(context, text)
    located = {where(each): each for each in errors if each.location is not None}
    assert [line for line, _ in located][:7] == [2, 3, 4, 6, 7, 8, 9]
    assert where(errors[1]) == (3, 6)
    assert "80:90" in located[4, 8].message
    for each in located.values():
        assert each.location is not None
        assert each.location.text == text.splitlines()[each.location.line - 1]


def test_the_image_is_judged_as_far_as_it_can_be_told(context: Path) -> None:
    errors = refused(context, 'FROM scratch\nEXPOSE x\nCOPY hello /\nCMD ["hello"]\n')
    assert [where(each)[0] for each in errors] == [2, 4]
    assert errors[1].rule == "command-not-in-path"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("FROM scratch\nCOPY --from=b /f /\nFROM scratch AS b\nFROM 0\n", 2, "later"),
        ("FROM scratch AS a\nCOPY --from=a /f /\n", 2, "itself"),
        ("FROM scratch\nCOPY --from=scratch /f /\n", 2, "no files"),
        ("FROM $X\nCOPY f /\n", 1, "empty"),
        ("FROM scratch\nRUN echo\n", 2, "/bin/sh"),
        ("FROM scratch\nCOPY f /x\nWORKDIR /x/y\n", 3, "file"),
        ("FROM scratch\nLABEL a=${X\n", 2, "closed"),
        ("FROM scratch\nENV a=${X:?give-it}\n", 2, "give-it"),
        ("COPY f /\n", 1, ""),
        ("", 1, ""),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(context: Path, text: str, line: int, said: str) -> None:
    errors = refused(context, text, check=False)
    assert where(errors[0])[0] == line
    assert said in errors[0].message


def test_a_stage_that_there_is_not_is_refused_with_those_that_there_are(context: Path) -> None:
    (error,) = refused(context, "FROM scratch AS one\nFROM scratch\n", target="two")
    assert "'two'" in error.message
    assert "one, 1" in error.fix


def test_a_stage_on_another_image_is_not_what_is_built_here(context: Path) -> None:
    (error,) = refused(context, "FROM alpine:3\nCOPY f /\n")
    assert where(error) == (1, 6)
    assert "scratch" in error.fix


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"programs": ["f"]}, "PROGRAM"),
        ({"compat": "kaniko"}, "kaniko"),
        ({"platform": "linux/amd64=f"}, "program"),
        ({"secrets": ["src=f"]}, "ID"),
        ({"build_args": ["A=b"]}, "mapping"),
        ({"lable": 1}, "lable"),
    ],
)
def test_options_that_mean_nothing_are_refused(context: Path, options: dict[str, Any], said: str) -> None:
    assert said in refusal(lambda: made(context, "FROM scratch\n", **options), UsageError).message


def test_a_file_or_a_context_that_cannot_be_read_is_told_of(context: Path, tmp_path: Path) -> None:
    def build(file: object, place: object = context) -> None:
        rs.build_file(str(file), str(place), output=f"oci:{tmp_path / 'layout'}")

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert "nothing" in refusal(lambda: build(tmp_path / "nothing"), SourceError).message
    assert "Dockerfile" in refusal(lambda: build(tmp_path), SourceError).fix
    assert "nowhere" in refusal(lambda: build(tmp_path / "Dockerfile", "nowhere"), SourceError).message
    assert "https" in refusal(lambda: build(tmp_path / "Dockerfile", "https://a/b.git"), UsageError).message


def test_the_file_may_lie_in_the_context_and_a_directory_be_a_context_of_its_own(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY --from=more x /\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/x").write_text("x")
    image = rs.build_file(
        "Dockerfile", "context", output="oci:layout", build_contexts={"more": str(tmp_path / "more")}
    )
    assert image.files == 1
    (context / "Dockerfile").write_text("FROM scratch\nCOPY d f /\n")
    (context / "Dockerfile.dockerignore").write_text("d/g\n")
    assert rs.build_file("Dockerfile", "context", output="oci:ignored").files == 1


def test_a_file_comes_by_stdin_and_its_plan_is_shown(shared_home: Home, context: Path, tmp_path: Path) -> None:
    text = b"FROM scratch\nCOPY d /d/\nLABEL a=b\n"
    answer = json.loads(shared_home.cli("build", "-f", "-", "--dry-run", cwd=context, input=text).stdout)
    assert [entry["path"] for entry in answer["plan"]["entries"]] == ["/d", "/d/g"]
    assert answer["plan"]["config"]["config"]["Labels"] == {"a": "b"}
    done = shared_home.json("build", "-f", "-", str(context), "-o", f"oci:{tmp_path / 'layout'}", input=text)
    assert done["files"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "x", "-t", "x"), "-f"),
        (("-f", "CF", "a", "b", "-t", "x"), "CONTEXT"),
        (("-f", "CF"), "--tag"),
        (("-f", "CF", "--spec", "x", "-t", "x"), "--spec"),
        (("-f", "CF", "--platform", "linux/amd64=x", "-t", "x"), "program"),
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    shared_home: Home, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "CF").write_text("FROM scratch\n")
    done = shared_home.cli("build", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_ten_thousand_lines_are_worked_off_in_time(context: Path) -> None:
    lines = [f"COPY f /o/d{number % 100}/f{number}" for number in range(10_000)]
    lines += [f"LABEL l{number}=$V" for number in range(5_000)]
    begin = time.process_time()
    _, files = made(context, "\n".join(["FROM scratch", "ARG V=1", *lines]))
    assert time.process_time() - begin < 5
    assert len(files) == 10_101


def test_the_time_of_the_environment_counts_but_for_compat(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    config, files = made(context, "FROM scratch\nCOPY f /\n")
    assert config["created"] == "1970-01-01T00:16:40Z"
    assert files["/f"].mtime == 1000
    config, files = made(context, "FROM scratch\nCOPY f /\n", compat="buildah")
    assert not config["created"].startswith("1970")
    assert files["/f"].mtime > 10**9
    assert (
        made(context, "FROM scratch\nCOPY f /\n", compat="buildah", created="5")[0]["created"]
        == "1970-01-01T00:00:05Z"
    )


def test_a_file_of_scratch_alone_is_an_image_with_an_empty_layer(context: Path) -> None:
    config, files = made(context, "FROM scratch\n")
    assert files == {}
    assert len(config["rootfs"]["diff_ids"]) == 1


@pytest.mark.buildah
def test_storage_has_the_times_that_compat_keeps(shared_home: Home, context: Path, tmp_path: Path) -> None:
    (tmp_path / "CF").write_text("FROM scratch\nCOPY d /d/\n")
    os.utime(context / "d/g", (10**9, 10**9))
    command = ("build", "-f", str(tmp_path / "CF"), str(context), "-t", "times", "--compat", "docker")
    answer = shared_home.json(*command)
    assert [note for note in answer["notes"] if "history" in note]
    shared_home.run(["buildah", "push", "-q", "times", f"oci:{tmp_path / 'stored'}:x"])
    blobs = tmp_path / "stored/blobs/sha256"
    (layer,) = (path for path in blobs.iterdir() if tarfile.is_tarfile(path))
    with tarfile.open(layer) as archive:
        times = {member.name: member.mtime for member in archive}
    assert times["d/g"] == 10**9
    assert times["d"] > 10**9


def test_what_is_no_text_is_refused_with_its_line(context: Path) -> None:
    lines = ("CMD a\udcff", "LABEL a=b\udcff", "VOLUME /\udcff", "MAINTAINER \udcff", 'USER "\udcff"')
    for line in lines:
        file = context.parent / "Containerfile"
        file.write_bytes(f"FROM scratch\n{line}\n".encode("utf-8", "surrogateescape"))
        for compat in (None, "buildah", "docker"):
            error = refusal(
                lambda compat=compat: rs.build_file(file, context, output="oci:x", compat=compat),  # type: ignore[misc]  # noqa: B023
                RefusedError,
            )
            assert isinstance(error, RefusedError)
            assert where(error.findings[0])[0] == 2
            assert "\\udcff" in error.findings[0].message


def test_a_build_without_a_file_reads_none_of_this(context: Path) -> None:
    program = (
        "import sys, rootless_scratch as rs, rootless_scratch.cli.build\n"
        f"rs.build({str(context / 'hello')!r}, output={f'oci:{context.parent}/layout'!r})\n"
        "found = [name for name in sys.modules if name.startswith('rootless_scratch.containerfile.')]\n"
        "sys.exit(found != ['rootless_scratch.containerfile.request'])\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
