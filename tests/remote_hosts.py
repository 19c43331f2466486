"""Another host, as ssh sees one: a real sshd on loopback, before podman with a store of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registries import free_port

from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home

HOST = "127.0.0.1"

_SERVER = """\
Port {port}
ListenAddress {host}
HostKey {place}/host_key
AuthorizedKeysFile {place}/client_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowStreamLocalForwarding {forwarding}
SetEnv HOME={home} XDG_RUNTIME_DIR={home}/run
"""

_CLIENT = """\
UserKnownHostsFile {place}/known_hosts
GlobalKnownHostsFile /dev/null
Host build-machine
HostName {host}
Port {port}
Host build-machine {host}
IdentityFile {place}/client_key
Host *
IdentityAgent none
"""

_SSH = """\
#!/bin/sh
exec {ssh} -F {place}/config "$@"
"""
"""ssh reads the configuration below the home of /etc/passwd, whatever HOME says."""


class Remote:
    """A host with podman: `url` leads there from the home `client`, whose ssh knows host and key.

    `bare` leaves the socket to be found; for `keyless` ssh's configuration has no key.
    """

    def __init__(self, home: Home, client: Home, place: Path, port: int) -> None:
        self.home = home
        self.client = client
        self.place = place
        self.port = port
        self.socket = home.runtime / "podman/podman.sock"
        self.bare = f"ssh://{HOST}:{port}"
        self.url = f"{self.bare}{self.socket}"
        self.keyless = f"ssh://localhost:{port}{self.socket}"
        self.environment = {"PATH": f"{place}/bin:{os.environ['PATH']}"}

    def logins(self) -> list[int]:
        """Processes of ssh, and what holds them, that lead there, the oldest first."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"BatchMode=yes" in words and str(self.port).encode() in words:
                found.append(int(entry.parent.name))
        return sorted(found)

    def wait_until_alone(self, seconds: float = 5) -> bool:
        """Whether all logins have ended within this time."""
        deadline = time.monotonic() + seconds
        while self.logins() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.logins()


def write_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, stdin=subprocess.DEVNULL
    )


@contextmanager
def remote_host(home: Home, client: Home, *, forwarding: bool = True) -> Iterator[Remote]:
    """sshd on a free port, and podman's socket in `home` where podman itself would have it."""
    place = client.path / f"ssh-{os.urandom(3).hex()}"
    place.mkdir(mode=0o700)
    port = free_port()
    words = {"place": place, "port": port, "host": HOST, "home": home.path, "ssh": shutil.which("ssh")}
    for name in ("host_key", "client_key"):
        write_key(place / name)
    (place / "sshd_config").write_text(_SERVER.format(forwarding="yes" if forwarding else "no", **words))
    (place / "config").write_text(_CLIENT.format(**words))
    key = (place / "host_key.pub").read_text()
    (place / "known_hosts").write_text(f"[{HOST}]:{port},[localhost]:{port} {key}")
    (place / "bin").mkdir()
    wrapper = place / "bin/ssh"
    wrapper.write_text(_SSH.format(**words))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    # sshd starts itself anew by its absolute path.
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "sshd_config")]
    with (
        (place / "sshd.log").open("wb") as log,
        subprocess.Popen(sshd, stderr=log, start_new_session=True) as daemon,
    ):
        try:
            _wait(socket.AF_INET, (HOST, port))
            yield Remote(home, client, place, port)
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)


@contextmanager
def podman_service(home: Home, path: Path) -> Iterator[None]:
    """podman's own service on a socket, with a runtime that works here."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    runtime = choose_runtime().name
    chosen = [] if runtime is None else ["--runtime", runtime]
    argv = ["podman", *chosen, "system", "service", "--time=0", f"unix://{path}"]
    with subprocess.Popen(
        argv, env=home.environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            _wait(socket.AF_UNIX, str(path))
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait(family: int, address: tuple[str, int] | str) -> None:
    for _ in range(2000):
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.01)
