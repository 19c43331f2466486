"""What runtimes and loaders say, in the container's own output, of a program that could not begin.

The texts are those of runc 1.1, crun 1.8, glibc and musl; each is matched on its stable part.
"""

from __future__ import annotations

import re

from rootless_scratch.findings import Finding

_EXEC = re.compile(
    r"exec (?:container process )?(?:\(missing dynamic library\?\) )?[`\"]?(?P<path>/[^`\"]*?)[`\"]?: "
    r"(?P<why>no such file or directory|exec format error|permission denied|operation not permitted"
    r"|too many levels of symbolic links)",
    re.IGNORECASE,
)

_LIBRARY = re.compile(
    r"^(?P<path>[^\n:]+): error while loading shared libraries: (?P<library>[^:\n]+):"
    r"|Error loading shared library (?P<musl>[^:\n]+): No such file"
)

_VERSION = re.compile(
    r"^(?P<path>[^\n:]+): (?P<library>[^\n:]+): version `(?P<version>[^'\n]+)' not found"
    r"|^Error relocating (?P<musl>[^\n:]+): (?P<symbol>[^\n:]+): symbol not found"
)

_TOO_OLD = re.compile(
    r"CPU does not support (?P<glibc>x86-64-v\d)|CPU ISA level is lower than required"
    r"|This program can only be run on (?P<go>[^\n]+?) processors with (?P<level>v\d) microarchitecture support"
    r"|(?P<kernel>FATAL: kernel too old)"
)

_ROOM_FOR_EXEC = 4096
"""A runtime's own last words are one line; a program that wrote more than this had been started."""

_STATIC = "Build the program statically (`-static`, CGO_ENABLED=0, a musl target)"
_BUNDLED = "`--bundle-libraries`"

# What execve(2) said -> (rule, message, fix). `{}` is the program's path.
_EXPLANATIONS = {
    "no such file or directory": (
        "loader-missing",
        "{} is in the image; the loader that it names is not (for a script: its interpreter).",
        f"{_STATIC}, or the image with {_BUNDLED}; `rootless-scratch check` on it names the loader.",
    ),
    "exec format error": (
        "exec-format",
        "The kernel cannot execute {}: it is built for another processor, or it is no program.",
        "Build it for the platform of this host; a script needs `#!` and an interpreter in the image.",
    ),
    "permission denied": (
        "not-executable",
        "The container's user may not execute {}.",
        "Give it mode 0755, and its directories the execute bit for all.",
    ),
    "too many levels of symbolic links": (
        "script-too-deep",
        "The interpreters of {} are scripts themselves, deeper than the kernel follows, or in a circle.",
        "Name the program at the end of the chain in the `#!` line.",
    ),
    "operation not permitted": (
        "file-capabilities",
        "{} carries file capabilities, which a container without capabilities may not use.",
        "Build it from a program without them (`sudo setcap -r FILE`); listen on ports from 1024 on.",
    ),
}


def explain(exit_code: int, *, wrote: int, said: bytes) -> Finding | None:
    """Why a program ended before it began, from the last words of runtime or loader; None where it ran.

    `wrote` is the number of bytes on stdout and stderr together, `said` the end of stderr.
    """
    if exit_code not in (1, 126, 127) or wrote > _ROOM_FOR_EXEC or wrote != len(said):
        return None
    text = said.decode("utf-8", "replace").strip()
    match = _LIBRARY.search(text)
    if match is not None:
        library = match["library"] or match["musl"]
        return Finding(
            rule="library-missing",
            severity="error",
            subject=match["path"] or library,
            message=f"The program's loader does not find {library} in the image.",
            fix=f"{_STATIC}, or the image with {_BUNDLED}, and `--include-library NAME` for what it opens itself.",
        )
    match = _VERSION.search(text)
    if match is not None:
        what = f"the function {match['symbol']}" if match["symbol"] else f"the version {match['version']}"
        return Finding(
            rule="library-version",
            severity="error",
            subject=match["path"] or match["musl"],
            message=f"The libraries in the image do not have {what}, which the program was linked against.",
            fix=f"{_STATIC}, or the image with {_BUNDLED} on the system on which the program was built.",
        )
    match = _TOO_OLD.search(text)
    if match is not None:
        return _too_old(match)
    match = _EXEC.search(text)
    # The runtime says this in one line, and the program nothing at all.
    if match is None or "\n" in text:
        return None
    rule, message, fix = _EXPLANATIONS[match["why"].lower()]
    path = match["path"]
    return Finding(rule=rule, severity="error", subject=path, message=message.format(path), fix=fix)


def _too_old(match: re.Match[str]) -> Finding:
    if match["kernel"]:
        return Finding(
            rule="kernel-too-old",
            severity="error",
            subject="kernel",
            message="The program's C library was built for a newer kernel than this host's.",
            fix="Build it on an older system, or statically with musl.",
        )
    level = match["glibc"] or " ".join(filter(None, (match["go"], match["level"]))) or "that it was built for"
    return Finding(
        rule="processor-too-old",
        severity="error",
        subject="processor",
        message=f"This host's processor lacks instructions of the level {level}.",
        fix="Build it for an older level: GOAMD64=v1, `-march=x86-64`.",
    )
