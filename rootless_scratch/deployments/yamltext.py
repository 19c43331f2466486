"""Plain data as YAML 1.2 that readers of 1.1 read alike.

What is not plainly a word is a string in double quotes, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rootless_scratch.deployments.escapes import escaped

_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*\Z")
_OTHERS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML 1.1 takes for something else."""

_SHORT = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def yaml(*documents: Mapping[str, object]) -> str:
    """Documents of mappings, sequences, strings, numbers and truth values, in the order that they have."""
    return "---\n".join("".join(f"{line}\n" for line in _lines(document)) for document in documents)


def _lines(value: object) -> list[str]:
    """The lines of a mapping or a sequence that is not empty."""
    lines = []
    if isinstance(value, Mapping):
        for key, each in value.items():
            inner = _inner(each)
            # A sequence stands below its key without a margin, as kubectl writes it.
            margin = "" if isinstance(each, Sequence) and not isinstance(each, str) else "  "
            lines += [f"{_scalar(key)}:{'' if inner else f' {_scalar(each)}'}", *(margin + line for line in inner)]
    else:
        assert isinstance(value, Sequence)  # noqa: S101 - there is nothing else
        for each in value:
            first, *rest = _inner(each) or [_scalar(each)]
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _inner(value: object) -> list[str]:
    is_empty_or_scalar = isinstance(value, str) or not isinstance(value, (Mapping, Sequence)) or not value
    return [] if is_empty_or_scalar else _lines(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[]"
    if not isinstance(value, str):
        return str(value)
    is_word = _WORD.match(value) is not None and value.lower() not in _OTHERS
    return value if is_word else f'"{escaped(value, _SHORT)}"'
