"""All files of an image below a directory, and how its program is started there without a container.

The loader of the image is started by its path, with the libraries of the image before all others. Absolute paths
that the program opens by itself are the host's.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from rootless_scratch.backends.layouts import LayoutImage
from rootless_scratch.data import Value
from rootless_scratch.elf.libraries import resolve
from rootless_scratch.elf.program import ProgramFacts, read_program
from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, SourceError
from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.tree import Tree
from rootless_scratch.image.treeroot import TreeRoot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.references import Reference
    from rootless_scratch.image.rootfs import Entry

_SCRIPTS_LIMIT = 4
"""Scripts that may name each other as interpreters, one less than in Linux."""

_EXECUTE = 0o111
_USUAL = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_LOADED = ("LD_PRELOAD", "LD_AUDIT")


class BareImage(Value):
    """An image whose files lie below `root`, as far as they are files, directories and links."""

    root: str
    tree: Tree
    config: RuntimeConfig


class Invocation(Value):
    """What the kernel is asked for: a file of this host, its arguments, its environment, its working directory."""

    path: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    directory: str


def unpack_bare(reference: Reference, directory: str, platform: Platform | None = None) -> BareImage:
    """Write all files of an image to a private directory, readable for us whatever their modes are.

    Raises ImageNotFoundError, SourceError, LimitError, HostError.
    """
    root = os.path.join(directory, "root")
    with ImageReader(reference) as reader:
        image = LayoutImage(reader, platform)
        entries = image.stored.rootfs().entries
        copies = image.copy_out((each.path for each in entries if isinstance(each, File)), directory)
    try:
        os.mkdir(root, 0o700)
        _lay_out(entries, {path: copy for path, (copy, _) in copies.items()}, root)
    except OSError as error:
        raise host_trouble(error, root) or SourceError(
            f"The image cannot be unpacked: {error.strerror}.", fix="Run it in a container, without --unpacked."
        ) from error
    return BareImage(root=root, tree=Tree(entries), config=image.stored.runtime_config())


def _lay_out(entries: Iterable[Entry], copies: dict[str, str], root: str) -> None:
    """Links come last, and only where nothing is: no file is written through one."""
    links = []
    for entry in entries:
        path = root + entry.path
        if isinstance(entry, Symlink):
            links.append(entry)
            continue
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if isinstance(entry, Directory):
            os.makedirs(path, mode=0o700, exist_ok=True)
        else:
            os.chmod(copies[entry.path], entry.mode & 0o777 | 0o600)
            os.link(copies[entry.path], path)
    for link in links:
        above = os.path.dirname(link.path)
        os.makedirs(root + above, mode=0o700, exist_ok=True)
        # In the image the root is where `..` ends, and where absolute ones begin.
        target = posixpath.normpath(posixpath.join("/", above, link.target))
        if not os.path.lexists(root + link.path):
            os.symlink(posixpath.relpath(target, above), root + link.path)


def invocation(
    image: BareImage, argv: tuple[str, ...], env: tuple[tuple[str, str], ...], working_dir: str
) -> Invocation:
    """How this command of the image is started; `argv` and `env` are as the image's own runtime would have them.

    Raises CommandNotFoundError, CannotInvokeError, SourceError, ElfError.
    """
    import msgspec

    config = msgspec.structs.replace(image.config, env=env, working_dir=working_dir)
    directory = image.tree.resolve(working_dir)
    if not (isinstance(directory, Directory) or working_dir == "/"):
        raise CannotInvokeError(
            f"The working directory {working_dir} is not in the image.", fix="Add it, or use --workdir."
        )
    program = image.tree.command_path(config, argv[0])
    if program is None:
        raise _absent(argv[0], "any directory of the image's PATH")
    path, started = _started(image, config, program, argv)
    # The loader is told where libraries are by an option.
    kept = ((name, value) for name, value in env if name != "LD_LIBRARY_PATH")
    rewritten = tuple((name, _below(value, image.root) if name in _LOADED else value) for name, value in kept)
    below = "" if directory is None else directory.path
    return Invocation(path=path, argv=started, env=rewritten, directory=image.root + below)


def _started(
    image: BareImage, config: RuntimeConfig, program: str, argv: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """The file of this host to start, and its arguments: scripts lead to interpreters, and these to loaders."""
    for _ in range(_SCRIPTS_LIMIT):
        entry = _file(image, program)
        unpacked = image.root + entry.path
        facts = read_program(unpacked)
        if facts.kind != "script" or not facts.shebang:
            return _loaded(image, config, entry, facts, argv)
        program = posixpath.join("/", config.working_dir, facts.shebang[0])
        # The kernel gives the path of the script in place of its name: execve(2).
        argv = (*facts.shebang, unpacked, *argv[1:])
    raise CannotInvokeError(f"{program} is a script of scripts.", fix="Name a program as its interpreter.")


def _file(image: BareImage, path: str) -> File:
    entry = image.tree.resolve(path)
    if entry is None:
        raise _absent(path, "the image")
    if not isinstance(entry, File) or not entry.mode & _EXECUTE:
        raise CannotInvokeError(
            f"{path} is in the image and cannot be executed: permission denied.",
            fix="It must be a file with its execute bits set (mode 0755).",
        )
    return entry


def _loaded(
    image: BareImage, config: RuntimeConfig, entry: File, facts: ProgramFacts, argv: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """A program with a loader is started by that of the image, any other by itself."""
    unpacked = image.root + entry.path
    elf = facts.elf
    if elf is None or elf.interpreter is None:
        return unpacked, argv

    def read(file: File) -> ElfFacts | None:
        return read_program(image.root + file.path).elf

    root = TreeRoot(image.tree, read=read, content=lambda file: _content(image.root + file.path))
    closure = resolve(elf, path=entry.path, root=root, start=config.start())
    if closure.interpreter is None:
        raise _absent(f"The loader {elf.interpreter} of {entry.path}", "the image")
    missing = next((each for each in closure.unresolved if each.asked_by == "DT_NEEDED"), None)
    if missing is not None:
        raise _absent(f"{missing.name}, which {missing.wanted_by or entry.path} needs,", "the image")
    loader = image.root + closure.interpreter.real
    directories = [os.path.dirname(library.path) for library in closure.libraries]
    directories += [each for each in (*closure.defaults, *_USUAL) if image.tree.is_present(each)]
    search = ":".join(image.root + each for each in dict.fromkeys(directories) if ":" not in each)
    options = ["--library-path", search]
    content = _content(loader)
    if not closure.musl:
        # That of the host would lead to its libraries.
        options.insert(0, "--inhibit-cache")
    if b"--argv0" in content:
        options += ["--argv0", argv[0]]
    return loader, (loader, *options, unpacked, *argv[1:])


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _below(value: str, root: str) -> str:
    """Absolute paths of a list as those of the unpacked image."""
    return ":".join(root + each if each.startswith("/") else each for each in value.split(":"))


def _absent(name: str, where: str) -> CommandNotFoundError:
    return CommandNotFoundError(
        f"{name} is not in {where}.",
        fix="`rootless-scratch check` on the image says what it lacks.",
    )
