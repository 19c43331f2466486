"""A layout on a shared disk as a cache for others: nothing that it holds is believed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from cached import DAMAGES, Works, linked_elsewhere

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Home


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    return Works(tmp_path, monkeypatch)


def test_a_layout_on_a_shared_disk_is_a_cache_for_others(works: Works) -> None:
    first = works.build(cache_to=f"oci:{works.above}/shared")
    index = json.loads((works.above / "shared/index.json").read_text())
    assert [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]] == ["cache"]
    more = works.build(copy=[f"{works.data}:/more"], cache_to=f"oci:{works.above}/shared")
    works.user("two")
    again = works.build(cache_from=f"oci:{works.above}/shared")
    assert (again.digest, again.notes) == (first.digest, ())
    assert len(works.kept) == 1
    works.user("three")
    assert works.build(copy=[f"{works.data}:/more"], cache_from=f"oci:{works.above}/shared").digest == more.digest


@pytest.mark.parametrize(
    "damage",
    [*(each for each in DAMAGES if each is not linked_elsewhere), os.unlink],
    ids=lambda function: function.__name__,
)
def test_a_damaged_layout_is_no_reason_to_fail(works: Works, damage: Callable[[Path], None]) -> None:
    shared = f"oci:{works.above}/shared"
    first = works.build(cache_to=shared)
    damage(works.above / "shared/blobs" / first.layers[0].digest.replace(":", "/"))
    works.user("two")
    again = works.build(cache_from=shared, cache_to=shared)
    assert again.digest == first.digest
    assert len(again.notes) == 1
    assert shared in again.notes[0]
    works.user("three")
    assert works.build(cache_from=shared).notes == (), "it was written again"


def test_others_cannot_have_a_layer_taken_for_another_by_what_they_say_of_it(works: Works) -> None:
    shared = works.above / "shared"
    mine = works.build(cache_to=f"oci:{shared}")
    other = works.build(copy=[f"{works.data}:/more"], cache_to=f"oci:{shared}")
    index = json.loads((shared / "index.json").read_text())
    manifest = shared / "blobs" / index["manifests"][0]["digest"].replace(":", "/")
    document = json.loads(manifest.read_text())
    layers = {layer["digest"]: layer for layer in document["layers"]}
    lie = {**layers[other.layers[0].digest], "annotations": layers[mine.layers[0].digest]["annotations"]}
    document["layers"] = [lie]
    content = json.dumps(document).encode()
    digest = put_blob(shared, content)
    index["manifests"][0] |= {"digest": digest, "size": len(content)}
    (shared / "index.json").write_text(json.dumps(index))
    works.user("two")
    built = works.build(cache_from=f"oci:{shared}")
    assert built.digest == mine.digest
    assert "is not what it is said to be" in built.notes[0]


def put_blob(layout: Path, content: bytes) -> str:
    from rootless_scratch.image.oci import digest_of

    digest = digest_of(content)
    (layout / "blobs" / digest.replace(":", "/")).write_bytes(content)
    return digest


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe\0"])
def test_what_is_no_layout_is_told_and_the_image_is_built(works: Works, content: bytes) -> None:
    shared = works.above / "shared"
    shared.mkdir()
    (shared / "index.json").write_bytes(content)
    (note,) = works.build(cache_from=f"oci:{shared}").notes
    damaged = f"{str(shared)!r} cannot be read as a layout: its index.json is damaged."
    assert note == f"Nothing more is taken from oci:{shared}: {damaged}"
    (shared / "index.json").write_bytes(b'{"manifests": [{}]}')
    for name in ("shared", "nothing"):
        works.user(f"with {name}")
        assert "There is no cache" in works.build(cache_from=f"oci:{works.above}/{name}").notes[0]
    works.user("three")
    (note,) = works.build(cache_from=f"oci:{works.program}").notes
    assert note.endswith("cannot be read as a layout: Not a directory.")


def test_an_image_of_that_name_is_not_replaced_by_a_cache(works: Works, shared_home: Home) -> None:
    layout = f"oci:{works.above}/images:server"
    image = rs.build(works.program, output=layout)
    words = [str(works.program), "-o", f"oci:{works.above}/new", "--compress", "gzip", "--cache-to", layout]
    done = shared_home.cli("build", *words)
    assert done.returncode == 1
    assert "is built, but" in done.stderr.decode()
    assert "is not a cache" in done.stderr.decode()
    assert (works.above / "new/index.json").exists()
    answer = json.loads(shared_home.cli("build", *words, "--json").stdout)
    assert (answer["error"]["kind"], answer["image_id"]) == ("cache", image.image_id)
    assert shared_home.json("inspect", layout)["image_id"] == image.image_id
