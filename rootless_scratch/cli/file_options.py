"""The options of `build -f`, and what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import click_option
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.image.kinds import options_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SHARED = ("context", "platform")
"""CONTEXT is where PROGRAM is else, and `--platform` is an option of every image, with a program behind it."""

_OWN = tuple(option for name, option in FileRequest.options.items() if name not in _SHARED)


_OF_CHECK = tuple(
    FileRequest.options[name]
    for name in ("file", "build_args", "build_contexts", "target", "compat", "ignorefile")
)
"""Those that matter where nothing is built."""

_OF_IMAGES = {
    "authfile": "--authfile",
    "tls_verify": "--tls-verify",
    "cert_dir": "--cert-dir",
    "limits": "--limit",
}
"""Those that `check` has for images."""


def check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `check -f`; `check_request_from` reads them."""
    for option in reversed(_OF_CHECK):
        how = {"help": "Judge this Containerfile; `-`: stdin."} if option.name == "file" else {}
        function = click_option(option.but(**how))(function)
    return function


def check_request_from(values: dict[str, Any], contexts: Sequence[str]) -> FileRequest | None:
    """What `check -f` was asked, which is taken out of `values`; None without `-f`. Raises UsageError."""
    found = {each.name: values.pop(each.name) for each in _OF_CHECK}
    if found["file"] is None:
        alone = next((each for each in _OF_CHECK if found[each.name]), None)
        if alone is not None:
            raise click.UsageError(f"{alone.flags[-1]} has no effect without -f FILE.")
        return None
    for name, flag in _OF_IMAGES.items():
        if values[name] is not None and values[name] != ():
            raise click.UsageError(f"{flag} has no effect with -f: it is for images that are read.")
    request = options_set(_OF_CHECK, found)
    if len(contexts) > 1:
        raise click.UsageError("Beside -f there is one argument, CONTEXT.")
    if contexts:
        request["context"] = contexts[0]
    if values["platform"]:
        request["platform"] = values["platform"]
    return FileRequest().with_options(request, "A Containerfile")


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; `request_from` reads them."""
    for option in reversed(_OWN):
        function = click_option(option)(function)
    return function


def request_from(values: dict[str, Any]) -> tuple[FileRequest, dict[str, Any]] | None:
    """What `-f` was asked, and the options of the image by their names in Python; None without `-f`.

    Raises UsageError.
    """
    from rootless_scratch.image.spec import Spec

    if values["file"] is None:
        alone = next((each for each in _OWN if values[each.name]), None)
        if alone is not None:
            raise click.UsageError(f"{alone.flags[-1]} has no effect without -f FILE.")
        return None
    contexts = values["programs"]
    if len(contexts) > 1:
        raise click.UsageError("Beside -f there is one argument, CONTEXT.")
    if values["spec_file"] is not None:
        raise click.UsageError("-f and --spec are two descriptions of one image: name one of them.")
    found = options_set(_OWN, values)
    if contexts:
        found["context"] = contexts[0]
    if values["platforms"]:
        found["platform"] = list(values["platforms"])
    request = FileRequest().with_options(found, "A Containerfile")
    image = [each for each in Spec.options.values() if each.name not in ("programs", "platforms")]
    return request, options_set(image, values)
