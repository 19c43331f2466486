"""`watch`: an image is built whenever something that it is made of has changed."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError, HostError, ScratchError, UsageError
from rootless_scratch.host.notices import POLL, Notices, forced_polling, rust_notify, silent_file_system
from rootless_scratch.verbs.observed import MISSING, changes, is_being_written
from rootless_scratch.verbs.watched import OfFile, OfPrograms, names_of, require_files, with_planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.verbs.observed import Spots, Stamp
    from rootless_scratch.verbs.restarting import Restarting
    from rootless_scratch.verbs.watched import Making

_PAUSE = 0.03
"""Seconds between two looks at a file that is being written."""

_WRITTEN_FOR = 60.0
"""Seconds after which a file that is still being written is built nevertheless: a log is written for ever."""

_GONE_FOR = 1.0
"""Seconds in which a file that was removed comes back, where it is about to be written."""

_ATTEMPTS = 20
"""How often directories may go while they are about to be watched."""


class Rebuilt(Data):
    """What became of one build: its `image`, or the `error` that kept it from being built.

    `changed` are the paths for which it was built, none for the first one; `seconds` passed from the moment at
    which the first of them was noticed until all was done. Where a container was wanted it is `container`: the one
    before where the image is the same or could not be built, None where none could be started, which is an `error`
    too. `restarted` is whether it is a new one.
    """

    image: Image | None
    error: ScratchError | None
    changed: tuple[str, ...]
    seconds: float
    container: RunningContainer | None = None
    restarted: bool = False


class Watching:
    """Builds at once, and again after each change, for as long as it is iterated; a block ends all that it began.

    What comes of a change is told unless it is the same image as before. `poll` in seconds looks at all files so
    often, in place of being told of changes by the kernel. `running` runs each image in place of the one before.
    `notes` has a sentence for what was chosen because something else does not work here.
    """

    def __init__(
        self,
        making: Making,
        *,
        poll: float | None = None,
        running: Restarting | None = None,
        wake: threading.Event | None = None,
        woken: Callable[[], None] | None = None,
    ) -> None:
        if poll is not None and poll <= 0:
            raise UsageError(f"{poll:g} is not a number of seconds.", fix="Write 1 to look every second.")
        self.notes: tuple[str, ...] = ()
        self._making = making
        self._running = running
        self._wake = wake or threading.Event()
        self._woken = woken
        self._poll = forced_polling(os.environ) if poll is None else poll
        if self._poll is None:
            # What is missing is told before anything is built.
            rust_notify()
        self._documents: frozenset[str] = frozenset()
        self._observed = making.observed()
        self._stamps: dict[str, Stamp] = {}
        self._notices: Notices | None = None
        self._spots: Spots | None = None
        self._is_stale = False
        self._session: Storing | None = None
        self._last: Image | None = None
        self._failed = False
        self._unstarted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the container and all that was begun; once is enough."""
        session, self._session = self._session, None
        notices, self._notices = self._notices, None
        try:
            if notices is not None:
                notices.close()
            if session is not None:
                session.close()
        finally:
            if self._running is not None:
                self._running.close()

    def __iter__(self) -> Iterator[Rebuilt]:
        """What comes of the first build, and of each change."""
        first = self._build(())
        if isinstance(first.error, (UsageError, HostError)):
            # No file of those that are watched mends that.
            raise first.error
        yield first
        while True:
            self._begin()
            noticed, changed = self._await()
            rebuilt = self._build(changed, since=noticed)
            if rebuilt.changed:
                yield rebuilt

    @property
    def count(self) -> int:
        """How many files are watched."""
        return len(self._stamps) or len(self._observed.files)

    def _build(self, changed: tuple[str, ...], *, since: float | None = None) -> Rebuilt:
        """Build it once; `changed` of the answer is empty where nothing has come of that."""
        began = time.monotonic() if since is None else since
        before = self._observed.stamps()
        session, self._session = self._session, None
        found: list[Planned] = []
        image, error = None, None
        try:
            image = self._made(session, found)
        except ScratchError as caught:
            error = caught
        if image is not None:
            self._documents = frozenset(os.path.abspath(each.file) for each in image.sboms)
        self._note(before, found, failed=error is not None)
        same = image is not None and self._last is not None and _key(image) == _key(self._last)
        is_news = not same or self._failed or not changed
        self._failed = error is not None
        container = None
        is_due = image is not None and (not same or self._unstarted)
        if self._running is not None:
            if image is not None and is_due:
                error = self._running.start(image)
                self._unstarted = error is not None
                is_news = True
            container = self._running.container
        self._last = image or self._last
        return Rebuilt(
            image=image,
            error=error,
            changed=changed if is_news else (),
            seconds=time.monotonic() - began,
            container=container,
            restarted=self._running is not None and is_due and container is not None,
        )

    def _made(self, session: Storing | None, found: list[Planned]) -> Image:
        try:
            return self._making.build(session, found.extend)
        except (BuildError, HostError):
            if session is None:
                raise
            # What was begun long ago may have met another storage.
            found.clear()
            return self._making.build(None, found.extend)
        finally:
            if session is not None:
                session.close()

    def _note(self, before: Mapping[str, Stamp], planned: Sequence[Planned], *, failed: bool) -> None:
        """From now on whatever differs from what was built is a change, also where it has happened meanwhile."""
        named = self._making.observed()
        named = named.but(own=named.own | self._documents)
        observed, planned_files = with_planned(named, planned)
        if failed and not planned:
            # It was not told what it needs: what the one before needed may be the cause.
            observed = observed.but(files=observed.files | self._observed.files)
        self._observed = observed
        now = observed.stamps()
        stamps = {path: before.get(path, stamp) for path, stamp in now.items()}
        stamps |= {path: stamp for path, stamp in before.items() if path in observed.files}
        for path, identity in planned_files.items():
            stamp = now.get(path)
            numbers = (identity.device, identity.inode, identity.size, identity.mtime_ns, identity.ctime_ns)
            if stamp and stamp != before.get(path) and (stamp[0], stamp[1], *stamp[3:]) != numbers:
                stamps[path] = MISSING
        self._stamps = stamps

    def _begin(self) -> None:
        """Begin now what takes long, so that the next build finds it: skopeo with the image's name."""
        names = self._making.names()
        if self._session is None and names and self._making.how.get("backend") == "direct":
            from rootless_scratch.backends.storing import Storing
            from rootless_scratch.image.names import image_name

            try:
                self._session = Storing(image_name(names[0]))
            except ScratchError:
                # The build will say it.
                return

    def _await(self) -> tuple[float, tuple[str, ...]]:
        """When something has changed, and what, once nobody writes to it any more."""
        while True:
            self._watch()
            changed = changes(self._stamps, self._observed.stamps())
            if changed:
                noticed = time.monotonic()
                changed = self._settled(noticed, changed)
                if changed:
                    return noticed, changed
            self._wait(None)

    def _settled(self, since: float, changed: tuple[str, ...]) -> tuple[str, ...]:
        """What has changed, once that has stopped; nothing where all is as it was."""
        stamps: Mapping[str, Stamp] = {}
        while changed:
            now = self._observed.stamps()
            changed = changes(self._stamps, now)
            is_quiet = now == stamps or (self._poll is None and not stamps)
            passed = time.monotonic() - since
            is_gone = any(now.get(path) == MISSING for path in changed if path in self._observed.files)
            busy = passed < _WRITTEN_FOR and is_being_written(changed)
            if is_quiet and not busy and not (is_gone and passed < _GONE_FOR):
                break
            stamps = now
            self._pause()
        return changed

    def _pause(self) -> None:
        if self._notices is None:
            time.sleep(_PAUSE)
        else:
            self._hear(self._notices, _PAUSE)

    def _hear(self, notices: Notices, seconds: float | None) -> frozenset[str]:
        found = notices.wait(seconds)
        if found is None:
            raise KeyboardInterrupt
        if self._spots is not None and not self._spots.directories.isdisjoint(found):
            # One that has gone and come back is another one, of which nothing is told.
            self._is_stale = True
        return found

    def _watch(self) -> None:
        """Have the kernel tell of changes of all that is observed now."""
        if self._poll is not None:
            return
        for _attempt in range(_ATTEMPTS):
            spots = self._observed.spots(self._stamps)
            if self._notices is not None and self._spots == spots and not self._is_stale:
                return
            silent = silent_file_system(map(os.path.dirname, self._observed.files))
            if silent is not None:
                self._poll = POLL
                where, name = silent
                self.notes += (
                    f"Files are looked at every second: {where} is on {name}, of which inotify says little.",
                )
                return
            if self._notices is not None:
                self._notices.close()
                self._notices = None
            self._is_stale = False
            there = [each for each in spots.directories if os.path.isdir(each)]
            try:
                self._notices, self._spots = Notices(there, self._wake), spots
            except (FileNotFoundError, PermissionError):
                continue
            return
        self._poll = POLL
        self.notes += ("Files are looked at every second: their directories come and go too fast.",)

    def _wait(self, seconds: float | None) -> None:
        """Until something was done that may count; longer than `seconds` at most."""
        while True:
            if self._notices is None:
                self._wake.wait(self._poll)
                found = frozenset({""})
            else:
                found = self._hear(self._notices, seconds)
            if self._wake.is_set():
                self._wake.clear()
                if self._woken is not None:
                    self._woken()
            if self._notices is None or self._spots is None or any(map(self._spots.concern, found)):
                return


def _key(image: Image) -> tuple[str, ...]:
    return (image.image_id, image.digest, *(each.digest for each in image.outputs))


def watch_programs(
    programs: Sequence[str | os.PathLike[str]],
    options: Mapping[str, Any],
    *,
    file: str | os.PathLike[str] | None = None,
    context: str | os.PathLike[str] = ".",
    run: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    poll: float | None = None,
) -> Watching:
    """See rootless_scratch.api.watch."""
    making: OfPrograms | OfFile
    if file is None:
        from rootless_scratch.verbs.options import read_spec

        spec, how = read_spec("watch", programs, {**options, "poll": poll})
        poll = how.pop("poll")
        require_files(each.source for each in spec.programs)
        making = OfPrograms(read=lambda: (spec, how["output"]), how=_without_output(directly(spec.names, how)))
    else:
        if programs:
            raise UsageError(
                "A Containerfile says itself what it copies.", fix="Leave the programs out, or `file`."
            )
        from rootless_scratch.verbs.build_file import read_request

        request, image, how = read_request(file, context, options)
        require_files([request.file])
        making = OfFile(request=request, options=image, how=directly(names_of(image), how))
    running = None
    if run is not None or arguments:
        from rootless_scratch.verbs.restarting import Restarting

        ways = {name: value for name, value in (run or {}).items() if name in _READINESS}
        others = {name: value for name, value in (run or {}).items() if name not in ways}
        running = Restarting(arguments, others, **ways)
    return Watching(making, poll=poll, running=running)


_READINESS = ("ready", "ready_timeout")
"""Keywords of rootless_scratch.container that are no options of a run."""


def directly(names: Sequence[str], how: Mapping[str, Any]) -> dict[str, Any]:
    """How an image is built where nothing else is asked for: by what can be begun before there is a change."""
    from rootless_scratch.spawn import find

    is_open = how.get("backend") is None and names and not how.get("output")
    return {**how, "backend": "direct"} if is_open and find("skopeo") else dict(how)


def _without_output(how: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in how.items() if name != "output"}
