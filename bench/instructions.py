"""Counts the instructions of the hot paths under callgrind: figures that repeat on a busy machine.

    python bench/instructions.py [--paths 'fetch*'] [--engine zlib-ng] [--json FILE]
    python bench/instructions.py --against before.json

Each path runs twice in processes of their own, once and then three times as often; the difference
is what it costs, without Python's start and what is done once. Instructions aren't time: memory
that is far away, and branches that are guessed wrongly, cost nothing here. The same number twice
means that nothing changed; a number that grew tells where to look. Needs valgrind.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data

ENGINES = ("zlib-ng", "libdeflate", "interleaved")
Work = Callable[[int], object]


def _npz(name: str) -> Any:
    import fastzip

    return fastzip.load(data.path(name))


def _drawn(name: str, count: int) -> Any:
    import numpy as np

    return np.random.default_rng(1).permutation(data.SETS[name].members)[:count]


def opening(name: str) -> Work:
    import fastzip

    path = data.path(name)
    return lambda times: [fastzip.load(path).close() for _ in range(times)]


def looking_up(name: str) -> Work:
    npz = _npz(name)
    keys = [data.NAME.format(i) for i in _drawn(name, 500)]
    return lambda times: [npz.index.find(f"{key}.npy") for _ in range(times) for key in keys]


def reading(name: str, count: int) -> Work:
    npz = _npz(name)
    keys = [data.NAME.format(i) for i in _drawn(name, count)]
    return lambda times: [npz[key] is None for _ in range(times) for key in keys]


def fetching(name: str, count: int) -> Work:
    npz, chosen = _npz(name), _drawn(name, count)
    out = npz.fetch(chosen, threads=1)
    return lambda times: [npz.fetch(chosen, out=out, threads=1) is None for _ in range(times)]


def padding(name: str, count: int) -> Work:
    npz, chosen = _npz(name), _drawn(name, count)
    return lambda times: [npz.fetch_padded(chosen, threads=1) is None for _ in range(times)]


PATHS: dict[str, tuple[Callable[[], Work], int, str]] = {  # made how, units in one, what a unit is
    "open": (lambda: opening("open60k"), 60_000, "member"),
    "find": (lambda: looking_up("open60k"), 500, "name"),
    "key-small": (lambda: reading("small", 100), 100, "array"),
    "key-bitmaps": (lambda: reading("bitmaps", 20), 20, "array"),
    "fetch-small": (lambda: fetching("small", 256), 256, "array"),
    "fetch-bitmaps": (lambda: fetching("bitmaps", 64), 64, "array"),
    "fetch-float16k": (lambda: fetching("float16k", 64), 64, "array"),
    "fetch-stored256k": (lambda: fetching("stored256k", 16), 16, "array"),
    "padded-sentences": (lambda: padding("sentences", 64), 64, "array"),
}


def lacking() -> str | None:
    """Why nothing can be counted here."""
    if shutil.which("valgrind") is None:
        return "valgrind isn't installed (on Debian: apt-get install valgrind)"
    return None


def count(path: str, times: int, engine: str | None) -> int:
    """Instructions of a process that does this so often."""
    tree = str(Path(__file__).resolve().parents[1])  # of this tree, whatever is installed
    environment = os.environ | {"PYTHONPATH": tree, "PYTHONHASHSEED": "0"}
    if engine:
        environment["FASTZIP_ENGINE"] = engine
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
            *(sys.executable, "-X", "frozen_modules", __file__, "--run", path, str(times)),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        raise RuntimeError(f"{path}: exit status {done.returncode}: {last[0]}")
    return int(found[1])


def per_unit(path: str, engine: str | None) -> float:
    """Instructions for one member, name or array."""
    return (count(path, 3, engine) - count(path, 1, engine)) / (2 * PATHS[path][1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Count instructions of the hot paths.")
    parser.add_argument("--paths", default="*", metavar="PATTERN", help=f"of {', '.join(PATHS)}")
    parser.add_argument("--engine", choices=ENGINES, help="force one")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--against", metavar="FILE", help="such a file, for comparison")
    parser.add_argument("--run", nargs=2, metavar=("PATH", "TIMES"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        work = PATHS[asked.run[0]][0]()
        work(1)
        work(int(asked.run[1]))
        return 0
    why = lacking()
    if why:
        print(f"skipped: {why}", file=sys.stderr)
        return 0
    chosen = [path for path in PATHS if fnmatch.fnmatch(path, asked.paths)]
    if not chosen:
        parser.error(f"no path is called {asked.paths}")
    before: dict[str, float] = {}
    if asked.against:
        said = json.loads(Path(asked.against).read_text())
        if said["engine"] != asked.engine:
            parser.error(f"{asked.against} counted with --engine {said['engine']}")
        before = said["instructions"]
    numbers: dict[str, float] = {}
    print("| path | instructions for one | | before | now / before |\n|---|---|---|---|---|")
    for path in chosen:
        numbers[path] = per_unit(path, asked.engine)
        old = before.get(path)
        ratio = f"{old:,.0f} | {numbers[path] / old:.4f}" if old else " | "
        print(f"| {path} | {numbers[path]:,.0f} | {PATHS[path][2]} | {ratio} |", flush=True)
    if asked.json:
        said = {"engine": asked.engine, "instructions": numbers}
        Path(asked.json).write_text(json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
