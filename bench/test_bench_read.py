"""`npz[key]`, one array after the other, against `np.load`."""

from collections.abc import Callable

import pytest
from rows import ROWS

NAMES = [row.id for row in ROWS.values() if row.pair and row.id.startswith("key-")]


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("row", NAMES)
def test_read(compare: Callable[[str, str, int], None], row: str, side: str) -> None:
    compare(row, side, 15)
