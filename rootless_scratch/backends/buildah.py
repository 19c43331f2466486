"""From a Plan to an Image in local storage, by buildah: from scratch, mount, write, config, commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.flags import config_flags
from rootless_scratch.backends.jobs import BuildJob, ExpectedConfig, FoundFile, JobEntry, Written
from rootless_scratch.errors import SpecError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.finished import Image, layers_of
from rootless_scratch.image.rootfs import Directory, Entry, Symlink
from rootless_scratch.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.backends.session import Session
    from rootless_scratch.elf.identity import FileIdentity
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan


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
    kept = {} if files is None else files.kept
    job = BuildJob(
        names=plan.names,
        entries=[_entry(entry, kept) for entry in plan.rootfs],
        descriptors=tuple(kept.values()),
        mtime=plan.mtime,
        timestamp=None if plan.config.created is None else plan.mtime,
        config=flags,
        config_environment=values,
        expected=ExpectedConfig(**msgspec.structs.asdict(plan.config) | {"config": plan.config.config.as_oci()}),
    )
    done = session.do(job, on_message=on_message)
    import hashlib

    return Image(
        image_id=done.image_id,
        names=plan.names,
        platform=plan.platform,
        layers=layers_of(json.loads(done.config), json.loads(done.manifest)),
        digest=f"sha256:{hashlib.sha256(done.manifest.encode()).hexdigest()}",
        files=len(plan.rootfs.files),
        backend="buildah",
        findings=tuple(findings),
        notes=session.notes,
    )


def _entry(entry: Entry, kept: Mapping[FileIdentity, int]) -> JobEntry:
    """One entry as the worker reads it; bytes of names that are not UTF-8 travel as lone surrogates."""
    common = (entry.path, entry.mode, entry.uid, entry.gid)
    if isinstance(entry, Directory):
        return JobEntry("directory", *common, xattrs=entry.xattrs)
    if isinstance(entry, Symlink):
        return JobEntry("symlink", *common, target=entry.target)
    if entry.linked is not None:
        return JobEntry("hardlink", *common, target=entry.linked)
    return JobEntry(
        "file",
        *common,
        source=entry.source,
        descriptor=kept.get(entry.identity),
        content=entry.content,
        identity=msgspec.structs.astuple(entry.identity),
        capabilities=encode_capabilities(entry.capabilities).hex() if entry.capabilities else None,
        xattrs=entry.xattrs,
    )
