"""A container as a Deployment of Kubernetes, with a Service for its ports; `podman kube play` takes it too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.deployments.workload import binary, heading
from rootless_scratch.deployments.yamltext import yaml
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from rootless_scratch.deployments.workload import Workload
    from rootless_scratch.engine.request.request import Memory, Mount

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
"""What a Deployment, its Service and its container may be called: RFC 1035."""

_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_CLAIM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_ENOUGH = "1Gi"
"""What a claim asks for; nothing here knows how much is needed."""

_LABEL = "app.kubernetes.io/name"


class _Volume:
    """A volume of the pod, and where its container has it."""

    def __init__(self, name: str, source: dict[str, Any], path: str, *, read_only: bool = False) -> None:
        self.volume = {"name": name, **source}
        self.mount = {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})


def kubernetes(load: Workload) -> tuple[str, tuple[str, ...]]:
    """The text, and what it could not say; raises UsageError for names that Kubernetes does not take."""
    if not NAME.match(load.name):
        raise UsageError(
            f"{load.name!r} is not a name that Kubernetes takes.",
            fix="Use --name with lower-case letters, digits and `-`, a letter first and at most 63 of them.",
        )
    claims = tuple(mount for mount in load.mounts if mount.source and not mount.is_bind)
    for mount in claims:
        if not _CLAIM.match(mount.source):
            raise UsageError(
                f"The volume {mount.source!r} has no name that Kubernetes takes.",
                fix="Use lower-case letters, digits and `-`, at most 63 of them.",
            )
    notes = (*load.notes, *_notes(load))
    volumes = _volumes(load)
    documents = [
        *(_claim(name) for name in dict.fromkeys(mount.source for mount in claims)),
        _deployment(load, volumes),
        *([_service(load)] if _listening(load) else []),
    ]
    return heading(load, "kubernetes", notes) + yaml(*documents), notes


def _deployment(load: Workload, volumes: list[_Volume]) -> dict[str, Any]:
    labels = {_LABEL: load.name}
    version = {"app.kubernetes.io/version": load.version} if _VERSION.match(load.version) else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": load.name,
            "labels": labels | version,
            "annotations": {"kubernetes.io/description": load.about},
        },
        "spec": {
            "replicas": load.replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels | version},
                "spec": _filled(
                    automountServiceAccountToken=False,
                    enableServiceLinks=False,
                    terminationGracePeriodSeconds=load.seconds,
                    securityContext=_pod_security(load),
                    containers=[_container(load, volumes)],
                    volumes=[each.volume for each in volumes],
                ),
            },
        },
    }


def _container(load: Workload, volumes: list[_Volume]) -> dict[str, Any]:
    limits = _filled(memory=load.memory and _size(load.memory), cpu=load.cpus and f"{round(load.cpus * 1000)}m")
    return _filled(
        name=load.name,
        image=load.image,
        imagePullPolicy="IfNotPresent",
        args=[_literal(argument) for argument in load.arguments],
        env=[{"name": name, "value": _literal(value)} for name, value in load.env],
        ports=_ports(load),
        readinessProbe=_probe(load),
        resources=limits and {"requests": limits, "limits": limits},
        securityContext={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": not load.writable,
            "capabilities": _filled(drop=["ALL"], add=[name.removeprefix("CAP_") for name in load.capabilities]),
        },
        volumeMounts=[each.mount for each in volumes],
    )


def _size(size: int) -> str:
    number, unit = binary(size)
    return f"{number}{f'{unit.upper()}i' if unit else ''}"


def _pod_security(load: Workload) -> dict[str, Any]:
    user = {} if load.uid is None else {"runAsUser": load.uid}
    group = {} if load.gid is None or load.uid is None else {"runAsGroup": load.gid}
    owner = {"fsGroup": load.gid or load.uid} if load.uid and (load.data or load.mounts) else {}
    return {
        "runAsNonRoot": load.uid != 0,
        **user,
        **group,
        **owner,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _listening(load: Workload) -> tuple[tuple[int, str], ...]:
    """Ports of the container, each once."""
    wanted = ((port.container, port.protocol) for port in load.ports)
    return tuple(dict.fromkeys((*wanted, *load.exposed)))


def _ports(load: Workload) -> list[dict[str, Any]]:
    """One of the host only where it was asked for: it can be had by one pod of a node."""
    ports = []
    for number, protocol in _listening(load):
        base: dict[str, Any] = {
            "name": f"{protocol}-{number}",
            "containerPort": number,
            "protocol": protocol.upper(),
        }
        same = [port for port in load.ports if (port.container, port.protocol) == (number, protocol) and port.host]
        for port in same[:1]:
            base |= {"hostPort": port.host} | ({"hostIP": port.address} if port.address else {})
        ports.append(base)
    return ports


def _service(load: Workload) -> dict[str, Any]:
    ports = [
        {"name": f"{protocol}-{number}", "port": number, "targetPort": number, "protocol": protocol.upper()}
        for number, protocol in _listening(load)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": load.name, "labels": {_LABEL: load.name}},
        "spec": {"selector": {_LABEL: load.name}, "ports": ports},
    }


def _probe(load: Workload) -> dict[str, Any]:
    """A health check says whether it serves. It does not restart anything in docker and podman either."""
    health = load.health
    if health is not None:
        return {
            "exec": {"command": [_literal(argument) for argument in health.command]},
            "periodSeconds": max(health.interval, 1),
            "timeoutSeconds": max(health.timeout, 1),
            "failureThreshold": max(health.retries, 1),
            **({"initialDelaySeconds": health.start_period} if health.start_period else {}),
        }
    port = next((number for number, protocol in _listening(load) if protocol == "tcp"), None)
    return {} if port is None else {"tcpSocket": {"port": port}}


def _volumes(load: Workload) -> list[_Volume]:
    found = [
        _Volume(f"memory-{at}", {"emptyDir": {"medium": "Memory"}}, path)
        for at, path in enumerate(load.in_memory(), 1)
    ]
    found += [_Volume(f"tmpfs-{at}", _in_memory(each), each.target) for at, each in enumerate(load.memories, 1)]
    found += [_Volume(f"data-{at}", {"emptyDir": {}}, each.target) for at, each in enumerate(load.data, 1)]
    found += [
        _Volume(f"mount-{at}", _mounted(each), each.target, read_only=each.read_only)
        for at, each in enumerate(load.mounts, 1)
    ]
    return found


def _mounted(mount: Mount) -> dict[str, Any]:
    if mount.is_bind:
        return {"hostPath": {"path": mount.source}}
    return {"persistentVolumeClaim": {"claimName": mount.source}} if mount.source else {"emptyDir": {}}


def _in_memory(memory: Memory) -> dict[str, Any]:
    sizes = [option.partition("=")[2] for option in memory.options if option.lower().startswith("size=")]
    match = re.fullmatch(r"(\d+)([kmg]?)", sizes[-1].lower()) if sizes else None
    size = {} if match is None else {"sizeLimit": match[1] + (f"{match[2].upper()}i" if match[2] else "")}
    return {"emptyDir": {"medium": "Memory", **size}}


def _claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _ENOUGH}}},
    }


def _literal(text: str) -> str:
    """A text in which kubelet finds no variable: it takes `$(NAME)` for one, and `$$` for a dollar."""
    return text.replace("$$", "$$$$").replace("$(", "$$(")


def _notes(load: Workload) -> tuple[str, ...]:
    """What Kubernetes has no word for, and what clusters may refuse."""
    notes = []
    if any(port.host for port in load.ports):
        notes.append("A hostPort can be had once on a node, and some clusters refuse it; the Service needs none.")
    if any(mount.is_bind for mount in load.mounts):
        notes.append("A hostPath is a directory of whichever node runs the pod, and some clusters refuse it.")
    if any(mount.source and not mount.is_bind for mount in load.mounts):
        notes.append(f"A claim asks for {_ENOUGH}; write how much is needed.")
    if load.data:
        paths = ", ".join(mount.target for mount in load.data)
        notes.append(f"What is in {paths} ends with the pod; --volume NAME:PATH keeps it in a claim.")
    if load.pids is not None:
        notes.append("A pod has no limit of processes of its own; the node's holds.")
    if load.replicas > 1 and any(not mount.read_only and mount.source for mount in load.mounts):
        notes.append("Several replicas write to the same volume.")
    if any(_mode_or_more(memory) for memory in load.memories):
        notes.append("Of the options of a tmpfs only its size can be said.")
    return tuple(notes)


def _mode_or_more(memory: Memory) -> bool:
    return any(not re.fullmatch(r"size=\d+[kmg]?|rw", option.lower()) for option in memory.options)


def _filled(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - Kubernetes' own structure
    """The keys that have a value; False is one."""
    return {key: value for key, value in keys.items() if value or value is False}
