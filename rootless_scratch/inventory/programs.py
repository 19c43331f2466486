"""What programs say they were made of, as components: Go modules, crates of Rust, the note of a distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.inventory.facts import Component
from rootless_scratch.inventory.purl import purl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.contained import Contained, Crate, PackageNote
    from rootless_scratch.elf.golang import GoModule

_DEVEL: Final = "(devel)"
_TOLD: Final = ("vcs", "vcs.revision", "vcs.time", "vcs.modified", "GOOS", "GOARCH", "-tags")
_REGISTRIES: Final = ("crates.io", "registry")


def components_of(path: str, sha256: str, contained: Contained) -> Iterator[Component]:
    """Those that the program at `path` names; nothing where it names none."""
    hashes = (("sha256", sha256),)
    if contained.note is not None:
        yield _of_note(path, contained.note)
    if contained.modules:
        yield from _of_go(path, hashes, contained)
    elif contained.go:
        yield _toolchain(path, contained.go)
    if contained.crates:
        yield from _of_rust(path, hashes, contained.crates)


def _of_go(path: str, hashes: tuple[tuple[str, str], ...], contained: Contained) -> Iterator[Component]:
    others = [_module(path, each) for each in contained.modules if not each.main]
    if contained.go:
        others.append(_toolchain(path, contained.go))
    yield from others
    main = next((each for each in contained.modules if each.main), None)
    name = contained.go_path or (main.path if main else path)
    version = None if main is None else _version(main.version)
    yield Component(
        key=f"file:{path}" if main is None else _own_key(path, _go_purl(main.path, version)),
        kind="application",
        name=name,
        version=version,
        purl=None if main is None else _go_purl(main.path, version),
        found_by="Go build information",
        hashes=hashes,
        paths=(path,),
        more=tuple(sorted((f"go:{key}", value) for key, value in contained.go_settings if key in _TOLD and value)),
        depends=tuple(sorted(each.key for each in others)),
    )


def _own_key(path: str, text: str) -> str:
    """A program is its own component, though two may be of one module."""
    return f"{text}#{path}"


def _go_purl(path: str, version: str | None) -> str:
    namespace, _, name = path.rpartition("/")
    return purl("golang", name, version, namespace=namespace)


def _version(text: str) -> str | None:
    return None if text in ("", _DEVEL) else text


def _module(path: str, module: GoModule) -> Component:
    name, version = module.path, _version(module.version)
    more = [("go:sum", module.sum)] if module.sum else []
    if module.replaced is not None:
        old = "@".join(part for part in module.replaced if part)
        more.append(("go:replaces", old))
        if module.path.startswith((".", "/")):
            # A directory beside the main module: what it has is not what the version in go.mod has.
            more.append(("go:replaced-by", module.path))
            name, version = module.replaced[0], None
    found = _go_purl(name, version)
    return Component(
        key=found if module.replaced is None else f"{found}#{'@'.join(module.replaced)}",
        kind="library",
        name=name,
        version=version,
        purl=found,
        found_by="Go build information",
        paths=(path,),
        more=tuple(sorted(more)),
        inner=True,
    )


def _toolchain(path: str, version: str) -> Component:
    """The standard library, which is linked into every program; a version may have words behind it."""
    number = version.split(maxsplit=1)[0].removeprefix("go") if version.strip() else version
    found = purl("golang", "stdlib", number)
    return Component(
        key=found,
        kind="library",
        name="stdlib",
        version=number,
        purl=found,
        license="BSD-3-Clause",
        found_by="Go build information",
        paths=(path,),
        inner=True,
    )


def _of_rust(path: str, hashes: tuple[tuple[str, str], ...], crates: tuple[Crate, ...]) -> Iterator[Component]:
    keys = [
        _own_key(path, _cargo_purl(each)) if each.root else _cargo_purl(each) + _origin(each) for each in crates
    ]
    for key, crate in zip(keys, crates, strict=True):
        yield Component(
            key=key,
            kind="application" if crate.root else "library",
            name=crate.name,
            version=crate.version,
            purl=_cargo_purl(crate),
            found_by="list of crates (cargo auditable)",
            hashes=hashes if crate.root else (),
            paths=(path,),
            more=(("cargo:source", crate.source),) if crate.source else (),
            depends=tuple(sorted({keys[number] for number in crate.dependencies} - {key})),
            inner=not crate.root,
            built=crate.kind == "build",
        )


def _cargo_purl(crate: Crate) -> str:
    return purl("cargo", crate.name, crate.version)


def _origin(crate: Crate) -> str:
    return "" if crate.source in _REGISTRIES else f"#{crate.source}"


def _of_note(path: str, note: PackageNote) -> Component:
    distro = f"{note.os}-{note.os_version}" if note.os and note.os_version else note.os
    qualifiers = {"arch": note.architecture, "distro": distro}
    found = purl(note.type, note.name, note.version, namespace=note.os, qualifiers=qualifiers)
    return Component(
        key=found,
        kind="library",
        name=note.name,
        version=note.version,
        purl=found,
        found_by="package note (.note.package)",
        paths=(path,),
    )
