"""Blocks and attributes of a bake file of HCL or JSON, as it has them: nothing is worked out yet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.expressions import Expression
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.syntax import FIX, tree_of
from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("variable", "function", "group", "target")
"""Blocks with a label, each of which is an object of objects in JSON."""


class Block(Value):
    """A block, or a whole file, which has neither `kind` nor `label`."""

    kind: str = ""
    label: str = ""
    place: Position = Position()
    attributes: tuple[tuple[str, Expression], ...] = ()
    blocks: tuple[Block, ...] = ()

    def get(self, name: str) -> Expression | None:
        """The attribute of this name, the last of several."""
        return dict(self.attributes).get(name)


def read_hcl(content: str, path: str) -> Block:
    """A file of HCL; raises Wrong, SourceError."""
    # The parser wants an end of line behind the last one, and lines end in one way.
    tree = tree_of(content.removeprefix("\ufeff") + "\n", path)
    return _body(tree, Block(place=Position(path=path)))


def _body(tree: Any, block: Block) -> Block:  # noqa: ANN401 - of the library
    path = block.place.path
    attributes, blocks = [], []
    for node in tree.children:
        data = getattr(node, "data", "")
        if data == "attribute":
            name = str(node.children[0].children[0])
            attributes.append((name, Expression(node=node.children[-1], path=path)))
        elif data == "block":
            blocks.append(_block(node, path))
    return block.but(attributes=tuple(attributes), blocks=tuple(blocks))


def _block(node: Any, path: str) -> Block:  # noqa: ANN401 - of the library
    kind, *labels = (each for each in node.children[:-1] if getattr(each, "data", "") in _LABELS)
    body = next(each for each in node.children if getattr(each, "data", "") == "body")
    place = Position(path=path, line=node.meta.line, column=node.meta.column)
    name = str(kind.children[0])
    if name in KINDS and len(labels) != 1:
        raise Wrong(place, f"A {name} has one name in quotes.", f'Write `{name} "NAME" {{`.')
    return _body(body, Block(kind=name, label="".join(map(_label, labels)), place=place))


_LABELS = ("identifier", "keyword", "literal_value", "string")


def _label(node: Any) -> str:  # noqa: ANN401 - of the library
    if node.data != "string":
        return str(node.children[0])
    return "".join(str(part.children[0]) for part in node.children[1:-1])


def read_json(content: str, path: str) -> Block:
    """A file of JSON; raises Wrong."""
    try:
        found = json.loads(content.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        where = Position(path=path, line=error.lineno, column=error.colno)
        raise Wrong(where, f"This is not JSON: {error.msg}.", FIX) from error
    except (RecursionError, ValueError) as error:
        raise Wrong(Position(path=path), f"This is not JSON: {error}.", FIX) from error
    if not isinstance(found, dict):
        raise Wrong(Position(path=path), "This is not an object.", FIX)
    return _Json(content, path).file(found)


class _Json:
    """Blocks of a document, and where their keys stand, which are looked for in the order of the document."""

    def __init__(self, content: str, path: str) -> None:
        self._content = content
        self._path = path

    def file(self, document: dict[str, Any]) -> Block:
        attributes, blocks = [], []
        for key, value in document.items():
            begin, place = self._find(key, 0)
            if key not in KINDS:
                attributes.append((key, self._expression(value, place)))
                continue
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    raise Wrong(place, f"{key!r} is an object of objects.", FIX)
                blocks += list(self._blocks(key, one, begin))
        return Block(place=Position(path=self._path), attributes=tuple(attributes), blocks=tuple(blocks))

    def _blocks(self, kind: str, document: dict[str, Any], begin: int) -> Iterator[Block]:
        at = begin
        for label, value in document.items():
            at, place = self._find(label, at)
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    raise Wrong(place, f"{label!r} is an object.", FIX)
                yield self._block(Block(kind=kind, label=label, place=place), one, at)

    def _block(self, block: Block, document: dict[str, Any], begin: int) -> Block:
        attributes, blocks = [], []
        for key, value in document.items():
            at, place = self._find(key, begin)
            if key == "validation" and block.kind == "variable":
                several = value if isinstance(value, list) else [value]
                inner = Block(kind=key, place=place)
                blocks += [self._block(inner, each, at) for each in several if isinstance(each, dict)]
            else:
                attributes.append((key, self._expression(value, place)))
        return block.but(attributes=tuple(attributes), blocks=tuple(blocks))

    def _expression(self, value: object, place: Position) -> Expression:
        return Expression(node=value, path=place.path, line=place.line - 1, column=place.column)

    def _find(self, key: str, begin: int) -> tuple[int, Position]:
        """Behind the first such key from there on, and its place."""
        found = re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:").search(self._content, begin)
        if found is None:
            return begin, Position(path=self._path)
        line = self._content.count("\n", 0, found.start()) + 1
        column = found.start() - self._content.rfind("\n", 0, found.start())
        return found.end(), Position(path=self._path, line=line, column=column)
