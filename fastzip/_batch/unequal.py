"""Members that differ in the length of axis 0, into one piece of memory, each to its place.

Lengths are known from the kinds of headers before memory is taken, so members are inflated
straight to where they belong. What can't be taken as it is (another order, a longer member that
is cut, `out` with gaps) goes by way of a piece of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _zip, errors
from fastzip._batch.memory import flat_bytes, new_piece
from fastzip._batch.run import NOTHING, Batch, Jobs, Step
from fastzip._npy import ODD, ArrayReader, Header, Kind, native, shapes_of
from fastzip._zip import LARGE, positions_of

_PIECE: Final = 8 << 20
"""Bytes that are held twice at a time while members are copied."""
_ALIGN: Final = 64
_NOT_THEIRS: Final = ("closed", "interrupted")
"""Codes of failures that aren't a member's."""


class UnequalBatch(Batch):
    """Members that differ in the length of axis 0."""

    def __init__(
        self, reader: ArrayReader, positions: Jobs, threads: int, max_header_size: int
    ) -> None:
        super().__init__(reader, positions, threads, max_header_size)
        self.kinds: list[Kind] = []
        self.which = np.empty(0, np.int32)
        """For each job its kind, or ODD."""
        self.lengths = np.zeros(len(positions), np.int64)
        """And the member's length; 0 for those that can't be used."""
        self.taken = self.lengths
        """How much of it is wanted."""
        self.starts = self.lengths
        """Where it goes, counted in elements of axis 0 of all the memory."""
        self.trail: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float64)

    def target(self, job: int) -> npt.NDArray[Any]:
        """Where does a member belong?"""
        raise NotImplementedError

    def measure(self) -> dict[int, Header]:
        """Find all lengths. Members without one are noted; returns the headers of the odd ones."""
        shapes = shapes_of(self.reader)
        self.which = shapes.find(self.reader, self.positions, self.threads, self.max_header_size)
        self.kinds = shapes.kinds[:]
        self.lengths = shapes.lengths(self.reader, self.positions, self.which)
        odd: dict[int, Header] = {}
        for job in np.flatnonzero(self.which == ODD).tolist():
            try:
                odd[job] = self.with_length(self.header(int(self.positions[job])), job)
            except Exception as exc:
                self.note(job, exc)
            else:
                self.lengths[job] = odd[job].spec.shape[0]
        return odd

    def compare(self, odd: dict[int, Header]) -> None:
        """Note what can't stand beside the first member."""
        # Each job's header, or one of the same kind.
        usual: list[int] = [0]
        present = self.which[:1]
        if self.which[0] == ODD or (self.which != self.which[0]).any():
            usual = np.flatnonzero(self.which != ODD)[:1].tolist()
            present = np.unique(self.which[self.which != ODD])
        headers = {int(k): self.kinds[k].header for k in present}
        firsts = sorted([*usual, *list(odd)[:1]])
        if not firsts:
            return
        self.first = firsts[0]
        first = odd.get(self.first) or headers[int(self.which[self.first])]
        self.dtype, self.trail = native(first.own_spec.dtype), first.spec.shape[1:]
        for k, header in headers.items():
            if not self.is_like(header):
                for job in np.flatnonzero(self.which == k).tolist():
                    self.refuse_unlike(job, header)
        for job, header in odd.items():
            if not self.is_like(header):
                self.refuse_unlike(job, header)
        self.lengths[list(self.failed)] = 0

    def survey(self) -> None:
        """Measure the members, and compare them. Without any, dtype and shape are those of the
        archive's first one."""
        if len(self.positions):
            self.compare(self.measure())
            if len(self.failed) == len(self.positions):
                raise self.first_failure()
            for job in np.flatnonzero(self.lengths * self.unit() > LARGE).tolist():
                try:
                    self.holds_what_it_says(job, int(self.lengths[job]) * self.unit())
                except Exception as exc:
                    self.note(job, exc)
                    self.lengths[job] = 0
            return
        if len(self.reader.index) == 0:
            return
        first = UnequalBatch(self.reader, np.zeros(1, np.int64), 1, self.max_header_size)
        first.compare(first.measure())
        if not first.failed:
            self.dtype, self.trail = first.dtype, first.trail

    def with_length(self, header: Header, job: int) -> Header:
        """This header, if there is an axis 0."""
        if not header.spec.shape:
            what = "0-dimensional, so it has no length; use fetch"
            raise self.refusal(int(self.positions[job]), what, "shape")
        return header

    def is_like(self, header: Header) -> bool:
        """Is it of the batch's dtype, and of its shape but for axis 0?"""
        return header.spec.shape[1:] == self.trail and native(header.spec.dtype) == self.dtype

    def refuse_unlike(self, job: int, header: Header) -> None:
        """Note that this member doesn't belong here."""
        name = self.reader.index.name(int(self.positions[self.first]))
        this = _describe(native(header.spec.dtype), header.spec.shape[1:])
        self.failed[job] = self.refusal(
            int(self.positions[job]),
            f"{this}, and {name} is {_describe(self.dtype, self.trail)}; the members of a batch "
            "may differ in the length of axis 0 alone",
            "unlike",
        )

    def check(self, header: Header, job: int) -> None:
        """Is this member what it was when it was measured?"""
        length = int(self.lengths[job])
        if header.spec.shape != (length, *self.trail) or native(header.spec.dtype) != self.dtype:
            raise self.refusal(
                int(self.positions[job]),
                f"{header.spec.dtype} of shape {header.spec.shape}, and was of length {length} "
                "when it was looked at first",
                "unlike",
            )

    def put(self, job: int, array: Any) -> None:
        """Copy a member to where it belongs, as much of it as is wanted."""
        if self.out.dtype.itemsize:
            self.target(job)[...] = array[: self.taken[job]]

    def together(self, shape: tuple[int, ...]) -> str:
        """What is said of the first member where there is no such batch."""
        return f"one of {len(self.positions)} that make no batch, of shape {shape}"

    def unit(self) -> int:
        """Bytes for each of axis 0."""
        return math.prod(self.trail) * self.dtype.itemsize

    def steps(self) -> Iterator[Step]:
        wanted = self.which != ODD
        wanted[list(self.failed)] = False
        direct = wanted & (self.taken == self.lengths)
        direct &= np.array([kind.direct for kind in self.kinds] + [False])[self.which]
        if not self.out.flags.c_contiguous:
            direct[:] = False
        headers = [kind.native for kind in self.kinds]
        straight = np.flatnonzero(direct)
        if len(straight):
            places = (self.starts[straight] * self.unit()).astype(np.uintp)
            memory = partial(flat_bytes, self.out)
            yield Step(
                straight, headers, self.which[straight], places, self._nbytes(straight), memory
            )
        for part, places, nbytes in self._pieces(np.flatnonzero(wanted & ~direct)):
            memory, deliver = partial(new_piece, nbytes), partial(self._deliver, part, places)
            yield Step(part, headers, self.which[part], places, self._nbytes(part), memory, deliver)

    def _nbytes(self, jobs: Jobs) -> int:
        return int(self.lengths[jobs].sum()) * self.unit()

    def _pieces(self, jobs: Jobs) -> Iterator[tuple[Jobs, npt.NDArray[np.uintp], int]]:
        """Members that fit into a piece of memory, their places in it, and its size."""
        sizes = -(-self.lengths[jobs] * self.unit() // _ALIGN) * _ALIGN
        start = 0
        while start < len(jobs):
            ends = np.cumsum(sizes[start:])
            n = max(1, int(np.searchsorted(ends, _PIECE, "right")))
            places = (ends[:n] - sizes[start : start + n]).astype(np.uintp)
            yield jobs[start : start + n], places, int(ends[n - 1])
            start += n

    def _deliver(
        self,
        jobs: Jobs,
        places: npt.NDArray[np.uintp],
        memory: npt.NDArray[np.uint8],
        done: npt.NDArray[np.bool_],
    ) -> None:
        """Copy members out of a piece of memory."""
        for k in np.flatnonzero(done).tolist():
            spec = self.kinds[self.which[jobs[k]]].header.spec
            shape = int(self.lengths[jobs[k]]), *self.trail
            order: Any = "F" if spec.fortran_order else "C"
            array: Any = np.ndarray(shape, spec.dtype, memory, int(places[k]), None, order)
            self.put(int(jobs[k]), array)

    def fill(self) -> None:
        odd = self.which == ODD
        odd[list(self.failed)] = False
        super().fill()
        self.one_by_one(np.flatnonzero(odd))

    def again(self, jobs: Jobs) -> Jobs:
        self.one_by_one(jobs)
        return NOTHING


def lengths(
    reader: ArrayReader,
    keys: Any,
    threads: int | None,
    max_header_size: int,
    lenient: bool = False,
) -> npt.NDArray[np.int64]:
    """See `fastzip.NpzFile.lengths`; `lenient` gives 0 for members that are at fault themselves."""
    positions = positions_of(reader.index, keys)
    batch = UnequalBatch(reader, positions, _zip.thread_count(threads), max_header_size)
    batch.measure()
    if lenient:
        harmless = (errors.BadZipFile, NotImplementedError, errors.PasswordError, ValueError)
        batch.failed = {
            job: exc
            for job, exc in batch.failed.items()
            if not isinstance(exc, harmless) or getattr(exc, "code", "") in _NOT_THEIRS
        }
    if batch.failed:
        raise batch.first_failure()
    return batch.lengths


def _describe(dtype: np.dtype[Any], trail: tuple[int, ...]) -> str:
    return f"{dtype} of shape ({', '.join(['n', *map(str, trail)])}{'' if trail else ','})"
