"""A system of Fedora's kind with one package: what its database says, made by rpmbuild and rpm."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def install(spec: str, top: Path, root: Path) -> None:
    """Build the package of a spec file below `top`, and note it in the database of `root`, which gets no files."""
    file = top / "web.spec"
    file.write_text(spec)
    made = ["rpmbuild", "--quiet", "-bb", "--define", f"_topdir {top}/rpm", str(file)]
    subprocess.run(made, check=True, capture_output=True)
    (package,) = (top / "rpm/RPMS/noarch").glob("*.rpm")
    database = ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm"]
    subprocess.run([*database, "--initdb"], check=True, capture_output=True)
    subprocess.run([*database, "-i", "--justdb", "--nodeps", str(package)], check=True, capture_output=True)
