"""What of the interleaved engine's speed arrives in `fetch`, with reading and CRC-32.

    python bench/kernel_fetch.py             # fetch of 256 against the kernel alone, one thread
    python bench/kernel_fetch.py --threads   # 2 threads against 1
    python bench/kernel_fetch.py --alone     # tiny and single members, with and without it

The members are `kernel.py`'s, in an archive in the page cache; A and B take turns and swap who
comes first; shown are medians of the ratio, and of the best times of either. With one thread, time
is that of the thread.
"""

import argparse
import ctypes
import fnmatch
import io
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable

import kernel
import numpy as np

import fastzip
from fastzip import _core

SMALL = 4096  # up to here, what comes beside inflating weighs more
N = 256
TINY = "tiny"
Call = Callable[[], object]


def archive(pairs: list[tuple[bytes, bytes]], path: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for i, (plain, _) in enumerate(pairs):
            file.writestr(f"k{i}.npy", plain)


def compared(a: Call, b: Call, rounds: int, clock: Callable[[], float]) -> tuple[float, float]:
    """How many times faster b is: the median of neighbours, and by the best of each."""

    def timed(call: Call) -> float:
        start = clock()
        call()
        return clock() - start

    times = []
    for i in range(rounds):
        times.append((timed(a), timed(b)) if i % 2 else (timed(b), timed(a))[::-1])
    best = min(x for x, _ in times) / min(y for _, y in times)
    return statistics.median(x / y for x, y in times), best


class Case:
    """One class of members: the archive, open, and warm memory."""

    def __init__(self, name: str, seed: int, folder: str) -> None:
        if name == TINY:
            arrays = kernel.tiny(np.random.default_rng(seed), N)
            pairs = [(p := kernel.npy(a), kernel.zlib6(p)) for a in arrays]
        else:
            pairs = kernel.members(name, seed)[:N]
        self.pairs, path = pairs, os.path.join(folder, f"{name}.npz")
        archive(pairs, path)
        self.npz = fastzip.load(path)
        self.keys = np.arange(len(pairs))
        if name == TINY:
            return
        self.out = self.npz.fetch(self.keys)
        for row, (plain, _) in zip(self.out, pairs, strict=True):
            if row.tobytes() != np.load(io.BytesIO(plain)).tobytes():
                raise AssertionError("wrong bytes")

    def fetch(self, threads: int) -> Call:
        return lambda: self.npz.fetch(self.keys, out=self.out, threads=threads)


def against_kernel(case: Case, lib: ctypes.CDLL, rounds: int) -> tuple[float, float]:
    batch = kernel.Batch(case.pairs)
    best = np.full(len(batch.jobs), np.inf)
    given = ctypes.c_void_p(batch.jobs.ctypes.data), len(batch.jobs), 32
    sizes = [ctypes.c_size_t(n) for n in given[1:]]

    def alone() -> None:
        if lib.kernel_batches(given[0], *sizes, ctypes.c_void_p(best.ctypes.data)) < 0:
            raise AssertionError("refused")

    return compared(alone, case.fetch(1), rounds, time.thread_time)


def stepping_aside(case: Case, rounds: int, single: bool, libdeflate: bool) -> tuple[float, float]:
    """With the kernel in use, against the single-stream engine alone."""

    def calls(lanes: int) -> Call:
        def call() -> None:
            _core.use_lanes(lanes)
            if single:
                for key in range(0, len(case.keys), 4):
                    case.npz.fetch([key], threads=1)
            else:
                case.npz.fetch_ragged(case.keys, threads=1)

        return call

    _core.use_engine(libdeflate)
    found = compared(calls(0), calls(4), rounds, time.thread_time)
    _core.use_engine(fastzip.engines()["crc32"] == "libdeflate")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--threads", action="store_true")
    what.add_argument("--alone", action="store_true")
    parser.add_argument("--classes", default="*", metavar="PATTERN")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seed", type=int, default=2026)
    asked = parser.parse_args()
    engines = fastzip.engines()
    if engines["batches"] != "interleaved":
        parser.error(f"the interleaved engine isn't in use: {engines['interleaved']['source']}")
    names = [n for n in kernel.CLASSES if fnmatch.fnmatch(n, asked.classes)]
    rows: list[tuple[str, Case, float, Callable[[Case], tuple[float, float]]]] = []
    with tempfile.TemporaryDirectory() as folder:
        cases = {n: Case(n, asked.seed, folder) for n in names}
        if asked.threads:
            for name, case in cases.items():
                rows.append((name, case, 1.85, lambda c: two_threads(c, asked.rounds)))
        elif asked.alone:
            cases[TINY] = Case(TINY, asked.seed, folder)
            for name, case in cases.items():
                for which in ("libdeflate", "zlib-ng"):
                    title = f"{name}, {'256' if name == TINY else 'one by one'}, {which}"
                    rows.append((title, case, 0.95, alone(asked.rounds, name != TINY, which)))
        else:
            lib = kernel.library()
            if lib.kernel_open(kernel.libdeflate(), None, -1, ctypes.c_size_t(0)):
                parser.error("no kernel")
            for name, case in cases.items():
                gate = 0.85 if len(case.pairs[0][0]) <= SMALL else 0.93
                rows.append((name, case, gate, lambda c: against_kernel(c, lib, asked.rounds)))
        return table(rows)


def two_threads(case: Case, rounds: int) -> tuple[float, float]:
    return compared(case.fetch(1), case.fetch(2), rounds, time.perf_counter)


def alone(rounds: int, single: bool, which: str) -> Callable[[Case], tuple[float, float]]:
    return lambda case: stepping_aside(case, rounds, single, which == "libdeflate")


def table(rows: list[tuple[str, Case, float, Callable[[Case], tuple[float, float]]]]) -> int:
    print("| members | ratio | of the best | gate | |\n|---|---|---|---|---|")
    short = 0
    for name, case, gate, measure in rows:
        ratio, best = measure(case)
        short += ratio < gate
        cells = f"{ratio:.2f} | {best:.2f} | {gate} | {'short' if ratio < gate else ''}"
        print(f"| {name} | {cells} |", flush=True)
    return int(short > 0)


if __name__ == "__main__":
    sys.exit(main())
