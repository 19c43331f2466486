"""`--set TARGET.KEY=VALUE` for targets of bake files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.attributes import ATTRIBUTES, Defined, once
from rootless_scratch.bakefiles.positions import Position
from rootless_scratch.bakefiles.values import Misfit, truth
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SET = re.compile(
    r"(?P<pattern>[^.=]+)\.(?P<key>[^.=+]+)(?:\.(?P<inner>[^=]+?))?(?P<adds>\+)?(?:=(?P<value>.*))?\Z", re.DOTALL
)
_ADDING = ("annotations", "attest", "entitlements")
"""Attributes to whose values those of the command line are added."""


class Setting:
    """A value of `--set` for an attribute of the targets that a pattern matches."""

    def __init__(self, source: str) -> None:
        match = _SET.match(source)
        if match is None:
            raise UsageError(f"--set {source} names no attribute.", fix="Write --set TARGET.KEY=VALUE.")
        self.source = source
        self.pattern, self.key, self.inner, self.value = match.group("pattern", "key", "inner", "value")
        self.adds = bool(match["adds"])

    def wrong(self, what: str) -> UsageError:
        """The error for it."""
        return UsageError(f"--set {self.source}: {what}.", fix="See docs/bake.md for what can be set.")


def overridden(target: Defined, setting: Setting, every: Sequence[Setting]) -> Defined:
    """The target with one value set; several of one attribute in `every` are a list. Raises UsageError."""
    if setting.key in ("push", "load"):
        return _sent(target, setting)
    if setting.key == "secret":
        return _with_secret(target, setting)
    key = next((name for name, each in ATTRIBUTES.items() if setting.key == (each.key or name)), "")
    if not key:
        raise setting.wrong(f"a target has no {setting.key!r}")
    attribute, before = ATTRIBUTES[key], target.values.get(key)
    if attribute.table != (setting.inner is not None):
        raise setting.wrong("it names no entry" if attribute.table else "it names an entry, and there are none")
    try:
        if attribute.table:
            read: Any = {**(before or {}), setting.inner: setting.value}
        else:
            read = attribute.read([setting.value] if attribute.many else setting.value)
    except Misfit as error:
        raise setting.wrong(str(error)) from error
    if attribute.many:
        is_first = next(each for each in every if each.key == setting.key) is setting
        if setting.adds or not is_first or key in _ADDING:
            read = once([*(before or ()), *read])
    return _changed(target, setting, key, read)


def _changed(target: Defined, setting: Setting, key: str, value: object) -> Defined:
    places = {**target.places, key: Position(path=f"--set {setting.source}")}
    return target.but(values={**target.values, key: value}, places=places)


def _with_secret(target: Defined, setting: Setting) -> Defined:
    """The target with another source for a secret that it has."""
    secrets = [dict(each) for each in target.values.get("secret", ())]
    found = next((each for each in secrets if each.get("id") == setting.inner), None)
    if found is None:
        raise setting.wrong(f"the target {target.name!r} has no secret {setting.inner!r}")
    try:
        (entry,) = ATTRIBUTES["secret"].read([setting.value])
    except (Misfit, ValueError) as error:
        raise setting.wrong("src=FILE or env=NAME is wanted") from error
    found.pop("src", None)
    found.pop("env", None)
    found.update({key: value for key, value in entry.items() if key != "id"})
    return _changed(target, setting, "secret", secrets)


def _sent(target: Defined, setting: Setting) -> Defined:
    """The target with `push` or `load` set."""
    try:
        is_on = truth(setting.value)
    except Misfit as error:
        raise setting.wrong(str(error)) from error
    outputs = [dict(each) for each in target.values.get("output", ())]
    if setting.key == "push":
        if is_on:
            outputs = [each | {"push": "true"} if each["type"] == "image" else each for each in outputs]
            if not any(each["type"] in ("image", "registry") for each in outputs):
                outputs.append({"type": "image", "push": "true"})
        else:
            outputs = [
                each | {"push": "false"} if each["type"] == "image" else each
                for each in outputs
                if each["type"] != "registry"
            ]
    elif is_on and {"type": "docker"} not in outputs:
        outputs.append({"type": "docker"})
    return _changed(target, setting, "output", outputs)
