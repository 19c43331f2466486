"""A socket of another host made one of this host, by the user's own ssh: its configuration, its keys, its agent.

ssh is never asked to ask: without a terminal and in batch mode it fails where it would want a password.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

import msgspec

from rootless_scratch import command
from rootless_scratch.engine.api.http import Client
from rootless_scratch.engine.diagnose import ssh_refusals as refusals
from rootless_scratch.engine.request.address import PATH, Address
from rootless_scratch.engine.service.directory import private_directory
from rootless_scratch.engine.service.local import Service, ping
from rootless_scratch.errors import EngineError
from rootless_scratch.private import FORGETS
from rootless_scratch.spawn import NULL, Child

_CONNECT = 20
"""Seconds for the host to answer at all."""

_PATIENCE = 60.0
"""Seconds for the whole of a login, a touch of a security key included."""

_COMPLAINT = 1.0
"""Seconds in which ssh has said why a connection through it was closed."""

_OPTIONS = (
    *("BatchMode=yes", f"ConnectTimeout={_CONNECT}", "ServerAliveInterval=20", "ServerAliveCountMax=3"),
    # What is forwarded is forwarded by this very process, which ends with the call.
    *("ControlMaster=no", "ControlPath=none"),
    # What a user has configured for logins of his own.
    *("RequestTTY=no", "RemoteCommand=none", "PermitLocalCommand=no", "ForwardAgent=no", "ForwardX11=no"),
    # Why a connection was refused is said at this level.
    "LogLevel=INFO",
)

_ASK_PATH = "podman info --format '{{.Host.RemoteSocket.Path}}'"


class Tunnel:
    """A login that carries a socket; raises ToolMissingError, HostError, and EngineError where ssh refuses."""

    def __init__(self, address: Address, *, identity: str | None, variables: Mapping[str, str]) -> None:
        self._program = command.require("ssh")
        self._variables = dict(variables)
        self._options = [part for option in _OPTIONS for part in ("-o", option)]
        if identity:
            # ssh expands `%` in names of keys.
            key = os.path.abspath(os.path.expanduser(identity)).replace("%", "%%")
            self._options += ["-i", key, "-o", "IdentitiesOnly=yes"]
        self._service: Service | None = None
        self._directory = private_directory(_plain(variables))
        self._socket = self._directory.fresh_socket()
        self._closed = False
        try:
            self._address = address if address.path else self._with_path(address)
            self._tether = self._forwarding()
        except BaseException:
            self._leave()
            raise

    @property
    def directory(self) -> str:
        """See Way."""
        return self._directory.path

    def service(self) -> Service:
        """See Way."""
        if self._service is None:
            self._service = self._awaited()
        return self._service

    def _awaited(self) -> Service:
        host = self._host_name()
        client = Client(path=self._socket, named=str(self._address))
        deadline = time.monotonic() + _PATIENCE
        while not client.listens():
            if self._tether.poll() is not None:
                raise refusals.refusal(self._directory.log_text(), self._address)
            if time.monotonic() > deadline:
                raise refusals.silence(self._address, _PATIENCE)
            time.sleep(0.005)
        try:
            ping(client, patience=30.0)
        except EngineError as error:
            raise self._complaint() or error from error
        return Service(client=client, origin="named", address=str(self._address), host=host)

    def close(self) -> None:
        """See Way."""
        if not self._closed:
            try:
                self._tether.close()
                self._tether.kill_session()
            finally:
                self._leave()

    def _leave(self) -> None:
        self._closed = True
        self._directory.leave(lambda: None)

    def _forwarding(self) -> Child:
        forward = f"{self._socket}:{self._address.path}"
        options = ["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177", "-L", forward]
        return self._tethered(["-N", *options, *self._address.arguments], stdout=NULL)

    def _with_path(self, address: Address) -> Address:
        """The same with the path of podman's socket: podman there is asked, as where it lies is its own choice."""
        child = self._tethered([*address.arguments, _ASK_PATH], stdout=None)
        answer, deadline = b"", time.monotonic() + _PATIENCE
        try:
            for _, block in child.blocks(pause=0.5):
                answer = (answer + block)[-65_536:]
                if time.monotonic() > deadline:
                    raise refusals.silence(address, _PATIENCE)
            code = child.wait()
        finally:
            child.close()
            child.kill_session()
        lines = answer.decode("utf-8", "replace").split()
        path = lines[-1].removeprefix("unix://") if lines else ""
        if code == refusals.OWN_CODE:
            raise refusals.refusal(self._directory.log_text(), address)
        if code != 0 or PATH.fullmatch(path) is None:
            raise refusals.no_path(self._directory.log_text(), address, exit_code=code)
        return msgspec.structs.replace(address, path=path)

    def _tethered(self, arguments: list[str], *, stdout: int | None) -> Child:
        """Start ssh so that it ends with us; what it says goes into the directory."""
        argv = command.tethered([self._program, "-T", *self._options, *arguments])
        variables = {**self._variables, FORGETS: self.directory}
        # A file, for a pipe that nobody reads would fill up and stop it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log = os.open(self._directory.log, flags, 0o600)
        try:
            return command.start(argv, environment=variables, stdout=stdout, stderr=log)
        finally:
            os.close(log)

    def _host_name(self) -> str:
        """The name of the host, which may be another than that of its entry in ~/.ssh/config."""
        argv = [self._program, "-G", *self._options, *self._address.arguments]
        answer = command.follow(argv, environment=self._variables, idle=_CONNECT)
        found = re.search(r"^hostname (\S+)$", answer.text, re.MULTILINE)
        return found[1] if found else self._address.host

    def _complaint(self) -> EngineError | None:
        """Why ssh has closed a connection that it had accepted; None where it does not say."""
        deadline = time.monotonic() + _COMPLAINT
        while time.monotonic() < deadline:
            found = refusals.closed(self._directory.log_text(), self._address)
            if found is not None:
                return found
            if self._tether.poll() is not None:
                return refusals.refusal(self._directory.log_text(), self._address)
            time.sleep(0.02)
        return None


def _plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Directories for the socket whose names `-L` takes as they are."""
    named = {name: variables[name] for name in ("XDG_RUNTIME_DIR", "TMPDIR") if name in variables}
    return {name: path for name, path in named.items() if PATH.fullmatch(path) is not None}
