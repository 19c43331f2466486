"""Recipes: what programs of one kind read besides their libraries, as data (recipes/*.toml, docs/recipes.md).

A recipe is recognised by facts of a program and of the libraries that it loads; nothing is executed.
"""

from __future__ import annotations

import functools
import itertools
import os
import posixpath
import re
import stat
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rootless_scratch.errors import SpecError
from rootless_scratch.expressions import expression
from rootless_scratch.image.rootfs import Directory, File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootless_scratch.image.rootfs import Entry

    Content = Callable[[File], bytes | None]

_DIRECTORY: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "recipes")
_END: Final = ".toml"
_ALL: Final = "recipes.json"
"""All of ours in one file, which is read in a tenth of the time; made of the others by scripts/reference.py."""

IN_BRACES: Final = expression(r"\{([a-z]+)\}")
"""What stands for a value in a path."""

_SIZE_LIMIT = 1 << 20

_NAMED_LIMIT = 200
"""Files that one names; nobody configures more by hand."""

NAME: Final = expression(r"[a-z][a-z0-9-]*\Z")


IMPORTS: Final = "imports"
"""The value of `--with NAME=imports`: only what scripts import."""


class Recognition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a program is recognised: one of these is enough; names of files and libraries are patterns.

    functions      it calls or offers one of these (elf/symbols.py, RUNTIME)
    sonames        it loads such a library
    needed         it names such a library itself
    calls          it calls one of these functions; with `also_libraries` a library that it loads may, too
    names          its file is called so, on the host or in the image
    interpreters   as scripts name it in their first line
    glibc          only where the C library is glibc
    every          each of those that are given must fit, not one
    without        names of programs that fit and do not need the files
    """

    functions: tuple[str, ...] = ()
    sonames: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    glibc: bool = False
    also_libraries: bool = False
    every: bool = False
    without: tuple[str, ...] = ()


class Embedded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """By what a program has the runtime inside it, which it may or may not use: a warning."""

    sonames: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


class Names(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Files that name others, which must be there, too: the first group of `pattern`, from their own directory."""

    files: tuple[str, ...]
    pattern: str


class Needs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Patterns of paths in the image, of which one must lead to a file; `*` also stands for slashes.

    `all` are groups, of each of which one must; `names` tells what must be there besides. With one of the
    arguments or variables `unless` in its command and environment a program reads others, which nobody knows here.
    """

    files: tuple[str, ...] = ()
    all: tuple[tuple[str, ...], ...] = ()
    names: tuple[Names, ...] = ()
    unless: tuple[str, ...] = ()

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Every group."""
        return (*((self.files,) if self.files else ()), *self.all)


class Bring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Files of the host that go to the same place in the image: all of `paths` that exist, as glob(3) reads them.

    In them `{prefix}` is the directory above the one that the program lies in, `{multiarch}` Debian's name for its
    machine; other names in braces are `values`. `exclude` are patterns of what lies below; `when` is the value of
    `--with NAME=VALUE` that asks for them, where they do not always come along. With `charsets` the paths are
    directories of gconv, and values are character sets, whose modules alone come along.
    """

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = msgspec.field(default=(), name="except")
    when: str | None = None
    charsets: bool = False


class Sign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a program says, as a regular expression, that ends for want of the files."""

    pattern: str


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Arguments with which a program that has its files exits with 0, and prints `prints`."""

    arguments: tuple[str, ...]
    prints: str = ""


class Imports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the interpreter lists what a script imports, without running it, for `--with NAME=imports`.

    It is started with `arguments` and the script; the first group of `pattern` is the path of a file, in a line of
    its output. `always` are patterns of paths as in Bring, which come along besides.
    """

    arguments: tuple[str, ...]
    pattern: str
    always: tuple[str, ...]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One kind of program and its files.

    kind      runtime: it does nothing without them, which forbids a build; data: a warning; offer: no finding
    rule      the id of the finding, where it is not that of the kind
    what      the files, in words that follow "needs"
    values    names that stand in paths, each with the pattern whose first group is its value; looked for in the
              program's file name, in the names of its libraries, then in its bytes
    also      essentials and recipes that come along
    packages  by package manager, what has the files on a host
    static    what mends it for a static program, which cannot use the files
    """

    name: str
    kind: Literal["runtime", "data", "offer"]
    what: str
    recognise: Recognition
    needs: Needs
    brings: tuple[Bring, ...]
    embedded: Embedded = Embedded()
    rule: str = ""
    values: dict[str, str] = {}
    also: tuple[str, ...] = ()
    symptoms: tuple[Sign, ...] = ()
    proof: Proof | None = None
    packages: dict[str, str] = {}
    static: str = ""
    imports: Imports | None = None

    def rule_id(self) -> str:
        """The rule by which a finding tells that the files are not there."""
        return self.rule or ("needs-runtime" if self.kind == "runtime" else "needs-data")

    def offers(self) -> tuple[str, ...]:
        """The values that `--with NAME=VALUE` takes."""
        named = dict.fromkeys(bring.when for bring in self.brings if bring.when is not None)
        return (*(() if self.imports is None else (IMPORTS,)), *named)

    def takes(self, value: str) -> bool:
        """Whether `--with NAME=VALUE` makes sense."""
        return value in ("", *self.offers()) or any(bring.charsets for bring in self.brings)

    def for_interpreter(self, path: str) -> bool:
        """Whether a script that names this interpreter is of this kind."""
        return matches(posixpath.basename(path), self.recognise.interpreters)


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes, sorted; no recipe is read for it."""
    return tuple(sorted(recipe_files()))


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes, by name; raises SpecError for one of the user's that cannot be read."""
    with open(os.path.join(_DIRECTORY, _ALL), "rb") as file:
        ours = {each.name: each for each in msgspec.json.decode(file.read(), type=tuple[Recipe, ...])}
    return tuple(
        ours[name] if os.path.dirname(path) == _DIRECTORY else read_recipe(path)
        for name, path in sorted(recipe_files().items())
    )


def recipe(name: str) -> Recipe | None:
    """The recipe of this name; None where there is none."""
    return next((each for each in recipes() if each.name == name), None) if name in recipe_names() else None


def is_met(needs: Needs, entries: Iterable[Entry]) -> bool:
    """Whether an image has the files that are needed."""
    paths = [entry.path for entry in entries if not isinstance(entry, Directory)]
    return all(any(map(matcher(group), paths)) for group in needs.groups())


def named_files(needs: Needs, entries: Iterable[Entry], content: Content) -> Iterator[tuple[str, str]]:
    """What files of an image name: by which one, and the path; `content` gives None for what is not known."""
    for each in needs.names:
        pattern = re.compile(each.pattern.encode())
        for entry in entries:
            if not isinstance(entry, File) or not matches(entry.path, each.files):
                continue
            found = pattern.finditer(content(entry) or b"")
            for match in itertools.islice((match for match in found if match.group(1)), _NAMED_LIMIT):
                name = match.group(1).decode("utf-8", "surrogateescape")
                yield entry.path, posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), name))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether one of the patterns fits."""
    return matcher(patterns)(name) is not None


@functools.lru_cache(maxsize=1024)
def matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """What tells whether one of the patterns fits; without any, none does."""
    from fnmatch import translate

    return re.compile("|".join(map(translate, patterns)) if patterns else r"(?!)").match


@functools.cache
def recipe_files() -> dict[str, str]:
    """The path of each recipe by its name; those of the user come before ours."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    found: dict[str, str] = {}
    for directory in (_DIRECTORY, os.path.join(home, "rootless-scratch", "recipes")):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        found |= {
            name.removesuffix(_END): os.path.join(directory, name)
            for name in names
            if name.endswith(_END) and NAME.match(name.removesuffix(_END))
        }
    return found


def read_recipe(path: str) -> Recipe:
    """A recipe of a file that is called after it; raises SpecError where it cannot be read."""
    import tomllib

    name = os.path.basename(path).removesuffix(_END)
    try:
        with open(path, "rb", opener=_open_regular) as file:
            found = msgspec.convert({"name": name, **tomllib.load(file)}, Recipe)
        _validate(found)
    except (OSError, ValueError, re.error) as error:
        raise SpecError(
            f"The recipe {path!r} cannot be read: {error}.",
            fix="Correct it, or move it away; docs/recipes.md has the form.",
        ) from error
    return found


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _SIZE_LIMIT:
        os.close(descriptor)
        raise ValueError(f"it is not a regular file of at most {_SIZE_LIMIT} bytes")
    return descriptor


def _validate(found: Recipe) -> None:
    """Raise ValueError, re.error for what the form allows, and nobody can use."""
    if not found.what.isprintable() or not found.what.strip():
        raise ValueError("`what` does not say which files they are")
    if found.rule and not NAME.match(found.rule):
        raise ValueError(f"{found.rule!r} is not the id of a rule")
    for sign in found.symptoms:
        re.compile(sign.pattern)
    for pattern in (*found.values.values(), *(each.pattern for each in found.needs.names)):
        if re.compile(pattern).groups < 1:
            raise ValueError(f"the pattern {pattern!r} has no group")
    for path in (path for bring in found.brings for path in bring.paths):
        unknown = set(IN_BRACES.findall(path)) - {"prefix", "multiarch", *found.values}
        if unknown:
            raise ValueError(f"`values` does not tell what {{{min(unknown)}}} is in {path!r}")
        if not path.startswith(("/", "{")) or "\0" in path:
            raise ValueError(f"{path!r} is not an absolute path")
