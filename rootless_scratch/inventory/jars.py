"""Archives of Java: the artifacts that Maven wrote into them and into those within, else what a manifest says."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final

from rootless_scratch.elf.contained import is_plain
from rootless_scratch.expressions import expression
from rootless_scratch.inventory.facts import JARS, Component, Fault
from rootless_scratch.inventory.purl import purl

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY_LIMIT: Final = 8 << 20
_ENTRY_LIMIT: Final = 256 << 10
_INNER_LIMIT: Final = 64 << 20
_ALL_LIMIT: Final = 512 << 20
_ARTIFACTS_MOST: Final = 5000
_TAIL: Final = 65557
_POM: Final = expression(r"META-INF/maven/[^/]+/[^/]+/pom\.properties\Z")
_MANIFEST: Final = "META-INF/MANIFEST.MF"
_LINE: Final = expression(r"^([\w.-]+)\s*[=:]\s*(.*?)\s*$", re.MULTILINE)
_TITLES: Final = ("Bundle-SymbolicName", "Implementation-Title", "Automatic-Module-Name")
_VERSIONS: Final = ("Bundle-Version", "Implementation-Version", "Specification-Version")


class _BadArchiveError(Exception):
    """It is no archive of Java, or one that is made to cost much."""


def jar_components(file: BinaryIO, path: str) -> tuple[tuple[Component, ...], Fault | None]:
    """What an archive holds; the first is itself, where it says what it is."""
    reading = _Reading(path)
    try:
        found = tuple(reading.archive(file, path.rpartition("/")[2], depth=0))
    # NotImplementedError is what zipfile raises for a compression or a version that it does not know.
    except (_BadArchiveError, zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        return (), Fault(path=path, what="it cannot be read as an archive of Java")
    except RuntimeError:
        # So zipfile says that a password is needed.
        return (), Fault(path=path, what="it is encrypted")
    return found, None


class _Reading:
    def __init__(self, path: str) -> None:
        self._path = path
        self._left = _ALL_LIMIT
        self._artifacts = 0

    def archive(self, file: BinaryIO, name: str, *, depth: int) -> Iterator[Component]:
        _require_small(file)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            poms = [entry for entry in entries if _POM.match(entry.filename)]
            found = [each for entry in poms if (each := self._of_pom(self._read(archive, entry, _ENTRY_LIMIT)))]
            manifest = next((entry for entry in entries if entry.filename == _MANIFEST), None)
            if not found and manifest is not None:
                own = self._of_manifest(self._read(archive, manifest, _ENTRY_LIMIT), name)
                found = [own] if own else []
            self._artifacts += len(found)
            if self._artifacts > _ARTIFACTS_MOST:
                raise _BadArchiveError
            yield from found
            for entry in entries if depth == 0 else ():
                if entry.filename.endswith(JARS):
                    content = self._read(archive, entry, _INNER_LIMIT)
                    yield from self.archive(
                        io.BytesIO(content), entry.filename.rpartition("/")[2], depth=depth + 1
                    )

    def _read(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
        """An entry of bounded size, whatever its header says."""
        with archive.open(entry) as file:
            content = file.read(limit + 1)
        self._left -= len(content)
        if len(content) > limit or self._left < 0:
            raise _BadArchiveError
        return content

    def _of_pom(self, content: bytes) -> Component | None:
        fields = dict(_LINE.findall(content.decode("utf-8", "replace")))
        group, name, version = (fields.get(key) for key in ("groupId", "artifactId", "version"))
        if not (is_plain(group) and is_plain(name) and is_plain(version)):
            return None
        return self._component(purl("maven", str(name), version, namespace=group), f"{group}:{name}", str(version))

    def _of_manifest(self, content: bytes, file: str) -> Component | None:
        text = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\n ", "")
        fields = dict(reversed(_LINE.findall(text.partition("\n\n")[0])))
        version = next((fields[key] for key in _VERSIONS if fields.get(key)), None)
        name = next((fields[key].partition(";")[0].strip() for key in _TITLES if fields.get(key)), None)
        if version is None or not is_plain(version):
            return None
        short = name if is_plain(name) else re.sub(rf"-{re.escape(version)}\Z", "", file.rpartition(".")[0])
        group = fields.get("Implementation-Vendor-Id")
        found = (
            purl("maven", str(short), version, namespace=group)
            if group and is_plain(group)
            else purl("generic", str(short), version)
        )
        return self._component(found, str(short), version)

    def _component(self, found: str, name: str, version: str) -> Component:
        return Component(
            key=found,
            kind="library",
            name=name,
            version=version,
            purl=found,
            found_by="archive of Java",
            paths=(self._path,),
        )


def _require_small(file: BinaryIO) -> None:
    """The directory of an archive is read whole by zipfile, so its size is looked at: APPNOTE.TXT, 4.3.16."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    record = tail[at : at + 22]
    if at < 0 or len(record) < 22 or struct.unpack_from("<L", record, 12)[0] > _DIRECTORY_LIMIT:  # noqa: PLR2004
        raise _BadArchiveError
