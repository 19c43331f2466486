"""Images to a real registry and back: whoever pulls by the digest that was printed gets the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal
from registries import PASSWORD, USER, registry

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home
    from registries import Registry

pytestmark = pytest.mark.registry

OPEN = "--tls-verify=false"


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tinyelf.write(tmp_path / "program")


def digest_of(content: bytes | None) -> str:
    assert content is not None
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pulled(home: Home, at: Registry, name: str, digest: str, place: Path) -> dict[str, bytes]:
    """All blobs of an image, by skopeo, by the digest of its manifest."""
    words = ["--preserve-digests", "--src-tls-verify=false", f"docker://{at.host}/{name}@{digest}", f"dir:{place}"]
    home.run(["skopeo", "copy", "--quiet", *words])
    found = {path.name: path.read_bytes() for path in place.iterdir() if path.name != "version"}
    return {name if name == "manifest.json" else f"sha256:{name}": content for name, content in found.items()}


def blobs_of(layout: Path) -> dict[str, bytes]:
    return {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}


def test_a_build_goes_to_a_registry_and_comes_back_by_its_digest_byte_for_byte(
    shared_home: Home, open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    place = f"docker://{open_registry.host}/team/hello"
    layout = tmp_path / "layout"
    words = ["-o", f"{place}:1.0", "-o", f"oci:{layout}", "-o", f"{place}:latest", "--annotation", "k=<v>"]
    built = shared_home.json("build", str(program), *words, OPEN)
    assert [output["ref"] for output in built["outputs"]] == [f"{place}:1.0", f"oci:{layout}", f"{place}:latest"]
    assert {output["digest"] for output in built["outputs"]} == {built["digest"]}
    by_digest = f"{open_registry.host}/team/hello@{built['digest']}"
    assert [output["pull"] for output in built["outputs"]] == [by_digest, None, by_digest]
    for reference in ("1.0", "latest", built["digest"]):
        assert digest_of(open_registry.manifest("team/hello", reference)) == built["digest"]
    back = pulled(shared_home, open_registry, "team/hello", built["digest"], tmp_path / "back")
    ours = blobs_of(layout)
    assert back.pop("manifest.json") == ours.pop(built["digest"])
    assert back == ours
    manifest = json.loads(open_registry.manifest("team/hello", "1.0") or b"")
    assert manifest["layers"][0]["mediaType"].endswith("+gzip")
    assert shared_home.temporary_files() == []


def test_an_image_that_was_only_pushed_is_that_of_a_layout_with_gzip(
    shared_home: Home, open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    done = shared_home.cli("build", str(program), "-o", f"docker://{open_registry.host}/only/pushed", OPEN)
    written = shared_home.json("build", str(program), "-o", f"oci:{tmp_path}/layout", "--compress", "gzip")
    assert done.stdout.decode().strip() == written["image_id"]
    pull = f"{open_registry.host}/only/pushed@{written['digest']}"
    assert f"pushed: {pull}\n" in done.stderr.decode()
    assert digest_of(open_registry.manifest("only/pushed", "latest")) == written["digest"]


def test_an_image_that_only_a_registry_has_can_be_neither_checked_nor_sent(
    open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    image = rs.build(program, output=f"docker://{open_registry.host}/only/there", tls_verify=False)
    for call in (lambda: rs.check(image), lambda: rs.save(image, str(tmp_path / "image.tar"))):
        assert "exists only in a registry" in refusal(call, rs.UsageError).message


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_layouts_and_archives_are_pushed_as_they_are(
    open_registry: Registry, tmp_path: Path, program: Path, kind: str, compress: str
) -> None:
    word = f"{kind}:{tmp_path}/image"
    built = rs.build(program, output=word, compress=compress, annotations={"k": "v"})
    name = f"kinds/{kind}/{compress}"
    sent = rs.push(word, f"docker://{open_registry.host}/{name}:1", tls_verify=False)
    assert sent.image_id == built.image_id
    assert digest_of(open_registry.manifest(name, "1")) == sent.digest == sent.outputs[0].digest
    if kind != "docker-archive":
        assert sent.digest == built.digest
        assert sent.layers == built.layers
    again = rs.push(word, f"docker://{open_registry.host}/{name}:2", tls_verify=False, compress="gzip:3")
    assert again.image_id == built.image_id
    assert again.layers[0].media_type.endswith("+gzip")
    assert digest_of(open_registry.manifest(name, "2")) == again.digest


@pytest.mark.buildah
def test_an_image_of_local_storage_is_pushed_with_one_digest_whoever_does_it(
    shared_home: Home, fresh_home: Home, open_registry: Registry, program: Path
) -> None:
    digests = set()
    for home, name in ((shared_home, "one"), (fresh_home, "two")):
        built = home.json("build", str(program), "-t", f"stored-{name}:1")
        for asked in (f"stored-{name}:1", built["image_id"]):
            sent = home.json("push", asked, f"docker://{open_registry.host}/stored/{name}:1", OPEN)
            assert sent["image_id"] == built["image_id"]
            assert digest_of(open_registry.manifest(f"stored/{name}", "1")) == sent["digest"]
            digests.add(sent["digest"])
        assert home.temporary_files() == []
    assert len(digests) == 1


@pytest.mark.podman
def test_what_was_pushed_is_pulled_by_podman_and_runs(
    shared_home: Home, open_registry: Registry, program: Path
) -> None:
    name = f"{open_registry.host}/runs/hello:1"
    built = shared_home.json("build", str(program), "-o", f"docker://{name}", OPEN)
    shared_home.run(["podman", "pull", "--quiet", OPEN, f"{name.rpartition(':')[0]}@{built['digest']}"])
    ran = shared_home.cli("run", built["image_id"])
    assert (ran.returncode, ran.stdout) == (0, b"Hello World\n")


def test_a_registry_with_a_password_takes_a_login_and_says_what_to_do_without(
    shared_home: Home, tmp_path: Path, program: Path
) -> None:
    logins = tmp_path / "logins.json"
    layout = f"oci:{tmp_path}/layout"
    shared_home.json("build", str(program), "-o", layout)
    with registry(tmp_path / "registry", password=True) as secured:
        place = f"docker://{secured.host}/team/hello:1"
        refused = shared_home.cli("push", layout, place, OPEN, "--json")
        error = json.loads(refused.stdout)["error"]
        assert (refused.returncode, error["kind"]) == (1, "registry")
        assert error["message"].startswith(f"{secured.host} requires a login")
        assert f"skopeo login {secured.host}" in error["fix"]
        wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
        logins.write_text(json.dumps({"auths": {secured.host: {"auth": wrong}}}))
        assert shared_home.cli("push", layout, place, OPEN, "--authfile", str(logins)).returncode == 1
        login = ["skopeo", "login", OPEN, "--authfile", str(logins), "-u", USER, "-p", PASSWORD, secured.host]
        shared_home.run(login)
        sent = shared_home.json("push", layout, place, OPEN, "--authfile", str(logins))
        again = shared_home.json("push", layout, place, OPEN, environment={"REGISTRY_AUTH_FILE": str(logins)})
        built = shared_home.json("build", str(program), "-o", place, OPEN, "--authfile", str(logins))
        assert sent["digest"] == again["digest"]
        assert built["image_id"] == sent["image_id"]
        # A login is found in the places of skopeo as well.
        home = shared_home.path / ".config/containers/auth.json"
        home.parent.mkdir(parents=True, exist_ok=True)
        home.write_bytes(logins.read_bytes())
        try:
            assert shared_home.json("push", layout, place, OPEN)["digest"] == sent["digest"]
        finally:
            home.unlink()


def test_a_private_authority_is_trusted_by_its_directory_alone(
    shared_home: Home, tmp_path: Path, program: Path
) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    with registry(tmp_path / "registry", tls=True) as secured:
        place = f"docker://{secured.host}/team/hello:1"
        refused = shared_home.cli("build", str(program), "-o", place)
        assert refused.returncode == 1
        assert b"signed by a certificate authority that this host does not trust" in refused.stderr
        assert b"--cert-dir" in refused.stderr
        assert secured.manifest("team/hello", "1") is None
        assert secured.authority is not None
        (trusted / "ca.crt").write_bytes(secured.authority.read_bytes())
        built = shared_home.json("build", str(program), "-o", place, "--cert-dir", str(trusted))
        assert digest_of(secured.manifest("team/hello", "1")) == built["digest"]
        other = f"docker://127.0.0.1:{secured.port}/team/hello:2"
        elsewhere = shared_home.cli("build", str(program), "-o", other, "--cert-dir", str(trusted))
        assert b"The certificate of 127.0.0.1:" in elsewhere.stderr


def test_where_user_namespaces_are_off_and_skopeo_is_all_there_is_an_image_is_built_and_pushed(
    shared_home: Home, open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "skopeo").symlink_to(shutil.which("skopeo") or "")
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && "
        'exec setpriv --inh-caps=-all --bounding-set=-all env PATH="$1" "$0" -m rootless_scratch "${@:2}"'
    )
    inside = ["unshare", "--user", "--map-root-user", "bash", "-c", script, sys.executable, str(tools)]
    shared_home.run([*inside, "build", str(program), "-o", f"docker://{open_registry.host}/bare/hello:1", OPEN])
    shared_home.run([*inside, "build", str(program), "-o", f"oci:{tmp_path}/layout"])
    place = f"docker://{open_registry.host}/bare/hello:2"
    sent = shared_home.run([*inside, "push", f"oci:{tmp_path}/layout", place, OPEN])
    assert digest_of(open_registry.manifest("bare/hello", "2")) == sent.stdout.decode().strip()
    assert open_registry.manifest("bare/hello", "1") is not None


def test_without_a_runtime_directory_logins_are_looked_for_elsewhere(
    shared_home: Home, open_registry: Registry, program: Path
) -> None:
    place = f"docker://{open_registry.host}/su/hello"
    shared_home.json("build", str(program), "-o", place, OPEN, environment={"XDG_RUNTIME_DIR": ""})
    assert open_registry.manifest("su/hello", "latest") is not None


def test_an_index_goes_to_a_registry_and_elsewhere_with_all_that_it_names(
    shared_home: Home, open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    foreign = tinyelf.write(tmp_path / "foreign", machine="aarch64")
    layout = tmp_path / "layout"
    built = shared_home.json("build", f"{program}:/p", f"{foreign}:/p", "-o", f"oci:{layout}", "-t", "both")
    assert len(built["images"]) == 2
    place = f"docker://{open_registry.host}/team/both:1"
    pushed = shared_home.json("push", f"oci:{layout}", place, OPEN)
    pull = f"{open_registry.host}/team/both@{built['digest']}"
    assert pushed["outputs"] == [{"ref": place, "digest": built["digest"], "pull": pull}]
    index = json.loads(open_registry.manifest("team/both", built["digest"]) or b"")
    assert {entry["digest"] for entry in index["manifests"]} == {image["digest"] for image in built["images"]}
    for image in built["images"]:
        assert digest_of(open_registry.manifest("team/both", image["digest"])) == image["digest"]
    archive = f"oci-archive:{tmp_path}/both.tar"
    for word in (f"oci:{layout}", "both"):
        assert shared_home.cli("save", word, "-o", archive).returncode == 0, word
        for platform in ("linux/amd64", "linux/arm64"):
            found = shared_home.json("inspect", archive, "--platform", platform)
            assert found["image_id"] in {image["image_id"] for image in built["images"]}
    done = shared_home.cli("save", f"oci:{layout}", "-o", str(tmp_path / "docker.tar"))
    assert done.returncode == 2
    assert b"cannot hold images for several platforms" in done.stderr


def test_a_build_of_several_platforms_goes_straight_to_a_registry(
    shared_home: Home, open_registry: Registry, tmp_path: Path, program: Path
) -> None:
    foreign = tinyelf.write(tmp_path / "foreign", machine="aarch64")
    place = f"docker://{open_registry.host}/team/direct:1"
    built = shared_home.json("build", f"{program}:/p", f"{foreign}:/p", "-o", place, "-t", "direct-both", OPEN)
    assert digest_of(open_registry.manifest("team/direct", "1")) == built["digest"]
