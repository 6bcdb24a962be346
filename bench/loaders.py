"""torch's DataLoader with two workers over np.load, against `ArchiveDataset` and `Loader`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import data
import numpy as np
from work import Pair

import fastzip

EPOCHS = 4  # different orders


class Members:
    """A dataset as people write it: the archive is opened in each worker, a sample at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        with np.load(path) as npz:
            self.names = npz.files
        self.npz: Any = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        if self.npz is None:
            self.npz = np.load(self.path)
        return self.npz[self.names[index]]


class Order:
    """A sampler whose order is set from outside, for the next epoch."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)


OPTIONS: Any = {
    "num_workers": 2,
    "multiprocessing_context": "fork",
    "persistent_workers": True,
}


def usual(path: str, order: Order, batch_size: int) -> Any:
    """The DataLoader that people write, with two forked workers that stay."""
    from torch.utils.data import DataLoader

    members: Any = Members(path)
    return DataLoader(members, sampler=order, batch_size=batch_size, **OPTIONS)


def through(loader: Any, order: Order) -> Any:
    """Goes through an epoch in an order that is given."""

    def call(chosen: list[int]) -> None:
        order.order = chosen
        for _ in loader:
            pass

    return call


@contextmanager
def loading(name: str, batch_size: int) -> Iterator[Pair]:
    """A shuffled epoch with two workers on both sides; both orders are the same."""
    from torch.utils.data import DataLoader

    from fastzip.torch import ArchiveDataset, collate

    members = data.SETS[name].members
    rng = np.random.default_rng(data.SETS[name].seed + 2000)
    orders = [rng.permutation(members).tolist() for _ in range(EPOCHS)]
    path, order = data.path(name), Order(orders[0])
    theirs = usual(path, order, batch_size)
    dataset = ArchiveDataset(path)
    ours = DataLoader(dataset, batch_size, sampler=order, collate_fn=collate, **OPTIONS)
    for one, other in zip(theirs, ours, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape or not one.equal(other):
            raise AssertionError("A and B differ")
    calls = through(theirs, order), through(ours, order)
    yield Pair("numpy", "fastzip", *calls, orders, members, other[0].nbytes)


@contextmanager
def without_workers(name: str, batch_size: int, threads: int) -> Iterator[Pair]:
    """A shuffled epoch with their two workers, and by `Loader` with threads; in the same orders."""
    path, members = data.path(name), data.SETS[name].members
    with fastzip.load(path) as npz:
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "threads": threads}
        numbered = fastzip.Loader(np.arange(members), **options)
        orders = [np.concatenate(list(numbered)).tolist() for _ in range(EPOCHS)]
        order = Order(orders[0])
        theirs, ours = usual(path, order, batch_size), fastzip.Loader(npz, **options)
        for one, other in zip(theirs, ours, strict=True):
            if not np.array_equal(one, other) or one.numpy().dtype != other.dtype:
                raise AssertionError("A and B differ")

        def mine(chosen: list[int]) -> None:
            ours.set_epoch(orders.index(chosen))
            for _batch in ours:
                pass

        calls = through(theirs, order), mine
        yield Pair("numpy", "fastzip", *calls, orders, members, other[0].nbytes)
