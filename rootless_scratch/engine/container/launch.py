"""From what was asked for to a container that runs: on which service, with which network, as whom.

What does not work on this host is tried in the next best way, where nobody asked for the first by name, and that
is noted.
"""

from __future__ import annotations

import contextlib
import os

from rootless_scratch import private
from rootless_scratch.data import Data
from rootless_scratch.engine.container.lease import Lease, local_engine
from rootless_scratch.errors import EngineError, HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.cgroups import cgroup_mode, choose_runtime, delegated_controllers, forgetful_crun
from rootless_scratch.host.containers_conf import weakening
from rootless_scratch.host.environment import has_service_manager, temporary_directory
from rootless_scratch.host.settings import Wants, as_caller, without_limits, without_network
from rootless_scratch.spawn import find

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    _T = TypeVar("_T")

    from rootless_scratch.engine.container.lifecycle import Lifecycle
    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.engine.service.local import Service


class Notes:
    """Sentences for the user: kept for the result, and said from the moment that the container is ready.

    Before that an error may come, beside which they would only distract. Whoever says them may tell by HostNote
    which are the same for each call.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._kept: list[str] = []
        self._say = say
        self._ready = False

    def add(self, sentence: str) -> None:
        """Note it, once however often it is found on the way."""
        if sentence in self._kept:
            return
        self._kept.append(sentence)
        if self._ready and self._say is not None:
            self._say(sentence)

    def ready(self) -> None:
        """From now on each is said at once, and those that are kept now."""
        self._ready = True
        if self._say is not None:
            for sentence in self._kept:
                self._say(sentence)

    @property
    def kept(self) -> tuple[str, ...]:
        """All of them, as plain strings."""
        return tuple(map(str, self._kept))


class Call(Data):
    """What a container is wanted for, and what has been begun for it."""

    request: Request
    opening: Opening
    notes: Notes

    @property
    def lease(self) -> Lease:
        """The right to the container's name."""
        return self.opening.lease

    @property
    def variables(self) -> dict[str, str]:
        """The environment of tools."""
        return self.opening.variables


def launch(
    call: Call, attempt: Callable[[Lifecycle, Request, str], _T], stack: contextlib.ExitStack
) -> tuple[Lifecycle, _T]:
    """What `attempt` makes of a container, and the container, which is gone when `stack` is left.

    `attempt` creates and starts it, with the request and the network that it is given; what it raises may have
    it called again. Raises ImageNotFoundError, HostError, EngineError.
    """
    while True:
        try:
            return _launch_once(call, attempt, stack)
        except HostError as error:
            if not call.opening.turn_otherwise(error.rule, _wants(call, error.rule)):
                raise


def _launch_once(
    call: Call, attempt: Callable[[Lifecycle, Request, str], _T], stack: contextlib.ExitStack
) -> tuple[Lifecycle, _T]:
    """The same as this host is used for now."""
    if call.opening.starting is None:
        launched = _launch_on_found(call, attempt, stack)
        if launched is not None:
            return launched
        call.opening.start_service()
    # These imports take as long as the service takes to start, so they wait until it does.
    from rootless_scratch.engine.diagnose import failures  # noqa: F401 - warmed up here
    from rootless_scratch.engine.stdio import streams  # noqa: F401 - warmed up here
    from rootless_scratch.host import network  # noqa: F401 - warmed up here

    engine = local_engine(call.variables)
    service = call.opening.ready()
    return _launch_on(service, call, attempt, stack, engine=engine)


def created(container: Lifecycle, call: Call, request: Request, network: str) -> None:
    """Create it; what cannot be enforced is noted, or refused where it was asked for strictly."""
    for problem in _unenforced(request, container.create(request, network), call, container):
        if request.strict:
            raise HostError(problem, fix="Leave out --strict to run without; `rootless-scratch doctor` says more.")
        call.notes.add(problem)


def _launch_on_found(
    call: Call, attempt: Callable[[Lifecycle, Request, str], _T], stack: contextlib.ExitStack
) -> tuple[Lifecycle, _T] | None:
    """Launch it on the service that the caller names, or on the user's own; None where neither is of use."""
    found = call.opening.found()
    if found is None:
        return None
    from rootless_scratch.engine.diagnose.failures import RuntimeUnsuitedError

    engine = found.address or local_engine(call.variables)
    call.lease.record(engine=engine, directory=call.opening.directory)
    try:
        return _launch_on(found, call, attempt, stack, engine=engine)
    except RuntimeUnsuitedError:
        # Another runtime would be the same one again where this host suggests none.
        if found.elsewhere or choose_runtime().name is None:
            raise
        call.notes.add("Your podman service uses a runtime that cannot work here; a private one is used.")
        return None


def _launch_on(
    service: Service,
    call: Call,
    attempt: Callable[[Lifecycle, Request, str], _T],
    stack: contextlib.ExitStack,
    *,
    engine: str,
) -> tuple[Lifecycle, _T]:
    from rootless_scratch.engine.container.lifecycle import Lifecycle
    from rootless_scratch.engine.container.removal import remove_leftovers
    from rootless_scratch.engine.diagnose.failures import IdsMissingError

    remove_leftovers(service.client, call.lease, variables=call.variables, engine=engine)
    private.sweep(temporary_directory(call.variables))
    settings = call.opening.settings
    if service.elsewhere and call.request.keep_service:
        call.notes.add("--keep-service has no effect: the environment names another podman service.")
    for note in (*call.opening.notes, *settings.notes):
        call.notes.add(note)
    request = _prepared(call, service).but(pidns=settings.pid, cgroups=settings.cgroups)
    call.opening.used = True
    with contextlib.ExitStack() as own:
        container = own.enter_context(Lifecycle(service, call.lease, call.variables))
        try:
            made = _with_network(container, call, request, service, attempt)
        except IdsMissingError:
            if not _may_be_caller(call, service):
                raise
            container.remove()
            settings = as_caller(settings)
            call.notes.add(settings.notes[-1])
            request = request.but(user=settings.user, userns=call.request.userns)
            made = _with_network(container, call, request, service, attempt)
        except EngineError as error:
            error.image = request.image
            raise
        stack.push(own.pop_all())
    return container, made


def _prepared(call: Call, service: Service) -> Request:
    """What was asked for, with what had to be looked up, once the image and the name are there to be had."""
    request = call.request
    if request.pull != "never" or request.platform is not None:
        from rootless_scratch.engine.api.images import provide

        request = request.but(image=provide(service.client, request, call.variables))
    if request.replace and request.name is not None:
        from rootless_scratch.engine.container.removal import remove_container

        remove_container(service.client, request.name, how="")
    if request.devices and not service.elsewhere:
        from rootless_scratch.engine.container.devices import require_devices

        require_devices(request.devices)
    if request.mounts or request.devices:
        from rootless_scratch.engine.container.mapping import mapped

        request, note = mapped(request, service)
        if note is not None:
            call.notes.add(note)
        _keep_options(request, call, service)
    return request


def _keep_options(request: Request, call: Call, service: Service) -> None:
    """Have noexec hold that was asked for: another runtime is the way where this one forgets it.

    Where there is no other that is noted, or refused if the run is to be strict.
    """
    is_wanted = any("noexec" in mount.options for mount in request.mounts if not mount.read_only)
    is_plain = (request.userns or "host") == "host" or call.opening.settings.runtime is not None
    if not is_wanted or is_plain or service.elsewhere or choose_runtime().name is not None:
        return
    crun = forgetful_crun(call.variables)
    if crun is None:
        return
    forgotten = f"crun {crun} mounts volumes without noexec where a container has ids of its own"
    has_other = find("runc") is not None
    if has_other or request.strict:
        rule = "host-runtime-chosen" if has_other else ""
        raise HostError(f"{forgotten}.", fix="Install runc, or crun 1.11.1 or later.", rule=rule)
    call.notes.add(f"{forgotten}; runc, which does not, is not installed.")


def _may_be_caller(call: Call, service: Service) -> bool:
    """Whether the image's user may be replaced by the only one that this account has."""
    request = call.request
    if request.user is not None or request.userns is not None or request.strict or service.elsewhere:
        return False
    if call.opening.settings.pid is not None:
        # Among the processes of this host, the caller's could be ended.
        return False
    from rootless_scratch.engine.container.mapping import has_subordinate_ids

    return os.geteuid() != 0 and not has_subordinate_ids(call.variables)


def _with_network(
    container: Lifecycle,
    call: Call,
    request: Request,
    service: Service,
    attempt: Callable[[Lifecycle, Request, str], _T],
) -> _T:
    """Attempt it with the network that is possible."""
    from rootless_scratch.engine.diagnose.failures import NetworkMissingError

    network, problem = _choose_network(request, service)
    if problem is None:
        try:
            return attempt(container, request, network)
        except NetworkMissingError as error:
            if request.network is not None:
                raise
            problem = error.reason
            container.remove()
    if request.ports:
        raise NetworkMissingError(f"{problem}, so no port can be published")
    settings = without_network(call.opening.settings, problem)
    call.notes.add(settings.notes[-1])
    if request.dns or request.dns_search:
        call.notes.add("So --dns and --dns-search have no effect.")
    return attempt(container, request, settings.network or "none")


def _wants(call: Call, rule: str) -> Wants:
    """What was asked for that a work-around could take away."""
    request = call.request
    limits = request.memory or request.cpus or request.pids_limit
    user = _user(call) if rule == "host-proc-masked" else None
    return Wants(strict=request.strict, limits=limits is not None, user=user)


def _user(call: Call) -> str | None:
    """The user number of the program, where it is known, and surely not the caller's."""
    request = call.request
    if request.userns is not None or request.mounts or request.devices or request.beside is not None:
        return None
    user = request.user
    if user is None:
        from rootless_scratch.engine.api.images import config_of

        found = config_of(call.opening.service().client, request.image) or {}
        user = str(found.get("User") or "0")
    number = user.partition(":")[0]
    return number if number.isdigit() else None


def _choose_network(request: Request, service: Service) -> tuple[str, str | None]:
    """The network to try, and why it cannot work where that is plain beforehand."""
    if request.network is not None:
        return request.network, None
    if service.elsewhere:
        # Only trying tells.
        return "private", None
    from rootless_scratch.host.network import private_network_problem

    return "private", private_network_problem()


def missing_controllers(request: Request, root: str = "") -> list[str]:
    """The controllers that limits were asked of, and that cgroup v2 does not give this user.

    podman 5 then starts the container without these limits, and warns of nothing.
    """
    limits = {"cpu": request.cpus, "memory": request.memory, "pids": request.pids_limit}
    wanted = [name for name, limit in limits.items() if limit is not None]
    if not wanted or is_rootful() or cgroup_mode(root) != "v2":
        return []
    there = delegated_controllers(root, rootful=False)
    return [name for name in wanted if name not in there]


def _unenforced(request: Request, warnings: tuple[str, ...], call: Call, container: Lifecycle) -> Iterator[str]:
    """What was asked for and cannot be had: podman's warnings, and what it does not warn of."""
    from rootless_scratch.engine.diagnose.failures import limits_ignored

    for warning in warnings:
        if limits_ignored(warning):
            yield without_limits(call.opening.settings).notes[-1]
        else:
            yield f"podman warns: {warning.rstrip('.')}."
    here = container.service.host is None
    if container.service.elsewhere:
        from rootless_scratch.engine.container.weakened import weakened

        # A service of this host mostly has the configuration that is read here.
        hidden = weakening(call.variables, rootful=is_rootful()) if here else ()
        sentence = weakened(container.client, container.inspect(), request, hidden, call.variables)
        if sentence is not None:
            yield sentence
    if here and not container.service.elsewhere:
        missing = missing_controllers(request)
        if missing:
            yield without_limits(call.opening.settings, missing).notes[-1]
    if here and request.health_cmd is not None and not has_service_manager(call.variables):
        yield (
            "Nothing runs the health check by itself: podman leaves that to systemd, which does not run here; "
            f"`podman healthcheck run {request.name or 'CONTAINER'}` does it by hand."
        )
