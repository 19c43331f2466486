"""`bake --executor kubernetes`: an indexed Job whose pods are shards of a bake, by this project's own image."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from rootless_scratch import __version__
from rootless_scratch.bakefiles.target import directed
from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.references import REGISTRY
from rootless_scratch.verbs.making import require_caches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.bakefiles.target import Targets
    from rootless_scratch.ship.access import Access

_SOURCES, _LOGINS, _CERTIFICATES, _TEMPORARY = "/sources", "/run/logins", "/run/certificates", "/tmp"  # noqa: S108
_USER = 65532
_SHARDS = 8
_AGAIN = 3
"""How often the pod of one shard is started again; the registry has what was pushed before."""

_USAGE = 2
_LABEL = expression(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?\Z")
"""RFC 1123, with room for the number of a pod in 63 characters."""

_NAME = expression(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z")
_QUANTITY = expression(r"(?=.*[1-9])\d{1,9}(?:\.\d{1,3})?(?:m|[kMGTPE]|[KMGTPE]i)?\Z")
_REFERRED = expression(r"\$\{([A-Za-z_]\w*)\}|variable\s+\"([A-Za-z_]\w*)\"")


def _of(pattern: re.Pattern[str], example: str) -> tuple[Callable[[str], bool], str]:
    return lambda text: pattern.match(text) is not None, example


def _count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= 100_000  # noqa: PLR2004 - as the API has it


_KEYS: dict[str, tuple[Callable[[str], bool], str]] = {
    "image": (
        lambda text: re.fullmatch(r"[\w.:/@-]+", text) is not None,
        "registry.example.com/rootless-scratch:1",
    ),
    "sources": _of(_NAME, "sources"),
    "path": (lambda text: not _leads_out(text), "shop/images"),
    "shards": (_count, "8"),
    "parallelism": (_count, "4"),
    "name": _of(_LABEL, "bake"),
    "namespace": _of(_LABEL, "builds"),
    "secret": _of(_NAME, "registry-login"),
    "certificates": _of(_NAME, "registry-ca"),
    "cpu": _of(_QUANTITY, "1"),
    "memory": _of(_QUANTITY, "512Mi"),
    "disk": _of(_QUANTITY, "4Gi"),
}
"""What `--kubernetes KEY=VALUE` takes: what a value must be, and an example."""


class Call(Data):
    """The call of `bake` whose shards the pods are."""

    targets: Targets
    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    push: bool = False
    load: bool = False
    check: bool = True
    compress: str | None = None
    jobs: int | None = None
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    access: Access | None = None


def kubernetes_job(call: Call, values: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """The Job, as plain data; `values` are those of `--kubernetes`. Raises UsageError for what no pod can do."""
    options = {
        "image": f"rootless-scratch:{__version__}",
        "name": "bake",
        "cpu": "1",
        "memory": "512Mi",
        "disk": "4Gi",
    }
    options |= _read(values)
    if "sources" not in options:
        raise UsageError(
            "Pods read the file and all that it names from a volume, and none is named.",
            fix="Pass `--kubernetes sources=CLAIM`, a PersistentVolumeClaim with this directory in it.",
        )
    _require_reachable(call)
    count = int(options.get("shards", min(_SHARDS, len(call.targets.targets))))
    labels = {"app.kubernetes.io/name": "rootless-scratch", "app.kubernetes.io/instance": options["name"]}
    metadata: dict[str, Any] = {"name": options["name"], "labels": labels}
    if "namespace" in options:
        metadata["namespace"] = options["namespace"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": min(count, int(options.get("parallelism", count))),
            "backoffLimitPerIndex": _AGAIN,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailIndex",
                        "onExitCodes": {"containerName": "bake", "operator": "In", "values": [_USAGE]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(options, _arguments(call, options, count, environ), environ),
            },
        },
    }


def _read(values: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in values:
        key, _, value = text.partition("=")
        if key not in _KEYS:
            raise UsageError(f"--kubernetes has no {key!r}.", fix=f"There are {', '.join(_KEYS)}.")
        fits, example = _KEYS[key]
        if not fits(value):
            raise UsageError(f"{value!r} is not a value for --kubernetes {key}.", fix=f"E.g. `{key}={example}`.")
        found[key] = value
    return found


def _require_reachable(call: Call) -> None:
    """Raise UsageError where an image would be gone with its pod, or what it needs stays here."""
    targets = directed(call.targets.targets, output=call.output, push=call.push, load=call.load)
    stay = [each.name for each in targets if each.names or not all(map(_is_remote, each.output))]
    if stay:
        raise UsageError(
            f"Images that pods make go to registries, and {stay[0]!r} goes elsewhere too.",
            fix="Pass `--push`, and give each image a `tag` with a registry.",
        )
    described = next((each.name for each in targets if each.spec.sboms), None)
    if described is not None:
        raise UsageError(
            f"The SBOM of {described!r} would be gone with the pod that writes it.",
            fix="Leave out `sbom`: `rootless-scratch sbom IMAGE` prints one of any image.",
        )
    if call.targets.foreign:
        raise UsageError(
            f"Pods build the images of a scratch.toml, and {call.targets.path!r} is none.",
            fix="Describe the images in a scratch.toml, or call `bake --shard` by a Job of your own.",
        )
    if _leads_out(call.targets.path):
        raise UsageError(
            f"{call.targets.path!r} is not below the working directory, which the volume has.",
            fix="Change to the directory that the volume has (`cd`), and name the file from there.",
        )
    if call.access is not None and (call.access.authfile is not None or call.access.cert_dir is not None):
        raise UsageError(
            "Pods have no files of this host: neither logins nor certificates.",
            fix="Name those of the cluster: `--kubernetes secret=NAME`, `--kubernetes certificates=CONFIGMAP`.",
        )
    caches = (*call.cache_from, *call.cache_to)
    require_caches(targets, call.compress, call.cache_from, call.cache_to)
    beside = next((each for each in caches if not _is_remote(each)), None)
    if beside is not None:
        raise UsageError(
            f"Pods reach caches of registries, and {beside!r} is a directory.",
            fix="Name a registry: docker://HOST/NAME[:TAG].",
        )


def _is_remote(output: str) -> bool:
    return output.startswith(f"{REGISTRY}:")


def _leads_out(path: str) -> bool:
    return not path or path.startswith("/") or ".." in posixpath.normpath(path).split("/")


def _arguments(call: Call, options: Mapping[str, str], count: int, environ: Mapping[str, str]) -> list[str]:
    """The arguments of `rootless-scratch` in each pod."""
    # The pod knows its number by that name; whatever else has a dollar is meant as it is.
    return [
        *map(_literal, _plain_arguments(call, options, environ)),
        "--shard",
        f"$(JOB_COMPLETION_INDEX)/{count}",
    ]


def _plain_arguments(call: Call, options: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    yield from ("bake", "--file", call.targets.path)
    settings = (*call.settings, *_from_environment(call, environ))
    for flag, values in _repeated(call, settings):
        for value in values:
            yield from (flag, value)
    if call.push:
        yield "--push"
    if not call.check:
        yield "--no-check"
    if call.compress is not None:
        yield from ("--compress", call.compress)
    # Without it there would be one for each core of the node.
    yield from ("--jobs", str(call.jobs or _whole(options["cpu"])))
    if call.access is not None:
        if call.access.tls_verify is not None:
            yield f"--tls-verify={str(call.access.tls_verify).lower()}"
        yield from ("--retries", str(call.access.retries), "--format", call.access.format)
    if "certificates" in options:
        yield from ("--cert-dir", _CERTIFICATES)
    yield from call.names


def _repeated(call: Call, settings: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    yield from (("--set", settings), ("--output", call.output))
    yield from (("--cache-from", call.cache_from), ("--cache-to", call.cache_to))


def _from_environment(call: Call, environ: Mapping[str, str]) -> Iterator[str]:
    """The variables of the file that this environment decides on, as the pod's would not."""
    with open(call.targets.path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    known = {each.partition("=")[0] for each in call.settings}
    for name in dict.fromkeys(first or second for first, second in _REFERRED.findall(text)):
        if name in environ and name not in known:
            yield f"{name}={environ[name]}"


def _literal(text: str) -> str:
    return text.replace("$", "$$")


def _whole(cpu: str) -> int:
    """The cores of a quantity, rounded up."""
    number = float(cpu.rstrip("mkKMGTPEi"))
    return max(1, round(number / 1000 if cpu.endswith("m") else number))


def _pod(options: Mapping[str, str], arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    volumes = [
        {
            "name": "sources",
            "persistentVolumeClaim": {"claimName": options["sources"], "readOnly": True},
        },
        {"name": "temporary", "emptyDir": {"sizeLimit": options["disk"]}},
    ]
    sources = {"name": "sources", "mountPath": _SOURCES, "readOnly": True}
    mounts: list[dict[str, Any]] = [
        sources | ({"subPath": posixpath.normpath(options["path"])} if "path" in options else {}),
        {"name": "temporary", "mountPath": _TEMPORARY},
    ]
    environment = [{"name": "HOME", "value": _TEMPORARY}, {"name": "TMPDIR", "value": _TEMPORARY}]
    if "SOURCE_DATE_EPOCH" in environ:
        environment.append({"name": "SOURCE_DATE_EPOCH", "value": environ["SOURCE_DATE_EPOCH"]})
    if "secret" in options:
        items = [{"key": ".dockerconfigjson", "path": "auth.json"}]
        volumes.append({"name": "logins", "secret": {"secretName": options["secret"], "items": items}})
        mounts.append({"name": "logins", "mountPath": _LOGINS, "readOnly": True})
        environment.append({"name": "REGISTRY_AUTH_FILE", "value": f"{_LOGINS}/auth.json"})
    if "certificates" in options:
        volumes.append({"name": "certificates", "configMap": {"name": options["certificates"]}})
        mounts.append({"name": "certificates", "mountPath": _CERTIFICATES, "readOnly": True})
    amounts = {"cpu": options["cpu"], "memory": options["memory"], "ephemeral-storage": options["disk"]}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "bake",
                "image": options["image"],
                "args": list(arguments),
                "workingDir": _SOURCES,
                "env": environment,
                "resources": {"requests": amounts, "limits": amounts},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
