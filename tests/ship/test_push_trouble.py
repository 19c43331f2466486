"""Registries that fail: what may pass is tried again, all else is one sentence of cause and one of fix."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal
from registries import Trouble, free_port, proxy

import rootless_scratch as rs
from rootless_scratch.errors import RegistryError, ScratchError, ToolMissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Home
    from registries import Answer, Registry

pytestmark = pytest.mark.registry


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """An image with a layer of some size, so that there is a middle to break off in."""
    program = tinyelf.write(tmp_path / "program")
    with program.open("ab") as file:
        file.write(b"x" * 3_000_000)
    rs.build(program, output=f"oci:{tmp_path}/layout")
    return f"oci:{tmp_path}/layout"


def times(count: int, answer: Answer, method: str, part: str = "") -> Trouble:
    """Answer like this to the first requests of that kind."""
    left = [count]

    def when(asked: str, path: str) -> Answer | None:
        if asked != method or part not in path or not left[0]:
            return None
        left[0] -= 1
        return answer

    return Trouble(when)


def failure(status: int, code: str = "", message: str = "", **headers: str) -> Answer:
    """What a registry answers: distribution-spec v1.1, "Error Codes"."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}) if code else "<html>no</html>"
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode()


SLOW_DOWN = failure(429, "TOOMANYREQUESTS", "slow down", Retry_After="1")


PASSING = {
    "500-twice": (times(2, failure(500), "GET"), "failed: 500"),
    "500-head": (times(1, failure(500), "HEAD"), "failed: 500"),
    "503-head": (times(2, failure(503, "UNAVAILABLE", "no"), "HEAD"), " failed: 503"),
    "503-blob": (times(1, failure(503), "PATCH"), " failed: 503"),
    "502-manifest": (times(1, failure(502), "PUT", "/manifests/"), " failed: 502"),
    "429-blob": (times(1, SLOW_DOWN, "PATCH"), "accepts no more requests for now"),
    "429-manifest": (times(1, SLOW_DOWN, "PUT", "/manifests/"), "accepts no more requests for now"),
    "cut-blob": (times(1, "cut", "PATCH"), "was closed"),
    "cut-manifest": (times(1, "cut", "PUT", "/manifests/"), "was closed"),
}


@pytest.mark.parametrize("case", PASSING)
def test_what_passes_is_tried_again_and_told(behind: Registry, layout: str, case: str) -> None:
    trouble, said = PASSING[case]
    with proxy(behind, trouble) as before:
        sent = rs.push(layout, f"docker://{before.host}/passes/{case}:1", tls_verify=False, retries=2)
    assert sent.notes
    assert all(said in note for note in sent.notes)
    found = behind.manifest(f"passes/{case}", "1")
    assert found is not None
    assert found == behind.manifest(f"passes/{case}", sent.digest)


def test_a_registry_that_says_when_to_come_back_is_asked_then(behind: Registry, layout: str) -> None:
    trouble = times(1, SLOW_DOWN, "HEAD")
    with proxy(behind, trouble) as before:
        sent = rs.push(layout, f"docker://{before.host}/later/hello:1", tls_verify=False, retries=1)
    assert behind.manifest("later/hello", sent.digest) is not None


def only_after(seconds: str) -> Answer:
    return failure(429, "TOOMANYREQUESTS", "slow down", Retry_After=seconds)


@pytest.mark.parametrize("when", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT", "61"])
def test_a_registry_that_wants_to_be_left_alone_for_long_is_told_at_once(
    behind: Registry, layout: str, when: str
) -> None:
    began = time.monotonic()
    with proxy(behind, times(99, only_after(when), "HEAD")) as before:
        error = refused(partial(rs.push, layout, f"docker://{before.host}/day/hello:1", tls_verify=False))
    assert time.monotonic() - began < 30
    assert "accepts no more requests for now, and asks to come back in " in error.message
    assert "Try again then" in error.fix


def test_how_long_a_registry_was_waited_for_is_told(behind: Registry, layout: str) -> None:
    with proxy(behind, times(1, only_after("2"), "HEAD")) as before:
        sent = rs.push(layout, f"docker://{before.host}/soon/hello:1", tls_verify=False, retries=0)
    assert sent.notes == (f"{before.host} accepts no more requests for now. Waited for 2 s.",)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_where_a_redirect_leads_is_told_and_not_taken_for_the_registry(
    behind: Registry, layout: str, method: str
) -> None:
    closed = f"localhost:{free_port()}"

    def redirected(asked: str, path: str) -> Answer | None:
        return (307, {"Location": f"http://{closed}{path}"}, b"") if asked == method else None

    with proxy(behind, Trouble(redirected)) as before:
        place = f"docker://{before.host}/redirected/{method.lower()}:1"
        error = refused(partial(rs.push, layout, place, tls_verify=False, retries=0))
    assert error.message == (
        f"{before.host} redirects requests to {closed}: nothing answers at {closed}: connection refused."
    )


def test_a_proxy_that_does_not_answer_is_not_taken_for_the_registry(layout: str, shared_home: Home) -> None:
    environment = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}"}
    words = ["push", layout, "docker://registry.invalid/a/b", "--retries", "0"]
    done = shared_home.cli(*words, environment=environment)
    assert b"The proxy on the way to registry.invalid cannot be used: " in done.stderr


OTHER = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}


def test_a_registry_that_has_another_manifest_than_was_pushed_is_an_error(behind: Registry, layout: str) -> None:
    content = json.dumps(OTHER).encode()
    media_type = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}

    def other(asked: str, path: str) -> Answer | None:
        return (200, media_type, content) if asked == "GET" and "/manifests/" in path else None

    with proxy(behind, Trouble(other)) as before:
        place = f"docker://{before.host}/other/hello:1"
        error = refused(partial(rs.push, layout, place, tls_verify=False, retries=0))
    assert f"has the manifest sha256:{hashlib.sha256(content).hexdigest()} there, and not sha256:" in error.message
    assert "changes what it is given" in error.fix


def test_a_login_that_may_only_write_pushes_all_the_same_and_that_is_told(behind: Registry, layout: str) -> None:
    def closed(asked: str, path: str) -> Answer | None:
        return failure(403, "DENIED", "no") if asked == "GET" and "/manifests/" in path else None

    with proxy(behind, Trouble(closed)) as before:
        sent = rs.push(layout, f"docker://{before.host}/write/only:1", tls_verify=False, retries=0)
    (note,) = sent.notes
    assert note.startswith(f"What {before.host}/write/only:1 names now could not be compared. ")
    assert behind.manifest("write/only", sent.digest) is not None


def test_what_fails_when_it_is_compared_is_tried_again(behind: Registry, layout: str) -> None:
    with proxy(behind, times(1, failure(500), "GET", "/manifests/")) as before:
        sent = rs.push(layout, f"docker://{before.host}/compared/later:1", tls_verify=False, retries=1)
    (note,) = sent.notes
    assert "failed: 500" in note
    assert "Tried again after 1 s." in note


FORBIDDEN = "denies this login write access"
LASTING = {
    "401": (times(99, failure(401, "UNAUTHORIZED", "no"), "POST"), "requires a login", "skopeo login"),
    "403": (times(99, failure(403, "DENIED", "no"), "POST"), FORBIDDEN, "skopeo login"),
    "403-manifest": (times(99, failure(403), "PUT", "/manifests/"), FORBIDDEN, "skopeo login"),
    "404": (times(99, failure(404, "NAME_UNKNOWN", "no"), "POST"), "has no repository", "Create the repository"),
    "no-registry": (times(99, failure(404), "GET", "/v2/"), "is not a registry", "Check the host"),
    "413": (times(99, failure(413), "PATCH"), "rejects layers of this size", "client_max_body_size"),
    "400": (times(99, failure(400, "MANIFEST_INVALID", "no"), "PUT", "/manifests/"), "rejects the manifest", "-v"),
}


@pytest.mark.parametrize("case", LASTING)
def test_what_will_not_pass_is_said_at_once_and_leaves_no_tag(behind: Registry, layout: str, case: str) -> None:
    trouble, said, todo = LASTING[case]
    with proxy(behind, trouble) as before:
        error = refused(partial(rs.push, layout, f"docker://{before.host}/lasts/{case}:1", tls_verify=False))
    assert said in error.message
    assert todo in error.fix
    assert "tried" not in error.message
    assert behind.manifest(f"lasts/{case}", "1") is None


@pytest.mark.parametrize("part", ["blob", "manifest"])
def test_what_never_passes_ends_after_the_retries_and_an_old_tag_stays(
    behind: Registry, layout: str, tmp_path: Path, part: str
) -> None:
    trouble = times(99, "cut", "PATCH") if part == "blob" else times(99, failure(500), "PUT", "/manifests/")
    old = rs.push(layout, f"docker://{behind.host}/never/{part}:1", tls_verify=False)
    rs.build(tmp_path / "program", output=f"oci:{tmp_path}/new", copy=[f"{tmp_path}/program:/copy"])
    with proxy(behind, trouble) as before:
        place = f"docker://{before.host}/never/{part}:1"
        error = refused(partial(rs.push, f"oci:{tmp_path}/new", place, tls_verify=False, retries=1))
    assert ("was closed" if part == "blob" else "failed: 500") in error.message
    assert error.message.endswith("It was tried 2 times.")
    found = behind.manifest(f"never/{part}", "1")
    assert found is not None
    assert found == behind.manifest(f"never/{part}", old.digest)


def test_where_nobody_listens_or_nobody_is_known_is_said(layout: str) -> None:
    closed = f"docker://localhost:{free_port()}/a/b"
    error = refused(lambda: rs.push(layout, closed, retries=1))
    assert "Nothing answers at localhost:" in error.message
    unknown = refused(lambda: rs.push(layout, "docker://registry.invalid/a/b", retries=0))
    assert "registry.invalid" in unknown.message


def test_http_where_https_was_meant_is_said(behind: Registry, layout: str) -> None:
    error = refused(lambda: rs.push(layout, f"docker://{behind.host}/a/b"))
    assert "speaks HTTP and not HTTPS" in error.message
    assert "--tls-verify=false" in error.fix


def test_a_build_whose_push_fails_leaves_its_files_whole_and_nothing_else(
    behind: Registry, tmp_path: Path, layout: str, shared_home: Home
) -> None:
    closed = f"docker://localhost:{free_port()}/a/b"
    words = [
        "build",
        f"{tmp_path}/program",
        "-o",
        closed,
        "-o",
        f"oci:{tmp_path}/other",
        "--retries",
        "0",
        "--json",
    ]
    done = shared_home.cli(*words)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["kind"] == "registry"
    assert rs.check(f"oci:{tmp_path}/other").verdict == rs.check(layout).verdict == "starts"
    assert shared_home.temporary_files() == []
    sent = shared_home.cli("push", f"oci:{tmp_path}/other", f"docker://{behind.host}/after/all", "--tls-verify=no")
    assert sent.returncode == 0


def test_what_a_killed_push_left_is_gone_after_the_next_and_a_live_one_stays(
    behind: Registry, layout: str, shared_home: Home
) -> None:
    place = f"docker://localhost:{free_port()}/killed/hello:1"
    argv = [sys.executable, "-m", "rootless_scratch", "push", layout, place, "--retries", "9"]
    children = [subprocess.Popen(argv, env=shared_home.environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    while len(left := shared_home.temporary_files()) < 2:
        time.sleep(0.02)
    killed, alive = children
    killed.kill()
    killed.wait()
    for each in left:
        os.utime(each, (0, 0))
    sent = shared_home.cli("push", layout, f"docker://{behind.host}/killed/hello:1", "--tls-verify=no")
    assert sent.returncode == 0
    assert alive.poll() is None
    assert len(shared_home.temporary_files()) == 1
    alive.send_signal(signal.SIGINT)
    assert alive.wait() == 130
    assert shared_home.temporary_files() == []


def test_a_full_disk_is_one_sentence_and_nothing_is_pushed(
    behind: Registry, tmp_path: Path, layout: str, shared_home: Home
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    script = 'mount -t tmpfs -o size=1m none "$0" && TMPDIR=$0 exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(full)]
    program = [sys.executable, "-m", "rootless_scratch"]
    place = f"docker://{behind.host}/full/disk:1"
    for words in (["push", layout, place], ["build", f"{tmp_path}/program", "--compress", "none", "-o", place]):
        done = shared_home.run([*inside, *program, *words, "--tls-verify=false"], check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(b"rootless-scratch: No space left for ")
        assert len(done.stderr.splitlines()) == 2
    assert behind.manifest("full/disk", "1") is None


def test_without_skopeo_its_package_is_named(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refusal(lambda: rs.push(layout, "docker://localhost:5/a/b"), ToolMissingError)
    assert "apt-get install skopeo" in error.fix


def test_words_that_name_no_registry_no_file_of_logins_or_no_certificates_are_refused(
    tmp_path: Path, layout: str
) -> None:
    for place in (
        "docker://team/hello",
        "docker:localhost/x",
        "docker://localhost:5000/UP",
        "docker://localhost:5",
    ):
        refusal(partial(rs.push, layout, place), UsageError)
    place = "docker://localhost:5/a/b"
    refusal(lambda: rs.push(layout, place, authfile=tmp_path / "none"), UsageError)
    refusal(lambda: rs.push(layout, place, cert_dir=tmp_path / "none"), UsageError)
    refusal(lambda: rs.push(layout, place, retries=-1), UsageError)


def refused(call: Callable[[], object]) -> ScratchError:
    return refusal(call, RegistryError)
