"""`init`: a commented scratch.toml for a program, with what the program needs filled in."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError, RefusedError
from rootless_scratch.findings import errors_of
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
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


class Written(Data):
    """The text of a file, and the findings about the image that it makes."""

    text: str
    findings: tuple[Finding, ...]


def init_text(subject: str, path: str | None = None) -> Written:
    """What a scratch.toml for a program says that is to lie at `path`, by default in the working directory.

    Raises RefusedError where no option makes the program start, and what reading it raises.
    """
    require_utf8()
    name = os.path.basename(path) if path else FILE
    return _of_program(subject, os.path.dirname(os.path.abspath(path or FILE)), name)


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


def _of_program(program: str, directory: str, name: str) -> Written:
    with HostFiles() as files:
        spec = Spec(programs=(Copy(source=program),))
        plan, findings, reasons = _completed(spec, files)
        if errors_of(findings):
            spec = spec.but(bundle_libraries=True)
            plan, findings, reasons = _completed(spec, files)
        if errors_of(findings):
            raise RefusedError(findings)
    filled = {
        "tag": Filled(_image_name(program), "Name of the image."),
        "programs": Filled(
            [_program_value(program, directory)],
            f"The program, which goes to {(plan.config.config.entrypoint or ('/',))[0]}, and is the entrypoint.",
        ),
    }
    if spec.bundle_libraries:
        filled["bundle-libraries"] = Filled(value=True, reason=_libraries(plan))
    if reasons:
        listed = tuple(f"{essential}: {finding.message}" for essential, finding in reasons.items())
        filled["with"] = Filled(list(reasons), "What it looks for at run time:", listed)
    remarks = [f"{each.message} {each.fix}" for each in findings if each.severity == "warning"]
    return Written(spec_text(filled, name=name, remarks=remarks), findings)


def _completed(spec: Spec, files: HostFiles) -> tuple[Plan, tuple[Finding, ...], dict[str, Finding]]:
    """The plan with all essentials that its findings ask for, what is left of these, and why each was added."""
    from rootless_scratch.rules.image.needs import essential_of

    reasons: dict[str, Finding] = {}
    while True:
        essentials = tuple(Essential(name=name) for name in reasons)
        plans, findings = plan_all(parts_of(spec.but(essentials=essentials), files), files, check=False)
        wanted = {name: each for each in findings if (name := essential_of(each)) is not None}
        missing = sorted(wanted.keys() - reasons.keys())
        if not missing:
            return plans[0].plan, findings, reasons
        # What is brought for a need may have needs of its own.
        reasons |= {name: wanted[name] for name in missing}


def _libraries(plan: Plan) -> str:
    """Why there are libraries, and which."""
    paths = [each.path for each in plan.libraries]
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    listed = f": {', '.join(paths[:_SHOWN])}{more}" if paths else ""
    return f"Libraries and loaders of this host that it needs{listed}."


def _image_name(program: str) -> str:
    """The file's name as that of an image, as far as it can be one."""
    plain = re.sub(r"[^a-z0-9]+", "-", os.path.basename(program).lower()).strip("-")
    return plain[:100].strip("-") or "image"


def _program_value(program: str, directory: str) -> str:
    """PROGRAM, relative to the file's directory where it is so to the working directory."""
    value = program if os.path.isabs(program) else os.path.relpath(program, directory)
    # What looks like a DEST needs one behind it.
    return f"{value}:/{os.path.basename(program)}" if ":/" in value else value
