"""The one writer of layers: what it writes is read by readers that nobody here wrote, and is always the same."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import put, refusal

from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.image.write.layer import NONE, parse_compression, write_layer
from rootless_scratch.image.write.packing import CHUNK
from rootless_scratch.image.write.tarheader import DIRECTORY, END, HARD_LINK, SYMLINK, header, padding

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.image.plan.planner import Plan
    from rootless_scratch.image.write.layer import Compression, WrittenLayer

PARTS = st.binary(min_size=1, max_size=255).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(b"/".join)
IDS = st.sampled_from([0, 65532, 2**21 - 1, 2**21, 2**32 - 2])
PLAIN = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
CAPABILITY = encode_capabilities("cap_net_raw+ep")


@pytest.mark.slow
@given(
    name=NAMES,
    kind=st.sampled_from([b"0", HARD_LINK, SYMLINK, DIRECTORY]),
    link=NAMES,
    ids=st.tuples(IDS, IDS),
    mode=st.integers(0, 0o7777),
    mtime=st.sampled_from([0, 1_700_000_000, 253_402_300_799]),
    content=st.binary(max_size=1100),
    capable=st.booleans(),
)
@settings(max_examples=300, deadline=None, database=None)
def test_python_reads_back_every_name_owner_time_and_capability(  # noqa: PLR0917 - hypothesis passes by name
    name: bytes,
    kind: bytes,
    link: bytes,
    ids: tuple[int, int],
    mode: int,
    mtime: int,
    content: bytes,
    capable: bool,
) -> None:
    plain = kind == b"0"
    block = header(
        name + b"/" * (kind == DIRECTORY),
        kind=kind,
        size=len(content) if plain else 0,
        mode=mode,
        link=link if kind in (SYMLINK, HARD_LINK) else b"",
        uid=ids[0],
        gid=ids[1],
        mtime=mtime,
        capabilities=CAPABILITY if capable and plain else None,
    )
    archive = block + (content + padding(len(content)) if plain else b"") + END
    assert len(archive) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as tar:
        (member,) = tar.getmembers()
        assert os.fsencode(member.name) == name
        assert (member.uid, member.gid, member.mode, member.mtime) == (*ids, mode, mtime)
        assert (member.uname, member.gname) == ("", "")
        if plain:
            file = tar.extractfile(member)
            assert file is not None
            assert file.read() == content
            found = member.pax_headers.get("SCHILY.xattr.security.capability")
            assert (found is not None) == capable
            assert found is None or found.encode("utf-8", "surrogateescape") == CAPABILITY
        if kind in (SYMLINK, HARD_LINK):
            assert os.fsencode(member.linkname) == link


@pytest.mark.parametrize("size", [2**33 - 1, 2**33, 2**40])
def test_a_program_of_8_gib_and_more_keeps_its_size(size: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(header(b"big", size=size) + END), mode="r|") as tar:
        member = tar.next()
        assert member is not None
        assert member.size == size


@given(names=st.lists(NAMES, min_size=1, max_size=8, unique=True))
@settings(max_examples=30, deadline=None, database=None)
def test_gnu_tar_lists_every_name(names: list[bytes]) -> None:
    archive = b"".join(header(name) for name in names) + END
    words = ["tar", "--list", "--null", "--quoting-style=literal", "--file=-"]
    done = subprocess.run(
        words, input=archive, capture_output=True, check=True, env={"LC_ALL": "C", "PATH": "/bin"}
    )
    assert done.stdout == b"".join(name + b"\n" for name in names)


GO = """package main
import ("archive/tar"; "bytes"; "encoding/hex"; "fmt"; "os"; "strconv"; "time")
func raw(s string) string { b, _ := hex.DecodeString(s); return string(b) }
func number(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
func main() {
  for a := os.Args[1:]; len(a) > 0; a = a[7:] {
    var out bytes.Buffer
    h := &tar.Header{Name: raw(a[0]), Typeflag: a[1][0], Linkname: raw(a[2]), Uid: int(number(a[3])),
      Size: number(a[4]), Mode: number(a[5]), ModTime: time.Unix(number(a[5]), 0)}
    if a[6] != "" { h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": raw(a[6])} }
    if err := tar.NewWriter(&out).WriteHeader(h); err != nil { panic(err) }
    fmt.Println(hex.EncodeToString(out.Bytes()))
  }
}
"""


@pytest.mark.compiler
def test_headers_have_the_bytes_that_go_writes_and_so_buildah(tmp_path: Path) -> None:
    source = tmp_path / "main.go"
    source.write_text(GO)
    environment = os.environ | {"GOCACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    subprocess.run(["go", "build", "-o", tmp_path / "go-tar", source], env=environment, check=True)
    long = [
        b"n" * 100,
        b"n" * 101,
        b"d" * 60 + b"/" + b"f" * 60,
        b"d" * 99 + b"/\xff/" + b"f" * 90,
        "ü".encode() * 50,
    ]
    names = [b"hello", b"usr/bin/hello", *long, b"/".join(long), b"d" * 155 + b"/" + b"f" * 100]
    words: list[str] = []
    expected: list[str] = []
    for name in names:
        for kind, link, uid, size, mode, capability in (
            (b"0", b"", 0, 7, 0o755, b""),
            (b"0", b"", 2**21, 2**33, 0o4755, CAPABILITY),
            (SYMLINK, name, 65532, 0, 0o777, b""),
            (HARD_LINK, name, 0, 0, 0o755, CAPABILITY),
            (DIRECTORY, b"", 0, 0, 0o1777, b""),
        ):
            full = name + b"/" * (kind == DIRECTORY)
            words += [full.hex(), kind.decode(), link.hex(), str(uid), str(size), str(mode), capability.hex()]
            block = header(
                full,
                kind=kind,
                link=link,
                uid=uid,
                size=size,
                mode=mode,
                mtime=mode,
                capabilities=capability or None,
            )
            expected.append(block.hex())
    done = subprocess.run([tmp_path / "go-tar", *words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


def written(planned: Plan, place: Path, compression: Compression = NONE) -> WrittenLayer:
    with place.open("wb") as file:
        return write_layer(
            planned.rootfs, file.fileno(), mtime=0, size=planned.rootfs.size, compression=compression
        )


@pytest.mark.parametrize("size", [0, 1, 511, 512, CHUNK, 12 * CHUNK + 3])
@pytest.mark.parametrize("how", ["none", "gzip", "gzip:0", "gzip:3"])
def test_a_layer_is_the_sum_of_its_entries_whatever_their_size(tmp_path: Path, size: int, how: str) -> None:
    content = os.urandom(min(size, 4096)) * (size // 4096 + 1)
    source = put(tmp_path, "source", content[:size])
    planned = plan(Spec(copies=(Copy(source=source, destination="/deep/file"),)), environ={})
    ways = [written(planned, tmp_path / f"layer{number}", parse_compression(how)) for number in range(2)]
    assert ways[0].digest == ways[1].digest, "the same bytes each time"
    assert (tmp_path / "layer0").stat().st_size == ways[0].size
    with tarfile.open(tmp_path / "layer0", "r:*") as tar:
        assert tar.getnames() == ["deep", "deep/file"]
        file = tar.extractfile("deep/file")
        assert file is not None
        assert file.read() == content[:size]
    if how == "none":
        assert ways[0].diff_id == ways[0].digest
    else:
        assert (tmp_path / "layer0").read_bytes()[:10] == b"\x1f\x8b\x08" + bytes(6) + b"\xff", "no name, no time"


def test_one_core_and_several_compress_to_the_same_bytes(tmp_path: Path) -> None:
    source = put(tmp_path, "source", os.urandom(4096) * 3000)
    planned = plan(Spec(copies=(Copy(source=source, destination="/file"),)), environ={})
    digests = set()
    # The size decides between one thread and several.
    for size in (0, planned.rootfs.size):
        with (tmp_path / "layer").open("wb") as file:
            layer = write_layer(
                planned.rootfs, file.fileno(), mtime=0, size=size, compression=parse_compression("gzip")
            )
        digests.add(layer.digest)
    assert len(digests) == 1
    subprocess.run(["gzip", "--test"], input=(tmp_path / "layer").read_bytes(), check=True)


@pytest.mark.parametrize("change", [b"y", b"longer", b""])
def test_a_source_that_changes_after_it_was_planned_is_an_error(tmp_path: Path, change: bytes) -> None:
    source = put(tmp_path, "source", b"x")
    planned = plan(Spec(copies=(Copy(source=source, destination="/file"),)), environ={})
    os.utime(source, (1, 1))
    (tmp_path / "source").write_bytes(change)
    error = refusal(lambda: written(planned, tmp_path / "layer"), SourceError)
    assert "changed" in error.message


@pytest.mark.parametrize("word", ["", "gzip:", "gzip:4", "gzip:x", "zstd:", "zstd:20", "none:1", "xz"])
def test_other_compressions_are_refused(word: str) -> None:
    refusal(lambda: parse_compression(word), UsageError)


@pytest.mark.parametrize("threads", [False, True])
def test_small_files_and_large_ones_follow_each_other_in_blocks_of_bounded_size(
    tmp_path: Path, *, threads: bool
) -> None:
    """Small ones are joined, large ones stand for themselves: each byte is where tar's readers look for it."""
    sizes = [0, 1, 511, 512, 513, *range(60_000, 70_000, 1000), CHUNK - 1, CHUNK, CHUNK + 1, *range(3000)]
    if threads:
        sizes.append(9 << 20)
    contents = {f"srv/{number:05}": os.urandom(size) for number, size in enumerate(sizes)}
    for name, content in contents.items():
        put(tmp_path, name, content)
    found = plan(Spec(copies=(Copy(source=f"{tmp_path}/srv", destination="/srv"),)), environ={})
    with (tmp_path / "layer.tar").open("w+b") as file:
        written = write_layer(found.rootfs, file.fileno(), mtime=0, size=found.rootfs.size)
    data = (tmp_path / "layer.tar").read_bytes()
    assert (written.size, written.diff_id) == (len(data), hashlib.sha256(data).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        read = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        assert {name: file.read() for name, file in read.items() if file is not None} == contents
