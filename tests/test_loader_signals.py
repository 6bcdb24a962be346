"""A signal's handler raises while a `Loader` is iterated: nothing is skipped, nothing waited for.

==============================================  ================================================
at every instruction of fastzip's own code      test_every_instruction
and again during the clean-up                   test_twice
at random moments, tens of thousands of times   test_random_moments
while a thread has a slow read in hand          test_a_slow_read
a handler's own error, inside of `collate`      test_in_collate
==============================================  ================================================
"""

from __future__ import annotations

import contextlib
import dis
import functools
import io
import os
import pathlib
import random
import signal
import sys
import time
import zipfile

import numpy as np
import pytest
from interrupting import forget_handled

import fastzip
from fastzip import Loader, Padded, Ragged

N, SIZE = 14, 4
PACKAGE = os.path.dirname(fastzip.__file__) + os.sep


on_3_11 = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="later Pythons trace instructions in another way"
)


class StopError(Exception):
    pass


def stop(*_):
    raise StopError


@pytest.fixture(autouse=True)
def handler():
    """Where an exception was raised tells whose it is, so `stop` must be a handler."""
    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, before)


class Once:
    """Raises before the nth instruction of the code that iterates, wherever that is: a tracer.

    With `again`, once more when so many calls have been made or have returned since."""

    def __init__(self, nth, again=None):
        self.left, self.again = nth, again
        self.raised, self.where = 0, None

    def _trace(self, frame, event, arg):
        if event == "call":
            if frame.f_code.co_filename not in TRACED or is_dying(frame):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode" and names(frame.f_code)[frame.f_lasti] not in IN_CALLS:
            self.left -= 1
            if self.left < 0:
                self.raised += 1
                self.where = frame.f_code, frame.f_lasti
                if self.again is not None:
                    sys.setprofile(self._profile)
                stop()  # Python takes the tracer away now
        return self._trace

    def _profile(self, frame, event, arg):
        # CPython looks for signals where functions begin, and where those of C have returned.
        inside = frame.f_code.co_filename.startswith(PACKAGE)
        if event not in ("call", "c_return") or not inside or is_dying(frame):
            return
        self.again -= 1
        if self.again < 0:
            self.raised += 1
            stop()

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc):
        sys.settrace(None)
        sys.setprofile(None)
        forget_handled()


TRACED = [PACKAGE + name for name in ("_train/loader.py", "_train/feeds.py")]
IN_CALLS = "PRECALL", "CALL", "CALL_KW"
"""CPython 3.11 would take a call's keywords for those of the next one."""


def is_dying(frame):
    """Is this part of a `__del__`? What is raised there is nobody's."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@functools.cache
def names(code):
    return {one.offset: one.opname for one in dis.get_instructions(code)}


SOURCES = ["members", "rows", "ragged", "padded", "several", "foreign"]


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    """Archives whose member i holds i: alike, of different lengths, and by another method."""
    folder = tmp_path_factory.mktemp("made")
    alike = {f"{i:02}": np.full(3, i) for i in range(N)}
    unequal = {f"{i:02}": np.full(1 + i % 3, i) for i in range(N)}
    (folder / "alike.npz").write_bytes(lab.npz(**alike))
    (folder / "unequal.npz").write_bytes(lab.npz(**unequal))
    (folder / "foreign.npz").write_bytes(bzipped(alike))
    return folder


def bzipped(arrays):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
    return file.getvalue()


@contextlib.contextmanager
def loader_of(folder, kind, **options):
    """A loader over these sources, and what tells a batch's samples."""
    folder = pathlib.Path(folder)
    with contextlib.ExitStack() as stack:
        alike, unequal, foreign = (
            stack.enter_context(fastzip.load(folder / f"{name}.npz"))
            for name in ("alike", "unequal", "foreign")
        )
        sources = {
            "members": [alike],
            "rows": [np.arange(N)],
            "ragged": [Ragged(unequal)],
            "padded": [Padded(unequal, fill_value=-1)],
            "several": [alike, Padded(unequal), np.arange(N)],
            "foreign": [foreign],
        }[kind]

        def numbers(batch):
            if kind == "rows":
                return batch.tolist()
            if kind == "ragged":
                return batch[0][batch[1][:-1]].tolist()
            if kind == "padded":
                return batch[0][:, 0].tolist()
            if kind == "several":
                (images, (texts, _), rows) = batch
                assert images[:, 0].tolist() == texts[:, 0].tolist() == rows.tolist()
                return rows.tolist()
            return batch[:, 0].tolist()

        options = {"batch_size": SIZE, "prefetch": 2, "threads": 2} | options
        yield Loader(*sources, **options), numbers


def check(loader, numbers, turn, once):
    """Interrupt an iterator's turn-th `next`: what follows must be the next batch, in the end all.

    False if it was raised where the batch was handed out already: behind the assignment that does
    it, from where to the caller CPython looks for no signals."""
    right = [list(range(i, min(N, i + SIZE))) for i in range(0, N, SIZE)]
    loader.set_epoch(1)
    loader.set_epoch(0)
    it = iter(loader)
    got = [numbers(next(it)) for _ in range(turn)]
    before, batch = loader.state_dict(), None
    assert before["position"] == sum(map(len, got))
    try:
        with once:
            batch = next(it, "over")
    except StopError:
        if loader.state_dict() != before:
            code, at = once.where
            assert once.again is not None or is_behind_the_last_call(code, at), (code.co_name, at)
            return False
    else:
        assert not once.raised
        got += [] if batch == "over" else [numbers(batch)]
    while len(got) < len(right):
        got.append(numbers(next(it)))
        assert got == right[: len(got)]
        assert loader.state_dict()["position"] == sum(map(len, got))
    assert next(it, None) is None
    assert (loader.epoch, loader.state_dict()["position"]) == (1, 0)
    assert got == right
    return True


def is_behind_the_last_call(code, at):
    """Is this in `__next__`, behind the assignment, and nothing called in between?"""
    names = [one.argval if one.opname == "STORE_ATTR" else one.opname
             for one in dis.get_instructions(code) if one.offset < at]  # fmt: skip
    if code.co_name != "__next__" or "at" not in names:
        return False
    behind = names[names.index("at") :]
    return not any(name.startswith(("CALL", "JUMP_BACKWARD", "RESUME")) for name in behind)


def count(loader, turn):
    """How many instructions a `next` takes."""
    it = iter(loader)
    for _ in range(turn):
        next(it)
    once = Once(1 << 40)
    with once:
        next(it, None)
    return (1 << 40) - once.left


@on_3_11
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("turn", [0, 1, 3, 4])
def test_every_instruction(made, kind, turn):
    with loader_of(made, kind) as (loader, numbers):
        total = count(loader, turn)
        outcomes = [check(loader, numbers, turn, Once(nth)) for nth in range(total)]
    assert len(outcomes) > 30
    assert outcomes.count(False) < 20


@on_3_11
@pytest.mark.parametrize("kind", ["rows", "several"])
@pytest.mark.parametrize("turn", [0, 1])
def test_twice(made, kind, turn):
    """A second one, any number of calls behind the first: in the midst of the clean-up as well."""
    twice = 0
    with loader_of(made, kind) as (loader, numbers):
        for nth in range(0, count(loader, turn), 5):
            for again in (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17):
                once = Once(nth, again)
                check(loader, numbers, turn, once)
                twice += once.raised > 1
    assert twice > 50


def random_moments(faults, folder, kind, wanted):
    """A timer interrupts loops over iterators that live on, until it has done so often enough."""
    rng = random.Random(kind)

    signal.signal(signal.SIGALRM, stop)
    stopped = turns = 0
    with loader_of(folder, kind, batch_size=1) as (loader, numbers):
        while stopped < wanted:
            it, expected, batch = iter(loader), 0, None
            while it is not None:
                turns += 1
                try:
                    if turns % 5:  # else nothing comes, so that a slow machine gets on as well
                        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 1e-3))
                    # Unlike a call of next, the loop takes the batch before a handler has its turn.
                    for batch in it:  # noqa: B007
                        break
                    else:
                        it = None
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except StopError:
                    stopped += 1
                if batch is not None:
                    assert numbers(batch) == [expected]
                    expected, batch = expected + 1, None
                elif it is not None and loader.epoch == 0:
                    assert loader.state_dict()["position"] == expected
                elif it is not None:
                    it = None  # the epoch's end, as the handler had its turn
                if it is not None:
                    assert loader.state_dict()["position"] == expected
            assert expected == N
            loader.set_epoch(0)
    return stopped


MOMENTS = {
    "rows": 7000,
    "members": 7000,
    "several": 4000,
    "ragged": 3000,
    "padded": 3000,
    "foreign": 1000,
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_random_moments(faultlab, made, kind):
    wanted = faultlab.times(MOMENTS[kind])
    assert faultlab.run(random_moments, str(made), kind, wanted) >= wanted


def in_collate(faults, folder, kind):
    """The handler's error comes out of `collate`, which fails by errors of the same type itself."""
    signal.signal(signal.SIGALRM, stop)
    calls = []

    def collate(batch):
        calls.append(len(calls))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGALRM)
        if len(calls) == 4:
            raise StopError("mine")
        return batch

    outcomes = []
    with loader_of(folder, kind, collate=collate) as (loader, numbers):
        it = iter(loader)
        for _ in range(5):
            try:
                outcomes.append(numbers(next(it)))
            except StopError as exc:
                outcomes.append(str(exc))
        assert next(it, None) is None
    return outcomes


@pytest.mark.parametrize("kind", ["members", "rows"])
def test_in_collate(faultlab, made, kind):
    """A batch is through if `collate` fails, and not if a handler does meanwhile."""
    outcomes = faultlab.run(in_collate, str(made), kind)
    assert outcomes == [[0, 1, 2, 3], "", [4, 5, 6, 7], "mine", [12, 13]]


def slow_read(faults, folder, prefetch):
    """Threads have reads in hand that take seconds, and the loop waits for them."""
    signal.signal(signal.SIGALRM, stop)
    path = pathlib.Path(folder) / "alike.npz"
    with loader_of(folder, "members", batch_size=1, prefetch=prefetch) as (loader, numbers):
        it = iter(loader)
        assert numbers(next(it)) == [0]  # the workers are there
        it.close()
        it = iter(loader)
        with faults.during(path, str(1000 * SLOW)):
            it._begin(0)
            time.sleep(0.5)  # now each has one
            began = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                next(it)
            except StopError:
                took = time.perf_counter() - began
            else:
                took = None
        position = loader.state_dict()["position"]
        assert [numbers(batch) for batch in it] == [[i] for i in range(N)]
        time.sleep(max(0, began + SLOW - time.perf_counter()))  # the file stays open until then
    fastzip.trim()
    return took, position


SLOW = 8
"""Seconds."""


@pytest.mark.parametrize("prefetch", [1, 2])
def test_a_slow_read(faultlab, injector, made, prefetch):
    """The exception waits for none of them."""
    took, position = faultlab.run(slow_read, str(made), prefetch, injector=injector)
    assert position == 0
    assert took is not None
    assert took < SLOW / 2
