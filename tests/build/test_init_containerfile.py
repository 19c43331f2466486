"""`init` of a Containerfile: the scratch.toml builds the image that the Containerfile builds."""

from __future__ import annotations

import os
import shutil
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

SERVER = 'COPY server /usr/bin/server\nENTRYPOINT ["/usr/bin/server"]\n'


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with a program, and files of several modes."""
    tinyelf.write(tmp_path / "server")
    for name in ("static/page.html", "static/deep/er.css", "conf/a.conf", "conf/b.conf", ".env"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o644)
    for name in ("static", "static/deep", "conf"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "conf/b.conf").chmod(0o600)
    os.symlink("page.html", tmp_path / "static/index.html")
    return tmp_path


def files(plan: dict[str, Any]) -> list[tuple[object, ...]]:
    keys = ("path", "mode", "uid", "gid", "target", "size")
    return [tuple(entry.get(key) for key in keys) for entry in plan["entries"]]


FILES = {
    "a program": SERVER,
    "a directory": f"{SERVER}COPY static /srv\n",
    "a directory into another": f"{SERVER}COPY static /srv/\nCOPY conf /srv/conf\n",
    "modes of the host": f"{SERVER}COPY conf /etc/conf\n",
    "one file with a mode": f"{SERVER}COPY --chmod=0440 static/page.html /page\n",
    "another owner": f"{SERVER}COPY --chown=5:6 static /srv\n",
    "some of a directory": f"{SERVER}COPY conf/a.conf conf/b.conf /etc/\n",
    "a pattern": f"{SERVER}COPY static/*.html /srv/\n",
    "the whole context": f"COPY . /app\n{SERVER}",
    "config": f'{SERVER}ENV A=b C="d e" E=\\${{F}}\nLABEL a.b=c\nUSER 7:8\nWORKDIR /data\nEXPOSE 80 53/udp\n'
    'VOLUME /v\nSTOPSIGNAL SIGINT\nCMD ["-v"]\n',
    "a stage that is made here": "COPY static /a\nFROM scratch\nCOPY --from=0 /a /srv\n" + SERVER,
    "arguments": "ARG NAME=static\nCOPY $NAME /srv\n" + SERVER,
    "an entrypoint with arguments": 'COPY server /server\nENTRYPOINT ["/server", "--port", "80"]\n',
    "a command alone": 'COPY server /server\nCMD ["/server"]\n',
    "an own program elsewhere": 'COPY server /opt/\nENTRYPOINT ["/opt/server"]\n',
    "a program with a mode": 'COPY --chmod=0555 server /server\nENTRYPOINT ["/server"]\n',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_same_image_is_built(shared_home: Home, context: Path, text: str) -> None:
    (context / "Containerfile").write_text(f"FROM scratch\n{text}")
    (context / ".dockerignore").write_text("Containerfile\n.env\nscratch.toml\n.dockerignore\n")
    done = shared_home.cli("init", "Containerfile", cwd=context)
    assert done.returncode == 0, done.stderr
    of_file = shared_home.json("build", "-f", "Containerfile", ".", "--dry-run", cwd=context)["plan"]
    of_spec = shared_home.json("build", "--spec", "scratch.toml", "--dry-run", cwd=context)["plan"]
    assert files(of_spec) == files(of_file)
    assert of_spec["config"]["config"] == of_file["config"]["config"]


def test_directories_are_one_line_where_they_are_copied_whole(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text(f"FROM scratch\n{SERVER}COPY static /srv\nCOPY conf /etc/conf\n")
    shared_home.json("init", "Containerfile", cwd=context)
    document = tomllib.loads((context / "scratch.toml").read_text())
    assert document["programs"] == ["server:/usr/bin/server"]
    assert sorted(document["copy"]) == ["conf:/etc/conf:mode=keep", "static:/srv"]
    assert "entrypoint" not in document


STAGES = """\
FROM golang:1.24 AS build
RUN go build -o /src/app .
FROM alpine AS certs
FROM scratch
COPY --from=build /src/app /bin/
COPY --from=certs /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/assets /assets
COPY --from=build /src/*.md /doc/
COPY static /srv
ENTRYPOINT ["/bin/app"]
"""


def test_what_other_stages_make_is_expected_beside_the_file(shared_home: Home, context: Path) -> None:
    (context / "Dockerfile").write_text(STAGES)
    done = shared_home.cli("init", "Dockerfile", cwd=context)
    assert done.returncode == 0, done.stderr
    told = done.stderr.decode()
    assert "put app, assets beside it" in told
    assert "/src/*.md of build (line 8), which goes to /doc/" in told
    text = (context / "scratch.toml").read_text()
    document = tomllib.loads(text)
    assert document["programs"] == ["app:/bin/app"]
    assert document["with"] == ["ca-certificates"]
    assert sorted(document["copy"]) == ["assets:/assets", "static:/srv"]
    assert "# - app, expected beside this file: /src/app of build (line 5)" in text
    answer = shared_home.json("init", "Dockerfile", "-o", "-", cwd=context)
    assert answer["missing"] == ["app", "assets"]
    tinyelf.write(context / "app")
    (context / "assets").mkdir()
    (context / "assets/logo").write_text("x")
    built = shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=context)
    assert built["files"] >= 4
    assert shared_home.json("init", "Dockerfile", "-o", "-", cwd=context)["missing"] == []


ARGUMENTS = """\
ARG APP=exporter
FROM golang AS build
ARG APP TARGETARCH
RUN go build -o /out/${APP}
FROM scratch
ARG APP TARGETARCH
COPY --from=build /out/agent-${TARGETARCH} /agent
COPY --from=build /out/${APP} /${APP}
ENTRYPOINT ["/exporter"]
"""


def test_a_file_whose_name_is_not_known_is_called_as_in_the_image(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text(ARGUMENTS)
    answer = shared_home.json("init", "Containerfile", cwd=context)
    document = tomllib.loads(answer["text"])
    assert document["copy"] == ["agent:/agent"]
    assert document["programs"] == ["exporter:/exporter"]
    assert answer["missing"] == ["agent", "exporter"]
    for name in answer["missing"]:
        tinyelf.write(context / name)
    shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=context)


def test_a_command_alone_stays_a_command(shared_home: Home, context: Path) -> None:
    text = 'FROM golang AS build\nRUN go build\nFROM scratch\nCOPY --from=build /app /app\nCMD ["/app", "-v"]\n'
    (context / "Containerfile").write_text(text)
    tinyelf.write(context / "app")
    shared_home.json("init", "Containerfile", cwd=context)
    plan = shared_home.json("build", "--spec", "scratch.toml", "--dry-run", cwd=context)["plan"]
    config = plan["config"]["config"]
    assert (config.get("Entrypoint"), config["Cmd"]) == (None, ["/app", "-v"])


def test_the_recipe_found_everywhere_gets_its_libraries_or_is_refused(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text('FROM scratch\nCOPY server /\nCMD ["server"]\n')
    done = shared_home.cli("init", "Containerfile", cwd=context)
    assert done.returncode == 1
    assert b"server" in done.stderr
    assert not (context / "scratch.toml").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM scratch\nCOPPY a /\n", 2),
        ("FROM scratch\nCOPY missing /\n", 2),
        ("FROM scratch AS a\nCOPY server /\nFROM scratch\nCOPY --from=a /server /\nCOPY gone /\n", 5),
        ("FROM scratch AS a\nCOPY gone /x\nFROM scratch\nCOPY --from=a /x /\n", 2),
        ("RUN x\n", 1),
        ("", 1),
        ("FROM alpine\n", 1),
    ],
)
def test_a_file_that_cannot_be_worked_off_is_refused_with_its_lines(
    shared_home: Home, context: Path, text: str, line: int
) -> None:
    (context / "Containerfile").write_text(text)
    done = shared_home.cli("init", "Containerfile", cwd=context)
    assert done.returncode == 1
    assert f"Containerfile:{line}:" in done.stderr.decode()
    assert not (context / "scratch.toml").exists()


def test_an_image_that_cannot_be_started_is_not_for_a_scratch_toml(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text("FROM scratch\nCOPY static /srv\n")
    done = shared_home.cli("init", "Containerfile", cwd=context)
    assert done.returncode == 1
    assert b"[no-command]" in done.stderr


def test_what_no_key_stands_for_is_told(shared_home: Home, context: Path) -> None:
    text = f'{SERVER}COPY <<X /etc/motd\nhello\nX\nHEALTHCHECK CMD ["/usr/bin/server", "-c"]\n'
    (context / "Containerfile").write_text(f"FROM scratch\n{text}")
    answer = shared_home.json("init", "Containerfile", cwd=context)
    assert any("/etc/motd" in remark for remark in answer["remarks"])
    assert any("HEALTHCHECK" in remark for remark in answer["remarks"])
    assert "# /etc/motd" in answer["text"]
    shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=context)


def test_a_containerfile_is_known_by_its_name_or_its_first_instruction(shared_home: Home, context: Path) -> None:
    for name, text in (
        ("app.dockerfile", f"FROM scratch\n{SERVER}"),
        ("image", f"# syntax=docker/dockerfile:1\n\nARG A\nFROM scratch\n{SERVER}"),
    ):
        (context / name).write_text(text)
        answer = shared_home.json("init", name, "-o", "-", cwd=context)
        assert tomllib.loads(answer["text"])["programs"] == ["server:/usr/bin/server"]


def test_sources_are_found_from_where_the_file_lies(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text(f"FROM scratch\n{SERVER}COPY static /srv\n")
    (context / "deploy").mkdir()
    shared_home.json("init", f"{context}/Containerfile", "-o", f"{context}/deploy/image.toml")
    document = tomllib.loads((context / "deploy/image.toml").read_text())
    assert document["programs"] == ["../server:/usr/bin/server"]
    assert document["copy"] == ["../static:/srv"]
    shared_home.json("build", "--spec", f"{context}/deploy/image.toml", "-o", f"oci:{context}/out")


def test_the_options_of_the_file_itself_come_along(shared_home: Home, context: Path) -> None:
    own = "# rootless-scratch: --bundle-libraries --with tzdata=Europe/Berlin,tmp --include-library libm.so.6\n"
    (context / "Containerfile").write_text(f"{own}FROM scratch\n{SERVER}")
    shutil.copyfile("/bin/true", context / "server")
    shared_home.json("init", "Containerfile", cwd=context)
    document = tomllib.loads((context / "scratch.toml").read_text())
    assert document["with"] == ["tzdata=Europe/Berlin,tmp"]
    assert document["bundle-libraries"] is True
    assert document["include-libraries"] == ["libm.so.6"]
    of_file = shared_home.json("build", "-f", "Containerfile", ".", "--dry-run", cwd=context)["plan"]
    of_spec = shared_home.json("build", "--spec", "scratch.toml", "--dry-run", cwd=context)["plan"]
    assert files(of_spec) == files(of_file)


def test_options_of_the_file_and_files_of_other_images_are_one_list(shared_home: Home, context: Path) -> None:
    own = "# rootless-scratch: --with tmp --with ca-certificates\n"
    certificates = "COPY --from=alpine /etc/ssl/certs/ca-certificates.crt /usr/share/zoneinfo /etc/\n"
    (context / "Containerfile").write_text(f"{own}FROM scratch\n{certificates}{SERVER}")
    answer = shared_home.json("init", "Containerfile", "-o", "-", cwd=context)
    assert tomllib.loads(answer["text"])["with"] == ["tmp", "ca-certificates", "tzdata"]
