"""A compressed layer is made once: taken by what is in it, found out where it is damaged, and bounded."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cached import DAMAGES, SIZE, Works, flipped, inode
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.caching.store import Entry, Store
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Home


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    return Works(tmp_path, monkeypatch)


@pytest.mark.parametrize("compress", ["gzip", "gzip:3", "zstd"])
def test_a_layer_is_taken_by_what_is_in_it_and_not_by_times(works: Works, compress: str) -> None:
    first = works.build(compress=compress)
    (kept,) = works.kept
    made, used = inode(kept), kept.stat().st_mtime_ns
    elsewhere = works.above / "elsewhere"
    shutil.copytree(works.data.parent, elsewhere)
    os.utime(elsewhere / "data", (1, 1))
    again = works.build(tree=elsewhere, compress=compress)
    assert again.digest == first.digest == works.without(compress=compress)
    assert works.kept == [kept]
    assert inode(kept) == made, "what is made is put in its place anew"
    assert kept.stat().st_mtime_ns > used
    assert {each.digest for each in rs.cache().layers} == {first.layers[0].digest}


@pytest.mark.parametrize(
    "other",
    [
        {"copy": ["{tree}/data:/more"]},
        {"mkdir": ["/tmp:mode=1777"]},
        {"symlink": ["/srv/data:/link"]},
        {"compress": "gzip:2"},
        {"compress": "zstd"},
    ],
    ids=["file", "directory", "link", "level", "compression"],
)
def test_whatever_makes_another_layer_is_another_one(works: Works, other: dict[str, Any]) -> None:
    works.build()
    if "copy" in other:
        other = {"copy": [each.format(tree=works.data.parent) for each in other["copy"]]}
    assert works.build(**other).digest == works.without(**other)
    assert len(works.kept) == 2


@pytest.mark.parametrize("option", ["mode=0600", "uid=7", "gid=7"])
def test_modes_and_owners_are_part_of_it(works: Works, option: str) -> None:
    copies = [[f"{works.data}:/more:{each}"] for each in ("mode=0755", option)]
    digests = {works.build(copy=copy).digest for copy in copies}
    assert digests == {works.without(copy=copy) for copy in copies}
    assert len(digests) == len(works.kept) == 2


def test_a_change_that_keeps_size_and_times_is_seen(works: Works) -> None:
    first, before = works.build(), works.data.stat()
    content = bytearray(works.data.read_bytes())
    content[SIZE // 3] ^= 1
    works.data.write_bytes(content)
    os.utime(works.data, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = works.build()
    assert second.digest == works.without() != first.digest
    assert len(works.kept) == 2


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda function: function.__name__)
def test_what_is_damaged_is_never_used_and_replaced(works: Works, damage: Callable[[Path], None]) -> None:
    first = works.build()
    (kept,) = works.kept
    damage(kept)
    assert works.build().digest == first.digest
    assert works.kept == [kept]
    assert inode(kept)
    assert [each.digest for each in rs.cache().layers] == [first.layers[0].digest]
    assert rs.cache().verify() == ()


def test_a_layer_under_the_name_of_another_is_not_taken_for_it(works: Works) -> None:
    first, second = works.build(), works.build(copy=[f"{works.data}:/more"])
    one, two = works.kept
    for mine, other in ((one, two), (two, one)):
        kept = mine.read_bytes()
        shutil.copy(other, mine)
        assert works.build().digest == first.digest
        assert works.build(copy=[f"{works.data}:/more"]).digest == second.digest
        assert mine.read_bytes() == kept
    assert rs.cache().verify() == ()


def test_a_directory_in_the_place_of_a_layer_keeps_nobody_from_building(works: Works) -> None:
    first = works.build()
    (kept,) = works.kept
    kept.unlink()
    kept.mkdir()
    assert works.build().digest == first.digest
    assert rs.cache().layers == ()


def test_what_only_claims_to_unpack_to_a_tar_is_found_by_verify(works: Works, shared_home: Home) -> None:
    works.build()
    works.build(copy=[f"{works.data}:/more"])
    store = Store(str(works.kept[0].parent))
    one, two = (each.entry for each in store.files())
    assert one is not None
    assert two is not None
    with (works.kept[0].parent / one.name).open("rb") as file:
        store.keep(two.but(digest=one.digest, size=one.size), file.fileno())
    of_user = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    done = shared_home.cli("cache", "verify", environment=of_user)
    assert (done.returncode, done.stdout) == (1, b"1 damaged layer\n")
    assert done.stderr.decode() == f"{two.name}: damaged, and removed\n"
    assert shared_home.json("cache", "verify", environment=of_user) == {"schema": 1, "removed": []}


def test_what_gains_nothing_is_not_kept(works: Works) -> None:
    works.build(compress="none")
    works.data.write_bytes(bytes(200_000))
    works.build()
    assert works.kept == []
    # What takes long is kept however small it is.
    works.build(compress="zstd:19")
    assert len(works.kept) == 1


def test_where_nothing_can_be_kept_images_are_built_all_the_same(works: Works) -> None:
    digest = works.without()
    works.above.joinpath("file").write_text("no directory")
    works.user("file")
    assert works.build().digest == digest
    assert (rs.cache().directory, rs.cache().layers, rs.cache().prune().removed) == ("", (), 0)


def test_a_layer_that_a_layout_has_already_is_not_copied_again(works: Works) -> None:
    layout = f"oci:{works.above}/same"
    options: dict[str, Any] = {"copy": [f"{works.data}:/data"], "output": layout, "compress": "gzip"}
    first = rs.build(works.program, **options)
    blob = works.above / "same/blobs" / first.layers[0].digest.replace(":", "/")
    before = inode(blob)
    assert rs.build(works.program, **options).digest == first.digest
    assert inode(blob) == before
    flipped(blob)
    assert rs.build(works.program, **options).digest == first.digest
    assert inode(blob) != before


def test_every_output_is_made_of_a_kept_layer(works: Works) -> None:
    works.build()
    outputs = [f"oci-archive:{works.above}/a.tar", f"docker-archive:{works.above}/b.tar:x", f"oci:{works.above}/c"]
    sums = []
    for user in ("one", "other"):
        works.user(user)
        rs.build(works.program, copy=[f"{works.data.parent}:/srv"], output=outputs, compress="gzip")
        sums.append([(works.above / name).read_bytes() for name in ("a.tar", "b.tar")])
        shutil.rmtree(works.above / "c")
    assert sums[0] == sums[1]


def entries(store: Store, count: int, size: int, place: Path) -> list[Entry]:
    """So many layers, kept one after the other, each a second after the one before."""
    (place / "blob").write_bytes(bytes(size))
    found = []
    for number in range(count):
        entry = Entry(
            shape=f"{number:016x}",
            key=f"{number:064x}",
            diff_id="0" * 64,
            digest="0" * 64,
            size=size,
            tar_size=size,
            compression="gzip:1",
        )
        with (place / "blob").open("rb") as file:
            store.keep(entry, file.fileno())
        os.utime(f"{store.directory}/{entry.name}", (1000 + number, 1000 + number))
        found.append(entry)
    return found


def test_the_cache_is_bounded_and_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = Store(str(tmp_path / "store"), limit=10 * 1512)
    first, *_ = entries(store, 8, 1000, tmp_path)
    store.touch(first)
    entries(store, 40, 1000, tmp_path)
    left = store.files()
    assert sum(each.bytes for each in left) <= 10 * 1512
    assert left[0].entry is not None
    assert left[0].entry.key == f"{39:064x}"
    assert not store.has_shape(f"{20:016x}")


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = Store(str(tmp_path / "store"), limit=1000)
    entries_made = entries(Store(str(tmp_path / "store"), limit=10_000), 1, 900, tmp_path)
    with (tmp_path / "blob").open("rb") as file:
        store.keep(entries_made[0].but(key="f" * 64, size=1001), file.fileno())
    assert [each.entry for each in store.files()] == entries_made


def test_a_team_lists_and_prunes_its_cache(works: Works, shared_home: Home) -> None:
    images = [works.build(copy=[f"{works.data}:/{name}"]) for name in "abc"]
    of_user: dict[str, Any] = {"environment": {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}}
    for age, image in zip((9, 5, 1), images, strict=True):
        (path,) = (each for each in works.kept if each.name == name_of(image.layers[0].digest))
        os.utime(path, (time.time() - age * 86_400,) * 2)
    listed = shared_home.cli("cache", "ls", **of_user)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.decode().splitlines()] == [
        image.layers[0].digest for image in reversed(images)
    ]
    assert "3 layers" in listed.stderr.decode()
    found = shared_home.json("cache", "ls", **of_user)
    assert found["size"] == sum(each["size"] for each in found["layers"]) <= found["limit"]
    assert found["layers"][0]["digest"] == images[2].layers[0].digest
    pruned = shared_home.json("cache", "prune", "--older-than", "7d", **of_user)
    assert pruned["removed"] == 1
    size = found["layers"][0]["size"]
    assert shared_home.json("cache", "prune", "--keep", str(size), **of_user) == {
        "schema": 1,
        "removed": 1,
        "freed": found["layers"][1]["size"],
        "size": size,
    }
    assert shared_home.json("cache", "prune", "--keep", "10GB", **of_user)["removed"] == 0
    assert b"1 layer removed" in shared_home.cli("cache", "prune", **of_user).stdout
    assert works.kept == []


def name_of(digest: str) -> str:
    return next(each.name for each in rs.cache().layers if each.digest == digest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prune", "--keep", "much"), "is not a size"),
        (("prune", "--older-than", "long"), "is not a span of time"),
        (("ls", "--keep", "1g"), "are for `cache prune`"),
        (("clear",), "ls"),
        ((), "Missing argument 'ls|prune|verify'. Choose from: ls, prune, verify\n"),
    ],
)
def test_what_no_cache_can_do_is_told(shared_home: Home, words: tuple[str, ...], message: str) -> None:
    done = shared_home.cli("cache", *words)
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_less_than_nothing_removes_nothing(works: Works) -> None:
    works.build()
    cache = rs.cache()
    assert "less than nothing" in refusal(lambda: cache.prune(older_than=-1), UsageError).message
    assert "less than nothing" in refusal(lambda: cache.prune(keep=-1), UsageError).message
    assert works.kept


def test_what_is_no_cache_is_called_as_it_was_written(works: Works) -> None:
    for text in ("shared", "oci-archive:x.tar"):
        assert repr(text) in refusal(partial(works.build, cache_from=text), UsageError).message


def test_a_cache_of_others_is_for_compressed_layers(works: Works) -> None:
    for options in (
        {"output": f"oci:{works.above}/x"},
        {"output": f"oci:{works.above}/x", "compress": "none"},
        {"tag": "x", "backend": "direct"},
    ):
        error = refusal(partial(build_any, works.program, cache_to="oci:cache", **options), rs.UsageError)
        assert "no layer of this build is made compressed" in error.message
    for wrong in ("docker-archive:x.tar", "oci:", "docker://nowhere", "x"):
        refusal(partial(works.build, cache_from=wrong), rs.UsageError)


def build_any(program: Path, **options: Any) -> None:  # noqa: ANN401 - those of a build
    rs.build(program, **options)
