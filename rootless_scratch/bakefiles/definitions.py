"""What the blocks of bake files define: variables, functions, groups, and targets with their attributes."""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.attributes import ATTRIBUTES, INHERITS, Defined
from rootless_scratch.bakefiles.expressions import Expression, Inner, Names
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.syntax import FIX
from rootless_scratch.bakefiles.values import (
    ANY,
    PRIMITIVE,
    Misfit,
    Type,
    convert,
    from_environment,
    kind_of,
    listed,
    mapped,
    text,
    truth,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.bakefiles.blocks import Block

_JSON = "_JSON"
_NAME = re.compile(r"[a-zA-Z0-9_-]+\Z")
_MOST = 10_000

Groups = dict[str, list[str]]


class _Lazy(dict[str, object]):
    """A map whose values are worked out when they are asked for; `more` has further names, asked for last."""

    def __init__(
        self, names: Sequence[str], make: Callable[[str], object], more: Callable[[], Sequence[str]] | None = None
    ) -> None:
        super().__init__(dict.fromkeys(names))
        self._make = make
        self._more = more

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (self._more is not None and key in self._more())

    def __getitem__(self, key: str) -> object:
        return self._make(key)


class Definitions:
    """Blocks of all files together: of variables, functions and attributes of one name the last one counts.

    `values` are of variables, before those of `environ`; `builtin` are variables that no file defines.
    """

    def __init__(
        self,
        files: Sequence[Block],
        *,
        values: Mapping[str, str],
        environ: Mapping[str, str],
        builtin: Mapping[str, str],
    ) -> None:
        self._blocks = [block for file in files for block in file.blocks]
        self._variables = {each.label: each for each in self._blocks if each.kind == "variable"}
        self._functions = {each.label: each for each in self._blocks if each.kind == "function"}
        self._attributes = {name: each for file in files for name, each in file.attributes}
        self._outside = {**environ, **values}
        self._known: dict[str, object] = dict(builtin)
        self._builtin = builtin
        self._under_way: set[tuple[str, str]] = set()

    @property
    def variables(self) -> list[str]:
        """The names of all that there are."""
        return [*self._variables]

    def wrong(self) -> Iterator[Wrong]:
        """What is wrong with variables and with blocks of other kinds."""
        for block in self._blocks:
            if block.kind not in ("variable", "function", "group", "target"):
                yield Wrong(block.place, f"There are no blocks {block.kind!r}.", FIX)
        for name, block in self._variables.items():
            try:
                self.value(name, block.place)
                self._validate(block)
            except Wrong as error:
                yield error

    def value(self, name: str, place: Position) -> object:
        """See Names."""
        if name in self._known:
            return self._known[name]
        if name in ("target", "group"):
            return self._blocks_of(name, place)
        variable, attribute = self._variables.get(name), self._attributes.get(name)
        if variable is None and attribute is None:
            raise Wrong(place, f"There is no variable {name!r}.", f'Write `variable "{name}" {{}}`.')
        with_place = partial(self._once, ("variable", name), place)
        if attribute is not None:
            self._known[name] = with_place(lambda: attribute.value(self))
        elif variable is not None:
            self._known[name] = with_place(lambda: self._variable(variable))
        return self._known[name]

    def _once(self, key: tuple[str, str], place: Position, make: Callable[[], object]) -> object:
        if key in self._under_way:
            raise Wrong(place, f"The {key[0]} {key[1]!r} refers to itself.", FIX)
        self._under_way.add(key)
        try:
            return make()
        finally:
            self._under_way.discard(key)

    def _variable(self, block: Block) -> object:
        kind, default = block.get("type"), block.get("default")
        wanted = ANY if kind is None else kind.type
        found: object = None if kind is not None else ""
        try:
            if default is not None:
                found = convert(default.value(self), wanted)
            outside, is_json = self._override(block.label, typed=kind is not None)
            if outside is None:
                return found
            if kind is None:
                wanted = _implied(found, is_given=default is not None)
            return from_environment(outside, wanted, as_json=is_json and kind is not None)
        except Misfit as error:
            raise Wrong(block.place, f"The variable {block.label!r}: {error}.", FIX) from error

    def _override(self, name: str, *, typed: bool) -> tuple[str | None, bool]:
        """What the caller or the environment has for a variable, and whether it is JSON."""
        outside = self._outside.get(name)
        other = f"{name}{_JSON}"
        is_free = other not in self._variables and other not in self._builtin
        if (outside is None or typed) and is_free and other in self._outside:
            return self._outside[other], True
        return outside, False

    def _validate(self, block: Block) -> None:
        for each in block.blocks:
            condition, message = each.get("condition"), each.get("error_message")
            if each.kind != "validation" or condition is None:
                raise Wrong(each.place, "A block of a variable is `validation`, with a `condition`.", FIX)
            try:
                is_met = truth(condition.value(self))
            except Misfit as error:
                raise Wrong(condition.place, f"The condition: {error}.", FIX) from error
            if not is_met:
                reason = "The condition is not met." if message is None else text(message.value(self))
                fix = f"Set {block.label} to a value that is allowed."
                raise Wrong(each.place, f"The variable {block.label!r}: {reason}", fix)

    def function(self, name: str) -> Callable[..., object] | None:
        """See Names."""
        block = self._functions.get(name)
        return None if block is None else partial(self._call, block)

    def _call(self, block: Block, *values: object) -> object:
        params, result, rest = block.get("params"), block.get("result"), block.get("variadic_params")
        if params is None or result is None:
            raise Wrong(block.place, "A function has `params` and `result`.", FIX)
        names = [each.keyword or "" for each in params.elements()]
        more = None if rest is None else _named_by(rest)
        if len(values) < len(names) or (more is None and len(values) > len(names)):
            raise Misfit(f"{block.label}() takes {len(names)} arguments, and there are {len(values)}")
        local: dict[str, object] = dict(zip(names, values, strict=False))
        if more is not None:
            local[more] = list(values[len(names) :])
        key = ("function", block.label)
        return self._once(key, block.place, lambda: result.value(Inner(local, self)))

    def _blocks_of(self, kind: str, position: Position) -> object:
        """Targets or groups by their names, each with its attributes: null where it does not say them."""
        plain = {each.label: (each, self) for each in self._blocks if each.kind == kind and not each.get("matrix")}

        def find(name: str) -> tuple[Block, Names]:
            return plain[name] if name in plain else self._of_matrix(kind)[name]

        def attribute(name: str, key: str) -> object:
            block, names = find(name)
            expression = block.get(key)
            if key == "name" or expression is None:
                return name if key == "name" else None
            read = ATTRIBUTES[key].read if key in ATTRIBUTES else _as_it_is
            once = (kind, f"{name}.{key}")
            return self._once(once, position, lambda: _read(expression, key, partial(_unless_null, read), names))

        def one(name: str) -> object:
            return _Lazy([*ATTRIBUTES, "name", "targets", INHERITS], partial(attribute, name))

        return _Lazy([*plain], one, lambda: [*self._of_matrix(kind)])

    def _of_matrix(self, kind: str) -> dict[str, tuple[Block, Names]]:
        """The targets that tables of values make, by their names."""
        blocks = [each for each in self._blocks if each.kind == kind and each.get("matrix")]
        return {name: (block, names) for block in blocks for name, names in self._combinations(block)}

    def groups(self) -> Iterator[tuple[str, list[str]]]:
        """Groups with their members; raises Wrong."""
        for block in self._blocks:
            if block.kind != "group":
                continue
            for name, expression in block.attributes:
                if name not in ("targets", "description"):
                    raise Wrong(expression.place, f"A group has no {name!r}.", "It has `targets`.")
            members = block.get("targets")
            if members is None:
                raise Wrong(block.place, f"The group {block.label!r} has no `targets`.", FIX)
            yield block.label, _read(members, "targets", lambda value: list(map(text, listed(value))), self)

    def targets(self) -> Iterator[tuple[str, list[Defined], list[Wrong]]]:
        """The label of each block with the targets that it makes, and what is wrong with it."""
        for block in self._blocks:
            if block.kind == "target":
                wrong: list[Wrong] = []
                made: list[Defined] = []
                try:
                    for name, names in self._combinations(block):
                        made.append(_target(name, block, names, wrong))
                except Wrong as error:
                    wrong.append(error)
                yield block.label, made, wrong

    def _combinations(self, block: Block) -> Iterator[tuple[str, Names]]:
        matrix, name = block.get("matrix"), block.get("name")
        if matrix is None:
            if name is not None:
                raise Wrong(name.place, "A target has a `name` where it has a `matrix`.", FIX)
            yield _valid(block.label, block.place), self
            return
        axes = {key: listed(value) for key, value in _read(matrix, "matrix", _axes, self).items()}
        count = 1
        for axis in axes.values():
            count *= len(axis)
        if count > _MOST:
            raise Wrong(matrix.place, f"The matrix makes {count} targets, and {_MOST} are allowed.", FIX)
        for values in product(*axes.values()):
            names = Inner(dict(zip(axes, values, strict=True)), self)
            own = block.label if name is None else _read(name, "name", text, names)
            yield _valid(own, block.place if name is None else name.place), names


def _as_it_is(value: object) -> object:
    return value


def _axes(value: object) -> dict[str, Any]:
    return {key: listed(each) for key, each in mapped(value).items()}


def _named_by(expression: Expression) -> str | None:
    return expression.keyword or expression.elements()[0].keyword


def _implied(value: object, *, is_given: bool) -> Type:
    """The type of a variable whose file says none; raises Misfit."""
    if value is None or not is_given:
        return Type("string")
    kind = kind_of(value)
    if kind not in PRIMITIVE:
        raise Misfit(f"it has no `type`, and so a {kind} cannot be set from outside")
    return Type(kind)


def _valid(name: str, place: Position) -> str:
    if not _NAME.match(name):
        raise Wrong(place, f"{name!r} is not a name of a target.", "Use letters, digits, - and _.")
    return name


def _read(expression: Expression, name: str, read: Callable[[object], Any], names: Names) -> Any:  # noqa: ANN401
    """The value of an attribute; raises Wrong."""
    value = expression.value(names)
    try:
        return read(value)
    except Misfit as error:
        raise Wrong(expression.place, f"{name}: {error}.", FIX) from error


def _target(name: str, block: Block, names: Names, wrong: list[Wrong]) -> Defined:
    values: dict[str, Any] = {}
    places: dict[str, Position] = {}
    inherits: list[str] = []
    for key, expression in block.attributes:
        places[key] = expression.place
        try:
            if key == INHERITS:
                inherits = _read(expression, key, lambda value: list(map(text, listed(value))), names)
            elif key in ATTRIBUTES:
                value = _read(expression, key, partial(_unless_null, ATTRIBUTES[key].read), names)
                if value is not None:
                    values[key] = value
            elif key not in ("matrix", "name"):
                wrong.append(Wrong(expression.place, f"A target has no {key!r}.", FIX))
        except Wrong as error:
            wrong.append(error)
    base = block.place.path.rpartition("/")[0]
    return Defined(name=name, values=values, places=places, place=block.place, inherits=tuple(inherits), base=base)


def _unless_null(read: Callable[[object], Any], value: object) -> Any:  # noqa: ANN401 - as the attribute has it
    return None if value is None else read(value)
