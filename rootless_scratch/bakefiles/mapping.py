"""A target of bake files as what a build here is asked; what cannot be done is told with its line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.attributes import shown
from rootless_scratch.bakefiles.choosing import LINK
from rootless_scratch.bakefiles.positions import Wrong
from rootless_scratch.bakefiles.target import FileTarget, Target
from rootless_scratch.containerfile.request import STDIN, FileRequest
from rootless_scratch.containerfile.stages import SCRATCH_IMAGE
from rootless_scratch.errors import ScratchError
from rootless_scratch.image.references import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.bakefiles.attributes import Defined

RELATIVE = "BUILDX_BAKE_FILE_RELATIVE_PATHS"
_HERE = "cwd://"
_REMOTE = ("https://", "http://", "git://", "git@", "ssh://", "github.com/", "bitbucket.org/", "gitlab.com/")
_IMAGES = ("docker-image://", "oci-layout://", LINK)

_CANNOT = {
    "extra-hosts": "RUN has no other hosts here than this host knows",
    "shm-size": "RUN has the /dev/shm of buildah here",
    "ulimits": "RUN has the limits of this process here",
    "resources": "RUN has the resources of this process here",
    "no-cache-filter": "the cache is used for all stages here, or for none",
    "policy": "policies are not evaluated here",
}
_LEAVE = "Leave it out."
_NETWORKS = ("default", "host", "none")
_KINDS = ("docker", "oci", "image", "registry", "cacheonly")


def mapped(target: Defined, environ: Mapping[str, str]) -> tuple[Target | None, list[Wrong], list[str]]:
    """The target, what is wrong with it, and notes on what has no effect."""
    mapping = _Mapping(target, environ)
    found = mapping.target()
    return found, mapping.wrong, mapping.notes


class _Mapping:
    """One target; what is wrong and what is noted gathers while it is read."""

    def __init__(self, target: Defined, environ: Mapping[str, str]) -> None:
        self._target = target
        self._values = target.values
        self._environ = environ
        self.wrong: list[Wrong] = []
        self.notes: list[str] = []

    def target(self) -> Target | None:
        self._refuse_others()
        names = list(self._values.get("tags", ()))
        sending = _Sending(self, names)
        request = self._request()
        if request is None or self.wrong:
            return None
        links = tuple(
            (name, value.removeprefix(LINK))
            for name, value in self._values.get("contexts", {}).items()
            if value.startswith(LINK)
        )
        file = FileTarget(
            request=request,
            inline=self._values.get("dockerfile-inline"),
            labels=tuple(self._values.get("labels", {}).items()),
            annotations=tuple(self._annotations()),
            links=links,
        )
        if self.wrong:
            return None
        return Target(
            name=self._target.name,
            names=tuple(dict.fromkeys(names)),
            output=tuple(sending.output),
            stored=sending.stored,
            unsent=tuple(each.fault(f"{self._target.name}.output") for each in sending.wrong),
            file=file,
            shown=tuple(shown({"context": ".", "dockerfile": "Dockerfile", **self._values}).items()),
        )

    def cannot(self, name: str, why: str, fix: str = _LEAVE) -> None:
        """An attribute asks for what is not done here."""
        self.wrong.append(self.at(name, why, fix))

    def at(self, name: str, why: str, fix: str) -> Wrong:
        """What is wrong with an attribute."""
        return Wrong(self._target.where(name), f"The target {self._target.name!r}: {why}.", fix)

    def value(self, name: str) -> Any:  # noqa: ANN401 - as the attribute has it
        """Of an attribute; None where it is not there."""
        return self._values.get(name)

    @property
    def name(self) -> str:
        """The target's."""
        return self._target.name

    def _refuse_others(self) -> None:
        for name, why in _CANNOT.items():
            if self._values.get(name):
                self.cannot(name, f"`{name}`: {why}")
        for each in self._values.get("attest", ()):
            if not each.get("disabled"):
                self.cannot("attest", f"`attest`: an image has no {each['type']} attestation here")
        if self._values.get("call", "build") != "build":
            self.cannot("call", "`call`: a target is built here", "Leave it out; `bake --check` judges targets.")
        for each in self._values.get("entitlements", ()):
            if each != "network.host":
                self.cannot("entitlements", f"`entitlements`: {each!r} cannot be given to a build here")
        for name in ("cache-from", "cache-to"):
            if self._values.get(name):
                place = self._target.where(name)
                self.notes.append(
                    f"{place.path}:{place.line}: `{name}` of {self._target.name!r} has no effect here: stages are "
                    "cached in a store of their own."
                )

    def _request(self) -> FileRequest | None:
        context = self._path("context", self._values.get("context", "."))
        inline = self._values.get("dockerfile-inline")
        # With a base the working directory has no part in it.
        named = self._values.get("dockerfile") or "Dockerfile"
        if named == STDIN or self._values.get("context") == STDIN:
            self.cannot("context", "neither context nor Dockerfile is read from stdin", "Name files.")
        if named.startswith(_REMOTE):
            self.cannot("dockerfile", f"`dockerfile`: {named!r} is not fetched", "Fetch it first.")
        found = self._values
        network = found.get("network") or "default"
        if network not in _NETWORKS:
            self.cannot("network", f"`network`: {network!r} is unknown", f"Write one of {', '.join(_NETWORKS)}.")
        file = named.removeprefix(_HERE) if named.startswith(_HERE) else os.path.join(context, named)
        request = FileRequest()
        for name, option, value in (
            ("dockerfile", "file", STDIN if inline is not None else os.path.normpath(file)),
            ("context", "context", context),
            ("args", "build_args", found.get("args", {})),
            ("contexts", "build_contexts", dict(self._contexts())),
            ("target", "target", found.get("target") or None),
            ("platforms", "platform", found.get("platforms") or None),
            ("secret", "secrets", [self._secret(each) for each in found.get("secret", ())]),
            ("ssh", "ssh", [_ssh(each) for each in found.get("ssh", ())]),
            ("network", "network", None if network == "default" else network),
            ("no-cache", "no_cache", found.get("no-cache", False)),
            ("pull", "pull", found.get("pull", False)),
        ):
            if not value:
                continue
            try:
                request = request.with_options({option: value}, "A target")
            except ScratchError as error:
                self.wrong.append(self.at(name, f"`{name}`: {error.message.rstrip('.')}", error.fix))
        return request

    def _contexts(self) -> Iterator[tuple[str, str]]:
        """Named contexts but those of targets, which are known once these are built."""
        for name, value in self._values.get("contexts", {}).items():
            if not value:
                continue
            if value.startswith(LINK):
                # An image that is there in time; until then nobody asks for it.
                yield name, f"{SCRATCH_IMAGE}/nowhere:{value.removeprefix(LINK)}"
            elif value.startswith(_IMAGES):
                yield name, value
            else:
                yield name, self._path("contexts", value)

    def _path(self, name: str, value: str) -> str:
        """A path as the working directory has it."""
        if value.startswith(_REMOTE):
            self.cannot(name, f"`{name}`: {value!r} is not fetched", "Fetch it first, and name its directory.")
            return "."
        if value.startswith(_HERE):
            return os.path.normpath(value.removeprefix(_HERE) or ".")
        is_relative = self._environ.get(RELATIVE, "").lower() in ("1", "t", "true")
        return os.path.normpath(os.path.join(self._target.base if is_relative else "", value or "."))

    def _secret(self, entry: Mapping[str, str]) -> str:
        """As buildah has it: by its variable or its file, which its id is where neither is named."""
        name = entry.get("id", "")
        if "env" not in entry and "src" not in entry:
            return f"id={name},env={name}" if name in self._environ else f"id={name},src={name}"
        return ",".join(f"{key}={entry[key]}" for key in ("id", "src", "env") if key in entry)

    def _annotations(self) -> Iterator[tuple[str, str]]:
        for each in self._values.get("annotations", ()):
            name, equals, value = each.partition("=")
            levels, colon, key = name.rpartition(":")
            if not equals:
                self.cannot("annotations", f"`annotations`: {each!r} is not KEY=VALUE", "Write KEY=VALUE.")
            elif colon and levels != "manifest":
                self.cannot(
                    "annotations",
                    f"`annotations`: {each!r}: only manifests are annotated here",
                    "Leave out what is before the colon.",
                )
            else:
                yield key, value


def _ssh(entry: Mapping[str, Any]) -> str:
    paths = ",".join(entry.get("paths", ()))
    return f"{entry['id']}={paths}" if paths else str(entry["id"])


class _Sending:
    """Where a target's `output` sends it: outputs, and whether it is stored by its names."""

    def __init__(self, mapping: _Mapping, names: list[str]) -> None:
        self._mapping = mapping
        self._names = names
        self.output: list[str] = []
        self.wrong: list[Wrong] = []
        entries = mapping.value("output") or [{"type": "docker"}]
        self.stored = False
        for entry in entries:
            kind = entry["type"]
            if kind not in _KINDS:
                self._cannot(f"type={kind} is not an image", "Use type=oci, docker, image or registry.")
            else:
                getattr(self, f"_{kind}")(entry)

    def _cannot(self, why: str, fix: str) -> None:
        self.wrong.append(self._mapping.at("output", f"`output`: {why}", fix))

    def _fields(self, entry: Mapping[str, str], *known: str) -> None:
        for key, value in entry.items():
            if key not in ("type", *known) and not (key == "oci-mediatypes" and value == "true"):
                self._cannot(f"{key}={value} is not done here", "Leave it out; `--compress` says how layers are.")

    def _docker(self, entry: Mapping[str, str]) -> None:
        self._fields(entry, "dest", "name")
        self._named(entry)
        if "dest" in entry:
            self.output.append(f"docker-archive:{entry['dest']}")
        else:
            self.stored = True

    def _oci(self, entry: Mapping[str, str]) -> None:
        self._fields(entry, "dest", "name", "tar")
        self._named(entry)
        if "dest" not in entry or entry["dest"] == "-":
            self._cannot("type=oci has no file", "Add dest=FILE, or dest=DIR,tar=false.")
        elif entry.get("tar", "true") == "false":
            self.output.append(f"oci:{entry['dest']}:{self._tag()}")
        else:
            self.output.append(f"oci-archive:{entry['dest']}:{self._tag()}")

    def _image(self, entry: Mapping[str, str]) -> None:
        self._fields(entry, "name", "push")
        self._named(entry)
        if entry.get("push", "false") == "true":
            self._push()
        else:
            self.stored = True

    def _registry(self, entry: Mapping[str, str]) -> None:
        self._fields(entry, "name", "push")
        self._named(entry)
        self._push()

    def _cacheonly(self, entry: Mapping[str, str]) -> None:
        self._cannot(f"type={entry['type']} keeps no image", "Use `bake --check`, or name an output.")

    def _named(self, entry: Mapping[str, str]) -> None:
        self._names += [name for name in entry.get("name", "").split(",") if name]

    def _push(self) -> None:
        if not self._names:
            self._cannot("there is no name to push by", "Write `tags`.")
        self.output += [f"{REGISTRY}://{name}" for name in dict.fromkeys(self._names)]

    def _tag(self) -> str:
        """The name of the image in a layout."""
        last = self._names[0].rpartition("/")[2].partition("@")[0] if self._names else ""
        return last.partition(":")[2] or "latest"
