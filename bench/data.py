"""The benchmark's data: seeded, built once, kept in a cache folder outside the tree.

Every set is an ordinary `.npz` that `np.load` and `zipfile` read. What counts for a reader is the
size of the members, how they were compressed and how well that worked, so each set names the kind
of training data whose sizes and ratio it imitates. `python bench/data.py` builds all of them.
"""

import os
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # part of the folder's name: raise it whenever a set's content changes
NAME = "ix-{:06d}"  # the keys of every set; the file inside the archive ends in .npy

Bytes = NDArray[np.uint8]
Arrays = Iterator[NDArray[Any]]


def folder() -> Path:
    """Where the sets are kept; created when missing."""
    given = os.environ.get("FASTZIP_BENCH_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = (Path(given) if given else Path(cache) / "fastzip-bench") / f"v{VERSION}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def curves(rng: np.random.Generator, n: int, points: int) -> NDArray[np.float64]:
    """`n` random quadratic Bézier curves in the unit square, each as `points` (y, x) pairs."""
    ends = rng.random((n, 3, 2))
    t = np.linspace(0, 1, points)[:, None]
    return np.asarray(
        (1 - t) ** 2 * ends[:, None, 0]
        + 2 * t * (1 - t) * ends[:, None, 1]
        + t**2 * ends[:, None, 2]
    )


def clouds(rng: np.random.Generator, shape: tuple[int, ...], slope: float, grain: float) -> Bytes:
    """Noise whose amplitude falls with frequency as that of photographs, plus white grain.

    The last axis is colour: three channels that share most of their structure, as in photographs.
    """
    n, height, width, channels = shape
    far = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    far[0, 0] = 1
    fall = far**-slope
    fall[0, 0] = 0

    def field(count: int) -> NDArray[np.float64]:
        spectrum = np.fft.rfft2(rng.standard_normal((count, height, width))) * fall
        plain = np.fft.irfft2(spectrum, s=(height, width))
        return np.asarray(plain / plain.std(axis=(1, 2), keepdims=True))

    light = field(n)[..., None]
    colour = np.stack([field(n) for _ in range(channels)], axis=-1)
    bright = rng.uniform(90, 160, (n, 1, 1, 1))
    contrast = rng.uniform(3, 40, (n, 1, 1, 1))
    picture = bright + contrast * (light + 0.15 * colour) + rng.normal(0, grain, shape)
    return picture.clip(0, 255).astype(np.uint8)


def bitmaps(rng: np.random.Generator, n: int) -> Arrays:
    """Masks and line drawings: zeros and ones, 88,000 bytes, ratio near 30."""
    brush = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    for _ in range(n):
        image = np.zeros((220, 400), np.uint8)
        for curve in curves(rng, int(rng.integers(9, 21)), 500):
            spot = (curve * (215, 395) + 2).astype(np.intp)[:, None] + brush
            image[spot[..., 0], spot[..., 1]] = 1
        yield image


def small(rng: np.random.Generator, n: int) -> Arrays:
    """Handwritten digits, as MNIST: 784 bytes and the header, 912 in all, ratio 2.7."""
    y, x = np.divmod(np.arange(784, dtype=np.float32), 28)
    for start in range(0, n, 500):
        batch = min(500, n - start)
        dots = curves(rng, 4 * batch, 12).reshape(batch, 48, 1, 2).astype(np.float32) * 20 + 4
        far = np.full((batch, 784), np.inf, np.float32)
        for dot in dots.swapaxes(0, 1):
            np.minimum(far, np.square(y - dot[..., 0]) + np.square(x - dot[..., 1]), out=far)
        far = np.sqrt(far)
        ink = (2.4 - far) * 170 + rng.normal(0, 40, far.shape)
        yield from (ink * (far < 2.4)).clip(0, 255).astype(np.uint8).reshape(batch, 28, 28)


def floats(rng: np.random.Generator, n: int, values: int) -> Arrays:
    """Features or weights: float32 of a normal distribution, ratio near 1.1."""
    for _ in range(n):
        yield rng.standard_normal(values, np.float32)


def img3k(rng: np.random.Generator, n: int) -> Arrays:
    """Thumbnails, as CIFAR: 32 x 32 x 3."""
    for start in range(0, n, 500):
        yield from clouds(rng, (min(500, n - start), 32, 32, 3), 2.2, 0.2)


def img96k(rng: np.random.Generator, n: int) -> Arrays:
    """Small photographs: 128 x 256 x 3, 96 KB."""
    for start in range(0, n, 20):
        yield from clouds(rng, (min(20, n - start), 128, 256, 3), 1.9, 0.8)


def tokens(rng: np.random.Generator, n: int) -> Arrays:
    """Token ids: uint16, 2 KB, drawn by Zipf's law."""
    falling = np.cumsum(1 / np.arange(1, 50_257))
    for _ in range(n):
        yield np.searchsorted(falling, rng.random(1024) * falling[-1]).astype(np.uint16)


def text(rng: np.random.Generator, n: int) -> Arrays:
    """Prose as bytes, 22,000 of them: invented words by Zipf's law, some following others often."""
    syllables = [c + v for c in (*"bcdfghlmnprstw", "th", "st") for v in "aeiou"]
    syllables += [s + c for s in syllables for c in "nrst"]
    count = 12_000
    vocabulary = np.array(
        [
            "".join(rng.choice(syllables, 1 + int(rng.integers(0, 4) > 0) + i // 5000))
            for i in range(count)
        ]
    )
    falling = np.cumsum(1 / (np.arange(count) + 2.7))

    def words(size: int | tuple[int, int]) -> NDArray[np.intp]:
        return np.asarray(np.searchsorted(falling, rng.random(size) * falling[-1]))

    follows = words((count, 8))
    for _ in range(n):
        drawn, habit, which = words(5000), rng.random(5000) < 0.8, rng.integers(0, 8, 5000)
        for i in range(1, len(drawn)):
            if habit[i]:
                drawn[i] = follows[drawn[i - 1], which[i]]
        stops = rng.choice(["", ",", "."], len(drawn), p=[0.87, 0.06, 0.07])
        prose = " ".join(w + s for w, s in zip(vocabulary[drawn], stops, strict=True))
        yield np.frombuffer(prose.encode()[:22_000], np.uint8)


def lengths(rng: np.random.Generator, n: int, middle: int, most: int) -> list[int]:
    """Of sequences: a few are many times as long as most."""
    return np.exp(rng.normal(np.log(middle), 0.8, n)).clip(1, most).astype(int).tolist()


def sentences(rng: np.random.Generator, n: int) -> Arrays:
    """Token ids of whole texts: uint16, 1 to 2,048 of them, most often some 200."""
    falling = np.cumsum(1 / np.arange(1, 50_257))
    for length in lengths(rng, n, 200, 2048):
        yield np.searchsorted(falling, rng.random(length) * falling[-1]).astype(np.uint16)


def frames(rng: np.random.Generator, n: int) -> Arrays:
    """Speech: 40 float32 features for each frame, 1 to 800 frames, most often some 150."""
    for length in lengths(rng, n, 150, 800):
        yield rng.standard_normal((length, 40), np.float32)


def slices(rng: np.random.Generator, n: int, size: int) -> Arrays:
    """Text files of one size, cut out of 5.5 MB of prose."""
    prose = np.concatenate(list(text(rng, 250)))
    for start in rng.integers(0, len(prose) - size, n):
        yield prose[start : start + size]


def noise(rng: np.random.Generator, n: int, size: int) -> Arrays:
    """Random bytes of 64 kinds: nothing to wait for where only agreement counts."""
    for _ in range(n):
        yield rng.integers(32, 96, size, np.uint8)


def write_texts(file: BinaryIO, texts: Arrays) -> None:
    """Plain files in a .zip."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for i, array in enumerate(texts):
            out.writestr(NAME.format(i) + ".txt", array.tobytes())


def write_arrays(file: BinaryIO, arrays: Arrays, compressed: bool) -> None:
    """As `np.savez` does it; said with zipfile, so that a set needn't fit into memory."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as out:
        for i, array in enumerate(arrays):
            with out.open(NAME.format(i) + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)


def write_many(file: BinaryIO, members: int) -> None:
    """A huge count of tiny members, byte for byte as `np.savez_compressed` lays them out.

    zipfile takes two minutes for a million. Here 256 different arrays are deflated once and every
    member is one of them: opening an archive reads no data, so their variety doesn't matter.
    """
    payloads = []
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (28,), }"
    for i in range(256):
        plain = header.ljust(127) + b"\n" + bytes((i * k) & 255 for k in range(28))
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(plain) + packer.flush()
        payloads.append((zlib.crc32(plain), packed, len(plain)))
    stamp = (0, 46 << 9 | 1 << 5 | 1)  # midnight of the first of January 2026
    local = struct.Struct("<4s5H3L2H")
    central = struct.Struct("<4s4B4H3L5H2L")
    directory, offset = bytearray(), 0
    for i in range(members):
        name = (NAME.format(i) + ".npy").encode()
        crc, packed, size = payloads[i & 255]
        directory += central.pack(
            *(b"PK\x01\x02", 45, 3, 45, 0, 0, 8, *stamp, crc, len(packed), size),
            *(len(name), 0, 0, 0, 0, 0o600 << 16, offset),
        )
        directory += name
        sizes = struct.pack("<2H2Q", 1, 16, size, len(packed))  # NumPy forces zip64 local headers
        record = local.pack(
            *(b"PK\x03\x04", 45, 0, 8, *stamp, crc, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(sizes))
        )
        file.write(record + name + sizes + packed)
        offset += len(record) + len(name) + len(sizes) + len(packed)
    file.write(directory)
    extent = (members, members, len(directory), offset)
    if members > 0xFFFF:
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *extent))
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + len(directory), 1))
    short = min(members, 0xFFFF)
    file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, *extent[2:], 0))


class Set(NamedTuple):
    """How one set is written: its seed, its count of members, what to call."""

    seed: int
    members: int
    arrays: Callable[[np.random.Generator, int], Arrays] | None = None  # none: tiny ones, many
    compressed: bool = True
    plain: bool = False  # text files, not arrays
    unequal: bool = False  # members of different lengths
    suite: bool = False  # of `python -m bench` alone, not of the speed table


SETS = {
    "bitmaps": Set(1, 2_000, bitmaps),
    "small": Set(2, 20_000, small),
    "float16k": Set(3, 2_000, lambda rng, n: floats(rng, n, 4096)),
    "stored256k": Set(4, 400, lambda rng, n: floats(rng, n, 65_536), compressed=False),
    "img3k": Set(5, 5_000, img3k),
    "img96k": Set(6, 500, img96k),
    "tokens": Set(7, 10_000, tokens),
    "text": Set(8, 1_000, text),
    "big32m": Set(9, 1, lambda rng, n: floats(rng, n, 8 << 20)),
    "tiny": Set(10, 16),
    "text1k": Set(11, 100_000, lambda rng, n: slices(rng, n, 1024), plain=True),
    "text1k20k": Set(12, 20_000, lambda rng, n: slices(rng, n, 1024), plain=True),
    "text100k": Set(13, 1_500, lambda rng, n: slices(rng, n, 102_400), plain=True),
    "sentences": Set(14, 5_000, sentences, unequal=True),
    "frames": Set(15, 1_000, frames, unequal=True),
    "stored32m": Set(16, 1, lambda rng, n: floats(rng, n, 8 << 20), compressed=False, suite=True),
    "text10k": Set(17, 2_000, lambda rng, n: slices(rng, n, 10_240), plain=True, suite=True),
    **{
        f"grow{kib}k": Set(20, max(128, 16_384 // kib), partial(slices, size=kib << 10), suite=True)
        for kib in (1, 4, 16, 64, 256, 1024)
    },
    "check": Set(30, 70, lambda rng, n: noise(rng, n, 300), suite=True),
    "check1": Set(31, 1, lambda rng, n: noise(rng, n, 90_000), suite=True),
    "check-text": Set(32, 40, lambda rng, n: noise(rng, n, 500), plain=True, suite=True),
    "check-unequal": Set(33, 40, lambda rng, n: sentences(rng, n), unequal=True, suite=True),
    "open1k": Set(10, 1_000, suite=True),
    "open60k": Set(10, 60_000, suite=True),
    "open250k": Set(10, 250_000),
    "open1m": Set(10, 1_000_000),
}
TABLE = {name: s for name, s in SETS.items() if not s.suite}  # the speed table's
UNEQUAL = [name for name, s in TABLE.items() if s.unequal]
FETCHED = [n for n, s in TABLE.items() if s.arrays and s.members > 1 and not (s.plain or s.unequal)]
NAME_BYTES = len(NAME.format(0) + ".npy")  # of each member of every set


def path(name: str) -> str:
    """The archive of this set, built now if this is the first time that it's asked for."""
    wanted = folder() / f"{name}.npz"
    if not wanted.exists():
        build = SETS[name]
        handle, temporary = tempfile.mkstemp(dir=wanted.parent, prefix=f".{name}-")
        try:
            with open(handle, "wb") as file:
                if build.arrays is None:
                    write_many(file, build.members)
                else:
                    drawn = build.arrays(np.random.default_rng(build.seed), build.members)
                    if build.plain:
                        write_texts(file, drawn)
                    else:
                        write_arrays(file, drawn, build.compressed)
            os.replace(temporary, wanted)
        except BaseException:
            os.unlink(temporary)
            raise
    return str(wanted)


def main() -> None:
    print(f"in {folder()}")
    for name in sys.argv[1:] or SETS:
        with zipfile.ZipFile(path(name)) as archive:
            infos = archive.infolist()
        plain, packed = (
            sum(i.file_size for i in infos),
            sum(i.compress_size for i in infos),
        )
        print(
            f"{name:11} {len(infos):9,} members of {plain // len(infos):10,} bytes, "
            f"ratio {plain / packed:5.2f}, {plain / 1e6:6.1f} MB"
        )


if __name__ == "__main__":
    main()
