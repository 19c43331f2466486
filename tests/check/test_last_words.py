"""What programs say that end for want of the files of a recipe, and what is printed to hold up its reader."""

from __future__ import annotations

import time

import pytest

from rootless_scratch.image.recipes import recipes
from rootless_scratch.rules.program.symptoms import judge_ending

BY_NAME = {each.name: each for each in recipes()}

LAST_WORDS = (
    # As programs say it in an image that has their libraries alone.
    ("python", "ModuleNotFoundError: No module named 'encodings'"),
    (
        "perl",
        "Can't locate JSON/PP.pm in @INC (you may need to install the JSON::PP module)",
    ),
    ("node", 'Cannot load externalized builtin: "internal/deps/acorn:/usr/share/nodejs/acorn/dist/acorn.js".'),
    ("java", "Error: could not find libjava.so"),
    (
        "gawk",
        "gawk: cmd. line:1: error: cannot open shared library `filefuncs' for reading: No such file or directory",
    ),
    ("sbcl", "Can't find sbcl.core"),
    ("ghostscript", "GPL Ghostscript 10.00.0: Can't find initialization file gs_init.ps."),
    ("imagemagick", "convert-im6.q16: NoDecodeDelegateForThisImageFormat `' @ error/constitute.c/ReadImage/594."),
    ("graphviz", 'Format: "png" not recognized. Use one of:'),
    ("gnuplot", "line 0: Plot failed!"),
    ("git", "fatal: unable to find remote helper for 'https'"),
    (
        "postgres",
        'initdb: error: program "postgres" is needed by initdb but was not found in the same directory as "/i"',
    ),
    ("gdb", "Python not initialized"),
    ("octave", "error: 'strjoin' undefined near line 1, column 6"),
    ("magic", "file: could not find any valid magic files! (No such file or directory)"),
    ("gdk-pixbuf", "failed to load \"/x.png\": Couldn't recognize the image file format for file '/x.png'"),
    ("aspell", 'Error: No word lists can be found for the language "en_US".'),
    ("alsa", "ALSA lib conf.c:4555:(snd_config_update_r) Cannot access file /usr/share/alsa/alsa.conf"),
    ("gstreamer", 'WARNING: erroneous pipeline: no element "fakesink"'),
)


@pytest.mark.parametrize(("name", "said"), LAST_WORDS)
def test_the_last_words_of_a_program_without_its_files_lead_to_them(name: str, said: str) -> None:
    finding = judge_ending(1, f"{said}\n".encode())
    assert finding is not None
    assert finding.rule == BY_NAME[name].rule_id()
    assert f"`--with {name}`" in finding.fix


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["gnuplot Cannot open ", "E484: vim/", "iconv_open ", "p11-kit: couldn't load", "Gtk-ERROR", "'", "/a"]
)
def test_last_words_that_are_meant_to_take_long_do_not(part: str) -> None:
    began = time.process_time()
    judge_ending(1, b"\n".join([(part * (1 << 20))[: 1 << 20].encode()] * 20))
    assert time.process_time() - began < 3
    assert judge_ending(1, f"Can't find sbcl.core {part * 10_000}".encode()) is not None
