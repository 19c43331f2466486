"""A composition as SPDX 2.3 or CycloneDX 1.6, in JSON: the same bytes for the same composition and time."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rootless_scratch import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.inventory.facts import Component, Composition

ENDINGS: Final = {"spdx": ".spdx.json", "cyclonedx": ".cdx.json"}
"""How files of a format are called, by the custom of both."""

_TOOL: Final = "rootless-scratch"
_ALGORITHMS: Final = {"sha256": ("SHA256", "SHA-256")}
_PURPOSES: Final = {"application": "APPLICATION", "library": "LIBRARY", "file": "FILE", "container": "CONTAINER"}
_LATEST: Final = 253402300799
_NOT_SAID: Final = "NOASSERTION"


def document(composition: Composition, form: str, created: int) -> bytes:
    """The document of one of FORMATS; `created` is its time, in seconds since 1970."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(created, 0), _LATEST)))
    made = (_spdx if form == "spdx" else _cyclonedx)(composition, when)
    return msgspec.json.format(msgspec.json.encode(_clean(made)), indent=2) + b"\n"


def _spdx(composition: Composition, when: str) -> dict[str, Any]:
    root = composition.root
    everything = (root, *composition.components)
    ids = {each.key: _spdx_id(each, root) for each in everything}
    body = {
        "name": root.name,
        "packages": [_spdx_package(each, ids[each.key]) for each in everything],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in _relationships(composition, ids)
        ],
    }
    texts = sorted({pair for each in everything for pair in each.license_texts})
    if texts:
        body["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "extractedText": text} for name, text in dict(texts).items()
        ]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "documentNamespace": _urn(when, body),
        "creationInfo": {"created": when, "creators": [f"Tool: {_TOOL}-{__version__}"]},
        **body,
    }


def _spdx_id(component: Component, root: Component) -> str:
    if component is root:
        return "SPDXRef-Root"
    kind = "File" if component.kind == "file" else "Package"
    return f"SPDXRef-{kind}-{hashlib.sha256(_bytes(component.key)).hexdigest()[:20]}"


def _spdx_package(component: Component, own_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": own_id,
        "name": component.name,
        "downloadLocation": _NOT_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": _NOT_SAID,
        "licenseDeclared": component.license or _NOT_SAID,
        "copyrightText": _NOT_SAID,
        "primaryPackagePurpose": _PURPOSES[component.kind],
        "sourceInfo": f"Found by {component.found_by}.",
    }
    if component.version:
        found["versionInfo"] = component.version
    if component.supplier:
        found["supplier"] = f"Organization: {component.supplier}"
    checksums = [(_ALGORITHMS[kind][0], value) for kind, value in component.hashes if kind in _ALGORITHMS]
    if checksums:
        found["checksums"] = [{"algorithm": kind, "checksumValue": value} for kind, value in checksums]
    if component.kind == "file":
        found["packageFileName"] = component.name
    if component.purl:
        found["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component.purl,
            }
        ]
    lines = [
        *(f"{name}: {value}" for name, value in component.more),
        *(f"file: {each}" for each in component.paths),
    ]
    if lines:
        found["comment"] = "\n".join(lines)
    return found


def _relationships(composition: Composition, ids: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    root = composition.root
    yield "SPDXRef-DOCUMENT", "DESCRIBES", ids[root.key]
    inner = {each.key for each in composition.components if each.inner}
    built = {each.key for each in composition.components if each.built}
    for key in root.depends:
        yield ids[root.key], "CONTAINS", ids[key]
    for each in composition.components:
        for key in each.depends:
            if key in built:
                yield ids[key], "BUILD_DEPENDENCY_OF", ids[each.key]
            elif key in ids:
                yield ids[each.key], "STATIC_LINK" if key in inner else "DEPENDS_ON", ids[key]


def _cyclonedx(composition: Composition, when: str) -> dict[str, Any]:
    root = composition.root
    known = {each.key for each in (root, *composition.components)}
    body = {
        "components": [_cyclonedx_component(each) for each in composition.components],
        "dependencies": [
            {"ref": each.key, "dependsOn": sorted(key for key in each.depends if key in known)}
            for each in (root, *composition.components)
        ],
    }
    metadata = {
        "timestamp": when,
        "tools": {"components": [{"type": "application", "name": _TOOL, "version": __version__}]},
        "component": _cyclonedx_component(root),
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": _urn(when, {"metadata": metadata, **body}),
        "version": 1,
        "metadata": metadata,
        **body,
    }


def _cyclonedx_component(component: Component) -> dict[str, Any]:
    found: dict[str, Any] = {"type": component.kind, "bom-ref": component.key, "name": component.name}
    if component.version:
        found["version"] = component.version
    if component.supplier:
        found["supplier"] = {"name": component.supplier}
    if component.built:
        found["scope"] = "excluded"
    hashes = [(_ALGORITHMS[kind][1], value) for kind, value in component.hashes if kind in _ALGORITHMS]
    if hashes:
        found["hashes"] = [{"alg": kind, "content": value} for kind, value in hashes]
    if component.license:
        found["licenses"] = [{"expression": component.license}]
    if component.purl:
        found["purl"] = component.purl
    if component.paths:
        found["evidence"] = {"occurrences": [{"location": path} for path in component.paths]}
    more: Sequence[tuple[str, str]] = (("found-by", component.found_by), *component.more)
    found["properties"] = [{"name": f"{_TOOL}:{name}", "value": value} for name, value in more]
    return found


def _urn(when: str, body: dict[str, Any]) -> str:
    """A UUID of what the document says, so that the same one has the same, and no other: RFC 9562, version 8."""
    digits = hashlib.sha256(when.encode() + msgspec.json.encode(_clean(body))).hexdigest()
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _clean(value: Any) -> Any:  # noqa: ANN401 - what JSON has
    """The same with bytes of names that are no UTF-8 written with a backslash, as in repr."""
    if isinstance(value, str):
        return value if value.isascii() else _bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
