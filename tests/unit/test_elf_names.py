"""What numbers in ELF files are called is what pyelftools calls them, also where that is not asked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from elftools.elf import enums

from rootless_scratch.elf.names import by_number, machine_of, segment_of, tag_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TAGS = by_number(enums.ENUM_D_TAG_COMMON)
MACHINES = sorted({name.removeprefix("EM_") for name in enums.ENUM_E_MACHINE if not name.startswith("_")})


def named(table: Mapping[str, int], name: Callable[[int], str]) -> None:
    """Every number of a table, and one that is in none."""
    known = by_number(table)
    assert {number: name(number) for number in known} == known
    assert name(54321) == "54321"


def test_types_and_processors_have_their_names() -> None:
    named(enums.ENUM_E_TYPE, type_of)
    named(enums.ENUM_E_MACHINE, machine_of)


@pytest.mark.parametrize("machine", MACHINES)
def test_segments_and_tags_have_the_names_of_their_processor(machine: str) -> None:
    own = machine if machine in ("ARM", "AARCH64", "MIPS", "RISCV") else "BASE"
    named(getattr(enums, f"ENUM_P_TYPE_{own}"), lambda number: segment_of(number, machine))
    tags = enums.ENUMMAP_EXTRA_D_TAG_MACHINE.get(f"EM_{machine}")
    for solaris in (False, True):
        extra = tags if tags is not None else enums.ENUM_D_TAG_SOLARIS if solaris else {}
        known = {**TAGS, **by_number(extra)}
        assert {number: tag_of(number, machine, solaris=solaris) for number in known} == known
        assert tag_of(54321, machine, solaris=solaris) == "54321"


def test_an_ordinary_program_is_read_without_pyelftools() -> None:
    program = (
        "import sys; from rootless_scratch.elf.program import read_program; "
        "facts = read_program(sys.executable); print(facts.elf.platform, 'elftools' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[1] == "False"
