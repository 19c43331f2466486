"""`run --pull`: an image is fetched where storage lacks it, and only then; from a registry of one layout."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

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
