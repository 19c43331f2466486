"""The driver that podman's database has: read from both kinds, and from any garbage in their place."""

from __future__ import annotations

import sqlite3
import struct
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.host.podman_database import read_database

PAGE = 4096


def page(number: int, flags: int, elements: list[tuple[bytes, bytes, int]]) -> bytes:
    """A page of bolt: leaves with values, or branches with page numbers."""
    head, body = b"", b""
    for at, (name, value, target) in enumerate(elements):
        position = 16 * (len(elements) - at) + len(body)
        if flags == 1:
            head += struct.pack("<IIQ", position, len(name), target)
        else:
            head += struct.pack("<IIII", target, position, len(name), len(value))
        body += name + value
    return struct.pack("<QHHI", number, flags, len(elements), 0) + head + body


def bolt(driver: bytes, *, inline: bool) -> bytes:
    """A database of which the second page tells the newer root, below which is a page of branches."""
    settings = page(0 if inline else 5, 2, [(b"graph-driver-name", driver, 0), (b"graph-root", b"/x", 0)])
    bucket = struct.pack("<QQ", 0 if inline else 5, 0) + (settings if inline else b"")
    pages = [
        struct.pack("<QHHIIIIIQQQQQQ", 0, 4, 0, 0, 0xED0CDAED, 2, PAGE, 0, 3, 0, 9, 9, 7, 0),
        struct.pack("<QHHIIIIIQQQQQQ", 1, 4, 0, 0, 0xED0CDAED, 2, PAGE, 0, 2, 0, 9, 9, 8, 0),
        page(2, 1, [(b"allctr", b"", 3), (b"name", b"", 4)]),
        page(3, 2, []),
        page(4, 2, [(b"ns", b"", 1), (b"runtime-config", bucket, 1), (b"vol", b"", 1)]),
        settings,
    ]
    return b"".join(each.ljust(PAGE, b"\0") for each in pages)


def written(root: Path, content: bytes) -> Path:
    path = root / "libpod/bolt_state.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def made_by_sqlite(root: Path, driver: str) -> Path:
    path = root / "db.sql"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE DBConfig (ID INTEGER, GraphDriver TEXT NOT NULL)")
        database.execute("INSERT INTO DBConfig VALUES (1, ?)", (driver,))
    return path


def test_both_kinds_of_databases_tell_their_driver(tmp_path: Path) -> None:
    assert read_database(str(tmp_path)) is None
    lite = made_by_sqlite(tmp_path, "overlay")
    found = read_database(str(tmp_path))
    assert found is not None
    assert (found.path, found.driver) == (str(lite), "overlay")
    for inline in (True, False):
        # podman goes on with the older kind where there is one.
        old = written(tmp_path, bolt(b"vfs", inline=inline))
        found = read_database(str(tmp_path))
        assert found is not None
        assert (found.path, found.driver) == (str(old), "vfs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db.sql", "libpod"]


def test_one_that_podman_has_not_filled_in_yet_tells_nothing(tmp_path: Path) -> None:
    written(tmp_path, b"")
    with closing(sqlite3.connect(tmp_path / "db.sql")) as database:
        database.execute("CREATE TABLE DBConfig (ID INTEGER, GraphDriver TEXT NOT NULL)")
    assert read_database(str(tmp_path)) is None
    (tmp_path / "db.sql").write_bytes(b"no database")
    assert read_database(str(tmp_path)) is None


@given(st.lists(st.tuples(st.integers(0, 6 * PAGE - 1), st.integers(0, 255)), max_size=40), st.booleans())
def test_damaged_bytes_are_no_fault_of_the_doctor(changes: list[tuple[int, int]], inline: bool) -> None:
    content = bytearray(bolt(b"overlay", inline=inline))
    for at, value in changes:
        content[at] = value
    with tempfile.TemporaryDirectory() as root:
        written(Path(root), bytes(content))
        found = read_database(root)
        assert found is None or isinstance(found.driver, str)


@given(st.binary(max_size=200))
def test_any_garbage_is_read_as_nothing(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        written(Path(root), content)
        assert read_database(root) is None
