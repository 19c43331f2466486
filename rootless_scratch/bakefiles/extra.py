"""The libraries of the extra `bake`, which read HCL and YAML; each is loaded where a file needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable


def hcl_parser() -> tuple[Callable[[str], Any], type[Any]]:
    """What parses HCL into a tree, and the error that it raises; raises SourceError where it is not installed."""
    try:
        from hcl2.api import parses_to_tree
        from lark.exceptions import UnexpectedInput
    except ImportError as error:
        raise _missing("HCL", "python-hcl2") from error
    return parses_to_tree, UnexpectedInput


def yaml_library() -> Any:  # noqa: ANN401 - a module
    """PyYAML; raises SourceError where it is not installed."""
    try:
        import yaml
    except ImportError as error:
        raise _missing("compose files", "PyYAML") from error
    return yaml


def _missing(what: str, library: str) -> SourceError:
    return SourceError(
        f"{what} can only be read with {library}, which is not installed.",
        fix="Install it: `pip install 'rootless-scratch[bake]'`.",
    )
