"""Batches that native threads fill while Python goes on: `_core.Ahead` and the tasks under it.

What `Loader` makes of them stands in test_loader.py.
"""

from __future__ import annotations

import functools
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from forking import SOON, forked

import fastzip
from fastzip import _core
from fastzip._batch import memory
from fastzip._zip import positions_of

pytestmark = pytest.mark.usefixtures("aftermath")

MEMORY, CLOSED, INTERRUPTED = map(_core.STATUS_CODES.index, ("memory", "closed", "interrupted"))
"""Seconds: what hasn't come by then never does."""


class Begun:
    """A batch that was begun."""

    def __init__(self, npz, keys, threads=2, workers=0):
        reader = npz._reader
        positions = positions_of(npz.index, keys)
        header = reader.header(int(positions[0]))
        self.out = np.zeros((len(positions), *header.spec.shape), header.spec.dtype)
        self.statuses = np.full(len(positions), 99, np.int32)
        self.ahead = _core.fetch_ahead(
            reader.source, reader.directory, positions, memory.rows_of_bytes(self.out),
            header.raw, threads, workers, True, self.statuses,
        )  # fmt: skip

    def is_right(self, right):
        return self.ahead.wait() and not self.statuses.any() and np.array_equal(self.out, right)

    def await_threads(self):
        until = time.monotonic() + SOON
        while not self.ahead.finished:
            assert time.monotonic() < until

    def is_left_alone(self):
        """Does nobody write into it any more?"""
        self.out[:] = 1
        time.sleep(0.02)
        return bool((self.out == 1).all())


@pytest.fixture
def archive(material):
    with fastzip.load(material.path) as npz:
        yield npz


def many(material, kind, times):
    """Keys that take a while, and their batch."""
    return material.keys(kind) * times, np.tile(material.batch(kind), (times, 1))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["small", "mid", "stored", "large"])
def test_rows(material, archive, engine, kind, threads):
    keys, right = many(material, kind, 3)
    begun = [Begun(archive, keys, threads) for _ in range(4)]
    assert all(b.is_right(right) for b in begun)
    assert all(b.ahead.finished for b in begun)
    assert begun[0].is_right(right)  # once more


def test_in_any_order(material, archive):
    keys, right = many(material, "mid", 5)
    begun = [Begun(archive, keys) for _ in range(6)]
    assert all(begun[i].is_right(right) for i in (3, 5, 0, 1))
    assert np.array_equal(archive.fetch(keys, threads=2), right)  # goes before the others
    assert begun[4].is_right(right)


def test_while_python_holds_the_lock(material, archive):
    """No other thread of Python's gets a turn, and the batches are filled."""
    keys, right = many(material, "mid", 5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        begun = [Begun(archive, keys, threads) for threads in (1, 2, 1)]
        for b in begun:
            b.await_threads()
    finally:
        sys.setswitchinterval(before)
    assert all((b.statuses == 0).all() and np.array_equal(b.out, right) for b in begun)
    assert all(b.is_right(right) for b in begun)


def without_threads(faults):
    made = faults.material()
    keys, right = many(made, "mid", 2)
    with fastzip.load(made.path) as npz:
        faults.refuse_threads(0)
        begun = [Begun(npz, keys, 3) for _ in range(3)]
        assert not begun[0].ahead.finished
        fine = [b.is_right(right) for b in begun[:2]]
        faults.disarm()
        workers = _core.pool_workers()
        del begun[2]  # nobody had begun it
    return fine, workers


def test_the_caller_does_what_no_thread_does(faultlab, injector):
    fine, workers = faultlab.run(without_threads, injector=injector)
    assert fine == [True, True]
    assert workers == 0


def test_workers_for_several_batches(material, archive):
    before = _core.pool_workers()
    begun = Begun(archive, material.keys("mid"), 1, before + 3)
    assert begun.is_right(material.batch("mid"))
    assert _core.pool_workers() == before + 3


def test_cancel(material, archive):
    keys, _ = many(material, "large", 20)
    for delay in (0, 0.001, 0.01, 0.03):
        begun = [Begun(archive, keys, 2) for _ in range(2)]
        time.sleep(delay)
        for b in begun:
            b.ahead.cancel()
        for b in begun:
            assert b.is_left_alone()
            assert b.ahead.finished
            assert b.ahead.wait() is False or not b.statuses.any()
            b.ahead.cancel()


def test_stop(material, archive):
    keys, _ = many(material, "large", 20)
    begun = Begun(archive, keys, 2)
    begun.ahead.stop()
    assert not begun.ahead.wait()
    assert (begun.statuses == INTERRUPTED).any()
    assert begun.is_left_alone()
    begun.ahead.stop()


def test_dropped(faultlab, material, archive):
    """Threads leave it, be it after the members that they have in hand."""
    keys, _ = many(material, "large", 20)
    alone = references(np.zeros(1))
    for _ in range(3):
        begun = Begun(archive, keys, 2)
        cycle = [begun]
        cycle.append(cycle)
        kept = begun.out
        del begun, cycle
        gc.collect()
        now = faultlab.settled(functools.partial(references, kept), lambda n: n < alone + 3)
        assert now < alone + 3  # `kept`, and the partial's
        kept[:] = 1
        time.sleep(0.02)
        assert (kept == 1).all()


def references(out):
    """How many hold it, when threads that have left it meanwhile let go."""
    fastzip.trim()
    return sys.getrefcount(out)


def test_close(faultlab, material):
    """What was begun is finished; the descriptor goes with the last of it."""
    keys, right = many(material, "mid", 10)
    before = faultlab.descriptors()
    npz = fastzip.load(material.path)
    begun = [Begun(npz, keys) for _ in range(3)]
    npz.close()
    assert begun[0].is_right(right)
    assert begun[1].is_right(right)
    begun[2].ahead.cancel()
    assert faultlab.descriptors() == before
    late = npz._reader
    out, statuses = np.zeros((1, 4), np.uint8), np.zeros(1, np.int32)
    ahead = _core.fetch_ahead(
        late.source, late.directory, np.zeros(1, np.int64), out, b"", 1, 0, True, statuses
    )
    assert ahead.wait()
    assert statuses.tolist() == [CLOSED]


def test_bad_arguments(archive):
    reader = archive._reader

    def begin(positions=(0,), out=(1, 8), statuses=1):
        return _core.fetch_ahead(
            reader.source, reader.directory, np.array(positions, np.int64),
            np.zeros(out, np.uint8), b"", 1, 0, True, np.zeros(statuses, np.int32),
        )  # fmt: skip

    with pytest.raises(IndexError, match="no member at position 99"):
        begin(positions=(99,))
    with pytest.raises(IndexError, match="no row for job 1"):
        begin(positions=(0, 1), statuses=2)
    with pytest.raises(ValueError, match="differ in length"):
        begin(statuses=2)
    with pytest.raises(TypeError):
        pickle.dumps(begin())
    assert begin(positions=(), out=(0, 8), statuses=0).wait()


def test_failures(lab):
    """Each member's verdict is its own."""
    members = [lab.Member(f"{i}.npy".encode(), lab.npy(np.full(300, i))) for i in range(6)]
    members[3].crc = 1
    with fastzip.load(lab.Archive(members).build()) as npz:
        begun = Begun(npz, range(6))
        assert begun.ahead.wait()
        codes = [_core.STATUS_CODES[status] for status in begun.statuses]
        assert codes == ["ok", "ok", "ok", "crc", "ok", "ok"]
        assert np.array_equal(begun.out[[0, 1, 2, 4, 5], 0], [0, 1, 2, 4, 5])


def test_every_allocation(material, archive, engine):
    """MemoryError at once, "memory" for all, or the right rows; nothing hangs."""
    keys, right = many(material, "mid", 2)
    outcomes = set()
    for nth in range(1, 40):
        fastzip.trim()
        _core.fail_allocation(nth)
        try:
            begun = Begun(archive, keys, 2)
            done = begun.ahead.wait()
        except MemoryError:
            outcomes.add("error")
            continue
        finally:
            _core.fail_allocation(0)
        assert done
        if begun.statuses.any():
            assert set(begun.statuses.tolist()) <= {0, MEMORY}
            outcomes.add("memory")
        else:
            assert np.array_equal(begun.out, right)
            outcomes.add("right")
    assert {"right"} < outcomes


def test_one_waits(material, archive):
    """A second thread's wait, or cancel, comes back at once, and the first one's goes on."""
    keys, right = many(material, "large", 10)
    for meddle in ("wait", "cancel"):
        begun, results = Begun(archive, keys, 1), []
        thread = threading.Thread(target=lambda b=begun, r=results: r.append(b.ahead.wait()))
        thread.start()
        getattr(begun.ahead, meddle)()
        thread.join()
        assert begun.ahead.finished
        if results == [True]:
            assert meddle == "cancel" or np.array_equal(begun.out, right)
        assert begun.is_left_alone()


# ---- signals ---------------------------------------------------------------------------------


def ctrl_c(faults):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = faults.material()
    keys, right = many(made, "large", 10 + faults.lab.times(20))
    stopped = 0
    with fastzip.load(made.path) as npz:
        for delay in (0.002, 0.01, 0.02, 0.05):
            for threads in (1, 2):
                begun = Begun(npz, keys, threads)
                timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
                try:
                    timer.start()
                    done = begun.ahead.wait()
                    time.sleep(SOON)
                except KeyboardInterrupt:
                    done = begun.ahead.wait()
                timer.join()
                stopped += not done
                assert not done or np.array_equal(begun.out, right)
                assert begun.is_left_alone()
    return stopped


def test_ctrl_c(faultlab, engine):
    """Raised out of wait(), and then no thread works on the batch any more."""
    assert faultlab.run(ctrl_c, FASTZIP_ENGINE=engine) >= 1


def forking_handler(faults):
    made = faults.material()
    keys, right = many(made, "large", 5 + faults.lab.times(25))
    warnings.simplefilter("ignore", DeprecationWarning)
    parent, children = os.getpid(), []
    signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
    with fastzip.load(made.path) as npz:
        for i in range(4):
            status = 1
            begun = [Begun(npz, keys), Begun(npz, keys)]
            signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.006 * i)
            fine = [b.ahead.wait() and b.is_right(right) for b in begun]
            while len(children) == i:
                time.sleep(0.001)
            if os.getpid() != parent:
                try:  # what wait() was true of is right
                    verdicts = [b.ahead.wait() for b in begun]
                    if fine == verdicts and np.array_equal(npz.fetch(keys[:3]), right[:3]):
                        status = 0
                finally:
                    os._exit(status)
            assert fine == [True, True]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def test_a_signal_handler_that_forks(faultlab):
    """In the midst of wait(): the parent's batch is right, the child's is right or void."""
    assert faultlab.run(forking_handler) == [0] * 4


# ---- forks -----------------------------------------------------------------------------------


def test_fork(faultlab, material, archive):
    """A batch that was finished is the child's as well; any other is void there, at once."""
    keys, right = many(material, "large", 6)
    done = Begun(archive, keys)
    done.await_threads()
    for i in range(faultlab.times(20)):
        begun = [Begun(archive, keys, 1 + i % 3) for _ in range(3)]
        time.sleep(i % 5 / 1000)

        def child(begun=begun, i=i):
            fine = done.is_right(right)
            for b in begun:
                if b.ahead.wait():
                    fine = fine and b.is_right(right)
            if i % 2:
                begun.clear()
                archive.close()
                return fine
            fine = fine and np.array_equal(archive.fetch(keys, threads=2), right)
            return fine and Begun(archive, keys).is_right(right)

        assert forked(child) == 0
        if i % 3 == 0:
            assert all(b.is_right(right) for b in begun)
    assert done.is_right(right)


def test_close_in_a_child(faultlab, material):
    """What the parent's threads read keeps no descriptor open in the child."""
    keys, right = many(material, "large", 10)
    npz = fastzip.load(material.path)
    begun = [Begun(npz, keys) for _ in range(2)]

    def child():
        before = len(faultlab.descriptors())
        npz.close()
        closed = len(faultlab.descriptors()) == before - 1
        begun[0].ahead.cancel()
        begun.clear()
        return closed

    assert forked(child) == 0
    assert all(b.is_right(right) for b in begun)
    npz.close()


def test_forks_of_forks(material, archive):
    keys, right = many(material, "large", 6)

    def deeper(levels):
        begun = Begun(archive, keys)

        def child():
            return (not begun.ahead.wait() or begun.is_right(right)) and deeper(levels - 1)

        return (levels == 0 or forked(child) == 0) and begun.is_right(right)

    assert deeper(4)


# ---- everything at once ----------------------------------------------------------------------


def test_many_threads(faultlab, material, archive):
    """Batches begun, waited for, cancelled and dropped by many threads, and others that fetch."""
    wrong, errors = [], []
    work = {kind: many(material, kind, 2) for kind in ("small", "mid", "stored")}

    def run(i):
        try:
            for turn in range(faultlab.times(30)):
                keys, right = work[("small", "mid", "stored")[(i + turn) % 3]]
                begun = [Begun(archive, keys, 1 + turn % 3) for _ in range(3)]
                if turn % 4 == 3:
                    begun[0].ahead.stop()
                    begun[1].ahead.cancel()
                    del begun[2]
                    continue
                if not np.array_equal(archive.fetch(keys, threads=2), right):
                    wrong.append((i, turn))
                if not all(b.is_right(right) for b in begun):
                    wrong.append((i, turn))
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert errors == []


EXITING = """
import sys
import numpy as np
import fastzip
from fastzip import _core; from fastzip._batch import memory
from fastzip._zip import positions_of

npz = fastzip.load(sys.argv[1])
reader = npz._reader
positions = np.tile(np.flatnonzero([key.startswith("large") for key in npz.files]), 40)
header = reader.header(int(positions[0]))

def begin():
    out = memory.new_batch((len(positions), *header.spec.shape), header.spec.dtype)
    statuses = np.empty(len(positions), np.int32)
    return _core.fetch_ahead(reader.source, reader.directory, positions, memory.rows_of_bytes(out),
                       header.raw, 2, 2, True, statuses)

begun = [begin() for _ in range(3)]
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("del npz, reader", 0),
        ("begun.append(begun)", 0),
        ("import os; os._exit(4)", 4),
        ("sys.modules['elsewhere'] = begun; raise KeyError", 1),
    ],
)
def test_exit(faultlab, material, end, code):
    """With batches ahead: at once, with the right code, and no word of a crash."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", EXITING + end, material.path],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert time.monotonic() - began < (60 if faultlab.SANITIZED else 20)
    assert "Fatal" not in done.stderr
    assert "Segmentation" not in done.stderr
