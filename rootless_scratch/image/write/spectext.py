"""The text of a `scratch.toml`: its values in the order of the options, each with what it is for as a comment."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence

from rootless_scratch.data import Data
from rootless_scratch.errors import SpecError
from rootless_scratch.image.paths import is_utf8
from rootless_scratch.image.plan.specschema import KEYS, shown_key
from rootless_scratch.image.plan.variables import literal
from rootless_scratch.image.spec import OUTPUT, Spec

_WIDTH = 100
_TAG = Spec.options["tag"].key
_LINE = 80
"""Characters up to which an array stands in one line."""

_HEAD = """\
# The image, for `rootless-scratch build --spec {name}`; what is relative is beside this file.
# `rootless-scratch schema` prints a JSON Schema for editors, docs/spec.md tells of all keys.
"""

_EXAMPLES: Mapping[str, object] = {
    "cmd": ["--option"],
    "user": "65532:65532",
    "ports": [8080],
    "copy": ["static:/srv"],
    "mkdir": ["/data:mode=0700,uid=65532,gid=65532"],
    "output": ["oci-archive:image.tar"],
    "env": {"NAME": "value"},
    "labels": {"org.opencontainers.image.source": "https://example.com/"},
}
"""What most images need sooner or later, shown as a comment where nothing is set."""


class Filled(Data):
    """A value of a key, and why it is there: sentences, and what is listed below them."""

    value: object
    reason: str = ""
    listed: tuple[str, ...] = ()


def spec_text(filled: Mapping[str, Filled], *, name: str, remarks: Sequence[str] = ()) -> str:
    """The file, which is called `name`, with `remarks` at its top; raises SpecError for what TOML cannot hold."""
    parts = [_HEAD.format(name=name) + "".join(_comment(remark) for remark in remarks)]
    rows = [_TAG, OUTPUT.key, *(option.key for option in Spec.options.values() if option.key != _TAG)]
    # A table takes all keys below it.
    for key in sorted(rows, key=lambda key: _is_table(filled[key].value if key in filled else _EXAMPLES.get(key))):
        if key in filled:
            parts.append(_reason(key, filled[key]) + _setting(key, filled[key].value))
        elif key in _EXAMPLES:
            shown = "".join(f"# {line}\n" for line in _setting(key, _EXAMPLES[key]).splitlines())
            parts.append(_comment(KEYS[key].help) + shown)
    return "\n".join(parts)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    if not is_utf8(text):
        raise SpecError(
            f"{text!r} is not UTF-8, as TOML must be.",
            fix="Rename the file, or pass its name to `build`.",
        )
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _reason(key: str, filled: Filled) -> str:
    return _comment(filled.reason or KEYS[key].help) + "".join(_comment(each, "- ") for each in filled.listed)


def _comment(text: str, bullet: str = "") -> str:
    # What a file or a finding is called may hold anything: a comment ends with its line.
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    lines = textwrap.wrap(
        plain,
        _WIDTH,
        initial_indent=f"# {bullet}",
        subsequent_indent=f"# {' ' * len(bullet)}",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"{line}\n" for line in lines)


def _setting(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        rows = "".join(f"{_key(name)} = {_value(item)}\n" for name, item in value.items())
        return f"[{shown_key(key)}]\n{rows}"
    return f"{shown_key(key)} = {_value(value)}\n"


def _key(name: str) -> str:
    return name if shown_key(name) == name else _quoted(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(literal(value))
    items = [_value(item) for item in value] if isinstance(value, Sequence) else []
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _LINE else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
