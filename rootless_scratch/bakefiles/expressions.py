"""Expressions of HCL, evaluated on the syntax tree of python-hcl2, which is loaded for them alone."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Protocol

from rootless_scratch.bakefiles.collecting import index_of
from rootless_scratch.bakefiles.functions import FUNCTIONS, LACKING, call
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.syntax import FIX, data_of, inside_of, parsed, trees_of, type_of
from rootless_scratch.bakefiles.templates import Branch, Part, assembled, split, unescaped, unindented
from rootless_scratch.bakefiles.values import (
    Misfit,
    Type,
    convert,
    equal,
    items,
    kind_of,
    listed,
    number,
    text,
    truth,
    whole,
)
from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HEREDOC = re.compile(r"<<-?[^\r\n]*\r?\n(.*?)[ \t]*[^\r\n]+\r?\n\Z", re.DOTALL)
_DEEP = 200


_METHODS: dict[str, str] = {
    "expr_term": "_term",
    "identifier": "_identifier",
    "literal_value": "_literal",
    "int_lit": "_number",
    "float_lit": "_number",
    "tuple": "_tuple",
    "object": "_object",
    "conditional": "_conditional",
    "unary_op": "_unary",
    "binary_op": "_binary",
    "function_call": "_call",
    "index_expr_term": "_index",
    "get_attr_expr_term": "_index",
    "attr_splat_expr_term": "_splat",
    "full_splat_expr_term": "_splat",
    "for_tuple_expr": "_for_list",
    "for_object_expr": "_for_map",
    "string": "_string",
    "heredoc_template": "_heredoc",
    "heredoc_template_trim": "_heredoc",
    "template_string": "_escaped",
}
"""What each kind of tree is worked out by."""


class Names(Protocol):
    """What names in an expression stand for."""

    def value(self, name: str, place: Position) -> object:
        """A variable; raises Wrong."""

    def function(self, name: str) -> Callable[..., object] | None:
        """A function of the file's own."""


class Inner:
    """Names that hold inside an expression, before those around it."""

    def __init__(self, names: Mapping[str, object], around: Names) -> None:
        self._names = names
        self._around = around

    def value(self, name: str, place: Position) -> object:
        """See Names."""
        return self._names[name] if name in self._names else self._around.value(name, place)

    def function(self, name: str) -> Callable[..., object] | None:
        """See Names."""
        return self._around.function(name)


class Expression(Value):
    """An expression at a place; `node` is a tree of python-hcl2, or a value of JSON whose strings are templates.

    `line` is that of the text before which the tree's line 1 stands, less 1.
    """

    node: Any
    path: str = ""
    line: int = 0
    column: int = 1

    @property
    def place(self) -> Position:
        """Where it begins."""
        return self.place_of(self.node)

    def place_of(self, node: Any) -> Position:  # noqa: ANN401 - of the library
        """Where a part of it begins."""
        meta = getattr(node, "meta", node)
        line, column = getattr(meta, "line", None), getattr(meta, "column", None)
        return Position(path=self.path, line=self.line + (line or 1), column=column or self.column)

    def value(self, names: Names) -> object:
        """What it is; raises Wrong."""
        try:
            return Evaluation(self, names).of(self.node)
        except RecursionError as error:
            raise Wrong(self.place, "The expression is nested too deeply.", FIX) from error

    @property
    def keyword(self) -> str | None:
        """The name that it consists of, if it is one."""
        node = inside_of(self.node)
        return str(node.children[0]) if data_of(node) == "identifier" else None

    @property
    def type(self) -> Type:
        """The type that it names; raises Wrong."""
        if isinstance(self.node, str):
            return Expression(node=parsed(self.node, self.place), path=self.path, line=self.line).type
        return type_of(self.node, self.place_of)

    def elements(self) -> list[Expression]:
        """Those of a list that is written out; raises Wrong."""
        if isinstance(self.node, list):
            return [self.but(node=parsed(str(each), self.place)) for each in self.node]
        node = inside_of(self.node)
        if data_of(node) != "tuple":
            raise Wrong(self.place, "A list of names is wanted.", FIX)
        return [self.but(node=each) for each in trees_of(node)]


class Evaluation:
    """One expression, worked out with what its names stand for."""

    def __init__(self, expression: Expression, names: Names, depth: int = 0) -> None:
        self._expression = expression
        self._names = names
        self._depth = depth

    def of(self, node: Any) -> object:  # noqa: ANN401 - of the library
        """The value of a tree; raises Wrong."""
        if not hasattr(node, "data"):
            return self._plain(node)
        self._depth += 1
        if self._depth > _DEEP:
            raise Wrong(self._expression.place_of(node), "The expression is nested too deeply.", FIX)
        try:
            found: object = getattr(self, _METHODS[data_of(node)])(node)
        except (ArithmeticError, ValueError) as error:
            raise Wrong(self._expression.place_of(node), f"This cannot be worked out: {error}.", FIX) from error
        self._depth -= 1
        return found

    def _within(self, names: Mapping[str, object]) -> Evaluation:
        return Evaluation(self._expression, Inner(names, self._names), self._depth)

    def _plain(self, value: object) -> object:
        """A value of JSON."""
        try:
            if isinstance(value, str):
                return self.template(split(value))
            if isinstance(value, list):
                return [self._plain(each) for each in value]
            if isinstance(value, dict):
                return {text(self._plain(key)): self._plain(each) for key, each in value.items()}
        except Misfit as error:
            raise Wrong(self._expression.place, f"This cannot be worked out: {error}.", FIX) from error
        return value

    def _term(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return self.of(trees_of(node)[0])

    def _identifier(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return self._names.value(str(node.children[0]), self._expression.place_of(node))

    def _literal(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return {"true": True, "false": False, "null": None}[str(node.children[0])]

    def _number(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return number(str(node.children[0]))

    def _tuple(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return [self.of(each) for each in trees_of(node)]

    def _object(self, node: Any) -> object:  # noqa: ANN401 - of the library
        found = {}
        for element in trees_of(node):
            key, value = trees_of(element)
            found[self._key(key)] = self.of(value)
        return found

    def _key(self, node: Any) -> str:  # noqa: ANN401 - of the library
        """A name, or an expression in quotes or parentheses."""
        inner = trees_of(node)[0]
        bare = trees_of(inner)[0] if data_of(inner) == "expr_term" else inner
        if data_of(bare) in ("identifier", "keyword", "literal_value"):
            return str(bare.children[0])
        return text(self.of(inner))

    def _conditional(self, node: Any) -> object:  # noqa: ANN401 - of the library
        condition, yes, no = trees_of(node)
        return self.of(yes) if truth(self.of(condition)) else self.of(no)

    def _unary(self, node: Any) -> object:  # noqa: ANN401 - of the library
        value = self.of(trees_of(node)[0])
        return -number(value) if str(node.children[0]) == "-" else not truth(value)

    def _binary(self, node: Any) -> object:  # noqa: ANN401 - of the library
        left, term = trees_of(node)
        operator, right = trees_of(term)
        sign = str(operator.children[0]).strip().rpartition("\n")[2].strip()
        one = self.of(left)
        if sign in ("&&", "||"):
            first = truth(one)
            return first if first == (sign == "||") else truth(self.of(right))
        other = self.of(right)
        if sign in ("==", "!="):
            return equal(one, other) == (sign == "==")
        try:
            return _ARITHMETIC[sign](number(one), number(other))
        except ZeroDivisionError as error:
            raise Misfit("something is divided by zero") from error

    def _call(self, node: Any) -> object:  # noqa: ANN401 - of the library
        name, *rest = trees_of(node)
        called = str(name.children[0])
        arguments = trees_of(rest[-1]) if rest else []
        if called in ("try", "can"):
            return self._tried(node, arguments, only_whether=called == "can")
        if called == "convert" and len(arguments) == 2:  # noqa: PLR2004 - a value and its type
            return convert(self.of(arguments[0]), type_of(arguments[1], self._expression.place_of))
        values = [self.of(each) for each in arguments]
        if rest and any(str(each) == "..." for each in rest[-1].children):
            values[-1:] = listed(values[-1])
        own = self._names.function(called)
        if own is not None:
            return own(*values)
        if called in FUNCTIONS:
            return call(called, values)
        missing = "is one of buildx that is not supported here" if called in LACKING else "does not exist"
        raise Wrong(self._expression.place_of(node), f"The function {called}() {missing}.", FIX)

    def _tried(self, node: Any, arguments: Sequence[Any], *, only_whether: bool) -> object:  # noqa: ANN401
        for each in arguments:
            try:
                value = self.of(each)
            except Wrong:
                continue
            return True if only_whether else value
        if only_whether:
            return False
        raise Wrong(self._expression.place_of(node), "None of what try() has can be worked out.", FIX)

    def _index(self, node: Any) -> object:  # noqa: ANN401 - of the library
        value, at = trees_of(node)
        return self._step(self.of(value), at)

    def _step(self, value: object, step: Any) -> object:  # noqa: ANN401 - of the library
        """What `.name`, `[index]` or `.0` has of a value."""
        if data_of(step) == "braces_index":
            return index_of(value, self.of(trees_of(step)[0]))
        if data_of(step) == "short_index":
            return index_of(value, str(step.children[-1]))
        if not isinstance(value, dict):
            raise Misfit(f"a {kind_of(value)} has no attributes")
        return index_of(value, str(trees_of(step)[0].children[0]))

    def _splat(self, node: Any) -> object:  # noqa: ANN401 - of the library
        value, splat = trees_of(node)
        base = self.of(value)
        found = base if isinstance(base, list) else ([] if base is None else [base])
        for step in trees_of(splat):
            found = [self._step(each, step) for each in found]
        return found

    def _for_list(self, node: Any) -> object:  # noqa: ANN401 - of the library
        intro, body, *condition = trees_of(node)
        return [each.of(body) for each in self._rounds(intro, condition)]

    def _for_map(self, node: Any) -> object:  # noqa: ANN401 - of the library
        intro, key, body, *condition = trees_of(node)
        is_grouped = any(str(each) == "..." for each in node.children if not hasattr(each, "data"))
        found: dict[str, object] = {}
        for each in self._rounds(intro, condition):
            name, value = text(each.of(key)), each.of(body)
            if is_grouped:
                found[name] = [*listed(found.get(name, [])), value]
            elif name in found:
                raise Misfit(f"there are two values for the key {name!r}")
            else:
                found[name] = value
        return found

    def _rounds(self, intro: Any, condition: Sequence[Any]) -> list[Evaluation]:  # noqa: ANN401 - of the library
        *names, over = trees_of(intro)
        rounds = self._each([str(each.children[0]) for each in names], self.of(over))
        return [each for each in rounds if not condition or truth(each.of(trees_of(condition[0])[0]))]

    def _each(self, names: Sequence[str], over: object) -> list[Evaluation]:
        """One for each element, with the names that `for` gives to its key and its value."""
        return [
            self._within(dict(zip(names, (pair if len(names) > 1 else pair[1:]), strict=True)))
            for pair in items(over)
        ]

    def _string(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return self.template([_part(each.children[0]) for each in trees_of(node)])

    def _heredoc(self, node: Any) -> object:  # noqa: ANN401 - of the library
        token = str(node.children[0])
        match = _HEREDOC.match(token)
        body = match[1] if match else ""
        place = self._expression.place_of(node)
        if token.startswith("<<-"):
            body = unindented(body)
        inner = Expression(node=node, path=place.path, line=place.line)
        return Evaluation(inner, self._names, self._depth).template(split(body))

    def _escaped(self, node: Any) -> object:  # noqa: ANN401 - of the library
        return unescaped(str(node.children[0])[2:-2])

    def template(self, parts: Any) -> object:  # noqa: ANN401 - an iterable of Part
        """What a template comes to: a text, or the value itself where it consists of one expression."""
        found = assembled([*parts])
        if len(found) == 1 and isinstance(found[0], Part) and found[0].kind == "value":
            return self._part(found[0])
        return self.joined(found)

    def joined(self, parts: Sequence[Part | Branch]) -> str:
        """The text of pieces."""
        pieces = []
        for each in parts:
            if isinstance(each, Branch):
                pieces.append(self._branch(each))
            else:
                pieces.append(each.text if each.kind == "text" else text(self._part(each)))
        return "".join(pieces)

    def _branch(self, branch: Branch) -> str:
        value = self._part(branch.part)
        if branch.part.kind == "if":
            return self.joined(branch.body if truth(value) else branch.other)
        return "".join(each.joined(branch.body) for each in self._each(branch.part.names, value))

    def _part(self, part: Part) -> object:
        if part.node is not None:
            return self.of(part.node)
        place = self._expression.place
        place = place.but(line=place.line + part.line)
        inner = Expression(node=parsed(part.text, place), path=place.path, line=place.line - 1)
        return Evaluation(inner, self._names, self._depth).of(inner.node)


def _part(node: Any) -> Part:  # noqa: ANN401 - of the library
    """A piece of a string in quotes."""
    if not hasattr(node, "data"):
        kind = str(node.type)
        return Part(kind="text", text=str(node)[1:] if kind.startswith("ESCAPED") else unescaped(str(node)))
    if node.data == "interpolation":
        return Part(kind="value", node=trees_of(node)[0])
    tokens = [str(each) for each in node.children if not hasattr(each, "data")]
    cuts = (tokens[1] == "~", tokens[-2] == "~")
    kinds: dict[str, Any] = {
        "template_if_start": "if",
        "template_else": "else",
        "template_endif": "endif",
        "template_for_start": "for",
        "template_endfor": "endfor",
    }
    *names, last = trees_of(node) or [None]
    return Part(
        kind=kinds[data_of(node)], node=last, names=tuple(str(each.children[0]) for each in names), cuts=cuts
    )


_ARITHMETIC: dict[str, Callable[[Any, Any], object]] = {
    "+": lambda one, other: whole(one + other),
    "-": lambda one, other: whole(one - other),
    "*": lambda one, other: whole(one * other),
    "/": lambda one, other: whole(one / other),
    "%": lambda one, other: whole(math.fmod(one, other)) if other else one // other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
}
