"""What containers.conf would do to every container, and the same without what weakens a hardened run.

containers.conf(5): files in their order, each of which overrides keys of those before it; CONTAINERS_CONF names
one that is read in place of all. It is read before a service is started, so what is slow waits until it is needed.
"""

from __future__ import annotations

import os

from rootless_scratch.data import Data
from rootless_scratch.host.environment import own_state, write_whole

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import Any

    from rootless_scratch.host.settings import ConfigurationValue

_TABLE = "containers"
_ONE, _LAST = "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"
_OWN_NAMESPACES = ("", "private", "shareable", "none")
_USUAL_ENV = ("PATH=", "TERM=")
_WRITE_OF_OTHERS = 0o022


def _is_on(value: object) -> bool:
    return bool(value)


def _is_shared(value: object) -> bool:
    return value not in _OWN_NAMESPACES


def _is_unconfined(value: object) -> bool:
    return value == "unconfined"


def _is_loose(value: object) -> bool:
    try:
        return int(str(value), 8) & _WRITE_OF_OTHERS != _WRITE_OF_OTHERS
    except ValueError:
        return False


_WEAKENS = {
    **dict.fromkeys(("pidns", "ipcns", "utsns", "cgroupns"), _is_shared),
    **dict.fromkeys(("volumes", "mounts", "devices", "annotations"), _is_on),
    **dict.fromkeys(("privileged", "env_host", "init"), _is_on),
    **dict.fromkeys(("seccomp_profile", "apparmor_profile"), _is_unconfined),
    "userns": lambda value: value not in ("", "host"),
    "env": lambda value: any(not str(each).startswith(_USUAL_ENV) for each in value),
    "label": lambda value: value is False,
    "umask": _is_loose,
}
"""Keys that open a container, or put into it what nobody asked for, each with the values that do so."""


class Hardened(Data):
    """A file for CONTAINERS_CONF, and the keys of containers.conf that it leaves out."""

    path: str
    dropped: tuple[str, ...]

    @property
    def note(self) -> str:
        """One sentence for the user, empty where nothing is left out."""
        if not self.dropped:
            return ""
        keys = ", ".join(self.dropped)
        return f"What containers.conf sets for every container does not reach a hardened run: {keys}."


def hardened(
    variables: Mapping[str, str], *, rootful: bool, rows: Sequence[tuple[str, str, ConfigurationValue]] = ()
) -> Hardened | None:
    """The configuration without what weakens a run and with `rows` of ours, each a table, a key and its value.

    None where nothing is to be changed, and where a file cannot be read: podman says why. `variables` are those of
    tools. Raises OSError where it cannot be written.
    """
    merged, dropped = _read(variables, rootful=rootful, whole=bool(rows))
    if not (dropped or rows):
        return None
    for key in dropped:
        del merged[_TABLE][key]
    for table, key, value in rows:
        _merge(merged, {table: {key: list(value) if isinstance(value, tuple) else value}})
    # One that a container was started with is read again at its end.
    return Hardened(_written("\n".join(_lines(merged)) + "\n", variables), dropped)


def weakening(variables: Mapping[str, str], *, rootful: bool) -> tuple[str, ...]:
    """The keys of containers.conf that weaken a run, as they stand there."""
    return _read(variables, rootful=rootful)[1]


def has_keyring(variables: Mapping[str, str], *, rootful: bool) -> bool:
    """Whether each container takes a kernel key, as it does by default."""
    return _configured(variables, _TABLE, "keyring", rootful=rootful) is not False


def runtime_named(variables: Mapping[str, str], *, rootful: bool) -> str | None:
    """The OCI runtime that the configuration names; None where podman takes its own default."""
    found = _configured(variables, "engine", "runtime", rootful=rootful)
    return found if isinstance(found, str) and found else None


def _configured(variables: Mapping[str, str], table: str, key: str, *, rootful: bool) -> object:
    """The value of a key; None where there is none, and where the files cannot be read."""
    texts = [_text(path) for path in _files(variables, rootful=rootful)]
    if not any(_may_set(text, (key,)) for text in texts):
        return None
    import tomllib

    merged: dict[str, Any] = {}
    try:
        for text in texts:
            _merge(merged, tomllib.loads(text))
    except ValueError:
        return None
    found = merged.get(table)
    return found.get(key) if isinstance(found, dict) else None


def _read(
    variables: Mapping[str, str], *, rootful: bool, whole: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """All files as one, and keys that weaken a run; without `whole` nothing is read as TOML in vain."""
    merged: dict[str, Any] = {}
    texts = [_text(path) for path in _files(variables, rootful=rootful)]
    if not (whole or any(_may_set(text, _WEAKENS) for text in texts)):
        return merged, ()
    import tomllib

    try:
        for text in texts:
            _merge(merged, tomllib.loads(text))
    except ValueError:
        return merged, ()
    containers = merged.get(_TABLE)
    if not isinstance(containers, dict):
        return merged, ()
    return merged, tuple(
        key for key, weakens in _WEAKENS.items() if key in containers and weakens(containers[key])
    )


def without_override(variables: Mapping[str, str], found: Hardened) -> dict[str, str]:
    """The environment of a service that reads the file."""
    return {name: value for name, value in variables.items() if name != _LAST} | {_ONE: found.path}


def _files(variables: Mapping[str, str], *, rootful: bool) -> Iterator[str]:
    if variables.get(_ONE):
        yield variables[_ONE]
    else:
        config = variables.get("XDG_CONFIG_HOME") or f"{variables.get('HOME', '')}/.config"
        yield "/usr/share/containers/containers.conf"
        for place in ("/etc", *(() if rootful else (config,))):
            path = f"{place}/containers/containers.conf"
            yield path
            yield from _snippets(f"{path}.d")
    if variables.get(_LAST):
        yield variables[_LAST]


def _snippets(directory: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    yield from (f"{directory}/{name}" for name in names if name.endswith(".conf"))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _may_set(text: str, keys: Collection[str]) -> bool:
    """Whether a key of interest may be set there; a file of comments is not parsed."""
    lines = (line.strip() for line in text.splitlines())
    return any(key in line for line in lines if line and line[0] != "#" for key in keys)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = into.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list) and {"append": True} in value:
            # podman 5: added to what the files before have.
            into[key] = [
                *(known if isinstance(known, list) else ()),
                *(each for each in value if each != {"append": True}),
            ]
        else:
            into[key] = value


def _lines(table: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """A table in TOML 1.0, values first."""
    import json

    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{json.dumps(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            quoted = json.dumps(key)
            yield from _lines(value, f"{name}.{quoted}" if name else quoted)


def _value(value: object) -> str:
    import json

    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, (str, bool)):
        # JSON's escapes are TOML's, but for a DEL, which it leaves.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _written(text: str, variables: Mapping[str, str]) -> str:
    """The path of a file with this text, by whose sum it is called; other contents stay for who reads them."""
    from hashlib import sha256

    content = text.encode("utf-8", "replace")
    directory = own_state(variables, "conf")
    path = f"{directory}/{sha256(content).hexdigest()[:16]}.conf"
    try:
        with open(path, "rb") as file:
            if file.read() == content:
                return path
    except FileNotFoundError:
        pass
    write_whole(path, content)
    return path
