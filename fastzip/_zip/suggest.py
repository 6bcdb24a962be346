"""Which of the names that there are somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Final

_LOOKED_AT: Final = 5_000
"""Names that a misspelt one is compared with: an archive may have millions, at 10 µs each."""


def nearest(wanted: str, names: Iterable[str]) -> str | None:
    """The name that is most like the one that was asked for; None where none is like it."""
    some = list(islice(names, _LOOKED_AT))
    folded = wanted.casefold()
    for name in some:  # difflib finds that "X" and "x" have nothing in common
        if name.casefold() == folded:
            return name
    close = difflib.get_close_matches(wanted, some, n=1)
    return close[0] if close else None
