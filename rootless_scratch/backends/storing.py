"""skopeo, which brings an image into local storage, begun before there is an image.

To start, to enter its user namespace and to open storage takes it longer than a small image takes to be planned
and written. So it is started first, and waits at the index of its layout, a named pipe, until that is written.
While it waits it has changed nothing and holds no lock, and is ended where there will be no image.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from rootless_scratch import command
from rootless_scratch.backends.caller import WorkerPaths
from rootless_scratch.backends.record import Record, sweep
from rootless_scratch.backends.session import STORAGE_PATIENCE, about_namespaces, ask_storage, worker_directories
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.environment import no_temporary, policy_options, tool_environment

TYPE_CHECKING = False  # importing typing costs 8 ms, and this is loaded before anything else
if TYPE_CHECKING:
    from typing import Self

    from rootless_scratch.spawn import Child

LAYOUT, REF = "image", "staged"
"""The directory of the layout in the private one, and the name of the image in it."""

_INDEX, _THEN = "index.json", "then"
_PAUSE = 0.001

_PROCESSORS = {"GOMAXPROCS": "1"}
"""Unless the user has set it: what skopeo does with a layer it does in series, and hand-overs cost it a tenth."""


class Storing:
    """A private directory for a `layout` that goes to local storage, and skopeo, which stores it as `name`.

    Without a name skopeo is not begun; where that is `postponed` nothing is, until `open` is called. `hint` is how
    a rebuild would be known (image/write/hints.py). What a kill leaves, the next session removes. Raises
    ToolMissingError, HostError.
    """

    record: Record
    directory: str
    layout: str
    variables: dict[str, str]

    def __init__(self, name: str | None, *, hint: str | None = None, postponed: bool = False) -> None:
        environment = tool_environment()
        self.name = name
        self.hint = hint
        self.settings = environment
        self.notes = tuple(map(str, environment.notes))
        command.require("skopeo")
        records, base = worker_directories(environment.variables)
        self._paths = WorkerPaths(records=records, base=base, buildah=command.require("buildah"))
        self._is_under_way = False
        self._child: Child | None = None
        self._is_open = self._is_closed = False
        if not postponed:
            self.open()

    def open(self) -> None:
        """Make the directory and begin skopeo; once is enough. Raises HostError."""
        if self._is_open:
            return
        self.tidy()
        try:
            # What outlives both us and the tether is found by this lock, and by the name in its arguments.
            self.record = Record.create(self._paths, inherited=True)
        except OSError as error:
            raise no_temporary(self._paths.base, error) from error
        self._is_open = True
        self.directory = self.record.scratch
        self.layout = f"{self.directory}/{LAYOUT}"
        self._awaited = f"{self.directory}/{self.record.name}"
        # What tools leave there when they are killed goes with it.
        self.variables = {**_PROCESSORS, **self.settings.variables, "TMPDIR": self.directory}
        if self.name is None:
            return
        try:
            self._child = self._begin()
        except OSError as error:
            self.close()
            raise no_temporary(self._paths.base, error) from error
        except BaseException:
            self.close()
            raise

    def tidy(self) -> None:
        """Take back what killed builds have left."""
        sweep(self._paths)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End skopeo, take back what it has not stored whole, and remove the directory; once is enough."""
        if self._is_closed or not self._is_open:
            return
        self._is_closed = True
        if self._child is not None:
            self._child.kill_session()
            self._child.close()
            self._let_go()
        if self._is_under_way:
            self.record.take_back(self._paths)
        else:
            self.record.remove()

    def images_directory(self) -> str | None:
        """Where local storage has its images, as buildah says; None where it does not."""
        import json

        try:
            info = json.loads(ask_storage(["buildah", "info"], self.variables, directory=self.directory).text)
            return f"{info['store']['GraphRoot']}/{info['store']['GraphDriverName']}-images"
        except (HostError, CommandError, ValueError, KeyError, TypeError):
            return None

    def store(self, image_id: str) -> None:
        """Store the image of the layout under the name; the second call is made by another skopeo.

        Raises HostError, CommandError, CommandTimeoutError.
        """
        self.record.stores(image_id)
        self._is_under_way = True
        self._store()
        self._is_under_way = False

    def _store(self) -> None:
        child = self._child
        if child is None:
            ask_storage(self._argv(LAYOUT), self.variables, directory=self.directory)
            return
        self._hand_over(child)
        argv = self._argv(self.record.name)
        done = command.attend(child, argv, idle=STORAGE_PATIENCE)
        self._child = None
        if done.exit_code != 0:
            raise about_namespaces(command.failed(argv, exit_code=done.exit_code, stderr=done.stderr))

    def _argv(self, layout: str) -> list[str]:
        # It works in the private directory, whose name thus stands in no argument list.
        policy = policy_options(self.variables, "--policy")
        where = (f"oci:{layout}:{REF}", f"containers-storage:{self.name}")
        return [*command.SKOPEO, *policy, "copy", "--quiet", *where]

    def _begin(self) -> Child:
        os.mkdir(self._awaited, 0o700)
        for each, there in (("blobs", "blobs"), ("oci-layout", "oci-layout"), (_THEN, _INDEX)):
            os.symlink(f"../{LAYOUT}/{there}", f"{self._awaited}/{each}")
        os.mkfifo(f"{self._awaited}/{_INDEX}", 0o600)
        return command.begin(self._argv(self.record.name), environment=self.variables, directory=self.directory)

    def _hand_over(self, child: Child) -> None:
        """Give it the index once it reads that, which it does first; nothing is to be given where it has ended."""
        import time

        pipe, then = f"{self._awaited}/{_INDEX}", f"{self._awaited}/{_THEN}"
        with open(then, "rb") as file:
            content = file.read()
        deadline = time.monotonic() + STORAGE_PATIENCE
        while child.poll() is None and time.monotonic() < deadline:
            try:
                descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                time.sleep(_PAUSE)
                continue
            # Where it has just ended, what it said on stderr is the reason.
            with os.fdopen(descriptor, "wb", buffering=0) as writing, suppress(BrokenPipeError):
                # Who reads it twice, as some versions do, finds the file then.
                os.rename(then, pipe)
                # It is less than a pipe holds.
                writing.write(content)
            return
        self._let_go()

    def _let_go(self) -> None:
        """Have one that still waits, because it was the tether that was killed, find the end of the pipe."""
        pipe = f"{self._awaited}/{_INDEX}"
        try:
            descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return  # the index itself lies there
        try:
            # Who comes later finds nothing.
            os.unlink(pipe)
        finally:
            os.close(descriptor)
