"""One run of a batch: which members, where each goes, and how they get there.

A `Batch` lays its memory out, and says in steps what the core can do: members whose headers are
known into one piece of memory, which is the batch's own, or one that they go through. Members
that turn out to be something else come back, and the batch says what becomes of them. What the
core doesn't decode, members by other methods and encrypted ones, is decoded by Python threads
that live as long as the run.

Steps can be begun ahead of time: then threads work on them while the caller does something else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, _zip, errors
from fastzip._batch.memory import new_batch
from fastzip._npy import OTHER_HEADER, ArrayReader, Header
from fastzip._signals import let_pass
from fastzip._zip import FOREIGN, LARGE, MEMORY

Jobs = npt.NDArray[np.int64]
"""Numbers of a batch's members."""
NOTHING: Final = np.empty(0, np.int64)
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


class Step:
    """One call of the core.

    Parameters
    ----------
    jobs : ndarray of int64, optional
        Which members; None for all.
    headers : bytes or list
        The header of all of them, or kinds of headers, as the core takes them.
    which : ndarray of int32, optional
        Which of the kinds the header of each is.
    places : ndarray, optional
        The row of each; with kinds, its first byte. None for the rows 0, 1, 2, …
    nbytes : int
        What the members hold together.
    memory : callable
        Makes the memory when the step is done, or begun: bytes, in rows unless there are kinds.
    deliver : callable, optional
        For memory that members only go through: puts those for which the mask says so where they
        belong.
    """

    def __init__(
        self,
        jobs: Jobs | None,
        headers: Any,
        which: npt.NDArray[np.int32] | None,
        places: npt.NDArray[Any] | None,
        nbytes: int,
        memory: Callable[[], npt.NDArray[np.uint8]],
        deliver: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.bool_]], None] | None = None,
    ) -> None:
        self.jobs, self.headers, self.which, self.places = jobs, headers, which, places
        self.nbytes, self.make, self.deliver = nbytes, memory, deliver
        self.memory: npt.NDArray[np.uint8] | None = None
        self.statuses: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.ahead: _core.Ahead | None = None

    def arguments(self, positions: Jobs) -> tuple[Any, npt.NDArray[np.int64]]:
        """Its memory and its positions; takes what isn't there yet."""
        if self.memory is None:
            self.memory = self.make()
        if self.jobs is not None:
            positions = positions[self.jobs]
        self.statuses = np.empty(len(positions), np.int32)
        return self.memory, positions


class Batch:
    """Members of an archive on their way into memory."""

    likely: Header | None = None
    """The header that the first member probably has; None: it is read before anything else."""

    def __init__(
        self, reader: ArrayReader, positions: Jobs, threads: int, max_header_size: int
    ) -> None:
        self.reader, self.positions = reader, np.ascontiguousarray(positions)
        self.threads, self.max_header_size = threads, max_header_size
        self.first = 0
        """The first member that is of use: the others must be like it."""
        self.failed: dict[int, Exception] = {}
        self.out: npt.NDArray[Any] = np.empty(0)
        self._steps: Iterator[Step] | None = None
        self.begun: deque[Step] = deque()

    # -------------------------------------------------------------------- what kinds of batches say

    def lay_out(self, out: Any) -> Any:
        """Find out where each member goes, and take the memory; returns `out`, or the part of it
        that is used, or the memory that was taken instead."""
        raise NotImplementedError

    def steps(self) -> Iterator[Step]:
        """What the core can do, first what goes straight to where it belongs."""
        raise NotImplementedError

    def again(self, jobs: Jobs) -> Jobs:
        """Do what can be done for members whose headers aren't what the steps said; those that are
        left."""
        raise NotImplementedError

    def check(self, header: Header, job: int) -> None:
        """Raise if this member isn't like the others."""
        raise NotImplementedError

    def put(self, job: int, array: Any) -> None:
        """Copy a member to where it belongs."""
        raise NotImplementedError

    def can_begin(self) -> bool:
        """Is there anything that can be done ahead?"""
        return True

    # ---------------------------------------------------------------------------------- the run

    def begin(self) -> None:
        """Have threads do the first steps while the caller goes on: all that go straight to where
        members belong, and one more."""
        self._steps = self.steps()
        for step in self._steps:
            self.begun.append(step)
            try:
                self._start(step)
            except MemoryError as exc:
                let_pass(exc)
                return
            if step.deliver is not None:
                return

    def _start(self, step: Step) -> None:
        rows = isinstance(step.headers, bytes)
        if rows and step.places is not None:
            return
        memory, positions = step.arguments(self.positions)
        threads = _zip.threads_worth(self.threads, step.nbytes)
        archive: Any = self.reader.source, self.reader.directory, positions
        how: Any = threads, self.threads, self.reader.verify, step.statuses
        if rows:
            what: Any = memory, step.headers
            step.ahead = _core.fetch_ahead(*archive, *what, *how)
        else:
            what = step.headers, step.which, step.places, memory
            step.ahead = _core.fetch_parts_ahead(*archive, *what, *how)

    def begun_well(self) -> bool:
        """Wait for what was begun first: did the first member turn out as it was expected?"""
        step = self.begun[0] if self.begun else None
        ahead = None if step is None else step.ahead
        return step is not None and ahead is not None and ahead.wait() and not step.statuses[0]

    def stop(self) -> None:
        """Have the threads leave what was begun, without waiting until they have."""
        for step in self.begun:
            if step.ahead is not None:
                step.ahead.stop()

    def fill(self) -> None:
        """Put every member where it belongs, as far as it is readable."""
        left = self.run(self.steps() if self._steps is None else self._steps)
        while len(left):
            left = self.again(left)

    def run(self, steps: Iterator[Step]) -> Jobs:
        """Do these steps, and before them those that were begun; the jobs with another header."""
        others = []
        for step in chain(self._taken(), steps):
            statuses = self._done(step)
            if step.deliver is not None and step.memory is not None:
                step.deliver(step.memory, statuses == 0)
            if np.count_nonzero(statuses):  # a fifth of what any() takes
                jobs = np.arange(len(statuses)) if step.jobs is None else step.jobs
                others.append(self.sort_out(statuses, jobs))
        return np.concatenate(others) if others else NOTHING

    def _taken(self) -> Iterator[Step]:
        while self.begun:
            yield self.begun.popleft()

    def _done(self, step: Step) -> npt.NDArray[np.int32]:
        """How each member of this step went, which is done now if it wasn't ahead."""
        if step.ahead is not None and step.ahead.wait():
            return step.statuses
        memory, positions = step.arguments(self.positions)
        archive: Any = self.reader.source, self.reader.directory, positions
        threads = _zip.threads_worth(self.threads, step.nbytes)
        how: Any = threads, self.reader.verify, step.statuses
        if isinstance(step.headers, bytes):
            what: Any = step.places, memory, step.headers
            _core.fetch(*archive, *what, *how)
        else:
            what = step.headers, step.which, step.places, memory
            _core.fetch_parts(*archive, *what, *how)
        return step.statuses

    def sort_out(self, statuses: npt.NDArray[np.int32], jobs: Jobs) -> Jobs:
        """Note the failures, and decode what the core doesn't; the jobs whose member has another
        header."""
        foreign = np.isin(statuses, FOREIGN)
        if foreign.any():
            self.foreign(jobs[foreign])
        for k in np.flatnonzero(statuses):
            if statuses[k] != OTHER_HEADER and not foreign[k]:
                job = int(jobs[k])
                position = int(self.positions[job])
                self.failed[job] = self.reader.index.error(int(statuses[k]), position)
        other: Jobs = jobs[statuses == OTHER_HEADER]
        return other

    def foreign(self, jobs: Jobs) -> None:
        """Have Python code decode these members."""
        positions = self.positions[jobs].tolist()
        failed = self.reader.foreign_each(
            positions, lambda i, block: self.place(int(jobs[i]), block), self.threads
        )
        self.failed.update((int(jobs[i]), exc) for i, exc in failed.items())

    def place(self, job: int, block: Any) -> None:
        """Put a member that was decoded as a whole where it belongs."""
        position = int(self.positions[job])
        view = memoryview(block)
        header = self.reader.header_in(view, position, self.max_header_size)
        header = self.admit(header, position)
        self.check(header, job)
        spec = header.spec
        order: Any = "F" if spec.fortran_order else "C"
        self.put(job, np.ndarray(spec.shape, spec.dtype, view, header.offset, None, order))

    def one_by_one(self, jobs: Jobs) -> None:
        """What no common header serves, such as members with bytes behind the array."""
        for job in jobs.tolist():
            if self.matching_header(job) is None:
                continue
            try:
                array = self.reader.member(
                    int(self.positions[job]), max_header_size=self.max_header_size
                )
            except Exception as exc:
                self.note(job, exc)
            else:
                self.put(job, array)

    # -------------------------------------------------------------------------------- one member

    def header(self, position: int) -> Header:
        """The header of a member that can be part of a batch."""
        return self.admit(self.reader.header(position, self.max_header_size), position)

    def admit(self, header: Header | None, position: int) -> Header:
        """This header, if its member can be part of a batch."""
        why = unfit(header)
        if header is None or why is not None:
            what, code = why or NOT_AN_ARRAY
            raise self.refusal(position, what, code)
        return header

    def matching_header(self, job: int) -> Header | None:
        """This member's header; None, and noted, if it can't be part of this batch."""
        try:
            header = self.header(int(self.positions[job]))
            self.check(header, job)
        except Exception as exc:
            self.note(job, exc)
            return None
        return header

    def holds_what_it_says(self, job: int, nbytes: int) -> None:
        """Raise if a member by another method doesn't: these may claim anything, so large ones are
        decoded once before memory is taken."""
        position = int(self.positions[job])
        if nbytes > LARGE and self.reader.is_foreign(position):
            for _ in self.reader.pieces(position):
                pass

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Any:
        """Memory for the batch; `what` says of the first member why there may be none."""
        try:
            return new_batch(shape, dtype)
        except (ValueError, OverflowError) as exc:  # more than NumPy has
            let_pass(exc)
            first = int(self.positions[self.first])
            raise self.refusal(first, f"{what}: {exc}", "shape") from None
        except MemoryError as exc:
            let_pass(exc)
            raise errors.error(MEMORY, self.reader.index.where) from None

    # ----------------------------------------------------------------------------------- failures

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

    def first_failure(self) -> Exception:
        key = self.reader.index.key
        return errors.first_of(self.failed, lambda job: key(int(self.positions[job])))


class Ahead:
    """A batch that was begun: threads fill it while its caller does something else.

    What can't be done ahead is done when the result is asked for, and what fails is raised then.
    After `stop`, or an exception of a signal's handler, the result is read anew.

    Parameters
    ----------
    make : callable
        Makes the batch.
    finish : callable
        What the call that reads such a batch does with it, and returns.
    likely : Header, optional
        What the first member's header probably is: with it nothing is read before.
    """

    def __init__(
        self,
        make: Callable[[], Batch],
        finish: Callable[[Batch, Any], Any],
        likely: Header | None = None,
    ) -> None:
        self._make, self._finish, self.likely = make, finish, likely
        self._begun: tuple[Batch, Any] | None = None
        self._asked = False
        batch = make()
        if not batch.can_begin():
            return
        batch.likely = likely
        try:
            out = batch.lay_out(None)
            batch.begin()
        except BaseException as exc:
            batch.stop()  # a traceback may hold it
            if not errors.is_failure(exc):
                raise
            return  # it is found again when the result is asked for
        self._begun = batch, out

    def result(self) -> Any:
        """What the call gives, or raises."""
        begun = None if self._asked else self._begun
        self._asked = True
        if begun is None or (self.likely is not None and not begun[0].begun_well()):
            begun = self._begun = None  # its memory goes before the next is taken
            batch = self._make()
            begun = batch, batch.lay_out(None)
        result = self._finish(*begun)
        self.likely = begun[0].likely
        return result

    def stop(self) -> None:
        """Have the threads leave it, without waiting until they have."""
        if self._begun is not None:
            self._begun[0].stop()
