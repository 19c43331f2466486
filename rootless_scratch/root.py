"""The scripted way to an image: an empty root file system, filled within a `with` block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import integer, maybe, text
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.kinds import read
from rootless_scratch.image.spec import CONFIG, Copy, NewDirectory, NewSymlink, Spec, spec_of
from rootless_scratch.verbs.build import build_spec
from rootless_scratch.verbs.options import read_options

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import ConfigOptions

    StrPath = str | os.PathLike[str]


class Root:
    """An empty root file system that becomes an image when the block ends without an exception.

    `image` is the image then. Files are read when they are named here, and must not change until they are
    written, at the end of the block.
    """

    def __init__(self, spec: Spec, **how: Any) -> None:  # noqa: ANN401 - keywords of build_spec
        self._how = how
        self._files = HostFiles(keep=False)
        self._image: Image | None = None
        self._ended = False
        self._spec = spec

    def __enter__(self) -> Self:
        self._files = HostFiles()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended = True
        with self._files:
            if kind is None:
                self._image = build_spec(self._spec, files=self._files, **self._how)

    @property
    def image(self) -> Image:
        """The finished image; raises UsageError before the end of the block, and where it failed."""
        if self._image is None:
            raise UsageError(
                "The image does not exist before its block has ended.", fix="Use `root.image` after the block."
            )
        return self._image

    def _require_open(self) -> None:
        if self._ended:
            raise UsageError(
                "The block has ended, so nothing can be added to its image.", fix="Add it within the `with` block."
            )

    def _add(self, field: str, *entries: object) -> None:
        self._require_open()
        self._spec = self._spec.but(**{field: (*getattr(self._spec, field), *entries)})

    def add(
        self,
        program: StrPath,
        destination: str | None = None,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        capabilities: str | None = None,
    ) -> None:
        """Add a program; the first one is the entrypoint unless `config` names another.

        `destination` is `/` and the file's name by default, `capabilities` in the notation of
        cap_from_text(3). Raises SourceError, ElfError.
        """
        self._require_open()
        source = text("a program", program)
        self._files.program(source)
        self._add(
            "programs",
            Copy(
                source=source,
                destination=maybe(text, "destination", destination),
                **_numbers(mode=mode, uid=uid, gid=gid),
                capabilities=maybe(text, "capabilities", capabilities),
            ),
        )

    def copy(
        self,
        source: StrPath,
        destination: str,
        *,
        mode: int | Literal["keep"] | None = None,
        uid: int = 0,
        gid: int = 0,
        xattrs: Literal["keep"] | None = None,
    ) -> None:
        """Copy a file, or all that a directory holds; `mode` None means 0755 for programs, 0644 for others.

        "keep" takes over the modes, or the file capabilities and the attributes `user.*`, that files have here.
        """
        if xattrs not in (None, "keep"):
            raise UsageError(f"xattrs is {xattrs!r}.", fix='Write it as xattrs="keep", or leave it out.')
        self._add(
            "copies",
            Copy(
                source=text("source", source),
                destination=text("destination", destination),
                mode=None if mode == "keep" else maybe(integer, "mode", mode),
                keep_mode=mode == "keep",
                keep_xattrs=xattrs == "keep",
                **_numbers(uid=uid, gid=gid),
            ),
        )

    def mkdir(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Make an empty directory."""
        self._add("directories", NewDirectory(path=text("path", path), **_numbers(mode=mode, uid=uid, gid=gid)))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`; `target` is kept as it is."""
        self._add("symlinks", NewSymlink(path=text("path", path), target=text("target", target)))

    def add_essential(self, *values: str) -> None:
        """Add what programs expect, by the values of `--with`: `tzdata=Europe/Berlin`, `auto`."""
        self._add("essentials", *spec_of({"essentials": values}).essentials)

    def config(self, **options: Unpack[ConfigOptions]) -> None:
        """Set what the image says to a runtime; what is not named here, or None, keeps its value."""
        self._require_open()
        rows = {name: row for name, row in Spec.options.items() if row.keywords == CONFIG}
        values = {name: value for name, value in options.items() if value is not None}
        found = read(rows, values, "The config of an image")
        self._spec = self._spec.but(**{rows[name].field: value for name, value in found.items()})


def _numbers(**values: object) -> dict[str, Any]:
    return {name: integer(name, value) for name, value in values.items()}


def scratch(
    *,
    tag: str | Sequence[str] = (),
    output: str | Sequence[str] = (),
    backend: str | None = None,
    compress: str | None = None,
    bundle_libraries: bool = False,
    include_libraries: Iterable[str] = (),
    bundle_packages: Iterable[str] = (),
    sysroot: StrPath | None = None,
    exclude: Iterable[str] = (),
    check: bool = True,
) -> Root:
    """An empty root file system, to be filled within a `with` block and built at its end; see `Root`.

    With `bundle_libraries` the loaders and libraries of its programs come along, and `exclude` says what copied
    directories leave out; see `build`.
    """
    if not (tag or output):
        raise UsageError("The image has neither a name nor an output.", fix="Give tag='NAME' or output='oci:DIR'.")
    return Root(
        spec_of(
            {
                "tag": tag,
                "bundle_libraries": bundle_libraries,
                "include_libraries": include_libraries,
                "bundle_packages": bundle_packages,
                "sysroot": sysroot,
                "exclude": exclude,
            }
        ),
        **read_options("build", {"output": output, "backend": backend, "compress": compress, "check": check}),
    )
