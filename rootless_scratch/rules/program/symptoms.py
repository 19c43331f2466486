"""What a program that failed said at its end, and what it wanted: known words, each with its cause and its fix.

The words are those of C libraries, of the runtimes of Go, Rust, Java, Node and Python, and of busybox. They are
believed only of a program that failed, and only near the end of what it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.diagnosis import Symptom, diagnose
from rootless_scratch.image.recipes import recipes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.findings import Finding

LINES: Final = 20
"""So many lines at the end are looked at, the last first."""

_LINE: Final = 2000
"""Characters of a line that are looked at: some patterns take long, and what is printed may be made for that."""

_INTERRUPTED: Final = (128 + 2, 128 + 15)
"""SIGINT, SIGTERM: somebody ended it."""

_KILLED: Final = 128 + 9

_PLACES: Final = (
    "Give it a directory in memory with `--tmpfs DIR`, one of yours with `--volume HOST:DIR`, or a root that can "
    "be written to with `--writable`."
)


SYMPTOMS: Final = (
    Symptom(
        r"x509: certificate signed by unknown authority|unable to get local issuer certificate"
        r"|invalid peer certificate: UnknownIssuer|no native root CA certificates found"
        r"|SSL certificate problem|error setting certificate (?:verify locations|file)"
        r"|PKIX path building failed|certificate issuer is unknown|issuer is not trusted"
        r"|certificate is (?:NOT|not) trusted",
        "The peer's certificate is signed by an untrusted certificate authority.",
        "Build the image with `--with ca-certificates`; for your own certificate authority "
        "`--with ca-certificates=FILE.pem`.",
        rule="needs-ca-certificates",
    ),
    Symptom(
        r"unknown time zone (\S+)|No time zone found with key ([\w/+-]+)",
        "The image has no time zone {0}.",
        "Build the image with `--with tzdata`.",
        rule="needs-time-zones",
    ),
    Symptom(
        r"(?i)\bbind\b(?!.{0,2}mount).*permission denied|permission denied.*\bbind(?:ing)?\b|listen EACCES"
        r"|cannot listen.*permission denied",
        "The program may not listen on a port below 1024.",
        "Let it listen on a port from 1024 on, or grant it the right by `--cap-add NET_BIND_SERVICE` where "
        "the container has a network of its own.",
        rule="privileged-port",
    ),
    Symptom(
        r"(?i)(/[^\s:'\"]*)['\"]?: read-only file system|read-only file system:? ['\"]?(/[^\s:'\"]*)",
        "The program wanted to write to {0}, which is read-only.",
        _PLACES,
        rule="root-read-only",
    ),
    Symptom(
        r"(?i)read-only file system|\bEROFS\b",
        "The program wanted to write to a read-only file system.",
        _PLACES,
        rule="root-read-only",
    ),
    Symptom(
        r"user: unknown userid \d+|user: Current requires cgo|uid not found: '?\d+|No user exists for uid \d+"
        r"|cannot find name for user ID|open /etc/(?:passwd|group): ",
        "The program looked up its user, and the image has no /etc/passwd that it can read.",
        "Build the image with `--with nonroot`.",
        rule="needs-accounts",
    ),
    Symptom(
        r"neither \$XDG_\w+ nor \$HOME are defined|\$HOME is not defined"
        r"|mkdir (/+\.(?:cache|config|local)\S*): permission denied",
        "The program keeps files in its user's home, and there is none that it can write to.",
        "Build the image with `--with nonroot`, or use `--env HOME=/tmp`.",
        rule="needs-home",
    ),
    Symptom(
        r"exec: \"([^\"]+)\": (?:executable file not found|stat )|Cannot run program \"([^\"]+)\""
        r"|spawn (\S+) ENOENT|^\S*sh: (?:line \d+: |\d+: )?([^:\s]+): (?:command )?not found$"
        r"|git: '([\w-]+)' is not a git command|cannot (?:execute|run) '?([\w./+-]+)'?: .*No such file"
        r"|error trying to exec '([^']+)'|program \"([^\"]+)\" is needed by \w+"
        r"|error running '([^']+)': probably not",
        "The program started {0}, which the image does not have.",
        "Build the image with that program too: `rootless-scratch build PROGRAM OTHER:/usr/bin/OTHER`, with a "
        "PATH that finds it (`--env PATH=/usr/bin`).",
        rule="needs-other-programs",
    ),
    Symptom(
        r"(?i)network is unreachable|temporary failure in name resolution|could not resolve host"
        r"|lookup \S+.*(?:connection refused|no such host|server misbehaving|i/o timeout)"
        r"|bad address '|getaddrinfo (?:EAI_AGAIN|ENOTFOUND)|failed to lookup address information",
        "The program could not reach the network, or not resolve a hostname.",
        "Make sure that the container has a network (`--network private` or `--network host`; `rootless-scratch "
        "doctor` says what works here), and that the name is right.",
        rule="network-unreachable",
    ),
    Symptom(
        r"Servname not supported for ai_socktype|unknown port (?:tcp|udp)/",
        "The program looked up a port by name, and the image has no /etc/services.",
        "Build the image with `--with services`, or name the port by its number.",
        rule="needs-services",
    ),
    Symptom(
        r"Error opening terminal: |terminals database is inaccessible|cannot find terminfo entry",
        "The program controls terminals, and the image describes none.",
        "Build the image with `--with terminfo`.",
        rule="needs-terminfo",
    ),
    Symptom(
        r"needs?(?: an?)? UTF-8 (?:native )?locale",
        "The program insists on a UTF-8 locale, which the image does not have.",
        "Build the image with `--with locale`, and choose it with `--env LANG=C.UTF-8` where it asks for that.",
        rule="needs-locale",
    ),
    Symptom(
        r"_S_create_c_locale name not valid|unsupported locale setting|cannot change locale",
        "The image does not have the locale that is set for the program.",
        "Build the image with `--with locale` for C.UTF-8, or set no LANG and LC_ALL.",
        rule="needs-locale",
    ),
    Symptom(
        r"(?:open|mkdir|unlinkat|rename|remove|chmod|stat) (/[^\s:]+): permission denied"
        r"|[Cc]an(?:'t|not) (?:create|open|make|remove)[^/]*(/[^\s:'\"]+)['\"]?: Permission denied"
        r"|PermissionError: .* '(/[^']+)'|EACCES: permission denied, \w+ '(/[^']+)'",
        "The container's user has no permission for what the program does with {0}.",
        "Give it to that user when the image is built (`--mkdir DIR:uid=65532,gid=65532`, or `uid=`, `gid=` "
        "and `mode=` of --copy), mount `--volume HOST:DIR` there, or run with another `--user`.",
        rule="path-forbidden",
    ),
    Symptom(
        r"^\S*sh: (?:line \d+: |\d+: )?(/[^:\s]+): Permission denied$",
        "The container's user may not execute {0}.",
        "Give it mode 0755 when the image is built, and its directories the execute bit for all.",
        rule="not-executable",
    ),
    Symptom(
        r"\b(chown|chgrp|setuid|setgid|setgroups|mount|umount|mknod|chroot|unshare|sethostname|socket"
        r"|settimeofday)\b.*[Oo]peration not permitted",
        "The program called {0}, which this container does not permit.",
        "Avoid the call, or grant the capability by `--cap-add NAME`; capabilities(7) says which.",
        rule="capability-missing",
    ),
    Symptom(
        r"\bpopen\b.*Cannot allocate memory",
        "The program ran a line of shell, and the image has no /bin/sh.",
        "Build the image with `--with shell`, or with a static shell: `--copy /bin/busybox:/bin/sh`.",
        rule="needs-shell",
    ),
    Symptom(
        r"std::bad_alloc|runtime: (?:cannot allocate memory|out of memory)"
        r"|memory allocation of \d+ bytes failed|java\.lang\.OutOfMemoryError"
        r"|JavaScript heap out of memory|[Cc]annot allocate memory|^MemoryError$",
        "The program ran out of memory.",
        "Give it more by `--memory`, or leave that out; the runtime's own bound (Java's -Xmx) and the memory "
        "of this host are others.",
        rule="memory-limit",
    ),
    Symptom(
        r"(?i)too many open files|\bEMFILE\b",
        "The program may not open more files at once.",
        "`--ulimit nofile=65536` gives it more, as far as your own limit allows (`ulimit -Hn`).",
        rule="limit-reached",
    ),
    Symptom(
        r"failed to create new OS thread|can't fork|[Ff]ork: .*Resource temporarily unavailable"
        r"|can't start new thread|pthread_create.*Resource temporarily unavailable",
        "The program may not start more processes or threads.",
        "Give it more by `--pids-limit`, or by `--ulimit nproc=NUMBER`.",
        rule="limit-reached",
    ),
    Symptom(
        r"(?i)address already in use|\bEADDRINUSE\b",
        "A port that the program wants to listen on is taken.",
        "With `--network host` its ports are this host's, and `ss -ltnp` shows who has it; let it listen on "
        "another, or leave `--network host` out.",
        rule="port-in-use",
    ),
)
"""`{0}` is the first group of the pattern that matched something."""

_OUT_OF_MEMORY: Final = Symptom(
    "",
    "The program used more memory than its limit allows, and the kernel killed it.",
    "Give it more by `--memory`.",
    rule="memory-limit",
)


def judge_ending(exit_code: int, last_words: bytes, *, out_of_memory: bool = False) -> Finding | None:
    """What a program wanted that failed with these last words on stderr; None where they are not known."""
    if out_of_memory and exit_code == _KILLED:
        return _OUT_OF_MEMORY.finding()
    if exit_code == 0 or exit_code in _INTERRUPTED:
        return None
    lines = last_words.decode("utf-8", "replace").strip().splitlines()[-LINES:]
    table = (*_of_recipes(), *SYMPTOMS)
    for line in reversed(lines):
        symptom = diagnose(table, _shortened(line.strip()))
        if symptom is not None:
            return symptom.finding()
    return None


def _shortened(line: str) -> str:
    """The begin and the end of a line."""
    return line if len(line) <= _LINE else line[: _LINE // 2] + line[-_LINE // 2 :]


def _of_recipes() -> Iterator[Symptom]:
    """What programs say that end for want of the files of a recipe."""
    for recipe in recipes():
        for sign in recipe.symptoms:
            what = recipe.what.replace("{", "{{").replace("}", "}}")
            yield Symptom(
                sign.pattern,
                f"The program reads {what}, which the image does not have.",
                f"Build the image with `--with {recipe.name}`.",
                rule=recipe.rule_id(),
            )
