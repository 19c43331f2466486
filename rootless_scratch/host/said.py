"""Sentences on this host that are the same for every call, and whether they have been said since it was booted."""

from __future__ import annotations

import os

from rootless_scratch.host.environment import own_state

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.host.settings import HostNote

_BOOT = "/proc/sys/kernel/random/boot_id"
_SAID = "said"


def is_news(note: HostNote, variables: Mapping[str, str]) -> bool:
    """Whether nobody of this account was told this since the host was booted; from now on somebody was.

    `variables` are those of tools. What cannot be noted down is news each time.
    """
    # hashlib loads OpenSSL, which takes 2 ms.
    from _blake2 import blake2b

    try:
        with open(_BOOT, encoding="ascii") as file:
            boot = file.read().strip()
        directory = own_state(variables, _SAID)
        stamp = f"{boot}-{blake2b(note.encode(errors='surrogateescape'), digest_size=8).hexdigest()}"
        os.close(os.open(f"{directory}/{stamp}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError:
        return True
    _forget_others(directory, boot)
    return True


def _forget_others(directory: str, boot: str) -> None:
    """Remove the stamps of other boots; where several hosts share a home, one may say something twice."""
    for name in os.listdir(directory):
        if not name.startswith(boot):
            try:
                os.unlink(f"{directory}/{name}")
            except OSError:
                continue
