"""`fetch` against the bare engine, with two threads, and while Python code runs."""

from collections.abc import Callable

import pytest
from rows import ROWS

NAMES = [
    row.id
    for row in ROWS.values()
    if row.pair and row.id.startswith(("fetch", "room-", "bare2-", "busy-", "padded"))
]


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("row", NAMES)
def test_fetch(compare: Callable[[str, str, int], None], row: str, side: str) -> None:
    compare(row, side, 40)
