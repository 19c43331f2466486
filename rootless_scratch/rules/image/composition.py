"""What is to be said of what an image consists of: metadata that cannot be read, parts that nothing names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.inventory.facts import Composition

_SHOWN = 3


def judge_composition(composition: Composition) -> Iterator[Finding]:
    """Say what a reader of the SBOM must know of it: nothing here keeps an image from being built."""
    for fault in composition.faults:
        yield Finding.warning(
            rule="sbom-metadata-broken",
            subject=fault.path,
            message=f"The SBOM does not have all that {fault.path!r} may contain: {fault.what}.",
            fix="Build or install it again; the file itself is listed in any case.",
        )
    for path in composition.unnamed:
        yield Finding.warning(
            rule="sbom-modules-unknown",
            subject=path,
            message=f"{path!r} is a Go program whose build information names no modules.",
            fix="Build it in module mode (a go.mod, GO111MODULE=on), or bundle it from its Debian package.",
        )
    unknown = [each.name for each in composition.unknown]
    if unknown:
        first = ", ".join(unknown[:_SHOWN]) + (" ..." if len(unknown) > _SHOWN else "")
        yield Finding.info(
            rule="sbom-files-unknown",
            subject=composition.root.name,
            message=f"{len(unknown)} file(s) are in the SBOM by their sha256 alone: {first}.",
            fix="Nothing need be done; `--sysroot DIR` names another system whose packages may know them.",
        )
