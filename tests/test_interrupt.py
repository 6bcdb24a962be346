"""Signals while native code is at work: Ctrl-C ends a long call, other handlers run in its midst.

====  ==========================================  ==================================================
  13  SIGINT in a batch, in one long member       test_ctrl_c; of many small members:
                                                  test_threads.py: test_interrupt
  13  SIGINT while a large archive is opened      test_ctrl_c_while_opening
  14  other signals, a thousand a second          test_alarms, test_children_that_end; handlers that
                                                  fetch, or fork: test_threads.py
  15  a handler's own exception                   test_a_handlers_exception_comes_once
  23  Ctrl-C while the disk is slow               test_ctrl_c_and_a_slow_disk
====  ==========================================  ==================================================
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest

import fastzip

MIB = 1 << 20
SIZES = {"a": 39, "b": 64, "c": 256}
"""MiB of the members: what libdeflate inflates in one go, the largest of a promptly stopped batch,
and one that takes its time alone."""


@pytest.fixture(scope="module")
def long_archive(lab, tmp_path_factory):
    """Members of float-like numbers that take long to inflate, and were made in no time: the same
    MiB again and again, compressed once."""
    rng = np.random.default_rng(0)
    numbers = (rng.integers(0, 256, MIB // 4) / 256).astype("<f4").tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    piece = packer.compress(numbers) + packer.flush(zlib.Z_FULL_FLUSH)
    members = []
    for name, size in [*((f"{key}{i}", SIZES[key]) for key in "ab" for i in "01"), ("c", 256)]:
        header = lab.raw_npy(lab.header_text("<f4", (size * MIB // 4,)).ljust(117) + "\n")
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        body = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH) + piece * size + b"\3\0"
        crc = zlib.crc32(header)
        for _ in range(size):
            crc = zlib.crc32(numbers, crc)
        total = len(header) + size * MIB
        members.append(lab.Member(f"{name}.npy".encode(), body=body, size=total, crc=crc))
    members.append(lab.Member(b"good.npy", lab.npy(np.arange(1000))))
    path = tmp_path_factory.mktemp("long") / "long.npz"
    path.write_bytes(lab.Archive(members).build())
    yield path
    path.unlink()


class Sender:
    """Sends this process a signal after a while, and tells when."""

    def __init__(self, delay, number=signal.SIGINT):
        self.sent, self._delay, self._number = 0.0, delay, number
        self._thread = threading.Thread(target=self._send)

    def _send(self):
        time.sleep(self._delay)
        self.sent = time.perf_counter()
        os.kill(os.getpid(), self._number)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._thread.join()


def stop(act, delay):
    """Seconds from a SIGINT to the KeyboardInterrupt; None if `act` was done before."""
    try:
        with Sender(delay) as sender:
            try:
                act()
            except KeyboardInterrupt:
                return time.perf_counter() - sender.sent
        time.sleep(1)  # it comes now
    except KeyboardInterrupt:
        pass
    return None


def bound(sanitized):
    """200 ms; more where a sanitizer slows all down, or others want the CPUs as well."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return (3 if sanitized else 0.2) * max(1, 2 * waiting)


def best(act, after, faults):
    """The shortest of some times to stop, each followed by `after`; the machine may be busy."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    took = []
    for delay in (0.03, 0.08, 0.05, 0.02, 0.1, 0.04):
        seconds = stop(act, delay)
        after()
        if seconds is not None:
            took.append(seconds)
            if seconds < bound(faults.sanitized):
                break
    return took


def check_prompt(faultlab, took):
    assert took, "nothing was interrupted"
    assert min(took) < bound(faultlab.SANITIZED), took


def interrupted(faults, path, key, threads):
    with fastzip.load(path) as npz:

        def fetch():
            out[:] = 7
            npz.fetch(keys, out, threads=threads)

        def after():
            before = int(out.view("u8").sum())
            time.sleep(0.05)
            assert int(out.view("u8").sum()) == before  # nobody writes any more
            usable()

        def usable():
            assert np.array_equal(npz["good"], np.arange(1000))
            assert npz.fetch(["good"] * 3, threads=2).shape == (3, 1000)

        if not threads:
            return best(lambda: npz[key], usable, faults)
        # So many that without a stop it would go on for more than half a second.
        began = time.perf_counter()
        member = npz[f"{key}0"]
        count = int(0.6 * threads / (time.perf_counter() - began)) + 2
        keys = [f"{key}{i % 2}" for i in range(min(count, 8 * threads))]
        out = np.empty((len(keys), *member.shape), member.dtype)
        return best(fetch, after, faults)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("key", ["a", "b"])
def test_ctrl_c(faultlab, engine, long_archive, key, threads):
    """Less than 200 ms after it, whatever the batch was at; then `out` stays as it is."""
    run = faultlab.run
    check_prompt(faultlab, run(interrupted, str(long_archive), key, threads, FASTZIP_ENGINE=engine))


def test_ctrl_c_in_one_member(faultlab, engine, long_archive):
    took = faultlab.run(interrupted, str(long_archive), "c", 0, FASTZIP_ENGINE=engine)
    check_prompt(faultlab, took)


def opening(faults, path, strict):
    before = faults.lab.descriptors()

    def after():
        assert faults.lab.descriptors() == before

    with faults.during(path, "15"):  # milliseconds for each 512 KiB of the directory
        took = best(lambda: fastzip.load(path, strict=strict).close(), after, faults)
    assert faults.injected()
    with fastzip.load(path, strict=strict) as npz:
        assert len(npz) == 400_000
    return took


@pytest.mark.parametrize("strict", [False, True])
def test_ctrl_c_while_opening(lab, faultlab, injector, save, strict):
    """Of 400,000 members, on a slow disk; no descriptor stays behind."""
    path = save(lab.many(400_000, count=65535, zip64=True))
    check_prompt(faultlab, faultlab.run(opening, str(path), strict, injector=injector))


def slow_disk(faults, threads):
    made = faults.material()
    keys = made.keys("mid") * 20
    with fastzip.load(made.path) as npz, faults.during(made.path, "40"):

        def after():
            assert faults.injected()
            assert np.array_equal(npz.fetch(keys[:6], threads=threads), made.batch("mid"))

        took = best(lambda: npz.fetch(keys, threads=threads), after, faults)
        return took and best(lambda: list(map(npz.get, keys)), after, faults)


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_and_a_slow_disk(faultlab, injector, threads):
    """It waits for the reads that are under way, and for no others."""
    check_prompt(faultlab, faultlab.run(slow_disk, threads, injector=injector))


def alarms(faults, threads):
    made = faults.material()
    seen = [0]

    def handler(signum, frame):
        seen[0] += 1

    signal.signal(signal.SIGALRM, handler)
    with fastzip.load(made.path) as npz:
        reads = made.reads()
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            for what, (read, right) in reads.items():
                assert np.array_equal(read(npz), right), what
            with fastzip.load(made.path) as again:
                assert len(again) == len(made.arrays)
        keys = made.keys("mid") * 600
        during = seen[0]
        out = npz.fetch(keys, threads=threads)
        during = seen[0] - during
        signal.setitimer(signal.ITIMER_REAL, 0)
        for i, key in enumerate(keys):
            assert np.array_equal(out[i], made.arrays[key])
    return seen[0], during


@pytest.mark.parametrize("threads", [1, 2])
def test_alarms(faultlab, threads):
    """A signal a millisecond: nothing fails of it, and its handler runs in the midst of a batch."""
    seen, during = faultlab.run(alarms, threads)
    assert seen > 20
    assert during >= 2


def ending_children(faults):
    made = faults.material()
    seen = [0]

    def handler(signum, frame):
        seen[0] += 1

    signal.signal(signal.SIGCHLD, handler)
    with fastzip.load(made.path) as npz:
        for _ in range(10):
            children = [subprocess.Popen([sys.executable, "-S", "-c", ""]) for _ in range(3)]
            while any(child.poll() is None for child in children):
                for what, (read, right) in made.reads(["mid", "stored"]).items():
                    assert np.array_equal(read(npz), right), what
            for child in children:
                child.wait()
    return seen[0]


def test_children_that_end(faultlab):
    """SIGCHLD, over and over."""
    assert faultlab.run(ending_children) >= 10


class OwnError(Exception):
    pass


def own_exception(faults, path, threads):
    raised = [0]

    def handler(signum, frame):
        raised[0] += 1
        raise OwnError(raised[0])

    signal.signal(signal.SIGALRM, handler)
    caught = 0
    with fastzip.load(path) as npz:
        keys = ["a0", "a1"] * 2
        out = np.full((4, SIZES["a"] * MIB // 4), 7, "f4")
        acts = [
            lambda: npz.fetch(keys, out, threads=threads),
            lambda: npz.fetch_ragged(keys, out.reshape(-1), threads=threads),
            lambda: npz["b0"],
        ]
        # What is done once, is done: a parser that handles an exception of its own would make that
        # the context of one that comes meanwhile.
        for key in "good", "a0", "a1", "b0":
            assert npz.spec(key).shape
        for read in npz.fetch, npz.fetch_ragged:
            assert len(read(["good"], threads=threads)) >= 1
        for act, delay in itertools.product(acts, (0.01, 0.05)):
            signal.setitimer(signal.ITIMER_REAL, delay)
            verdict, exc = faults.lab.outcome(act)
            if verdict == "OwnError":
                caught += 1
                assert exc.args == (raised[0],)
                assert exc.__cause__ is None
                context = exc.__context__  # none of ours
                assert not isinstance(context, OwnError), repr(context)
                assert not hasattr(context, "code"), repr(context)
            signal.setitimer(signal.ITIMER_REAL, 0)
            before = int(out.view("u8").sum())
            assert np.array_equal(npz["good"], np.arange(1000))  # nothing comes twice
            assert npz.fetch(["good"] * 3, threads=threads).shape == (3, 1000)
            assert int(out.view("u8").sum()) == before
    assert caught == raised[0]
    return caught


@pytest.mark.parametrize("threads", [1, 2])
def test_a_handlers_exception_comes_once(faultlab, long_archive, threads):
    assert faultlab.run(own_exception, str(long_archive), threads) >= 3
