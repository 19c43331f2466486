"""Builds of Containerfiles by a user of their own, whose storage has an image to begin stages with."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rootless_scratch import processes

if TYPE_CHECKING:
    import subprocess

    from conftest import Home

STATIC = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n"
"""An image with a shell, as a Containerfile."""


class Bench:
    """A home whose storage has the image `base`, with a shell, and a context for builds."""

    def __init__(self, home: Home, context: Path) -> None:
        self.home = home
        self.context = context
        # The OCI runtimes of some hosts run nothing in containers of containers.
        home.environment["BUILDAH_ISOLATION"] = "chroot"
        shutil.copy(shutil.which("busybox") or "", context / "busybox")
        self.base("base", STATIC)

    def base(self, name: str, text: str) -> None:
        """Put an image into this user's own storage."""
        (self.context / "Base").write_text(text)
        self.home.run(["buildah", "build", "-q", "-t", name, "-f", f"{self.context}/Base", str(self.context)])

    def build(self, text: str, *options: str, code: int = 0, **more: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: ANN401 - passed on
        """Build it into a layout; its exit code must be `code`."""
        (self.context / "Containerfile").write_text(text)
        layout = Path(tempfile.mkdtemp(dir=self.context.parent)) / "layout"
        argv = ["build", "-f", f"{self.context}/Containerfile", str(self.context), "-o", f"oci:{layout}"]
        done = self.home.cli(*argv, "--no-check", *options, **more)
        assert done.returncode == code, done.stderr.decode()
        self.layout = layout
        return done

    def files(self, text: str, *options: str, **more: Any) -> dict[str, tuple[int, int, int, bytes | str | None]]:  # noqa: ANN401
        """Mode, owner and content of what the built image has."""
        self.build(text, *options, **more)
        found: dict[str, tuple[int, int, int, bytes | str | None]] = {}
        for blob in (self.layout / "blobs/sha256").iterdir():
            if not tarfile.is_tarfile(blob):
                continue
            with tarfile.open(blob) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isreg() or member.islnk() else None
                    content = file.read() if file else member.linkname or None
                    found[f"/{member.name.strip('/')}"] = (member.mode & 0o7777, member.uid, member.gid, content)
        return found

    @property
    def store(self) -> Path:
        """The store of stages."""
        (store,) = (self.home.path / ".local/share/rootless-scratch/stages").iterdir()
        return store

    def left_behind(self) -> list[str]:
        """Working containers in the store, and temporary files of builds there."""
        found = [str(each) for each in self.home.temporary_files()]
        for listed in self.store.glob("*/*-containers/*containers.json"):
            text = listed.read_text()
            found += [text] if text.strip() not in ("[]", "null") else []
        mine = ("buildah-cache", "containers-user", "podman-run")
        return found + [each.name for each in (self.store / "tmp").iterdir() if not each.name.startswith(mine)]


def arguments(pid: int) -> list[bytes]:
    try:
        return processes.arguments_of(pid)
    except OSError:
        return []


def without_namespaces(argv: list[str]) -> list[str]:
    """Where no user namespace can be made, without any rights of its own."""
    dropped = ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
    script = f'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv {" ".join(dropped)} "$0" "$@"'
    return ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", script, *argv]
