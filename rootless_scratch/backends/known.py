"""What is remembered of images of local storage: which one came of a plan, and whether it has its names still."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from rootless_scratch import __version__, command, sums
from rootless_scratch.backends.caller import Failed
from rootless_scratch.backends.jobs import Done
from rootless_scratch.backends.session import store_key
from rootless_scratch.backends.store_files import named_already, setting_files, stored_texts, verify
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.image.finished import Image, layers_of
from rootless_scratch.image.oci import config_document, digest_of
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.hints import numbers_at
from rootless_scratch.image.write.remembered import Memory, are_settled, layer_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.backends.jobs import ExpectedConfig
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan

_CONTENTS_MOST = 8 << 20
"""Bytes of small files that go over with a job: they are in memory three times then."""

_ENTRIES_MOST = 20_000
"""Entries of an image that is remembered: to look at one costs a hundredth of what it costs to build it."""


def contents_of(plan: Plan, files: HostFiles | None) -> HostFiles | None:
    """The files whose small ones are written as they were read for the plan; None where these are too many."""
    if files is None:
        return None
    found = (files.kept_content(entry) for entry in plan.rootfs if isinstance(entry, File))
    return files if sum(len(content) for content in found if content is not None) <= _CONTENTS_MOST else None


class Remembered:
    """The image that came of the same plan by the same tool in the same storage, if any is known.

    `contents` are as `contents_of` has them, `made_of` is what decides on its config and its manifest.
    """

    def __init__(self, plan: Plan, contents: HostFiles | None, tool: str, made_of: Sequence[object]) -> None:
        self._plan = plan
        self._contents = contents
        self._memory: Memory | None = None
        self._is_settled = False
        # One whose time is that of its making is another each time.
        is_stable = plan.config.created is not None
        rest = layer_key(plan.rootfs, plan.mtime, contents, worth=0, most=_ENTRIES_MOST) if is_stable else None
        if rest is None:
            return
        variables = tool_environment().variables
        settings = [(path, numbers_at(path)) for path in setting_files(variables)]
        # The same user has another storage in a namespace, unless it was made by podman or buildah.
        user = (variables["HOME"], os.geteuid(), is_rootful(), variables.get("_CONTAINERS_ROOTLESS_UID"))
        # Another version may call the tool another way, and get another image.
        where = (__version__, tool, numbers_at(command.require(tool)), settings, store_key(variables), user)
        self._where = _key(where)
        self._key = _key((self._where, rest, plan.mtime, made_of))
        self._memory = Memory(os.environ)

    def image(self) -> tuple[str, str, str] | None:
        """Its ID, the sha256 of its manifest, and where storage has its images."""
        return None if self._memory is None else self._memory.image(self._key)

    def done(self, expected: ExpectedConfig | None = None) -> Done | None:
        """The answer without any work, where storage has the image under all its names, and its config fits."""
        found = self.image()
        if found is None:
            return None
        image_id, manifest, images = found
        texts = named_already(images, image_id, self._plan.names)
        if texts is None or sums.digest(texts[1].encode()) != manifest:
            return None
        try:
            if expected is not None:
                verify(expected, texts[0])
        except Failed:
            return None
        return Done(image_id, *texts, images)

    def settle(self) -> None:
        """Find out, before the files are read, whether a change of one would show from then on."""
        self._is_settled = self._memory is not None and are_settled(self._plan.rootfs, self._contents)

    def keep(self, done: Done, hint: str | None) -> None:
        """Remember what came of it."""
        if self._memory is None:
            return
        if self._is_settled and done.images is not None:
            manifest = sums.digest(done.manifest.encode())
            self._memory.keep_image(self._key, done.image_id, manifest, done.images)
        if hint is not None and self.image() is not None:
            self._memory.keep_hint(hint)

    def keep_stored(self, image: Image, ask: Callable[[], str | None], hint: str | None) -> None:
        """Remember what skopeo has stored, in the directory of images that `ask` tells where none is known."""
        if self._memory is None or not self._is_settled:
            return
        images = self._memory.images_directory(self._where)
        texts = stored_texts(images, image.image_id)
        if texts is None:
            images = ask()
            texts = stored_texts(images, image.image_id)
            if images is not None and texts is not None:
                self._memory.keep_images_directory(self._where, images)
        if texts is not None and digest_of(texts[1].encode()) == image.digest:
            self.keep(Done(image.image_id, *texts, images), hint)


def stored_once(
    plan: Plan,
    files: HostFiles,
    storing: Storing,
    build: Callable[[Storing], Image],
    *,
    findings: Sequence[Finding],
) -> Image:
    """The image of a plan that skopeo has stored and storage has still; else what `build` makes, remembered."""
    if plan.platform is None:
        # Which is refused.
        return build(storing)
    document = config_document(plan.config, ())
    remembered = Remembered(plan, contents_of(plan, files), "skopeo", (document, plan.annotations))
    done = remembered.done()
    if done is not None:
        storing.tidy()
        remembered.keep(done, storing.hint)
        return image_of(plan, done, backend="direct", findings=findings, notes=storing.notes)
    remembered.settle()
    image = build(storing)
    remembered.keep_stored(image, storing.images_directory, storing.hint)
    return image


def image_of(plan: Plan, done: Done, *, backend: str, findings: Sequence[Finding], notes: Sequence[str]) -> Image:
    """What a build gives back of the image that is in storage."""
    return Image(
        image_id=done.image_id,
        names=plan.names,
        platform=plan.platform or "",
        layers=layers_of(json.loads(done.config), json.loads(done.manifest)),
        digest=digest_of(done.manifest.encode()),
        files=len(plan.rootfs.files),
        backend=backend,
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _key(decisive: tuple[object, ...]) -> str:
    return sums.digest(repr(decisive).encode("utf-8", "surrogateescape"))
