"""What of containers.conf reaches a hardened run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rootless_scratch.host.containers_conf import hardened, weakening, without_override


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config/containers/containers.conf.d").mkdir(parents=True)
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def write(variables: dict[str, str], text: str, name: str = "containers.conf") -> Path:
    path = Path(variables["XDG_CONFIG_HOME"]) / "containers" / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "line",
    [
        'pidns="host"',
        'ipcns = "host"',
        'utsns="host"',
        'cgroupns="host"',
        'userns="keep-id"',
        'volumes=["/a:/b"]',
        'mounts=["type=bind,src=/a,dst=/b"]',
        'devices=["/dev/fuse"]',
        'annotations=["a=b"]',
        'env=["A=b"]',
        "privileged=true",
        "env_host=true",
        "init=true",
        "label=false",
        'umask="0000"',
        'umask="002"',
        'seccomp_profile="unconfined"',
        'apparmor_profile="unconfined"',
    ],
)
def test_what_weakens_a_run_is_left_out_and_named(variables: dict[str, str], line: str) -> None:
    write(variables, f'[containers]\n{line}\npids_limit=9\n[engine]\nnum_locks=7\nhelper_binaries_dir=["/x y"]\n')
    found = hardened(variables, rootful=False)
    assert found is not None
    key = line.partition("=")[0].strip()
    assert found.dropped == (key,)
    assert key in found.note
    kept = tomllib.loads(Path(found.path).read_text())
    assert key not in kept["containers"]
    assert kept["containers"]["pids_limit"] == 9
    engine = kept["engine"]
    assert {name: engine[name] for name in ("num_locks", "helper_binaries_dir")} == {
        "num_locks": 7,
        "helper_binaries_dir": ["/x y"],
    }
    again = hardened(variables, rootful=False)
    assert again is not None
    assert again.path == found.path
    assert weakening(variables, rootful=False) == found.dropped


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# pidns="host"\n',
        '[containers]\npidns="private"\nipcns="shareable"\nvolumes=[]\nenv=["PATH=/bin","TERM=xterm"]\n',
        '[containers]\numask="0027"\nseccomp_profile="/etc/strict.json"\nlabel=true\ninit_path="/x"\n',
        '[containers]\ndefault_capabilities=["CHOWN"]\ntz="UTC"\ndns_servers=["192.0.2.1"]\nnetns="host"\n',
        '[engine]\nenv=["A=b"]\n',
        "[containers\npidns=",
        "containers=3\n# pidns\n",
        'env="x"\ncontainers="pidns"',
    ],
)
def test_what_weakens_nothing_leaves_podman_its_own_files(variables: dict[str, str], text: str) -> None:
    write(variables, text)
    assert hardened(variables, rootful=False) is None
    assert not (Path(variables["HOME"]) / ".local").exists(), "nothing is written"


def test_files_are_read_in_podmans_order(variables: dict[str, str]) -> None:
    write(variables, '[containers]\npidns="host"\nlog_tag="first"\nenv=["A=b"]\n')
    write(variables, '[containers]\npidns="private"\nlog_tag="later"\n', "containers.conf.d/10.conf")
    write(variables, "[containers]\ninit=true\n", "containers.conf.d/ignored.txt")
    found = hardened(variables, rootful=False)
    assert found is not None
    assert found.dropped == ("env",)
    assert tomllib.loads(Path(found.path).read_text())["containers"]["log_tag"] == "later"
    assert hardened(variables, rootful=True) is None, "root's podman reads no file of a home"
    alone = Path(variables["HOME"]) / "one.conf"
    alone.write_text("[containers]\ninit=true\n")
    chosen = variables | {"CONTAINERS_CONF": str(alone)}
    only = hardened(chosen, rootful=False)
    assert only is not None
    assert only.dropped == ("init",)
    last = hardened(variables | {"CONTAINERS_CONF_OVERRIDE": str(alone)}, rootful=False)
    assert last is not None
    assert last.dropped == ("init", "env")
    environment = without_override(variables | {"CONTAINERS_CONF_OVERRIDE": str(alone)}, last)
    assert environment == variables | {"CONTAINERS_CONF": last.path}


def test_what_podman_5_appends_is_appended(variables: dict[str, str]) -> None:
    write(variables, '[containers]\ninit=true\ndns_servers=["192.0.2.1"]\n')
    write(variables, '[containers]\ndns_servers=["192.0.2.2", {append=true}]\n', "containers.conf.d/10.conf")
    found = hardened(variables, rootful=False)
    assert found is not None
    kept = tomllib.loads(Path(found.path).read_text())["containers"]
    assert kept == {**kept, "dns_servers": ["192.0.2.1", "192.0.2.2"]}


def test_odd_names_and_values_are_written_as_they_were(variables: dict[str, str]) -> None:
    write(
        variables,
        '[containers]\ninit=true\n[engine.runtimes]\n"a.b"=["/x \\"y\\" \\u007f\\u0001 ü"]\n'
        '[engine.service_destinations.x]\nuri="ssh://x"\nfine=1.5\nno=false\n',
    )
    found = hardened(variables, rootful=False)
    assert found is not None
    kept = tomllib.loads(Path(found.path).read_text(encoding="utf-8"))["engine"]
    assert kept["runtimes"] == {"a.b": ['/x "y" \x7f\x01 ü']}
    assert kept["service_destinations"] == {"x": {"uri": "ssh://x", "fine": 1.5, "no": False}}
