"""Wheels of the package and of what it needs, of what is installed here: jobs install them without a network."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from image import PACKAGE_DATA, ROOT, requirements

if TYPE_CHECKING:
    from collections.abc import Iterable

    Files = Iterable[tuple[str, Path]]

_INFO = ("METADATA", "WHEEL", "entry_points.txt", "top_level.txt")


def write_wheels(place: Path) -> Path:
    """Write them into a new directory; the path of that of the package itself, as `hatch build` would make it."""
    place.mkdir()
    # pipx brings its own pip up to date first.
    for needed in (*requirements(), metadata.distribution("pip")):
        _write(place, needed, _installed(needed))
    return _write(place, metadata.distribution("rootless-scratch"), _own())


def _installed(distribution: metadata.Distribution) -> Files:
    for file in distribution.files or ():
        if not ({"..", "__pycache__"} & set(file.parts) or file.parts[0].endswith(".dist-info")):
            yield str(file), Path(str(distribution.locate_file(file)))


def _own() -> Files:
    for path in sorted((ROOT / "rootless_scratch").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(ROOT)), path
    for source, target in PACKAGE_DATA.items():
        yield target, ROOT / source


def _write(place: Path, distribution: metadata.Distribution, files: Files) -> Path:
    described = distribution.read_text("WHEEL") or ""
    tag = next(line.partition(": ")[2] for line in described.splitlines() if line.startswith("Tag: "))
    stem = f"{distribution.metadata['Name'].replace('-', '_')}-{distribution.version}"
    record = [f"{stem}.dist-info/RECORD,,"]
    wheel = place / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in files:
            archive.write(path, name)
            record.append(f"{name},,")
        for name in _INFO:
            text = distribution.read_text(name)
            if text:
                archive.writestr(f"{stem}.dist-info/{name}", text)
                record.append(f"{stem}.dist-info/{name},,")
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join((*record, "")))
    return wheel
