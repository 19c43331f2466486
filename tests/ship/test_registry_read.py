"""Images of a registry that are read where they are: checked, inspected, and pulled for a run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal
from registries import PASSWORD, USER, Trouble, proxy, registry

import rootless_scratch as rs
from rootless_scratch.errors import LimitError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home
    from registries import Answer, Registry

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with logins, and a certificate of an authority that nobody knows."""
    with registry(tmp_path_factory.mktemp("closed"), password=True, tls=True) as started:
        yield started


@pytest.fixture
def words(closed: Registry, tmp_path: Path) -> list[str]:
    """What it takes to get in."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / "logins.json").write_text(json.dumps({"auths": {closed.host: {"auth": login}}}))
    (tmp_path / "certificates").mkdir()
    assert closed.authority is not None
    (tmp_path / "certificates/ca.crt").write_bytes(closed.authority.read_bytes())
    return ["--authfile", f"{tmp_path}/logins.json", "--cert-dir", f"{tmp_path}/certificates"]


def test_an_image_of_a_closed_registry_is_checked_and_inspected(
    closed: Registry, words: list[str], tmp_path: Path, shared_home: Home
) -> None:
    program = tinyelf.write(tmp_path / "program")
    place = f"docker://{closed.host}/read/hello:1"
    built = shared_home.json("build", str(program), "-o", place, *words)
    by_digest = f"docker://{built['outputs'][0]['pull']}"
    for word in (place, by_digest):
        assert shared_home.json("check", word, *words)["verdict"] == "starts"
        found = shared_home.json("inspect", word, *words)
        assert found["image_id"] == built["image_id"]
        made = shared_home.json("generate", "quadlet", word, *words)
        assert f"\nImage={word.removeprefix('docker://')}\n" in made["text"]
        assert (made["name"], made["notes"]) == ("hello", [])
        assert [file["path"] for file in found["files"]] == ["/program"]
    denied = shared_home.cli("inspect", place, *words[2:])
    assert denied.returncode == 1
    assert b"requires a login" in denied.stderr
    unknown = shared_home.cli("check", place, *words[:2])
    assert b"certificate authority that this host does not trust" in unknown.stderr
    anyway = shared_home.json("check", place, *words[:2], "--tls-verify=false")
    assert anyway["verdict"] == "starts"
    assert shared_home.temporary_files() == []


def test_every_image_of_an_index_is_checked_and_one_is_inspected(
    closed: Registry, words: list[str], tmp_path: Path, shared_home: Home
) -> None:
    programs = tinyelf.for_machines(tmp_path, "x86_64", "aarch64")
    place = f"docker://{closed.host}/read/both:1"
    built = shared_home.json("build", *map(str, programs.values()), "-o", place, *words)
    ids = {image["platform"]: image["image_id"] for image in built["images"]}
    assert shared_home.json("check", place, *words)["verdict"] == "starts"
    for platform, asked in (("linux/arm64/v8", "linux/arm64"), ("linux/amd64", "linux/amd64")):
        found = shared_home.json("inspect", place, *words, "--platform", asked)
        assert found["image_id"] == ids[platform]
    none = shared_home.cli("inspect", place, *words, "--platform", "linux/riscv64")
    assert (none.returncode, none.stdout) == (1, b"")
    assert b"has no image for this platform" in none.stderr


def test_what_a_registry_does_not_have_is_said(
    closed: Registry, words: list[str], shared_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read/none:1", f"read/hello@sha256:{'0' * 64}"):
        done = shared_home.cli("check", f"docker://{closed.host}/{name}", *words)
        assert done.returncode == 1
        assert f"{closed.host} has no image {closed.host}/{name}.".encode() in done.stderr
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared_home.runtime))
    nobody = "docker://localhost:1/a/b:1"
    assert "Nothing answers" in refusal(lambda: rs.check(nobody), RegistryError).message
    for wrong in ("docker://team/hello", "docker://localhost:1/a@sha256:12"):
        assert shared_home.cli("inspect", wrong).returncode == 2


@pytest.mark.podman
def test_a_run_pulls_from_a_closed_registry(
    closed: Registry, words: list[str], tmp_path: Path, fresh_home: Home
) -> None:
    program = tinyelf.write(tmp_path / "program")
    name = f"{closed.host}/run/hello:1"
    fresh_home.json("build", str(program), "-o", f"docker://{name}", *words)
    refused = fresh_home.cli("run", "--pull", *words[:2], name)
    assert refused.returncode == 125
    assert b"could not be pulled" in refused.stderr
    assert b"--cert-dir" in refused.stderr
    done = fresh_home.cli("run", "-q", "--pull", *words, name)
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    fresh_home.run(["podman", "rmi", name])
    done = fresh_home.cli("run", "-q", "--pull", *words[:2], "--tls-verify=false", name)
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    unasked = fresh_home.cli("run", "--tls-verify=false", name)
    assert unasked.returncode == 2
    assert b"--pull" in unasked.stderr


@pytest.mark.podman
def test_a_run_pulls_without_tls_where_that_is_said(tmp_path: Path, fresh_home: Home) -> None:
    with registry(tmp_path / "registry") as here:
        name = f"{here.host}/run/hello:1"
        program = tinyelf.write(tmp_path / "program")
        fresh_home.json("build", str(program), "-o", f"docker://{name}", "--tls-verify=false")
        assert fresh_home.cli("run", "--pull", name).returncode == 125
        done = fresh_home.cli("run", "-q", "--pull", "--tls-verify=no", name)
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    assert os.listdir(fresh_home.temporary) == [], "nothing of a pull stays"


def test_what_is_tried_again_is_told_and_what_is_too_much_is_refused(tmp_path: Path, shared_home: Home) -> None:
    program = tinyelf.write(tmp_path / "program")
    with registry(tmp_path / "open") as behind:
        shared_home.json("build", str(program), "-o", f"docker://{behind.host}/read/hello:1", "--tls-verify=false")
        left = [1]

        def once(method: str, path: str) -> Answer | None:
            if method != "GET" or "/blobs/" not in path or not left[0]:
                return None
            left[0] -= 1
            return 503, {}, b""

        for verb in ("check", "inspect"):
            left[0] = 1
            with proxy(behind, Trouble(once)) as before:
                place = f"docker://{before.host}/read/hello:1"
                done = shared_home.cli(verb, place, "--tls-verify=false")
                assert (done.returncode, left) == (0, [0]), done.stderr
                assert b"note: " in done.stderr
                assert b"Tried again after" in done.stderr
                refused = shared_home.cli(verb, place, "--tls-verify=false", "--limit", "download=100")
                assert (refused.returncode, refused.stdout) == (1, b"")
                assert b"sends more than 100 bytes: the limit 'download' is exceeded" in refused.stderr
    assert shared_home.temporary_files() == []


class _Endless(BaseHTTPRequestHandler):
    """A registry whose only layer has no end."""

    CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%064d"]}}' % 0

    def do_GET(self) -> None:
        if "/blobs/sha256:" + "1" * 64 in self.path:
            self._answer("application/octet-stream", None)
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))
        elif "/blobs/" in self.path:
            self._answer("application/octet-stream", self.CONFIG)
        elif "/manifests/" in self.path:
            self._answer("application/vnd.oci.image.manifest.v1+json", self.manifest())
        else:
            self._answer("application/json", b"{}")

    do_HEAD = do_GET  # noqa: N815 - http.server's names

    def manifest(self) -> bytes:
        kind = "application/vnd.oci.image"
        config = {"mediaType": f"{kind}.config.v1+json", "size": len(self.CONFIG)}
        config["digest"] = f"sha256:{hashlib.sha256(self.CONFIG).hexdigest()}"
        layer = {"mediaType": f"{kind}.layer.v1.tar", "size": 10, "digest": "sha256:" + "1" * 64}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": config,
            "layers": [layer],
        }
        return json.dumps(manifest).encode()

    def _answer(self, kind: str, body: bytes | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def test_a_layer_without_an_end_is_not_fetched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        name = f"docker://localhost:{server.server_address[1]}/read/endless:1"
        error = refusal(lambda: rs.check(name, tls_verify=False, limits={"download": 1 << 20}), LimitError)
        server.shutdown()
    assert "the limit 'download' is exceeded" in error.message
    assert list(tmp_path.iterdir()) == []
