"""What tests of COPY and ADD share: archives, links, and the files that lines of a Containerfile come to."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.copying import CopyRequest, CopyResult, copy_into
from rootless_scratch.containerfile.files import StageFiles, open_entry
from rootless_scratch.containerfile.ignoring import ignore_file_of
from rootless_scratch.containerfile.origins import EntriesOrigin, HostOrigin
from rootless_scratch.image.rootfs import Directory, File

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.image.rootfs import Entry

Seen = dict[str, tuple[object, ...]]
"""By path: the type, mode, owner, and content or target."""


def link(directory: Path, name: str, target: str) -> None:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).symlink_to(target)


def tar(*members: tuple[str, dict[str, Any]], mode: str = "w") -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name, fields in members:
            member = tarfile.TarInfo(name)
            data = fields.pop("data", b"")
            member.size = len(data)
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return memory.getvalue()


def usual(mode: str = "w") -> bytes:
    return tar(
        ("d", {"type": tarfile.DIRTYPE, "mode": 0o750, "uid": 7, "gid": 8}),
        ("d/f", {"data": b"in", "mode": 0o640, "uid": 9, "gid": 10}),
        ("d/l", {"type": tarfile.SYMTYPE, "linkname": "/etc/x", "uid": 3, "gid": 3}),
        ("d/h", {"type": tarfile.LNKTYPE, "linkname": "d/f", "mode": 0o604, "uid": 2, "gid": 2}),
        ("top", {"data": b"t", "mode": 0o4755}),
        mode=mode,
    )


def copied(text: str, context: Path, **options: Any) -> Seen:  # noqa: ANN401 - of CopyRequest
    """What lines come to: FROM (a second one begins another stage), WORKDIR, COPY and ADD, with a context."""
    return result(text, context, **options)[0]


def result(text: str, context: Path, **options: Any) -> tuple[Seen, CopyResult]:  # noqa: ANN401 - of CopyRequest
    """The same with what the last instruction answers."""
    files = stage = StageFiles()
    workdir, answer = "/", CopyResult()
    ignore = ignore_file_of(None, str(context))
    with ExitStack() as kept, HostOrigin(str(context), name="the context", ignore=ignore) as origin:
        for line in text.splitlines():
            name, *rest = line.split(" ")
            if name == "FROM":
                stage, files = files, StageFiles()
            elif name == "WORKDIR":
                workdir = rest[0]
                files.mkdir(workdir)
            else:
                of: Origin = origin
                if any(each.startswith("--from=") for each in rest):
                    of = EntriesOrigin(stage.entries(), name="the stage a")
                answer = copy_into(files, request(name, rest, workdir=workdir, **options), of, kept)
        return {entry.path: seen(entry) for entry in files.entries()}, answer


def request(name: str, rest: list[str], **options: Any) -> CopyRequest:  # noqa: ANN401 - of CopyRequest
    """One COPY or ADD of arguments without quotes."""
    flags = [each[2:].partition("=") for each in rest if each.startswith("--")]
    values: dict[str, Any] = {flag: value if equal else True for flag, equal, value in flags if flag != "from"}
    if "exclude" in values:
        values["exclude"] = tuple(value for flag, _, value in flags if flag == "exclude")
    *sources, destination = [each for each in rest if not each.startswith("--")]
    of_line: dict[str, Any] = {"sources": tuple(sources), "destination": destination, "unpack": name == "ADD"}
    return CopyRequest(**of_line, **values, **options)


def seen(entry: Entry) -> tuple[object, ...]:
    """An entry as it is compared."""
    if isinstance(entry, Directory):
        return "directory", entry.mode, entry.uid, entry.gid, None
    if not isinstance(entry, File):
        return "link", entry.mode, entry.uid, entry.gid, entry.target
    with open_entry(entry) as opened:
        return "file", entry.mode, entry.uid, entry.gid, opened.read()
