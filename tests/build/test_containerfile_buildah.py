"""The oracle: plain buildah makes the same files and the same config of a Containerfile and its context."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import tinyelf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from layouts import Built, Node, read_layout

from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.write.containerfile import write_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.plan.planner import Plan

pytestmark = pytest.mark.buildah

NAMES = (
    b"with space",
    b" ends ",
    b"q'uo\"te",
    b"new\nline",
    b"-lead",
    b"$HOME",
    b"${NEWLINE}",
    b"a*b?[c]",
    b"back\\slash\\",
    b"nonutf\xff",
    "ä€😀\u202e".encode(),
    b"#comment",
    b"!not",
    b"{{.}}",
    b"~",
    b"BZh9",
    b"\x1f\x8b\x08",
    b".dockerignore",
    b".containerignore",
)
"""What shells, Containerfiles, ignore files, archives and terminals trip over."""

VALUES = (
    *(
        "",
        " ",
        " a  b ",
        "trail ",
        "\t",
        "#x",
        "\n#x",
        "a\nb\n",
        "\n",
        "\r",
        "a\r\nb\r",
        "\\",
        "\\\\",
        "a\\",
        "\\n",
    ),
    *("$", "$HOME", "\\$HOME", "${NEWLINE}", "${a:-b}", "$(x)", "`x`", "'", '"', "it's", "'\"'", "'$A'", '\\"'),
    *(
        "=",
        "a=b",
        "--x",
        "*",
        "[a]",
        "~",
        "<<EOF",
        "&&|;<>",
        "é€😀",
        "\x01\x1b\x7f",
        "\u2028\u0085\ufeff",
        "\u202e",
    ),
)


class Home(Protocol):
    """What the tests' conftest gives: a home directory with an image store of its own."""

    path: Path
    environment: dict[str, str]

    def run(self, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[bytes]: ...


def put(directory: Path, content: bytes, name: str = "hello") -> str:
    file = directory / name
    file.write_bytes(content)
    return str(file)


def planned(directory: Path, **options: Any) -> Plan:  # noqa: ANN401 - passed on to Spec
    """A plan whose program is `hello` of `directory`, plus whatever a test is about."""
    programs = (Copy(source=put(directory, tinyelf.hello())),)
    return plan(Spec(**{"names": ("hello",), "programs": programs} | options), environ={})


def command(text: str) -> str:
    """The build command that the comment of a Containerfile names."""
    (line,) = [line for line in text.split("\n") if line.startswith("#   buildah build ")]
    return line.removeprefix("#   ")


def everything(directory: Path) -> Plan:
    """A plan with all that an image can have, under the names that are hardest to carry."""
    source = os.fsencode(directory / "tree")
    os.makedirs(source + b"/empty/deep")
    for name in NAMES:
        (Path(os.fsdecode(source)) / os.fsdecode(name)).write_bytes(name)
    os.symlink(b"\xff\n $x", source + b"/link")
    data = put(directory, bytes(range(256)) * 300, "data")
    modes = (0o000, 0o400, 0o640, 0o666, 0o777, 0o1755, 0o2755, 0o4755, 0o6711)
    capabilities = "cap_setuid,cap_net_raw,cap_bpf+ep"
    return planned(
        directory,
        copies=(
            Copy(source=os.fsdecode(source), destination="/root"),
            Copy(source=os.fsdecode(source), destination="/others", uid=65532, gid=65533),
            Copy(source=os.fsdecode(source), destination="/others/again", gid=1),
            Copy(source=data, destination="/root/mine", uid=1000),
            Copy(source=data, destination="/group", gid=1000),
            Copy(source=data, destination="/raw\udcfe/inside"),
            Copy(source=data, destination="/ping", capabilities=capabilities),
            Copy(source=data, destination="/ping-too", mode=0o4700, gid=9, capabilities="cap_chown+p"),
            *(Copy(source=data, destination=f"/modes/{mode:o}", mode=mode) for mode in modes),
            *(Copy(source=data, destination=f"/modes/u{mode:o}", mode=mode, uid=3, gid=4) for mode in modes),
        ),
        directories=(
            *(NewDirectory(path=f"/dirs/{mode:o}/in", mode=0o711) for mode in (*modes, 0o700, 0o3777)),
            *(NewDirectory(path=f"/dirs/{mode:o}", mode=mode) for mode in (*modes, 0o700, 0o3777)),
            *(NewDirectory(path=f"/dirs/u{mode:o}", mode=mode, uid=5, gid=6) for mode in (*modes, 0o1777)),
            NewDirectory(path='/wor k$"\\'),
            NewDirectory(path="/kept/\nx", mode=0o1770, uid=7, gid=8),
        ),
        symlinks=(
            NewSymlink(path="/absolute", target="/nowhere/../x"),
            NewSymlink(path="/raw-target", target="\udcff"),
            NewSymlink(path="/to-kept", target="/kept"),
        ),
        entrypoint=("/hello", *VALUES),
        cmd=tuple(reversed(VALUES)),
        env=(
            ("PATH", "/usr/bin:/bin"),
            *((f"V{number}", value) for number, value in enumerate(VALUES)),
            *((f"name{value.replace('=', '')}", value) for value in VALUES),
        ),
        labels=(
            *((f"V{number}", value) for number, value in enumerate(VALUES)),
            *((f"name{value.replace('=', '')}", value) for value in VALUES),
        ),
        annotations=tuple((f"org.example.{number}", value) for number, value in enumerate(VALUES)),
        ports=("8080", "53/udp", "9899/sctp"),
        volumes=("/kept/\nx", "/to-kept", '/wor k$"\\'),
        workdir='/wor k$"\\',
        user="1000:$g",
        stop_signal="SIGINT",
        created="1234567890",
    )


def build(home: Home, decided: Plan, directory: Path) -> Built:
    """Write the context, run the very command that its comment names, and read the image from a layout."""
    write_context(decided, str(directory / "context"))
    text = (directory / "context" / "Containerfile").read_bytes().decode()
    done = subprocess.run(
        ["bash", "-c", command(text)],
        cwd=directory / "context",
        env=home.environment | {"BUILDAH_LAYERS": "false"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    home.run(["buildah", "push", "-q", decided.names[0], f"oci:{directory}/layout:built"])
    return read_layout(directory / "layout")


def bytes_of(file: File) -> bytes:
    return file.content or b"" if file.source is None else Path(file.source).read_bytes()


def expected_files(decided: Plan) -> dict[str, Node]:
    return {
        entry.path: Node(
            type=type(entry).__name__.lower(),
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            content=(
                hashlib.sha256(bytes_of(entry)).hexdigest()
                if isinstance(entry, File)
                else entry.target
                if isinstance(entry, Symlink)
                else ""
            ),
            capabilities=(
                encode_capabilities(entry.capabilities)
                if isinstance(entry, File) and entry.capabilities is not None
                else b""
            ),
        )
        for entry in decided.rootfs
    }


def assert_equal(built: Built, decided: Plan) -> None:
    expected = expected_files(decided)
    assert sorted(built.files) == sorted(expected)
    assert {path: node for path, node in built.files.items() if node != expected[path]} == {}
    wanted = decided.config.as_oci()
    assert {key: value for key, value in built.config.items() if key not in ("rootfs", "history")} == wanted
    # buildah 1.28 adds these, empty, to every image from scratch.
    base = {"org.opencontainers.image.base.digest": "", "org.opencontainers.image.base.name": ""}
    assert built.annotations == base | dict(decided.annotations)
    assert built.layers == 1


def test_buildah_makes_the_same_image_of_one_program(shared_home: Home, tmp_path: Path) -> None:
    decided = planned(tmp_path, names=("containerfile-hello:1",))
    assert_equal(build(shared_home, decided, tmp_path), decided)


def test_buildah_makes_the_same_image_of_everything_that_an_image_can_have(
    shared_home: Home, tmp_path: Path
) -> None:
    decided = everything(tmp_path)
    assert_equal(build(shared_home, decided, tmp_path), decided)


def test_an_archive_whose_first_name_looks_compressed_is_read_all_the_same(
    shared_home: Home, tmp_path: Path
) -> None:
    source = put(tmp_path, b"x", "x")
    # buildah 1.28 cannot store a layer whose own first name is such a one: here it is `A`.
    copies = (Copy(source=source, destination="/A"), Copy(source=source, destination="/BZh9", uid=1))
    decided = planned(tmp_path, names=("containerfile-first",), copies=copies)
    assert_equal(build(shared_home, decided, tmp_path), decided)


@pytest.mark.parametrize(
    ("content", "platform"),
    [
        (tinyelf.elf(machine="aarch64"), "linux/arm64/v8"),
        (tinyelf.elf(machine="arm", tail=tinyelf.arm_attributes(10)), "linux/arm/v7"),
        (tinyelf.elf(machine="s390x"), "linux/s390x"),
    ],
)
def test_buildah_makes_the_same_image_for_other_processors(
    shared_home: Home, tmp_path: Path, content: bytes, platform: str
) -> None:
    name = "containerfile-" + platform.replace("/", "-")
    program = Copy(source=put(tmp_path, content, "program"), uid=1)
    decided = planned(tmp_path, names=(name,), programs=(program,))
    assert decided.platform == platform
    assert_equal(build(shared_home, decided, tmp_path), decided)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
        | st.text(alphabet="\\\"'$ {}\n\r#=", max_size=12),
        min_size=20,
        max_size=60,
    )
)
@example(values=list(VALUES))
def test_buildah_reads_any_text_back_as_it_was_meant(shared_home: Home, values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        pairs = tuple((f"K{number}", value) for number, value in enumerate(values))
        named = tuple((value.replace("=", "") or "empty", str(number)) for number, value in enumerate(values))
        directories = {f"/w{value.replace('/', '')[:50]}" for value in values if ".." not in value}
        volumes = tuple(sorted(path for path in directories if path == path.strip()))
        decided = planned(
            Path(name),
            names=("containerfile-text",),
            directories=tuple(NewDirectory(path=path) for path in sorted(directories)),
            workdir=min(directories),
            volumes=volumes,
            env=(("PATH", "/"), *pairs, *named),
            labels=(*pairs, *named),
            cmd=tuple(values),
        )
        assert_equal(build(shared_home, decided, Path(name)), decided)
