"""Whatever an image or a caller says arrives in each format as it is, and becomes nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hostile_layouts import Layout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tars import END, packed, program
from unitfiles import arguments, sections

import rootless_scratch as rs
from rootless_scratch.deployments.unittext import command_line
from rootless_scratch.deployments.workload import shown
from rootless_scratch.deployments.yamltext import yaml as written

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("kubernetes", "quadlet", "compose", "systemd")
RUN = {"%t": "/run/user/1000", "%N": "web", "%n": "web.service"}


def made_of(path: Path, **config: Any) -> str:  # noqa: ANN401 - any JSON
    """A layout with an image of this config."""
    layout = Layout(path / "shop")
    layout.write([layout.image(packed(program() + END), **config)])
    return f"oci:{layout.path}"


HOSTILE = "x\"\n[Service]\nExecStart=/bin/evil\n%h $HOME ${HOME} $(id) \\\n---\nkind: Pod\n# '`\u2028\x85\x1b[2J\\"


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_that_an_image_says_becomes_more_than_a_value(tmp_path: Path, form: str) -> None:
    subject = made_of(
        tmp_path,
        User="0:0\nprivileged: true",
        Entrypoint=["/web"],
        StopSignal=HOSTILE,
        ExposedPorts={HOSTILE: {}, "8080/tcp": {}},
        Volumes={HOSTILE: {}, "/a:b": {}, "relative": {}},
        Healthcheck={"Test": ["CMD", "/web", HOSTILE, "; evil"], "Interval": -1, "Retries": True},
        Labels={
            "org.opencontainers.image.description": HOSTILE,
            "org.opencontainers.image.version": HOSTILE,
            "org.opencontainers.image.title": 7,
        },
    )
    made = rs.generate(form, subject)
    assert any("stop signal" in note for note in made.notes)
    comments = [line for line in made.text.split("\n") if line.startswith("#")]
    assert all(line.isprintable() and not line.endswith("\\") for line in comments)
    if form in ("kubernetes", "compose"):
        documents = list(yaml.safe_load_all(made.text))
        kinds = [each.get("kind") for each in documents]
        assert kinds == (["Deployment", "Service"] if form == "kubernetes" else [None])
        shown = [text for text in strings(documents) if "evil" in text and "; evil" not in text]
        # As kubelet and compose read it again.
        seen = [text.replace("$$(", "$(") if form == "kubernetes" else text.replace("$$", "$") for text in shown]
        assert HOSTILE in seen
        assert "privileged" not in {key for document in documents for key in keys(document)}
        return
    found = sections(made.text)
    assert list(found) == ["Unit", "Container", "Service", "Install"] if form == "quadlet" else True
    key = "PodmanArgs" if form == "quadlet" else "ExecStart"
    values = [value for lines in found.values() for name, value in lines if name == key]
    argv = [argument for value in values for argument in arguments(value, RUN)]
    health = json.dumps(["/web", HOSTILE, "; evil"], ensure_ascii=False)
    assert f"--health-cmd={health}" in argv
    assert not any("evil" in value for name, value in found["Service"] if name != "ExecStart")
    assert [value.count("%") % 2 for name, value in found["Unit"] if name == "Description"] == [0]


@pytest.mark.parametrize("form", FORMATS)
def test_values_of_the_caller_arrive_as_they_are(tmp_path: Path, form: str) -> None:
    made = rs.generate(form, made_of(tmp_path), (HOSTILE,), env={"A": HOSTILE})
    if form in ("kubernetes", "compose"):
        (document,) = yaml.safe_load_all(made.text)
        texts = [text.removeprefix("A=") for text in strings(document) if "evil" in text]
        dollars = ("$$(", "$(") if form == "kubernetes" else ("$$", "$")
        assert [text.replace(*dollars) for text in texts] == [HOSTILE, HOSTILE]
        return
    found = sections(made.text)
    lines = found["Container" if form == "quadlet" else "Service"]
    own = [(name, value) for name, value in lines if name != "Environment" or form == "quadlet"]
    values = [value for name, value in own if name in ("Exec", "Environment", "ExecStart")]
    argv = [argument for value in values for argument in arguments(value, RUN)]
    assert HOSTILE in argv
    assert f"A={HOSTILE}" in argv


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in values for text in strings(each)]


def keys(value: object) -> list[str]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*(value if isinstance(value, dict) else ()), *(key for each in values for key in keys(each))]


PATIENT = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
plain = st.text(st.characters(exclude_categories=["Cs"]))


@PATIENT
@given(
    st.recursive(
        plain | st.booleans() | st.integers(-(2**40), 2**40),
        lambda inner: st.lists(inner) | st.dictionaries(plain, inner),
        max_leaves=20,
    )
)
def test_every_document_is_read_back_as_it_was(value: object) -> None:
    assert yaml.safe_load(written({"key": value})) == {"key": value}


@PATIENT
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_every_command_is_read_back_as_it_was(argv: list[str]) -> None:
    line = command_line("/bin/x", *argv)
    assert "\n" not in line
    assert arguments(line) == ["/bin/x", *argv]


@given(st.text(max_size=80))
def test_every_label_makes_a_description_of_one_line(text: str) -> None:
    line = shown(text)
    assert line.isprintable() or line == ""
    assert not line.endswith("\\")
