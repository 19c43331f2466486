"""The syntax of the values that say what goes into an image, read one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rootless_scratch.errors import SpecError, UsageError, did_you_mean
from rootless_scratch.image.arguments import pairs, texts
from rootless_scratch.image.spec import Copy, Essential, NewDirectory, NewSymlink

SBOM_FORMATS = ("spdx", "cyclonedx")

ESSENTIALS = (
    "auto",
    "ca-certificates",
    "locale",
    "mime",
    "nonroot",
    "nsswitch",
    "services",
    "terminfo",
    "tmp",
    "tzdata",
)
"""What `--with` knows; image/plan/essentials.py says what each brings."""

_WITHOUT_VALUES = ("auto", "nonroot", "nsswitch", "tmp")
_FROM_A_PATH = ("locale", "mime", "services")

_KEYS = ("mode=", "uid=", "gid=", "cap=", "xattrs=")
_OPTIONS = r"[A-Za-z]+=[^:/]*\Z"
_KEEP = "keep"
_ID_LIMIT = 2**32 - 1
_MODE_LIMIT = 0o7777
_SHOWN = 200


def parse_program(text: str) -> Copy:
    """Read `PROGRAM[:DEST]`; DEST is absolute, so the last `:/` separates."""
    source, separator, rest = text.rpartition(":/")
    if not separator or not source:
        return Copy(source=text)
    destination, separator, last = rest.rpartition(":")
    if separator and re.match(_OPTIONS, last) and last.startswith(_KEYS):
        raise UsageError(
            f"{last!r} in {text!r} is an option of an entry, and programs take none.",
            fix=f"Add it by `--copy {text}`, and name it in --entrypoint: '[\"/{destination}\"]'.",
        )
    return Copy(source=source, destination="/" + rest)


def parse_platform_program(text: str) -> tuple[str, Copy]:
    """Read `OS/ARCH[/VARIANT]=PROGRAM[:DEST]`; raises UsageError."""
    platform, separator, program = text.partition("=")
    if not separator or not program:
        raise UsageError(
            f"--platform {text!r} does not name a program.",
            fix="Write it as `--platform linux/arm64=PROGRAM`; `:DEST` may follow.",
        )
    from rootless_scratch.elf.platforms import parse_platform

    return str(parse_platform(platform)), parse_program(program)


class _FlagValues(tuple[str, ...]):
    """Values of the command line, where Python and files have a mapping."""

    __slots__ = ()


def platform_values(_flag: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values of `--platform`, which may name one platform more than once."""
    return _FlagValues(values)


def platforms_of(name: str, value: object) -> tuple[tuple[str, Copy], ...]:
    """A program for each platform, of a mapping or of `platform_values`; raises UsageError."""
    values = value if isinstance(value, _FlagValues) else (f"{key}={path}" for key, path in pairs(name, value))
    return tuple(map(parse_platform_program, values))


def parse_copy(text: str) -> Copy:
    """Read `SRC:DST[:mode=0755,uid=0,gid=0,cap=cap_net_raw+ep,xattrs=keep]`; raises UsageError.

    `mode=keep` is the mode on the host.
    """
    body, options = _split_options(text)
    source, separator, rest = body.rpartition(":/")
    if not separator or not source:
        raise UsageError(
            f"--copy {text!r} does not say where the copy goes.",
            fix="Write it as SRC:/absolute/path/in/the/image, e.g. `--copy conf:/etc/app.conf`.",
        )
    capabilities = options.get("cap")
    if capabilities is not None:
        _require_capabilities(text, capabilities)
    keeps_mode = options.get("mode") == _KEEP
    if keeps_mode:
        del options["mode"]
    if options.get("xattrs", _KEEP) != _KEEP:
        raise UsageError(f"xattrs= in {text!r} is not `keep`.", fix="Write it as xattrs=keep, or leave it out.")
    mode, uid, gid = _numbers(text, options)
    return Copy(
        source=source,
        destination="/" + rest,
        mode=mode,
        uid=uid,
        gid=gid,
        capabilities=capabilities,
        keep_mode=keeps_mode,
        keep_xattrs="xattrs" in options,
    )


def parse_directory(text: str) -> NewDirectory:
    """Read `PATH[:mode=1777,uid=0,gid=0]`; raises UsageError."""
    path, options = _split_options(text)
    if "cap" in options:
        raise UsageError(f"--mkdir {text!r}: directories have no capabilities.", fix="Leave `cap=` out.")
    if "xattrs" in options:
        raise UsageError(f"--mkdir {text!r}: a new directory has no attributes.", fix="Leave `xattrs=` out.")
    mode, uid, gid = _numbers(text, options)
    return NewDirectory(path=path, mode=0o755 if mode is None else mode, uid=uid, gid=gid)


def parse_symlink(text: str) -> NewSymlink:
    """Read `TARGET:PATH`; PATH is absolute, so the last `:/` separates. Raises UsageError."""
    target, separator, rest = text.rpartition(":/")
    if not separator or not target:
        raise UsageError(
            f"--symlink {text!r} does not say where the link goes.",
            fix="Write it as TARGET:/absolute/path/of/the/link, e.g. `--symlink /usr/bin/busybox:/bin/sh`.",
        )
    return NewSymlink(path="/" + rest, target=target)


def parse_pattern(text: str) -> str:
    """Read a pattern of what a copied directory leaves out; raises UsageError."""
    from rootless_scratch.image.exclusions import require_pattern

    return require_pattern(text)


def essentials_of(name: str, value: object) -> tuple[Essential, ...]:
    """All essentials of one value or of several; raises UsageError."""
    values = (value,) if isinstance(value, str) else texts(name, value)
    return tuple(found for each in values for found in parse_essentials(each))


def sboms_of(name: str, value: object) -> tuple[tuple[str, str | None], ...]:
    """Read `FORMAT[:FILE]`, one or several; raises UsageError."""
    values = (value,) if isinstance(value, str) else texts(name, value)
    return tuple(dict.fromkeys(map(_sbom, values)))


def sbom_format(text: str) -> str:
    """Read the name of a format; raises UsageError."""
    if text not in SBOM_FORMATS:
        raise UsageError(
            f"There is no format {text!r} of SBOMs here.", fix=f"The formats are {' and '.join(SBOM_FORMATS)}."
        )
    return text


def _sbom(text: str) -> tuple[str, str | None]:
    form, colon, file = text.partition(":")
    form = sbom_format(form)
    if colon and file in ("", "-"):
        raise UsageError(
            f"The SBOM {text!r} names no file.",
            fix="Name one, or print it with `rootless-scratch sbom IMAGE` once the image is built.",
        )
    return form, file or None


def parse_essentials(value: str) -> tuple[Essential, ...]:
    """Read `NAME[=VALUE[:VALUE]...][,NAME...]`; raises UsageError."""
    found = []
    for item in value.split(","):
        name, separator, rest = item.partition("=")
        values = tuple(rest.split(":")) if separator else ()
        if name not in ESSENTIALS and name not in _recipes():
            known = (*ESSENTIALS, *_recipes())
            raise UsageError(
                f"--with {value!r}: there is no essential {name!r}.",
                fix=did_you_mean(name, known, otherwise=f"There are {', '.join(known)}."),
            )
        if "" in values:
            raise UsageError(
                f"--with {value!r}: a value of {name} is empty.",
                fix=f"Write it as `--with {name}=VALUE:VALUE`, or leave the `=` out.",
            )
        require_values(name, values)
        found.append(Essential(name=name, values=values))
    return tuple(found)


def _recipes() -> tuple[str, ...]:
    from rootless_scratch.image.recipes import recipe_names

    return recipe_names()


def require_values(name: str, values: tuple[str, ...]) -> None:
    """Refuse values that an essential cannot have; raises UsageError."""
    if name in _WITHOUT_VALUES and values:
        raise UsageError(f"--with {name}={values[0]}: {name} takes no value.", fix=f"Write `--with {name}`.")
    if name in _FROM_A_PATH and not all(value.startswith(("/", ".")) for value in values if value):
        raise UsageError(
            f"--with {name}={values[0]}: {name} has no parts to choose from.",
            fix=f"Leave the value out, or name a path that begins with `/` or `.`: `--with {name}=./FILES`.",
        )


def parse_pair(flag: str, pair: str) -> tuple[str, str]:
    """Read `K=V`; raises UsageError."""
    key, separator, value = pair.partition("=")
    if not separator or not key:
        raise UsageError(f"{flag} {pair!r} is not of the form K=V.", fix=f"Write it as `{flag} NAME=value`.")
    return key, value


def parse_pairs(flag: str, values: Iterable[str]) -> dict[str, str]:
    """Read `K=V` of several values; raises UsageError."""
    return dict(parse_pair(flag, pair) for pair in values)


def parse_exec_form(flag: str, text: str) -> tuple[str, ...]:
    """Read a JSON array of strings, the exec form; raises UsageError, also for the shell form."""
    import msgspec

    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=tuple[str, ...])
    except (msgspec.MsgspecError, UnicodeError) as error:
        import json
        import shlex

        try:
            decoded = json.loads(text)
        except (ValueError, RecursionError):
            decoded = None
        argv = ["/program", "--option"] if text.lstrip().startswith(("[", "{")) else _split(text)
        if isinstance(decoded, list):
            argv = [argument if isinstance(argument, str) else json.dumps(argument) for argument in decoded]
        raise UsageError(
            f"{flag} {text!r} is not a JSON array of strings; a scratch image has no shell to split a line.",
            fix=f"Write it in exec form: {flag} {shlex.quote(json.dumps(argv))}",
        ) from error


def _split(text: str) -> list[str]:
    import shlex

    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    """Names may hold colons and equals signs; what looks like an option at the end is one, or is refused."""
    body, separator, last = text.rpartition(":")
    if not separator or not re.match(_OPTIONS, last):
        return text, {}
    before = body.rpartition(":")[2]
    if re.match(_OPTIONS, before) and before.startswith(_KEYS):
        raise UsageError(
            f"{before!r} and {last!r} in {text!r} are not separated by commas.",
            fix=f"Write them as {f'{before},{last}'!r}.",
        )
    options: dict[str, str] = {}
    for item in _items(last):
        key, separator, value = item.partition("=")
        if key + separator not in _KEYS or key in options:
            raise UsageError(
                f"{item!r} in {text!r} is not an option of an entry, or is repeated.",
                fix="The options are mode=, uid=, gid=, cap= and xattrs=, separated by commas; after a name that "
                "looks like one, add e.g. `:mode=0644`.",
            )
        options[key] = value
    return body, options


def _items(text: str) -> list[str]:
    """Split at commas, but not inside a list of capabilities (`cap=cap_chown,cap_kill+ep`)."""
    return re.split(r",(?!(?i:cap_))", text)


def _require_capabilities(text: str, capabilities: str) -> None:
    from rootless_scratch.image.capabilities import encode_capabilities

    try:
        encode_capabilities(capabilities)
    except SpecError as error:
        raise UsageError(f"In {text!r}: {error.message}", fix=error.fix) from error


def _numbers(text: str, options: dict[str, str]) -> tuple[int | None, int, int]:
    mode = options.get("mode")
    return (
        None if mode is None else _number(text, "mode", mode, base=8, limit=_MODE_LIMIT),
        _number(text, "uid", options.get("uid", "0"), base=10, limit=_ID_LIMIT - 1),
        _number(text, "gid", options.get("gid", "0"), base=10, limit=_ID_LIMIT - 1),
    )


def _number(text: str, key: str, digits: str, *, base: int, limit: int) -> int:
    try:
        number = int(digits, base) if digits.isascii() and digits.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= limit:
        kind, example = ("an octal mode", "0755") if key == "mode" else ("a numeric id", "65532")
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
        raise UsageError(f"{key}= in {shown!r} is not {kind}.", fix=f"Write it as {key}={example}.")
    return number
