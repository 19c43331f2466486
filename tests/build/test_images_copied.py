"""Images that a Containerfile copies from, or begins a stage without RUN with: they need skopeo alone."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Home
from foreign import Layout, layer_of
from registries import registry
from staging import Bench, without_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registries import Registry

pytestmark = [pytest.mark.buildah, pytest.mark.podman, pytest.mark.registry]

OPEN = "--tls-verify=false"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield Bench(home, tmp_path_factory.mktemp("context"))
    home.remove()


@pytest.fixture(scope="module")
def hub(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with the image `team/tools`, which has deleted some of its own files again, for two platforms."""
    place = tmp_path_factory.mktemp("hub")
    with registry(place) as started:
        layout = Layout(place / "layout")
        entries: list[dict[str, Any]] = []
        for architecture in ("amd64", "arm64"):
            low = layer_of(("opt", None), ("opt/tool", architecture.encode()), ("opt/gone", b"x"), ("old", b"y"))
            high = layer_of(("opt/.wh.gone", b""), ("etc", None), ("etc/passwd", b"me:x:77:78::/:/x\n"))
            image = layout.image(low, high, architecture=architecture)
            entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
        index = layout.blob(
            {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries},
            "application/vnd.oci.image.index.v1+json",
        )
        reference = layout.index(index)
        target = f"docker://{started.host}/team/tools:1"
        bench.home.run(["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", reference, target])
        yield started


def test_an_image_of_a_registry_is_read_by_skopeo_alone_where_there_are_no_namespaces(
    bench: Bench, hub: Registry, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "skopeo").symlink_to(shutil.which("skopeo") or "")
    image = f"{hub.host}/team/tools:1"
    (bench.context / "Containerfile").write_text(
        f"FROM {image} AS tools\nCOPY busybox /opt/more\n"
        f"FROM scratch\nCOPY --from=tools --chown=0:0 /opt /opt\nCOPY --from={image} /opt/tool /tool\n"
    )
    argv = ["-f", f"{bench.context}/Containerfile", str(bench.context), "-o", f"oci:{tmp_path}/layout", OPEN]
    # Neither buildah nor podman is in PATH.
    without_tools = [
        "env",
        f"PATH={tools}",
        sys.executable,
        "-m",
        "rootless_scratch",
        "build",
        *argv,
        "--no-check",
    ]
    bench.home.run(without_namespaces(without_tools))
    shown = str(bench.home.json("inspect", f"oci:{tmp_path}/layout"))
    assert "/opt/more" in shown
    assert "/tool" in shown
    assert "gone" not in shown


def test_of_an_index_the_image_for_the_platform_of_the_build_is_taken(bench: Bench, hub: Registry) -> None:
    text = f"FROM scratch\nCOPY --from={hub.host}/team/tools:1 /opt/tool /tool\n"
    assert bench.files(text, OPEN, "--platform", "linux/arm64")["/tool"][3] == b"arm64"
    assert bench.files(text, OPEN, "--platform", "linux/amd64")["/tool"][3] == b"amd64"


def test_names_of_users_are_those_of_the_image(bench: Bench, hub: Registry) -> None:
    text = (
        f"FROM {hub.host}/team/tools:1 AS tools\nCOPY --chown=me busybox /mine\n"
        "FROM scratch\nCOPY --from=tools /mine /mine\n"
    )
    assert bench.files(text, OPEN)["/mine"][1:3] == (77, 78)


def test_an_image_of_local_storage_comes_first(bench: Bench) -> None:
    files = bench.files("FROM scratch\nCOPY --from=base /bin/sh /sh\n")
    assert files["/sh"][0] == 0o755
    by_id = bench.home.run(["buildah", "images", "--quiet", "--no-trunc", "base"]).stdout.decode().strip()
    assert bench.files(f"FROM scratch\nCOPY --from={by_id.removeprefix('sha256:')} /bin/sh /sh\n") == files
    assert bench.home.temporary_files() == []


@pytest.mark.parametrize("prefix", ["docker-image://", "docker://", "container-image:"])
def test_a_named_context_may_be_an_image(bench: Bench, prefix: str) -> None:
    text = "FROM tools AS one\nFROM scratch\nCOPY --from=one /bin/sh /one\nCOPY --from=tools /bin/sh /two\n"
    files = bench.files(text, "--build-context", f"tools={prefix}base")
    assert files["/one"][3] == files["/two"][3]


def test_what_would_be_fetched_by_others_is_refused_with_the_reason(bench: Bench) -> None:
    for value in ("https://example.com/x.tar", "git://example.com/x", "git@example.com:x.git"):
        text = "FROM scratch\nCOPY --from=other /x /x\n"
        refused = bench.build(text, "--build-context", f"other={value}", code=2)
        assert f"{value!r}" in refused.stderr.decode()
        assert b"--build-context NAME=DIR" in refused.stderr


def test_an_image_that_is_nowhere_is_told_with_what_is_known(bench: Bench, hub: Registry) -> None:
    missing = bench.build("FROM scratch\nCOPY --from=localhost/missing /x /x\n", code=1)
    assert b"localhost/missing" in missing.stderr
    missing = bench.build(f"FROM scratch\nCOPY --from={hub.host}/team/missing:1 /x /x\n", OPEN, code=1)
    assert f"{hub.host}/team/missing:1" in missing.stderr.decode()
    assert len(missing.stderr.splitlines()) == 2
    assert bench.home.temporary_files() == []


def test_a_path_that_the_image_lacks_is_told_with_its_line(bench: Bench) -> None:
    done = bench.build("FROM scratch\nCOPY --from=base /bin/sh /sh\nCOPY --from=base /missing /x\n", code=1)
    assert b"/missing" in done.stderr
    assert sys.executable.encode() not in done.stderr
