"""One logical line as an Instruction: its name, its flags, and the arguments in the way of each instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile import arguments
from rootless_scratch.containerfile.document import Flag, Instruction, Token
from rootless_scratch.containerfile.flags import UNREAD, wrong_flag
from rootless_scratch.containerfile.heredocs import opening
from rootless_scratch.containerfile.reading import BLANK, trimmed
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.containerfile.arguments import Part
    from rootless_scratch.containerfile.reading import Faults, Logical

_NAME = expression(f"[^{BLANK}]*+")
_BLANKS = expression(f"[{BLANK}]++")
_SHOWN = 40
_NO_TRIGGERS = ("ONBUILD", "FROM", "MAINTAINER")


class _Malformed(Exception):  # noqa: N818 - it becomes a Fault
    """Why a line is not an instruction, and the part of it that is wrong."""

    def __init__(self, message: str, fix: str, part: Part) -> None:
        self.message = message
        self.fix = fix
        self.part = part
        super().__init__(message)


def instruction_of(logical: Logical, escape: str, faults: Faults) -> Instruction | None:
    """The instruction of a line, without heredocs and original; None where it is malformed, which `faults` tells.

    FROM is one in spite of its flags: what follows belongs to a stage of its own.
    """
    line = _Line(logical, escape, hints=not faults.full)
    instruction = None
    try:
        instruction = line.instruction(0, len(trimmed("." + logical.text)) - 1)
    except _Malformed as malformed:
        line.malformed.append(malformed)
    for each in line.malformed:
        faults.add(each.message, each.fix, logical.span(*each.part))
    return instruction if not line.malformed or (instruction and instruction.name == "FROM") else None


class _Line:
    """A logical line while it is taken apart."""

    def __init__(self, logical: Logical, escape: str, *, hints: bool) -> None:
        self.logical = logical
        self.text = logical.text
        self.escape = escape
        self.hints = hints
        self.malformed: list[_Malformed] = []

    def instruction(self, start: int, end: int) -> Instruction:
        """What is between these offsets; raises _Malformed, and collects what is wrong with flags."""
        at = (start, self.name_end(start, end))
        name = self.text[slice(*at)].upper()
        read = _READERS.get(name)
        if not name:
            raise _Malformed("The line is continued, and nothing follows.", "Remove its escape character.", at)
        if read is None:
            shown = _shown(self.text[slice(*at)])
            raise _Malformed(f"There is no instruction {shown}.", _nearest(name) if self.hints else "", at)
        flags, begin = arguments.flags(self.text, at[1], end, self.escape)
        fields = read(self, name, at, (begin, end))
        inner = fields.get("inner")
        # What builders pass over is passed over here as well.
        if name not in UNREAD and not (inner and inner.name == "NONE"):
            self._check(name, flags)
        return Instruction(
            name=name,
            span=self.logical.span(start, end),
            last_line=self.logical.last,
            original="",
            text=self.text[begin:end],
            flags=tuple(self._flag(value, part) for value, part in flags),
            **fields,
        )

    def name_end(self, start: int, end: int) -> int:
        """Where what begins here is followed by a blank."""
        found = _NAME.match(self.text, start, end)
        return found.end() if found else start

    def blanks_end(self, start: int, end: int) -> int:
        """Where what follows blanks begins."""
        found = _BLANKS.match(self.text, start, end)
        return found.end() if found else start

    def token(self, part: Part) -> Token:
        """What stands at a place."""
        return Token(self.text[part[0] : part[1]], self.logical.span(*part))

    def tokens(self, parts: Sequence[Part]) -> tuple[Token, ...]:
        """What stands at places."""
        return tuple(map(self.token, parts))

    def _flag(self, text: str, part: Part) -> Flag:
        name, equals, value = text[2:].partition("=")
        return Flag(name=name, value=value if equals else None, span=self.logical.span(*part))

    def _check(self, instruction: str, flags: list[tuple[str, Part]]) -> None:
        seen: set[str] = set()
        for text, part in flags:
            name, equals, value = text[2:].partition("=")
            wrong = wrong_flag(instruction, name, value if equals else None, again=name in seen)
            seen.add(name)
            if wrong:
                self.malformed.append(_Malformed(*wrong, part))


Fields = dict[str, Any]


def _array(line: _Line, name: str, within: Part) -> Fields:
    """The fields of a JSON array, or of what begins like one and is none."""
    array = arguments.array(line.text, *within)
    if array is None:
        return {}
    if array.trouble == "strings":
        raise _Malformed(
            f"The array of {name} has other values than strings.", "Put each of them in double quotes.", within
        )
    if array.trouble:
        return {"array_trouble": array.trouble, "array_strings": array.strings}
    return {"exec_form": array.strings, "tokens": line.tokens(array.parts)}


def _command(line: _Line, name: str, _at: Part, within: Part) -> Fields:
    fields = _array(line, name, within)
    if "exec_form" not in fields:
        fields["tokens"] = line.tokens(arguments.quoted(line.text, *within, line.escape))
    return fields


def _list(line: _Line, name: str, at: Part, within: Part) -> Fields:
    fields = _array(line, name, within)
    if "exec_form" not in fields:
        fields["tokens"] = line.tokens(arguments.bare(line.text, *within))
    if not fields["tokens"]:
        raise _lacks(name, at)
    return fields


def _copy(line: _Line, name: str, at: Part, within: Part) -> Fields:
    fields = _list(line, name, at, within)
    destination = fields["tokens"][-1]
    if len(fields["tokens"]) == 1:
        raise _Malformed(
            f"{name} has one argument, so it lacks the source or the destination.",
            f"Write both, as in `{name} {destination.raw[:_SHOWN]} /`.",
            within,
        )
    if "exec_form" not in fields and opening(destination.raw):
        raise _Malformed(
            f"A heredoc cannot be the destination of {name}.",
            "Put the path of the file behind it.",
            (within[1] - len(destination.raw), within[1]),
        )
    return fields


def _volume(line: _Line, name: str, at: Part, within: Part) -> Fields:
    fields = _list(line, name, at, within)
    if "" in fields.get("exec_form", ()):
        raise _Malformed("A path of VOLUME is empty.", "Remove it, or write the path.", within)
    return fields


def _shell(line: _Line, name: str, at: Part, within: Part) -> Fields:
    fields = _array(line, name, within)
    if not fields.get("exec_form"):
        raise _Malformed(
            "SHELL needs a JSON array of at least one string.",
            'Write it as `SHELL ["/bin/sh", "-c"]`.',
            within if within[0] < within[1] else at,
        )
    return fields


def _bare(line: _Line, name: str, at: Part, within: Part) -> Fields:
    parts = arguments.bare(line.text, *within)
    if not parts and name != "FROM":
        raise _lacks(name, at)
    return {"tokens": line.tokens(parts)}


def _one(line: _Line, name: str, at: Part, within: Part) -> Fields:
    if within[0] >= within[1]:
        raise _lacks(name, at)
    return {"tokens": (line.token(within),)}


def _pairs(line: _Line, name: str, at: Part, within: Part) -> Fields:
    parts = arguments.quoted(line.text, *within, line.escape)
    if not parts:
        raise _lacks(name, at)
    tokens = line.tokens(parts)
    if name != "ARG" and "=" not in tokens[0].raw:
        first = within[0], line.name_end(*within)
        value = line.blanks_end(first[1], within[1]), within[1]
        if value[0] >= value[1]:
            raise _Malformed(
                f"{name} has a name and no value.", f"Write `{name} {tokens[0].raw[:_SHOWN]}=VALUE`.", within
            )
        return {"tokens": tokens, "pairs": ((line.token(first), line.token(value)),), "spaced": True}
    pairs: list[tuple[Token, Token | None]] = []
    for start, end in parts:
        equals = line.text.find("=", start, end)
        if equals < 0 and name != "ARG":
            raise _Malformed(
                f"{_shown(line.text[start:end])} has no `=`, which the other arguments of {name} have.",
                "Put a value with spaces in double quotes, or add `=VALUE`.",
                (start, end),
            )
        if equals == start:
            raise _Malformed(f"A name of {name} is empty.", "Write a name before `=`.", (start, end))
        value_token = None if equals < 0 else line.token((equals + 1, end))
        pairs.append((line.token((start, end if equals < 0 else equals)), value_token))
    return {"tokens": tokens, "pairs": tuple(pairs)}


def _health(line: _Line, name: str, at: Part, within: Part) -> Fields:
    start, end = within
    if start >= end:
        raise _lacks(name, at)
    first = start, line.name_end(start, end)
    begin = line.blanks_end(first[1], end)
    kind = line.text[slice(*first)].upper()
    if kind == "NONE" and begin < end:
        raise _Malformed("HEALTHCHECK NONE has no arguments.", "Remove them, or write CMD for NONE.", (begin, end))
    if kind not in ("CMD", "NONE"):
        raise _Malformed(
            f"HEALTHCHECK is followed by {_shown(line.text[slice(*first)])}, where only CMD or NONE can stand.",
            'Write `HEALTHCHECK CMD ["PROGRAM", "ARGUMENT"]`, or `HEALTHCHECK NONE`.',
            first,
        )
    fields = _command(line, name, first, (begin, end))
    if kind == "CMD" and not fields["tokens"]:
        raise _Malformed("HEALTHCHECK CMD lacks its command.", "Write a program, as a JSON array.", first)
    inner = Instruction(
        name=kind,
        span=line.logical.span(start, end),
        last_line=line.logical.last,
        original="",
        text=line.text[begin:end],
        **fields,
    )
    return {"tokens": (line.token(first), *fields["tokens"]), "inner": inner}


def _trigger(line: _Line, name: str, at: Part, within: Part) -> Fields:
    start, end = within
    if start >= end:
        raise _lacks(name, at)
    first = start, line.name_end(start, end)
    if (inner_name := line.text[slice(*first)].upper()) in _NO_TRIGGERS:
        raise _Malformed(
            f"{inner_name} cannot stand in ONBUILD.", "Remove it, or write another instruction.", first
        )
    return {"inner": line.instruction(start, end)}


_READERS: dict[str, Callable[[_Line, str, Part, Part], Fields]] = {
    "ADD": _copy,
    "ARG": _pairs,
    "CMD": _command,
    "COPY": _copy,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "EXPOSE": _bare,
    "FROM": _bare,
    "HEALTHCHECK": _health,
    "LABEL": _pairs,
    "MAINTAINER": _one,
    "ONBUILD": _trigger,
    "RUN": _command,
    "SHELL": _shell,
    "STOPSIGNAL": _one,
    "USER": _one,
    "VOLUME": _volume,
    "WORKDIR": _one,
}


def _lacks(name: str, at: Part) -> _Malformed:
    return _Malformed(f"{name} has no arguments.", "Add one, or remove the line.", at)


def _shown(text: str) -> str:
    return f"`{text[:_SHOWN]}...`" if len(text) > _SHOWN else f"`{text}`"


def _nearest(name: str) -> str:
    near = next((other for other in _READERS if _is_near(name, other)), None)
    return f"Write {near}." if near else "Write one that exists, or `#` before a comment."


def _is_near(name: str, other: str) -> bool:
    """Whether one letter is wrong, missing or too much, or two are exchanged."""
    if abs(len(name) - len(other)) > 1:
        return False
    begin = next((at for at, pair in enumerate(zip(name, other, strict=False)) if pair[0] != pair[1]), None)
    if begin is None:
        return True
    one, two = name[begin:], other[begin:]
    return one[1:] == two[1:] or one[1:] == two or one == two[1:] or (one[:2] == two[1::-1] and one[2:] == two[2:])
