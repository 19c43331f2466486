"""Many images to a registry that is slow, refuses, or loses what it was given: each arrives whole, or is named."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from registries import Trouble, proxy

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home
    from registries import Answer, Registry

pytestmark = pytest.mark.registry

FILE = """
[image.all]
name = "s-${n}"
tag = "localhost:${PORT}/${SHOP}/s-${n}:1"
programs = ["server"]
env = {N = "${n}"}
matrix = {n = ["0", "1", "2", "3", "4", "5"]}
"""
NAMES = [f"s-{number}" for number in range(6)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    program = tinyelf.write(tmp_path / "server")
    with program.open("ab") as file:
        file.write(b"x" * 1_000_000)
    (tmp_path / "scratch.toml").write_text(FILE)
    return tmp_path


class Once(Trouble):
    """Answers like this to the first request of that method for each repository, in all or those of `parts`."""

    def __init__(self, method: str, answer: Answer, *parts: str, times: int = 1) -> None:
        super().__init__(self._when)
        self._method, self._answer, self._parts, self._times = method, answer, parts, times
        self._met: dict[str, int] = {}

    def _when(self, method: str, path: str) -> Answer | None:
        repository = re.sub(r"/(blobs|manifests)/.*", "", path)
        if method != self._method or not all(part in path for part in self._parts):
            return None
        self._met[repository] = self._met.get(repository, 0) + 1
        return self._answer if self._met[repository] <= self._times else None


def bake(home: Home, shop: Path, before: Registry, name: str, *words: str) -> tuple[int, list[dict[str, object]]]:
    settings = ["--set", f"PORT={before.port}", "--set", f"SHOP={name}", "--push", "--tls-verify=false"]
    done = home.cli("bake", "--json", *settings, *words, cwd=shop)
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)["results"]


def config_of(manifest: bytes | None) -> str:
    assert manifest is not None
    digest: str = json.loads(manifest)["config"]["digest"]
    return digest.removeprefix("sha256:")


UNAVAILABLE: Answer = (503, {}, b'{"errors": [{"code": "UNAVAILABLE", "message": "later"}]}')
LOST: Answer = (201, {"Location": "/v2/x", "Docker-Content-Digest": "sha256:" + "0" * 64}, b"")


@pytest.mark.parametrize(
    ("case", "trouble"),
    [
        ("refused-layers", Once("PATCH", UNAVAILABLE)),
        ("refused-manifests", Once("PUT", UNAVAILABLE, "/manifests/")),
        ("cut", Once("PATCH", "cut")),
        ("lost", Once("PUT", LOST, "/blobs/uploads/", times=2)),
    ],
)
def test_what_passes_is_tried_again_for_each_image(
    shared_home: Home, shop: Path, behind: Registry, case: str, trouble: Trouble
) -> None:
    with proxy(behind, trouble) as before:
        code, results = bake(shared_home, shop, before, case)
    assert code == 0, results
    for result in results:
        assert result["notes"]
        assert config_of(behind.manifest(f"{case}/{result['image']}", "1")) == result["image_id"]


def test_a_registry_that_is_slow_gets_all_of_them(shared_home: Home, shop: Path, behind: Registry) -> None:
    def slowly(method: str, path: str) -> Answer | None:
        time.sleep(0.2 if method in {"PATCH", "PUT"} else 0.05)
        return None if path else "cut"

    with proxy(behind, Trouble(slowly)) as before:
        code, results = bake(shared_home, shop, before, "slow", "--jobs", "6")
    assert code == 0
    for result in results:
        assert config_of(behind.manifest(f"slow/{result['image']}", "1")) == result["image_id"]


LASTING = {
    "denied": (
        (403, {}, b'{"errors": [{"code": "DENIED", "message": "no"}]}'),
        "POST",
        "/blobs/uploads/",
        "denies this login",
    ),
    "unavailable": (UNAVAILABLE, "PUT", "/manifests/", "failed: 503"),
    "forgetful": (LOST, "PUT", "/blobs/uploads/", "has lost"),
}


@pytest.mark.parametrize("case", LASTING)
def test_two_that_it_never_takes_have_no_tag_and_keep_no_other(
    shared_home: Home, shop: Path, behind: Registry, case: str
) -> None:
    answer, method, part, told = LASTING[case]

    def refusing(asked: str, path: str) -> Answer | None:
        return answer if asked == method and part in path and re.search(r"/s-[14]/", path) else None

    with proxy(behind, Trouble(refusing)) as before:
        code, results = bake(shared_home, shop, before, case, "--retries", "1")
    assert code == 1
    assert [each["image"] for each in results] == NAMES
    for result in results:
        found = behind.manifest(f"{case}/{result['image']}", "1")
        if result["image"] in {"s-1", "s-4"}:
            assert found is None
            assert isinstance(result["error"], dict)
            assert result["error"]["kind"] == "registry"
            assert told in result["error"]["message"]
        else:
            assert config_of(found) == result["image_id"]
    assert shared_home.temporary_files() == []
