"""Rules on what a program will want once it runs: warnings, each with the function or crate that shows it.

The evidence is read by elf/symbols.py. A finding goes once the image has the files, from `--with` or `--copy`.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.elf import symbols
from rootless_scratch.elf.searching import is_musl
from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding
from rootless_scratch.image.recipes import recipe_names
from rootless_scratch.image.rootfs import Directory
from rootless_scratch.image.spec import Essential
from rootless_scratch.rules.access import EXECUTE, WRITE, obstacle
from rootless_scratch.rules.advice import listed, shown
from rootless_scratch.rules.image.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.libraries import Closure
    from rootless_scratch.image.plan.planner import Plan, Program
    from rootless_scratch.image.spec import Spec
    from rootless_scratch.rules.view import ImageView

_SHOWN = 3

_TLS: Final = (
    "net/http.(*Transport).dialConn",
    "crypto/tls.Dial",
    "crypto/tls.DialWithDialer",
    "crypto/tls.(*Dialer).DialContext",
    "crypto/x509.SystemCertPool",
    *symbols.TLS,
)
_TLS_CRATES: Final = ("rustls-native-certs", "openssl-probe")
_OWN_AUTHORITIES: Final = "golang.org/x/crypto/x509roots/fallback"
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/lib/ssl/cert.pem",
    "/etc/pki/tls/cert.pem",
)
_CERTIFICATE_DIRECTORIES: Final = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/lib/ssl/certs")
_UTC: Final = ("UTC", "GMT", "UCT", "Zulu", "Universal", "Greenwich")
_ZONE: Final = expression(r"[A-Za-z]{2,}|[A-Za-z]+(?:/[A-Za-z][A-Za-z0-9_+-]*){1,2}")
"""Names of the tz database; what tzset(3) reads else needs no file."""

_ZONE_LOOKUPS: Final = {
    "time.LoadLocation": "time.LoadLocation",
    "g_time_zone_new": "g_time_zone_new",
    "g_time_zone_new_identifier": "g_time_zone_new_identifier",
    "_ZNSt6chrono8get_tzdbEv": "std::chrono::get_tzdb",
    "_ZNSt6chrono12current_zoneEv": "std::chrono::current_zone",
    "_ZNSt6chrono11locate_zoneESt17basic_string_viewIcSt11char_traitsIcEE": "std::chrono::locate_zone",
}
"""By symbol: the function as it is written."""

_ZONES: Final = ("/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo")
_TEMPORARY: Final = (
    *("os.CreateTemp", "os.MkdirTemp", "mkstemp", "mkstemp64", "mkostemp", "mkostemp64", "mkstemps"),
    *("mkstemps64", "mkostemps", "mkostemps64", "mkdtemp", "tmpfile", "tmpfile64", "tmpnam", "tempnam", "mktemp"),
)
_ACCOUNTS: Final = (
    *("os/user.Current", "os/user.Lookup", "os/user.LookupId", "os/user.LookupGroup", "os/user.LookupGroupId"),
    *("getpwnam", "getpwuid", "getgrnam", "getgrgid"),
)
_ACCOUNTS_IMPORTED: Final = ("getpwnam_r", "getpwuid_r", "getgrnam_r", "getgrgid_r")
"""In a static program glob(3) and wordexp(3) bring these with them, whatever they are asked."""

_RESOLVING: Final = (
    *("getaddrinfo", "gethostbyname", "gethostbyname_r", "gethostbyname2", "gethostbyaddr", "getnameinfo"),
)
_NSS: Final = ("__nss_database_get", "__nss_database_lookup2", "__nss_lookup")
_SERVICES: Final = (
    *("getservbyname", "getservbyport", "getservent", "getprotobyname", "getprotobynumber", "getprotoent"),
)
_TERMINAL: Final = ("setupterm", "tgetent", "initscr", "newterm")
_TERMINALS: Final = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo")
_MIME_FILES: Final = (
    *("/usr/share/mime/globs2", "/usr/local/share/mime/globs2", "/etc/mime.types", "/etc/apache2/mime.types"),
    *("/etc/apache/mime.types", "/etc/httpd/conf/mime.types"),
)
_LOCALES: Final = ("/usr/lib/locale", "/usr/share/locale", "/usr/lib/locale/locale-archive")
_LOCALE_VARIABLES: Final = ("LC_ALL", "LC_CTYPE", "LANG")

_ESSENTIAL_OF: Final = {
    "needs-ca-certificates": "ca-certificates",
    "needs-time-zones": "tzdata",
    "needs-tmp": "tmp",
    "needs-accounts": "nonroot",
    "needs-home": "nonroot",
    "needs-nsswitch": "nsswitch",
    "needs-services": "services",
    "needs-locale": "locale",
    "needs-terminfo": "terminfo",
    "needs-mime-types": "mime",
    "user-unknown": "nonroot",
    "group-unknown": "nonroot",
}
"""By rule: the essential after which it has nothing to say any more."""

_WITH: Final = expression(r"--with ([a-z][a-z0-9-]*)")


def with_needed(spec: Spec, findings: Iterable[Finding]) -> Spec:
    """Add to `auto` what the findings ask for; a spec without `auto` stays."""
    if not any(essential.name == "auto" for essential in spec.essentials):
        return spec
    named = {essential.name for essential in spec.essentials}
    wanted = dict.fromkeys(name for each in findings if (name := essential_of(each)) is not None)
    missing = [Essential(name=name) for name in sorted(wanted) if name not in named]
    return spec.but(essentials=(*spec.essentials, *missing))


def essential_of(finding: Finding) -> str | None:
    """What `--with` has for a finding; of recipes only the fix tells which."""
    named = _WITH.search(finding.fix)
    if named is None:
        return None
    return named.group(1) if named.group(1) in recipe_names() else _ESSENTIAL_OF.get(finding.rule)


def judge_covered(plan: Plan) -> Iterator[Finding]:
    """Say which files of essentials and packages were left out, because the user brought them."""
    for name, path in plan.covered:
        option = name if name.startswith("--") else f"--with {name}"
        yield Finding.info(
            rule="essential-covered",
            subject=path,
            message=f"{shown(path)} is kept as you gave it: {option} does not replace it.",
            fix=f"Leave your own {shown(path)} out if that of {name.rpartition(' ')[2]} is meant.",
        )


def judge_needs(
    view: ImageView, programs: Sequence[Program], closures: Mapping[str, Closure]
) -> Iterator[Finding]:
    """Judge every program by what it, or a library of its `closures`, will ask its surroundings for."""
    for program in programs:
        if program.facts.elf is not None:
            calls = Calls(program.facts.elf, (program.path, program.facts.path), closures.get(program.path))
            for judge in _RULES:
                yield from judge(view, program, calls)


def _certificates(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    elf = calls.elf
    own = any(module == _OWN_AUTHORITIES for module, _ in elf.go.modules) if elf.go else False
    crates = [crate for crate in _TLS_CRATES if crate in elf.crates and "webpki-roots" not in elf.crates]
    evidence = [*calls.anywhere(_TLS), *crates]
    variables = dict(view.config.env)
    named = [variables[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in variables]
    if not evidence or own or any(map(view.tree.is_present, named)):
        return
    if any(map(view.is_file, _BUNDLES)) or any(_has_files(view, place) for place in _CERTIFICATE_DIRECTORIES):
        return
    yield _finding(
        "needs-ca-certificates",
        program,
        f"{_name(program)} makes TLS connections ({_listed(evidence)}), and the image has no CA "
        "certificates to verify its peers with.",
        "Add them by `--with ca-certificates`, or your own by `--with ca-certificates=FILE.pem`.",
    )


def _time_zones(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    elf = calls.elf
    variables = dict(view.config.env)
    evidence = [_ZONE_LOOKUPS.get(name, name) for name in calls.own(_ZONE_LOOKUPS)]
    if "time zones" in elf.mentions and not any(name.startswith("libicu") for name in elf.needed):
        evidence.append("/usr/share/zoneinfo in its texts")
    zone = variables.get("TZ", "").removeprefix(":")
    is_lacking = _needs_file(zone) and not any(
        view.is_file(path) for path in ((zone,) if zone.startswith("/") else (f"{each}/{zone}" for each in _ZONES))
    )
    embedded = "time/tzdata.loadFromEmbeddedTZData" in elf.functions
    if embedded or view.tree.is_present(variables.get("ZONEINFO", "/\0")):
        return
    if is_lacking and (zone.startswith("/") or any(_has_files(view, place) for place in _ZONES)):
        known = zone.removeprefix(f"{_ZONES[0]}/")
        add = f"`--copy FILE:{shown(zone)}`" if known.startswith("/") else f"`--with tzdata={shown(known)}`"
        yield _finding(
            "needs-time-zones",
            program,
            f"{_name(program)} is told TZ={shown(zone)}, which the image does not have: its times would be UTC.",
            f"Correct TZ, or add the zone by {add}.",
        )
        return
    evidence += [f"TZ={shown(zone)}"] if is_lacking else []
    if not evidence or any(_has_files(view, place) for place in _ZONES):
        return
    yield _finding(
        "needs-time-zones",
        program,
        f"{_name(program)} looks up time zones ({_listed(evidence)}), and the image has none.",
        "Add them by `--with tzdata`, or some by `--with tzdata=Europe/Berlin:UTC`"
        + ("; or let Go embed them: `go build -tags timetzdata`." if elf.go else "."),
    )


def _needs_file(zone: str) -> bool:
    """Whether tzset(3) looks for a file for this value of TZ, and not for the rules in it."""
    return zone.startswith("/") or (zone not in _UTC and _ZONE.fullmatch(zone) is not None)


def _temporary_files(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    elf = calls.elf
    crates = ["tempfile"] if "tempfile" in elf.crates else []
    evidence = [*calls.own(_TEMPORARY), *crates]
    place = dict(view.config.env).get("TMPDIR") or "/tmp"  # noqa: S108 - of the image
    if evidence and not isinstance(view.tree.resolve(place), Directory):
        yield _finding(
            "needs-tmp",
            program,
            f"{_name(program)} makes temporary files ({_listed(evidence)}), and the image has no {shown(place)}.",
            "Add /tmp by `--with tmp`."
            if place == "/tmp"  # noqa: S108 - likewise
            else f"Add it by `--mkdir {shown(place)}:mode=1777`.",
        )


def _accounts(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    elf = calls.elf
    evidence = list(calls.own(_ACCOUNTS if elf.static else (*_ACCOUNTS, *_ACCOUNTS_IMPORTED)))
    if evidence and not view.is_file("/etc/passwd"):
        yield _finding(
            "needs-accounts",
            program,
            f"{_name(program)} looks up users or groups ({_listed(evidence)}), and the image has no /etc/passwd.",
            "Add /etc/passwd, /etc/group and a home directory by `--with nonroot`.",
        )


def _home(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    """Without HOME runtimes take the home of /etc/passwd, else `/`, where nobody but root may write."""
    evidence = list(calls.own(("os.UserCacheDir", "os.UserConfigDir")))
    home = dict(view.config.env).get("HOME")
    if not evidence or view.account.is_root or (home is None and view.is_file("/etc/passwd")):
        return
    steps = view.tree.walk(home or "/")
    if steps and isinstance(steps[-1], Directory) and obstacle(view.account, steps, WRITE | EXECUTE) is None:
        return
    yield _finding(
        "needs-home",
        program,
        f"{_name(program)} keeps files of its own below its user's home ({_listed(evidence)}), and that user "
        f"may not write to {shown(home or '/')}.",
        "Add a home directory by `--with nonroot`."
        if home is None
        else f"Add it by `--mkdir {shown(home)}:uid={view.account.uid or 0},gid={view.account.gid or 0}`.",
    )


def _name_service(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    """Glibc alone has a name service switch: nsswitch.conf(5)."""
    elf = calls.elf
    evidence = list(calls.own(_RESOLVING))
    static = elf.static and any(name in elf.functions for name in _NSS)
    dynamic = elf.interpreter is not None and not is_musl(elf.interpreter)
    if not evidence or not (static or dynamic):
        return
    if not view.is_file("/etc/nsswitch.conf"):
        yield _finding(
            "needs-nsswitch",
            program,
            f"{_name(program)} resolves hostnames ({_listed(evidence)}), and the image has no "
            "/etc/nsswitch.conf, without which glibc may ask the network before /etc/hosts.",
            "Add it by `--with nsswitch`.",
        )
    if static:
        yield _finding(
            "static-name-service",
            program,
            f"{_name(program)} is linked statically with glibc and resolves names ({_listed(evidence)}); for what "
            "is not built in, glibc loads shared libraries of exactly its version.",
            "Link it with musl (`musl-gcc -static`), or build Go with `CGO_ENABLED=0`; or keep to the services "
            "`files` and `dns`, which `--with nsswitch` names.",
        )


def _services(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    evidence = list(calls.own(_SERVICES))
    if evidence and not view.is_file("/etc/services"):
        yield _finding(
            "needs-services",
            program,
            f"{_name(program)} looks up ports or protocols by name ({_listed(evidence)}), and the image has no "
            "/etc/services.",
            "Add /etc/services and /etc/protocols by `--with services`.",
        )


def _locale(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    """Every program calls setlocale; it matters where the image asks for a locale, and glibc has to load it."""
    elf = calls.elf
    variables = dict(view.config.env)
    name = next((variables[key] for key in _LOCALE_VARIABLES if variables.get(key)), "C")
    glibc = "_nl_load_locale" in elf.functions if elf.static else not is_musl(elf.interpreter)
    evidence = list(calls.own(("setlocale", "newlocale")))
    insists = glibc and "a UTF-8 locale" in elf.mentions
    if not evidence or not glibc or (name in {"C", "POSIX"} and not insists):
        return
    if any(_has_files(view, place) or view.is_file(place) for place in _LOCALES):
        return
    if name in {"C", "POSIX"}:
        yield _finding(
            "needs-locale",
            program,
            f"{_name(program)} insists on a UTF-8 locale, as its texts say, and the image has none.",
            "Add C.UTF-8 by `--with locale`.",
        )
        return
    is_c = name.lower().replace("-", "") == "c.utf8"
    yield _finding(
        "needs-locale",
        program,
        f"{_name(program)} uses the locale {shown(name)} ({_listed(evidence)}), which the image does not have.",
        "Add C.UTF-8 by `--with locale`."
        if is_c
        else "Add those of this host by `--with locales`, or use C.UTF-8 and add it by `--with locale`.",
    )


def _terminals(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    evidence = list(calls.own(_TERMINAL))
    if evidence and not any(_has_files(view, place) for place in _TERMINALS):
        yield _finding(
            "needs-terminfo",
            program,
            f"{_name(program)} controls terminals ({_listed(evidence)}), and the image describes none.",
            "Add the usual ones by `--with terminfo`.",
        )


def _mime_types(view: ImageView, program: Program, calls: Calls) -> Iterator[Finding]:
    evidence = list(calls.own(("mime.TypeByExtension",)))
    if evidence and not any(map(view.is_file, _MIME_FILES)):
        yield _finding(
            "needs-mime-types",
            program,
            f"{_name(program)} tells MIME types by file names ({_listed(evidence)}); without a list in the "
            "image Go knows only a few, such as .html and .png.",
            "Add /etc/mime.types by `--with mime`.",
        )


_RULES: Final = (
    _certificates,
    _time_zones,
    _temporary_files,
    _accounts,
    _home,
    _name_service,
    _services,
    _locale,
    _terminals,
    _mime_types,
)


def _listed(evidence: Sequence[str]) -> str:
    return listed(evidence[:_SHOWN])


def _has_files(view: ImageView, directory: str) -> bool:
    """Tell whether a directory of the image, or one that is linked to its path, holds any file or link."""
    found = view.tree.resolve(directory)
    if not isinstance(found, Directory):
        return False
    below = posixpath.join(found.path, "")
    return any(entry.path.startswith(below) and not isinstance(entry, Directory) for entry in view.rootfs)


def _name(program: Program) -> str:
    return shown(program.facts.path)


def _finding(rule: str, program: Program, message: str, fix: str) -> Finding:
    return Finding.warning(rule=rule, subject=program.facts.path, message=message, fix=fix)
