"""Variables in compose files: `$NAME`, `${NAME:-default}` and their kin, and files of variables (.env)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless_scratch.bakefiles.values import Misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*[=:]\s*(?P<value>.*)\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables, empty where they are not set; raises Misfit."""
    found, at = [], 0
    while (sign := text.find("$", at)) >= 0:
        found.append(text[at:sign])
        value, at = _one(text, sign + 1, variables)
        found.append(value)
    return "".join([*found, text[at:]])


def _one(text: str, at: int, variables: Mapping[str, str]) -> tuple[str, int]:
    if text.startswith("$", at):
        return "$", at + 1
    if not text.startswith("{", at):
        match = _NAME.match(text, at)
        if match is None:
            raise Misfit(f"`$` stands before no name in {text!r}; `$$` is one `$`")
        return variables.get(match[0], ""), match.end()
    match = _NAME.match(text, at + 1)
    if match is None:
        raise Misfit(f"`${{` stands before no name in {text!r}")
    end = _end(text, match.end())
    return _value(match[0], text[match.end() : end], variables), end + 1


def _end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    raise Misfit(f"a `${{` has no end in {text!r}")


def _value(name: str, rest: str, variables: Mapping[str, str]) -> str:
    value = variables.get(name)
    if not rest:
        return value or ""
    match = _OPERATOR.match(rest)
    if match is None:
        raise Misfit(f"`${{{name}{rest}}}` is unknown: after the name stands -, :-, ?, :?, + or :+")
    operator, default = match[0], rest[match.end() :]
    is_set = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return interpolated(default, variables) if is_set else ""
    if is_set:
        return value or ""
    if operator.endswith("-"):
        return interpolated(default, variables)
    raise Misfit(f"the variable {name} is not set: {interpolated(default, variables) or 'it has to be'}")


def variables_of(content: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a file of NAME=VALUE lines sets; what `environ` has stays as it is there. Raises Misfit."""
    found: dict[str, str] = {}
    for line in _lines(content):
        match = _LINE.match(line)
        if match is None:
            if not line.strip().isidentifier():
                raise Misfit(f"{line.strip()!r} is not NAME=VALUE")
            continue
        name, value = match["name"], match["value"].strip()
        known = {**found, **environ}
        if value.startswith("'"):
            found[name] = value[1 : value.find("'", 1)] if value.find("'", 1) > 0 else value
        elif value.startswith('"'):
            found[name] = interpolated(_unquoted(value), known)
        else:
            found[name] = interpolated(re.sub(r"(?:\A|\s+)#.*", "", value, flags=re.DOTALL).rstrip(), known)
    return {**found, **{name: environ[name] for name in found if name in environ}}


def _unquoted(value: str) -> str:
    end = re.compile(r'(?<!\\)(?:\\\\)*"').search(value, 1)
    inner = value[1 : end.end() - 1] if end else value[1:]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), inner, flags=re.DOTALL)


def _lines(content: str) -> list[str]:
    """Lines that are neither empty nor comments; one in double quotes goes on until these end."""
    found: list[str] = []
    for line in content.splitlines():
        if found and len(re.findall(r'(?<!\\)"', found[-1])) == 1 and re.search(r'[=:]\s*"', found[-1]):
            found[-1] += f"\n{line}"
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
    return found
