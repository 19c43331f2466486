"""The output of a container that runs beside us: taken as it comes, and read as often as one likes.

podman 4.3 loses output where its logs are followed (podman issue 21914), so the connection that was attached
before the start is read to its end by a thread, into a file without a name. The program never waits for a reader.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from rootless_scratch.engine.stdio.streams import STDERR, TAIL, Frames
from rootless_scratch.errors import EngineError, EngineTimeoutError
from rootless_scratch.host.environment import no_temporary, temporary_directory, tool_environment
from rootless_scratch.sparse import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootless_scratch.engine.api.http import Attached

_READ = 65_536
_LONGEST = 1 << 20
"""Bytes of a line; what is longer comes in pieces."""


class Recording:
    """The frames of an attached connection, which is closed here, in a file; `close` ends it."""

    def __init__(self, attached: Attached) -> None:
        import tempfile

        self._connection = attached.connection
        # Python's own choice would write to TMPDIR to try it, whoever else may.
        directory = temporary_directory(tool_environment().variables)
        try:
            self._file = tempfile.TemporaryFile(buffering=0, dir=directory)  # noqa: SIM115 - see close
        except OSError as error:
            self._connection.close()
            raise no_temporary(directory, error) from error
        self._size = 0
        self._ended = False
        self._problem = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._record, args=(attached.early,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and forget what was recorded."""
        import socket

        # Refused where it has ended already.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()
        with self._changed:
            self._file.close()

    def wait(self, seconds: float | None) -> bool:
        """Wait until all of the output has come, or that long; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)

    def tail(self, *, stdout: bool) -> bytes:
        """The end of stderr, of both streams with `stdout`."""
        end = b""
        for line in self.lines(stdout=stdout, stderr=True):
            end = (end + line)[-TAIL:]
        return end

    def lines(
        self, *, stdout: bool, stderr: bool, follow: bool = False, deadline: float | None = None
    ) -> Iterator[bytes]:
        """Lines with their ends, in the order in which they were completed; with `follow` until the output ends.

        `deadline` is one of time.monotonic. Raises EngineTimeoutError, and EngineError where it was not recorded.
        """
        # A reader may outlive the block, in another thread.
        with self._changed:
            descriptor = -1 if self._file.closed else os.dup(self._file.fileno())
        if descriptor < 0:
            raise EngineError("The container has gone, and its output with it.", fix="Read it inside the block.")
        try:
            yield from self._read(descriptor, wanted=(stdout, stderr), follow=follow, deadline=deadline)
        finally:
            os.close(descriptor)
        if self._problem:
            raise EngineError(
                f"The container's output could not be kept: {self._problem}.",
                fix="Make room in the directory for temporary files, or set TMPDIR to another.",
            )

    def _read(
        self, descriptor: int, *, wanted: tuple[bool, bool], follow: bool, deadline: float | None
    ) -> Iterator[bytes]:
        frames, rests, at = Frames(), (bytearray(), bytearray()), 0
        while True:
            size = self._more(at, deadline) if follow else self._size
            while at < size:
                data = os.pread(descriptor, min(_READ, size - at), at)
                at += len(data)
                for stream, content in frames.split(data):
                    error = stream == STDERR
                    if wanted[error]:
                        rests[error].extend(content)
                        yield from _lines_of(rests[error])
            if not follow or (self._ended and at == self._size):
                break
        yield from (bytes(rest) for rest in rests if rest)

    def _more(self, at: int, deadline: float | None) -> int:
        """The size once it is above `at`, or final."""
        with self._changed:
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._changed.wait_for(lambda: self._ended or self._size > at, patience):
                raise EngineTimeoutError("No more output came in time.", fix="Wait longer.")
            return self._size

    def _record(self, data: bytes) -> None:
        try:
            while True:
                # Where the disk is full the program is not made to wait for it.
                if data and not self._problem:
                    self._keep(data)
                data = self._connection.recv(_READ)
                if not data:
                    break
        except OSError:
            # The service has gone, or the container was killed: what came until then is there.
            pass
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _keep(self, data: bytes) -> None:
        try:
            write_all(self._file.fileno(), data)
        except OSError as error:
            self._problem = error.strerror or str(error)
            return
        with self._changed:
            self._size += len(data)
            self._changed.notify_all()


class PassedOn(Recording):
    """The same where the output goes on to the descriptors `stdout` and `stderr`, and only its end is kept.

    `on_end` is called when it ends, by another thread. A descriptor that takes nothing more is passed over.
    """

    def __init__(
        self, attached: Attached, *, stdout: int, stderr: int, on_end: Callable[[], None] | None = None
    ) -> None:
        self._targets = {STDERR: stderr}
        self._stdout = stdout
        self._frames = Frames()
        self._tail = b""
        self._on_end = on_end
        super().__init__(attached)

    def tail(self, *, stdout: bool) -> bytes:
        """The end of both streams."""
        del stdout
        return self._tail

    def _record(self, data: bytes) -> None:
        super()._record(data)
        if self._on_end is not None:
            self._on_end()

    def _keep(self, data: bytes) -> None:
        for stream, content in self._frames.split(data):
            self._tail = (self._tail + content)[-TAIL:]
            target = self._targets.setdefault(stream, self._stdout)
            if target < 0:
                continue
            try:
                write_all(target, content)
            except OSError:
                # Whoever read it has gone, or its disk is full: the program goes on.
                self._targets[stream] = -1


def _lines_of(rest: bytearray) -> Iterator[bytes]:
    """The whole lines in front of `rest`, which are taken out of it."""
    *lines, left = bytes(rest).split(b"\n")
    rest[:] = left
    yield from (line + b"\n" for line in lines)
    if len(rest) > _LONGEST:
        rest.clear()
        yield left
