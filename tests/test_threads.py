"""Batches by many threads and in many processes: the pool, forks, signals."""

from __future__ import annotations

import gc
import math
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from forking import forks

import fastzip
from fastzip import _core
from fastzip._zip import threads as _threads

N = 40


@pytest.mark.parametrize(
    ("listing", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "max 100000\n"}, 0.5),
        ("0::/\n", {}, math.inf),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, math.inf),
        (
            "4:cpuset:/\n2:cpu,cpuacct:/on/the/host\n",
            {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            "2:cpu:/g\n",
            {"cpu/g/cpu.cfs_quota_us": "-1\n", "cpu/g/cpu.cfs_period_us": "100000\n"},
            math.inf,
        ),
    ],
)
def test_control_group_quota(tmp_path, listing, files, limit):
    (tmp_path / "listing").write_text(listing)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    assert _threads.quota(tmp_path / "listing", tmp_path / "root") == limit
    assert _threads.quota(tmp_path / "none", tmp_path / "root") == math.inf


def test_number_of_threads(monkeypatch, simple):
    npz, batch = simple
    monkeypatch.delenv("FASTZIP_NUM_THREADS", raising=False)
    default = fastzip.get_num_threads()
    assert 1 <= default <= os.cpu_count()
    try:
        fastzip.set_num_threads(3)
        assert fastzip.get_num_threads() == 3
        monkeypatch.setenv("FASTZIP_NUM_THREADS", "5")
        assert fastzip.get_num_threads() == 3
        fastzip.set_num_threads(None)
        assert fastzip.get_num_threads() == 5
        monkeypatch.setenv("FASTZIP_NUM_THREADS", " 1024 ")
        assert fastzip.get_num_threads() == 1024
        monkeypatch.setenv("FASTZIP_NUM_THREADS", "")
        assert fastzip.get_num_threads() == default
        for bad in ("0", "-1", "1025", "two", "1.5", "2 2"):
            monkeypatch.setenv("FASTZIP_NUM_THREADS", bad)
            with pytest.raises(ValueError, match="FASTZIP_NUM_THREADS"):
                fastzip.get_num_threads()
            with pytest.raises(ValueError, match="FASTZIP_NUM_THREADS"):
                npz.fetch([0])
            assert np.array_equal(npz.fetch([1, 0], threads=2), batch[[1, 0]])
        monkeypatch.delenv("FASTZIP_NUM_THREADS")
        for bad in (0, -1, 1025, 1.0, "2", True, 1 << 80):
            with pytest.raises(ValueError, match="integer from 1 to 1024"):
                fastzip.set_num_threads(bad)
            with pytest.raises(ValueError, match="integer from 1 to 1024"):
                npz.fetch([0], threads=bad)
        assert fastzip.get_num_threads() == default
        fastzip.set_num_threads(1024)
        assert np.array_equal(npz.fetch([1, 0]), batch[[1, 0]])
        fastzip.set_num_threads(np.int64(2))
        assert fastzip.get_num_threads() == 2
    finally:
        fastzip.set_num_threads(None)


def test_affinity_bounds_the_default():
    code = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
        "import fastzip; print(fastzip.get_num_threads())"
    )
    env = {k: v for k, v in os.environ.items() if k != "FASTZIP_NUM_THREADS"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert out.stdout == b"1\n"


def test_workers_are_started_when_needed(lab):
    code = (
        "import io, sys, numpy as np, fastzip\n"
        "from fastzip import _core\n"
        "f = io.BytesIO()\n"
        "np.savez_compressed(f, **{f'k{i}': np.full(200_000, i) for i in range(8)})\n"
        "npz = fastzip.load(f.getvalue())\n"
        "npz['k1']; npz.fetch(range(8), threads=1)\n"
        "print(_core.pool_workers())\n"
        "npz.fetch(range(8), threads=3)\n"
        "print(_core.pool_workers())\n"
        "npz.fetch(range(8), threads=2)\n"
        "print(_core.pool_workers())\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert out.stdout.split() == [b"0", b"2", b"2"]


def test_from_many_threads(heavy):
    npz, batch = heavy
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(12):
                keys = rng.integers(0, 24, 16)
                got = npz.fetch(keys, threads=int(rng.integers(1, 5)))
                if not np.array_equal(got, batch[keys]):
                    wrong.append(keys)
        except Exception as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_close_while_others_fetch(lab, save):
    arrays = {f"k{i}": lab.sparse(60_000, i) for i in range(24)}
    path, batch = save(lab.mixed(arrays)), np.stack(list(arrays.values()))
    for _ in range(5):
        npz = fastzip.load(path)
        results = []

        def work(npz=npz, results=results):
            try:
                while True:
                    results.append(np.array_equal(npz.fetch(range(24), threads=2), batch))
            except ValueError as exc:
                results.append("closed" in str(exc))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(results) < 3:
            time.sleep(0.001)
        npz.close()
        for thread in threads:
            thread.join()
        assert all(results)


def test_in_a_forked_child(heavy):
    npz, batch = heavy
    assert np.array_equal(npz.fetch(range(24), threads=4), batch)
    assert _core.pool_workers() >= 1
    kept = npz.fetch(range(24), threads=4)
    del kept
    gc.collect()  # or the child might, and a block of an earlier test would be idle there
    for _ in range(3):
        with forks():
            child = os.fork()
        if child == 0:
            status = 1
            try:
                checks = {"idle": _core.idle_bytes() == 0, "workers": _core.pool_workers() == 0}
                for threads in (1, 3, 2):
                    got = npz.fetch(range(24), threads=threads)
                    checks[f"{threads} threads"] = np.array_equal(got, batch)
                checks["member"] = np.array_equal(npz["k3"], batch[3])
                checks["two workers"] = _core.pool_workers() == 2
                ok = all(checks.values())
                os.write(2, repr(checks).encode())
                status = 0 if ok else 2
            finally:
                os._exit(status)
        assert np.array_equal(npz.fetch(range(24), threads=4), batch)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_fork_while_others_fetch(heavy):
    """The child's copy of the pool is whole, whatever the parent's threads are doing."""
    npz, batch = heavy
    stop, wrong = threading.Event(), []

    def work():
        while not stop.is_set():
            if not np.array_equal(npz.fetch(range(24), threads=3), batch):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    codes = []
    try:
        for _ in range(15):
            with forks():
                child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(30)
                    ok = np.array_equal(npz.fetch(range(24), threads=2), batch)
                    status = 0 if ok else 2
                finally:
                    os._exit(status)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert codes == [0] * 15
    assert wrong == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_in_worker_processes(heavy, method):
    npz, batch = heavy
    npz.fetch(range(24), threads=2)
    with forks(), multiprocessing.get_context(method).Pool(2) as pool:
        fetch = operator.methodcaller("fetch", [3, 1, "k2"], threads=2)
        for got in pool.map(fetch, [npz] * 4):
            assert np.array_equal(got, batch[[3, 1, 2]])
        assert np.array_equal(pool.apply(operator.getitem, (npz, "k5")), batch[5])
        pool.close()
        pool.join()


def test_interrupt(lab, save):
    """Ctrl-C ends a long batch early, and nothing writes into `out` afterwards."""
    arrays = {f"k{i}": np.full(64, i, "u1") for i in range(200)}
    n = 600_000
    out = np.full((n, 64), 0xEE, "u1")
    keys = np.arange(n) % 200

    def handler(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with fastzip.load(save(lab.npz(**arrays))) as npz:
            npz.fetch([0])
            for threads in (1, 2):
                out[:] = 0xEE
                with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (the clock starts inside)
                    signal.setitimer(signal.ITIMER_REAL, 0.03)
                    npz.fetch(keys, out=out, threads=threads)
                left = (out == 0xEE).all(axis=1)
                assert left.any()
                time.sleep(0.05)
                assert np.array_equal((out == 0xEE).all(axis=1), left)
                assert np.array_equal(npz.fetch([7, 8]), np.stack([arrays["k7"], arrays["k8"]]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_signal_handlers_run(lab):
    """A handler that fetches by itself, in the midst of a fetch."""
    arrays = {f"k{i}": np.full(64, i, "u1") for i in range(200)}
    npz = fastzip.load(lab.npz(**arrays))
    seen, more = [], True

    def handler(signum, frame):
        seen.append(npz.fetch([1, 2], threads=2)[:, 0].tolist())
        if more:  # a timer that repeats would interrupt the handler, and that one, and so on
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for threads in (1, 2):
            got = npz.fetch(np.arange(200_000) % 200, threads=threads)
            assert np.array_equal(got[:, 5], (np.arange(200_000) % 200).astype("u1"))
    finally:
        more = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert all(item == [1, 2] for item in seen)


FORKING = """
import os, signal, sys, time, warnings
import numpy as np
import fastzip

warnings.simplefilter("ignore")  # Python warns of forks while there are threads
npz = fastzip.load(sys.argv[1])
expected = np.stack([npz[key] for key in npz.files])
keys = np.tile(np.arange(len(npz)), 60)
parent, children = os.getpid(), []

def fork(*_):
    if os.getpid() == parent and len(children) < 4:
        pid = os.fork()
        if pid:
            children.append(pid)
            signal.setitimer(signal.ITIMER_REAL, 0.03)  # one that repeats may interrupt the fork

signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.03)
while os.getpid() == parent and len(children) < 4:
    status = 0
    try:
        out = np.zeros((len(keys), *expected.shape[1:]), expected.dtype)
        npz.fetch(keys, out, threads=2)
        status = 0 if all(np.array_equal(out[i], expected[k]) for i, k in enumerate(keys)) else 3
    except RuntimeError as exc:
        status = 0 if exc.code == "interrupted" and os.getpid() != parent else 4
    if os.getpid() != parent:
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert np.array_equal(npz.fetch(keys[:9], threads=2), expected[:9])
        os._exit(status)
signal.setitimer(signal.ITIMER_REAL, 0)
results = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert not any(results) and status == 0, (results, status)
"""


def test_a_signal_handler_that_forks(lab, tmp_path):
    """The helpers' share never comes in the child: that is an error there, not rows of nothing."""
    rng = np.random.default_rng(0)
    arrays = {f"k{i}": rng.integers(0, 9, 40_000, np.uint8) for i in range(50)}
    (tmp_path / "a.npz").write_bytes(lab.npz(True, **arrays))
    command = [sys.executable, "-c", FORKING, str(tmp_path / "a.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_signal_in_the_midst_of_a_handler_that_reads(lab, engine):
    """What the second handler raises comes out of the first one's read, as itself, and stops that
    read alone."""
    rng = np.random.default_rng(0)
    data = lab.npz(True, small=rng.integers(0, 200, 900_000, np.uint8))
    npz, reader = fastzip.load(lab.mixed({"k": lab.sparse(60_000, 1)})), fastzip.load(data)
    expected, outcomes, main = npz["k"], [], threading.main_thread().ident

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    def read(*_):
        end = time.monotonic() + 0.12
        try:
            while time.monotonic() < end:
                reader["small"]
        except StopError:
            outcomes.append("stopped")

    before = signal.signal(signal.SIGALRM, read), signal.signal(signal.SIGUSR1, stop)
    try:
        for i in range(15):
            timer = threading.Timer(0.05 + 0.003 * i, signal.pthread_kill, (main, signal.SIGUSR1))
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            timer.start()
            try:
                out = npz.fetch(np.zeros(8000, np.int64), threads=1)
                assert (out == expected).all()
                time.sleep(0.3)
            except StopError:
                outcomes.append("stopped outside")
            timer.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert "stopped" in outcomes
