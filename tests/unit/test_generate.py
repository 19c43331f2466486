"""What starts an image later and elsewhere: made of the image's own facts, hardened, and said in each format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hostile_layouts import Layout
from tars import END, entry, packed, program
from unitfiles import arguments, sections

import rootless_scratch as rs
from rootless_scratch.errors import ScratchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., str]

FORMATS = ("kubernetes", "quadlet", "compose", "systemd")
COMPOSE = json.loads((Path(__file__).resolve().parents[1] / "schemas/compose-spec.json").read_text())
SECOND = 1_000_000_000
HEALTH = {"Test": ["CMD", "/web", "--check"], "Interval": 10 * SECOND, "StartPeriod": 5 * SECOND, "Retries": 5}
WEB = {
    "User": "1000:1001",
    "Entrypoint": ["/web"],
    "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
    "Volumes": {"/var/lib/data": {}},
    "StopSignal": "SIGINT",
    "Healthcheck": HEALTH,
    "Labels": {"org.opencontainers.image.description": "A shop", "org.opencontainers.image.version": "1.2"},
}
QUADLET_OF_4_4 = """ContainerName Image Environment EnvironmentFile EnvironmentHost Exec NoNewPrivileges
DropCapability AddCapability ReadOnly RemapUsers RemapUid RemapGid RemapUidSize Notify ExposeHostPort PublishPort
User Group Volume PodmanArgs Label Annotation RunInit VolatileTmp Timezone SeccompProfile AddDevice Network"""
"""What the generator of podman 4.4 knows in [Container]; it refuses a file with any other key."""

RUN = {"%t": "/run/user/1000", "%N": "web", "%n": "web.service"}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A layout with an image of this config."""

    def made(*layers: bytes, name: str = "shop", **config: Any) -> str:  # noqa: ANN401 - any JSON
        layout = Layout(tmp_path / name)
        files = layers or (packed(program() + END),)
        layout.write([layout.image(*files, **config)])
        return f"oci:{layout.path}"

    return made


def kubernetes(subject: str, *arguments: str, **options: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - as rs.generate has them
    """The objects by their kinds."""
    text = rs.generate("kubernetes", subject, arguments, **options).text
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def compose(subject: str, *arguments: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
    document = yaml.safe_load(rs.generate("compose", subject, arguments, **options).text)
    jsonschema.Draft202012Validator(COMPOSE).validate(document)
    assert isinstance(document, dict)
    return document


def test_a_deployment_says_what_the_image_says_and_allows_no_more(make: Make) -> None:
    objects = kubernetes(make(**WEB), name="web", memory="64m", cpus=0.5, replicas=2)
    spec = objects["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    assert spec["replicas"] == 2
    assert objects["Deployment"]["metadata"]["annotations"] == {"kubernetes.io/description": "A shop"}
    assert objects["Deployment"]["metadata"]["labels"]["app.kubernetes.io/version"] == "1.2"
    assert (pod["automountServiceAccountToken"], pod["terminationGracePeriodSeconds"]) == (False, 10)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1001,
        "fsGroup": 1001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    web = container(objects)
    assert web["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert web["resources"]["limits"] == web["resources"]["requests"] == {"memory": "64Mi", "cpu": "500m"}
    assert [(port["containerPort"], port["protocol"]) for port in web["ports"]] == [(53, "UDP"), (8080, "TCP")]
    assert "hostPort" not in str(web["ports"])
    assert web["readinessProbe"] == {
        "exec": {"command": ["/web", "--check"]},
        "periodSeconds": 10,
        "timeoutSeconds": 30,
        "failureThreshold": 5,
        "initialDelaySeconds": 5,
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in web["volumeMounts"]}
    sources = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    assert {path: sources[name] for path, name in mounted.items()} == {
        **{path: {"medium": "Memory"} for path in ("/tmp", "/run", "/var/tmp")},
        "/var/lib/data": {},
    }
    assert objects["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert [port["port"] for port in objects["Service"]["spec"]["ports"]] == [53, 8080]


def test_without_a_health_check_a_port_says_whether_it_serves_and_without_ports_there_is_no_service(
    make: Make,
) -> None:
    listening = container(kubernetes(make(ExposedPorts={"8080": {}})))
    assert listening["readinessProbe"] == {"tcpSocket": {"port": 8080}}
    bare = kubernetes(make(name="bare"))
    assert list(bare) == ["Deployment"]
    assert "readinessProbe" not in container(bare)


def test_what_is_mounted_and_published_is_a_claim_a_host_path_and_a_host_port_with_notes(make: Make) -> None:
    options: dict[str, Any] = {"publish": {8080: ("127.0.0.1", 80)}, "volumes": ["logs:/logs", "/etc/ssl:/ssl:ro"]}
    objects = kubernetes(make(**WEB), **options)
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (port,) = (each for each in container(objects)["ports"] if each["containerPort"] == 8080)
    assert (port["hostPort"], port["hostIP"]) == (80, "127.0.0.1")
    assert objects["PersistentVolumeClaim"]["metadata"]["name"] == "logs"
    assert {"name": "mount-1", "persistentVolumeClaim": {"claimName": "logs"}} in pod["volumes"]
    assert {"name": "mount-2", "hostPath": {"path": "/etc/ssl"}} in pod["volumes"]
    assert {"name": "mount-2", "mountPath": "/ssl", "readOnly": True} in container(objects)["volumeMounts"]
    made = rs.generate("kubernetes", make(name="again", **WEB), pids_limit=50, **options)
    for part in ("hostPort", "hostPath", "claim", "ends with the pod", "limit of processes"):
        assert any(part in note for note in made.notes), part
    assert all(f"# note: {note}\n" in made.text for note in made.notes)


def test_a_quadlet_has_keys_of_podman_4_4_alone_and_the_rest_as_arguments(make: Make) -> None:
    made = rs.generate("quadlet", make(**WEB), ("--mode", "a b"), env={"A": "b c"}, memory="1g", replicas=3)
    found = sections(made.text)
    keys = dict(found["Container"])
    assert set(keys) <= set(QUADLET_OF_4_4.split())
    assert found["Unit"] == [("Description", "A shop")]
    assert found["Install"] == [("WantedBy", "default.target")]
    expected = {
        "ContainerName": "shop",
        "Image": "localhost/shop:latest",
        "Exec": '--mode "a b"',
        "User": "1000",
        "Group": "1001",
        "ReadOnly": "true",
        "VolatileTmp": "true",
        "DropCapability": "all",
        "NoNewPrivileges": "true",
        "Environment": '"A=b c"',
        "PublishPort": "127.0.0.1:8080:8080/tcp",
        "Volume": "shop-data:/var/lib/data",
    }
    assert {key: keys[key] for key in expected} == expected
    extra = [argument for key, value in found["Container"] if key == "PodmanArgs" for argument in arguments(value)]
    assert extra == [
        '--health-cmd=["/web", "--check"]',
        *("--health-interval=10s", "--health-timeout=30s", "--health-retries=5", "--health-start-period=5s"),
        *("--stop-signal=SIGINT", "--stop-timeout=10", "--memory=1g"),
    ]
    assert any("replicas" in note for note in made.notes)


def test_a_unit_runs_podman_as_hardened_as_a_run(make: Make) -> None:
    text = rs.generate("systemd", make(**WEB), name="web", publish=["8080:8080"], stop_timeout=3).text
    service = sections(text)["Service"]
    (command,) = (value for key, value in service if key == "ExecStart")
    argv = arguments(command, RUN)
    assert argv[:2] == ["/usr/bin/podman", "run"]
    for option in (
        "--read-only",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--user=1000:1001",
        "--rm",
    ):
        assert option in argv
    assert argv[argv.index("--publish") + 1] == "8080:8080/tcp"
    assert argv[-1] == "localhost/web:latest"
    assert dict(service)["Type"] == "notify"
    assert dict(service)["TimeoutStopSec"] == "33"


def test_compose_files_are_those_of_the_specification(make: Make) -> None:
    document = compose(make(**WEB), "--x", volumes=["/srv:/srv:ro", "logs:/logs"], tmpfs=["/cache:size=64m"])
    (shop,) = document["services"].values()
    assert document["name"] == "shop"
    assert shop["image"] == "localhost/shop:latest"
    assert (shop["user"], shop["read_only"], shop["cap_drop"]) == ("1000:1001", True, ["ALL"])
    assert shop["security_opt"] == ["no-new-privileges:true"]
    assert shop["ports"] == ["127.0.0.1:8080:8080/tcp"]
    assert shop["volumes"] == ["shop-data:/var/lib/data", "/srv:/srv:ro", "logs:/logs"]
    assert shop["tmpfs"] == ["/tmp:mode=1777", "/run:mode=0755", "/var/tmp:mode=1777", "/cache:size=64m"]
    assert (shop["command"], shop["stop_signal"], shop["stop_grace_period"]) == (["--x"], "SIGINT", "10s")
    assert shop["healthcheck"] == {
        "test": ["CMD", "/web", "--check"],
        "interval": "10s",
        "timeout": "30s",
        "retries": 5,
        "start_period": "5s",
    }
    assert set(document["volumes"]) == {"shop-data", "logs"}
    assert compose(make(name="named"), name="Web_1.x")["name"] == "web-1-x"
    more = compose(make(name="more", **WEB), replicas=2, memory="1.5g", cpus=2, pids_limit=9, writable=True)
    (shop,) = more["services"].values()
    assert (shop["mem_limit"], shop["cpus"], shop["pids_limit"]) == ("1536m", 2.0, 9)
    assert shop["deploy"] == {"replicas": 2}
    assert {"read_only", "tmpfs"} & set(shop) == {"read_only"}
    assert shop["read_only"] is False


def test_a_user_by_name_is_looked_up_in_the_image_and_root_is_noted(make: Make) -> None:
    lists = packed(program() + entry(b"root:x:0:0::/:\nweb:x:70:71::/:\n", name=b"etc/passwd") + END)
    pod = kubernetes(make(lists, User="web"))["Deployment"]["spec"]["template"]["spec"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (70, 71)
    made = rs.generate("kubernetes", make(name="root", User=""))
    (_, first) = yaml.safe_load(made.text)["spec"]["template"]["spec"], made.notes
    assert any("runs as root" in note for note in first)
    assert "runAsNonRoot: false" in made.text
    unknown = rs.generate("quadlet", make(name="unknown", User="nobody-here"))
    assert any("--user UID:GID" in note for note in unknown.notes)
    assert "\nUser=" not in unknown.text
    assert "\nUser=7\n" in rs.generate("quadlet", make(name="other", User="nobody-here"), user=7).text


def test_the_image_has_the_name_that_it_has_where_it_runs(make: Make) -> None:
    layout = make()
    assert rs.generate("compose", layout).image == "localhost/shop:latest"
    assert any("skopeo copy" in note for note in rs.generate("compose", layout).notes)
    named = rs.generate("compose", layout, image_name="registry.example.com/team/shop:1")
    assert (named.image, named.notes) == ("registry.example.com/team/shop:1", ())
    assert "registry.example.com/team/shop:1" in named.text
    for wrong in ("", "-v", "a b", "a\nb", "$HOME"):
        with pytest.raises(UsageError, match="is not an image name"):
            rs.generate("compose", layout, image_name=wrong)


@pytest.mark.parametrize(
    ("form", "options", "cause"),
    [
        ("nomad", {}, "not a format"),
        ("kubernetes", {"name": "Web_1"}, "not a name that Kubernetes takes"),
        ("kubernetes", {"volumes": ["Data_1:/data"]}, "has no name that Kubernetes takes"),
        ("quadlet", {"volumes": ["my.volume:/data"]}, "for a unit"),
        ("quadlet", {"arguments": [""]}, "cannot pass on the argument"),
        ("quadlet", {"arguments": ["a", ";"]}, "cannot pass on the argument"),
        ("compose", {"replicas": 0}, "not a number of containers"),
        ("systemd", {"volumes": ["/a\nb:/data"]}, "cannot be written into every format"),
        ("systemd", {"memory": "much"}, "not a size"),
        ("systemd", {"env": {"A": "\udcff"}}, "not UTF-8"),
        ("systemd", {"timeout": 3}, "has no option 'timeout'"),
        ("systemd", {"publish": ["x"]}, "not valid"),
    ],
)
def test_what_a_format_cannot_have_is_refused(make: Make, form: str, options: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        rs.generate(form, make(), **options)


def cli(*typed: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "rootless_scratch", "generate", *typed]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_line_prints_writes_and_notes(make: Make, tmp_path: Path) -> None:
    layout = make(**WEB)
    typed = ("--name", "web", "-e", "A=1", "--replicas", "2", "--", "--port", "80")
    done = cli("quadlet", layout, *typed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Exec=--port 80\n" in done.stdout
    assert [line.startswith("note: ") for line in done.stderr.splitlines()] == [True] * 3
    done = cli("systemd", layout, "-o", "web.service", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "ExecStart=" in (tmp_path / "web.service").read_text()
    assert cli("systemd", layout, "-o", "-", "-q", cwd=tmp_path).stdout == (tmp_path / "web.service").read_text()
    answer = json.loads(cli("compose", layout, "--json", cwd=tmp_path).stdout)
    assert (answer["schema"], answer["format"], answer["name"], answer["file"]) == (1, "compose", "shop", None)
    assert yaml.safe_load(answer["text"])["name"] == "shop"
    done = cli("compose", layout, "-o", "none/compose.yaml", cwd=tmp_path)
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    done = cli("docker", layout, cwd=tmp_path)
    assert (done.returncode, "not a format" in done.stderr) == (2, True)
    assert "Use one of kubernetes, quadlet, compose, systemd." in done.stderr
    assert "Did you mean 'kubernetes'?" in cli("kubernets", layout, cwd=tmp_path).stderr


@pytest.mark.parametrize(
    "test",
    [
        "text",
        {"Test": "CMD"},
        {"Test": ["NONE"]},
        {"Test": ["CMD"]},
        {"Test": ["CMD", ""]},
        {"Test": ["CMD", "/a\0b"]},
        {"Test": ["CMD", "/a b"]},
    ],
)
def test_a_health_check_that_is_none_is_left_out(make: Make, test: object) -> None:
    for form in FORMATS:
        lines = rs.generate(form, make(name=form, Healthcheck=test)).text.split("\n")
        assert not any("ealth" in line for line in lines if not line.startswith("#"))


def test_a_health_check_for_a_shell_is_run_by_the_shell_of_the_image(make: Make) -> None:
    subject = make(Healthcheck={"Test": ["CMD-SHELL", "wget -q localhost || exit 1"]})
    assert container(kubernetes(subject))["readinessProbe"]["exec"]["command"] == [
        *("/bin/sh", "-c", "wget -q localhost || exit 1")
    ]


def test_errors_are_of_our_kind() -> None:
    with pytest.raises(ScratchError):
        rs.generate("systemd", "oci:/nowhere")
