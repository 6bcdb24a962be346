"""Batches that nobody wants any more, while threads have long members of theirs in hand.

===========================================  =====================================
epochs that are broken off, again and again  test_memory_and_descriptors_stay_few
a fork meanwhile                             test_a_fork_meanwhile
the interpreter's end meanwhile              test_the_end_meanwhile
===========================================  =====================================
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from forking import forked

import fastzip
from fastzip import Loader

MIB = 1 << 20
SIZE, N = 16, 6
"""MiB of each member, which takes longer than anybody waits for threads; how many there are."""


@pytest.fixture(scope="module")
def long_members(lab, tmp_path_factory):
    """One MiB of what takes long to inflate, again and again."""
    numbers = (np.random.default_rng(0).integers(0, 256, MIB // 4) / 256).astype("<f4").tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    piece = packer.compress(numbers) + packer.flush(zlib.Z_FULL_FLUSH)
    header = lab.raw_npy(lab.header_text("<f4", (SIZE * MIB // 4,)).ljust(117) + "\n")
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH) + piece * SIZE + b"\3\0"
    crc = zlib.crc32(numbers * SIZE, zlib.crc32(header))
    size = len(header) + SIZE * MIB
    members = [lab.Member(f"{i}.npy".encode(), body=body, size=size, crc=crc) for i in range(N)]
    path = tmp_path_factory.mktemp("long") / "long.npz"
    path.write_bytes(lab.Archive(members).build())
    yield path
    path.unlink()


def break_off(path):
    """Begin an epoch and leave it, the archive too, with threads at work."""
    npz = fastzip.load(path)
    it = iter(Loader(npz, batch_size=1, prefetch=2, threads=2))
    it._begin(0)
    time.sleep(0.005)
    del it
    npz.close()


def test_memory_and_descriptors_stay_few(faultlab, long_members):
    before = faultlab.descriptors()
    for _ in range(10):
        break_off(long_members)
    memory, most = faultlab.resident(), 0
    for _ in range(faultlab.times(200)):
        break_off(long_members)
        most = max(most, len(faultlab.descriptors()) - len(before))
    # What isn't left yet, what the next one has in work, and memory that lies idle.
    assert faultlab.resident() - memory < 256 * MIB + 12 * SIZE * MIB
    assert 1 <= most < 12, most

    assert faultlab.settled(faultlab.trimmed, lambda now: now == before) == before


def test_a_fork_meanwhile(faultlab, long_members):
    """The child has none of the threads; it lets go of what they had, and reads on."""
    break_off(long_members)

    def child():
        # Others may go meanwhile, of objects that an earlier test has left to the collector.
        left = not any(os.fspath(long_members) in found for found in faultlab.trimmed())
        with fastzip.load(long_members) as npz:
            batches = list(Loader(npz, batch_size=2, threads=2))
        return left and all((batch == batches[0][0]).all() for batch in batches)

    assert forked(child) == 0
    with fastzip.load(long_members) as npz:
        assert len(list(Loader(npz, batch_size=2, threads=2))) == N // 2


END = """
import fastzip, sys, time
npz = fastzip.load(sys.argv[1])
it = iter(fastzip.Loader(npz, batch_size=1, prefetch=2, threads=2))
it._begin(0)
time.sleep(0.005)
del it
npz.close()
"""


def test_the_end_meanwhile(long_members):
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", END, os.fspath(long_members)],
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
