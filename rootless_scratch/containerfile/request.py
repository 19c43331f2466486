"""The options of `build -f`: a row each, as image/spec.py has those of an image."""

from __future__ import annotations

from rootless_scratch.image.kinds import FILE, FLAG, PAIRS, TEXT, TEXTS, Table, late, option

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import Literal

_PATH = FILE.but(python="str | os.PathLike[str]")
_CONTEXT = _PATH.but(default=".")
_ARGUMENTS = PAIRS.but(
    value=late("containerfile.values:build_arguments"),
    from_flag=late("containerfile.values:argument_values"),
    python="Mapping[str, str | None] | None",
)
_CONTEXTS = PAIRS.but(python="Mapping[str, str | os.PathLike[str]] | None")
_ONE_OR_MORE = TEXTS.but(value=late("containerfile.values:platforms"), python="str | Sequence[str]")
_SECRETS = TEXTS.but(value=late("containerfile.values:secrets"))
_COMPAT = TEXT.but(value=late("containerfile.values:compat"))

STDIN = "-"
"""What stands for stdin as a FILE."""


class FileRequest(Table):
    """What a build of a Containerfile was asked, beside what is asked of every image.

    `build_args` have None where the environment has the value. `platforms` are those of `--platform`, none for
    that of the programs. `secrets` and `ssh` are as buildah-build(1) has them. `compat` names the builder whose
    defaults hold (docs/containerfile.md), None for ours.
    """

    file: str = option("-f, --file FILE", _PATH, "Build this Containerfile; `-`: stdin.")
    context: str = option(
        "CONTEXT", _CONTEXT, "Directory that COPY and ADD read [default: the working directory].", called="context"
    )
    build_args: tuple[tuple[str, str | None], ...] = option(
        "--build-arg NAME[=VALUE]",
        _ARGUMENTS,
        "Set an ARG of the Containerfile, by default to the environment's value; repeatable.",
        called="build_args",
    )
    build_contexts: tuple[tuple[str, str], ...] = option(
        "--build-context NAME=VALUE",
        _CONTEXTS,
        "Directory, docker://IMAGE or other image that --from=NAME and FROM NAME refer to; repeatable.",
        called="build_contexts",
    )
    target: str | None = option("--target STAGE", TEXT, "Stage to build [default: the last].")
    platforms: tuple[str, ...] = option(
        "--platform OS/ARCH[,..]",
        _ONE_OR_MORE,
        "Platform to build for; several make an index [default: the programs'].",
        called="platform",
    )
    secrets: tuple[str, ...] = option(
        "--secret id=ID[,src=FILE|,env=NAME]", _SECRETS, "Secret for RUN; repeatable.", called="secrets"
    )
    ssh: tuple[str, ...] = option("--ssh default|ID[=SOCKET]", TEXTS, "SSH agent for RUN; repeatable.")
    network: str | None = option(
        "--network MODE", TEXT, "Network of RUN and of ADD URL: none, host or private [default: none for ADD]."
    )
    compat: Literal["buildah", "docker"] | None = option(
        "--compat BUILDER", _COMPAT, "Keep the defaults of buildah or docker (docs/containerfile.md)."
    )
    ignorefile: str | None = option(
        "--ignorefile FILE", FILE, "Ignore file [default: FILE.containerignore, then those of the context]."
    )
    no_cache: bool = option("--no-cache", FLAG, "Rebuild stages that buildah has cached.")
    pull: bool = option("--pull", FLAG, "Pull base images that are there already.")
