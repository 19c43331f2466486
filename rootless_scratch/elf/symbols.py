"""Functions that tell what a program will want once it runs: evidence for warnings, never for a refusal.

Those of a static program stand in its symbol table, which only section headers lead to, and those of a Go program
in the table of names that its runtime needs for its traces, which strip(1) cannot take away. A static program
without both tells nothing. What a dynamic one imports is read by dynamic.py.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from rootless_scratch.elf.texts import stands_in
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.elf.records import Records

_SECTIONS_LIMIT = 4096
_SYMBOLS_LIMIT = 8 << 20
_STRINGS_LIMIT = 16 << 20
_NAMES_LIMIT = 32 << 20
_PLACES_LIMIT = 4096
_SCAN_LIMIT = 64 << 20
_SYMTAB = 2
_NOBITS = 8
_PCLNTAB_MAGIC: Final = {0xFFFFFFF1: 1, 0xFFFFFFF0: 1, 0xFFFFFFFA: 0}
"""Versions of 1.20, 1.18 and 1.16 on, with the number of words more before the offsets: debug/gosym/pclntab.go."""

_CRATE: Final = expression(rb"/(rustls-native-certs|openssl-probe|webpki-roots|tempfile)-[0-9][0-9.]*/src/")
_CRATES_LIMIT = 16 << 20
_MATCH = 128
_PIECE = 8192

_STARTING = "execl execle execlp execv execve execvp execvpe fexecve posix_spawn posix_spawnp popen system"
STARTING: Final = frozenset(_STARTING.split())
"""Functions that start other programs."""

_MAIN = (
    "Py_BytesMain Py_Main Py_RunMain perl_run ruby_run_node JLI_Launch Tcl_MainEx Tk_MainEx php_module_startup "
    "scm_boot_guile scm_shell Rf_initialize_R Rf_mainloop lua_newstate luaL_newstate gsapi_init_with_args "
    "MagickCommandGenesis"
)
MAIN: Final = frozenset(_MAIN.split())
"""Functions by which a program is an interpreter: it calls them in a library, or offers them to its modules."""

_DATA: Final = (
    "iconv_open OSSL_PROVIDER_load OSSL_PROVIDER_try_load ENGINE_by_id CONF_modules_load_file pam_start "
    "sasl_server_init sasl_client_init magic_load gss_init_sec_context krb5_init_context snd_pcm_open gst_init "
    "gst_init_check eglGetDisplay FcInit FcInitLoadConfigAndFonts gdk_pixbuf_new_from_file gtk_init "
    "gtk_init_check XOpenIM XOpenDisplay XSupportsLocale XCreateFontSet _ZN15QGuiApplicationC1ERiPPci "
    "_ZN12QApplicationC1ERiPPci bindtextdomain udev_new p11_kit_modules_load_and_initialize u_init "
    "hunspell_initialize enchant_broker_init"
)

RUNTIME: Final = frozenset({*MAIN, *_DATA.split()})
"""Those that recipes may name (recipes/*.toml): they tell of files that a program reads."""

TLS: Final = (
    "SSL_CTX_set_default_verify_paths",
    "SSL_CTX_set_default_verify_file",
    "SSL_CTX_set_default_verify_dir",
    "X509_STORE_set_default_paths",
    "gnutls_certificate_set_x509_system_trust",
    "gnutls_x509_trust_list_add_system_trust",
    "curl_easy_perform",
    "curl_multi_perform",
)
"""Those by which a program trusts the authorities of its system."""

WATCHED: Final = frozenset(
    {
        *RUNTIME,
        *TLS,
        # temporary files
        *("mkstemp", "mkstemp64", "mkostemp", "mkostemp64", "mkstemps", "mkstemps64", "mkostemps", "mkostemps64"),
        *("mkdtemp", "tmpfile", "tmpfile64", "tmpnam", "tempnam", "mktemp"),
        # accounts
        *("getpwnam", "getpwnam_r", "getpwuid", "getpwuid_r", "getgrnam", "getgrnam_r", "getgrgid", "getgrgid_r"),
        # names of hosts, services and protocols
        *("getaddrinfo", "gethostbyname", "gethostbyname_r", "gethostbyname2", "gethostbyaddr", "getnameinfo"),
        *("getservbyname", "getservbyport", "getservent", "getprotobyname", "getprotobynumber", "getprotoent"),
        *("__nss_database_get", "__nss_database_lookup2", "__nss_lookup"),
        # locales, terminals, other programs
        *("setlocale", "newlocale", "_nl_load_locale"),
        *("setupterm", "tgetent", "initscr", "newterm"),
        *STARTING,
        # time zones
        *(
            "_ZNSt6chrono8get_tzdbEv",
            "_ZNSt6chrono12current_zoneEv",
            "g_time_zone_new",
            "g_time_zone_new_identifier",
        ),
        "_ZNSt6chrono11locate_zoneESt17basic_string_viewIcSt11char_traitsIcEE",
        # signals
        *("sigaction", "signal", "__sysv_signal", "sigset", "signalfd", "sigwait", "sigwaitinfo", "sigtimedwait"),
    }
)
"""Functions of C libraries."""

_OF_GO = (
    "net/http.(*Transport).dialConn crypto/tls.Dial crypto/tls.DialWithDialer crypto/tls.(*Dialer).DialContext "
    "crypto/x509.SystemCertPool time.LoadLocation time/tzdata.loadFromEmbeddedTZData os.CreateTemp "
    "os.MkdirTemp os/user.Current os/user.Lookup os/user.LookupId os/user.LookupGroup os/user.LookupGroupId "
    "mime.TypeByExtension os/exec.(*Cmd).Start os.UserCacheDir os.UserConfigDir"
)
GO_WATCHED: Final = frozenset(_OF_GO.split())
"""Functions of Go's standard library."""


class _Section(NamedTuple):
    name: int
    type: int
    address: int
    offset: int
    size: int
    link: int


def functions_of(
    records: Records, *, go: bool, imports: Sequence[str] | None, offered: Iterable[str] = ()
) -> tuple[str, ...]:
    """List the watched functions that the program calls, sorted.

    Of a program with a loader these are among its `imports`, of a static one (None) those that are linked into it.
    `offered` are found otherwise.
    Section headers may lie: what they lead astray is not found, and nothing is raised.
    """
    sections = tuple(sections_of(records)) if go or imports is None else ()
    found = {*offered, *(_linked(records, sections) if imports is None else WATCHED.intersection(imports))}
    if go:
        found |= _go_functions(records, sections)
    return tuple(sorted(found))


def crates_of(records: Records) -> tuple[str, ...]:
    """List those crates of interest whose source files are named in the program's messages (Rust), sorted."""
    pieces = records.loaded(_CRATES_LIMIT, overlap=_MATCH, wanted=lambda segment: not segment.writable)
    found = {match[1].decode("ascii") for _, piece in pieces for match in _CRATE.finditer(piece)}
    return tuple(sorted(found))


def sections_of(records: Records) -> Iterator[_Section]:
    """Read the section headers: where they lie stands in the last words of the ELF header, elf(5)."""
    order, wide = records.order, records.header.bits == 64  # noqa: PLR2004 - the two word sizes
    head = records.source.read(0, 64)
    offset = int.from_bytes(head[0x28:0x30] if wide else head[0x20:0x24], "little" if order == "<" else "big")
    layout = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    count = min(records.header.section_count, _SECTIONS_LIMIT)
    data = records.source.read(offset, count * layout.size)
    for at in range(0, len(data) - layout.size + 1, layout.size):
        name, kind, _, address, place, size, link, *_ = layout.unpack_from(data, at)
        yield _Section(name, kind, address, place, 0 if kind == _NOBITS else size, link)


def _linked(records: Records, sections: tuple[_Section, ...]) -> Iterator[str]:
    """Names of watched functions that .symtab defines."""
    wide = records.header.bits == 64  # noqa: PLR2004 - the two word sizes
    layout = struct.Struct(records.order + ("IBBHQQ" if wide else "IIIBBH"))
    section = next((each for each in sections if each.type == _SYMTAB and each.link < len(sections)), None)
    if section is None:
        return
    places = dict(_places(records, sections[section.link]))
    if not places:
        return
    end = section.offset + min(section.size, _SYMBOLS_LIMIT)
    for start in range(section.offset, min(end, records.source.size), _PIECE * layout.size):
        data = records.source.read(start, min(_PIECE * layout.size, end - start))
        for fields in layout.iter_unpack(data[: len(data) - len(data) % layout.size]):
            name = places.get(fields[0])
            defined = (fields[3] if wide else fields[5]) != 0
            if name is not None and defined:
                yield name


def _places(records: Records, strings: _Section) -> Iterator[tuple[int, str]]:
    """Where watched names stand in a string table, also as the end of another: linkers share them."""
    room = {name.encode("ascii") + b"\0": _PLACES_LIMIT for name in WATCHED}
    pieces = records.source.chunks(strings.offset, min(strings.size, _STRINGS_LIMIT), overlap=_MATCH)
    for start, piece in pieces:
        for wanted, left in room.items():
            at = piece.find(wanted)
            count = 0
            while at >= 0 and count < left:
                count += 1
                yield start - strings.offset + at, wanted[:-1].decode("ascii")
                at = piece.find(wanted, at + len(wanted))
            room[wanted] = left - count


def _go_functions(records: Records, sections: Iterable[_Section]) -> set[str]:
    table = _pclntab(records, sections)
    if table is None:
        return set()
    order = records.byte_order
    head = records.source.read(table, 8 + 8 * 8)
    size = head[7]
    words = [int.from_bytes(head[at : at + size], order) for at in range(8, 8 + 8 * size, size)]
    skipped = 2 + _PCLNTAB_MAGIC[int.from_bytes(head[:4], order)]
    begin, end = words[skipped : skipped + 2]
    found: set[str] = set()
    for _, piece in records.source.chunks(table + begin, min(max(end - begin, 0), _NAMES_LIMIT), overlap=_MATCH):
        found.update(name for name in GO_WATCHED - found if stands_in(b"\0" + name.encode() + b"\0", piece))
    return found


def _pclntab(records: Records, sections: Iterable[_Section]) -> int | None:
    """Find the offset of the runtime's table of functions: a section's begin, else the first that looks so."""
    for section in sections:
        if _is_pclntab(records, section.offset):
            return section.offset
    order = records.byte_order
    magics = b"|".join(re.escape(magic.to_bytes(4, order)) for magic in _PCLNTAB_MAGIC)
    pattern = re.compile(rb"(?:" + magics + rb")\0\0[\x01\x02\x04][\x04\x08]")
    pieces = records.loaded(_SCAN_LIMIT, overlap=8, wanted=lambda segment: not segment.executable)
    places = (start + found.start() for start, piece in pieces for found in pattern.finditer(piece))
    return next((place for place in places if place % 8 == 0), None)


def _is_pclntab(records: Records, offset: int) -> bool:
    head = records.source.read(offset, 8)
    order = records.byte_order
    return (
        len(head) == 8  # noqa: PLR2004 - magic, two zeros, the unit of code, the size of a word
        and int.from_bytes(head[:4], order) in _PCLNTAB_MAGIC
        and head[4:6] == b"\0\0"
        and head[6] in {1, 2, 4}
        and head[7] in {4, 8}
    )
