"""With what buildah isolates commands of a stage on this host: a runtime that works here, and which network."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.errors import HostError
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Mapping


class Isolation(Value):
    """Options for `buildah build`, `notes` on what differs from what it does by itself, and its variables."""

    variables: Mapping[str, str]
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def isolation_here(variables: Mapping[str, str], *, network: str | None) -> Isolation:
    """What commands need here; `network` is the one that was asked for. What the user has chosen stays."""
    if variables.get("BUILDAH_ISOLATION") == "chroot":
        # It takes neither a runtime nor a network of its own.
        return Isolation(variables=variables)
    flags, notes = [], []
    # Without any runtime that works the command that fails is told, with its line.
    with suppress(HostError):
        choice = choose_runtime()
        if choice.name is not None and not variables.get("BUILDAH_RUNTIME"):
            flags.append(f"--runtime={choice.name}")
            notes.append(f"RUN uses the runtime {choice.name}, because {choice.reason}.")
    # buildah is asked from inside its user namespace, whose root is an ordinary user still.
    is_user = bool(variables.get("_CONTAINERS_USERNS_CONFIGURED"))
    problem = (
        private_network_problem(rootful=False if is_user else None)
        if network in (None, "default", "private")
        else None
    )
    if problem is not None:
        flags.append("--network=none")
        notes.append(f"RUN has no network, because {problem}; `--network host` gives it this host's.")
    if is_user:
        # runc keeps its state in /run for whoever is called root, also in a user namespace.
        variables = {name: value for name, value in variables.items() if name != "USER"}
    return Isolation(variables=variables, flags=tuple(flags), notes=tuple(notes))
