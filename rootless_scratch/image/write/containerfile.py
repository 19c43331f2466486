"""From a Plan to a Containerfile and its context, which other builders turn into the same files and config.

The context holds `rootfs/`, with what COPY carries exactly, and where needed `rootfs.tar`: ADD keeps
an archive's owners, set-id bits, capabilities and names, which COPY loses or cannot spell.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import private
from rootless_scratch.errors import BuildError, SpecError
from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.paths import encoded, is_utf8
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink, linked
from rootless_scratch.image.tree import Tree
from rootless_scratch.image.write.context import finish, write_archive, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.image.plan.planner import Plan

_TREE = "rootfs"
_ARCHIVE = "rootfs.tar"
_FILE = "Containerfile"

_LISTED = 200
"""Entries that the comment names; who wants to see more looks into the context."""

_LINE_MAX = 65535
"""buildah ends at a longer line without a message, and what follows is lost (bufio.MaxScanTokenSize of Go)."""

_PLAIN_WORD = expression(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:@%+,=-]*")
_SET_ID = 0o6000
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


def containerfile(plan: Plan) -> str:
    """The text of the Containerfile whose context `write_context` writes; pure.

    Raises SpecError for what no Containerfile can say.
    """
    from string import Template

    _check_places(plan)
    plain, packed = _divide(plan.rootfs)
    newline = _newline_argument(plan)
    filled = Template(_template()).substitute(
        build=_build_command(plan, newline),
        listing="\n".join(f"# {line}".rstrip() for line in _listing(plan, plain, packed)),
        copies="\n".join(_copies(plain, packed)),
        config="\n".join(_config(plan, newline)),
    )
    lines = [line for line in filled.split("\n") if line]
    for line in lines:
        if len(line.encode()) > _LINE_MAX:
            raise SpecError(
                f"The line `{line[:40]}...` of the Containerfile has more than {_LINE_MAX} bytes, "
                "and builders do not read further.",
                fix="Shorten the value, or build with `rootless-scratch build`, which has no such limit.",
            )
    return "\n".join(lines) + "\n"


def write_context(plan: Plan, directory: str, files: HostFiles | None = None) -> None:
    """Write Containerfile and context to `directory`, which must not exist or be empty; all of it or nothing.

    `files` are those of the plan. Modes are exact whatever the umask, and times are the plan's. Raises BuildError
    for the directory, SpecError as `containerfile` does, SourceError where a file changed since it was planned,
    BuildError where the disk does not take it.
    """
    text = containerfile(plan)
    # What layouts need loads OpenSSL, of which a Containerfile alone has no use.
    from rootless_scratch.image.write.layout import refuse_foreign_link

    refuse_foreign_link(directory)
    try:
        target = os.path.realpath(directory)
        base = target if os.path.isdir(target) else os.path.dirname(target)
        private.sweep(base)
        exists = _is_empty_directory(target)
        stage = private.make_private(base, hidden=True)
    except OSError as error:
        raise BuildError(
            f"{directory!r} cannot be made or used: {error.strerror}.",
            fix="Name a new directory below one that exists and that you may write to.",
        ) from error
    try:
        _write_all(plan, text, stage.path, files or HostFiles(keep=False))
        _publish(stage.path, target, exists=exists)
    except OSError as error:
        raise BuildError(
            f"The context cannot be written to {directory!r}: {error.strerror or error}.",
            fix="Name a directory on a file system with room for it and with the modes of Linux.",
        ) from error
    finally:
        stage.close()


@functools.cache
def _template() -> str:
    """The template beside this module, as the wheel has it, or at the top of the repository."""
    here = os.path.dirname(os.path.abspath(__file__))
    packaged = os.path.join(here, "Containerfile.in")
    if not os.path.exists(packaged):
        packaged = os.path.abspath(f"{here}/../../../Containerfile.in")
    with open(packaged, encoding="utf-8") as file:
        return file.read()


def _check_places(plan: Plan) -> None:
    """Refuse what builders would answer with files or a config that the plan has not."""
    if plan.platform is None:
        raise SpecError(
            "No program of the image tells its platform, and a builder would take its own host's.",
            fix="Name the program that the image starts.",
        )
    tree = Tree(plan.rootfs)
    config = plan.config.config
    places = [("WORKDIR", config.working_dir), *(("VOLUME", volume) for volume in config.volumes)]
    for instruction, path in places:
        if not tree.is_present(path):
            raise SpecError(
                f"{instruction} of a Containerfile makes the directory {path!r}, which the image lacks.",
                fix=f"Add it to the image: `--mkdir {shlex.quote(path)}`.",
            )
    for volume in config.volumes:
        if volume != volume.strip():
            raise SpecError(
                f"VOLUME of a Containerfile loses the white space at the end of {volume!r}.",
                fix="Give the volume another name.",
            )


def _divide(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """What COPY carries exactly, and what an archive must carry; below a packed directory all is packed."""
    plain: list[Entry] = []
    packed: list[Entry] = []
    copied = {""}
    for entry in entries:
        if entry.path.rpartition("/")[0] in copied and _is_plain(entry):
            plain.append(entry)
            copied.add(entry.path)
        else:
            packed.append(entry)
    return linked(plain), linked(packed)


def _is_plain(entry: Entry) -> bool:
    """Whether COPY of a directory carries `entry`, for every builder, and its owner can read it there.

    COPY gives all to 0:0 and takes set-id bits away; docker sends names as UTF-8.
    """
    if (entry.uid, entry.gid) != (0, 0) or not is_utf8(entry.path):
        return False
    if isinstance(entry, Symlink):
        return is_utf8(entry.target)
    needed = 0o700 if isinstance(entry, Directory) else 0o400
    if entry.mode & _SET_ID or entry.mode & needed != needed:
        return False
    return not entry.xattrs and (isinstance(entry, Directory) or entry.capabilities is None)


def _copies(plain: Sequence[Entry], packed: Sequence[Entry]) -> Iterator[str]:
    if plain:
        yield f"COPY {_TREE}/ /"
    if packed:
        yield f"ADD {_ARCHIVE} /"


def _config(plan: Plan, newline: str | None) -> Iterator[str]:
    config = plan.config.config

    def quoted(text: str) -> str:
        return _quoted(text, newline)

    if newline is not None:
        yield f"ARG {newline}"
    yield from (f"LABEL {quoted(key)}={quoted(value)}" for key, value in config.labels)
    yield from (f"ENV {quoted(key)}={quoted(value)}" for key, value in config.env)
    yield from (f"EXPOSE {port}" for port in config.ports)
    # The JSON form alone keeps white space, and its strings are expanded like all others.
    yield from (f"VOLUME {_json_array([quoted(volume)])}" for volume in config.volumes)
    yield f"WORKDIR {quoted(config.working_dir)}"
    if config.user:
        yield f"USER {quoted(config.user)}"
    if config.stop_signal:
        yield f"STOPSIGNAL {config.stop_signal}"
    if config.entrypoint:
        yield f"ENTRYPOINT {_json_array(config.entrypoint)}"
    if config.cmd:
        yield f"CMD {_json_array(config.cmd)}"


def _newline_argument(plan: Plan) -> str | None:
    """The build argument that stands for a newline, which no instruction can hold; None if unused."""
    config = plan.config.config
    texts = [config.user, config.working_dir, *config.volumes]
    for pair in (*config.labels, *config.env):
        texts.extend(pair)
    if not any("\n" in text for text in texts):
        return None
    name = "NEWLINE"
    while name in dict(config.env):
        name += "_"
    return name


def _quoted(text: str, newline: str | None) -> str:
    """`text` as one word of an instruction that expands variables."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    escaped = re.sub(r'[\\"$]', r"\\\g<0>", text)
    return '"' + escaped.replace("\n", f"${{{newline}}}") + '"'


def _json_array(strings: Iterable[str]) -> str:
    return "[" + ", ".join(msgspec.json.encode(string).decode() for string in strings) + "]"


def _build_command(plan: Plan, newline: str | None) -> str:
    argv = ["buildah", "build"]
    if plan.config.created is not None:
        argv += ["--timestamp", str(plan.mtime)]
    argv += ["--platform", str(plan.platform), "--identity-label=false"]
    if "PATH" not in dict(plan.config.config.env):
        # For FROM scratch too, builders set the usual PATH.
        argv += ["--unsetenv", "PATH"]
    if newline is not None:
        argv += ["--build-arg", f"{newline}=\n"]
    for key, value in plan.annotations:
        argv += ["--annotation", f"{key}={value}"]
    for name in plan.names:
        argv += ["-t", name]
    return " ".join(_shell_quoted(argument) for argument in (*argv, "."))


def _shell_quoted(text: str) -> str:
    """`text` as one word of a shell, on one line and visible to the last byte: POSIX.1-2024, 2.2.4."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_visible(character) for character in text) + "'"


def _visible(character: str) -> str:
    if character == "\n":
        return "\\n"
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in encoded(character))


def _listing(plan: Plan, plain: Sequence[Entry], packed: Sequence[Entry]) -> Iterator[str]:
    if plan.config.architecture == "arm" and plan.config.variant != "v7":
        yield "buildah 1.28 gives every image for arm the variant v7, whatever --platform says."
    for name, entries in ((f"{_TREE}/", plain), (_ARCHIVE, packed)):
        if entries:
            yield f"{name} holds (mode, owner, bytes, path):"
            yield from _rows(entries)


def _rows(entries: Sequence[Entry]) -> Iterator[str]:
    shown = entries[:_LISTED]
    owners = [f"{entry.uid}:{entry.gid}" for entry in shown]
    sizes = [str(entry.identity.size) if isinstance(entry, File) else "" for entry in shown]
    wide = (max(map(len, owners)), max(map(len, sizes)))
    for entry, owner, size in zip(shown, owners, sizes, strict=True):
        yield f"  {entry.mode:04o}  {owner:>{wide[0]}}  {size:>{wide[1]}}  {_described(entry)}"
    if len(entries) > len(shown):
        yield f"  ... and {len(entries) - len(shown)} more"


def _described(entry: Entry) -> str:
    path = _shell_quoted(entry.path)
    if isinstance(entry, Directory):
        return f"{path}/"
    if isinstance(entry, Symlink):
        return f"{path} -> {_shell_quoted(entry.target)}"
    rights = f" with {entry.capabilities}" if entry.capabilities else ""
    if entry.linked is not None:
        return f"{path} is a hard link to {_shell_quoted(entry.linked)}"
    return path if entry.source is None else f"{path}{rights} from {_shell_quoted(entry.source)}"


def _is_empty_directory(target: str) -> bool:
    """False where nothing is there yet; raises BuildError for anything but an empty directory."""
    try:
        there = sorted(os.listdir(target))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise BuildError(f"{target!r} is not a directory.", fix="Name a new directory.") from None
    if there:
        raise BuildError(
            f"The directory {target!r} is not empty: it has {there[0]!r}.",
            fix="Name a new directory, or remove what is in this one.",
        )
    return True


def _publish(stage: str, target: str, *, exists: bool) -> None:
    """Give the finished context its place; an empty directory stays the one it was, mounted or entered."""
    if not exists:
        os.chmod(stage, _DIRECTORY_MODE)
        os.rename(stage, target)
        return
    moved = []
    try:
        # The Containerfile comes last: where it is, all of its context is.
        for name in sorted(os.listdir(stage), reverse=True):
            os.rename(os.path.join(stage, name), os.path.join(target, name))
            moved.append(name)
    except BaseException:
        for name in moved:
            os.rename(os.path.join(target, name), os.path.join(stage, name))
        raise


def _write_all(plan: Plan, text: str, stage: str, files: HostFiles) -> None:
    plain, packed = _divide(plan.rootfs)
    if plain:
        write_tree(plain, os.path.join(stage, _TREE), plan.mtime, files)
    if packed:
        write_archive(packed, os.path.join(stage, _ARCHIVE), plan.mtime, files)
    written = os.path.join(stage, _FILE)
    with open(written, "x", encoding="utf-8", newline="") as file:
        file.write(text)
    finish(written, _FILE_MODE, plan.mtime)
