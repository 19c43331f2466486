"""An image of a registry, fetched by skopeo to be read: into a layout of this call alone, byte for byte."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from rootless_scratch import command
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.oci import INDEX, MANIFEST, descriptor, digest_of, encode
from rootless_scratch.image.references import Reference, parse_remote
from rootless_scratch.image.write.layout import BLOBS, INDEX_FILE, VERSION, VERSION_FILE
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import Access
from rootless_scratch.ship.registry import Attempts, reachable_logins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.elf.platforms import Platform

_FETCHED = "fetched"


@contextmanager
def fetched(
    name: str,
    access: Access | None,
    *,
    platform: Platform | None,
    every: bool,
    limits: Mapping[str, int] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Reference]:
    """The layout that has what `docker://HOST/NAME[:TAG][@DIGEST]` names; it is gone afterwards.

    Of an index that is the image for `platform`, by default this host's, or `every` one of them. What was tried
    again is noted by `progress`. Raises UsageError, RegistryError, LimitError, HostError.
    """
    access, remote = access or Access(), parse_remote(name)
    command.require("skopeo")
    access.check()
    environment = tool_environment().variables
    with private_temporary(environment) as made:
        variables = {**environment, "TMPDIR": made.path}
        logins = reachable_logins(variables, made.path)
        download = _Download(
            os.path.join(made.path, _FETCHED), remote.path, Budget(name, limits or DEFAULTS), progress
        )
        attempts = Attempts(
            remote.path, made.path, logins, access.retries, progress, [], is_reading=True, on_pause=download.look
        )
        progress.step(f"fetching {remote.path}")
        attempts.follow(
            *(() if platform is None else _overrides(platform)),
            *("copy", "--preserve-digests", *(("--all",) if every else ())),
            *access.flags(prefix="src-"),
            *(f"docker://{remote.path}", f"dir:{_FETCHED}"),
        )
        download.look()
        for note in attempts.notes:
            progress.note(note)
        layout = os.path.join(made.path, "layout")
        _make_layout(os.path.join(made.path, _FETCHED), layout)
        yield Reference(text=name, transport="oci", path=layout, ref=None)


class _Download(NamedTuple):
    """What has come so far."""

    directory: str
    name: str
    budget: Budget
    progress: Progress

    def look(self) -> None:
        """Say how much it is; raises LimitError where it is too much, or takes too long."""
        size = 0
        try:
            with os.scandir(self.directory) as listing:
                for item in listing:
                    with suppress(FileNotFoundError):
                        size += item.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return
        self.budget.check_download(size)
        self.progress.step(f"fetching {self.name}: {size / 1e6:,.1f} MB")


def _overrides(platform: Platform) -> Iterator[str]:
    for name, value in (("os", platform.os), ("arch", platform.architecture), ("variant", platform.variant)):
        if value is not None:
            yield f"--override-{name}={value}"


def _make_layout(directory: str, layout: str) -> None:
    """Make a layout of what skopeo writes to `dir:`, which has manifests in files of other names."""
    os.makedirs(os.path.join(layout, BLOBS))
    with open(os.path.join(directory, "manifest.json"), "rb") as file:
        manifest = file.read()
    os.remove(os.path.join(directory, "version"))
    for name in os.listdir(directory):
        digest = digest_of(manifest).removeprefix("sha256:") if name == "manifest.json" else name.partition(".")[0]
        os.rename(os.path.join(directory, name), os.path.join(layout, BLOBS, digest))
    held = json.loads(manifest)
    kind = held.get("mediaType") or (INDEX if "manifests" in held else MANIFEST)
    named = descriptor(kind, digest_of(manifest), len(manifest))
    index = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]})
    for name, content in ((INDEX_FILE, index), (VERSION_FILE, VERSION)):
        with open(os.path.join(layout, name), "wb") as file:
            file.write(content)
