"""What the user asked for: nothing here has been read or checked against the host yet."""

from __future__ import annotations

import msgspec

NONROOT = "65532:65532"
"""The user id that distroless images made usual for "nonroot"."""


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or the content of a directory, of the host; `destination` None means `/` and the file's name.

    A file whose destination ends in `/` keeps its name below it; a directory's content goes there with or
    without the slash, as with COPY. A source that is itself a symbolic link stands for what it points to, and
    the links inside a directory are kept as links, wherever they point.

    `mode` None means 0755 for programs, libraries and scripts, 0644 for other files; it never applies to the
    directories of a copied tree. `capabilities` is in the notation of cap_from_text(3), e.g.
    `cap_net_raw+ep`.
    """

    source: str
    destination: str | None = None
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    capabilities: str | None = None


class NewDirectory(msgspec.Struct, frozen=True, kw_only=True):
    """A directory of the image; where a copied directory has the same path, this one's mode and owner hold."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class NewSymlink(msgspec.Struct, frozen=True, kw_only=True):
    """A symbolic link of the image; `target` is kept as it is written."""

    path: str
    target: str


class Essential(msgspec.Struct, frozen=True, kw_only=True):
    """A named extra (docs/essentials.md): what of it, or from where, is in `values`.

    `auto` stands for those that the findings about the image ask for.
    """

    name: str
    values: tuple[str, ...] = ()


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one image was asked to be; the first of `programs` is its entrypoint by default.

    With `bundle_libraries` the loaders and libraries of all programs come along, and `include_libraries` (names,
    or paths) as well; they are looked for in `sysroot`, by default the host.
    `platforms` are programs for one platform each (`linux/arm64`), for an image each (image/plan/split.py).
    `created` is None (SOURCE_DATE_EPOCH, else 0), "now", seconds since 1970, or an ISO 8601 time.
    """

    names: tuple[str, ...] = ()
    programs: tuple[Copy, ...] = ()
    platforms: tuple[tuple[str, Copy], ...] = ()
    copies: tuple[Copy, ...] = ()
    directories: tuple[NewDirectory, ...] = ()
    symlinks: tuple[NewSymlink, ...] = ()
    essentials: tuple[Essential, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    user: str = NONROOT
    workdir: str = "/"
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    created: str | None = None
    bundle_libraries: bool = False
    include_libraries: tuple[str, ...] = ()
    sysroot: str | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one image was asked to be; `platform` is how an index names it, None where there is only one image.

    `isa_level` is the level of x86-64 that `--platform` asks for by a variant of amd64.
    """

    spec: Spec
    platform: str | None = None
    isa_level: int = 1
