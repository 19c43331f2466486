"""What is done otherwise on a host that lacks something: the one place where that is decided.

What is cheap to see decides beforehand (`for_tools`, `for_container`, `for_commands`). What is expensive to find
out is tried, and once it has failed for a reason that doctor has a rule for, `otherwise` says what is tried next.
All of it is pure: facts come in, Settings go out, and each thing that differs has its sentence.
"""

from __future__ import annotations

from rootless_scratch.data import Value

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    ConfigurationValue = bool | str | tuple[str, ...]

POLICY = "ROOTLESS_SCRATCH_POLICY"
"""The variable of tools that names a policy.json of ours: none of theirs has one for it."""

STORAGE = "CONTAINERS_STORAGE_CONF"
"""The variable of containers/storage that names a storage.conf in place of all others."""

LOGINS = "REGISTRY_AUTH_FILE"
"""The variable of podman, buildah and skopeo that names a file of logins."""

REMOTE = ("CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "DOCKER_HOST")
"""These turn a local podman into a client of another one, and `system service` then refuses to start."""


class HostNote(str):
    """A note on what this host lacks; one on what a call asked for is a plain string."""

    __slots__ = ()


class Workaround(Value):
    """One sentence on what is done otherwise and why, and the rule of doctor that has the repair."""

    rule: str
    sentence: str

    @property
    def note(self) -> HostNote:
        """For the user."""
        return HostNote(f"{self.sentence} [{self.rule}]")


class Temporary(Value):
    """A directory for temporary files, and why it is of no use; `named` where TMPDIR names it."""

    path: str
    problem: str | None
    rule: str = "host-not-writable"
    named: bool = False


class ToolFacts(Value):
    """What the environment of tools depends on; the caller's variables, and what was read with them.

    `account` is the login name, None for an id without one. `temporaries` are looked at in their order, up to the
    first that is of use. `own_home` is a HOME of ours, `own_storage` a storage.conf, `policy` a policy.json: each
    None where it is not needed. `logins` is the file of logins that a variable names, by its whole path.
    """

    variables: Mapping[str, str]
    account: str | None
    home: str
    home_problem: str | None
    runtime_dir_problem: str | None
    temporaries: tuple[Temporary, ...]
    search_path: str
    own_home: str | None = None
    own_storage: str | None = None
    policy: str | None = None
    logins: str | None = None


class Settings(Value):
    """How this host is used; what nobody had to decide on has podman's and buildah's own defaults.

    `variables` are those of tools, `runtime` is the OCI runtime, `network` a container's, `isolation` that of RUN.
    `configuration` are keys of containers.conf, each with its table, for a service of ours. `pid` and `cgroups`
    are a container's modes, `user` is whom the program runs as. `vfs` asks for a storage of our own.
    """

    variables: Mapping[str, str]
    workarounds: tuple[Workaround, ...] = ()
    runtime: str | None = None
    network: str | None = None
    isolation: str | None = None
    configuration: tuple[tuple[str, str, ConfigurationValue], ...] = ()
    pid: str | None = None
    cgroups: str | None = None
    user: str | None = None
    vfs: bool = False

    @property
    def notes(self) -> tuple[HostNote, ...]:
        """One for each work-around."""
        return tuple(each.note for each in self.workarounds)

    def having(self, rule: str, sentence: str, **changes: object) -> Settings:
        """The same with another work-around."""
        return self.but(workarounds=(*self.workarounds, Workaround(rule, sentence)), **changes)


class Wants(Value):
    """What a container is asked for, as far as a work-around could take it away.

    `user` is the number of whom the program runs as, None where that may be the caller. What is `strict` is not
    weakened.
    """

    strict: bool = False
    limits: bool = False
    user: str | None = None


def for_tools(facts: ToolFacts) -> Settings:
    """The environment of podman, buildah and skopeo: the caller's, without what they would stumble over.

    All must see the same HOME, runtime directory and storage as the user's own calls, or they would open another
    image store.
    """
    variables = {name: value for name, value in facts.variables.items() if name not in REMOTE}
    variables["LC_ALL"] = "C.UTF-8"
    found = tuple(_repaired(facts, variables))
    return Settings(variables=variables, workarounds=found)


def _repaired(facts: ToolFacts, variables: dict[str, str]) -> Iterator[Workaround]:
    """Change the variables; what is to be said of that."""
    path = variables.get("PATH")
    variables["PATH"] = facts.search_path
    if path and path != facts.search_path:
        sentence = "What is relative or empty in PATH is ignored: programs are looked up in absolute directories "
        sentence += "only."
        yield Workaround("host-environment", sentence)
    if facts.account is not None and variables.get("USER", facts.account) != facts.account:
        # newuidmap looks up the ranges of $USER for podman but checks them for the real user.
        sentence = f"USER was {variables['USER']}, but this process is {facts.account}'s."
        yield Workaround("host-environment", sentence)
        variables["USER"] = facts.account
    variables["HOME"] = facts.home
    if facts.own_home is not None:
        yield Workaround(
            "host-home",
            f"{facts.own_home} takes the place of HOME, also for images: "
            f"{_named(facts.home)} {facts.home_problem}.",
        )
        variables["HOME"] = facts.own_home
    if not variables.get("XDG_STATE_HOME", "/").startswith("/"):
        # XDG Base Directory Specification: relative paths are invalid and to be ignored.
        yield Workaround("host-environment", "XDG_STATE_HOME is ignored: it is not an absolute path.")
        del variables["XDG_STATE_HOME"]
    if variables.get("XDG_RUNTIME_DIR") == "":
        del variables["XDG_RUNTIME_DIR"]
    elif facts.runtime_dir_problem is not None:
        yield Workaround("host-runtime-dir", f"XDG_RUNTIME_DIR is ignored: {facts.runtime_dir_problem}.")
        del variables["XDG_RUNTIME_DIR"]
    yield from _with_logins(facts.logins, variables)
    yield from _with_room(facts.temporaries, variables)
    if facts.own_storage is not None:
        variables[STORAGE] = facts.own_storage
        sentence = (
            f"Images are kept apart, as {facts.own_storage} says, with the storage driver vfs: the one of this "
            "host's settings does not work here. Remove that file to go back to it."
        )
        yield Workaround("host-storage-overlay", sentence)
    if facts.policy is not None:
        variables[POLICY] = facts.policy
        sentence = "There is no policy.json here, so tools are given one that accepts every image."
        yield Workaround("host-policy-missing", sentence)


def _named(home: str) -> str:
    return f"HOME is {home}, which" if home else "HOME is not set, and that of this user id"


def _with_logins(path: str | None, variables: dict[str, str]) -> Iterator[Workaround]:
    """Name the file of logins as it is found from any directory, or none where there is none."""
    if path is not None:
        variables[LOGINS] = path
    elif variables.get(LOGINS):
        # buildah asks for it even where it has nothing to do with a registry, as before the first login of a job.
        yield Workaround("host-environment", f"{LOGINS} is ignored: there is no file {variables[LOGINS]}.")
        del variables[LOGINS]


def _with_room(temporaries: tuple[Temporary, ...], variables: dict[str, str]) -> Iterator[Workaround]:
    """Leave TMPDIR as a directory that is of use and safe from others, unset where the usual one is."""
    named = next((each for each in temporaries if each.named), None)
    instead = next((each for each in temporaries if each.problem is None), None)
    if named is not None and named.problem is not None:
        if instead is None and named.rule == "host-disk-full":
            # Elsewhere is no more room, and there it was asked for.
            return
        yield Workaround(named.rule, f"TMPDIR is ignored: {named.problem}.")
        del variables["TMPDIR"]
    usual = next((each for each in temporaries if not each.named), None)
    if usual is not None and usual.problem is not None and instead is not None:
        yield Workaround(usual.rule, f"{instead.path} is used for temporary files: {usual.problem}.")
        variables["TMPDIR"] = instead.path


def for_container(
    settings: Settings, *, runtime: str | None, reason: str | None, is_proc_sys_fixed: bool
) -> Settings:
    """How a service of ours starts containers, by what is cheap to see: `runtime` fits the cgroups."""
    if runtime is not None:
        sentence = f"The runtime is {runtime}, because {reason}."
        settings = settings.having("host-runtime-chosen", sentence, runtime=runtime)
    if is_proc_sys_fixed:
        # It sets ping_group_range for each container that has a network namespace of its own.
        settings = _configured(settings, ("containers", "default_sysctls", ()))
        settings = settings.having("host-proc-masked", "podman sets no sysctls: /proc/sys is read-only here.")
    return settings


def for_commands(
    settings: Settings, *, runtime: str | None, reason: str | None, network: str | None, problem: str | None
) -> Settings:
    """How RUN is isolated; `network` is the one that was asked for, `problem` why there can be no private one.

    What the user has chosen stays.
    """
    if settings.variables.get("BUILDAH_ISOLATION") == "chroot":
        # It takes neither a runtime nor a network of its own.
        return settings
    if runtime is not None and not settings.variables.get("BUILDAH_RUNTIME"):
        sentence = f"RUN uses the runtime {runtime}, because {reason}."
        settings = settings.having("host-runtime-chosen", sentence, runtime=runtime)
    if problem is not None and network in (None, "default", "private"):
        sentence = f"RUN has no network, because {problem}; `--network host` gives it this host's."
        settings = settings.having(network_rule(problem), sentence, network="none")
    return settings


def network_rule(problem: str) -> str:
    """The rule of doctor for why a container cannot have a network of its own."""
    return "host-tun" if "/dev/net/tun" in problem else "host-network-helper"


def without_network(settings: Settings, problem: str) -> Settings:
    """The container without a network, where nobody asked for one by name."""
    sentence = f"The container has no network, because {problem}."
    return settings.having(network_rule(problem), sentence, network="none")


def without_limits(settings: Settings, missing: Collection[str] = ()) -> Settings:
    """The container without limits that were asked for: those of `missing` controllers of cgroup v2, else all."""
    if missing:
        why = f"the cgroup controllers {', '.join(missing)} are not delegated to this user"
        rule = "host-cgroup-delegation"
    else:
        why = "podman ignores --memory, --cpus and --pids-limit under cgroup v1 without root"
        rule = "host-cgroup-limits"
    return settings.having(rule, f"The limits are not enforced: {why}.")


def as_caller(settings: Settings) -> Settings:
    """The program as the only user that this account has."""
    sentence = (
        "Your account has no subordinate ids, so the program runs as user 0 of its container, which is you "
        "yourself, in place of the image's user."
    )
    return settings.having("host-subids", sentence, user="0")


def otherwise(settings: Settings, rule: str, wants: Wants) -> Settings | None:
    """What is tried once something has failed for this rule of doctor; None where nothing is left.

    Each way is taken once, and none that takes away what was asked for by name.
    """
    way = _WAYS.get(rule)
    return None if way is None else way(settings, wants)


def _with_pids_of_host(settings: Settings, wants: Wants) -> Settings | None:
    # As user 0, however that is written, the program would be the caller, and could end all that runs here.
    is_caller = settings.user is not None or not (wants.user or "").strip("0")
    if settings.pid is not None or wants.strict or is_caller:
        return None
    sentence = (
        "The program sees the processes of this host, which it cannot signal: no /proc of its own can be mounted "
        "here."
    )
    return settings.having("host-proc-masked", sentence, pid="host")


def _without_keyring(settings: Settings, _: Wants) -> Settings | None:
    wanted = ("containers", "keyring", False)
    if wanted in settings.configuration:
        return None
    sentence = "The container has no kernel keyring of its own: your quota of kernel keys is used up."
    return _configured(settings, wanted).having("host-keys", sentence)


def _without_systemd(settings: Settings, _: Wants) -> Settings | None:
    wanted = ("engine", "cgroup_manager", "cgroupfs")
    if wanted in settings.configuration:
        return None
    sentence = "Control groups are made without systemd, which has no session of this user."
    return _configured(settings, wanted).having("host-session", sentence)


def _without_cgroup(settings: Settings, wants: Wants) -> Settings | None:
    if settings.cgroups is not None or wants.limits or wants.strict:
        return None
    sentence = "The container has no control group of its own: none can be made here."
    return settings.having("host-cgroup-absent", sentence, cgroups="disabled")


def _with_runc(settings: Settings, _: Wants) -> Settings | None:
    if settings.runtime is not None:
        return None
    sentence = "The runtime is runc, because this host's crun mounts volumes without noexec."
    return settings.having("host-runtime-chosen", sentence, runtime="runc")


def _with_own_storage(settings: Settings, _: Wants) -> Settings | None:
    if settings.vfs or settings.variables.get(STORAGE) or settings.variables.get("STORAGE_DRIVER"):
        return None
    return settings.but(vfs=True)


OWN_STORAGE = ("host-storage-overlay", "host-storage-mount-program")
"""What keeps the storage of this host's settings from being opened, and a storage of ours from nothing."""

_WAYS = {
    "host-proc-masked": _with_pids_of_host,
    "host-keys": _without_keyring,
    "host-session": _without_systemd,
    "host-cgroup-absent": _without_cgroup,
    "host-runtime-chosen": _with_runc,
    **dict.fromkeys(OWN_STORAGE, _with_own_storage),
}


def by_chroot(settings: Settings, rule: str, *, network: str | None) -> Settings | None:
    """How RUN is isolated once a runtime has failed for this rule; `network` is the one that was asked for.

    None where that would not be had, where the user has chosen, and where it was tried.
    """
    if rule not in _BY_CHROOT or settings.isolation is not None:
        return None
    # buildah itself has set it inside of its user namespace.
    if settings.variables.get("BUILDAH_ISOLATION") not in (None, "", "rootless"):
        return None
    if network not in (None, "default", "host"):
        return None
    sentence = "RUN is isolated by chroot(2) alone and has this host's network: no runtime can start it here."
    return settings.having(rule, sentence, isolation="chroot", runtime=None, network=None)


_BY_CHROOT = ("host-proc-masked", "host-cgroup-absent", "host-session")


def _configured(settings: Settings, row: tuple[str, str, ConfigurationValue]) -> Settings:
    return settings.but(configuration=(*settings.configuration, row))
