"""Containerfiles and names that were written to break a build, its log, or the report that a code host reads."""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import tinyelf
from test_reports import SCHEMAS, valid

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home

COMMAND = "\n::error file=app.c::injected"
"""What begins a line in the log of GitHub's runner is a command to it."""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    tinyelf.write(tmp_path / "app")
    return tmp_path


def write(context: Path, text: str) -> str:
    (context / "Containerfile").write_text(text)
    return str(context / "Containerfile")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "FROM scratch AS s0\nCOPY app /\n"
            + "".join(f"FROM s{number} AS s{number + 1}\n" for number in range(3000))
            + 'ENTRYPOINT ["/app"]\n',
            id="stages on each other",
        ),
        pytest.param("FROM scratch\nCOPY app /\nCMD " + "[" * 100_000 + "\n", id="arrays in each other"),
        pytest.param('FROM scratch\nCOPY app /\nCMD ["a", ' + "[" * 100_000 + "\n", id="arrays in an array"),
        pytest.param("FROM scratch\nCOPY app /\nCMD ['a', " + "[" * 100_000 + "\n", id="in single quotes"),
    ],
)
def test_depth_is_no_reason_to_fail(context: Path, text: str) -> None:
    rs.check_file(write(context, text), str(context))


def test_stages_that_copy_from_each_other_too_deeply_are_refused_by_the_line(context: Path) -> None:
    stages = "".join(f"FROM scratch AS s{n + 1}\nCOPY --from=s{n} /app /\n" for n in range(3000))
    found = rs.check_file(write(context, f"FROM scratch AS s0\nCOPY app /\n{stages}"), str(context)).findings
    assert any("More than 80 stages copy from each other" in each.message for each in found)
    stages = "".join(f"FROM scratch AS s{n + 1}\nCOPY --from=s{n} /app /\n" for n in range(70))
    text = f'FROM scratch AS s0\nCOPY app /\n{stages}ENTRYPOINT ["/app"]\n'
    assert rs.check_file(write(context, text), str(context)).verdict == "starts"


def test_a_change_that_is_shown_cannot_begin_a_line_of_the_log(shared_home: Home, context: Path) -> None:
    place = context / f"x{COMMAND}"
    place.mkdir()
    tinyelf.write(place / "app")
    # Each of these ends a line for somebody: for a terminal, for Python, for a reader of logs.
    breaks = "".join(f"{char}::error::{ord(char)}" for char in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
    (place / "Containerfile").write_text(f'FROM scratch\n# {breaks}\nCOPY app /\nCMD ["app"]\n', newline="")
    done = shared_home.cli("check", "-f", f"{place}/Containerfile", str(place), "--fix", "--yes")
    lines = done.stderr.decode()
    assert 'CMD ["/app"]' in lines
    assert not [line for line in lines.splitlines() if line.lstrip().startswith("::")]
    fixed = f'FROM scratch\n# {breaks}\nCOPY app /\nCMD ["/app"]\n'
    assert (place / "Containerfile").read_bytes() == fixed.encode()


def test_reports_hold_no_control_character_and_no_half_character(shared_home: Home, context: Path) -> None:
    name = os.fsdecode(b"\x1b]0;title\x07\xff.pem")
    (context / name).write_text("-----BEGIN RSA PRIVATE KEY-----\n")
    text = b"FROM scratch\nCOPY . /\nCOPY \xfe\xf0\x9f\x90\xb3 /\nCMD a\x9b\n"
    (context / os.fsdecode(b"D\xff")).write_bytes(text)
    arguments = ("check", "-f", os.fsdecode(b"D\xff"), ".", "--format")
    log = shared_home.cli(*arguments, "github", cwd=context).stdout
    assert b"title" in log
    assert not set(log) & {0x07, 0x1B, 0xFF, 0xFE}
    for form, schema in (("sarif", "sarif-2.1.0-rtm.4.json"), ("gitlab", "gitlab-code-quality.json")):
        answer = json.loads(shared_home.cli(*arguments, form, cwd=context).stdout)
        valid(answer, schema)
        # Raises where half of a surrogate pair is left.
        assert json.dumps(answer, ensure_ascii=False).encode("utf-8")
    assert SCHEMAS.is_dir()


def test_a_password_in_a_url_is_not_shown_with_its_line(shared_home: Home, context: Path) -> None:
    text = 'FROM scratch\nCOPY app /\nADD https://me:hunter2@127.0.0.1/app /app\nCMD ["app"]\n'
    for form in ([], ["--json"], ["--format=sarif"], ["--format=github"], ["--format=gitlab"]):
        done = shared_home.cli("check", "-f", write(context, text), str(context), *form)
        assert b"https://me:***" in done.stdout + done.stderr
        assert b"hunter2" not in done.stdout + done.stderr, form


def test_all_secrets_of_one_line_are_left_out_by_one_fix(shared_home: Home, context: Path) -> None:
    (context / ".env").write_text("KEY=1\n")
    (context / ".git").mkdir()
    (context / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (context / "id_rsa").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    path = write(context, 'FROM scratch\nCOPY . /\nENTRYPOINT ["/app"]\n')
    done = shared_home.cli("check", "-f", path, str(context), "--fix", "--yes")
    assert done.returncode == 0, done.stderr.decode()
    assert rs.check_file(path, str(context)).findings == ()
    fixed = (context / "Containerfile").read_text()
    assert all(f"--exclude={pattern}" in fixed for pattern in ("**/.env*", "**/.git", "**/id_rsa"))


def test_a_limit_of_an_archive_names_no_option_that_build_lacks(shared_home: Home, context: Path) -> None:
    with tarfile.open(context / "bomb.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 200 << 20
        archive.addfile(member, _Zeros(member.size))
    path = write(context, 'FROM scratch\nCOPY app /\nADD bomb.tar.gz /\nENTRYPOINT ["/app"]\n')
    layout = context.parent / "layout"
    done = shared_home.cli("build", "-f", path, str(context), "-o", f"oci:{layout}")
    assert (done.returncode, layout.exists()) == (1, False)
    assert b"the limit 'ratio' is exceeded" in done.stderr
    assert b"fix: Unpack or fetch it before the build" in done.stderr
    assert b"--limit" not in done.stderr


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, count: int = -1) -> bytes:
        count = min(count, self.left)
        self.left -= count
        return bytes(count)


@contextmanager
def server(asked: list[tuple[str, str | None]]) -> Iterator[int]:
    """Answers on 127.0.0.1; `asked` gets the path and the credentials of each request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            port = self.headers["Host"].rpartition(":")[2]
            targets = {
                "/file": "file:///etc/passwd",
                "/ftp": "ftp://127.0.0.1/x",
                "/circle": "/circle",
                "/other": f"http://localhost:{port}/there",
            }
            if self.path in targets:
                self.send_response(302)
                self.send_header("Location", targets[self.path])
            else:
                self.send_response(404 if self.path == "/missing" else 200)
                self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"data\n")

        def log_message(self, *_: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever).start()
    try:
        yield found.server_port
    finally:
        found.shutdown()
        found.server_close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "the server redirects it in a circle, or to what is neither http nor https"),
        ("ftp", "unknown url type: ftp"),
        ("circle", "the server redirects it in a circle, or to what is neither http nor https"),
        ("missing", "the server answers 404 Not Found"),
    ],
)
def test_why_a_url_cannot_be_fetched_is_one_sentence(context: Path, path: str, reason: str) -> None:
    with server([]) as port:
        url = f"http://127.0.0.1:{port}/{path}"
        file = write(context, f'FROM scratch\nCOPY app /\nADD {url} /f\nENTRYPOINT ["/app"]\n')
        with pytest.raises(rs.RefusedError) as refused:
            rs.build_file(file, str(context), output=f"oci:{context}/o", network="host")
    assert [each.message for each in refused.value.findings] == [f"'{url}' cannot be fetched: {reason}."]


def test_credentials_of_a_url_go_to_its_own_host_alone(context: Path) -> None:
    asked: list[tuple[str, str | None]] = []
    with server(asked) as port:
        text = f"FROM scratch\nCOPY app /\nADD http://me:p%40ss@127.0.0.1:{port}/other /f\n"
        file = write(context, f'{text}ENTRYPOINT ["/app"]\n')
        rs.build_file(file, str(context), output=f"oci:{context}/o", network="host")
    basic = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert asked == [("/other", basic), ("/there", None)]
