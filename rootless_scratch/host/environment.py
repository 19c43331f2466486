"""The environment that podman and buildah are given: what it depends on is read here, `settings.py` decides.

Both must see the same HOME, runtime directory and storage settings as the user's own calls, or they would
open another image store; what would only make them fail is taken out, and said.
"""

from __future__ import annotations

import binascii
import os
import pwd
import stat

from rootless_scratch import private
from rootless_scratch.errors import HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.settings import LOGINS, POLICY, STORAGE, Settings, Temporary, ToolFacts, for_tools
from rootless_scratch.spawn import absolute_path

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_USUAL = "/var/tmp"  # noqa: S108 - private directories in it; it has room where /tmp lies in memory

_ROOM = 1 << 20
"""Bytes; with less left, not even an image of one small program can be written."""

ACCEPT_ALL = b'{"default":[{"type":"insecureAcceptAnything"}]}\n'
"""A policy.json by which any image is taken, as most distributions have it: containers-policy.json(5)."""


def tool_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """The caller's environment, repaired where podman or buildah would stumble over it; what it names is made.

    Raises HostError where HOME is not an absolute path: both keep the images below it.
    """
    facts, settings = planned_environment(environ)
    try:
        if facts.own_home is not None:
            private.make_own(*os.path.split(facts.own_home))
            _link_settings(facts.home, facts.own_home)
        if facts.policy is not None and not os.path.exists(facts.policy):
            write_whole(f"{own_state(settings.variables)}/{os.path.basename(facts.policy)}", ACCEPT_ALL)
    except OSError as error:
        raise HostError(
            f"{facts.own_home or facts.policy} cannot be made: {error.strerror}.",
            fix="Set HOME to a directory of your own that you can write to.",
            rule="host-home",
        ) from error
    return settings


def planned_environment(environ: Mapping[str, str] | None = None) -> tuple[ToolFacts, Settings]:
    """What `tool_environment` would have, nothing of it made yet, and the facts that decided it."""
    facts = _read(dict(os.environ if environ is None else environ))
    return facts, for_tools(facts)


def _read(variables: dict[str, str]) -> ToolFacts:
    account = _account()
    home = variables.get("HOME") or ("" if account is None else account.pw_dir)
    if home and not home.startswith("/"):
        raise HostError(
            f"HOME is {home!r}, which is not an absolute path.",
            fix="Set HOME to your home directory, as an absolute path.",
        )
    temporaries = tuple(_temporaries(variables.get("TMPDIR")))
    problem = home_problem(home)
    own_home = None
    if problem is not None and not is_rootful():
        base = next((each.path for each in temporaries if each.problem is None), _USUAL)
        own_home = f"{base}/rootless-scratch-{os.getuid()}-{binascii.crc32(os.fsencode(home)):08x}"
    absolute = {name: value for name, value in variables.items() if value.startswith("/")}
    placed = {**absolute, "HOME": own_home or home}
    if all(each.problem is not None for each in temporaries):
        temporaries += _last_temporary(placed)
    storage = None
    if not (variables.get(STORAGE) or variables.get("STORAGE_DRIVER")):
        storage = f"{state_directory(placed)}/storage.conf"
    logins = os.path.abspath(variables[LOGINS]) if variables.get(LOGINS) else None
    return ToolFacts(
        variables=variables,
        account=None if account is None else account.pw_name,
        home=home,
        home_problem=problem,
        runtime_dir_problem=runtime_dir_problem(variables.get("XDG_RUNTIME_DIR") or None),
        temporaries=temporaries,
        search_path=absolute_path(variables.get("PATH")),
        own_home=own_home,
        own_storage=storage if storage and os.path.exists(storage) else None,
        policy=None if _has_policy(home) else f"{state_directory(placed)}/policy.json",
        logins=logins if logins and os.path.exists(logins) else None,
    )


def _link_settings(home: str, own: str) -> None:
    """Have tools find in a HOME of ours what they read, and what no container depends on."""
    for name in (".config", ".docker"):
        if os.path.isdir(f"{home}/{name}") and not os.path.lexists(f"{own}/{name}"):
            os.symlink(f"{home}/{name}", f"{own}/{name}")
        elif os.path.islink(f"{own}/{name}") and not os.path.isdir(f"{own}/{name}"):
            os.unlink(f"{own}/{name}")


def home_problem(path: str) -> str | None:
    """Why nothing can be kept below this HOME, or None: one that tools can make there is as good."""
    while path and not os.path.lexists(path):
        above = os.path.dirname(path)
        if os.path.lexists(above) and not os.access(above, os.W_OK | os.X_OK):
            return "does not exist"
        path = above
    if not os.path.isdir(path):
        return "is not a directory" if path else "does not exist"
    if os.access(path, os.W_OK | os.X_OK):
        return None
    return "is on a read-only file system" if is_read_only(path) else "cannot be written to"


def is_read_only(path: str) -> bool:
    """Whether nothing can be written there, whatever the rights are."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _has_policy(home: str) -> bool:
    return any(
        os.access(f"{place}/containers/policy.json", os.R_OK)
        for place in ("/etc", f"{home}/.config", "/usr/share")
    )


def _temporaries(named: str | None) -> Iterator[Temporary]:
    """Directories for temporary files, up to the first that is of use."""
    for path in dict.fromkeys((named, _USUAL, "/tmp")):  # noqa: S108 - private directories in it
        if path:
            problem, rule = _temporary_problem(path)
            yield Temporary(path, problem, rule, path == named)
            if problem is None:
                return


def _last_temporary(variables: Mapping[str, str]) -> tuple[Temporary, ...]:
    """One of our own; where there is none, whoever needs one is told then, with the usual place named."""
    try:
        return (Temporary(own_state(variables, "tmp"), None),)
    except OSError:
        return ()


def write_whole(path: str, content: bytes) -> None:
    """Write a file whole, or not at all. Raises OSError."""
    fresh = f"{path}.{os.urandom(4).hex()}"
    try:
        with open(fresh, "xb") as file:
            file.write(content)
        os.replace(fresh, path)
    except OSError:
        if os.path.exists(fresh):
            os.unlink(fresh)
        raise


def policy_options(variables: Mapping[str, str], option: str) -> tuple[str, ...]:
    """`option` with the policy.json that a tool is given, where the host has none."""
    return (option, variables[POLICY]) if variables.get(POLICY) else ()


def temporary_directory(variables: Mapping[str, str]) -> str:
    """Where large temporary files lie, by the variables of `tool_environment`: safe from other users."""
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


def _temporary_problem(path: str) -> tuple[str | None, str]:
    """Why a directory is of no use to a tool for temporary files, or None, and the rule for that."""
    rule = "host-not-writable"
    if not path.startswith("/"):
        # podman and buildah refuse it, or take it for one below another directory.
        return f"{path} is not an absolute path", "host-environment"
    if ":" in path:
        return "skopeo and buildah take a colon for the end of a path", rule
    if not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)):
        return f"{path} is not a directory that can be written to", rule
    exchanging = private.exchangeable(path)
    if exchanging is not None:
        return f"other users can exchange what lies in {exchanging}", rule
    room = os.statvfs(path)
    left = room.f_bavail * room.f_frsize
    return (f"{path} has {left >> 20} MiB left", "host-disk-full") if left < _ROOM else (None, rule)


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
