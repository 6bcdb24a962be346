"""Members of unequal lengths: one after another, or side by side with padding."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, _zip, errors
from fastzip._batch.memory import check_out
from fastzip._batch.run import Ahead, Jobs
from fastzip._batch.unequal import UnequalBatch
from fastzip._npy import ArrayReader
from fastzip._signals import let_pass
from fastzip._zip import positions_of, refuse_references

_HUGE: Final = 1 << 62
_QUICK: Final = 16
"""Filling is so many times faster than inflating."""


class RaggedBatch(UnequalBatch):
    """One call of `fetch_ragged`."""

    def lay_out(self, out: Any) -> Any:
        self.survey()
        n, total = len(self.positions), _total(self.lengths)
        if total >= _HUGE:
            what = f"one of {n} of more elements together than NumPy can count"
            raise self.refusal(int(self.positions[self.first]), what, "shape")
        shape = total, *self.trail
        self.offsets = np.zeros(n + 1, np.int64)
        np.cumsum(self.lengths, out=self.offsets[1:])
        self.starts, self.taken = self.offsets[:-1], self.lengths
        if out is not None and not self.failed:
            refuse_references(out)  # a part of it may be a copy
            out = _beginning(out, total)
            self.out = check_out(out, shape, self.dtype, self.reader.opened)
            return out
        self.out = self.allocate(shape, self.dtype, self.together(shape))
        return self.out

    def target(self, job: int) -> npt.NDArray[Any]:
        return self.out[self.starts[job] : self.starts[job] + self.taken[job]]


class PaddedBatch(UnequalBatch):
    """One call of `fetch_padded`."""

    def __init__(
        self,
        reader: ArrayReader,
        positions: Jobs,
        threads: int,
        max_header_size: int,
        fill_value: Any,
        length: int | None,
        truncate: bool,
    ) -> None:
        super().__init__(reader, positions, threads, max_header_size)
        self.fill_value, self.length, self.truncate = fill_value, length, truncate

    def lay_out(self, out: Any) -> Any:
        self.survey()
        n = len(self.positions)
        try:
            self.value = fill_of(self.fill_value, self.dtype)
        except ValueError as exc:
            let_pass(exc)
            where = self.reader.index.where
            raise errors.refusal("fill_value", f"{errors.place(where)}: {exc}", where) from None
        extent = self._cut()
        shape = n, extent, *self.trail
        if out is not None and not self.failed:
            self.out = check_out(out, shape, self.dtype, self.reader.opened)
        else:
            self.out = out = self.allocate(shape, self.dtype, self.together(shape))
        self.starts = np.arange(n, dtype=np.int64) * (extent if self.out.size else 0)
        return out

    def target(self, job: int) -> npt.NDArray[Any]:
        row: npt.NDArray[Any] = self.out[job]
        return row[: self.taken[job]]

    def _cut(self) -> int:
        """The batch's length; what is longer is cut, or noted."""
        length, truncate = self.length, self.truncate
        if length is None:
            self.taken = self.lengths
            return int(self.lengths.max(initial=0))
        for job in np.flatnonzero(self.lengths > length).tolist() if not truncate else ():
            self.failed[job] = self.refusal(
                int(self.positions[job]),
                f"of length {self.lengths[job]}, and length={length}; truncate=True would cut it",
                "length",
            )
            self.lengths[job] = 0
        self.taken = np.minimum(self.lengths, length)
        return length

    def pad(self) -> None:
        """Fill what lies behind the members."""
        out = self.out
        if not out.size or not out.dtype.itemsize or (self.taken == out.shape[1]).all():
            return
        if not out.flags.c_contiguous:
            for row, taken in zip(out, self.taken.tolist(), strict=True):
                row[taken:] = self.value
            return
        rows = out.reshape(len(out), -1).view(np.uint8)
        used = (self.taken * self.unit()).astype(np.uintp)
        threads = _zip.threads_worth(self.threads, out.nbytes // _QUICK)
        _core.fill_rows(rows, used, self.value.tobytes(), threads)


def _total(lengths: npt.NDArray[np.int64]) -> int:
    """Their sum, which NumPy may be unable to hold: members of no bytes may be of any length."""
    return int(lengths.sum()) if len(lengths) * int(lengths.max(initial=0)) < _HUGE else _HUGE


def _beginning(out: Any, n: int) -> Any:
    """The first n elements of memory that may be larger, since nobody knows n before."""
    try:
        return out[:n] if len(out) > n else out
    except (TypeError, NotImplementedError) as exc:
        let_pass(exc)
        return out


def _finish_ragged(batch: Any, out: Any) -> tuple[Any, Jobs]:
    batch.fill()
    if batch.failed:
        raise batch.first_failure()
    return out, batch.offsets


def _finish_padded(batch: Any, out: Any) -> tuple[Any, Jobs]:
    batch.fill()
    batch.pad()
    if batch.failed:
        raise batch.first_failure()
    return out, batch.taken


def fetch_ragged(
    reader: ArrayReader, keys: Any, out: Any, threads: int | None, max_header_size: int
) -> tuple[Any, Jobs]:
    """See `fastzip.NpzFile.fetch_ragged`."""
    positions = positions_of(reader.index, keys)
    batch = RaggedBatch(reader, positions, _zip.thread_count(threads), max_header_size)
    return _finish_ragged(batch, batch.lay_out(out))


def ragged_ahead(reader: ArrayReader, positions: Jobs, threads: int, max_header_size: int) -> Ahead:
    """`fetch_ragged`, begun."""
    return Ahead(partial(RaggedBatch, reader, positions, threads, max_header_size), _finish_ragged)


def fetch_padded(
    reader: ArrayReader,
    keys: Any,
    fill_value: Any,
    length: Any,
    truncate: bool,
    out: Any,
    threads: int | None,
    max_header_size: int,
) -> tuple[Any, Jobs]:
    """See `fastzip.NpzFile.fetch_padded`."""
    length = check_width(length)
    how = _zip.thread_count(threads), max_header_size, fill_value, length, truncate
    batch = PaddedBatch(reader, positions_of(reader.index, keys), *how)
    return _finish_padded(batch, batch.lay_out(out))


def padded_ahead(
    reader: ArrayReader,
    positions: Jobs,
    fill_value: Any,
    length: int | None,
    truncate: bool,
    threads: int,
    max_header_size: int,
) -> Ahead:
    """`fetch_padded`, begun."""
    how = threads, max_header_size, fill_value, length, truncate
    return Ahead(partial(PaddedBatch, reader, positions, *how), _finish_padded)


def check_width(length: Any) -> int | None:
    """How long the rows of a padded batch are to be, as far as the caller says."""
    if length is None:
        return None
    length = min(operator.index(length), _HUGE)  # more wouldn't fit into an array of lengths
    if length < 0:
        raise ValueError(f"length must be 0 or more, or None: {length}")
    return int(length)


def fill_of(value: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The fill value as an element of this dtype; ValueError if it can't be one.

    0 is what `numpy.zeros` makes, in every dtype. Numbers may be rounded to the precision of a
    float, but not to infinity; all else must stay what it is."""
    made: Any = np.zeros((), dtype)
    whole = isinstance(value, (bool, int, np.bool_, np.integer))
    if whole and not isinstance(value, np.timedelta64) and value == 0:  # NumPy's is an integer
        return np.asarray(made)
    try:
        given = np.asarray(value)
        with np.errstate(all="ignore"):
            made = _converted(value, given, dtype) if given.shape == () else None
    except (TypeError, ValueError, OverflowError) as exc:
        let_pass(exc)
        made = None
    if made is None:
        raise ValueError(f"fill_value can't be {value!r} in an array of {dtype}")
    return np.asarray(made)


def _converted(value: Any, given: npt.NDArray[Any], dtype: np.dtype[Any]) -> Any:
    """This value in another dtype; None if it isn't the same there."""
    whole = isinstance(value, int)  # NumPy makes an object of a large one
    numbers = dtype.kind in "biufc" and (whole or given.dtype.kind in "biufc")
    if not numbers and given.dtype.kind != dtype.kind:
        return None
    if numbers and given.dtype.kind == "c" and dtype.kind != "c":
        return None
    made = given.astype(dtype)
    if dtype.kind == "V":
        return made if given.dtype == dtype else None
    if dtype.kind in "mM":
        return made if made == given or (np.isnat(made) and np.isnat(given)) else None
    if dtype.kind in "fc" and given.dtype.kind in "fc":
        same = np.isnan(made) == np.isnan(given) and np.isinf(made) == np.isinf(given)
        return made if same else None
    return made if made.item() == value else None
