"""Programs are started as well by a caller that has closed some of its own standard streams, as daemons do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tinyelf

SOURCE = Path(__file__).resolve().parents[2]
ANSWER = {"out": "read in", "err": "said"}

CALLER = """
import json, os, sys
answer = os.fdopen(int(sys.argv[1]), "w")
for number in json.loads(sys.argv[2]):
    os.close(number)
import rootless_scratch as rs
from rootless_scratch import command
from rootless_scratch.spawn import NULL

program, log = sys.argv[3:5]
words = ["sh", "-c", "read word; echo read $word; echo said >&2"]
how = {"environment": {"PATH": "/usr/bin:/bin"}}
found = {}

def pair(out, err):
    return {"out": out.decode().strip(), "err": err.decode().strip()}

for socket in (False, True):
    child = command.start(words, socket=socket, **how)
    # What the caller prints into a stream that is closed reaches nobody, and no program that we have started.
    for number in (0, 1, 2):
        try:
            os.write(number, b"noise ")
        except OSError:
            continue
    os.write(child.stdin, b"in\\n")
    said = {1: b"", 2: b""}
    for number, block in child.blocks():
        said[number] += block
    found[f"started, {socket}"] = pair(said[1], said[2])
    child.wait()
    child.close()

# The lowest number that is free, for one stream and for two.
for name, streams in {"a log": {"stderr": True}, "one for both": {"stdout": True, "stderr": True}}.items():
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC)
    given = {"stdin": NULL, "stdout": NULL} | {stream: opened for stream in streams}
    child = command.start(["sh", "-c", "echo said; echo said >&2"], **given, **how)
    os.close(opened)
    child.wait()
    with open(log) as file:
        found[name] = file.read().split() == ["said"] * len(streams)

words = ["sh", "-c", "cat; echo read in; echo said >&2"]
done = command.ask(words, **how)
found["asked"] = pair(done.stdout, done.stderr)
done = command.follow(words, idle=10, **how)
found["followed"] = pair(done.stdout, done.stderr)
found["checked"] = rs.check(program).verdict
json.dump(found, answer)
answer.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]], ids=str)
def test_programs_have_all_their_streams_where_the_caller_has_not(tmp_path: Path, closed: list[int]) -> None:
    ours, theirs = os.pipe()
    program = tinyelf.write(tmp_path / "program")
    words = [sys.executable, "-c", CALLER, str(theirs), json.dumps(closed), str(program), str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(words, pass_fds=[theirs], capture_output=True, check=False, env=environment, timeout=60)
    os.close(theirs)
    with open(ours, "rb") as file:
        said = file.read()
    assert said, done.stderr.decode()
    asked = dict.fromkeys(("started, False", "started, True", "asked", "followed"), ANSWER)
    assert json.loads(said) == {**asked, "a log": True, "one for both": True, "checked": "starts"}


def test_a_descriptor_above_a_limit_that_was_lowered_keeps_no_service_from_being_started() -> None:
    script = (
        "import os, resource\n"
        "from rootless_scratch.spawn import spawn\n"
        "reading, writing = os.pipe()\n"
        "os.dup2(writing, 200)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "print(spawn(['/bin/true'], environment={}, stdin=0, stdout=1, stderr=2, alone=True).wait())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.stdout == b"0\n", done.stderr.decode()
