"""What tools are given of the environment, and where what is under way is noted."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rootless_scratch import private
from rootless_scratch.errors import HostError
from rootless_scratch.host.environment import tool_environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.buildah
def test_what_is_under_way_is_noted_with_the_store_which_real_root_has_apart_from_its_home() -> None:
    ask = "from rootless_scratch.host.environment import state_directory as ask; print(ask({'HOME': '/home/a'}))"
    root = "mount -t tmpfs tmpfs /var/lib && exec"
    said = []
    for before in ("exec", root):
        argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{before} "$@"', "sh"]
        done = subprocess.run(
            [*argv, sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True
        )
        said.append(done.stdout.strip())
    assert said == ["/home/a/.local/state/rootless-scratch", "/var/lib/rootless-scratch"]


def test_a_home_that_is_no_absolute_path_is_refused_and_a_state_directory_passed_over(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="absolute"):
        tool_environment({"HOME": "here"})
    environment = tool_environment({"HOME": str(tmp_path), "XDG_STATE_HOME": "here", "XDG_RUNTIME_DIR": ""})
    assert not {"XDG_STATE_HOME", "XDG_RUNTIME_DIR"} & set(environment.variables)
    assert environment.notes == ("XDG_STATE_HOME is ignored: it is not an absolute path. [host-environment]",)


def test_a_relative_tmpdir_which_podman_would_refuse_is_not_used_and_that_is_said(tmp_path: Path) -> None:
    environment = tool_environment({"HOME": str(tmp_path), "TMPDIR": "."})
    assert "TMPDIR" not in environment.variables
    assert environment.notes == ("TMPDIR is ignored: . is not an absolute path. [host-environment]",)


def test_a_umask_that_takes_all_rights_leaves_no_directory_behind(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        with pytest.raises(PermissionError):
            private.make_at(str(tmp_path / "private"))
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []
