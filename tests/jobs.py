"""The job files of docs/ci as their platforms would run them: what each step calls, with the variables of a job.

A platform's own part (pods, runners, workspaces, secrets) is not made here: its steps are taken out of the file,
and run as their image or their host has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from conftest import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable

FILES = SOURCE / "docs/ci"
JOBS = sorted(FILES.iterdir())


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of a shell: its script, and what the file says of where it runs.

    `image` is that of a container, None on the host itself; `user` and `hardened` are a pod's security context.
    """

    script: str
    image: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    hardened: bool = False


def steps_of(name: str) -> list[Step]:
    """The steps of a file, in their order."""
    text = (FILES / name).read_text()
    if name.endswith(".sh"):
        return [Step(script=text)]
    if name == "jenkins.groovy":
        return list(_of_jenkins(text))
    found = yaml.safe_load(text)
    if "github" in name:
        return list(_of_github(found))
    if "gitlab" in name:
        return [step for job in found.values() for step in _of_gitlab(job)]
    if name == "tekton.yml":
        return list(_of_tekton(found["spec"]))
    return list(_of_pods(found["spec"]["template"]["spec"]["containers"]))


def _of_github(workflow: dict[str, Any]) -> Iterable[Step]:
    env = workflow.get("env", {})
    for job in workflow["jobs"].values():
        yield from (Step(script=step["run"], env=env) for step in job["steps"] if "run" in step)


def _of_gitlab(job: dict[str, Any]) -> Iterable[Step]:
    image = job.get("image")
    where = image["name"] if isinstance(image, dict) else image
    env = job.get("variables", {})
    yield Step(script="\n".join((*job.get("before_script", ()), *job["script"])), image=where, env=env)
    if "after_script" in job:
        yield Step(script="\n".join(job["after_script"]), image=where, env=env)


def _of_jenkins(text: str) -> Iterable[Step]:
    pod = yaml.safe_load(text.partition("yaml '''")[2].partition("'''")[0])
    context = pod["spec"]["containers"][0]
    for script in re.findall(r"^\s*sh '(.*)'$", text, re.MULTILINE):
        yield _in_pod(context, script)


def _of_tekton(task: dict[str, Any]) -> Iterable[Step]:
    values = {f"params.{each['name']}": each["default"] for each in task["params"]}
    values |= {"workspaces.source.path": ".", "results.digest.path": "digest"}

    def replaced(text: str) -> str:
        return re.sub(r"\$\(([\w.]+)\)", lambda found: values[found[1]], text)

    for step in task["steps"]:
        made = _in_pod(step, replaced(step["script"]))
        yield Step(
            script=made.script,
            image=made.image,
            env={name: replaced(value) for name, value in made.env.items()},
            user=made.user,
            hardened=made.hardened,
        )


def _of_pods(containers: Iterable[dict[str, Any]]) -> Iterable[Step]:
    for container in containers:
        assert container["command"] == ["sh", "-ec"]
        yield _in_pod(container, *container["args"])


def _in_pod(container: dict[str, Any], script: str) -> Step:
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    return Step(
        script=script,
        image=container["image"],
        env={each["name"]: each["value"] for each in container.get("env", ())},
        user=str(context["runAsUser"]) if "runAsUser" in context else None,
        hardened=context["seccompProfile"] == {"type": "RuntimeDefault"},
    )
