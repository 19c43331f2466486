"""Reading an image back from storage: its config, its manifest, and every file with its digest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat

from rootless_scratch.backends.caller import Failed, WorkerPaths, check_caller, read_job, tell
from rootless_scratch.backends.jobs import Done, FoundFile, ReadJob
from rootless_scratch.backends.record import Record
from rootless_scratch.backends.tool import Tool, call
from rootless_scratch.errors import LimitError
from rootless_scratch.image.attributes import attributes_digest, is_own
from rootless_scratch.image.limits import KEPT_LIMIT, Budget

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_BLOCK = 4096
_TYPES = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def read(paths: WorkerPaths, *, programs: bool) -> Done:
    """Tell one line per file, then return config and manifest; a working container is made and removed."""
    job = read_job(ReadJob)
    described = describe(paths, job.image)
    budget = Budget(job.image, job.limits)
    record = Record.create(paths, inherited=True)
    try:
        os.environ["TMPDIR"] = record.scratch
        image_id = described["FromImageID"]
        call(paths, "from", "--name", record.name, "--pull-never", image_id)
        mountpoint = call(paths, "mount", record.name).rstrip("\n")
        for file in walk(mountpoint, budget):
            if programs and file.type == "file" and may_start(file, mountpoint):
                add_facts(file, mountpoint)
            if programs and file.type == "file" and budget.may_keep(file.path, file.size):
                add_content(file, mountpoint)
            tell(file)
    except LimitError as error:
        raise Failed(error.kind, error.message, error.fix) from error
    finally:
        record.take_back(paths)
    return Done(image_id, described["Config"], described["Manifest"])


def describe(paths: WorkerPaths, image: str) -> dict[str, str]:
    """What storage says of the image; raises Failed where it knows none of that name."""
    tool = Tool(paths, ("inspect", "--type", "image", "--", image))
    try:
        described: dict[str, str] = json.loads(tool.finish())
    except Failed as failure:
        from rootless_scratch.image.names import is_unknown, unknown_image

        if not is_unknown(str(failure)):
            raise
        listed = Tool(paths, ("images", "--format", "{{.Name}}:{{.Tag}}")).finish(check=False, cancel=False)
        otherwise = "build it with `rootless-scratch build`, or pull it: `podman pull`."
        raise Failed("image-not-found", *unknown_image(image, listed, otherwise=otherwise)) from failure
    return described


def walk(root: str, budget: Budget) -> Iterator[FoundFile]:
    """Every entry below, a directory before what it holds, by the bytes of the names. Raises LimitError."""
    pending = [("", iter(_listed(root)))]
    while pending:
        above, items = pending[-1]
        item = next(items, None)
        if item is None:
            pending.pop()
            continue
        path = f"{above}/{item.name}"
        status = item.stat(follow_symlinks=False)
        # What is really there counts as stored, and each entry takes a block at least.
        budget.allow(max(status.st_blocks * 512, _BLOCK))
        budget.add_entry(path)
        kind = stat.S_IFMT(status.st_mode)
        mode, when = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        entry = FoundFile(path, _TYPES.get(kind, "file"), mode, status.st_uid, status.st_gid, when)
        if kind == stat.S_IFLNK:
            entry.target = os.readlink(item.path)
        elif kind == stat.S_IFREG:
            budget.expand(status.st_size)
            entry.size, entry.sha256, entry.capabilities = status.st_size, digest(item.path), xattr(item.path)
            entry.inode = f"{status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else None
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            entry.attributes = attributes(item.path)
        yield entry
        if kind == stat.S_IFDIR:
            pending.append((path, iter(_listed(root + path))))


def _listed(directory: str) -> list[os.DirEntry[str]]:
    return sorted(os.scandir(directory), key=lambda each: os.fsencode(each.name))


def digest(path: str) -> str:
    """The sha256 of a file's bytes; its holes are not read."""
    found = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        at = 0
        while at < size:
            start = _data_from(descriptor, at, size)
            while at < start:
                found.update(_ZEROS[: start - at])
                at += min(len(_ZEROS), start - at)
                check_caller()
            if at < size:
                block = os.pread(descriptor, _CHUNK, at)
                if not block:
                    break
                found.update(block)
                at += len(block)
                check_caller()
    finally:
        os.close(descriptor)
    return found.hexdigest()


def _data_from(descriptor: int, at: int, size: int) -> int:
    """Where data begins at or behind a position; the end of the file where there is none any more: lseek(2)."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        # A file system that tells of no holes.
        return at


def attributes(path: str) -> str | None:
    """The digest of the attributes `user.*`, or None."""
    try:
        names = filter(is_own, os.listxattr(path, follow_symlinks=False))
        return attributes_digest((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    except OSError:
        return None


def xattr(path: str) -> str | None:
    """The file capabilities as hexadecimal digits, or None."""
    try:
        return os.getxattr(path, "security.capability", follow_symlinks=False).hex()
    except OSError:
        return None


def add_facts(file: FoundFile, root: str) -> None:
    """Add what a file that may be started says of itself; this needs more than the standard library."""
    import msgspec

    from rootless_scratch.elf.program import read_program
    from rootless_scratch.errors import ScratchError

    try:
        facts = read_program(f"{root}{file.path}")
    except ScratchError as error:
        file.unreadable = error.message.replace(root, "")
    else:
        file.program = msgspec.to_builtins(msgspec.structs.replace(facts, path=file.path))


def add_content(file: FoundFile, root: str) -> None:
    """Add the bytes of a file, as msgspec reads them from JSON."""
    import base64

    with open(f"{root}{file.path}", "rb") as opened:
        file.content = base64.b64encode(opened.read(KEPT_LIMIT)).decode("ascii")


def may_start(file: FoundFile, root: str) -> bool:
    """Whether it is worth a look: executable by its mode, or a program by its first bytes."""
    if file.mode & 0o111:
        return True
    with open(f"{root}{file.path}", "rb") as opened:
        start = opened.read(4)
    return start == b"\x7fELF" or start.startswith(b"#!")
