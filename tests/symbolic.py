"""ELF files with symbol tables, or with the function names of a Go program, for tests without a compiler."""

from __future__ import annotations

import struct

import tinyelf

_SYMTAB, _STRTAB = 2, 3
_FUNCTION = 0x12


def linked(*names: str) -> bytes:
    """A static program into which these functions are linked."""
    return with_symbols(tinyelf.elf(), *names)


def importing(*names: str, interpreter: str = "/lib64/ld-linux-x86-64.so.2") -> bytes:
    """A dynamic program that calls these functions of its libraries."""
    return tinyelf.elf(interpreter=interpreter, needed=["libc.so.6"], imports=names)


def with_symbols(program: bytes, *names: str) -> bytes:
    """Add section headers for a symbol table to a 64-bit little-endian program."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    symbols = bytes(24)
    for name in names:
        place = strings.index(b"\0" + name.encode() + b"\0") + 1
        symbols += struct.pack("<IBBHQQ", place, _FUNCTION, 0, 1, 0, 0)
    at = len(program) + -len(program) % 8
    body = program.ljust(at, b"\0") + symbols + strings
    table = len(body) + -len(body) % 8
    sections = (
        bytes(64)
        + struct.pack("<IIQQQQIIQQ", 0, _SYMTAB, 0, 0, at, len(symbols), 2, 0, 8, 24)
        + struct.pack("<IIQQQQIIQQ", 0, _STRTAB, 0, 0, at + len(symbols), len(strings), 0, 0, 1, 0)
    )
    head = bytearray(body.ljust(table, b"\0") + sections)
    head[0x28:0x30] = struct.pack("<Q", table)
    head[0x3A:0x40] = struct.pack("<HHH", 64, 3, 0)
    return bytes(head)


def go_program(*functions: str, magic: int = 0xFFFFFFF1, modules: bytes = b"") -> bytes:
    """A static Go program without section headers whose runtime knows these functions."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in functions)
    words = 3 if magic == 0xFFFFFFFA else 4
    begin = 8 + 8 * (words + 4)
    counts = [len(functions), 1, *([0x401000] if words == 4 else []), begin, begin + len(names)]
    counts = [*counts, *[begin + len(names)] * (words + 4 - len(counts))]
    table = struct.pack("<IHBB", magic, 0, 1, 8) + struct.pack(f"<{words + 4}Q", *counts) + names
    data = tinyelf.go_build_info() + modules
    data += bytes(-len(data) % 16)
    return tinyelf.elf(data=data + table)
