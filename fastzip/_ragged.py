"""Members of unequal lengths: one after another, or side by side with padding.

Lengths are known from `_shapes` before memory is taken, so members are inflated straight to where
they belong. What can't be taken as it is (another order, a longer member that is cut, `out` with
gaps) goes by way of a piece of memory.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, _threads, errors
from fastzip._fetch import _Batch, check_out, new_batch
from fastzip._member import LARGE, Reader
from fastzip._npy import Header, native
from fastzip._shapes import ODD, Kind, shapes_of

_PIECE: Final = 8 << 20
"""Bytes that are held twice at a time while members are copied."""
_ALIGN: Final = 64
_HUGE: Final = 1 << 62
_QUICK: Final = 16
"""Filling is so many times faster than inflating."""
_MEMORY: Final = _core.STATUS_CODES.index("memory")

Jobs = npt.NDArray[np.int64]


class _Parts(_Batch):
    """One call: members that differ in the length of axis 0, in memory of one dtype."""

    def __init__(self, reader: Reader, keys: Any, threads: int, max_header_size: int) -> None:
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
            what = f"one of {len(self.positions)} that make no batch, of shape {shape}: {exc}"
            raise self.refusal(int(self.positions[self.first]), what, "shape") from None
        except MemoryError:
            raise errors.error(_MEMORY, self.reader.index.where) from None

    def fill_parts(self, out: npt.NDArray[Any]) -> None:
        """Put every member into its place."""
        wanted = np.ones(len(self.positions), bool)
        wanted[list(self.failed)] = False
        odd = np.flatnonzero(wanted & (self.which == ODD))
        usual = wanted & (self.which != ODD)
        direct = usual & (self.taken == self.lengths)
        direct &= np.array([kind.direct for kind in self.kinds] + [False])[self.which]
        if not out.flags.c_contiguous:
            direct[:] = False
        left = [odd]
        if direct.any():
            left.append(self.straight(np.flatnonzero(direct), out))
        if not np.array_equal(usual, direct):
            left.append(self.by_pieces(np.flatnonzero(usual & ~direct), out))
        self.one_by_one(np.concatenate(left), out)

    def read(self, jobs: Jobs, places: Any, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Have the workers put these members' payloads at these places; their statuses."""
        statuses = np.empty(len(jobs), np.int32)
        nbytes = int(self.lengths[jobs].sum()) * self.unit()
        _core.fetch_parts(
            self.reader.source,
            self.reader.directory,
            self.positions[jobs],
            [kind.native for kind in self.kinds],
            self.which[jobs],
            places.astype(np.uintp),
            out,
            _threads.worth(self.threads, nbytes),
            self.reader.verify,
            statuses,
        )
        return statuses

    def straight(self, jobs: Jobs, out: npt.NDArray[Any]) -> Jobs:
        """Inflate members to where they belong; the jobs whose header isn't what it was before."""
        flat = out.reshape(-1).view(np.uint8) if out.size else np.empty(0, np.uint8)
        statuses = self.read(jobs, self.starts[jobs] * self.unit(), flat)
        return self.sort_out(statuses, jobs, out) if statuses.any() else jobs[:0]

    def by_pieces(self, jobs: Jobs, out: npt.NDArray[Any]) -> Jobs:
        """The same by way of a piece of memory."""
        sizes = -(-self.lengths[jobs] * self.unit() // _ALIGN) * _ALIGN
        left = []
        start = 0
        while start < len(jobs):
            ends = np.cumsum(sizes[start:])
            n = max(1, int(np.searchsorted(ends, _PIECE, "right")))
            part, places = jobs[start : start + n], ends[:n] - sizes[start : start + n]
            block: Any = _core.Block(int(ends[n - 1]))
            raw: npt.NDArray[np.uint8] = np.frombuffer(block, np.uint8)
            statuses = self.read(part, places, raw)
            for k in np.flatnonzero(statuses == 0).tolist():
                spec = self.kinds[self.which[part[k]]].header.spec
                shape = int(self.lengths[part[k]]), *self.trail
                order: Any = "F" if spec.fortran_order else "C"
                array: Any = np.ndarray(shape, spec.dtype, raw, places[k], None, order)
                self.put(int(part[k]), array, out)
            left.append(self.sort_out(statuses, part, out))
            start += n
        return np.concatenate(left)


class _Ragged(_Parts):
    def target(self, job: int, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return out[self.starts[job] : self.starts[job] + self.taken[job]]


class _Padded(_Parts):
    def target(self, job: int, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        row: npt.NDArray[Any] = out[job]
        return row[: self.taken[job]]

    def cut(self, length: int | None, truncate: bool) -> int:
        """The batch's length; what is longer is cut, or noted."""
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

    def pad(self, out: npt.NDArray[Any], value: npt.NDArray[Any]) -> None:
        """Fill what lies behind the members."""
        if not out.size or not out.dtype.itemsize or (self.taken == out.shape[1]).all():
            return
        if not out.flags.c_contiguous:
            for row, taken in zip(out, self.taken.tolist(), strict=True):
                row[taken:] = value
            return
        rows = out.reshape(len(out), -1).view(np.uint8)
        used = (self.taken * self.unit()).astype(np.uintp)
        threads = _threads.worth(self.threads, out.nbytes // _QUICK)
        _core.fill_rows(rows, used, value.tobytes(), threads)


def _describe(dtype: np.dtype[Any], trail: tuple[int, ...]) -> str:
    return f"{dtype} of shape ({', '.join(['n', *map(str, trail)])}{'' if trail else ','})"


def _total(lengths: npt.NDArray[np.int64]) -> int:
    """Their sum, which NumPy may be unable to hold: members of no bytes may be of any length."""
    return int(lengths.sum()) if len(lengths) * int(lengths.max(initial=0)) < _HUGE else _HUGE


def _beginning(out: Any, n: int) -> Any:
    """The first n elements of memory that may be larger, since nobody knows n before."""
    try:
        return out[:n] if len(out) > n else out
    except (TypeError, NotImplementedError):
        return out


def fetch_ragged(
    reader: Reader, keys: Any, out: Any, threads: int | None, max_header_size: int
) -> tuple[Any, npt.NDArray[np.int64]]:
    """See `fastzip.NpzFile.fetch_ragged`."""
    batch = _Ragged(reader, keys, _threads.resolve(threads), max_header_size)
    n = len(batch.positions)
    _begin(batch)
    total = _total(batch.lengths)
    if total >= _HUGE:
        what = f"one of {n} of more elements together than NumPy can count"
        raise batch.refusal(int(batch.positions[batch.first]), what, "shape")
    if out is not None and not batch.failed:
        out = _beginning(out, total)
        array = check_out(out, (total, *batch.trail), batch.dtype)
    else:
        array = batch.allocate((total, *batch.trail))
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(batch.lengths, out=offsets[1:])
    batch.starts, batch.taken = offsets[:-1], batch.lengths
    batch.fill_parts(array)
    if batch.failed:
        raise batch.first_failure()
    return array if out is None else out, offsets


def fetch_padded(
    reader: Reader,
    keys: Any,
    fill_value: Any,
    length: Any,
    truncate: bool,
    out: Any,
    threads: int | None,
    max_header_size: int,
) -> tuple[Any, npt.NDArray[np.int64]]:
    """See `fastzip.NpzFile.fetch_padded`."""
    if length is not None:
        length = min(operator.index(length), _HUGE)  # more wouldn't fit into an array of lengths
        if length < 0:
            raise ValueError(f"length must be 0 or more, or None: {length}")
    batch = _Padded(reader, keys, _threads.resolve(threads), max_header_size)
    n = len(batch.positions)
    _begin(batch)
    value = fill_of(fill_value, batch.dtype)
    extent = batch.cut(length, truncate)
    shape = n, extent, *batch.trail
    if out is not None and not batch.failed:
        array = check_out(out, shape, batch.dtype)
    else:
        array = batch.allocate(shape)
    batch.starts = np.arange(n, dtype=np.int64) * (extent if array.size else 0)
    batch.fill_parts(array)
    batch.pad(array, value)
    if batch.failed:
        raise batch.first_failure()
    return array if out is None else out, batch.taken


def lengths(
    reader: Reader, keys: Any, threads: int | None, max_header_size: int
) -> npt.NDArray[np.int64]:
    """See `fastzip.NpzFile.lengths`."""
    batch = _Parts(reader, keys, _threads.resolve(threads), max_header_size)
    batch.measure()
    if batch.failed:
        raise batch.first_failure()
    return batch.lengths


def _begin(batch: _Parts) -> None:
    """Measure the members; without any, take the dtype and shape from the archive's first one."""
    if len(batch.positions):
        batch.compare(batch.measure())
        if len(batch.failed) == len(batch.positions):
            raise batch.first_failure()
        batch.check_large()
        return
    try:
        first = _Parts(batch.reader, [0], 1, batch.max_header_size)
        first.compare(first.measure())
    except IndexError:
        return
    if not first.failed:
        batch.dtype, batch.trail = first.dtype, first.trail


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
    except (TypeError, ValueError, OverflowError):
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
