"""Names of images, paths inside them, and file capabilities: small grammars with hard edges."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.errors import SpecError, UsageError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.names import image_name
from rootless_scratch.image.paths import image_path
from rootless_scratch.image.references import with_transport

COMPONENT = r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}"
FIRST = r"[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,6}){0,2}"
"""With a dot in it, it would be read as a host."""

HOST = r"(localhost|[a-zA-Z0-9]{1,5}\.[a-z]{2,5}|[a-z]{1,5}:[0-9]{1,5}|\[::1\]:5000)"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}"
HINT = re.compile(r"`-t ([^`]+)`")


def refusal(name: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        image_name(name)
    assert caught.value.message.isprintable()
    assert caught.value.fix.isprintable()
    assert caught.value.fix
    return caught.value


def test_a_short_name_is_local_and_latest() -> None:
    for name, full in (
        ("hello", "localhost/hello:latest"),
        ("hello:1.0", "localhost/hello:1.0"),
        ("team/hello", "localhost/team/hello:latest"),
        ("localhost/hello", "localhost/hello:latest"),
        ("localhost:5000/hello", "localhost:5000/hello:latest"),
        ("registry.example.com/a/b:V1", "registry.example.com/a/b:V1"),
        ("[::1]:5000/hello", "[::1]:5000/hello:latest"),
        ("a__b-c--d.e", "localhost/a__b-c--d.e:latest"),
    ):
        assert image_name(name) == full


@pytest.mark.slow
@given(
    host=st.none() | st.from_regex(HOST, fullmatch=True),
    path=st.from_regex(rf"{FIRST}(/{COMPONENT}){{0,2}}", fullmatch=True),
    tag=st.none() | st.from_regex(TAG, fullmatch=True),
)
def test_every_name_of_the_grammar_has_one_full_form(host: str | None, path: str, tag: str | None) -> None:
    name = (f"{host}/" if host else "") + path + (f":{tag}" if tag else "")
    full = f"{host or 'localhost'}/{path}:{tag or 'latest'}"
    assert image_name(name) == full
    assert image_name(full) == full


@pytest.mark.slow
@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9:/@._-]{0,40}", fullmatch=True))
def test_any_text_is_a_name_or_is_refused_with_a_hint_that_works(name: str) -> None:
    try:
        full = image_name(name)
    except UsageError:
        for hint in HINT.findall(refusal(name).fix):
            image_name(hint)
    else:
        assert image_name(full) == full


@pytest.mark.parametrize(
    ("name", "cause", "fix"),
    [
        ("Hello", "not an image name", "`-t hello`"),
        ("Hello:V1", "not an image name", "`-t hello:V1`"),
        ("ghcr.io/Me/Hello:V1", "not an image name", "`-t ghcr.io/me/hello:V1`"),
        ("", "not an image name", "`-t hello:1.0`"),
        ("my app", "not an image name", "lower-case"),
        ("-hello", "not an image name", "lower-case"),
        ("a//b", "not an image name", "lower-case"),
        ("a/", "not an image name", "lower-case"),
        ("héllo", "not an image name", "lower-case"),
        ("hello\n", "not an image name", "lower-case"),
        ("hello\0", "not an image name", "lower-case"),
        ("-host.example/hello", "'-host.example'", "host"),
        ("oci:dir/hello", "'oci:dir'", "host"),
        ("docker://example.com/hello:1", "transport", "`-t example.com/hello:1`"),
        ("https://example.com/Hello", "transport", "`-t hello:1.0`"),
        ("hello:", "not a tag", "128"),
        ("hello:.x", "not a tag", "128"),
        ("hello:" + "x" * 129, "not a tag", "128"),
        ("hello:a b", "not a tag", "128"),
        ("hello@sha256:" + "0" * 64, "digest", "tag"),
        ("0" * 64, "image ID", "`-t hello:latest`"),
        ("x" * 300, "more than 255", "Shorten"),
    ],
)
def test_what_no_registry_takes_is_refused(name: str, cause: str, fix: str) -> None:
    error = refusal(name)
    assert cause in error.message
    assert fix in error.fix


def test_paths_inside_an_image_have_one_form() -> None:
    for path, normal in (
        ("/", "/"),
        ("//", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("//a/./b//", "/a/b"),
        ("/a b\n'\"\\:-/...", "/a b\n'\"\\:-/..."),
        ("/wh.x/.w", "/wh.x/.w"),
        ("/\udcff", "/\udcff"),
        ("/" + "x" * 255, "/" + "x" * 255),
    ):
        assert image_path(path) == normal


@pytest.mark.parametrize(
    ("path", "cause", "fix"),
    [
        ("a", "not absolute", "'/a'"),
        ("", "not absolute", "'/'"),
        ("./a", "not absolute", "'/a'"),
        ("../etc/passwd", "not absolute", "Write"),
        ("/..", "`..`", "Write"),
        ("/a/../../b", "`..`", "Write"),
        ("/a\0b", "NUL", "Remove"),
        ("/.wh.a", "`.wh.`", "another name"),
        ("/a/.wh..wh..opq", "`.wh.`", "another name"),
        ("/" + "x" * 256, "more than 255 bytes", "Shorten"),
        ("/" + "é" * 128, "more than 255 bytes", "Shorten"),
        ("/x" * 2048, "4096 bytes", "Shorten"),
        ("/\ud800", "no file name", "Write"),
    ],
)
def test_paths_that_no_image_may_have_are_refused(path: str, cause: str, fix: str) -> None:
    with pytest.raises((SpecError, UsageError)) as caught:
        image_path(path, what="destination")
    assert cause in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.message.isprintable()


@pytest.mark.slow
@given(st.text())
def test_no_path_that_is_accepted_leaves_the_image(text: str) -> None:
    try:
        path = image_path("/" + text)
    except SpecError:
        return
    assert path.startswith("/")
    assert not {"..", "."} & set(path.split("/"))
    assert "\0" not in path
    assert image_path(path) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cap_net_bind_service+ep", "01000002 00040000 00000000 00000000 00000000"),
        ("cap_net_bind_service=ep", "01000002 00040000 00000000 00000000 00000000"),
        ("cap_net_bind_service+p", "00000002 00040000 00000000 00000000 00000000"),
        ("cap_net_raw,cap_net_admin+eip", "01000002 00300000 00300000 00000000 00000000"),
        ("CAP_NET_RAW+ep", "01000002 00200000 00000000 00000000 00000000"),
        ("net_raw+ep", "01000002 00200000 00000000 00000000 00000000"),
        ("cap_chown+i", "00000002 00000000 01000000 00000000 00000000"),
        ("cap_bpf,cap_checkpoint_restore+ep", "01000002 00000000 00000000 80010000 00000000"),
        ("cap_mac_admin+pi", "00000002 00000000 00000000 02000000 02000000"),
    ],
)
def test_capabilities_are_the_bytes_that_setcap_writes(text: str, words: str) -> None:
    assert encode_capabilities(text) == bytes.fromhex(words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cap_net_raw",
        "cap_net_raw+",
        "cap_net_raw+x",
        "+ep",
        "cap_net_raw ep",
        "cap_net_raw+ep\n",
        "cap_nonsense+ep",
        "cap_net_raw,,cap_kill+ep",
        "cap_cap_kill+ep",
        "cap_net_raw+e",
    ],
)
def test_other_capabilities_are_refused_with_their_notation_or_their_manual(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        encode_capabilities(text)
    assert "cap_from_text(3)" in caught.value.fix or "capabilities(7)" in caught.value.fix


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("registry.example.com/shop/server:1", "docker://registry.example.com/shop/server:1"),
        ("localhost/hello", "docker://localhost/hello"),
        ("localhost:5000/hello:1", "docker://localhost:5000/hello:1"),
        ("registry:5000/hello", "docker://registry:5000/hello"),
        ("[::1]:5000/hello", "docker://[::1]:5000/hello"),
        ("docker://registry.example.com/hello", "docker://registry.example.com/hello"),
        ("oci:layout", "oci:layout"),
        ("oci-archive:a.b/image.tar", "oci-archive:a.b/image.tar"),
        ("shop/server:1", "shop/server:1"),
        ("server.tar", "server.tar"),
        ("./image/server.tar", "./image/server.tar"),
        ("../server.tar", "../server.tar"),
        ("/srv/a.b/server.tar", "/srv/a.b/server.tar"),
    ],
)
def test_a_push_goes_to_a_registry_only_where_one_is_named(word: str, meant: str) -> None:
    assert with_transport(word) == meant
