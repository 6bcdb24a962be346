"""Opening archives of very many members; the speed table adds what only fresh processes show."""

from collections.abc import Callable

import pytest
from rows import ROWS

NAMES = [row.id for row in ROWS.values() if row.pair and row.id.startswith("open-")]


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("row", NAMES)
def test_open(compare: Callable[[str, str, int], None], row: str, side: str) -> None:
    compare(row, side, 5)
