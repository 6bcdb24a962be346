"""Members of unequal lengths into one piece of memory, each to its place.

Lengths are known from `_shapes` before memory is taken, so members are inflated straight to where
they belong. What can't be taken as it is (another order, a longer member that is cut, `out` with
gaps) goes by way of a piece of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, _zip, errors
from fastzip._batch.equal import _Batch, _Begun, new_batch
from fastzip._npy import ODD, ArrayReader, Header, Kind, native, shapes_of
from fastzip._signals import let_pass
from fastzip._zip import LARGE

_PIECE: Final = 8 << 20
"""Bytes that are held twice at a time while members are copied."""
_ALIGN: Final = 64
_MEMORY: Final = _core.STATUS_CODES.index("memory")

Jobs = npt.NDArray[np.int64]


class Parts(_Batch):
    """One call: members that differ in the length of axis 0, in memory of one dtype."""

    def __init__(self, reader: ArrayReader, keys: Any, threads: int, max_header_size: int) -> None:
        super().__init__(reader, keys, threads, max_header_size)
        self.kinds: list[Kind] = []
        self.which = np.empty(0, np.int32)
        """For each job its kind, or ODD."""
        self.lengths = np.zeros(len(self.positions), np.int64)
        """And the member's length; 0 for those that can't be used."""
        self.taken = self.lengths
        """How much of it is wanted."""
        self.starts = self.lengths
        """Where it goes, counted in elements of axis 0 of all the memory."""
        self.trail: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float64)
        self.out: npt.NDArray[Any] = np.empty(0)
        """What is filled, from `lay_out` on."""

    def lay_out(self, out: Any) -> Any:
        """Measure the members, find out where each goes, and take the memory; returns `out`, or the
        part of it that is used, or the memory that was taken instead."""
        raise NotImplementedError

    def finish(self) -> Jobs:
        """Fill the memory; returns what else the caller wants to know."""
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
            self.check_large()
            return
        if len(self.reader.index) == 0:
            return
        first = Parts(self.reader, [0], 1, self.max_header_size)
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

    def check(self, header: Header, job: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Is this member what it was when it was measured?"""
        length = int(self.lengths[job])
        if header.spec.shape != (length, *self.trail) or native(header.spec.dtype) != self.dtype:
            raise self.refusal(
                int(self.positions[job]),
                f"{header.spec.dtype} of shape {header.spec.shape}, and was of length {length} "
                "when it was looked at first",
                "unlike",
            )

    def put(self, job: int, array: Any, out: npt.NDArray[Any]) -> None:
        """Copy a member to where it belongs, as much of it as is wanted."""
        if out.dtype.itemsize:
            self.target(job, out)[...] = array[: self.taken[job]]

    def target(self, job: int, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Where in `out` does a member belong?"""
        raise NotImplementedError

    def unit(self) -> int:
        """Bytes for each of axis 0."""
        return math.prod(self.trail) * self.dtype.itemsize

    def check_large(self) -> None:
        """Members by other methods may claim anything: do large ones hold what they say? Before
        memory is taken."""
        for job in np.flatnonzero(self.lengths * self.unit() > LARGE).tolist():
            position = int(self.positions[job])
            if self.reader.is_foreign(position):
                try:
                    for _ in self.reader.pieces(position):
                        pass
                except Exception as exc:
                    self.note(job, exc)
                    self.lengths[job] = 0

    def allocate(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Memory of this shape, or what the first member's has to do with it."""
        try:
            return new_batch(shape, self.dtype)
        except (ValueError, OverflowError) as exc:
            let_pass(exc)
            what = f"one of {len(self.positions)} that make no batch, of shape {shape}: {exc}"
            raise self.refusal(int(self.positions[self.first]), what, "shape") from None
        except MemoryError as exc:
            let_pass(exc)
            raise errors.error(_MEMORY, self.reader.index.where) from None

    def divide(self, out: npt.NDArray[Any]) -> tuple[Jobs, Jobs, Jobs]:
        """The jobs that go straight to where they belong, by way of a piece of memory, and those
        that nothing but their headers can tell of."""
        wanted = np.ones(len(self.positions), bool)
        wanted[list(self.failed)] = False
        usual = wanted & (self.which != ODD)
        direct = usual & (self.taken == self.lengths)
        direct &= np.array([kind.direct for kind in self.kinds] + [False])[self.which]
        if not out.flags.c_contiguous:
            direct[:] = False
        odd = wanted & (self.which == ODD)
        return np.flatnonzero(direct), np.flatnonzero(usual & ~direct), np.flatnonzero(odd)

    def begin_parts(self) -> None:
        """Have the workers put members into their places while the caller goes on, and into the
        first piece of memory, if they can."""
        straight, by_pieces, _ = self.divide(self.out)
        try:
            if len(straight):
                self.begin_reading(straight, self.places(straight), _as_bytes(self.out))
            for part, places, nbytes in self.pieces(by_pieces):
                self.begin_reading(part, places, _new_piece(nbytes))
                break
        except MemoryError as exc:
            let_pass(exc)

    def begin_reading(self, jobs: Jobs, places: Jobs, out: npt.NDArray[np.uint8]) -> None:
        """What `read` does, begun."""
        statuses = np.empty(len(jobs), np.int32)
        ahead = _core.fetch_parts_ahead(
            self.reader.source,
            self.reader.directory,
            self.positions[jobs],
            [kind.native for kind in self.kinds],
            self.which[jobs],
            places.astype(np.uintp),
            out,
            self.threads_for(jobs),
            self.threads,
            self.reader.verify,
            statuses,
        )
        self.begun.append(_Begun(ahead, statuses, out))

    def threads_for(self, jobs: Jobs) -> int:
        """How many are worth waking."""
        return _zip.threads_worth(self.threads, int(self.lengths[jobs].sum()) * self.unit())

    def fill_parts(self, out: npt.NDArray[Any]) -> None:
        """Put every member into its place."""
        straight, by_pieces, odd = self.divide(out)
        left = [odd]
        if len(straight):
            left.append(self.straight(straight, out))
        left += self.by_pieces(by_pieces, out)
        self.one_by_one(np.concatenate(left), out)

    def read(self, jobs: Jobs, places: Jobs, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Have the workers put these members' payloads at these places; their statuses."""
        begun = self.await_begun()
        if begun is not None:
            return begun
        statuses = np.empty(len(jobs), np.int32)
        _core.fetch_parts(
            self.reader.source,
            self.reader.directory,
            self.positions[jobs],
            [kind.native for kind in self.kinds],
            self.which[jobs],
            places.astype(np.uintp),
            out,
            self.threads_for(jobs),
            self.reader.verify,
            statuses,
        )
        return statuses

    def places(self, jobs: Jobs) -> Jobs:
        """Where members go straight to, in bytes."""
        return self.starts[jobs] * self.unit()

    def straight(self, jobs: Jobs, out: npt.NDArray[Any]) -> Jobs:
        """Inflate members to where they belong; the jobs whose header isn't what it was before."""
        statuses = self.read(jobs, self.places(jobs), _as_bytes(out))
        return self.sort_out(statuses, jobs, out) if statuses.any() else jobs[:0]

    def pieces(self, jobs: Jobs) -> Iterator[tuple[Jobs, Jobs, int]]:
        """Members that fit into a piece of memory, their places in it, and its size."""
        sizes = -(-self.lengths[jobs] * self.unit() // _ALIGN) * _ALIGN
        start = 0
        while start < len(jobs):
            ends = np.cumsum(sizes[start:])
            n = max(1, int(np.searchsorted(ends, _PIECE, "right")))
            yield jobs[start : start + n], ends[:n] - sizes[start : start + n], int(ends[n - 1])
            start += n

    def by_pieces(self, jobs: Jobs, out: npt.NDArray[Any]) -> list[Jobs]:
        """The same by way of a piece of memory."""
        left = []
        for part, places, nbytes in self.pieces(jobs):
            raw = self.begun[0].memory if self.begun else _new_piece(nbytes)
            statuses = self.read(part, places, raw)
            for k in np.flatnonzero(statuses == 0).tolist():
                spec = self.kinds[self.which[part[k]]].header.spec
                shape = int(self.lengths[part[k]]), *self.trail
                order: Any = "F" if spec.fortran_order else "C"
                array: Any = np.ndarray(shape, spec.dtype, raw, places[k], None, order)
                self.put(int(part[k]), array, out)
            left.append(self.sort_out(statuses, part, out))
        return left


def _as_bytes(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same memory as bytes."""
    return out.reshape(-1).view(np.uint8) if out.size else np.empty(0, np.uint8)


def _new_piece(nbytes: int) -> npt.NDArray[np.uint8]:
    """Memory that members go through."""
    block: Any = _core.Block(nbytes)
    return np.frombuffer(block, np.uint8)


def _describe(dtype: np.dtype[Any], trail: tuple[int, ...]) -> str:
    return f"{dtype} of shape ({', '.join(['n', *map(str, trail)])}{'' if trail else ','})"
