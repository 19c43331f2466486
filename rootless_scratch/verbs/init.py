"""`init`: a commented scratch.toml for a program or a Containerfile, with what is needed filled in."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError, RefusedError
from rootless_scratch.expressions import expression
from rootless_scratch.findings import errors_of
from rootless_scratch.image.host_files import HostFiles, open_regular
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.plan.specfile import images_of
from rootless_scratch.image.spec import Copy, Essential, Spec
from rootless_scratch.image.write.spectext import Filled, spec_text
from rootless_scratch.verbs.planning import plan_all
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.plan.planner import Plan

FILE = "scratch.toml"
"""What the file is called unless a caller says."""

_SHOWN = 6
"""Libraries that are named."""

_NAMED_SO = expression(r"(?:container|docker)file", re.IGNORECASE)
_BEGINS_SO = expression(rb"(?:\s*#(?!!)[^\n]*\n|\s)*(?:FROM|ARG)\s", re.IGNORECASE)
_BEGIN = 1 << 16


class Written(Data):
    """The text of a file, and the findings about the image that it makes.

    `remarks` are what the file cannot say, `missing` files that the image takes from other stages, and that do not
    lie beside the file yet.
    """

    text: str
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class _Needs(Data):
    """A Spec with its libraries where it needs them, its plan, and by its essential why each was added."""

    spec: Spec
    plan: Plan
    findings: tuple[Finding, ...]
    reasons: dict[str, Finding]


def init_text(subject: str, path: str | None = None) -> Written:
    """What a scratch.toml for a program or a Containerfile says that is to lie at `path`.

    By default that is FILE in the working directory. Raises RefusedError where no option makes the image start,
    and what reading the subject raises.
    """
    require_utf8()
    target = os.path.abspath(path or FILE)
    of = _of_containerfile if _is_containerfile(subject) else _of_program
    return of(subject, target)


def write_file(text: str, path: str, *, force: bool = False) -> None:
    """Write it whole or not at all; raises BuildError, also for a file that is there, unless `force` is set."""
    from rootless_scratch.image.write.temporary import Temporary

    if os.path.lexists(path) and not force:
        raise BuildError(
            f"{path!r} is there already.", fix="Add `--force` to replace it, or name another file by `-o`."
        )
    try:
        with Temporary(os.path.dirname(os.path.abspath(path))) as file:
            file.write(text.encode())
            file.rename(os.path.abspath(path))
    except OSError as error:
        raise BuildError(
            f"{path!r} cannot be written: {error.strerror or error}.", fix="Name another file by `-o`."
        ) from error


def _is_containerfile(path: str) -> bool:
    """By its name or its first instruction; a program begins as the kernel wants it."""
    try:
        with open_regular(path) as file:
            begin = file.read(_BEGIN)
    except (OSError, ValueError):
        return False  # what is wrong with it is told where it is read
    if begin.startswith((b"\x7fELF", b"#!")):
        return False
    return _NAMED_SO.search(os.path.basename(path)) is not None or _BEGINS_SO.match(begin) is not None


def _of_program(program: str, target: str) -> Written:
    with HostFiles() as files:
        needs = _needs(Spec(programs=(Copy(source=program),)), files)
    entrypoint = (needs.plan.config.config.entrypoint or ("/",))[0]
    filled = {
        "tag": Filled(_image_name(os.path.basename(program)), "Name of the image."),
        "programs": Filled(
            [_program_value(program, os.path.dirname(target))],
            f"The program, which goes to {entrypoint}, and is the entrypoint.",
        ),
        **_filled(needs),
    }
    remarks = [f"{each.message} {each.fix}" for each in needs.findings if each.severity == "warning"]
    return Written(spec_text(filled, name=os.path.basename(target), remarks=remarks), needs.findings)


def _of_containerfile(path: str, target: str) -> Written:
    from rootless_scratch.verbs.converting import convert

    name = os.path.basename(target)
    found = convert(path, os.path.dirname(target))
    above = os.path.basename(os.path.dirname(os.path.abspath(path)))
    filled = {"tag": Filled(_image_name(above), "Name of the image."), **found.filled}
    findings = found.findings
    if found.is_whole:
        (image,) = images_of(spec_text(filled, name=name), target, environ={})
        with HostFiles() as files:
            needs = _needs(image.spec, files)
        filled |= _filled(needs, filled.get("with"))
        findings = tuple(dict.fromkeys((*findings, *needs.findings)))
    text = spec_text(filled, name=name, remarks=found.remarks)
    return Written(text, findings, found.remarks, found.missing)


def _needs(spec: Spec, files: HostFiles) -> _Needs:
    """What makes the image start and find what it looks for; raises RefusedError where nothing does."""
    needs = _completed(spec, files)
    if errors_of(needs.findings) and not spec.bundle_libraries:
        needs = _completed(spec.but(bundle_libraries=True), files)
    if errors_of(needs.findings):
        raise RefusedError(needs.findings)
    return needs


def _completed(spec: Spec, files: HostFiles) -> _Needs:
    """With all essentials that the findings ask for."""
    from rootless_scratch.rules.image.needs import essential_of

    reasons: dict[str, Finding] = {}
    while True:
        own = tuple(Essential(name=name) for name in reasons)
        whole = spec.but(essentials=(*spec.essentials, *own))
        plans, findings = plan_all(parts_of(whole, files), files, check=False)
        wanted = {name: each for each in findings if (name := essential_of(each)) is not None}
        missing = sorted(wanted.keys() - reasons.keys() - {each.name for each in spec.essentials})
        if not missing:
            return _Needs(spec, plans[0].plan, findings, reasons)
        # What is brought for a need may have needs of its own.
        reasons |= {name: wanted[name] for name in missing}


def _filled(needs: _Needs, essentials: Filled | None = None) -> dict[str, Filled]:
    """What is added for them, also to `essentials`, which are there with their values."""
    filled = {}
    if needs.spec.bundle_libraries:
        filled["bundle-libraries"] = Filled(value=True, reason=_libraries(needs.plan))
    if needs.reasons:
        listed = tuple(f"{essential}: {finding.message}" for essential, finding in needs.reasons.items())
        named = essentials.value if essentials is not None and isinstance(essentials.value, list) else []
        filled["with"] = Filled([*named, *needs.reasons], "What it looks for at run time:", listed)
    return filled


def _libraries(plan: Plan) -> str:
    """Why there are libraries, and which."""
    paths = [each.path for each in plan.libraries]
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    listed = f": {', '.join(paths[:_SHOWN])}{more}" if paths else ""
    return f"Libraries and loaders of this host that it needs{listed}."


def _image_name(name: str) -> str:
    """A file's name as that of an image, as far as it can be one."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain[:100].strip("-") or "image"


def _program_value(program: str, directory: str) -> str:
    """PROGRAM, relative to the file's directory where it is so to the working directory."""
    value = program if os.path.isabs(program) else os.path.relpath(program, directory)
    # What looks like a DEST needs one behind it.
    return f"{value}:/{os.path.basename(program)}" if ":/" in value else value
