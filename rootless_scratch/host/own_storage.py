"""An image storage of ours with the driver vfs, for users without images where that of the settings does not work.

What the user has is left as it is: this one lies in the state directory, and is found by its storage.conf, which
is there once it was needed. Whoever removes that file goes back to the settings of this host.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rootless_scratch.host.environment import own_state, tool_environment, write_whole
from rootless_scratch.host.settings import STORAGE, Settings, Wants, otherwise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LISTS = ("images", "containers")


def with_own_storage(settings: Settings, rule: str) -> Settings | None:
    """The settings with a storage of ours, begun here, where this rule has kept the host's from being opened.

    None where it has nothing to do with storage, and where the user has images or containers already.
    """
    chosen = otherwise(settings, rule, Wants())
    if chosen is None or not chosen.vfs or has_storage(settings.variables):
        return None
    with suppress(OSError):
        directory = own_state(settings.variables)
        _begin(directory)
        found = tool_environment()
        return chosen.but(variables=found.variables, workarounds=found.workarounds)
    return None


def _begin(directory: str) -> None:
    root = json.dumps(f"{directory}/storage", ensure_ascii=False)
    # Without root, older ones have a key of their own for it.
    text = f'[storage]\ndriver = "vfs"\ngraphroot = {root}\nrootless_storage_path = {root}\n'
    write_whole(f"{directory}/storage.conf", os.fsencode(text))


def has_storage(variables: Mapping[str, str]) -> bool:
    """Whether this user has images or containers, with whatever driver: containers-storage.conf(5)."""
    usual = f"{variables.get('XDG_DATA_HOME') or variables['HOME'] + '/.local/share'}/containers/storage"
    for root in (usual, *named_roots(variables)):
        try:
            names = os.listdir(root)
        except FileNotFoundError:
            continue
        except OSError:
            return True
        for name in names:
            kind = name.rpartition("-")[2]
            if kind in _LISTS and not _is_empty(f"{root}/{name}/{kind}.json"):
                return True
    return False


def _is_empty(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return not json.load(file)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def named_roots(variables: Mapping[str, str]) -> Iterator[str]:
    """Where storage may lie in place of the usual directory: as the files of settings name it."""
    config = variables.get("XDG_CONFIG_HOME") or f"{variables['HOME']}/.config"
    usual = (f"{config}/containers/storage.conf", "/etc/containers/storage.conf")
    for path in (variables[STORAGE],) if variables.get(STORAGE) else usual:
        table = _table(path)
        for key in ("graphroot", "rootless_storage_path", "imagestore"):
            named = table.get(key)
            if not isinstance(named, str):
                continue
            root = _expanded(named, variables)
            # That of root is nobody else's.
            if root.startswith("/") and os.access(root, os.W_OK):
                yield root


def _expanded(path: str, variables: Mapping[str, str]) -> str:
    """A path of storage.conf, in which tools replace variables, and $UID, which need not be one."""
    known = {**variables, "UID": str(os.getuid())}
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda found: known.get(found[1] or found[2], ""), path)


def _table(path: str) -> Mapping[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file).get("storage")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
