"""Each instruction and option of a Containerfile by itself: the same files and config as `buildah build` makes."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import instructions
import pytest
import shapes
from layouts import read_layout
from workshops import Made, Workshop, assert_same, build, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.buildah

NAMES = list(instructions.CASES)
DOCKER_KEYS = ("Healthcheck", "OnBuild", "Shell")


@pytest.fixture(scope="module")
def built(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    directory = tmp_path_factory.mktemp("instructions")
    with workshop(shared_home, directory, NAMES, instructions.prepare) as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_an_instruction_gives_what_buildah_makes_of_it(built: Workshop, name: str) -> None:
    assert_same(built.made(name))


@pytest.mark.parametrize("name", ["healthcheck", "healthcheck-none", "healthcheck-shell-form", "onbuild", "shell"])
def test_what_oci_has_no_key_for_is_kept_for_docker(shared_home: Home, tmp_path: Path, name: str) -> None:
    shape = instructions.prepare(name, tmp_path)
    shapes.buildah(shared_home, "build", "-q", "--format=docker", "-t", f"docker-{name}", shape.context)
    found = json.loads(shapes.buildah(shared_home, "inspect", "--type=image", f"docker-{name}"))
    build(shared_home, shape, tmp_path / "ours", "--compat=docker")
    theirs, ours = found["Docker"]["config"], read_layout(tmp_path / "ours").config["config"]
    assert [ours.get(key) or None for key in DOCKER_KEYS] == [theirs.get(key) or None for key in DOCKER_KEYS]


@pytest.mark.parametrize(
    "line",
    [
        "COPY ../outside /x",
        "COPY missing /x",
        "COPY no*match /x",
        "COPY a.txt",
        "COPY --chown=nobody a.txt /x",
        "COPY --chmod=rwx a.txt /x",
        "COPY --unknown=1 a.txt /x",
        "COPY a.txt b.txt /a.txt/below/",
        "ADD missing.tar /x",
        "ENV NAME",
        "LABEL",
        "STOPSIGNAL",
        "WORKDIR",
        "VOLUME",
        "HEALTHCHECK --interval=often CMD /x",
        "ONBUILD ONBUILD COPY a.txt /x",
        "NOSUCH thing",
        'SHELL "/bin/sh"',
    ],
)
def test_what_buildah_refuses_is_refused_with_the_line(shared_home: Home, tmp_path: Path, line: str) -> None:
    context = tmp_path / "context"
    instructions.make_context(context)
    (context / "Containerfile").write_text(f"FROM scratch\nCOPY a.txt /a.txt\n{line}\n")
    theirs = shared_home.run(["buildah", "build", "-q", str(context)], check=False)
    ours = shared_home.cli("build", "-f", str(context / "Containerfile"), "-o", f"oci:{tmp_path}/x", str(context))
    assert (theirs.returncode != 0, ours.returncode) == (True, 1), theirs.stderr + ours.stderr
    assert b"Containerfile:3:" in ours.stderr
    assert b"Traceback" not in ours.stderr
    assert not (tmp_path / "x/index.json").exists()


def test_what_is_fetched_is_as_buildah_has_it(shared_home: Home, tmp_path: Path) -> None:
    context = tmp_path / "context"
    instructions.make_context(context)
    with serving(context) as url:
        sources = (f"{url}/plain.tar /d/", f"{url}/a.txt /deep/named", f"--chown=3:4 {url}/b.txt /owned/")
        (context / "Containerfile").write_text("\nADD ".join(("FROM scratch", *sources)))
        shape = shapes.Shape(name="fetched", context=context, twin=None, options={}, more=("--network=host",))
        shapes.build(shared_home, shape, tmp_path / "theirs")
        build(shared_home, shape, tmp_path / "ours")
        build(shared_home, shape, tmp_path / "compat", "--compat=buildah")
    theirs, ours, compat = (read_layout(tmp_path / each) for each in ("theirs", "ours", "compat"))
    made = Made(theirs=theirs, ours=ours, compat=compat, layout=tmp_path / "ours", shape=shape)
    assert_same(made)


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """The files of a directory by HTTP."""
    handler = partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
