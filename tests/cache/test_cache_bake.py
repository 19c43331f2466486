"""Bake files over caches: what is made of Containerfiles is shared too, and what cannot share says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from bakefiles import STAGE_THAT_IS_RUN, inline
from cached import SIZE, flipped

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

LINKED = """
target "files" {
  dockerfile-inline = "FROM scratch\\nCOPY data /data\\n"
}
target "default" {
  contexts = { files = "target:files" }
  dockerfile-inline = <<EOT
FROM scratch
COPY server /server
COPY --from=files /data /srv/data
ENTRYPOINT ["/server"]
EOT
}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    tinyelf.write(tmp_path / "server")
    (tmp_path / "data").write_bytes(bytes(range(256)) * (SIZE // 256))
    return tmp_path


def baked(home: Home, shop: Path, user: str, *words: str) -> dict[str, Any]:
    """The image that a user bakes whose caches are its own."""
    own = {"XDG_CACHE_HOME": str(shop / f"of-{user}")}
    answer = home.json("bake", "-o", f"oci:{user}", *words, cwd=shop, environment=own, timeout=300)
    (result,) = answer["results"]
    return dict(result)


def layers(layout: Path, digest: str | None = None) -> set[str]:
    """The layers of an image of a layout, or of the cache that it is."""
    if digest is None:
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        digest = str(entry["digest"])
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
    return {each["digest"] for each in manifest["layers"]}


def share(home: Home, shop: Path, compress: str) -> None:
    """One user writes a cache, others take from it, and their images are the same."""
    first = baked(home, shop, "one", "--compress", compress, "--cache-to", "oci:cache")["digest"]
    made = layers(shop / "one", first)
    assert made <= layers(shop / "cache")
    # What was taken, or found on this host, is put into the next cache too.
    again = ("--compress", compress, "--cache-from", "oci:cache", "--cache-to", "oci:next")
    second = baked(home, shop, "two", *again)
    assert (second["digest"], second["notes"]) == (first, [])
    assert made <= layers(shop / "next")
    assert baked(home, shop, "one", "--compress", compress, "--cache-to", "oci:last")["digest"] == first
    assert made <= layers(shop / "last")
    # That it is looked at is told where it is damaged.
    for each in made:
        flipped(shop / "cache/blobs" / each.replace(":", "/"))
    third = baked(home, shop, "three", "--compress", compress, "--cache-from", "oci:cache")
    assert third["digest"] == first
    assert "is not what it is said to be" in " ".join(third["notes"])


def test_images_of_containerfiles_that_need_each_other_share_their_layers(shared_home: Home, shop: Path) -> None:
    (shop / "docker-bake.hcl").write_text(LINKED)
    share(shared_home, shop, "gzip")


@pytest.mark.buildah
def test_an_image_with_files_of_a_stage_that_is_run_shares_its_layer(
    shared_home: Home, shop: Path, tools: Home
) -> None:
    del tools
    (shop / "docker-bake.hcl").write_text(inline(STAGE_THAT_IS_RUN))
    share(shared_home, shop, "zstd:10")


def test_a_bake_of_which_all_is_known_still_fills_a_cache_or_says_that_it_cannot(
    shared_home: Home, shop: Path
) -> None:
    (shop / "scratch.toml").write_text('[image.one]\nprograms = ["server"]\ncopy = ["data:/data"]\n')
    for words in (["-o", "oci:out"], ["-o", "oci:out", "--compress", "gzip"]):
        for _ in range(2):
            assert shared_home.cli("bake", *words, cwd=shop).returncode == 0
    plain = shared_home.cli("bake", "-o", "oci:out", "--cache-to", "oci:cache", cwd=shop)
    assert (plain.returncode, plain.stdout) == (2, b"")
    assert b"no layer of this build is made compressed" in plain.stderr
    (result,) = shared_home.json(
        *("bake", "-o", "oci:out", "--compress", "gzip", "--cache-to", "oci:cache"), cwd=shop
    )["results"]
    assert layers(shop / "cache") == layers(shop / "out", result["digest"])


def test_workers_of_dask_take_no_cache(shared_home: Home, shop: Path) -> None:
    (shop / "scratch.toml").write_text('[image.one]\nprograms = ["server"]\n')
    for option in ("--cache-from", "--cache-to"):
        words = ["bake", "-o", "oci:out", "--compress", "gzip", option, "oci:cache"]
        done = shared_home.cli(*words, "--executor", "dask:127.0.0.1:1", cwd=shop)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"workers of Dask take no layers from caches" in done.stderr
    assert not (shop / "out").exists()
