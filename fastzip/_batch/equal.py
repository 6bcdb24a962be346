"""Members of one dtype and shape, as the rows of one array.

The core takes members whose .npy header is, byte for byte, the first one's. What is left goes round
again with the header of the first that is left, converted if its order or byte order differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _zip, errors
from fastzip._batch.memory import check_out, rows_of_bytes
from fastzip._batch.run import NOTHING, Ahead, Batch, Jobs, Step
from fastzip._npy import ArrayReader, Header, is_native, native
from fastzip._signals import let_pass
from fastzip._zip import positions_of, refuse_references

_ROUNDS: Final = 8
"""After so many kinds of headers in one batch its members are read one at a time."""
_CONVERTED: Final = 8 << 20
"""Bytes that are held twice at a time while members are converted."""


def _is_direct(header: Header) -> bool:
    """Is the payload, byte for byte, a row of the batch?"""
    spec = header.spec
    # Without bytes there is no order; and NumPy's own arrays of itemsize 0 would become one of 1.
    one_order = not spec.fortran_order or sum(n != 1 for n in spec.shape) <= 1
    return not header.nbytes or (is_native(spec.dtype) and one_order)


def describe_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"{dtype} of shape {shape}"


class EqualBatch(Batch):
    """One call of `fetch`."""

    _tried: frozenset[bytes] = frozenset()
    """Headers that had their round."""

    def can_begin(self) -> bool:
        return not self.reader.is_foreign(int(self.positions[0]))

    def lay_out(self, out: Any) -> Any:
        if len(self.positions) == 0:
            return self._nothing(out)
        if self.likely is None:
            self.likely = self._first_header()
        header = self.likely
        dtype, shape = native(header.own_spec.dtype), (len(self.positions), *header.spec.shape)
        self.holds_what_it_says(self.first, header.nbytes)
        if out is not None and not self.failed:
            self.out = check_out(out, shape, dtype, self.reader.opened)
            return out
        # Without `out`, or with a first member that is wrong: then `out` stays as it is.
        what = f"of shape {header.spec.shape}, which makes no batch"
        self.out = self.allocate(shape, dtype, what)
        return self.out

    def _first_header(self) -> Header:
        """What the batch is made of: the header of the first member that has one."""
        for job, position in enumerate(self.positions):
            try:
                header = self.header(int(position))
            except Exception as exc:
                self.note(job, exc)
            else:
                self.first = job
                return header
        raise self.first_failure()

    def _nothing(self, out: Any) -> Any:
        """No keys: a batch of no rows, of the kind that the archive's first member would give."""
        shape: tuple[int, ...] = ()
        dtype = np.dtype(np.float64)
        if len(self.reader.index):
            try:
                spec = self.header(0).own_spec
                shape, dtype = spec.shape, native(spec.dtype)
            except (
                ValueError,
                errors.BadZipFile,
                NotImplementedError,
                errors.PasswordError,
            ) as exc:
                let_pass(exc)  # otherwise the first member is no array, and nothing is known
        if out is None:
            return np.empty((0, *shape), dtype)
        refuse_references(out)
        if len(np.asarray(out)):
            raise ValueError(f"out has {len(np.asarray(out))} rows, and there are no keys")
        return out

    def steps(self) -> Iterator[Step]:
        if self.likely is None:
            return iter(())
        jobs = np.arange(self.first, len(self.positions)) if self.first else None
        return self._round(self.likely, jobs)

    def _round(self, header: Header, jobs: Jobs | None) -> Iterator[Step]:
        """What the core can do about members with this header."""
        self._tried |= {header.raw}
        n = len(self.positions) if jobs is None else len(jobs)
        if _is_direct(header):
            rows = partial(rows_of_bytes, self.out)
            yield Step(jobs, header.raw, None, jobs, n * header.nbytes, rows)
            return
        # Fortran order and the other byte order go by way of a piece of memory.
        spec = header.spec
        shape, ndim = spec.shape[::-1] if spec.fortran_order else spec.shape, len(spec.shape)
        axes = range(ndim, 0, -1) if spec.fortran_order else range(1, ndim + 1)
        jobs = np.arange(n) if jobs is None else jobs
        at_once = max(1, _CONVERTED // max(1, header.nbytes))
        for start in range(0, n, at_once):
            part = jobs[start : start + at_once]

            def memory(n: int = len(part)) -> npt.NDArray[np.uint8]:
                return rows_of_bytes(np.empty((n, *shape), spec.dtype))

            def deliver(
                memory: npt.NDArray[np.uint8], done: npt.NDArray[np.bool_], part: Jobs = part
            ) -> None:
                raw = memory.view(spec.dtype).reshape(len(part), *shape)
                self.out[part[done]] = raw.transpose(0, *axes)[done]

            yield Step(part, header.raw, None, None, len(part) * header.nbytes, memory, deliver)

    def again(self, jobs: Jobs) -> Jobs:
        if len(self._tried) == _ROUNDS:
            self.one_by_one(jobs)
            return NOTHING
        header = self.matching_header(int(jobs[0]))
        if header is None:
            return jobs[1:]
        if header.raw in self._tried:  # there are bytes behind this one's array
            self.one_by_one(jobs[:1])
            return jobs[1:]
        return self.run(self._round(header, jobs))

    def check(self, header: Header, job: int) -> None:
        shape, dtype = self.out.shape[1:], self.out.dtype
        if header.spec.shape != shape or native(header.spec.dtype) != dtype:
            first = self.reader.index.name(int(self.positions[self.first]))
            raise self.refusal(
                int(self.positions[job]),
                f"{describe_array(header.spec.shape, native(header.spec.dtype))}, and {first} is "
                f"{describe_array(shape, dtype)}; the members of a batch must be alike",
                "unlike",
            )

    def put(self, job: int, array: Any) -> None:
        if self.out.dtype.itemsize:  # NumPy would walk 10 ** 11 elements of no bytes
            self.out[job] = array


def _finish(batch: Batch, out: Any) -> Any:
    batch.fill()
    if batch.failed:
        raise batch.first_failure()
    return out


def fetch(
    reader: ArrayReader, keys: Any, out: Any, threads: int | None, max_header_size: int
) -> Any:
    """See `fastzip.NpzFile.fetch`."""
    positions = positions_of(reader.index, keys)
    batch = EqualBatch(reader, positions, _zip.thread_count(threads), max_header_size)
    return _finish(batch, batch.lay_out(out))


def fetch_ahead(
    reader: ArrayReader,
    positions: Jobs,
    threads: int,
    max_header_size: int,
    likely: Header | None = None,
) -> Ahead:
    """`fetch`, begun."""
    make = partial(EqualBatch, reader, positions, threads, max_header_size)
    return Ahead(make, _finish, likely)
