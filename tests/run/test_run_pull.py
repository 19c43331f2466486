"""`run --pull`: an image is fetched where storage lacks it, and only then; from a registry of one layout."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import registries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Home

pytestmark = pytest.mark.podman


@contextmanager
def registry(layout: Path) -> Iterator[tuple[str, list[str]]]:
    """A registry that has this one image under every name: its address, and the paths that it was asked for."""
    asked: list[str] = []
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            body, kind = b"{}", "application/json"
            if "/manifests/" in self.path:
                body, kind = self.blob(manifest["digest"]), manifest["mediaType"]
            elif "/blobs/" in self.path:
                body, kind = self.blob(self.path.rpartition("/")[2]), "application/octet-stream"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def blob(self, digest: str) -> bytes:
            return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

        def log_message(self, *words: object) -> None:
            """The test's output is not for this."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_image_is_fetched_once_and_only_where_that_is_asked_for(fresh_home: Home) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    layout = fresh_home.path / "layout"
    done = fresh_home.cli("build", "-q", busybox, "-o", f"oci:{layout}")
    assert done.returncode == 0, done.stderr
    with registry(layout) as (address, asked):
        settings = fresh_home.path / ".config/containers"
        settings.mkdir(parents=True)
        (settings / "registries.conf").write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        name = f"{address}/team/tools:1"
        unasked = fresh_home.cli("run", name, "echo", "hi")
        assert (unasked.returncode, asked) == (125, [])
        assert b"There is no image" in unasked.stderr
        first = fresh_home.cli("run", "-q", "--pull", name, "echo", "hi")
        assert (first.returncode, first.stdout) == (0, b"hi\n"), first.stderr
        assert any("/manifests/1" in path for path in asked)
        asked.clear()
        again = fresh_home.cli("run", "-q", "--pull", name, "echo", "hi")
        assert (again.stdout, asked) == (b"hi\n", [])
        assert fresh_home.cli("run", "-q", name, "echo", "hi").stdout == b"hi\n"


@pytest.mark.buildah
@pytest.mark.registry
def test_the_file_of_logins_that_the_environment_names_serves_builds_pushes_and_pulls(
    fresh_home: Home, hello: Path, tmp_path: Path
) -> None:
    named = {"REGISTRY_AUTH_FILE": "auth.json"}
    for backend in ("buildah", "direct"):
        # A job names it from the beginning, and logs in at the end.
        built = fresh_home.cli("build", str(hello), "-t", "hello", "--backend", backend, environment=named)
        assert built.returncode == 0, built.stderr
        assert b"REGISTRY_AUTH_FILE is ignored: there is no file auth.json. [host-environment]" in built.stderr
    with registries.registry(tmp_path / "registry", password=True) as secured:
        name, insecure = f"{secured.host}/team/hello:1", "--tls-verify=false"
        words = ("run", "-q", "--pull=always", insecure, name)
        refused = fresh_home.cli(*words, environment=named)
        assert refused.returncode == 125
        assert b"could not be pulled" in refused.stderr
        logins = fresh_home.path / named["REGISTRY_AUTH_FILE"]
        login = ["skopeo", "login", insecure, "--authfile", str(logins), "-u", registries.USER]
        fresh_home.run([*login, "-p", registries.PASSWORD, secured.host])
        pushed = fresh_home.cli("push", "hello", f"docker://{name}", insecure, environment=named)
        assert pushed.returncode == 0, pushed.stderr
        done = fresh_home.cli(*words, environment=named)
        assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
