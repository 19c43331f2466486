"""The options of verbs beside those of an image and of a run, defined once for the command line and for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.kinds import FILE, FLAG, INTEGER, ON, TEXT, TEXTS, Option, late, read
from rootless_scratch.image.spec import OUTPUT
from rootless_scratch.ship.access import Access

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.image.spec import Spec

_LIMITS = TEXTS.but(value=late("image.arguments:limits"), python="Mapping[str, int] | None", default=None)
_UNLESS = FLAG.but(default=True)
_SHOWN = FLAG.but(python="")

_READING = tuple(Access.options[name] for name in ("authfile", "tls_verify", "cert_dir"))

LIMIT = Option(
    "--limit NAME=VALUE",
    _LIMITS,
    "Raise a limit on reading images, e.g. expanded=2t (docs/limits.md); repeatable.",
    called="limits",
)
FORMAT = Option(
    "--format FORMAT",
    TEXT.but(python=""),
    "Print a report for code hosts instead: sarif, github (workflow commands) or gitlab (Code Quality).",
    called="form",
)
FIX = (
    Option("--fix", _SHOWN, "With -f: correct the Containerfile, after showing the change and asking."),
    Option("-y, --yes", _SHOWN, "With --fix: write it without asking."),
)
OF_RUN = (
    *("name", "user", "env", "publish", "volumes", "tmpfs", "health_cmd", "stop_timeout", "memory", "cpus"),
    *("pids_limit", "writable", "cap_add"),
)
"""Options of a run that `generate` has too."""

_OTHERWISE = {
    "name": {"help": "Name the container, and what starts it [default: from the image's name]."},
    "publish": {"help": "Publish a port of the container [default: the image's, for this host alone]."},
    "volumes": {"help": "Mount a directory or a volume; options are ro, z, Z, U."},
    "stop_timeout": {"help": "Seconds from the stop signal to SIGKILL [default: 10]."},
}
"""What is to be said of these there."""

_PLATFORM = "--platform OS/ARCH"
_COMPRESS = "--compress HOW"

_BACKEND = Option("--backend NAME", TEXT, "buildah or direct [default: direct with -o, else buildah].")
_COMPRESSED = Option(
    _COMPRESS,
    TEXT,
    "Layer of -o: none, gzip[:LEVEL], zstd[:LEVEL] [default: none; gzip with a registry].",
)
_UNCHECKED = Option("--no-check", _UNLESS, "Build even an image that will not start.", called="check")

CACHES = (
    Option(
        "--cache-from REF",
        OUTPUT.kind,
        "Take compressed layers from docker://HOST/NAME[:TAG] or oci:DIR[:REF] too; repeatable.",
    ),
    Option(
        "--cache-to REF",
        OUTPUT.kind,
        "Add those of this build to docker://HOST/NAME[:TAG] or oci:DIR[:REF] [default tag: cache]; repeatable.",
    ),
)

OF_VERB: dict[str, tuple[Option, ...]] = {
    "build": (
        OUTPUT,
        _BACKEND,
        _COMPRESSED,
        *CACHES,
        *Access.options.values(),
        FORMAT.but(
            usage="--report FORMAT",
            help="Print the reasons of a refusal as a report for code hosts: sarif, github or gitlab.",
        ),
        *FIX,
        Option("--dry-run", _SHOWN, "Print the plan as JSON and build nothing."),
        _UNCHECKED,
    ),
    "watch": (
        OUTPUT,
        _BACKEND.but(help="buildah or direct [default: direct, where skopeo is there]."),
        _COMPRESSED,
        *Access.options.values(),
        _UNCHECKED,
        Option(
            "--poll SECONDS",
            TEXT.but(value=late("engine.request.values:parse_timeout"), python="float | None", type=float),
            "Look at all files so often [default: the kernel tells of changes].",
        ),
    ),
    "bake": (
        OUTPUT.but(
            usage="-o, --output oci:DIR",
            help="Write all images to this layout, each by the name of its target, and nowhere else.",
        ),
        Option("--push", FLAG, "Send each image to the registries of its tags, and nowhere else."),
        Option("--load", FLAG, "Put each image into local storage by its tags [default: what the file says]."),
        Option("--check", FLAG, "Judge the images and make none.", called="check_only"),
        Option("--jobs N", INTEGER.but(python="int | None"), "Images at a time [default: four for each core]."),
        Option(
            "--executor NAME",
            TEXT.but(python="Executor | str | None", value=lambda _name, value: value),
            "What makes them: threads, processes, dask:ADDRESS or kubernetes [default: threads].",
        ),
        Option("--shard I/N", TEXT, "Make one share alone, 0/N to N-1/N; all of them together make all images."),
        Option(
            "--kubernetes KEY=VALUE",
            TEXTS.but(python=""),
            "Of the Job that --executor kubernetes prints, e.g. sources=CLAIM (docs/bake.md); repeatable.",
        ),
        Option(
            _COMPRESS,
            TEXT,
            "Layers of outputs: none, gzip[:LEVEL], zstd[:LEVEL] [default: none; gzip with a registry].",
        ),
        *CACHES,
        *Access.options.values(),
        Option("--no-check", _UNLESS, "Build even images that will not start.", called="check"),
    ),
    "cache": (
        Option("--keep SIZE", TEXT.but(python="str | int | None"), "With prune: keep so many bytes, e.g. 10GB."),
        Option(
            "--older-than SPAN",
            TEXT.but(python="str | float | None"),
            "With prune: remove what was not used for so long, e.g. 7d.",
        ),
    ),
    "debug": (
        Option("--exec CMD", TEXT, "Run this by `sh -c` instead of a shell.", called="script"),
        Option("--toolbox PROGRAM", TEXT, "Use this busybox, toybox or shell for the tools."),
        Option("-u, --user UID[:GID]", TEXT, "User of the shell [default: the program's]; 0 sees all."),
    ),
    "push": (
        Option(
            _COMPRESS,
            TEXT,
            "Layers: none, gzip[:LEVEL], zstd[:LEVEL] [default: as they are; gzip from local storage].",
        ),
        *Access.options.values(),
        LIMIT,
    ),
    "save": (
        Option(
            "-o, --output FILE|TRANSPORT:PATH[:REF]",
            OUTPUT.kind,
            "An archive for `docker load` and `podman load`, oci:DIR or oci-archive:FILE; `-`: stdout; "
            "repeatable.",
        ),
        Option(_COMPRESS, TEXT, "Layers: none, gzip[:LEVEL], zstd[:LEVEL] [default: as they are]."),
        Option("--repair", FLAG, "Repair layers that storage refuses; digests change."),
        LIMIT,
    ),
    "check": (
        Option("--bundle-libraries", ON, "Judge programs as `build` with this option makes them."),
        Option("--sysroot DIR", FILE, "Look libraries up in DIR [default: this host]."),
        Option(_PLATFORM, TEXT, "Platform of an index [default: all]."),
        *FIX,
        FORMAT,
        *_READING,
        LIMIT,
    ),
    "containerfile": (
        Option("-o, --output DIR", TEXT, "Write it there, with the files that it copies."),
        Option("--no-check", _UNLESS, "Print it even for an image that will not start.", called="check"),
    ),
    "init": (
        Option("-o, --output FILE", TEXT, "Write it there; `-`: stdout [default: scratch.toml]."),
        Option("--force", FLAG, "Replace a file that is there."),
    ),
    "generate": (
        Option("-o, --output FILE", TEXT.but(python=""), "Write it there; `-`: stdout, the default."),
        Option(
            "--image NAME",
            TEXT,
            "Name of the image where it runs [default: the one that it is read by].",
            called="image_name",
        ),
        Option(
            "--replicas N",
            INTEGER.but(python="int | None"),
            "Containers, for kubernetes and compose [default: 1].",
        ),
        *(Request.options[name].but(**_OTHERWISE.get(name, {})) for name in OF_RUN),
        Option(_PLATFORM, TEXT, "Platform of an index [default: this host's]."),
        *_READING,
        LIMIT,
    ),
    "sbom": (
        Option("--format FORMAT", TEXT, "spdx (2.3) or cyclonedx (1.6), both as JSON [default: spdx]."),
        Option("-o, --output FILE", TEXT.but(python=""), "Write it there; `-`: stdout [default: stdout]."),
        Option("--bundle-libraries", ON, "Of a program: with the libraries that `build` with this option adds."),
        Option("--sysroot DIR", FILE, "System whose packages may own the files [default: this host]."),
        Option(_PLATFORM, TEXT, "Platform of an index [default: this host's]."),
        *_READING,
        LIMIT,
    ),
    "verify": (LIMIT,),
    "inspect": (Option(_PLATFORM, TEXT, "Platform of an index [default: this host's]."), *_READING, LIMIT),
}
"""In the order of the help."""


def in_python(verb: str) -> dict[str, Option]:
    """Those that the verb's function of Python has too, by their keywords."""
    return {each.name: each for each in OF_VERB[verb] if each.kind.python}


def read_options(verb: str, values: Mapping[str, object]) -> dict[str, Any]:
    """What a caller of Python gave, and what stands where nothing was; raises UsageError.

    How registries are spoken to is one value, `access`.
    """
    rows = in_python(verb)
    found = {name: each.kind.default for name, each in rows.items()} | read(rows, values, f"`{verb}`")
    if "authfile" in found:
        # `format` of an SBOM is another option.
        own = [name for name, row in Access.options.items() if rows.get(name) is row]
        found["access"] = Access(**{name: found.pop(name) for name in own})
    return found


def read_spec(verb: str, programs: Sequence[object], values: Mapping[str, object]) -> tuple[Spec, dict[str, Any]]:
    """What a caller of Python said of an image, and the rest as `read_options` has it; raises UsageError."""
    if "programs" in values:
        raise UsageError("Programs have no keyword.", fix="Name them first, e.g. build('hello', tag='hello').")
    own = {name: value for name, value in values.items() if name in in_python(verb)}
    image = {name: value for name, value in values.items() if name not in own}
    from rootless_scratch.image.spec import spec_of

    return spec_of({**image, "programs": programs}), read_options(verb, own)
