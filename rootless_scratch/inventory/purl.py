"""Package URLs in their canonical form: purl-spec, by which scanners look up what is known of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LOWER = ("golang", "deb", "apk", "pypi", "npm")
"""Types whose namespaces and names are lower case in a purl."""


def purl(
    kind: str,
    name: str,
    version: str | None = None,
    *,
    namespace: str | None = None,
    qualifiers: Mapping[str, str | None] | None = None,
) -> str:
    """The purl of these parts; qualifiers without a value are left out."""
    if kind in _LOWER:
        name, namespace = name.lower(), None if namespace is None else namespace.lower()
    if kind == "pypi":
        name = name.replace("_", "-")
    text = f"pkg:{kind}/"
    if namespace:
        text += "/".join(_quoted(part) for part in namespace.split("/") if part) + "/"
    text += _quoted(name, b":")
    if version:
        text += "@" + _quoted(version, b":")
    pairs = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    if pairs:
        text += "?" + "&".join(f"{key}={_quoted(value, b':/')}" for key, value in pairs)
    return text


def _quoted(text: str, safe: bytes = b"") -> str:
    """Percent-encoding as urllib has it, whose import takes longer than all purls of an image."""
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _KEPT or byte in safe else f"%{byte:02X}" for byte in raw)
