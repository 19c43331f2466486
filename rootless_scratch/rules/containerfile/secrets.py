"""Secrets that a Containerfile puts into an image, where everybody reads them who has it."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.containerfile.document import Document, Instruction, Token
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.containerfile.sheet import Sheet

_LARGEST: Final = 64 << 10
_READ_AT_MOST: Final = 2000
_NAMELESS_AT_MOST: Final = 200
"""Files that are looked into; those whose name has no suffix and says nothing."""

_SECRET: Final = expression(
    r"(?:^|_)(?:API_?KEY|SECRET_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_?KEY|CREDENTIALS?|PASSWORDS?|PASSWD|PWD|PASSPHRASE"
    r"|PASS|SECRETS?|TOKENS?|APIKEY)(?:$|_)",
    re.IGNORECASE,
)
_HARMLESS: Final = expression(
    r"(?:^|_)(?:PUBLIC|FILE|PATH|DIR|URL|URI|NAME|TTL|TIMEOUT|LENGTH|SIZE|EXPIRY|EXPIRES|TYPE|ALGORITHM|HEADER|LIFETIME"
    r"|ISSUER|ENABLED|ENDPOINT)(?:$|_)",
    re.IGNORECASE,
)
_NO_VALUE: Final = expression(r"(?:true|false|yes|no|none|null|changeme|[0-9]*|/.*|<.*>|\{\{.*)", re.IGNORECASE)
_VARIABLE: Final = expression(r"\$\{?\w+\}?")

_PRIVATE_KEY: Final = expression(
    rb"^(?:-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d)", re.MULTILINE
)
_SAMPLES: Final = expression(r"\.env\.(?:example|sample|template|dist|defaults?|test)")

_CONTENTS: Final[tuple[tuple[str, str, re.Pattern[bytes]], ...]] = (
    ("*/.aws/credentials", "cloud credentials", re.compile(rb"aws_secret_access_key", re.IGNORECASE)),
    ("*/.docker/config.json", "the password of a registry", re.compile(rb'"(?:auth|identitytoken)"\s*:\s*"[^"]')),
    ("*/.dockercfg", "the password of a registry", re.compile(rb'"auth"\s*:\s*"[^"]')),
    ("*/.netrc", "a password", re.compile(rb"\bpassword\s+\S")),
    ("*/_netrc", "a password", re.compile(rb"\bpassword\s+\S")),
    ("*/.npmrc", "the token of a registry", re.compile(rb"_(?:authToken|auth|password)\s*=\s*(?!\$\{)\S")),
    ("*/.pypirc", "the password of a registry", re.compile(rb"^\s*password\s*[=:]\s*\S", re.MULTILINE)),
    ("*/.pgpass", "a password", re.compile(rb"^[^#\n]+:[^:\n]+$", re.MULTILINE)),
    ("*/.git-credentials", "a password", re.compile(rb"://[^/\s]+:[^/\s]+@")),
    ("*/.vault-token", "a token", re.compile(rb"\S")),
    ("*.tfvars", "a secret", re.compile(rb"(?i)(?:password|secret|token)\w*\s*=\s*\"[^\"]")),
    ("*/.kube/config", "cloud credentials", re.compile(rb"\b(?:client-key-data|token|password)\s*:\s*\S")),
    ("*kubeconfig*", "cloud credentials", re.compile(rb"\b(?:client-key-data|token|password)\s*:\s*\S")),
    (
        "*.json",
        "cloud credentials",
        re.compile(rb'"(?:private_key"\s*:\s*"-----BEGIN|refresh_token"\s*:\s*"[^"])'),
    ),
)
"""What a file of such a name holds, if it does hold it."""

_SUSPECT: Final = expression(r"^\.|^_netrc$|^id_|kubeconfig|\.(?:pem|key|p8|ppk|asc|gpg|json|tfvars)$")
_NAMES: Final = frozenset({"credentials", "config", "_netrc", "id_rsa", "id_ed25519", "id_ecdsa", "id_dsa"})
"""Which names are worth a look; others without a suffix too, as far as there are few."""


def judge_variables(document: Document, sheet: Sheet) -> Iterator[Finding]:
    """Say which variables hold a secret, by their names: everybody who has the image reads those."""
    for stage in document.stages:
        for each in stage.instructions:
            if each.name in ("ENV", "ARG"):
                yield from _judge_pairs(each, sheet)
    for each in document.global_arguments:
        yield from _judge_pairs(each, sheet)


def _judge_pairs(instruction: Instruction, sheet: Sheet) -> Iterator[Finding]:
    is_env = instruction.name == "ENV"
    for name, value in instruction.pairs:
        if value is None or not _is_secret(name.raw, value, is_env=is_env):
            continue
        where = "in the config of the image" if is_env else "in the Containerfile"
        yield sheet.finding(
            "secret-in-variable",
            "warning",
            name,
            f"{instruction.name} {shown(name.raw)} looks like a secret, and it stands {where}, where everybody "
            "can read it.",
            "Give it to the container when it runs (`run --env-file FILE`), or to a RUN by "
            "`RUN --mount=type=secret`.",
        )


def _is_secret(name: str, value: Token, *, is_env: bool) -> bool:
    text = value.raw.strip("\"'")
    if not _SECRET.search(name) or _HARMLESS.search(name) or _NO_VALUE.fullmatch(text):
        return False
    # What a variable comes to stays in the config, and of an ARG only what the file itself says can be read.
    return is_env or not _VARIABLE.fullmatch(text)


def judge_secrets(
    evaluated: Evaluated, sheet: Sheet, content: Callable[[File], bytes | None]
) -> Iterator[Finding]:
    """Say which files of the image are secrets, by their names and by what they hold; each kind once a line."""
    found: dict[tuple[str, int, str], list[str]] = {}
    lines: dict[int, Instruction] = {}
    for path, what, pattern in _secrets(evaluated, content):
        instruction = evaluated.brought.get(path)
        if instruction is None:
            continue
        lines[instruction.span.line] = instruction
        found.setdefault((what, instruction.span.line, pattern), []).append(path)
    for (what, line, pattern), paths in found.items():
        yield _copied(lines[line], what, pattern, paths, sheet)


def _copied(instruction: Instruction, what: str, pattern: str, paths: Sequence[str], sheet: Sheet) -> Finding:
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    fix = f"Leave it out by a line `{pattern}` in .dockerignore, or by `--exclude={pattern}`; "
    fix += "give secrets to the container when it runs."
    span, corrected = instruction.span, None
    # A file that is copied by its own name is meant; which one is, nobody else knows.
    has = any(flag.name == "exclude" and flag.value == pattern for flag in instruction.flags)
    if instruction.name == "COPY" and not has and _is_swept_up(instruction, paths):
        span, corrected = sheet.flagged(instruction, f"--exclude={pattern}")
    return sheet.finding(
        "secret-copied",
        "warning",
        span,
        f"{instruction.name} brings {what} into the image: {shown(paths[0])}{more}.",
        fix,
        subject=paths[0],
        corrected=corrected,
    )


def _is_swept_up(instruction: Instruction, paths: Sequence[str]) -> bool:
    """Whether no source has the name of what was found."""
    sources = {token.raw.rstrip("/").rpartition("/")[2] for token in instruction.tokens[:-1]}
    return sources.isdisjoint({".git", *(path.rpartition("/")[2] for path in paths)})


def _secrets(evaluated: Evaluated, content: Callable[[File], bytes | None]) -> Iterator[tuple[str, str, str]]:
    """Path, what it is, and a pattern that leaves it out."""
    nameless, budget = _NAMELESS_AT_MOST, _READ_AT_MOST
    for entry in evaluated.entries:
        path = entry.path
        name = path.rpartition("/")[2]
        if "/.git/" in path:
            if name == "HEAD":
                yield path, "the history of a repository with all that was ever in it", "**/.git"
            continue
        is_nameless = "." not in name
        if not (is_nameless or _SUSPECT.search(name)) or not isinstance(entry, File) or entry.mode & 0o111:
            continue
        if (name == ".env" or name.startswith(".env.")) and not _SAMPLES.fullmatch(name):
            yield path, "a file of settings that usually holds secrets", "**/.env*"
            continue
        is_named = not is_nameless or name in _NAMES
        left = budget if is_named else nameless
        if not 0 < entry.identity.size <= _LARGEST or left <= 0:
            continue
        if is_named:
            budget -= 1
        else:
            nameless -= 1
        found = _held(path, content(entry) or b"")
        if found is not None:
            yield path, found, f"**/{name}"


def _held(path: str, text: bytes) -> str | None:
    """What secret a file holds."""
    if _PRIVATE_KEY.search(text):
        return "a private key"
    kinds = ((what, held) for glob, what, held in _CONTENTS if fnmatch.fnmatchcase(path, glob))
    return next((what for what, held in kinds if held.search(text)), None)
