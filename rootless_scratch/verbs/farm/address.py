"""What names a Dask cluster: the address of its scheduler, the file of one, or a Client in Python."""

from __future__ import annotations

from rootless_scratch.errors import UsageError
from rootless_scratch.expressions import expression

FILE = ".json"
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "inproc")
_ADDRESS = expression(rf"(?:(?:{'|'.join(_SCHEMES)})://)?[^\s:/@]+:\d+|(?:{'|'.join(_SCHEMES)})://\S+")


def is_client(value: object) -> bool:
    """Whether this is a `distributed.Client`, which nothing is loaded to find out."""
    return any(
        each.__module__ == "distributed.client" and each.__name__ == "Client" for each in type(value).__mro__
    )


def require_address(address: str) -> None:
    """Raise UsageError for what names neither a scheduler nor the file of one."""
    if not (_ADDRESS.fullmatch(address) or address.endswith(FILE)):
        raise UsageError(
            f"{address!r} is not the address of a Dask scheduler.",
            fix="Write `--executor dask:HOST:PORT`, `dask:tls://HOST:PORT`, or `dask:FILE.json`.",
        )
