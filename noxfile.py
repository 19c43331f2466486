"""The sessions of nox: lint, unit, integration, min-versions. `nox` alone runs the first two.

They run as an unprivileged user; `scripts/setup --test` installs the tools that integration needs.
"""

from __future__ import annotations

from pathlib import Path

import nox

WITHOUT_TOOLS = "not (buildah or podman or registry or compiler or root)"
"""As in scripts/common.sh."""

WITH_TOOLS = "(buildah or podman or registry or compiler) and not root"
LOWEST_PYTHON = nox.project.load_toml("pyproject.toml")["project"]["requires-python"].removeprefix(">=")

nox.options.sessions = ["lint", "unit"]
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session) -> None:
    """The package, with everything else at the versions that the lock names."""
    session.install("--require-hashes", "-r", "requirements.lock")
    session.install("--no-deps", "-e", ".")


def test(session: nox.Session, marks: str) -> None:
    """The tests with these marks; arguments behind `--` go to pytest."""
    session.run("python", "-m", "pytest", "-p", "tests.no_skips", "-n", "2", "-m", marks, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("codespell", "rootless_scratch", "docs", "scripts", *map(str, Path().glob("*.md")))


@nox.session
def unit(session: nox.Session) -> None:
    """The tests that need nothing but Python."""
    install(session)
    test(session, WITHOUT_TOOLS)


@nox.session
def integration(session: nox.Session) -> None:
    """The tests that need podman, buildah, skopeo, a registry or a compiler."""
    install(session)
    test(session, WITH_TOOLS)


@nox.session(name="min-versions", python=LOWEST_PYTHON)
def min_versions(session: nox.Session) -> None:
    """All of these tests with the lowest versions that pyproject.toml allows.

    Where `-m` stands behind `--`, that counts.
    """
    constraints = Path(session.create_tmp()) / "lowest.txt"
    with constraints.open("w") as file:
        session.run("python", "scripts/lower_bounds.py", stdout=file)
    session.install("-c", str(constraints), "-e", ".[test]")
    test(session, "not root")
