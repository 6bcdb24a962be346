"""Faults of reading, injected between fastzip and the system: each in a child that has faultio.c
preloaded, and counted, so that a test whose fault didn't happen fails.

====  ==========================================  ==================================================
   5  short reads, EINTR                          test_reads_that_are_tried_again
   6  EIO, ESTALE                                 test_errors_stay_os_errors, test_bad_sector
   6  EBADF                                       test_member_checks.py: test_failing_descriptor
   7  the file seems to end too early             test_end_of_file_too_early
   8  flipped bits                                test_flipped_bits, …_of_the_directory
  23  slow reads, other threads run meanwhile     test_slow_reads_hold_no_lock
====  ==========================================  ==================================================
"""

from __future__ import annotations

import errno
import functools
import itertools
import threading
import time

import numpy as np
import pytest

import fastzip


@pytest.fixture
def in_child(faultlab, injector, engine):
    """in_child(function, *args): see faultlab.run; with the injector, and each engine."""

    def call(function, *args, **options):
        return faultlab.run(function, *args, injector=injector, FASTZIP_ENGINE=engine, **options)

    return call


def opens(made):
    """Ways to open the archive; what they give is closed."""

    def by_path():
        with fastzip.load(made.path) as npz:
            return npz.files

    def by_file(**options):
        with open(made.path, "rb", **options) as file, fastzip.load(file) as npz:
            return npz.files

    by_raw_file = functools.partial(by_file, buffering=0)
    return {"open a path": by_path, "open a file": by_file, "open a raw file": by_raw_file}


def retried(faults, fault, limit):
    made = faults.material()
    names = list(made.arrays)
    hit = 0
    for (_, act), after in itertools.product(opens(made).items(), range(4)):
        with faults.during(made.path, fault, after=after, times=limit):
            assert act() == names
        hit += faults.injected() > 0
    assert hit >= 8
    npz = fastzip.load(made.path)
    for what, (read, right) in made.reads().items():
        npz.fetch([0])
        for after, n in itertools.product(range(3), (1, limit)):
            with faults.during(made.path, fault, after=after, times=n):
                got = read(npz)
            assert np.array_equal(got, right), (what, after, n)
            assert faults.injected() or after, what
    if fault != "crumbs":
        with faults.during(made.path, fault, call="preadv64", times=limit):
            assert np.array_equal(npz.fetch(made.keys("stored")), made.batch("stored"))
        assert faults.injected("preadv64") == len(made.keys("stored"))
    npz.close()


@pytest.mark.parametrize(("fault", "limit"), [("short", 1 << 40), ("EINTR", 40), ("crumbs", 300)])
def test_reads_that_are_tried_again(in_child, fault, limit):
    in_child(retried, fault, limit)


def failing(faults, name, code):
    """An error at the nth read and at all later ones, for every n."""
    made = faults.material()
    number = getattr(errno, name)
    path = str(made.path)

    def is_os_error(exc):
        assert isinstance(exc, OSError), exc
        assert not isinstance(exc, fastzip.BadZipFile)
        assert exc.errno == number
        assert exc.filename == path
        assert exc.code == code
        assert not exc.stale
        assert path in str(exc)

    for what, act in opens(made).items():
        failures = 0
        for after in range(20):
            with faults.during(made.path, name, after=after):
                verdict, got = faults.lab.outcome(act)
            if not faults.injected():
                assert verdict == "right"
                break
            if what == "open a path" or after:  # not Python's own read
                is_os_error(got)
            failures += 1
        assert failures >= 3, what
        assert act() == list(made.arrays)
    npz = fastzip.load(made.path)
    for what, (read, right) in made.reads().items():
        for after in range(100):
            with faults.during(made.path, name, after=after):
                verdict, got = faults.lab.outcome(read, npz)
            if not faults.injected():
                assert np.array_equal(got, right)
                break
            if verdict == "right":  # a preadv that failed is done again
                assert faults.injected("preadv64") == faults.injected()
                continue
            is_os_error(got)
            assert got.member.startswith(what.split()[1]), what
            if what.startswith("fetch"):
                assert {code for _, code in got.failed} == {name}
                assert len(got.failed) <= len(right)
        assert after > 0, what
        for n in (1, 2):  # the same, for a moment
            with faults.during(made.path, name, times=n):
                verdict, got = faults.lab.outcome(read, npz)
            assert faults.injected()
            if verdict == "right":
                assert np.array_equal(got, right), what
            else:
                is_os_error(got)
        assert np.array_equal(read(npz), right)
    npz.close()


@pytest.mark.parametrize("name", ["EIO", "ESTALE"])
def test_errors_stay_os_errors(in_child, name):
    """An errno stays one, and never becomes "bad zip file"; when it is over, so is the error."""
    in_child(failing, name, name)


def with_a_bad_sector(faults):
    made = faults.material()
    npz = fastzip.load(made.path)
    for kind, n in itertools.product(("small", "mid", "stored", "large"), (1, 3)):
        keys, batch = made.keys(kind), made.batch(kind)
        for bad in (0, len(keys) - 1):
            key = keys[bad]
            row = npz.index.rows[npz.files.index(key)]
            sector = int(row["header_offset"] + 60 + row["compressed_size"] // 2)
            out = np.full_like(batch, 7)
            with faults.during(made.path, "EIO", at=sector):
                verdict, exc = faults.lab.outcome(npz.fetch, keys, out, threads=n)
                assert np.array_equal(npz[keys[1 - bad]], batch[1 - bad])
            assert faults.injected()
            assert verdict == "ReadError", exc
            assert exc.errno == errno.EIO
            assert exc.member == key + ".npy"
            assert exc.failed == [(key, "EIO")]
            rest = [i for i in range(len(keys)) if i != bad]
            # Where the first member's header can't be read, `out` isn't judged, and left as it is.
            untouched = bad == 0 and (out == 7).all()
            assert untouched or np.array_equal(out[rest], batch[rest])
            assert np.array_equal(npz.fetch(keys, out, threads=n), batch)
    npz.close()


def test_bad_sector(in_child):
    """Where one byte can't be read, one member can't; the rest of its batch is there."""
    in_child(with_a_bad_sector)


def ending(faults):
    made = faults.material()
    for what, act in opens(made).items():
        for after in range(20):
            with faults.during(made.path, "zero", after=after):
                verdict, got = faults.lab.outcome(act)
            if not faults.injected():
                assert verdict == "right"
                break
            if what != "open a path" and after == 0:
                assert verdict == "EmptyError"
            else:
                assert verdict == "TruncatedError", got
                assert got.code == "short_read"
        assert after >= 3, what
    npz = fastzip.load(made.path)
    for what, (read, right) in made.reads().items():
        for after, n in itertools.product(range(100), (1, 1 << 40)):
            with faults.during(made.path, "zero", after=after, times=n):
                verdict, got = faults.lab.outcome(read, npz)
            if not faults.injected():
                assert np.array_equal(got, right)
                break
            if verdict == "right":  # a merged read, or a preadv, that is done again in parts
                assert np.array_equal(got, right)
                assert n == 1 or faults.injected("preadv64") == faults.injected()
            else:
                assert verdict == "TruncatedError", got
                assert got.code == "short_read"
        assert after > 0, what
        assert np.array_equal(read(npz), right)
    npz.close()


def test_end_of_file_too_early(in_child):
    """A read that gives nothing is an error, not a reason to try for ever."""
    in_child(ending)


def flipping(faults):
    made = faults.material()
    npz = fastzip.load(made.path)
    rows, files = npz.index.rows, npz.files
    codes = set()
    for kind, n in itertools.product(("small", "mid", "stored", "large"), (1, 3)):
        keys, batch = made.keys(kind), made.batch(kind)
        key = keys[1]
        row = rows[files.index(key)]
        start, size = int(row["header_offset"]), int(row["compressed_size"])
        name = 30 + len(key) + 4
        places = [0, 6, 8, 14, 18, 22, 26, 28, 31, *range(name, name + size, size // 9)]
        for at in [start + place for place in places] + [start + name + size - 1]:
            out = np.full_like(batch, 7)
            with faults.during(made.path, "flip", at=at):
                verdict, exc = faults.lab.outcome(npz.fetch, keys, out, threads=n)
                hit = faults.injected()
                alone, got = faults.lab.outcome(npz.__getitem__, key)
                assert np.array_equal(npz[keys[0]], batch[0])
            assert hit, at - start
            assert alone != "right" or np.array_equal(got, batch[1])
            if verdict == "right":
                assert np.array_equal(out, batch), at - start
                continue
            assert isinstance(exc, fastzip.BadZipFile | fastzip.UnsupportedError), exc
            assert exc.failed == [(key, exc.code)], (exc, exc.failed, at - start)
            assert exc.path == str(made.path)
            codes.add(exc.code)
            rest = [i for i in range(len(keys)) if i != 1]
            assert np.array_equal(out[rest], batch[rest])
            assert np.array_equal(npz.fetch(keys, out, threads=n), batch)
    npz.close()
    return sorted(codes)


def test_flipped_bits(in_child):
    """In a local header or in the data: that member fails, the others don't, and no wrong byte."""
    codes = set(in_child(flipping))
    assert codes >= {"crc", "deflate", "lfh_magic", "lfh_name", "lfh_sizes", "lfh_method"}


def flipping_at_open(faults):
    made = faults.material()
    data = made.path.read_bytes()
    start = data.index(b"PK\1\2")
    failed = 0
    for at in range(start, len(data)):
        with faults.during(made.path, "flip", at=at):
            try:
                npz = fastzip.load(made.path)
            except (fastzip.BadZipFile, fastzip.UnsupportedError):
                npz = None
        assert faults.injected(), at - start
        if npz is None:
            failed += 1
            continue
        assert len(npz) == len(made.arrays)
        for i, array in enumerate(made.arrays.values()):
            if array.size > 10_000:
                continue
            verdict, got = faults.lab.outcome(npz.__getitem__, npz.files[i])
            assert verdict != "right" or np.array_equal(got, array), at - start
        npz.close()
    assert failed > 50
    made.check(fastzip.load(made.path))


def test_flipped_bits_of_the_directory(in_child):
    """Each byte of it: refused at open, or at the member, or no matter; never a wrong byte."""
    in_child(flipping_at_open)


def slow(faults):
    made = faults.material()
    npz = fastzip.load(made.path)
    steps, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            steps[0] += 1
            time.sleep(0.001)

    other = threading.Thread(target=count)
    other.start()
    seen = {}
    for what, (read, right) in made.reads().items():
        with faults.during(made.path, "100", times=2):
            before = steps[0]
            assert np.array_equal(read(npz), right)
            seen[what] = steps[0] - before
        assert faults.injected(), what
    for what, act in opens(made).items():
        with faults.during(made.path, "100", times=2):
            before = steps[0]
            assert act() == list(made.arrays)
            seen[what] = steps[0] - before
        assert faults.injected(), what
    stop.set()
    other.join()
    npz.close()
    return seen


def test_slow_reads_hold_no_lock(in_child):
    """While fastzip waits for a disk, other threads of Python go on."""
    seen = in_child(slow)
    assert len(seen) == 19
    assert min(seen.values()) >= 5, seen


def cold(faults):
    made = faults.material()
    npz = fastzip.load(made.path)
    for what, (read, right) in made.reads().items():
        with faults.during(made.path, "EAGAIN", call="syscall"):
            assert np.array_equal(read(npz), right), what
        assert bool(faults.injected("syscall")) == what.startswith("fetch"), what
    npz.close()


def test_what_the_page_cache_lacks(in_child):
    """Members that must be asked for ahead; the answer of the system is injected."""
    in_child(cold)
