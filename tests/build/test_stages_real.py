"""Stages with RUN, built by buildah: what a scratch stage copies from them, and what is left of failed ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Home
from staging import STATIC, Bench, arguments, without_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.buildah, pytest.mark.podman]

HEREDOC = "COPY --link <<EOF /note\nwritten here\nEOF\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield Bench(home, tmp_path_factory.mktemp("context"))
    home.remove()


def test_files_of_all_users_come_out_of_a_stage_with_their_owners(bench: Bench) -> None:
    files = bench.files(
        "FROM base AS build\n"
        "RUN busybox mkdir -p /out/in && echo secret >/out/key && echo x >/out/in/x\n"
        "RUN busybox chown 5:6 /out/key && busybox chmod 600 /out/key\n"
        "RUN busybox chown 7:8 /out/in && busybox chmod 700 /out/in\n"
        "FROM scratch\nCOPY --from=build /out /data\n"
    )
    assert files["/data/key"] == (0o600, 5, 6, b"secret\n")
    assert files["/data/in"] == (0o700, 7, 8, None)
    assert files["/data/in/x"][3] == b"x\n"
    assert bench.left_behind() == []


def test_what_buildah_rejects_works_where_only_the_scratch_stage_uses_it(bench: Bench) -> None:
    files = bench.files(
        "# syntax=docker/dockerfile:1\n"
        "FROM base AS build\nRUN echo made >/made\n"
        f"FROM scratch\n{HEREDOC}COPY --link --from=build /made /made\n"
        "COPY --from=build --exclude=**/sh --parents /bin /tools\n"
    )
    assert files["/note"][3] == b"written here\n"
    assert files["/made"][3] == b"made\n"
    assert [path for path in files if path.startswith("/tools/bin/")] == ["/tools/bin/busybox"]


def test_one_ignore_file_counts_for_all_stages(bench: Bench) -> None:
    for name in ("one", "two"):
        (bench.context / name).write_text(name)
    ignores = {".containerignore": "one\n", ".dockerignore": "two\n"}
    for name, text in ignores.items():
        (bench.context / name).write_text(text)
    try:
        text = "FROM base AS build\nCOPY . /c\nRUN true\nFROM scratch\nCOPY . /own\nCOPY --from=build /c /built\n"
        for options, kept in (((), "two"), (("--compat", "docker"), "one")):
            files = bench.files(text, *options)
            found = {path for path in files if path.endswith(("/one", "/two"))}
            assert found == {f"/own/{kept}", f"/built/{kept}"}
    finally:
        for name in ignores:
            (bench.context / name).unlink()


def test_arguments_the_environment_and_secrets_reach_the_commands(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    text = (
        "ARG COLOR=red\nFROM base AS build\nARG COLOR\nARG NAMED\n"
        "RUN --mount=type=secret,id=token busybox cat /run/secrets/token >/token && echo $COLOR-$NAMED >/color\n"
        "FROM scratch\nCOPY --from=build /token /color /\n"
    )
    options = ("--build-arg", "COLOR=blue", "--build-arg", "NAMED")
    files = bench.files(
        text, *options, "--secret", "id=token,src=token", cwd=tmp_path, environment={"NAMED": "yes"}
    )
    assert files["/token"][3] == b"s3cret"
    assert files["/color"][3] == b"blue-yes\n"
    files = bench.files(
        text, *options, "--secret", "id=token,env=TOKEN", "--no-cache", environment={"TOKEN": "2", "NAMED": "no"}
    )
    assert (files["/token"][3], files["/color"][3]) == (b"2", b"blue-no\n")
    refused = bench.build(text, "--secret", "id=token,src=missing", code=2)
    assert b"'missing'" in refused.stderr


def test_no_argument_list_has_the_value_of_a_secret(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-value")
    text = (
        "FROM base AS build\nRUN --mount=type=secret,id=token busybox sleep 1\n"
        "FROM scratch\nCOPY --from=build /bin/sh /\n"
    )
    (bench.context / "Containerfile").write_text(text)
    argv = ["build", "-f", f"{bench.context}/Containerfile", str(bench.context), "-o", f"oci:{tmp_path}/layout"]
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rootless_scratch",
            *argv,
            "--no-check",
            "--secret",
            f"id=token,src={tmp_path}/token",
        ],
        env=bench.home.environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    seen = []
    while child.poll() is None:
        seen += [each for pid in os.listdir("/proc") if pid.isdigit() for each in arguments(int(pid))]
        time.sleep(0.05)
    assert child.returncode == 0
    assert any(b"id=token,src=" in each for each in seen)
    assert not any(b"s3cret-value" in each for each in seen)


def test_the_second_build_runs_nothing_again(bench: Bench) -> None:
    text = (
        "FROM base AS build\nRUN busybox cat /proc/sys/kernel/random/uuid >/uuid\n"
        "FROM scratch\nCOPY --from=build /uuid /\n"
    )
    first = bench.files(text)
    assert bench.files(text) == first
    assert bench.files(text, "--no-cache") != first


def test_only_the_stages_that_are_needed_are_built(bench: Bench) -> None:
    files = bench.files(
        "FROM base AS unneeded\nRUN exit 9\n"
        "FROM base AS one\nRUN echo 1 >/one\n"
        "FROM nowhere.invalid/image AS unneeded2\n"
        "FROM base AS two\nCOPY --from=1 /one /two\nRUN echo 2 >>/two\n"
        "FROM scratch\nCOPY --from=3 /two /two\n"
    )
    assert files["/two"][3] == b"1\n2\n"


def test_stages_without_a_name_and_with_the_name_of_another_are_told_apart(bench: Bench) -> None:
    files = bench.files(
        "FROM base\nRUN echo 0 >/zero\nFROM base AS one\nRUN echo 1 >/one\nFROM base AS one\nRUN echo 2 >/one\n"
        "FROM one\nRUN echo 3 >>/one\n"
        "FROM scratch\nCOPY --from=0 /zero /\nCOPY --from=1 /one /first\nCOPY --from=one /one /second\n"
        "COPY --from=3 /one /third\n"
    )
    contents = {path: entry[3] for path, entry in files.items()}
    assert contents == {"/zero": b"0\n", "/first": b"1\n", "/second": b"2\n", "/third": b"2\n3\n"}


def test_links_of_a_stage_lead_nowhere_but_into_it(bench: Bench) -> None:
    files = bench.files(
        "FROM base AS build\n"
        "RUN busybox mkdir /etc /out; echo of-the-stage >/etc/motd && busybox ln -s /etc/motd /out/link\n"
        "RUN busybox ln -s ../../../../../../etc/motd /away && busybox ln -s /etc /direct\n"
        "FROM scratch\nCOPY --from=build /out/link /away /direct/motd /names/\nCOPY --from=build /out /out\n"
    )
    assert files["/names/link"][3] == b"of-the-stage\n"
    assert files["/names/away"][3] == b"of-the-stage\n"
    assert files["/names/motd"][3] == b"of-the-stage\n"
    assert files["/out/link"][3] == "/etc/motd"


def test_a_failed_command_is_told_with_its_line_and_what_it_printed(bench: Bench) -> None:
    done = bench.build(
        "FROM base AS build\n# a comment\nRUN echo fine\nRUN echo first; \\\n"
        "    echo no such compiler >&2; exit 3\nFROM scratch\nCOPY --from=build /bin/sh /\n",
        code=1,
    )
    cause, fix = done.stderr.decode().splitlines()
    assert f"{bench.context}/Containerfile:4: `RUN echo first; " in cause
    # buildah passes on both streams, in an order of its own.
    _, _, printed = cause.partition(" failed with exit code 3, after it printed: ")
    assert sorted(printed.rstrip(".").split(" / ")) == ["first", "no such compiler"]
    assert fix.startswith("  fix: ")
    assert not bench.layout.exists()
    assert bench.left_behind() == []


def test_a_base_that_is_nowhere_is_told_with_its_line(bench: Bench) -> None:
    done = bench.build("FROM localhost/missing\nRUN true\nFROM scratch\nCOPY --from=0 /a /\n", code=1)
    assert (
        f"{bench.context}/Containerfile:1: buildah cannot build `FROM localhost/missing`" in done.stderr.decode()
    )
    assert len(done.stderr.splitlines()) == 2


def test_named_contexts_reach_the_stages_too(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the context")
    layout = tmp_path / "layout"
    bench.home.run(["buildah", "push", "-q", "base", f"oci:{layout}:tag"])
    files = bench.files(
        "FROM other AS build\nCOPY --from=more file /file\nRUN busybox cp /file /copy\n"
        "FROM scratch\nCOPY --from=build /copy /copy\nCOPY --from=more file /own\nCOPY --from=other /bin/sh /sh\n",
        *("--build-context", f"other=oci-layout://{layout}:tag", "--build-context", f"more={tmp_path}"),
    )
    assert files["/copy"][3] == files["/own"][3] == b"of the context"
    assert files["/sh"][0] == 0o755


def test_the_image_goes_to_local_storage_too(bench: Bench) -> None:
    (bench.context / "Containerfile").write_text(
        "FROM base AS build\nRUN echo hello >/hello\nFROM scratch\nCOPY --from=build /hello /hello\n"
    )
    argv = ["build", "-f", f"{bench.context}/Containerfile", str(bench.context), "--no-check"]
    built = bench.home.json(*argv, "-t", "stored")
    assert built["backend"] == "buildah"
    assert "/hello" in str(bench.home.json("inspect", "stored"))


def test_a_plan_of_such_a_file_is_shown(bench: Bench) -> None:
    (bench.context / "Containerfile").write_text(
        "FROM base AS build\nRUN echo hello >/hello\nFROM scratch\nCOPY --from=build /hello /hello\n"
    )
    argv = ["build", "-f", f"{bench.context}/Containerfile", str(bench.context), "--no-check", "--dry-run"]
    assert "/hello" in str(bench.home.json(*argv, "-t", "planned"))


def debian(bench: Bench) -> dict[str, bytes]:
    """Put an image `debian` into storage, with `app` and all that it needs; the digests of its libraries by name.

    They are this machine's, each with something at its end, so that none is what the host has.
    """
    place = bench.context / "debian"
    (place / "usr/lib").mkdir(parents=True, exist_ok=True)
    (place / "greet.c").write_text('#include <math.h>\nconst char *greet(void) { return "hello"; }\n')
    (place / "main.c").write_text(
        "#include <math.h>\n#include <stdio.h>\nconst char *greet(void);\n"
        'int main(int n, char **a) { printf("%s %f\\n", greet(), pow(n, 2.5)); return 0; }\n'
    )
    shared = ["gcc", "-shared", "-fPIC", "-o", "usr/lib/libgreet.so", "greet.c"]
    for argv in (shared, ["gcc", "-o", "app", "main.c", "-Lusr/lib", "-lgreet", "-lm"]):
        subprocess.run(argv, cwd=place, check=True)
    listed = subprocess.run(["ldd", "app"], cwd=place, capture_output=True, text=True, check=True).stdout
    found = {"libgreet.so": hashlib.sha256((place / "usr/lib/libgreet.so").read_bytes()).digest()}
    for name in [word for line in listed.splitlines() for word in line.split() if word.startswith("/lib")]:
        (place / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        content = Path(name).read_bytes() + b"of the image"
        (place / name.lstrip("/")).write_bytes(content)
        found[os.path.basename(name)] = hashlib.sha256(content).digest()
    text = f"{STATIC}COPY debian/lib /lib\nCOPY debian/lib64 /lib64\nCOPY debian/usr /usr\nCOPY debian/app /app\n"
    bench.base("debian", text)
    return found


@pytest.mark.compiler
@pytest.mark.parametrize(
    "text",
    [
        "FROM debian AS build\nRUN busybox touch /made\nFROM scratch\nCOPY --from=build /app /app\n",
        "FROM debian AS build\nFROM scratch\nCOPY --from=build /app /app\n",
        "FROM scratch\nCOPY --from=debian /app /app\n",
    ],
    ids=["a stage that runs something", "a stage that fetches", "an image"],
)
def test_libraries_of_a_program_are_those_of_where_it_came_from_never_this_hosts(bench: Bench, text: str) -> None:
    expected = debian(bench)
    for _ in range(2):
        files = bench.files(text, "--bundle-libraries")
        contents = {os.path.basename(path): entry[3] for path, entry in files.items()}
        digests = {
            name: hashlib.sha256(content).digest()
            for name, content in contents.items()
            if isinstance(content, bytes) and name != "app"
        }
        assert digests == expected


@pytest.mark.compiler
def test_what_the_system_of_a_program_lacks_is_not_taken_from_this_host(bench: Bench) -> None:
    debian(bench)
    (math,) = (bench.context / "debian").glob("lib/*/libm.so.6")
    (bench.context / "Containerfile").write_text(
        f"FROM debian AS build\nRUN busybox rm -f {str(math).removeprefix(f'{bench.context}/debian')}\n"
        'FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n'
    )
    argv = ["build", "-f", f"{bench.context}/Containerfile", str(bench.context), "--bundle-libraries"]
    refused = bench.home.cli(*argv, "-o", f"oci:{bench.context}/layout")
    assert refused.returncode == 1
    assert b"libm.so.6" in refused.stderr


def test_without_a_namespace_one_sentence_names_the_line_of_the_stage(bench: Bench) -> None:
    text = "FROM base AS build\nRUN true\nFROM scratch\nCOPY --from=build /bin/sh /\n"
    (bench.context / "Containerfile").write_text(text)
    argv = ["-f", f"{bench.context}/Containerfile", str(bench.context), "-o", f"oci:{bench.context}/none"]
    refused = bench.home.run(
        without_namespaces([sys.executable, "-m", "rootless_scratch", "build", *argv]), check=False
    )
    assert refused.returncode == 1
    cause, fix = refused.stderr.decode().splitlines()
    assert (
        "Containerfile:1: the stage `build` is built by buildah: buildah cannot make a user namespace here"
        in cause
    )
    assert fix.endswith("Stages without RUN need neither buildah nor a namespace.")
