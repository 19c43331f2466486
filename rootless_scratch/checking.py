"""What `check` may be asked about: a program of the host, an image of storage, a layout or an archive."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rootless_scratch.errors import ElfError, HostError, UsageError
from rootless_scratch.findings import Finding, Judgement
from rootless_scratch.image.outputs import is_output
from rootless_scratch.image.spec import Copy, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.rootfs import File


def check_subject(subject: str | os.PathLike[str] | Image) -> Judgement:
    """Judge what a word, or an image, stands for; see rootless_scratch.api.check."""
    require_utf8()
    if not isinstance(subject, (str, os.PathLike)):
        # One that was only written to outputs is not in storage.
        outputs = () if subject.names else subject.outputs
        return _check_layout(outputs[0].ref) if outputs else _check_image(subject.image_id)
    word = os.fspath(subject)
    if not word:
        raise UsageError(
            "Neither a program nor an image was named.", fix="Name a file, or an image such as hello."
        )
    if isinstance(subject, str) and is_output(word):
        return _check_layout(word)
    if word.startswith(("/", ".")) or isinstance(subject, os.PathLike) or os.path.lexists(word):
        return _check_program(word)
    return _check_image(word)


def require_utf8() -> None:
    """Names in images are bytes; Python must read those of this host as they are. Raises HostError."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        raise HostError(
            f"Python reads file names as {encoding} here, and would change those of the image.",
            fix="Start Python with PYTHONUTF8=1, or in a UTF-8 locale such as C.UTF-8.",
        )


def _check_program(path: str) -> Judgement:
    from rootless_scratch.image.plan import plan
    from rootless_scratch.rules.files import unreadable
    from rootless_scratch.rules.images import judge_plan
    from rootless_scratch.rules.programs import verdict

    try:
        findings = judge_plan(plan(Spec(programs=(Copy(source=path, destination="/program"),))))
    except ElfError as error:
        findings = (unreadable(path, error),)
    return Judgement(subject=path, verdict=verdict(findings), findings=findings)


def _check_image(name: str) -> Judgement:
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.stored import read_image

    with Session("read-programs") as session:
        stored = read_image(name, session)
    files = {file.path: file for file in stored.files}

    def read(path: str) -> ProgramFacts | None:
        if files[path].unreadable is not None:
            raise ElfError(str(files[path].unreadable), fix="Build it anew.")
        return files[path].program

    return _judge_stored(name, stored, read)


def _check_layout(word: str) -> Judgement:
    from rootless_scratch.backends.layouts import LayoutImage
    from rootless_scratch.image.outputs import parse_output
    from rootless_scratch.image.source import Source, validate
    from rootless_scratch.rules.files import broken_image

    with Source(parse_output(word)) as source:
        faults = validate(source)
        if faults:
            findings = tuple(broken_image(word, fault) for fault in faults)
            return Judgement(subject=word, verdict="fails", findings=findings)
        image = LayoutImage(source)
        return _judge_stored(word, image.stored, image.program)


def _judge_stored(name: str, stored: StoredImage, read: Callable[[str], ProgramFacts | None]) -> Judgement:
    """Judge an image by what it holds; `read` gives what a file of it says of itself, or raises ElfError."""
    from rootless_scratch.image.plan import Program
    from rootless_scratch.image.tree import Tree
    from rootless_scratch.rules.files import unreadable
    from rootless_scratch.rules.images import judge_image
    from rootless_scratch.rules.programs import verdict

    rootfs, config = stored.rootfs(), stored.runtime_config()
    programs: list[Program] = []
    garbled: list[Finding] = []

    def note(file: File) -> ProgramFacts | None:
        try:
            facts = read(file.path)
        except ElfError as error:
            garbled.append(unreadable(file.path, error))
            return None
        if facts is not None:
            programs.append(Program(path=file.path, facts=facts))
        return facts

    Tree(rootfs).started_files(config, note)
    judged = judge_image(rootfs=rootfs, config=config, programs=programs, platform=stored.platform)
    findings = (*garbled, *judged)
    return Judgement(subject=name, verdict=verdict(findings), findings=findings)
