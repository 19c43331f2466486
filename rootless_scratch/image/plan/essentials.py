"""Essentials: what programs expect to be there, brought from the host's own packages (docs/essentials.md).

Nothing comes from the network. Whatever the user brought to the same path stays.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.host.packages import install_advice
from rootless_scratch.image.plan import certificates
from rootless_scratch.image.plan.accounts import account_files
from rootless_scratch.image.plan.copies import copied_entries
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.image.spec import Copy, Essential
from rootless_scratch.image.syntax import require_values
from rootless_scratch.image.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.image.host_files import HostFiles

ZONES: Final = "/usr/share/zoneinfo"
BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
TERMINALS: Final = "/usr/share/terminfo"
LOCALE: Final = "/usr/lib/locale/C.utf8"

_BUNDLE_LINKS: Final = ("/etc/ssl/cert.pem", "/usr/lib/ssl/cert.pem", "/etc/pki/tls/cert.pem")
"""The file that OpenSSL reads by default, below the OPENSSLDIR of most, of Debian, and of Fedora."""

_NO_ZONES: Final = ("posix", "right", "localtime", "posixrules")
"""Copies of all zones in two manners of counting, and what belongs to the host."""

_TERMINAL_PLACES: Final = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", TERMINALS)
_TERMINAL_NAMES: Final = (
    *("alacritty", "ansi", "cygwin", "dumb", "foot", "linux", "mach", "rxvt", "rxvt-unicode"),
    *("rxvt-unicode-256color", "screen", "screen-256color", "sun", "tmux", "tmux-256color", "vt100", "vt102"),
    *("vt220", "xterm", "xterm-256color", "xterm-color", "xterm-direct", "xterm-ghostty", "xterm-kitty"),
)

_NSSWITCH: Final = b"""\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""


def with_essentials(
    entries: Sequence[Entry],
    directories: Sequence[Directory],
    essentials: Iterable[Essential],
    user: str,
    files: HostFiles,
) -> tuple[list[Entry], list[Directory], tuple[tuple[str, str], ...]]:
    """Entries and named directories of the user, completed; and what the user already had: name and path.

    `user` is the image's, `files` keeps what is opened. Raises SourceError for what the host lacks, UsageError or
    SpecError for values that make no sense.
    """
    tree = Tree([*entries, *directories])
    own = {entry.path for entry in entries if not isinstance(entry, Directory)}
    own |= {directory.path for directory in directories}
    added: dict[str, Entry] = {}
    places: dict[str, Directory] = {}
    covered = []
    for essential in _merged(essentials):
        for brought in _BRINGERS[essential.name](essential.values, user, files):
            entry = _through_links(brought, tree)
            if entry.path in own:
                covered.append((essential.name, entry.path))
            elif isinstance(entry, Directory):
                places.setdefault(entry.path, entry)
            else:
                added.setdefault(entry.path, entry)
    return [*entries, *added.values()], [*directories, *places.values()], tuple(dict.fromkeys(covered))


def _merged(essentials: Iterable[Essential]) -> Iterator[Essential]:
    """One of each name; a name without values stands for the host's own, beside those that are named."""
    merged: dict[str, list[str]] = {}
    for essential in essentials:
        require_values(essential.name, essential.values)
        if essential.name != "auto":
            merged.setdefault(essential.name, []).extend(essential.values or ("",))
    for name, found in merged.items():
        values = tuple(dict.fromkeys(found))
        yield Essential(name=name, values=() if values == ("",) else values)


def _through_links(entry: Entry, tree: Tree) -> Entry:
    """Where a directory above is a link of the image, the entry goes to where that leads."""
    above, _, name = entry.path.rpartition("/")
    rest = [name]
    while above and not tree.is_present(above):
        above, _, name = above.rpartition("/")
        rest.append(name)
    real = tree.resolve(above) if above else None
    if not isinstance(real, Directory):
        return entry
    path = "/".join([real.path.rstrip("/"), *reversed(rest)])
    return entry if path == entry.path else msgspec.structs.replace(entry, path=path)


def made_file(path: str, content: bytes, *, mode: int = 0o644) -> File:
    """A file whose bytes are no file of the host."""
    identity = FileIdentity(device=0, inode=0, size=len(content), mtime_ns=0, ctime_ns=0)
    return File(path=path, mode=mode, uid=0, gid=0, source=None, identity=identity, content=content)


def _certificates(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    paths = list(values) or [""]
    if "" in paths:
        bundle = certificates.host_bundle()
        if bundle is None:
            raise _missing("ca-certificates", "CA certificates", ("/etc/ssl/certs/ca-certificates.crt",))
        paths = [bundle, *(path for path in paths if path)]
    if len(paths) == 1 and os.path.isfile(paths[0]):
        # Looked at before it is read: what is copied later must be what was read.
        yield from copied_entries(Copy(source=paths[0], destination=BUNDLE, mode=0o644), files)
        certificates.joined(paths, files)
    else:
        yield made_file(BUNDLE, certificates.joined(paths, files))
    for link in _BUNDLE_LINKS:
        yield Symlink(path=link, target=BUNDLE)


def _tzdata(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    directory, zones = _place("tzdata", values)
    source = directory or ZONES
    if not os.path.isfile(f"{source}/UTC"):
        raise _missing("tzdata", "time zones", (f"{source}/UTC",), named=directory)
    for zone in zones:
        if ".." in zone.split("/") or not _is_zone(f"{source}/{zone}", files):
            raise SpecError(
                f"--with tzdata={zone}: the host has no time zone of that name in {source!r}.",
                fix="Names are those of the tz database, e.g. Europe/Berlin; `timedatectl list-timezones` lists "
                "them.",
            )
        copy = Copy(source=f"{source}/{zone}", destination=f"{ZONES}/{zone}", mode=0o644)
        yield from copied_entries(copy, files)
    if zones:
        return
    for entry in copied_entries(Copy(source=source, destination=ZONES, mode=0o644), files):
        name = entry.path.removeprefix(f"{ZONES}/").partition("/")[0]
        if name not in _NO_ZONES and not isinstance(entry, Directory):
            yield entry


def _is_zone(path: str, files: HostFiles) -> bool:
    try:
        return files.head(path, 4) == b"TZif"
    except (OSError, ValueError):
        return False


def _tmp(_values: tuple[str, ...], _user: str, _files: HostFiles) -> Iterator[Entry]:
    yield Directory(path="/tmp", mode=0o1777, uid=0, gid=0)  # noqa: S108 - of the image


def _nonroot(_values: tuple[str, ...], user: str, _files: HostFiles) -> Iterator[Entry]:
    passwd, group, homes = account_files(user)
    yield made_file("/etc/passwd", passwd)
    yield made_file("/etc/group", group)
    for path, uid, gid in homes:
        yield Directory(path=path, mode=0o755, uid=uid, gid=gid)


def _nsswitch(_values: tuple[str, ...], _user: str, _files: HostFiles) -> Iterator[Entry]:
    yield made_file("/etc/nsswitch.conf", _NSSWITCH)


def _services(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    directory, _ = _place("services", values)
    paths = [f"{directory or '/etc'}/{name}" for name in ("services", "protocols")]
    if not all(map(os.path.isfile, paths)):
        raise _missing("services", "names of services and protocols", paths, named=directory)
    for path in paths:
        yield from copied_entries(Copy(source=path, destination="/etc/", mode=0o644), files)


def _locale(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    directory, _ = _place("locale", values)
    names = (directory,) if directory else (LOCALE, "/usr/lib/locale/C.UTF-8")
    source = next((path for path in names if os.path.isfile(f"{path}/LC_CTYPE")), None)
    if source is None:
        raise _missing(
            "locale", "locale C.UTF-8 in a directory", [f"{path}/LC_CTYPE" for path in names], named=directory
        )
    yield from _files_of(source, LOCALE, files)


def _terminfo(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    directory, names = _place("terminfo", values)
    places = (directory,) if directory else _TERMINAL_PLACES
    found = []
    for name in names or _TERMINAL_NAMES:
        paths = (f"{place}/{letter}/{name}" for place in places for letter in (name[0], f"{ord(name[0]):x}"))
        source = next((path for path in paths if "/" not in name and os.path.isfile(path)), None)
        if source is not None:
            found.append(Copy(source=source, destination=f"{TERMINALS}/{name[0]}/{name}", mode=0o644))
        elif names:
            raise SpecError(
                f"--with terminfo={name}: the host has no description of this terminal.",
                fix="`toe -a` lists those that it describes; Debian has more in ncurses-term.",
            )
    if not found:
        raise _missing(
            "terminfo", "terminal descriptions", [f"{place}/x/xterm" for place in places], named=directory
        )
    for copy in found:
        yield from copied_entries(copy, files)


def _mime(values: tuple[str, ...], _user: str, files: HostFiles) -> Iterator[Entry]:
    named, _ = _place("mime", values)
    source = named or "/etc/mime.types"
    if not os.path.isfile(source):
        raise _missing("mime", "types of files", (source,), named=named)
    yield from copied_entries(Copy(source=source, destination="/etc/mime.types", mode=0o644), files)


def _files_of(source: str, target: str, files: HostFiles) -> Iterator[Entry]:
    """The files of a directory, its directories left to be made."""
    for entry in copied_entries(Copy(source=source, destination=target, mode=0o644), files):
        if not isinstance(entry, Directory):
            yield entry


def _place(name: str, values: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Part values into the path to take the files from, which begins with `/` or `.`, and names."""
    paths = tuple(dict.fromkeys(value for value in values if value.startswith(("/", "."))))
    names = tuple(value for value in values if value and value not in paths)
    if len(paths) > 1:
        raise SpecError(f"--with {name} names two paths: {paths[0]!r} and {paths[1]!r}.", fix="Name one of them.")
    return (paths[0].rstrip("/") if paths else None), names


def _missing(name: str, what: str, paths: Sequence[str], *, named: str | None = None) -> SourceError:
    lacking = " or ".join(repr(path) for path in paths)
    if named is not None:
        return SourceError(f"{named!r} has no {what}: there is no {lacking}.", fix="Give another path, or none.")
    return SourceError(
        f"This host has no {what} for --with {name}: there is no {lacking}.",
        fix=install_advice(name),
    )


_BRINGERS: Final = {
    "ca-certificates": _certificates,
    "tzdata": _tzdata,
    "tmp": _tmp,
    "nonroot": _nonroot,
    "nsswitch": _nsswitch,
    "services": _services,
    "locale": _locale,
    "terminfo": _terminfo,
    "mime": _mime,
}
