"""The end of an interpreter with work in flight, and interpreters beside the main one.

====  ==========================================  ==================================================
  20  exit with daemon threads inside fetch,      test_exit_with_work_in_flight
      sys.exit in a thread, reads in atexit,
      a global reader, a killed main thread
  21  subinterpreters                             test_subinterpreters
====  ==========================================  ==================================================

FASTZIP_EXITS is how often each kind of exit is tried; 2 unless it is set.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

FRONT = """
import atexit, os, signal, sys, threading, time
import numpy as np
import fastzip
from fastzip import _core

npz = fastzip.load(sys.argv[1])
keys = [key for key in npz.files if key.startswith("mid")] * 20
right = npz.fetch(keys, threads=2)
inside = threading.Semaphore(0)

def work(ends=False):
    while True:
        inside.release()
        assert np.array_equal(npz.fetch(keys, threads=3), right)
        if ends:
            sys.exit(9)

def start(n, **options):
    for _ in range(n):
        threading.Thread(target=work, daemon=True, **options).start()
    for _ in range(2 * n):
        inside.acquire()
"""

ENDS = {
    "daemon threads": ("start(3)", 0),
    "daemon threads, and sys.exit": ("start(3)\nsys.exit(7)", 7),
    "daemon threads, and an exception": ("start(2)\nraise KeyError('mine')", 1),
    "sys.exit in a thread": (
        "thread = threading.Thread(target=work, args=(True,))\nthread.start()\nthread.join()",
        0,
    ),
    "a thread that is still at work": (
        "threading.Thread(target=work, args=(True,)).start()\ninside.acquire()",
        0,
    ),
    "atexit that reads": (
        "@atexit.register\ndef last():\n"
        "    assert np.array_equal(npz.fetch(keys, threads=3), right)\n"
        "    assert _core.pool_workers() >= 2\n"
        "    print('read')\n"
        "start(2)",
        0,
    ),
    "atexit that closes": ("atexit.register(npz.close)\nstart(3)", 0),
    "a generator that holds a batch": (
        "def gen():\n    with npz:\n        yield npz.fetch(keys, threads=2)\n"
        "g = gen()\nkept = next(g)\ncycle = [g, kept]\ncycle.append(cycle)\nstart(1)",
        0,
    ),
    "an exit while a child of a fork reads": (
        "start(2)\nchild = os.fork()\n"
        # A thread may have been inside of the semaphore when the child was made.
        "if child == 0:\n    signal.alarm(60)\n    inside = threading.Semaphore(0)\n"
        "    start(1)\n    sys.exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5",
        0,
    ),
    "os._exit": ("start(3)\nos._exit(4)", 4),
    "SIGTERM": ("start(3)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)", -signal.SIGTERM),
    "Ctrl-C": (
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "start(2)\n"
        "threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "work()",
        -signal.SIGINT,
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_exit_with_work_in_flight(faultlab, material, end):
    """The right exit code, at once, and not a word of a crash."""
    code, expected = ENDS[end]
    for _ in range(int(os.environ.get("FASTZIP_EXITS", "2"))):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", FRONT + code, material.path],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == expected, done.stderr
        assert time.monotonic() - began < (60 if faultlab.SANITIZED else 20)
        assert "Fatal" not in done.stderr
        assert "Segmentation" not in done.stderr
        if expected == 0:
            assert done.stderr.strip() == "" or "fork" in end, done.stderr
        assert ("read" in done.stdout) == (end == "atexit that reads")


def in_subinterpreters(faults, first):
    """What came of importing fastzip in other interpreters; the main one reads on."""
    import fastzip

    made = faults.material()
    code = (
        "try:\n"
        "    import fastzip\n"
        f"    npz = fastzip.load({str(made.path)!r})\n"
        "    assert npz.fetch(npz.files[:4], threads=2).shape == (4, 500)\n"
        "    npz.close()\n"
        "    word = 'works'\n"
        "except ImportError as exc:\n"
        "    word = 'ImportError'\n"
        f"with open({str(faults.folder / 'words')!r}, 'a') as file:\n"
        "    print(word, file=file)\n"
    )
    with fastzip.load(made.path) as npz:
        if first:
            npz.fetch(made.keys("mid"), threads=3)
        for _ in range(3):
            assert run_in_another(code) == 0
            made.check(npz)
    words = (faults.folder / "words").read_text().split()
    assert len(words) == 3
    return words


def run_in_another(code):
    import _testcapi

    return _testcapi.run_in_subinterp(code)


@pytest.mark.parametrize("first", [True, False])
def test_subinterpreters(faultlab, first):
    """fastzip works in them, or says that it doesn't (as NumPy does, or Cython); no crash."""
    pytest.importorskip("_testcapi")
    words = faultlab.run(in_subinterpreters, first)
    assert set(words) <= {"works", "ImportError"}
