"""The way out: a Containerfile and its context, which plain buildah turns into the same files and config."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

from rootless_scratch.errors import BuildError, SourceError, SpecError
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.write import containerfile as module
from rootless_scratch.image.write.containerfile import containerfile, write_context

if TYPE_CHECKING:
    from rootless_scratch.image.plan.planner import Plan


def put(directory: Path, content: bytes, name: str = "hello") -> str:
    file = directory / name
    file.write_bytes(content)
    return str(file)


def planned(directory: Path, **options: Any) -> Plan:  # noqa: ANN401 - passed on to Spec
    """A plan whose program is `hello` of `directory`, plus whatever a test is about."""
    programs = (Copy(source=put(directory, tinyelf.hello())),)
    return plan(Spec(**{"names": ("hello",), "programs": programs} | options), environ={})


def instructions(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def command(text: str) -> str:
    """The build command that the comment of a Containerfile names."""
    (line,) = [line for line in text.split("\n") if line.startswith("#   buildah build ")]
    return line.removeprefix("#   ")


# The text


def test_the_containerfile_of_one_program_fits_on_a_page(tmp_path: Path) -> None:
    size = len(tinyelf.hello())
    assert containerfile(planned(tmp_path)) == (
        "# Gives the same files and the same config as `rootless-scratch build`, "
        "with this directory as the context:\n"
        "#   buildah build --timestamp 0 --platform linux/amd64 --identity-label=false --unsetenv PATH "
        "-t localhost/hello:latest .\n"
        "# rootfs/ holds (mode, owner, bytes, path):\n"
        f"#   0755  0:0  {size}  /hello from {shlex.quote(str(tmp_path / 'hello'))}\n"
        "FROM scratch\n"
        "COPY rootfs/ /\n"
        "WORKDIR /\n"
        "USER 65532:65532\n"
        'ENTRYPOINT ["/hello"]\n'
    )


def test_every_setting_is_one_instruction_quoted_where_it_must_be(tmp_path: Path) -> None:
    text = containerfile(
        planned(
            tmp_path,
            directories=(NewDirectory(path="/a b"), NewDirectory(path="/data")),
            entrypoint=("/hello", 'say "$A"'),
            cmd=("\n", "ä"),
            env=(("Z", "1"), ("A", 'a "quoted" \\ $word'), ("EMPTY", ""), ("PATH", "/bin:/usr/bin")),
            labels=(("b", "x y"), ("a key", "v")),
            ports=("80", "53/udp"),
            volumes=("/data", "/a b"),
            workdir="/a b",
            user="65532",
            stop_signal="INT",
        )
    )
    assert instructions(text) == [
        "FROM scratch",
        "COPY rootfs/ /",
        'LABEL "a key"=v',
        'LABEL b="x y"',
        "ENV Z=1",
        'ENV A="a \\"quoted\\" \\\\ \\$word"',
        'ENV EMPTY=""',
        "ENV PATH=/bin:/usr/bin",
        "EXPOSE 53/udp",
        "EXPOSE 80/tcp",
        'VOLUME ["\\"/a b\\""]',
        'VOLUME ["/data"]',
        'WORKDIR "/a b"',
        "USER 65532",
        "STOPSIGNAL SIGINT",
        'ENTRYPOINT ["/hello", "say \\"$A\\""]',
        'CMD ["\\n", "ä"]',
    ]
    assert "--unsetenv" not in command(text)


def test_a_newline_comes_in_by_a_build_argument_that_no_variable_hides(tmp_path: Path) -> None:
    text = containerfile(planned(tmp_path, env=(("NEWLINE", "x"), ("A", "one\ntwo"))))
    assert instructions(text)[2:5] == ["ARG NEWLINE_", "ENV NEWLINE=x", 'ENV A="one${NEWLINE_}two"']
    assert "--build-arg $'NEWLINE_=\\n' " in command(text)


def test_annotations_time_and_platform_stand_in_the_command_on_one_line(tmp_path: Path) -> None:
    text = containerfile(planned(tmp_path, annotations=(("a", "it's\n1"), ("b", "$x y")), created="86400"))
    assert command(text) == (
        "buildah build --timestamp 86400 --platform linux/amd64 --identity-label=false --unsetenv PATH "
        "--annotation $'a=it\\'s\\n1' --annotation 'b=$x y' -t localhost/hello:latest ."
    )
    assert "--timestamp" not in containerfile(planned(tmp_path, created="now"))


def test_what_copy_would_change_goes_into_an_archive_with_all_that_lies_below(tmp_path: Path) -> None:
    conf = put(tmp_path, b"secret", "conf")
    text = containerfile(
        planned(
            tmp_path,
            copies=(
                Copy(source=conf, destination="/own/conf", mode=0o600),
                Copy(source=conf, destination="/setuid", mode=0o4755),
                Copy(source=conf, destination="/unreadable", mode=0),
                Copy(source=conf, destination="/ping", capabilities="cap_net_raw+ep"),
            ),
            directories=(
                NewDirectory(path="/own", uid=7, gid=8),
                NewDirectory(path="/tmp", mode=0o1777),
                NewDirectory(path="/shut", mode=0o500),
            ),
            symlinks=(NewSymlink(path="/sh", target="hello"),),
        )
    )
    assert instructions(text)[1:3] == ["COPY rootfs/ /", "ADD rootfs.tar /"]
    listing = text[text.index("# rootfs/ holds") : text.index("FROM scratch")].splitlines()
    size, source = len(tinyelf.hello()), shlex.quote(conf)
    assert listing == [
        "# rootfs/ holds (mode, owner, bytes, path):",
        f"#   0755  0:0  {size}  /hello from {shlex.quote(str(tmp_path / 'hello'))}",
        f"#   0777  0:0  {'':{len(str(size))}}  /sh -> hello",
        f"#   1777  0:0  {'':{len(str(size))}}  /tmp/",
        "# rootfs.tar holds (mode, owner, bytes, path):",
        "#   0755  7:8     /own/",
        f"#   0600  0:0  6  /own/conf from {source}",
        f"#   0644  0:0  6  /ping with cap_net_raw+ep from {source}",
        f"#   4755  0:0  6  /setuid from {source}",
        "#   0500  0:0     /shut/",
        f"#   0000  0:0  6  /unreadable from {source}",
    ]


def test_names_in_the_comment_cannot_forge_lines_or_hide(tmp_path: Path) -> None:
    names = ("line\nRUN evil", "bidi\u202ename", "raw\udcff", "end\\")
    copies = tuple(Copy(source=put(tmp_path, b"", name), destination=f"/{name}") for name in names)
    text = containerfile(planned(tmp_path, copies=copies))
    assert not any(line.startswith("RUN") for line in text.split("\n"))
    for shown in (r"$'/line\nRUN evil'", r"$'/bidi\342\200\256name'", r"$'/raw\377'", "'/end\\'"):
        assert f"{shown} from " in text


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    text = containerfile(
        planned(tmp_path, directories=tuple(NewDirectory(path=f"/d{number}") for number in range(10_000)))
    )
    assert "#   ... and 9801 more\n" in text
    assert len(text.splitlines()) < 250


@pytest.mark.parametrize(
    ("options", "cause", "fix"),
    [
        ({"workdir": "/app"}, "WORKDIR of a Containerfile makes the directory '/app'", "--mkdir /app"),
        ({"volumes": ("/da ta",)}, "VOLUME of a Containerfile makes the directory", "--mkdir '/da ta'"),
        (
            {"volumes": ("/data ",), "directories": (NewDirectory(path="/data "),)},
            "loses the white space",
            "another name",
        ),
        ({"labels": (("a", "x" * 65536),)}, "`LABEL a=xxx.* has more than 65535 bytes", "Shorten"),
        ({"annotations": (("a", "ä" * 33000),)}, "`#   buildah build .* 65535 bytes", "Shorten"),
        ({"programs": (), "entrypoint": ("/hello",)}, "No program of the image tells its platform", "Name"),
    ],
)
def test_what_a_containerfile_would_say_wrongly_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], cause: str, fix: str
) -> None:
    decided = planned(tmp_path, **options)
    with pytest.raises(SpecError, match=cause) as caught:
        write_context(decided, str(tmp_path / "context"))
    assert fix in caught.value.fix
    assert not (tmp_path / "context").exists()


def test_a_working_directory_that_a_link_of_the_image_leads_to_is_there(tmp_path: Path) -> None:
    links = (NewSymlink(path="/current", target="app"),)
    text = containerfile(
        planned(tmp_path, directories=(NewDirectory(path="/app"),), symlinks=links, workdir="/current")
    )
    assert "WORKDIR /current" in instructions(text)


def test_the_variant_that_buildah_gets_wrong_is_told(tmp_path: Path) -> None:
    program = put(tmp_path, tinyelf.elf(machine="arm", tail=tinyelf.arm_attributes(6)), "old")
    decided = plan(Spec(programs=(Copy(source=program),)), environ={})
    assert decided.platform == "linux/arm/v6"
    assert "gives every image for arm the variant v7" in containerfile(decided)


def test_the_template_of_an_installed_package_lies_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Containerfile.in").write_text("FROM scratch\n# ${build}\n${listing}\n${copies}\n${config}\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "containerfile.py"))
    module._template.cache_clear()  # noqa: SLF001 - it is read once per process
    try:
        assert containerfile(planned(tmp_path)).startswith("FROM scratch\n# buildah build ")
    finally:
        module._template.cache_clear()  # noqa: SLF001 - likewise


# The context


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_context_has_exact_modes_and_times_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    decided = planned(
        tmp_path,
        copies=(Copy(source=put(tmp_path, b"x", "x"), destination="/etc/x", mode=0o666),),
        directories=(NewDirectory(path="/tmp", mode=0o1777), NewDirectory(path="/own", uid=5)),
        created="86400",
    )
    before = os.umask(umask)
    try:
        write_context(decided, str(tmp_path / "context"))
    finally:
        os.umask(before)
    found = {
        str(path.relative_to(tmp_path)): (oct(stat.S_IMODE(path.stat().st_mode)), path.stat().st_mtime)
        for path in (tmp_path / "context").rglob("*")
    }
    assert found == {
        "context/Containerfile": ("0o644", 86400),
        "context/rootfs": ("0o755", 86400),
        "context/rootfs/etc": ("0o755", 86400),
        "context/rootfs/etc/x": ("0o666", 86400),
        "context/rootfs/hello": ("0o755", 86400),
        "context/rootfs/tmp": ("0o1777", 86400),
        "context/rootfs.tar": ("0o600", 86400),
    }
    assert stat.S_IMODE((tmp_path / "context").stat().st_mode) == 0o755


def test_two_contexts_of_one_plan_are_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "tree"
    source.mkdir()
    for name in ("b", "a", "ä", "raw\udcff"):
        put(source, name.encode("utf-8", "surrogateescape"), name)
    decided = planned(
        tmp_path,
        copies=(
            Copy(source=str(source), destination="/root"),
            Copy(source=str(source), destination="/other", uid=7),
        ),
        symlinks=(NewSymlink(path="/link", target="root"),),
    )
    for name in ("one", "two"):
        write_context(decided, str(tmp_path / name))
    done = subprocess.run(["diff", "-r", "--no-dereference", "one", "two"], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_an_empty_directory_is_filled_and_stays_the_one_it_was(tmp_path: Path) -> None:
    target = tmp_path / "context"
    target.mkdir(mode=0o750)
    before = target.stat()
    write_context(planned(tmp_path), str(target))
    assert (target.stat().st_ino, target.stat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(target)) == ["Containerfile", "rootfs"]


def test_a_place_that_cannot_be_used_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    decided = planned(tmp_path)
    write_context(decided, str(tmp_path / "full"))
    (tmp_path / "closed").mkdir(mode=0o500)
    for place, cause in (
        ("full", "is not empty: it has 'Containerfile'"),
        ("hello", "is not a directory"),
        ("none/context", "No such file or directory"),
        ("closed/context", "Permission denied"),
        ("closed", "Permission denied"),
    ):
        with pytest.raises(BuildError, match=cause) as caught:
            write_context(decided, str(tmp_path / place))
        assert caught.value.fix
    assert sorted(os.listdir(tmp_path)) == ["closed", "full", "hello"]


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("uid", [0, 7])
def test_a_source_that_changed_or_went_since_it_was_planned_leaves_nothing_behind(
    tmp_path: Path, uid: int, exists: bool
) -> None:
    source = put(tmp_path, b"as planned", "conf")
    decided = planned(tmp_path, copies=(Copy(source=source, destination="/conf", uid=uid),))
    target = tmp_path / "context"
    if exists:
        target.mkdir()
    Path(source).write_bytes(b"other bytes")
    with pytest.raises(SourceError, match="changed since it was planned"):
        write_context(decided, str(target))
    Path(source).unlink()
    with pytest.raises(SourceError, match="can no longer be read"):
        write_context(decided, str(target))
    assert sorted(os.listdir(tmp_path)) == (["context", "hello"] if exists else ["hello"])
    assert not exists or not os.listdir(target)


@pytest.mark.parametrize("uid", [0, 7])
def test_a_source_that_shrinks_while_it_is_copied_is_told_as_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    source = put(tmp_path, bytes(100_000), "conf")
    decided = planned(tmp_path, copies=(Copy(source=source, destination="/a/conf", uid=uid),))
    real = os.fstat

    def shrink_after_the_first_look(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_size == 100_000:
            os.truncate(source, 10)
        return status

    monkeypatch.setattr(os, "fstat", shrink_after_the_first_look)
    with pytest.raises(SourceError, match="changed since it was planned"):
        write_context(decided, str(tmp_path / "context"))
    assert sorted(os.listdir(tmp_path)) == ["conf", "hello"]


def test_a_disk_that_does_not_take_it_is_one_sentence_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    decided = planned(tmp_path)
    monkeypatch.setattr(os, "utime", full)
    with pytest.raises(BuildError, match="No space left on device"):
        write_context(decided, str(tmp_path / "context"))
    assert os.listdir(tmp_path) == ["hello"]
