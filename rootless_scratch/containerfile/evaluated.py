"""What a stage comes to: the files and the config of an image, and which instruction each of them is due to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.containerfile.document import Document, Fault, Instruction, Stage, Token
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.image.rootfs import Entry, Loss


class StageConfig(Value):
    """The config that a stage ends with, expanded; None and empty are what no instruction says.

    `healthcheck` has `CMD`, `CMD-SHELL` or `NONE` first; `health_options` are its flags, e.g. `interval` and `5s`.
    """

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    workdir: str | None = None
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    healthcheck: tuple[str, ...] = ()
    health_options: tuple[tuple[str, str], ...] = ()
    shell: tuple[str, ...] | None = None
    onbuild: tuple[str, ...] = ()
    author: str | None = None


class Noted(Value):
    """Something that an instruction did, or could not do, that a reader of the file would not expect.

    `what` is the name of a case (docs/containerfile.md), `values` are what that a message about it needs, `token`
    the argument that it is about, None where it is the whole instruction.
    """

    what: str
    instruction: Instruction
    token: Token | None = None
    values: tuple[str, ...] = ()


class Evaluated(Value):
    """A stage that was evaluated: `entries` are its files, sorted, as `make_rootfs` takes them.

    `faults` are why instructions, or parts of the file, could not be evaluated. `unused_arguments` are names of
    `--build-arg` that no ARG asked for. `steps` are all instructions that were evaluated, with those of stages
    that it begins with. `brought` has the last instruction that wrote a path of the image, `settled` the last that
    set a field of StageConfig, of variables and labels by `env.NAME` and `labels.NAME`. `origins` are what COPY
    and ADD took from, by their lines; `unbuilt` are those instructions whose files only a build makes.
    """

    document: Document
    stage: Stage
    entries: tuple[Entry, ...]
    config: StageConfig
    brought: Mapping[str, Instruction]
    settled: Mapping[str, Instruction]
    noted: tuple[Noted, ...] = ()
    losses: tuple[Loss, ...] = ()
    steps: tuple[Instruction, ...] = ()
    faults: tuple[Fault, ...] = ()
    origins: Mapping[int, Origin] = {}
    unbuilt: tuple[Instruction, ...] = ()
    unused_arguments: tuple[str, ...] = ()
