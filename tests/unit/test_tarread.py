"""The reader of tars beside those that nobody here wrote: Python's tarfile, and GNU tar."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Literal

import pytest
import tars
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.errors import LimitError
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.read.tarread import TarFault, TarReader

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "0": tarfile.REGTYPE,
    "1": tarfile.LNKTYPE,
    "2": tarfile.SYMTYPE,
    "5": tarfile.DIRTYPE,
    "6": tarfile.FIFOTYPE,
}
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=150)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def budget(**limits: int) -> Budget:
    account = Budget("it", DEFAULTS | limits)
    account.allow(1 << 30)
    return account


def read(content: bytes, *, seekable: bool = False) -> list[tuple[object, ...]]:
    reader = TarReader(io.BytesIO(content), budget(), seekable=seekable)
    return [
        (
            each.name,
            each.kind,
            each.link,
            each.mode,
            each.uid,
            each.gid,
            each.mtime,
            b"".join(reader.content(each)),
        )
        for each in reader
    ]


@given(
    st.lists(
        st.tuples(
            PATHS,
            st.sampled_from(sorted(KINDS)),
            PATHS,
            st.integers(0, 0o7777),
            st.integers(0, 1 << 40),
            st.integers(0, 1 << 40),
            st.binary(max_size=1500),
        ),
        max_size=5,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.booleans(),
)
def test_what_tarfile_writes_is_read_as_it_was_meant(
    members: list[tuple[str, str, str, int, int, int, bytes]], form: Literal[1, 2], seekable: bool
) -> None:
    written = io.BytesIO()
    expected: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=written, mode="w", format=form, encoding="utf-8") as archive:
        for name, kind, link, mode, owner, mtime, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = KINDS[kind], mode, owner, owner + 1, mtime
            info.linkname = link if kind in "12" else ""
            info.size = len(content) if kind == "0" else 0
            archive.addfile(info, io.BytesIO(content))
            said = name + "/" if kind == "5" else name
            said_content = content if kind == "0" else b""
            expected.append((said, ord(kind), info.linkname, mode, owner, owner + 1, mtime, said_content))
    assert read(written.getvalue(), seekable=seekable) == expected


@pytest.mark.parametrize("form", ["gnu", "posix", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar_have_their_holes_as_zeros(tmp_path: Path, form: str) -> None:
    holed = tmp_path / "holed"
    with holed.open("wb") as file:
        for at in range(9):
            file.seek(at << 20)
            file.write(b"data %d" % at)
        file.truncate(12 << 20)
    (tmp_path / "after").write_text("what comes after it")
    words = ["--format=gnu"] if form == "gnu" else ["--format=posix"]
    words += [f"--sparse-version={form}"] if form[0] in "01" else []
    argv = ["tar", "-C", str(tmp_path), "--sparse", *words, "-cf", "-", "holed", "after"]
    made = subprocess.run(argv, capture_output=True, check=True).stdout
    assert len(made) < 1 << 20
    (first, second) = read(made)
    assert (first[0], first[1], first[7]) == ("holed", ord("0"), holed.read_bytes())
    assert (second[0], second[7]) == ("after", b"what comes after it")


def test_a_tar_may_end_without_its_end_but_not_within_a_member() -> None:
    whole = tars.entry(b"content", name=b"a")
    assert [each[0] for each in read(whole)] == ["a"]
    assert [each[0] for each in read(whole[: 512 + len(b"content")])] == ["a"]
    for cut in (100, 513, 518):
        with pytest.raises(TarFault, match=r"cut off|not a tar"):
            read(whole[:cut])
    with pytest.raises(TarFault, match="wrong checksum"):
        read(whole + b"x" * 512)
    with pytest.raises(TarFault, match="it is not a tar archive"):
        read(b"x" * 1024)
    assert read(b"") == read(bytes(1024)) == []


def test_global_headers_are_passed_over_as_engines_do() -> None:
    content = tars.pax({"path": "elsewhere"}, kind=b"g") + tars.entry(name=b"here")
    assert [each[0] for each in read(content)] == ["here"]


def test_a_hole_is_counted_before_it_is_made() -> None:
    layer = tars.header(b"big", kind=b"S", real=tars.number(1 << 60)) + tars.END
    reader = TarReader(io.BytesIO(layer), Budget("it", DEFAULTS))
    content = reader.content(next(iter(reader)))
    with pytest.raises(LimitError, match="'expanded'"):
        next(content)


def test_what_is_not_asked_for_is_not_read_of_a_file_that_can_seek(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    path.write_bytes(tars.header(b"large", size=1 << 40))
    os.truncate(path, (1 << 40) + 512)
    with path.open("ab") as file:
        file.write(tars.entry(b"x", name=b"next"))
    with path.open("rb") as file:
        assert [each.name for each in TarReader(file, budget(), seekable=True)] == ["large", "next"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (tars.header(b"dir/", kind=b"0", size=512) + tars.header(b"hidden"), ["dir/"]),
        (tars.header(b"dir/", kind=b"\0") + tars.entry(name=b"next"), ["dir/", "next"]),
        (tars.pax({"path": "frompax"}) + tars.long_name(b"fromgnu") + tars.header(), ["fromgnu"]),
        (tars.pax({"GNU.sparse.name": "other"}) + tars.header(b"real"), ["real"]),
        (tars.pax({"GNU.sparse.major": "2", "GNU.sparse.name": "other"}) + tars.header(b"real"), ["real"]),
        (tars.pax({"size": "", "uid": "", "path": ""}) + tars.header(b"real"), ["real"]),
        (tars.pax({"uid": "+5"}) + tars.header(b"real"), ["real"]),
        (tars.pax({"RHT.security.selinux": b"a:b\0"}) + tars.header(b"real"), ["real"]),
    ],
)
def test_names_are_those_that_engines_see(content: bytes, names: list[str]) -> None:
    """Each was tried by skopeo and buildah, whose reader is Go's archive/tar."""
    assert [each[0] for each in read(content)] == names


@pytest.mark.parametrize("field", [b"0o7\0\0\0\0\0", b"-7\0\0\0\0\0\0", b"1_0\0\0\0\0\0"])
def test_numbers_are_octal_digits_alone(field: bytes) -> None:
    with pytest.raises(TarFault, match="garbled number"):
        read(tars.header(uid=field))
