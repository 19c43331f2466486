"""An image of local storage into a layout, by buildah, which may enter a user namespace where skopeo may not.

(Ubuntu 24.04 lets only programs with a profile of AppArmor make one: buildah has it, skopeo has none.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from rootless_scratch import command
from rootless_scratch.errors import CommandError, ImageNotFoundError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.host.environment import policy_options
from rootless_scratch.image.names import image_name, is_unknown, unknown_image

_ID = expression(r"(?:sha256:)?[0-9a-f]{12,64}")
"""Shorter ones are taken for names, as buildah takes them first."""

_IDLE = 3600.0
"""Seconds; what works is another process inside the namespace, which is not seen at work."""


def export_image(name: str, layout: str, *, environment: Mapping[str, str]) -> str | None:
    """Write an image or a list of local storage to a new layout in a private directory; its full name.

    That is None where it was asked for by its ID. Raises ImageNotFoundError, CommandError.
    """
    inspected = command.ask(
        ["buildah", "inspect", "--type", "image", "--", name], environment=environment, timeout=60, check=False
    )
    stderr = inspected.stderr.decode("utf-8", "replace")
    if inspected.exit_code != 0 and is_unknown(stderr):
        raise _not_found(name, environment)
    if inspected.exit_code != 0:
        raise command.failed(["buildah", "inspect", name], exit_code=inspected.exit_code, stderr=inspected.stderr)
    described = json.loads(inspected.stdout)
    image_id = str(described["FromImageID"])
    full = str(described.get("FromImage") or "")
    directory, written = os.path.split(layout)
    policy = policy_options(environment, "--signature-policy")
    argv = ["buildah", "push", *policy, "--quiet", "--disable-compression", "--", image_id, f"oci:{written}"]
    by_id = _ID.fullmatch(name) is not None and image_id.startswith(name.removeprefix("sha256:"))
    if not full and not by_id and _is_list(name, environment):
        argv = ["buildah", "manifest", "push", *policy, "--quiet", "--all", "--format", "oci"]
        argv += ["--", name, f"oci:{written}"]
    done = command.follow(argv, environment=environment, idle=_IDLE, directory=directory)
    if done.exit_code != 0:
        raise command.failed(argv, exit_code=done.exit_code, stderr=done.stderr)
    return None if by_id else _full_name(name)


def _full_name(name: str) -> str | None:
    """The name that was asked for, in full; an image may have others, and buildah tells any of them."""
    try:
        return image_name(name)
    except UsageError:
        return None


def _is_list(name: str, environment: Mapping[str, str]) -> bool:
    """Whether storage has a manifest list of that name; buildah tells no name of what it takes out of one."""
    argv = ["buildah", "manifest", "inspect", "--", name]
    return command.ask(argv, environment=environment, timeout=60, check=False).exit_code == 0


def _not_found(name: str, environment: Mapping[str, str]) -> ImageNotFoundError:
    try:
        listed = command.ask(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], environment=environment).text
    except CommandError:
        listed = ""
    otherwise = "an image of a file is named as oci:DIR or oci-archive:FILE."
    cause, fix = unknown_image(name, listed, otherwise=otherwise)
    return ImageNotFoundError(cause, fix=fix)
