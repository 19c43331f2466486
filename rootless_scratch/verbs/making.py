"""How the targets of `bake` are made, what becomes of each, and who is told: the same for every executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.image.references import parse_references
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import Access

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.bakefiles.results import Result
    from rootless_scratch.bakefiles.target import Target
    from rootless_scratch.caching.store import Entry
    from rootless_scratch.verbs.sharing import Entry as Named


class Way(Value):
    """How all targets are made; with `judged` they are not, and only what the rules say of them is told."""

    judged: bool = False
    check: bool = True
    compress: str | None = None
    access: Access = Access()
    cache_from: tuple[str, ...] = ()
    layouts: frozenset[str] = frozenset()


class Watcher:
    """Who is told what is under way; here nobody."""

    def begin(self, name: str) -> Progress:
        """A target is begun, by any thread; the answer is told how far it is."""
        del name
        return SILENT

    def done(self, result: Result) -> None:
        """What became of a target, by the thread that called."""


class Done(Value):
    """What became of one target, the names that it is to have in layouts, and its compressed layers."""

    result: Result
    waiting: tuple[tuple[str, Named], ...] = ()
    used: tuple[Entry, ...] = ()


def require_caches(
    targets: Iterable[Target], compress: str | None, cache_from: Sequence[str], cache_to: Sequence[str]
) -> None:
    """Raise UsageError for caches that are none, or of no use to any of these."""
    if not (cache_from or cache_to):
        return
    from rootless_scratch.verbs.caching import require_use

    require_use(cache_from, cache_to, [parse_references(each.output) for each in targets], compress)


def require_sboms_apart(targets: Iterable[Target]) -> None:
    """Raise UsageError where two of these would write one SBOM."""
    described = [each for each in targets if each.spec.sboms]
    if described:
        from rootless_scratch.verbs.sbom_files import require_apart

        require_apart((each.name, each.spec.but(names=each.names), each.output) for each in described)
