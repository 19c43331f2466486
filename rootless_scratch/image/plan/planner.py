"""From a Spec to a Plan: every file looked at, everything decided, nothing written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.elf.libraries import PRELOAD_LIST, Unresolved, preloaded
from rootless_scratch.elf.program import ProgramFacts
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.image.config import ImageConfig
from rootless_scratch.image.envline import env_line
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.names import image_name
from rootless_scratch.image.plan.bundle import Bundle, bundle, require_bundle, require_one_system
from rootless_scratch.image.plan.contents import losses_of, platform_for, with_contents
from rootless_scratch.image.plan.copies import copied, program_losses, require_copies
from rootless_scratch.image.plan.entries import directory_entry, program_entry, symlink_entry, with_directories
from rootless_scratch.image.plan.homes import Placed, at_home, brings_surroundings, displaced, with_aliases
from rootless_scratch.image.plan.settings import pairs, runtime_config, times
from rootless_scratch.image.plan.starters import Starter, starters_among
from rootless_scratch.image.plan.venv import placed
from rootless_scratch.image.rootfs import Copied, Directory, Entry, File, Ignored, Loss, Rootfs, make_rootfs
from rootless_scratch.image.spec import Contents
from rootless_scratch.image.syntax import ESSENTIALS
from rootless_scratch.image.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.searching import Start
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.spec import Essential, Spec


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the image may start: its path in the image, and what it says of itself."""

    path: str
    facts: ProgramFacts


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything decided: the files, the config, the time, the names.

    `programs` are the files that were named as programs, then those that are started besides. `mtime` is the
    time of every entry, in seconds since 1970. `config.created` None stands for the moment of the build
    (`--created now`), `platform` None for an image without any program that tells it, which cannot be built.
    `covered` has what essentials and packages did not bring because the user did: option and path. `added` are
    essentials that `auto` stood for. `bundling` is whether libraries were to be taken along at all.
    `libraries` are files that were bundled, `unresolved` libraries that were to be bundled and that this host does
    not have, `incomplete` those that copied libraries want. `losses` are what files have on the host alone,
    `ignored` is what ignore files have left out. `starters` are programs that name others of this host, looked for
    where anything of the host comes along. `displaced` look for themselves and do not lie where they lie on this
    host: both paths.
    """

    names: tuple[str, ...]
    platform: str | None
    config: ImageConfig
    annotations: tuple[tuple[str, str], ...]
    mtime: int
    rootfs: Rootfs
    programs: tuple[Program, ...]
    covered: tuple[tuple[str, str], ...] = ()
    added: tuple[str, ...] = ()
    bundling: bool = False
    libraries: tuple[Program, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    incomplete: tuple[Unresolved, ...] = ()
    losses: tuple[Loss, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    starters: tuple[Starter, ...] = ()
    displaced: tuple[tuple[str, str], ...] = ()


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the platform by which an index of several names its image; None for a plan alone."""

    plan: Plan
    platform: str | None = None


def plan(
    spec: Spec,
    *,
    environ: Mapping[str, str] | None = None,
    root: HostRoot | None = None,
    files: HostFiles | None = None,
    isa_level: int = 1,
    contents: Contents | None = None,
) -> Plan:
    """Look at every file that `spec` names and decide the image; nothing is written and nothing is judged.

    `environ` (the process's by default) is asked for SOURCE_DATE_EPOCH; `root` stands for the Spec's sysroot, and
    may be shared by plans that are made one after the other, as may `files`, which keeps what is opened.
    `isa_level` is the level of x86-64 that was asked for, `contents` what a Containerfile brings. One path may be
    named twice if it is the same entry both times; of directories, those of `spec.directories` hold, with their
    mode and owner, and copied ones merge if they agree. Raises SpecError, SourceError, ElfError.
    """
    names = tuple(dict.fromkeys(image_name(name) for name in spec.names))
    files = files or HostFiles(keep=False)
    directories = [directory_entry(new) for new in spec.directories]
    require_bundle(spec)
    require_copies(spec)
    root = root or HostRoot(spec.sysroot or "/", read=files.program)
    contents = contents or Contents()
    require_one_system(spec, contents.roots)
    named = _named(spec, files, directories, root)
    named.entries = with_contents(named.entries, contents)
    named.losses.extend(losses_of(contents, named.entries))
    programs = named.programs
    config = msgspec.structs.replace(
        runtime_config(spec, named.first),
        healthcheck=contents.healthcheck,
        beyond_oci=contents.beyond_oci,
        **dict(contents.settings),
    )
    wanted, covered = _add_surroundings(
        spec, named, directories=directories, config=config, root=root, files=files
    )
    entries = named.entries
    bundled = Bundle()
    if spec.bundle_libraries:
        bundled = bundle(
            entries,
            {path: program.facts for path, program in programs.items()},
            include=spec.include_libraries,
            root=root,
            apart=[HostRoot(each, read=files.program) for each in contents.roots],
            files=files,
            start=_start(config, entries, files),
            isa_level=isa_level,
        )
        entries.extend(bundled.entries)
    named_here = [essential for essential in wanted if essential.name in ESSENTIALS]
    if named_here:
        from rootless_scratch.image.plan.essentials import with_essentials

        entries, directories, also = with_essentials(entries, directories, named_here, config.user, files)
        covered += also
    entries = with_aliases(entries, directories, named.placed)
    # Builders write what a Containerfile copies twice as two files.
    apart = {entry.path for entry in contents.entries}
    rootfs = make_rootfs(with_directories(entries, directories), apart)

    def read(file: File) -> ProgramFacts:
        if file.path not in programs:
            programs[file.path] = Program(path=file.path, facts=_facts(file, files))
        return programs[file.path].facts

    started = Tree(rootfs).started_files(config, read)
    own = platform_of([read(file) for file in started], [each.facts for each in programs.values()])
    platform = platform_for(contents, own)
    known = {path: program.facts for path, program in programs.items()}
    mtime, created = times(spec.created, os.environ if environ is None else environ)
    system, architecture, variant = (*(platform or "").split("/"), None, None)[:3]
    return Plan(
        names=names,
        platform=platform,
        config=ImageConfig(
            created=created,
            architecture=architecture or "",
            os=system or "",
            variant=variant,
            author=contents.author,
            history=contents.history,
            config=config,
        ),
        annotations=pairs("--annotation", spec.annotations),
        mtime=mtime,
        rootfs=rootfs,
        programs=tuple(programs.values()),
        covered=covered,
        bundling=spec.bundle_libraries,
        libraries=tuple(Program(path=path, facts=facts) for path, facts in bundled.facts),
        unresolved=bundled.unresolved,
        incomplete=bundled.incomplete,
        losses=tuple(named.losses),
        ignored=tuple(named.ignored),
        displaced=tuple(displaced(known, root)),
        starters=starters_among(known, root) if brings_surroundings(spec) else (),
    )


class _Named(msgspec.Struct):
    """What was named: programs, copies and links; `first` is the path of the first program."""

    entries: list[Entry] = []
    programs: dict[str, Program] = {}
    first: str | None = None
    losses: list[Loss] = []
    ignored: list[Ignored] = []
    placed: list[Placed] = []


def _named(spec: Spec, files: HostFiles, directories: Iterable[Directory], root: HostRoot) -> _Named:
    named = _Named()
    copies = [copied(copy, files, spec.exclude) for copy in spec.copies]
    symlinks = [symlink_entry(new) for new in spec.symlinks]
    others = [*(entry for each in copies for entry in each.entries), *symlinks, *directories]
    is_home = brings_surroundings(spec)
    tree = Tree(_with_parents(copies))
    for program in spec.programs:
        lying = placed(program, spec.copies)
        entry, facts = program_entry(lying, files)
        home = Placed(file=entry, started=entry.path)
        if is_home and lying.destination is None:
            home = at_home(entry, [*others, *(each.file for each in named.placed)], root)
        entry = home.file
        named.first = named.first or home.started
        copy = tree.resolve(entry.path)
        if isinstance(copy, File) and copy.identity == entry.identity and copy.path != entry.path:
            # A link of a copied directory leads to it already.
            named.programs[copy.path] = Program(path=copy.path, facts=facts)
            continue
        named.placed.append(home)
        named.entries.extend(home.entries())
        named.programs[entry.path] = Program(path=entry.path, facts=facts)
        named.losses.extend(program_losses(program, entry, facts.mode))
    for each in copies:
        named.entries.extend(each.entries)
        named.losses.extend(each.losses)
        named.ignored.extend(each.ignored)
    named.entries.extend(symlinks)
    return named


def _add_surroundings(
    spec: Spec,
    named: _Named,
    *,
    directories: list[Directory],
    config: RuntimeConfig,
    root: HostRoot,
    files: HostFiles,
) -> tuple[tuple[Essential, ...], tuple[tuple[str, str], ...]]:
    """Add what recipes and packages bring; all essentials that are wanted then, and what the user already had."""
    wanted, own = spec.essentials, tuple(named.entries)
    covered: tuple[tuple[str, str], ...] = ()
    if any(essential.name not in ESSENTIALS for essential in wanted):
        from rootless_scratch.image.plan.runtimes import interpreters, with_companions, with_recipes

        wanted = with_companions(wanted)
        rootfs = make_rootfs(with_directories(named.entries, directories))
        scripts = _unmet_scripts(named.programs.values(), rootfs)
        for interpreter in interpreters(scripts, wanted, [entry.path for entry in own], config):
            entry, facts = program_entry(interpreter, files)
            named.entries.append(entry)
            named.programs[entry.path] = Program(path=entry.path, facts=facts)
        known = {path: program.facts for path, program in named.programs.items()}
        named.entries, covered = with_recipes(named.entries, wanted, known, root, files, exclude=spec.exclude)
    if spec.bundle_packages:
        from rootless_scratch.image.plan.packaged import with_packages

        named.entries, also = with_packages(
            named.entries, own, spec.bundle_packages, root, files, exclude=spec.exclude
        )
        covered += also
    return wanted, covered


def _unmet_scripts(programs: Iterable[Program], rootfs: Rootfs) -> list[ProgramFacts]:
    """The scripts whose interpreter no path of the image leads to; all those that env(1) looks one up for."""
    tree = Tree(rootfs)
    scripts = [program.facts for program in programs if program.facts.kind == "script"]
    return [each for each in scripts if env_line(each.shebang) or not tree.is_present((each.shebang or ("",))[0])]


def _with_parents(copies: Sequence[Copied]) -> Iterator[Entry]:
    """What was copied, and the directories above, which a path leads through."""
    for each in copies:
        above = each.entries[0].path.rpartition("/")[0] if each.entries else ""
        while above:
            yield Directory(path=above, mode=0o755, uid=0, gid=0)
            above = above.rpartition("/")[0]
    for each in copies:
        yield from each.entries


def _start(config: RuntimeConfig, entries: Iterable[Entry], files: HostFiles) -> Start:
    """What the image will tell a loader; its list of preloaded libraries is not there yet for a host's root."""
    start = config.start()
    listed = next((each for each in entries if each.path == PRELOAD_LIST and isinstance(each, File)), None)
    if listed is None:
        return start
    names = preloaded(files.content(listed) or b"")
    return msgspec.structs.replace(start, preload=" ".join((start.preload, *names)))


def _facts(file: File, files: HostFiles) -> ProgramFacts:
    """What a file of the image says of itself; one that was made for it is text (image/plan/essentials.py)."""
    if file.source is None:
        return ProgramFacts(path=file.path, identity=file.identity, mode=file.mode, kind="text")
    return files.program(file.source)


def platform_of(started: Iterable[ProgramFacts], others: Iterable[ProgramFacts]) -> str | None:
    """The platform of the ELF file that is started, never the builder's (docs/design.md, rule 4)."""
    for found in (*started, *others):
        if found.elf is not None and found.elf.platform is not None:
            return str(found.elf.platform)
    return None
