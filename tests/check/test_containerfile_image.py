"""What a Containerfile is told about the image that it makes: each with its line and what to write there."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
import symbolic
import tinyelf
from filecheck import Context, marked, place

if TYPE_CHECKING:
    from pathlib import Path


GLIBC = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path)


def test_a_sound_image_starts(context: Context) -> None:
    judgement = context.check("FROM scratch", "COPY app /app", 'ENTRYPOINT ["/app"]')
    assert (judgement.verdict, judgement.findings) == ("starts", ())


def test_the_oldest_example_is_told_both_of_its_mistakes_with_their_lines(context: Context) -> None:
    context.put("helloworld", tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"]), mode=0o755)
    lines = ("FROM scratch", "COPY helloworld /", 'CMD ["helloworld"]')
    assert context.rules(*lines) == [("needs-loader", 2), ("command-not-in-path", 3)]
    assert context.mended(*lines, rule="command-not-in-path")[2] == 'CMD ["/helloworld"]'
    assert '`CMD ["/helloworld"]`' in context.only(*lines, rule="command-not-in-path").fix
    assert str(context.path) not in context.only(*lines, rule="needs-loader").message


@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        ("CMD app", 'CMD ["/app"]'),
        ("CMD exec app --port 80", 'CMD ["/app", "--port", "80"]'),
        ("ENTRYPOINT /app 'a b'", 'ENTRYPOINT ["/app", "a b"]'),
        ("ENTRYPOINT   app", 'ENTRYPOINT   ["/app"]'),
    ],
)
def test_a_command_in_shell_form_is_written_in_exec_form(context: Context, line: str, corrected: str) -> None:
    lines = ("FROM scratch", "COPY app /", line)
    assert context.rules(*lines) == [("shell-form", 3)]
    assert marked(context.only(*lines, rule="shell-form")) == line.split(maxsplit=1)[1]
    assert context.mended(*lines, rule="shell-form")[2] == corrected


def test_what_only_a_shell_can_do_has_no_correction(context: Context) -> None:
    found = context.only("FROM scratch", "COPY app /", "CMD /app > $LOG", rule="shell-form")
    assert place(found).corrected is None
    assert found.fix.startswith("Write it in exec form")


def test_a_command_over_several_lines_becomes_one(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", "CMD app \\", "  --port 80", "USER 1:1")
    assert context.mended(*lines, rule="shell-form")[2:] == ['CMD ["/app", "--port", "80"]', "USER 1:1"]


def test_what_is_almost_an_array_is_told_once_and_as_an_error(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", 'CMD ["/app"')
    (found,) = context.check(*lines)
    assert (found.rule, found.severity) == ("json-without-end", "error")
    assert context.mended(*lines, rule="json-without-end")[2] == 'CMD ["/app"]'


def test_a_whole_command_in_one_string_is_taken_apart(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", 'ENTRYPOINT ["/app --port 80", "-v"]')
    assert context.rules(*lines) == [("command-in-one-element", 3)]
    assert marked(context.only(*lines, rule="command-in-one-element")) == '"/app --port 80"'
    assert context.mended(*lines, rule="command-in-one-element")[2] == 'ENTRYPOINT ["/app", "--port", "80", "-v"]'


def test_a_program_whose_name_has_a_space_is_no_whole_command(context: Context) -> None:
    context.put("my app", tinyelf.hello(), mode=0o755)
    assert context.rules("FROM scratch", 'COPY ["my app", "/"]', 'ENTRYPOINT ["/my app"]') == []


def test_a_program_that_is_nowhere_is_told_at_its_name(context: Context) -> None:
    found = context.only("FROM scratch", "COPY app /", 'CMD ["/bin/server", "x"]', rule="command-missing")
    assert (marked(found), place(found).corrected) == ('"/bin/server"', None)
    near = context.only("FROM scratch", "COPY app /", 'CMD ["/usr/bin/app"]', rule="command-missing")
    assert place(near).corrected == 'CMD ["/app"]'


def test_cmd_that_names_the_program_of_the_entrypoint_again(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", 'ENTRYPOINT ["/app"]', 'CMD ["/app", "-v"]')
    assert context.rules(*lines) == [("command-repeated", 4)]
    assert context.mended(*lines, rule="command-repeated")[3] == 'CMD ["-v"]'


def test_arguments_in_shell_form_are_written_as_an_array(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", 'ENTRYPOINT ["/app"]', "CMD app --port 80")
    assert context.rules(*lines) == [("arguments-in-shell-form", 4)]
    assert context.mended(*lines, rule="arguments-in-shell-form")[3] == 'CMD ["app", "--port", "80"]'
    found = context.only(*lines[:3], "CMD serve $PORT", rule="arguments-in-shell-form")
    assert (found.severity, place(found).corrected) == ("warning", None)


@pytest.mark.parametrize(
    "lines",
    [
        ("FROM scratch", "COPY app /data"),
        ("FROM scratch", "COPY app /app", 'ENTRYPOINT ["/app", "--match", "^a$"]'),
        ("FROM scratch", "COPY bin /opt/bin", 'ENTRYPOINT ["/opt/bin/tool"]'),
        ("FROM scratch", "ADD rootfs.tar /", 'CMD ["sh"]'),
        ("FROM scratch", "ADD rootfs.tar /", "CMD sh"),
        ("FROM scratch", "COPY app /app", "HEALTHCHECK NONE", 'CMD ["/app"]'),
    ],
)
def test_what_only_looks_like_a_mistake_is_let_be(context: Context, lines: tuple[str, ...]) -> None:
    context.put("bin/tool", tinyelf.hello(), mode=0o755)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("bin/sh")
        member.size, member.mode = len(tinyelf.hello()), 0o755
        tar.addfile(member, io.BytesIO(tinyelf.hello()))
    context.put("rootfs.tar", packed.getvalue())
    judgement = context.check(*lines)
    assert (judgement.verdict, judgement.findings) == ("starts", ())


def test_a_user_by_name_needs_a_passwd(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", "USER app", 'CMD ["/app"]')
    assert context.rules(*lines) == [("user-unknown", 3)]
    assert context.mended(*lines, rule="user-unknown")[2] == "USER 65532:65532"
    context.put("passwd", "app:x:7:8:::\n")
    assert context.rules("FROM scratch", "COPY app /", "COPY passwd /etc/", "USER app", 'CMD ["/app"]') == []
    group = ("FROM scratch", "COPY app /", "USER 1000:app", 'CMD ["/app"]')
    assert context.mended(*group, rule="group-unknown")[2] == "USER 1000:65532"


def test_a_volume_that_is_not_made_is_made_for_the_user(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", "USER 7:7", "WORKDIR /srv", "VOLUME /data", 'CMD ["/app"]')
    assert context.rules(*lines) == [("volume-missing", 5)]
    assert context.mended(*lines, rule="volume-missing")[4:7] == ["WORKDIR /data", "VOLUME /data", "WORKDIR /srv"]


def test_a_volume_of_another_is_given_to_the_user(context: Context) -> None:
    context.put("data/seed", "x")
    lines = ("FROM scratch", "COPY app /", "COPY data /data", "VOLUME /data", "USER 7:8", 'CMD ["/app"]')
    assert context.rules(*lines) == [("volume-not-writable", 3)]
    assert context.mended(*lines, rule="volume-not-writable")[2] == "COPY --chown=7:8 data /data"


def test_a_working_directory_that_is_made_for_root_is_told(context: Context) -> None:
    found = context.only(
        "FROM scratch",
        "COPY app /",
        "WORKDIR /srv",
        "USER 7:7",
        'CMD ["/app"]',
        rule="working-directory-not-writable",
    )
    assert (found.severity, place(found).line) == ("info", 3)
    assert context.rules("FROM scratch", "COPY app /", "USER 7:7", "WORKDIR /srv", 'CMD ["/app"]') == []


def test_a_program_that_may_not_be_executed_gets_its_mode(context: Context) -> None:
    context.put("tool", tinyelf.hello(), mode=0o644)
    lines = ("FROM scratch", "COPY tool /tool", 'CMD ["/tool"]')
    assert ("not-executable", 2) in context.rules(*lines)
    assert context.mended(*lines, rule="not-executable")[1] == "COPY --chmod=0755 tool /tool"
    flagged = ("FROM scratch", "COPY --chmod=644 tool /tool", 'CMD ["/tool"]')
    assert context.mended(*flagged, rule="not-executable")[1] == "COPY --chmod=0755 tool /tool"


def test_a_health_check_that_needs_a_shell_is_written_without(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", "HEALTHCHECK --interval=5s CMD app health", 'CMD ["/app"]')
    assert context.rules(*lines) == [("healthcheck-unusable", 3), ("dropped-by-oci", 3)]
    mended = context.mended(*lines, rule="healthcheck-unusable")
    assert mended[2] == 'HEALTHCHECK --interval=5s CMD ["/app", "health"]'
    assert context.rules(*mended) == [("dropped-by-oci", 3)]
    assert context.rules(*mended, compat="docker") == []


def test_what_oci_has_no_key_for_is_told(context: Context) -> None:
    lines = ("FROM scratch", "COPY app /", 'SHELL ["/app"]', "ONBUILD COPY x /", 'CMD ["/app"]')
    assert context.rules(*lines) == [("dropped-by-oci", 3), ("dropped-by-oci", 4)]


def test_a_stage_that_is_not_needed_keeps_nothing_from_being_built(context: Context) -> None:
    other = ("FROM scratch AS other", 'RUN ["/nothing"]')
    lines = (*other, "COPY nothing /", "FROM scratch", "COPY app /", 'CMD ["/app"]')
    judgement = context.check(*lines)
    (found,) = judgement
    assert (found.rule, found.severity, place(found).line) == ("run-in-scratch", "warning", 2)
    assert judgement.verdict == "starts"
    assert context.check(*lines, target="other").verdict == "fails"


def test_a_script_needs_its_interpreter(context: Context) -> None:
    context.put("start", "#!/bin/sh\nexec /app\n", mode=0o755)
    found = context.only(
        "FROM scratch", "COPY start /start", 'ENTRYPOINT ["/start"]', rule="script-interpreter-missing"
    )
    assert (place(found).line, found.subject) == (2, "/start")


def test_a_program_for_another_processor_is_told_at_the_line_that_copies_it(context: Context) -> None:
    lines = ("FROM scratch", "ARG TARGETARCH", "COPY app /app", 'CMD ["/app"]')
    assert context.rules(*lines, platform="linux/arm64") == [("platform-mismatch", 3)]
    assert context.rules(*lines, platform="linux/amd64") == []


@pytest.mark.parametrize(
    ("call", "rule", "file", "line"),
    [
        (
            "net/http.(*Transport).dialConn",
            "needs-ca-certificates",
            "etc/ssl/certs/ca-certificates.crt",
            "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/",
        ),
        (
            "time.LoadLocation",
            "needs-time-zones",
            "usr/share/zoneinfo/UTC",
            "COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo",
        ),
    ],
)
def test_what_the_program_needs_is_copied_from_the_stage_that_has_it(
    context: Context, call: str, rule: str, file: str, line: str
) -> None:
    context.put("root/out/app", symbolic.go_program(call), mode=0o755)
    lines = (
        "FROM scratch AS build",
        "COPY root /",
        "FROM scratch",
        "COPY --from=build /out/app /",
        'CMD ["/app"]',
    )
    found = context.only(*lines, rule=rule)
    assert (place(found).line, place(found).corrected) == (4, None)
    context.put(f"root/{file}", "x")
    assert context.mended(*lines, rule=rule)[3:5] == [lines[3], line]


def test_what_could_not_be_copied_is_not_missed_again(context: Context) -> None:
    lines = ("FROM scratch", "COPY ap /app", "COPY --chmod=755 paswd /etc/passwd", "USER me", 'CMD ["/app"]')
    assert context.rules(*lines) == [("source-missing", 2), ("source-missing", 3)]
    assert context.check(*lines).verdict == "fails"


def test_onbuild_that_a_stage_of_the_file_has_followed_is_no_loss(context: Context) -> None:
    lines = ("FROM scratch AS base", "ONBUILD COPY app /app", "FROM base", 'CMD ["/app"]')
    assert context.rules(*lines) == []


def test_what_is_copied_from_where_it_is_not_is_told_at_its_name(context: Context) -> None:
    lines = ("FROM scratch AS base", "COPY app /app", "FROM scratch", "COPY --from=base /apq /app", 'CMD ["/app"]')
    found = context.only(*lines, rule="source-missing")
    assert (place(found).line, marked(found)) == (4, "/apq")
    found = context.only("FROM scratch", "COPY app nope /", 'CMD ["/app"]', rule="source-missing")
    assert marked(found) == "nope"
    found = context.only("FROM scratch", "COPY *.bin /", rule="pattern-matches-nothing")
    assert (found.severity, marked(found)) == ("error", "*.bin")
    context.put(".dockerignore", "app\n")
    found = context.only("FROM scratch", "COPY app /", rule="ignored-source")
    assert (found.severity, marked(found)) == ("error", "app")


@pytest.mark.parametrize(
    ("line", "rule", "text"),
    [
        ("COPY --chown=nobody app /", "copy-refused", "--chown=nobody"),
        ("COPY --link --chmod=rwx app /", "copy-refused", "--chmod=rwx"),
        ("ADD --checksum=sha256:0 app /", "copy-refused", "--checksum=sha256:0"),
        ("COPY pipe /", "special-file", "pipe"),
        ("ADD https://example.org/app /", "url-needs-network", "https://example.org/app"),
        ("COPY https://example.org/app /", "url-unreadable", "https://example.org/app"),
        ("STOPSIGNAL SIGNOT", "instruction-refused", "STOPSIGNAL SIGNOT"),
    ],
)
def test_what_cannot_be_done_is_told_at_what_keeps_it(context: Context, line: str, rule: str, text: str) -> None:
    os.mkfifo(context.path / "pipe")
    found = context.only("FROM scratch", "COPY app /app", line, 'CMD ["/app"]', rule=rule)
    assert (found.severity, place(found).line, marked(found)) == ("error", 3, text)


def test_several_sources_want_a_directory(context: Context) -> None:
    context.put("b", "x")
    lines = ("FROM scratch", "COPY app b /srv", 'CMD ["/srv/app"]')
    assert context.rules(*lines) == [("several-sources-one-file", 2)]
    assert context.mended(*lines, rule="several-sources-one-file")[1] == "COPY app b /srv/"


def test_an_archive_that_is_fetched_is_not_unpacked(context: Context) -> None:
    found = context.only("FROM scratch", "ADD https://example.org/root.tar.gz /", rule="url-not-unpacked")
    assert marked(found) == "https://example.org/root.tar.gz"
    for line in ("ADD https://example.org/app /", "ADD --unpack https://example.org/root.tar.gz /"):
        assert ("url-not-unpacked", 2) not in context.rules("FROM scratch", line)


def test_a_variable_that_nothing_sets_is_told_where_it_is_used(context: Context) -> None:
    found = context.only("FROM scratch", "LABEL version=a$VERSON", rule="undeclared-argument")
    assert (found.severity, marked(found)) == ("warning", "$VERSON")
    found = context.only(
        "ARG VERSION=1", "FROM scratch", "LABEL version=${VERSION}", rule="argument-not-redeclared"
    )
    assert marked(found) == "${VERSION}"
    found = context.only("FROM scratch", "LABEL v=$V", "ARG V=1", "LABEL w=$V", rule="undeclared-argument")
    assert (place(found).line, found.fix) == (2, "Move `ARG V` above this line: it holds from there on.")
    again = ("ARG V=1", "FROM scratch", "LABEL version=${V}")
    assert context.mended(*again, rule="argument-not-redeclared")[2:] == ["ARG V", "LABEL version=${V}"]
    quiet = ("FROM scratch", "ARG V", 'LABEL a=$V b=${W:-x} c=\\$X d="${Y:+z}"')
    assert context.rules(*quiet) == []


def test_a_malformed_line_is_told_and_the_rest_is_still_judged(context: Context) -> None:
    lines = ("FROM scratch", "COPPY app /", "COPY app /", "USER app", 'CMD ["/app"]')
    assert context.rules(*lines) == [("containerfile-syntax", 2), ("user-unknown", 4)]
