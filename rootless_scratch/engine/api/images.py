"""The images that the service knows: whether one is there and right, pulled only where that was asked for.

Near names are asked by podman-py: where a name was mistyped, time is no matter.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rootless_scratch.engine.api.http import quoted
from rootless_scratch.errors import EngineError, ImageNotFoundError
from rootless_scratch.image.names import near_names

if TYPE_CHECKING:
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.engine.api.http import Client
    from rootless_scratch.engine.request.request import Request

_NOT_FOUND = 404
_PULL_PATIENCE = 600.0
"""Seconds between two pieces of a download's progress."""


def names_near(socket: str, wanted: str) -> tuple[str, ...]:
    """Names of images that read much like `wanted`, the nearest first; none where the service does not tell."""
    from podman import PodmanClient
    from podman.errors import PodmanError

    try:
        with PodmanClient(base_url=f"unix://{socket}") as client:
            names = [tag for image in client.images.list() for tag in image.tags]
    except (PodmanError, OSError):
        return ()
    return near_names(wanted, names)


def config_of(client: Client, image: str) -> dict[str, Any] | None:
    """What podman's `image inspect` says of it; None where it is not there, or its name is none."""
    response = client.request("GET", f"/images/{quoted(image)}/json")
    found = response.json() if response.ok else None
    return found if isinstance(found, dict) else None


def is_image(found: dict[str, Any], *, image_id: str, digest: str) -> bool:
    """Whether what `config_of` answers is this image, by its ID and a digest that podman notes of its manifest."""
    noted = {str(each).rpartition("@")[2] for each in (found.get("Digest"), *(found.get("RepoDigests") or ()))}
    return found.get("Id") == image_id and digest in noted


def load(client: Client, path: str) -> None:
    """Load the archive of an image; raises EngineError where the service does not take it."""
    with open(path, "rb") as archive:
        response = client.request("POST", "/images/load", archive.read())
    fix = "Make room in local storage (`podman system df`), and run it again."
    response.expect("podman does not load our image", fix=fix)


def provide(client: Client, request: Request) -> None:
    """Pull the image where `--pull` asks for it and storage lacks it; see that it is of the platform asked for.

    Raises ImageNotFoundError, EngineError.
    """
    found = config_of(client, request.image)
    if request.pull and (found is None or not _fits(found, request.platform)):
        _pull(client, request)
        found = config_of(client, request.image)
    if found is not None and not _fits(found, request.platform):
        here = "/".join(filter(None, (found.get("Os"), found.get("Architecture"), found.get("Variant"))))
        raise ImageNotFoundError(
            f"The image {request.image!r} in local storage is for {here}, not for {request.platform}.",
            fix="Build it of programs for that platform, pull it with --pull, or leave out --platform.",
        )


def _fits(found: dict[str, Any], platform: Platform | None) -> bool:
    if platform is None:
        return True
    same = (found.get("Os"), found.get("Architecture")) == (platform.os, platform.architecture)
    return same and platform.variant in (None, found.get("Variant") or "")


def _pull(client: Client, request: Request) -> None:
    target = f"/images/pull?reference={quoted(request.image)}&policy=always"
    if request.platform is not None:
        of = request.platform
        for name, value in (("OS", of.os), ("Arch", of.architecture), ("Variant", of.variant)):
            target += f"&{name}={quoted(value)}" if value else ""
    response = client.request("POST", target, patience=_PULL_PATIENCE)
    # Once the download has begun, errors come in the stream, below the status 200.
    problem = None if response.ok else response.refusal()
    for line in response.body.splitlines() if response.ok else ():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        problem = report.get("error") or problem
    if problem:
        raise EngineError(
            f"The image {request.image!r} could not be pulled: {problem.strip().rstrip('.')}.",
            fix="Check the name and the network; `podman login` where the registry asks for an account.",
        )
