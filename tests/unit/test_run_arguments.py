"""The arguments of `run`, written as podman's users write them."""

from __future__ import annotations

import shlex

import pytest

from rootless_scratch.cli.main import _own_arguments
from rootless_scratch.cli.podman_habits import podmans_verb
from rootless_scratch.cli.run import command
from rootless_scratch.cli.run_arguments import as_options
from rootless_scratch.engine.request.mounts import parse_mount, parse_volume
from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.request.request import Memory, Mount
from rootless_scratch.engine.request.values import parse_device, parse_env_file, parse_security, parse_signal
from rootless_scratch.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("-v hello", "-v hello"),
        ("-v hello -v /a:/b", "-v hello -v /a:/b"),
        ("-v /a:/b hello", "--volume=/a:/b hello"),
        ("-v ./a:/b:ro,Z hello", "--volume=./a:/b:ro,Z hello"),
        ("-v data:/b hello", "--volume=data:/b hello"),
        ("-v/a:/b hello", "--volume=/a:/b hello"),
        ("-v=/a:/b hello", "--volume=/a:/b hello"),
        ("-qv /a:/b hello", "-q --volume=/a:/b hello"),
        ("-itv /a:/b hello", "-it --volume=/a:/b hello"),
        ("-vq hello", "-vq hello"),
        ("-v -v /a:/b hello", "-v --volume=/a:/b hello"),
        ("-v hello:latest", "-v hello:latest"),
        ("-v localhost:5000/x", "-v localhost:5000/x"),
        ("-v oci:/dir", "-v oci:/dir"),
        ("-v docker-archive:/a.tar x", "-v docker-archive:/a.tar x"),
        ("-v docker://host/x", "-v docker://host/x"),
        ("-v /data hello", "--volume=/data hello"),
        ("-v /data", "-v /data"),
        ("-v /bin/sh -c x", "-v /bin/sh -c x"),
        ("-e A=b -v /a:/b hello -v /c:/d", "-e A=b --volume=/a:/b hello -v /c:/d"),
        ("-e -v /a:/b hello", "-e -v /a:/b hello"),
        ("--env -v hello", "--env -v hello"),
        ("--pull hello", "--pull=missing hello"),
        ("--pull never hello", "--pull=never hello"),
        ("--pull=always hello", "--pull=always hello"),
        ("--pull always", "--pull=missing always"),
        ("--rm=true --read-only=true --init=false hello", "--rm --read-only hello"),
        ("--read-only=false hello", "--writable hello"),
        ("--name=true hello", "--name=true hello"),
        ("-- -v /a:/b", "-- -v /a:/b"),
        ("-v", "-v"),
    ],
)
def test_v_with_a_path_is_podmans_volume_and_alone_it_is_verbose(typed: str, read: str) -> None:
    assert as_options(shlex.split(typed), command.takes_value) == shlex.split(read)


def test_an_error_looks_only_at_what_comes_before_the_image() -> None:
    assert "--json" not in _own_arguments(["run", "-v", "/a:/b", "hello", "--json"])
    assert "-v" in _own_arguments(["run", "-v", "hello", "x"])
    assert "--json" in _own_arguments(["run", "-ev", "--json", "hello"])
    assert _own_arguments(["run", "--rm=false", "hello", "-v"])[:1] == ["--rm=false"]


def test_volumes_have_podmans_options_and_what_weakens_a_run_is_refused() -> None:
    assert parse_volume("/a:/b:ro,Z,U,nodev") == Mount(
        source="/a", target="/b", read_only=True, options=("Z", "U")
    )
    assert parse_volume("/b") == Mount(source="", target="/b", read_only=False)
    for wrong in (
        "/a:/b:dev",
        "/a:/b:O",
        "/a:/b:ro,rw",
        "/a:/b:x",
        ":/b",
        "/",
        "/a:/",
        "a/b:/c",
        "/a:/b:ro:Z",
        "b",
    ):
        with pytest.raises(UsageError):
            parse_volume(wrong)


def test_mounts_are_binds_volumes_or_memory() -> None:
    bind = Mount(source="/a", target="/b", read_only=True, options=("U", "Z"))
    assert parse_mount("type=bind,source=/a,target=/b,readonly,relabel=private,chown=true") == bind
    assert parse_mount("type=bind,src=/a,dst=/b,ro=false").but(read_only=False) == Mount(
        source="/a", target="/b", read_only=False
    )
    assert parse_mount("src=data,dst=/b") == Mount(source="data", target="/b", read_only=False)
    assert parse_mount("type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=0700,ro") == Memory(
        target="/c", options=("size=1m", "mode=0700", "ro")
    )
    for wrong in (
        "type=bind,dst=/b",
        "type=bind,src=a,dst=/b",
        "type=volume,src=/a,dst=/b",
        "type=image,src=a,dst=/b",
        "type=tmpfs,dst=/b,size=lots",
        "type=bind,src=/a",
        "type=bind,src=/a,dst=/b,ro=perhaps",
        "type=bind,src=/a,dst=/b,relabel=all",
        "type=bind,src=/a,dst=/b,bind-propagation=shared",
        "type=bind,src=/a,dst=/b,nosuch",
        "",
    ):
        with pytest.raises(UsageError):
            parse_mount(wrong)


def test_a_file_of_variables_is_read_as_podman_reads_it(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "env"
    path.write_bytes(b'# no\n\n A=b c \r\nQ="q"\nMINE\nNOT\nX_*\nE=\n')
    caller = {"MINE": "m", "X_1": "1", "X_2": "2"}
    expected = {"A": "b c ", "Q": '"q"', "MINE": "m", "X_1": "1", "X_2": "2", "E": ""}
    assert dict(parse_env_file(str(path), caller)) == expected
    request = request_of("x", (), {"env_file": [str(path)], "env": {"A": "mine"}})
    assert dict(request.env) == {"A": "mine"}
    for content in (b"=x\n", b"\xff=1", b"A=\0", b"A" * 1_100_000):
        path.write_bytes(content)
        with pytest.raises(UsageError):
            parse_env_file(str(path))
    for nothing in ("nosuch", "/", "a\0b"):
        with pytest.raises(UsageError):
            parse_env_file(nothing)


def test_options_that_are_our_default_are_taken_and_their_opposites_refused() -> None:
    options = {"rm": True, "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    assert not request_of("x", (), options).allow_new_privileges  # type: ignore[arg-type] # of those of a run
    assert request_of("x", (), {"security_opt": ["no-new-privileges=false"]}).allow_new_privileges
    assert request_of("x", (), {"security_opt": ["seccomp=unconfined"]}).seccomp == "unconfined"
    for wrong in (
        {"rm": True, "keep": True},
        {"read_only": True, "writable": True},
        {"cap_add": ["CHOWN"], "cap_drop": ["chown"]},
        {"dns": ["192.0.2.1"], "network": "none"},
        {"seccomp": "unconfined", "security_opt": ["seccomp=/x"]},
        {"pull": "sometimes"},
        {"stop_timeout": -1},
        {"hostname": "a b"},
        {"add_host": ["db"]},
        {"add_host": ["db:300.1.1.1"]},
        {"dns": ["example.com"]},
        {"dns_search": [".."]},
        {"log_driver": "syslog"},
        {"mounts": ["type=tmpfs,dst=/a"], "tmpfs": ["/a/"]},
    ):
        with pytest.raises(UsageError):
            request_of("x", (), wrong)  # type: ignore[arg-type] # what is wrong with it is the point


def test_signals_devices_and_security_read_as_podmans() -> None:
    assert (parse_signal("TERM"), parse_signal("sigint"), parse_signal("9"), parse_signal("RTMIN+3")) == (
        15,
        2,
        9,
        37,
    )
    device = parse_device("/dev/fuse:/dev/x:rw")
    assert (device.source, device.target, device.access) == ("/dev/fuse", "/dev/x", "rw")
    assert parse_device("/dev/fuse:r").target == "/dev/fuse"
    assert parse_security("label:disable") == ("label", "disable")
    for parse, wrong in (
        (parse_device, "fuse"),
        (parse_device, "/a:/b:/c"),
        (parse_device, "/a:x"),
        (parse_security, "label"),
        (parse_security, "systempaths=unconfined"),
        (parse_signal, "NOSUCH"),
    ):
        with pytest.raises(UsageError):
            parse(wrong)


def test_podmans_verbs_have_podmans_line() -> None:
    error = podmans_verb(["logs", "-f", "my web"])
    assert error is not None
    assert "`podman logs -f 'my web'`" in error.fix
    assert podmans_verb(["buidl"]) is None
