"""The options by their keywords in Python; made by `python scripts/reference.py` of the rows of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor


class ConfigOptions(TypedDict, total=False):
    """What an image says to a runtime."""

    entrypoint: Sequence[str] | None
    cmd: Sequence[str] | None
    env: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    user: int | str
    workdir: str
    ports: Iterable[int | str]
    volumes: Iterable[str]
    stop_signal: str | None
    created: int | str | None


class ImageOptions(ConfigOptions, total=False):
    """Those of an image, but for its programs and its names."""

    platforms: Mapping[str, str | os.PathLike[str]] | None
    copy: Iterable[str]
    exclude: Iterable[str]
    mkdir: Iterable[str]
    symlink: Iterable[str]
    essentials: Iterable[str]
    bundle_libraries: bool
    include_libraries: Sequence[str]
    bundle_packages: Sequence[str]
    sysroot: str | os.PathLike[str] | None


class BuildOptions(ImageOptions, total=False):
    """The options of `build`."""

    tag: str | Sequence[str]
    sbom: str | Sequence[str]
    output: str | Sequence[str]
    backend: str | None
    compress: str | None
    cache_from: str | Sequence[str]
    cache_to: str | Sequence[str]
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    retries: int
    format: str
    check: bool


class FileOptions(BuildOptions, total=False):
    """The options of `build_file`; those of an image override the file."""

    build_args: Mapping[str, str | None] | None
    build_contexts: Mapping[str, str | os.PathLike[str]] | None
    target: str | None
    platform: str | Sequence[str]
    secrets: Sequence[str]
    ssh: Sequence[str]
    network: str | None
    compat: str | None
    ignorefile: str | os.PathLike[str] | None
    no_cache: bool
    pull: bool


class BakeOptions(TypedDict, total=False):
    """The options of `bake`."""

    output: str | Sequence[str]
    push: bool
    load: bool
    check_only: bool
    jobs: int | None
    executor: Executor | str | None
    shard: str | None
    compress: str | None
    cache_from: str | Sequence[str]
    cache_to: str | Sequence[str]
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    retries: int
    format: str
    check: bool


class VerifyOptions(ImageOptions, total=False):
    """The options of `verify`."""

    limits: Mapping[str, int] | None


class CheckOptions(TypedDict, total=False):
    """The options of `check`."""

    bundle_libraries: bool
    sysroot: str | os.PathLike[str] | None
    platform: str | None
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    limits: Mapping[str, int] | None


class GenerateOptions(TypedDict, total=False):
    """The options of `generate`."""

    image_name: str | None
    replicas: int | None
    name: str | None
    user: int | str | None
    env: Mapping[str, str] | None
    publish: Sequence[str] | Mapping[int | str, int | tuple[str, int | None] | None]
    volumes: Sequence[str]
    tmpfs: Sequence[str]
    health_cmd: str | None
    stop_timeout: int | None
    memory: int | str | None
    cpus: float | None
    pids_limit: int | None
    writable: bool
    cap_add: Sequence[str]
    platform: str | None
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    limits: Mapping[str, int] | None


class PushOptions(TypedDict, total=False):
    """The options of `push`."""

    compress: str | None
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    retries: int
    format: str
    limits: Mapping[str, int] | None


class SaveOptions(TypedDict, total=False):
    """The options of `save`."""

    compress: str | None
    repair: bool
    limits: Mapping[str, int] | None


class SbomOptions(TypedDict, total=False):
    """The options of `sbom`."""

    format: str | None
    bundle_libraries: bool
    sysroot: str | os.PathLike[str] | None
    platform: str | None
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    limits: Mapping[str, int] | None


class ContainerOptions(TypedDict, total=False):
    """The options that any container has; all have a default.

    `url` and `connection` name the podman service; else the environment does, or it is one of this host. `publish`
    has values as `--publish`, or ports of the container, each with where the host listens for it: a port,
    `(address, port)`, or None for a free one.
    """

    env: Mapping[str, str] | None
    env_file: Sequence[str]
    user: int | str | None
    workdir: str | None
    entrypoint: str | Sequence[str] | None
    platform: str | None
    essentials: Sequence[str]
    pull: bool | str
    authfile: str | os.PathLike[str] | None
    tls_verify: bool | None
    cert_dir: str | os.PathLike[str] | None
    init: bool
    health_cmd: str | None
    stop_signal: int | str | None
    stop_timeout: int | None
    hostname: str | None
    name: str | None
    replace: bool
    keep_service: int | str | None
    labels: Mapping[str, str] | None
    volumes: Sequence[str]
    mounts: Sequence[str]
    tmpfs: Sequence[str]
    secrets: Sequence[str]
    userns: str | None
    network: str | None
    add_host: Sequence[str]
    dns: Sequence[str]
    dns_search: Sequence[str]
    publish: Sequence[str] | Mapping[int | str, int | tuple[str, int | None] | None]
    memory: int | str | None
    cpus: float | None
    pids_limit: int | None
    ulimits: Sequence[str]
    strict: bool
    url: str | None
    connection: str | None
    read_only: bool
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    writable: bool
    cap_add: Sequence[str]
    allow_new_privileges: bool
    seccomp: str | os.PathLike[str] | None
    devices: Sequence[str]


class Options(ContainerOptions, total=False):
    """The options of `run`."""

    interactive: bool
    tty: bool
    detach_keys: str
    detach: bool
    timeout: float | None
    keep: bool
    rm: bool
    log_driver: str | None
    unpacked: bool
