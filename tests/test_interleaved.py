"""The interleaved engine: every loop over all kinds of streams; zlib's verdict on damaged ones."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import pathlib
import platform
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

import numpy as np
import pytest

import fastzip
from fastzip import _core

LOOPS = {"chosen": -1, "literals": 0, "pairs": 1, "mixed_2": 2, "mixed_1": 3, "mixed": 4, "long": 5}
STRATEGIES = [
    zlib.Z_DEFAULT_STRATEGY,
    zlib.Z_FILTERED,
    zlib.Z_HUFFMAN_ONLY,
    zlib.Z_RLE,
    zlib.Z_FIXED,
]


LEVELS = ["avx512", "avx2", "portable"]  # the best first


@pytest.fixture(params=LEVELS, autouse=True)
def level(request):
    """Runs each test with the code for each level of CPU that this one has."""
    lanes = _core.lanes_from()
    if _core.use_lanes(lanes, request.param) is None:
        pytest.skip(f"this CPU lacks {request.param}")
    yield request.param
    _core.use_lanes(lanes, os.environ.get("FASTZIP_CPU") or None)


@pytest.fixture(params=LOOPS)
def loop(request):
    return LOOPS[request.param]


def make_data() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    steps = rng.integers(-3, 4, 9000)
    mask = np.zeros((90, 300), np.uint8)
    mask[20:60, 40:200] = 7
    mask[50:80, 150:290] = 3
    return {
        "nothing": b"",
        "one": b"x",
        "float32": rng.standard_normal(4096, np.float32).tobytes(),
        "float16": np.maximum(rng.standard_normal(8192), 0).astype(np.float16).tobytes(),
        "int16": np.cumsum(steps).astype("<i2").tobytes(),
        "pixels": (np.cumsum(steps) & 255).astype(np.uint8).tobytes(),
        "tokens": rng.zipf(1.3, 1024).clip(0, 50_000).astype(np.uint16).tobytes(),
        "text": " ".join(rng.choice(["the", "kernel", "of", "a", "zip"], 5000)).encode(),
        "few": rng.integers(0, 3, 20_000, np.uint8).tobytes(),
        "mask": mask.tobytes(),
        "zeros": bytes(200_000),
        "periods": b"".join((bytes(range(d)) * 400)[:700] for d in range(1, 70)),
        "noise": rng.bytes(70_000),
        "far": rng.bytes(32_768) * 2,
    }


DATA = make_data()


def raw(data: bytes, level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY, memory: int = 9) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    return packer.compress(data) + packer.flush()


def module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} isn't installed")


def zlib_streams(data):
    yield from (raw(data, level, s) for level in (1, 6, 9) for s in STRATEGIES)
    yield from (raw(data, level, memory=1) for level in range(10))


def zlib_ng_streams(data):
    ng = module("zlib_ng.zlib_ng")
    for level in range(10):
        packer = ng.compressobj(level, 8, -15)
        yield packer.compress(data) + packer.flush()


def libdeflate_streams(data):
    deflate = module("deflate")
    yield from (bytes(deflate.deflate_compress(data, level)) for level in range(1, 13))


def isal_streams(data):
    isal = module("isal.isal_zlib")
    for level in range(4):
        packer = isal.compressobj(level, 8, -15)
        yield packer.compress(data) + packer.flush()


def zopfli_streams(data):
    yield module("zopfli.zopfli").compress(data, numiterations=2)[2:-4]


def seven_zip_streams(data):
    program = shutil.which("7z")
    if program is None:
        pytest.skip("7z isn't installed")
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "plain").write_bytes(data)
        for level in ("1", "5", "9"):
            made = pathlib.Path(folder, f"{level}.zip")
            command = [program, "a", "-tzip", "-mm=deflate", f"-mx{level}", made, "plain"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with zipfile.ZipFile(made) as archive:
                info = archive.getinfo("plain")
            content = made.read_bytes()
            start = (
                info.header_offset
                + 30
                + sum(struct.unpack_from("<HH", content, info.header_offset + 26))
            )
            if info.compress_type == zipfile.ZIP_DEFLATED:
                yield content[start : start + info.compress_size]


COMPRESSORS = [
    *(zlib_streams, zlib_ng_streams, libdeflate_streams),
    *(isal_streams, zopfli_streams, seven_zip_streams),
]


@functools.cache
def streams_of(compressor):
    """Streams by this compressor of all data, shuffled, and what they stand for."""
    # zopfli takes its time, and tries all the more the longer the runs are
    most = 20_000 if compressor is zopfli_streams else None
    pairs = [(s, d[:most]) for d in DATA.values() for s in compressor(d[:most])]
    random.Random(3).shuffle(pairs)
    return pairs


def together(streams, sizes, loop=-1):
    """With room behind the ends and without, the results are the same."""
    exact = _core.inflate_together(streams, sizes, loop)
    assert _core.inflate_together(streams, sizes, loop, 512) == exact
    return exact


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_loop_on_all_compressors(loop, compressor):
    pairs = streams_of(compressor)
    for some in (pairs, pairs[:7], pairs[7:9], pairs[9:10]):
        streams, plain = map(list, zip(*some, strict=True))
        assert together(streams, [len(p) for p in plain], loop) == plain


@pytest.mark.parametrize("name", DATA)
def test_alone_and_in_equal_company(loop, name):
    data = DATA[name]
    for n in (1, 2, 3, 4, 5, 9):
        assert together([raw(data, 6)] * n, [len(data)] * n, loop) == [data] * n


# ---------------------------------------------------------------------------- hand-made streams


class Bits:
    """A deflate stream, bit by bit (RFC 1951)."""

    def __init__(self):
        self.value = self.n = 0

    def put(self, value, bits):
        self.value |= value << self.n
        self.n += bits
        return self

    def code(self, value, bits):
        """A Huffman code: most significant bit first (3.1.1)."""
        return self.put(int(f"{value:0{bits}b}"[::-1], 2) if bits else 0, bits)

    def fixed(self, symbol):
        """3.2.6"""
        for first, last, start, bits in (
            (0, 143, 0b00110000, 8),
            (144, 255, 0b110010000, 9),
            (256, 279, 0, 7),
            (280, 287, 0b11000000, 8),
        ):
            if first <= symbol <= last:
                return self.code(start + symbol - first, bits)
        raise ValueError(symbol)

    def distance(self, d):
        """A distance by the fixed code, extra bits included (3.2.5)."""
        extra = max((d - 1).bit_length() - 2, 0)
        symbol = d - 1 if d <= 4 else 2 * extra + ((d - 1) >> extra)
        return self.code(symbol, 5).put((d - 1) & ((1 << extra) - 1), extra)

    def stored(self, data, last=False):
        self.put(int(last), 1).put(0, 2).put(0, -self.n % 8)
        self.put(len(data), 16).put(len(data) ^ 0xFFFF, 16)
        return self.put(int.from_bytes(data, "little"), 8 * len(data))

    def dynamic(self, lengths, distances, last=True, precode=None):
        """A header whose code lengths are written one by one, in codes of 4 bits (3.2.7)."""
        self.put(int(last), 1).put(2, 2).put(len(lengths) - 257, 5).put(len(distances) - 1, 5)
        self.put(15, 4)
        if precode is None:
            precode = [4] * 16 + [0] * 3
        for i in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
            self.put(precode[i], 3)
        for length in itertools.chain(lengths, distances):
            self.code(length, 4)
        return self

    def bytes(self):
        return self.value.to_bytes((self.n + 7) // 8, "little")


def verdict(stream: bytes, size: int) -> bytes | None:
    """The bytes if `stream` is exactly a stream of so many, by zlib."""
    unpacker = zlib.decompressobj(-15)
    try:
        data = unpacker.decompress(stream, size + 1)
        if not unpacker.eof and len(data) == size:
            data += unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error:
        return None
    whole = unpacker.eof and not unpacker.unused_data and len(data) == size
    return data if whole else None


def same_verdict(stream: bytes, size: int, loop: int, good: bool | None = None):
    expected = verdict(stream, size)
    assert good is None or (expected is not None) is good
    assert together([stream], [size], loop) == [expected]
    company = together([stream, raw(b"else" * 99, 6), stream], [size, 396, size], loop)
    assert company == [expected, b"else" * 99, expected]


def test_the_longest_match_at_every_distance(loop):
    history = random.Random(1).randbytes(32_768)
    streams, plain = [], []
    for d in [*range(1, 300), 511, 512, 513, 4096, 16_385, 24_577, 32_767, 32_768]:
        bits = Bits().stored(history).put(1, 1).put(1, 2).fixed(285).distance(d)
        for length in (3, 4, 10):
            bits.fixed(254 + length).distance(d)
        streams.append(bits.fixed(256).bytes())
        out = bytearray(history)
        for length in (258, 3, 4, 10):
            for _ in range(length):
                out.append(out[-d])
        plain.append(bytes(out))
    assert together(streams, [len(p) for p in plain], loop) == plain
    assert plain[:9] == [verdict(s, len(p)) for s, p in zip(streams[:9], plain, strict=False)]


def test_a_distance_before_the_beginning(loop):
    for n in (1, 2, 3, 31, 33, 300):
        for d in (n, n + 1):
            bits = Bits().stored(b"z" * n).put(1, 1).put(1, 2).fixed(260).distance(d).fixed(256)
            same_verdict(bits.bytes(), n + 6, loop, d == n)


def test_empty_blocks(loop):
    bits = Bits()
    for _ in range(50):
        bits.stored(b"")
        bits.put(0, 1).put(1, 2).fixed(256)
    for end in (b"", b"end"):
        whole = Bits()
        whole.value, whole.n = bits.value, bits.n
        same_verdict(whole.stored(end, last=True).bytes(), len(end), loop, True)


def test_stored_blocks(loop):
    data = random.Random(2).randbytes(65_535)
    same_verdict(Bits().stored(data).stored(b"").stored(data[:9], True).bytes(), 65_544, loop, True)
    broken = bytearray(Bits().stored(b"abc", True).bytes())
    broken[3] ^= 1
    same_verdict(bytes(broken), 3, loop, False)


def lengths_of(**symbols):
    out = [0] * 286
    for name, length in symbols.items():
        out[int(name[1:])] = length
    return out


LONGEST = {f"s{i}": min(i + 1, 15) for i in range(15)} | {"s256": 15}


def test_codes_of_15_bits(loop):
    """One symbol for each length from 1 to 15, and the end of the block as the last one."""
    bits = Bits().dynamic(lengths_of(**LONGEST), [0])
    plain = bytes(random.Random(4).choices(range(15), k=400))
    for byte in plain:
        bits.code((1 << (byte + 1)) - 2, byte + 1)
    same_verdict(bits.code((1 << 15) - 1, 15).bytes(), 400, loop, True)


@pytest.mark.parametrize("one", range(0, 30, 7))
def test_one_distance_code(loop, one):
    """It has one bit, and a zero stands for it; a one stands for nothing (3.2.7)."""
    history = random.Random(6).randbytes(30_000)
    lengths, distances = lengths_of(s7=1, s256=2, s257=2), [0] * 30
    distances[one] = 1
    extra = max(one // 2 - 1, 0)
    for bit in (0, 1):
        bits = Bits().stored(history).dynamic(lengths, distances)
        bits.code(0, 1).code(3, 2).code(bit, 1).put(0, extra).code(2, 2)
        same_verdict(bits.bytes(), 30_004, loop, bit == 0)


def test_no_distance_code(loop):
    lengths = lengths_of(s7=1, s256=2, s257=2)
    same_verdict(Bits().dynamic(lengths, [0]).code(0, 1).code(2, 2).bytes(), 1, loop, True)
    used = Bits().dynamic(lengths, [0]).code(0, 1).code(3, 2).put(0, 9).code(2, 2)
    same_verdict(used.bytes(), 4, loop, False)


@pytest.mark.parametrize(
    ("lengths", "distances", "good"),
    [
        (lengths_of(s256=1), [0], True),
        (lengths_of(s256=2), [0], False),
        (lengths_of(s7=1), [0], False),
        (lengths_of(s7=1, s256=2), [0], False),
        (lengths_of(s7=1, s256=1), [2], False),
        (lengths_of(s7=1, s256=1), [1, 2], False),
        (lengths_of(s7=1, s256=1), [1, 1], True),
        (lengths_of(s7=1, s256=1), [1, 1, 1], False),
        (lengths_of(s7=1, s8=1, s256=1), [0], False),
        (lengths_of(s7=1, s8=1), [0], False),
    ],
)
def test_incomplete_and_overfull_codes(loop, lengths, distances, good):
    bits = Bits().dynamic(lengths, distances)
    end = bits.code(1 if lengths[7] else 0, lengths[256] or 1).bytes()
    same_verdict(end, 0, loop, good)


def test_code_lengths_of_one_code(loop):
    """The code for code lengths must be complete, even if it is one code alone."""
    precode = [0] * 19
    precode[0] = 1
    same_verdict(Bits().dynamic([0] * 257, [0], precode=precode).bytes(), 0, loop, False)


# ----------------------------------------------------------------------------- damaged streams


@pytest.mark.parametrize("seed", range(6))
def test_damaged_streams_as_zlib_judges_them(seed):
    rng = random.Random(seed)
    pieces = [d[: rng.randrange(40, 700)] for d in DATA.values()]
    seen = {True: 0, False: 0}
    for _ in range(150):
        streams, sizes, loop = [], [], rng.randrange(-1, 6)
        for _ in range(rng.randrange(1, 17)):
            data = rng.choice(pieces)
            stream = bytearray(raw(data, rng.randrange(10), rng.choice(STRATEGIES)))
            size, kind = len(data), rng.randrange(5)
            if kind < 2:
                for _ in range(rng.randrange(1, 4)):
                    stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del stream[rng.randrange(len(stream)) :]
            elif kind == 3 and rng.random() < 0.5:
                stream += rng.randbytes(rng.randrange(1, 20))
            elif kind == 3:
                size = max(size + rng.randrange(-3, 4), 0)
            streams.append(bytes(stream))
            sizes.append(size)
        expected = [verdict(*pair) for pair in zip(streams, sizes, strict=True)]
        assert together(streams, sizes, loop) == expected
        for one in expected:
            seen[one is not None] += 1
    assert min(seen.values()) > 300


def test_jobs_do_not_affect_one_another(loop):
    """A bad one in each place of the batch, the others complete."""
    data = list(DATA.values())
    streams = [raw(d, 6) for d in data]
    for at in range(len(data)):
        bad, expected = list(streams), list(data)
        bad[at], expected[at] = streams[at][: len(streams[at]) // 2], None
        assert together(bad, [len(d) for d in data], loop) == expected


# ---------------------------------------------------------------------------------- levels of CPU


@pytest.mark.parametrize("asked", ["", "avx512", "avx2", "portable"])
@pytest.mark.parametrize("engine", ["", "interleaved"])
def test_a_level_is_asked_for(level, asked, engine):
    """`engines` tells the level that is in use; one that the CPU lacks is refused."""
    if level != "portable":
        pytest.skip("once is enough")
    code = "import fastzip; e = fastzip.engines(); print(e['batches'], e['interleaved']['source'])"
    env = os.environ | {"FASTZIP_CPU": asked, "FASTZIP_ENGINE": engine}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if asked and _core.use_lanes(_core.lanes_from(), asked) is None:
        assert done.returncode == 1
        assert f"ImportError: FASTZIP_CPU is {asked}, but this CPU lacks that" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    best = next(name for name in LEVELS if _core.use_lanes(_core.lanes_from(), name))
    if engine == "interleaved" or (asked or best) != "portable":
        assert done.stdout == f"interleaved fastzip's own, level {asked or best}\n"
    else:
        assert "without AVX2 and BMI2" in done.stdout


def test_an_unknown_level(level):
    env = os.environ | {"FASTZIP_CPU": "sse2"}
    done = subprocess.run(
        [sys.executable, "-c", "import fastzip"], env=env, capture_output=True, text=True
    )
    assert "FASTZIP_CPU is 'sse2'; it may be avx512, avx2 or portable" in done.stderr


def test_no_instruction_that_some_cpus_lack_or_have_in_microcode():
    """PEXT and PDEP take up to 200 cycles on AMD family 17h; AVX-512 stands where its CPUs come."""
    program = shutil.which("objdump")
    if program is None or platform.machine() != "x86_64":
        pytest.skip("no objdump, or no x86-64")
    if _core.linked_zlib_ng() is not None:
        pytest.skip("zlib-ng is linked in")
    command = [program, "-d", "--no-show-raw-insn", _core.__file__]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "bzhi" in shown
    assert "pext " not in shown
    assert "pdep " not in shown
    functions = re.split(r"\n\n[0-9a-f]+ <", shown)
    wide = {f.partition(">")[0] for f in functions if "%zmm" in f}
    assert all(re.match("long_matches_[1-4]", name) for name in wide), wide
    assert wide


# ------------------------------------------------------------------------------------ in fetch


@pytest.fixture
def with_lanes(level):
    """The kernel for four members and more, as it is by default."""
    before = _core.lanes_from()
    _core.use_lanes(4, level)
    yield
    _core.use_lanes(before, level)


@pytest.mark.usefixtures("with_lanes")
@pytest.mark.parametrize("shape", [(30,), (900,), (96, 96), (70, 500)])
@pytest.mark.parametrize("threads", [1, 3])
def test_fetch_into_rows(lab, save, shape, threads):
    rng = np.random.default_rng(8)
    base = rng.integers(0, 5, shape, np.uint8) * (rng.random(shape) < 0.3)
    arrays = {f"k{i}": np.roll(base, i) + np.uint8(i % 3) for i in range(150)}
    with fastzip.load(save(lab.npz(**arrays))) as npz:
        for n in (4, 5, 31, 32, 33, 150):
            keys = rng.permutation(150)[:n]
            expected = np.stack([arrays[f"k{k}"] for k in keys])
            assert (npz.fetch(keys, threads=threads) == expected).all()
            out = np.full((2 * n, *shape), 77, np.uint8)
            npz.fetch(keys, out=out[::2], threads=threads)
            assert (out[::2] == expected).all()
            assert (out[1::2] == 77).all()


@pytest.mark.usefixtures("with_lanes")
def test_fetch_names_all_that_failed(lab, save):
    rng = np.random.default_rng(9)
    arrays = {f"k{i}": rng.integers(0, 3, 20_000, np.uint8) for i in range(40)}
    content = bytearray(lab.npz(**arrays))
    path = save(bytes(content))
    with fastzip.load(path) as npz:
        offsets = [int(npz.index.rows["header_offset"][i]) for i in range(40)]
    damaged = [0, 3, 4, 17, 39]
    for i in damaged:
        content[offsets[i] + 900] ^= 0x55
    with fastzip.load(save(bytes(content))) as npz:
        out = np.zeros((40, 20_000), np.uint8)
        with pytest.raises(fastzip.errors.BadZipFile) as caught:
            npz.fetch(range(40), out=out, threads=1)
        assert [key for key, _ in caught.value.failed] == [f"k{i}" for i in damaged]
        for i in set(range(40)) - set(damaged):
            assert (out[i] == arrays[f"k{i}"]).all()
