"""What is mounted into a container of a run: the values of `--volume`, `--mount` and `--tmpfs`."""

from __future__ import annotations

import os
import re

from rootless_scratch.engine.request.request import Memory, Mount
from rootless_scratch.errors import UsageError

_VOLUME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_KEPT = ("z", "Z", "U", "noexec", "exec", "copy", "nocopy", "bind", "rbind")
_OURS = ("nosuid", "nodev", "rprivate", "private")
"""What each mount is, whether said or not."""

_TMPFS = r"r[ow]|(no)?(exec|suid|dev)|size=\d+[kmg%]?|mode=[0-7]{3,4}|[ug]id=\d+"
_SAME = {"source": "src", "destination": "dst", "target": "dst", "readonly": "ro", "tmpfs-size": "size"}
_SAME |= {"tmpfs-mode": "mode", "chown": "U", "bind-propagation": "propagation"}
"""Other names of keys, as podman and docker have them."""

_BIND, _NAMED, _MEMORY = "bind", "volume", "tmpfs"
_KEYS = {
    _BIND: {"src", "dst", "ro", "rw", "relabel", "U", "z", "Z", "propagation", "exec", "noexec", *_OURS},
    _NAMED: {"src", "dst", "ro", "rw", "U", "exec", "noexec", *_OURS},
    _MEMORY: {"dst", "ro", "rw", "size", "mode", "exec", "noexec", *_OURS},
}
_SWITCH = {"": True, "true": True, "1": True, "false": False, "0": False}


def parse_volume(value: str) -> Mount:
    """`HOST:CONTAINER[:OPTION,...]`, or `CONTAINER` alone for a new volume.

    A HOST without any `/` and `.` in front is the name of a podman volume.
    """
    source, target, *rest = value.split(":") if ":" in value else ("", value)
    options = tuple(rest[0].split(",")) if rest else ()
    if not target.startswith("/") or target.strip("/") == "" or len(rest) > 1 or (":" in value and not source):
        raise UsageError(
            f"--volume {value!r} is not valid.",
            fix="Write HOST:CONTAINER, or the same followed by :ro or :rw; CONTAINER is an absolute path.",
        )
    unknown = [each for each in options if each not in ("ro", "rw", *_KEPT, *_OURS)]
    if unknown:
        raise UsageError(
            f"--volume {value!r} has the option {unknown[0]!r}, which {_why(unknown[0])}.",
            fix="Use ro, rw, z, Z, U, exec or noexec, with commas between.",
        )
    if "ro" in options and "rw" in options:
        raise UsageError(f"--volume {value!r} has both ro and rw.", fix="Leave one of them out.")
    return _mount(f"--volume {value!r}", source, target, "ro" in options, options)


def _why(option: str) -> str:
    if option in ("suid", "dev"):
        return "a hardened run does not allow"
    return "has no effect that a run could promise" if option in ("O", "idmap") else "is not known"


def _mount(what: str, source: str, target: str, read_only: bool, options: tuple[str, ...]) -> Mount:
    if source.startswith((".", "/")):
        source = os.path.abspath(source)
    elif source and re.fullmatch(_VOLUME, source) is None:
        raise UsageError(
            f"{what}: {source!r} is neither a path nor the name of a volume.",
            fix="Start a path with `/` or `./`; a volume's name has letters, digits and `_.-` only.",
        )
    kept = tuple(dict.fromkeys(each for each in options if each in _KEPT))
    return Mount(source=source, target=target, read_only=read_only, options=kept)


def parse_mount(value: str) -> Mount | Memory:
    """`type=bind|volume|tmpfs,KEY[=VALUE],...`, as `podman run --mount`."""
    what = f"--mount {value!r}"
    found: dict[str, str] = {}
    for part in value.split(","):
        key, _, text = part.partition("=")
        found[_SAME.get(key, key)] = text
    kind = found.pop("type", _NAMED)
    if kind not in _KEYS:
        raise UsageError(
            f"{what} has the type {kind!r}, which a run does not have.", fix="Use bind, volume or tmpfs."
        )
    unknown = sorted(set(found) - _KEYS[kind])
    if unknown:
        raise UsageError(
            f"{what} has {unknown[0]!r}, which a mount of type {kind} does not have.",
            fix=f"There are {', '.join(sorted(_KEYS[kind] - set(_OURS)))}.",
        )
    on = {
        key: _SWITCH.get(text)
        for key, text in found.items()
        if key in ("ro", "rw", "U", "exec", "noexec", "z", "Z")
    }
    target, source = found.get("dst", ""), found.get("src", "")
    wrong = next((key for key, switch in on.items() if switch is None), None)
    if wrong is not None or not target.startswith("/") or target.strip("/") == "":
        raise UsageError(
            f"{what} has no dst that is an absolute path."
            if wrong is None
            else f"{what}: {wrong} is true or false.",
            fix="Write type=bind,src=/data,dst=/data,ro or type=volume,src=NAME,dst=/data or type=tmpfs,dst=/tmp.",
        )
    if kind == _BIND and not source.startswith((".", "/")):
        raise UsageError(f"{what} has no src that is a path.", fix="Start it with `/` or `./`: src=./data.")
    if kind == _NAMED and source.startswith((".", "/")):
        raise UsageError(f"{what}: {source!r} is a path, not the name of a volume.", fix="Write type=bind.")
    read_only = bool(on.get("ro")) or on.get("rw") is False
    if kind == _MEMORY:
        options = [f"{key}={found[key]}" for key in ("size", "mode") if key in found]
        options += ["ro"] if read_only else []
        options += [key for key in ("exec", "noexec") if on.get(key)]
        return parse_tmpfs(f"{target}:{','.join(options)}")
    if found.get("relabel", "shared") not in ("shared", "private"):
        raise UsageError(f"{what}: relabel is shared or private.", fix="Write relabel=private for this one alone.")
    if found.get("propagation", "rprivate") not in ("private", "rprivate"):
        raise UsageError(
            f"{what}: mounts of a run do not propagate.", fix="Leave bind-propagation out, or write rprivate."
        )
    options = [key for key in ("U", "z", "Z", "exec", "noexec") if on.get(key)]
    options += [{"shared": "z", "private": "Z"}[found["relabel"]]] if "relabel" in found else []
    return _mount(what, source, target, read_only, tuple(options))


def parse_tmpfs(value: str) -> Memory:
    """`CONTAINER[:OPTION,...]` with the options of tmpfs: `size=64m`, `mode=0700`, `noexec`, `ro`."""
    target, _, options = value.partition(":")
    found = tuple(option for option in options.split(",") if option)
    known = all(re.fullmatch(_TMPFS, option, re.IGNORECASE) for option in found)
    if not target.startswith("/") or target.strip("/") == "" or not known:
        raise UsageError(
            f"--tmpfs {value!r} is not valid.",
            fix="Write CONTAINER, an absolute path, or the same with options: /cache:size=64m,mode=0700,noexec.",
        )
    return Memory(target=target, options=found)
