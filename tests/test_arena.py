"""The memory of results: reused when nobody sees it any more, and bounded."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fastzip
from fastzip import _core

N = 40


def address(array):
    return array.ctypes.data


def test_memory_is_reused_only_when_its_last_view_died(heavy):
    npz, batch = heavy
    fastzip.trim()
    first = npz.fetch(range(24))
    view, where = first[5, 100:200], address(first)
    del first
    gc.collect()
    assert _core.idle_bytes() == 0
    others = [npz.fetch(range(24)) for _ in range(3)]
    assert not any(np.shares_memory(view, other) for other in others)
    for other in others:
        other[:] = 255
    assert np.array_equal(view, batch[5, 100:200])
    del others, other
    fastzip.trim()
    del view
    gc.collect()
    assert _core.idle_bytes() >= 24 * 60_000
    again = npz.fetch(range(24))
    assert address(again) == where
    assert np.array_equal(again, batch)
    memory = memoryview(again)
    del again
    assert _core.idle_bytes() == 0
    memory.release()
    assert fastzip.trim() >= 24 * 60_000
    assert _core.idle_bytes() == 0
    assert fastzip.trim() == 0


def test_results_outlive_the_archive(lab, save):
    with fastzip.load(save(lab.npz(a=np.arange(50_000), b=np.arange(50_000)))) as npz:
        one, batch = npz["a"], npz.fetch(["a", "b"])
    del npz
    gc.collect()
    assert np.array_equal(one, np.arange(50_000))
    assert np.array_equal(batch[1], np.arange(50_000))


def test_idle_memory_is_bounded():
    fastzip.trim()
    blocks = [_core.Block(100 << 20) for _ in range(5)]
    assert _core.idle_bytes() == 0
    del blocks
    assert (100 << 20) <= _core.idle_bytes() <= (256 << 20)
    small = [_core.Block(1 << 20) for _ in range(400)]
    del small
    assert _core.idle_bytes() <= (256 << 20)
    huge = _core.Block(300 << 20)
    del huge
    assert _core.idle_bytes() <= (256 << 20)
    assert fastzip.trim() > 0
    assert _core.idle_bytes() == 0


def test_two_batches_may_lie_idle():
    fastzip.trim()
    _core.expect_batch(300 << 20)
    blocks = [_core.Block(300 << 20) for _ in range(3)]
    del blocks
    assert 2 * (300 << 20) <= _core.idle_bytes() < 3 * (300 << 20)
    fastzip.trim()


def test_impossible_blocks():
    for size in ((1 << 62) + 1, (1 << 64) - 1, 1 << 60, 1 << 47):
        with pytest.raises(MemoryError):
            _core.Block(size)


def test_damaged_batches_keep_no_memory(lab, save):
    members = [lab.Member(b"%d" % i, lab.npy(lab.sparse(300_000, i)), crc=1) for i in range(4)]
    with fastzip.load(save(lab.Archive(members).build())) as npz:
        fastzip.trim()
        for _ in range(5):
            with pytest.raises(fastzip.CRCError):
                npz.fetch(slice(None))
            gc.collect()
            with pytest.raises(fastzip.CRCError):
                npz["0"]
            gc.collect()
        assert _core.idle_bytes() < 4 * 1_500_000
    fastzip.trim()
