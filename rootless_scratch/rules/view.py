"""What the rules share: an image, what a program finds in it, who it runs as, and how files of it are named."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.searching import Start
from rootless_scratch.image.config import USUAL_PATH, RuntimeConfig
from rootless_scratch.image.rootfs import Directory, File, Rootfs, Symlink
from rootless_scratch.image.tree import Tree
from rootless_scratch.rules.access import Account, Lists, account_of, read_lists
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.elf.libraries import Closure, Unresolved
    from rootless_scratch.elf.roots import Root

_FLAG_LIMIT = 400
_CANDIDATES_LIMIT = 10_000
"""Guessing what was meant is no reason to be slow."""

_ANY_EXECUTE: Final = 0o111


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a program finds in its image.

    `root` is the image as its loader will see it, `start` what its environment tells the loader, `search_path` its
    PATH. `sought` are libraries that were looked for on the host in order to be bundled, and not found there
    either; `bundling` is whether that was done at all. `closures` are what loaders open, by the paths of programs,
    as far as that is known already.
    """

    root: Root
    start: Start = Start()
    search_path: Sequence[str] = tuple(USUAL_PATH.split(":"))
    working_dir: str = "/"
    sought: Sequence[Unresolved] = ()
    bundling: bool = False
    closures: Mapping[str, Closure] = {}

    def has(self, path: str) -> bool:
        """Whether a path leads to a regular file."""
        return self.root.locate(path) is not None


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """An image under judgement: its files, also as a tree, its config, the user that it names, and its lists."""

    rootfs: Rootfs
    tree: Tree
    config: RuntimeConfig
    account: Account
    lists: Lists

    def is_file(self, path: str) -> bool:
        """Tell whether `path` leads to a regular file, as interpreters and libraries must be."""
        return isinstance(self.tree.resolve(path), File)

    def link(self, path: str) -> Symlink | None:
        """Give the symbolic link at this very path."""
        return next((each for each in self.rootfs if isinstance(each, Symlink) and each.path == path), None)

    def flag(self) -> str:
        """Give the flag of `build` that holds the first argument of the command."""
        return "--entrypoint" if self.config.entrypoint else "--cmd"

    def started_as(self, path: str) -> str:
        """Write the flag of `build` that starts `path` in place of the present first argument."""
        argv = self.config.entrypoint or self.config.cmd or ()
        return in_flag(self.flag(), (path, *argv[1:]))


def view_of(rootfs: Rootfs, config: RuntimeConfig, content: Callable[[File], bytes | None]) -> ImageView:
    """The image of these files and this config; `content` gives all bytes of small files, None if not known."""
    tree = Tree(rootfs)
    lists = read_lists(tree, content)
    account = account_of(config.user, lists)
    return ImageView(rootfs=rootfs, tree=tree, config=config, account=account, lists=lists)


def in_flag(flag: str, argv: Sequence[str]) -> str:
    """Write a command as a shell takes it: `--cmd '["/hello"]'`."""
    import json
    import shlex

    text = json.dumps(list(argv), ensure_ascii=not all(argument.isprintable() for argument in argv))
    if len(text) > _FLAG_LIMIT:
        return f"{flag}, beginning with {shown(argv[0])}"
    return f"`{flag} {shlex.quote(text)}`"


def files_named(view: ImageView, name: str) -> tuple[str, ...]:
    """Find the files, or links to files, of that name in the whole image: executable ones, nearest first."""
    found = [
        entry.path
        for entry in view.rootfs
        if entry.path.endswith("/" + name) and view.is_file(entry.path) and name
    ]
    return tuple(sorted(found, key=lambda path: (not _is_program(view, path), path.count("/"), path)))


def similar_file(view: ImageView, path: str) -> str | None:
    """Find the file that was most likely meant by a path, or a mere name, that leads nowhere."""
    from difflib import get_close_matches

    same = files_named(view, posixpath.basename(path))
    if same:
        return same[0]
    by_name: dict[str, str] = {}
    for entry in view.rootfs.entries[:_CANDIDATES_LIMIT]:
        if not isinstance(entry, Directory) and _is_program(view, entry.path):
            by_name.setdefault(posixpath.basename(entry.path), entry.path)
    close = get_close_matches(posixpath.basename(path), by_name, n=1)
    return by_name[close[0]] if close else None


def dead_end(view: ImageView, path: str) -> str | None:
    """Say why `path` leads nowhere, where that is more than that it is not there: a broken link, a file."""
    known = {entry.path: entry for entry in view.rootfs}
    reached = ""
    for name in filter(None, path.split("/")):
        above = view.tree.resolve(reached or "/")
        reached = f"{reached}/{name}"
        if above is None or view.tree.is_present(reached):
            continue
        if isinstance(above, File):
            return f"{shown(above.path)} is a file, not a directory"
        entry = known.get(f"{above.path.rstrip('/')}/{name}")
        if isinstance(entry, Symlink):
            return (
                f"{shown(entry.path)} is a symbolic link to {shown(entry.target)}, "
                "which leads to nothing in the image"
            )
        return None
    return None


def _is_program(view: ImageView, path: str) -> bool:
    entry = view.tree.resolve(path)
    return isinstance(entry, File) and bool(entry.mode & _ANY_EXECUTE)
