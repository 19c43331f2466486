"""`build -f --bundle-libraries`: each program has the libraries of the image it came from, never this host's."""

from __future__ import annotations

import io
import json
import tarfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from foreign import INDEX, Layout
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import RefusedError, SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def system(
    name: str,
    *,
    machine: str = "x86_64",
    without: str = "",
    needed: tuple[str, ...] = (),
    more: Mapping[str, bytes | str] = MappingProxyType({}),
) -> bytes:
    """A layer with a loader, a C library and /usr/bin/app; `name` is in each of its files."""
    triplet = f"/usr/lib/{machine}-linux-gnu"
    searched = b"\0" + f"/lib/{machine}-linux-gnu/\0{triplet}/\0/lib/\0/usr/lib/\0".encode() + b"\0"
    loader = LOADERS[machine]

    def shared(soname: str, **fields: Any) -> bytes:  # noqa: ANN401 - passed on
        return tinyelf.elf(machine=machine, type=tinyelf.DYN, soname=soname, tail=name.encode(), **fields)

    files: dict[str, bytes | str] = {
        "/lib": "usr/lib",
        "/lib64": "usr/lib",
        f"/usr{loader.replace('/lib64/', '/lib/')}": shared(loader.rpartition("/")[2], code=searched),
        f"{triplet}/libc.so.6": "libc-2.so",
        f"{triplet}/libc-2.so": shared("libc.so.6"),
        "/opt/far/libfar.so.1": shared("libfar.so.1"),
        "/etc/motd": name,
        "/usr/bin/app": tinyelf.elf(
            machine=machine, interpreter=loader, needed=["libc.so.6", *needed], tail=name.encode()
        ),
        **more,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode = 0o755
            if path == without:
                continue
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Desk:
    """A directory with images that a Containerfile names, and what is built of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "context").mkdir()
        self.images: dict[str, str] = {}

    def image(self, name: str, layer: bytes) -> None:
        layout = Layout(self.place / name)
        layout.index(layout.image(layer))
        self.images[name] = f"oci-layout://{layout.place}"

    def build(self, text: str, **options: Any) -> list[dict[str, bytes | str]]:  # noqa: ANN401 - passed on
        """The files of the image for each platform: their content, or where they lead to."""
        file = self.place / "Containerfile"
        file.write_text(text)
        out = self.place / "out"
        how: dict[str, Any] = {"check": False, "bundle_libraries": True, **options}
        rs.build_file(file, self.place / "context", output=f"oci:{out}", build_contexts=self.images, **how)
        return [files_of(out, digest) for digest in manifests_of(out)]


def document(layout: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
    return found


def manifests_of(layout: Path) -> list[str]:
    found = []
    for each in json.loads((layout / "index.json").read_bytes())["manifests"]:
        inner = document(layout, each["digest"]).get("manifests")
        found += [each["digest"]] if inner is None else [one["digest"] for one in inner]
    return found


def files_of(layout: Path, digest: str) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for layer in document(layout, digest)["layers"]:
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/")) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                found[f"/{member.name}"] = file.read() if file else member.linkname
    return {path: content for path, content in found.items() if content}


def came_from(files: dict[str, bytes | str], name: str) -> set[str]:
    """The files whose bytes end with the name of a system."""
    return {
        path for path, content in files.items() if isinstance(content, bytes) and content.endswith(name.encode())
    }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCOPY --from=debian /usr/bin/app /app\n",
        "FROM debian AS got\nCOPY --from=debian /etc /etc2\nFROM scratch\nCOPY --from=got /usr/bin/app /app\n",
        "FROM debian AS a\nFROM scratch AS b\nCOPY --from=a /usr/bin /\nFROM scratch\nCOPY --from=b /app /app\n",
    ],
)
def test_libraries_are_those_of_the_image_that_a_program_is_copied_from(desk: Desk, text: str) -> None:
    desk.image("debian", system("of debian"))
    (files,) = desk.build(text)
    triplet = "/lib/x86_64-linux-gnu"
    assert came_from(files, "of debian") == {"/app", "/lib64/ld-linux-x86-64.so.2", f"{triplet}/libc-2.so"}
    assert files[f"{triplet}/libc.so.6"] == "libc-2.so"
    assert {path for path, content in files.items() if isinstance(content, bytes)} == came_from(files, "of debian")


def test_a_library_that_only_the_host_has_is_not_taken_from_there(desk: Desk) -> None:
    # The C library of this machine has just that name.
    desk.image("debian", system("of debian", without="/usr/lib/x86_64-linux-gnu/libc-2.so"))
    text = 'FROM scratch\nCOPY --from=debian /usr/bin/app /app\nENTRYPOINT ["/app"]\n'
    error = refusal(lambda: desk.build(text, check=True), RefusedError)
    assert isinstance(error, RefusedError)
    assert "libc.so.6" in " ".join(each.message for each in error.findings)


def test_what_the_loader_is_told_by_its_own_files_holds(desk: Desk) -> None:
    conf: dict[str, bytes | str] = {"/etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n"}
    desk.image("plain", system("of debian", needed=("libfar.so.1",), more=conf))
    conf["/etc/ld.so.conf.d/far.conf"] = b"/opt/far\n"
    desk.image("told", system("of debian", needed=("libfar.so.1",), more=conf))
    (files,) = desk.build("FROM scratch\nCOPY --from=told /usr/bin/app /app\n")
    assert [path for path in files if path.endswith("libfar.so.1")]
    (files,) = desk.build("FROM scratch\nCOPY --from=plain /usr/bin/app /app\n")
    assert not [path for path in files if path.endswith("libfar.so.1")]


def test_each_platform_has_libraries_of_its_own(desk: Desk) -> None:
    layout = Layout(desk.place / "debian")
    entries = []
    for architecture, machine in ARCHITECTURES.items():
        image = layout.image(system(f"for {architecture}", machine=machine), architecture=architecture)
        entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
    layout.index(layout.blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX))
    desk.images["debian"] = f"oci-layout://{layout.place}"
    text = "FROM scratch\nCOPY --from=debian /usr/bin/app /app\n"
    built = desk.build(text, platform=["linux/amd64", "linux/arm64"])
    assert len(built) == len(ARCHITECTURES)
    for files, (architecture, machine) in zip(built, ARCHITECTURES.items(), strict=True):
        expected = {"/app", LOADERS[machine], f"/lib/{machine}-linux-gnu/libc-2.so"}
        assert came_from(files, f"for {architecture}") == expected


BOTH = "FROM scratch\nCOPY --from=one /usr/bin/app /one\nCOPY --from=two /usr/bin/app /two\n"


def test_programs_of_two_images_are_refused_where_their_libraries_differ(desk: Desk) -> None:
    desk.image("one", system("of one"))
    desk.image("two", system("of two"))
    error = refusal(lambda: desk.build(BOTH), SourceError)
    assert "'/one' and '/two' come from different systems, each with a" in error.message


def test_programs_of_two_images_with_the_same_libraries_go_together(desk: Desk) -> None:
    desk.image("one", system("alike"))
    extra = tinyelf.elf(type=tinyelf.DYN, soname="libtwo.so.1", tail=b"alike")
    desk.image("two", system("alike", needed=("libtwo.so.1",), more={"/usr/lib/libtwo.so.1": extra}))
    (files,) = desk.build(BOTH)
    names = {path.rpartition("/")[2] for path in came_from(files, "alike")}
    assert names == {"one", "two", "ld-linux-x86-64.so.2", "libc-2.so", "libtwo.so.1"}
    refused = refusal(lambda: desk.build(BOTH, bundle_packages=["libc6"]), UsageError)
    assert "the programs of this image come from several" in refused.message


def test_a_program_of_the_context_does_not_lend_its_libraries_to_one_of_an_image(desk: Desk) -> None:
    desk.image("one", system("of one"))
    own = tinyelf.elf(interpreter=LOADERS["x86_64"], needed=["libc.so.6"])
    (desk.place / "context/own").write_bytes(own)
    (desk.place / "context/start.sh").write_bytes(b"#!/bin/sh\n")
    for path in ("own", "start.sh"):
        (desk.place / "context" / path).chmod(0o755)
    text = "FROM scratch\nCOPY --from=one /usr/bin/app /one\nCOPY {} /\n"
    (files,) = desk.build(text.format("start.sh"))
    assert any(path.endswith("libc-2.so") for path in came_from(files, "of one"))
    error = refusal(lambda: desk.build(text.format("own")), SourceError)
    assert "come from different systems" in error.message


def test_links_of_an_image_lead_nowhere_while_it_is_unpacked(desk: Desk, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    hostile: dict[str, bytes | str] = {
        "/bad": str(outside),
        "/bad/link.so": "nowhere",
        "/bad/libc.so.6": b"not a library",
    }
    desk.image("one", system("of one", more=hostile))
    desk.build("FROM scratch\nCOPY --from=one /usr/bin/app /one\n")
    assert list(outside.iterdir()) == []
