"""ADD of a URL: fetched over HTTP into a private directory, within a bound, and compared with its checksum."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.data import Value
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.errors import HostError, SourceError, SpecError
from rootless_scratch.expressions import expression
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.rootfs import File
from rootless_scratch.sparse import write_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage, HTTPResponse

_URL: Final = expression(r"https?://", re.IGNORECASE)
_OTHER: Final = expression(r"(ftp|ftps|sftp|s3)://", re.IGNORECASE)
_GIT: Final = expression(r"(git|ssh)://|git@|https?://[^?#]*\.git(#.*)?\Z", re.IGNORECASE)
_CHECKSUM: Final = expression(r"sha256:[0-9a-f]{64}\Z")
_CHUNK = 1 << 20
_SECONDS = 60
_MODE = 0o600
_REDIRECTIONS = range(300, 400)


class Fetched(Value):
    """What a URL brought: its `file`, the last name of the URL or "", and the time that the server names."""

    file: File
    name: str
    mtime: int | None


def is_url(source: str) -> bool:
    """Whether a source of ADD is fetched by HTTP."""
    return _URL.match(source) is not None


def unread(source: str) -> str | None:
    """Why what a source names is not fetched here: a Git repository, or another protocol than HTTP."""
    if _GIT.match(source) is not None:
        return "names a Git repository"
    return "is neither an http nor an https URL" if _OTHER.match(source) is not None else None


def require_checksum(checksum: str) -> str:
    """A checksum as `--checksum` takes it; raises SpecError."""
    if _CHECKSUM.match(checksum) is None:
        raise SpecError(
            f"--checksum={checksum} is not a checksum.",
            fix="Write `sha256:` and 64 hexadecimal digits, as `sha256sum` prints them.",
        )
    return checksum


def fetch(url: str, directory: str, checksum: str | None, *, limits: Mapping[str, int] = DEFAULTS) -> Fetched:
    """Fetch a URL into a directory of ours; raises SourceError, LimitError, HostError."""
    from urllib.error import HTTPError, URLError
    from urllib.parse import unquote, urlsplit
    from urllib.request import (
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
        HTTPHandler,
        HTTPRedirectHandler,
        HTTPSHandler,
        OpenerDirector,
        ProxyHandler,
        Request,
        UnknownHandler,
    )

    # Not build_opener's, which reads files and FTP too: a server could send us there.
    opener = OpenerDirector()
    handlers = (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPRedirectHandler)
    for handler in (*handlers, HTTPDefaultErrorHandler, HTTPErrorProcessor, UnknownHandler):
        opener.add_handler(handler())
    path = f"{directory}/fetched"
    digest = hashlib.sha256()
    budget = Budget(repr(url), limits)
    descriptor = _create(path)
    size = 0
    try:
        address, credentials = _without_credentials(url)
        request = Request(address)  # noqa: S310 - the opener has no handler for other schemes
        if credentials:
            # Not for the host that a redirection leads to.
            request.add_unredirected_header("Authorization", credentials)
        with opener.open(request, timeout=_SECONDS) as answer:
            while block := answer.read(_CHUNK):
                size += len(block)
                budget.check_download(size)
                digest.update(block)
                _store(descriptor, block, path)
            _require_end(answer)
            mtime = _last_modified(answer.headers)
        identity = identity_of(os.fstat(descriptor))
    except (URLError, OSError, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise SourceError(
            f"{url!r} cannot be fetched: {_reason(error)}.",
            fix="Check the URL, and HTTPS_PROXY where one is needed.",
        ) from error
    finally:
        os.close(descriptor)
    found = f"sha256:{digest.hexdigest()}"
    if checksum is not None and found != checksum:
        raise SourceError(
            f"{url!r} has the checksum {found}, and not {checksum}.",
            fix="Check what the URL gives; correct --checksum only where it is right.",
        )
    file = File(path="", mode=_MODE, uid=0, gid=0, source=path, identity=identity)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return Fetched(file=file, name="" if name in (".", "..") else name, mtime=mtime)


def _without_credentials(url: str) -> tuple[str, str | None]:
    """The URL without the user and the password in it, and the header that says them (RFC 7617)."""
    from base64 import b64encode
    from urllib.parse import unquote_to_bytes, urlsplit

    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return parts._replace(netloc=host).geturl(), f"Basic {b64encode(pair).decode()}"


def _reason(error: Exception) -> str:
    """Why it failed, in a few words."""
    from urllib.error import HTTPError

    if isinstance(error, HTTPError):
        if error.code in _REDIRECTIONS:
            return "the server redirects it in a circle, or to what is neither http nor https"
        return f"the server answers {error.code} {' '.join(str(error.reason).split())}".rstrip()
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return f"the server is silent for {_SECONDS} seconds"
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(text.split()).rstrip(".") or type(reason).__name__


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _store(descriptor: int, block: bytes, path: str) -> None:
    try:
        write_all(descriptor, block)
    except OSError as error:
        raise HostError(
            f"{path!r} cannot be written: {error.strerror}.",
            fix="Set TMPDIR to a directory of your own with some room.",
        ) from error


def _require_end(answer: HTTPResponse) -> None:
    """Raise OSError where the server has sent less than it announced."""
    if answer.length:
        raise OSError("it is cut off")


def _last_modified(headers: HTTPMessage) -> int | None:
    """The time of the file in nanoseconds, where the server names one."""
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(headers["Last-Modified"]).timestamp()) * 10**9
    except (TypeError, ValueError, OverflowError):
        return None
