"""Measure one row of the speed table in this process; prints one line of JSON.

    FASTZIP_ENGINE=libdeflate python bench/measure.py fetch-bitmaps [--quick]

A and B take turns, A B, B A, A B …, so that what else the machine does meets both alike; what
counts is the median of each. `speed_table.py` calls this once for every row and engine.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import count, islice
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import work
from rows import ROWS, Row

ROUNDS, SECONDS, LONG = 21, 3.0, 30.0  # at least so many, and so long; no more rounds after LONG
FRESH = 9  # samples from fresh processes


def turns(pair: work.Pair) -> Iterator[tuple[float, float]]:
    """Seconds of A and of B, round after round."""
    for number in count():
        seconds = {}
        for side in ("a", "b") if number % 2 == 0 else ("b", "a"):
            call, draw = getattr(pair, side), pair.draw(side, number)
            pair.reset()
            start = perf_counter()
            call(draw)
            seconds[side] = perf_counter() - start
        yield seconds["a"], seconds["b"]


def enough(samples: Iterator[tuple[float, float]], quick: bool) -> list[tuple[float, float]]:
    """Rounds until there are many and they took long; few of those that take seconds each."""
    least, seconds = (5, 0.2) if quick else (ROUNDS, SECONDS)
    taken, spent = [], 0.0
    for sample in samples:
        taken.append(sample)
        spent += sum(sample)
        if len(taken) >= least and spent >= seconds:
            break
        if len(taken) >= 5 and spent >= LONG:
            break
    return taken


def measure(row: Row, quick: bool) -> dict[str, Any]:
    """Medians of A and B for one piece of work, their ratio and the spread of the ratio."""
    items, item_bytes = 1, 0
    if row.pair:
        with row.pair() as pair:
            samples = enough(turns(pair), quick)
            items, item_bytes = pair.items, pair.item_bytes
    else:
        assert row.samples
        samples = list(islice(row.samples(), 3 if quick else FRESH))
    a, b = (median(side) / items for side in zip(*samples, strict=True))
    spread = quantiles((one / other for one, other in samples), n=4)
    notes = [f"{item_bytes / b / 1e6:,.0f} MB/s"] if item_bytes else []
    notes += [row.note()] if row.note else []
    return {
        "row": row.id,
        "engine": work.engine(),
        "a": a,
        "b": b,
        "ratio": a / b,
        "quartiles": spread,
        "rounds": len(samples),
        "note": "; ".join(notes),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure one row of the speed table.")
    parser.add_argument("row", choices=ROWS, metavar="ROW")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    asked = parser.parse_args()
    print(json.dumps(measure(ROWS[asked.row], asked.quick)))
