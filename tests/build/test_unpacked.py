"""Files of an image that a Containerfile copies from: what its layers come to, and no more than is needed."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from foreign import Layout

from rootless_scratch.backends.unpacked import UnpackedImage, unpack_image
from rootless_scratch.errors import LimitError, SourceError
from rootless_scratch.image.limits import DEFAULTS
from rootless_scratch.image.references import parse_reference
from rootless_scratch.image.rootfs import Directory, File, Symlink

if TYPE_CHECKING:
    from rootless_scratch.image.rootfs import Entry


def layer(*entries: dict[str, Any]) -> bytes:
    """A layer of these entries: `name`, and `content`, or `link` with a `type`, and fields of a header."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for fields in entries:
            info = tarfile.TarInfo(fields["name"])
            content = fields.get("content", b"")
            info.size = len(content)
            info.type = fields.get("type", tarfile.REGTYPE)
            info.linkname = fields.get("link", "")
            info.mode, info.uid, info.gid = fields.get("mode", 0o644), fields.get("uid", 0), fields.get("gid", 0)
            info.mtime = 1000
            info.pax_headers = fields.get("pax", {})
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def directory(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - a header's
    return {"name": name, "type": tarfile.DIRTYPE, "mode": 0o755, **fields}


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": target}


LOW = layer(
    directory("etc"),
    {"name": "etc/passwd", "content": b"root:x:0:0::/:/bin/sh\n"},
    directory("lib"),
    {"name": "lib/libx.so.1.2", "content": b"library"},
    link("lib/libx.so.1", "libx.so.1.2"),
    link("bin", "usr/bin"),
    {"name": "usr/bin/tool", "content": b"tool", "mode": 0o4755},
    link("usr/bin/again", "usr/bin/tool", tarfile.LNKTYPE),
    directory("old"),
    {"name": "old/one", "content": b"1"},
    directory("gone"),
    {"name": "gone/file", "content": b"1"},
    {"name": "secret", "content": b"s", "mode": 0o600, "uid": 5, "gid": 6, "pax": {"SCHILY.xattr.user.k": "v"}},
)
HIGH = layer(
    {"name": "old/.wh..wh..opq"},
    {"name": "old/two", "content": b"22"},
    {"name": ".wh.gone"},
    link("absolute", "/usr/bin/tool"),
    link("away", "../../../../etc/passwd"),
)


@pytest.fixture
def reference(tmp_path: Path) -> str:
    layout = Layout(tmp_path / "layout")
    return layout.index(layout.image(LOW, HIGH))


def unpacked(reference: str, place: Path, *paths: str) -> UnpackedImage:
    place.mkdir()
    return unpack_image(parse_reference(reference), paths, str(place))


def contents(image: UnpackedImage) -> dict[str, bytes]:
    """The bytes of the files that are there."""
    return {
        entry.path: Path(entry.source).read_bytes()
        for entry in image.entries
        if isinstance(entry, File) and entry.source is not None and Path(entry.source).exists()
    }


def by_path(image: UnpackedImage) -> dict[str, Entry]:
    return {entry.path: entry for entry in image.entries}


def test_layers_lie_over_each_other_and_what_upper_ones_delete_is_gone(reference: str, tmp_path: Path) -> None:
    image = unpacked(reference, tmp_path / "out", "/")
    assert contents(image) == {
        "/etc/passwd": b"root:x:0:0::/:/bin/sh\n",
        "/lib/libx.so.1.2": b"library",
        "/old/two": b"22",
        "/secret": b"s",
        "/usr/bin/again": b"tool",
        "/usr/bin/tool": b"tool",
    }
    entries = by_path(image)
    assert "/gone" not in entries
    assert isinstance(entries["/old"], Directory)
    secret = entries["/secret"]
    assert isinstance(secret, File)
    assert (secret.mode, secret.uid, secret.gid, secret.xattrs) == (0o600, 5, 6, (("user.k", b"v"),))
    assert entries["/usr/bin/tool"].mode == 0o4755
    assert image.mtimes["/usr/bin/tool"] == 1000 * 10**9


def test_hard_links_are_one_file(reference: str, tmp_path: Path) -> None:
    entries = by_path(unpacked(reference, tmp_path / "out", "/usr"))
    tool, again = entries["/usr/bin/tool"], entries["/usr/bin/again"]
    assert isinstance(tool, File)
    assert isinstance(again, File)
    assert (tool.source, tool.identity) == (again.source, again.identity)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("/lib", {"/lib/libx.so.1.2"}),
        ("/lib/libx.so.1", {"/lib/libx.so.1.2"}),
        ("/bin/tool", {"/usr/bin/tool"}),
        ("/bin", {"/usr/bin/tool", "/usr/bin/again"}),
        ("/absolute", {"/usr/bin/tool"}),
        ("/away", {"/etc/passwd"}),
        ("/nothing", set()),
        ("/old", {"/old/two"}),
    ],
)
def test_only_what_is_asked_for_is_unpacked_and_what_links_in_the_image_lead_to(
    reference: str, tmp_path: Path, path: str, files: set[str]
) -> None:
    image = unpacked(reference, tmp_path / "out", path)
    assert set(contents(image)) == files
    assert len(list((tmp_path / "out").iterdir())) == len({entry for entry in files if "again" not in entry})
    assert isinstance(by_path(image)["/absolute"], Symlink)


def test_a_garbled_layer_is_told_in_one_sentence(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    reference = layout.index(layout.image(LOW[:700]))
    with pytest.raises(SourceError, match="is not a whole image"):
        unpacked(reference, tmp_path / "out", "/")


def test_what_costs_more_than_the_limits_allow_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    reference = layout.index(layout.image(LOW))
    (tmp_path / "out").mkdir()
    with pytest.raises(LimitError, match="entries"):
        unpack_image(parse_reference(reference), ("/",), str(tmp_path / "out"), limits={**DEFAULTS, "entries": 3})
