"""From a Spec to a Plan: which files an image holds, with which metadata, and what is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import msgspec
import pytest
import tinyelf
from planning import planned, put, refusal

from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.syntax import parse_copy, parse_program

if TYPE_CHECKING:
    from pathlib import Path


def test_one_program_is_one_file_with_everything_else_by_default(tmp_path: Path) -> None:
    hello = put(tmp_path, "hello", tinyelf.hello())
    made = plan(Spec(names=("hello",), programs=(parse_program(hello),)), environ={})
    (file,) = made.rootfs
    assert isinstance(file, File)
    assert (file.path, file.mode, file.uid, file.gid) == ("/hello", 0o755, 0, 0)
    assert made.names == ("localhost/hello:latest",)
    assert made.platform == "linux/amd64"
    assert made.config.as_oci() == {
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "65532:65532", "Entrypoint": ["/hello"], "WorkingDir": "/"},
    }
    assert made.mtime == 0
    assert [program.path for program in made.programs] == ["/hello"]


def test_a_destination_that_ends_in_a_slash_is_a_directory(tmp_path: Path) -> None:
    hello = put(tmp_path, "hello", tinyelf.hello())
    assert list(planned(f"{hello}:/usr/bin/")) == ["/usr", "/usr/bin", "/usr/bin/hello"]
    assert list(planned(f"{hello}:/")) == ["/hello"]
    assert list(planned(copies=(Copy(source=hello, destination="/opt/"),))) == ["/opt", "/opt/hello"]
    assert list(planned(copies=(Copy(source=hello),))) == ["/hello"]


def test_a_copied_directory_gives_its_content_to_the_destination_as_copy_does(tmp_path: Path) -> None:
    put(tmp_path, "conf/app.conf")
    for destination in ("/etc", "/etc/"):
        entries = planned(copies=(Copy(source=f"{tmp_path}/conf", destination=destination),))
        assert list(entries) == ["/etc", "/etc/app.conf"]
    assert list(planned(copies=(Copy(source=f"{tmp_path}/conf", destination="/"),))) == ["/app.conf"]
    assert list(planned(copies=(Copy(source=f"{tmp_path}/conf/"),))) == ["/conf", "/conf/app.conf"]


def test_the_modes_come_from_what_the_files_are_never_from_the_host(tmp_path: Path) -> None:
    put(tmp_path, "tree/program", tinyelf.hello())
    put(tmp_path, "tree/script", b"#!/bin/sh\n")
    put(tmp_path, "tree/text", b"hello")
    put(tmp_path, "tree/empty", b"")
    (tmp_path / "tree/directory").mkdir(mode=0o700)
    for each in (tmp_path / "tree").iterdir():
        each.chmod(0o700)
    entries = planned(copies=(Copy(source=f"{tmp_path}/tree", destination="/t", uid=3, gid=4),))
    assert {path: entry.mode for path, entry in entries.items()} == {
        "/t": 0o755,
        "/t/directory": 0o755,
        "/t/empty": 0o644,
        "/t/program": 0o755,
        "/t/script": 0o755,
        "/t/text": 0o644,
    }
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(3, 4)}


def test_mode_owner_and_capabilities_are_as_the_options_say(tmp_path: Path) -> None:
    text = put(tmp_path, "text")
    entry = planned(copies=(parse_copy(f"{text}:/x:mode=4711,uid=7,gid=8,cap=cap_net_raw+ep"),))["/x"]
    assert isinstance(entry, File)
    assert (entry.mode, entry.uid, entry.gid, entry.capabilities) == (0o4711, 7, 8, "cap_net_raw+ep")
    tree = Copy(source=str(tmp_path), destination="/t", mode=0o600)
    assert [entry.mode for entry in planned(copies=(tree,)).values()] == [0o755, 0o600]


def test_metadata_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    text = put(tmp_path, "text")
    for wrong in (
        Copy(source=text, destination="/x", mode=0o10000),
        Copy(source=text, destination="/x", mode=-1),
        Copy(source=text, destination="/x", uid=-1),
        Copy(source=text, destination="/x", gid=2**32 - 1),
        Copy(source=text, destination="/x", capabilities="cap_nonsense+ep"),
    ):
        refusal(lambda wrong=wrong: planned(copies=(wrong,)))  # type: ignore[misc]
    assert "mode" in refusal(lambda: planned(mkdir=(NewDirectory(path="/x", mode=0o10000),))).message
    assert (
        "capabilities"
        in refusal(lambda: planned(copies=(Copy(source=str(tmp_path), capabilities="cap_kill+ep"),))).message
    )


def test_writing_through_a_link_of_the_image_is_refused(tmp_path: Path) -> None:
    passwd = Copy(source=put(tmp_path, "passwd"), destination="/a/passwd")
    error = refusal(lambda: planned(copies=(passwd,), links=(NewSymlink(path="/a", target="/etc"),)))
    assert "through the symbolic link '/a'" in error.message
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").symlink_to("/etc")
    tree = Copy(source=f"{tmp_path}/tree", destination="/")
    assert "'/a'" in refusal(lambda: planned(copies=(tree, passwd))).message


def test_links_are_kept_as_they_are_written(tmp_path: Path) -> None:
    hello = put(tmp_path, "hello", tinyelf.hello())
    entries = planned(hello, links=(NewSymlink(path="/bin/sh", target="../../hello"),))
    assert entries["/bin/sh"] == Symlink(path="/bin/sh", target="../../hello")
    for link, cause in (
        (NewSymlink(path="/a", target=""), "no target"),
        (NewSymlink(path="/a", target="x\0"), "NUL"),
        (NewSymlink(path="/a", target="x" * 4096), "4096 bytes"),
        (NewSymlink(path="/a", target="\ud800"), "no file name"),
        (NewSymlink(path="/bin/", target="/busybox"), "ends in `/`"),
        (NewSymlink(path="/../a", target="/busybox"), "`..`"),
    ):
        assert cause in refusal(lambda link=link: planned(links=(link,))).message  # type: ignore[misc]
    relative = (NewSymlink(path="a", target="/busybox"),)
    assert "not absolute" in refusal(lambda: planned(links=relative), UsageError).message


def test_one_destination_has_one_content(tmp_path: Path) -> None:
    one, two = put(tmp_path, "one"), put(tmp_path, "two")
    copies = (Copy(source=one, destination="/x"), Copy(source=two, destination="/x"))
    assert "'/x'" in refusal(lambda: planned(copies=copies)).message
    assert list(planned(copies=(copies[0], copies[0]))) == ["/x"]
    hello = put(tmp_path, "hello", tinyelf.hello())
    assert list(planned(hello, hello, copies=(Copy(source=hello, destination="/hello"),))) == ["/hello"]


def test_directories_merge_and_mkdir_has_the_last_word_on_their_metadata(tmp_path: Path) -> None:
    put(tmp_path, "a/x")
    put(tmp_path, "b/sub/y")
    copies = (
        Copy(source=f"{tmp_path}/a", destination="/data"),
        Copy(source=f"{tmp_path}/b", destination="/data"),
    )
    assert list(planned(copies=copies)) == ["/data", "/data/sub", "/data/sub/y", "/data/x"]
    private = (
        NewDirectory(path="/data/", mode=0o700, uid=65532),
        NewDirectory(path="/data/sub", mode=0o1777),
    )
    entries = planned(copies=copies, mkdir=private)
    assert entries["/data"] == Directory(path="/data", mode=0o700, uid=65532, gid=0)
    assert entries["/data/sub"].mode == 0o1777
    two_minds = (*private, NewDirectory(path="/data", mode=0o755))
    assert "'/data'" in refusal(lambda: planned(copies=copies, mkdir=two_minds)).message
    mixed = (copies[0], copies[1].but(uid=1))
    assert "--mkdir '/data:mode=" in refusal(lambda: planned(copies=mixed)).fix
    assert planned(copies=mixed, mkdir=private)["/data"].uid == 65532


def test_mkdir_does_not_turn_a_file_or_a_link_into_a_directory(tmp_path: Path) -> None:
    file = Copy(source=put(tmp_path, "file"), destination="/x")
    mkdir = (NewDirectory(path="/x"),)
    refusal(lambda: planned(copies=(file,), mkdir=mkdir))
    refusal(lambda: planned(links=(NewSymlink(path="/x", target="y"),), mkdir=mkdir))


@pytest.mark.parametrize("path", ["/../x", "/a\0b", "/.wh.x", "/" + "x" * 256, "/x" * 2048, "/"])
def test_paths_that_no_image_may_have_are_refused_wherever_they_stand(tmp_path: Path, path: str) -> None:
    source = put(tmp_path, "hello", tinyelf.hello())
    if path != "/":
        refusal(lambda: planned(copies=(Copy(source=source, destination=path),)))
        refusal(lambda: plan(Spec(programs=(Copy(source=source, destination=path),)), environ={}))
        refusal(lambda: plan(Spec(workdir=path), environ={}))
        refusal(lambda: plan(Spec(volumes=(path,)), environ={}))
    refusal(lambda: planned(mkdir=(NewDirectory(path=path),)))
    refusal(lambda: planned(links=(NewSymlink(path=path, target="y"),)))


def test_the_platform_is_the_started_programs_and_never_the_hosts(tmp_path: Path) -> None:
    arm = put(tmp_path, "arm", tinyelf.elf(machine="aarch64"))
    power = put(tmp_path, "power", tinyelf.elf(machine="ppc64le"))
    assert plan(Spec(programs=(Copy(source=arm),))).platform == "linux/arm64/v8"
    both = Spec(programs=(Copy(source=arm), Copy(source=power)), entrypoint=("/power",))
    assert plan(both).platform == "linux/ppc64le"
    assert plan(Spec(copies=(Copy(source=power),), cmd=("/power",))).platform == "linux/ppc64le"
    assert plan(Spec(copies=(Copy(source=power),))).platform is None


def test_a_script_has_the_platform_of_the_interpreter_that_was_copied_in(tmp_path: Path) -> None:
    script = put(tmp_path, "script", b"#!/bin/sh\n")
    shell = put(tmp_path, "busybox", tinyelf.elf(machine="s390x"))
    made = plan(
        Spec(
            programs=(Copy(source=script),),
            copies=(Copy(source=shell, destination="/bin/busybox"),),
            symlinks=(NewSymlink(path="/bin/sh", target="busybox"),),
        )
    )
    assert made.platform == "linux/s390x"
    assert [program.path for program in made.programs] == ["/script", "/bin/busybox"]
    assert plan(Spec(programs=(Copy(source=script),))).platform is None


def test_a_plan_prints_as_json_also_with_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"\xff".decode("utf-8", "surrogateescape")
    spec = Spec(
        programs=(Copy(source=put(tmp_path, name, tinyelf.hello()), destination="/app"),),
        copies=(Copy(source=put(tmp_path, "d/x"), destination=f"/{name}"),),
    )
    printed = json.dumps(msgspec.to_builtins(plan(spec, environ={})))
    assert json.loads(printed)["rootfs"]["entries"][1]["path"] == f"/{name}"


def test_a_plan_is_frozen_through_and_through(tmp_path: Path) -> None:
    go = tinyelf.elf(data=tinyelf.go_build_info(CGO_ENABLED="0"))
    spec = Spec(programs=(Copy(source=put(tmp_path, "go", go)),), env=(("A", "b"),), ports=("80",))
    require_frozen(plan(spec))


def require_frozen(value: object) -> None:
    if isinstance(value, msgspec.Struct):
        assert value.__struct_config__.frozen, type(value)
        for field in value.__struct_fields__:
            require_frozen(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            require_frozen(item)
    else:
        assert value is None or isinstance(value, (str, int, bool)), repr(value)


def test_a_plan_is_the_same_from_wherever_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "tree/x")
    hello = put(tmp_path, "hello", tinyelf.hello())

    def made(program: str, tree: str) -> Plan:
        spec = Spec(programs=(Copy(source=program),), copies=(Copy(source=tree, destination="/t"),))
        return plan(spec, environ={})

    monkeypatch.chdir("/")
    first = made(hello, f"{tmp_path}/tree")
    monkeypatch.chdir(tmp_path)
    previous = os.umask(0o077)
    try:
        assert made(hello, f"{tmp_path}/tree") == first
        typed = made("./hello", "tree/")
    finally:
        os.umask(previous)
    assert typed.rootfs == first.rootfs
    assert typed.config == first.config
