"""Certificates of authorities as an essential: the host's bundle, and PEM files that are named."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import SourceError
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.host_files import HostFiles

BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Alpine and Arch, then Fedora, then openSUSE have them: crypto/x509/root_linux.go of Go."""

_LIMIT = 16 << 20
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_BLOCK: Final = expression(_BEGIN + rb".*?-----END CERTIFICATE-----", re.DOTALL)
_SECRET: Final = expression(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def host_bundle() -> str | None:
    """The host's file with all authorities that it trusts."""
    return next((path for path in BUNDLES if os.path.isfile(path)), None)


def joined(paths: Sequence[str], files: HostFiles) -> bytes:
    """The bytes of PEM files, one behind the other; raises SourceError for what is not a list of certificates."""
    contents = (_read(path, files) for path in paths)
    return b"".join(content if content.endswith(b"\n") else content + b"\n" for content in contents)


def _read(path: str, files: HostFiles) -> bytes:
    try:
        if os.path.isfile(path):
            content = files.head(path, _LIMIT + 1)
        else:
            # A pipe that a shell makes of a command, `<(...)`: once is all that it can be read.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            descriptor = os.open(path, flags)
            # Without a writer that is its end, and nothing to wait for.
            os.set_blocking(descriptor, True)
            with open(descriptor, "rb") as pipe:
                content = pipe.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    _require_certificates(path, content)
    return content


def _require_certificates(path: str, content: bytes) -> None:
    """Every block must be a certificate that OpenSSL reads, and there must be one."""
    import ssl

    if _SECRET.search(content):
        raise SourceError(
            f"{path!r} holds a private key, which anybody with the image could read.",
            fix="Name a file with the certificates alone.",
        )
    blocks = _BLOCK.findall(content)
    if not blocks or len(content) > _LIMIT:
        raise SourceError(
            f"{path!r} is not a list of certificates: it has no `{_BEGIN.decode()}` or is far too long.",
            fix="Name a PEM file; one in DER is turned into PEM by `openssl x509 -inform der -in FILE`.",
        )
    count = content.count(_BEGIN)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for number, block in enumerate(blocks, start=1):
        try:
            context.load_verify_locations(cadata=block.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise _garbled(path, number) from error
    if count != len(blocks):
        raise _garbled(path, count)


def _garbled(path: str, number: int) -> SourceError:
    return SourceError(
        f"Certificate {number} of {path!r} is garbled.",
        fix="Download the file again; `openssl x509 -in FILE -noout -text` shows the first certificate of one.",
    )
