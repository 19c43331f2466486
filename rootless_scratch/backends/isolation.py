"""With what buildah isolates commands of a stage on this host: a runtime that works here, and which network."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.errors import HostError
from rootless_scratch.host.cgroups import RuntimeChoice, choose_runtime
from rootless_scratch.host.network import private_network_problem
from rootless_scratch.host.settings import Settings, by_chroot, for_commands

if TYPE_CHECKING:
    from collections.abc import Mapping


class Isolation(Value):
    """Options for `buildah build`, `notes` on what differs from what it does by itself, and its variables.

    `settings` are what decided them, None where no command is run.
    """

    variables: Mapping[str, str]
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Settings | None = None


def isolation_here(variables: Mapping[str, str], *, network: str | None) -> Isolation:
    """What commands need here; `network` is the one that was asked for. What the user has chosen stays."""
    choice = RuntimeChoice(name=None, reason=None)
    # Without any runtime that works the command that fails is told, with its line.
    with suppress(HostError):
        choice = choose_runtime()
    # buildah is asked from inside its user namespace, whose root is an ordinary user still.
    is_user = bool(variables.get("_CONTAINERS_USERNS_CONFIGURED"))
    problem = private_network_problem(rootful=False if is_user else None)
    if is_user:
        # runc keeps its state in /run for whoever is called root, also in a user namespace.
        variables = {name: value for name, value in variables.items() if name != "USER"}
    settings = Settings(variables=variables)
    return _of(for_commands(settings, runtime=choice.name, reason=choice.reason, network=network, problem=problem))


def otherwise_isolated(isolation: Isolation, rule: str, *, network: str | None) -> Isolation | None:
    """What is tried once a runtime has failed for this rule of doctor; None where nothing is left."""
    settings = None if isolation.settings is None else by_chroot(isolation.settings, rule, network=network)
    return None if settings is None else _of(settings)


def _of(settings: Settings) -> Isolation:
    flags = (("isolation", settings.isolation), ("runtime", settings.runtime), ("network", settings.network))
    return Isolation(
        variables=settings.variables,
        flags=tuple(f"--{name}={value}" for name, value in flags if value is not None),
        notes=settings.notes,
        settings=settings,
    )
