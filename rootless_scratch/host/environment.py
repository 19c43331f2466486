"""The environment that podman and buildah are given.

Both must see the same HOME, runtime directory and storage settings as the user's own calls, or they would
open another image store; what would only make them fail is taken out, and said.
"""

from __future__ import annotations

import os
import pwd
import stat

from rootless_scratch import private
from rootless_scratch.data import Data
from rootless_scratch.errors import HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.spawn import absolute_path

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REMOTE = ("CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "DOCKER_HOST")
"""These turn a local podman into a client of another one, and `system service` then refuses to start."""


_USUAL = "/var/tmp"  # noqa: S108 - private directories in it; it has room where /tmp lies in memory


class ToolEnvironment(Data):
    """`variables` for a tool, and `notes`: one sentence for each thing that differs from the caller's."""

    variables: dict[str, str]
    notes: tuple[str, ...]


def tool_environment(environ: Mapping[str, str] | None = None) -> ToolEnvironment:
    """The caller's environment, repaired where podman or buildah would stumble over it.

    Raises HostError where no home directory can be determined: both keep the images below it.
    """
    variables = dict(os.environ if environ is None else environ)
    notes: list[str] = []
    for name in _REMOTE:
        variables.pop(name, None)
    variables["LC_ALL"] = "C.UTF-8"
    notes += _settle_path(variables)
    account = _account()
    if account is not None and variables.get("USER", account.pw_name) != account.pw_name:
        # newuidmap looks up the ranges of $USER for podman but checks them for the real user.
        notes.append(f"USER was {variables['USER']}, but this process is {account.pw_name}'s.")
        variables["USER"] = account.pw_name
    if not variables.get("HOME"):
        if account is None:
            raise HostError(
                f"The user id {os.getuid()} has no entry in /etc/passwd and HOME is not set.",
                fix="Set HOME to a directory that you can write to.",
            )
        variables["HOME"] = account.pw_dir
    if not variables["HOME"].startswith("/"):
        raise HostError(
            f"HOME is {variables['HOME']!r}, which is not an absolute path.",
            fix="Set HOME to your home directory, as an absolute path.",
        )
    if not variables.get("XDG_STATE_HOME", "/").startswith("/"):
        # XDG Base Directory Specification: relative paths are invalid and to be ignored.
        notes.append("XDG_STATE_HOME is ignored: it is not an absolute path.")
        del variables["XDG_STATE_HOME"]
    if variables.get("XDG_RUNTIME_DIR") == "":
        del variables["XDG_RUNTIME_DIR"]
    problem = runtime_dir_problem(variables.get("XDG_RUNTIME_DIR"))
    if problem is not None:
        notes.append(f"XDG_RUNTIME_DIR is ignored: {problem}.")
        del variables["XDG_RUNTIME_DIR"]
    notes += _settle_temporary(variables)
    return ToolEnvironment(variables=variables, notes=tuple(notes))


def _settle_path(variables: dict[str, str]) -> Iterator[str]:
    """Leave what is absolute in PATH: tools look up others in it, and the working directory may be anybody's."""
    path = variables.get("PATH")
    variables["PATH"] = absolute_path(path)
    if path and path != variables["PATH"]:
        yield "What is relative or empty in PATH is ignored: programs are looked up in absolute directories only."


def _settle_temporary(variables: dict[str, str]) -> Iterator[str]:
    """Leave TMPDIR as a directory that is of use and safe from others, unset where the usual one is; the notes."""
    problem = _temporary_problem(variables.get("TMPDIR"))
    if problem is not None:
        yield f"TMPDIR is ignored: {problem}."
        del variables["TMPDIR"]
    instead = None if variables.get("TMPDIR") else _instead_of_usual(variables)
    if instead is not None:
        yield f"{instead} is used for temporary files: {_USUAL} is not there, or not safe from others."
        variables["TMPDIR"] = instead


def temporary_directory(variables: Mapping[str, str]) -> str:
    """Where large temporary files lie, by the variables of a ToolEnvironment: safe from other users."""
    return variables.get("TMPDIR") or _USUAL


def private_temporary(variables: Mapping[str, str]) -> private.PrivateDirectory:
    """A private directory there; what killed calls have left is removed before. Raises HostError."""
    base = temporary_directory(variables)
    private.sweep(base)
    try:
        return private.make_private(base)
    except OSError as error:
        raise no_temporary(base, error) from error


def no_temporary(base: str, error: OSError) -> HostError:
    """The error for a directory for temporary files in which none can be made."""
    return HostError(
        f"No directory for temporary files can be made in {base}: {error.strerror}.",
        fix="Set TMPDIR to a directory of your own with some room.",
    )


def _instead_of_usual(variables: Mapping[str, str]) -> str | None:
    """A directory for temporary files where the usual one is of no use; None where it is."""
    for directory in (_USUAL, "/tmp"):  # noqa: S108 - private directories in it
        if _temporary_problem(directory) is None:
            return None if directory == _USUAL else directory
    try:
        return own_state(variables, "tmp")
    except OSError:
        # Whoever needs one is told then, with the usual place named.
        return None


def _temporary_problem(path: str | None) -> str | None:
    """Why this TMPDIR is of no use to a tool, or None."""
    if path and ":" in path:
        return "skopeo and buildah take a colon for the end of a path"
    if path and not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)):
        return f"{path} is not a directory that can be written to"
    exchanging = private.exchangeable(path) if path else None
    if exchanging is not None:
        return f"other users can exchange what lies in {exchanging}"
    return None


def state_directory(variables: Mapping[str, str]) -> str:
    """Where is noted what is under way: with the image store, which real root has apart from its home."""
    if variables.get("XDG_STATE_HOME"):
        return f"{variables['XDG_STATE_HOME']}/rootless-scratch"
    # The root of a user's namespace keeps its images below HOME, and may not write there.
    if is_rootful() and os.access("/var/lib", os.W_OK):
        return "/var/lib/rootless-scratch"
    return f"{variables['HOME']}/.local/state/rootless-scratch"


def own_state(variables: Mapping[str, str], *names: str) -> str:
    """A directory below `state_directory`, which only this user may enter, made if need be. Raises OSError."""
    base, name = os.path.split(resolved_state(variables))
    return private.make_own(base, name, *names)


def resolved_state(variables: Mapping[str, str]) -> str:
    """The state directory through links of one's own; another user's, in a sticky directory, leads nowhere."""
    directory = state_directory(variables)
    return directory if private.foreign_link(directory) else os.path.realpath(directory)


def runtime_dir_problem(path: str | None) -> str | None:
    """Why this XDG_RUNTIME_DIR is of no use, or None.

    podman refuses another user's (su, sudo and cron leave such ones behind); in one where others can exchange
    things, sockets could be theirs.
    """
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        return f"{path} cannot be used ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a directory"
    if status.st_uid != os.getuid():
        return f"{path} belongs to another user (id {status.st_uid})"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{path} cannot be written to"
    exchanging = private.exchangeable(path)
    return None if exchanging is None else f"other users can exchange what lies in {exchanging}"


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


def has_service_manager(variables: Mapping[str, str]) -> bool:
    """Whether systemd runs here for this user: for root sd_booted(3), for others their own manager."""
    if os.geteuid() == 0:
        return os.path.isdir("/run/systemd/system")
    return os.path.exists(f"{variables.get('XDG_RUNTIME_DIR', '')}/systemd/private")


def socket_unit(verb: str, *, uid: int) -> str:
    """The command that starts or enables a user's podman socket: root's is the system's own."""
    return f"systemctl {verb} podman.socket" if uid == 0 else f"systemctl --user {verb} podman.socket"
