"""Many threads at once, on one reader, one pool, one arena; for a data race detector to look at.

====  ==========================================  ==================================================
  16  close(), `with`, `del` during reads; their  test_close_during_reads; test_threads.py:
      descriptors' numbers used again             test_close_while_others_fetch
  26  hundreds of threads, one reader             test_one_reader_and_hundreds_of_threads
      pool and arena at once                      test_everything_at_once
====  ==========================================  ==================================================
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import queue
import threading
import time

import numpy as np
import pytest

import fastzip
from fastzip import _core

pytestmark = pytest.mark.usefixtures("aftermath")

KINDS = ("small", "mid", "stored", "large")


@contextlib.contextmanager
def running(works):
    """These functions, each in a thread of its own; what they raise is raised at the end."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def test_one_reader_and_hundreds_of_threads(faultlab, material):
    """Identical bytes, and one descriptor."""
    n = 64 if faultlab.SANITIZED else 256
    start = threading.Barrier(n)
    open_now = []
    with fastzip.load(material.path) as npz:
        reads = list(material.reads().items())

        def work(i):
            start.wait()
            for k in range(6):
                what, (read, right) = reads[(i + 5 * k) % len(reads)]
                assert np.array_equal(read(npz), right), what
            open_now.append(sum(str(material.path) in fd for fd in faultlab.descriptors()))

        with running([lambda i=i: work(i) for i in range(n)]):
            pass
    assert len(open_now) == n
    assert set(open_now) == {1}


@pytest.mark.parametrize("how", ["close", "with", "del"])
def test_close_during_reads(faultlab, material, how):
    """A read is right or says that the archive is closed. It never reads from a descriptor that
    has got another file meanwhile: such files, of the same names and sizes, are opened at once."""
    other = faultlab.Material(material.path.with_name("other.npz"), salt=1)
    seen, reads = [], list(material.reads().items())

    def work(npz, i):
        for k in itertools.count(i):
            what, (read, right) = reads[k % len(reads)]
            verdict, got = faultlab.outcome(read, npz)
            seen.append(verdict)
            if verdict == "ClosedError" or (verdict == "ValueError" and "closed" in str(got)):
                seen.append("closed")
                return
            assert verdict == "right", (what, got)
            assert np.array_equal(got, right), what

    def some(npz, i):
        for k in range(i, i + 4):
            what, (read, right) = reads[k % len(reads)]
            assert np.array_equal(read(npz), right), what
        seen.extend(["right", "closed"])  # nobody can tell that it was closed

    for turn in range(faultlab.times(40)):
        npz = fastzip.load(material.path)
        target = some if how == "del" else work
        works = [lambda i=i, npz=npz, target=target: target(npz, i * 3) for i in range(3)]
        with running(works), contextlib.ExitStack() as stack:
            del works
            time.sleep(0.001 * (turn % 8))
            if how == "with":
                with npz:
                    pass
            elif how == "close":
                npz.close()
            npz = None
            for _ in range(20):
                fd = os.open(other.path, os.O_RDONLY)
                stack.callback(os.close, fd)
    assert {"right", "closed"} <= set(seen)


def test_everything_at_once(faultlab, material):
    """Batches with and without `out`, arrays dropped by other threads, trim, numbers of threads,
    archives opened and closed, failures."""
    stop = time.monotonic() + (5 if faultlab.SANITIZED else 2.5)
    dropped = queue.SimpleQueue()
    counts = dict.fromkeys(("new", "out", "one", "open", "trim", "drop", "fail"), 0)
    batches = {kind: (material.keys(kind), material.batch(kind)) for kind in KINDS}
    bad = material.path.with_name("bad.npz")
    data = bytearray(material.path.read_bytes())
    data[material.offsets["mid3"] + 3000] ^= 1
    bad.write_bytes(data)

    def loop(what):
        def decorate(act):
            def work():
                for i in itertools.count():
                    if time.monotonic() > stop:
                        return
                    act(i)
                    counts[what] += 1

            return work

        return decorate

    with fastzip.load(material.path) as npz, fastzip.load(bad) as damaged:

        @loop("new")
        def new(i):
            keys, right = batches[KINDS[i % 4]]
            got = npz.fetch(keys, threads=1 + i % 5)
            assert np.array_equal(got, right)
            dropped.put(got[len(got) // 2 :])

        outs = {kind: np.empty_like(right) for kind, (_, right) in batches.items()}

        @loop("out")
        def out(i):
            keys, right = batches[KINDS[i % 4]]
            outs[KINDS[i % 4]][:] = 0
            assert np.array_equal(npz.fetch(keys, outs[KINDS[i % 4]], threads=1 + i % 3), right)

        @loop("one")
        def one(i):
            key = list(material.arrays)[i % len(material.arrays)]
            got = npz[key]
            assert np.array_equal(got, material.arrays[key])
            dropped.put(got)

        @loop("open")
        def opened(i):
            with fastzip.load(material.path) as again:
                assert again.files == npz.files
                assert again.spec("large0").shape == npz["large0"].shape

        @loop("trim")
        def trim(i):
            fastzip.trim()
            fastzip.set_num_threads(1 + i % 6)
            assert _core.idle_bytes() < 1 << 30
            npz.fetch(["mid0", "mid1"])
            time.sleep(0.001)

        @loop("drop")
        def drop(i):
            with contextlib.suppress(queue.Empty):
                array = dropped.get(timeout=0.01)
                array[...] = 255  # its memory is nobody else's yet

        @loop("fail")
        def fail(i):
            with pytest.raises(fastzip.BadZipFile) as info:
                damaged.fetch(batches["mid"][0], threads=1 + i % 4)
            assert [key for key, _ in info.value.failed] == ["mid3"]

        try:
            with running([new, new, out, one, opened, trim, drop, drop, fail]):
                pass
        finally:
            fastzip.set_num_threads(None)
        while not dropped.empty():
            dropped.get()
        material.check(npz)
    gc.collect()
    assert min(counts.values()) > 2, counts


def test_allocations_fail_while_others_read(faultlab, material):
    """A failed allocation is one call's affair."""
    stop = time.monotonic() + 1.5
    verdicts = set()
    with fastzip.load(material.path) as npz:
        reads = list(material.reads().items())

        def work(i):
            for k in itertools.count(i):
                if time.monotonic() > stop:
                    return
                what, (read, right) = reads[k % len(reads)]
                verdict, got = faultlab.outcome(read, npz)
                verdicts.add(verdict)
                if verdict == "right":
                    assert np.array_equal(got, right), what
                else:
                    assert isinstance(got, MemoryError), got

        def refuse():
            for nth in itertools.cycle((1, 2, 3, 7)):
                if time.monotonic() > stop:
                    break
                _core.fail_allocation(nth)
                fastzip.trim()
                time.sleep(0.001)
            _core.fail_allocation(0)

        with running([refuse, *(lambda i=i: work(4 * i) for i in range(4))]):
            pass
        assert len(verdicts) > 1
        material.check(npz)
