"""Sequences of different lengths: padded batches with a mask, of about one length each.

    python examples/padded.py

Before: a loop over `np.load`, `np.pad` and `np.stack`. After: `fastzip.Loader` with a `Padded`
source, which inflates each sequence into its row while the last batch is worked on.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastzip

BATCH = 16
PAD = 0


def before(path: Path, order: NDArray[np.int64]) -> Iterator[tuple[Any, Any]]:
    """One member after the other, each copied twice on its way into the batch."""
    with np.load(path) as npz:
        names = npz.files
        for start in range(0, len(order), BATCH):
            members = [npz[names[i]] for i in order[start : start + BATCH]]
            longest = max(map(len, members))
            padded = [np.pad(m, (0, longest - len(m)), constant_values=PAD) for m in members]
            yield np.stack(padded), np.array([len(m) for m in members])


def make(path: Path, members: int = 400) -> NDArray[np.int64]:
    """Sentences of token ids; most are short."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.02, members), 512)
    ids = {f"{i:06}": rng.integers(1, 30_000, n).astype(np.uint16) for i, n in enumerate(lengths)}
    np.savez_compressed(path, **ids)
    return lengths


def filling(loader: fastzip.Loader) -> int:
    """How many elements of an epoch's batches are filling."""
    return sum(batch.size - int(lengths.sum()) for (batch, lengths), _ in loader)


def main(folder: Path) -> None:
    path = folder / "sentences.npz"
    right = make(path)
    with fastzip.open_npz(path) as npz:
        numbers = np.arange(len(npz))  # stands for labels: which sample is it?
        source = fastzip.Padded(npz, fill_value=PAD)
        options: dict[str, Any] = {"batch_size": BATCH, "shuffle": True, "seed": 1}
        loader = fastzip.Loader(source, numbers, **options, bucket_by_length=10)
        for _epoch in range(2):
            order: list[int] = []
            for (batch, lengths), chosen in loader:
                mask = np.arange(batch.shape[1]) < lengths[:, None]
                assert (mask.sum(axis=1) == right[chosen]).all()
                ((old, _),) = before(path, chosen)
                assert np.array_equal(batch, old)
                order += chosen.tolist()
            assert sorted(order) == numbers.tolist()
        loader.set_epoch(0)
        assert 2 * filling(loader) <= filling(fastzip.Loader(source, numbers, **options))
    print(f"{len(order)} sentences in each of 2 epochs, half the filling or less")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
