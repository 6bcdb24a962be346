"""Archives as a random-access data source for Grain, and so for JAX.

In Grain, shuffle and batch the indices, then map them to batches::

    source = Source("images.npz", labels)
    data = grain.MapDataset.range(len(source)).shuffle(seed=0).batch(64).map(source.fetch)
"""

from __future__ import annotations

from typing import Any, SupportsIndex

from fastzip._train import Samples

__all__ = ["Source"]


class Source:
    """The members of one or several archives, and arrays indexed alike, as NumPy arrays.

    What Grain calls a random-access data source; Grain itself isn't needed. Grain reads sources one
    sample at a time: batch the indices instead, as above, and map them with `fetch`.

    Parameters
    ----------
    source, *arrays : path, NpzFile, (one of these, keys), list of these, or array
        As for `fastzip.torch.ArchiveDataset`.
    threads : int, optional
        For each batch; None for the archive's ``threads``, or else `fastzip.get_num_threads`.

    Raises
    ------
    TypeError
        If a source can't be taken.
    ArrayError
        If members of an archive are no arrays: `fastzip.errors.ArrayError`, which names them.
    ValueError
        If one of `arrays` has another length than `source`.

    Notes
    -----
    A sample is an array, or with `arrays` a tuple of them. Safe in threads and after a fork,
    picklable. ``repr`` is made of the archives' names and of a number that stands for their
    content, so that Grain's checkpoints are restored wherever the same archives are, and only
    there.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> from fastzip.grain import Source
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
    >>> source = Source(fastzip.load(file.getvalue()), [0, 1, 0, 1])
    >>> image, label = source[3]
    >>> image, int(label)
    (array([3, 3]), 1)
    >>> source.fetch([3, 0])
    (array([[3, 3],
           [0, 0]]), array([1, 0]))
    """

    def __init__(self, source: Any, *arrays: Any, threads: int | None = None) -> None:
        self._samples = Samples(source, *arrays, threads=threads, maker="Source", alike=False)
        text, content = self._samples.describe()
        self._repr = f"Source({text}; {len(self)} samples, content {content:08x})"

    def __len__(self) -> int:
        return len(self._samples)

    def __repr__(self) -> str:
        return self._repr

    def __getitem__(self, index: SupportsIndex) -> Any:
        parts = tuple(batch[0] for batch in self._samples.fetch([index]))
        return parts if len(parts) > 1 else parts[0]

    def fetch(self, indices: Any) -> Any:
        """Read a batch.

        Parameters
        ----------
        indices : sequence of int, or slice
            Which samples.

        Returns
        -------
        ndarray of shape (len(indices), \\*shape), or a tuple of them
            One for each of the source and `arrays`, as `fastzip.NpzFile.fetch` makes it.

        Raises
        ------
        IndexError
            If there is no such sample.
        ValueError, BadZipFile
            As `fastzip.NpzFile.fetch`.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> from fastzip.grain import Source
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.zeros(2), b=np.ones(2))
        >>> Source(fastzip.load(file.getvalue())).fetch([1, 0])
        array([[1., 1.],
               [0., 0.]])
        """
        batches = tuple(self._samples.fetch(indices))
        return batches if len(batches) > 1 else batches[0]
