"""What runtimes and loaders say, in the container's own output, of a program that could not begin.

The texts are those of runc 1.1, crun 1.8, glibc and musl; each is matched on its stable part.
"""

from __future__ import annotations

import re

from rootless_scratch.diagnosis import Symptom, diagnose
from rootless_scratch.expressions import expression

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.findings import Finding

CANNOT_INVOKE, NOT_FOUND = 126, 127

_EXEC = expression(
    r"exec (?:container process )?(?:\(missing dynamic library\?\) )?[`\"]?(?P<path>/[^`\"]*?)[`\"]?: "
    r"(?P<why>no such file or directory|exec format error|permission denied|operation not permitted"
    r"|too many levels of symbolic links|accessing a corrupted shared library|input/output error)",
    re.IGNORECASE,
)

_BY_RUNTIME = expression(
    r"exec /[^:\n]*: (?P<runc>[a-z /]+)"
    r'|(?:\{"msg":")?exec container process (?:\(missing dynamic library\?\) )?`/[^`\n]*`: (?P<crun>[A-Za-z /]+)'
    r'(?:"[^\n]*\})?'
)
"""All that a runtime says, which ends with 1 then; a program that starts others may say less or more."""

_ROOM_FOR_EXEC = 4096
"""A runtime's own last words are one line; a program that wrote more than this had been started."""

_STATIC = "Build the program statically (`-static`, CGO_ENABLED=0, a musl target)"
_BUNDLED = "`--bundle-libraries`"
_OLD_PROCESSOR = "This host's processor lacks instructions of the level "
_OLDER_LEVEL = "Build it for an older level: GOAMD64=v1, `-march=x86-64`."
_OTHER_SYSTEM = f"{_STATIC}, or the image with {_BUNDLED} on the system on which the program was built."

_NOT_LOADED = (
    r"file too short|invalid ELF header|(?:wrong )?ELF |only ET_DYN|object file has no"
    r"|cannot (?:dynamically load|read file data)"
)

_LOADERS = (
    Symptom(
        rf"error while loading shared libraries: (?P<library>[^:\n]+): (?:{_NOT_LOADED})"
        r"|Error loading shared library (?P<musl>[^:\n]+): Exec format error",
        "{library}{musl} in the image is not a library that the program's loader can load.",
        f"Put the whole file there, for the program's processor, or build the image with {_BUNDLED}.",
        rule="library-unloadable",
        subject="{library}{musl}",
    ),
    Symptom(
        r"^(?P<path>[^\n:]+): error while loading shared libraries: (?P<library>[^:\n]+):"
        r"|Error loading shared library (?P<musl>[^:\n]+): No such file",
        "The program's loader does not find {library}{musl} in the image.",
        f"{_STATIC}, or the image with {_BUNDLED}, and `--include-library NAME` for what it opens itself.",
        rule="needs-libraries",
        alias="library-missing",
        subject="{path}{musl}",
    ),
    Symptom(
        r"^([^\n:]+): [^\n:]+: version `([^'\n]+)' not found",
        "The libraries in the image do not have the version {1}, which the program was linked against.",
        _OTHER_SYSTEM,
        rule="library-version-missing",
        alias="library-version",
        subject="{0}",
    ),
    Symptom(
        r"^Error relocating ([^\n:]+): ([^\n:]+): symbol not found",
        "The libraries in the image do not have the function {1}, which the program was linked against.",
        _OTHER_SYSTEM,
        rule="library-version-missing",
        alias="library-version",
        subject="{0}",
    ),
    Symptom(
        r"CPU does not support (x86-64-v\d)"
        r"|This program can only be run on ([^\n]+? )processors with (v\d) microarchitecture support",
        _OLD_PROCESSOR + "{0}{1}.",
        _OLDER_LEVEL,
        rule="needs-processor",
        alias="processor-too-old",
        subject="processor",
    ),
    Symptom(
        r"CPU ISA level is lower than required",
        _OLD_PROCESSOR + "that it was built for.",
        _OLDER_LEVEL,
        rule="needs-processor",
        alias="processor-too-old",
        subject="processor",
    ),
    Symptom(
        r"FATAL: kernel too old",
        "The program's C library was built for a newer kernel than this host's.",
        "Build it on an older system, or statically with musl.",
        rule="needs-kernel",
        alias="kernel-too-old",
        subject="kernel",
    ),
)

_EXPLANATIONS = (
    Symptom(
        "no such file or directory",
        "{path} is in the image; the loader that it names is not (for a script: its interpreter).",
        f"{_STATIC}, or the image with {_BUNDLED}; `rootless-scratch check` on it names the loader.",
        rule="needs-loader",
        alias="loader-missing",
        subject="{path}",
    ),
    Symptom(
        "exec format error",
        "The kernel cannot execute {path}: it is built for another processor, or it is not a program.",
        "Build it for the platform of this host; a script needs `#!` and an interpreter in the image.",
        rule="exec-format",
        subject="{path}",
    ),
    Symptom(
        "permission denied",
        "The container's user may not execute {path}.",
        "Give it mode 0755, and its directories the execute bit for all.",
        rule="not-executable",
        subject="{path}",
    ),
    Symptom(
        "too many levels of symbolic links",
        "The interpreters of {path} are scripts themselves, deeper than the kernel follows, or in a circle.",
        "Name the program at the end of the chain in the `#!` line.",
        rule="script-too-deep",
        subject="{path}",
    ),
    Symptom(
        "accessing a corrupted shared library|input/output error",
        "What the image has as the loader of {path} is not a loader for its processor, or is truncated.",
        f"Put the loader there that belongs to the program, or build the image with {_BUNDLED}.",
        rule="loader-unusable",
        subject="{path}",
    ),
    Symptom(
        "operation not permitted",
        "{path} carries file capabilities, which a container without capabilities may not use.",
        "Build it from a program without them (`sudo setcap -r FILE`); listen on ports from 1024 on.",
        rule="file-capabilities",
        subject="{path}",
    ),
)
"""What execve(2) said."""


def exit_code_of(exit_code: int, *, wrote: int, output: bytes) -> int:
    """The exit code of a program; 126 or 127 where the runtime could not execute it, as `podman run` has them."""
    match = None
    if exit_code == 1 and wrote == len(output) <= _ROOM_FOR_EXEC:
        match = _BY_RUNTIME.fullmatch(output.decode("utf-8", "replace").strip())
    if match is None:
        return exit_code
    return NOT_FOUND if "no such file" in (match["runc"] or match["crun"]).lower() else CANNOT_INVOKE


def explain(exit_code: int, *, wrote: int, output: bytes) -> Finding | None:
    """Why a program ended before it began, from the last words of runtime or loader; None where it ran.

    `wrote` is the number of bytes on stdout and stderr together, `said` the end of stderr.
    """
    if exit_code not in (1, 126, 127) or wrote > _ROOM_FOR_EXEC or wrote != len(output):
        return None
    text = output.decode("utf-8", "replace").strip()
    symptom = diagnose(_LOADERS, text)
    match = _EXEC.search(text)
    # The runtime says this in one line, and the program nothing at all.
    if symptom is None and match is not None and "\n" not in text:
        symptom = diagnose(_EXPLANATIONS, match["why"].lower(), path=match["path"])
    return None if symptom is None else symptom.finding()
