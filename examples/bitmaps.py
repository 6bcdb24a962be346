"""The usual generator of shuffled batches, and what it becomes.

    python examples/bitmaps.py [training.npz]

Without an archive it makes a small one, as many people make theirs: `numpy.savez_compressed`, a
member for each image.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastzip

BATCH = 32


def before(path: Path, seed: int) -> Iterator[NDArray[np.uint8]]:
    """One member after the other: its name, its header, its bytes, a copy into the batch."""
    with np.load(path) as npz:
        names = np.array(npz.files)
        np.random.default_rng(seed).shuffle(names)
        for start in range(0, len(names), BATCH):
            yield np.stack([npz[name] for name in names[start : start + BATCH]])


def after(path: Path, seed: int) -> Iterator[NDArray[np.uint8]]:
    """The same batches: each is inflated into its place by all CPUs."""
    with fastzip.open_npz(path) as npz:
        order = np.arange(len(npz))
        np.random.default_rng(seed).shuffle(order)
        for start in range(0, len(order), BATCH):
            yield npz.fetch(order[start : start + BATCH])


def make(path: Path, members: int = 300) -> None:
    """Glyphs, more or less: black and white, mostly empty."""
    rng = np.random.default_rng(0)
    images: dict[str, Any] = {}
    for i in range(members):
        image = np.zeros((64, 96), np.uint8)
        for row, column in rng.integers(4, 60, (6, 2)):
            image[row - 2 : row + 2, column : column + 20] = 255
        images[f"ix-{i:06}"] = image
    np.savez_compressed(path, **images)


def main(folder: Path) -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "training.npz"
    if len(sys.argv) < 2:
        make(path)
    samples = 0
    for old, new in zip(before(path, seed=1), after(path, seed=1), strict=True):
        assert np.array_equal(old, new)
        samples += len(new)
    print(f"{samples} samples, every batch the same")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
