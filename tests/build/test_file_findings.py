"""Real builds that are refused by the line, and what becomes of them once the lines are corrected."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import symbolic
from staging import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home

SOURCE = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


@pytest.fixture(scope="module")
def bench(shared_home: Home) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="rst-") as place:
        context = Path(place) / "context"
        context.mkdir()
        yield Bench(shared_home, context)


def refused(bench: Bench, text: str) -> list[tuple[str, int, str | None]]:
    """Rule, line and correction of what keeps a file from being built."""
    (bench.context / "Containerfile").write_text(text)
    layout = bench.context.parent / "refused"
    done = bench.home.cli(
        "build", "--json", "-f", f"{bench.context}/Containerfile", str(bench.context), "-o", f"oci:{layout}"
    )
    assert (done.returncode, layout.exists()) == (1, False), done.stderr.decode()
    findings = json.loads(done.stdout)["findings"]
    return [
        (each["rule"], each["location"]["line"], each["location"].get("corrected"))
        for each in findings
        if each["severity"] == "error"
    ]


@pytest.mark.buildah
def test_what_a_stage_with_run_makes_is_told_at_the_line_that_copies_it(bench: Bench) -> None:
    text = (
        "FROM base AS build\nRUN mkdir /out && cp /bin/busybox /out/tool && echo '#!/bin/bash' > /out/start && "
        "chmod 755 /out/start\nFROM scratch\nCOPY --from=build /out/tool /out/start /bin/\nUSER me\n"
        "CMD tool --help\n"
    )
    assert refused(bench, text) == [
        ("user-unknown", 5, "USER 65532:65532"),
        ("shell-form", 6, 'CMD ["/bin/tool", "--help"]'),
    ]
    script = text.replace("USER me\n", "").replace("CMD tool --help", 'CMD ["/bin/start"]')
    assert refused(bench, script) == [("script-interpreter-missing", 4, None)]


@pytest.mark.buildah
def test_certificates_come_from_the_stage_that_has_them(bench: Bench) -> None:
    text = (
        "FROM base AS build\nRUN mkdir -p /etc/ssl/certs && echo x > /etc/ssl/certs/ca-certificates.crt\n"
        'COPY client /client\nFROM scratch\nCOPY --from=build /client /client\nCMD ["/client"]\n'
    )
    client = bench.context / "client"
    client.write_bytes(symbolic.go_program("net/http.(*Transport).dialConn"))
    client.chmod(0o755)
    (bench.context / "Containerfile").write_text(text)
    layout = bench.context.parent / "warned"
    answer = bench.home.json(
        "build", "-f", f"{bench.context}/Containerfile", str(bench.context), "-o", f"oci:{layout}"
    )
    (found,) = [each for each in answer["findings"] if each["rule"] == "needs-ca-certificates"]
    line = "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/"
    assert found["location"]["corrected"] == f"COPY --from=build /client /client\n{line}"
    assert found["subject"] == "/client"


@pytest.mark.buildah
@pytest.mark.compiler
def test_the_oldest_example_is_mended_line_by_line(bench: Bench) -> None:
    (bench.context / "hello.c").write_text(SOURCE)
    compile_ = ["gcc", "-o", "helloworld", "hello.c"]
    subprocess.run(compile_, cwd=bench.context, check=True)
    text = 'FROM scratch\nCOPY helloworld /\nCMD ["helloworld"]\n'
    assert refused(bench, text) == [
        ("needs-loader", 2, None),
        ("command-not-in-path", 3, 'CMD ["/helloworld"]'),
    ]
    subprocess.run([*compile_, "-static"], cwd=bench.context, check=True)
    mended = text.replace('["helloworld"]', '["/helloworld"]')
    (bench.context / "Containerfile").write_text(mended)
    answer = bench.home.json("check", "-f", f"{bench.context}/Containerfile", str(bench.context))
    assert (answer["verdict"], answer["findings"]) == ("starts", [])
