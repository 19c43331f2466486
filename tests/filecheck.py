"""A directory with a Containerfile and what it copies, as `check -f` judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tinyelf

from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.verbs.check_file import check_file

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding, Judgement, Location


class Context:
    """A directory with a Containerfile and what it copies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("app", tinyelf.hello(), mode=0o755)

    def put(self, name: str, content: bytes | str = b"", *, mode: int = 0o644) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def check(self, *lines: str, **options: object) -> Judgement:
        self.put("Containerfile", "\n".join(lines) + "\n")
        asked = {"file": str(self.path / "Containerfile"), "context": str(self.path), **options}
        return check_file(FileRequest().with_options(asked, "A Containerfile"), {})

    def rules(self, *lines: str, **options: object) -> list[tuple[str, int]]:
        return [(each.rule, place(each).line) for each in self.check(*lines, **options)]

    def only(self, *lines: str, rule: str) -> Finding:
        (found,) = [each for each in self.check(*lines) if each.rule == rule]
        return found

    def mended(self, *lines: str, rule: str) -> list[str]:
        """The file after the correction of this finding, which it then does not have any more."""
        where = place(self.only(*lines, rule=rule))
        assert where.corrected is not None
        after = [*lines[: where.line - 1], *where.corrected.split("\n"), *lines[where.end_line :]]
        assert rule not in [each for each, _ in self.rules(*after)]
        return after


def place(finding: Finding) -> Location:
    assert finding.location is not None
    return finding.location


def marked(finding: Finding) -> str:
    where = place(finding)
    return where.text[where.column - 1 : where.end_column - 1]
