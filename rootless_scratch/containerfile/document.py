"""A Containerfile as data: what is written where. Nothing here has been expanded, looked up or judged."""

from __future__ import annotations

from typing import Self

import msgspec


class Record(msgspec.Struct, frozen=True):
    """What a file may have a million of: a struct of msgspec is made in a tenth of the time of our own Value."""

    def but(self, **changes: object) -> Self:
        """The same with these changes."""
        return msgspec.structs.replace(self, **changes)


class Span(Record, frozen=True, gc=False):
    """A part of the file: lines and columns count characters from 1, `end_column` is the one behind its last."""

    line: int
    column: int
    end_line: int
    end_column: int


class Token(Record, frozen=True, gc=False):
    """One argument as it is written, quotes and escapes included; `raw` is without what joins continued lines."""

    raw: str
    span: Span


class Flag(Record, frozen=True, gc=False):
    """`--name` or `--name=value` before the arguments of an instruction; None is no value, as in `--link`."""

    name: str
    value: str | None
    span: Span


class Heredoc(Record, frozen=True):
    """`<<NAME` and the lines up to NAME: `span` is that of the lines of `body`.

    With `expands` variables of the body are expanded (the name is not quoted); with `<<-` the tabs at the begin of
    its lines are gone already. `opening` is `<<NAME` as it is written in the instruction.
    """

    name: str
    body: str
    expands: bool
    span: Span
    opening: Token | None = None


class Instruction(Record, frozen=True):
    """One instruction, its name in capitals.

    `text` are its arguments as they are written, without flags, continued lines joined; `tokens` the same, split
    as builders do: at white space outside of quotes for ENV, LABEL, ARG and commands, at all of it for COPY, ADD,
    VOLUME, EXPOSE and FROM, not at all for USER, WORKDIR, STOPSIGNAL and MAINTAINER. `exec_form` are the strings
    of a JSON array, else None; then `tokens` are its strings as they are written, with their quotes. `pairs` are
    the names and values of ENV, LABEL and ARG, None where ARG has none; `spaced` is the old form `ENV NAME VALUE`.
    `inner` is the instruction of ONBUILD, or HEALTHCHECK's `CMD` or `NONE`. `original` is what stands in the
    file, `last_line` the last line that belongs to it, heredocs included; `span` is without these.

    `array_trouble` is why what begins with `[` is not an array: `end` (a bracket or quote lacks), `rest` (text
    behind it), `comma` (one before its end), `quotes` (single ones) or `other`; `array_strings` are the strings
    before that. Builders take it as a command for the shell, buildah 1.28 with `rest` as the array.
    """

    name: str
    span: Span
    last_line: int
    original: str
    text: str = ""
    flags: tuple[Flag, ...] = ()
    tokens: tuple[Token, ...] = ()
    exec_form: tuple[str, ...] | None = None
    pairs: tuple[tuple[Token, Token | None], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    inner: Instruction | None = None
    spaced: bool = False
    array_trouble: str = ""
    array_strings: tuple[str, ...] = ()

    def flag(self, name: str) -> Flag | None:
        """The last flag of this name."""
        return next((flag for flag in reversed(self.flags) if flag.name == name), None)


class Stage(Record, frozen=True):
    """What stands between two FROM: `begin` is the first, `base` what it names, `name` what `AS` calls it."""

    number: int
    begin: Instruction
    base: Token
    name: str | None
    instructions: tuple[Instruction, ...]


class Fault(Record, frozen=True):
    """Why a part of the file cannot be read or done; the rest of the file is there all the same.

    With `tolerated` builders take the file nevertheless, and nothing of it is left out. `what` is the name of a
    case, as Noted has it, where the cause is one.
    """

    message: str
    fix: str
    span: Span
    tolerated: bool = False
    what: str = ""


class Document(Record, frozen=True):
    """A whole file: `directives` are `# name=value` at its top, `global_arguments` the ARG before the first FROM.

    `escape` is the character that continues lines, a backslash by default.
    """

    path: str
    text: str
    escape: str
    directives: tuple[tuple[str, str], ...]
    global_arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    faults: tuple[Fault, ...] = ()
