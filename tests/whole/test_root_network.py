"""What only real root can give to an ordinary user for a test: /dev/net/tun, and with it a network and ports."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

SOURCE = Path(__file__).resolve().parents[2]

GIVE = """set -e
mount -t tmpfs none /mnt
mknod -m 666 /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
exec setpriv --reuid "$1" --regid "$2" --clear-groups sh -c '
"$0" -c "from rootless_scratch.host.network import private_network_problem as p; assert not p(), p()"
exec "$0" -m pytest -q -p no:cacheprovider tests/run/test_run_server.py
' "$3"
"""
"""In mounts of its own, so that nothing of the host changes."""


def test_where_a_user_may_have_a_network_the_published_port_of_a_server_answers() -> None:
    account = pwd.getpwuid(SOURCE.stat().st_uid)
    assert account.pw_uid != 0, "the checkout that is tested is an ordinary user's"
    words = ["sh", "-c", GIVE, "sh", str(account.pw_uid), str(account.pw_gid), sys.executable]
    done = subprocess.run(
        ["unshare", "--mount", *words],
        env={"HOME": account.pw_dir, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=SOURCE,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"2 passed" in done.stdout
