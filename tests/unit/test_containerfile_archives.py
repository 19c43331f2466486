"""ADD of archives and of URLs: what is unpacked, what of it goes where, and what is refused in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import lzma
import os
import tarfile
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

import pytest
from copied import copied, result, tar, usual
from planning import put, refusal

from rootless_scratch.containerfile.copying import CopyError, CopyRequest, Fact, copy_into
from rootless_scratch.containerfile.files import StageFiles
from rootless_scratch.containerfile.origins import HostOrigin
from rootless_scratch.errors import LimitError, SourceError, SpecError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.rootfs import File, make_rootfs
from rootless_scratch.image.zstd import compress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNPACKED = {"/o", "/o/d", "/o/d/f", "/o/d/h", "/o/d/l", "/o/top"}


def test_archives_are_known_by_their_content_alone(tmp_path: Path) -> None:
    plain = usual()
    for content in (
        plain,
        gzip.compress(plain),
        gzip.compress(plain[:512]) + gzip.compress(plain[512:]),
        lzma.compress(plain),
        lzma.compress(plain[:700]) + lzma.compress(plain[700:]),
        usual("w:bz2"),
        compress(bytearray(plain), 3),
    ):
        put(tmp_path, "a.txt", content)
        assert set(copied("ADD a.txt /o", tmp_path)) == UNPACKED
    for content in (
        b"",
        b"x",
        bytes(10240),
        gzip.compress(b"x"),
        gzip.compress(plain)[:30],
        b"BZh9",
        b"\xfd7zXZ\0x",
    ):
        put(tmp_path, "a.tar", content)
        assert copied("ADD a.tar /o", tmp_path) == {"/o": ("file", 0o644, 0, 0, content)}
    put(tmp_path, "a.tar", compress(bytearray(plain), 3))
    assert set(copied("ADD a.tar /o", tmp_path, compat="docker")) == {"/o"}


def test_what_is_unpacked_lives_until_its_image_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "tmp"
    here.mkdir()
    monkeypatch.setenv("TMPDIR", str(here))
    put(tmp_path, "a.tar", usual())
    files = StageFiles()
    with ExitStack() as kept, HostOrigin(str(tmp_path), name="the context") as origin:
        copy_into(files, CopyRequest(sources=("a.tar",), destination="/", unpack=True), origin, kept)
        assert len(list(here.iterdir())) == 1
        assert files.content("/d/h") == b"in"
        links = {file.path: file.linked for file in make_rootfs(files.entries()).files}
        assert links == {"/d/f": None, "/d/h": "/d/f", "/top": None}
        assert files.mtimes["/d/f"] == 0
    assert list(here.iterdir()) == []


def test_devices_and_pipes_of_an_archive_are_left_out_and_told(tmp_path: Path) -> None:
    null = ("dev/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})
    put(tmp_path, "a.tar", tar(("etc/x", {}), null, ("run/p", {"type": tarfile.FIFOTYPE})))
    found, answer = result("ADD a.tar /", tmp_path)
    assert set(found) == {"/etc", "/etc/x", "/dev", "/run"}
    assert answer.facts == tuple(
        Fact(what="special-file", source=0, values=(path,)) for path in ("/dev/null", "/run/p")
    )


def test_members_never_leave_the_destination(tmp_path: Path) -> None:
    link = {"type": tarfile.SYMTYPE, "linkname": "/"}
    above = {"type": tarfile.SYMTYPE, "linkname": "../../.."}
    put(tmp_path, "a.tar", tar(("../../x", {}), ("/y", {}), ("l", link), ("l/z", {}), ("u", above), ("u/w", {})))
    assert set(copied("ADD a.tar /o/p/", tmp_path)) == {
        *("/o", "/o/p", "/o/p/x", "/o/p/y", "/o/p/l", "/o/p/z", "/o/p/u", "/o/p/w")
    }


def test_attributes_and_set_id_bits_of_members_stay(tmp_path: Path) -> None:
    value = encode_capabilities("cap_net_raw+ep").decode("utf-8", "surrogateescape")
    records = {
        "SCHILY.xattr.user.a": "b",
        "SCHILY.xattr.security.capability": value,
        "SCHILY.xattr.trusted.x": "y",
    }
    put(tmp_path, "a.tar", tar(("ping", {"mode": 0o4755, "pax_headers": records})))
    files = StageFiles()
    with ExitStack() as kept, HostOrigin(str(tmp_path), name="the context") as origin:
        copy_into(files, CopyRequest(sources=("a.tar",), destination="/", unpack=True), origin, kept)
    file = files.entry("/ping")
    assert isinstance(file, File)
    assert (file.mode, file.capabilities, file.xattrs) == (0o4755, "cap_net_raw+ep", (("user.a", b"b"),))


@pytest.mark.parametrize(
    "content",
    [
        usual()[:1800],
        usual()[:512] + b"x" * 512 + usual()[1024:],
        gzip.compress(usual())[:-20],
        tar((".wh.a", {})),
        tar(("d/.wh..wh..opq", {})),
        tar(("a", {"uid": 2**32})),
        tar(("a", {"type": tarfile.SYMTYPE, "linkname": ""})),
        tar(("a", {"type": tarfile.LNKTYPE, "linkname": "d"}), ("d", {"type": tarfile.DIRTYPE})),
        tar(("a", {"type": tarfile.LNKTYPE, "linkname": "../etc/passwd"})),
    ],
)
def test_a_broken_or_hostile_archive_is_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    put(tmp_path, "a.tar", content)
    error = refusal(lambda: copied("ADD a.tar /o/", tmp_path), SourceError)
    assert "a.tar" in error.message


def test_links_of_an_archive_that_lead_in_a_circle_are_refused(tmp_path: Path) -> None:
    one, two = ({"type": tarfile.SYMTYPE, "linkname": name} for name in ("two", "one"))
    put(tmp_path, "a.tar", tar(("one", one), ("two", two), ("one/f", {})))
    refusal(lambda: copied("ADD a.tar /", tmp_path), SpecError)


def test_an_archive_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    small = tar(("zeros", {"data": bytes(100 << 20)}), mode="w:gz")
    assert len(small) < 1 << 20
    put(tmp_path, "a.tar", small)
    with pytest.raises(LimitError, match="ratio"):
        copied("ADD a.tar /", tmp_path)


class Handler(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}

    def do_GET(self) -> None:
        code, headers, content = self.answers.get(self.path.partition("?")[0], (404, {}, b""))
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: tests print no log."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_fetched_where_the_network_is_allowed(url: str, tmp_path: Path) -> None:
    time = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    Handler.answers = {
        "/d/a%20b": (200, time, b"content"),
        "/a.tar": (200, {}, usual()),
        "/moved": (302, {"Location": "/d/a%20b"}, b""),
        "/": (200, {}, b"index"),
    }
    text = f"ADD {url}/d/a%20b?x=1 /t/"
    assert copied(text, tmp_path, network=True)["/t/a b"] == ("file", 0o600, 0, 0, b"content")
    assert copied(f"ADD {url}/moved /x/y", tmp_path, network=True)["/x/y"][4] == b"content"
    found, answer = result(f"ADD --chown=1:2 --chmod=644 {url}/a.tar /o", tmp_path, network=True)
    assert found["/o"] == ("file", 0o644, 1, 2, usual())
    assert answer.facts == (Fact(what="url-not-unpacked", source=0, values=(f"{url}/a.tar",)),)
    found, answer = result(f"ADD {url}/a.tar /o/", tmp_path, network=True, unpacks=True)
    assert (found["/o/d/f"][4], answer.facts) == (b"in", ())
    files = StageFiles()
    with ExitStack() as kept, HostOrigin(str(tmp_path), name="the context") as origin:
        request = CopyRequest(sources=(f"{url}/d/a%20b",), destination="/f", unpack=True, network=True)
        copy_into(files, request, origin, kept)
    assert files.mtimes == {"/f": 1445412480 * 10**9}
    assert "no name" in refusal(lambda: copied(f"ADD {url}/ /t/", tmp_path, network=True), SourceError).message


def test_a_url_that_gives_something_else_is_refused(url: str, tmp_path: Path) -> None:
    right = f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    Handler.answers = {
        "/f": (200, {}, b"content"),
        "/cut": (200, {"Content-Length": "99"}, b"content"),
        "/local": (302, {"Location": "file:///etc/passwd"}, b""),
        "/ftp": (302, {"Location": "ftp://127.0.0.1/x"}, b""),
    }
    text = "ADD --checksum={} {}/f /t"
    assert copied(text.format(right, url), tmp_path, network=True)["/t"][4] == b"content"
    wrong = refusal(lambda: copied(text.format(f"sha256:{'0' * 64}", url), tmp_path, network=True), SourceError)
    assert right in wrong.message
    refusal(lambda: copied(text.format("md5:00", url), tmp_path, network=True), SpecError)
    for path in ("/cut", "/local", "/ftp", "/nope"):
        refusal(lambda path=path: copied(f"ADD {url}{path} /t", tmp_path, network=True), SourceError)  # type: ignore[misc]
    with pytest.raises(CopyError):
        copied(f"ADD {url}/f /t", tmp_path)
    put(tmp_path, "f")
    refusal(lambda: copied(f"ADD --checksum={right} f /t", tmp_path), SpecError)
    assert not [name for name in os.listdir(tmp_path) if name != "f"]
