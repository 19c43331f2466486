"""What of a large context `build -f` opens and lists: what the file copies, however much lies beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

BUILD = """
import json, sys
names = []
sys.addaudithook(lambda event, values: names.append(values[0]) if event in ("open", "os.scandir") else None)
import rootless_scratch as rs
file, context, output = sys.argv[1:]
rs.build_file(file, context, output=output)
print(json.dumps([name for name in names if isinstance(name, str)]))
"""


def opened(top: Path, text: str, *, ignore: str, beside: int) -> list[str]:
    """The files and directories of the context that a build opens, where so many others lie beside them."""
    context = top / f"context{beside}"
    for number in range(beside):
        path = context / f"node_modules/m{number % 100}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (context / "src").mkdir(parents=True)
    tinyelf.write(context / "src/app")
    (context / "src/notes.md").write_text("x")
    (context / ".dockerignore").write_text(ignore)
    (top / "Containerfile").write_text(text)
    argv = [sys.executable, "-c", BUILD, str(top / "Containerfile"), str(context), f"oci:{top}/image{beside}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    own = {name for _, directories, files in os.walk(context) for name in (*directories, *files)}
    return sorted(each for each in json.loads(done.stdout) if os.path.basename(each) in own)


@pytest.mark.parametrize(
    ("line", "ignore"),
    [
        ("COPY . /", "node_modules\n**/*.md\n"),
        ("COPY . /", "*\n!src/app\n"),
        ("COPY src /", "node_modules\n*.md\n**/*.md"),
        ("COPY src/app /", ""),
        ("COPY src/a* /", "*.md"),
        ("COPY --exclude=node_modules --exclude=**/*.md . /", ""),
        ("FROM scratch AS unused\nCOPY . /\nFROM scratch\nCOPY src/app /", ""),
    ],
)
def test_what_lies_beside_is_not_opened(tmp_path: Path, line: str, ignore: str) -> None:
    text = f"FROM scratch\n{line}\n"
    few = opened(tmp_path, text, ignore=ignore, beside=1)
    many = opened(tmp_path, text, ignore=ignore, beside=1000)
    assert [each.replace("context1000", "context1") for each in many] == few
    assert not [each for each in few if "node_modules" in each or each.endswith(".md")]
    assert [each for each in few if each.endswith("app")]


@pytest.mark.slow
def test_a_context_of_a_hundred_thousand_files_is_not_entered_where_it_is_ignored(tmp_path: Path) -> None:
    names = opened(tmp_path, "FROM scratch\nCOPY . /\n", ignore="node_modules\n**/*.md\n", beside=100_000)
    assert len(names) < 20
    assert not [each for each in names if "node_modules" in each]
