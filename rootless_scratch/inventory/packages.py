"""Packages of a distribution as components: those that own files of the host, as their databases describe them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.inventory.facts import Component
from rootless_scratch.inventory.licenses import License, license_of_copyright, license_of_text
from rootless_scratch.inventory.purl import purl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.host.owners import PackageRecord

_RELEASE: Final = ("/etc/os-release", "/usr/lib/os-release")
_LINE: Final = expression(r"^(ID|VERSION_ID|VERSION_CODENAME)=[\"']?([\w.+-]+)[\"']?\s*$", re.MULTILINE | re.ASCII)
_USUAL: Final = {"deb": "debian", "rpm": "fedora", "apk": "alpine"}
_FILE_LIMIT: Final = 4 << 20
_SOURCE: Final = "source"


class Distribution:
    """Makes components of the packages of one system."""

    def __init__(self, root: HostRoot) -> None:
        self._root = root
        fields: dict[str, str] = {}
        for path in _RELEASE:
            fields = fields or dict(_LINE.findall(self._content(path).decode("utf-8", "replace")))
        self._id = fields.get("ID")
        version = fields.get("VERSION_ID") or fields.get("VERSION_CODENAME")
        self._distro = f"{self._id}-{version}" if self._id and version else self._id

    def components(self, packages: Mapping[PackageRecord, Sequence[str]]) -> Iterator[Component]:
        """Each package, found at these paths of the image, and the sources that it was built from besides."""
        keys: dict[str, str] = {}
        for record in packages:
            keys.setdefault(record.name, self._purl(record))
        for record, paths in packages.items():
            using = [self._source(record, name, version, paths) for name, version in record.built_using]
            yield from using
            found = self._purl(record)
            license_found = self._license(record)
            needed = {keys[name] for name in record.depends if name in keys} - {found}
            yield Component(
                key=found,
                kind="library",
                name=record.name,
                version=record.version,
                purl=found,
                license=None if license_found is None else license_found.expression,
                license_texts=() if license_found is None else license_found.texts,
                found_by=f"database of {_DATABASES[record.kind]}",
                paths=tuple(sorted(paths)),
                supplier=self._id,
                more=(("source", f"{record.source} {record.source_version}"),),
                depends=tuple(sorted({*needed, *(each.key for each in using)})),
            )

    def _purl(self, record: PackageRecord) -> str:
        version, epoch = record.version, None
        if record.kind == "rpm" and ":" in version:
            epoch, _, version = version.partition(":")
        return self._named(
            record,
            record.name,
            version,
            {"arch": record.architecture or None, "epoch": epoch, "upstream": _upstream(record)},
        )

    def _source(self, record: PackageRecord, name: str, version: str, paths: Sequence[str]) -> Component:
        found = self._named(record, name, version, {"arch": _SOURCE})
        return Component(
            key=found,
            kind="library",
            name=name,
            version=version,
            purl=found,
            found_by="Built-Using of a package",
            paths=tuple(sorted(paths)),
            supplier=self._id,
            inner=True,
        )

    def _named(self, record: PackageRecord, name: str, version: str, qualifiers: Mapping[str, str | None]) -> str:
        namespace = self._id or _USUAL[record.kind]
        return purl(
            record.kind, name, version, namespace=namespace, qualifiers={**qualifiers, "distro": self._distro}
        )

    def _license(self, record: PackageRecord) -> License | None:
        if record.license is not None:
            return license_of_text(record.license, record.name)
        if record.copyright is None:
            return None
        return license_of_copyright(self._content(record.copyright), record.name)

    def _content(self, path: str) -> bytes:
        located = self._root.locate(path)
        if located is None:
            return b""
        try:
            with open_regular(self._root.on_host(located.real)) as file:
                return file.read(_FILE_LIMIT + 1) if os.fstat(file.fileno()).st_size <= _FILE_LIMIT else b""
        except OSError:
            return b""


_DATABASES: Final = {"deb": "dpkg", "rpm": "rpm", "apk": "apk"}


def _upstream(record: PackageRecord) -> str | None:
    """The source package where it has another name or version, by which vulnerabilities are listed."""
    if record.kind == "rpm":
        return f"{record.source}-{record.source_version}.src.rpm" if record.source != record.name else None
    same_version = record.source_version == record.version
    if record.source == record.name and same_version:
        return None
    return record.source if same_version else f"{record.source}@{record.source_version}"
