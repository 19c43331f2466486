"""Where a good guess is wrong: the topics of both tables of docs/containerfile.md, and a question about each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from builders import EPOCH, REFUSED, TIME, Result
from same_as_buildah import PATH

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(NamedTuple):
    """A topic of docs/containerfile.md, the lines below `FROM scratch`, a question, and the answer of each.

    `apart` is what buildah 1.28 itself answers where --compat buildah does not follow it, `later` what 1.39 does
    where that is yet another answer. `told` are the rules of all findings that `check -f` has, with their lines.
    """

    topic: str
    lines: str
    ask: Callable[[Result], object]
    ours: object
    buildah: object
    docker: object
    apart: object = None
    told: tuple[tuple[str, int], ...] = ()
    context: str = "plain"
    later: object = None


def same(
    topic: str,
    lines: str,
    ask: Callable[[Result], object],
    answer: object,
    *told: tuple[str, int],
    apart: object = None,
    later: object = None,
) -> Row:
    """Whatever --compat says."""
    return Row(topic, lines, ask, answer, answer, answer, apart, told, later=later)


UNPACKED = ["/in", "/in/one"]
PORTS = ["80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]
BEYOND_OCI = ["Healthcheck", "OnBuild", "Shell"]
SEVERAL = ("several-sources-one-file", 2)
UNUSED_VOLUME = ("volume-missing", 2)

DIFFERENT = (
    Row("user without USER", "COPY a.txt /", lambda i: i.of("User"), "65532:65532", None, None),
    Row("time of files", "COPY a.txt /", lambda i: i.time("/a.txt"), EPOCH, TIME, TIME),
    Row("time of files", "COPY a.txt /d/", lambda i: i.time("/d"), EPOCH, "now", "now"),
    Row("`created`", "COPY a.txt /", lambda i: i.created, EPOCH, "now", "now"),
    Row("history", "LABEL a=b", lambda i: i.steps, [], ["a=b"], ["a=b"]),
    Row("WORKDIR unset", "COPY a.txt /", lambda i: i.of("WorkingDir"), "/", None, "/"),
    Row("PATH without ENV", "COPY a.txt /", lambda i: i.of("Env"), None, [PATH], [PATH]),
    Row(
        "WORKDIR `/a/../b/`",
        "USER 5:6\nWORKDIR /a/../b/",
        lambda i: i.of("WorkingDir").rstrip("/"),
        "/b",
        "/a/../b",
        "/b",
    ),
    Row(
        "EXPOSE `80/TCP 8000-8002`",
        "EXPOSE 80/TCP 8000-8002",
        lambda i: i.of("ExposedPorts"),
        PORTS,
        ["80/TCP", "8000-8002/tcp"],
        PORTS,
        told=(("privileged-port", 2),),
    ),
    same("`variant` of arm64", "COPY arm64 /", lambda i: i.config.get("variant", ""), "v8", apart=""),
    Row("STOPSIGNAL `term`", "STOPSIGNAL term", lambda i: i.of("StopSignal"), "SIGTERM", "term", "SIGTERM"),
    Row(
        "VOLUME `data`, without a slash",
        "VOLUME data\nLABEL a=b",
        lambda i: i.of("Volumes"),
        REFUSED,
        ["data"],
        REFUSED,
        told=(("instruction-refused", 2),),
    ),
    Row("VOLUME's directory", "VOLUME /v", lambda i: list(i.files), [], ["/v"], [], told=(UNUSED_VOLUME,)),
    Row("VOLUME's directory", "VOLUME /v\nLABEL a=b", lambda i: list(i.files), [], [], [], told=(UNUSED_VOLUME,)),
    Row(
        "VOLUME's directory",
        "VOLUME /v\nFROM 0\nLABEL a=b",
        lambda i: list(i.files),
        [],
        ["/v"],
        [],
        told=(UNUSED_VOLUME,),
    ),
    Row(
        "HEALTHCHECK, ONBUILD, SHELL in the image",
        'COPY app /\nHEALTHCHECK CMD ["/app"]\nSHELL ["/app"]\nONBUILD COPY a.txt /',
        lambda i: i.has(*BEYOND_OCI),
        [],
        [],
        BEYOND_OCI,
        told=(("dropped-by-oci", 3), ("dropped-by-oci", 4), ("dropped-by-oci", 5)),
    ),
    Row(
        "SHELL before CMD and ENTRYPOINT in shell form",
        'COPY app /\nSHELL ["/app", "-e"]\nCMD a',
        lambda i: i.of("Cmd"),
        ["/app", "-e", "a"],
        ["/bin/sh", "-c", "a"],
        ["/app", "-e", "a"],
        told=(("dropped-by-oci", 3),),
    ),
    Row(
        "ONBUILD of a stage, for a FROM of it in the same file",
        "ONBUILD COPY a.txt /\nFROM 0\nLABEL a=b",
        lambda i: list(i.files),
        ["/a.txt"],
        [],
        ["/a.txt"],
    ),
    same("`io.buildah.version`", "LABEL a=b", lambda i: i.of("Labels"), ["a"], apart=["a", "io.buildah.version"]),
    same("layers", "USER 5:6\nWORKDIR /w\nCOPY b.txt /", lambda i: i.layers, 1),
    Row(
        "ignore files",
        "COPY *.txt /d/",
        lambda i: sorted(i.files),
        ["/d", "/d/a.txt"],
        ["/d", "/d/a.txt"],
        ["/d", "/d/b.txt"],
        context="ignored",
    ),
    Row(
        "a directory that `!` in the ignore file brings back",
        "COPY . /d",
        lambda i: (i.mode("/d/private"), "/d/private/f" in i.files, "/d/private/other" in i.files),
        ("0755", True, False),
        ("0755", True, False),
        ("0700", True, False),
        context="returned",
    ),
    Row(
        "setuid and setgid on COPY from the context",
        "COPY set /",
        lambda i: (i.mode("/file"), i.mode("/directory")),
        ("0755", "1770"),
        ("0755", "1770"),
        ("4755", "3770"),
        told=(("metadata-not-kept", 2),),
    ),
    Row(
        "`--chmod=4750`",
        "COPY --chmod=4750 a.txt /",
        lambda i: i.mode("/a.txt"),
        "4750",
        "4750",
        "0750",
        told=(("setuid", 2),),
    ),
    Row(
        "capabilities and `user.*` attributes of the context",
        "COPY marked /",
        lambda i: [key for key in i.files["/marked"].pax_headers if "xattr" in key],
        [],
        ["SCHILY.xattr.user.origin"],
        [],
    ),
    Row(
        "a FIFO in a copied directory",
        "COPY pipes /",
        lambda i: sorted(i.files),
        REFUSED,
        REFUSED,
        ["/f"],
        apart=["/f", "/pipe"],
        told=(("special-file", 2),),
    ),
    Row(
        "several sources, destination without `/`",
        "COPY a.txt b.txt /d",
        lambda i: sorted(i.files),
        ["/d", "/d/a.txt", "/d/b.txt"],
        ["/d", "/d/a.txt", "/d/b.txt"],
        ["/d"],
        told=(SEVERAL,),
    ),
    Row(
        "several sources, destination without `/`",
        "COPY *.txt /d",
        lambda i: sorted(i.files),
        ["/d", "/d/a.txt", "/d/b.txt"],
        ["/d"],
        ["/d"],
        told=(SEVERAL,),
    ),
    Row(
        "a pattern that matches nothing, alone",
        "COPY *.none /d/",
        lambda i: sorted(i.files),
        REFUSED,
        REFUSED,
        [],
        told=(("pattern-matches-nothing", 2),),
    ),
    Row(
        "ADD unpacks `.tar.zst`",
        "ADD one.tar.zst /",
        lambda i: list(i.files),
        UNPACKED,
        UNPACKED,
        ["/one.tar.zst"],
    ),
)
ALIKE = (
    same(
        "`COPY src /d` where src is 0700",
        "COPY private /d",
        lambda i: (i.mode("/d"), i.owner("/d"), i.mode("/d/inner")),
        ("0755", "0:0", "0700"),
    ),
    same(
        "links",
        "COPY to-private /d\nCOPY links /l\nCOPY links/inner /i",
        lambda i: (i.files["/d"].isdir(), i.files["/l/inner"].linkname, i.files["/i"].isfile()),
        (True, "to", True),
    ),
    same(
        "hard links in a copied directory",
        "COPY hard /h",
        lambda i: [name for name in ("one", "two") if i.files[f"/h/{name}"].islnk()],
        [],
        apart=["two"],
    ),
    Row(
        "`NAME.dockerignore` beside the file NAME",
        "COPY *.txt /d/",
        lambda i: sorted(i.files),
        ["/d", "/d/b.txt"],
        ["/d", "/d/b.txt"],
        ["/d", "/d/b.txt"],
        context="named",
    ),
    same("USER, then WORKDIR", "USER 5:6\nWORKDIR /w/x", lambda i: {*map(i.owner, ("/w", "/w/x"))}, {"5:6"}),
    same(
        "USER, then WORKDIR",
        "USER nobody\nWORKDIR /w",
        lambda i: i.owner("/w"),
        "0:0",
        ("user-unknown", 2),
    ),
    same("USER, then COPY", "USER 5:6\nCOPY a.txt /x/", lambda i: {*map(i.owner, ("/x", "/x/a.txt"))}, {"0:0"}),
    same(
        "`--chown` with missing parents",
        "COPY --chown=5:6 a.txt /x/y/",
        lambda i: {*map(i.owner, ("/x", "/x/y", "/x/y/a.txt"))},
        {"5:6"},
    ),
    same(
        "`ADD --chown --chmod` of a tar",
        "ADD --chown=3:4 --chmod=700 one.tar /x/o",
        lambda i: [(i.owner(path), i.mode(path)) for path in ("/x", "/x/o", "/x/o/in/one")],
        [("3:4", "0755"), ("3:4", "0755"), ("7:8", "0640")],
    ),
    same(
        "ADD unpacks",
        "ADD one.bin /b/\nADD linked /l/\nADD plain.gz /",
        lambda i: ("/b/in/one" in i.files, "/l/in/one" in i.files, i.files["/plain.gz"].isfile()),
        (True, True, True),
    ),
    same(
        "ADD of a URL",
        "ADD {url}/one.tar /",
        lambda i: (sorted(i.files), i.mode("/one.tar")),
        (["/one.tar"], "0600"),
        ("url-needs-network", 2),
        ("url-not-unpacked", 2),
    ),
    same("a bare `FROM scratch`", "", lambda i: (i.layers, len(i.files)), (1, 0), later=(0, 0)),
    same("ENTRYPOINT and CMD", 'COPY app /\nCMD ["a"]\nENTRYPOINT ["/app"]', lambda i: i.of("Cmd"), ["a"]),
    same("ENTRYPOINT and CMD", 'COPY app /\nCMD ["a"]\nFROM 0\nENTRYPOINT ["/app"]', lambda i: i.of("Cmd"), None),
    same(
        "USER with a name that the image does not know",
        "USER nobody",
        lambda i: i.of("User"),
        "nobody",
        ("user-unknown", 2),
    ),
    same(
        "USER with a name that the image does not know",
        "COPY --chown=nobody a.txt /",
        lambda i: i.owner("/a.txt"),
        REFUSED,
        ("copy-refused", 2),
    ),
    same(
        '`CMD ["/a","b"] c`',
        'COPY app /a\nCMD ["/a","b"] c',
        lambda i: i.of("Cmd"),
        ["/a", "b"],
        ("json-with-rest", 3),
    ),
    same(
        '`CMD ["/a"`',
        'COPY app /a\nCMD ["/a"',
        lambda i: i.of("Cmd"),
        ["/bin/sh", "-c", '["/a"'],
        ("json-without-end", 3),
    ),
    same(
        "`# escape=` after `# syntax=`",
        "# syntax=x\n# escape=`\nFROM scratch\nLABEL a=b `\n  c=d",
        lambda i: i.of("Labels"),
        ["a", "c"],
        apart=REFUSED,
    ),
    same(
        "`${V#v}` in ENV",
        "ENV V=v1\nENV W=${V#v}",
        lambda i: i.of("Env")[-1],
        "W=1",
        apart=REFUSED,
        later="W=v1",
    ),
    same(
        "TARGETARCH",
        "ARG TARGETARCH\nLABEL arch=x$TARGETARCH",
        lambda i: i.config["config"]["Labels"]["arch"].replace(i.config["architecture"], "HERE"),
        "xHERE",
    ),
    same(
        "TARGETARCH",
        "LABEL arch=x$TARGETARCH",
        lambda i: i.config["config"]["Labels"]["arch"],
        "x",
        ("argument-not-redeclared", 2),
    ),
    same(
        "`ENV A=b B=$A`",
        "ENV A=a\nENV A=b B=$A",
        lambda i: [each for each in i.config["config"]["Env"] if each != PATH],
        ["A=b", "B=a"],
    ),
    same(
        "variables",
        'COPY app /$V\nARG V=7\nUSER $V\nWORKDIR /w$V\nEXPOSE 800$V\nENTRYPOINT ["/app", "$V"]\nCMD ["$V"]',
        lambda i: [i.of(key) for key in ("User", "WorkingDir", "ExposedPorts", "Entrypoint", "Cmd")],
        ["7", "/w7", ["8007/tcp"], ["/app", "$V"], ["$V"]],
        ("undeclared-argument", 2),
    ),
    same(
        "stages that are not needed",
        'RUN ["/none"]\nFROM scratch\nCOPY a.txt /',
        lambda i: list(i.files),
        ["/a.txt"],
        ("run-in-scratch", 2),
    ),
)
