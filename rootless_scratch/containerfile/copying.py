"""COPY and ADD: which files they bring, under which path, mode and owner."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Literal

import msgspec

from rootless_scratch.containerfile.files import open_entry
from rootless_scratch.containerfile.metadata import mode_of, owner_of
from rootless_scratch.containerfile.origins import Found
from rootless_scratch.containerfile.placing import Placing
from rootless_scratch.containerfile.walking import Walk, clean, is_pattern
from rootless_scratch.data import Value
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.image.limits import DEFAULTS
from rootless_scratch.image.paths import image_path
from rootless_scratch.image.rootfs import Directory, File, Loss, Symlink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from rootless_scratch.containerfile.files import StageFiles
    from rootless_scratch.containerfile.origins import Attributes, Origin

Compat = Literal["ours", "buildah", "docker"]

_INLINE_MODE = 0o644
_PIVOT = "/./"


class Inline(Value):
    """A heredoc as a source: its `name` and what it expands to."""

    name: str
    content: bytes


class CopyRequest(Value):
    """One COPY, or with `unpack` one ADD, all of it expanded.

    `sources` are paths and patterns (and URLs of ADD); `heredocs` are further ones. `chown` and `chmod` are as
    written. `network` allows URLs, `checksum` is ADD's, and so is `unpacks`, which is None where the file does not
    say whether archives are unpacked: those that are fetched stay as they are then.
    """

    sources: tuple[str, ...]
    destination: str
    workdir: str = "/"
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    unpack: bool = False
    unpacks: bool | None = None
    heredocs: tuple[Inline, ...] = ()
    checksum: str | None = None
    network: bool = False
    compat: Compat = "ours"


class Fact(Value):
    """What a reader would not expect, as Noted has it; `source` is the number of the source that it is about."""

    what: str
    source: int | None = None
    values: tuple[str, ...] = ()


class CopyError(SourceError):
    """A source that cannot be copied: `fact` says which and why."""

    def __init__(self, message: str, *, fix: str, fact: Fact) -> None:
        super().__init__(message, fix=fix)
        self.fact = fact


class CopyResult(Value):
    """What was noted, what of the files stayed behind, and the paths that were written."""

    facts: tuple[Fact, ...] = ()
    losses: tuple[Loss, ...] = ()
    written: tuple[str, ...] = ()


class _Item(Value):
    """One thing that a source names: it lies at `real`, and below `base` where its parents come along."""

    number: int | None
    found: Found
    real: str = ""
    base: str = ""
    below: str = ""
    is_archive: bool = False

    @property
    def is_directory(self) -> bool:
        return isinstance(self.found.entry, Directory)


def copy_into(
    files: StageFiles,
    request: CopyRequest,
    origin: Origin,
    kept: ExitStack,
    *,
    limits: Mapping[str, int] = DEFAULTS,
) -> CopyResult:
    """Bring what an instruction copies into the files of a stage.

    What is unpacked or fetched lies in private directories, which `kept` removes once the image is written;
    `limits` bound it (limits.py). Raises CopyError for a source, SpecError for a destination, a mode or an owner;
    SourceError, LimitError, HostError.
    """
    files.written.clear()
    copying = _Copying(files, request, origin, kept, limits)
    copying.copy()
    return CopyResult(facts=tuple(copying.facts), losses=copying.losses, written=tuple(files.written))


class _Copying:
    """One instruction under way."""

    def __init__(
        self,
        files: StageFiles,
        request: CopyRequest,
        origin: Origin,
        kept: ExitStack,
        limits: Mapping[str, int],
    ) -> None:
        self.facts: list[Fact] = []
        self._missing: list[CopyError] = []
        self._files = files
        self._request = request
        self._origin = origin
        self._kept = kept
        self._limits = limits
        is_docker = request.compat == "docker"
        self._placing = Placing(
            files,
            owner=None if request.chown is None else owner_of(request.chown, files),
            mode=None if request.chmod is None else mode_of(request.chmod, keeps_set_id=not is_docker),
            strips=not origin.is_stage and not is_docker,
            links=not request.link,
        )
        self._drops_capabilities = not origin.is_stage and request.compat == "ours"
        self._attributes: Attributes = "capabilities"
        if origin.is_stage or request.compat == "buildah":
            self._attributes = "all"
        elif is_docker:
            self._attributes = "none"
        self._walk = Walk(origin, request.exclude, attributes=self._attributes, keeps_modes=is_docker)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What of the files stayed behind."""
        return tuple(self._placing.losses)

    def copy(self) -> None:
        """Do it."""
        request = self._request
        items = [item for number, source in enumerate(request.sources) for item in self._items(number, source)]
        for inline in request.heredocs:
            size = FileIdentity(device=0, inode=0, size=len(inline.content), mtime_ns=0, ctime_ns=0)
            file = File(
                path="", mode=_INLINE_MODE, uid=0, gid=0, source=None, identity=size, content=inline.content
            )
            items.append(_Item(number=None, found=Found(clean(inline.name).rpartition("/")[2], file)))
        if self._missing and not items and request.compat != "docker":
            raise self._missing[0]
        # `COPY package.json yarn.lock* ./`: what may be missing is written as a pattern.
        self.facts += [missing.fact for missing in self._missing]
        if not items:
            return
        directory, name = self._destination(items)
        for item in items:
            if item.is_archive:
                self._unpack(item, directory)
            elif request.parents and item.below:
                self._place_below(item, directory)
            elif item.is_directory:
                self._place_contents(item, directory)
            else:
                self._put(item.found, f"{directory}/{name or self._name_of(item)}", item)

    def _items(self, number: int, source: str) -> list[_Item]:
        """What a source names; raises CopyError where that is nothing."""
        if ":" in source and _is_remote(source):
            return [self._fetched(number, source)]
        if self._request.checksum is not None:
            raise SpecError(
                f"--checksum is for what ADD fetches, and {source!r} is a file.", fix="Leave --checksum out."
            )
        base, path = "", clean(source)
        if self._request.parents:
            before, pivot, behind = source.partition(_PIVOT)
            base, path = (clean(before), clean(behind)) if pivot else ("", path)
            path = base + path
        items = []
        ignored = 0
        matched = self._walk.matches(path, deep=self._request.parents)
        for each in matched:
            item = self._item(number, source, each, base)
            out = self._walk.is_left_out(each, item.below or item.found.name)
            out_by_link, _ = self._walk.is_left_out(item.real, "")
            ignored += out[0] or out_by_link
            if not out[0] and not out_by_link and not out[1]:
                items.append(item)
        missing = None
        if ignored and not items and self._origin.ignore is not None:
            by = self._origin.ignore.path
            missing = CopyError(
                f"{by!r} leaves out all that {source!r} names in {self._origin.name}.",
                fix=f"Add a line `!{clean(source)[1:]}` behind it, or leave the instruction out.",
                fact=Fact(what="ignored-source", source=number, values=(source, by)),
            )
        elif not matched:
            missing = self._no_match(number, source)
        if missing is not None and not is_pattern(source):
            raise missing
        if missing is not None:
            self._missing.append(missing)
        return items

    def _item(self, number: int, source: str, path: str, base: str) -> _Item:
        real = self._origin.follow(path)
        found = None if real is None else self._origin.find(real, self._attributes)
        if real is None or found is None:
            raise CopyError(
                f"{path[1:]!r} is a link in {self._origin.name} that leads to nothing there.",
                fix="Correct the link, or copy the directory that it is in: there links stay links.",
                fact=Fact(what="source-missing", source=number, values=(source,)),
            )
        # It has the name by which it was named, wherever a link leads.
        found = msgspec.structs.replace(found, name=path.rpartition("/")[2])
        item = _Item(number=number, found=found, real=real, base=base, below=path[len(base) + 1 :])
        if self._request.unpack and self._request.unpacks is not False and isinstance(found.entry, File):
            from rootless_scratch.containerfile.archives import is_archive

            with open_entry(found.entry) as opened:
                is_packed = is_archive(opened, zstd=self._request.compat != "docker")
            item = item.but(is_archive=is_packed)
        return item

    def _no_match(self, number: int, source: str) -> CopyError:
        if is_pattern(source):
            return CopyError(
                f"The pattern {source!r} matches nothing in {self._origin.name}.",
                fix="Correct it, or leave it out; a `[` of a name is written `[[]`.",
                fact=Fact(what="pattern-matches-nothing", source=number, values=(source,)),
            )
        return CopyError(
            f"{source!r} is not in {self._origin.name}.",
            fix="Check the path: it begins at the root of what is copied from, and neither `..` nor a link "
            "leads out of it.",
            fact=Fact(what="source-missing", source=number, values=(source,)),
        )

    def _fetched(self, number: int, url: str) -> _Item:
        from rootless_scratch.containerfile.fetching import fetch, require_checksum, unread

        request = self._request
        fact = Fact(what="url-needs-network", source=number, values=(url,))
        cause = unread(url) or ("" if request.unpack else "is a URL, which only ADD fetches")
        if cause:
            raise CopyError(
                f"{url!r} {cause}.",
                fix="Fetch it before the build, and COPY its files.",
                fact=Fact(what="url-unreadable", source=number, values=(url,)),
            )
        if not request.network:
            raise CopyError(
                f"ADD would fetch {url!r}, and this build has no network: what it brings may change with time.",
                fix="Fetch it before the build and COPY the file, or allow it by `--network`.",
                fact=fact,
            )
        checksum = None if request.checksum is None else require_checksum(request.checksum)
        fetched = fetch(url, self._private(), checksum, limits=self._limits)
        from rootless_scratch.containerfile.archives import is_archive

        item = _Item(number=number, found=Found(fetched.name, fetched.file, fetched.mtime))
        with open_entry(fetched.file) as opened:
            is_packed = is_archive(opened)
        if is_packed and request.unpacks is None:
            self.facts.append(Fact(what="url-not-unpacked", source=number, values=(url,)))
        return item.but(is_archive=is_packed and bool(request.unpacks))

    def _private(self) -> str:
        """A private directory that lives until the image is written."""
        from rootless_scratch.host.environment import private_temporary

        return self._kept.enter_context(private_temporary(os.environ)).path

    def _destination(self, items: list[_Item]) -> tuple[str, str]:
        """The real directory to write to, made where it is missing, and the name that a single file gets or ""."""
        request, files = self._request, self._files
        text = request.destination
        path = image_path(posixpath.normpath(posixpath.join("/", request.workdir, text)), what="destination")
        path = path.rstrip("/")
        links = not request.link
        real = files.resolve(path, links=links)
        there = files.at(real)
        has_several = len(request.sources) + len(request.heredocs) > 1
        must = (
            text.rpartition("/")[2] in ("", ".", "..")
            or path == posixpath.normpath(request.workdir).rstrip("/")
            or request.parents
            or any(item.is_directory or item.is_archive for item in items)
        )
        if (len(items) > 1 or has_several) and not must and not isinstance(there, Directory):
            self.facts.append(Fact(what="several-sources-one-file", values=(text,)))
            # buildah: several sources are for a directory, what one pattern names is not.
            must = request.compat == "ours" or (request.compat == "buildah" and has_several)
        if isinstance(there, File) and must:
            raise SpecError(
                f"{text!r} is a file in the image, and a directory is needed there.",
                fix="Give it another destination, or leave out what writes the file.",
            )
        parent, _, name = path.rpartition("/")
        above = files.resolve(parent, links=links)
        dangles = links and there is None and isinstance(files.at(f"{above}/{name}"), Symlink)
        if must or isinstance(there, Directory) or dangles:
            return self._placing.mkdir(real), ""
        return self._placing.mkdir(above), name

    def _name_of(self, item: _Item) -> str:
        if not item.found.name:
            source = "The heredoc" if item.number is None else repr(self._request.sources[item.number])
            raise CopyError(
                f"{source} has no name for its file.",
                fix="Name the file in the destination, without a `/` at its end.",
                fact=Fact(what="source-missing", source=item.number),
            )
        return item.found.name

    def _place_below(self, item: _Item, directory: str) -> None:
        """Put an item below the directories that its path has in the origin, with their modes: `--parents`."""
        names = item.below.split("/")
        for count in range(1, len(names)):
            step = "/".join(names[:count])
            real = self._origin.follow(f"{item.base}/{step}")
            found = None if real is None else self._origin.find(real, self._attributes)
            if found is not None:
                self._put(found, f"{directory}/{step}", item)
        self._put(item.found, f"{directory}/{item.below}", item)
        if item.is_directory:
            self._place_contents(item, directory, item.below)

    def _place_contents(self, item: _Item, directory: str, below: str = "") -> None:
        for path, found in self._walk.contents(item.real, below):
            self._put(found, f"{directory}/{path}", item)

    def _put(self, found: Found, path: str, item: _Item) -> None:
        """Write what the origin has to a path, whose parents are there."""
        entry, lost = found.entry, found.lost
        if self._drops_capabilities and isinstance(entry, File) and entry.capabilities is not None:
            entry, lost = msgspec.structs.replace(entry, capabilities=None), entry.capabilities
        if lost is not None:
            self._placing.losses.append(Loss(path=path, what="capabilities", had=lost))
        if entry is not None:
            self._placing.put(entry, path, found.mtime)
            return
        # Others would copy what no image should hold.
        fact = Fact(what="special-file", source=item.number, values=(path,))
        if self._request.compat != "docker":
            raise CopyError(
                f"{found.name!r} in {self._origin.name} is neither a file, a directory nor a link: {path!r}.",
                fix="Leave it out by a line in `.dockerignore`; images hold no devices, sockets or pipes.",
                fact=fact,
            )
        self.facts.append(fact)

    def _unpack(self, item: _Item, directory: str) -> None:
        from rootless_scratch.containerfile.archives import unpack

        archive, subject = item.found.entry, item.real[1:] or item.found.name
        assert isinstance(archive, File)  # noqa: S101 - nothing else was looked into
        zstd = self._request.compat != "docker"
        with open_entry(archive) as opened:
            members = unpack(opened, subject, self._private(), limits=self._limits, zstd=zstd)
            for path in self._placing.put_members(members, subject, directory):
                self.facts.append(Fact(what="special-file", source=item.number, values=(path,)))


def _is_remote(source: str) -> bool:
    from rootless_scratch.containerfile.fetching import is_url, unread

    return is_url(source) or unread(source) is not None
