"""A virtual environment of Python as one unit: it brings its interpreter, and the program finds its packages."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from planning import planned, put

import rootless_scratch as rs
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.spec import Copy, Essential, Spec
from rootless_scratch.image.syntax import parse_copy
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from conftest import Home

    from rootless_scratch.findings import Finding

PYTHON = Path(os.path.realpath(sys.executable))
LIBRARY = sysconfig.get_path("stdlib")


def wheel(place: Path) -> Path:
    """A package of one module, with a program of its own."""
    file = place / "greeting-1.0-py3-none-any.whl"
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("greeting.py", "def main():\n    print('hello from the package')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ngreet = greeting:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", place / "venv"], check=True, capture_output=True)
    install = [sys.executable, "-m", "pip", "--python", str(place / "venv/bin/python3"), "install", "--no-index"]
    subprocess.run([*install, "--no-cache-dir", str(wheel(place))], check=True, capture_output=True)
    return place / "venv"


def findings(program: Path, *copies: str, **more: object) -> dict[str, Finding]:
    spec = Spec(
        programs=(Copy(source=str(program)),),
        copies=tuple(map(parse_copy, copies)),
        bundle_libraries=True,
        **more,  # type: ignore[arg-type]
    )
    found = plan_and_judge(spec, check=False)[1]
    return {finding.rule: finding for finding in found if finding.severity == "error"}


def test_the_interpreter_comes_along_and_other_links_stay(venv: Path) -> None:
    entries = planned(copies=(Copy(source=str(venv), destination="/venv"),))
    # Which name is the link out of the venv depends on how Python was called.
    python = [entry for path, entry in entries.items() if "/bin/python" in path and isinstance(entry, File)]
    assert [(entry.identity.inode, entry.mode) for entry in python] == [(PYTHON.stat().st_ino, 0o755)]
    names = [entry for path, entry in entries.items() if "/bin/python" in path and isinstance(entry, Symlink)]
    assert names
    assert all("/" not in entry.target for entry in names)
    assert entries["/venv/lib64"] == Symlink(path="/venv/lib64", target="lib")
    assert f"/venv/lib/{Path(LIBRARY).name}/site-packages/greeting.py" in entries


def test_a_venv_within_an_application_is_one_too(tmp_path: Path) -> None:
    put(tmp_path, "app/.venv/pyvenv.cfg", b"home = /usr/bin\n")
    for name in ("app/.venv/bin/tool", "app/bin/python3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(PYTHON)
    for name in ("python3", "python3.11"):
        (tmp_path / "app/.venv/bin" / name).symlink_to(PYTHON)
    (tmp_path / "app/.venv/bin/python-gone").symlink_to("/nowhere/python")
    entries = planned(copies=(Copy(source=f"{tmp_path}/app", destination="/app"),))
    found = {path: type(entry) for path, entry in entries.items() if "/bin/" in path}
    assert found.pop("/app/.venv/bin/python3") is File
    assert found.pop("/app/.venv/bin/python3.11") is File
    assert set(found.values()) == {Symlink}
    second = entries["/app/.venv/bin/python3.11"]
    assert isinstance(second, File)
    assert second.linked == "/app/.venv/bin/python3"


def test_a_program_of_a_copied_venv_is_started_where_it_lies_there(venv: Path) -> None:
    for name in ("python3", "python"):
        spec = Spec(programs=(Copy(source=f"{venv}/bin/{name}"),), copies=(parse_copy(f"{venv}:/opt/v"),))
        plan, _ = plan_and_judge(spec, check=False)
        assert plan.config.config.entrypoint == (f"/opt/v/bin/{name}",)
        (program,) = plan.programs
        assert program.facts.identity.inode == PYTHON.stat().st_ino
        assert Path(program.path).parent == Path("/opt/v/bin")
        assert "/python3" not in {entry.path for entry in plan.rootfs}


def test_without_its_library_it_is_refused_with_the_option_that_mends_it(venv: Path) -> None:
    finding = findings(venv / "bin/python3", f"{venv}:/venv")["needs-runtime"]
    assert "`--with python`" in finding.fix
    assert findings(venv / "bin/python3", f"{venv}:/venv", f"{LIBRARY}:{LIBRARY}") == {}
    assert findings(venv / "bin/python3", f"{venv}:/venv", essentials=(Essential(name="python"),)) == {}


def test_a_library_of_another_version_is_refused(venv: Path, tmp_path: Path) -> None:
    for name in ("os.py", "encodings/__init__.py"):
        put(tmp_path, f"python3.1/{name}")
    copies = (f"{venv}:/venv", f"{tmp_path}/python3.1:/usr/lib/python3.1")
    finding = findings(venv / "bin/python3", *copies)["venv-without-library"]
    assert f"`--copy {LIBRARY}:{LIBRARY}`" in finding.fix
    assert findings(venv / "bin/python3", *copies, env=(("PYTHONHOME", "/x"),)) == {}


def test_a_library_at_another_path_is_a_warning(venv: Path) -> None:
    spec = Spec(
        programs=(Copy(source=f"{venv}/bin/python3"),),
        copies=(parse_copy(f"{venv}:/venv"), parse_copy(f"{LIBRARY}:/python/lib/{Path(LIBRARY).name}")),
        bundle_libraries=True,
    )
    found = [each for each in plan_and_judge(spec)[1] if each.rule == "venv-without-library"]
    assert [each.severity for each in found] == ["warning"]
    assert f"/python/lib/{Path(LIBRARY).name}:{LIBRARY}" in found[0].fix


def test_a_script_of_a_venv_at_another_path_is_told_the_link_that_it_needs(venv: Path) -> None:
    finding = findings(venv / "bin/greet", f"{venv}:/venv", f"{LIBRARY}:{LIBRARY}")["script-interpreter-missing"]
    assert f"`--symlink /venv:{venv}`" in finding.fix


@pytest.mark.podman
@pytest.mark.usefixtures("python_home")
def test_it_starts_and_imports_a_package_that_is_installed_in_it(venv: Path) -> None:
    exclude = ["**/__pycache__", "test", "config-*", "idlelib", "lib2to3", "pydoc_data"]
    copies = [f"{venv}:/venv", f"{LIBRARY}:{LIBRARY}"]
    image = rs.build(venv / "bin/python3", tag="venv", copy=copies, exclude=exclude, bundle_libraries=True)
    assert rs.run(image, ["-c", "import greeting, json; greeting.main()"]).stdout == b"hello from the package\n"
    said = rs.run(image, ["-c", "import sys; print(sys.prefix, sys.base_prefix)"]).stdout.decode().split()
    assert said == ["/venv", str(Path(LIBRARY).parents[1])]
    assert rs.check(image).verdict == "starts"
    links = [f"/venv:{venv}"]
    script = rs.build(
        venv / "bin/greet", tag="greet", copy=copies, exclude=exclude, symlink=links, bundle_libraries=True
    )
    assert rs.run(script).stdout == b"hello from the package\n"


@pytest.mark.buildah
def test_a_finished_image_without_it_is_judged_likewise(venv: Path, tmp_path: Path, shared_home: Home) -> None:
    words = [str(venv / "bin/python3"), "--copy", f"{venv}:/venv", "--bundle-libraries", "--no-check"]
    shared_home.json("build", *words, "-t", "venv-alone", "-o", f"oci:{tmp_path}/out")
    for subject in ("venv-alone", f"oci:{tmp_path}/out"):
        judged = shared_home.cli("check", subject)
        assert judged.returncode == 1
        assert b"[needs-runtime]" in judged.stdout + judged.stderr
