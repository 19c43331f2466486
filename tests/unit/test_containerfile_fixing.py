"""`--fix`: a Containerfile with the lines that were found wrong corrected, and nothing else touched."""

from __future__ import annotations

import pytest

from rootless_scratch.containerfile.fixing import Judged, fixed, missing_options, with_corrections
from rootless_scratch.containerfile.own_options import own_options, with_options
from rootless_scratch.findings import Finding, Location


def found(line: int, corrected: str | None, *, end: int | None = None) -> Finding:
    where = Location(
        path="Containerfile", line=line, column=1, end_line=end or line, end_column=2, corrected=corrected
    )
    return Finding(rule="r", severity="error", subject="s", message="m", fix="f", location=where)


RECIPE = 'FROM scratch\nCOPY helloworld /\nCMD ["helloworld"]\n'


def test_a_line_is_replaced_and_the_others_stay_byte_for_byte() -> None:
    corrected = with_corrections(RECIPE, [found(3, 'CMD ["/helloworld"]')])
    assert corrected == 'FROM scratch\nCOPY helloworld /\nCMD ["/helloworld"]\n'


def test_a_continued_instruction_is_replaced_whole() -> None:
    text = "FROM scratch\nCMD /app \\\n  --serve\nUSER 1\n"
    assert with_corrections(text, [found(2, 'CMD ["/app", "--serve"]', end=3)]) == (
        'FROM scratch\nCMD ["/app", "--serve"]\nUSER 1\n'
    )


def test_of_two_corrections_of_one_line_the_first_is_taken() -> None:
    assert with_corrections("A\nB", [found(2, "C"), found(2, "D"), found(1, None)]) == "A\nC"


def test_line_ends_of_windows_stay() -> None:
    text = "FROM scratch\r\nCMD app\r\n"
    assert with_corrections(text, [found(2, 'CMD ["/app"]\nUSER 1')]) == (
        'FROM scratch\r\nCMD ["/app"]\r\nUSER 1\r\n'
    )
    assert with_options(text, ["--bundle-libraries"]).split("\n")[0] == "# rootless-scratch: --bundle-libraries\r"


def test_what_no_line_can_mend_becomes_an_option_in_a_comment_below_the_directives() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\n# Our shop\nFROM scratch\n"
    assert with_options(text, ["--bundle-libraries", "--with=tzdata"]) == (
        "# syntax=docker/dockerfile:1\n# escape=`\n# rootless-scratch: --bundle-libraries --with=tzdata\n"
        "# Our shop\nFROM scratch\n"
    )


def test_options_join_those_that_the_file_has() -> None:
    text = "# rootless-scratch: --with=tzdata\nFROM scratch\n"
    assert with_options(text, ["--bundle-libraries", "--with=tzdata"]) == (
        "# rootless-scratch: --with=tzdata --bundle-libraries\nFROM scratch\n"
    )
    assert missing_options(text, ("--with=tzdata", "--bundle-libraries")) == ("--bundle-libraries",)
    assert missing_options(text, ("--with=tmp",)) == ("--with=tmp",)


def test_options_of_the_file_are_read_as_on_the_command_line() -> None:
    text = (
        "#rootless-scratch: --with tzdata,tmp --include-library=libnss_dns.so.2\n"
        "# rootless-scratch: --bundle-libraries\n"
        "FROM scratch\n# rootless-scratch: --bundle-package=late\n"
    )
    values, faults = own_options(text)
    assert values == {
        "essentials": ("tzdata,tmp",),
        "include_libraries": ("libnss_dns.so.2",),
        "bundle_libraries": True,
    }
    assert faults == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--user 0", "A Containerfile sets no option '--user'."),
        ("--with", "--with has no value."),
        ("--bundle-libraries=1", "--bundle-libraries takes no value."),
        ("--with 'tz", "The options cannot be told apart: No closing quotation."),
    ],
)
def test_an_option_that_cannot_be_is_told_with_its_line(options: str, message: str) -> None:
    values, faults = own_options(f"# syntax=x\n# rootless-scratch: {options}\nFROM scratch\n")
    assert values == {}
    assert [(fault.message, fault.span.line) for fault in faults] == [(message, 2)]
    assert faults[0].fix


def test_corrections_that_show_another_fault_are_followed_until_none_is_left() -> None:
    steps = {"CMD app": "CMD /app", "CMD /app": 'CMD ["/app"]'}

    def judge(text: str) -> Judged:
        corrected = steps.get(text.rpartition("\n")[2])
        if corrected is None and "--bundle-libraries" in text:
            return Judged(())
        return Judged((found(text.count("\n") + 1, corrected),), ("--bundle-libraries",))

    done = fixed("FROM scratch\nCMD app", judge)
    assert done.text == '# rootless-scratch: --bundle-libraries\nFROM scratch\nCMD ["/app"]'
    assert fixed(done.text, judge).text == done.text


def test_an_option_that_mends_nothing_is_not_added() -> None:
    assert fixed("FROM scratch", lambda _: Judged((found(1, None),), ("--with=tzdata",))).text == "FROM scratch"


def test_corrections_that_undo_each_other_end() -> None:
    other = {"A": "B", "B": "A"}
    assert fixed("A", lambda text: Judged((found(1, other[text]),))).text == "B"
