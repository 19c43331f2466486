"""The fixtures that this package gives to test suites of others, used by a pytest of their own."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import tinyelf
from containers import LOOP, Home, containers, podman
from planning import put

pytest_plugins = ["pytester"]

SOURCE = Path(__file__).resolve().parents[2]
HEAVY = {"podman", "requests", "rich", "elftools", "sh", "click", "msgspec"}


@pytest.fixture
def suite(pytester: pytest.Pytester, tools: Home, python_home: Home) -> pytest.Pytester:
    """Somebody's test suite, in a store that has the image `tools`."""
    assert tools is python_home
    return pytester


def test_the_entry_point_of_the_package_is_the_plugin() -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "rootless_scratch.pytest_plugin": "rootless_scratch.pytest_plugin"
    }


def test_a_suite_that_uses_no_fixture_of_it_loads_nothing_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import json, sys\ndef test_nothing(scratch_modules):\n    assert scratch_modules\n")
    pytester.makeconftest(
        "import json, pathlib, sys, pytest\n"
        "@pytest.fixture\n"
        "def scratch_modules():\n"
        "    pathlib.Path('modules.json').write_text(json.dumps(sorted(sys.modules)))\n"
        "    return True\n"
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    modules = set(json.loads((pytester.path / "modules.json").read_text()))
    assert {name for name in modules if name.startswith("rootless_scratch.")} == {"rootless_scratch.pytest_plugin"}
    assert not HEAVY & modules


def test_it_is_found_by_its_entry_point_and_its_fixtures_tell_what_they_are(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_subprocess("--fixtures").stdout.str()
    assert re.search(r"scratch_image \[session scope\].*\n\s+Build images of programs", shown)
    assert re.search(r"scratch_container .*\n\s+Start containers", shown)


@pytest.mark.podman
@pytest.mark.buildah
def test_images_are_built_once_run_many_times_and_gone_at_the_end(
    suite: pytest.Pytester, python_home: Home, tmp_path: Path
) -> None:
    program = put(tmp_path, "hello", tinyelf.hello())
    suite.makepyfile(
        "import pytest, rootless_scratch as rs\n"
        "@pytest.fixture(scope='module')\n"
        f"def image(scratch_image): return scratch_image({program!r}, env={{'A': 'b'}})\n"
        "def test_one(image):\n"
        "    assert rs.run(image).stdout == b'Hello World\\n'\n"
        "    print('named', image.names[0])\n"
        "def test_two(image, scratch_image, scratch_container):\n"
        f"    other = scratch_image({program!r})\n"
        "    assert not set(other.names) & set(image.names)\n"
        "    assert scratch_container(other).wait(timeout=60) == 0\n"
    )
    result = suite.runpytest_subprocess("-s", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert re.search(r"named localhost/scratch-pytest-[0-9a-f]{12}:1\b", result.stdout.str())
    names = podman(python_home, "images", "--format", "{{.Repository}}")
    assert "localhost/tools" in names
    assert [name for name in names if "scratch-pytest" in name] == []
    assert containers(python_home) == []


@pytest.mark.podman
def test_containers_end_with_their_test_and_a_failure_shows_what_they_said(
    suite: pytest.Pytester, python_home: Home
) -> None:
    script = f"echo I am the server >&2; {LOOP}"
    suite.makepyfile(
        "import re, subprocess\n"
        "def names():\n"
        "    done = subprocess.run(['podman', 'ps', '-a', '--format', '{{.Names}}'], capture_output=True)\n"
        "    return done.stdout.decode().split()\n"
        "def test_fails(scratch_container):\n"
        f"    words = ['sh', '-c', {script!r}]\n"
        "    one = scratch_container('tools', words, ready=re.compile('server'))\n"
        "    two = scratch_container('tools', words, ready=re.compile('server'))\n"
        "    assert {one.name, two.name} <= set(names())\n"
        "    assert one.exec(['/busybox', 'echo', 'hi']).stdout == b'oh'\n"
        "def test_after():\n"
        "    assert names() == []\n"
    )
    result = suite.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    shown = result.stdout.str()
    assert len(re.findall(r"container rootless-scratch-\w+ teardown -+\nI am the server", shown)) == 2
    assert containers(python_home) == []


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.compiler
def test_the_example_of_the_documentation_passes(suite: pytest.Pytester, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (SOURCE / "docs/pytest.md").read_text(), re.DOTALL)
    program = tmp_path / "hello"
    subprocess.run(["gcc", "-static", "-o", program, SOURCE / "docs/hello.c"], check=True)
    assert "build/hello" in example
    suite.makepyfile(example.replace("build/hello", str(program)))
    result = suite.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
