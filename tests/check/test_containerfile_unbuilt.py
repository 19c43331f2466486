"""A Containerfile whose stages are not built: what is certain is told, and nothing is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from filecheck import Context, place

if TYPE_CHECKING:
    from pathlib import Path

GLIBC = "/lib64/ld-linux-x86-64.so.2"
BUILD = ("FROM golang AS build", "RUN go build -o /out/app .", "FROM scratch")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path)


def test_what_only_a_build_makes_is_not_known_and_not_guessed(context: Context) -> None:
    judgement = context.check(*BUILD, "COPY --from=build /out/app /app", 'ENTRYPOINT ["/app"]')
    assert judgement.verdict == "unknown"
    assert [(each.rule, each.severity, place(each).line) for each in judgement] == [("stage-not-built", "info", 4)]


@pytest.mark.parametrize(
    "lines",
    [
        ("FROM alpine AS root", "RUN mkdir /rootfs", "FROM scratch", "COPY --from=root /rootfs /", "CMD sh"),
        (
            "FROM alpine AS root",
            "RUN true",
            "FROM scratch",
            "COPY --from=root /rootfs/ /",
            "USER app",
            'CMD ["sh"]',
        ),
        ("FROM scratch", "COPY --from=busybox:1 /bin /bin", "CMD sh"),
        ("FROM alpine AS a", "COPY app /x/", "FROM scratch", "COPY --from=a / /", "VOLUME /data", "CMD sh"),
        (*BUILD, "COPY --from=build /etc/passwd /etc/", "COPY --chown=me app /app", 'CMD ["/app"]'),
        (*BUILD, "COPY --from=build /lib64 /lib64", "COPY dynamic /app", 'CMD ["/app"]'),
        ("FROM scratch", "COPY app /app", 'RUN ["/app", "--install"]', 'CMD ["/installed"]'),
    ],
)
def test_what_a_build_may_bring_is_not_missed(context: Context, lines: tuple[str, ...]) -> None:
    context.put("dynamic", tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"]), mode=0o755)
    judgement = context.check(*lines)
    assert {each.rule for each in judgement} == {"stage-not-built"}
    assert judgement.verdict == "unknown"


@pytest.mark.parametrize(
    ("lines", "rule", "corrected"),
    [
        (("COPY --from=build /out/app /app", "CMD app"), "shell-form", 'CMD ["/app"]'),
        (("COPY --from=build /out/app /", "CMD app -v"), "shell-form", 'CMD ["/app", "-v"]'),
        (("COPY --from=build /out/app /srv/", 'CMD ["app"]'), "command-not-in-path", 'CMD ["/srv/app"]'),
        (("COPY --from=build /out/app /app", "USER me", 'CMD ["/app"]'), "user-unknown", "USER 65532:65532"),
    ],
)
def test_what_is_wrong_whatever_a_build_brings_is_an_error(
    context: Context, lines: tuple[str, ...], rule: str, corrected: str
) -> None:
    judgement = context.check(*BUILD, *lines)
    assert judgement.verdict == "fails"
    (found,) = [each for each in judgement if each.severity == "error"]
    assert (found.rule, place(found).corrected) == (rule, corrected)
