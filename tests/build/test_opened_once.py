"""What goes into an image is opened once: Python's audit hook counts in our process, inotify(7) in all of them."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put, refusal

import rootless_scratch as rs
from rootless_scratch.backends.direct import planned_image
from rootless_scratch.errors import SourceError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
GLIBC = "/lib64/ld-linux-x86-64.so.2"

AUDITED = """
import os, resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        os.write(log, os.fsencode(os.path.realpath(arguments[0])) + b"\\n")
sys.addaudithook(note)
"""
"""Hooks cannot be removed, so they are added in a process of their own."""

VERB = AUDITED + "from rootless_scratch.cli.main import main\nmain()\n"
SCRIPTED = AUDITED + "runpy.run_path(sys.argv.pop(1))\n"


class Host:
    """Files to build from below `path`, with a small system of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path / "host"
        self.put("lib64/ld-linux-x86-64.so.2", tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2"))
        for name, *needed in (("libc.so.6",), ("libz.so.1", "libc.so.6"), ("libplugin.so", "libc.so.6")):
            library = tinyelf.elf(type=tinyelf.DYN, dynamic=True, needed=needed)
            self.put(f"lib/x86_64-linux-gnu/{name}", library)

    def put(self, name: str, content: bytes = b"x") -> str:
        return put(self.path, name, content)

    def static(self, name: str = "hello", machine: str = "x86_64") -> str:
        return self.put(name, tinyelf.hello() if machine == "x86_64" else tinyelf.elf(machine=machine))

    def dynamic(self, name: str = "app", *imports: str) -> str:
        needed = ["libz.so.1", "libc.so.6"]
        return self.put(name, tinyelf.elf(interpreter=GLIBC, needed=needed, imports=imports))

    def tree(self) -> str:
        for name in ("a", "b", "sub/c"):
            self.put(f"tree/{name}", name.encode())
        self.dynamic("tree/bin/tool")
        self.put("tree/bin/script", b"#!/t/bin/tool\n")
        return f"{self.path}/tree"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def counted(host: Host, *words: str, program: str = VERB, limit: int = 1024) -> dict[str, int]:
    """How often each file below the host's directory is opened by this process."""
    log = host.path.parent / "log"
    done = subprocess.run(
        [sys.executable, "-c", program, str(limit), str(log), *words],
        cwd=host.path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    names = [Path(name) for name in log.read_text().splitlines()]
    log.unlink()
    # What is opened below a descriptor, such as remains of others in TMPDIR, has names that lead nowhere here.
    below = [
        str(name.relative_to(host.path)) for name in names if name.is_relative_to(host.path) and name.is_file()
    ]
    return dict(collections.Counter(below))


def two(host: Host) -> list[str]:
    return [host.static(), host.static("other")]


def platforms(host: Host) -> list[str]:
    names = [host.static("amd64/hello"), host.static("arm64/hello", "aarch64")]
    return [*names, "--copy", f"{host.put('conf')}:/etc/conf", "--copy", f"{host.tree()}:/t"]


def platform_options(host: Host) -> list[str]:
    arm = host.static("b", "aarch64")
    return ["--platform", f"linux/amd64={host.static('a')}", "--platform", f"linux/arm64={arm}"]


def bundled(host: Host) -> list[str]:
    return [host.dynamic(), "--bundle-libraries", "--sysroot", str(host.path), "--include-library", "libplugin.so"]


def copied(host: Host) -> list[str]:
    return [host.static(), "--copy", f"{host.tree()}:/t", "--copy", f"{host.put('conf')}:/etc/conf:mode=0600"]


def copied_and_bundled(host: Host) -> list[str]:
    words = ["--copy", f"{host.tree()}:/t", "--copy", f"{host.static('twice')}:/twice"]
    return [f"{host.path}/twice", *words, *bundled(host)[1:], "--entrypoint", '["/t/bin/script"]', host.dynamic()]


def automatic(host: Host) -> list[str]:
    app = host.dynamic("app", "mkstemp", "getpwnam", "SSL_CTX_set_default_verify_paths")
    return [app, *bundled(host)[1:], "--with", "auto", "--copy", f"{host.tree()}:/t"]


def essentials(host: Host) -> list[str]:
    roots = host.put(
        "ca.pem",
        "".join(
            map(ssl.DER_cert_to_PEM_cert, ssl.create_default_context().get_ca_certs(binary_form=True)[:1])
        ).encode(),
    )
    host.put("zones/UTC", b"TZif")
    host.put("mime.types", b"text/plain txt\n")
    passwd = host.put("passwd", b"nobody:x:65532:65532::/:/\n")
    group = host.put("group", b"nobody:x:65532:\n")
    copies = ["--copy", f"{passwd}:/etc/passwd", "--copy", f"{group}:/etc/group"]
    zones = ["--with", f"tzdata={host.path}/zones", "--with", "tzdata=UTC"]
    others = ["--with", f"ca-certificates={roots}", "--with", f"mime={host.path}/mime.types"]
    return [host.static(), *copies, *zones, *others]


BUILDS: Mapping[str, Callable[[Host], list[str]]] = {
    "one program": lambda host: [host.static()],
    "a script": lambda host: [host.put("start", b"#!/sh\n"), f"{host.static('sh')}:/sh"],
    "two programs": two,
    "two platforms": platforms,
    "--platform": platform_options,
    "--bundle-libraries": bundled,
    "--copy": copied,
    "--copy, --bundle-libraries": copied_and_bundled,
    "--with auto": automatic,
    "--with": essentials,
}


@pytest.mark.parametrize("name", BUILDS)
def test_whatever_goes_into_an_image_is_opened_once(host: Host, tmp_path: Path, name: str) -> None:
    words = BUILDS[name](host)
    found = counted(host, "build", *words, "-o", f"oci:{tmp_path}/image", "--no-check")
    assert found
    assert set(found.values()) == {1}, found


def test_other_verbs_open_it_once_too(host: Host, tmp_path: Path) -> None:
    words = copied_and_bundled(host)
    once = counted(host, "build", *words, "-o", f"oci:{tmp_path}/image", "--no-check")
    assert counted(host, "containerfile", *words, "-o", f"{tmp_path}/context", "--no-check") == once
    assert counted(host, "verify", f"oci:{tmp_path}/image", *words) == once
    assert counted(host, "check", host.dynamic(), "--bundle-libraries", "--sysroot", str(host.path))["app"] == 1


def test_the_scripted_way_opens_it_once(host: Host, tmp_path: Path) -> None:
    script = host.path.parent / "script.py"
    script.write_text(
        "import sys, rootless_scratch as rs\n"
        "with rs.scratch(output=f'oci:{sys.argv[2]}') as root:\n"
        "    root.add(sys.argv[1])\n"
        "assert root.image\n"
    )
    assert counted(host, str(script), host.static(), f"{tmp_path}/image", program=SCRIPTED) == {"hello": 1}


@pytest.mark.parametrize(("mode", "times"), [("", 2), (":mode=0644", 1)])
def test_what_finds_no_descriptor_is_opened_again_to_be_copied(
    host: Host, tmp_path: Path, mode: str, times: int
) -> None:
    """A quarter of the descriptors is for programs, half of it for others; the default mode needs a look."""
    for number in range(64):
        host.put(f"tree/{number}", bytes(20_000))
    words = [host.static(), host.static("other"), "--copy", f"{host.path}/tree:/tree{mode}"]
    found = counted(host, "build", *words, "-o", f"oci:{tmp_path}/image", limit=64)
    assert found.pop("hello") == found.pop("other") == 1
    assert max(found.values()) == times
    assert list(found.values()).count(times) >= 64 - 8


@pytest.mark.parametrize("mode", ["", ":mode=0644", ":mode=keep"])
def test_small_files_are_read_where_they_are_looked_at(host: Host, tmp_path: Path, mode: str) -> None:
    for number in range(64):
        host.put(f"tree/{number}")
    words = [host.static(), "--copy", f"{host.path}/tree:/tree{mode}"]
    found = counted(host, "build", *words, "-o", f"oci:{tmp_path}/image", limit=64)
    assert len(found) == 65
    assert set(found.values()) == {1}


@pytest.mark.parametrize("change", ["written to", "exchanged", "removed", "linked elsewhere"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_change_between_plan_and_image_is_an_error_also_of_what_is_open(
    tmp_path: Path, change: str, *, keep: bool
) -> None:
    (tmp_path / "new").mkdir()
    program, other = tinyelf.write(tmp_path / "program"), tinyelf.write(tmp_path / "new/program")
    (tmp_path / "here").symlink_to(".")
    with HostFiles(keep=keep) as files:
        planned = plan(Spec(programs=(Copy(source=f"{tmp_path}/here/program"),)), environ={}, files=files)
        if change == "written to":
            program.write_bytes(other.read_bytes()[:-1])
        elif change == "exchanged":
            other.replace(program)
        elif change == "removed":
            program.unlink()
        else:
            (tmp_path / "here").unlink()
            (tmp_path / "here").symlink_to("new")
        error = refusal(lambda: planned_image(planned, files), SourceError)
    expected = "can no longer be read" if change == "removed" else "changed since it was planned"
    assert expected in error.message


@pytest.mark.parametrize("change", ["written to", "exchanged", "removed"])
@pytest.mark.parametrize("size", [10, 20_000, 100_000])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_copied_file_that_changes_between_plan_and_image_is_an_error(
    tmp_path: Path, change: str, size: int, mode: int | None, *, keep: bool
) -> None:
    """Also where all of it was read when it was looked at."""
    content = bytes(size)
    file, other = (Path(put(tmp_path, name, content)) for name in ("srv/page", "page"))
    copy = Copy(source=f"{tmp_path}/srv", destination="/srv", mode=mode)
    with HostFiles(keep=keep) as files:
        program = Copy(source=str(tinyelf.write(tmp_path / "program")))
        planned = plan(Spec(programs=(program,), copies=(copy,)), environ={}, files=files)
        first, second = (planned_image(planned, files).config.digest for _ in range(2))
        assert first == second
        if change == "written to":
            # The clock of file systems ticks every few milliseconds.
            before = file.stat().st_ctime_ns
            while file.stat().st_ctime_ns == before:
                file.write_bytes(content)
        elif change == "exchanged":
            other.replace(file)
        else:
            file.unlink()
        error = refusal(lambda: planned_image(planned, files), SourceError)
    expected = "can no longer be read" if change == "removed" else "changed since it was planned"
    assert expected in error.message


def test_nothing_stays_open(host: Host) -> None:
    before = os.listdir("/proc/self/fd")
    with HostFiles() as files:
        program = files.program(host.static())
        assert files.program(f"{host.path}/../host/hello").identity == program.identity
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    assert os.listdir("/proc/self/fd") == before


def test_whoever_ends_it_first_ends_it(host: Host) -> None:
    """The block of `rs.scratch` and the build at its end have one and the same."""
    before = os.listdir("/proc/self/fd")
    with HostFiles() as files:
        with files:
            files.program(host.static())
        assert os.listdir("/proc/self/fd") == before
        files.program(host.static("other"))
        assert os.listdir("/proc/self/fd") == before
    assert os.listdir("/proc/self/fd") == before


def test_a_block_that_is_dropped_keeps_nothing_open(host: Host) -> None:
    before = os.listdir("/proc/self/fd")
    rs.scratch(tag="x").__enter__().add(host.static())
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


AT_ONCE = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import rootless_scratch as rs
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
program, tree, place = sys.argv[1:]
def build(number):
    return rs.build(program, copy=[f"{tree}:/tree"], output=f"oci:{place}/{number}").image_id
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(build, range(8)))))
others = [open("/dev/null") for _ in range(130)]
build("full")
"""


def test_builds_leave_descriptors_to_each_other_and_to_their_caller(host: Host, tmp_path: Path) -> None:
    for number in range(100):
        host.put(f"tree/{number}", b"#!/hello\n")
    words = [sys.executable, "-c", AT_ONCE, host.static(), f"{host.path}/tree", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr.decode()


class Watch:
    """Counts opens of these files by any process: inotify(7)."""

    _OPEN, _MASK = 0x20, 0x20 | 0x10 | 0x1

    def __init__(self, paths: list[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        # Two events of one kind that follow each other are one: reads and closings lie between opens.
        self._names = {
            self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), self._MASK): path for path in paths
        }

    def opened(self) -> dict[Path, int]:
        events = os.read(self._descriptor, 1 << 20)
        os.close(self._descriptor)
        heads = [events[at : at + 16] for at in range(0, len(events), 16)]
        watches = (int.from_bytes(head[:4], sys.byteorder) for head in heads if head[4] & self._OPEN)
        return dict(collections.Counter(self._names[each] for each in watches))


@pytest.mark.buildah
@pytest.mark.parametrize("name", [each for each in BUILDS if "platform" not in each])
def test_for_local_storage_too_it_is_opened_once_by_all_processes_together(
    shared_home: Home, host: Host, name: str
) -> None:
    words = BUILDS[name](host)
    watch = Watch([path for path in host.path.rglob("*") if path.is_file()])
    shared_home.json("build", *words, "-t", "opened-once", "--no-check")
    found = watch.opened()
    assert found
    assert set(found.values()) == {1}, found


TIMED = """
import socket, sys
import rootless_scratch as rs
socket.setdefaulttimeout(30)
rs.build(sys.argv[1], copy=[f"{sys.argv[2]}:/tree"], tag="timed")
"""


@pytest.mark.buildah
def test_a_default_timeout_of_the_callers_sockets_is_not_that_of_the_workers(
    shared_home: Home, host: Host
) -> None:
    """The job is larger than what the kernel keeps of it, so both ends wait for each other."""
    for number in range(3000):
        host.put(f"tree/{number:0200}")
    shared_home.run([sys.executable, "-c", TIMED, host.static(), f"{host.path}/tree"])


@pytest.mark.buildah
def test_where_the_kernel_passes_no_descriptors_the_worker_opens_the_files_itself(
    shared_home: Home, host: Host
) -> None:
    """Only so many may be under way between all processes of a user: ETOOMANYREFS of unix(7)."""
    program = host.static()
    watch = Watch([Path(program)])
    limited = ["bash", "-c", 'ulimit -n 300 && exec "$@"', "bash"]
    with open(os.devnull) as null, contextlib.ExitStack() as stack:
        for _ in range(2):
            one, other = (stack.enter_context(each) for each in socket.socketpair())
            socket.send_fds(one, [b"x"], [null.fileno()] * 250)
            assert other.fileno() >= 0
        words = [sys.executable, "-m", "rootless_scratch", "build", program, "-t", "not-passed"]
        shared_home.run([*limited, *words])
    assert watch.opened() == {Path(program): 2}
