"""How a verb is to show what it has to say; without click, which a verb may do without."""

from __future__ import annotations

from rootless_scratch.data import Data

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.errors import ScratchError


class Show(Data):
    """How a verb is to show what it has to say: the options that every verb has."""

    as_json: bool
    quiet: bool
    verbose: bool


class VerbError(Exception):
    """An error of a verb, with how it is to be shown."""

    def __init__(self, error: ScratchError, show: Show) -> None:
        super().__init__(error.message)
        self.error = error
        self.show = show
