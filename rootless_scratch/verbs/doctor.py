"""`doctor`: what this host has, what works by that, and the repairs that need no root."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rootless_scratch.errors import HostError
from rootless_scratch.host.environment import ACCEPT_ALL, planned_environment, private_temporary
from rootless_scratch.host.facts import HostFacts, Pause, read_host
from rootless_scratch.rules.host.hosts import HostJudgement, judge_host

if TYPE_CHECKING:
    from rootless_scratch.host.settings import Settings, ToolFacts


def examine_host() -> tuple[HostFacts, HostJudgement]:
    """Read this host, with the environment that tools get, and judge it."""
    seen, settings = _planned()
    variables = dict(settings.variables)
    with ExitStack() as stack:
        if seen.own_home is not None and not os.path.isdir(seen.own_home):
            # Nothing stays: that which tools are given is made where it is needed.
            with suppress(HostError):
                variables["HOME"] = stack.enter_context(private_temporary(variables)).path
        facts = read_host(environment=variables, workarounds=settings.workarounds)
    facts = replace(facts, home=seen.home, home_problem=seen.home_problem)
    return facts, judge_host(facts)


def _planned() -> tuple[ToolFacts, Settings]:
    """That of tools; where HOME is none that they could be given, as if there was none."""
    try:
        return planned_environment()
    except HostError:
        return planned_environment({**os.environ, "HOME": "/"})


def repair(facts: HostFacts, judgement: HostJudgement) -> tuple[str, ...]:
    """Do what needs no root and touches nothing that is there; a sentence for each thing done.

    Raises HostError.
    """
    done = []
    rules = {finding.rule for finding in judgement.findings}
    if "host-policy-missing" in rules:
        done.append(_write_new(f"{facts.home}/.config/containers/policy.json", ACCEPT_ALL.decode()))
    if "host-keys" in rules:
        done.append(
            _write_new(f"{facts.home}/.config/containers/containers.conf", "[containers]\nkeyring = false\n")
        )
    if "host-pause" in rules:
        done.append(_forget_pause(facts.pause))
    return tuple(filter(None, done))


def script(judgement: HostJudgement) -> str:
    """What is left to do, as one script of sh(1): commands, and as comments what only a person can do."""
    lines = []
    for finding in judgement.findings:
        if finding.severity != "info":
            lines += ["", f"# {finding.rule}: {_one_line(finding.message)}"]
            lines += finding.commands if finding.needs_root else [f"# {_one_line(finding.fix)}"]
    return "\n".join(("#!/bin/sh", "set -e", *lines, "")) if lines else ""


def _one_line(text: str) -> str:
    """As a comment: a path in it may have line breaks, and what follows would be a command."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _forget_pause(pause: Pause) -> str:
    try:
        os.unlink(pause.path)
    except OSError:
        return ""
    return f"{pause.path} is removed: the process that it named has ended."


def _write_new(path: str, text: str) -> str:
    """Write a file that is not there yet; empty where it is."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return ""
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror}.", fix="Make HOME a directory of your own."
        ) from error
    return f"{path} is written."
