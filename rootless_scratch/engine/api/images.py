"""The images that the service knows: whether one is there and right, pulled only where that was asked for.

Near names are request by podman-py: where a name was mistyped, time is no matter.
"""

from __future__ import annotations

import json

from rootless_scratch import command
from rootless_scratch.engine.api.http import Client, quoted
from rootless_scratch.errors import EngineError, ImageNotFoundError
from rootless_scratch.host.environment import policy_options
from rootless_scratch.host.settings import LOGINS, POLICY

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.engine.request.request import Request

_NOT_FOUND = 404
_PULL_PATIENCE = 600.0
"""Seconds between two pieces of a download's progress."""


def names_near(socket: str, wanted: str) -> tuple[str, ...]:
    """Names of images that read much like `wanted`, the nearest first; none where the service does not tell."""
    from podman import PodmanClient
    from podman.errors import PodmanError

    try:
        with PodmanClient(base_url=f"unix://{socket}") as client:
            names = [tag for image in client.images.list() for tag in image.tags]
    except (PodmanError, OSError):
        return ()
    from rootless_scratch.image.names import near_names

    return near_names(wanted, names)


def config_of(client: Client, image: str) -> dict[str, Any] | None:
    """What podman's `image inspect` says of it; None where it is not there, or its name is none."""
    response = client.request("GET", f"/images/{quoted(image)}/json")
    found = response.json() if response.ok else None
    return found if isinstance(found, dict) else None


def is_image(found: dict[str, Any], *, image_id: str, digest: str) -> bool:
    """Whether what `config_of` answers is this image, by its ID and a digest that podman notes of its manifest."""
    return found.get("Id") == image_id and digest in _digests(found)


def load(client: Client, path: str, *, variables: Mapping[str, str] | None) -> None:
    """Load the archive of an image; raises EngineError where the service does not take it.

    `variables` are the environment of tools, None where the service may have another storage than these.
    """
    policy = policy_options(variables or {}, "--signature-policy")
    if policy:
        # Its service cannot be given one.
        argv = ["podman", "load", "--quiet", *policy, "--input", path]
        done = command.follow(argv, environment=variables or {}, idle=_PULL_PATIENCE)
        if done.exit_code == 0:
            return
    response = client.upload("/images/load", path, patience=_PULL_PATIENCE)
    fix = "Make room in local storage (`podman system df`), and run it again."
    response.expect("podman does not load the image", fix=fix)


def remove_oldest(client: Client, repository: str, keep: int) -> None:
    """Remove the images of a repository whose tags sort first, but for `keep` of them and those in use."""
    response = client.request("GET", "/images/json")
    listed = response.json() if response.ok else None
    names = [name for each in listed or () for name in each.get("RepoTags") or ()]
    ours = sorted(name for name in set(names) if name.rpartition(":")[0] == repository)
    for name in ours[: max(0, len(ours) - keep)]:
        # Refused where a container has it.
        client.request("DELETE", f"/images/{quoted(name)}")


def provide(client: Client, request: Request, variables: Mapping[str, str]) -> str:
    """The image to run, pulled as `--pull` has it; of a list, the ID of its member.

    `variables` are the environment of tools. Raises ImageNotFoundError where it is not of the platform that was
    asked for, EngineError.
    """
    try:
        found = _stored(client, request)
    except ImageNotFoundError:
        if request.pull == "never":
            raise
        found = None
    if request.pull in ("always", "newer") or (found is None and request.pull == "missing"):
        # Another podman has logins and a policy of its own.
        is_own = request.destination is None and (variables.get(LOGINS) or variables.get(POLICY))
        if is_own or request.authfile is not None or request.cert_dir is not None:
            _pull_here(request, variables)
        else:
            _pull(client, request)
        found = _stored(client, request)
    return found or request.image


def _stored(client: Client, request: Request) -> str | None:
    """The word for the image in local storage; None where there is none. Raises ImageNotFoundError as `provide`.

    podman before 5 takes this host's member of a list, whatever platform its API is asked for.
    """
    found = config_of(client, request.image)
    if found is None or request.platform is None:
        return None if found is None else request.image
    members = _members(client, request.image)
    if not members:
        there = _platform_of(found)
        if _fits(there, request.platform):
            return request.image
        raise _of_another(request, [there])
    platforms = [platform for platform, _ in members]
    from rootless_scratch.elf.platforms import chosen_platform

    at = chosen_platform(platforms, request.platform)
    if at is None:
        raise _of_another(request, platforms)
    stored = client.call("GET", "/images/json?all=true") or ()
    return next((str(image["Id"]) for image in stored if members[at][1] in _digests(image)), None)


def _of_another(request: Request, platforms: Sequence[Platform]) -> ImageNotFoundError:
    here = ", ".join(dict.fromkeys(map(str, platforms)))
    return ImageNotFoundError(
        f"The image {request.image!r} in local storage is for {here}, not for {request.platform}.",
        fix="Build it of programs for that platform, pull it with --pull, or leave out --platform.",
    )


def _members(client: Client, name: str) -> list[tuple[Platform, str]]:
    """Platform and digest of each image of a list in local storage; none where the name is an image's.

    Asked for the list of an image, or of a name that it does not know, podman would go to a registry.
    """
    if not client.request("GET", f"/manifests/{quoted(name)}/exists").ok:
        return []
    listed = client.call("GET", f"/manifests/{quoted(name)}/json").get("manifests") or ()
    return [(_listed(each.get("platform") or {}), str(each.get("digest"))) for each in listed]


def _listed(platform: dict[str, Any]) -> Platform:
    from rootless_scratch.elf.platforms import Platform

    return Platform(
        os=str(platform.get("os") or ""),
        architecture=str(platform.get("architecture") or ""),
        variant=str(platform["variant"]) if platform.get("variant") else None,
    )


def _platform_of(found: dict[str, Any]) -> Platform:
    return _listed({key.lower(): found.get(key) for key in ("Os", "Architecture", "Variant")})


def _digests(found: dict[str, Any]) -> set[str]:
    """The digests that podman notes of an image's manifest."""
    return {str(each).rpartition("@")[2] for each in (found.get("Digest"), *(found.get("RepoDigests") or ()))}


def _fits(there: Platform, wanted: Platform) -> bool:
    # podman before 5 does not tell the variant of an image.
    same = (there.os, there.architecture) == (wanted.os, wanted.architecture)
    return same and (None in (there.variant, wanted.variant) or there.variant == wanted.variant)


def _pull(client: Client, request: Request) -> None:
    target = (
        f"/images/pull?reference={quoted(request.image)}&policy={'newer' if request.pull == 'newer' else 'always'}"
    )
    if request.platform is not None:
        of = request.platform
        for name, value in (("OS", of.os), ("Arch", of.architecture), ("Variant", of.variant)):
            target += f"&{name}={quoted(value)}" if value else ""
    if request.tls_verify is not None:
        target += f"&tlsVerify={str(request.tls_verify).lower()}"
    response = client.request("POST", target, patience=_PULL_PATIENCE)
    # Once the download has begun, errors come in the stream, below the status 200.
    problem = None if response.ok else response.refusal()
    for line in response.body.splitlines() if response.ok else ():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        problem = report.get("error") or problem
    if problem:
        raise _not_pulled(request, problem)


def _pull_here(request: Request, variables: Mapping[str, str]) -> None:
    """Pull by podman itself: its API takes neither a file of logins, nor certificates, nor a policy."""
    named = (("--authfile", request.authfile), ("--cert-dir", request.cert_dir), ("--platform", request.platform))
    options = [f"{option}={value}" for option, value in named if value is not None]
    options += policy_options(variables, "--signature-policy")
    if request.tls_verify is not None:
        options.append(f"--tls-verify={str(request.tls_verify).lower()}")
    argv = ["podman", "pull", "--quiet", *options, "--", request.image]
    done = command.follow(argv, environment=variables, idle=_PULL_PATIENCE)
    if done.exit_code != 0:
        raise _not_pulled(request, command.last_cause(done.stderr.decode("utf-8", "replace")))


def _not_pulled(request: Request, problem: str) -> EngineError:
    return EngineError(
        f"The image {request.image!r} could not be pulled: {problem.strip().rstrip('.')}.",
        fix="Check the name and the network; `podman login` where the registry asks for an account, --authfile, "
        "--cert-dir and --tls-verify where it has its own.",
    )
