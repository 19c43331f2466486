"""What is found: components, the files that nothing tells of, and what could not be read on the way."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

JARS: Final = (".jar", ".war", ".ear", ".jpi", ".hpi")
"""How names of archives of Java end."""

Kind = Literal["application", "library", "file", "container"]


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One part; `key` is its own in a document: the purl where it has one.

    name      as its ecosystem names it; of a file its path
    license   an SPDX expression; `license_texts` has a text for each LicenseRef in it
    paths     the files of the image in which it was found, sorted
    found_by  what told of it, in words
    more      what else is known, by name, e.g. ("go:sum", "h1:...")
    depends   keys of others that it was made of or needs
    inner     whether it is part of another one, and not of the image by itself
    built     whether it was only used to build, and is not in the image
    """

    key: str
    kind: Kind
    name: str
    found_by: str
    version: str | None = None
    purl: str | None = None
    license: str | None = None
    license_texts: tuple[tuple[str, str], ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()
    paths: tuple[str, ...] = ()
    supplier: str | None = None
    more: tuple[tuple[str, str], ...] = ()
    depends: tuple[str, ...] = ()
    inner: bool = False
    built: bool = False


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds that cannot be read, in one clause."""

    path: str
    what: str


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; `components` are sorted by their keys, those of kind `file` are what nothing is known of.

    `unnamed` are Go programs whose build information names no modules and whose package names none either.
    """

    root: Component
    components: tuple[Component, ...]
    faults: tuple[Fault, ...] = ()
    unnamed: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[Component, ...]:
        """The files that no package, no module and no metadata tells of."""
        return tuple(each for each in self.components if each.kind == "file")


def merged(components: list[Component]) -> tuple[Component, ...]:
    """Each component once, by its key: found in all the places where any of them was found."""
    found: dict[str, Component] = {}
    for each in components:
        known = found.get(each.key)
        if known is None or known == each:
            found[each.key] = each
            continue
        found[each.key] = msgspec.structs.replace(
            known,
            paths=tuple(sorted({*known.paths, *each.paths})),
            depends=tuple(sorted({*known.depends, *each.depends})),
            more=tuple(sorted({*known.more, *each.more})),
            license=known.license or each.license,
            license_texts=known.license_texts or each.license_texts,
            hashes=known.hashes or each.hashes,
            inner=known.inner and each.inner,
            built=known.built and each.built,
        )
    return tuple(found[key] for key in sorted(found))
