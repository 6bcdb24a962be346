"""Images and labels of two data sets, put together in one archive, and read back in batches.

    python examples/two_datasets.py

The archive is an ordinary zip of .npy files: `numpy.load` and `unzip` read it as well.
"""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fastzip


def add(
    archive: zipfile.ZipFile, folder: str, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    """Write one data set into a folder of the archive."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        for kind, array in ("image", image), ("label", np.array(label)):
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{folder}/{i:06}.{kind}.npy", file.getvalue())


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 50, (60, 28, 28), np.uint8), rng.integers(0, 10, 60)
    two = rng.integers(0, 50, (40, 28, 28), np.uint8), rng.integers(10, 36, 40)

    path = folder / "both.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        add(archive, "digits", *one)
        add(archive, "letters", *two)

    with fastzip.open_npz(path) as npz:
        images = [name for name in npz.files if name.endswith(".image")]
        labels = npz.fetch([name.replace(".image", ".label") for name in images])  # small: once
        order = rng.permutation(len(images))
        seen = 0
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            batch = npz.fetch([images[i] for i in chosen])
            assert np.array_equal(batch, np.concatenate([one[0], two[0]])[chosen])
            assert np.array_equal(labels[chosen], np.concatenate([one[1], two[1]])[chosen])
            seen += len(batch)
    print(f"{seen} samples of two data sets, as they were")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
