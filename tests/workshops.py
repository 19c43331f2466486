"""Contexts built with `buildah build` and with `build -f`, each once, those that are next meanwhile."""

from __future__ import annotations

import concurrent.futures
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import shapes
from layouts import Built, read_layout
from same_as_buildah import ONLY_WITH_COMPAT, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Home

AT_A_TIME = 4
"""Much of a build's time buildah waits for the next second, so that no two layers have the same time."""


class Made(NamedTuple):
    """What a context came to: `theirs` by buildah, `ours` by us, `compat` by us with --compat buildah."""

    theirs: Built
    ours: Built
    compat: Built
    layout: Path
    shape: shapes.Shape


def assert_same(made: Made) -> None:
    """Ours is as buildah's but for what is intended, and with --compat buildah without exceptions."""
    found = []
    if made.shape.name not in ONLY_WITH_COMPAT:
        found += [f"ours: {line}" for line in differences(made.theirs, made.ours)]
    compat = differences(made.theirs, made.compat, compat="buildah", times=made.shape.twin is None)
    found += [f"--compat buildah: {line}" for line in compat]
    assert not found, "\n".join(found)


class Workshop:
    """Contexts by their names, each prepared and built once; `prepare` makes one below a directory."""

    def __init__(
        self,
        home: Home,
        directory: Path,
        names: Sequence[str],
        prepare: Callable[[str, Path], shapes.Shape],
        pool: concurrent.futures.Executor,
    ) -> None:
        self.home = home
        self._directory = directory
        self._names = names
        self._prepare = prepare
        self._pool = pool
        self._made: dict[str, concurrent.futures.Future[Made]] = {}

    def made(self, name: str) -> Made:
        """What it came to; fails the test where it cannot be built."""
        at = self._names.index(name)
        for each in self._names[at : at + AT_A_TIME]:
            if each not in self._made:
                self._made[each] = self._pool.submit(self._make, each)
        return self._made[name].result()

    def _make(self, name: str) -> Made:
        directory = self._directory / name
        directory.mkdir()
        shape = self._prepare(name, directory)
        shapes.build(self.home, shape, directory / "theirs")
        build(self.home, shape, directory / "ours")
        build(self.home, shape, directory / "compat", "--compat=buildah")
        theirs, ours, compat = (read_layout(directory / each) for each in ("theirs", "ours", "compat"))
        return Made(theirs=theirs, ours=ours, compat=compat, layout=directory / "ours", shape=shape)


def build(home: Home, shape: shapes.Shape, layout: Path, *flags: str) -> None:
    """What `build -f` makes of a shape, as a layout."""
    argv = ["build", "-f", str(shape.context / "Containerfile"), *shape.flags(), *flags, "-o", f"oci:{layout}"]
    done = home.cli(*argv, str(shape.context), environment={"BUILDAH_ISOLATION": "chroot"})
    assert done.returncode == 0, done.stderr.decode()


@contextmanager
def workshop(
    home: Home, directory: Path, names: Sequence[str], prepare: Callable[[str, Path], shapes.Shape]
) -> Iterator[Workshop]:
    """A workshop with the images that builders start from."""
    shapes.make_bases(home, directory)
    pool = concurrent.futures.ThreadPoolExecutor(AT_A_TIME)
    try:
        yield Workshop(home, directory, names, prepare, pool)
    finally:
        pool.shutdown(cancel_futures=True)
