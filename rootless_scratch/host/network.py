"""Whether a container can have a network of its own on this host, told before it is tried."""

from __future__ import annotations

import os

from rootless_scratch import spawn

_HELPERS = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman")
_CNI = ("/usr/libexec/cni", "/usr/lib/cni", "/usr/local/lib/cni", "/opt/cni/bin")
_TUN = "/dev/net/tun"


def private_network_problem(*, tun: str = _TUN, rootful: bool | None = None) -> str | None:
    """Why podman or buildah cannot give a container a private network here, or None; `rootful` None: find out.

    Rootless, that takes slirp4netns (the default before podman 5) or pasta, and the device `tun`; as root, a
    bridge by netavark or by the CNI plugins. Only what is cheap to see is looked at.
    """
    if rootful or (rootful is None and os.geteuid() == 0):
        paths = [f"{directory}/netavark" for directory in _HELPERS] + [f"{directory}/bridge" for directory in _CNI]
        if not any(os.access(path, os.X_OK) for path in paths):
            return "neither netavark nor the CNI plugins are installed"
        return None
    if not any(spawn.find(name) or _helper(name) for name in ("pasta", "slirp4netns")):
        return "neither pasta nor slirp4netns is installed"
    try:
        os.close(os.open(tun, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{tun} cannot be opened: {error.strerror}"
    return None


def _helper(name: str) -> bool:
    return any(os.access(f"{directory}/{name}", os.X_OK) for directory in _HELPERS)
