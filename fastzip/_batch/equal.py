"""Batches: keys to positions, positions to jobs, jobs to the rows of one array.

The native workers take members whose .npy header is, byte for byte, the first one's. What is left
goes round again with the header of the first that is left, converted if its order or byte order
differ.

What the workers don't decode, members by other methods and encrypted ones, is decoded by Python
threads that live as long as the call.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fastzip import _core, _zip, errors
from fastzip._npy import OTHER_HEADER, ArrayReader, Header, is_native, native
from fastzip._signals import let_pass
from fastzip._zip import (
    FOREIGN,
    LARGE,
    Opened,
    Positions,
    check_separate,
    positions_of,
    refuse_references,
)

_ROUNDS: Final = 8
"""After so many kinds of headers in one batch its members are read one at a time."""
_CONVERTED: Final = 8 << 20
"""Bytes that are held twice at a time while members are converted."""
NOT_AN_ARRAY: Final = "not an array, so it can't be a row of a batch", "no_array"


def unfit(header: Header | None) -> tuple[str, str] | None:
    """Why a member with this header can't be a row of any batch, and the code for that."""
    if header is None:
        return NOT_AN_ARRAY
    dtype = header.spec.dtype
    if dtype.hasobject:
        return "an array of Python objects, which can't be fetched", "object_dtype"
    if dtype.subdtype is not None or dtype.kind == "T":
        return f"an array of {dtype}, which can't be fetched", "dtype"
    return None


def _matches(header: Header, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return header.spec.shape == shape and native(header.spec.dtype) == dtype


def _is_direct(header: Header) -> bool:
    """Is the payload, byte for byte, a row of the batch?"""
    spec = header.spec
    # Without bytes there is no order; and NumPy's own arrays of itemsize 0 would become one of 1.
    one_order = not spec.fortran_order or sum(n != 1 for n in spec.shape) <= 1
    return not header.nbytes or (is_native(spec.dtype) and one_order)


def describe_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"{dtype} of shape {shape}"


class _Begun(NamedTuple):
    """What workers have in work."""

    ahead: _core.Ahead
    statuses: npt.NDArray[np.int32]
    memory: npt.NDArray[Any]
    """That they fill."""


class _Batch:
    """One call of fetch."""

    def __init__(self, reader: ArrayReader, keys: Any, threads: int, max_header_size: int) -> None:
        self.reader = reader
        self.max_header_size = max_header_size
        self.threads = threads
        self.positions = positions_of(reader.index, keys)
        self.first = 0
        self.failed: dict[int, Exception] = {}
        self.begun: list[_Begun] = []
        """In the order in which it is needed."""

    def header(self, position: int) -> Header:
        """The header of a member that can be a row of a batch."""
        return self.admit(self.reader.header(position, self.max_header_size), position)

    def admit(self, header: Header | None, position: int) -> Header:
        """This header, if its member can be a row."""
        why = unfit(header)
        if header is None or why is not None:
            what, code = why or NOT_AN_ARRAY
            raise self.refusal(position, what, code)
        return header

    def first_header(self) -> Header:
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

    def note(self, job: int, exc: Exception) -> None:
        """A member failed; what else can happen, such as what a signal's handler raises, is no
        member's failure."""
        if not errors.is_failure(exc):
            raise exc
        self.failed[job] = exc

    def refusal(self, position: int, what: str, code: str) -> Exception:
        index = self.reader.index
        name = index.name(position)
        text = f"{errors.place(index.where, name)}: the member is {what}"
        refusal: Exception = errors.refusal(code, text, index.where, name)
        return refusal

    def room(self, header: Header, out: Any) -> npt.NDArray[Any]:
        """Where the rows go, if the first member has this header: `out`, or new memory."""
        dtype = native(header.own_spec.dtype)
        shape = (len(self.positions), *header.spec.shape)
        first = int(self.positions[self.first])
        if header.nbytes > LARGE and self.reader.is_foreign(first):
            # Does it hold what it says, before memory is taken?
            for _ in self.reader.pieces(first):
                pass
        if out is not None and not self.failed:
            return check_out(out, shape, dtype, self.reader.opened)
        # Without `out`, or with a first member that is wrong: then `out` stays as it is.
        try:
            return new_batch(shape, dtype)
        except ValueError as exc:  # more dimensions, or larger ones, than NumPy has
            let_pass(exc)
            what = f"of shape {header.spec.shape}, which makes no batch: {exc}"
            raise self.refusal(first, what, "shape") from None
        except MemoryError as exc:
            let_pass(exc)
            where = self.reader.index.where
            raise errors.error(_core.STATUS_CODES.index("memory"), where) from None

    def fill(self, first: Header, out: npt.NDArray[Any]) -> None:
        """Fill every row; if members failed, find all of them and raise what is wrong with the
        first."""
        left = np.arange(self.first, len(self.positions))
        header: Header | None = first
        tried: set[bytes] = set()
        while len(left):
            if len(tried) == _ROUNDS:
                self.one_by_one(left, out)
                break
            if header is None:
                left = left[1:]
            elif header.raw in tried:  # there are bytes behind this one's array
                self.one_by_one(left[:1], out)
                left = left[1:]
            else:
                if _is_direct(header):
                    left = self.direct(header, left if tried or self.first else None, out)
                else:
                    left = self.converted(header, left, out)
                tried.add(header.raw)
            if len(left):
                header = self.matching_header(int(left[0]), out)
        if self.failed:
            raise self.first_failure()

    def matching_header(self, job: int, out: npt.NDArray[Any]) -> Header | None:
        """This member's header; None, and noted, if it can't be a row of the batch."""
        try:
            header = self.header(int(self.positions[job]))
            self.check(header, job, out.shape[1:], out.dtype)
        except Exception as exc:
            self.note(job, exc)
            return None
        return header

    def check(self, header: Header, job: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Is this member like the others?"""
        if not _matches(header, shape, dtype):
            first = self.reader.index.name(int(self.positions[self.first]))
            raise self.refusal(
                int(self.positions[job]),
                f"{describe_array(header.spec.shape, native(header.spec.dtype))}, and {first} is "
                f"{describe_array(shape, dtype)}; the members of a batch must be alike",
                "unlike",
            )

    def begin(self, header: Header, out: npt.NDArray[Any]) -> None:
        """Have the workers do the first round of `fill`, or as much of it as is converted at once,
        while the caller goes on, if they can."""
        if self.first:
            return
        try:
            memory, positions = out, self.positions
            if not _is_direct(header):
                positions = positions[: _at_once(header)]
                memory = _raw(header, len(positions))
            statuses = np.empty(len(positions), np.int32)
            ahead = _core.fetch_ahead(
                self.reader.source,
                self.reader.directory,
                positions,
                _as_bytes(memory),
                header.raw,
                _zip.threads_worth(self.threads, len(positions) * header.nbytes),
                self.threads,
                self.reader.verify,
                statuses,
            )
        except MemoryError as exc:
            let_pass(exc)
            return
        self.begun.append(_Begun(ahead, statuses, memory))

    def begun_well(self) -> bool:
        """Wait for what was begun: has the first member the header that was taken for all?"""
        return bool(self.begun) and self.begun[0].ahead.wait() and not self.begun[0].statuses[0]

    def await_begun(self) -> npt.NDArray[np.int32] | None:
        """The statuses of what was begun first; None if it must be done now."""
        if not self.begun:
            return None
        begun = self.begun.pop(0)
        return begun.statuses if begun.ahead.wait() else None

    def stop(self) -> None:
        """Have the workers leave what was begun, without waiting until they have."""
        for begun in self.begun:
            begun.ahead.stop()

    def native(
        self,
        header: Header,
        jobs: npt.NDArray[Any] | None,
        rows: npt.NDArray[Any] | None,
        out: npt.NDArray[Any],
    ) -> npt.NDArray[np.int32]:
        """Have the workers fill out[rows] with the members of these jobs; their statuses."""
        begun = self.await_begun()
        if begun is not None:
            return begun
        positions = self.positions if jobs is None else self.positions[jobs]
        statuses = np.empty(len(positions), np.int32)
        threads = _zip.threads_worth(self.threads, len(positions) * header.nbytes)
        _core.fetch(
            self.reader.source,
            self.reader.directory,
            positions,
            rows,
            _as_bytes(out),
            header.raw,
            threads,
            self.reader.verify,
            statuses,
        )
        return statuses

    def direct(
        self, header: Header, jobs: npt.NDArray[Any] | None, out: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Inflate members with this header into their rows; the jobs whose header is another."""
        statuses = self.native(header, jobs, jobs, out)
        if not np.count_nonzero(statuses):  # a fifth of what any() takes
            return np.empty(0, np.int64)
        jobs = np.arange(len(statuses)) if jobs is None else jobs
        return self.sort_out(statuses, jobs, out)

    def sort_out(
        self, statuses: npt.NDArray[np.int32], jobs: npt.NDArray[Any], out: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Note the failures, and decode what the core doesn't; the jobs whose member has another
        header."""
        index = self.reader.index
        foreign = np.isin(statuses, FOREIGN)
        if foreign.any():
            self.foreign(jobs[foreign], out)
        for k in np.flatnonzero(statuses):
            if statuses[k] != OTHER_HEADER and not foreign[k]:
                job = int(jobs[k])
                self.failed[job] = index.error(int(statuses[k]), int(self.positions[job]))
        other: npt.NDArray[Any] = jobs[statuses == OTHER_HEADER]
        return other

    def converted(
        self, header: Header, jobs: npt.NDArray[Any], out: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """The same for Fortran order and the other byte order, by way of a piece of memory."""
        spec = header.spec
        others = []
        step, ndim = _at_once(header), len(spec.shape)
        axes = range(ndim, 0, -1) if spec.fortran_order else range(1, ndim + 1)
        for start in range(0, len(jobs), step):
            part = jobs[start : start + step]
            raw = self.begun[0].memory if self.begun else _raw(header, len(part))
            statuses = self.native(header, part, None, raw)
            done = statuses == 0
            out[part[done]] = raw.transpose(0, *axes)[done]
            others.append(self.sort_out(statuses, part, out))
        return np.concatenate(others)

    def foreign(self, jobs: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Have Python code decode these members."""
        positions = self.positions[jobs].tolist()
        failed = self.reader.foreign_each(
            positions, lambda i, block: self.place(int(jobs[i]), block, out), self.threads
        )
        self.failed.update((int(jobs[i]), exc) for i, exc in failed.items())

    def place(self, job: int, block: Any, out: npt.NDArray[Any]) -> None:
        """Put a member that was decoded as a whole into its row."""
        position = int(self.positions[job])
        view = memoryview(block)
        header = self.reader.header_in(view, position, self.max_header_size)
        header = self.admit(header, position)
        self.check(header, job, out.shape[1:], out.dtype)
        spec = header.spec
        order: Any = "F" if spec.fortran_order else "C"
        self.put(job, np.ndarray(spec.shape, spec.dtype, view, header.offset, None, order), out)

    def one_by_one(self, jobs: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """What no common header serves, such as members with bytes behind the array."""
        for job in jobs:
            if self.matching_header(int(job), out) is None:
                continue
            try:
                array = self.reader.member(
                    int(self.positions[job]), max_header_size=self.max_header_size
                )
            except Exception as exc:
                self.note(int(job), exc)
            else:
                self.put(int(job), array, out)

    def put(self, job: int, array: Any, out: npt.NDArray[Any]) -> None:
        """Copy a member to where it belongs."""
        if out.dtype.itemsize:  # NumPy would walk 10 ** 11 elements of no bytes
            out[job] = array

    def first_failure(self) -> Exception:
        key = self.reader.index.key
        return errors.first_of(self.failed, lambda job: key(int(self.positions[job])))


def _at_once(header: Header) -> int:
    """How many members with this header are converted at a time."""
    return max(1, _CONVERTED // max(1, header.nbytes))


def _raw(header: Header, n: int) -> npt.NDArray[Any]:
    """Memory for the payloads of n such members, as they are."""
    spec = header.spec
    return np.empty((n, *(spec.shape[::-1] if spec.fortran_order else spec.shape)), spec.dtype)


def _as_bytes(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same memory as rows of bytes."""
    if out.size == 0 or out.dtype.itemsize == 0:
        return np.empty((len(out), 0), np.uint8)
    if out.ndim == 1:
        return out[:, np.newaxis].view(np.uint8)
    return out.reshape(len(out), -1).view(np.uint8)


def new_batch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An uninitialised batch in the arena's memory: aligned, and warm if one was freed before."""
    nbytes = math.prod(shape) * dtype.itemsize
    _core.expect_batch(nbytes)
    block: Any = _core.Block(nbytes)
    return np.ndarray(shape, dtype, block)


def trim() -> int:
    """Give idle output memory back to the system.

    Batches and large arrays that were dropped leave at most 256 MiB (or two batches) behind for the
    next ones, since fresh memory is several times slower to fill.

    Returns
    -------
    int
        Bytes given back.

    Examples
    --------
    >>> import fastzip
    >>> fastzip.trim() >= 0
    True
    """
    return _core.trim_arena()


def check_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], opened: Opened
) -> npt.NDArray[Any]:
    """The caller's memory as an array, or what is wrong with it; nothing is written before."""
    refuse_references(out)
    if isinstance(out, np.ndarray):
        array = out
    else:
        try:
            array, again = np.asarray(out), np.asarray(out)
        except Exception as exc:  # CUDA tensors, tensors that require grad
            let_pass(exc)
            raise TypeError(f"out can't be used as an array: {exc}") from exc
        pointer = getattr(out, "data_ptr", None)
        copied = array.ctypes.data != again.ctypes.data if array.size else False
        if copied or (pointer is not None and array.size and pointer() != array.ctypes.data):
            raise TypeError(f"out is a {type(out).__name__}, which can't be written to as an array")
        refuse_references(array)
    if array.dtype != dtype or array.dtype.metadata != dtype.metadata:
        raise ValueError(f"out is of dtype {array.dtype}, and the members are {dtype}")
    if array.shape != shape:
        raise ValueError(f"out has the shape {array.shape}, and the batch {shape}")
    if not array.flags.writeable:
        raise ValueError("out is read-only")
    if array.size:
        row = array[0]
        if row.ndim and not row.flags.c_contiguous:
            raise ValueError(
                f"the rows of out must be C-contiguous; its strides are {array.strides}"
            )
        if len(array) > 1 and abs(array.strides[0]) < row.nbytes:
            raise ValueError(f"the rows of out overlap; its strides are {array.strides}")
        check_separate(array, opened)
    return array


def fetch(
    reader: ArrayReader, keys: Any, out: Any, threads: int | None, max_header_size: int
) -> Any:
    """See `fastzip.NpzFile.fetch`."""
    batch = _Batch(reader, keys, _zip.thread_count(threads), max_header_size)
    if len(batch.positions) == 0:
        return _fetch_nothing(batch, out)
    header = batch.first_header()
    array = batch.room(header, out)
    batch.fill(header, array)
    return array if out is None else out


class EqualAhead:
    """A call of `fetch` that was begun: workers fill its rows while its caller does something else.

    With `likely`, the header that the first member probably has, nothing is read before. What can't
    be done ahead is done when the result is asked for, and what fails is raised then. After `stop`,
    or an exception of a signal's handler, the result is read anew."""

    def __init__(
        self,
        reader: ArrayReader,
        positions: Positions,
        threads: int | None,
        max_header_size: int,
        likely: Header | None = None,
    ) -> None:
        self._call = reader, positions, None, threads, max_header_size
        self._begun: tuple[_Batch, Header, npt.NDArray[Any]] | None = None
        self._guessed = likely is not None
        self._asked = False
        if reader.is_foreign(int(positions[0])):
            return
        batch = _Batch(reader, positions, _zip.thread_count(threads), max_header_size)
        try:
            header = likely or batch.first_header()
            array = batch.room(header, None)
            batch.begin(header, array)
            self._begun = batch, header, array
        except BaseException as exc:
            batch.stop()  # a traceback may hold it
            if not errors.is_failure(exc):
                raise
            # Otherwise it is found again when the result is asked for.

    def result(self) -> tuple[npt.NDArray[Any], Header | None]:
        """What `fetch` gives, or raises; and what the next batch's header probably is."""
        begun = None if self._asked else self._begun
        self._asked = True
        if begun is None or (self._guessed and not begun[0].begun_well()):
            begun = self._begun = None  # its memory goes before the next is taken
            return fetch(*self._call), None
        batch, header, array = begun
        batch.fill(header, array)
        return array, header

    def stop(self) -> None:
        """Have the workers leave it, without waiting until they have."""
        if self._begun is not None:
            self._begun[0].stop()


def _fetch_nothing(batch: _Batch, out: Any) -> Any:
    """No keys: a batch of no rows, of the kind that the archive's first member would give."""
    shape: tuple[int, ...] = ()
    dtype = np.dtype(np.float64)
    if len(batch.reader.index):
        try:
            spec = batch.header(0).own_spec
            shape, dtype = spec.shape, native(spec.dtype)
        except (ValueError, errors.BadZipFile, NotImplementedError, errors.PasswordError) as exc:
            let_pass(exc)  # otherwise the first member is no array, and nothing is known
    if out is None:
        return np.empty((0, *shape), dtype)
    refuse_references(out)
    if len(np.asarray(out)):
        raise ValueError(f"out has {len(np.asarray(out))} rows, and there are no keys")
    return out
