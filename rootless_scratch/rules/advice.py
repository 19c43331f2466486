"""How a given program is made static: the advice depends on who compiled it, and what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.elf.searching import is_musl
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.elf.facts import ElfFacts

_GO_PATH: Final = expression(r"(?!-)[A-Za-z0-9._~/-]{1,200}\Z")
_MAIN_FILES: Final = "command-line-arguments"
_RUST_TARGETS: Final = {
    "x86_64": "x86_64-unknown-linux-musl",
    "i386": "i686-unknown-linux-musl",
    "aarch64": "aarch64-unknown-linux-musl",
    "arm": "armv7-unknown-linux-musleabihf",
    "riscv64": "riscv64gc-unknown-linux-musl",
    "ppc64le": "powerpc64le-unknown-linux-musl",
    "s390x": "s390x-unknown-linux-musl",
    "loongarch64": "loongarch64-unknown-linux-musl",
}
_CXX: Final = ("libstdc++.so", "libc++.so", "libc++abi.so")
_TEXT_LIMIT = 200


def shown(text: str) -> str:
    """Make a name from a file or a user fit for a message: not too long, nothing that a terminal obeys."""
    if len(text) > _TEXT_LIMIT:
        text = text[:_TEXT_LIMIT] + "..."
    return text if text.isprintable() and text else ascii(text)


def listed(parts: Sequence[str]) -> str:
    """Join parts for a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def static_fix(elf: ElfFacts) -> str:
    """Say in one sentence how this very program is built so that it needs no loader."""
    if elf.go is not None:
        return _go_fix(elf)
    if elf.rust is not None:
        return _rust_fix(elf)
    if any(name.startswith(_CXX) for name in elf.needed):
        return "Link it with `g++ -static`, with every library that it uses at hand as a `.a` file."
    if any("GCC" in text or "clang" in text for text in elf.producers):
        return _c_fix(elf)
    return (
        "Build it statically: C and C++ with `gcc -static` or `musl-gcc -static`, "
        "Go with `CGO_ENABLED=0 go build`, Rust for its musl target."
    )


def loader_fix(elf: ElfFacts, *, bundling: bool) -> str:
    """Say how it is built so that it needs no loader, and how it gets its loader instead."""
    loader = elf.interpreter or ""
    if not loader.startswith("/"):
        instead = "link it with the absolute path of its loader, by `-Wl,--dynamic-linker=/PATH`"
    elif bundling:
        instead = f"install the package that has {shown(loader)}, or name a root that has it by `--sysroot DIR`"
    else:
        instead = "take its loader and libraries along with `--bundle-libraries`"
    return f"{static_fix(elf).removesuffix('.')}; or {instead}."


def library_fix(elf: ElfFacts) -> str:
    """Say in one sentence what to name or to build instead of a shared library."""
    mode = elf.go.setting("-buildmode") if elf.go is not None else None
    if mode in {"c-shared", "plugin", "shared"}:
        return f"Build it as a program: `CGO_ENABLED=0 go build{_go_package(elf)}` without `-buildmode={mode}`."
    if elf.rust is not None:
        return "Name the program that uses it, or build a `[[bin]]` in place of the `cdylib` of Cargo.toml."
    return "Name the program that uses it, or link it without `-shared`."


def _go_fix(elf: ElfFacts) -> str:
    """Go links statically by itself unless cgo or `-buildmode=pie` asks for a loader: `go help buildmode`."""
    go = elf.go
    pie = elf.type == "DYN"
    cgo = bool(elf.needed) or (go is not None and go.setting("CGO_ENABLED") == "1")
    if not elf.needed:
        # A position-independent Go program names a loader although it uses no library.
        variables = "CGO_ENABLED=0 " if cgo else ""
        return (
            f"Rebuild it with `{variables}go build -buildmode=exe{_go_package(elf)}`: "
            "Go programs built with -buildmode=pie name a loader even if they use no library."
        )
    if go is not None and go.setting("CGO_ENABLED") == "0":
        return (
            "Build it without the package that links a shared library by `//go:cgo_import_dynamic` or linker "
            "flags, although CGO_ENABLED is 0."
        )
    mode = " -buildmode=exe" if pie else ""
    return (
        f"Rebuild it with `CGO_ENABLED=0 go build{mode}{_go_package(elf)}`; if it cannot do without cgo, "
        "with `go build -tags netgo,osusergo -ldflags '-linkmode external -extldflags -static'`."
    )


def _go_package(elf: ElfFacts) -> str:
    path = elf.go.path if elf.go is not None else None
    if path is None or path == _MAIN_FILES or not _GO_PATH.match(path):
        return ""
    return f" {path}"


def _rust_fix(elf: ElfFacts) -> str:
    flags = "RUSTFLAGS='-C target-feature=+crt-static'"
    target = _RUST_TARGETS.get(elf.machine)
    if is_musl(elf.interpreter) or target is None:
        return f"Rebuild it with `{flags} cargo build --release`."
    # Without --target the flags would also hit build scripts and proc macros, which cannot be static.
    gnu = target.replace("musl", "gnu")
    return (
        f"Rebuild it with `cargo build --release --target {target}`, "
        f"or with `{flags} cargo build --release --target {gnu}`."
    )


def _c_fix(elf: ElfFacts) -> str:
    if not elf.needed:
        return "Link it with `-static` or `-static-pie` and without `-Wl,--dynamic-linker`."
    if is_musl(elf.interpreter):
        return "Link it with `musl-gcc -static` (or `gcc -static` where musl is the system's C library)."
    return "Link it with `gcc -static`, or compile it with `musl-gcc -static`."
