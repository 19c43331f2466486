"""Tables of figures: printed, and put between two marks of a page."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_table(name: str, heading: Sequence[str], rows: Sequence[Sequence[str]], *, into: Path | None) -> None:
    """Print a table of Markdown; with a page, also put it there between `<!-- NAME -->` and `<!-- /NAME -->`."""
    lines = [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    if into is not None:
        marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page, count = re.subn(
            marks, lambda found: f"{found[1]}{table}\n{found[2]}", into.read_text(), flags=re.DOTALL
        )
        if count != 1:
            message = f"{into} has no place for the table {name}"
            raise ValueError(message)
        into.write_text(page)
