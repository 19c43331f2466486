"""Work on many things in several processes at once: the answers in order, a process that was killed an error.

Processes and not threads, as the work is Python's. They are forked, so that what was loaded and read until then is
there in each of them and takes memory once.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from rootless_scratch.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

_MOST = 8
"""Each has the facts of the libraries that it met, up to 40 MB."""

_AHEAD = 256
"""For each process so many answers may wait for an earlier one: large programs take long."""

_TASK: Final = struct.Struct("=I")
_HEAD: Final = struct.Struct("=IQ")
"""Of what a process says: the number of a task, and the size of the answer; 0 where it begins with it."""

_BLOCK = 1 << 16


def processes_for(count: int, fewest: int) -> int:
    """How many processes work on so many things; 1 where a second one is not worth its start: below `fewest`."""
    return 1 if count < fewest else min(len(os.sched_getaffinity(0)), _MOST, count)


class AtOnce:
    """Works on `tasks`, which are numbers, in so many processes; all of them are gone when the block ends.

    `work` answers, or raises, which the answer then is; where no process can be started the caller does it. `name`
    tells what a task is, in an error. Answers are asked for in the order of the tasks, or come never.
    """

    def __init__(
        self, tasks: Sequence[int], work: Callable[[int], object], *, processes: int, name: Callable[[int], str]
    ) -> None:
        self._waiting: Iterator[int] = iter(tasks)
        self._work = work
        self._name = name
        self._count = processes
        self._processes: dict[int, int] = {}
        self._received: dict[int, bytearray] = {}
        self._begun: dict[int, int] = {}
        self._answers: dict[int, object] = {}
        self._poll = select.poll()
        self._tasks = -1

    def __enter__(self) -> Self:
        try:
            self._start_all()
            for _ in range(_AHEAD * len(self._processes)):
                self._hand_out()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def answer(self, task: int) -> Any:  # noqa: ANN401 - what `work` answers
        """The answer; what was raised is returned. Raises HostError for a process that was killed."""
        if not self._received:
            return self._work(task)
        while task not in self._answers:
            for descriptor, _ in self._poll.poll():
                self._receive(descriptor)
        self._hand_out()
        return self._answers.pop(task)

    def close(self) -> None:
        """End all of them."""
        if self._tasks >= 0:
            os.close(self._tasks)
            self._tasks = -1
        while self._processes:
            descriptor, process = self._processes.popitem()
            os.close(descriptor)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def _start_all(self) -> None:
        # What is here by now is no garbage, and marking it would copy its pages in every process.
        gc.freeze()
        # An interrupt must not let one that has just been made run on as its caller does.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        tasks = -1
        try:
            tasks, self._tasks = os.pipe()
            for _ in range(self._count):
                self._start(tasks, mask)
        except OSError:
            # A limit is reached: those that there are do all of it, or nobody but the caller.
            pass
        finally:
            if tasks >= 0:
                os.close(tasks)
            gc.unfreeze()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _start(self, tasks: int, mask: Collection[int]) -> None:
        answers, ours = os.pipe()
        try:
            process = os.fork()
        except OSError:
            os.close(answers)
            os.close(ours)
            raise
        if process == 0:
            try:
                # Our caller alone is interrupted, and ends us; its other ends would keep us waiting for it.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                for descriptor in (answers, self._tasks, *self._processes):
                    os.close(descriptor)
                _serve(tasks, ours, self._work)
            finally:
                os._exit(1)
        os.close(ours)
        self._processes[answers] = process
        self._received[answers] = bytearray()
        self._poll.register(answers, select.POLLIN)

    def _hand_out(self) -> None:
        task = next(self._waiting, None)
        if task is not None:
            # Where all of them were killed, that is told when an answer does not come.
            with suppress(BrokenPipeError):
                os.write(self._tasks, _TASK.pack(task))

    def _receive(self, descriptor: int) -> None:
        block = os.read(descriptor, _BLOCK)
        if not block:
            raise self._lost(descriptor)
        received = self._received[descriptor]
        received += block
        while len(received) >= _HEAD.size:
            task, size = _HEAD.unpack_from(received)
            if len(received) < _HEAD.size + size:
                return
            if size:
                self._answers[task] = pickle.loads(received[_HEAD.size : _HEAD.size + size])  # noqa: S301 - our own
            self._begun[descriptor] = task
            del received[: _HEAD.size + size]

    def _lost(self, descriptor: int) -> HostError:
        _, status = os.waitpid(self._processes.pop(descriptor), 0)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(status)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        task = self._begun.get(descriptor)
        where = "" if task is None else f" while it read {self._name(task)!r}"
        return HostError(
            f"A process that checks programs {how}{where}.",
            fix="Try again; if memory was short (`dmesg` says so), check fewer programs at once.",
        )


def _serve(tasks: int, answers: int, work: Callable[[int], object]) -> None:
    """Take the next task and answer it, until there are no more."""
    # The kernel gives each reader a whole one: pipe(7) is read under a lock.
    while record := os.read(tasks, _TASK.size):
        (task,) = _TASK.unpack(record)
        os.write(answers, _HEAD.pack(task, 0))
        try:
            answer = work(task)
        except Exception as error:  # noqa: BLE001 - whatever it is, our caller is to raise it
            answer = error
        content = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        rest = memoryview(_HEAD.pack(task, len(content)) + content)
        while rest:
            rest = rest[os.write(answers, rest) :]
