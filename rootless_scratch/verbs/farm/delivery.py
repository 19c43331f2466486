"""Images that workers sent back: compared with what they say of themselves, and written to their outputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rootless_scratch.backends.direct import write_made
from rootless_scratch.errors import BuildError
from rootless_scratch.image.write.layout import Blob, WrittenImage, WrittenIndex
from rootless_scratch.verbs.ship import send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.backends.direct import Adding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.references import Reference
    from rootless_scratch.progress import Progress
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.farm.work import Made, Sent


def deliver(made: Made, outputs: Sequence[Reference], *, access: Access, progress: Progress, add: Adding) -> Image:
    """Write what was sent to every output, `add` to layouts; raises what `build` does."""
    written = _written(made)

    def write(outputs: Sequence[Reference], *, lacking: bool = False) -> Image:
        del lacking
        return write_made(made.image, written, outputs, add)

    return send(write, outputs, access=access, progress=progress)


def _written(made: Made) -> WrittenImage | WrittenIndex:
    images = tuple(map(_image, made.sent))
    manifest = Blob.of(made.manifest)
    named = {entry["digest"] for entry in json.loads(made.manifest).get("manifests", ())}
    whole = images[0] if manifest.digest == images[0].manifest.digest else WrittenIndex(manifest, images)
    if manifest.digest != made.image.digest or (named and named != {each.manifest.digest for each in images}):
        raise _damaged()
    return whole


def _image(sent: Sent) -> WrittenImage:
    manifest, config = Blob.of(sent.manifest), Blob.of(sent.config)
    layers = tuple(Blob.of(b"".join(pieces)) for pieces in sent.layers)
    document = json.loads(sent.manifest)
    if [document["config"]["digest"], *(each["digest"] for each in document["layers"])] != [
        config.digest,
        *(layer.digest for layer in layers),
    ]:
        raise _damaged()
    return WrittenImage(manifest, config, layers)


def _damaged() -> BuildError:
    return BuildError(
        "An image that a worker sent is not what its manifest says.",
        fix="Try again; where it happens again, check the memory and the network of the workers.",
    )
