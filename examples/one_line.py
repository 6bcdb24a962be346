"""A reader of data sets as image generators have them, with one line changed: the import.

    python examples/one_line.py

The data set is a .zip of samples with a `dataset.json` that holds their labels. Its reader opens
the archive once in each process, since a `zipfile.ZipFile` can't be shared after a fork or by
threads; fastzip's could.
"""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastzip as zipfile  # was: import zipfile


class LatentDataset:
    """Samples from a zip, with labels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: zipfile.ZipFile | None = None
        self.names = sorted(n for n in self._zip().namelist() if n.endswith(".npy"))
        with self._zip().open("dataset.json") as file:
            labels = dict(json.load(file)["labels"])
        self.labels = np.array([labels[name] for name in self.names])

    def _zip(self) -> zipfile.ZipFile:
        if self._file is None:
            self._file = zipfile.ZipFile(self.path)
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], int]:
        with self._zip().open(self.names[index]) as file:
            return np.load(file), self.labels[index]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((40, 8, 4, 4)).astype(np.float16)
    labels = rng.integers(0, 10, 40)
    names = [f"{i // 10:05}/img{i:08}.npy" for i in range(40)]
    with zipfile.ZipFile(folder / "latents.zip", "w") as archive:
        for name, latent in zip(names, latents, strict=True):
            file = io.BytesIO()
            np.save(file, latent)
            archive.writestr(name, file.getvalue())
        pairs = [[name, int(label)] for name, label in zip(names, labels, strict=True)]
        archive.writestr("dataset.json", json.dumps({"labels": pairs}))

    data = LatentDataset(folder / "latents.zip")
    for i in rng.permutation(len(data)):
        latent, label = data[i]
        assert np.array_equal(latent, latents[i])
        assert label == labels[i]
    data.close()
    print(f"{len(data)} samples, all equal")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
