"""`check -f` of the Containerfiles that public projects have: no error, and nothing said that does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import shapes

from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.verbs.check_file import check_file

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet

WARNED = frozenset({"go-signal-ports", "lower-case", "scratch-variants", "several-builders"})
"""They declare a port below 1024, and their user is not root."""


def cases() -> list[ParameterSet]:
    """Every shape; those whose programs are this host's need what the other tests of them need."""
    found = []
    for name in shapes.SHAPES:
        options = shapes.options_of(name)
        needs_tools = "dynamic" in options or "busybox" in options.get("programs", {}).values()
        found.append(pytest.param(name, marks=pytest.mark.compiler if needs_tools else ()))
    return found


@pytest.mark.parametrize("name", cases())
def test_a_public_shape_has_no_error(name: str, tmp_path: Path) -> None:
    shape = shapes.prepare(name, tmp_path)
    options = shape.options
    asked: dict[str, Any] = {key: options[key] for key in ("build_args", "target", "platform") if key in options}
    asked["build_contexts"] = {key: str(shape.context / path) for key, path in options.get("contexts", {}).items()}
    request = {"file": str(shape.context / "Containerfile"), "context": str(shape.context), **asked}
    judgement = check_file(FileRequest().with_options(request, "A Containerfile"), {})
    assert judgement.verdict in ("starts", "unknown"), judgement.findings
    assert {each.rule for each in judgement if each.severity == "warning"} <= (
        {"privileged-port"} if name in WARNED else set()
    )
    assert all(each.location is not None for each in judgement)
