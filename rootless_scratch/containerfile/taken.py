"""Which paths of an image the stages of a Containerfile can take, so that no others need to be unpacked."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.reducing import stage_named
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from rootless_scratch.containerfile.document import Document, Instruction, Stage

EVERYTHING = ("/",)
_ALWAYS = ("/etc/passwd", "/etc/group")
"""By these `--chown` and USER find the numbers of names."""

_UNSETTLED = expression(r"[$*?\[\\`]")
_COPYING = ("COPY", "ADD")


def taken_paths(
    document: Document, target: Stage, names: Container[str], *, stages: Iterable[int] = ()
) -> tuple[str, ...]:
    """The files and directories of an image that the file may copy, by the `names` it has there, or of `stages`.

    With variables and patterns it is the directory above them. EVERYTHING where `target` itself is made of it.
    """
    heirs = set(stages)
    for stage in document.stages:
        named = _plain(stage.base.raw)
        earlier = stage_named(document.stages[: stage.number], named)
        if "$" in named or named in names or (earlier is not None and earlier.number in heirs):
            heirs.add(stage.number)
    if target.number in heirs:
        return EVERYTHING
    found = dict.fromkeys(_ALWAYS)
    for stage in document.stages:
        for instruction in stage.instructions:
            flag = instruction.flag("from") if instruction.name in _COPYING else None
            if flag is None:
                continue
            named = _plain(flag.value or "")
            earlier = stage_named(document.stages[: stage.number], named)
            if "$" in named or named in names or (earlier is not None and earlier.number in heirs):
                found |= dict.fromkeys(_sources(instruction))
    return EVERYTHING if "/" in found else tuple(found)


def _sources(instruction: Instruction) -> Iterator[str]:
    texts = instruction.exec_form or tuple(_plain(token.raw) for token in instruction.tokens)
    for text in texts[:-1]:
        unsettled = _UNSETTLED.search(text)
        known = text[: unsettled.start()].rpartition("/")[0] if unsettled else text
        yield posixpath.normpath(f"/{known.lstrip('/')}")


def _plain(raw: str) -> str:
    return raw.replace('"', "").replace("'", "")
