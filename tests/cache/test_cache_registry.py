"""A cache in a real registry: what one job has compressed another one takes, and no trouble fails a build."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cached import Works
from planning import refusal
from registries import PASSWORD, USER, Registry, Trouble, free_port, proxy, registry

import rootless_scratch as rs
from rootless_scratch.ship import cached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home
    from registries import Answer

pytestmark = pytest.mark.registry

ARTIFACT = "application/vnd.rootless-scratch.cache.v1"


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    return Works(tmp_path, monkeypatch)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Registry, Path]]:
    """A registry of the test's own, and where it keeps its blobs."""
    with registry(tmp_path / "registry") as started:
        yield started, tmp_path / "registry/data/docker/registry/v2/blobs/sha256"


def at(where: Registry, name: str) -> dict[str, Any]:
    """Options of a build that takes from there and writes there."""
    text = f"docker://{where.host}/{name}"
    return {"cache_from": text, "cache_to": text, "tls_verify": False, "retries": 0}


def layers_at(where: Registry, name: str, tag: str = "cache") -> list[str]:
    manifest = json.loads(where.manifest(name, tag) or b"{}")
    assert manifest["artifactType"] == ARTIFACT
    return [layer["digest"] for layer in manifest["layers"]]


def test_what_one_job_has_compressed_another_one_takes(works: Works, behind: Registry) -> None:
    options = at(behind, "team/app")
    first = works.build(**options)
    assert "There is no cache" in first.notes[0]
    second = works.build(copy=[f"{works.data}:/more"], **options)
    assert layers_at(behind, "team/app") == [each.layers[0].digest for each in (second, first)]
    assert behind.manifest("team/app", "latest") is None, "it is not the tag of an image"
    works.user("two")
    again = works.build(**options)
    assert (again.digest, again.notes) == (first.digest, ())
    assert len(works.kept) == 1
    # What else is there is not fetched.
    assert works.kept[0].stat().st_size < 2 * first.layers[0].size
    assert set(layers_at(behind, "team/app")) == {each.layers[0].digest for each in (second, first)}


def test_the_first_of_several_caches_that_has_a_layer_gives_it(works: Works, behind: Registry) -> None:
    first = works.build(**at(behind, "several/one"))
    second = works.build(compress="zstd", **at(behind, "several/two:main"))
    works.user("two")
    sources = [f"docker://{behind.host}/several/{name}" for name in ("none", "one", "two:main")]
    options: dict[str, Any] = {"cache_from": sources, "tls_verify": False}
    found = works.build(**options)
    assert found.digest == first.digest
    assert len(found.notes) == 1
    assert works.build(compress="zstd", **options).digest == second.digest


def test_logins_and_certificates_are_those_of_a_push(works: Works, tmp_path: Path) -> None:
    with registry(tmp_path / "closed", password=True, tls=True) as closed:
        assert closed.authority is not None
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": login}}}))
        text = f"docker://{closed.host}/closed/app"
        (tmp_path / "certificates").mkdir()
        shutil.copy(closed.authority, tmp_path / "certificates")
        access: dict[str, Any] = {"authfile": tmp_path / "auth.json", "cert_dir": tmp_path / "certificates"}
        first = works.build(cache_to=text, **access)
        works.user("two")
        assert works.build(cache_from=text, **access).notes == ()
        works.user("three")
        refused = works.build(cache_from=text, cert_dir=tmp_path / "certificates")
        assert refused.digest == first.digest
        assert "requires a login" in refused.notes[0]


def test_a_blob_that_the_registry_has_lost_is_made_and_sent_again(
    works: Works, own: tuple[Registry, Path]
) -> None:
    where, blobs = own
    options = at(where, "lost/app")
    first = works.build(**options)
    other = works.build(copy=[f"{works.data}:/more"], **options)
    for image in (first, other):
        name = image.layers[0].digest.removeprefix("sha256:")
        shutil.rmtree(blobs / name[:2] / name)
    works.user("two")
    again = works.build(**options)
    assert again.digest == first.digest
    assert len(again.notes) == 1
    assert layers_at(where, "lost/app")[0] == first.layers[0].digest
    works.user("three")
    assert works.build(cache_from=options["cache_from"], tls_verify=False).notes == ()


def failing(status: int) -> Answer:
    return status, {}, b"<html>no</html>"


@pytest.mark.parametrize("part", ["/v2/", "/manifests/", "/blobs/"])
@pytest.mark.parametrize(
    "answer", [failing(500), failing(404), failing(403), "cut"], ids=["500", "404", "403", "cut"]
)
def test_a_cache_that_fails_is_one_sentence_and_never_a_failed_build(
    works: Works, behind: Registry, part: str, answer: Answer
) -> None:
    name = "failing/app"
    options: dict[str, Any] = {"tls_verify": False, "retries": 0}
    first = works.build(cache_to=f"docker://{behind.host}/{name}", **options)
    works.user("two")
    with proxy(
        behind, Trouble(lambda method, path: answer if part in path and method == "GET" else None)
    ) as before:
        again = works.build(cache_from=f"docker://{before.host}/{name}", **options)
    assert again.digest == first.digest
    (note,) = again.notes
    assert note.startswith(f"Nothing more is taken from docker://{before.host}/{name}: ")


def test_what_passes_is_tried_again(works: Works, behind: Registry) -> None:
    first = works.build(cache_to=f"docker://{behind.host}/passing/app", tls_verify=False)
    works.user("two")
    left = [1]

    def once(method: str, path: str) -> Answer | None:
        if method != "GET" or "/manifests/" not in path or not left[0]:
            return None
        left[0] -= 1
        return failing(503)

    with proxy(behind, Trouble(once)) as before:
        again = works.build(cache_from=f"docker://{before.host}/passing/app", tls_verify=False)
    assert (again.digest, again.notes) == (first.digest, ())


def test_a_registry_that_never_answers_is_not_waited_for(
    works: Works, behind: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = works.build(cache_to=f"docker://{behind.host}/slow/app", tls_verify=False)
    works.user("two")
    monkeypatch.setattr(cached, "IDLE", 1.0)
    over = threading.Event()

    def never(_method: str, path: str) -> Answer | None:
        if "/blobs/" in path:
            over.wait(60)
        return None

    with proxy(behind, Trouble(never)) as before:
        again = works.build(cache_from=f"docker://{before.host}/slow/app", tls_verify=False, retries=0)
        over.set()
    assert again.digest == first.digest
    assert len(again.notes) == 1


@pytest.mark.parametrize("kind", ["PUT", "PATCH", "POST"])
def test_no_tag_names_a_cache_that_was_sent_in_part(works: Works, behind: Registry, kind: str) -> None:
    name = f"partial/{kind.lower()}"
    with proxy(behind, Trouble(lambda method, _path: "cut" if method == kind else None)) as before:
        error = refusal(
            lambda: works.build(cache_to=f"docker://{before.host}/{name}", tls_verify=False, retries=0),
            rs.CacheError,
        )
    assert "is built, but the cache" in error.message
    assert behind.manifest(name, "cache") is None


def test_a_registry_that_is_not_there_fails_what_writes_to_it_after_the_image_is_made(
    works: Works, shared_home: Home
) -> None:
    there = f"docker://localhost:{free_port()}/no/where"
    words = [str(works.program), "-o", f"oci:{works.above}/made", "--compress", "gzip", "--retries", "0"]
    done = shared_home.cli("build", *words, "--cache-from", there, "--cache-to", there)
    assert (done.returncode, done.stdout) == (1, b"")
    image_id = shared_home.json("inspect", f"oci:{works.above}/made")["image_id"]
    assert f"The image {image_id} is built, but the cache {there} could not be written" in done.stderr.decode()
    answer = shared_home.cli("build", *words, "--cache-to", there, "--json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert (found["image_id"], found["error"]["kind"]) == (image_id, "cache")


def test_an_image_whose_cache_cannot_be_written_has_its_sbom(works: Works, shared_home: Home) -> None:
    there, document = f"docker://localhost:{free_port()}/no/where", works.above / "parts.json"
    words = [str(works.program), "-o", f"oci:{works.above}/made", "--compress", "gzip", "--retries", "0"]
    done = shared_home.cli("build", *words, "--cache-to", there, "--sbom", f"spdx:{document}", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["error"]["kind"]) == (1, "cache")
    assert found["sboms"][0]["sha256"] == hashlib.sha256(document.read_bytes()).hexdigest()


def test_an_image_is_not_replaced_by_a_cache(works: Works, behind: Registry) -> None:
    name = f"docker://{behind.host}/an/image:1"
    image = rs.build(works.program, output=name, tls_verify=False)
    error = refusal(lambda: works.build(cache_to=name, tls_verify=False), rs.CacheError)
    assert "is not a cache" in error.message
    assert image.digest
    assert json.loads(behind.manifest("an/image", "1") or b"")["config"]["digest"].endswith(image.image_id)


FILE = """
[image.all]
matrix = {{ number = ["0", "1", "2", "3", "4", "5"] }}
programs = ["program"]
copy = ["data${{number}}:/data"]
tag = "{host}/baked/app${{number}}:1"
"""


@pytest.mark.slow
def test_two_bakes_at_once_over_one_registry_are_both_right(
    works: Works, behind: Registry, fresh_home: Home
) -> None:
    for number in range(6):
        (works.above / f"data{number}").write_bytes(works.data.read_bytes() + bytes([number]))
    (works.above / "scratch.toml").write_text(FILE.format(host=behind.host))
    there = f"docker://{behind.host}/baked/cache"
    words = ["bake", "--push", "--tls-verify=false", "--cache-from", there, "--cache-to", there]
    argv = [sys.executable, "-m", "rootless_scratch", *words]
    children = [
        subprocess.Popen(argv, cwd=works.above, env=fresh_home.environment, stdout=-1, stderr=-1) for _ in range(2)
    ]
    said = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], b"".join(
        each for both in said for each in both
    ).decode()
    assert said[0][0] == said[1][0]
    manifests = [json.loads(behind.manifest(f"baked/app{number}", "1") or b"") for number in range(6)]
    layers = [manifest["layers"][0]["digest"] for manifest in manifests]
    assert set(layers_at(behind, "baked/cache")) == set(layers)
    works.user("two")
    found = rs.bake(
        works.above / "scratch.toml",
        output=f"oci:{works.above}/out",
        compress="gzip",
        cache_from=there,
        tls_verify=False,
    )
    assert [image.layers[0].digest for image in found.images.values()] == layers
    assert all(image.notes == () for image in found.images.values())


def test_a_bake_whose_cache_cannot_be_written_has_its_images_and_says_so(works: Works, shared_home: Home) -> None:
    image = '[image.a]\nprograms = ["program"]\ncopy = ["tree:/srv"]\noutput = "oci:out"\n'
    (works.above / "scratch.toml").write_text(image)
    there = f"docker://localhost:{free_port()}/no/where"
    words = ["bake", "--compress", "gzip", "--cache-to", there, "--retries", "0"]
    done = shared_home.cli(*words, cwd=works.above)
    assert done.returncode == 1
    assert done.stdout.startswith(b"a ")
    assert f"The images are built, but the cache {there}" in done.stderr.decode()
    answer = json.loads(shared_home.cli(*words, "--json", cwd=works.above).stdout)
    assert answer["error"]["kind"] == "cache"
    assert answer["results"][0]["image_id"]
