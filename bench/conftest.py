"""Lets pytest-benchmark time the pairs of `work.py`, A and B side by side in one group."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rows import ROWS


@pytest.fixture
def compare(benchmark: Any) -> Callable[[str, str, int], None]:
    """Time one side ("a" or "b") of a row, every round on another draw; nothing timed can fail."""

    def run(row: str, side: str, rounds: int) -> None:
        make = ROWS[row].pair
        assert make is not None
        with make() as pair:
            numbers = iter(range(rounds + 1))

            def setup() -> tuple[tuple[Any], dict[str, Any]]:
                pair.reset()
                return (pair.draw(side, next(numbers)),), {}

            benchmark.group = row
            benchmark.name = f"{row}-{getattr(pair, side + '_name')}"
            benchmark.extra_info["items"] = pair.items
            benchmark.pedantic(getattr(pair, side), setup=setup, rounds=rounds)

    return run
