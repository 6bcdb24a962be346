"""The bare engine of `bare.c` from Python: the mark that `fetch` is held against.

engine = Bare(path, "libdeflate")
batch = engine.prepare(positions)  # not timed: where the members are is looked up beforehand
engine.run(batch)                  # timed: one pass, into a buffer that stays warm
engine.member(batch, 0)            # the bytes of the first one, header included
"""

import ctypes
import functools
import importlib
import os
import struct
import subprocess
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ENGINES = {"zlib-ng": "zlib_ng.zlib_ng", "libdeflate": "deflate._deflate"}  # whose file exports it
INTERLEAVED = "interleaved"  # which is no bare engine: see `kernel.py`
FIELDS = ("offset", "csize", "size", "crc", "method", "at")
MEMBER = np.dtype([(name, np.uint64) for name in FIELDS])


def usual() -> str:
    """The single-stream engine that fastzip has beside its kernel, where it may choose."""
    return "libdeflate" if available("libdeflate") else "zlib-ng"


def available(engine: str) -> bool:
    """Whether the wheel that carries this engine is installed."""
    try:
        importlib.import_module(ENGINES[engine])
    except ImportError:
        return False
    return True


@functools.cache
def library() -> ctypes.CDLL:
    """`bare.c`, compiled for this machine. Anew in every process: it takes a fifth of a second,
    and a cached one might come from another machine."""
    source = Path(__file__).with_name("bare.c")
    with tempfile.TemporaryDirectory() as where:
        shared = os.path.join(where, "bare.so")
        flags = ["-std=gnu11", "-O3", "-march=native", "-Wall", "-shared", "-fPIC", "-pthread"]
        compiler = os.environ.get("CC", "gcc").split()
        subprocess.run([*compiler, *flags, str(source), "-o", shared, "-ldl"], check=True)
        loaded = ctypes.CDLL(shared)
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    loaded.bare_new.argtypes = [ctypes.c_char_p, number, number, number, size, size]
    loaded.bare_new.restype = pointer
    loaded.bare_run.argtypes = [pointer, pointer, size, pointer]
    loaded.bare_run.restype = size
    loaded.bare_free.argtypes = [pointer]
    loaded.bare_free.restype = None
    return loaded


@functools.cache
def table(path: str) -> NDArray[np.void]:
    """Every member of the archive by its row in the directory, as `bare.c` wants it."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    rows = np.zeros(len(infos), MEMBER)
    with open(path, "rb") as file:
        for i, info in enumerate(infos):
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            data = info.header_offset + 30 + name + extra
            rows[i] = (data, info.compress_size, info.file_size, info.CRC, info.compress_type, 0)
    return rows


def release(new: int, fd: int) -> None:
    library().bare_free(new)
    os.close(fd)


class Batch(NamedTuple):
    """What one run takes: rows for `bare.c`, and where they are."""

    rows: NDArray[np.void]
    address: int


class Bare:
    """One archive, one engine, so many threads; the buffer grows in `prepare` and stays.

    `room`: bytes that the engine may read and write beyond a member's ends; 0 for the plain mark.
    """

    def __init__(self, path: str, engine: str, threads: int = 1, room: int = 0) -> None:
        shared = importlib.import_module(ENGINES[engine]).__file__
        assert shared is not None
        self.all, self.room = table(path), room
        self.out = np.zeros(0, np.uint8)
        fd = os.open(path, os.O_RDONLY)
        self.handle = library().bare_new(
            shared.encode(),
            engine == "libdeflate",
            fd,
            threads,
            int(self.all["csize"].max()),
            room,
        )
        if not self.handle:
            os.close(fd)
            raise RuntimeError(f"{shared} doesn't export {engine}")
        self.call = library().bare_run
        self.close = weakref.finalize(self, release, self.handle, fd)

    def prepare(self, positions: NDArray[np.intp]) -> Batch:
        """Choose what a run takes: members by position, in this order, back to back."""
        rows = self.all[positions]
        ends = np.cumsum(rows["size"] + np.uint64(self.room), dtype=np.uint64)
        rows["at"][1:] = ends[:-1]
        if len(self.out) < ends[-1]:
            self.out = np.ones(int(ends[-1]), np.uint8)  # ones: every page is touched
            self.out_address = self.out.ctypes.data
        return Batch(rows, rows.ctypes.data)

    def run(self, batch: Batch) -> None:
        """One pass over what was chosen."""
        failed = self.call(self.handle, batch.address, len(batch.rows), self.out_address)
        if failed:
            raise RuntimeError(f"the bare engine can't read member {failed - 1} of the batch")

    def member(self, batch: Batch, i: int) -> bytes:
        """The batch's i-th member, if that batch was run last."""
        start, size = int(batch.rows["at"][i]), int(batch.rows["size"][i])
        return self.out[start : start + size].tobytes()
