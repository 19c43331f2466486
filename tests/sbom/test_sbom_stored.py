"""Documents of images in local storage, and of the images of Containerfiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put
from sbom_subjects import go_program, require_valid

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

MODULES = ("path\texample.com/tool", "mod\texample.com/tool\tv1.0.0\t", "dep\texample.com/one\tv1.2.3\th1:abc=")


@pytest.mark.buildah
def test_an_image_of_storage_has_the_document_that_its_build_wrote(shared_home: Home, tmp_path: Path) -> None:
    program = put(tmp_path, "tool", go_program(*MODULES))
    plain = shared_home.json("build", program, "-t", "sbom-plain", "--no-check")
    words = ["--sbom", f"cyclonedx:{tmp_path}/tool.json", "--sbom", f"spdx:{tmp_path}/tool.spdx.json"]
    image = shared_home.json("build", program, "-t", "localhost/sbom-plain:latest", "--no-check", *words)
    assert image["image_id"] == plain["image_id"]
    text = b""
    for written in image["sboms"]:
        text = shared_home.cli("sbom", "localhost/sbom-plain:latest", "--format", written["format"], "-q").stdout
        with open(written["file"], "rb") as file:
            assert file.read() == text
        require_valid(written["format"], text.decode(), tmp_path)
    assert b"pkg:golang/example.com/one@v1.2.3" in text


@pytest.mark.buildah
def test_an_image_of_a_containerfile_has_one_too(shared_home: Home, tmp_path: Path) -> None:
    put(tmp_path, "tool", go_program(*MODULES))
    put(tmp_path, "hello", tinyelf.elf())
    file = put(tmp_path, "Dockerfile", b'FROM scratch\nCOPY tool hello /\nENTRYPOINT ["/hello"]\n')
    words = ["-t", "sbom-file", "--no-check", "--sbom", "spdx"]
    answer = shared_home.json("build", "-f", file, str(tmp_path), *words, cwd=tmp_path)
    assert [each["file"] for each in answer["sboms"]] == ["sbom-file.spdx.json"]
    text = (tmp_path / "sbom-file.spdx.json").read_text()
    require_valid("spdx", text, tmp_path)
    assert "pkg:golang/example.com/one@v1.2.3" in text
