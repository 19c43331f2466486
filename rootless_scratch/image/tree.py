"""The entries of an image as a tree: what a path leads to inside it, and what a runtime would start."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from rootless_scratch.errors import LimitError
from rootless_scratch.image.envline import env_line
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.config import RuntimeConfig

_LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""

_PATH_LIMIT = 4096
"""PATH_MAX of the kernel, which refuses longer ones: path_resolution(7)."""

_STARTED_LIMIT = 32
"""Files that lead to each other by env(1); each is read anew out of its layer."""

_STEPS_LIMIT = 1_000_000
"""For all that is looked up in one image; real ones take some thousands."""

SCRIPTS_LIMIT = 5
"""So many scripts in a row, each the interpreter of the one before: exec_binprm() in Linux fs/exec.c."""

_DEPTH = 64
_EXECUTE = 0o111

_ROOT = Directory(path="/", mode=0o755, uid=0, gid=0)


class Tree:
    """Looks paths up among entries; symbolic links are followed inside the image only."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {"/": _ROOT} | {entry.path: entry for entry in entries}
        self._steps = 0
        self._walked: dict[str, tuple[Entry, ...]] = {}

    def resolve(self, path: str) -> Entry | None:
        """The entry that `path` leads to, all links followed; None if there is none."""
        steps = self.walk(path)
        return steps[-1] if steps else None

    def is_present(self, path: str) -> bool:
        """Whether `path` leads to anything."""
        return self.resolve(path) is not None

    def walk(self, path: str) -> tuple[Entry, ...]:
        """Every directory that the kernel searches on the way to `path`, then the entry; () if there is none.

        Empty names are `.`, so what ends in `/` must be a directory: path_resolution(7).
        """
        if path not in self._walked:
            steps = self._walk_on(path)
            self._walked[path] = self._walk(path) if steps is None else steps
        return self._walked[path]

    def _walk_on(self, path: str) -> tuple[Entry, ...] | None:
        """The same from the directory above, which is nearly always known; None where it is not that simple."""
        above, slash, name = path.rpartition("/")
        if not slash or name in ("", ".", "..") or len(path) > _PATH_LIMIT or above.count("/") > _DEPTH:
            return None
        steps = self.walk(above) if above else (self._entries["/"],)
        if not steps or isinstance(steps[-1], File):
            return ()
        self._spend()
        entry = self._entries.get(f"{steps[-1].path.rstrip('/')}/{name}")
        if isinstance(entry, Symlink):
            return None
        return () if entry is None else (*steps, entry)

    def _walk(self, path: str) -> tuple[Entry, ...]:
        pending = _parts(path)
        reached: list[str] = []
        searched: list[Entry] = []
        links = 0
        while True:
            self._spend()
            entry = self._entries.get("/" + "/".join(reached))
            if isinstance(entry, Symlink):
                links += 1
                if links > _LINKS_LIMIT:
                    return ()
                del reached[-1]
                if entry.target.startswith("/"):
                    reached = []
                pending += _parts(entry.target)
                continue
            if entry is None or (pending and isinstance(entry, File)):
                return ()
            if not searched or searched[-1] != entry:
                searched.append(entry)
            if not pending:
                return tuple(searched)
            name = pending.pop()
            if name == "..":
                del reached[-1:]
            elif name not in ("", "."):
                reached.append(name)

    def _spend(self) -> None:
        """Count a step on the way to a path; raises LimitError where there are more than a real image asks for."""
        self._steps += 1
        if self._steps > _STEPS_LIMIT:
            raise LimitError(
                f"The image's paths and links lead through more than {_STEPS_LIMIT} directories.",
                fix="Rebuild it with fewer links and a shorter PATH; as it is, it cannot be judged.",
            )

    def command_path(
        self, config: RuntimeConfig, program: str, *, usable: Callable[[str], bool] | None = None
    ) -> str | None:
        """The path that a runtime starts for the first argument of a command; None where PATH has it not.

        As it is, below the working directory, or in PATH: runc and crun use the image's, else the usual one. A
        file that is not `usable` (by default: without an execute bit) is found only where PATH has no better.
        """
        if len(program) > _PATH_LIMIT or len(config.working_dir) > _PATH_LIMIT:
            # The kernel looks for neither.
            return None
        if "/" in program:
            return posixpath.join("/", config.working_dir, program)
        directories = config.search_path()
        found: dict[str, File] = {}
        for directory in () if directories == ("",) else dict.fromkeys(directories):
            candidate = posixpath.join("/", config.working_dir, directory, program)
            entry = self.resolve(candidate) if program else None
            if isinstance(entry, File):
                found[candidate] = entry
        executable = (path for path, entry in found.items() if (usable(path) if usable else entry.mode & _EXECUTE))
        return next(executable, next(iter(found), None))

    def started_files(
        self, config: RuntimeConfig, facts: Callable[[File], ProgramFacts | None]
    ) -> tuple[File, ...]:
        """The files that the kernel opens to start the image: the program, and interpreters of scripts.

        Where the interpreter is env(1), what that starts is the next one. An interpreter without a directory is
        looked for in the working directory, never in PATH.
        """
        argv = config.argv()
        path = self.command_path(config, argv[0]) if argv else None
        files: list[File] = []
        scripts = 0
        while path is not None and scripts <= SCRIPTS_LIMIT and len(files) < _STARTED_LIMIT:
            entry = self.resolve(path)
            if not isinstance(entry, File) or entry in files:
                break
            files.append(entry)
            found = facts(entry)
            if found is None or not found.shebang:
                break
            path = posixpath.join("/", config.working_dir, found.shebang[0])
            scripts += 1
            started = self.started_by_env(config, found)
            env = self.resolve(path)
            if started is not None and isinstance(env, File):
                if env not in files:
                    files.append(env)
                    facts(env)
                path, scripts = started, 0
        return tuple(files)

    def started_by_env(self, config: RuntimeConfig, script: ProgramFacts) -> str | None:
        """The path of the program that a script's first line has env(1) start; None where there is none."""
        line = env_line(script.shebang)
        paths = () if line is None else line.candidates(config.search_path(), config.working_dir)
        found = {path: entry for path in paths if isinstance(entry := self.resolve(path), File)}
        return next((path for path, entry in found.items() if entry.mode & _EXECUTE), next(iter(found), None))


def _parts(path: str) -> list[str]:
    """The names of a path, the last one first; one that nothing has where the kernel would not look (PATH_MAX)."""
    return path.split("/")[::-1] if len(path) <= _PATH_LIMIT else ["\0"]
