"""What the tests of SBOMs share: programs with lists of parts, systems with packages, judges of documents."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import tinyelf
from planning import put

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rootless_scratch.verbs.sbom import Sbom

SENTINELS = (
    b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6",
    b"\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2",
)
SECTION = struct.Struct("<IIQQQQIIQQ")


def go_program(*lines: str, version: str = "go1.22.1", length: int | None = None) -> bytes:
    """A program with these lines of Go build information, which claims to have `length` bytes of them."""
    info = SENTINELS[0] + "".join(f"{line}\n" for line in lines).encode() + SENTINELS[1]
    blob = b"\xff Go buildinf:\x08\x02" + bytes(16) + varint(len(version)) + version.encode()
    return tinyelf.elf(data=blob + varint(len(info) if length is None else length) + info)


def varint(number: int) -> bytes:
    head = bytearray()
    while number >= 0x80:
        head.append(number & 0x7F | 0x80)
        number >>= 7
    head.append(number)
    return bytes(head)


def with_section(program: bytes, name: bytes, content: bytes) -> bytes:
    """The 64-bit program with one section more: ELF-64, "Section Header"."""
    names = b"\0" + name + b"\0.shstrtab\0"
    start = len(program)
    table = start + len(content) + len(names)
    sections = [
        SECTION.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        SECTION.pack(1, 1, 0, 0, start, len(content), 0, 0, 1, 0),
        SECTION.pack(len(name) + 2, 3, 0, 0, start + len(content), len(names), 0, 0, 1, 0),
    ]
    whole = bytearray(program + content + names + b"".join(sections))
    struct.pack_into("<Q", whole, 0x28, table)
    struct.pack_into("<HHH", whole, 0x3A, SECTION.size, len(sections), 2)
    return bytes(whole)


def rust_program(*packages: Mapping[str, Any]) -> bytes:
    """A program as `cargo auditable build` leaves it."""
    return with_section(tinyelf.elf(), b".dep-v0", zlib.compress(json.dumps({"packages": packages}).encode()))


def names(found: Sbom) -> list[tuple[str, str | None]]:
    """Names and versions of all components but files."""
    return [(each.name, each.version) for each in found.components if each.kind != "file"]


def faults(found: Sbom) -> list[tuple[str, str]]:
    return [(each.rule, each.subject) for each in found.findings if each.severity != "info"]


def require_valid(form: str, text: str, place: Path) -> None:
    """Hold a document to what the authors of its format check."""
    if form == "spdx":
        from spdx_tools.spdx.parser.parse_anything import parse_file
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

        file = put(place, "valid.spdx.json", text.encode())
        messages = validate_full_spdx_document(parse_file(file))
        assert [each.validation_message for each in messages] == []
        return
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    for each in json.loads(text)["components"]:
        assert "purl" not in each or PackageURL.from_string(each["purl"]).to_string() == each["purl"]


def debian(root: Path, packages: Mapping[str, str], files: Mapping[str, Sequence[tuple[str, bytes]]]) -> Path:
    """A system of Debian 12 with these paragraphs of packages, and the files that each of them owns."""
    import hashlib

    put(root, "etc/os-release", b'ID=debian\nVERSION_ID="12"\n')
    put(root, "var/lib/dpkg/status", "\n\n".join(packages.values()).encode() + b"\n")
    for name, owned in files.items():
        lines = "".join(f"/{path}\n" for path, _ in owned)
        sums = "".join(f"{hashlib.md5(content).hexdigest()}  {path}\n" for path, content in owned)  # noqa: S324
        put(root, f"var/lib/dpkg/info/{name}.list", f"/.\n{lines}".encode())
        put(root, f"var/lib/dpkg/info/{name}.md5sums", sums.encode())
        for path, content in owned:
            put(root, path, content)
    return root


def paragraph(name: str, version: str = "1.0-1", **fields: str) -> str:
    lines = [f"Package: {name}", "Status: install ok installed", "Architecture: amd64", f"Version: {version}"]
    return "\n".join([*lines, *(f"{key.replace('_', '-')}: {value}" for key, value in fields.items())])
