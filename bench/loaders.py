"""torch's DataLoader with two workers: `ArchiveDataset` against a dataset of np.load."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import data
import numpy as np
from work import Pair

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


@contextmanager
def loading(name: str, batch_size: int) -> Iterator[Pair]:
    """A shuffled epoch with two forked workers that stay; both orders are the same."""
    from torch.utils.data import DataLoader

    from fastzip.torch import ArchiveDataset, collate

    members = data.SETS[name].members
    rng = np.random.default_rng(data.SETS[name].seed + 2000)
    orders = [rng.permutation(members).tolist() for _ in range(EPOCHS)]
    options: Any = {
        "batch_size": batch_size,
        "num_workers": 2,
        "multiprocessing_context": "fork",
        "persistent_workers": True,
    }
    path, order = data.path(name), Order(orders[0])
    theirs = DataLoader(Members(path), sampler=order, **options)  # type: ignore[arg-type]
    ours = DataLoader(ArchiveDataset(path), sampler=order, collate_fn=collate, **options)
    for one, other in zip(theirs, ours, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape or not one.equal(other):
            raise AssertionError("A and B differ")
    item_bytes = other[0].nbytes

    def side(loader: Any) -> Any:
        def call(chosen: list[int]) -> None:
            order.order = chosen
            for _ in loader:
                pass

        return call

    yield Pair("numpy", "fastzip", side(theirs), side(ours), orders, members, item_bytes)
