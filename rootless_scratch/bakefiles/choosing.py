"""Which targets of bake files are made, and what they are once they have inherited and were set from outside."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.attributes import Defined, joined, once
from rootless_scratch.bakefiles.overriding import Setting, overridden
from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.inheriting import members, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LINK = "target:"
"""What a named context begins with that is the image of another target."""


class Config:
    """All targets and groups of all files."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.targets: dict[str, Defined] = {}
        self.groups: dict[str, list[str]] = {}

    def add(self, target: Defined) -> None:
        """A target, which is added to the one of its name."""
        before = self.targets.get(target.name)
        self.targets[target.name] = target if before is None else joined(before, target)

    def add_group(self, name: str, names: Iterable[str]) -> None:
        """A group; a later one takes the place of an earlier one of its name."""
        self.groups[name] = list(dict.fromkeys(names))

    def settings(self, sources: Iterable[str], environ: Mapping[str, str]) -> dict[str, list[Setting]]:
        """What is set of each target; raises UsageError."""
        found: dict[str, list[Setting]] = {}
        for source in sources:
            setting = Setting(source)
            if setting.value is None:
                if setting.key != "args":
                    raise setting.wrong("it has no value")
                if setting.inner not in environ:
                    continue
                setting.value = environ[setting.inner]
            names = [name for name in self.targets if fnmatchcase(name, setting.pattern)]
            if not names:
                raise unknown("target", self.path, setting.pattern, [*self.targets])
            for name in names:
                found.setdefault(name, []).append(setting)
        return found

    def chosen(self, names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
        """The targets of these names, patterns and groups, and the groups of `--print`; raises UsageError."""
        wanted: list[str] = []
        for name in names or ("default",):
            plain = name.replace(".", "_")
            is_pattern = any(character in plain for character in "*?[")
            every = [*self.groups, *self.targets]
            found = [each for each in every if fnmatchcase(each, plain)] if is_pattern else [plain]
            if not found or (not is_pattern and plain not in every):
                self._refuse(name, is_default=not names)
            wanted += found
        found_targets = list(members(wanted, self.groups))
        for name in found_targets:
            if name not in self.targets:
                raise unknown("target", self.path, name, [*self.targets])
        shown = {name: self.groups[name] for name in self._groups_of(wanted)}
        others = [name for name in dict.fromkeys(wanted) if name != "default" or "default" not in self.groups]
        if others:
            shown["default"] = [*shown.get("default", ()), *others]
        if "default" in shown:
            shown["default"] = sorted(set(shown["default"]))
        return found_targets, shown

    def _refuse(self, name: str, *, is_default: bool) -> None:
        if is_default:
            listed = ", ".join([*self.groups, *self.targets][:20])
            raise UsageError(
                f"{self.path!r} has neither a group nor a target `default`.",
                fix=f"Name targets; there are {listed}." if listed else "Name a file that describes targets.",
            )
        raise unknown("target", self.path, name, [*self.groups, *self.targets])

    def _groups_of(self, names: Iterable[str]) -> list[str]:
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name in self.groups and name not in found:
                found[name] = None
                waiting += self.groups[name]
        return list(found)

    def resolved(self, name: str, settings: Mapping[str, Sequence[Setting]]) -> Defined:
        """A target with all that it inherits and what is set of it; raises UsageError."""
        found = self._inherited(name, settings, {})
        assert found is not None  # noqa: S101 - nothing is under way
        return found.but(values=_normal(found.values))

    def _inherited(
        self, name: str, settings: Mapping[str, Sequence[Setting]], seen: dict[str, Defined | None]
    ) -> Defined | None:
        if name in seen:
            return seen[name]
        seen[name] = None
        if name not in self.targets:
            raise unknown("target", self.path, name, [*self.targets])
        own = self.targets[name]
        found = Defined(name=name, values={}, places={}, place=own.place, base=own.base)
        for other in own.inherits:
            above = self._inherited(other, settings, seen)
            if above is not None:
                found = joined(found, above)
        found = joined(found, own)
        for setting in settings.get(name, ()):
            found = overridden(found, setting, settings[name])
        seen[name] = found.but(inherits=())
        return seen[name]


def _normal(values: dict[str, Any]) -> dict[str, Any]:
    """Attributes without contexts that were taken away, and with what others imply."""
    found = dict(values)
    if "contexts" in found:
        found["contexts"] = {name: value for name, value in found["contexts"].items() if value}
    if found.get("network") == "host":
        found["entitlements"] = once([*found.get("entitlements", ()), "network.host"])
    return found
