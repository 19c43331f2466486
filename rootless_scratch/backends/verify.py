"""A Plan beside an image that is there: the same one, or what differs, file by file and key by key."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rootless_scratch.backends.direct import planned_image
from rootless_scratch.backends.open_image import platforms_at, read_any, refuse_local_choice
from rootless_scratch.backends.stored import StoredFile, StoredImage
from rootless_scratch.elf.platforms import chosen_platform, host_platform, parse_platform
from rootless_scratch.errors import ImageNotFoundError, SpecError, UsageError
from rootless_scratch.image.attributes import attributes_digest
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.references import is_reference
from rootless_scratch.image.rootfs import Directory, Entry, Symlink
from rootless_scratch.image.write.layer import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan, Planned

Verdict = Literal["identical", "equal", "differs"]

_VERDICTS: tuple[Verdict, ...] = ("identical", "equal", "differs")

_ENCODING = ("rootfs", "history")
"""Keys of a config that say how an image was put together, and nothing of what it does."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What of a file (`path`) or of the config (`key`) is not as planned; None for what is not there.

    `what` of a file is missing, added, type, content, target, mode, owner, mtime, capabilities, attributes or
    link; of the config, value. Contents and attributes (`user.*`) are `sha256:` and the sum, capabilities the
    bytes of the attribute in hexadecimal, a link is the first of the names of one file. `platform` tells which
    image of an index; where one is missing or added, `key` is platform.
    """

    what: str
    planned: Any
    found: Any
    path: str | None = None
    key: str | None = None
    platform: str | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an image is what a plan makes.

    `identical`: the same image ID and files. `equal`: the same files and the same config in other bytes, as other
    builders and buildah before 1.39 write them; `reason` says which. `differs`: `differences` has all that is not
    the same.
    """

    verdict: Verdict
    image_id: str
    planned_image_id: str
    platform: str | None
    reason: str = ""
    differences: tuple[Difference, ...] = ()


def verify_all(
    plans: Sequence[Planned], image: str, files: HostFiles, *, limits: Mapping[str, int] | None = None
) -> Verification:
    """Compare with an image, or each of an index; raises what `verify` and reading do."""
    there = platforms_at(image, limits=limits)
    if len(plans) == 1:
        own = parse_platform(plans[0].plan.platform) if there and plans[0].plan.platform else None
        return verify(plans[0].plan, read_any(image, own, limits=limits), files)
    if not there:
        if not is_reference(image):
            refuse_local_choice(image)
        raise UsageError(
            f"{image!r} is one image, and the programs are for several platforms.",
            fix="Name a layout or an archive with an index, or the programs for one platform.",
        )
    planned = {str(each.platform): each.plan for each in plans}
    found = {str(platform): platform for platform in there}
    differences: list[Difference] = []
    compared = []
    for name in sorted({*planned, *found}):
        if name in planned and name in found:
            each = verify(planned[name], read_any(image, found[name], limits=limits), files)
            compared.append(each)
            differences += [msgspec.structs.replace(other, platform=name) for other in each.differences]
        else:
            what, ours, theirs = ("missing", name, None) if name in planned else ("added", None, name)
            differences.append(Difference(key="platform", what=what, planned=ours, found=theirs, platform=name))
    if not compared:
        raise ImageNotFoundError(
            f"{image} has no image for {' or '.join(planned)}.", fix=f"There are {', '.join(found)}."
        )
    here = chosen_platform(
        [parse_platform(each.platform or "") for each in compared], host_platform(os.uname().machine)
    )
    chosen = compared[here or 0]
    verdict = max((each.verdict for each in compared), key=_VERDICTS.index)
    reason = next((each.reason for each in compared if each.reason), "")
    if differences:
        return msgspec.structs.replace(chosen, verdict="differs", reason="", differences=tuple(differences))
    return msgspec.structs.replace(chosen, verdict=verdict, reason=reason)


def verify(plan: Plan, stored: StoredImage, files: HostFiles) -> Verification:
    """Make the planned image in memory, and say in what the other one is not it; raises SourceError, SpecError."""
    if plan.platform is None:
        raise SpecError(
            "The planned image has no architecture: it starts no ELF program.",
            fix="Name the programs and options that the image was built with.",
        )
    if plan.config.created is None:
        raise SpecError(
            "With `--created now` each build makes another image.",
            fix="Give the image's own time, which `inspect` shows: `--created TIME`.",
        )
    planned = planned_image(plan, files)
    planned_id = planned.config.name
    same = Verification(
        verdict="identical", image_id=stored.image_id, planned_image_id=planned_id, platform=stored.platform
    )
    layers = [layer.digest for layer in planned.layers]
    # An ID is the sum of the config, which only claims what the layers are.
    if stored.image_id == planned_id and [layer.digest for layer in stored.layers] == layers:
        return same
    config = _config(json.loads(planned.config.content), json.loads(stored.config))
    differences = (*_files(plan, stored, files), *config)
    if differences:
        return msgspec.structs.replace(same, verdict="differs", differences=differences)
    if stored.image_id == planned_id:
        return same
    return msgspec.structs.replace(same, verdict="equal", reason=_reason(layers, stored))


def _reason(diff_ids: list[str], stored: StoredImage) -> str:
    if [layer.diff_id for layer in stored.layers] == diff_ids:
        return "the same files and config, but the config is written in other bytes: built by another tool"
    if len(stored.layers) != 1:
        return f"the same files and config, but in {len(stored.layers)} layers: built by another tool"
    return "the same files and config, but another layer encoding: built by buildah before 1.39, or another tool"


def _files(plan: Plan, stored: StoredImage, files: HostFiles) -> Iterator[Difference]:
    planned = {entry.path: entry for entry in plan.rootfs}
    found = {file.path: file for file in stored.files}
    for path in sorted({*planned, *found}, key=lambda each: os.fsencode(each).split(b"/")):
        if path not in found:
            kind = _as_stored(planned[path], plan.mtime).type
            yield Difference(path=path, what="missing", planned=kind, found=None)
        elif path not in planned:
            yield Difference(path=path, what="added", planned=None, found=found[path].type)
        else:
            yield from _file(_as_stored(planned[path], plan.mtime), found[path], planned[path], files)


def _as_stored(entry: Entry, mtime: int) -> StoredFile:
    """An entry as it would be read back, but for the sum of its content, which takes time."""
    found = StoredFile(path=entry.path, type="file", mode=entry.mode, uid=entry.uid, gid=entry.gid, mtime=mtime)
    attributes = None if isinstance(entry, Symlink) else attributes_digest(entry.xattrs)
    if isinstance(entry, Directory):
        return msgspec.structs.replace(found, type="directory", attributes=attributes)
    if isinstance(entry, Symlink):
        return msgspec.structs.replace(found, type="symlink", target=entry.target)
    value = encode_capabilities(entry.capabilities).hex() if entry.capabilities else None
    return msgspec.structs.replace(
        found, size=entry.identity.size, capabilities=value, attributes=attributes, linked=entry.linked
    )


def _file(planned: StoredFile, found: StoredFile, entry: Entry, files: HostFiles) -> Iterator[Difference]:
    def differs(what: str, ours: object, theirs: object) -> Iterator[Difference]:
        if ours != theirs:
            yield Difference(path=planned.path, what=what, planned=ours, found=theirs)

    if planned.type != found.type:
        yield from differs("type", planned.type, found.type)
        return
    if not isinstance(entry, (Directory, Symlink)):
        yield from differs("content", f"sha256:{file_digest(entry, files)}", f"sha256:{found.sha256}")
    yield from differs("target", planned.target, found.target)
    yield from differs("mode", f"{planned.mode:04o}", f"{found.mode:04o}")
    yield from differs("owner", f"{planned.uid}:{planned.gid}", f"{found.uid}:{found.gid}")
    yield from differs("mtime", planned.mtime, found.mtime)
    yield from differs("capabilities", planned.capabilities, found.capabilities)
    yield from differs("attributes", planned.attributes, found.attributes)
    yield from differs("link", planned.linked, found.linked)


def _config(planned: dict[str, Any], found: dict[str, Any]) -> Iterator[Difference]:
    """Keys of the config, those below `config` as `config.Env`; empty is absent, as every runtime reads it."""
    ours, theirs = _flat(planned), _flat(found)
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            yield Difference(key=key, what="value", planned=ours.get(key), found=theirs.get(key))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("config")
    flat = {key: value for key, value in config.items() if key not in (*_ENCODING, "config")}
    flat |= {f"config.{key}": value for key, value in inner.items()} if isinstance(inner, dict) else {}
    return {key: value for key, value in flat.items() if value}
