"""What programs want by their libraries and texts: found, brought by `auto`, and explained where they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home

pytestmark = pytest.mark.podman


def test_tmux_gets_the_locale_that_it_insists_on(shared_home: Home) -> None:
    bare = shared_home.json("build", "/usr/bin/tmux", "-t", "tmux-bare", "--bundle-libraries")
    assert "needs-locale" in [finding["rule"] for finding in bare["findings"]]
    ended = shared_home.cli("run", "tmux-bare", "-C", "new", "-d")
    assert ended.returncode == 1
    assert b"[needs-locale]" in ended.stderr
    built = shared_home.json("build", "/usr/bin/tmux", "-t", "tmux-auto", "--bundle-libraries", "--with", "auto")
    assert "needs-locale" not in [finding["rule"] for finding in built["findings"]]
    assert b"attach-session" in shared_home.cli("run", "tmux-auto", "-f", "/dev/null", "list-commands").stdout


def test_git_without_its_helpers_is_warned_of_explained_and_mended(shared_home: Home) -> None:
    bare = shared_home.json("build", "/usr/bin/git", "-t", "git-bare", "--bundle-libraries")
    (finding,) = [finding for finding in bare["findings"] if finding["rule"] == "needs-other-programs"]
    assert "--bundle-package git" in finding["fix"]
    words = ["--network", "none"]
    ended = shared_home.cli("run", *words, "git-bare", "ls-remote", "https://127.0.0.1:1/shop")
    assert b"--with git" in ended.stderr
    more = ["--bundle-libraries", "--bundle-package", "git"]
    whole = shared_home.json("build", "/usr/bin/git", "-t", "git-whole", *more)
    assert "needs-other-programs" not in [finding["rule"] for finding in whole["findings"]]
    tried = shared_home.cli("run", *words, "git-whole", "ls-remote", "https://127.0.0.1:1/shop")
    assert b"127.0.0.1 port 1" in tried.stderr
