"""The interleaved engine against libdeflate: the same members, in turn, on one thread.

    python bench/kernel.py                          # the gates, as Markdown
    python bench/kernel.py --level portable --classes 'text*' --batch 8
    python bench/kernel.py --loops                  # every loop forced

Members are seeded arrays, `.npy` header in front, deflated by zlib at level 6 as
`np.savez_compressed` does. Each gets the room behind its end that `fetch` gives it, for both
engines: 512 bytes up to 8 KB, none above. A and B take turns and swap who comes first; time is
that of the thread; shown are medians, and of the ratio what each batch's best times make of it.
Nothing about CRC-32 or reading: `speed_table.py` is for that.
"""

import argparse
import ctypes
import fnmatch
import importlib
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import data
import numpy as np

ROOM, ROOMY = 512, 8192
LOOPS = ("literals", "pairs", "mixed_2", "mixed_1", "mixed", "long")
FIELDS = ("src", "src_len", "dst", "dst_len", "dst_room", "status", "owner")
JOB = np.dtype([(name, "i4" if name == "status" else "u8") for name in FIELDS], align=True)


def audio(rng: np.random.Generator, n: int) -> Iterator[Any]:
    """Speech or music: int16, a few falling partials, an envelope and noise."""
    t = np.arange(32_000) / 16_000
    for _ in range(n):
        base, wave = rng.uniform(80, 400), np.zeros(len(t))
        for k in range(1, 9):
            wave += np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6)) / k ** rng.uniform(
                0.8, 1.6
            )
        wave *= 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 4) * t)
        yield (wave * rng.uniform(300, 3000) + rng.normal(0, rng.uniform(3, 30), len(t))).astype(
            "<i2"
        )


def float16(rng: np.random.Generator, n: int) -> Iterator[Any]:
    """Activations behind a rectifier: half of them zero."""
    for _ in range(n):
        yield np.maximum(rng.standard_normal(8192, np.float32), 0).astype(np.float16)


def masks(rng: np.random.Generator, n: int) -> Iterator[Any]:
    """Label masks: 256 x 256, a few round regions each."""
    y, x = np.mgrid[:256, :256]
    for _ in range(n):
        mask = np.zeros((256, 256), np.uint8)
        for _ in range(int(rng.integers(3, 9))):
            cy, cx, ry, rx = *rng.uniform(0, 256, 2), *rng.uniform(10, 90, 2)
            mask[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = rng.integers(1, 20)
        yield mask


def text2k(rng: np.random.Generator, n: int) -> Iterator[Any]:
    for whole in data.text(rng, (n + 9) // 10):
        yield from (whole[i : i + 2048] for i in range(0, 20_480, 2048))


def tiny(rng: np.random.Generator, n: int) -> Iterator[Any]:
    for _ in range(n):
        yield rng.integers(0, 9, int(rng.integers(8, 70)), np.uint8)


class Class(NamedTuple):
    members: int
    arrays: Callable[[np.random.Generator, int], Iterator[Any]]
    gate: float | None  # the least ratio to libdeflate


CLASSES = {
    "float32-16k": Class(256, lambda rng, n: data.floats(rng, n, 4096), 2.0),
    "audio-64k": Class(96, audio, 1.4),
    "images-3k": Class(768, data.img3k, 1.7),
    "images-96k": Class(64, data.img96k, 1.7),
    "float16-16k": Class(256, float16, 1.7),
    "tokens-2k": Class(1024, data.tokens, 1.7),
    "text-2k": Class(1000, text2k, 1.8),
    "text-22k": Class(160, data.text, 1.4),
    "digits-912": Class(2048, data.small, 1.6),
    "bitmaps-88k": Class(96, data.bitmaps, 1.2),
    "masks-64k": Class(128, masks, 1.5),
}
SHUFFLED, SHUFFLED_GATE = "shuffled", 1.5


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def zlib6(plain: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush()


def members(name: str, seed: int) -> list[tuple[bytes, bytes]]:
    if name == SHUFFLED:
        some = [m for k in CLASSES for m in members(k, seed)[: max(16, CLASSES[k].members // 12)]]
        random.Random(seed).shuffle(some)
        return some
    c = CLASSES[name]
    plain = [npy(np.ascontiguousarray(a)) for a in c.arrays(np.random.default_rng(seed), c.members)]
    return [(p, zlib6(p)) for p in plain[: c.members]]


class Batch:
    """Members side by side in memory that stays warm, and their jobs."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.plain = [p for p, _ in pairs]
        self.jobs = np.zeros(len(pairs), JOB)
        rooms = [len(p) + (ROOM if len(p) <= ROOMY else 0) for p in self.plain]
        self.src = np.frombuffer(b"".join(c for _, c in pairs) + bytes(1024), np.uint8).copy()
        self.dst = np.zeros(sum(rooms) + 64, np.uint8)
        ends = np.cumsum([len(c) for _, c in pairs])
        self.jobs["src_len"] = [len(c) for _, c in pairs]
        self.jobs["src"] = self.src.ctypes.data + ends - self.jobs["src_len"].astype(np.int64)
        self.jobs["dst_len"] = [len(p) for p in self.plain]
        self.jobs["dst_room"] = rooms
        self.jobs["dst"] = self.dst.ctypes.data + np.cumsum([0, *rooms[:-1]])

    def check(self) -> None:
        for job, plain in zip(self.jobs, self.plain, strict=True):
            at = int(job["dst"]) - self.dst.ctypes.data
            if self.dst[at : at + len(plain)].tobytes() != plain:
                raise AssertionError("wrong bytes")


def library() -> ctypes.CDLL:
    here = Path(__file__).parent
    core = here.parent / "src"
    with tempfile.TemporaryDirectory() as where:
        shared = os.path.join(where, "kernel.so")
        parts = sorted((core / "inflate" / "interleaved").glob("*.c"))
        flags = ["-std=gnu11", "-O3", "-g0", "-shared", "-fPIC", f"-I{core}"]
        compiler = os.environ.get("CC", "gcc").split()
        command = [*compiler, *flags, here / "kernel.c", *parts, "-o", shared, "-ldl"]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(shared)
    for name in ("kernel_batches", "kernel_libdeflate"):
        getattr(loaded, name).restype = ctypes.c_double
    return loaded


def timed(
    lib: ctypes.CDLL, batch: Batch, size: int, rounds: int
) -> tuple[float, float, float, float]:
    """Medians: bytes/s of libdeflate, of the kernel, and of the ratio of neighbours; and the ratio
    of each batch's best times, the better guess where the machine has other things to do."""
    count = len(batch.jobs)
    best = np.full((2, (count + size - 1) // size), np.inf)
    given = ctypes.c_void_p(batch.jobs.ctypes.data), ctypes.c_size_t(count), ctypes.c_size_t(size)

    def one() -> float:
        return float(lib.kernel_libdeflate(*given, ctypes.c_void_p(best[0].ctypes.data)))

    def many() -> float:
        return float(lib.kernel_batches(*given, ctypes.c_void_p(best[1].ctypes.data)))

    batch.dst[:] = 0
    if many() < 0:
        raise AssertionError("refused")
    batch.check()
    a, b, ratios = [], [], []
    for i in range(rounds):
        pair = (one(), many()) if i % 2 else (many(), one())[::-1]
        if min(pair) < 0:
            raise AssertionError("refused")
        a.append(pair[0])
        b.append(pair[1])
        ratios.append(pair[0] / pair[1])
    total = sum(map(len, batch.plain))
    middle = statistics.median
    return (
        total / middle(a),
        total / middle(b),
        middle(ratios),
        float(best[0].sum() / best[1].sum()),
    )


def libdeflate() -> bytes:
    """Where the wheel's library is."""
    try:
        return str(importlib.import_module("deflate._deflate").__file__).encode()
    except ImportError:
        sys.exit("libdeflate isn't installed: pip install deflate")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--level", choices=["avx512", "avx2", "portable"])
    parser.add_argument("--classes", default="*", metavar="PATTERN")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--seed", type=int, default=2026)
    help_ = "readable bytes behind the input that libdeflate is told of; fetch tells it of 512"
    parser.add_argument("--room", type=int, default=0, help=help_)
    parser.add_argument("--loops", action="store_true", help="the best ratio of every loop, forced")
    asked = parser.parse_args()
    lib = library()
    deflate = libdeflate()
    level = asked.level.encode() if asked.level else None
    forced = range(-1, len(LOOPS)) if asked.loops else [-1]
    names = [n for n in [*CLASSES, SHUFFLED] if fnmatch.fnmatch(n, asked.classes)]
    heads = (
        ["chosen", *LOOPS] if asked.loops else ["kernel, MB/s", "ratio", "of the best", "gate", ""]
    )
    print(f"batches of {asked.batch}, seed {asked.seed}, level {asked.level or 'best'}\n")
    print(f"| members | libdeflate, MB/s | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
    short = 0
    for name in names:
        batch = Batch(members(name, asked.seed))
        cells = []
        for loop in forced:
            failed = lib.kernel_open(deflate, level, loop, ctypes.c_size_t(asked.room))
            if failed:
                parser.error(f"no kernel: {failed}")
            base, speed, ratio, best = timed(lib, batch, asked.batch, asked.rounds)
            cells.append(f"{best:.2f}")
        if not asked.loops:
            gate = SHUFFLED_GATE if name == SHUFFLED else CLASSES[name].gate
            missed = gate is not None and ratio < gate
            short += missed
            cells = [
                f"{speed / 1e6:.0f}",
                f"{ratio:.2f}",
                f"{best:.2f}",
                str(gate),
                "short" if missed else "",
            ]
        print(f"| {name} | {base / 1e6:.0f} | {' | '.join(cells)} |", flush=True)
    return int(short > 0)


if __name__ == "__main__":
    sys.exit(main())
