"""What buildah is told of a Containerfile: the stages that one of them needs, each line where the user has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rootless_scratch.backends.failing import failed_stage
from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.containerfile.reducing import instruction_of, reduced, step_of
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.containerfile.taken import EVERYTHING, taken_paths
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.contexts import stage_options

if TYPE_CHECKING:
    from rootless_scratch.containerfile.document import Document

FILE = """\
# syntax=docker/dockerfile:1
ARG BASE=debian
FROM scratch AS assets
COPY --link <<EOF /index.html
FROM nowhere
EOF
FROM ${BASE} AS build
# a comment
RUN make \\
    all
FROM build AS test
RUN make test
FROM alpine AS certs
FROM scratch
COPY --link --from=build /hello /
COPY --from=certs /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
"""


def parsed(text: str) -> Document:
    return parse(text, "Containerfile")


def needed_lines(text: str, stage: int) -> dict[int, str]:
    document = parsed(text)
    lines = reduced(document, document.stages[stage]).split("\n")
    return {number: line for number, line in enumerate(lines, 1) if line}


def test_only_the_stages_that_are_needed_are_there_each_line_in_its_place() -> None:
    assert needed_lines(FILE.replace("FROM ${BASE}", "FROM debian"), 1) == {
        2: "ARG BASE=debian",
        3: "FROM scratch",
        7: "FROM debian AS build",
        9: "RUN make \\",
        10: "    all",
    }


def test_a_stage_keeps_those_that_it_begins_with_copies_and_mounts_from() -> None:
    text = (
        "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM c AS three\nRUN 3\nFROM d AS four\nRUN 4\n"
        "FROM one\nCOPY --from=1 /x /x\nRUN --mount=type=bind,from=three,target=/y true\n"
    )
    lines = dict(enumerate(text.rstrip("\n").split("\n"), 1))
    del lines[8]
    assert needed_lines(text, 4) == lines | {7: "FROM scratch"}


def test_what_a_variable_may_name_is_kept() -> None:
    text = "ARG B=one\nFROM a AS one\nRUN 1\nFROM ${B}\nRUN 2\n"
    assert needed_lines(text, 1) == dict(enumerate(text.rstrip("\n").split("\n"), 1))


def test_another_escape_character_is_told_in_the_first_line() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\n  y\n"
    assert needed_lines(text, 0) == {1: "# escape=`", 3: "FROM a", 4: "RUN x `", 5: "  y"}


def test_names_of_stages_and_platforms_are_as_the_oldest_buildah_takes_them() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM base:$TARGETARCH AS Build\n"
        "FROM --platform=${BUILDPLATFORM} $TARGETARCHIVE\n"
        "COPY --chown=A --from=BUILD /Build /Build\n"
        "FROM Build AS Last\n"
        "COPY --from=1 X Y\n"
    )
    document = parsed(text)
    platforms = {"BUILDPLATFORM": "linux/amd64", "TARGETARCH": "arm64"}
    assert reduced(document, document.stages[2], platforms).rstrip("\n").split("\n") == [
        "FROM --platform=linux/amd64 base:arm64 AS build",
        "FROM --platform=linux/amd64 $TARGETARCHIVE",
        "COPY --chown=A --from=build /Build /Build",
        "FROM build AS last",
        "COPY --from=1 X Y",
    ]
    document = parsed("ARG BUILDPLATFORM=mine\nFROM --platform=$BUILDPLATFORM x\n")
    assert reduced(document, document.stages[0], platforms).split("\n")[1] == "FROM --platform=$BUILDPLATFORM x"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("[2/5] STEP 1/3: FROM debian AS build", 7),
        ("[2/5] STEP 2/2: RUN make     all", 9),
        ("[3/5] STEP 2/2: RUN make test", 12),
        ("[3/5] STEP 9/9: RUN make test", 12),
        ("[3/5] STEP 2/3: COPY what ONBUILD of the base brings", 11),
    ],
)
def test_a_step_of_buildahs_is_found_in_the_file(line: str, number: int) -> None:
    document = parsed(FILE)
    step = step_of(line)
    assert step is not None
    assert instruction_of(document, document.stages[2], step).span.line == number


def failure(*lines: str, at: int | None = 0, text: str = FILE, stage: int = 1, code: int = 1) -> str:
    document = parsed(text)
    instruction = None if at is None else document.stages[stage].instructions[at]
    return str(failed_stage(document, document.stages[stage], instruction, lines, code=code, store="/store"))


def test_a_failed_command_is_told_with_its_line_its_exit_code_and_its_last_lines() -> None:
    sentence = failure(
        *("one", "two", "cc: no such file", "make: *** [all] Error 1", ""),
        *("subprocess exited with status 2", 'Error: building at STEP "RUN make     all": exit status 2'),
        code=2,
    )
    assert sentence.startswith(
        "Containerfile:9: `RUN make all` failed with exit code 2, after it printed: "
        "two / cc: no such file / make: *** [all] Error 1.\n"
    )


def test_a_command_that_failed_in_silence() -> None:
    sentence = failure('Error: building at STEP "RUN make": while running runtime: exit status 1')
    assert sentence.startswith("Containerfile:9: `RUN make all` failed with exit code 1 and printed nothing.\n")


def test_where_the_namespace_has_one_user_alone_the_command_is_not_to_blame() -> None:
    sentence = failure(
        "error setting supplemental groups list: operation not permittedsubprocess exited with status 1",
        'Error: building at STEP "RUN make": exit status 1',
    )
    assert "Containerfile:9: RUN needs more than one user ID" in sentence
    assert "/etc/subuid" in sentence


def test_a_store_that_lost_a_layer_is_to_be_removed() -> None:
    sentence = failure(
        "Error: checking if cached image exists from a previous build: getting top layer info: layer not known",
        at=None,
    )
    assert sentence.startswith("The store of stages '/store' is damaged: checking if cached image exists")
    assert "`buildah unshare rm -rf /store`" in sentence


def test_where_the_oci_runtime_cannot_run_anything_the_way_out_is_named() -> None:
    sentence = failure(
        "error running container: from /usr/bin/crun creating container for [/bin/sh -c make]: cgroups in hybrid "
        "mode not supported",
        'Error: building at STEP "RUN make": while running runtime: exit status 1',
    )
    assert "Containerfile:9: the OCI runtime cannot start a command here: /usr/bin/crun" in sentence
    assert "BUILDAH_ISOLATION=chroot" in sentence


def test_what_the_host_lacks_is_told_by_the_rule_of_doctor() -> None:
    sentence = failure(
        "error running container: from /usr/bin/runc creating container for [/bin/sh -c make]: unable to join "
        "session keyring: unable to create session key: disk quota exceeded",
        'Error: building at STEP "RUN make": while running runtime: exit status 1',
    )
    assert "Containerfile:9: buildah cannot build here: your quota of kernel keys is used up" in sentence
    assert "kernel.keys.maxkeys" in sentence


def test_a_command_may_print_what_is_a_fault_of_the_host_elsewhere() -> None:
    sentence = failure(
        "join keyctl: disk quota exceeded",
        'Error: building at STEP "RUN make": while running runtime: exit status 3',
        code=3,
    )
    assert "`RUN make all` failed with exit code 3" in sentence


def test_what_this_buildah_is_too_old_for_is_told_with_the_version_that_takes_it() -> None:
    text = "FROM a\nRUN <<EOF\necho\nEOF\n"
    line = "Error: dockerfile parse error line 3: unknown instruction: ECHO"
    sentence = failure(line, at=None, text=text, stage=0)
    assert sentence.startswith("Containerfile:2: this buildah does not take a heredoc: ")
    assert "buildah 1.33" in sentence


def test_other_errors_name_the_instruction_and_the_cause() -> None:
    sentence = failure('Error: building at STEP "COPY a b": checking on sources: copier: stat: "/a": no such file')
    assert sentence.startswith(
        "Containerfile:9: buildah cannot build `RUN make all`: checking on sources: copier: "
    )
    assert "ended by signal 9" in failure(code=-9)


def test_of_an_image_only_what_is_copied_is_taken() -> None:
    document = parsed(FILE.replace("FROM ${BASE}", "FROM debian"))
    assert taken_paths(document, document.stages[4], {"alpine"}) == (
        "/etc/passwd",
        "/etc/group",
        "/etc/ssl/certs/ca-certificates.crt",
    )


def test_all_options_are_passed_on_and_no_value_of_a_secret() -> None:
    request = FileRequest().with_options(
        {
            "file": "Containerfile",
            "build_args": {"A": "1", "B": None},
            "secrets": ["id=one,env=HOME"],
            "ssh": ["default"],
            "network": "none",
            "pull": True,
            "no_cache": True,
            "build_contexts": {"image": "docker-image://base", "layout": "oci-layout:///l:t"},
        },
        "A Containerfile",
    )
    access = Access(tls_verify=False)
    options = stage_options(request, ignore_file="/x/ignored", platform="linux/arm64", access=access)
    assert options.flags() == [
        *("--pull-always", "--no-cache", "--tls-verify=false", "--ignorefile=/x/ignored", "--network=none"),
        *("--platform=linux/arm64", "--build-arg=A=1", "--build-arg=B"),
        *("--build-context=image=docker-image://base", "--build-context=layout=docker-image://oci:/l:t"),
        *("--secret=id=one,env=HOME", "--ssh=default"),
    ]


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        ("COPY --from=alpine /a/b c/d /", ("/a/b", "/c/d")),
        ('COPY --from=alpine ["/a b", "/x/../y", "/"]', ("/a b", "/y")),
        ("COPY --from=alpine /lib/*.so /usr/lib/x?/y /", ("/lib", "/usr/lib")),
        ("COPY --from=alpine /opt/${V}/x /", ("/opt",)),
        ("COPY --from=alpine /*.so /", EVERYTHING),
        ("COPY --from=other /a /", ()),
        ("COPY --from=$X /a /", ("/a",)),
        ("FROM alpine AS one\nWORKDIR /w\nFROM one AS two\nFROM scratch\nCOPY --from=two /a /", ("/a",)),
        ("FROM alpine AS one\nFROM scratch\nCOPY --from=0 /b /", ("/b",)),
        ("FROM alpine", EVERYTHING),
    ],
)
def test_patterns_and_variables_take_the_directory_above(lines: str, taken: tuple[str, ...]) -> None:
    document = parsed(lines if lines.startswith("FROM") else f"FROM scratch\n{lines}")
    found = taken_paths(document, document.stages[-1], {"alpine"})
    assert tuple(path for path in found if not path.startswith("/etc/")) == taken
