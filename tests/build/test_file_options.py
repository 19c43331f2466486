"""Options of `build -f` that nothing takes: which of them are named, and what there is instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


@pytest.fixture
def context(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    top.mkdir()
    tinyelf.write(top / "hello")
    return top


def test_a_build_argument_of_another_stage_is_not_called_unused(context: Path) -> None:
    file = context.parent / "Containerfile"
    file.write_text('FROM scratch AS other\nARG TOKEN\nFROM scratch\nCOPY hello /\nENTRYPOINT ["/hello"]\n')
    how: dict[str, Any] = {"output": f"oci:{context.parent}/layout"}
    image = rs.build_file(file, context, build_args={"TOKEN": "1", "TYPO": "2"}, **how)
    assert image.notes == ("No ARG of the Containerfile takes `--build-arg TYPO`.",)


def test_an_option_that_there_is_not_is_answered_with_those_that_there_are(context: Path) -> None:
    wrong: dict[str, Any] = {"lable": {"a": "b"}}
    with pytest.raises(UsageError, match="build_file has no option 'lable'") as refused:
        rs.build_file("Containerfile", context, **wrong)
    assert all(f" {name}," in refused.value.fix for name in ("build_args", "labels"))
    assert "programs" not in refused.value.fix


@pytest.mark.parametrize("option", ["--authfile=x", "--cert-dir=x", "--tls-verify=false", "--limit=expanded=2t"])
def test_what_is_for_images_is_not_passed_over_beside_a_containerfile(fresh_home: Home, option: str) -> None:
    done = fresh_home.cli("check", "-f", "Containerfile", option)
    assert done.returncode == 2
    assert f"{option.partition('=')[0]} has no effect with -f" in done.stderr.decode()
