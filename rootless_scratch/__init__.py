"""Turn program files into FROM scratch container images and run them, without root and without a daemon.

    import rootless_scratch as rs

    image = rs.build("build/hello", tag="hello:latest")
    result = rs.run(image, ["--version"], timeout=10)

Every error is a `ScratchError` (rootless_scratch.errors). What is exported here is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.api import (
        bake,
        build,
        build_file,
        check,
        check_file,
        container,
        generate,
        push,
        run,
        save,
        sbom,
        verify,
        watch,
    )
    from rootless_scratch.backends.verify import Difference, Verification
    from rootless_scratch.bakefiles.results import Baked, Result
    from rootless_scratch.deployments.workload import Generated
    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.engine.container.executing import ExecResult
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.errors import (
        BuildError,
        CacheError,
        CannotInvokeError,
        CommandError,
        CommandNotFoundError,
        CommandTimeoutError,
        ElfError,
        EndedEarlyError,
        EngineError,
        EngineTimeoutError,
        HostError,
        ImageNotFoundError,
        LimitError,
        RefusedError,
        RegistryError,
        ScratchError,
        SourceError,
        SpecError,
        ToolMissingError,
        UsageError,
    )
    from rootless_scratch.findings import Finding, Judgement
    from rootless_scratch.image.finished import Image, PlatformImage, Shipped
    from rootless_scratch.root import Root, scratch
    from rootless_scratch.verbs.cache import Cache, CachedLayer, Pruned, cache
    from rootless_scratch.verbs.sbom import Sbom
    from rootless_scratch.verbs.service import service
    from rootless_scratch.verbs.watch import Rebuilt, Watching

__version__ = "0.2.0"

__all__ = [
    "Baked",
    "BuildError",
    "Cache",
    "CacheError",
    "CachedLayer",
    "CannotInvokeError",
    "CommandError",
    "CommandNotFoundError",
    "CommandTimeoutError",
    "Difference",
    "ElfError",
    "EndedEarlyError",
    "EngineError",
    "EngineTimeoutError",
    "ExecResult",
    "Finding",
    "Generated",
    "HostError",
    "Image",
    "ImageNotFoundError",
    "Judgement",
    "LimitError",
    "PlatformImage",
    "Pruned",
    "Rebuilt",
    "RefusedError",
    "RegistryError",
    "Result",
    "Root",
    "RunResult",
    "RunningContainer",
    "Sbom",
    "ScratchError",
    "Shipped",
    "SourceError",
    "SpecError",
    "ToolMissingError",
    "UsageError",
    "Verification",
    "Watching",
    "__version__",
    "bake",
    "build",
    "build_file",
    "cache",
    "check",
    "check_file",
    "container",
    "generate",
    "push",
    "run",
    "save",
    "sbom",
    "scratch",
    "service",
    "verify",
    "watch",
]

_HOMES = {
    "api": (
        *("bake", "build", "build_file", "check", "check_file", "container", "generate", "push", "run", "save"),
        *("sbom", "verify", "watch"),
    ),
    "bakefiles.results": ("Baked", "Result"),
    "backends.verify": ("Difference", "Verification"),
    "deployments.workload": ("Generated",),
    "root": ("Root", "scratch"),
    "engine.container.running": ("RunningContainer",),
    "verbs.cache": ("Cache", "CachedLayer", "Pruned", "cache"),
    "verbs.sbom": ("Sbom",),
    "verbs.service": ("service",),
    "verbs.watch": ("Rebuilt", "Watching"),
    "engine.container.executing": ("ExecResult",),
    "engine.container.ending": ("RunResult",),
    "findings": ("Finding", "Judgement"),
    "image.finished": ("Image", "PlatformImage", "Shipped"),
}


def __getattr__(name: str) -> object:
    """Load what is exported at its first use, so that importing the package costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
