"""`rootless-scratch doctor`: what works on this host, why the rest does not, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.output import common_options, print_findings, print_json, say
from rootless_scratch.cli.terminal import colour

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
    from rootless_scratch.host.facts import HostFacts
    from rootless_scratch.rules.host.hosts import HostJudgement
    from rootless_scratch.rules.host.judged import Operation

PURPOSE = {
    "build-direct": "write an image without any rights",
    "build-buildah": "build into local storage",
    "run": "run a container",
    "network": "give a container a network of its own",
    "limits": "limit its memory, processes and CPU",
    "push": "copy an image to a registry",
    "debug": "put tools beside a container",
}


@click.command()
@click.option(
    "--for",
    "wanted",
    type=click.Choice(list(PURPOSE)),
    metavar="OPERATION",
    multiple=True,
    help="Judge this operation alone; repeatable.",
)
@click.option("--fix", "repairs", is_flag=True, help="Repair what needs no root, and print the rest as a script.")
@common_options
def command(*, wanted: tuple[Operation, ...], repairs: bool, show: Show) -> int:
    """Say what works on this host, and what to do about what does not.

    Exits 1 if there is a finding of severity `error`; with --for, if an operation named does not work.
    """
    from rootless_scratch.findings import errors_of
    from rootless_scratch.verbs.doctor import examine_host, repair, script

    facts, judgement = examine_host()
    if repairs:
        for sentence in repair(facts, judgement):
            say(sentence)
        facts, judgement = examine_host()
    if wanted:
        judgement = judgement.of(wanted)
    code = _exit_code(judgement, wanted, errors=bool(errors_of(judgement.findings)))
    if repairs:
        if show.as_json:
            print_json({**_answer(facts, judgement), "script": script(judgement)})
        else:
            click.echo(script(judgement), nl=False)
        return code
    if show.as_json:
        print_json(_answer(facts, judgement))
    else:
        _print_operations(judgement)
        print_findings(judgement.findings, quiet=show.quiet, as_result=True)
    if show.verbose:
        _say_facts(facts, judgement)
    return code


def _exit_code(judgement: HostJudgement, wanted: tuple[Operation, ...], *, errors: bool) -> int:
    return int(not all(each.works for each in judgement.operations)) if wanted else int(errors)


def _answer(facts: HostFacts, judgement: HostJudgement) -> dict[str, object]:
    operations = {each.name: {"works": each.works, "findings": each.findings} for each in judgement.operations}
    return {"operations": operations, "findings": judgement.findings, "facts": facts}


def _print_operations(judgement: HostJudgement) -> None:
    rows = [
        (each.name, "works" if each.works else "does not work", PURPOSE[each.name])
        for each in judgement.operations
    ]
    if not sys.stdout.isatty() or colour() is False:
        for name, state, purpose in rows:
            click.echo(f"{name:<14} {state:<14} {purpose}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("operation", "here", "what it is", box=None, pad_edge=False)
    for name, state, purpose in rows:
        tint = "green" if state == "works" else "red"
        table.add_row(name, f"[{tint}]{state}[/{tint}]", purpose)
    Console().print(table)


def _say_facts(facts: HostFacts, judgement: HostJudgement) -> None:
    for finding in judgement.findings:
        if finding.evidence:
            say(f"{finding.rule}: {finding.evidence}")
    for tool in facts.tools:
        say(f"{tool.name}: {tool.path or 'not found'}{f' ({tool.version})' if tool.version else ''}")
    images, driver = facts.storage.images, facts.storage.driver
    say(f"image storage: {images.path} ({driver or 'driver unknown'}, {images.fstype})")
    say(f"cgroups: {facts.cgroups.mode}")
    if facts.user_namespaces.id_map is not None:
        say(f"mapped ids: {facts.user_namespaces.id_map.ids}")
