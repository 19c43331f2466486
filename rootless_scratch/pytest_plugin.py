"""Fixtures for pytest: images that are built for the tests of a session, and containers for one test.

It is loaded wherever this package is installed, so it imports nothing of it before a fixture is used.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.image.finished import Image

_REMOVAL_PATIENCE = 120.0
"""Seconds for the images of a session to be removed."""


class ImageFactory(Protocol):
    """What the fixture `scratch_image` is."""

    def __call__(self, *programs: str | os.PathLike[str], **options: Any) -> Image:  # noqa: ANN401 - those of build
        """Build an image of programs, with the options of `rootless_scratch.build`, under a name of its own."""


class ContainerFactory(Protocol):
    """What the fixture `scratch_container` is."""

    def __call__(
        self,
        image: str | Image,
        arguments: Sequence[str] = (),
        **options: Any,  # noqa: ANN401 - those of container
    ) -> RunningContainer:
        """Start a container, with the options of `rootless_scratch.container`; it is ready when this returns."""


@pytest.fixture(scope="session")
def scratch_image() -> Iterator[ImageFactory]:
    """Build images of programs into local storage; they are removed at the end of the session.

    `scratch_image("build/server", essentials=["tmp"])` takes the options of `rootless_scratch.build` but `tag`.
    """
    family = f"scratch-pytest-{os.urandom(6).hex()}"
    built: list[tuple[str, dict[str, str]]] = []

    def build_image(*programs: str | os.PathLike[str], **options: Any) -> Image:  # noqa: ANN401 - those of build
        from rootless_scratch.api import build
        from rootless_scratch.host.environment import tool_environment

        name = f"{family}:{len(built) + 1}"
        # The store is that of this moment, whatever a test makes of the environment later.
        built.append((name, dict(tool_environment().variables)))
        return build(*programs, tag=name, **options)

    yield build_image
    for name, variables in reversed(built):
        _remove(name, variables)


@pytest.fixture
def scratch_container(request: pytest.FixtureRequest) -> Iterator[ContainerFactory]:
    """Start containers, which are ended and removed at the end of the test, the last one first.

    `scratch_container(image, publish={8080: None})` takes the options of `rootless_scratch.container`. Where the
    test fails, the end of what they said is shown.
    """
    with ExitStack() as stack:

        def start(image: str | Image, arguments: Sequence[str] = (), **options: Any) -> RunningContainer:  # noqa: ANN401 - those of container
            from rootless_scratch.api import container

            running = stack.enter_context(container(image, arguments, **options))
            stack.callback(_report, request.node, running)
            return running

        yield start


def _report(item: pytest.Item, running: RunningContainer) -> None:
    output = running.last_words(stdout=True).decode("utf-8", "replace")
    if output:
        item.add_report_section("teardown", f"container {running.name}", output)


def _remove(name: str, variables: dict[str, str]) -> None:
    """Remove an image by its name, with containers that a test has kept of it; nothing where it is not there."""
    from rootless_scratch import command

    argv = ("podman", "rmi", "--force", "--ignore", name)
    command.ask(argv, environment=variables, timeout=_REMOVAL_PATIENCE)
