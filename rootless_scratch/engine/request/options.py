"""The options of a run, read into a Request and checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.keywords import Options

NETWORKS = ("none", "host", "private", "slirp4netns", "pasta", "bridge")

DETACH_KEYS = "ctrl-p,ctrl-q"
"""What podman and docker have for a terminal."""

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"


def request(image: str, arguments: Sequence[str], options: Options) -> Request:
    """Read and check what was asked; raises UsageError."""
    if not image:
        raise UsageError("No image was named.", fix="Name one, for example `rootless-scratch run hello`.")
    bare = Request(image=image, arguments=texts("arguments", arguments))
    asked = bare.given({"detach_keys": DETACH_KEYS, **options}, "A run")
    _check(asked)
    return asked


def _check(asked: Request) -> None:
    if asked.network is not None and not re.fullmatch(_NAME, asked.network):
        raise UsageError(
            f"--network {asked.network!r} is not known.",
            fix=f"Use one of {', '.join(NETWORKS)}, or the name of a network that podman knows.",
        )
    if asked.ports and asked.network in ("none", "host"):
        raise UsageError(
            f"Ports cannot be published with --network {asked.network}.",
            fix="Leave out --publish: with host its ports are the host's, with none there are none.",
        )
    if asked.name is not None and not re.fullmatch(_NAME, asked.name):
        raise UsageError(
            f"--name {asked.name!r} is no name of a container.",
            fix="Use letters and digits, then `_.-` as well.",
        )
    if asked.replace and asked.name is None:
        raise UsageError("--replace replaces the container of a name.", fix="Say which one: --name NAME.")
    if (
        asked.userns is not None
        and re.fullmatch(r"host|keep-id(:[ug]id=\d+(,[ug]id=\d+)?)?", asked.userns) is None
    ):
        raise UsageError(
            f"--userns {asked.userns!r} is not known.", fix="Use host, keep-id or keep-id:uid=65532,gid=65532."
        )
    if asked.workdir is not None and not asked.workdir.startswith("/"):
        raise UsageError(f"--workdir {asked.workdir!r} is no absolute path.", fix="Begin it with `/`.")
    _check_places(asked)
    _check_words(asked)


def _check_places(asked: Request) -> None:
    targets = [mount.target.rstrip("/") for mount in asked.mounts]
    targets += [memory.target.rstrip("/") for memory in asked.memories]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"Two things are to be mounted at {twice}.", fix="Name each place in the container once.")


def _check_words(asked: Request) -> None:
    for word in _words(asked):
        check_text(word)
    for name, _ in asked.env:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of a variable.", fix="Use a name without `=`.")


def _words(plain: object) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, (tuple, Value)):
        for each in vars(plain).values() if isinstance(plain, Value) else plain:
            yield from _words(each)


def check_text(word: str) -> None:
    """What goes into JSON must be text: the service would turn other bytes into question marks unasked."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{word!r} is not UTF-8, and podman's API can carry nothing else.", fix="Use names in UTF-8."
        ) from error
    if "\0" in word:
        raise UsageError(f"{word!r} has a NUL byte in it.", fix="Leave the NUL byte out.")
