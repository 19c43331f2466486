"""The house stands on its own floors: what loads when, and who may import whom."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.cli.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parents[2]
PACKAGE = SOURCE / "rootless_scratch"
MODULES = sorted(PACKAGE.rglob("*.py"))
FILES = [*MODULES, *sorted((SOURCE / "tests").rglob("*.py")), *sorted((SOURCE / "scripts").glob("*.py"))]

HEAVY = ("podman", "requests", "rich", "elftools", "sh")

FLOORS = (
    {"errors", "expressions", "findings", "data", "diagnosis", "keywords", "locks"},
    {"progress", "spawn", "private", "processes", "sparse", "sums", "troubles"},
    {"tether"},
    {"command"},
    {"elf", "host"},
    {"image"},
    {"caching", "containerfile", "inventory"},
    {"backends", "bakefiles", "engine", "rules", "ship"},
    {"deployments"},
    {"verbs"},
    {"api", "root"},
    {"cli", "pytest_plugin"},
    {"__main__"},
)
"""From the ground up; those on the ground are one unit, the others on a floor do not know each other."""

PROGRAMS = (
    *("host/namespace_probe.py", "backends/worker/", "backends/caller.py"),
    *("tether.py", "verbs/inside.py", "verbs/bare_start.py", "verbs/at_once.py"),
)
"""Processes of their own, most of them started by path: they speak through a pipe and end with a code."""

ROOMS = {
    "backends": ("", "worker"),
    "engine": ("request", "diagnose", "api", "service", "stdio", "container", ""),
    "image": ("", "plan", "read", "write"),
    "rules": ("", "host", "program", "image", "containerfile"),
}
"""The packages within packages, from the ground up; "" is what lies in none of them."""

ROADS = {"push": "ship", "save": "ship"}
"""Verbs that are one work."""

LINES = 400


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor_of(unit: str) -> int:
    for floor, units in enumerate(FLOORS):
        if unit in units:
            return floor
    pytest.fail(f"rootless_scratch/{unit} has no floor yet: say in FLOORS where it stands")


def imported_units(path: Path) -> Iterator[tuple[int, str]]:
    """Line and unit of every import of ours, those for type checkers and those inside functions included."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}:{node.lineno} imports by relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE.name and rest != "__version__":
                yield node.lineno, rest.split(".")[0] or "__init__"


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every call and of every exception raised."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            yield node.lineno, node.exc.id


def test_importing_the_package_loads_nothing_slow_not_even_by_looking_at_its_names() -> None:
    program = (
        "import json, sys\n"
        "import rootless_scratch\n"
        "bare = sorted(sys.modules)\n"
        "for name in getattr(rootless_scratch, '__all__', ()):\n"
        "    getattr(rootless_scratch, name)\n"
        "print(json.dumps([bare, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True, check=True, timeout=60)
    bare, looked = json.loads(done.stdout)
    assert not set(HEAVY) & set(bare)
    assert not set(HEAVY) & set(looked)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    unit = unit_of(path)
    # The public surface names what others made, from any floor but the command line's.
    floor = floor_of("cli" if unit == "__init__" else unit)
    for line, other in imported_units(path):
        where = f"{name_of(path)}:{line} imports {other}"
        if other == unit or {unit, other} <= FLOORS[0]:
            continue
        assert other != "__init__", f"{where}: only __version__ may come from the public surface"
        assert floor_of(other) < floor, where


def room_of(package: str, name: str) -> int:
    """Where what is imported by this name, without the package's, stands within the package."""
    room = name.partition(".")[0]
    return ROOMS[package].index(room if (PACKAGE / package / room).is_dir() else "")


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_of_a_package_point_down_too(package: str) -> None:
    start = f"{PACKAGE.name}.{package}."
    for path in sorted((PACKAGE / package).rglob("*.py")):
        own = ".".join(path.relative_to(PACKAGE / package).with_suffix("").parts)
        for module in imported_modules(path):
            other = module.removesuffix(".py").replace("/", ".")
            if (SOURCE / module).is_file() and other.startswith(start):
                other = other.removeprefix(start)
                assert room_of(package, other) <= room_of(package, own), f"{own} imports {other}"


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package: str) -> None:
    rooms = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
    assert rooms == set(ROOMS[package]) - {""}


def imported_modules(path: Path) -> Iterator[str]:
    """The modules of ours that one imports, those for type checkers and those inside functions included."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE.name}."):
            module = str(node.module).replace(".", "/")
            yield from (f"{module}.py", *(f"{module}/{alias.name}.py" for alias in node.names))


def test_no_modules_import_each_other_in_a_circle() -> None:
    own = {path.relative_to(SOURCE).as_posix(): path for path in MODULES}
    # The public surface names what all others made, and is no part of any circle.
    wanted = {name: set(imported_modules(path)) & own.keys() for name, path in own.items()}
    left = dict(wanted)
    while leaves := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in leaves}
    while roots := left.keys() - set().union(*left.values()):
        left = {name: others for name, others in left.items() if name not in roots}
    assert left.keys() == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_below_the_command_line_prints_or_exits(path: Path) -> None:
    if unit_of(path) in {"cli", "__main__"} or name_of(path).startswith(PROGRAMS):
        return
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "SystemExit"}
    found = [f"{name_of(path)}:{line} {name}" for line, name in calls(path) if name in forbidden]
    assert not found


@pytest.mark.parametrize("verb", VERBS)
def test_the_work_of_a_verb_has_a_module(verb: str) -> None:
    assert (PACKAGE / "verbs" / f"{ROADS.get(verb, verb)}.py").is_file()


def test_the_python_surface_hands_its_arguments_on_and_does_no_work() -> None:
    work = (ast.For, ast.While, ast.With, ast.Try, ast.Lambda, ast.Yield)
    for function in ast.parse((PACKAGE / "api.py").read_bytes()).body:
        if isinstance(function, ast.FunctionDef):
            assert ast.get_docstring(function), function.name
            assert not [node for node in ast.walk(function) if isinstance(node, work)], function.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_is_too_long_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_bytes().splitlines()) <= LINES


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "import rootless_scratch.cli.main\n"
        "if TYPE_CHECKING:\n"
        "    from rootless_scratch.backends import worker\n"
        "def f():\n"
        "    from rootless_scratch import engine, __version__\n"
        "    import sys\n"
        "    print(1)\n"
        "    sys.exit(1)\n"
        "    raise SystemExit\n"
    )
    assert list(imported_units(path)) == [(2, "cli"), (4, "backends"), (6, "engine")]
    assert sorted(calls(path)) == [(8, "print"), (9, "sys.exit"), (10, "SystemExit")]
