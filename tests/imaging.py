"""What the tests of whole images share: program files, entries, and what is said of an image of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import tinyelf

from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.image.config import RuntimeConfig
from rootless_scratch.image.plan.planner import Program, plan
from rootless_scratch.image.rootfs import Directory, Entry, File, make_rootfs
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_image, judge_plan

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding

NOBODY_KNOWS = FileIdentity(device=0, inode=0, size=1, mtime_ns=0, ctime_ns=0)
GLIBC = "/lib64/ld-linux-x86-64.so.2"


class Bench:
    """A directory of program files, and judgements on the images that are planned from them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str = "helloworld", content: bytes | None = None) -> str:
        file = self.path / name
        file.write_bytes(tinyelf.hello() if content is None else content)
        return str(file)

    def program(self, name: str = "helloworld", destination: str | None = None, **more: Any) -> Copy:  # noqa: ANN401
        return Copy(source=self.put(name), destination=destination, **more)

    def judge(self, *programs: Copy, **settings: Any) -> tuple[Finding, ...]:  # noqa: ANN401 - a Spec's
        return judge_plan(plan(Spec(programs=programs, **settings), environ={}))

    def finding(self, *programs: Copy, **settings: Any) -> Finding:  # noqa: ANN401 - a Spec's
        return only(self.judge(*programs, **settings))


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    assert finding.message.isprintable()
    assert finding.fix.isprintable()
    assert finding.message.endswith(".")
    assert finding.fix.endswith(".")
    return finding


def file(path: str = "/app", mode: int = 0o755, owner: tuple[int, int] = (0, 0), **more: Any) -> File:  # noqa: ANN401
    uid, gid = owner
    return File(path=path, mode=mode, uid=uid, gid=gid, source=path, identity=NOBODY_KNOWS, **more)


def directory(path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> Directory:
    return Directory(path=path, mode=mode, uid=owner[0], gid=owner[1])


def stored(
    *entries: Entry,
    platform: str | None = "linux/amd64",
    programs: tuple[Program, ...] = (),
    **config: object,
) -> tuple[Finding, ...]:
    """Judge an image as it is read back: by default `/app` is started by the usual user."""
    usual = RuntimeConfig(
        user="65532:65532",
        env=(),
        entrypoint=("/app",),
        cmd=None,
        working_dir="",
        labels=(),
        ports=(),
        volumes=(),
        stop_signal=None,
    )
    return judge_image(
        rootfs=make_rootfs(entries),
        config=msgspec.structs.replace(usual, **config),
        programs=programs,
        platform=platform,
    )


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]
