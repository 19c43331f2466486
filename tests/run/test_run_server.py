"""The life of a server that is one static file: it answers, is looked into, and goes when it is told to."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from containers import Home, left, podman
from test_container import free_port

from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.podman, pytest.mark.compiler]


@pytest.fixture
def web(fresh_home: Home, server: Path) -> Home:
    """A home with the image `web`, in a store of its own."""
    assert fresh_home.cli("build", "-q", str(server / "server"), "-t", "web").returncode == 0
    return fresh_home


@pytest.mark.parametrize("network", ["host", "private"])
def test_a_server_answers_at_its_port_is_debugged_beside_and_ends_gracefully(web: Home, network: str) -> None:
    port = free_port()
    inside = port if network == "host" else 8080
    options = [] if network == "host" else ["--publish", f"{port}:{inside}"]
    options += ["--name", "web", "--network", network, "web", str(inside)]
    words = [sys.executable, "-m", "rootless_scratch", "run", "-q", *options]
    if network == "private" and private_network_problem() is not None:
        # As root test_root_network.py comes here with a host that has one.
        done = web.cli(*words[3:])
        assert (done.returncode, done.stdout) == (125, b"")
        assert b"cannot have its own network here" in done.stderr
        return
    with subprocess.Popen(words, env=web.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"well\n"
        asked = web.cli("debug", "-q", "web", "--exec", f"wget -qO- 127.0.0.1:{inside}")
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, b"well\n", b"")
        listed = web.cli("debug", "-q", "web", "--exec", "ps").stdout.decode()
        assert f" /server {inside}\n" in listed
        process.terminate()
        assert process.communicate(timeout=30) == (b"bye\n", b"")
        assert process.returncode == 0
    assert podman(web, "ps", "--all", "--quiet") == []
    assert left(web) == []
