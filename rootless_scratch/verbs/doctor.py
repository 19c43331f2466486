"""`doctor`: what this host has, and what works by that."""

from __future__ import annotations

from rootless_scratch.host.environment import tool_environment
from rootless_scratch.host.facts import HostFacts, read_host
from rootless_scratch.rules.host.hosts import HostJudgement, judge_host


def examine_host() -> tuple[HostFacts, HostJudgement]:
    """Read this host, with the environment that tools get, and judge it."""
    facts = read_host(environment=tool_environment().variables)
    return facts, judge_host(facts)
