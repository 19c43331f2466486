"""Licenses as SPDX expressions: of machine-readable copyright files of Debian, and of what databases say.

What SPDX has no name for becomes a LicenseRef of its package, with its text.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Final, NamedTuple

from rootless_scratch.expressions import expression

_COPYRIGHT_LIMIT: Final = 2 << 20
_TEXT_LIMIT: Final = 20_000
_NAMES_MOST: Final = 200

_FORMAT: Final = expression(r"\AFormat:\s*\S*copyright-format/1\.0", re.IGNORECASE)
_LICENSE: Final = expression(r"^License:[ \t]*(.*)((?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE)
_GNU: Final = expression(r"(l|a)?gpl-([0-9]+(?:\.[0-9]+)?)(\+)?\Z")
_GFDL: Final = expression(r"gfdl(-niv)?-([0-9]+\.[0-9]+)(\+)?\Z")
_SHORT: Final = {
    "expat": "MIT",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "apache-2": "Apache-2.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "bsd3": "BSD-3-Clause",
    "boost": "BSL-1.0",
    "boost-1.0": "BSL-1.0",
    "mpl-2": "MPL-2.0",
    "mpl-1": "MPL-1.0",
    "psf-2": "PSF-2.0",
    "python": "PSF-2.0",
    "cc0": "CC0-1.0",
    "ofl": "OFL-1.1",
    "zlib/libpng": "Zlib",
    "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
}
"""Short names of Debian's copyright-format that are spelled otherwise than in SPDX."""

_TOKEN: Final = expression(r"[()]|[^\s()]+")
_ODD: Final = expression(r"[^A-Za-z0-9.-]+")


class License(NamedTuple):
    """An expression, and the text of each LicenseRef in it."""

    expression: str
    texts: tuple[tuple[str, str], ...] = ()


def license_of_copyright(content: bytes, package: str) -> License | None:
    """What a copyright file says in its machine-readable form; None where it has another one."""
    if len(content) > _COPYRIGHT_LIMIT:
        return None
    text = content.decode("utf-8", "replace").lstrip("\ufeff")
    if not _FORMAT.match(text):
        return None
    texts: dict[str, str] = {}
    for name, body in _LICENSE.findall(text):
        short = " ".join(name.split())
        if short and len(texts.get(short, "")) < len(body):
            texts[short] = body
        texts.setdefault(short, "")
    names = sorted(name for name in texts if name)[:_NAMES_MOST]
    if not names:
        return None
    parts: dict[str, None] = {}
    refs: dict[str, str] = {}
    for name in names:
        parts[_expression(name, package, texts, refs)] = None
    return License(_joined(sorted(parts)), tuple(sorted(refs.items())))


def license_of_text(text: str, package: str) -> License | None:
    """What a database or metadata says, as an expression or as a LicenseRef; None for nothing."""
    text = " ".join(text.split())[:_TEXT_LIMIT]
    if not text or text.upper() in ("UNKNOWN", "NONE", "NOASSERTION"):
        return None
    refs: dict[str, str] = {}
    return License(_expression(text, package, {text: text}, refs), tuple(sorted(refs.items())))


def _joined(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return " AND ".join(f"({part})" if " OR " in part else part for part in parts)


def _expression(name: str, package: str, texts: dict[str, str], refs: dict[str, str]) -> str:
    """One license, or several with `and` and `or` between them; all as one reference where that is not plain."""
    if "," not in name and (known := _parsed(name, package, texts, refs)) is not None:
        return known
    return _reference(name, package, texts, refs)


def _parsed(name: str, package: str, texts: dict[str, str], refs: dict[str, str]) -> str | None:
    found: list[str] = []
    depth = 0
    wants_operand = True
    tokens = _TOKEN.findall(name)
    at = 0
    while at < len(tokens):
        part = tokens[at]
        if part == "(" and wants_operand:
            depth += 1
        elif part == ")" and not wants_operand and depth:
            depth -= 1
        elif part.upper() in ("AND", "OR") and not wants_operand:
            part, wants_operand = part.upper(), True
        elif wants_operand and part != ")":
            excepted = tokens[at + 1 : at + 3]
            if len(excepted) == 2 and excepted[0].upper() == "WITH":  # noqa: PLR2004 - WITH and its name
                base, exception = _known(part), _exceptions().get(excepted[1].lower())
                if base is None or exception is None or " " in base:
                    return None
                part = f"{base} WITH {exception}"
                at += 2
            else:
                known = _known(part)
                part = known or _reference(part, package, texts, refs)
                if known and " " in known and len(tokens) > 1:
                    part = f"({known})"
            wants_operand = False
        else:
            return None
        found.append(part)
        at += 1
    if wants_operand or depth:
        return None
    return " ".join(found).replace("( ", "(").replace(" )", ")")


def _known(name: str) -> str | None:
    """The SPDX id of one name."""
    low = name.lower()
    gnu = _GNU.match(low)
    if gnu:
        version = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
        low = f"{gnu[1] or ''}gpl-{version}-{'or-later' if gnu[3] else 'only'}"
    gfdl = _GFDL.match(low)
    if gfdl:
        low = f"gfdl-{gfdl[2]}{'-no-invariants' if gfdl[1] else ''}-{'or-later' if gfdl[3] else 'only'}"
    return _SHORT.get(low) or _ids().get(low)


def _reference(name: str, package: str, texts: dict[str, str], refs: dict[str, str]) -> str:
    ref = f"LicenseRef-{_ODD.sub('-', package).strip('-')}-{_ODD.sub('-', name).strip('-')[:80] or 'other'}"
    body = "\n".join(line[1:] for line in texts.get(name, "").split("\n")) if "\n" in texts.get(name, "") else ""
    refs[ref] = (body.strip() or name)[:_TEXT_LIMIT]
    return ref


@functools.cache
def _ids() -> dict[str, str]:
    return _names("spdx-licenses.txt")


@functools.cache
def _exceptions() -> dict[str, str]:
    return _names("spdx-exceptions.txt")


def _names(file: str) -> dict[str, str]:
    """The ids of SPDX's list of licenses, by their lower case."""
    with open(os.path.join(os.path.dirname(__file__), file), encoding="ascii") as lines:
        return {line.strip().lower(): line.strip() for line in lines}
