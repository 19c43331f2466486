"""An image of a layout to a registry, by skopeo: whole, byte for byte, and tried again where that may help.

skopeo and not a client of our own: logins, credential helpers, registries.conf and certificates are then those
of the user's other tools.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from rootless_scratch import command
from rootless_scratch.data import Data
from rootless_scratch.errors import RegistryError
from rootless_scratch.host.environment import policy_options
from rootless_scratch.image.oci import digest_of
from rootless_scratch.ship.access import DOCKER, OCI
from rootless_scratch.ship.refusals import judge_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.image.references import Reference
    from rootless_scratch.progress import Progress
    from rootless_scratch.ship.access import Access

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_DIGEST_FILE = "pushed-digest"
_PATIENCE = 60
"""Seconds for which skopeo does as a registry asks by Retry-After; after these it comes back too early."""

_IDLE = 300.0
"""Seconds without a byte: registries that copy a large layer to its place answer late."""


class Pushed(Data):
    """The digest that each output has there, in their order, and notes on the way."""

    digests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def push_layout(
    layout: str,
    outputs: Sequence[Reference],
    *,
    digest: str,
    access: Access,
    environment: Mapping[str, str],
    progress: Progress,
) -> Pushed:
    """Copy the image or index of this digest in `layout`, where it is named `staged`, to registries.

    skopeo works in TMPDIR of `environment`, a private directory with that layout. It writes the manifest last, so
    a tag never names a part of an image. What the registry then has under that name is asked for, and compared.
    Raises RegistryError, HostError.
    """
    directory, notes, digests = environment["TMPDIR"], list[str](), list[str]()
    for output in outputs:
        logins = reachable_logins(environment, directory)
        attempts = Attempts(output.path, directory, logins, access.retries, progress, notes)
        push = _Push(output, access, attempts)
        digests.append(push.send(layout, digest))
    return Pushed(tuple(digests), tuple(notes))


class _Push(NamedTuple):
    """One image on its way to one name."""

    output: Reference
    access: Access
    attempts: Attempts

    def send(self, layout: str, digest: str) -> str:
        """Send it in the format that was asked for, or in the one that is taken; the digest that it has there."""
        host = self.output.path.partition("/")[0]
        if self.access.format == DOCKER:
            return self._as_docker(layout, digest, cause="")
        try:
            self._copy(f"oci:{os.path.basename(layout)}:staged", digest)
        except _TypesRefusedError as refused:
            if self.access.format == OCI:
                raise RegistryError(
                    f"{host} refuses the media types of OCI: {refused.reason}.",
                    fix="Leave out `--format oci`, or pass `--format docker`.",
                    detail=refused.detail,
                ) from refused
            cause = f"{host} refuses the media types of OCI ({refused.reason}), so "
        else:
            return digest
        try:
            return self._as_docker(layout, digest, cause=cause)
        except _TypesRefusedError as refused:
            raise RegistryError(
                f"{host} rejects the manifest of {self.output.path}, with OCI's media types and "
                f"with docker's: {refused.reason}.",
                fix=refused.fix,
                detail=refused.detail,
            ) from refused

    def _as_docker(self, layout: str, digest: str, *, cause: str) -> str:
        from rootless_scratch.ship.docker_types import in_docker_types

        made = in_docker_types(layout, digest)
        self._copy(made.source, made.digest)
        if cause:
            self.attempts.notes.append(
                f"{cause}{self.output.path} has those of docker's schema 2, as with --format docker; its digest "
                f"there is {made.digest}."
            )
        self.attempts.notes.extend(made.notes)
        return made.digest

    def _copy(self, source: str, digest: str) -> None:
        output, access, attempts = self.output, self.access, self.attempts
        there = f"docker://{output.path}"
        attempts.progress.step(f"pushing {output.path}")
        copying = ("copy", "--all", "--preserve-digests", "--digestfile", _DIGEST_FILE)
        attempts.follow(*copying, *access.flags(prefix="dest-"), source, there)
        with open(os.path.join(attempts.directory, _DIGEST_FILE), encoding="ascii", errors="replace") as file:
            _compare(file.read().strip(), digest, output)
        attempts.progress.step(f"comparing {output.path}")
        try:
            found = attempts.follow("inspect", "--raw", *access.flags(prefix=""), there)
        except RegistryError as error:
            # A login may have the right to write alone.
            attempts.notes.append(f"What {output.path} names now could not be compared. {error.message}")
        else:
            _compare(digest_of(found), digest, output)


class _TypesRefusedError(RegistryError):
    """The registry does not take the media types of a manifest; `reason` is why."""

    reason = ""


class Attempts(Data, frozen=False):
    """Calls of skopeo about one name in a registry; what passes is tried again, `retries` times in all."""

    name: str
    directory: str
    environment: Mapping[str, str]
    retries: int
    progress: Progress
    notes: list[str]
    wait: float = _FIRST_WAIT
    is_reading: bool = False
    on_pause: Callable[[], None] | None = None
    idle: float = _IDLE
    list_refused: str = ""
    """Why the registry has refused an index. skopeo's last word is then that it may not send another instead."""

    def follow(self, *arguments: str) -> bytes:
        """What skopeo prints on success; raises RegistryError."""
        tried = 1
        while True:
            # What a registry asks for by Retry-After is said in debug lines alone.
            done = command.follow(
                [*command.SKOPEO, *policy_options(self.environment, "--policy"), "--debug", *arguments],
                environment=self.environment,
                idle=self.idle,
                directory=self.directory,
                on_stdout=self._tell if "copy" in arguments else None,
                on_stderr=self._hear,
                on_pause=self.on_pause,
            )
            if done.exit_code == 0:
                return done.stdout
            lines = done.stderr.decode("utf-8", "replace").splitlines()
            text = "\n".join(line for line in lines if " level=debug " not in line)[-command.STDERR_KEPT :].strip()
            refusal = judge_refusal(self.list_refused or text, name=self.name, is_reading=self.is_reading)
            self.list_refused = ""
            if refusal.types:
                types_refused = _TypesRefusedError(refusal.cause, fix=refusal.fix, detail=text)
                types_refused.reason = refusal.reason
                raise types_refused
            if not refusal.passing or self.retries == 0:
                often = f" It was tried {tried} times." if tried > 1 else ""
                refused = RegistryError(f"{refusal.cause}{often}", fix=refusal.fix, detail=text)
                refused.rule = refusal.rule
                raise refused
            self.retries -= 1
            tried += 1
            self.notes.append(f"{refusal.cause} Tried again after {self.wait:g} s.")
            self.progress.step(f"{refusal.cause} Trying again in {self.wait:g} s")
            time.sleep(self.wait)
            self.wait = min(self.wait * 2, _LONGEST_WAIT)

    def _tell(self, line: str) -> None:
        doing = "fetching" if self.is_reading else "pushing"
        self.progress.step(f"{doing} {self.name}: {' '.join(line.lower().split()[:2])}")

    def _hear(self, line: str) -> None:
        """Raise RegistryError where the registry asks for more patience than skopeo has; say what it waits for."""
        refused = re.search(r"msg=\"Upload of manifest list type \S+ failed: (.*)\"", line)
        if refused is not None:
            self.list_refused = refused[1]
        match = re.search(r"Detected 'Retry-After' header \\*\"([^\"\\]*)", line)
        seconds = 0 if match is None else _seconds(match[1])
        if seconds > _PATIENCE:
            host = self.name.partition("/")[0]
            raise RegistryError(
                f"{host} accepts no more requests for now, and asks to come back in {seconds} s.",
                fix="Try again then, or ask whoever runs the registry for a higher limit.",
            )
        waits = re.search(r"Too many requests to .*: sleeping for (\d+)", line)
        if waits is not None:
            host = self.name.partition("/")[0]
            self.notes.append(f"{host} accepts no more requests for now. Waited for {waits[1]} s.")
            self.progress.step(f"{host} accepts no more requests for now. Waiting for {waits[1]} s")


def _seconds(retry_after: str) -> int:
    """The seconds that a Retry-After asks for, a number or a date: RFC 9110, 10.2.3; 0 where it is neither."""
    if retry_after.isdecimal():
        return int(retry_after)
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0


def reachable_logins(environment: Mapping[str, str], directory: str) -> dict[str, str]:
    """Without a runtime directory skopeo looks below /run/containers, and fails where that is closed to the user.

    It then gets an empty one, and goes on to ~/.config/containers and ~/.docker (containers-auth.json(5)).
    """
    found = dict(environment)
    if "XDG_RUNTIME_DIR" not in found:
        try:
            os.stat(f"/run/containers/{os.getuid()}/auth.json")
        except PermissionError:
            found["XDG_RUNTIME_DIR"] = directory
        except OSError:
            pass
    return found


def _compare(found: str, digest: str, output: Reference) -> None:
    if found != digest:
        raise RegistryError(
            f"{output.path} has the manifest {found[:80]} there, and not {digest}.",
            fix="Push again, for another push may have come between; if it happens again, the registry, or a "
            "proxy before it, changes what it is given.",
        )
