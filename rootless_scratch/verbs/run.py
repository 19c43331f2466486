"""`run`: an image runs to its end, and where it does not do what it should, the rules say why."""

from __future__ import annotations

import contextlib
import os

from rootless_scratch.engine.run import run
from rootless_scratch.errors import HostError, ImageNotFoundError, UsageError
from rootless_scratch.verbs.explain import Started, explained, explaining
from rootless_scratch.verbs.unstored import is_unstored, provide, unstored

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import ContainerOptions, Options


def run_image(
    image: str | os.PathLike[str] | Image,
    arguments: Sequence[str],
    options: Options,
    *,
    opening: Opening | None = None,
    **how: Any,  # noqa: ANN401 - the other keywords of engine.run
) -> RunResult:
    """See rootless_scratch.api.run; `how` says where the streams go, as in rootless_scratch.engine.run."""
    if options.get("unpacked"):
        from rootless_scratch.verbs.bare import run_bare

        if opening is not None:
            opening.close()
        return run_bare(image, arguments, options, **how)
    with _offering_bare(image), stored(image, options, opening) as (name, begun, notes):
        for sentence in notes if how.get("say") is not None else ():
            how["say"](sentence)
        started = Started.of(name, arguments, options)
        with explaining(started):
            result = run(started.image, started.arguments, opening=begun, **how, **options)
    if notes:
        result = result.but(notes=(*notes, *result.notes))
    return explained(result, started)


@contextlib.contextmanager
def _offering_bare(image: str | os.PathLike[str] | Image) -> Iterator[None]:
    """To an error for want of a user namespace is added what needs none; it is never chosen unasked."""
    try:
        yield
    except HostError as error:
        if not error.rule.startswith("host-user-namespaces"):
            raise
        name = str(image) if is_unstored(image) else "oci:DIR"
        before = "" if is_unstored(image) else "`rootless-scratch build -o oci:DIR` writes the image without one, "
        way = f"{before}`rootless-scratch check {name}` judges it, and `rootless-scratch run --unpacked {name}` "
        # It stays the error that it is.
        error.fix += f" Without a container, {way}starts it, isolated from nothing."
        raise


@contextlib.contextmanager
def stored(
    image: str | os.PathLike[str] | Image, options: ContainerOptions, opening: Opening | None
) -> Iterator[tuple[str | Image, Opening | None, tuple[str, ...]]]:
    """The image of storage that a subject names, an Opening that was begun for it, and what is to be noted.

    A program file, a layout and an archive are brought into storage; `options` lose what that has answered.
    Raises what `build` and reading raise, EngineError.
    """
    essentials = options.pop("essentials", ())
    if not is_unstored(image):
        if essentials:
            raise UsageError(
                "--with is for a program file, and an image of storage has its own.",
                fix="Run a file, `rootless-scratch run ./program`, or build the image with it.",
            )
        try:
            yield image, opening, ()  # type: ignore[misc] # a path is unstored
        except ImageNotFoundError as error:
            if not (isinstance(image, str) and os.path.isfile(image)):
                raise
            raise ImageNotFoundError(
                error.message, fix=f"The file of this name is run by its path: ./{image}. {error.fix}"
            ) from error
        return
    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.engine.request.options import request_of
    from rootless_scratch.image.arguments import text

    subject = text("the image", image)
    if isinstance(image, os.PathLike) and not os.path.isabs(subject):
        subject = os.path.join(".", subject)
    # What is wrong with the options is told before anything is made.
    request = request_of(subject, (), dict(options))  # type: ignore[arg-type] # of those of a run
    options.pop("pull", None)
    keep = request.keep_service
    with contextlib.closing(opening or Opening(request.destination, keep=keep)) as begun:
        begun.turn_to(request.destination, keep=keep)
        found = unstored(subject, essentials=essentials, platform=options.get("platform"))
        name, notes = provide(begun.service(), found)
        yield name, begun, notes
