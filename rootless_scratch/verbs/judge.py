"""An image, read and judged: by `check`, and by `run` to explain a start that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.errors import ElfError
from rootless_scratch.findings import Finding, Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.image.rootfs import File


def judge_stored(
    name: str,
    *,
    arguments: Sequence[str] = (),
    user: str | None = None,
    limits: Mapping[str, int] | None = None,
) -> tuple[Judgement, tuple[Program, ...]]:
    """Judge an image of local storage as it would be run, and the programs that it starts.

    Raises ImageNotFoundError, LimitError, HostError.
    """
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.stored import read_image

    with Session("read-programs") as session:
        stored = read_image(name, session, limits=limits)
    files = {file.path: file for file in stored.files}

    def read(path: str) -> ProgramFacts | None:
        if files[path].unreadable is not None:
            raise ElfError(str(files[path].unreadable), fix="Rebuild it.")
        return files[path].program

    return judge_content(name, stored, read, arguments=arguments, user=user)


def judge_content(
    name: str,
    stored: StoredImage,
    read: Callable[[str], ProgramFacts | None],
    *,
    arguments: Sequence[str] = (),
    user: str | None = None,
) -> tuple[Judgement, tuple[Program, ...]]:
    """Judge an image by what it holds; the second answer are the programs that it starts.

    `read` gives what a file of it says of itself, and raises ElfError for what is garbled.
    """
    import msgspec

    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.image.tree import Tree
    from rootless_scratch.rules.image.images import judge_image
    from rootless_scratch.rules.program.files import unreadable
    from rootless_scratch.rules.program.programs import verdict

    rootfs, config = stored.rootfs(), stored.runtime_config()
    config = msgspec.structs.replace(
        config, cmd=tuple(arguments) or config.cmd, user=config.user if user is None else user
    )
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

    def elf(file: File) -> ElfFacts:
        facts = read(file.path)
        if facts is None or facts.elf is None:
            raise ElfError(f"{file.path!r} is not a readable ELF file.", fix="Rebuild it.")
        return facts.elf

    Tree(rootfs).started_files(config, note)
    contents = {file.path: file.content for file in stored.files}
    judged = judge_image(
        rootfs=rootfs,
        config=config,
        programs=programs,
        platform=stored.platform,
        read=elf,
        content=lambda file: contents[file.path],
    )
    findings = (*garbled, *judged)
    return Judgement(subject=name, verdict=verdict(findings), findings=findings), tuple(programs)
