"""Options of ours in a Containerfile: `# rootless-scratch: --bundle-libraries --with tzdata` at its top.

To other builders that is a comment. It holds what a Containerfile cannot say and what the image needs to start,
and no more than what adds files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile.document import Fault, Span
from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.image.kinds import Option

_LINE = expression(r"#[ \t]*rootless-scratch:(.*)", re.IGNORECASE)
_DIRECTIVE = expression(r"#[ \t]*[A-Za-z][A-Za-z0-9]*[ \t]*=")
_FIX = "Write it as on the command line, e.g. `# rootless-scratch: --bundle-libraries --with ca-certificates`."

ALLOWED: dict[str, Option] = {
    Spec.options[name].flags[-1]: Spec.options[name]
    for name in ("bundle_libraries", "essentials", "include_libraries", "bundle_packages")
}
"""By their flags."""


def own_options(text: str) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """The options that the file itself sets, by their names in Python, and what cannot be read of them."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for number, line in _lines(text):
        try:
            for option, value in _options(line):
                values[option.name] = (*values.get(option.name, ()), value) if option.kind.many else value
        except UsageError as error:
            span = Span(line=number, column=1, end_line=number, end_column=len(line.rstrip()) + 1)
            faults.append(Fault(message=error.message, fix=error.fix, span=span))
    return values, tuple(faults)


def together(text: str, options: Mapping[str, object]) -> dict[str, object]:
    """The options of a build of the file: its own, and those of the caller, which add to them."""
    own, _ = own_options(text)
    found = dict(options)
    for name, value in own.items():
        theirs = found.get(name)
        if not isinstance(value, tuple):
            found[name] = theirs or value
            continue
        more = (theirs,) if isinstance(theirs, str) else tuple(theirs) if isinstance(theirs, Iterable) else ()
        found[name] = tuple(dict.fromkeys((*value, *more)))
    return found


def with_options(text: str, flags: Sequence[str]) -> str:
    """The same file with these options as well, in the line that it has for them or in a new one at its top.

    `flags` are as they stand on the command line, a value behind `=`.
    """
    known = list(_lines(text))
    lines = text.split("\n")
    if known:
        number, line = known[-1]
        end = "\r" if line.endswith("\r") else ""
        kept = line.rstrip()
        lines[number - 1] = " ".join((kept, *(flag for flag in flags if flag not in kept.split()))) + end
        return "\n".join(lines)
    top = 0
    while top < len(lines) and _DIRECTIVE.match(lines[top].strip()):
        top += 1
    end = "\r" if lines[0].endswith("\r") else ""
    lines.insert(top, f"# rootless-scratch: {' '.join(flags)}{end}")
    return "\n".join(lines)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each comment of ours; they end with the first instruction."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        bare = line.strip()
        if bare and not bare.startswith("#"):
            return
        if _LINE.match(bare):
            yield number, line


def _options(line: str) -> Iterator[tuple[Option, Any]]:
    """Every option of one line, with one value; raises UsageError."""
    found = _LINE.match(line.strip())
    try:
        tokens = iter(shlex.split(found[1] if found else ""))
    except ValueError as error:
        raise UsageError(f"The options cannot be told apart: {error}.", fix=_FIX) from error
    for token in tokens:
        flag, equals, value = token.partition("=")
        option = ALLOWED.get(flag)
        if option is None:
            raise UsageError(f"A Containerfile sets no option {flag!r}.", fix=f"It may set {_listed(ALLOWED)}.")
        if option.metavar is None:
            if equals:
                raise UsageError(f"{flag} takes no value.", fix=_FIX)
            yield option, True
            continue
        argument = value if equals else next(tokens, "")
        if not argument:
            raise UsageError(f"{flag} has no value.", fix=_FIX)
        # Whether the value can be one is told here, with the line.
        option.kind.value(option.name, (argument,))
        yield option, argument


def _listed(flags: Iterable[str]) -> str:
    *most, last = flags
    return f"{', '.join(most)} and {last}"
