"""Programs whose job needs the other side: a web server answers, curl checks a certificate, git clones."""

from __future__ import annotations

import functools
import http.server
import ssl
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from registries import free_port, make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.podman

NGINX = """daemon off;
error_log stderr;
pid /tmp/nginx.pid;
events {{}}
http {{
    include mime.types;
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {{ listen 127.0.0.1:{port}; root /srv; }}
}}
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(place: Path, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The files of a directory at a port of this host; with `context` by TLS."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place)))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_of(url: str) -> tuple[str, bytes]:
    """The type and the text, as soon as somebody answers."""
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - ours
                return answer.headers["Content-Type"], answer.read()
        except OSError:
            assert time.monotonic() < until, "nobody answers"
            time.sleep(0.05)


def test_nginx_answers_with_the_types_that_its_configuration_names(tools: Home, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(NGINX.format(port=port))
    (tmp_path / "page.svg").write_text("<svg/>")
    files = [f"{tmp_path}/nginx.conf:/etc/nginx/nginx.conf", f"{tmp_path}/page.svg:/srv/page.svg"]
    copies = [word for each in files for word in ("--copy", each)]
    tools.json("build", "/usr/sbin/nginx", "-t", "nginx", "--bundle-libraries", "--with", "auto,tmp", *copies)
    started = tools.cli("run", "-d", "--network", "host", "--tmpfs", "/tmp", "--name", "nginx", "nginx")
    assert started.returncode == 0, started.stderr.decode()
    try:
        assert answer_of(f"http://127.0.0.1:{port}/page.svg") == ("image/svg+xml", b"<svg/>")
    finally:
        tools.run(["podman", "rm", "--force", "nginx"])


def test_curl_trusts_the_authority_that_it_was_given_and_no_other(tools: Home, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    (tmp_path / "page").write_text("well\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "host.crt", tmp_path / "host.key")
    words = ["build", "/usr/bin/curl", "--bundle-libraries", "-t"]
    tools.json(*words, "curl-own", "--with", f"auto,ca-certificates={tmp_path}/ca.crt")
    tools.json(*words, "curl-none")
    with served(tmp_path, context) as port:
        ask = ["-sS", f"https://localhost:{port}/page"]
        assert tools.cli("run", "--network", "host", "curl-own", *ask).stdout == b"well\n"
        refused = tools.cli("run", "--network", "host", "curl-none", *ask)
    assert refused.returncode not in (0, 125)
    assert b"[needs-ca-certificates]" in refused.stderr


def test_git_clones_over_http_and_from_a_file(tools: Home, tmp_path: Path) -> None:
    work, bare = tmp_path / "work", tmp_path / "shop.git"
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    tools.run(["git", "init", "-q", str(work)])
    tools.run(["git", "-C", str(work), *author, "commit", "-q", "--allow-empty", "-m", "first"])
    tools.run(["git", "clone", "-q", "--bare", str(work), str(bare)])
    tools.run(["git", "-C", str(bare), "update-server-info"])
    head = subprocess.run(
        ["git", "-C", str(work), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    tools.json("build", "/usr/bin/git", "-t", "git", "--bundle-libraries", "--with", "auto")
    run = [
        "run",
        "--network",
        "host",
        "--tmpfs",
        "/w",
        "--env",
        "HOME=/w",
        "--volume",
        f"{bare}:/shop.git:ro",
        "git",
    ]
    with served(tmp_path) as port:
        listed = tools.cli(*run, "ls-remote", f"http://127.0.0.1:{port}/shop.git", "HEAD")
        assert listed.stdout.decode() == f"{head.stdout.strip()}\tHEAD\n", listed.stderr.decode()
        cloned = tools.cli(*run, "clone", f"http://127.0.0.1:{port}/shop.git", "/w/shop")
        assert cloned.returncode == 0, cloned.stderr.decode()
    safe = ["-c", "safe.directory=*"]
    local = tools.cli(*run, *safe, "clone", "/shop.git", "/w/shop")
    assert local.returncode == 0, local.stderr.decode()
