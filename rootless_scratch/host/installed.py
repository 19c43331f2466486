"""Installed packages of this host, or of a system in a directory: their files, as dpkg, apk and rpm list them."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from typing import TYPE_CHECKING, Final, Protocol

from rootless_scratch import command
from rootless_scratch.expressions import expression
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.host.owners import apk_owned, dpkg_owned, rpm_owned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from rootless_scratch.host.owners import Owned

_DPKG: Final = "/var/lib/dpkg"
_APK: Final = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_RPM: Final = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_RPM_FILES: Final = ("rpmdb.sqlite", "Packages.db", "Packages")
_FIELD: Final = expression(r"^(Package|Architecture|Depends|Pre-Depends|Recommends): *(.*)$", re.MULTILINE)
_NAMED: Final = expression(r"[a-z0-9][a-z0-9+.-]+", re.IGNORECASE)
_NEAR = 3


class Packages(Protocol):
    """One database of packages; paths begin at the root of its system."""

    def files(self, name: str) -> tuple[str, ...] | None:
        """What the package owns, directories included; None where it is not installed."""

    def names(self) -> tuple[str, ...]:
        """Every installed package."""

    def owner(self, path: str) -> str | None:
        """The package that a file came with, where this can be told cheaply."""

    def depends(self, name: str) -> tuple[str, ...]:
        """The packages that it depends on, where this can be told cheaply."""

    def owned(self, paths: Collection[str]) -> dict[str, Owned]:
        """Those of these real paths that came with a package, and which one that is."""


def databases(root: str = "/") -> tuple[Packages, ...]:
    """The databases of the system below `root`; rpm's needs the program rpm."""
    base = os.path.abspath(root).rstrip("/")
    found: list[Packages] = []
    if any(name.endswith(".list") for name in _listing(f"{base}{_DPKG}/info")):
        found.append(_Dpkg(base))
    found += [_Apk(base + path) for path in _APK if os.path.isfile(base + path)][:1]
    rpm = (path for path in _RPM if any(os.path.isfile(f"{base}{path}/{name}") for name in _RPM_FILES))
    return (*found, *(_Rpm(base, path) for path in rpm))


def near(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of packages that may be meant by one that is not there: those that begin so, else those alike."""
    start = tuple(
        sorted((each for each in names if each.startswith(name) or name.startswith(f"{each}-")), key=len)
    )
    import difflib

    close = difflib.get_close_matches(name, names, n=_NEAR)
    return tuple(dict.fromkeys((*start[:_NEAR], *close)))[:_NEAR]


class _Dpkg:
    """Lists and diversions below /var/lib/dpkg: dpkg-query(1), dpkg-divert(1)."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._info = f"{base}{_DPKG}/info"

    def files(self, name: str) -> tuple[str, ...] | None:
        """See `Packages`; `NAME:ARCHITECTURE` chooses one of several."""
        plain = name.partition(":")[0]
        known = self._lists.get(name) or self._lists.get(plain)
        if known is None or (":" in name and name not in self._lists and name != self._qualified(plain)):
            return None
        return tuple(
            moved if by != plain else path
            for path in _read(f"{self._info}/{known}").splitlines()
            if path.startswith("/")
            for moved, by in [self._diversions.get(path, (path, plain))]
        )

    def names(self) -> tuple[str, ...]:
        """See `Packages`."""
        return tuple(name for name in self._lists if ":" not in name)

    def owner(self, path: str) -> str | None:
        """See `Packages`; also by the path that a merged /usr had before."""
        wanted = {os.fsencode(each) for each in (path, path.removeprefix("/usr"))}
        # Most programs are in a package that begins as they do.
        start = posixpath.basename(path)[:2]
        for name in sorted(self.names(), key=lambda name: not name.startswith(start)):
            try:
                with open(f"{self._info}/{self._lists[name]}", "rb") as file:
                    content = b"\n" + file.read()
            except OSError:
                continue
            if any(b"\n" + each + b"\n" in content for each in wanted):
                return name
        return None

    def depends(self, name: str) -> tuple[str, ...]:
        """See `Packages`."""
        return self._status.get(name, ())

    def owned(self, paths: Collection[str]) -> dict[str, Owned]:
        """See `Packages`."""
        return dpkg_owned(self._base, paths)

    @functools.cached_property
    def _lists(self) -> Mapping[str, str]:
        """The list of each package, by its name and by `NAME:ARCHITECTURE`."""
        found: dict[str, str] = {}
        lists = sorted(each for each in _listing(self._info) if each.endswith(".list"))
        native = _read(f"{self._base}{_DPKG}/arch").split()
        for file in sorted(lists, key=lambda each: _rank(each.removesuffix(".list"), native)):
            name = file.removesuffix(".list")
            found.setdefault(name, file)
            found.setdefault(name.partition(":")[0], file)
        return found

    @functools.cached_property
    def _diversions(self) -> Mapping[str, tuple[str, str]]:
        lines = _read(f"{self._base}{_DPKG}/diversions").splitlines()
        return {path: (moved, by) for path, moved, by in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}

    @functools.cached_property
    def _status(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for paragraph in _read(f"{self._base}{_DPKG}/status").split("\n\n"):
            fields = dict(_FIELD.findall(paragraph))
            if "Package" in fields:
                clauses = ",".join(fields.get(key, "") for key in ("Pre-Depends", "Depends")).split(",")
                names = (_NAMED.match(one.strip()) for clause in clauses for one in clause.split("|"))
                found[fields["Package"]] = tuple(dict.fromkeys(each.group() for each in names if each))
        return found

    def _qualified(self, plain: str) -> str | None:
        """`NAME:ARCHITECTURE` of a package of which there can be one only, as its status says."""
        for paragraph in _read(f"{self._base}{_DPKG}/status").split("\n\n"):
            fields = dict(_FIELD.findall(paragraph))
            if fields.get("Package") == plain:
                return f"{plain}:{fields.get('Architecture')}"
        return None


def _rank(name: str, native: list[str]) -> tuple[int, str]:
    """The native architecture comes first: dpkg --print-foreign-architectures lists the others behind it."""
    architecture = name.partition(":")[2]
    return (native.index(architecture) if architecture in native else len(native), name)


class _Apk:
    """The paragraphs of apk's database: P is a package, F a directory, R a file in it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def files(self, name: str) -> tuple[str, ...] | None:
        """See `Packages`."""
        return tuple(self._paths(self._paragraphs[name])) if name in self._paragraphs else None

    def names(self) -> tuple[str, ...]:
        """See `Packages`."""
        return tuple(self._paragraphs)

    def owner(self, path: str) -> str | None:
        """See `Packages`."""
        directory, name = posixpath.split(path)
        lines = (f"F:{directory.lstrip('/')}", f"R:{name}")
        for package, paragraph in self._paragraphs.items():
            if set(lines) <= set(paragraph.splitlines()) and path in self._paths(paragraph):
                return package
        return None

    def depends(self, name: str) -> tuple[str, ...]:
        """See `Packages`; sonames and commands are left out."""
        lines = self._paragraphs.get(name, "").splitlines()
        wanted = next((line[2:].split() for line in lines if line.startswith("D:")), [])
        names = (_NAMED.match(each) for each in wanted if ":" not in each)
        return tuple(each.group() for each in names if each)

    def owned(self, paths: Collection[str]) -> dict[str, Owned]:
        """See `Packages`."""
        return apk_owned(self._path, paths)

    @functools.cached_property
    def _paragraphs(self) -> Mapping[str, str]:
        found = {}
        for paragraph in _read(self._path).split("\n\n"):
            name = next((line[2:] for line in paragraph.splitlines() if line.startswith("P:")), None)
            if name is not None:
                found[name] = paragraph
        return found

    @staticmethod
    def _paths(paragraph: str) -> Iterator[str]:
        directory = ""
        for line in paragraph.splitlines():
            if line.startswith("F:"):
                directory = f"/{line[2:]}".rstrip("/")
                yield directory or "/"
            elif line.startswith("R:"):
                yield f"{directory}/{line[2:]}"


class _Rpm:
    """What rpm(8) answers; its database has no form that others may read."""

    def __init__(self, base: str, directory: str) -> None:
        # Debian's rpm looks for one in the user's home, unless it is told where.
        self._root = (*(("--root", base) if base else ()), "--dbpath", directory)

    def files(self, name: str) -> tuple[str, ...] | None:
        """See `Packages`; raises ToolMissingError without rpm."""
        output = self._query("-ql", name, check=False)
        return None if output is None else tuple(line for line in output.splitlines() if line.startswith("/"))

    def names(self) -> tuple[str, ...]:
        """See `Packages`."""
        return tuple(sorted(set((self._query("-qa", "--queryformat", "%{NAME}\\n") or "").split())))

    def owner(self, path: str) -> str | None:
        """See `Packages`; rpm is not started for it."""
        del path
        return None

    def depends(self, name: str) -> tuple[str, ...]:
        """See `Packages`; rpm is not started for it."""
        del name
        return ()

    def owned(self, paths: Collection[str]) -> dict[str, Owned]:
        """See `Packages`; raises ToolMissingError without rpm."""
        return rpm_owned(paths, functools.partial(self._query, check=False))

    def _query(self, *arguments: str, check: bool = True) -> str | None:
        argv = ["rpm", *self._root, *arguments]
        output = command.ask(argv, environment=tool_environment().variables, check=check)
        return output.stdout.decode("utf-8", "surrogateescape") if output.exit_code == 0 else None


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
