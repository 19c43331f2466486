"""Packages of Python, npm and Ruby by the metadata that is installed with them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from rootless_scratch.elf.contained import is_plain
from rootless_scratch.expressions import expression
from rootless_scratch.inventory.facts import Component, Fault
from rootless_scratch.inventory.licenses import license_of_text
from rootless_scratch.inventory.metadata import PYTHON, npm_directory
from rootless_scratch.inventory.purl import purl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Read = Callable[[str, int], bytes | None]

_METADATA_LIMIT: Final = 1 << 20
_RECORD_LIMIT: Final = 16 << 20
_LICENSE_LONGEST: Final = 100
"""Characters; what is longer is the text of a license, and not its name."""

_HEADER: Final = expression(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_STUB: Final = expression(r"^# stub: (\S+) (\S+) (\S+) ", re.MULTILINE)
_GEM: Final = expression(r"^\s*\w+\.(name|version)\s*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)
_GEM_LICENSES: Final = expression(
    r"^\s*\w+\.licenses?\s*=\s*\[?((?:[\"'][^\"']*[\"'](?:\.freeze)?[,\s]*)+)", re.MULTILINE
)
_QUOTED: Final = expression(r"[\"']([^\"']*)[\"']")


class Distributed(NamedTuple):
    """A component; the files that are its own, with their sha256 where that is recorded; and what was not read."""

    component: Component | None
    files: Mapping[str, str | None] = {}
    below: str | None = None
    fault: Fault | None = None


def distributed(paths: Iterable[str], read: Read) -> Iterator[Distributed]:
    """All packages whose metadata is among these paths; `read` gives up to so many bytes of a file."""
    for path in paths:
        if path.endswith(PYTHON):
            yield _python(path, read)
        elif (directory := npm_directory(path)) is not None:
            yield _npm(path, directory, read)
        elif path.endswith(".gemspec") and "/specifications/" in path:
            yield _gem(path, read)


def _python(path: str, read: Read) -> Distributed:
    """METADATA, whose form is that of mail headers, and RECORD: packaging.python.org, "Core metadata"."""
    text = _text(read(path, _METADATA_LIMIT))
    headers = text.replace("\r\n", "\n").partition("\n\n")[0]
    fields = {key.lower(): value.strip() for key, value in reversed(_HEADER.findall(headers))}
    name, version = fields.get("name"), fields.get("version")
    if not (is_plain(name) and is_plain(version)):
        return _unreadable(path, "its metadata names neither a package of Python nor its version")
    license_text = fields.get("license-expression") or fields.get("license", "")
    found = purl("pypi", str(name), version)
    component = _component(
        path, found, name=str(name), version=str(version), by="metadata of Python", license_text=license_text
    )
    return Distributed(component, _recorded(path, read))


def _recorded(path: str, read: Read) -> dict[str, str | None]:
    """The files of RECORD; one without a digest counts where it lies in the same directory as its package."""
    import csv

    directory = posixpath.dirname(path)
    site = posixpath.dirname(directory)
    files: dict[str, str | None] = {path: None, f"{directory}/RECORD": None}
    lines = _text(read(f"{directory}/RECORD", _RECORD_LIMIT)).splitlines()
    try:
        for row in csv.reader(lines):
            name, digest = (*row, "", "")[:2]
            lies = posixpath.normpath(posixpath.join(site, name))
            value = _sha256(digest)
            if value is not None or lies.startswith(f"{site}/"):
                files[lies] = value
    except csv.Error:
        return files
    return files


def _sha256(text: str) -> str | None:
    import base64
    import binascii

    kind, _, value = text.partition("=")
    if kind != "sha256":
        return None
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except (binascii.Error, ValueError):
        return None


def _npm(path: str, directory: str, read: Read) -> Distributed:
    is_installed = "/node_modules/" in path
    try:
        found: Any = msgspec.json.decode(read(path, _METADATA_LIMIT) or b"")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return _unreadable(path, "it is not the JSON of a package of npm")
    name, version = found.get("name"), found.get("version")
    if not (is_plain(name) and is_plain(version)):
        # Many have one for their settings alone.
        return Distributed(None) if not is_installed else _unreadable(path, "it names no package of npm")
    scope, _, short = str(name).rpartition("/")
    license_text = found.get("license")
    component = _component(
        path,
        purl("npm", short, version, namespace=scope),
        name=str(name),
        version=str(version),
        by="package.json",
        license_text=str((license_text.get("type") if isinstance(license_text, dict) else license_text) or ""),
    )
    if is_installed:
        return Distributed(component, below=directory)
    return Distributed(msgspec.structs.replace(component, kind="application"), {path: None})


def _gem(path: str, read: Read) -> Distributed:
    """What rubygems writes begins with a stub: `# stub: NAME VERSION PLATFORM DIRECTORIES`."""
    text = _text(read(path, _METADATA_LIMIT))
    stub = _STUB.search(text[: _LICENSE_LONGEST * 10])
    fields = dict(reversed(_GEM.findall(text)))
    name, version = (stub[1], stub[2]) if stub else (fields.get("name"), fields.get("version"))
    if not (is_plain(name) and is_plain(version)):
        return _unreadable(path, "it names neither a gem nor its version")
    platform = stub[3] if stub and stub[3] != "ruby" else None
    listed = _GEM_LICENSES.search(text)
    license_text = " OR ".join(_QUOTED.findall(listed[1])) if listed else ""
    found = purl("gem", str(name), version, qualifiers={"platform": platform})
    component = _component(
        path, found, name=str(name), version=str(version), by="gemspec", license_text=license_text
    )
    top = path.rpartition("/specifications/")[0]
    full = posixpath.basename(path).removesuffix(".gemspec")
    return Distributed(component, {path: None}, below=f"{top}/gems/{full}")


def _component(path: str, found: str, *, name: str, version: str, by: str, license_text: str) -> Component:
    license_ = license_of_text(license_text, name) if len(license_text) <= _LICENSE_LONGEST else None
    return Component(
        key=found,
        kind="library",
        name=name,
        version=version,
        purl=found,
        license=None if license_ is None else license_.expression,
        license_texts=() if license_ is None else license_.texts,
        found_by=by,
        paths=(path,),
    )


def _unreadable(path: str, what: str) -> Distributed:
    return Distributed(None, fault=Fault(path=path, what=what))


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
