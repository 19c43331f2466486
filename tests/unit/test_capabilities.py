"""File capabilities: read back as the words in which they were given, and seen in every kind of finished image."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
import tinyelf
from hypothesis import given
from hypothesis import strategies as st

import rootless_scratch as rs
from rootless_scratch.image.capabilities import decode_capabilities, encode_capabilities

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

NET_RAW = 1 << 13


@given(
    names=st.lists(
        st.sampled_from(["cap_chown", "cap_net_raw", "cap_wake_alarm", "cap_bpf"]), min_size=1, unique=True
    ),
    flags=st.sampled_from(["p", "i", "ip", "ep", "ei", "eip"]),
)
def test_what_was_encoded_reads_back_as_itself(names: list[str], flags: str) -> None:
    order = ["cap_chown", "cap_net_raw", "cap_wake_alarm", "cap_bpf"]
    text = f"{','.join(sorted(names, key=order.index))}+{flags}"
    assert decode_capabilities(encode_capabilities(text)) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((0x01000001, NET_RAW, 0), "cap_net_raw+ep"),
        ((0x02000001, 0, 0, 0, 0), "="),
        ((0x02000000, NET_RAW | 1, NET_RAW, 0, 0), "cap_net_raw+ip cap_chown+p"),
        ((0x02000001, 0, 0, 1 << 31, 0), "63+ep"),
        ((0x03000001, NET_RAW, 0, 0, 0, 1000), "cap_net_raw+ep [rootid=1000]"),
        ((0x04000001, NET_RAW, 0, 0, 0), None),
        ((0x02000001, NET_RAW, 0), None),
        ((), None),
    ],
)
def test_each_revision_of_the_kernel_is_read_and_nothing_else(words: tuple[int, ...], text: str | None) -> None:
    assert decode_capabilities(struct.pack(f"<{len(words)}I", *words)) == text


def test_bytes_that_are_no_whole_words_are_not_read() -> None:
    assert decode_capabilities(encode_capabilities("net_raw+ep")[:-1]) is None


@pytest.mark.parametrize("kind", ["oci:{}/d", "oci-archive:{}/o.tar", "docker-archive:{}/d.tar"])
def test_a_layout_whose_program_carries_capabilities_is_not_said_to_start(tmp_path: Path, kind: str) -> None:
    program = tinyelf.write(tmp_path / "a")
    word = kind.format(tmp_path)
    for flags, verdict in (("ep", "unknown"), ("p", "starts"), ("ei", "starts")):
        copy = f"{program}:/b:cap=cap_net_raw+{flags}"
        rs.build(program, copy=[copy], entrypoint=["/b"], output=word)
        judged = rs.check(word)
        assert judged.verdict == verdict
        assert ["file-capabilities"] * (verdict == "unknown") == [finding.rule for finding in judged]


def test_inspect_names_them(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "a")
    word = f"oci:{tmp_path}/d"
    rs.build(program, copy=[f"{program}:/b:cap=cap_net_raw,cap_bpf+ep"], output=word)
    files = {file["path"]: file for file in shared_home.json("inspect", word)["files"]}
    assert files["/b"]["capabilities_text"] == "cap_net_raw,cap_bpf+ep"
    assert files["/b"]["capabilities"].startswith("01000002")
    assert b"cap_net_raw,cap_bpf+ep" in shared_home.cli("inspect", word).stdout


@pytest.mark.podman
@pytest.mark.buildah
def test_a_stored_image_is_judged_as_it_runs(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "a")
    copy = f"{program}:/b:cap=cap_net_raw+ep"
    shared_home.json("build", str(program), "--copy", copy, "--entrypoint", '["/b"]', "-t", "capable")
    judged = shared_home.json("check", "capable")
    assert (judged["verdict"], judged["findings"][0]["rule"]) == ("unknown", "file-capabilities")
    assert "cap_net_raw+ep" in judged["findings"][0]["message"]
    assert shared_home.cli("run", "capable").returncode == 126
