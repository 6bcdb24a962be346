"""Whole epochs by `Loader`, alone and while Python code runs."""

from collections.abc import Callable

import pytest
from rows import ROWS

NAMES = [row.id for row in ROWS.values() if row.id.startswith("loader-")]


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("row", NAMES)
def test_loader(compare: Callable[[str, str, int], None], row: str, side: str) -> None:
    compare(row, side, 5)
