"""Stages that were built before: while nothing of them has changed, neither buildah nor a namespace is needed."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from staging import STATIC, Bench, without_namespaces

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.buildah, pytest.mark.podman]


@pytest.mark.parametrize("driver", ["vfs", "overlay"])
def test_a_stage_that_has_not_changed_needs_neither_buildah_nor_a_namespace(
    lonely: Bench, tmp_path: Path, driver: str
) -> None:
    lonely.home.environment["STORAGE_DRIVER"] = driver
    lonely.base("base", STATIC)
    (lonely.context / "source").write_text("one")
    text = (
        "FROM base AS build\nCOPY source /source\nRUN busybox cp /source /made && busybox ln -s made /link\n"
        "FROM scratch\nCOPY --from=build /made /link /files/\n"
    )
    time.sleep(0.2)  # what has just been written is not relied on
    first = lonely.files(text)
    argv = ["build", "-f", f"{lonely.context}/Containerfile", str(lonely.context), "-o", f"oci:{tmp_path}/layout"]
    alone = [sys.executable, "-m", "rootless_scratch", *argv, "--no-check"]
    lonely.home.run(without_namespaces(alone))
    again = lonely.home.json("inspect", f"oci:{tmp_path}/layout")
    assert again["image_id"] == lonely.home.json("inspect", f"oci:{lonely.layout}")["image_id"]
    (lonely.context / "source").write_text("two")
    refused = lonely.home.run(without_namespaces(alone), check=False)
    assert b"cannot make a user namespace" in refused.stderr
    second = lonely.files(text)
    assert (first["/files/made"][3], second["/files/made"][3]) == (b"one", b"two")


def test_a_base_of_the_same_name_that_changed_is_noticed(lonely: Bench) -> None:
    text = "FROM base AS build\nRUN busybox cp /made-of /copy\nFROM scratch\nCOPY --from=build /copy /copy\n"
    for content in ("one", "two"):
        (lonely.context / "of").write_text(content)
        lonely.base("base", f"{STATIC}COPY of /made-of\n")
        for _ in range(2):
            time.sleep(0.2)
            assert lonely.files(text)["/copy"][3] == content.encode()


def test_other_options_are_another_stage(lonely: Bench) -> None:
    text = "FROM base AS build\nARG NAMED\nRUN echo $NAMED >/copy\nFROM scratch\nCOPY --from=build /copy /copy\n"
    for _ in range(2):
        for value in ("one", "two"):
            files = lonely.files(text, "--build-arg", "NAMED", environment={"NAMED": value})
            assert files["/copy"][3] == f"{value}\n".encode()


def test_files_that_only_the_namespace_can_read_are_read_there_every_time(lonely: Bench) -> None:
    text = (
        "FROM base AS build\nRUN echo x >/key && busybox chown 5 /key && busybox chmod 600 /key\n"
        "FROM scratch\nCOPY --from=build /key /key\n"
    )
    assert lonely.files(text) == lonely.files(text)


def test_what_a_base_adds_to_the_stage_is_done_again_when_the_context_changes(lonely: Bench) -> None:
    text = f"{STATIC}ONBUILD COPY source /source\n"
    (lonely.context / "Base").write_text(text)
    argv = ["buildah", "build", "-q", "--format", "docker", "-t", "trigger", "-f", f"{lonely.context}/Base"]
    lonely.home.run([*argv, str(lonely.context)])
    for content in ("one", "two"):
        (lonely.context / "source").write_text(content)
        for _ in range(2):
            time.sleep(0.2)
            files = lonely.files(
                "FROM trigger AS build\nRUN busybox cp /source /copy\nFROM scratch\nCOPY --from=build /copy /\n"
            )
            assert files["/copy"][3] == content.encode()


@pytest.mark.parametrize("base", ["base", "scratch"])
def test_named_contexts_and_stages_from_scratch_are_remembered_until_they_change(
    lonely: Bench, tmp_path: Path, base: str
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    text = (
        f"FROM {base} AS build\nCOPY busybox /bin/busybox\nCOPY --from=more in /in\n"
        'RUN ["/bin/busybox", "cp", "/in", "/copy"]\nFROM scratch\nCOPY --from=build /copy /copy\n'
    )
    for content in ("one", "two"):
        (more / "in").write_text(content)
        time.sleep(0.2)
        assert lonely.files(text, "--build-context", f"more={more}")["/copy"][3] == content.encode()
        argv = ["build", "-f", f"{lonely.context}/Containerfile", str(lonely.context), "--no-check"]
        argv += ["--build-context", f"more={more}", "-o", f"oci:{tmp_path}/layout-{content}"]
        lonely.home.run(without_namespaces([sys.executable, "-m", "rootless_scratch", *argv]))


@pytest.mark.parametrize("text", ["COPY --from=build /key /key\n", "COPY --from=build /bin/app /app\n"])
def test_what_only_the_namespace_can_read_is_not_built_again(lonely: Bench, text: str) -> None:
    (lonely.context / "app").write_bytes(tinyelf.elf(interpreter="/lib64/ld.so", needed=["libc.so.6"]))
    text = (
        "FROM base AS build\nCOPY app /bin/app\n"
        f"RUN echo x >/key && busybox chown 5 /key && busybox chmod 600 /key\nFROM scratch\n{text}"
    )
    time.sleep(0.2)
    first = lonely.files(text, "--bundle-libraries")
    log = lonely.context.parent / "log"
    tool = lonely.context.parent / "bin/buildah"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec /usr/bin/buildah "$@"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{lonely.home.environment['PATH']}"
    for _ in range(2):
        # Another buildah may build otherwise: it is asked once.
        log.write_text("")
        assert lonely.files(text, "--bundle-libraries", environment={"PATH": path}) == first
    assert " build " not in log.read_text()
    assert "unshare" in log.read_text()
