"""The memory of results: reused when nobody sees it any more, and bounded."""

from __future__ import annotations

import gc
import struct
from pathlib import Path

import numpy as np
import pytest

import fastzip
from fastzip import _core

N = 40


def address(array):
    return array.ctypes.data


@pytest.fixture(autouse=True)
def nothing_idle():
    """Cycles that another test left behind give their memory back before, not in the midst."""
    gc.collect()
    fastzip.trim()


def test_memory_is_reused_only_when_its_last_view_died(heavy):
    npz, batch = heavy
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


def overcommits():
    return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1"


@pytest.mark.skipif(overcommits(), reason="this system promises any amount of memory")
def test_memory_that_is_not_there(lab, tmp_path):
    """A sparse file may hold a terabyte of compressed data; to fail on it harms nothing else."""
    arrays = {f"k{i}": np.arange(30_000) for i in range(3)}
    (tmp_path / "good.npz").write_bytes(lab.npz(True, **arrays))
    good = fastzip.load(tmp_path / "good.npz")
    member = lab.Member(b"x", b"x" * 100, body=b"")
    huge = 1 << 40
    extra = struct.pack("<HHQ", 1, 8, huge)
    sizes = {"compressed_size": 0xFFFFFFFF, "extra": extra}
    member.local = member.central = sizes
    archive = lab.Archive([member], zip64=True)
    local, record = 30 + 1 + len(extra), len(archive.build()) - 56 - 20 - 22
    archive.record, archive.locator = {"offset": local + huge}, {"offset": record + huge}
    archive = archive.build()
    with open(tmp_path / "huge.zip", "wb") as file:
        file.write(archive[:local])
        file.seek(huge, 1)
        file.write(archive[local:])
    bad = fastzip.load(tmp_path / "huge.zip")
    for _ in range(3):
        assert np.array_equal(good["k1"], arrays["k1"])
        with pytest.raises(MemoryError):
            bad["x"]
        assert np.array_equal(good.fetch([0, 2]), np.stack([arrays["k0"], arrays["k2"]]))


@pytest.mark.parametrize("size", [128 << 20, 192 << 20])
def test_two_batches_stay_warm(lab, size):
    npz = fastzip.load(lab.npz(True, a=np.zeros(size // 64, np.uint8)))
    two = [npz.fetch([0] * 64), npz.fetch([0] * 64)]
    del two[:]
    assert _core.idle_bytes() >= 2 * size
    assert fastzip.trim() >= 2 * size
    assert _core.idle_bytes() == 0
