"""Syntax trees of HCL, as python-hcl2 makes them, and the types that some of them name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.extra import hcl_parser
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.values import ANY, Type

if TYPE_CHECKING:
    from collections.abc import Callable

FIX = "See docs/bake.md for what is supported."


def parsed(source: str, place: Position) -> Any:  # noqa: ANN401 - of the library
    """The tree of an expression alone; raises Wrong."""
    body = tree_of(f"_ = ({source}\n)", place.path, place.line - 1)
    return body.children[0].children[-1]


def tree_of(content: str, path: str, line: int = 0) -> Any:  # noqa: ANN401 - of the library
    """The tree of a body; raises Wrong for what is not HCL, SourceError where the library is missing."""
    parse, unexpected = hcl_parser()
    try:
        return parse(content).children[0]
    except unexpected as error:
        where = Position(
            path=path, line=line + max(1, getattr(error, "line", 1)), column=max(1, error.column or 1)
        )
        reason = str(error).partition("\n")[0]
        reason = re.sub(r" at line -?\d+,? col(umn)? -?\d+\.?", "", reason).rstrip(".")
        raise Wrong(where, f"This is not HCL: {reason}.", FIX) from error
    except RecursionError as error:
        raise Wrong(Position(path=path), "The file is nested too deeply.", FIX) from error


def data_of(node: Any) -> str:  # noqa: ANN401 - of the library
    """The kind of a tree; empty for a token."""
    return str(getattr(node, "data", ""))


def trees_of(node: Any) -> list[Any]:  # noqa: ANN401 - of the library
    """The parts of a tree that are no tokens."""
    return [each for each in node.children if hasattr(each, "data") and each.data != "new_line_or_comment"]


def inside_of(node: Any) -> Any:  # noqa: ANN401 - of the library
    """What parentheses and terms hold."""
    while data_of(node) == "expr_term" and len(trees_of(node)) == 1:
        node = trees_of(node)[0]
    return node


def type_of(node: Any, place_of: Callable[[Any], Position]) -> Type:  # noqa: ANN401 - of the library
    """The type that a tree names; raises Wrong."""
    node = inside_of(node)
    if data_of(node) == "identifier":
        name = str(node.children[0])
        if name == "any":
            return ANY
        if name in ("string", "number", "bool"):
            return Type(name)
    elif data_of(node) == "function_call":
        name, inner = str(trees_of(node)[0].children[0]), _inner_types(node, place_of)
        if name in ("list", "set", "map", "tuple", "object", "optional") and inner:
            return next(iter(inner.values())) if name == "optional" else Type(name, inner)
    raise Wrong(place_of(node), "This is not a type.", "Write string, number, bool, list(string) ...")


def _inner_types(node: Any, place_of: Callable[[Any], Position]) -> dict[str, Type]:  # noqa: ANN401 - of the library
    found: dict[str, Type] = {}
    for arguments in trees_of(node)[1:]:
        for argument in map(inside_of, trees_of(arguments)):
            if data_of(argument) == "object":
                for element in trees_of(argument):
                    key, value = trees_of(element)
                    found[str(inside_of(trees_of(key)[0]).children[0])] = type_of(value, place_of)
            elif data_of(argument) == "tuple":
                found |= {str(at): type_of(each, place_of) for at, each in enumerate(trees_of(argument))}
            else:
                found[str(len(found))] = type_of(argument, place_of)
    return found
