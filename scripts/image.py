"""Build the container image of rootless-scratch itself, with the Python, the packages and the skopeo of this host.

Arguments go to `rootless-scratch build`; without any it is named rootless-scratch:VERSION. The same host gives the
same image each time.
"""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rootless_scratch import __version__  # noqa: E402 - the checkout's own
from rootless_scratch.host.environment import ACCEPT_ALL  # noqa: E402 - likewise

PACKAGE_DATA = {
    "Containerfile.in": "rootless_scratch/image/write/Containerfile.in",
    "docs/scratch.schema.json": "rootless_scratch/scratch.schema.json",
}
"""As the wheel has them: pyproject.toml."""

EXTRA = "zstd"
KEPT = ("METADATA", "entry_points.txt", "WHEEL")
"""Of a dist-info; the rest says how and where it was installed. Licences stay too."""

LOADED = """
import importlib, pkgutil, sys
import rootless_scratch
for module in pkgutil.walk_packages(rootless_scratch.__path__, "rootless_scratch."):
    if not module.name.endswith(("__main__", "pytest_plugin", "worker.main", "namespace_probe", "inside")):
        importlib.import_module(module.name)
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""
"""Prints the files of all modules that any verb loads."""


def requirements() -> list[metadata.Distribution]:
    """What the package needs, and what that needs in turn; what a marker excludes is not installed."""
    found: dict[str, metadata.Distribution] = {}
    waiting = ["rootless-scratch"]
    while waiting:
        name = waiting.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for line in distribution.requires or ():
            extra = re.search(r"extra == ['\"]([^'\"]*)", line)
            other = re.match(r"[\w.-]+", line)
            if other is not None and (extra is None or (name == "rootless-scratch" and extra[1] == EXTRA)):
                normal = re.sub(r"[-_.]+", "-", other[0]).lower()
                if normal not in found and normal not in waiting:
                    waiting.append(normal)
        found[name] = distribution
    del found["rootless-scratch"]
    return [found[name] for name in sorted(found)]


def put(source: Path, place: Path) -> None:
    """Copy a file with the mode that files of an image have."""
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    place.chmod(0o644)


def stage_packages(site: Path) -> None:
    """The package and what it needs, as pip would install them, without tests and traces of the installation."""
    for distribution in requirements():
        for file in distribution.files or ():
            parts = file.parts
            info = parts[0].endswith(".dist-info")
            unwanted = {"..", "tests", "__pycache__"} & set(parts) or file.suffix == ".pth"
            if unwanted or (info and parts[1] not in (*KEPT, "licenses") and not parts[1].startswith("LICEN")):
                continue
            put(Path(str(distribution.locate_file(file))), site.joinpath(*parts))
    for path in sorted(ROOT.glob("rootless_scratch/**/*")):
        if path.is_file() and "__pycache__" not in path.parts:
            put(path, site / path.relative_to(ROOT))
    for source, place in PACKAGE_DATA.items():
        put(ROOT / source, site / place)


def compile_all(files: dict[Path, str], top: Path) -> None:
    """Compile each file for its path in the image, below `top`; nothing in the result tells when or where."""
    for source, path in sorted(files.items()):
        name = f"{Path(path).stem}.{sys.implementation.cache_tag}.pyc"
        cached = top / os.path.dirname(path).lstrip("/") / "__pycache__" / name
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(source), cfile=str(cached), dfile=path, doraise=True, invalidation_mode=mode)
        cached.chmod(0o644)


def loaded(site: Path) -> list[Path]:
    """The files of all modules that any verb loads, those of the standard library included."""
    words = [sys.executable, "-B", "-c", LOADED]
    own = {"PYTHONPATH": str(site)}
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=True)
    roots = (f"{site}/", f"{os.path.dirname(os.__file__)}/")
    return [
        Path(line) for line in sorted(set(done.stdout.split())) if line.startswith(roots) and line.endswith(".py")
    ]


def write(path: Path, content: str, mode: int = 0o644) -> str:
    """A file of our own; its path."""
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def tool(name: str) -> str:
    """Where a program of this host is."""
    found = shutil.which(name)
    if found is None:
        sys.exit(f"image: {name} is not installed")
    return found


def options(stage: Path) -> list[str]:
    """What `build` is asked for."""
    python = os.path.realpath(sys.executable)
    ask = [python, "-I", "-c", "import site; print(site.getsitepackages()[0])"]
    place = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    site, compiled = stage / "site", stage / "compiled"
    stage_packages(site)
    compile_all({path: str(path).replace(str(site), place) for path in loaded(site)}, compiled)
    program = f"#!{python}\nfrom rootless_scratch.__main__ import main\n\nmain()\n"
    busybox = tool("busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    words = [
        f"{write(stage / 'rootless-scratch', program, 0o755)}:/usr/bin/rootless-scratch",
        f"{busybox}:/bin/busybox",
        f"{tool('skopeo')}:/usr/bin/skopeo",
        *("--copy", f"{site}:{place}", "--copy", f"{compiled}:/"),
        *("--copy", f"{write(stage / 'policy.json', ACCEPT_ALL.decode())}:/etc/containers/policy.json"),
        *("--symlink", f"{os.path.basename(python)}:{os.path.dirname(python)}/python3"),
        *("--bundle-libraries", "--with", "python,ca-certificates,nonroot,nsswitch,services,tmp"),
        *("--mkdir", "/var/tmp:mode=1777", "--mkdir", "/work:mode=1777", "--workdir", "/work"),  # noqa: S108
        # In jobs of any user id, with a home or without.
        *("--user", "0", "--env", "HOME=/tmp"),
        *("--label", "org.opencontainers.image.title=rootless-scratch"),
        *("--label", f"org.opencontainers.image.version={__version__}"),
    ]
    for applet in sorted(set(applets) - {"busybox"}):
        words += ["--symlink", f"busybox:/bin/{applet}"]
    return words


def main() -> int:
    """Put everything into a directory, and build."""
    if not (sys.flags.hash_randomization == 0 and os.environ.get("PYTHONHASHSEED") == "0"):
        # The order of sets is in what is compiled.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this script again
    asked = sys.argv[1:] or ["-t", f"rootless-scratch:{__version__}"]
    with tempfile.TemporaryDirectory(prefix="rsi-") as directory:
        words = options(Path(directory))
        command = [sys.executable, "-m", "rootless_scratch", "build", *words, *asked]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
