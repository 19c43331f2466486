"""From a Plan to an Image in local storage, by buildah: from scratch, mount, write, config, commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.jobs import BuildJob, ExpectedConfig, FoundFile, JobEntry, Written
from rootless_scratch.backends.known import Remembered, contents_of, image_of
from rootless_scratch.errors import SpecError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.rootfs import Directory, Entry, Symlink
from rootless_scratch.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.elf.identity import FileIdentity
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan

_CARRIER = "ROOTLESS_SCRATCH_VALUE_"
_UNASKED = ("org.opencontainers.image.base.name", "org.opencontainers.image.base.digest")
"""Annotations that buildah adds with an empty value to every image from scratch."""


def build_image(
    plan: Plan,
    session: Session,
    files: HostFiles | None = None,
    *,
    findings: Sequence[Finding] = (),
    progress: Progress = SILENT,
) -> Image:
    """Build what was planned and name it; `files` are those of the plan, `progress` is shown the bytes written.

    Nothing of a build that fails stays. Raises SpecError, SourceError, HostError, BuildError.
    """
    if plan.platform is None:
        raise SpecError(
            "The image has no architecture: it starts no ELF program.",
            fix="Name a program to start: `rootless-scratch build PROGRAM`, or --entrypoint with its path there.",
        )
    if not plan.names:
        raise SpecError("The image has no name.", fix="Give it one with --tag, e.g. `-t hello:latest`.")

    def on_message(answer: Written | FoundFile) -> None:
        if isinstance(answer, Written):
            progress.show(answer.count)

    flags, values = config_flags(plan)
    expected = _expected(plan)
    contents = contents_of(plan, files)
    remembered = Remembered(plan, contents, "buildah", (flags, sorted(values.items())))
    done = remembered.done(expected)
    if done is not None:
        session.tidy()
    else:
        known = remembered.image()
        kept = {} if files is None else files.kept
        job = BuildJob(
            names=plan.names,
            entries=[_entry(entry, kept, contents) for entry in plan.rootfs],
            descriptors=tuple(kept.values()),
            mtime=plan.mtime,
            timestamp=None if plan.config.created is None else plan.mtime,
            config=flags,
            config_environment=values,
            expected=expected,
            known=None if known is None else known[:2],
            policy=session.policy,
        )
        remembered.settle()
        done = session.do(job, on_message=on_message)
    remembered.keep(done, session.hint)
    return image_of(plan, done, backend="buildah", findings=findings, notes=session.notes)


def _expected(plan: Plan) -> ExpectedConfig:
    """The config that must come of it; steps of its making are none of what is compared."""
    config = msgspec.structs.replace(plan.config.config, beyond_oci=())
    fields = msgspec.structs.asdict(plan.config) | {"config": config.as_oci()}
    del fields["history"]
    return ExpectedConfig(**fields)


def _entry(entry: Entry, kept: Mapping[FileIdentity, int], contents: HostFiles | None) -> JobEntry:
    """One entry as the worker reads it; bytes of names that are not UTF-8 travel as lone surrogates."""
    common = (entry.path, entry.mode, entry.uid, entry.gid)
    if isinstance(entry, Directory):
        return JobEntry("directory", *common, xattrs=entry.xattrs, mtime=entry.mtime)
    if isinstance(entry, Symlink):
        return JobEntry("symlink", *common, target=entry.target, mtime=entry.mtime)
    if entry.linked is not None:
        return JobEntry("hardlink", *common, target=entry.linked)
    return JobEntry(
        "file",
        *common,
        source=entry.source,
        descriptor=kept.get(entry.identity),
        content=entry.content if contents is None or entry.source is None else contents.kept_content(entry),
        identity=msgspec.structs.astuple(entry.identity),
        capabilities=encode_capabilities(entry.capabilities).hex() if entry.capabilities else None,
        xattrs=entry.xattrs,
        mtime=entry.mtime,
    )


def config_flags(plan: Plan) -> tuple[tuple[str, ...], dict[str, str]]:
    """All flags that make the container's config the plan's, and the environment that buildah needs for them.

    The values of variables may be secrets, so they are in that environment and not in the flags, which all users
    of the host can see. Raises SpecError for what buildah cannot say.
    """
    config = plan.config.config
    flags = ["--arch", plan.config.architecture, "--os", plan.config.os]
    if plan.config.variant is not None:
        flags += ["--variant", plan.config.variant]
    if plan.config.author is not None:
        flags += ["--author", plan.config.author]
    flags += ["--user", config.user, "--workingdir", config.working_dir]
    arguments, values = _environment(config.env)
    flags += arguments
    if config.entrypoint is not None:
        flags += ["--entrypoint", json.dumps(config.entrypoint)]
    if config.cmd is not None:
        import shlex

        # After the entrypoint, which clears it.
        flags += ["--cmd", shlex.join(config.cmd)]
    if config.stop_signal is not None:
        flags += ["--stop-signal", config.stop_signal]
    for port in config.ports:
        flags += ["--port", port]
    for volume in config.volumes:
        flags += ["--volume", _csv(volume)]
    for key, value in config.labels:
        flags += ["--label", f"{key}={value}"]
    return (*flags, *_annotations(plan)), values


def _annotations(plan: Plan) -> list[str]:
    flags: list[str] = []
    named = {key for key, _ in plan.annotations}
    for key in _UNASKED:
        if key not in named:
            flags += ["--annotation", f"{key}-"]
    for key, value in plan.annotations:
        flags += ["--annotation", f"{key}={value}"]
    return flags


def _csv(volume: str) -> str:
    if volume.endswith("-"):
        raise SpecError(
            f"The volume {volume!r} ends in `-`, by which buildah removes a volume.",
            fix="Give the volume another path.",
        )
    return '"' + volume.replace('"', '""') + '"'


def _environment(env: tuple[tuple[str, str], ...]) -> tuple[list[str], dict[str, str]]:
    """The arguments for the variables, and what buildah itself must have in its environment.

    A variable without a value is taken from there (buildah-config(1)), and another one of the container can be
    made of it, whatever its own name would do to buildah. What is expanded once is not expanded again.
    """
    flags: list[str] = []
    values: dict[str, str] = {}
    names = {name for name, _ in env}
    for name, value in env:
        if not value:
            flags += ["--env", f"{name}="]
            continue
        carrier = f"{_CARRIER}{len(values)}"
        while carrier in names:
            carrier += "_"
        values[carrier] = value
        flags += ["--env", carrier, "--env", f"{name}=${{{carrier}}}", "--env", f"{carrier}-"]
    return flags, values
