"""COPY and ADD as data: where each source goes, with which mode and owner, and what a reader is told."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from copied import copied, link, result
from planning import put, refusal

from rootless_scratch.containerfile.copying import CopyError, CopyRequest, Fact, Inline, copy_into
from rootless_scratch.containerfile.files import StageFiles
from rootless_scratch.containerfile.metadata import mode_of
from rootless_scratch.containerfile.origins import EntriesOrigin, HostOrigin
from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.image.rootfs import Directory, File, Symlink

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.containerfile.copying import CopyResult

DIRECTORY = ("directory", 0o755, 0, 0, None)


def file(content: bytes = b"x", mode: int = 0o644, uid: int = 0, gid: int = 0) -> tuple[object, ...]:
    return ("file", mode, uid, gid, content)


def tree(directory: Path, *names: str) -> Path:
    for name in names:
        put(directory, name, name.encode())
    return directory


def test_heredocs_become_files_of_a_directory_or_the_file_that_is_named(tmp_path: Path) -> None:
    first, second = Inline(name="a.sh", content=b"#!/bin/sh\n"), Inline(name="b", content=b"")
    one = CopyRequest(sources=(), destination="/etc/x.conf", heredocs=(first,))
    two = CopyRequest(sources=("f",), destination="bin/", workdir="/w", heredocs=(first, second), chmod="755")
    files = StageFiles()
    with ExitStack() as kept, HostOrigin(str(tree(tmp_path, "f")), name="the context") as origin:
        copy_into(files, one, origin, kept)
        answer = copy_into(files, two, origin, kept)
    modes = {entry.path: entry.mode for entry in files.entries() if isinstance(entry, File)}
    assert modes == {"/etc/x.conf": 0o644, "/w/bin/a.sh": 0o755, "/w/bin/b": 0o755, "/w/bin/f": 0o755}
    assert files.content("/etc/x.conf") == b"#!/bin/sh\n"
    assert set(answer.written) == {"/w", "/w/bin", "/w/bin/a.sh", "/w/bin/b", "/w/bin/f"}


def test_the_name_of_a_heredoc_never_leads_out_of_the_destination() -> None:
    def named(*names: str) -> CopyRequest:
        return CopyRequest(
            sources=(), destination="/d/", heredocs=tuple(Inline(name=each, content=b"x") for each in names)
        )

    files, nothing = StageFiles(), EntriesOrigin((), name="the context")
    with ExitStack() as kept:
        copy_into(files, named("../../etc/one", "/etc/two", "a/./three"), nothing, kept)
        assert [entry.path for entry in files.entries()] == ["/d", "/d/one", "/d/three", "/d/two"]
        for name in ("..", ".", "/", "a/.."):
            request = named(name)
            with pytest.raises(CopyError, match="heredoc has no name"):
                copy_into(files, request, nothing, kept)


def test_parents_keeps_the_path_of_each_source_from_its_pivot_on(tmp_path: Path) -> None:
    here = tree(tmp_path, "x/a.txt", "x/deep/b.txt", "y/a.txt", "y/c.md")
    (here / "x").chmod(0o710)
    assert copied("COPY --parents ./x/a.txt ./y/a.txt /p/", here) == {
        "/p": DIRECTORY,
        "/p/x": ("directory", 0o710, 0, 0, None),
        "/p/x/a.txt": file(b"x/a.txt"),
        "/p/y": DIRECTORY,
        "/p/y/a.txt": file(b"y/a.txt"),
    }
    assert set(copied("COPY --parents x/./deep/*.txt /p", here)) == {"/p", "/p/deep", "/p/deep/b.txt"}
    assert set(copied("COPY --parents **/*.txt /", here)) == {
        *("/x", "/x/a.txt", "/x/deep", "/x/deep/b.txt"),
        *("/y", "/y/a.txt"),
    }
    assert set(copied("COPY --parents --exclude=x/deep x y /", here)) == {
        *("/x", "/x/a.txt", "/y", "/y/a.txt", "/y/c.md"),
    }


def test_exclude_leaves_out_of_patterns_and_of_directories(tmp_path: Path) -> None:
    here = tree(tmp_path, "home.txt", "home.md", "homes/a.txt", "homes/deep/a.txt", "homes/deep/keep.txt")
    assert set(copied("COPY --exclude=*.txt hom* /t/", here)) == {
        *("/t", "/t/home.md", "/t/deep", "/t/deep/a.txt", "/t/deep/keep.txt")
    }
    assert set(copied("COPY --exclude=**/*.txt --exclude=!**/keep.txt homes /t", here)) == {
        *("/t", "/t/deep", "/t/deep/keep.txt")
    }
    assert set(copied("COPY --exclude=deep --exclude=*.md . /t", here)) == {
        *("/t", "/t/home.txt", "/t/homes", "/t/homes/a.txt", "/t/homes/deep", "/t/homes/deep/a.txt"),
        "/t/homes/deep/keep.txt",
    }
    assert copied("COPY --exclude=home.txt home.txt /t/", here) == {}


def test_link_brings_the_same_files_and_follows_no_link_of_the_image(tmp_path: Path) -> None:
    here = tree(tmp_path, "a", "other/b")
    link(here, "links/lib", "/real")
    text = "COPY links /\nCOPY {}a /lib/"
    assert copied(text.format(""), here)["/real/a"] == file(b"a")
    linked = copied(text.format("--link "), here)
    assert linked == {"/lib": DIRECTORY, "/lib/a": file(b"a")}
    assert copied("COPY --link other /x/y/", here) == copied("COPY other /x/y/", here)


def test_several_sources_need_a_directory_which_is_made_and_told(tmp_path: Path) -> None:
    here = tree(tmp_path, "a.txt", "b.txt", "d/c")
    fact = Fact(what="several-sources-one-file", values=("/t",))
    for text, compat, paths in (
        ("COPY a.txt b.txt /t", "ours", {"/t", "/t/a.txt", "/t/b.txt"}),
        ("COPY *.txt /t", "ours", {"/t", "/t/a.txt", "/t/b.txt"}),
        ("COPY a.txt b.txt /t", "buildah", {"/t", "/t/a.txt", "/t/b.txt"}),
        ("COPY *.txt /t", "buildah", {"/t"}),
        ("COPY a.txt b.txt /t", "docker", {"/t"}),
    ):
        found, answer = result(text, here, compat=compat)
        assert set(found) == paths, (text, compat)
        assert answer.facts == (fact,)
    assert copied("COPY a.txt b.txt /t", here, compat="docker") == {"/t": file(b"b.txt")}
    for text in ("COPY a.txt b.txt /t/", "COPY d a.txt /t", "COPY [a].txt /t", "WORKDIR /t\nCOPY a.txt b.txt /t"):
        assert result(text, here)[1].facts == (), text


def test_a_source_that_is_not_there_is_told_with_its_number(tmp_path: Path) -> None:
    here = tree(tmp_path, "a.txt", "secret/key", ".env")
    put(here, ".dockerignore", b"secret\n.env\n")
    for text, what, number in (
        ("COPY *.tgz *.zip /t/", "pattern-matches-nothing", 0),
        ("COPY nope a.txt /t/", "source-missing", 0),
        ("COPY a.txt .env /t/", "ignored-source", 1),
        ("COPY secret /t", "ignored-source", 0),
        ("COPY secret/key /t", "ignored-source", 0),
        ("COPY s*/key /t", "ignored-source", 0),
        ("COPY secret/* /t", "pattern-matches-nothing", 0),
        ("ADD https://example.com/a.tgz /t", "url-needs-network", 0),
        ("COPY https://example.com/a.tgz /t", "url-unreadable", 0),
        ("ADD https://github.com/a/b.git#v1 /t", "url-unreadable", 0),
        ("ADD git@github.com:a/b /t", "url-unreadable", 0),
    ):
        with pytest.raises(CopyError) as caught:
            copied(text, here)
        assert (caught.value.fact.what, caught.value.fact.source) == (what, number), text
        assert caught.value.message.isprintable()
        assert caught.value.fix


def test_a_pattern_may_match_nothing_beside_other_sources(tmp_path: Path) -> None:
    here = tree(tmp_path, "package.json", "left.lock")
    put(here, ".dockerignore", b"left.lock\n")
    found, answer = result("COPY package.json yarn.lock* ./", here)
    assert set(found) == {"/package.json"}
    assert answer.facts == (Fact(what="pattern-matches-nothing", source=1, values=("yarn.lock*",)),)
    found, answer = result("COPY left.l* package.json ./", here)
    assert set(found) == {"/package.json"}
    assert [fact.what for fact in answer.facts] == ["ignored-source"]
    found, answer = result("COPY *.zip /t/", here, compat="docker")
    assert (found, [fact.what for fact in answer.facts]) == ({}, ["pattern-matches-nothing"])


def test_a_pipe_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    here = tree(tmp_path, "d/f")
    os.mkfifo(here / "d/pipe")
    with pytest.raises(CopyError, match="neither a file, a directory nor a link"):
        copied("COPY d /t", here)
    found, answer = result("COPY d /t", here, compat="docker")
    assert set(found) == {"/t", "/t/f"}
    assert answer.facts == (Fact(what="special-file", source=0, values=("/t/pipe",)),)
    assert set(copied("COPY --exclude=pipe d /t", here)) == {"/t", "/t/f"}
    put(here, ".dockerignore", b"**/pipe")
    assert set(copied("COPY d /t", here)) == {"/t", "/t/f"}


def test_set_id_bits_of_a_context_are_dropped_and_told_unless_docker_is_followed(tmp_path: Path) -> None:
    here = tree(tmp_path, "d/s", "d/g/f")
    (here / "d/s").chmod(0o6755)
    (here / "d/g").chmod(0o3770)
    found, answer = result("COPY d /t", here)
    assert (found["/t/s"][1], found["/t/g"][1]) == (0o755, 0o1770)
    assert {(loss.path, loss.what, loss.had) for loss in answer.losses} == {
        ("/t/s", "set-id", "6755"),
        ("/t/g", "set-id", "3770"),
    }
    found, answer = result("COPY d /t", here, compat="docker")
    assert (found["/t/s"][1], found["/t/g"][1], answer.losses) == (0o6755, 0o3770, ())
    assert copied("COPY --chmod=4750 d/s /t", here)["/t"][1] == 0o4750
    assert result("COPY --chmod=4750 d/s /t", here)[1].losses == ()
    assert copied("COPY --chmod=4750 d/s /t", here, compat="docker")["/t"][1] == 0o750


@pytest.mark.parametrize(
    ("chmod", "mode", "is_directory", "changed"),
    [
        ("755", 0o600, False, 0o755),
        ("0644", 0o600, True, 0o644),
        ("0o7777", 0, False, 0o7777),
        ("0", 0o777, False, 0),
        ("+x", 0o644, False, 0o755),
        ("u=rwX,go=rX", 0o640, False, 0o644),
        ("u=rwX,go=rX", 0o640, True, 0o755),
        ("a+rX", 0o700, False, 0o755),
        ("g=u", 0o640, False, 0o660),
        ("o-rwx,g-w", 0o777, False, 0o750),
        ("u+s,g+s", 0o755, False, 0o6755),
        ("+t", 0o755, True, 0o1755),
        ("u=", 0o4755, False, 0o055),
        ("u+r-w+x", 0o600, False, 0o500),
    ],
)
def test_chmod_is_octal_or_symbols(chmod: str, mode: int, is_directory: bool, changed: int) -> None:
    assert mode_of(chmod, keeps_set_id=True)(mode, is_directory) == changed


@pytest.mark.parametrize("chmod", ["", "9", "17777", "u", "rwx", "u+q", "u+x,", "z+x", "-1", "0x1ff", "u+x g+x"])
def test_a_mode_that_is_none_is_refused(chmod: str) -> None:
    refusal(lambda: mode_of(chmod, keeps_set_id=True))


def test_chown_takes_names_from_the_files_of_the_image_alone(tmp_path: Path) -> None:
    here = tree(tmp_path, "a")
    put(here, "etc/passwd", b"# none\nroot:x:0:0::/:\nweb:x:33:44:::\nbroken:x:y\nbig:x:4294967295:0::/:\n")
    put(here, "etc/group", b"staff:x:50:web\n")
    link(here, "linked/etc/passwd", "/lib/users")
    put(here, "linked/lib/users", b"who:x:7:8::/:\n")
    names = "COPY etc /etc\nCOPY --chown={} a /t"
    for chown, owner in (
        ("web", (33, 44)),
        ("web:staff", (33, 50)),
        ("web:", (33, 44)),
        ("7:staff", (7, 50)),
        (":staff", (0, 50)),
        ("7", (7, 7)),
        ("4294967294:0", (4294967294, 0)),
    ):
        assert copied(names.format(chown), here)["/t"][2:4] == owner, chown
    assert copied("COPY linked /\nCOPY --chown=who a /t", here)["/t"][2:4] == (7, 8)
    for chown in ("nobody", "web:nobody", "broken", "", ":", "-1", "4294967295", "big", "99999999999"):
        error = refusal(lambda chown=chown: copied(names.format(chown), here))  # type: ignore[misc]
        assert "65532" in error.fix, chown
    assert "no /etc/passwd" in refusal(lambda: copied("COPY --chown=web a /t", here)).message


def test_attributes_of_a_context_are_dropped_and_those_of_a_stage_stay(tmp_path: Path) -> None:
    here = tree(tmp_path, "app")
    (here / "app").chmod(0o755)
    os.setxattr(here / "app", "user.origin", b"https://example.com")
    files = {}
    for compat in ("ours", "buildah", "docker"):
        stage = StageFiles()
        with ExitStack() as kept, HostOrigin(str(here), name="the context") as origin:
            copy_into(stage, CopyRequest(sources=("app",), destination="/", compat=compat), origin, kept)
        files[compat] = stage.entry("/app")
    assert [file.xattrs for file in files.values() if isinstance(file, File)] == [
        (),
        (("user.origin", b"https://example.com"),),
        (),
    ]
    base = files["buildah"]
    assert isinstance(base, File)
    entry = File(
        path="/app",
        mode=0o755,
        uid=1,
        gid=2,
        source=base.source,
        identity=base.identity,
        xattrs=base.xattrs,
        capabilities="cap_net_bind_service+ep",
    )
    stage = StageFiles()
    with ExitStack() as kept:
        request = CopyRequest(sources=("/app",), destination="/b/app", compat="docker")
        copy_into(stage, request, EntriesOrigin([entry], name="the stage a"), kept)
    copy = stage.entry("/b/app")
    assert isinstance(copy, File)
    assert (copy.capabilities, copy.xattrs, copy.uid, copy.gid) == (entry.capabilities, entry.xattrs, 1, 2)


def test_directories_that_an_ignore_file_brings_back_have_the_usual_mode(tmp_path: Path) -> None:
    here = tree(tmp_path, "private/keep/f", "private/other")
    (here / "private").chmod(0o700)
    put(here, ".dockerignore", b"*\n!private/keep/f\n")
    assert copied("COPY . /t", here) == {
        "/t": DIRECTORY,
        "/t/private": DIRECTORY,
        "/t/private/keep": DIRECTORY,
        "/t/private/keep/f": file(b"private/keep/f"),
    }
    assert copied("COPY . /t", here, compat="docker")["/t/private"][1] == 0o700
    assert copied("COPY --chown=5:6 . /t", here)["/t/private"][2:4] == (5, 6)


def test_no_link_leads_to_what_an_ignore_file_leaves_out(tmp_path: Path) -> None:
    here = tree(tmp_path, "d/secret", "d/open", "e/f")
    for name, target in (("to-d", "d"), ("to-secret", "d/secret"), ("to-e", "e")):
        link(here, name, target)
    put(here, ".dockerignore", b"d/secret\ne\n")
    assert set(copied("COPY to-d /t", here)) == {"/t", "/t/open"}
    for source in ("to-secret", "to-d/secret", "to-d/s*", "to-e", "to-e/f"):
        with pytest.raises(CopyError):
            copied(f"COPY {source} /t", here)


def test_a_path_that_no_image_may_have_is_refused(tmp_path: Path) -> None:
    here = tree(tmp_path, ".wh.a", "d/.wh.b", "a")
    for text in ("COPY .wh.a /", "COPY d /", "COPY a /.wh.x", f"COPY a /{'n' * 256}", f"COPY a /{'n/' * 2100}"):
        refusal(lambda text=text: copied(text, here))  # type: ignore[misc]


def test_links_of_the_image_never_lead_out_of_it_or_on_for_ever(tmp_path: Path) -> None:
    here = tree(tmp_path, "a")
    for name, target in (("l/up", "../../../../etc"), ("l/one", "two"), ("l/two", "one"), ("l/self", "self/x")):
        link(here, name, target)
    assert copied("COPY l /s\nCOPY a /s/up/", here)["/etc/a"] == file(b"a")
    for name in ("one", "self"):
        refusal(lambda name=name: copied(f"COPY l /s\nCOPY a /s/{name}/", here))  # type: ignore[misc]
    for name in ("one", "self"):
        with pytest.raises(SourceError):
            copied(f"COPY l/{name} /s", here)


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    here = tree(tmp_path, "a", "d/x")
    for text in (
        "COPY a /t\nCOPY d /t",
        "COPY a /t\nCOPY a /t/",
        "COPY a /t\nCOPY d /t/b",
        "COPY a /w\nWORKDIR /w",
    ):
        assert "is a file in the image" in refusal(lambda text=text: copied(text, here), SpecError).message  # type: ignore[misc]


def test_what_is_copied_knows_the_time_that_it_had(tmp_path: Path) -> None:
    here = tree(tmp_path, "d/x/f")
    os.utime(here / "d/x/f", ns=(1, 1_500_000_000_000_000_123))
    os.utime(here / "d/x", ns=(1, 10**18))
    files = StageFiles()
    with ExitStack() as kept, HostOrigin(str(here), name="the context") as origin:
        copy_into(files, CopyRequest(sources=("d",), destination="/t"), origin, kept)
        assert files.mtimes == {"/t/x/f": 1_500_000_000_000_000_123, "/t/x": 10**18}
        later = EntriesOrigin(files.entries(), name="the stage a", mtimes=files.mtimes)
        copy_into(copy := StageFiles(), CopyRequest(sources=("t",), destination="/"), later, kept)
    assert copy.mtimes == {"/x/f": 1_500_000_000_000_000_123, "/x": 10**18}


def test_a_stage_begins_with_the_files_of_another(tmp_path: Path) -> None:
    here = tree(tmp_path, "a")
    base = (Symlink(path="/bin", target="usr/bin"), Directory(path="/usr/bin", mode=0o700, uid=1, gid=1))
    files = StageFiles(base)
    with ExitStack() as kept, HostOrigin(str(here), name="the context") as origin:
        answer: CopyResult = copy_into(files, CopyRequest(sources=("a",), destination="/bin"), origin, kept)
    assert answer.written == ("/usr/bin/a",)
    assert [entry.path for entry in files.entries()] == ["/bin", "/usr", "/usr/bin", "/usr/bin/a"]
    files.mkdir("/bin/x", 5, 6)
    assert files.entry("/usr/bin/x") == Directory(path="/usr/bin/x", mode=0o755, uid=5, gid=6)
