"""`bake --executor dask:ADDRESS`: planned here, made by the workers of a Dask cluster, named here."""

from __future__ import annotations

import pickle
import secrets
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

import msgspec

from rootless_scratch import command
from rootless_scratch.backends.direct import require_single, spare_sources
from rootless_scratch.bakefiles.results import Result
from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError, HostError, ScratchError, UsageError
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.references import REGISTRY, Reference
from rootless_scratch.image.write.layer import parse_compression
from rootless_scratch.image.write.layout import layout_directory
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.verbs.build import read_way, with_added
from rootless_scratch.verbs.farm.cluster import Cluster
from rootless_scratch.verbs.farm.delivery import deliver
from rootless_scratch.verbs.farm.sources import Sources
from rootless_scratch.verbs.farm.work import Lacking, Made, Mark, Order, makers
from rootless_scratch.verbs.making import Done
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.sharing import Naming, Sharing
from rootless_scratch.verbs.ship import compression_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.bakefiles.target import Target
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.progress import Progress
    from rootless_scratch.verbs.making import Watcher, Way

_CHUNK = 16
"""Images that one task makes, where they are small: a task costs as much as a small image."""

_CHUNK_BYTES = 32 << 20
_TRIES = 4
"""How often sources are sent for one image before that is given up."""

_LONELY = 60.0
"""Seconds without any worker after which nobody is waited for any more."""

_LOOK = 2.0
"""Seconds after which the workers are counted again: they come and go."""


class _Begun(Data, frozen=False):
    """A target that was planned, on its way."""

    target: Target
    outputs: tuple[Reference, ...]
    plans: tuple[Planned, ...]
    findings: tuple[Finding, ...]
    digests: dict[str, str]
    progress: Progress
    lacking: frozenset[str] = frozenset()
    tries: int = 0

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(each.plan.rootfs.size for each in self.plans)


if TYPE_CHECKING:
    Taken = tuple[list[Done], list[_Begun]]


def bake_by_dask(
    targets: Sequence[Target],
    way: Way,
    jobs: int,
    at: Any,  # noqa: ANN401 - a Client of distributed
    watcher: Watcher,
) -> Iterator[Done]:
    """Each target when it is done, in any order; `at` is the address of a scheduler, or a Client.

    Raises UsageError for what workers cannot do, HostError where the cluster cannot be used.
    """
    _require_outputs(targets)
    _require_tools(targets, way)
    with ExitStack() as stack:
        marks = {path: stack.enter_context(_marked(path)) for path in sorted(way.layouts)}
        cluster = stack.enter_context(Cluster(at))
        run = _Run(cluster, stack.enter_context(Sharing()), way, marks, watcher)
        if cluster.threads():
            cluster.require_same(run.makers)
        pool = ThreadPoolExecutor(jobs)
        stack.callback(pool.shutdown, cancel_futures=True)
        left = {each.name: each for each in targets}
        try:
            for done in run.all(deque(targets), pool, jobs):
                del left[done.result.name]
                yield done
        except HostError as error:
            # What was made has its names written by whoever takes it, unless this is raised.
            if len(left) == len(targets):
                raise
            yield from (Done(Result(name=name, error=error)) for name in left)


def _require_outputs(targets: Iterable[Target]) -> None:
    stored = [each.name for each in targets if each.names]
    if stored:
        raise UsageError(
            f"Workers have no local storage, which is the destination of {', '.join(map(repr, stored))}.",
            fix="Pass `-o oci:DIR` or `--push`.",
        )
    described = next((each.name for each in targets if each.spec.sboms), None)
    if described is not None:
        raise UsageError(
            f"Images that workers make are written without SBOMs, and {described!r} has one.",
            fix="Leave out --executor, or `sbom`: `rootless-scratch sbom IMAGE` prints one of any image.",
        )


@contextmanager
def _marked(path: str) -> Iterator[Mark]:
    """A file in a layout by which workers know that they see it; gone when the block ends."""
    content = secrets.token_bytes(32)
    with ExitStack() as stack:
        stack.enter_context(layout_directory(path))
        try:
            file = stack.enter_context(Temporary(path))
            file.write(content)
            mark = Mark(path, file.show(), content)
        except OSError as error:
            raise BuildError(
                f"{path!r} cannot be written to: {error.strerror}.", fix="Name a directory that you can write to."
            ) from error
        yield mark


class _Run:
    """All targets on their way through one cluster."""

    def __init__(
        self, cluster: Cluster, sharing: Sharing, way: Way, marks: dict[str, Mark], watcher: Watcher
    ) -> None:
        self._cluster = cluster
        self._sharing = sharing
        self._way = way
        self._marks = marks
        self._watcher = watcher
        self._sources = Sources(sharing.files, cluster.keep)
        self._unseen: set[str] = set()
        self._tasks: dict[Any, list[_Begun]] = {}
        self._threads = 1
        self._looked = self._met = 0.0
        compressions = {"none", "gzip"} if way.compress is None else {parse_compression(way.compress).name}
        self.makers = makers(compressions)

    def all(self, targets: deque[Target], pool: ThreadPoolExecutor, jobs: int) -> Iterator[Done]:
        """Plan, hand out, take back: until all are done."""
        again: list[_Begun] = []
        taking: set[Future[Taken]] = set()
        ready: deque[Any] = deque()
        self._met = time.monotonic()
        while targets or again or self._tasks or taking:
            self._look()
            if again:
                again, sent = [], again
                yield from self._hand_out(sent)
            elif targets and len(self._tasks) < 2 * self._threads + 2:
                yield from self._plan_some(targets)
            with suppress(Empty):
                block = not targets or len(self._tasks) >= 2 * self._threads + 2
                one = self._cluster.done.get(timeout=_LOOK if block else 0.0)
                if isinstance(one, Future):
                    taking.remove(one)
                    done, lacking = one.result()
                    yield from done
                    again += lacking
                else:
                    ready.append(one)
            while ready and len(taking) < 2 * jobs:
                task = ready.popleft()
                begun = pool.submit(self._take, task, self._tasks.pop(task))
                taking.add(begun)
                begun.add_done_callback(self._cluster.done.put)

    def _look(self) -> None:
        """Count the workers now and then; raises HostError where there are none for long."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        self._threads = self._cluster.threads()
        if self._threads:
            self._met = now
        elif now - self._met > _LONELY:
            raise HostError(
                f"The Dask scheduler has had no worker for {_LONELY:g} s.",
                fix="Start some: `dask worker ADDRESS`, with this version of rootless-scratch installed.",
            )

    def _plan_some(self, targets: deque[Target]) -> Iterator[Done]:
        most = max(1, min(_CHUNK, len(targets) // (2 * max(1, self._threads))))
        chunk: list[_Begun] = []
        size = 0
        while targets and len(chunk) < most and size < _CHUNK_BYTES:
            target = targets.popleft()
            try:
                begun = self._plan(target)
            except ScratchError as error:
                yield Done(Result(name=target.name, error=error))
                continue
            chunk.append(begun)
            size += begun.size
        yield from self._hand_out(chunk)

    def _plan(self, target: Target) -> _Begun:
        progress = self._watcher.begin(target.name)
        with self._sharing.planning():
            parts = parts_of(target.spec, self._sharing.files)
            _, outputs = read_way(
                parts[0].spec, parts, output=target.output, backend=None, compress=self._way.compress
            )
            plans, findings = plan_all(parts, self._sharing.files, check=self._way.check, root=self._sharing.root)
            if len(plans) > 1:
                require_single(None, outputs)
            spare_sources([each.plan for each in plans], outputs)
            digests = self._sources.digests(plans)
        progress.step("with a worker")
        return _Begun(target, outputs, plans, findings, digests, progress)

    def _hand_out(self, chunk: Iterable[_Begun]) -> Iterator[Done]:
        orders: list[Order] = []
        parcels: list[object] = []
        sent: list[_Begun] = []
        for begun in chunk:
            try:
                order, own = self._order(begun)
            except ScratchError as error:
                yield Done(Result(name=begun.target.name, error=error))
                continue
            at = {id(each): number for number, each in enumerate(parcels)}
            for each in own:
                if id(each) not in at:
                    at[id(each)] = len(parcels)
                    parcels.append(each)
            spans = {
                digest: tuple((at[id(own[number])], start, size) for number, start, size in its)
                for digest, its in order.spans.items()
            }
            orders.append(order.but(spans=spans))
            sent.append(begun)
        if sent:
            task = self._cluster.begin(self.makers, pickle.dumps(orders, pickle.HIGHEST_PROTOCOL), parcels)
            self._tasks[task] = sent

    def _order(self, begun: _Begun) -> tuple[Order, list[object]]:
        self._unseen |= begun.lacking
        wanted = self._unseen & set(begun.digests.values())
        spans, parcels = self._sources.send(begun.plans, begun.digests, wanted) if wanted else ({}, [])
        layouts = all(each.transport == "oci" for each in begun.outputs)
        order = Order(
            plans=tuple(msgspec.structs.replace(each, plan=_bare(each.plan)) for each in begun.plans),
            digests=begun.digests,
            compression=compression_for(self._way.compress, begun.outputs),
            outputs=tuple(_absolute(each) for each in begun.outputs) if layouts else (),
            marks=tuple(self._marks[path] for path in {each.path for each in begun.outputs}) if layouts else (),
            spans=spans,
        )
        return order, parcels

    def _take(self, task: Any, chunk: Sequence[_Begun]) -> Taken:  # noqa: ANN401 - a Future of distributed
        """What became of a task, by a thread of the pool."""
        done: list[Done] = []
        lacking: list[_Begun] = []
        try:
            answers = self._cluster.answers(task, self.makers)
        except ScratchError as error:
            return [Done(Result(name=each.target.name, error=error)) for each in chunk], []
        for begun, answer in zip(chunk, answers, strict=True):
            if isinstance(answer, Lacking) and begun.tries < _TRIES:
                begun.lacking, begun.tries = answer.digests, begun.tries + 1
                lacking.append(begun)
                continue
            done.append(self._finished(begun, answer))
        return done, lacking

    def _finished(self, begun: _Begun, answer: Made | Lacking | ScratchError) -> Done:
        name = begun.target.name
        if isinstance(answer, ScratchError):
            return Done(Result(name=name, error=answer))
        if isinstance(answer, Lacking):
            lost = HostError(
                f"Sources were sent to workers {_TRIES} times, and did not arrive whole.",
                fix="Check the memory and the network of the workers.",
            )
            return Done(Result(name=name, error=lost))
        naming = Naming(self._way.layouts)
        image, waiting = answer.image, answer.waiting
        try:
            if answer.sent:
                image = deliver(
                    answer, begun.outputs, access=self._way.access, progress=begun.progress, add=naming.add
                )
                waiting = tuple(naming.waiting)
        except ScratchError as error:
            return Done(Result(name=name, error=error))
        written = tuple(
            msgspec.structs.replace(each, ref=output.text)
            for each, output in zip(image.outputs, begun.outputs, strict=True)
        )
        image = msgspec.structs.replace(image, findings=begun.findings, outputs=written)
        return Done(Result(name=name, image=with_added(image, [each.plan for each in begun.plans])), waiting)


def _bare(plan: Plan) -> Plan:
    """What a writer reads of a plan, and nothing that only a judge does."""
    return type(plan)(
        names=plan.names,
        platform=plan.platform,
        config=plan.config,
        annotations=plan.annotations,
        mtime=plan.mtime,
        rootfs=plan.rootfs,
        programs=(),
    )


def _absolute(output: Reference) -> str:
    return f"{output.transport}:{output.path}" + ("" if output.ref is None else f":{output.ref}")


def _require_tools(targets: Iterable[Target], way: Way) -> None:
    """Raise ToolMissingError, UsageError where images could not be pushed once they are there."""
    if any(output.startswith(f"{REGISTRY}:") for target in targets for output in target.output):
        command.require("skopeo")
        way.access.check()
