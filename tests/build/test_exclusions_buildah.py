"""The oracle: buildah leaves the same files out of `COPY . /` by the same .containerignore."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from planning import put

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.rootfs import Directory
from rootless_scratch.image.spec import Copy, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

FILES = (
    "a.md",
    "b.md",
    "keep.md",
    "x y",
    "a*b",
    "axb",
    "src/a.c",
    "src/a.h",
    "src/deep/er/a.md",
    "src/deep/keep.md",
    "out/a.o",
    "out/keep/a.o",
    ".git/config",
)
# Without `!**/...` behind a directory: buildah 1.28 does not look there, docker does.
LISTS = (
    "*.md",
    "**/*.md\n!**/keep.md",
    "*\n!src",
    "*\n!src/deep/keep.md",
    "src\n!src/deep\nsrc/deep/er",
    "out\n!out/keep\n# src\n.git",
    "src/*.[ch]\n*/deep",
    "/out/\n./src//deep\n",
    "a\\*b\nx y",
    "!keep.md\n*.md",
    "*.md\n!keep.md\nk*",
    "s?c/a.?\n**/er",
    "[^a]*",
)


@pytest.mark.buildah
def test_buildah_leaves_out_the_same_files(shared_home: Home, tmp_path: Path) -> None:
    for name in FILES:
        put(tmp_path / "context", name)
    script = "import json,os,sys; print(json.dumps([os.path.join(d, f) for d, _, fs in os.walk('.') for f in fs]))"
    for patterns in LISTS:
        (tmp_path / "context/.containerignore").write_text(patterns)
        spec = Spec(copies=(Copy(source=str(tmp_path / "context"), destination="/t"),))
        ours = {entry.path for entry in plan(spec, environ={}).rootfs if not isinstance(entry, Directory)}
        (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY . /t/\n")
        build = ["buildah", "build", "-q", "-t", "oracle", "-f", str(tmp_path / "Containerfile")]
        shared_home.run([*build, str(tmp_path / "context")])
        mount = f'c=$(buildah from oracle); cd "$(buildah mount $c)" && python3 -c "{script}"; buildah rm $c >&2'
        listed = shared_home.run(["buildah", "unshare", "sh", "-c", mount]).stdout
        theirs = {path[1:] for path in json.loads(listed)}
        assert ours == theirs, patterns
    subprocess.run(["buildah", "rmi", "oracle"], env=shared_home.environment, capture_output=True, check=False)
