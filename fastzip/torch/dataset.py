"""`ArchiveDataset`: a map-style dataset whose batches are read at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import torch
except ImportError as _exc:
    raise ImportError("fastzip.torch needs PyTorch: pip install torch") from _exc
from torch.utils.data import Dataset, default_collate, get_worker_info

from fastzip._train import Column, Indices, Samples
from fastzip.torch import lent

__all__ = ["ArchiveDataset", "Batch", "collate"]


class Batch(tuple[Any, ...]):
    """What `ArchiveDataset.__getitems__` returns: the samples of a batch.

    Parameters
    ----------
    iterable : iterable, optional
        The samples.

    Attributes
    ----------
    stacked : Tensor, list or dict of them, or None
        What the samples are views of; None if each has memory of its own.

    Examples
    --------
    >>> from fastzip.torch import Batch
    >>> len(Batch([1, 2])), Batch([1, 2]).stacked
    (2, None)
    """

    stacked: Any = None


def collate(batch: Sequence[Any]) -> Any:
    """Make a batch of samples: `torch.utils.data.default_collate` without its copy.

    Parameters
    ----------
    batch : Batch, or a sequence of samples
        What the dataset returned.

    Returns
    -------
    Tensor, or list or dict of them
        The memory into which a `Batch` was inflated; of anything else, what ``default_collate``
        makes of it.

    Examples
    --------
    >>> from fastzip.torch import collate
    >>> collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    stacked = getattr(batch, "stacked", None)
    return default_collate(batch) if stacked is None else stacked


class ArchiveDataset(Dataset[Any]):
    """The members of one or several archives, and arrays indexed alike, as tensors.

    A ``DataLoader`` asks for whole batches (``__getitems__``), also through ``Subset`` and
    ``random_split``. A batch is inflated by native threads into one tensor: in a worker of the
    loader into shared memory, so with `collate` the main process gets it without a copy.

    Parameters
    ----------
    source : path, NpzFile, (one of these, keys), or list of these
        Sample i is member i of the archive, in its order; or ``keys[i]`` of it, where the keys are
        what `NpzFile.fetch` takes: names, positions, a slice, a mask. Archives in a list are one
        behind the other, and keep batched reads, which ``ConcatDataset`` doesn't.
    *arrays : the same, or array
        More of each sample: archives, or an array, tensor, list or column of pandas or Polars with
        a value for each sample, taken by position. A list is archives only if they are open, or
        given as `pathlib.Path`.
    transform : callable, optional
        Called for each sample with its parts, ``transform(image)`` or ``transform(image, label)``;
        what it returns is the sample.
    batch_transform : callable, optional
        The same with batches, before `transform`: called with the stacked parts, each with the
        samples along the first axis; returns a tensor, or a tuple, list or dict of tensors, with
        the same first axis. What it makes of one sample must not depend on the others.
    pin_memory : bool, optional
        Inflate into pinned memory, where CUDA is there and this isn't a worker of a loader (where
        the loader's own ``pin_memory=True`` does it).
    threads : int, optional
        For each batch; by default 1 in a worker of a loader, else `fastzip.get_num_threads`.

    Raises
    ------
    ValueError
        If one of `arrays` has another length than `source`.
    ArrayError
        If members of an archive are no arrays: `fastzip.errors.ArrayError`, which names them.
    TypeError
        If a source can't be taken; when a batch is read, if torch has no such dtype.
    BadZipFile
        If an archive isn't one, or a member is damaged when it is read; with ``.code`` ``"stale"``
        if a file has changed when a worker starts.

    Notes
    -----
    A sample is a tensor, or with `arrays` a tuple of them. Members of other shapes than their
    neighbours are read one by one: then a `transform` or the loader's ``collate_fn`` has to make
    them equal. ``dataset[[3, 1]]``, with a list, is a collated batch, which suits
    ``DataLoader(dataset, sampler=BatchSampler(...), batch_size=None)``.

    Picklable, for workers that are spawned; safe in threads and after a fork. Samples are found by
    position: workers need no table of names, and names among keys are looked up here, once.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> from fastzip.torch import ArchiveDataset
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
    >>> data = ArchiveDataset(fastzip.load(file.getvalue()), [0, 1, 0, 1])
    >>> len(data)
    4
    >>> data[3]
    (tensor([3, 3]), tensor(1))
    >>> data[[3, 0]]
    [tensor([[3, 3],
            [0, 0]]), tensor([1, 0])]
    """

    def __init__(
        self,
        source: Any,
        *arrays: Any,
        transform: Callable[..., Any] | None = None,
        batch_transform: Callable[..., Any] | None = None,
        pin_memory: bool = False,
        threads: int | None = None,
    ) -> None:
        self._samples = Samples(
            source, *arrays, threads=threads, maker="ArchiveDataset", alike=False
        )
        self.transform = transform
        self.batch_transform = batch_transform
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._samples)

    def __repr__(self) -> str:
        return f"ArchiveDataset({self._samples.describe()[0]}; {len(self):,} samples)"

    def __getitem__(self, index: Any) -> Any:
        try:
            one = operator.index(index)
        except TypeError:
            return collate(self.__getitems__(index))
        return self._single(self._samples.resolve([one]))

    def __getitems__(self, indices: Any) -> Batch:
        """Read the samples of a batch.

        Parameters
        ----------
        indices : sequence of int
            Which samples; negative ones count from the end.

        Returns
        -------
        Batch
            The samples, in this order.

        Raises
        ------
        IndexError
            If there is no such sample.
        TypeError, ValueError, BadZipFile
            As the class says.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> from fastzip.torch import ArchiveDataset
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.zeros(2), b=np.ones(2))
        >>> data = ArchiveDataset(fastzip.load(file.getvalue()))
        >>> data.__getitems__([1, 0]).stacked
        tensor([[1., 1.],
                [0., 0.]], dtype=torch.float64)
        """
        resolved = self._samples.resolve(indices)
        try:
            stacked = self._stacked(resolved)
        except ValueError as exc:
            if getattr(exc, "code", "") != "unlike":
                raise
            return Batch(self._single(resolved[k : k + 1]) for k in range(len(resolved)))
        samples = _unstacked(stacked)
        if self.transform is not None:
            return Batch(self._transformed(sample) for sample in samples)
        batch = Batch(samples)
        batch.stacked = list(stacked) if isinstance(stacked, tuple) else stacked
        return batch

    def state_dict(self) -> dict[str, int]:
        """What tells this dataset from another one, for loaders that can be resumed.

        Returns
        -------
        dict
            The number of samples, and a number made of the archives' directories.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> from fastzip.torch import ArchiveDataset
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.zeros(2), b=np.ones(2))
        >>> data = ArchiveDataset(fastzip.load(file.getvalue()))
        >>> data.state_dict()["samples"]
        2
        """
        return {"samples": len(self), "content": self._samples.describe()[1]}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Check that a state is of this dataset: there is nothing else to resume.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.

        Raises
        ------
        ValueError
            If it is of another one, whose order of samples would make no sense here.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> from fastzip.torch import ArchiveDataset
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.zeros(2), b=np.ones(2))
        >>> data = ArchiveDataset(fastzip.load(file.getvalue()))
        >>> data.load_state_dict(data.state_dict())
        >>> ArchiveDataset(np.zeros(3)).load_state_dict(data.state_dict())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: the state is that of another dataset: ...
        """
        if dict(state) != self.state_dict():
            raise ValueError(
                f"the state is that of another dataset: {dict(state)}, not {self.state_dict()}"
            )

    def _stacked(self, indices: Indices) -> Any:
        """A batch: a tensor, or a tuple of them, or what `batch_transform` makes of it."""
        batches = tuple(self._read(column, indices) for column in self._samples.columns)
        if self.batch_transform is not None:
            return self.batch_transform(*batches)
        return batches if len(batches) > 1 else batches[0]

    def _read(self, column: Column, indices: Indices) -> Any:
        shared = get_worker_info() is not None
        pinned = self.pin_memory and not shared and torch.cuda.is_available()

        def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
            try:
                kind = torch.from_numpy(np.empty(0, dtype)).dtype
            except TypeError:
                where = column.place(int(indices[0]) if len(indices) else 0)
                raise TypeError(f"{where}: torch has no dtype for {dtype}") from None
            if pinned or not shared:
                return torch.empty(shape, dtype=kind, pin_memory=pinned)
            return lent.empty(shape, kind)

        if shared or pinned:
            return column.fetch(indices, empty)
        batch = column.fetch(indices, None)
        try:
            return torch.from_numpy(batch)
        except TypeError:
            return empty(batch.shape, batch.dtype)  # says what is wrong

    def _single(self, indices: Indices) -> Any:
        return self._transformed(_unstacked(self._stacked(indices))[0])

    def _transformed(self, sample: Any) -> Any:
        if self.transform is None:
            return sample
        return self.transform(*sample) if isinstance(sample, tuple) else self.transform(sample)


def _unstacked(stacked: Any) -> list[Any]:
    """The samples of a batch, which are views of it."""
    if isinstance(stacked, Mapping):
        rows = zip(*(part.unbind(0) for part in stacked.values()), strict=True)
        return [dict(zip(stacked, row, strict=True)) for row in rows]
    if isinstance(stacked, (tuple, list)):
        return list(zip(*(part.unbind(0) for part in stacked), strict=True))
    return list(stacked.unbind(0))
