"""Recipes: each is sound, is recognised by what programs say, and its files bring the verdict."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import put

import rootless_scratch as rs
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.elf.symbols import MAIN, WATCHED
from rootless_scratch.errors import SourceError, SpecError, UsageError
from rootless_scratch.image import recipes as module
from rootless_scratch.image import recognition
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.recipes import NAME, Needs, is_met, recipes
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, Essential, Spec
from rootless_scratch.image.syntax import ESSENTIALS
from rootless_scratch.rules.image.images import judge_plan
from rootless_scratch.rules.program.symptoms import judge_ending
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.recipes import Recipe

BY_NAME = {each.name: each for each in recipes()}


def tool(path: Path, name: str, *, needed: tuple[str, ...] = ()) -> str:
    return put(path, name, tinyelf.elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=list(needed)))


def of_recipes(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(each.rule, each.severity) for each in findings if each.rule in {"needs-runtime", "needs-data"}]


@pytest.fixture
def own_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the user's own recipes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    place = tmp_path / "config/rootless-scratch/recipes"
    place.mkdir(parents=True)
    forget()
    yield place
    forget()


def forget() -> None:
    found = (recognition.by_calls, recognition.by_name)
    for cached in (module.recipes, module.recipe_names, module.recipe_files, *found):
        cached.cache_clear()


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_is_sound(recipe: Recipe) -> None:
    assert NAME.match(recipe.name)
    assert recipe.name not in ESSENTIALS
    assert set(recipe.recognise.functions) <= MAIN
    assert set(recipe.recognise.calls) <= WATCHED
    assert recipe.needs.groups()
    assert recipe.packages
    assert all(name in ESSENTIALS or name in BY_NAME for name in recipe.also)
    asked = {name for bring in recipe.brings for path in bring.paths for name in re.findall(r"\{(\w+)\}", path)}
    assert asked <= {"prefix", "multiarch", *recipe.values}
    assert all(re.compile(pattern).groups == 1 for pattern in recipe.values.values())
    always = [bring for bring in recipe.brings if bring.when is None]
    assert always, "`--with NAME` brings nothing"
    assert recipe.kind != "runtime" or recipe.proof is not None


def test_an_interpreter_without_its_library_is_refused_with_the_option_that_mends_it(tmp_path: Path) -> None:
    app = Copy(source=tool(tmp_path, "app", needed=("libpython3.11.so.1.0",)))
    (finding,) = [each for each in judge_plan(plan(Spec(programs=(app,)), environ={})) if "--with" in each.fix]
    assert (finding.rule, finding.severity) == ("needs-runtime", "warning")
    assert "libpython3.11.so.1.0" in finding.message
    assert "`--with python`" in finding.fix


def test_own_recipes_are_read_and_bring_their_files(tmp_path: Path, own_recipes: Path) -> None:
    share = tmp_path / "usr/share/gadget-2.7"
    (share / "docs").mkdir(parents=True)
    (share / "table.dat").write_text("x")
    (share / "docs/manual.txt").write_text("x")
    (tmp_path / "shared.conf").write_text("x")
    (share / "link.conf").symlink_to("../../../shared.conf")
    (tmp_path / "usr/bin").mkdir()
    app = tool(tmp_path, "usr/bin/gadget", needed=("libgadget-2.7.so",))
    (own_recipes / "gadget.toml").write_text(
        'kind = "runtime"\nwhat = "the tables of Gadget"\nrecognise = { sonames = ["libgadget-*.so"] }\n'
        "needs = { files = [\"*/gadget-*/table.dat\"] }\nvalues = { version = 'libgadget-([0-9.]+)\\.so' }\n"
        'brings = [{ paths = ["{prefix}/share/gadget-{version}"], except = ["docs"] }]\n'
    )
    refused = judge_plan(plan(Spec(programs=(Copy(source=app),)), environ={}))
    assert of_recipes(refused) == [("needs-runtime", "error")]
    spec = Spec(programs=(Copy(source=app),), essentials=(Essential(name="auto"),))
    planned, findings = plan_and_judge(spec, check=False)
    assert of_recipes(findings) == []
    assert planned.added == ("gadget",)
    paths = {entry.path: entry for entry in planned.rootfs if not isinstance(entry, Directory)}
    assert f"{share}/table.dat" in paths
    assert isinstance(paths[f"{share}/link.conf"], Symlink)
    assert f"{tmp_path}/shared.conf" in paths, "a link out of the tree brings its target"
    assert not [path for path in paths if "docs" in path]


def test_what_the_user_copied_stays(tmp_path: Path, own_recipes: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("host")
    own = put(tmp_path, "own", b"own")
    (own_recipes / "gadget.toml").write_text(
        'kind = "data"\nwhat = "data"\nrecognise = { names = ["gadget"] }\n'
        f'needs = {{ files = ["{data}"] }}\nbrings = [{{ paths = ["{data}"] }}]\n'
    )
    spec = Spec(
        programs=(Copy(source=tool(tmp_path, "gadget")),),
        copies=(Copy(source=own, destination=str(data)),),
        essentials=(Essential(name="gadget"),),
    )
    planned = plan(spec, environ={})
    assert planned.covered == (("gadget", str(data)),)
    assert [entry.source for entry in planned.rootfs.files if entry.path == str(data)] == [own]


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, own_recipes: Path) -> None:
    (own_recipes / "gadget.toml").write_text("kind = 3\n")
    with pytest.raises(SpecError, match=re.escape(str(own_recipes / "gadget.toml"))):
        rs.check(tool(tmp_path, "gadget"))


def test_values_that_no_recipe_offers_are_refused_and_missing_files_told(
    tmp_path: Path, own_recipes: Path
) -> None:
    (own_recipes / "gadget.toml").write_text(
        'kind = "data"\nwhat = "data"\nrecognise = { names = ["gadget"] }\n'
        'needs = { files = ["/nowhere/x"] }\nbrings = [{ paths = ["/nowhere/x"] }]\n'
    )
    app = (Copy(source=tool(tmp_path, "gadget")),)
    with pytest.raises(UsageError, match="offers no 'all'"):
        plan(Spec(programs=app, essentials=(Essential(name="gadget", values=("all",)),)), environ={})
    with pytest.raises(SourceError, match="This host does not have data, which --with gadget is to bring"):
        plan(Spec(programs=app, essentials=(Essential(name="gadget"),)), environ={})


def test_needs_are_met_by_one_of_each_group() -> None:
    needs = Needs(files=("/a/*", "/b"), all=(("/c",),))
    links = {path: Symlink(path=path, target="x") for path in ("/a/deep/file", "/b", "/c")}
    assert is_met(needs, links.values())
    assert is_met(needs, [links["/b"], links["/c"]])
    assert not is_met(needs, [links["/b"]])
    assert not is_met(needs, [links["/c"], Directory(path="/b", mode=0o755, uid=0, gid=0)])


def test_a_program_that_another_file_is_named_to_is_not_refused_for_the_usual_one(
    tmp_path: Path, own_recipes: Path
) -> None:
    (own_recipes / "gadget.toml").write_text(
        'kind = "runtime"\nwhat = "its configuration"\nrecognise = { names = ["gadget"] }\n'
        'needs = { files = ["/etc/gadget.conf"], unless = ["-c", "GADGET_CONF"] }\nbrings = []\n'
    )
    app = (Copy(source=tool(tmp_path, "gadget")),)
    assert of_recipes(judge_plan(plan(Spec(programs=app), environ={}))) == [("needs-runtime", "error")]
    for other in (
        Spec(programs=app, cmd=("-c", "/my.conf")),
        Spec(programs=app, env=(("GADGET_CONF", "/my.conf"),)),
    ):
        assert of_recipes(judge_plan(plan(other, environ={}))) == []


def test_a_program_that_only_links_a_library_is_left_alone(tmp_path: Path, own_recipes: Path) -> None:
    (own_recipes / "gadget.toml").write_text(
        'kind = "runtime"\nwhat = "its tables"\nneeds = { files = ["/usr/share/gadget/table"] }\nbrings = []\n'
        '[recognise]\nnames = ["gadget"]\nneeded = ["libgadget.so.*"]\nevery = true\nwithout = ["gadget-light"]\n'
        '[embedded]\nneeded = ["libgadget.so.*"]\n'
    )

    def judged(name: str, *needed: str) -> list[tuple[str, str]]:
        app = Copy(source=tool(tmp_path, name, needed=needed))
        return of_recipes(judge_plan(plan(Spec(programs=(app,)), environ={})))

    assert judged("gadget", "libgadget.so.2") == [("needs-runtime", "error")]
    assert judged("viewer", "libgadget.so.2") == [("needs-runtime", "warning")]
    assert judged("gadget-light", "libgadget.so.2") == []
    assert judged("gadget", "libother.so.2") == [], "a file of the same name that is something else"


def test_what_comes_along_is_told_once(tmp_path: Path, own_recipes: Path) -> None:
    words = 'recognise = { needed = ["libgadget.so"] }\nneeds = { files = ["/nowhere/x"] }\nbrings = []\n'
    (own_recipes / "gadget.toml").write_text(f'kind = "data"\nwhat = "tables"\nalso = ["widget"]\n{words}')
    (own_recipes / "widget.toml").write_text(f'kind = "data"\nwhat = "colors"\n{words}')
    app = Copy(source=tool(tmp_path, "app", needed=("libgadget.so",)))
    (finding,) = [
        each for each in judge_plan(plan(Spec(programs=(app,)), environ={})) if each.rule == "needs-data"
    ]
    assert "`--with gadget`" in finding.fix


def test_an_offer_is_no_finding_and_is_brought_when_asked_for(tmp_path: Path, own_recipes: Path) -> None:
    table = put(tmp_path, "table.dat")
    (own_recipes / "gadget.toml").write_text(
        'kind = "offer"\nwhat = "more tables"\nrecognise = { names = ["gadget"] }\n'
        f'needs = {{ files = ["{table}"] }}\nbrings = [{{ paths = ["{table}"] }}]\n'
    )
    app = (Copy(source=tool(tmp_path, "gadget")),)
    assert of_recipes(judge_plan(plan(Spec(programs=app), environ={}))) == []
    found = plan(Spec(programs=app, essentials=(Essential(name="gadget"),)), environ={})
    assert table in [entry.path for entry in found.rootfs.files]


@pytest.mark.parametrize(
    ("charsets", "modules"),
    [
        (("ISO-8859-15",), ["ISO8859-15.so"]),
        (("latin-9", "utf-8"), ["ISO8859-15.so"]),
        (("EUC-JP//TRANSLIT", "UTF-16"), ["EUC-JP.so", "UTF-16.so", "libJIS.so"]),
    ],
)
def test_character_sets_bring_their_modules_alone(
    tmp_path: Path, own_recipes: Path, charsets: tuple[str, ...], modules: list[str]
) -> None:
    gconv = tmp_path / "gconv"
    put(gconv, "gconv-modules", b"# few\nmodule UTF-16// INTERNAL UTF-16 1\nmodule INTERNAL UTF-16// UTF-16 1\n")
    put(
        gconv,
        "gconv-modules.d/extra.conf",
        b"alias LATIN-9// ISO-8859-15//\nmodule ISO-8859-15// INTERNAL ISO8859-15 1\n"
        b"module\tEUC-JP//\tINTERNAL\tEUC-JP\t1\nmodule INTERNAL EBCDIC-AT-DE// EBCDIC-AT-DE 1\n",
    )
    for name, needed in (("UTF-16", ()), ("ISO8859-15", ()), ("EBCDIC-AT-DE", ()), ("EUC-JP", ("libJIS.so",))):
        put(gconv, f"{name}.so", tinyelf.elf(needed=list(needed)))
    put(gconv, "libJIS.so", tinyelf.elf())
    (own_recipes / "gconv.toml").write_text(
        'kind = "data"\nwhat = "character sets"\nrecognise = { names = ["gadget"] }\n'
        f'needs = {{ files = ["*/gconv-modules"] }}\nbrings = [{{ paths = ["{gconv}"], charsets = true }}]\n'
    )
    app = (Copy(source=tool(tmp_path, "gadget")),)
    found = plan(Spec(programs=app, essentials=(Essential(name="gconv", values=charsets),)), environ={})
    paths = [entry.path for entry in found.rootfs.files if entry.path.startswith(str(gconv))]
    assert [path.rpartition("/")[2] for path in paths if path.endswith(".so")] == modules
    assert f"{gconv}/gconv-modules.d/extra.conf" in paths
    with pytest.raises(UsageError, match="no character set 'KLINGON'"):
        plan(Spec(programs=app, essentials=(Essential(name="gconv", values=("KLINGON",)),)), environ={})


def test_an_interpreter_that_has_all_inside_it_is_brought_alone(tmp_path: Path, own_recipes: Path) -> None:
    interpreter = tool(tmp_path, "gadget")
    script = put(tmp_path, "app", f"#!{interpreter}\n".encode())
    (own_recipes / "gadget.toml").write_text(
        'kind = "runtime"\nwhat = "its library"\nneeds = { files = ["/nowhere/x"] }\n'
        'brings = [{ paths = ["/nowhere"] }]\n'
        '[recognise]\nsonames = ["libgadget.so"]\nnames = ["gadget"]\nevery = true\ninterpreters = ["gadget"]\n'
    )
    spec = Spec(programs=(Copy(source=script),), essentials=(Essential(name="gadget"),))
    found = plan(spec, environ={})
    assert interpreter in [entry.path for entry in found.rootfs.files]
    assert of_recipes(judge_plan(found)) == []


CONFIGURATION = b"""# include /etc/nginx/left-out.conf;
events {}
http { include mime.types; include "/etc/quoted.conf"; include sites/*.conf; # include sites/old.conf;
  include
    extra/gzip.conf ; fastcgi_include no; }
"""


def test_files_that_a_configuration_names_are_looked_for() -> None:
    nginx = BY_NAME["nginx"].needs
    config = File(
        path="/etc/nginx/nginx.conf",
        mode=0o644,
        uid=0,
        gid=0,
        source=None,
        identity=FileIdentity(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0),
        content=CONFIGURATION,
    )
    named = [path for _, path in module.named_files(nginx, [config], lambda file: file.content)]
    assert named == ["/etc/nginx/mime.types", "/etc/nginx/extra/gzip.conf"]
    assert list(module.named_files(nginx, [config], lambda _: None)) == [], "unknown bytes name nothing"


def test_a_configuration_of_ones_own_brings_what_it_names_or_is_refused(tmp_path: Path, own_recipes: Path) -> None:
    etc = tmp_path / "etc"
    put(etc, "types.list")
    (own_recipes / "gadget.toml").write_text(
        'kind = "runtime"\nwhat = "its configuration"\nrecognise = { names = ["gadget"] }\n'
        f'brings = [{{ paths = ["{etc}"] }}]\n'
        '[needs]\nfiles = ["*/gadget.conf"]\nnames = [{ files = ["*/gadget.conf"], pattern = \'use (\\S+)\' }]\n'
    )
    program = (Copy(source=tool(tmp_path, "gadget")),)
    for name, rules in (("types.list", []), ("../mine.list", [("needs-runtime", "error")])):
        own = put(tmp_path, "own.conf", f"use {name}\n".encode())
        spec = Spec(
            programs=program,
            copies=(Copy(source=own, destination=f"{etc}/gadget.conf"),),
            essentials=(Essential(name="auto"),),
        )
        planned, findings = plan_and_judge(spec, check=False)
        assert of_recipes(findings) == rules
        assert [each.rule for each in findings if f"{tmp_path}/mine.list" in each.message] == [r for r, _ in rules]
        assert planned.added == ("gadget",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('values = { version = "gadget[0-9]+" }\nbrings = []', "has no group"),
        ('brings = [{ paths = ["/opt/gadget-{version}"] }]', "what {version} is"),
        ('brings = [{ paths = ["etc/gadget"] }]', "'etc/gadget' is not an absolute path"),
        ('brings = []\nalso = ["gizmo"]', "'gadget' brings 'gizmo' along"),
        ("brings = []\n#" + "x" * (1 << 20), "regular file of at most 1048576 bytes"),
    ],
)
def test_a_recipe_that_nobody_can_use_is_refused_when_it_is_read(
    tmp_path: Path, own_recipes: Path, line: str, said: str
) -> None:
    (own_recipes / "gadget.toml").write_text(
        'kind = "data"\nwhat = "data"\nrecognise = { names = ["gadget"] }\nneeds = { files = ["/x"] }\n' + line
    )
    spec = Spec(programs=(Copy(source=tool(tmp_path, "gadget")),), essentials=(Essential(name="gadget"),))
    with pytest.raises(SpecError, match=re.escape(said)):
        plan(spec, environ={})


def test_a_pipe_among_the_recipes_holds_nobody_up(tmp_path: Path, own_recipes: Path) -> None:
    os.mkfifo(own_recipes / "gadget.toml")
    with pytest.raises(SpecError, match="not a regular file"):
        rs.check(tool(tmp_path, "gadget"))


def test_what_cannot_be_read_is_left_out_by_the_option_that_the_message_names(
    tmp_path: Path, own_recipes: Path
) -> None:
    tree = tmp_path / "etc/gadget"
    put(tree, "gadget.conf")
    put(tree, "ssl/public.pem")
    os.mkfifo(tree / "ssl/key.pem")
    (own_recipes / "gadget.toml").write_text(
        'kind = "data"\nwhat = "its settings"\nrecognise = { names = ["gadget"] }\n'
        f'needs = {{ files = ["*/gadget.conf"] }}\nbrings = [{{ paths = ["{tree}"] }}]\n'
    )
    spec = Spec(programs=(Copy(source=tool(tmp_path, "gadget")),), essentials=(Essential(name="gadget"),))
    with pytest.raises(SourceError) as caught:
        plan(spec, environ={})
    option = f"{tree}/ssl/key.pem".strip("/")
    assert f"`--exclude {option}`" in caught.value.fix
    found = plan(spec.but(exclude=(option, "*.conf")), environ={})
    below = [entry.path for entry in found.rootfs if entry.path.startswith(f"{tree}/")]
    assert below == [f"{tree}/gadget.conf", f"{tree}/ssl", f"{tree}/ssl/public.pem"]
    assert not [
        entry for entry in plan(spec.but(exclude=(str(tree),)), environ={}).rootfs if "etc/gadget" in entry.path
    ]


def test_a_static_program_is_judged_without_reading_the_recipes(tmp_path: Path, own_recipes: Path) -> None:
    (own_recipes / "gadget.toml").write_text("kind = 3\n")
    assert rs.check(put(tmp_path, "gadget", tinyelf.hello())).verdict == "starts"


def test_braces_in_the_words_of_a_recipe_are_words(own_recipes: Path) -> None:
    (own_recipes / "gadget.toml").write_text(
        'kind = "data"\nwhat = "its {tables}"\nrecognise = { names = ["gadget"] }\nneeds = { files = ["/x"] }\n'
        'brings = []\nsymptoms = [{ pattern = "no tables" }]\n'
    )
    finding = judge_ending(1, b"gadget: no tables\n")
    assert finding is not None
    assert "its {tables}" in finding.message


@pytest.mark.parametrize("line", ["#!/bin/sh", "#!/usr/bin/env sh", "#!/bin/sh -e"])
def test_a_script_of_the_shell_brings_the_shell_of_this_host(tmp_path: Path, line: str) -> None:
    script = put(tmp_path, "app", f"{line}\nexit 0\n".encode())
    (refused,) = [each for each in rs.check(script).findings if each.severity == "error"]
    assert "`--bundle-libraries --with shell`" in refused.fix
    for essential in ("shell", "auto"):
        spec = Spec(
            programs=(Copy(source=script),), essentials=(Essential(name=essential),), bundle_libraries=True
        )
        planned, findings = plan_and_judge(spec)
        assert [each for each in findings if each.severity == "error"] == []
        assert any(entry.path in {"/bin/sh", "/usr/bin/sh"} for entry in planned.rootfs)
