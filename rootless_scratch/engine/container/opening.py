"""The beginning of a run: what takes long, begun before anything is read or judged.

A service of ours takes as long to come up as Python takes to load the rest of this package. It is started only
where it is plain that none can be found; whoever has an Opening hands it to `run`, or closes it.
"""

from __future__ import annotations

from rootless_scratch import command
from rootless_scratch.engine.container.lease import hold, lease_directory, leftovers, local_engine
from rootless_scratch.engine.request.destination import Destination, destination_of
from rootless_scratch.engine.service.keeping import follows, keeping
from rootless_scratch.engine.service.local import (
    IdleEndedError,
    NamespaceLostError,
    Service,
    Starting,
    found_service,
    has_user_socket,
    wait_until_ready,
)
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.containers_conf import hardened, without_override
from rootless_scratch.host.environment import is_read_only, tool_environment
from rootless_scratch.host.settings import HostNote, Wants, for_container, otherwise

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.engine.service.keeping import Keeping
    from rootless_scratch.engine.service.remote import Way
    from rootless_scratch.host.containers_conf import Hardened
    from rootless_scratch.host.settings import Settings

_TRIES = 5

_SYSCTLS = "/proc/sys"
"""Where podman sets those of a container's network."""


class Opening:
    """A lease, and a service that is coming up, or None where one may be found; raises HostError.

    `destination` is the service that the caller's options name, else the environment counts; `keep` is for how
    many seconds one of ours stays for the next call. `used` is set by whoever asks for a container of that lease.
    """

    def __init__(self, destination: Destination | None = None, *, keep: int | None = None) -> None:
        self.destination = destination or destination_of(None, None)
        self._way: Way | None = None
        self.settings = tool_environment()
        self.variables = dict(self.settings.variables)
        # Where images are kept, and what is passed over, is said each time.
        self.notes = list(map(str, self.settings.notes))
        self.used = False
        self._keeping = keeping(keep, self.variables)
        leases = lease_directory(self.variables)
        # As long as our own lease is not there.
        self._follows = follows(leases)
        self.lease = hold(leases)
        self.starting: Starting | None = None
        self.hardened: Hardened | None
        try:
            self.hardened = self._configuration(self.settings) if self.destination is None else None
            # The user's own service has containers.conf as it is.
            if self.destination is None and (self.hardened or not has_user_socket(self.variables)):
                self.start_service()
        except BaseException:
            self.close()
            raise

    def _configuration(self, settings: Settings) -> Hardened | None:
        try:
            return hardened(self.variables, rootful=is_rootful(), rows=settings.configuration)
        except OSError as error:
            raise HostError(
                f"The configuration of podman cannot be written without what weakens a run: {error.strerror}.",
                fix="Make room in the state directory, or set XDG_STATE_HOME to another directory.",
            ) from error

    def found(self) -> Service | None:
        """The service that the caller names, else the user's own, if it answers.

        Raises EngineError, ToolMissingError where the one that is named cannot be used.
        """
        if self.destination is None:
            return None if self.hardened else found_service(self.variables)
        from rootless_scratch.engine.service.remote import way_to

        if self._way is None:
            self._way = way_to(self.destination, self.variables)
            self.lease.record(engine="", directory=self._way.directory)
        return self._way.service()

    @property
    def directory(self) -> str | None:
        """The private directory of the way to the service that is named, where it needs one."""
        return None if self._way is None else self._way.directory

    @property
    def _stays(self) -> bool:
        """Whether a service of ours stays for the next call."""
        return self._follows if self._keeping.stays is None else self._keeping.stays

    def turn_to(self, destination: Destination | None, *, keep: int | None = None) -> None:
        """Go where the caller's options lead, if they lead anywhere; what was begun elsewhere is ended."""
        if keep is not None:
            self._keep(keeping(keep, self.variables))
        before = None if self.destination is None else self.destination.key
        if destination is not None and destination.key != before:
            self.close_service()
            self.destination = destination

    def _keep(self, wanted: Keeping) -> None:
        idle, self._keeping = self._keeping.idle, wanted
        if self.starting is None:
            return
        if wanted.idle == idle:
            self.starting.stays = self._stays
        else:
            # It would end by itself too early, or too late.
            self.close_service()
            self.start_service()

    def service(self) -> Service:
        """A service to ask before the run: one that is found, else ours. Raises EngineError, HostError."""
        found = None if self.starting is not None else self.found()
        return found or self.ready()

    def start_service(self) -> Starting:
        """Start a service of our own, with a runtime that works here, and note it in the lease."""
        choice = choose_runtime()
        settings = for_container(
            self.settings,
            runtime=choice.name,
            reason=choice.reason,
            is_proc_sys_fixed=is_read_only(_SYSCTLS),
        )
        self.notes += settings.notes
        variables, found = self.variables, self.hardened
        if settings.configuration:
            found = self._configuration(settings)
        if found is not None:
            self.notes += [HostNote(found.note)] if found.note else []
            variables = without_override(variables, found)
        self.starting = Starting(variables, runtime=settings.runtime, idle=self._keeping.idle, stays=self._stays)
        self.lease.record(engine=local_engine(self.variables), directory=self.starting.directory.path)
        return self.starting

    def turn_otherwise(self, rule: str, wants: Wants) -> bool:
        """Take the next way for what has failed for this rule of doctor; False where there is none.

        What is set for a whole service is set for one of ours.
        """
        if self.destination is not None or not rule:
            return False
        before, found = self.settings, otherwise(self.settings, rule, wants)
        if found is not None and found.vfs and not before.vfs:
            from rootless_scratch.host.own_storage import with_own_storage

            found = with_own_storage(before, rule)
        if found is None:
            return False
        self.settings, self.variables = found, dict(found.variables)
        of_service = (found.configuration, found.vfs, found.runtime)
        if of_service != (before.configuration, before.vfs, before.runtime):
            self.hardened = self._configuration(found)
            self.close_service()
            if self.hardened is None:
                self.start_service()
        return True

    def ready(self) -> Service:
        """A service of our own that answers, started if it was not; raises HostError, EngineError.

        On a host that has far too much to do, one may have come and gone before this process gets its turn.
        """
        for _attempt in range(_TRIES):
            try:
                return wait_until_ready(self.starting or self.start_service())
            except IdleEndedError:
                self.close_service()
            except NamespaceLostError:
                self.close_service()
                if not self._reset():
                    raise
            except HostError as error:
                if not self.turn_otherwise(error.rule, Wants()):
                    raise
        return wait_until_ready(self.start_service())

    def _reset(self) -> bool:
        """Have podman forget what was killed with its user namespace; whether that was done.

        Only a call of ours that was killed is a reason, and only where no container runs: podman would stop it.
        """
        from rootless_scratch.engine.container.strays import any_runs, end_unwatched

        if any_runs(self.variables):
            return False
        killed = 0
        for leftover in leftovers(lease_directory(self.variables), living=self.lease):
            if leftover.wanted is not None:
                killed += 1
                # podman would give them ten seconds.
                end_unwatched(leftover.wanted.id)
        if not killed:
            return False
        # It fails where a container that it would stop has ended without conmon, and then knows that it has.
        for _attempt in range(_TRIES):
            try:
                command.ask(["podman", "system", "migrate"], environment=self.variables)
            except CommandError:
                continue
            break
        else:
            return False
        self.notes.append(
            "All of podman had been killed together with a call like this; `podman system migrate` has reset it."
        )
        return True

    def close_service(self) -> None:
        """End the service or the way to one, if there is any."""
        starting, self.starting = self.starting, None
        way, self._way = self._way, None
        try:
            if starting is not None:
                starting.close()
        finally:
            if way is not None:
                way.close()

    def close(self) -> None:
        """End the service, let go of the lease; one that stays makes the next call look for its container."""
        try:
            self.close_service()
            if not self.used:
                self.lease.end()
        finally:
            self.lease.release()
