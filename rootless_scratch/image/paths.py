"""Paths inside an image: absolute, normalised, and never outside it (docs/design.md)."""

from __future__ import annotations

from rootless_scratch.errors import SpecError, UsageError

_NAME_MAX = 255
PATH_MAX = 4096
"""The kernel takes paths and links of fewer bytes: path_resolution(7)."""

_CHARACTER = 4
"""The most bytes of a character in UTF-8; most names need not be encoded to see that they are short enough."""


def image_path(path: str, *, what: str = "path") -> str:
    """The normal form of an absolute path inside an image; `/` for its root.

    Raises UsageError for what is relative, SpecError for what climbs with `..`, holds NUL, is longer than Linux
    allows, or would be read as a whiteout (OCI image-spec v1.1, layer.md, "Whiteouts").
    """
    require_file_text(path)
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not path.startswith("/"):
        absolute = "/" + "/".join(name for name in names if name != "..")
        raise UsageError(
            f"The {what} {path!r} inside the image is not absolute.", fix=f"Write it as {absolute!r}."
        )
    for name in names:
        if name == "..":
            raise SpecError(f"The {what} {path!r} inside the image contains `..`.", fix="Write the intended path.")
        if name.startswith(".wh."):
            raise SpecError(
                f"The {what} {path!r} has a name that starts with `.wh.`, which marks deletions in layers.",
                fix="Give the file another name in the image.",
            )
        if _CHARACTER * len(name) > _NAME_MAX and len(encoded(name)) > _NAME_MAX:
            raise SpecError(
                f"The {what} {path[:60]!r}... has a name of more than {_NAME_MAX} bytes.",
                fix="Shorten the name; Linux cannot open it.",
            )
    normal = "/" + "/".join(names)
    if _CHARACTER * len(normal) >= PATH_MAX and len(encoded(normal)) >= PATH_MAX:
        raise SpecError(
            f"The {what} {path[:60]!r}... has {PATH_MAX} bytes or more.",
            fix="Shorten it; Linux cannot open it.",
        )
    return normal


def path_below(directory: str, name: str) -> str:
    """The same of a name that a directory of the host holds; `directory` is in normal form, "" for the root."""
    path = f"{directory}/{name}"
    if name.startswith(".wh.") or _CHARACTER * len(path) >= PATH_MAX:
        return image_path(path, what="destination")
    return path


def require_file_text(text: str) -> None:
    """Refuse what no file name and no link can hold: NUL, and characters that stand for no byte."""
    if "\0" in text:
        raise SpecError(f"{text!r} contains a NUL byte.", fix="Remove the NUL byte.")
    try:
        encoded(text)
    except UnicodeEncodeError as error:
        raise SpecError(
            f"{text!r} has characters that no file name can have.", fix="Write it in UTF-8."
        ) from error


def encoded(text: str) -> bytes:
    """The bytes of a name; names that are not UTF-8 are carried as surrogates (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether `text` can stand in an image config, which is JSON."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
