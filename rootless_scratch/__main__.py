"""The command line, by its name and by `python -m`; interrupted while it loads, it ends as it would later."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import signal as _signal
else:
    # Where it is defined: `signal` itself takes 2 ms to import.
    import _signal

_INTERRUPTED = 128 + 2
"""As a shell says it: SIGINT."""


def _end(_number: int, _frame: object) -> None:
    os._exit(_INTERRUPTED)


if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # Nothing is begun before `main` catches it by itself.
    _signal.signal(_signal.SIGINT, _end)

import gc  # noqa: E402 - only now

# Imports make many objects and no garbage; looking for some all the while takes a tenth of their time.
gc.set_threshold(50_000)

from rootless_scratch.cli.main import main  # noqa: E402 - likewise

if __name__ == "__main__":
    main()
