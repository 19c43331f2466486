"""A real registry on loopback (Debian's docker-registry), and a proxy before it that makes trouble."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Answer = tuple[int, dict[str, str], bytes] | str

USER, PASSWORD = "user", "secret"
_HTPASSWD = f"{USER}:$2y$05$U73xzCYxpkEOP04iBS/j1Od/qvLZsvSejtFDv7iV68VHRq28bIfNq\n"
"""That user with that password, as `htpasswd -nbB` writes it."""

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {place}/data}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
{auth}
"""


class Registry:
    """Where it listens, and the certificate of the authority that vouches for it, if it speaks TLS."""

    def __init__(self, port: int, authority: Path | None = None) -> None:
        self.port = port
        self.host = f"localhost:{port}"
        self.authority = authority

    def manifest(self, name: str, reference: str) -> bytes | None:
        """The bytes of a manifest by tag or digest, without any tool; None if the registry has none."""
        secure = self.authority is not None
        context = ssl.create_default_context(cafile=str(self.authority)) if secure else None
        request = urllib.request.Request(  # noqa: S310 - a registry of ours
            f"http{'s' if secure else ''}://{self.host}/v2/{name}/manifests/{reference}",
            headers={
                "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
            },
        )
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310 - likewise
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            raise
        return content


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def registry(place: Path, *, password: bool = False, tls: bool = False) -> Iterator[Registry]:
    """Start one that keeps its images below `place`, and end it."""
    port = free_port()
    place.mkdir(exist_ok=True)
    auth = ""
    if password:
        (place / "htpasswd").write_text(_HTPASSWD)
        auth = f"auth: {{htpasswd: {{realm: here, path: {place}/htpasswd}}}}"
    if tls:
        make_certificates(place)
    secured = f", tls: {{certificate: {place}/host.crt, key: {place}/host.key}}" if tls else ""
    config = place / "config.yml"
    config.write_text(_CONFIG.format(place=place, port=port, tls=secured, auth=auth))
    with (place / "log").open("wb") as log:
        child = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        for _ in range(200):
            assert child.poll() is None, (place / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Registry(port, place / "ca.crt" if tls else None)
    finally:
        child.terminate()
        child.wait()


def make_certificates(place: Path) -> None:
    """A private authority (ca.crt), and a certificate of its for localhost (host.crt, host.key)."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signed_by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-in", "host.csr", "-out", "host.crt"]
    (place / "names").write_text("subjectAltName=DNS:localhost\n")
    for words in (
        [
            "req",
            "-x509",
            *key,
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-days",
            "2",
            "-subj",
            "/CN=a private authority",
        ],
        ["req", "-new", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=localhost"],
        ["x509", "-req", *signed_by, "-days", "2", "-extfile", "names"],
    ):
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)


class Trouble:
    """What a proxy answers instead of passing on: `when` sees method and path, and is asked for each request.

    It gives the status, headers and body to answer, `"cut"` to break off in the middle of a body, or None. `types`
    are media types of manifests with what is answered where one is sent.
    """

    def __init__(
        self,
        when: Callable[[str, str], Answer | None] = lambda _method, _path: None,
        *,
        types: Mapping[str, Answer] | None = None,
    ) -> None:
        self.when = when
        self.types = types or {}
        self.seen: list[tuple[str, str]] = []


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: Registry, trouble: Trouble) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.trouble = trouble

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        trouble = self.server.trouble
        trouble.seen.append((self.command, self.path))
        answer = trouble.when(self.command, self.path)
        if self.command == "PUT" and answer is None:
            answer = trouble.types.get(self.headers.get("Content-Type", ""))
        if answer == "cut":
            # The last request for a blob has no body of which to wait for a byte.
            if self.command in {"PATCH", "PUT"} and self.headers.get("Content-Length") != "0":
                self.rfile.read(1)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self._body()
        if isinstance(answer, tuple):
            self._answer(*answer)
            return
        onward = http.client.HTTPConnection("127.0.0.1", self.server.behind.port, timeout=30)
        # skopeo says Accept once for each type.
        each = {key.lower(): ", ".join(self.headers.get_all(key, ())) for key in self.headers}
        headers = {key: value for key, value in each.items() if key not in ("transfer-encoding", "content-length")}
        headers["Content-Length"] = str(len(body))
        onward.request(self.command, self.path, body=body, headers=headers)
        got = onward.getresponse()
        self._answer(got.status, dict(got.getheaders()), got.read())
        onward.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", str(len(body)))
        for key, value in headers.items():
            if key.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(key, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
        """Say nothing."""


@contextmanager
def proxy(behind: Registry, trouble: Trouble) -> Iterator[Registry]:
    """Listen before a registry without TLS."""
    server = _Server(behind, trouble)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Registry(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
