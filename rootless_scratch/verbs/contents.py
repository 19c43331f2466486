"""What a stage of a Containerfile comes to, as a Spec and the Contents beside it.

ours       user 65532:65532 and working directory / where the file names none, no PATH, no history, one time
buildah    what the file says as it is written; PATH, history, times of the sources, `created` now
docker     the same, with ports and paths in one form, and docker's keys beyond OCI
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.errors import ElfError, SourceError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.config import USUAL_PATH
from rootless_scratch.image.kinds import read
from rootless_scratch.image.spec import Contents, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.containerfile.document import Instruction
    from rootless_scratch.containerfile.evaluated import Evaluated, StageConfig

_DURATION = expression(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_HEALTH_KEYS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_ADDED = ("ports", "volumes", "env", "labels")
"""Fields to which options add; others take the place of what the file says."""


def spec_of_stage(
    config: StageConfig, options: Mapping[str, object], compat: str | None
) -> tuple[Spec, tuple[tuple[str, object], ...]]:
    """What file and `options` say together, and the fields of RuntimeConfig that hold as they are.

    Options have their names in Python, and override the file. Raises UsageError.
    """
    own = read(Spec.options, options, "An image")
    own = {Spec.options[name].field: value for name, value in own.items() if value != ()}
    if own.get("platforms") or own.get("programs"):
        raise UsageError(
            "A Containerfile says which files the image has, and PROGRAM cannot be named beside it.",
            fix="Copy the program in the Containerfile, or add it by --copy.",
        )
    settings = _settings(config, compat, own)
    of_file: dict[str, Any] = {
        "entrypoint": config.entrypoint or None,
        "cmd": config.cmd or None,
        "env": _env(config, compat),
        "labels": config.labels,
        "stop_signal": config.stop_signal,
    }
    if config.user:
        of_file["user"] = config.user
    if config.workdir:
        of_file["workdir"] = config.workdir
    of_file["ports"], of_file["volumes"] = config.ports, config.volumes
    kept = {"workdir" if name == "working_dir" else name for name, _ in settings}
    of_file = {name: value for name, value in of_file.items() if name not in kept}
    if compat is not None:
        of_file["created"] = "now"
    together: dict[str, Any] = {**of_file, **own}
    for name in _ADDED:
        if name in own and name in of_file:
            together[name] = (*of_file[name], *own[name])
    return Spec(**together), settings


def _env(config: StageConfig, compat: str | None) -> tuple[tuple[str, str], ...]:
    return config.env if compat is None else tuple({"PATH": USUAL_PATH, **dict(config.env)}.items())


def _settings(
    config: StageConfig, compat: str | None, own: Mapping[str, object]
) -> tuple[tuple[str, object], ...]:
    """What another builder leaves as it is written."""
    if compat is None:
        return ()
    workdir = config.workdir or ("" if compat == "buildah" else "/")
    found: dict[str, object] = {"user": config.user or "", "working_dir": workdir}
    if compat == "buildah":
        found |= {
            "ports": tuple(sorted(config.ports)),
            "volumes": tuple(sorted(config.volumes)),
            "stop_signal": config.stop_signal,
        }
    fields = {"working_dir": "workdir"}
    return tuple((name, value) for name, value in found.items() if fields.get(name, name) not in own)


def contents_of(
    evaluated: Evaluated, settings: tuple[tuple[str, object], ...], compat: str | None, *, platform: str | None
) -> Contents:
    """What a stage brings beside its Spec; `platform` is the one that was asked for."""
    config = evaluated.config
    fallback, is_hosts = _fallback(evaluated) if platform is None else (None, False)
    return Contents(
        entries=evaluated.entries,
        losses=evaluated.losses,
        author=config.author,
        healthcheck=config.healthcheck,
        history=() if compat is None else tuple(_step(each, compat) for each in evaluated.steps),
        beyond_oci=_beyond_oci(config) if compat == "docker" else (),
        settings=settings,
        platform=platform,
        fallback_platform=fallback,
        platform_is_hosts=is_hosts,
    )


def _fallback(evaluated: Evaluated) -> tuple[str, bool]:
    """The platform of an image whose command does not tell one, and whether it is only this host's."""
    import os

    from rootless_scratch.elf.platforms import host_platform
    from rootless_scratch.elf.program import read_program
    from rootless_scratch.elf.records import MAGIC
    from rootless_scratch.image.rootfs import File

    if not (evaluated.config.entrypoint or evaluated.config.cmd):
        for entry in evaluated.entries:
            if not isinstance(entry, File) or entry.source is None:
                continue
            try:
                with open(entry.source, "rb", buffering=0) as file:
                    if file.read(len(MAGIC)) != MAGIC:
                        continue
                elf = read_program(entry.source).elf
            except (OSError, ElfError, SourceError):
                continue
            if elf is not None and elf.platform is not None:
                return str(elf.platform), False
    return str(host_platform(os.uname().machine)), True


def _step(instruction: Instruction, compat: str) -> str:
    flags = [f"--{each.name}" + ("" if each.value is None else f"={each.value}") for each in instruction.flags]
    line = " ".join((instruction.name, *flags, instruction.text)).encode("utf-8", "replace").decode()
    if compat == "buildah":
        return f"/bin/sh -c #(nop) {line}"
    return f"{line} # buildkit" if instruction.name in ("ADD", "COPY", "RUN") else line


def _beyond_oci(config: StageConfig) -> tuple[tuple[str, object], ...]:
    """Docker's keys of an image's config that OCI has not."""
    found: list[tuple[str, object]] = []
    if config.healthcheck:
        health: dict[str, object] = {"Test": list(config.healthcheck)}
        for name, value in config.health_options:
            if name == "retries":
                health["Retries"] = int(value) if value.isdigit() else 0
            elif name in _HEALTH_KEYS:
                health[_HEALTH_KEYS[name]] = _nanoseconds(value)
        found.append(("Healthcheck", health))
    if config.onbuild:
        found.append(("OnBuild", list(config.onbuild)))
    if config.shell:
        found.append(("Shell", list(config.shell)))
    return tuple(found)


def _nanoseconds(text: str) -> int:
    return int(sum(float(number) * _NANOSECONDS[unit] for number, unit in _DURATION.findall(text)))
