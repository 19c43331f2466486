"""An image of a layout to a registry, by skopeo: whole, byte for byte, and tried again where that may help.

skopeo and not a client of our own: logins, credential helpers, registries.conf and certificates are then those
of the user's other tools.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import command
from rootless_scratch.errors import RegistryError, UsageError
from rootless_scratch.ship.refusals import judge_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless_scratch.image.outputs import Output

RETRIES = 3
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_DIGEST_FILE = "pushed-digest"
_IDLE = 300.0
"""Seconds without a byte: registries that copy a large layer to its place answer late."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How registries are spoken to: a file of logins, whether TLS must be, a directory of certificates.

    What passes by itself is tried `retries` times more. There is no password here: skopeo would show it in ps(1).
    """

    authfile: str | None = None
    tls_verify: bool | None = None
    cert_dir: str | None = None
    retries: int = RETRIES

    def check(self) -> None:
        """Raise UsageError for what skopeo would pass over in silence."""
        if self.authfile is not None and not os.access(self.authfile, os.R_OK):
            raise UsageError(
                f"The file of logins {self.authfile!r} cannot be read.",
                fix="Make it with `skopeo login --authfile FILE HOST`.",
            )
        if self.cert_dir is not None and not os.path.isdir(self.cert_dir):
            raise UsageError(
                f"There is no directory {self.cert_dir!r}.", fix="Name one that holds certificates, as NAME.crt."
            )
        if self.retries < 0:
            raise UsageError(f"{self.retries} is no number of retries.", fix="Write 0 for none.")

    def flags(self) -> tuple[str, ...]:
        """The words for `skopeo copy`, which works in a directory of its own."""
        # Without it registries.conf decides, as for the user's other tools.
        verify = () if self.tls_verify is None else (f"--dest-tls-verify={str(self.tls_verify).lower()}",)
        authfile = () if self.authfile is None else ("--dest-authfile", os.path.abspath(self.authfile))
        certificates = () if self.cert_dir is None else ("--dest-cert-dir", os.path.abspath(self.cert_dir))
        return (*verify, *authfile, *certificates)


def push_layout(
    word: str,
    output: Output,
    *,
    place: str,
    digest: str,
    access: Access,
    environment: Mapping[str, str],
    step: Callable[[str], None],
) -> tuple[str, ...]:
    """Copy what skopeo reads by `word`, with the `digest` of its manifest; return what was tried again, and why.

    skopeo works in `place`, a private directory with that layout; `step` is told what is being done. It writes
    the manifest last, so a tag never names a part of an image. Raises RegistryError, HostError.
    """
    digest_file = os.path.join(place, _DIGEST_FILE)
    argv = ["skopeo", "copy", "--all", "--preserve-digests", "--digestfile", _DIGEST_FILE]
    argv += [*access.flags(), word, f"docker://{output.path}"]
    notes: list[str] = []
    wait = _FIRST_WAIT
    step(f"pushing {output.path}")
    while True:
        done = command.follow(
            argv,
            environment=reachable_logins(environment, place),
            idle=_IDLE,
            place=place,
            told=lambda line: step(f"pushing {output.path}: {' '.join(line.lower().split()[:2])}"),
        )
        if done.exit_code == 0:
            _compare(digest_file, digest, output)
            return tuple(notes)
        said = done.stderr[-command.STDERR_KEPT :].decode("utf-8", "replace").strip()
        refusal = judge_refusal(said, name=output.path)
        if not refusal.passing or len(notes) >= access.retries:
            tried = f" It was tried {len(notes) + 1} times." if notes else ""
            raise RegistryError(f"{refusal.message}{tried}", fix=refusal.fix, detail=said)
        notes.append(f"{refusal.message} Tried again after {wait:g} s.")
        step(f"{refusal.message} Trying again in {wait:g} s")
        time.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT)


def reachable_logins(environment: Mapping[str, str], place: str) -> dict[str, str]:
    """Without a runtime directory skopeo looks below /run/containers, and fails where that is closed to the user.

    It then gets an empty one, and goes on to ~/.config/containers and ~/.docker (containers-auth.json(5)).
    """
    found = dict(environment)
    if "XDG_RUNTIME_DIR" not in found:
        try:
            os.stat(f"/run/containers/{os.getuid()}/auth.json")
        except PermissionError:
            found["XDG_RUNTIME_DIR"] = place
        except OSError:
            pass
    return found


def _compare(digest_file: str, digest: str, output: Output) -> None:
    with open(digest_file, encoding="ascii", errors="replace") as file:
        pushed = file.read().strip()
    if pushed != digest:
        raise RegistryError(
            f"{output.path} has the manifest {pushed[:80]} there, and not {digest}.",
            fix="Push again; if it happens again, report it with the version of skopeo.",
        )
