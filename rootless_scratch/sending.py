"""`push` and `save`, the Python surface of shipping.py: plain types in, frozen types out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.checking import require_utf8
from rootless_scratch.errors import UsageError
from rootless_scratch.image.given import maybe, text
from rootless_scratch.image.given import outputs as outputs_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from rootless_scratch.image.finished import Image, Shipped
    from rootless_scratch.ship.registry import Access

    StrPath = str | os.PathLike[str]


def push(
    image: str | Image,
    destination: str,
    *,
    compress: str | None = None,
    authfile: StrPath | None = None,
    tls_verify: bool | None = None,
    cert_dir: StrPath | None = None,
    retries: int = 3,
    progress: Callable[[int], None] | None = None,
) -> Shipped:
    """Send an image of local storage, a layout or an archive to `docker://HOST/NAME:TAG`, or any other output.

    Layouts and archives of OCI are sent byte for byte, unless `compress` says none or gzip[:LEVEL]; others are
    compressed by gzip for a registry. Logins are those of skopeo and podman, or of `authfile`; certificates of
    `cert_dir` are trusted as well. What may pass is tried `retries` times more. The tag names a whole image, or
    what it named before. Raises RegistryError, ImageNotFoundError, SourceError, UsageError, HostError, BuildError.
    """
    access = access_of(authfile, cert_dir, tls_verify=tls_verify, retries=retries)
    return ship_image(
        image, (text("the destination", destination),), compress=compress, access=access, progress=progress
    )


def save(
    image: str | Image,
    output: str | Sequence[str],
    *,
    compress: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Shipped:
    """Write an image of local storage, a layout or an archive to other places; see `push`.

    A path alone is an archive that `docker load` and `podman load` read. An output is there whole or as it was.
    """
    from rootless_scratch.image.outputs import in_words

    return ship_image(image, in_words(outputs_of(output)), compress=compress, progress=progress)


def ship_image(
    image: str | Image,
    output: Sequence[str],
    *,
    compress: str | None = None,
    access: Access | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
    step: Callable[[str], None] | None = None,
) -> Shipped:
    """What `push` and `save` do; `begun` and `step` as with `build_spec`."""
    from rootless_scratch.image.outputs import parse_outputs
    from rootless_scratch.ship.registry import Access
    from rootless_scratch.shipping import compression_for, ship, word_of

    require_utf8()
    outputs = parse_outputs(output)
    if not outputs:
        raise UsageError("There is no place to write the image to.", fix="Name one, e.g. `hello.tar`.")
    compression_for(compress, outputs)
    word, known = (image, ()) if isinstance(image, str) else word_of(image)
    return ship(
        word,
        outputs,
        names=known,
        compress=compress,
        access=access or Access(),
        begun=begun,
        progress=progress,
        step=step or silent,
    )


def access_of(authfile: object, cert_dir: object, *, tls_verify: bool | None, retries: int) -> Access:
    """How registries are spoken to, by the words of a call; raises UsageError."""
    from rootless_scratch.image.given import integer
    from rootless_scratch.ship.registry import Access

    return Access(
        authfile=maybe(text, "authfile", authfile),
        cert_dir=maybe(text, "cert_dir", cert_dir),
        tls_verify=tls_verify,
        retries=integer("retries", retries),
    )


def silent(_: str) -> None:
    """Nobody asked."""
