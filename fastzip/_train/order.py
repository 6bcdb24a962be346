"""The order of an epoch: pure functions of numbers, the same everywhere and for ever.

NumPy promises that the streams of its bit generators stay as they are, and not what
`Generator.permutation` makes of them; so the order is made of the bits themselves.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SEEDS: Final = 1 << 64
"""Seeds and epochs are below this."""

_PIECE: Final = 1 << 16
"""Numbers that temporary memory is taken for: each worker has its own."""

Order = npt.NDArray[np.int64]


def shuffled(n: int, seed: int, epoch: int, stream: int = 0) -> Order:
    """The numbers below n in an order that (seed, epoch) gives; another one for each stream.

    Philox4x64-10 with the key (seed, epoch), its counter from stream * 2 ** 192 + 1 on, gives n
    numbers of 64 bits. The lowest bits of the i-th, as many as n - 1 has, are replaced by i.
    Sorted, these bits are the order.
    """
    key = np.array([seed, epoch], np.uint64)
    drawn: npt.NDArray[np.uint64] = np.random.Philox(key=key, counter=stream << 192).random_raw(n)
    low = np.uint64((1 << max(n - 1, 0).bit_length()) - 1)
    for start in range(0, n, _PIECE):
        part = drawn[start : start + _PIECE]
        part &= ~low
        part |= np.arange(start, start + len(part), dtype=np.uint64)
    drawn.sort()
    drawn &= low
    return drawn.view(np.int64)


def bucket(
    order: Order, lengths: Order, step: int, steps: int, key: tuple[int, int] | None
) -> None:
    """Change this order of samples so that those of a step are of about one length.

    What doesn't make a whole step stays at the end. The others are sorted by length, `steps` steps
    at a time; samples of one length stay as they were. With a key (seed, epoch), the steps are then
    put in the order that stream 1 of `shuffled` gives.
    """
    whole = len(order) // step * step
    window = min(steps * step, max(whole, 1))
    full = whole // window * window
    across = max(1, _PIECE // window) * window
    for start in range(0, full, across):
        _sort_rows(order[start : min(start + across, full)].reshape(-1, window), lengths)
    _sort_rows(order[full:whole].reshape(1, -1), lengths)
    if key is not None:
        body = order[:whole].reshape(-1, step)
        body[:] = body[shuffled(len(body), *key, stream=1)]


def _sort_rows(rows: Order, lengths: Order) -> None:
    by_length = np.argsort(lengths[rows], axis=1, kind="stable")
    rows[:] = np.take_along_axis(rows, by_length, axis=1)


def batches(n: int, batch_size: int, drop_last: bool, rank: int, world_size: int) -> int:
    """How many batches of n samples a rank gets; see `batch`."""
    steps, left = divmod(n, batch_size * world_size)
    return steps + (not drop_last and left > rank)


def batch(
    order: Order | None, n: int, start: int, batch_size: int, rank: int, world_size: int
) -> Order:
    """A rank's batch of the step that begins at this place of the order; None: 0, 1, 2, …

    Each step takes the next batch_size * world_size samples, the last one what is left, and deals
    them out in turn."""
    stop = min(n, start + batch_size * world_size)
    if order is None:
        return np.arange(start + rank, stop, world_size, dtype=np.int64)
    return order[start + rank : stop : world_size]
