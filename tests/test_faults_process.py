"""Faults of the process: no threads to be had, no descriptors.

====  ==========================================  ==================================================
  11  pthread_create fails with EAGAIN            test_threads_that_cannot_be_started
  12  no descriptors left                         test_no_descriptors_left
====  ==========================================  ==================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import resource

import numpy as np
import pytest

import fastzip
from fastzip import _core

pytestmark = pytest.mark.usefixtures("aftermath")


def without_threads(faults, after):
    made = faults.material()
    with fastzip.load(made.path) as npz:
        faults.refuse_threads(after)
        for kind in ("small", "mid", "stored", "large"):
            for threads in (2, 4, 4):
                got = npz.fetch(made.keys(kind) * 20, threads=threads)
                assert np.array_equal(got[: len(made.keys(kind))], made.batch(kind))
        refused = faults.injected("pthread_create")
        assert _core.pool_workers() == after
        made.check(npz)
        faults.disarm()
        npz.fetch(made.keys("mid") * 20, threads=4)
        assert _core.pool_workers() == 3
        made.check(npz)
    return refused


@pytest.mark.parametrize("after", [0, 1, 2])
def test_threads_that_cannot_be_started(faultlab, injector, after):
    """The batch is done by those that can; later batches try again."""
    assert faultlab.run(without_threads, after, injector=injector) >= 4


def threads_for_a_moment(faults):
    made = faults.material()
    with fastzip.load(made.path) as npz:
        faults.refuse_threads(0, 2)
        for expected in (0, 0, 3):
            got = npz.fetch(made.keys("mid") * 20, threads=4)
            assert np.array_equal(got[:6], made.batch("mid"))
            assert _core.pool_workers() == expected
        assert faults.injected("pthread_create") == 2
    return True


def test_threads_that_cannot_be_started_for_a_moment(faultlab, injector):
    assert faultlab.run(threads_for_a_moment, injector=injector)


@contextlib.contextmanager
def no_more_descriptors():
    """Only descriptors that are open now can be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # the lowest number that is free
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_left(faultlab, material):
    """To open is an OSError, to read what is open needs none."""
    with fastzip.load(material.path) as npz, open(material.path, "rb") as file:
        pickled = pickle.dumps(npz)
        acts = (
            lambda: fastzip.load(material.path),
            lambda: fastzip.load(os.fsencode(material.path)),
            lambda: fastzip.load(file),
            lambda: pickle.loads(pickled),
        )
        with no_more_descriptors():
            material.check(npz)
            for act in acts:
                verdict, exc = faultlab.outcome(act)
                assert verdict == "OSError", exc
                assert exc.errno == errno.EMFILE
                assert exc.filename in (str(material.path), os.fsencode(material.path), None)
            material.check(npz)
        for act in acts:
            with act() as again:
                material.check(again)
