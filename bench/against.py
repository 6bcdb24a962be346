"""Is this tree as fast as another one? Both built in place, their processes taking turns.

    python bench/against.py ../before [--rows 'open-*'] [--rounds 21] [--engine zlib-ng]

A ratio above 1 means that this tree is faster. Each tree runs in a process of its own that does the
same work on the same draws; one round is one turn of each, and they swap who comes first.
"""

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import data

HERE = Path(__file__).resolve().parent.parent


def opening(name: str) -> Callable[[int], Any]:
    path = data.path(name)

    def work(seed: int) -> None:
        import fastzip

        with fastzip.load(path):
            pass

    return work


def reading(name: str, count: int) -> Callable[[int], Any]:
    import fastzip

    npz = fastzip.load(data.path(name))
    keys = npz.files

    def work(seed: int) -> None:
        for key in random.Random(seed).choices(keys, k=count):
            npz[key]

    return work


def fetching(name: str, threads: int = 1) -> Callable[[int], Any]:
    import numpy as np

    import fastzip

    npz = fastzip.load(data.path(name))
    out = npz.fetch(np.arange(256) % len(npz), threads=threads)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(4):
            npz.fetch(rng.integers(len(npz), size=256), out=out, threads=threads)

    return work


ROWS: dict[str, Callable[[], Callable[[int], Any]]] = {
    "open-tiny": lambda: opening("tiny"),
    "open-250k": lambda: opening("open250k"),
    "open-1m": lambda: opening("open1m"),
    "key-small": lambda: reading("small", 2000),
    "key-bitmaps": lambda: reading("bitmaps", 400),
    "key-stored256k": lambda: reading("stored256k", 200),
    "key-big32m": lambda: reading("big32m", 1),
    "fetch-small": lambda: fetching("small"),
    "fetch-bitmaps": lambda: fetching("bitmaps"),
    "fetch-float16k": lambda: fetching("float16k"),
    "fetch-stored256k": lambda: fetching("stored256k"),
    "fetch2-small": lambda: fetching("small", 2),
    "fetch2-bitmaps": lambda: fetching("bitmaps", 2),
}
REPEATED = {"open-tiny": 300}  # what is too short for one turn


def serve(row: str) -> None:
    """Do the work for each seed that comes in, and say how long it took."""
    work, times = ROWS[row](), REPEATED.get(row, 1)
    for line in sys.stdin:
        start = perf_counter()
        for _ in range(times):
            work(int(line))
        print(perf_counter() - start, flush=True)


def start(tree: Path, row: str) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--serve", row]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)


def ask(process: "subprocess.Popen[str]", seed: int) -> float:
    assert process.stdin
    assert process.stdout
    print(seed, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def compare(other: Path, row: str, rounds: int) -> str:
    with start(other, row) as before, start(HERE, row) as now:
        samples = []
        for seed in range(rounds + 2):
            turn = [(0, before), (1, now)]
            seconds = {}
            for side, process in turn if seed % 2 else turn[::-1]:
                seconds[side] = ask(process, seed)
            samples.append((seconds[0], seconds[1]))
        for process in (before, now):
            assert process.stdin
            process.stdin.close()
    del samples[:2]  # warming up
    a, b = (median(side) for side in zip(*samples, strict=True))
    low, mid, high = quantiles((x / y for x, y in samples), n=4)
    return (
        f"| {row} | {a * 1e3:.3f} ms | {b * 1e3:.3f} ms | {a / b:.3f} "
        f"| {low:.3f} … {mid:.3f} … {high:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare this tree's speed with another one's.")
    parser.add_argument("other", type=Path, nargs="?", help="a tree that is built in place")
    parser.add_argument("--rows", default="*", metavar="PATTERN", help="which rows")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--engine", choices=["zlib-ng", "libdeflate"], help="force one")
    parser.add_argument("--serve", choices=ROWS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        os.environ["FASTZIP_ENGINE"] = asked.engine
    if asked.serve:
        serve(asked.serve)
        return
    if asked.other is None:
        parser.error("name the other tree")
    print("| work | other | this | other / this | quartiles |\n|---|---|---|---|---|")
    for row in ROWS:
        if fnmatch(row, asked.rows):
            print(compare(asked.other.resolve(), row, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
