"""What a `Loader` reads from: archives, arrays, and archives of members of different lengths.

Each kind of source tells how many samples it has, begins to read some of them, and gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib import npyio

from fastzip import _batch, _dropin, _zip, errors
from fastzip._dropin import NpzFile
from fastzip._npy import Header
from fastzip._train import fit
from fastzip._train.values import Lazy, Values, place, values_of

__all__ = ["Padded", "Ragged"]

_PIECE: Final = 16 << 20
"""Bytes of rows that are copied at a time."""

Samples: TypeAlias = npt.NDArray[np.int64]
Begun: TypeAlias = _batch.Ahead


class _Members:
    """Samples that are members of an archive, all or some."""

    _failures: Any = errors.Located
    """What `_take` raises when something is wrong with the samples."""

    def __init__(self, npz: NpzFile, keys: Any, what: str = "the source") -> None:
        self._npz = npz
        self._positions = fit.choose_samples(npz, keys, what)

    def __len__(self) -> int:
        return len(self._npz) if self._positions is None else len(self._positions)

    def __repr__(self) -> str:
        where = self._npz.index.where
        return repr(where) if self._positions is None else f"{len(self)} of {where!r}"

    def _chosen(self, samples: Samples) -> Samples:
        """The positions of these samples' members."""
        return samples if self._positions is None else self._positions[samples]

    def _workers(self, threads: int | None) -> int:
        """How many work on a batch."""
        return _zip.thread_count(self._npz.threads if threads is None else threads)


class Members(_Members):
    """Members that are alike: a batch is what `fetch` gives."""

    def __init__(self, npz: NpzFile, keys: Any, what: str = "the source") -> None:
        super().__init__(npz, keys, what)
        self._likely: Header | None = None  # of the next batch's first member

    def __reduce__(self) -> Any:
        return Members, (self._npz, self._positions)

    def _begin(self, samples: Samples, threads: int | None) -> Begun:
        reader, limit = _dropin.reader_of(self._npz), _dropin.header_limit_of(self._npz)
        chosen = self._chosen(samples)
        return _batch.fetch_ahead(reader, chosen, self._workers(threads), limit, self._likely)

    def _take(self, samples: Samples, threads: int | None, begun: Any) -> Any:
        if begun is None:
            return self._npz.fetch(self._chosen(samples), threads=threads)
        batch = begun.result()
        self._likely = begun.likely
        return batch


class _Unequal(_Members):
    """Members of different lengths."""

    def __init__(self, npz: NpzFile, keys: Any = None) -> None:
        if not isinstance(npz, NpzFile):
            raise TypeError(
                f"{type(self).__name__} takes an NpzFile, as fastzip.load opens it, not a "
                f"{type(npz).__name__}"
            )
        super().__init__(npz, keys, type(self).__name__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([super().__repr__(), *self._options()])})"

    def _options(self) -> list[str]:
        return []

    def _lengths(self, threads: int | None) -> npt.NDArray[np.int64]:
        """How long each sample is; 0 for those that are damaged, or no arrays with a length."""
        npz = self._npz
        _dropin.check_open(npz)
        keys = slice(None) if self._positions is None else self._positions
        threads = self._workers(threads)
        return _batch.lengths(
            _dropin.reader_of(npz), keys, threads, _dropin.header_limit_of(npz), lenient=True
        )


class Ragged(_Unequal):
    """Members of different lengths as a source of a `Loader`, one after another.

    Parameters
    ----------
    npz : NpzFile
        The archive.
    keys : sequence, optional
        Which members are the samples, as for `NpzFile.fetch`; all of them by default.

    Raises
    ------
    TypeError
        If it isn't an `NpzFile`.
    KeyError, IndexError
        If the archive doesn't have one of the keys.

    Notes
    -----
    Its part of a batch is what `NpzFile.fetch_ragged` returns, a tuple ``(values, offsets)``.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"text-{i}": np.arange(i) for i in range(4)})
    >>> texts = fastzip.load(file.getvalue())
    >>> for (values, offsets), label in fastzip.Loader(
    ...     fastzip.Ragged(texts), np.array([1, 0, 0, 1]), batch_size=3
    ... ):
    ...     print(values, offsets, label)
    [0 0 1] [0 0 1 3] [1 0 0]
    [0 1 2] [0 3] [1]
    """

    def __reduce__(self) -> Any:
        return Ragged, (self._npz, self._positions)

    def _begin(self, samples: Samples, threads: int | None) -> Begun:
        reader, limit = _dropin.reader_of(self._npz), _dropin.header_limit_of(self._npz)
        chosen, threads = self._chosen(samples), self._workers(threads)
        return _batch.ragged_ahead(reader, chosen, threads, limit)

    def _take(self, samples: Samples, threads: int | None, begun: Any) -> Any:
        if begun is not None:
            return begun.result()
        return self._npz.fetch_ragged(self._chosen(samples), threads=threads)


class Padded(_Unequal):
    """Members of different lengths as a source of a `Loader`, side by side with filling behind.

    Parameters
    ----------
    npz : NpzFile
        The archive.
    keys : sequence, optional
        Which members are the samples, as for `NpzFile.fetch`; all of them by default.
    fill_value : scalar, optional
        What stands behind the members.
    length : int, optional
        How long the rows are; None for the longest of each batch's members.
    truncate : bool, optional
        Keep the first `length` elements of longer members, instead of refusing them.

    Raises
    ------
    TypeError
        If it isn't an `NpzFile`, or `length` no integer.
    ValueError
        If `length` is below 0.
    KeyError, IndexError
        If the archive doesn't have one of the keys.

    See Also
    --------
    Loader : Its `bucket_by_length` makes batches of samples of about one length.

    Notes
    -----
    Its part of a batch is what `NpzFile.fetch_padded` returns, a tuple ``(batch, lengths)``. Rows
    are as long as the batch's longest member, unless `length` says otherwise. Whether `fill_value`
    fits the members' dtype shows when a batch is read.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, **{f"text-{i}": np.arange(i) for i in range(4)})
    >>> texts = fastzip.load(file.getvalue())
    >>> for (batch, lengths), label in fastzip.Loader(
    ...     fastzip.Padded(texts, fill_value=-1), np.array([1, 0, 0, 1]), batch_size=3
    ... ):
    ...     print(batch.tolist(), lengths, label)
    [[-1, -1], [0, -1], [0, 1]] [0 1 2] [1 0 0]
    [[0, 1, 2]] [3] [1]
    """

    def __init__(
        self,
        npz: NpzFile,
        keys: Any = None,
        *,
        fill_value: Any = 0,
        length: int | None = None,
        truncate: bool = False,
    ) -> None:
        super().__init__(npz, keys)
        self._fill_value, self._truncate = fill_value, bool(truncate)
        self._length = _batch.check_width(length)

    def _options(self) -> list[str]:
        given = ("fill_value", self._fill_value, 0), ("length", self._length, None)
        options = [f"{name}={value!r}" for name, value, usual in given if value is not usual]
        return options + ["truncate=True"] * self._truncate

    def __reduce__(self) -> Any:
        options = {
            "fill_value": self._fill_value,
            "length": self._length,
            "truncate": self._truncate,
        }
        return partial(Padded, **options), (self._npz, self._positions)

    def _begin(self, samples: Samples, threads: int | None) -> Begun:
        reader, limit = _dropin.reader_of(self._npz), _dropin.header_limit_of(self._npz)
        how = self._fill_value, self._length, self._truncate
        return _batch.padded_ahead(
            reader, self._chosen(samples), *how, self._workers(threads), limit
        )

    def _take(self, samples: Samples, threads: int | None, begun: Any) -> Any:
        if begun is not None:
            return begun.result()
        return self._npz.fetch_padded(
            self._chosen(samples),
            self._fill_value,
            self._length,
            truncate=self._truncate,
            threads=threads,
        )


class Rows:
    """Samples that are the rows of an array, or of what is indexed like one."""

    _failures: Any = Exception

    def __init__(self, values: Values) -> None:
        self._values = values
        array: Any = values.array
        self._plain = (  # of others numpy.take would copy everything, each time
            type(array) in (np.ndarray, np.memmap)
            and array.flags.c_contiguous
            and array.flags.aligned
            and array.dtype.isnative
            and not array.dtype.hasobject
        )

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> Any:
        return Rows, (self._values,)

    def _begin(self, samples: Samples, threads: int | None) -> None:
        """Copying rows takes no time worth a thread."""

    def _take(self, samples: Samples, threads: int | None, begun: None) -> Any:
        rows, array = self._values.chosen(samples), self._values.array
        if isinstance(array, Lazy) or not self._plain:
            return array[rows]
        out = _batch.new_batch((len(rows), *array.shape[1:]), array.dtype)
        if out.nbytes <= _PIECE:
            return np.take(
                array, rows, axis=0, out=out, mode="clip"
            )  # "raise" would copy once more
        step = max(1, len(rows) * _PIECE // out.nbytes)
        for at in range(0, len(rows), step):  # in between, signals' handlers have their turn
            here = slice(at, at + step)
            np.take(array, rows[here], axis=0, out=out[here], mode="clip")
        return out


Source: TypeAlias = Members | Ragged | Padded | Rows


def feeds(given: Sequence[Any]) -> list[Source]:
    """What stands for each of a Loader's sources, all of one length."""
    sources = [_feed(source, place(number), number == 0) for number, source in enumerate(given)]
    archives = [source._npz if isinstance(source, _Members) else None for source in sources]
    wrong = fit.mismatch([len(source) for source in sources], archives, "Loader")
    if wrong is not None:
        raise wrong
    for source in sources:
        if not isinstance(source, Rows):
            alike: fit.Alike = "whole" if isinstance(source, Members) else "rows"
            fit.check_samples(source._npz, source._positions, alike, "Loader")
    return sources


def _feed(given: Any, what: str, first: bool) -> Source:
    """An archive, an array, or one of these with keys."""
    if isinstance(given, (Padded, Ragged)):
        return given
    source, keys = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if isinstance(source, NpzFile):
        return Members(source, keys, what)
    if isinstance(source, (Padded, Ragged)):
        kind = type(source).__name__
        raise TypeError(f"{what} is a {kind} with keys; it takes them itself: {kind}(npz, keys)")
    if isinstance(source, npyio.NpzFile):
        raise TypeError(f"{what} is an archive that numpy.load opened; open it with fastzip.load")
    if first and isinstance(source, list):
        raise TypeError(
            f"{what} is a list; it takes an NpzFile, an array, or one of these and its keys as a "
            "tuple. Paths are opened with fastzip.load; make a list of values a NumPy array"
        )
    return Rows(values_of(given, what))
