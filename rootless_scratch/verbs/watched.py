"""What `watch` builds again and again: of programs and files of options, or of a Containerfile."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from rootless_scratch.data import Data
from rootless_scratch.errors import ScratchError, UsageError
from rootless_scratch.image.exclusions import IGNORE_FILES, ignored_by
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.references import REGISTRY, parse_references
from rootless_scratch.image.rootfs import File
from rootless_scratch.verbs.observed import Observed, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.containerfile.document import Instruction
    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.elf.identity import FileIdentity
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.image.spec import Copy, Spec

    Tell = Callable[[Sequence[Planned]], None]

_COPYING = ("COPY", "ADD")
_UNSETTLED = frozenset("$*?[\\`\"'")
"""What makes a word of COPY stand for other paths than its own."""

_IGNORE_ENDINGS = (".dockerignore", ".containerignore")


class Making(Protocol):
    """An image that can be made again; `how` are options as build_parts has them."""

    @property
    def how(self) -> Mapping[str, Any]:
        """How it is made."""

    def names(self) -> tuple[str, ...]:
        """Its names in local storage, as far as they are known."""

    def build(self, session: Storing | None, on_plans: Tell) -> Image:
        """Make it as everything is now; `session` was started early and is closed here.

        Raises what `build` does.
        """

    def observed(self) -> Observed:
        """What the caller named; what is planned of that comes beside it."""


class OfPrograms(Data):
    """Of what `read` says: a Spec and its outputs, which is asked anew each time; `files` are what it reads."""

    read: Callable[[], tuple[Spec, Sequence[str]]]
    how: Mapping[str, Any]
    files: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """See Making."""
        with suppress(ScratchError):
            return self.read()[0].names
        return ()

    def build(self, session: Storing | None, on_plans: Tell) -> Image:
        """See Making."""
        from rootless_scratch.image.plan.parts import parts_of
        from rootless_scratch.verbs.build import build_parts
        from rootless_scratch.verbs.subject import require_utf8

        require_utf8()
        spec, output = self.read()
        with HostFiles() as opened:
            parts = parts_of(spec, opened)
            return build_parts(parts, opened, output=output, session=session, on_plans=on_plans, **self.how)

    def observed(self) -> Observed:
        """See Making."""
        files = {os.path.abspath(path) for path in self.files}
        try:
            spec, output = self.read()
        except ScratchError:
            return Observed(files=frozenset(files))
        trees = []
        for copy in (*spec.programs, *(copy for _, copy in spec.platforms), *spec.copies):
            path = os.path.abspath(copy.source)
            if os.path.isdir(path):
                trees.append(_tree(copy, path, spec))
                files |= {os.path.join(path, name) for name in IGNORE_FILES}
            else:
                files.add(path)
        return Observed(files=frozenset(files), trees=tuple(trees), own=_own(output))


class OfFile(Data):
    """Of a Containerfile; `options` and `how` are as `build_file` has them."""

    request: FileRequest
    options: Mapping[str, Any]
    how: Mapping[str, Any]

    def names(self) -> tuple[str, ...]:
        """See Making."""
        return names_of(self.options)

    def build(self, session: Storing | None, on_plans: Tell) -> Image:
        """See Making."""
        from rootless_scratch.verbs.build_file import build_file

        return build_file(self.request, self.options, session=session, on_plans=on_plans, **self.how)

    def observed(self) -> Observed:
        """See Making."""
        from rootless_scratch.verbs.file_parts import ignore_file, path_of, read_file

        request = self.request
        path, context = os.path.abspath(path_of(request)), os.path.abspath(request.context)
        files = {path, *(path + ending for ending in _IGNORE_ENDINGS)}
        files |= {os.path.join(context, name) for name in IGNORE_FILES}
        if request.ignorefile is not None:
            files.add(os.path.abspath(request.ignorefile))
        patterns: tuple[str, ...] = ()
        below: set[str] = set()
        with suppress(ScratchError):
            found = ignore_file(request)
            patterns = found.patterns if found is not None else ()
            for stage in read_file(request).stages:
                for instruction in stage.instructions:
                    below |= set(_context_paths(instruction))
        trees = [Tree(context, patterns, each) for each in _outermost(below)]
        contexts = (os.path.abspath(value) for _, value in request.build_contexts if "://" not in value)
        trees += [Tree(each) for each in contexts if os.path.isdir(each)]
        return Observed(files=frozenset(files), trees=tuple(trees), own=_own(self.how.get("output", ())))


def with_planned(observed: Observed, plans: Iterable[Planned]) -> tuple[Observed, dict[str, FileIdentity]]:
    """The same with the files of the host that are planned, and what these were when they were looked at."""
    tops = tuple(f"{os.path.join(tree.path, tree.below)}/".replace("//", "/") for tree in observed.trees)
    found = {
        os.path.abspath(entry.source): entry.identity
        for each in plans
        for entry in each.plan.rootfs
        if isinstance(entry, File) and entry.source is not None
    }
    # What was unpacked for this build has gone.
    there = {path: identity for path, identity in found.items() if os.path.lexists(path)}
    beside = {path for path in there if not f"{path}/".startswith(tops)}
    return observed.but(files=observed.files | beside), there


def names_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that an image is to have, of its options by their names in Python."""
    tag = options.get("tag", ())
    return (tag,) if isinstance(tag, str) else tuple(tag)


def require_files(programs: Iterable[str]) -> None:
    """Raise UsageError for a program that is read from stdin, which comes once."""
    if any(each.partition(":")[0] in ("-", "/dev/stdin") for each in programs):
        raise UsageError("What comes from stdin cannot be watched.", fix="Write it to a file, and name that.")


def _tree(copy: Copy, path: str, spec: Spec) -> Tree:
    patterns: tuple[str, ...] = ()
    with suppress(ScratchError):
        patterns = ignored_by(copy.source)[1]
    return Tree(path, (*patterns, *spec.exclude))


def _own(output: Sequence[str]) -> frozenset[str]:
    """Where outputs go, by both paths that a listing may have for them."""
    found: set[str] = set()
    with suppress(ScratchError):
        for each in parse_references(output):
            if each.transport != REGISTRY:
                found |= {os.path.abspath(each.path), os.path.realpath(each.path)}
    return frozenset(found)


def _context_paths(instruction: Instruction) -> Iterator[str]:
    """What an instruction reads of the context, or the directory in which that lies: "" for all of it."""
    if instruction.inner is not None:
        yield from _context_paths(instruction.inner)
    if instruction.name == "RUN":
        mounts = [flag.value or "" for flag in instruction.flags if flag.name == "mount"]
        if any("type=bind" in each and "from=" not in each for each in mounts):
            yield ""
    if instruction.name not in _COPYING or instruction.flag("from") is not None:
        return
    arguments = instruction.exec_form or tuple(token.raw for token in instruction.tokens)
    for argument in arguments[:-1]:
        if argument.startswith(("<<", "git@")) or "://" in argument:
            continue
        settled = []
        for name in argument.split("/"):
            if name == ".." or _UNSETTLED & set(name):
                break
            settled += [name] if name not in ("", ".") else []
        yield "/".join(settled)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Those that lie in none of the others."""
    found: list[str] = []
    for path in sorted(paths):
        if not any(not above or path == above or path.startswith(f"{above}/") for above in found):
            found.append(path)
    return found
