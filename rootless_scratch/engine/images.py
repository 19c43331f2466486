"""The images that the service knows, asked by podman-py: where a name was mistyped, and time is no matter."""

from __future__ import annotations

from rootless_scratch.image.names import near_names


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
