"""The inflate engines: which is bound, what is said of it, and that they agree with zlib."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

import fastzip
from fastzip import _core

HIDE = """
import ctypes, sys, warnings
real = ctypes.CDLL
def CDLL(name, *rest, **more):
    if name and ("z-ng" in str(name) or "zlib_ng" in str(name)) and {hide_ng}:
        raise OSError("hidden")
    return real(name, *rest, **more)
ctypes.CDLL = CDLL
if {hide_ng}:
    sys.modules["zlib_ng.zlib_ng"] = None
if {hide_deflate}:
    sys.modules["deflate"] = None
"""

linked = pytest.mark.skipif(
    _core.linked_zlib_ng() is not None, reason="zlib-ng is linked in and can't be hidden"
)
with_libdeflate = pytest.mark.skipif(
    not fastzip.engines()["libdeflate"]["available"] and "FASTZIP_ENGINE" not in os.environ,
    reason="libdeflate isn't installed",
)


def run(code: str, engine: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "FASTZIP_ENGINE"}
    if engine is not None:
        env["FASTZIP_ENGINE"] = engine
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )


USE = """
import io, numpy as np, fastzip
file = io.BytesIO()
np.savez_compressed(file, **{f"k{i}": np.arange(i, i + 500) for i in range(9)})
file.seek(0)
npz = fastzip.load(file)
assert npz["k3"][4] == 7
assert npz.spec("k1").shape == (500,)
assert npz.fetch(range(9))[:, 1].tolist() == list(range(1, 10))
assert npz.fetch([f"k{i}" for i in range(9)], threads=3)[:, 1].tolist() == list(range(1, 10))
e = fastzip.engines()
print(e["inflate"], e["crc32"], e["forced"], e["zlib_ng"]["available"],
      e["libdeflate"]["available"])
"""


def test_engines_says_what_is_in_use():
    e = fastzip.engines()
    assert set(e) == {
        *("inflate", "batches", "crc32", "forced"),
        *("zlib_ng", "libdeflate", "interleaved"),
    }
    assert e["inflate"] in ("zlib-ng", "libdeflate", "interleaved")
    assert e["batches"] in ("zlib-ng", "libdeflate", "interleaved")
    assert (e["batches"] == "interleaved") is e["interleaved"]["available"]
    assert e["crc32"] in ("zlib-ng", "libdeflate")
    for name in ("zlib_ng", "libdeflate", "interleaved"):
        assert set(e[name]) == {"available", "version", "source"}
        assert e[name]["source"]
    assert e["zlib_ng"]["available"] is (e["zlib_ng"]["version"] is not None)
    assert e["libdeflate"]["version"] is None  # it doesn't tell
    assert e["libdeflate" if e["crc32"] == "libdeflate" else "zlib_ng"]["available"]


def test_engines_returns_copies():
    fastzip.engines()["zlib_ng"]["version"] = "changed"
    fastzip.engines()["inflate"] = "changed"
    assert "changed" not in str(fastzip.engines())


@with_libdeflate
@pytest.mark.parametrize("engine", [None, "", "zlib-ng", "libdeflate"])
def test_forced_engine(engine):
    done = run(USE, engine)
    assert done.stderr == ""
    inflate, crc, forced, zlib_ng, libdeflate = done.stdout.split()
    assert inflate == (engine or "libdeflate")
    assert forced == str(engine or None)
    assert zlib_ng == "True"
    assert libdeflate == str(engine != "zlib-ng")
    assert crc in ("zlib-ng", "libdeflate")


def test_the_interleaved_engine_s_old_name():
    """FASTZIP_ENGINE=batch still works; everybody who sets it is told once."""
    done = run(USE, "batch")
    assert done.stdout.split()[0] == done.stdout.split()[2] == "interleaved"
    assert done.stderr.count("FutureWarning: FASTZIP_ENGINE=batch is deprecated") == 1
    assert run(USE, "interleaved").stderr == ""


def test_unknown_engine():
    done = run("import fastzip", "isal")
    assert done.returncode == 1
    assert (
        "ImportError: FASTZIP_ENGINE is 'isal'; it may be zlib-ng, libdeflate or interleaved"
        in done.stderr
    )


@linked
@with_libdeflate
def test_without_zlib_ng():
    hide = HIDE.format(hide_ng=True, hide_deflate=False)
    done = run(hide + USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libdeflate", "libdeflate", "None", "False", "True"]
    assert done.stderr.count("RuntimeWarning") == 1
    assert "no usable zlib-ng" in done.stderr
    assert "uses libdeflate alone" in done.stderr


@linked
def test_without_any_engine():
    done = run(HIDE.format(hide_ng=True, hide_deflate=True) + "import fastzip")
    assert done.returncode == 1
    assert "ImportError: fastzip needs zlib-ng: " in done.stderr
    assert "pip install" in done.stderr.splitlines()[-1]


@linked
def test_forced_engine_that_is_missing():
    done = run(HIDE.format(hide_ng=True, hide_deflate=False) + "import fastzip", "zlib-ng")
    assert done.returncode == 1
    assert "ImportError: FASTZIP_ENGINE is zlib-ng, but: " in done.stderr
    done = run(HIDE.format(hide_ng=False, hide_deflate=True) + "import fastzip", "libdeflate")
    assert done.returncode == 1
    assert "ImportError: FASTZIP_ENGINE is libdeflate, but: " in done.stderr
    assert "pip install 'deflate>=0.8'" in done.stderr


def test_without_libdeflate():
    done = run(HIDE.format(hide_ng=False, hide_deflate=True) + USE + "print(e['batches'])\n")
    assert done.stderr == ""
    single, *others, many = done.stdout.split()
    assert single == many
    assert others == ["zlib-ng", "None", "True", "False"]


ALONE = """
import ctypes, io, zipfile, zlib
import fastzip
from fastzip import _core

def function(value, result, *arguments):
    def give(*_):
        return value.pop(0) if len(value) > 1 else value[0]
    made.append(ctypes.CFUNCTYPE(result, *arguments)(give))
    return ctypes.cast(made[-1], ctypes.c_void_p).value

made = []
pointer, number = ctypes.c_void_p, ctypes.c_int
fails = function([0, -4], number, pointer, number, pointer, number)  # but for when it is bound
ends, crc = function([0], number, pointer), function([0], ctypes.c_uint32, pointer)
assert _core.bind_zlib_ng(fails, ends, ends, ends, crc)
_core.bind_libdeflate(
    function([1], pointer), function([None], None, pointer),
    function([1], number, *[pointer] * 7), crc
)

def inflates(libdeflate, lanes, data):
    _core.use_engine(libdeflate)
    _core.use_lanes(lanes, LEVEL)
    return _core.inflate(zlib.compress(data, wbits=-15), len(data)) == data

def reads_many(libdeflate, lanes, size):
    _core.use_engine(libdeflate)
    _core.use_lanes(lanes, LEVEL)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(8):
            archive.writestr(str(i), bytes(range(256)) * 2 + bytes(size))
    with fastzip.ZipFile(file, verify=False) as archive:
        try:
            found = archive.read_many(archive.namelist(), threads=1)
        except MemoryError:
            return False
        assert all(bytes(data) == bytes(range(256)) * 2 + bytes(size) for data in found)
        return True
"""


@pytest.mark.parametrize("level", ["avx512", "avx2", "portable"])
def test_what_the_kernel_does(level):
    """Where the other engines do nothing, what was inflated is the kernel's."""
    if _core.use_lanes(_core.lanes_from(), level) is None:
        pytest.skip(f"this CPU lacks {level}")
    _core.use_lanes(_core.lanes_from(), os.environ.get("FASTZIP_CPU") or None)
    code = f"LEVEL = {level!r}\n{ALONE}" + textwrap.dedent(
        """
        text, tiny = bytes(range(256)) * 4, bytes(range(200))
        assert [inflates(False, lanes, text) for lanes in (0, 1, 4)] == [False, True, True]
        assert [inflates(False, lanes, tiny) for lanes in (0, 1, 4)] == [False, True, False]
        assert [inflates(True, lanes, text) for lanes in (0, 1, 4)] == [False, True, False]
        for size in (100, 50_000):
            assert [reads_many(False, lanes, size) for lanes in (0, 4)] == [False, True]
        assert [reads_many(True, lanes, 100) for lanes in (0, 4)] == [False, True]
        assert reads_many(True, 4, 50_000) is (LEVEL == "avx512")  # long matches
        """
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


@linked
@with_libdeflate
def test_damaged_members_without_zlib_ng():
    """libdeflate alone can't always say what is wrong, but nothing damaged is accepted."""
    code = HIDE.format(hide_ng=True, hide_deflate=False) + (
        "warnings.simplefilter('ignore')\n"
        "import zlib\n"
        "from fastzip import _core\n"
        "text = bytes(range(256)) * 9\n"
        "packer = zlib.compressobj(6, zlib.DEFLATED, -15)\n"
        "stream = packer.compress(text) + packer.flush()\n"
        "assert _core.inflate(stream, len(text)) == text\n"
        "for bad, n in ((stream[:-1], len(text)), (stream + b'0', len(text)),\n"
        "               (stream, len(text) - 1), (stream, len(text) + 1)):\n"
        "    print(_core.STATUS_CODES[_core.inflate(bad, n)])\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4


# ----------------------------------------------------------------------------- against zlib

STRATEGIES = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "huffman": zlib.Z_HUFFMAN_ONLY,
    "rle": zlib.Z_RLE,
    "fixed": zlib.Z_FIXED,
}


def contents():
    rng = np.random.default_rng(11)
    yield b""
    yield b"a"
    yield bytes(70_000)
    yield rng.bytes(5000)
    yield b"the quick brown fox " * 400
    yield np.cumsum(rng.integers(-3, 4, 20_000)).astype("<i4").tobytes()
    yield rng.integers(0, 2, 40_000, np.uint8).tobytes()
    yield bytes(range(256)) * 300


def code_of(result):
    return _core.STATUS_CODES[result] if isinstance(result, int) else "ok"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("level", range(10))
def test_all_levels_and_strategies(lab, engine, level, strategy):
    for data in contents():
        stream = lab.deflate(data, level, STRATEGIES[strategy])
        assert _core.inflate(stream, len(data)) == data
        assert code_of(_core.inflate(stream + b"\0", len(data))) == "trailing_data"
        assert code_of(_core.inflate(stream, len(data) + 1)) == "too_short_stream"
        assert code_of(_core.inflate(stream[:-1], len(data))) == "truncated_stream"
        if data:
            assert code_of(_core.inflate(stream, len(data) - 1)) == "too_long"
            assert code_of(_core.inflate(stream, 0)) == "too_long"


@pytest.mark.parametrize("n", range(0, 600, 7))
def test_every_small_size(lab, engine, n):
    data = np.random.default_rng(n).integers(0, 3, n, np.uint8).tobytes()
    assert _core.inflate(lab.deflate(data), n) == data
    assert _core.inflate(lab.deflate(data, 0), n) == data


def test_flushed_streams(engine):
    """Empty stored blocks in between, as flushes leave them."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    parts = [b"one" * 99, b"", b"two", bytes(70_000), b"three"]
    modes = [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK, zlib.Z_PARTIAL_FLUSH] * 2
    stream = b"".join(
        packer.compress(part) + packer.flush(mode) for part, mode in zip(parts, modes, strict=False)
    )
    stream += packer.flush()
    assert _core.inflate(stream, len(b"".join(parts))) == b"".join(parts)


LAX = "zlib refuses the unused length codes 286 and 287, libdeflate takes them"


def verdict(stream: bytes, n: int) -> bytes | str | None:
    """The n bytes that are exactly this stream, by zlib; None if they aren't; or LAX."""
    unpacker = zlib.decompressobj(-15)
    try:
        data = unpacker.decompress(stream, n + 1)
        if not unpacker.eof and len(data) == n:
            data += unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as exc:
        return LAX if "invalid literal/length code" in str(exc) else None
    if not unpacker.eof or unpacker.unused_data or len(data) != n:
        return None
    return data


@pytest.mark.parametrize("seed", range(8))
def test_damaged_streams_against_zlib(lab, engine, seed):
    rng = np.random.default_rng(seed)
    seeds = [data[:300] for data in contents()] + [b"abcabcabd" * 30]
    accepted = refused = 0
    for _ in range(1500):
        data = seeds[rng.integers(len(seeds))]
        strategy = list(STRATEGIES.values())[rng.integers(5)]
        stream = bytearray(lab.deflate(data, int(rng.integers(10)), strategy))
        for _ in range(rng.integers(1, 4)):
            stream[rng.integers(len(stream))] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.2:
            del stream[rng.integers(len(stream)) :]
        n = len(data) + int(rng.integers(-1, 2)) if rng.random() < 0.2 else len(data)
        n = max(n, 0)
        expected = verdict(bytes(stream), n)
        got = _core.inflate(bytes(stream), n)
        if expected is LAX and engine == "libdeflate":
            continue
        if expected is None or expected is LAX:
            assert isinstance(got, int), bytes(stream)
            refused += 1
        else:
            assert got == expected, bytes(stream)
            accepted += 1
    assert accepted > 20
    assert refused > 500


def bits(*fields: tuple[int, int]) -> bytes:
    """Numbers of so many bits, lowest bit first."""
    out = at = 0
    for value, width in fields:
        out |= value << at
        at += width
    return out.to_bytes((at + 7) // 8, "little")


@pytest.mark.parametrize(
    "stream",
    [
        bits((1, 1), (2, 2), (31, 5), (0, 5), (0, 4), *[(0, 3)] * 4) + bytes(40),
        bits((1, 1), (2, 2), (0, 5), (31, 5), (0, 4), *[(0, 3)] * 4) + bytes(40),
        bits((1, 1), (3, 2)) + bytes(40),
        bits((1, 1), (2, 2), (0, 5), (0, 5), (15, 4), *[(7, 3)] * 19) + bytes(80),
        bits((1, 1), (2, 2), (0, 5), (0, 5), (15, 4), *[(1, 3)] * 19) + bytes(80),
        bits((1, 1), (1, 2)) + b"\xff" * 40,
        b"",
    ],
    ids=["hlit", "hdist", "type", "incomplete", "oversubscribed", "symbols", "nothing"],
)
def test_malformed_blocks(engine, stream):
    for n in (0, 1, 100):
        assert verdict(stream, n) in (None, LAX)
        assert isinstance(_core.inflate(stream, n), int)


def test_crc32(engine):
    rng = np.random.default_rng(3)
    data = rng.bytes(5000)
    for n in (0, 1, 2, 3, 7, 8, 15, 16, 31, 63, 64, 65, 255, 1000, 4096, 5000):
        for start in range(3):
            assert _core.crc32(data[start : start + n]) == zlib.crc32(data[start : start + n])


@with_libdeflate
def test_a_broken_libdeflate_is_not_used():
    """It must prove itself without zlib-ng's help, and leaves nothing bound behind."""
    done = run(
        textwrap.dedent(
            """
        import ctypes, sys, zlib
        import fastzip
        from fastzip import _core; from fastzip._zip import binding as _engines

        kinds = [ctypes.CFUNCTYPE(ctypes.c_void_p), ctypes.CFUNCTYPE(None, ctypes.c_void_p),
                 ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 7),
                 ctypes.CFUNCTYPE(ctypes.c_uint32, *[ctypes.c_void_p] * 3)]
        fakes = [kinds[0](lambda: 1), kinds[1](lambda p: None), kinds[2](lambda *a: 1),
                 kinds[3](lambda *a: 7)]
        _engines._addresses = lambda *a: [ctypes.cast(f, ctypes.c_void_p).value for f in fakes]
        info = _engines._bind_libdeflate()
        assert not info["available"] and "proof" in info["source"], info
        assert _core.crc32(b"abc") == zlib.crc32(b"abc")
        assert _core.inflate(zlib.compress(b"abc", wbits=-15), 3) == b"abc"
        """
        )
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("n", [(4 << 20) + 1, (6 << 20) - 1, 6 << 20, (6 << 20) + 1, 11_000_001])
def test_long_streams_in_steps(lab, engine, n, level):
    """zlib-ng is asked for 4 MiB at a time, in and out; where a step ends makes no difference."""
    piece = np.random.default_rng(n).integers(0, 250, 1 << 20, np.uint8).tobytes()
    data = (piece * 11)[:n]
    stream = lab.deflate(data, level)
    codes = _core.STATUS_CODES
    assert _core.inflate(stream, n) == data
    assert codes[_core.inflate(stream, n - 1)] == "too_long"
    assert codes[_core.inflate(stream, n + 1)] == "too_short_stream"
    assert codes[_core.inflate(stream[:-1], n)] == "truncated_stream"
    assert codes[_core.inflate(stream + b"x", n)] == "trailing_data"


def test_a_long_stream_of_nothing(lab, engine):
    """50 MB of empty stored blocks in front of three bytes: slow, but no lie."""
    stream = b"\0\0\0\xff\xff" * 10_000_000 + lab.deflate(b"end")
    assert _core.inflate(stream, 3) == b"end"
    assert _core.STATUS_CODES[_core.inflate(stream, 2)] == "too_long"


@pytest.mark.parametrize(("stream", "size"), [(b"K\4B\0", 1), (b"\3B\0", 0)])
def test_an_invalid_distance_behind_the_last_byte(engine, stream, size):
    """zlib-ng looks at a distance only when there is room for what it would copy."""
    assert _core.STATUS_CODES[_core.inflate(stream, size)] == "deflate"
