"""What `build -f` and `buildah build` make of one context, compared; what differs on purpose is listed here alone.

docs/containerfile.md has the same list for readers.
"""

from __future__ import annotations

import re
from copy import deepcopy
from posixpath import normpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from layouts import Built, Node

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEVER_THE_SAME = ("created", "history", "rootfs")
"""Keys of the config that name times, what buildah calls its steps, and layers with times in them."""

SIGNALS = {"term": "SIGTERM"}
"""The stop signal of a test that is not written as signal(7) has it."""

ONLY_WITH_COMPAT = {
    "copy-pattern-without-slash": "a pattern of several files makes a directory, and not one file, the last",
    "volume-at-the-end": "VOLUME makes no directory, wherever it stands",
}
"""Tests whose files are others on purpose, and why; with --compat buildah they are the same too."""


def default_user(inner: dict[str, Any]) -> None:
    """Without USER: nobody's number, not root."""
    inner.setdefault("User", "65532:65532")


def no_default_path(inner: dict[str, Any]) -> None:
    """No PATH that the file does not set: there is nothing in an image from scratch that it could name."""
    inner["Env"] = [each for each in inner.get("Env", []) if each != PATH]


def default_working_directory(inner: dict[str, Any]) -> None:
    """Without WORKDIR: `/`, which runtimes take anyway."""
    inner.setdefault("WorkingDir", "/")


def single_ports(inner: dict[str, Any]) -> None:
    """Ports one by one, with the protocol in small letters."""
    ports: dict[str, dict[str, str]] = {}
    for port in inner.get("ExposedPorts", {}):
        first, last, protocol = re.fullmatch(r"(\d+)(?:-(\d+))?/(\w+)", port).groups()  # type: ignore[union-attr]
        for number in range(int(first), int(last or first) + 1):
            ports[f"{number}/{protocol.lower()}"] = {}
    inner["ExposedPorts"] = ports


def signal_by_name(inner: dict[str, Any]) -> None:
    """A stop signal by its name, which every runtime knows."""
    if "StopSignal" in inner:
        inner["StopSignal"] = SIGNALS.get(inner["StopSignal"], inner["StopSignal"])


def paths_in_one_form(inner: dict[str, Any]) -> None:
    """Paths without double slashes, dots and a slash at their end."""
    inner["WorkingDir"] = normpath(inner["WorkingDir"])
    inner["Volumes"] = {normpath(path): {} for path in inner.get("Volumes", {})}


INTENDED: tuple[Callable[[dict[str, Any]], None], ...] = (
    default_user,
    no_default_path,
    default_working_directory,
    single_ports,
    signal_by_name,
    paths_in_one_form,
)
"""What turns the config that buildah writes into ours; none of them with `--compat buildah`."""


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what cannot be the same, and without keys that have no value."""
    config = deepcopy(config)
    for key in NEVER_THE_SAME:
        config.pop(key, None)
    if (config["architecture"], config.get("variant")) == ("arm64", "v8"):
        # The only variant of arm64 that there is: a program tells it, and buildah does not ask one.
        del config["variant"]
    labels = config.get("config", {}).get("Labels") or {}
    labels.pop("io.buildah.version", None)
    config["config"] = {key: value for key, value in config.get("config", {}).items() if value}
    # From 1.39 on buildah says `/` where nothing does, and leaves the last slash out.
    directory = config["config"].pop("WorkingDir", "/").rstrip("/")
    if directory:
        config["config"]["WorkingDir"] = directory
    if "Env" in config["config"]:
        config["config"]["Env"].sort()
    return {key: value for key, value in config.items() if value}


def intended(config: dict[str, Any]) -> dict[str, Any]:
    """The config that we write where buildah writes this one."""
    config = deepcopy(config)
    for change in INTENDED:
        change(config.setdefault("config", {}))
    return config


def differences(theirs: Built, ours: Built, *, compat: str | None = None, times: bool = True) -> list[str]:
    """Every file and every key of the config that is not as buildah has it, `theirs -> ours`.

    With `compat` times are compared too, unless buildah built another file with the same result.
    """
    wanted = comparable(theirs.config if compat == "buildah" else intended(theirs.config))
    found = of_keys("", wanted, comparable(ours.config))
    found += of_files(theirs.files, ours.files)
    if compat == "buildah" and times:
        # Directories that the build makes itself have the time of the build.
        found += [
            f"{path}: changed at {mtime} -> {ours.mtimes[path]}"
            for path, mtime in theirs.mtimes.items()
            if path in ours.mtimes and is_of_context(mtime) != is_of_context(ours.mtimes[path])
        ]
    return found


def is_of_context(mtime: int) -> int | None:
    """A time of the tests' contexts; None is that of the build."""
    return mtime if mtime < LATEST else None


LATEST = 1_750_000_000


def of_keys(at: str, theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    found = []
    for key in sorted({*theirs, *ours}):
        one, other = theirs.get(key), ours.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += of_keys(f"{at}{key}.", one, other)
        elif one != other:
            found.append(f"{at}{key}: {one!r} -> {other!r}")
    return found


def of_files(theirs: dict[str, Node], ours: dict[str, Node]) -> list[str]:
    found = []
    for path in sorted({*theirs, *ours}):
        one, other = theirs.get(path), ours.get(path)
        if one is None or other is None:
            found.append(f"{path}: {one.type if one else 'missing'} -> {other.type if other else 'missing'}")
            continue
        for name, value, now in zip(one._fields, one, other, strict=True):
            # No builder can choose the mode of a link.
            if value != now and not (name == "mode" and one.type == other.type == "symlink"):
                shown = (oct(value), oct(now)) if name == "mode" else (value, now)  # type: ignore[arg-type]
                found.append(f"{path}: {name} {shown[0]} -> {shown[1]}")
    return found
