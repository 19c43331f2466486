"""Hosts as they fail in practice, each made for one command: doctor names the cause, and its predictions hold."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SOURCE, Home
from worse_hosts import MODES, PAUSE, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.buildah

WORSE = SOURCE / "tests" / "worse_host.py"
OPERATIONS = ("build-direct", "build-buildah", "run")


@pytest.fixture(scope="module")
def template(hello: Path) -> Iterator[Home]:
    """A home whose storage has an image, with which podman has not had to do yet."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    settings = home.path / ".config/containers/storage.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text('[storage]\ndriver = "vfs"\n')
    shutil.copy(hello, home.path / "hello")
    assert home.cli("build", "-q", "hello", "-t", "hello").returncode == 0
    yield home
    home.remove()


@pytest.fixture
def home(template: Home) -> Iterator[Home]:
    """A copy of it."""
    place = Path(tempfile.mkdtemp(prefix="rst-"))
    place.rmdir()
    shutil.copytree(template.path, place, symlinks=True, ignore=shutil.ignore_patterns("run", "tmp"))
    home = Home(place)
    yield home
    home.remove()


@pytest.fixture
def out() -> Iterator[Path]:
    """A directory for what is built, outside of the home, of which hosts may make anything."""
    directory = Path(tempfile.mkdtemp(prefix="rst-"))
    yield directory
    subprocess.run(["buildah", "unshare", "rm", "-rf", str(directory)], check=True)


def in_path_without(home: Home, sbin: Path, names: tuple[str, ...]) -> str:
    """A PATH in which every program is but these."""
    farm = home.path / "bin"
    farm.mkdir()
    for directory in ("/usr/local/bin", "/usr/bin", "/usr/sbin"):
        for program in Path(directory).iterdir():
            link = farm / program.name
            if program.name not in names and not link.is_symlink():
                real = program.resolve()
                link.symlink_to(sbin / real.name if real.parent == Path("/usr/sbin") else real)
    return str(farm)


class Host:
    """What is called in it is called on the worse host."""

    def __init__(self, home: Home, mode: Mode, *, out: Path) -> None:
        self.home, self.mode, self.out = home, mode, out
        self.environment = home.environment | {"USER": pwd.getpwuid(os.getuid()).pw_name}
        if mode.before:
            subprocess.run(["sh", "-ec", mode.before], env=self.environment, check=True, capture_output=True)
        directory = home.path / "root"
        directory.mkdir()
        script = f"HOME_={home.path}\nOUT={out.parent}\n{mode.script}\n"
        if mode.without:
            # Programs are looked up in the administrator's directories too, whatever PATH says.
            script += "mkdir $D/sbin; mount --bind /usr/sbin $D/sbin; mount -t tmpfs tmpfs /usr/sbin\n"
            self.environment["PATH"] = in_path_without(home, directory / "sbin", mode.without)
        self.settings = {"directory": str(directory), "out": str(out.parent), "script": script, **mode.settings}
        self.settings["needs"] = [str(SOURCE), sys.prefix]
        self.environment |= {name: value for name, value in mode.environment.items() if value is not None}
        for name in [name for name, value in mode.environment.items() if value is None]:
            del self.environment[name]

    def cli(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """What `rootless-scratch WORDS` does on this host."""
        done = subprocess.run(
            [
                *(sys.executable, str(WORSE), json.dumps(self.settings)),
                *(*self.mode.prefix, sys.executable, "-m", "rootless_scratch", *words),
            ],
            env=self.environment,
            cwd=self.home.path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if words[0] in ("run", "debug") and PAUSE not in self.mode.before:
            for left in (*self.home.runtime.glob(PAUSE), *self.home.temporary.glob(f"*/{PAUSE}")):
                # It has ended with the call.
                left.unlink()
        return done

    def doctor(self) -> dict[str, Any]:
        done = self.cli("doctor", "--json")
        assert done.stderr == b""
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def really(self, operation: str) -> subprocess.CompletedProcess[bytes]:
        """Do what the operation is about."""
        program = str(self.home.path / "hello")
        if operation == "build-direct":
            return self.cli("build", "-q", program, "-o", f"oci:{self.out}")
        if operation == "build-buildah":
            return self.cli("build", "-q", program, "-t", "hello")
        if operation == "debug":
            return self.cli("debug", "hello", "--exec", "exit 0")
        return self.cli("run", "--json", "hello")


def serious(answer: dict[str, Any]) -> set[str]:
    return {each["rule"] for each in answer["findings"] if each["severity"] != "info"}


@pytest.fixture(scope="module")
def usual(template: Home) -> set[str]:
    """What this host is told anyway: the modes are made of it."""
    return serious(json.loads(template.cli("doctor", "--json").stdout))


@pytest.mark.podman
@pytest.mark.parametrize("name", MODES)
def test_doctor_names_what_is_wrong_and_nothing_else_and_what_it_says_of_each_operation_comes_true(
    name: str, home: Home, usual: set[str], out: Path
) -> None:
    mode = MODES[name]
    host = Host(home, mode, out=out / "written")
    answer = host.doctor()
    wanted = {rule for rule in mode.rules.split() if not rule.startswith("?")}
    perhaps = {rule[1:] for rule in mode.rules.split() if rule.startswith("?")}
    assert serious(answer) - usual - perhaps == wanted - usual, answer["findings"]
    for finding in answer["findings"]:
        if finding["rule"] in wanted:
            assert finding["evidence"]
            assert finding["effect"]
    fails = {each for each in OPERATIONS if not answer["operations"][each]["works"]}
    assert fails == set(mode.fails.split())
    outcomes = {operation: host.really(operation) for operation in (*OPERATIONS, "debug")}
    for operation, really in outcomes.items():
        said = answer["operations"][operation]["works"]
        assert (really.returncode == 0) == said, (operation, really.stderr.decode())
        assert b"Traceback" not in really.stderr
    if "run" not in fails:
        has_none = any("no network" in note for note in json.loads(outcomes["run"].stdout)["notes"])
        assert answer["operations"]["network"]["works"] == (not has_none)
    if mode.way:
        assert any(f"`run {mode.way}`" in each["message"] + each["fix"] for each in answer["findings"])
        done = host.cli("run", *mode.way.split(), "hello")
        assert done.returncode == 0, done.stderr.decode()
    if mode.fixes:
        host.cli("doctor", "--fix")
    if mode.fixes or mode.cure:
        host.environment |= mode.cure
        again = host.doctor()
        assert all(again["operations"][each]["works"] for each in OPERATIONS), again["findings"]
        for operation in OPERATIONS:
            really = host.really(operation)
            assert really.returncode == 0, (operation, really.stderr.decode())


def kept_files(home: Home) -> dict[str, tuple[int, float]]:
    """What the user has: settings and images."""
    places = [place for name in (".config", ".local/share") for place in (home.path / name).rglob("*")]
    return {str(each): (each.lstat().st_mode, each.lstat().st_mtime) for each in places if not each.is_dir()}


def kept_images(home: Home) -> set[str]:
    """Drivers, and names of images, of the user's storage."""
    found = set()
    for listed in (home.path / ".local/share/containers/storage").glob("*-images/images.json"):
        names = {name for image in json.loads(listed.read_text()) for name in image.get("names") or ()}
        found |= {f"{listed.parent.name} {name}" for name in names} | {listed.parent.name}
    return found


@pytest.mark.podman
@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if mode.builds or mode.runs])
def test_what_is_done_otherwise_is_said_with_its_rule_and_leaves_what_the_user_has(
    name: str, home: Home, out: Path
) -> None:
    mode = MODES[name]
    host = Host(home, mode, out=out / "written")
    files, images = kept_files(home), kept_images(home)
    built = host.cli("build", str(home.path / "hello"), "-t", "hello")
    assert built.returncode == 0, built.stderr.decode()
    for rule in mode.builds.split():
        assert f"[{rule}]" in built.stderr.decode()
    ran = host.cli("run", "--json", "hello")
    assert ran.returncode == 0, ran.stderr.decode()
    answer = json.loads(ran.stdout)
    assert answer["stdout"] == "Hello World\n"
    for rule in mode.runs.split():
        assert any(note.endswith(f"[{rule}]") for note in answer["notes"]), answer["notes"]
    assert kept_images(home) == images
    if mode.kept:
        after = kept_files(home)
        assert {place: after.get(place) for place in files} == files


@pytest.mark.podman
def test_an_image_that_skopeo_brings_into_storage_gets_a_storage_of_ours_too(home: Home, out: Path) -> None:
    host = Host(home, MODES["A32-overlay-on-overlay-without-images"], out=out / "written")
    built = host.cli("build", str(home.path / "hello"), "-t", "hello", "--backend", "direct")
    assert built.returncode == 0, built.stderr.decode()
    assert b"[host-storage-overlay]" in built.stderr
    ran = host.cli("run", "hello")
    assert (ran.returncode, ran.stdout) == (0, b"Hello World\n"), ran.stderr


@pytest.mark.podman
def test_the_driver_vfs_is_offered_only_where_podman_takes_it(home: Home, out: Path) -> None:
    host = Host(home, MODES["A32-overlay-on-overlay-in-the-database"], out=out / "written")

    def told() -> str:
        found = {each["rule"]: str(each["fix"]) for each in host.doctor()["findings"]}
        return found["host-storage-overlay"]

    assert "whatever STORAGE_DRIVER says" in told()
    host.environment["STORAGE_DRIVER"] = "vfs"
    assert "run" not in [name for name, each in host.doctor()["operations"].items() if each["works"]]
    refused = host.cli("run", "hello")
    assert refused.returncode == 125
    assert b"podman ignores STORAGE_DRIVER" in refused.stderr
    # Another storage has another database.
    del host.environment["STORAGE_DRIVER"]
    settings = home.path / ".config/containers/storage.conf"
    settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{home.path}/another"\n')
    assert all(each["works"] for name, each in host.doctor()["operations"].items() if name in OPERATIONS)


def test_a_program_without_a_container_is_told_which_storage_its_image_is_from(home: Home, out: Path) -> None:
    host = Host(home, MODES["A11-HOME-missing"], out=out / "written")
    assert host.cli("build", "-q", str(home.path / "hello"), "-t", "hello").returncode == 0
    done = host.cli("run", "--unpacked", "--json", "hello")
    answer = json.loads(done.stdout)
    assert answer["stdout"] == "Hello World\n"
    assert any(note.endswith("[host-home]") for note in answer["notes"]), answer["notes"]
    assert b"[host-home]" in host.cli("run", "--unpacked", "hello").stderr


@pytest.mark.parametrize("name", ["A12-no-user-namespaces", "A15-seccomp"])
def test_without_any_namespace_run_says_what_needs_none_and_that_works(name: str, home: Home, out: Path) -> None:
    host = Host(home, MODES[name], out=out / "written")
    layout = f"oci:{out}/hello"
    assert host.cli("build", "-q", str(home.path / "hello"), "-o", layout).returncode == 0
    refused = host.cli("run", layout)
    assert refused.returncode == 125
    assert f"`rootless-scratch run --unpacked {layout}`" in refused.stderr.decode()
    assert b"Hello World" not in refused.stdout
    done = host.cli("run", "--unpacked", layout)
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    assert done.stderr.startswith(b"note: Nothing isolates the program (--unpacked)")
    assert host.cli("check", layout).returncode == 0
    stored = host.cli("run", "--unpacked", "hello")
    assert stored.returncode == 125
    assert b"-o oci:DIR" in stored.stderr
    assert any("run --unpacked" in finding["message"] for finding in host.doctor()["findings"])


def test_what_is_to_be_stored_and_written_is_written_where_nothing_can_be_stored_and_that_is_said(
    home: Home, out: Path
) -> None:
    host = Host(home, MODES["A12-no-user-namespaces"], out=out / "written")
    words = ("build", str(home.path / "hello"), "-t", "hello", "-o", f"oci:{out}/hello")
    done = host.cli(*words)
    assert done.returncode == 1
    assert f"oci:{out}/hello: written all the same; leave -t out where that is enough." in done.stderr.decode()
    assert host.cli("check", f"oci:{out}/hello").stdout.endswith(b"starts\n")


@pytest.mark.podman
def test_without_a_policy_podman_is_given_one_for_what_it_loads(home: Home, out: Path) -> None:
    host = Host(home, MODES["A38-no-policy"], out=out / "written")
    done = host.cli("run", str(home.path / "hello"))
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    assert b"[host-policy-missing]" in done.stderr


def test_a_stage_is_isolated_by_chroot_where_proc_is_masked_unless_it_named_a_network(
    home: Home, out: Path
) -> None:
    host = Host(home, MODES["A18-masked-proc"], out=out / "written")
    host.environment.pop("BUILDAH_ISOLATION", None)
    shutil.copy(str(shutil.which("busybox")), home.path / "busybox")
    (home.path / "Containerfile").write_text(
        'FROM scratch AS first\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "cp", "/bin/busybox", "/made"]\n'
        'FROM scratch\nCOPY --from=first /made /made\nENTRYPOINT ["/made", "true"]\n'
    )
    words = ("build", "-f", "Containerfile", ".", "-o", f"oci:{out}/built")
    refused = host.cli(*words, "--network", "none")
    assert refused.returncode == 1
    done = host.cli(*words)
    assert done.returncode == 0, done.stderr.decode()
    assert b"isolated by chroot(2)" in done.stderr
    assert b"[host-proc-masked]" in done.stderr
