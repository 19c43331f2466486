"""The `build:` sections of compose files as targets; what else services have is not looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.attributes import ATTRIBUTES, Defined, once
from rootless_scratch.bakefiles.extra import yaml_library
from rootless_scratch.bakefiles.interpolation import interpolated
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.values import Misfit, kind_of, text, truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FIX = "See https://docs.docker.com/reference/compose-file/build/ and docs/bake.md."

_PLAIN = {
    "context": "context",
    "dockerfile": "dockerfile",
    "dockerfile_inline": "dockerfile-inline",
    "target": "target",
    "network": "network",
    "shm_size": "shm-size",
    "no_cache": "no-cache",
    "pull": "pull",
    "cache_from": "cache-from",
    "cache_to": "cache-to",
    "platforms": "platforms",
    "tags": "tags",
    "entitlements": "entitlements",
}
"""Keys of `build:` whose values are those of an attribute."""

_MAPS = {"args": "args", "labels": "labels", "additional_contexts": "contexts", "extra_hosts": "extra-hosts"}
_OWN = ("ssh", "secrets", "ulimits", "provenance", "sbom", "privileged", "isolation", "x-bake")
_BAKE = ("tags", "cache-from", "cache-to", "secret", "ssh", "platforms", "output", "no-cache-filter")
_SERVICE = ("image", "build", "environment", "extends")


class Composed:
    """The services of several files, each added to those before; keys have the places where they stand."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._services: dict[str, Any] = {}
        self._secrets: dict[str, Any] = {}
        self._places: dict[tuple[str, ...], Position] = {}
        self._base = ""

    def add(self, content: str, path: str) -> None:
        """A file; raises Wrong, SourceError."""
        yaml = yaml_library()
        try:
            loader = yaml.SafeLoader(content)
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = Position(path=path, line=1 + getattr(mark, "line", 0), column=1 + getattr(mark, "column", 0))
            reason = getattr(error, "problem", None) or "it cannot be read"
            raise Wrong(where, f"This is not YAML: {reason}.", _FIX) from error
        except (RecursionError, ValueError) as error:
            raise Wrong(Position(path=path), f"This is not YAML: {error}.", _FIX) from error
        if not isinstance(document, dict) or not isinstance(document.get("services", {}), dict):
            raise Wrong(Position(path=path), "This is not a compose file: it has no services.", _FIX)
        places = dict(_marks(yaml, node, path, ()))
        if "include" in document:
            raise Wrong(places[("include",)], "`include` is not supported here.", "Name each file by -f.")
        if not self._base:
            self._base = path.rpartition("/")[0]
        self._places |= places
        for name, service in (document.get("services") or {}).items():
            self._services[name] = _merged(self._services.get(name) or {}, _relevant(service or {}))
        self._secrets |= document.get("secrets") or {}

    def targets(self) -> Iterator[tuple[str, Defined | None, list[Wrong]]]:
        """The service of each name that has a `build:`, as a target, and what is wrong with it."""
        for name in self._services:
            wrong: list[Wrong] = []
            try:
                service = self._plain(self._extended(name, ()), ("services", name))
                if service.get("build") is None:
                    continue
                yield name, _Service(name, service, self).target(wrong), wrong
            except Wrong as error:
                yield name, None, [*wrong, error]

    def place(self, *keys: str) -> Position:
        """Where a key stands, or the nearest above it."""
        while keys and keys not in self._places:
            keys = keys[:-1]
        return self._places.get(keys, Position())

    @property
    def base(self) -> str:
        """The directory of the first file."""
        return self._base

    @property
    def variables(self) -> Mapping[str, str]:
        """What variables stand for."""
        return self._variables

    def secret(self, name: str) -> dict[str, Any]:
        """What the file says of a secret; empty where it says nothing."""
        found = self._plain(self._secrets.get(name) or {}, ("secrets", name))
        return found if isinstance(found, dict) else {}

    def _extended(self, name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """A service with what it extends; raises Wrong."""
        service = self._services[name]
        extends = service.get("extends")
        if extends is None:
            return dict(service)
        place = self.place("services", name, "extends")
        if isinstance(extends, dict) and "file" in extends:
            raise Wrong(place, "`extends` of another file is not supported here.", "Name that file by -f before.")
        other = str(extends.get("service") if isinstance(extends, dict) else extends)
        if other not in self._services:
            raise Wrong(place, f"There is no service {other!r}.", "Name one of this file.")
        if other in (*seen, name):
            raise Wrong(place, f"The service {other!r} extends itself.", "Leave one `extends` out.")
        base = self._extended(other, (*seen, name))
        own = {key: value for key, value in service.items() if key != "extends"}
        found: dict[str, Any] = _merged(base, own)
        return found

    def _plain(self, value: Any, keys: tuple[str, ...]) -> Any:  # noqa: ANN401 - a value of YAML
        """The value with its variables; raises Wrong."""
        if isinstance(value, str):
            try:
                return interpolated(value, self._variables)
            except Misfit as error:
                raise Wrong(self.place(*keys), f"{keys[-1]}: {error}.", _FIX) from error
            except RecursionError as error:
                raise Wrong(self.place(*keys), f"{keys[-1]}: this is nested too deeply.", _FIX) from error
        if isinstance(value, dict):
            return {key: self._plain(each, (*keys, str(key))) for key, each in value.items()}
        if isinstance(value, list):
            return [self._plain(each, keys) for each in value]
        return value


def _marks(yaml: Any, node: Any, path: str, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Position]]:  # noqa: ANN401
    """The places of the keys down to those of build sections."""
    if not isinstance(node, yaml.MappingNode) or len(keys) > 3:  # noqa: PLR2004 - services, a name, build, a key
        return
    for key, value in node.value:
        below = (*keys, str(key.value))
        yield below, Position(path=path, line=key.start_mark.line + 1, column=key.start_mark.column + 1)
        yield from _marks(yaml, value, path, below)


def _relevant(service: Any) -> dict[str, Any]:  # noqa: ANN401 - a value of YAML
    if not isinstance(service, dict):
        return {}
    found = {key: service[key] for key in _SERVICE if key in service}
    if isinstance(found.get("build"), str):
        found["build"] = {"context": found["build"]}
    if isinstance(found.get("build"), dict):
        for key in (*_MAPS, "ulimits"):
            if isinstance(found["build"].get(key), list):
                found["build"] = {
                    **found["build"],
                    key: _map_of(found["build"][key], ":" if key == "extra_hosts" else "="),
                }
    if isinstance(found.get("environment"), list):
        found["environment"] = _map_of(found["environment"])
    return found


def _map_of(values: Sequence[Any], separator: str = "=") -> dict[str, Any]:
    """A list of NAME=VALUE as a map; what has no value is null there."""
    found: dict[str, Any] = {}
    for each in values:
        name, equals, value = str(each).partition("=" if "=" in str(each) or separator == "=" else separator)
        found[name] = value if equals else None
    return found


def _merged(one: Any, other: Any) -> Any:  # noqa: ANN401 - values of YAML
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{key: _merged(one[key], value) if key in one else value for key, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list):
        return once([*one, *other])
    return other


class _Service:
    """One service, whose variables have their values."""

    def __init__(self, name: str, service: dict[str, Any], composed: Composed) -> None:
        self._name = name
        self._service = service
        self._composed = composed
        self._values: dict[str, Any] = {}

    def target(self, wrong: list[Wrong]) -> Defined:
        build = self._service["build"]
        if not isinstance(build, dict):
            raise Wrong(self._place(), "`build` is a path or a map.", _FIX)
        places = {}
        for key, value in build.items():
            name = _PLAIN.get(key) or _MAPS.get(key) or key
            places[name] = self._place(key)
            try:
                self._take(key, value)
            except Misfit as error:
                wrong.append(Wrong(self._place(key), f"build.{key}: {error}.", _FIX))
            except Wrong as error:
                wrong.append(error)
        if self._service.get("image") and not self._values.get("tags"):
            self._values["tags"] = [str(self._service["image"])]
            places["tags"] = self._composed.place("services", self._name, "image")
        return Defined(
            name=self._name.replace(".", "_"),
            values=self._values,
            places={"secret": self._place("secrets"), "attest": self._place(), **places},
            place=self._composed.place("services", self._name),
            base=self._composed.base,
        )

    def _place(self, *keys: str) -> Position:
        return self._composed.place("services", self._name, "build", *keys)

    def _take(self, key: str, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if value is None:
            return
        if key in _PLAIN:
            name = _PLAIN[key]
            one = isinstance(value, bool) and name in ("no-cache", "pull")
            found = ATTRIBUTES[name].read(value)
            if not one or found:
                self._values[name] = found
        elif key in _MAPS:
            self._values[_MAPS[key]] = self._map(key, value)
        elif key in _OWN:
            getattr(self, f"_take_{key.replace('-', '_')}")(value)
        elif not key.startswith("x-"):
            raise Wrong(self._place(key), f"`build` has no key {key!r}.", _FIX)

    def _map(self, key: str, value: Any) -> dict[str, str]:  # noqa: ANN401 - a value of YAML
        if not isinstance(value, dict):
            raise Misfit(f"a map or a list is wanted, and it is a {kind_of(value)}")
        if key == "args":
            environment = {**self._composed.variables, **(self._service.get("environment") or {})}
            value = {name: environment.get(name) if each is None else each for name, each in value.items()}
            return {name: text(each) for name, each in value.items() if each is not None}
        if key == "additional_contexts":
            return {name: _linked(text(each)) for name, each in value.items()}
        if key == "extra_hosts":
            return {name: text(each) for name, each in value.items()}
        return {name: "" if each is None else text(each) for name, each in value.items()}

    def _take_ssh(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if isinstance(value, dict):
            value = [f"{name}={path}" if path else name for name, path in value.items()]
        self._values["ssh"] = ATTRIBUTES["ssh"].read(value)

    def _take_secrets(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        found = []
        for each in value if isinstance(value, list) else [value]:
            name = str(each.get("source") if isinstance(each, dict) else each)
            known = self._composed.secret(name)
            if known.get("external"):
                raise Misfit(f"the secret {name!r} is external, and only files and variables are read")
            entry = {"id": name, "src": known.get("file"), "env": known.get("environment")}
            found.append({key: part for key, part in entry.items() if part})
        self._values["secret"] = found

    def _take_ulimits(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        found = []
        for name, limit in (value if isinstance(value, dict) else {}).items():
            soft, hard = (limit.get("soft"), limit.get("hard")) if isinstance(limit, dict) else (limit, limit)
            found.append(f"{name}={soft}:{hard}")
        self._values["ulimits"] = found

    def _attest(self, kind: str, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if isinstance(value, bool) or str(value) in ("true", "false"):
            entry: dict[str, Any] = {"type": kind} if truth(value) else {"type": kind, "disabled": True}
        else:
            (entry,) = ATTRIBUTES["attest"].read([f"type={kind},{value}"])
        self._values["attest"] = [*self._values.get("attest", ()), entry]

    def _take_provenance(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        self._attest("provenance", value)

    def _take_sbom(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        self._attest("sbom", value)

    def _take_privileged(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if truth(value):
            raise Misfit("a build here has no more rights than its user")

    def _take_isolation(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if value != "default":
            raise Misfit("there is no other isolation than the default one")

    def _take_x_bake(self, value: Any) -> None:  # noqa: ANN401 - a value of YAML
        if not isinstance(value, dict):
            raise Misfit(f"a map is wanted, and it is a {kind_of(value)}")
        for key, each in value.items():
            if key in _BAKE:
                found = ATTRIBUTES[key].read(each.split() if isinstance(each, str) else each)
                self._values[key] = once([*self._values.get(key, ()), *found])
            elif key in ("pull", "no-cache"):
                self._values[key] = truth(each)
            elif key == "contexts":
                contexts = {name: _linked(text(one)) for name, one in each.items()}
                self._values[key] = {**contexts, **self._values.get(key, {})}
            else:
                raise Misfit(f"`x-bake` has no key {key!r}")


def _linked(value: str) -> str:
    """A named context, where a service is a target."""
    kind, colon, name = value.partition(":")
    return f"target:{name.replace('.', '_')}" if colon and kind in ("service", "target") else value
