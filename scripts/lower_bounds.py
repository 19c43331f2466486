"""Print the lowest versions that pyproject.toml allows, as constraints for pip; for `nox -s min-versions`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

_BOUND = re.compile(r"([A-Za-z0-9_-]+)(?:\[[a-z-]+\])?>=([0-9.]+)(?:; .*)?")


def lower_bounds(project: Path = PROJECT) -> dict[str, str]:
    """Each package that the project, its extras included, asks for, and its lowest version.

    Raises ValueError for one without a lower bound, of which nobody could say what was tested.
    """
    said = tomllib.loads(project.read_text())["project"]
    wanted = [*said["dependencies"], *(each for extra in said["optional-dependencies"].values() for each in extra)]
    bounds: dict[str, str] = {}
    for requirement in wanted:
        if requirement.startswith(f"{said['name']}["):
            continue
        found = _BOUND.fullmatch(requirement)
        if found is None:
            raise ValueError(f"{requirement!r} has no lower bound of the form NAME>=VERSION")
        bounds[found[1]] = found[2]
    return bounds


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in lower_bounds().items())
