"""Forks, and processes that come and go.

====  ==========================================  ==================================================
  17  fork while the pool is busy, 1,000 times    test_a_thousand_forks; test_threads.py:
                                                  test_in_a_forked_child, …_while_others_fetch
  17  close() in a child                          test_close_in_a_child
  18  fork, spawn and forkserver workers          test_a_changed_file_is_refused_by_workers;
                                                  test_threads.py: test_in_worker_processes
  19  a worker that is killed                     test_a_killed_worker
====  ==========================================  ==================================================
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from forking import forked, forks

import fastzip
from fastzip import _core


def busy(faults, count):
    """Fork while three threads fetch; each child reads at once. How many were fine?"""
    made = faults.material()
    npz = fastzip.load(made.path)
    keys = {kind: made.keys(kind) for kind in ("mid", "stored", "small")}
    right = {kind: made.batch(kind) for kind in keys}
    stop, wrong, rounds = threading.Event(), [], [0]

    def work(kind):
        while not stop.is_set():
            if not np.array_equal(npz.fetch(keys[kind], threads=3), right[kind]):
                wrong.append(kind)
            rounds[0] += 1

    def child(i):
        kind = ("mid", "stored", "small")[i % 3]
        fine = _core.pool_workers() == 0 and _core.idle_bytes() == 0
        fine = fine and np.array_equal(npz.fetch(keys[kind], threads=1 + i % 3), right[kind])
        if i % 10 == 0:
            fine = fine and np.array_equal(npz["large1"], made.arrays["large1"])
        if i % 7 == 0:
            with fastzip.load(made.path) as again:
                fine = fine and again.files == npz.files
            npz.close()
        return fine

    workers = [threading.Thread(target=work, args=(kind,)) for kind in keys]
    for worker in workers:
        worker.start()
    codes, running = {}, []
    with forks():
        for i in range(count):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    signal.alarm(100)  # a lock that nobody holds any more is waited for in vain
                    status = 0 if child(i) else 2
                finally:
                    os._exit(status)
            running.append(pid)
            if len(running) == 3:
                code = os.waitstatus_to_exitcode(os.waitpid(running.pop(0), 0)[1])
                codes[code] = codes.get(code, 0) + 1
    for pid in running:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        codes[code] = codes.get(code, 0) + 1
    stop.set()
    for worker in workers:
        worker.join()
    assert wrong == []
    made.check(npz)
    npz.close()
    return codes, rounds[0]


def test_a_thousand_forks(faultlab, engine):
    """Whatever the pool, the arena and other readers are at: the child reads, and so do we."""
    count = faultlab.times(500)  # with each engine
    codes, rounds = faultlab.run(busy, count, timeout=120, FASTZIP_ENGINE=engine)
    assert codes == {"0": count}
    assert rounds > 3


@pytest.mark.usefixtures("aftermath")
def test_close_in_a_child(faultlab, material):
    """Threads that read at the fork don't in the child, so close() needn't wait for them there."""
    keys, right = material.keys("large"), material.batch("large")
    npz = fastzip.load(material.path)
    fd = npz._opened.source.fileno()
    stop, wrong = threading.Event(), []

    def work():
        while not stop.is_set():
            wrong.append(not np.array_equal(npz.fetch(keys, threads=2), right))

    def close_it():
        before = len(faultlab.descriptors())
        npz.close()
        closed = len(faultlab.descriptors()) == before - 1
        with contextlib.suppress(OSError):
            os.fstat(fd)
            closed = False
        return closed and faultlab.outcome(npz.__getitem__, "large0")[0] == "ClosedError"

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        codes = [forked(close_it) for _ in range(faultlab.times(40))]
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert set(codes) == {0}
    assert not any(wrong)
    material.check(npz)
    npz.close()


@pytest.mark.usefixtures("aftermath")
def test_forks_of_forks(material):
    with fastzip.load(material.path) as npz:
        npz.fetch(material.keys("mid"), threads=3)

        def deeper(levels):
            fine = np.array_equal(npz.fetch(material.keys("mid"), threads=3), material.batch("mid"))
            return fine and (levels == 0 or forked(lambda: deeper(levels - 1)) == 0)

        assert forked(lambda: deeper(4)) == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_changed_file_is_refused_by_workers(faultlab, material, method):
    with fastzip.load(material.path) as npz:
        pickled = pickle.dumps(npz)
    with forks(), multiprocessing.get_context(method).Pool(1) as pool:
        with pool.apply(pickle.loads, (pickled,)) as npz:  # opened there, sent back, opened here
            material.check(npz)
        data = bytearray(material.path.read_bytes())
        data[-30] ^= 1
        os.utime(material.path, ns=(1, 1))
        material.path.write_bytes(data)
        with pytest.raises(fastzip.BadZipFile) as info:
            pool.apply(pickle.loads, (pickled,))
        assert info.value.code == "stale"
        assert info.value.path == str(material.path)
        pool.close()
        pool.join()


def shared(pid):
    """Files of shared memory that this process has mapped."""
    lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[5] for line in lines if "/dev/shm" in line}


@pytest.mark.usefixtures("aftermath")
def test_a_killed_worker(material):
    """SIGKILL in the midst of a batch, with a parent that reads from the same descriptor."""
    keys = material.keys("large") * 200
    with fastzip.load(material.path) as npz:
        npz.fetch(material.keys("mid"), threads=2)
        for _ in range(5):
            with forks():
                child = os.fork()
            if child == 0:
                try:
                    while True:
                        npz.fetch(keys, threads=2)
                finally:
                    os._exit(1)
            time.sleep(0.05)
            assert shared(child) <= shared(os.getpid())  # what is there would stay
            os.kill(child, signal.SIGKILL)
            material.check(npz)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            material.check(npz)
