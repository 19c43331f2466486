"""The config of an image as data, and as the JSON of OCI image-spec v1.1, config.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rootless_scratch.elf.searching import Start

USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What podman and docker set for images without a PATH of their own."""

_LONGEST_VARIABLE = 128 << 10


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime needs to start the image; None and empty mean absent.

    `healthcheck` is that of images which docker's tools made, `CMD` or `CMD-SHELL` first; OCI has no key for it.
    `beyond_oci` are such keys of docker, with their values, that the image is to have all the same.
    """

    user: str
    env: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    working_dir: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str | None
    healthcheck: tuple[str, ...] = ()
    beyond_oci: tuple[tuple[str, object], ...] = ()

    def search_path(self) -> tuple[str, ...]:
        """The directories in which a runtime looks for a command without a slash.

        None in one that is too long for the kernel to start anything with: MAX_ARG_STRLEN of execve(2).
        """
        path = dict(self.env).get("PATH", USUAL_PATH)
        return tuple(path.split(":")) if len(path) < _LONGEST_VARIABLE else ("",)

    def start(self) -> Start:
        """What environment and working directory tell the loader of a program: ld.so(8)."""
        from rootless_scratch.elf.searching import Start

        return Start.of(self.env, self.working_dir)

    def argv(self) -> tuple[str, ...]:
        """What is started where the caller adds no arguments: entrypoint and command."""
        return (self.entrypoint or ()) + (self.cmd or ())

    def as_oci(self) -> dict[str, object]:
        """The object `config`, with the keys of the specification; what is empty is left out."""
        keys: dict[str, object] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.ports},
            "Env": [f"{name}={value}" for name, value in self.env],
            "Entrypoint": list(self.entrypoint or ()),
            "Cmd": list(self.cmd or ()),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            **dict(self.beyond_oci),
        }
        return {key: value for key, value in keys.items() if value}


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An image's config without its layers; `created` None stands for the moment of the build.

    `history` says how the one layer was made, a line for each step; empty for an image that does not tell.
    """

    created: str | None
    architecture: str
    os: str
    variant: str | None
    config: RuntimeConfig
    author: str | None = None
    history: tuple[str, ...] = ()

    def as_oci(self) -> dict[str, object]:
        """The config's JSON object, `rootfs` and `history` left out."""
        keys = msgspec.structs.asdict(self) | {"config": self.config.as_oci()}
        del keys["history"]
        return {key: value for key, value in keys.items() if value is not None or key == "created"}
