"""`--fix`: a Containerfile that is refused is corrected, after its user agreed, and then builds and starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from screens import Screen
from staging import Bench

import rootless_scratch as rs
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.verbs.fix import fix_file, write_fixed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home

RECIPE = 'FROM scratch\nCOPY helloworld /\nCMD ["helloworld"]\n'
CORRECTED = '# rootless-scratch: --bundle-libraries\nFROM scratch\nCOPY helloworld /\nCMD ["/helloworld"]\n'

SOURCE = '#include <stdio.h>\nint main(void) { puts("Hello World"); return 0; }\n'


@pytest.fixture
def recipe(fresh_home: Home) -> Path:
    """The well-known example: a program of gcc, and the Containerfile that goes with it."""
    context = fresh_home.path / "recipe"
    context.mkdir()
    (context / "hello.c").write_text(SOURCE)
    subprocess.run(["gcc", "-o", "helloworld", "hello.c"], cwd=context, check=True)
    (context / "Containerfile").write_text(RECIPE)
    return context


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.compiler
def test_the_well_known_example_runs_once_it_is_corrected(fresh_home: Home, recipe: Path) -> None:
    file = recipe / "Containerfile"
    done = fresh_home.cli("build", "-f", str(file), str(recipe), "-t", "hello", "--fix", "--yes")
    assert done.returncode == 0, done.stderr.decode()
    assert file.read_text() == CORRECTED
    assert "-CMD [" in done.stderr.decode()
    assert fresh_home.cli("run", "hello").stdout == b"Hello World\n"
    # Once more there is nothing to do.
    again = fresh_home.cli("build", "-f", str(file), str(recipe), "-t", "hello", "--fix", "--yes")
    assert (again.returncode, again.stdout, file.read_text()) == (0, done.stdout, CORRECTED)
    assert "corrected" not in again.stderr.decode()


@pytest.mark.compiler
def test_a_file_keeps_its_mode_and_its_link_and_what_is_not_wrong_with_it(fresh_home: Home, recipe: Path) -> None:
    shared, file = fresh_home.path / "shared.containerfile", recipe / "Containerfile"
    text = "# Ünicode\r\nFROM scratch\r\nLABEL a=b \\\r\n  c=d\r\nCOPY helloworld /\r\nCMD helloworld --loud\r\n"
    shared.write_bytes(b"\xef\xbb\xbf" + text.encode())
    shared.chmod(0o600)
    file.unlink()
    file.symlink_to(shared)
    done = fresh_home.cli("check", "-f", str(file), str(recipe), "--fix", "--yes")
    assert done.returncode == 0, done.stderr.decode()
    assert file.is_symlink()
    assert shared.stat().st_mode & 0o777 == 0o600
    mended = text.replace("CMD helloworld --loud", 'CMD ["/helloworld", "--loud"]')
    assert shared.read_bytes().replace(b"\xef\xbb\xbf", b"").decode() == (
        f"# rootless-scratch: --bundle-libraries\r\n{mended}"
    )


@pytest.mark.compiler
def test_nothing_is_written_before_somebody_agrees(fresh_home: Home, recipe: Path) -> None:
    file = recipe / "Containerfile"
    done = fresh_home.cli("check", "-f", str(file), str(recipe), "--fix")
    assert (done.returncode, file.read_text()) == (2, RECIPE)
    assert "--yes" in done.stderr.decode()
    answers = {"n": RECIPE, "y": CORRECTED}
    for answer, text in answers.items():
        screen = Screen(fresh_home, "check", "-f", str(file), str(recipe), "--fix")
        screen.shows("+CMD")
        screen.shows("[y/N]:")
        screen.type(f"{answer}\r")
        screen.shows("starts" if answer == "y" else "fails")
        assert screen.process.wait(30) == (0 if answer == "y" else 1)
        assert file.read_text() == text


@pytest.mark.compiler
@pytest.mark.parametrize("option", ["-q", "--json"])
def test_what_is_asked_about_is_shown_also_where_little_else_is(
    fresh_home: Home, recipe: Path, option: str
) -> None:
    screen = Screen(fresh_home, "check", "-f", f"{recipe}/Containerfile", str(recipe), "--fix", option)
    screen.shows("+CMD")
    screen.shows("[y/N]:")
    screen.type("n\r")
    assert screen.process.wait(30) == 1


@pytest.mark.compiler
def test_a_build_asks_once_about_a_change(fresh_home: Home, recipe: Path) -> None:
    file = recipe / "Containerfile"
    screen = Screen(fresh_home, "build", "-f", str(file), str(recipe), "-o", f"oci:{recipe}/o", "--fix")
    screen.shows("[y/N]:")
    screen.type("n\r")
    screen.shows("not built: 2 errors")
    assert screen.process.wait(30) == 1
    assert file.read_text() == RECIPE


def test_what_was_edited_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "Containerfile"
    tinyelf.write(tmp_path / "app")
    file.write_text('FROM scratch\nCOPY app /\nCMD ["app"]\n')
    shown = fix_file(FileRequest(file=str(file), context=str(tmp_path)), {})
    assert '+CMD ["/app"]' in shown.diff
    edited = file.read_text() + "LABEL a=b\n"
    file.write_text(edited)
    with pytest.raises(rs.BuildError, match="changed while its correction was made"):
        write_fixed(shown)
    assert (file.read_text(), len(os.listdir(tmp_path))) == (edited, 2)


@pytest.mark.compiler
def test_a_file_that_cannot_be_written_stays_and_the_change_was_shown(fresh_home: Home, recipe: Path) -> None:
    file = recipe / "Containerfile"
    recipe.chmod(0o555)
    try:
        done = fresh_home.cli("check", "-f", str(file), str(recipe), "--fix", "--yes")
    finally:
        recipe.chmod(0o755)
    assert (done.returncode, file.read_text(), sorted(os.listdir(recipe))) == (
        1,
        RECIPE,
        ["Containerfile", "hello.c", "helloworld"],
    )
    shown = done.stderr.decode()
    assert "+CMD" in shown
    assert "cannot be written: Permission denied. " not in shown
    assert "cannot be written: Permission denied." in shown


def test_there_must_be_a_file_to_correct(fresh_home: Home) -> None:
    for argv, said in (
        (("check", "/bin/sh", "--fix"), "name it by -f FILE"),
        (("build", "/bin/sh", "-t", "a", "--yes"), "--yes has no effect without --fix."),
        (("build", "-f", "x", "-t", "a", "--fix", "--dry-run"), "--dry-run writes nothing"),
    ):
        done = fresh_home.cli(*argv)
        assert done.returncode == 2
        assert said in done.stderr.decode()
    done = fresh_home.cli("check", "-f", "-", str(fresh_home.path), "--fix", input=RECIPE.encode())
    assert (done.returncode, "from stdin cannot be written back" in done.stderr.decode()) == (2, True)


@pytest.fixture(scope="module")
def bench(shared_home: Home) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="rst-") as place:
        context = Path(place) / "context"
        context.mkdir()
        yield Bench(shared_home, context)


@pytest.mark.buildah
@pytest.mark.compiler
def test_what_only_the_build_of_a_stage_tells_is_corrected_after_it(bench: Bench) -> None:
    """A program of a stage is seen when the stage is there; its libraries are those of the stage."""
    (bench.context / "hello.c").write_text(SOURCE)
    subprocess.run(["gcc", "-o", "helloworld", "hello.c"], cwd=bench.context, check=True)
    root = bench.context / "libraries"
    for library in ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    text = (
        "FROM base AS build\nCOPY libraries /\nCOPY helloworld /out/\nRUN chmod 755 /out/helloworld\n"
        'FROM scratch\nCOPY --from=build /out/helloworld /\nCMD ["helloworld"]\n'
    )
    file = bench.context / "Containerfile"
    file.write_text(text)
    layout = bench.context.parent / "layout"
    argv = ["build", "-f", str(file), str(bench.context), "-o", f"oci:{layout}"]
    assert bench.home.cli(*argv).returncode == 1
    done = bench.home.cli(*argv, "--fix", "--yes")
    assert done.returncode == 0, done.stderr.decode()
    assert file.read_text() == (
        "# rootless-scratch: --bundle-libraries\n" + text.replace('["helloworld"]', '["/helloworld"]')
    )
    answer = bench.home.json("check", f"oci:{layout}")
    assert answer["verdict"] == "starts"
