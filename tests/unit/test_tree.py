"""An image as a tree: entries in one order, and paths looked up as the kernel and a runtime would."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.elf.program import ProgramFacts
from rootless_scratch.errors import SpecError
from rootless_scratch.image.config import RuntimeConfig
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink, make_rootfs
from rootless_scratch.image.tree import Tree

if TYPE_CHECKING:
    import random

IDENTITY = FileIdentity(device=1, inode=1, size=3, mtime_ns=0, ctime_ns=0)


def file(path: str, *, mode: int = 0o755, source: str = "/src") -> File:
    return File(path=path, mode=mode, uid=0, gid=0, source=source, identity=IDENTITY)


def directory(path: str, *, mode: int = 0o755, uid: int = 0) -> Directory:
    return Directory(path=path, mode=mode, uid=uid, gid=0)


def config(*words: str, workdir: str = "/", path: str | None = None) -> RuntimeConfig:
    return RuntimeConfig(
        user="0",
        env=() if path is None else (("PATH", path),),
        entrypoint=words or None,
        cmd=None,
        working_dir=workdir,
        labels=(),
        ports=(),
        volumes=(),
        stop_signal=None,
    )


def script(interpreter: str) -> ProgramFacts:
    return ProgramFacts(path="", identity=IDENTITY, mode=0o755, kind="script", shebang=(interpreter,))


def refusal(*entries: Entry) -> SpecError:
    with pytest.raises(SpecError) as caught:
        make_rootfs(entries)
    assert caught.value.message.isprintable()
    assert caught.value.fix
    return caught.value


def test_missing_parents_become_directories_of_root_and_come_first() -> None:
    rootfs = make_rootfs([file("/usr/bin/hello")])
    assert rootfs.entries == (directory("/usr"), directory("/usr/bin"), file("/usr/bin/hello"))
    assert (len(rootfs), rootfs.size, rootfs.files) == (3, 3, (file("/usr/bin/hello"),))


def test_a_directory_that_was_asked_for_is_kept_as_a_parent() -> None:
    private = directory("/data", mode=0o700, uid=65532)
    assert make_rootfs([file("/data/x"), private]).entries == (private, file("/data/x"))


@given(st.randoms())
def test_the_order_of_entries_is_the_same_whatever_the_order_of_the_words(order: random.Random) -> None:
    entries: list[Entry] = [
        file("/a/b/c"),
        file("/a-b"),
        file("/a.b"),
        directory("/a/b"),
        Symlink(path="/a/z", target="b"),
        file("/\udcff"),
        file("/\U0001f600"),
    ]
    wanted = make_rootfs(entries)
    order.shuffle(entries)
    assert make_rootfs(entries) == wanted
    paths = [entry.path for entry in wanted]
    assert paths == ["/a", "/a/b", "/a/b/c", "/a/z", "/a-b", "/a.b", "/\U0001f600", "/\udcff"]


def test_the_same_entry_twice_is_one_and_two_different_ones_are_refused() -> None:
    assert len(make_rootfs([file("/x"), file("/x")])) == 1
    error = refusal(file("/x", source="/one"), file("/x", source="/two"))
    assert "'/x'" in error.message
    assert "'/one'" in error.message
    assert "'/two'" in error.message
    assert "'/x'" in refusal(file("/x"), directory("/x")).message
    assert "mode 0644" in refusal(file("/x"), file("/x", mode=0o644)).message
    assert "link to 'y'" in refusal(file("/x"), Symlink(path="/x", target="y")).message


def test_two_directories_that_disagree_are_settled_by_mkdir() -> None:
    assert "--mkdir '/x:mode=0755,uid=1,gid=0'" in refusal(directory("/x"), directory("/x", uid=1)).fix


def test_nothing_is_written_through_a_link_of_the_image() -> None:
    for target in ("/etc", "etc", "../../etc", "."):
        error = refusal(Symlink(path="/a", target=target), file("/a/passwd"))
        assert "through the symbolic link '/a'" in error.message
        assert repr(target) in error.fix
    deep = refusal(file("/x/a/b/c/passwd"), Symlink(path="/x/a", target="/etc"))
    assert "through the symbolic link '/x/a'" in deep.message


def test_nothing_lies_below_a_file_and_the_root_has_no_entry() -> None:
    assert "'/a' is a file" in refusal(file("/a"), file("/a/b")).message
    assert "'/a' is a file" in refusal(file("/a/b/c"), file("/a")).message
    assert "root directory" in refusal(directory("/")).message
    assert "root directory" in refusal(file("/")).message


def test_two_thousand_nested_directories_are_no_harder_than_as_many_beside_each_other() -> None:
    before = time.monotonic()
    rootfs = make_rootfs([file("/d" * count + "/f") for count in range(1, 2000)])
    assert len(rootfs) == 2 * 1999
    assert time.monotonic() - before < 2


def test_paths_are_followed_through_links_inside_the_image_only() -> None:
    tree = Tree(
        make_rootfs(
            [
                file("/usr/bin/busybox"),
                Symlink(path="/bin", target="usr/bin"),
                Symlink(path="/usr/bin/sh", target="/bin/busybox"),
                Symlink(path="/up", target="../../../usr"),
                Symlink(path="/circle", target="circle"),
                Symlink(path="/dangling", target="/etc/passwd"),
            ]
        )
    )
    for path in (
        "/usr/bin/busybox",
        "/bin/sh",
        "/bin/../bin/sh",
        "/up/bin/./sh",
        "/../..//usr/bin/sh",
    ):
        assert tree.resolve(path) == file("/usr/bin/busybox"), path
    for path in (
        "/etc/passwd",
        "/circle",
        "/dangling",
        "/bin/busybox/x",
        "/bin/busybox/..",
        "/bin/busybox/",
        "/nothing/../bin",
    ):
        assert not tree.is_present(path), path
    assert tree.resolve("/") == directory("/")
    assert tree.resolve("/bin/") == directory("/usr/bin")


def test_forty_links_are_followed_as_in_the_kernel_and_not_one_more() -> None:
    links = [Symlink(path=f"/l{count}", target=f"l{count - 1}") for count in range(1, 42)]
    tree = Tree([file("/l0"), *links])
    assert tree.is_present("/l40")
    assert not tree.is_present("/l41")


def test_a_walk_names_every_directory_that_must_be_searched() -> None:
    tree = Tree(make_rootfs([file("/a/b/c"), Symlink(path="/l", target="a/b")]))
    assert [entry.path for entry in tree.walk("/l/c")] == ["/", "/a", "/a/b", "/a/b/c"]
    assert tree.walk("/l/d") == ()


def test_a_way_that_is_known_already_is_gone_on_from_as_any_other() -> None:
    every: list[Entry] = [
        file("/a/b/c"),
        Symlink(path="/l", target="a/b"),
        Symlink(path="/a/up", target="../l"),
        Symlink(path="/a/b/out", target="/a"),
    ]
    paths = [
        "/a",
        "/a/up",
        "/a/up/c",
        "/l/out/up/out",
        "/l/out/up/c",
        "/a/b/c/",
        "/a/b/c/d",
        "/l/../b/./c",
        "//a//b",
    ]
    known = Tree(make_rootfs(every))
    for path in (*paths, *reversed(paths)):
        assert known.walk(path) == Tree(make_rootfs(every)).walk(path), path
    way = ["/", "/a", "/a/b", "/", "/a", "/", "/a", "/a/b", "/a/b/c"]
    assert [entry.path for entry in known.walk("/l/out/up/c")] == way
    assert known.walk("/a/b/c/") == known.walk("/a/b/c/d") == ()
    assert known.resolve("/l/../b/./c") == known.resolve("/a/b/c")


def test_a_file_below_two_thousand_directories_is_found() -> None:
    path = "/d" * 2000 + "/f"
    assert Tree(make_rootfs([file(path)])).resolve(path) == file(path)


def test_a_command_is_looked_up_as_runtimes_do() -> None:
    tree = Tree(
        make_rootfs([file("/app/run"), file("/usr/bin/tool"), file("/opt/tool"), file("/bin/x", mode=0o644)])
    )
    for word, settings, found in (
        ("/app/run", config(), "/app/run"),
        ("/gone", config(), "/gone"),
        ("tool", config(), "/usr/bin/tool"),
        ("tool", config(path="/opt:/usr/bin"), "/opt/tool"),
        ("tool", config(path="/opt/:/usr/bin"), "/opt/tool"),
        ("run", config(), None),
        ("tool", config(path=""), None),
        ("tool", config(path="bin", workdir="/usr"), "/usr/bin/tool"),
        ("./run", config(workdir="/app"), "/app/./run"),
        ("app/run", config(), "/app/run"),
        ("x", config(), "/bin/x"),
    ):
        assert tree.command_path(settings, word) == found, word


def test_a_file_that_can_be_executed_is_preferred_in_the_search() -> None:
    tree = Tree(make_rootfs([file("/bin/x", mode=0o644), file("/opt/x"), directory("/usr/x")]))
    assert tree.command_path(config(path="/usr:/bin:/opt"), "x") == "/opt/x"


def test_a_script_starts_its_interpreter_as_well() -> None:
    tree = Tree(make_rootfs([file("/script"), file("/bin/outer"), file("/opt/sh")]))
    found = {"/script": script("/bin/outer"), "/bin/outer": script("sh")}
    started = tree.started_files(config("/script", workdir="/opt"), lambda each: found.get(each.path))
    assert [each.path for each in started] == ["/script", "/bin/outer", "/opt/sh"]


def test_scripts_that_interpret_each_other_come_to_an_end() -> None:
    tree = Tree([file("/a"), file("/b")])
    found = {"/a": script("/b"), "/b": script("/a")}
    assert len(tree.started_files(config("/a"), lambda each: found[each.path])) == 2
    assert tree.started_files(config(), lambda each: found[each.path]) == ()
    assert tree.started_files(config("/gone"), lambda each: found[each.path]) == ()
