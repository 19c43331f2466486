"""What the user asked for: nothing here has been read or checked against the host yet."""

from __future__ import annotations

from rootless_scratch.data import Value
from rootless_scratch.image.kinds import (
    COMMAND,
    FILE,
    FLAG,
    PAIRS,
    TEXT,
    TEXTS,
    Option,
    Table,
    each,
    late,
    option,
)

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.image.rootfs import Entry, Loss

NONROOT = "65532:65532"
"""The user id that distroless images made usual for "nonroot"."""


class Copy(Value):
    """A file, or the content of a directory, of the host; `destination` None means `/` and the file's name.

    A file whose destination ends in `/` keeps its name below it; a directory's content goes there with or
    without the slash, as with COPY. A source that is itself a symbolic link stands for what it points to, and
    the links inside a directory are kept as links, wherever they point.

    `mode` None means 0755 for programs, libraries and scripts, 0644 for other files; it never applies to the
    directories of a copied tree. `capabilities` is in the notation of cap_from_text(3), e.g.
    `cap_net_raw+ep`. With `keep_mode` files and directories have the mode that they have on the host, with
    `keep_xattrs` the file capabilities and the attributes `user.*`.
    """

    source: str
    destination: str | None = None
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    capabilities: str | None = None
    keep_mode: bool = False
    keep_xattrs: bool = False
    platform: str | None = None


class NewDirectory(Value):
    """A directory of the image; where a copied directory has the same path, this one's mode and owner hold."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class NewSymlink(Value):
    """A symbolic link of the image; `target` is kept as it is written."""

    path: str
    target: str


class Essential(Value):
    """A named extra (docs/essentials.md): what of it, or from where, is in `values`.

    `auto` stands for those that the findings about the image ask for.
    """

    name: str
    values: tuple[str, ...] = ()


CONFIG = "ConfigOptions"
"""The keywords of `Root.config`."""

_ONE_OR_MORE = {"type": ["string", "array"], "items": {"type": "string"}}
_ANY = "Iterable[str]"
_MANY = TEXTS.but(python=_ANY)
_PORTS = TEXTS.but(python="Iterable[int | str]")
_TAG = _MANY.but(value=late("image.arguments:names"), schema=_ONE_OR_MORE, python="str | Sequence[str]")
_ESSENTIALS = _MANY.but(value=late("image.syntax:essentials_of"), schema=_ONE_OR_MORE)
_SBOM = _MANY.but(value=late("image.syntax:sboms_of"), schema=_ONE_OR_MORE, python="str | Sequence[str]")
_PLATFORM_TABLE = {"programs": TEXTS.schema, "copy": TEXTS.schema}
_PLATFORMS = PAIRS.but(
    schema={
        "type": "object",
        "additionalProperties": {
            "type": ["string", "integer", "object"],
            "properties": _PLATFORM_TABLE,
            "additionalProperties": False,
        },
    },
    value=late("image.syntax:platforms_of"),
    from_flag=late("image.syntax:platform_values"),
    python="Mapping[str, str | os.PathLike[str]] | None",
)
# An empty value on the command line, as an unset variable of a script makes it, is none.
_USER = TEXT.but(from_flag=lambda _flag, value: value or None, python="int | str", default=NONROOT)
_WORKDIR = TEXT.but(python="str", default="/")


class Spec(Table):
    """Everything that one image was asked to be; the first of `programs` is its entrypoint by default.

    With `bundle_libraries` the loaders and libraries of all programs come along, and `include_libraries` (names,
    or paths) as well; they are looked for in `sysroot`, by default the host. Installed packages there, whose files
    come along, are `bundle_packages`. `exclude` are patterns of what copied directories leave out
    (image/exclusions.py).
    `platforms` are programs for one platform each (`linux/arm64`), for an image each (image/plan/split.py).
    `sboms` are formats and files of documents that a build writes, None for the usual name.
    `created` is None (SOURCE_DATE_EPOCH, else 0), "now", seconds since 1970, or an ISO 8601 time.
    """

    programs: tuple[Copy, ...] = option(
        "PROGRAM[:DEST]...",
        each("image.syntax:parse_program", one="a program"),
        "The programs; the first is the entrypoint unless another is named.",
        called="programs",
    )
    platforms: tuple[tuple[str, Copy], ...] = option(
        "--platform OS/ARCH=PROGRAM[:DEST]",
        _PLATFORMS,
        "A program for one of several platforms, each with an image of its own; repeatable.",
        called="platforms",
    )
    entrypoint: tuple[str, ...] | None = option(
        "--entrypoint JSON", COMMAND, "Entrypoint [default: the first program].", keywords=CONFIG
    )
    cmd: tuple[str, ...] | None = option(
        "--cmd JSON", COMMAND, "Default arguments of the entrypoint.", keywords=CONFIG
    )
    env: tuple[tuple[str, str], ...] = option(
        "-e, --env K=V", PAIRS, "Set an environment variable.", keywords=CONFIG
    )
    labels: tuple[tuple[str, str], ...] = option(
        "-l, --label K=V", PAIRS, "Add a label.", called="labels", keywords=CONFIG
    )
    annotations: tuple[tuple[str, str], ...] = option(
        "--annotation K=V", PAIRS, "Add an annotation.", called="annotations", keywords=CONFIG
    )
    user: str = option("-u, --user UID[:GID]", _USER, "User [default: 65532:65532].", keywords=CONFIG)
    workdir: str = option("-w, --workdir PATH", _WORKDIR, "Working directory [default: /].", keywords=CONFIG)
    ports: tuple[str, ...] = option(
        "-p, --port PORT[/udp]", _PORTS, "Declare a port.", called="ports", keywords=CONFIG
    )
    volumes: tuple[str, ...] = option(
        "--volume PATH", _MANY, "Declare a volume.", called="volumes", keywords=CONFIG
    )
    stop_signal: str | None = option(
        "--stop-signal SIGNAL", TEXT, "Stop signal [default: the runtime's SIGTERM].", keywords=CONFIG
    )
    copies: tuple[Copy, ...] = option(
        "--copy SRC:DST[:mode=,uid=,gid=,cap=,xattrs=]",
        each("image.syntax:parse_copy").but(python=_ANY),
        "Add a file, or what a directory holds; `mode=keep` and `xattrs=keep` take over what the host has.",
    )
    exclude: tuple[str, ...] = option(
        "--exclude PATTERN",
        each("image.syntax:parse_pattern").but(python=_ANY),
        "Leave out of copied directories, recipes and packages what matches, as .dockerignore does; repeatable.",
    )
    directories: tuple[NewDirectory, ...] = option(
        "--mkdir PATH[:mode=,uid=,gid=]",
        each("image.syntax:parse_directory").but(python=_ANY),
        "Add an empty directory.",
    )
    symlinks: tuple[NewSymlink, ...] = option(
        "--symlink TARGET:PATH", each("image.syntax:parse_symlink").but(python=_ANY), "Add a symbolic link."
    )
    essentials: tuple[Essential, ...] = option(
        "--with ESSENTIAL[=VALUE][,..]",
        _ESSENTIALS,
        "Add files that programs expect: ca-certificates, tzdata, tmp ... or auto (docs/essentials.md).",
        called="essentials",
        in_file="with",
    )
    bundle_libraries: bool = option(
        "--bundle-libraries", FLAG, "Add the loaders and libraries that the programs need."
    )
    include_libraries: tuple[str, ...] = option(
        "--include-library NAME|PATH",
        TEXTS,
        "Also bundle a library that a program opens with dlopen(3).",
        called="include_libraries",
    )
    bundle_packages: tuple[str, ...] = option(
        "--bundle-package NAME",
        TEXTS,
        "Add the files of an installed package, without its documentation.",
        called="bundle_packages",
    )
    sysroot: str | None = option(
        "--sysroot DIR", FILE, "Look libraries and packages up in DIR [default: this host]."
    )
    created: str | None = option(
        "--created TIME",
        TEXT.but(python="int | str | None"),
        "Seconds since 1970, ISO 8601, or `now` [default: SOURCE_DATE_EPOCH, else 0].",
        keywords=CONFIG,
    )
    names: tuple[str, ...] = option(
        "-t, --tag NAME[:TAG]", _TAG, "Name the image; repeatable.", keywords="BuildOptions"
    )
    sboms: tuple[tuple[str, str | None], ...] = option(
        "--sbom FORMAT[:FILE]",
        _SBOM,
        "Also write what it consists of: spdx or cyclonedx [default FILE: NAME.spdx.json, NAME.cdx.json]; "
        "repeatable.",
        called="sbom",
        keywords="BuildOptions",
    )


OUTPUT = Option(
    "-o, --output TRANSPORT:PATH[:REF]",
    TEXTS.but(value=late("image.arguments:outputs"), python="str | Sequence[str]", schema=_ONE_OR_MORE),
    "Write it to oci:DIR, oci-archive:FILE, docker-archive:FILE (`-`: stdout) or docker://HOST/NAME:TAG; "
    "repeatable.",
)
"""What a file says of an image beside its Spec."""


class NamedSpec(Value):
    """An image of a file, where `name` is empty if that has one alone; `output` is as `-o` of build has it."""

    name: str = ""
    spec: Spec = Spec()
    output: tuple[str, ...] = ()


def spec_of(values: Mapping[str, object]) -> Spec:
    """What these options, by their names in Python, make of an image; raises UsageError."""
    return Spec().with_options(values, "An image")


class Contents(Value):
    """What a Containerfile brings into an image beside what its Spec says: looked at already, and in one tree.

    What the Spec names holds where an entry has the same path. `author`, `healthcheck`, `history` and `beyond_oci`
    are as RuntimeConfig and ImageConfig have them, `settings` are fields of RuntimeConfig that hold as they are.
    `platform` is the one that was asked for, `fallback_platform` that of an image in which no program tells any;
    `platform_is_hosts` is whether that is only this host's. Programs that lie below one of `roots` find their
    libraries there.
    """

    entries: tuple[Entry, ...] = ()
    losses: tuple[Loss, ...] = ()
    author: str | None = None
    healthcheck: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    beyond_oci: tuple[tuple[str, object], ...] = ()
    settings: tuple[tuple[str, object], ...] = ()
    platform: str | None = None
    fallback_platform: str | None = None
    platform_is_hosts: bool = False
    roots: tuple[str, ...] = ()


class Part(Value):
    """What one image was asked to be; `platform` is how an index names it, None where there is only one image.

    `isa_level` is the level of x86-64 that `--platform` asks for by a variant of amd64.
    """

    spec: Spec
    platform: str | None = None
    isa_level: int = 1
    contents: Contents | None = None
