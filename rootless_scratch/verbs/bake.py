"""`bake`: all images of a file, several at a time, none of which is kept back by another."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.linking import are_linked
from rootless_scratch.bakefiles.results import Baked, Result
from rootless_scratch.bakefiles.target import Target, Targets, directed, shard_of
from rootless_scratch.errors import CacheError, HostError, ScratchError, UsageError
from rootless_scratch.image.references import parse_references
from rootless_scratch.processes import end_with
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.farm.address import is_client, require_address
from rootless_scratch.verbs.making import Done, Watcher, Way, require_caches, require_sboms_apart
from rootless_scratch.verbs.sharing import Naming, Sharing
from rootless_scratch.verbs.subject import require_utf8
from rootless_scratch.verbs.unchanged import Unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from rootless_scratch.caching.store import Entry
    from rootless_scratch.verbs.sharing import Entry as Named

THREADS, PROCESSES, DASK, KUBERNETES = EXECUTORS = ("threads", "processes", "dask:ADDRESS", "kubernetes")
_DASK = "dask:"

_PER_CORE = 4
"""Targets at a time for each core: most of the time they wait for the disk."""

_CHUNK = 16
"""Targets that another process makes at a time, so that it opens what they share once."""

_NAMED_AT_ONCE = 16
"""Images that wait for their names before the index of a layout is written."""


def bake(
    targets: Targets,
    *,
    output: Sequence[str] = (),
    push: bool = False,
    load: bool = False,
    check_only: bool = False,
    check: bool = True,
    compress: str | None = None,
    access: Access | None = None,
    cache_from: Sequence[str] = (),
    cache_to: Sequence[str] = (),
    jobs: int | None = None,
    shard: str | None = None,
    executor: Executor | str | None = None,
    watcher: Watcher | None = None,
) -> Baked:
    """Make all targets, or with `check_only` judge them; see rootless_scratch.api.bake.

    Raises UsageError where they cannot be what they are asked to be, before anything is done.
    """
    require_utf8()
    chosen = targets.targets
    if not check_only:
        chosen = directed(chosen, output=output, push=push, load=load)
        require_sboms_apart(chosen)
    require_caches(chosen, compress, cache_from, cache_to)
    chosen = shard_of(chosen, shard)
    _require_executor(executor, chosen, check_only=check_only, caches=bool(cache_from or cache_to))
    count = jobs_of(jobs, len(chosen))
    # What is known already is still to be put into caches of others.
    unchanged = Unchanged(() if check_only or cache_to else chosen, check=check, compress=compress)
    known = unchanged.recall()
    if known is not None:
        for each in known:
            (watcher or Watcher()).done(each)
        return Baked(results=tuple(known))
    if not check_only:
        _read_ways(chosen, compress)
    way = Way(
        judged=check_only,
        check=check,
        compress=compress,
        access=access or Access(),
        cache_from=tuple(cache_from),
        layouts=frozenset(_layouts(chosen)),
    )
    names = _Names(watcher or Watcher())
    if check_only or not are_linked(chosen):
        for done in _made(chosen, way, count, executor, watcher or Watcher()):
            names.take(done)
        names.write()
    else:
        from rootless_scratch.verbs.bake_file import between

        with between(chosen, targets.linked) as waves:
            for wave in waves:
                ready = names.ready(wave)
                here = way.but(layouts=frozenset(_layouts(ready)))
                for done in _made(ready, here, count, executor, watcher or Watcher()):
                    names.take(done)
                names.write()
    found = {result.name: result for result in names.results}
    lost = [each for each in targets.linked if each.name in found and found[each.name].failed]
    results = tuple(found[target.name] for target in (*lost, *chosen))
    unchanged.keep(results)
    return Baked(results=results, cache_error=_written_caches(cache_to, names.used, way))


def _require_executor(executor: object, targets: Iterable[Target], *, check_only: bool, caches: bool) -> None:
    """Raise UsageError for one that there is not, or that cannot do this."""
    if isinstance(executor, str) and executor.startswith(_DASK):
        require_address(executor.removeprefix(_DASK))
    elif executor == KUBERNETES:
        raise UsageError(
            "The executor kubernetes makes no images itself.",
            fix="Apply what `rootless-scratch bake --executor kubernetes` prints, by `kubectl apply -f -`.",
        )
    elif executor not in (None, THREADS, PROCESSES) and not hasattr(executor, "submit"):
        raise UsageError(f"There is no executor {executor!r}.", fix=f"There are {', '.join(EXECUTORS)}.")
    elif not is_client(executor):
        return
    if check_only and executor not in {THREADS, PROCESSES}:
        raise UsageError("Images are judged on this host.", fix="Leave out --executor, or --check.")
    if caches and executor not in {THREADS, PROCESSES}:
        raise UsageError(
            "The workers of Dask take no layers from caches, and keep none.",
            fix="Leave out --executor, or --cache-from and --cache-to.",
        )
    of_file = next((each.name for each in targets if each.file is not None), None)
    if of_file is not None and executor not in {THREADS, PROCESSES}:
        raise UsageError(
            f"{of_file!r} is an image of a Containerfile, and workers of Dask have nothing to build stages with.",
            fix="Leave out --executor, or describe the image in a scratch.toml.",
        )


def _written_caches(cache_to: Sequence[str], used: Sequence[Entry], way: Way) -> ScratchError | None:
    """Add the layers of all images to caches of others; the error where that cannot be."""
    from rootless_scratch.verbs.caching import write_caches

    try:
        write_caches(cache_to, used, way.access)
    except CacheError as error:
        return error
    return None


def jobs_of(jobs: int | None, count: int) -> int:
    """How many targets are made at a time; raises UsageError."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} is not a number of jobs.", fix="Write 1 for one image after the other.")
    return max(1, min(jobs or _PER_CORE * len(os.sched_getaffinity(0)), count))


def _layouts(targets: Iterable[Target]) -> Iterator[str]:
    for target in targets:
        yield from (each.path for each in parse_references(target.output) if each.transport == "oci")


def _read_ways(targets: Sequence[Target], compress: str | None) -> None:
    """Raise UsageError for what no image can be, before any is made."""
    from rootless_scratch.verbs.ship import read_outputs

    stored = [each.name for each in targets if not each.output]
    if compress is not None and stored:
        raise UsageError(
            f"Local storage keeps layers as they are, and --compress is for outputs: {stored[0]!r} has none.",
            fix="Leave --compress out, or pass `-o` or `--push`.",
        )
    for target in targets:
        read_outputs(target.output, compress)


class _Names:
    """Results as they come; their names in layouts are written for many at once.

    Each time more of them wait before the index is written again, so that a thousand do not write it a thousand
    times; whoever is killed between finds all that is there already the next time.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.results: list[Result] = []
        self.used: list[Entry] = []
        self._watcher = watcher
        self._waiting: list[Done] = []
        self._count = 0

    def ready(self, targets: Sequence[Target]) -> list[Target]:
        """Targets that need none that failed; of the others it is told."""
        from rootless_scratch.verbs.bake_file import without

        failed = [each.name for each in self.results if each.failed]
        left = []
        for target in targets:
            result = without(target, failed)
            if result is None:
                left.append(target)
            else:
                self._finish(result)
        return left

    def take(self, done: Done) -> None:
        """A target that is done."""
        self.used += done.used
        if not done.waiting:
            self._finish(done.result)
            return
        self._waiting.append(done)
        if len(self._waiting) >= max(_NAMED_AT_ONCE, self._count // 8):
            self.write()

    def write(self) -> None:
        """Name all that wait."""
        from rootless_scratch.backends.direct import unwritable
        from rootless_scratch.image.write.layout import name_images

        waiting, self._waiting = self._waiting, []
        self._count += len(waiting)
        by_layout: dict[str, list[Named]] = {}
        for done in waiting:
            for path, entry in done.waiting:
                by_layout.setdefault(path, []).append(entry)
        wrong: dict[str, ScratchError] = {}
        for path, entries in by_layout.items():
            try:
                name_images(path, entries)
            except ScratchError as error:
                wrong[path] = error
            except OSError as error:
                wrong[path] = unwritable(error, parse_references((f"oci:{path}",)))
        for done in waiting:
            found = next((wrong[path] for path, _ in done.waiting if path in wrong), None)
            self._finish(done.result if found is None else Result(name=done.result.name, error=found))

    def _finish(self, result: Result) -> None:
        self.results.append(result)
        self._watcher.done(result)


def _made(
    targets: Sequence[Target], way: Way, jobs: int, executor: Executor | str | None, watcher: Watcher
) -> Iterator[Done]:
    """Each target when it is done, in any order."""
    if is_client(executor) or (isinstance(executor, str) and executor.startswith(_DASK)):
        from rootless_scratch.verbs.farm.dask import bake_by_dask

        at = executor.removeprefix(_DASK) if isinstance(executor, str) else executor
        yield from bake_by_dask(targets, way, jobs, at, watcher)
        return
    if executor is None or executor == THREADS:
        yield from _by_threads(targets, way, jobs, watcher)
        return
    with ExitStack() as stack:
        if executor == PROCESSES:
            executor = stack.enter_context(_processes(jobs))
        assert not isinstance(executor, str)  # noqa: S101 - see above
        size = max(1, min(_CHUNK, -(-len(targets) // (4 * jobs))))
        chunks = [targets[at : at + size] for at in range(0, len(targets), size)]
        begun = {executor.submit(make_all, chunk, way): chunk for chunk in chunks}
        yield from _completed(begun)


def _processes(jobs: int) -> Executor:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # What is loaded by now is there in each of them; so are both ends of their queues, which therefore never end.
    return ProcessPoolExecutor(jobs, mp_context=get_context("fork"), initializer=end_with, initargs=(os.getpid(),))


def _by_threads(targets: Sequence[Target], way: Way, jobs: int, watcher: Watcher) -> Iterator[Done]:
    if jobs == 1:
        with Sharing() as sharing:
            for target in targets:
                yield make(target, way, sharing, watcher)
        return
    from concurrent.futures import ThreadPoolExecutor

    sharing = Sharing()
    pool = ThreadPoolExecutor(jobs)
    begun: dict[Future[list[Done]], Sequence[Target]] = {
        pool.submit(_alone, partial(make, target, way, sharing, watcher)): (target,) for target in targets
    }
    try:
        yield from _completed(begun)
    except BaseException:
        # Those that are under way read its files; they are closed with the last of them.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    with sharing:
        pass


def _alone(work: Callable[[], Done]) -> list[Done]:
    return [work()]


def _completed(begun: dict[Future[list[Done]], Sequence[Target]]) -> Iterator[Done]:
    from concurrent.futures import BrokenExecutor, as_completed

    for future in as_completed(begun):
        targets = begun.pop(future)
        try:
            answers = future.result()
        except ScratchError as error:
            answers = [Done(Result(name=target.name, error=error)) for target in targets]
        except BrokenExecutor:
            lost = HostError(
                "A process that builds images was ended.",
                fix="Try again; if memory was short (`dmesg` says so), with fewer `--jobs`.",
            )
            answers = [Done(Result(name=target.name, error=lost)) for target in targets]
        yield from answers


def make_all(targets: Sequence[Target], way: Way) -> list[Done]:
    """Make targets in this process, one after the other: what an executor of processes is given."""
    with Sharing() as sharing:
        return [make(target, way, sharing) for target in targets]


def make(target: Target, way: Way, sharing: Sharing, watcher: Watcher | None = None) -> Done:
    """Make or judge one target; what keeps it from being made is the answer."""
    progress = SILENT if watcher is None else watcher.begin(target.name)
    naming = Naming(way.layouts)
    used: Sequence[Entry] = ()
    try:
        if way.judged:
            result = _judged(target, sharing)
        else:
            result, used = _built(target, way, sharing, naming, progress=progress)
    except ScratchError as error:
        return Done(Result(name=target.name, error=error))
    except OSError as error:
        from rootless_scratch.troubles import limit_met

        met = limit_met(error)
        if met is None:
            raise
        return Done(Result(name=target.name, error=met))
    return Done(result, tuple(naming.waiting), tuple(used))


def _built(
    target: Target, way: Way, sharing: Sharing, naming: Naming, *, progress: Progress
) -> tuple[Result, Sequence[Entry]]:
    from rootless_scratch.verbs.build import build_parts

    layers = sharing.layers(way.cache_from, way.access) if target.output else None
    how: dict[str, Any] = {
        "check": way.check,
        "output": target.output,
        "compress": way.compress,
        "access": way.access,
        "progress": progress,
        "sharing": sharing,
        "add": naming.add,
        "layers": layers,
    }
    if target.file is not None:
        from rootless_scratch.verbs.bake_file import build_target

        image = build_target(target, target.file, **how)
    else:
        with sharing.planning():
            parts = _parts(target.spec.but(names=target.names), sharing)
        image = build_parts(parts, sharing.files, **how)
    return Result(name=target.name, image=image), () if layers is None else layers.used


def _parts(spec: Any, sharing: Sharing) -> Any:  # noqa: ANN401 - as parts_of has them
    from rootless_scratch.image.plan.parts import parts_of

    return parts_of(spec, sharing.files)


def _judged(target: Target, sharing: Sharing) -> Result:
    from rootless_scratch.findings import Judgement
    from rootless_scratch.rules.program.programs import verdict
    from rootless_scratch.verbs.planning import plan_all

    if target.file is not None:
        from rootless_scratch.verbs.bake_file import judge_target

        return Result(name=target.name, judgement=judge_target(target, target.file))
    with sharing.planning():
        parts = _parts(target.spec, sharing)
        findings = plan_all(parts, sharing.files, check=False, root=sharing.root)[1]
    return Result(
        name=target.name, judgement=Judgement(subject=target.name, verdict=verdict(findings), findings=findings)
    )
