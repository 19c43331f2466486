"""The verbs of the command line; each module is imported only when its verb is called."""

from __future__ import annotations

import click

from rootless_scratch import __version__
from rootless_scratch.errors import UsageError

VERBS = {
    "build": "Turn program files into an image in local storage, a file or a registry.",
    "bake": "Build the images of a file, several at a time.",
    "watch": "Build, and run, again whenever a file changes.",
    "cache": "List, prune or verify the compressed layers that builds keep.",
    "run": "Run an image, hardened; the exit code is the container's.",
    "debug": "Open a shell with tools beside a container, or over an image.",
    "push": "Send an image to a registry.",
    "save": "Write an image to a file.",
    "check": "Judge programs and images without building or running.",
    "doctor": "Say what works on this host, and what to do about what does not.",
    "containerfile": "Print the Containerfile that gives the same image.",
    "verify": "Say whether an image is what these options build, and what differs.",
    "generate": "Write what starts an image elsewhere: kubernetes, quadlet, compose, systemd.",
    "inspect": "Show config, layers and every file of an image.",
    "sbom": "Print what an image or a program consists of, as SPDX or CycloneDX.",
    "init": "Write a scratch.toml for a program or a Containerfile.",
    "schema": "Print the JSON Schema of scratch.toml.",
}


class Verbs(click.Group):
    """The verbs; each module is imported only when its verb is called, so that start-up stays short."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All verbs, in the order in which a user meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one verb."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"rootless_scratch.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs from the table above, without importing their modules."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for a mistyped one, name the nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            from rootless_scratch.cli.podman_habits import podmans_verb

            theirs = podmans_verb(args)
            if theirs is not None:
                raise theirs
            near = get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"The verbs are {', '.join(VERBS)}."
            raise UsageError(f"There is no verb {args[0]!r}.", fix=hint)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    subcommand_metavar="VERB [ARG]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s", prog_name="rootless-scratch")
def cli() -> None:
    """Turn program files into FROM scratch images and run them, without root and without a daemon."""
