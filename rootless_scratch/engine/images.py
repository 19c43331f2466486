"""The images that the service knows, asked by podman-py: where a name was mistyped, and time is no matter."""

from __future__ import annotations

from difflib import get_close_matches


def near_names(socket: str, wanted: str) -> tuple[str, ...]:
    """Names of images that read much like `wanted`, the nearest first; none where the service does not tell."""
    from podman import PodmanClient
    from podman.errors import PodmanError

    try:
        with PodmanClient(base_url=f"unix://{socket}") as client:
            names = [tag for image in client.images.list() for tag in image.tags]
    except (PodmanError, OSError):
        return ()
    # A user leaves out what podman adds: the host of local images, and the tag.
    short = {name.removeprefix("localhost/").removesuffix(":latest"): name for name in names}
    return tuple(short[word] for word in get_close_matches(wanted, short, n=2))
