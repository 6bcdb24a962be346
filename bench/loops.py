"""Whole epochs: what a training loop does with its data, around the reading of members."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import data
import numpy as np
from work import Pair, keys, same

import fastzip

COMPUTING = 0.005  # seconds of Python code for each batch


def usual(npz: Any, order: Any, batch_size: int) -> Iterator[Any]:
    """The generator that people write: a key after the other, in shuffled order."""
    for start in range(0, len(order), batch_size):
        names = keys(order[start : start + batch_size])
        yield np.stack([npz[name] for name in names])


def prove(loader: fastzip.Loader, npz: Any, batch_size: int) -> None:
    """The loader's first batches are those members, and its epoch all of them."""
    positions = []
    for number, (batch, chosen) in enumerate(loader):
        positions.append(chosen)
        if number < 3:
            same(next(usual(npz, chosen, batch_size)), batch)
    if sorted(np.concatenate(positions)) != list(range(len(npz))):
        raise AssertionError("an epoch that isn't one")


@contextmanager
def epochs(name: str, batch_size: int, threads: int) -> Iterator[Pair]:
    """A shuffled epoch by the usual generator over `np.load`, and by `Loader`."""
    path = data.path(name)
    with np.load(path) as numpys, fastzip.load(path) as ours:
        n = len(ours)
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "threads": threads}
        prove(fastzip.Loader(ours, np.arange(n), **options), numpys, batch_size)
        loader = fastzip.Loader(ours, **options)

        def theirs(epoch: int) -> None:
            order = np.random.default_rng(epoch).permutation(n)
            for _batch in usual(numpys, order, batch_size):
                pass

        def mine(epoch: int) -> None:
            loader.set_epoch(epoch)
            for _batch in loader:
                pass

        size = numpys[data.NAME.format(0)].nbytes
        yield Pair("numpy", "loader", theirs, mine, list(range(8)), n, size)


def computing() -> Callable[[], None]:
    """A function that runs Python code for COMPUTING seconds, when nobody else is at work."""

    def turns(count: int) -> None:
        for _ in range(count):
            pass

    def seconds(count: int) -> float:
        start = perf_counter()
        turns(count)
        return perf_counter() - start

    rate = median(10_000 / seconds(10_000) for _ in range(50))
    return lambda: turns(int(rate * COMPUTING))


@contextmanager
def computing_epochs(name: str, batch_size: int, threads: int, batches: int) -> Iterator[Pair]:
    """Loading or computing alone, whichever takes longer, and both at once."""
    with np.load(data.path(name)) as numpys, fastzip.load(data.path(name)) as ours:
        some = slice(batch_size * batches)
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "threads": threads}
        prove(fastzip.Loader(ours, np.arange(len(ours)), **options), numpys, batch_size)
        loader, compute = fastzip.Loader((ours, some), **options, prefetch=2), computing()

        def loading(epoch: int) -> None:
            loader.set_epoch(epoch)
            for _batch in loader:
                pass

        def alone(epoch: int) -> None:
            for _ in range(batches):
                compute()

        def both(epoch: int) -> None:
            loader.set_epoch(epoch)
            for _batch in loader:
                compute()

        def seconds(act: Callable[[int], None], epoch: int) -> float:
            start = perf_counter()
            act(epoch)
            return perf_counter() - start

        loads, computes = (
            median(seconds(act, epoch) for epoch in range(5)) for act in (loading, alone)
        )
        longer, called = (loading, "loading") if loads > computes else (alone, "computing")
        yield Pair(called, "both", longer, both, list(range(8)), batches)
