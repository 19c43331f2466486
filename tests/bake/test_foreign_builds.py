"""Images of bake files and compose files are those that `build -f` makes of the same Containerfiles."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import tinyelf
from bakefiles import STAGE_THAT_IS_RUN, inline

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

BAKE = """
variable "TAG" { default = "1" }
group "default" { targets = ["server", "worker", "variant"] }
target "server" {
  dockerfile = "server.Dockerfile"
  args = { MODE = "live" }
  labels = { "org.example.team" = "shop" }
  annotations = ["org.example.note=yes"]
  tags = ["localhost/shop/server:${TAG}"]
  output = ["type=oci,dest=server.tar"]
}
target "files" {
  dockerfile-inline = "FROM scratch\\nCOPY server /tools/server\\n"
}
target "worker" {
  contexts = { tools = "target:files" }
  dockerfile-inline = <<EOT
FROM scratch
COPY --from=tools /tools/server /worker
ENTRYPOINT ["/worker"]
EOT
  output = [{ type = "oci", dest = "worker", tar = "false" }]
}
target "variant" {
  contexts = { base = "target:worker" }
  dockerfile-inline = "FROM base\\nENV VARIANT=1\\n"
  output = ["type=docker,dest=variant.tar"]
}
"""
DOCKERFILE = 'FROM scratch\nARG MODE\nENV MODE=$MODE\nCOPY server /server\nENTRYPOINT ["/server"]\n'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    tinyelf.write(tmp_path / "server")
    (tmp_path / "server.Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "docker-bake.hcl").write_text(BAKE)
    return tmp_path


def test_targets_go_where_the_file_says_and_are_those_of_single_builds(shared_home: Home, shop: Path) -> None:
    answer = shared_home.json("bake", cwd=shop)
    built = {each["image"]: each for each in answer["results"]}
    assert list(built) == ["server", "worker", "variant"]
    options = ["-f", "server.Dockerfile", "--build-arg", "MODE=live", "-l", "org.example.team=shop"]
    single = shared_home.json(
        "build", *options, "--annotation", "org.example.note=yes", "-o", "oci-archive:single.tar", cwd=shop
    )
    assert built["server"]["digest"] == single["digest"]
    worker = shared_home.json("inspect", "oci:worker:latest", cwd=shop)
    assert worker["config"]["config"]["Entrypoint"] == ["/worker"]
    variant = shared_home.json("inspect", "docker-archive:variant.tar", cwd=shop)
    assert variant["config"]["config"]["Entrypoint"] == ["/worker"]
    assert "VARIANT=1" in variant["config"]["config"]["Env"]
    assert not shared_home.temporary_files()


def test_all_go_to_one_layout_and_one_that_fails_takes_its_heirs_along(shared_home: Home, shop: Path) -> None:
    assert shared_home.cli("bake", "-o", "oci:all", cwd=shop).returncode == 0
    index = json.loads((shop / "all/index.json").read_text())
    names = {each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]}
    assert names == {"server", "worker", "variant"}
    text = (shop / "docker-bake.hcl").read_text()
    (shop / "docker-bake.hcl").write_text(text.replace("COPY server /tools", "COPY missing /tools"))
    done = shared_home.cli("bake", "-o", "oci:all", cwd=shop)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["server"]
    told = done.stderr.decode()
    assert "dockerfile-inline of files:2" in told
    assert "takes files of 'files'" in told
    assert "takes files of 'worker'" in told


def test_check_judges_targets_with_the_lines_of_their_files(shared_home: Home, shop: Path) -> None:
    done = shared_home.cli("bake", "--check", cwd=shop)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[0] == "server: starts"
    (shop / "server.Dockerfile").write_text(DOCKERFILE.replace('["/server"]', '["/servr"]'))
    done = shared_home.cli("bake", "server", "--check", cwd=shop)
    assert done.returncode == 1
    assert b"server.Dockerfile:5" in done.stderr + done.stdout
    assert sorted(path.name for path in shop.iterdir()) == ["docker-bake.hcl", "server", "server.Dockerfile"]


def test_services_of_a_compose_file_are_built(shared_home: Home, shop: Path) -> None:
    (shop / "compose.yaml").write_text(
        "services:\n  api:\n    image: localhost/shop/api\n    build:\n      dockerfile: server.Dockerfile\n"
        "      args: [MODE=compose]\n      labels: {a: b}\n"
    )
    (result,) = shared_home.json("bake", "compose.yaml", "-o", "oci:composed", cwd=shop)["results"]
    config = shared_home.json("inspect", "oci:composed:api", cwd=shop)["config"]["config"]
    assert (config["Env"], config["Labels"]) == (["MODE=compose"], {"a": "b"})
    assert result["image"] == "api"


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ('["type=local,dest=out"]', b"type=local is not an image"),
        ('["type=oci"]', b"has no file"),
        ('["type=cacheonly"]', b"keeps no image"),
        ('["type=registry"]', b"no name to push by"),
        ('["type=oci,dest=a.tar,compression=zstd"]', b"--compress"),
    ],
)
def test_outputs_that_are_no_images_are_told_unless_another_is_named(
    shared_home: Home, shop: Path, output: str, told: bytes
) -> None:
    text = f'target "default" {{\n  dockerfile = "server.Dockerfile"\n  output = {output}\n}}\n'
    (shop / "docker-bake.hcl").write_text(text)
    done = shared_home.cli("bake", cwd=shop)
    assert done.returncode == 1
    assert told in done.stderr
    assert b"docker-bake.hcl:3:" in done.stderr
    assert shared_home.cli("bake", "-o", "oci:all", cwd=shop).returncode == 0


def test_without_the_libraries_one_sentence_says_how_to_install_them(shared_home: Home, shop: Path) -> None:
    (shop / "hcl2.py").write_text("raise ImportError\n")
    (shop / "yaml.py").write_text("raise ImportError\n")
    (shop / "compose.yaml").write_text("services: {}\n")
    path = {"PYTHONPATH": f"{shop}:{shared_home.environment['PYTHONPATH']}:{':'.join(sys.path)}"}
    for file in ("docker-bake.hcl", "compose.yaml"):
        done = shared_home.cli("bake", "-f", file, cwd=shop, environment=path)
        assert done.returncode == 1
        assert b"pip install 'rootless-scratch[bake]'" in done.stderr


@pytest.mark.buildah
def test_tags_go_to_local_storage_by_default(fresh_home: Home, shop: Path) -> None:
    text = (shop / "docker-bake.hcl").read_text()
    (shop / "docker-bake.hcl").write_text(text.replace('  output = ["type=oci,dest=server.tar"]\n', ""))
    (result,) = fresh_home.json("bake", "server", cwd=shop)["results"]
    assert fresh_home.json("inspect", "localhost/shop/server:1")["image_id"] == result["image_id"]


@pytest.mark.buildah
def test_a_stage_with_run_is_made_for_its_target(shared_home: Home, shop: Path, tools: Home) -> None:
    del tools
    (shop / "docker-bake.hcl").write_text(inline(STAGE_THAT_IS_RUN, 'output = ["type=oci,dest=made.tar"]'))
    assert shared_home.cli("bake", cwd=shop, timeout=300).returncode == 0
    assert shared_home.json("inspect", "oci-archive:made.tar", cwd=shop)["files"][0]["path"] == "/made"
