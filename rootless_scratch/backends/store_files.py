"""What the files of image storage tell without buildah: images, their names, and whether all of one is there.

They are read, never written, and only to find that nothing is left to be done: whatever is not as expected is for
buildah to answer (docs/decisions/0024-nothing-to-build.md).
"""

from __future__ import annotations

import os

from rootless_scratch import sums
from rootless_scratch.backends.caller import Failed

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from rootless_scratch.backends.jobs import ExpectedConfig

_SUFFIX = "-images"


def setting_files(variables: Mapping[str, str]) -> Iterator[str]:
    """Where the settings of storage may stand: containers-storage.conf(5)."""
    if named := variables.get("CONTAINERS_STORAGE_CONF"):
        yield named
    yield f"{variables.get('XDG_CONFIG_HOME') or variables['HOME'] + '/.config'}/containers/storage.conf"
    yield from ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")


def named_already(images: str, image_id: str, names: Sequence[str]) -> tuple[str, str] | None:
    """Config and manifest of an image that is whole and has all these names; None where there is any doubt.

    `images` is the directory where a driver keeps its images, the only one with images of its graph root.
    """
    import json

    above, name = os.path.split(images)
    driver = name.removesuffix(_SUFFIX)
    try:
        if [each for each in os.listdir(above) if each.endswith(_SUFFIX)] != [name]:
            return None
        with open(f"{images}/images.json", "rb") as file:
            found = json.load(file)
        [image] = [each for each in found if each["id"] == image_id]
        there = [each for image in found for each in image.get("names") or ()]
        if any(there.count(each) != 1 or each not in image["names"] for each in names):
            return None
        with open(f"{above}/{driver}-layers/layers.json", "rb") as file:
            [layer] = [each for each in json.load(file) if each["id"] == image["layer"]]
        texts = stored_texts(images, image_id)
        if texts is None or not _is_whole(f"{above}/{driver}", layer, json.loads(texts[0])):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return texts


def _is_whole(driver: str, layer: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether this is the one layer of an image, and its files are where the driver has them."""
    if layer.get("parent") or layer.get("flags") or config["rootfs"]["diff_ids"] != [layer["diff-digest"]]:
        return False
    directories = {"vfs": "dir/{}", "overlay": "{}/diff"}
    return os.path.isdir(f"{driver}/{directories[os.path.basename(driver)].format(layer['id'])}")


def stored_texts(images: str | None, image_id: str) -> tuple[str, str] | None:
    """The config and the manifest in the store's files; None where they do not prove to be right."""
    from binascii import b2a_base64

    if images is None:
        return None
    folder = os.path.join(images, image_id)
    key = b2a_base64(f"sha256:{image_id}".encode(), newline=False).decode()
    try:
        with open(os.path.join(folder, "=" + key), "rb") as file:
            config = file.read()
        with open(os.path.join(folder, "manifest"), "rb") as file:
            manifest = file.read()
    except OSError:
        return None
    return (config.decode(), manifest.decode()) if sums.digest(config) == image_id else None


def verify(expected: ExpectedConfig, config_text: str) -> None:
    """The image must say what was planned: buildah's flags have a syntax of their own, this has none."""
    import json

    found = json.loads(config_text)
    found.pop("rootfs", None)
    found.pop("history", None)
    wanted: dict[str, Any] = {key: value for key, value in expected.__dict__.items() if value is not None}
    wanted.setdefault("created", found.get("created"))
    if "WorkingDir" not in wanted["config"] and (found.get("config") or {}).get("WorkingDir") == "/":
        # From 1.39 on buildah has none without it, and it means the same.
        del found["config"]["WorkingDir"]
    if found != wanted:
        # The keys alone: values of variables may be secrets, and what is told goes into logs.
        ours, theirs = ({**each, **(each.get("config") or {}), "config": None} for each in (found, wanted))
        shown = ", ".join(sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)))
        raise Failed(
            "build",
            f"buildah wrote a config that differs from the plan ({shown}).",
            "Build again if something else built an image of this name at the same moment; else this is a fault "
            "of this tool or of this buildah version: please report it with the line above.",
        )
