"""Files of a recipe as entries: what a runtime reads, brought from where this host has it (docs/recipes.md)."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.elf.libraries import resolve
from rootless_scratch.elf.searching import TRIPLETS
from rootless_scratch.errors import ElfError, SourceError, SpecError, UsageError
from rootless_scratch.host.packages import install_command
from rootless_scratch.image.envline import env_line
from rootless_scratch.image.plan.charsets import charset_files
from rootless_scratch.image.plan.copies import brought_entries
from rootless_scratch.image.plan.entries import directory_entry, is_same
from rootless_scratch.image.plan.imports import imported_files
from rootless_scratch.image.recipes import IMPORTS, IN_BRACES, Bring, recipe_names
from rootless_scratch.image.recipes import recipe as recipe_of
from rootless_scratch.image.rootfs import Directory, Symlink
from rootless_scratch.image.spec import Copy, Essential, NewDirectory
from rootless_scratch.image.syntax import ESSENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.recipes import Recipe
    from rootless_scratch.image.rootfs import Entry

_BYTES_LIMIT = 64 << 20
_ALL: Final = "*"
"""As what is excluded from a directory: it comes along empty."""

_NEVER: Final = frozenset(
    ["/", "/usr", "/etc", "/var", "/lib", "/usr/lib", "/usr/share", "/proc", "/sys", "/dev", "/run"]
)
"""What a link may lead to and is never brought whole."""


def with_companions(essentials: Iterable[Essential]) -> tuple[Essential, ...]:
    """The essentials, and those that recipes among them name as coming along; raises SpecError."""
    found = list(essentials)
    names = {each.name for each in found}
    for each in found:
        recipe = recipe_of(each.name)
        for name in recipe.also if recipe is not None else ():
            if name not in ESSENTIALS and name not in recipe_names():
                raise SpecError(
                    f"The recipe {each.name!r} brings {name!r} along, which is neither an essential nor a recipe.",
                    fix="Correct its `also`; docs/recipes.md has the form.",
                )
            if name not in names:
                names.add(name)
                found.append(Essential(name=name))
    return tuple(found)


def interpreters(
    scripts: Iterable[ProgramFacts], essentials: Iterable[Essential], taken: Iterable[str], config: RuntimeConfig
) -> tuple[Copy, ...]:
    """The interpreters of scripts, and env(1), that recipes among the essentials bring, where none is `taken`."""
    wanted = [found for each in essentials if (found := recipe_of(each.name)) is not None]
    present = set(taken)
    answer: dict[str, None] = {}
    for script in scripts if wanted else ():
        named = (script.shebang or ("",))[0]
        line = env_line(script.shebang)
        paths = (named,) if line is None else line.candidates(config.search_path(), "/")
        if present.intersection(paths):
            continue
        path = next((path for path in paths if os.path.isfile(path)), None)
        if path is not None and any(each.for_interpreter(path) for each in wanted):
            answer |= dict.fromkeys((path,) if line is None or named in present else (named, path))
    return tuple(Copy(source=path, destination=path) for path in answer)


def brought(
    essential: Essential,
    recipe: Recipe,
    programs: Mapping[str, ProgramFacts],
    root: HostRoot,
    files: HostFiles,
    *,
    exclude: Sequence[str] = (),
) -> Iterator[Entry]:
    """The entries that a recipe brings for the programs of an image; `root` is the host or its sysroot.

    Raises UsageError for values that the recipe does not offer, SourceError where this host has no such files.
    """
    for value in essential.values:
        if not recipe.takes(value):
            offers = ", ".join(recipe.offers())
            raise UsageError(
                f"--with {recipe.name}={value}: {recipe.name} offers no {value!r}.",
                fix=f"It offers {offers}." if offers else f"Write `--with {recipe.name}`.",
            )
    values = _Values(recipe, programs, root, files)
    paths: dict[str, Bring] = {}
    narrow, trees = IMPORTS in essential.values, list[str]()
    for bring in recipe.brings:
        if not narrow and bring.when is not None and bring.when not in essential.values:
            continue
        found = [path for pattern in bring.paths for path in values.expanded(pattern)]
        if bring.charsets and any(essential.values):
            found = list(charset_files(essential.values, found, root))
        if not narrow:
            paths |= dict.fromkeys(found, bring)
        trees += found
    if narrow:
        paths |= _imported(recipe, values, programs, root, trees)
    if not paths and not values.is_alone():
        raise SourceError(
            f"This host does not have {recipe.what}, which --with {recipe.name} is to bring.",
            fix=_install(recipe),
        )
    yield from _Trees(root, files, exclude).entries(paths)


def _imported(
    recipe: Recipe, values: _Values, programs: Mapping[str, ProgramFacts], root: HostRoot, trees: Sequence[str]
) -> dict[str, Bring]:
    """What the scripts import of the trees, and what no script can do without."""
    assert recipe.imports is not None  # noqa: S101 - else the value is refused
    always = [path for pattern in recipe.imports.always for path in values.expanded(pattern)]
    return dict.fromkeys(
        (*always, *imported_files(recipe, programs, root, trees)),
        Bring(paths=(), exclude=("*/__pycache__", "__pycache__")),
    )


def _install(recipe: Recipe) -> str:
    command = install_command(recipe.packages)
    return (
        f"Install it: `{command}`."
        if command
        else f"Install the package that has it, or `--copy` the files of {recipe.name} yourself."
    )


class _Values:
    """What the names in braces stand for, found in the programs of the image that are of the recipe's kind."""

    def __init__(
        self, recipe: Recipe, programs: Mapping[str, ProgramFacts], root: HostRoot, files: HostFiles
    ) -> None:
        self._recipe = recipe
        self._root = root
        self._files = files
        self._programs = [facts for facts in programs.values() if facts.elf is not None]
        self._known = [facts for facts in self._programs if self._is_of_kind(facts)]
        self._programs = self._known or self._programs

    def is_alone(self) -> bool:
        """Whether the programs of the kind have all inside them: only their names tell that they are of it."""
        how = self._recipe.recognise
        return bool(how.interpreters and self._known) and not any(
            facts.elf is not None and self._shows(facts.elf) for facts in self._known
        )

    def expanded(self, pattern: str) -> Iterator[str]:
        """The paths of the root that exist, for each program."""
        found: dict[str, None] = {}
        if not self._programs and not IN_BRACES.search(pattern):
            # Scripts alone, whose interpreter comes along.
            yield from self._glob(pattern)
        for facts in self._programs:
            for text in self._filled(pattern, facts):
                found |= dict.fromkeys(self._glob(text))
        yield from found

    def _is_of_kind(self, facts: ProgramFacts) -> bool:
        elf, how = facts.elf, self._recipe.recognise
        assert elf is not None  # noqa: S101 - looked at before
        name = os.path.basename(facts.path)
        return self._shows(elf) or any(fnmatch.fnmatchcase(name, each) for each in (*how.names, *how.interpreters))

    def _shows(self, elf: ElfFacts) -> bool:
        how = self._recipe.recognise
        return any(name in elf.functions for name in (*how.functions, *how.calls)) or any(
            fnmatch.fnmatchcase(name, each) for name in elf.needed for each in (*how.sonames, *how.needed)
        )

    def _filled(self, pattern: str, facts: ProgramFacts) -> Iterator[str]:
        assert facts.elf is not None  # noqa: S101 - likewise
        names = {name: self._value(name, facts) for name in IN_BRACES.findall(pattern) if name != "multiarch"}
        if None in names.values():
            return
        for triplet in TRIPLETS.get(facts.elf.machine, ()) if "{multiarch}" in pattern else ("",):
            yield _filled(pattern, {**names, "multiarch": triplet})

    def _value(self, name: str, facts: ProgramFacts) -> str | None:
        real = self._root.inside(facts.path) or os.path.realpath(facts.path)
        if name == "prefix":
            return posixpath.dirname(posixpath.dirname(real)).rstrip("/")
        pattern = re.compile(self._recipe.values[name])
        elf = facts.elf
        assert elf is not None  # noqa: S101 - likewise
        for text in (real, *elf.needed):
            found = pattern.search(text)
            if found is not None:
                return found.group(1)
        try:
            inside = re.search(pattern.pattern.encode(), self._files.head(facts.path, _BYTES_LIMIT))
            if inside is None and elf.needed:
                closure = resolve(elf, path=real, root=self._root)
                texts = (text for each in closure.libraries for text in (each.name, each.real))
                far = next((found for text in texts if (found := pattern.search(text))), None)
                return None if far is None else far.group(1)
        except (OSError, ValueError, ElfError):
            return None
        return None if inside is None else inside.group(1).decode("ascii", "replace")

    def _glob(self, text: str) -> Iterator[str]:
        start = self._root.on_host("")
        for path in sorted(glob.glob(glob.escape(start) + text, include_hidden=True)):
            yield path[len(start) :]


class _Trees:
    """Collects entries of trees of the root; links that lead out of them bring what they lead to."""

    def __init__(self, root: HostRoot, files: HostFiles, exclude: Sequence[str]) -> None:
        self._root = root
        self._files = files
        self._exclude = exclude
        self._taken: dict[str, Entry] = {}

    def entries(self, paths: Mapping[str, Bring]) -> Iterator[Entry]:
        """All of them, each path once."""
        pending: list[tuple[str, Sequence[str]]] = [(path, bring.exclude) for path, bring in paths.items()]
        for path, exclude in pending:
            for link, target in self._take(path, exclude):
                real = os.path.normpath(os.path.join(os.path.dirname(link), target))
                host = self._root.on_host(real)
                if real not in self._taken and real not in _NEVER and os.path.exists(host) and "/doc/" not in real:
                    pending.append((real, exclude))
        yield from self._taken.values()

    def _take(self, path: str, exclude: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Add one file, link or tree; the links in it follow, each with its target."""
        real = self._root.followed(path) or path
        host = self._root.on_host(real)
        if real in self._taken:
            return
        if real != path:
            self._taken.setdefault(path, Symlink(path=path, target=real))
        if os.path.islink(host):
            target = os.readlink(host)
            self._taken[real] = Symlink(path=real, target=target)
            yield real, target
            return
        if _ALL in exclude and os.path.isdir(host):
            self._taken[real] = directory_entry(NewDirectory(path=real))
            return
        for entry in brought_entries(Copy(source=host, destination=real), self._files, self._exclude):
            below = entry.path[len(real) :].lstrip("/")
            if any(_is_below(below, pattern) for pattern in exclude):
                continue
            self._taken.setdefault(entry.path, entry)
            if isinstance(entry, Symlink):
                yield entry.path, entry.target


def _filled(pattern: str, names: Mapping[str, str | None]) -> str:
    return IN_BRACES.sub(lambda found: glob.escape(names[found.group(1)] or ""), pattern)


def _is_below(path: str, pattern: str) -> bool:
    """Whether a path, or a directory above it, is one that the pattern names; `*` also stands for slashes."""
    if not path:
        return False
    parts = path.split("/")
    if "*" not in pattern:
        return path == pattern or path.startswith(pattern + "/")
    return any(fnmatch.fnmatchcase("/".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def with_recipes(
    entries: list[Entry],
    essentials: Iterable[Essential],
    programs: Mapping[str, ProgramFacts],
    root: HostRoot,
    files: HostFiles,
    *,
    exclude: Sequence[str] = (),
) -> tuple[list[Entry], tuple[tuple[str, str], ...]]:
    """Entries of the user, completed by those of recipes; and what the user already had: name and path."""
    own = {entry.path: entry for entry in entries if not isinstance(entry, Directory)}
    directories = {entry.path for entry in entries if isinstance(entry, Directory)}
    added: dict[str, Entry] = {}
    covered: dict[tuple[str, str], None] = {}
    values: dict[str, list[str]] = {}
    for essential in essentials:
        values.setdefault(essential.name, []).extend(essential.values)
    for name, chosen in values.items():
        found = recipe_of(name)
        if found is None:
            continue
        essential = Essential(name=name, values=tuple(dict.fromkeys(chosen)))
        for entry in brought(essential, found, programs, root, files, exclude=exclude):
            if entry.path in own:
                if not is_same(own[entry.path], entry):
                    covered[name, entry.path] = None
            elif entry.path not in directories:
                added.setdefault(entry.path, entry)
    return [*entries, *added.values()], tuple(covered)
