"""The oracle: a Containerfile comes to the same files and config as in `buildah build`, key by key."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import rootless_scratch as rs
from rootless_scratch.image.config import USUAL_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

Seen = dict[str, tuple[object, ...]]

BUILDAHS_LABEL = "io.buildah.version"

SAME = {
    "env-takes-the-old-values": "ENV A=b B=$A\nENV C=$A D=${A}x E=\"a b $A\" F='$A' G=a\\ b",
    "env-of-the-old-form": 'ENV A=1\nENV L a  b "c" $A',
    "env-is-empty": "ENV A=",
    "env-goes-over-arg": "ARG A=1\nENV A=2\nLABEL a=$A\nARG A=3\nLABEL b=$A",
    "env-of-path": "ENV PATH=/x:$PATH",
    "arg-sees-those-before": "ARG A=1\nARG B=$A C=x\nLABEL b=$B c=$C",
    "arg-of-another-stage": "ARG V=7\nENV W=1\nFROM 0\nLABEL v=x$V w=x$W",
    "arg-without-value": "ARG V\nLABEL v=x$V",
    "arg-of-the-platform": "ARG TARGETARCH\nARG TARGETOS TARGETPLATFORM\nARG TARGETVARIANT\nARG BUILDPLATFORM\n"
    "LABEL v=$TARGETOS/$TARGETARCH/$TARGETVARIANT,$TARGETPLATFORM,$BUILDPLATFORM",
    "arg-of-the-platform-with-default": "ARG TARGETARCH=zz\nLABEL v=$TARGETARCH",
    "arg-is-not-declared": "LABEL v=x$TARGETARCH$NOPE",
    "where-variables-expand": "ARG V=7\nUSER $V\nWORKDIR /w$V\nEXPOSE $V\nVOLUME /v$V\nSTOPSIGNAL $V\n"
    'LABEL l=$V k$V=1\nENTRYPOINT ["/$V"]\nCMD ["$V"]\nMAINTAINER m$V',
    "where-variables-split": 'ARG P="80 81"\nEXPOSE $P\nARG Q="/a /b"\nVOLUME $Q\nARG R="x y"\nLABEL $R=3',
    "volume-at-the-end": "COPY f /q\nVOLUME /q /a\nVOLUME /b/c",
    "volume-in-json": 'ARG V=7\nVOLUME ["/v$V", "/b"]\nLABEL a=b',
    "label-of-the-old-form": "LABEL a b c",
    "label-with-quotes": 'LABEL "x y"="z w" c=\'$V\'\nLABEL m="l1\\\nl2"',
    "label-twice": "LABEL a=1 b=2\nLABEL a=3",
    "entrypoint-leaves-cmd": 'CMD ["a"]\nENTRYPOINT ["/e"]',
    "entrypoint-clears-cmd-below": 'CMD ["a"]\nENTRYPOINT ["/e"]\nFROM 0\nENTRYPOINT ["/f"]',
    "entrypoint-leaves-cmd-of-its-own": 'CMD ["a"]\nFROM 0\nCMD ["b"]\nENTRYPOINT ["/f"]',
    "cmd-twice": 'CMD ["a"]\nCMD ["b"]',
    "cmd-is-empty": "CMD []\nENTRYPOINT []",
    "cmd-of-the-shell": 'CMD echo  $HOME \\\n  "a"',
    "cmd-without-end": 'CMD ["/a"',
    "cmd-with-rest": 'CMD ["/a","b"] c',
    "shell": 'SHELL ["/x","-y"]\nCMD a b',
    "stage-below": 'CMD ["a"]\nENV X=1\nUSER 5\nWORKDIR /w\nLABEL q=1\nVOLUME /vv\nEXPOSE 80\n'
    "STOPSIGNAL SIGINT\nMAINTAINER me\nFROM 0\nLABEL z=1",
    "expose": "EXPOSE 80/TCP 8000-8002 53/udp 80 10/sctp",
    "stop-signal-as-it-is": "STOPSIGNAL term",
    "volumes": "VOLUME /b /a /a\nVOLUME c\nLABEL a=b",
    "workdir-by-workdir": "WORKDIR a\nWORKDIR b",
    "workdir-with-dots": "WORKDIR /a/../b/./c/",
    "workdir-with-a-space": "WORKDIR /a b",
    "workdir-in-quotes": 'WORKDIR "/a b"',
    "workdir-that-is-empty": "WORKDIR $NOPE",
    "workdir-of-a-user": "USER 5:6\nWORKDIR /a/b",
    "workdir-of-a-uid": "USER 5\nWORKDIR /a/b\nCOPY f .",
    "workdir-of-an-unknown-user": "USER foo\nWORKDIR /a",
    "workdir-in-a-copied-directory": "COPY d /d/\nUSER 7\nWORKDIR /d\nWORKDIR e\nWORKDIR x",
    "workdir-of-a-named-user": "COPY etc /etc\nUSER web\nWORKDIR /a\nUSER web:staff\nWORKDIR /b\n"
    "USER 33:staff\nWORKDIR /c",
    "user-unknown": "USER foo:bar",
    "user-in-quotes": 'USER "1:2"',
    "user-that-is-empty": "USER $NOPE",
    "healthcheck": 'HEALTHCHECK --interval=5s CMD ["/h"]',
    "healthcheck-none": "HEALTHCHECK NONE",
    "onbuild": "ONBUILD LABEL x=1\nONBUILD COPY f /f\nFROM 0\nLABEL y=1",
    "maintainer": "MAINTAINER A B <a@b>",
    "copy": "COPY d /d/\nCOPY f /p/q\nCOPY d/e /z",
    "copy-from-index": "COPY f /q\nFROM scratch\nCOPY --from=0 /q /r",
    "copy-over": "COPY f /q\nCOPY d/g /q",
    "copy-twice": "COPY f /q\nCOPY f /r",
    "copy-by-argument": "ARG S=d\nENV T=/t\nCOPY $S/g ${T}/x",
    "copy-in-json": 'COPY ["d/g", "f", "/t/"]',
    "add": "ADD t.tar /o/\nADD f /o/",
}


OTHERWISE_LATER = {
    "arg-of-the-platform-with-default": "the platform goes over the default of an ARG",
    "stage-below": "a volume of a stage below is made, and its working directory is root's",
}
"""What buildah 1.39 does otherwise than 1.28, which --compat buildah follows."""


def test_nothing_here_is_compared_twice() -> None:
    assert len(set(SAME.values())) == len(SAME)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("context")
    for name, content in {"f": "f", "d/g": "g", "d/e/h": "h"}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)
    (top / "d/l").symlink_to("g")
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("root:x:0:0::/:/x\nweb:x:33:44::/:/x\n")
    (top / "etc/group").write_text("staff:x:50:\n")
    with tarfile.open(top / "t.tar", "w") as archive:
        archive.add(top / "d", "inside")
    return top


def image_of(layout: Path) -> tuple[dict[str, Any], Seen]:
    """Config and files of the only image of a layout."""
    blobs = layout / "blobs/sha256"
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    found: Seen = {}
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].partition(":")[2]) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                content = member.linkname if file is None else file.read()
                time = member.mtime if member.isreg() or member.issym() else None
                owner = (member.uid, member.gid)
                found[f"/{member.name.rstrip('/')}"] = (member.type, member.mode & 0o7777, *owner, time, content)
    return config, found


def settings_of(image: dict[str, Any]) -> dict[str, Any]:
    """What a config says: buildah 1.39 says `/` where nothing does, and leaves the last slash of others out."""
    settings = {key: value for key, value in image["config"].items() if value}
    directory = settings.pop("WorkingDir", "/").rstrip("/")
    return settings | ({"WorkingDir": directory} if directory else {})


def by_buildah(home: Home, text: str, context: Path, at: Path, *more: str) -> tuple[dict[str, Any], Seen]:
    (at / "Containerfile").write_text(f"FROM scratch\n{text}\n")
    build = ["buildah", "build", "-q", "--format", "oci", "-f", str(at / "Containerfile"), *more]
    home.run([*build, "-t", f"oci:{at / 'theirs'}", str(context)])
    config, files = image_of(at / "theirs")
    del config["config"]["Labels"][BUILDAHS_LABEL]
    return config, files


@pytest.mark.buildah
@pytest.mark.parametrize("name", SAME)
def test_with_compat_buildah_a_file_comes_to_what_buildah_makes(
    name: str, shared_home: Home, context: Path, tmp_path: Path
) -> None:
    theirs, files = by_buildah(shared_home, SAME[name], context, tmp_path)
    rs.build_file(
        tmp_path / "Containerfile", context, output=f"oci:{tmp_path / 'ours'}", compat="buildah", check=False
    )
    ours, own = image_of(tmp_path / "ours")
    if name in OTHERWISE_LATER and " 1.28." not in shared_home.run(["buildah", "--version"]).stdout.decode():
        assert (own, settings_of(ours)) != (files, settings_of(theirs))
        return
    assert own == files
    for image in (ours, theirs):
        image["config"] = settings_of(image)
    for key in ("author", "architecture", "os", "variant", "config"):
        assert ours.get(key) == theirs.get(key), key
    assert ours["history"][-1]["created_by"].startswith("/bin/sh -c #(nop) ")
    assert ours["created"][:10] == theirs["created"][:10]


@pytest.mark.buildah
def test_without_compat_only_what_the_table_names_differs(
    shared_home: Home, context: Path, tmp_path: Path
) -> None:
    text = (
        'COPY d /d/\nENV A=b\nEXPOSE 80\nLABEL x=y\nENTRYPOINT ["/d/g"]\nCMD ["a"]\n'
        "STOPSIGNAL SIGINT\nVOLUME /v\nLABEL z=1"
    )
    theirs, files = by_buildah(shared_home, text, context, tmp_path)
    rs.build_file(tmp_path / "Containerfile", context, output=f"oci:{tmp_path / 'ours'}", check=False)
    ours, own = image_of(tmp_path / "ours")
    assert {path: each[:4] + each[5:] for path, each in own.items()} == {
        path: each[:4] + each[5:] for path, each in files.items()
    }
    assert {each[4] for each in own.values()} <= {0, None}
    expected = theirs["config"] | {"User": "65532:65532", "WorkingDir": "/"}
    expected["Env"].remove(f"PATH={USUAL_PATH}")
    assert ours["config"] == expected
    assert "history" not in ours
    assert ours["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.buildah
@pytest.mark.compiler
def test_what_a_stage_of_scratch_runs_itself_is_run_by_buildah(
    shared_home: Home, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.c").write_text("int main(void) { return 0; }\n")
    shared_home.run(["gcc", "-static", "-o", str(context / "own"), str(tmp_path / "own.c")])
    shared_home.environment["BUILDAH_ISOLATION"] = "chroot"
    text = 'COPY own /bin/own\nUSER 5\nRUN ["/bin/own"]\nCOPY f /w/\nCMD ["/bin/own"]'
    theirs, files = by_buildah(shared_home, text, context, tmp_path)
    layout = f"oci:{tmp_path / 'ours'}"
    command = ("build", "-f", str(tmp_path / "Containerfile"), str(context), "-o", layout, "--compat", "buildah")
    shared_home.json(*command)
    ours, own = image_of(tmp_path / "ours")
    # What buildah mounts for a RUN leaves files of their own time.
    mounted = [path for path in files if path.startswith("/etc/")]
    assert {path: own[path][:4] for path in mounted} == {path: files[path][:4] for path in mounted}
    assert {**own, **{path: files[path] for path in mounted}} == files
    assert settings_of(ours) == settings_of(theirs)
