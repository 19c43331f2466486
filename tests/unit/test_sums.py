"""Sums of little without OpenSSL are those of hashlib."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, sys
from rootless_scratch import sums
path, size = sys.argv[1], int(sys.argv[2])
with open(path, "rb") as file:
    found = [sums.file_digest(file)]
    file.seek(0)
    content = file.read()
total = sums.sha256(size=size)
for at in range(0, size, 1000):
    total.update(content[at : at + 1000])
print(json.dumps([*found, sums.digest(content), total.hexdigest(), "_hashlib" in sys.modules]))
"""


@pytest.mark.parametrize(("size", "by_openssl"), [(0, False), (5, False), (300_000, False), (3_000_000, True)])
def test_sums_are_those_of_hashlib_and_openssl_is_loaded_for_much(
    size: int, by_openssl: bool, tmp_path: Path
) -> None:
    content = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    (tmp_path / "file").write_bytes(content)
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path / "file"), str(size)]
    *found, loaded = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert found == [hashlib.sha256(content).hexdigest()] * 3
    assert loaded is by_openssl


def test_where_hashlib_is_loaded_it_is_used() -> None:
    from rootless_scratch import sums

    assert type(sums.sha256()) is type(hashlib.sha256())
