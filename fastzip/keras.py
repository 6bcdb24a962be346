"""Archives as a `keras.utils.PyDataset`, with any of Keras's backends.

What `ArchiveDataset` makes is what ``model.fit`` takes::

    model.fit(ArchiveDataset("images.npz", labels, batch_size=64), epochs=3)
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

try:
    import keras
except ImportError as _exc:
    raise ImportError("fastzip.keras needs Keras: pip install 'keras>=3.3'") from _exc

from fastzip._train import Samples

__all__ = ["ArchiveDataset"]


class ArchiveDataset(keras.utils.PyDataset):
    """Batches of the members of archives, and of arrays indexed alike, for ``model.fit``.

    Parameters
    ----------
    source, *arrays : path, NpzFile, (one of these, keys), list of these, or array
        As for `fastzip.torch.ArchiveDataset`.
    batch_size : int, optional
        Samples in a batch; the last one may have fewer.
    shuffle : bool, optional
        Another order in each epoch.
    seed : int, optional
        What the orders are made of.
    threads : int, optional
        For each batch; None for the archive's ``threads``, or else `fastzip.get_num_threads`.
    **options : optional
        ``workers``, ``use_multiprocessing`` and ``max_queue_size``, as Keras has them.

    Raises
    ------
    TypeError
        If a source can't be taken.
    ArrayError
        If members of an archive are of another dtype or shape than others, or no arrays:
        `fastzip.errors.ArrayError`, which names them.
    ValueError
        If one of `arrays` has another length than `source`.

    Notes
    -----
    Picklable, and safe in the threads and processes that Keras reads it from: a batch depends on
    its number and the epoch's order alone.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> from fastzip.keras import ArchiveDataset
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
    >>> data = ArchiveDataset(
    ...     fastzip.load(file.getvalue()), [0, 1, 0, 1], batch_size=3, shuffle=False
    ... )
    >>> len(data)
    2
    >>> data[1]
    (array([[3, 3]]), array([1]))
    """

    def __init__(
        self,
        source: Any,
        *arrays: Any,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if operator.index(batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._samples = Samples(source, *arrays, threads=threads, maker="ArchiveDataset")
        self._batch_size = batch_size
        self._rng = np.random.default_rng(seed) if shuffle else None
        self._order = np.arange(len(self._samples))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._samples) // self._batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} batches, no batch {index}")
        start = index * self._batch_size
        return tuple(self._samples.fetch(self._order[start : start + self._batch_size]))

    def on_epoch_end(self) -> None:
        """Make the next epoch's order; Keras calls this after each epoch.

        Examples
        --------
        >>> import numpy as np
        >>> from fastzip.keras import ArchiveDataset
        >>> data = ArchiveDataset(np.arange(8), batch_size=8, seed=1)
        >>> before = data[0][0].tolist()
        >>> data.on_epoch_end()
        >>> before != data[0][0].tolist(), sorted(before)
        (True, [0, 1, 2, 3, 4, 5, 6, 7])
        """
        if self._rng is not None:
            self._order = self._rng.permutation(len(self._samples))
