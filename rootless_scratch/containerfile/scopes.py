"""Which variables an instruction sees: ARG of the file and of its stage, ENV, and those that nobody has to set.

    before FROM     the global ARG, each with the ones above it, and the platforms
    in a stage      ENV, also of the stage that it begins with; then ARG, which never holds against an ENV

An ARG has the value of `--build-arg`, else its default, else that of the global ARG of its name, else that of the
platform. An instruction sees what held before it: `ENV A=b B=$A` takes the old A.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.config import USUAL_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless_scratch.elf.platforms import Platform

PROXIES = frozenset(
    name
    for each in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for name in (each, each.upper())
)
"""Arguments that need no ARG."""


def platform_arguments(target: Platform, build: Platform) -> dict[str, str]:
    """The arguments that tell the platforms: `TARGETARCH`, `BUILDPLATFORM` ..."""
    return {
        f"{prefix}{part}": value
        for prefix, platform in (("TARGET", target), ("BUILD", build))
        for part, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant or ""),
        )
    }


class GlobalScope:
    """What stands before the first FROM, and what holds for every stage.

    `build_args` are the values of `--build-arg`; `used` are the names of those that an ARG has asked for.
    """

    def __init__(self, build_args: Mapping[str, str], platform: Mapping[str, str]) -> None:
        self.build_args = build_args
        self.arguments: dict[str, str] = {}
        self.declared: set[str] = set()
        self.used: set[str] = set()
        self._platform = platform

    @property
    def variables(self) -> dict[str, str]:
        """What FROM sees, and the next global ARG."""
        return {**self._platform, **self.arguments}

    def declare(self, name: str, default: str | None) -> None:
        """Take a global ARG."""
        self.declared.add(name)
        value = self.value_of(name, default)
        if value is not None:
            self.arguments[name] = value

    def value_of(self, name: str, default: str | None) -> str | None:
        """What an ARG comes to; None where nothing sets it."""
        if name in self.build_args:
            self.used.add(name)
            return self.build_args[name]
        if default is not None:
            return default
        return self.arguments.get(name, self._platform.get(name))

    def is_platform(self, name: str) -> bool:
        """Whether it is an argument that tells a platform, once it is declared."""
        return name in self._platform


class StageScope:
    """The variables of one stage; `env` are those that the stage begins with."""

    def __init__(self, above: GlobalScope, env: Iterable[tuple[str, str]] = ()) -> None:
        self.above = above
        self.env: dict[str, str] = dict(env)
        self.arguments: dict[str, str] = {
            name: value for name, value in above.build_args.items() if name in PROXIES
        }
        self.declared: set[str] = set(self.arguments)
        self.variables: dict[str, str] = {"PATH": USUAL_PATH, **self.arguments, **self.env}
        """What an instruction sees; every runtime and every builder sets a PATH where there is none."""

    def knows(self, name: str) -> bool:
        """Whether the variable is there, or declared without a value."""
        return name in self.declared or name in self.variables

    def declare(self, name: str, default: str | None) -> None:
        """Take an ARG."""
        self.declared.add(name)
        value = self.above.value_of(name, default)
        if value is not None:
            self.arguments[name] = value
            if name not in self.env:
                self.variables[name] = value

    def set(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take an ENV."""
        found = dict(pairs)
        self.env.update(found)
        self.variables.update(found)
