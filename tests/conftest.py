"""Helpers for all tests, as fixtures: a byte-level archive builder, readers, a leak check."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import os
import struct
import time
import types
import zlib
from typing import Any

import numpy as np
import pytest

import fastzip
from fastzip import _core
from fastzip._npy.arrays import ArrayReader
from fastzip._zip import sources as _sources

U16, U32 = 0xFFFF, 0xFFFFFFFF


def deflate(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data) + packer.flush()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(compressed: bool = True, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def raw_npy(header: str | bytes, payload: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with exactly this header, however wrong."""
    text = header if isinstance(header, bytes) else header.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + payload


def header_text(descr: Any, shape: Any, fortran: bool = False) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"


def zip64_extra(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


@dataclasses.dataclass
class Member:
    """One member; what is None is told truly, and `local` and `central` override any field."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    body: bytes | None = None
    """The compressed bytes."""
    size: int | None = None
    compressed_size: int | None = None
    crc: int | None = None
    descriptor: str | bytes | None = None
    """One of 32, 64, sig32, sig64, or the bytes; sets the flag and zeroes the local fields."""
    behind: bytes = b""
    local: dict[str, Any] = dataclasses.field(default_factory=dict)
    central: dict[str, Any] = dataclasses.field(default_factory=dict)

    def packed(self) -> bytes:
        if self.body is not None:
            return self.body
        return deflate(self.data) if self.method == 8 else self.data

    def fields(self) -> dict[str, Any]:
        packed = self.packed()
        return {
            "name": self.name,
            "method": self.method,
            "flags": self.flags | (8 if self.descriptor is not None else 0),
            "version": 20,
            "size": len(self.data) if self.size is None else self.size,
            "compressed_size": (
                len(packed) if self.compressed_size is None else self.compressed_size
            ),
            "crc": zlib.crc32(self.data) if self.crc is None else self.crc,
            "extra": b"",
            "time": 0x6C20,
            "date": 0x5B75,
        }

    def local_bytes(self) -> bytes:
        true = self.fields()
        f = true | {"magic": b"PK\3\4"}
        if self.descriptor is not None:
            f |= {"size": 0, "compressed_size": 0, "crc": 0}
        f |= self.local
        head = f["magic"] + struct.pack(
            "<5H3I2H",
            *(f[k] for k in ("version", "flags", "method", "time", "date")),
            *(f[k] for k in ("crc", "compressed_size", "size")),
            f.get("name_length", len(f["name"])),
            f.get("extra_length", len(f["extra"])),
        )
        return head + f["name"] + f["extra"] + self.packed() + self._behind(true) + self.behind

    def _behind(self, f: dict[str, Any]) -> bytes:
        if self.descriptor is None or isinstance(self.descriptor, bytes):
            return self.descriptor or b""
        sizes = "<IQQ" if self.descriptor.endswith("64") else "<III"
        words = struct.pack(sizes, f["crc"], f["compressed_size"], f["size"])
        return (b"PK\7\x08" if self.descriptor.startswith("sig") else b"") + words

    def central_bytes(self, offset: int) -> bytes:
        f = self.fields() | {"magic": b"PK\1\2", "comment": b"", "disk": 0, "offset": offset}
        f |= self.central
        head = f["magic"] + struct.pack(
            "<6H3I5H2I",
            20,
            *(f[k] for k in ("version", "flags", "method", "time", "date")),
            *(f[k] for k in ("crc", "compressed_size", "size")),
            f.get("name_length", len(f["name"])),
            f.get("extra_length", len(f["extra"])),
            f.get("comment_length", len(f["comment"])),
            f["disk"],
            0,
            0,
            f["offset"],
        )
        return head + f["name"] + f["extra"] + f["comment"]


@dataclasses.dataclass
class Archive:
    """An archive; `end`, `record` (zip64) and `locator` override the fields of the end records."""

    members: list[Member]
    prefix: bytes = b""
    counted: bool = True
    """Do the offsets count the prefix?"""
    directory_tail: bytes = b""
    behind_directory: bytes = b""
    comment: bytes = b""
    trailing: bytes = b""
    order: list[int] | None = None
    """The order of the directory, if it isn't that of the members; one may stand there twice."""
    zip64: bool = False
    end: dict[str, Any] = dataclasses.field(default_factory=dict)
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    locator: dict[str, Any] = dataclasses.field(default_factory=dict)

    def build(self) -> bytes:
        out = bytearray(self.prefix)
        base = 0 if self.counted else len(self.prefix)
        offsets = []
        for member in self.members:
            offsets.append(len(out) - base)
            out += member.local_bytes()
        start = len(out) - base
        for i in self.order or range(len(self.members)):
            out += self.members[i].central_bytes(offsets[i])
        out += self.directory_tail
        size = len(out) - base - start
        out += self.behind_directory
        n = len(self.order or self.members)
        true = {"count": n, "count_here": n, "size": size, "offset": start}
        e = true | {"disk": 0, "directory_disk": 0, "magic": b"PK\5\6"}
        if self.zip64:
            r = e | {"magic": b"PK\6\6", "record_size": 44, "version": 45, "sector": b""}
            r |= self.record
            at = len(out) - base
            out += r["magic"] + struct.pack("<QHH", r["record_size"], 45, r["version"])
            out += struct.pack(
                "<II4Q",
                *(r[k] for k in ("disk", "directory_disk")),
                *(r[k] for k in ("count_here", "count", "size", "offset")),
            )
            out += r["sector"]
            where = {"magic": b"PK\6\7", "disk": 0, "offset": at, "disks": 1} | self.locator
            out += where["magic"] + struct.pack(
                "<IQI", where["disk"], where["offset"], where["disks"]
            )
            e |= {"count": U16, "count_here": U16, "size": U32, "offset": U32}
        e |= self.end
        out += e["magic"] + struct.pack(
            "<4H2IH",
            *(e[k] for k in ("disk", "directory_disk", "count_here", "count", "size", "offset")),
            e.get("comment_length", len(self.comment)),
        )
        return bytes(out + self.comment + self.trailing)


def many(n: int, count: int | None = None, zip64: bool = False) -> bytes:
    """An archive of n stored members "00000000", … that hold their number; quick at any n."""
    count = n % 65536 if count is None else count
    local = np.zeros(n, [("m", "S4"), ("v", "<u2", 5), ("s", "<u4", 3), ("l", "<u2", 2),
                         ("name", "S8"), ("data", "<u4")])  # fmt: skip
    assert local.dtype.itemsize == 42
    central = np.zeros(n, [("m", "S4"), ("v", "<u2", 6), ("s", "<u4", 3), ("l", "<u2", 5),
                           ("e", "<u4"), ("offset", "<u4"), ("name", "S8")])  # fmt: skip
    assert central.dtype.itemsize == 54
    numbers = np.arange(n, dtype="<u4")
    local["m"], central["m"] = b"PK\3\4", b"PK\1\2"
    local["name"] = central["name"] = np.char.zfill(numbers.astype("S8"), 8)
    local["data"] = numbers
    crcs = [zlib.crc32(i.to_bytes(4, "little")) for i in range(n)]
    local["s"][:, 0] = central["s"][:, 0] = crcs
    local["s"][:, 1:] = central["s"][:, 1:] = 4
    local["l"][:, 0] = central["l"][:, 0] = 8
    central["offset"] = np.arange(n) * 42
    size, offset = central.nbytes, local.nbytes
    tail = b""
    if zip64:
        tail = b"PK\6\6" + struct.pack("<QHHII4Q", 44, 45, 45, 0, 0, n, n, size, offset)
        tail += b"PK\6\7" + struct.pack("<IQI", 0, offset + size, 1)
        count = U16
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, count, count, size, offset, 0)
    return local.tobytes() + central.tobytes() + tail + end


def same(a: Any, b: Any) -> bool:
    """Equal dtype, shape and bits; padding between fields doesn't count."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.names is not None:
        return all(same(a[name], b[name]) for name in a.dtype.names)
    return a.tobytes() == b.tobytes()


def sparse(shape: Any, seed: int, dtype: str = "u1") -> Any:
    """Data that compress well but not to nothing."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return (rng.integers(0, 256, n, np.uint8) * (rng.random(n) < 0.1)).view(dtype).reshape(shape)


def mixed(arrays: dict[str, Any]) -> bytes:
    """Every third member stored, the others deflated."""
    members = [
        Member(name.encode() + b".npy", npy(array), method=8 if i % 3 else 0)
        for i, (name, array) in enumerate(arrays.items())
    ]
    return Archive(members).build()


@pytest.fixture(scope="session")
def lab() -> types.SimpleNamespace:
    """The functions and classes of this file."""
    return types.SimpleNamespace(
        Archive=Archive,
        Member=Member,
        deflate=deflate,
        header_text=header_text,
        many=many,
        mixed=mixed,
        npy=npy,
        npz=npz,
        raw_npy=raw_npy,
        same=same,
        sparse=sparse,
        zip64_extra=zip64_extra,
        memory_reader=lambda data: ArrayReader(_sources.open_memory(data)),
    )


@pytest.fixture(params=["file", "memory"])
def read(request: Any, tmp_path: Any) -> Any:
    """read(data) -> ArrayReader, out of a file and out of memory; closed afterwards."""
    opened = []

    def open_reader(data: bytes) -> ArrayReader:
        if request.param == "memory":
            source = _sources.open_memory(data)
        else:
            path = tmp_path / f"archive-{len(opened)}.zip"
            path.write_bytes(data)
            source = _sources.open_path(path)
        opened.append(source)
        return ArrayReader(source)

    yield open_reader
    for source in opened:
        source.source.close()


@pytest.fixture
def save(tmp_path: Any) -> Any:
    """save(data) -> path of a new file that holds them."""
    saved = []

    def write(data: bytes) -> Any:
        path = tmp_path / f"saved-{len(saved)}.npz"
        path.write_bytes(data)
        saved.append(path)
        return path

    return write


@pytest.fixture(params=["file", "memory"])
def made(request: Any, save: Any) -> Any:
    """made(data) -> NpzFile, out of a file or out of memory; closed afterwards."""
    with contextlib.ExitStack() as stack:

        def make(data: bytes, **options: Any) -> Any:
            source = save(data) if request.param == "file" else data
            return stack.enter_context(fastzip.load(source, **options))

        yield make


@pytest.fixture
def simple() -> Any:
    """Eight small members, and the batch of all of them."""
    arrays = {f"k{i}": np.arange(6, dtype="<i4").reshape(2, 3) + 10 * i for i in range(8)}
    return fastzip.load(npz(**arrays)), np.stack(list(arrays.values()))


@pytest.fixture
def heavy(save: Any) -> Any:
    """Members that are worth several threads."""
    arrays = {f"k{i}": sparse(60_000, i) for i in range(24)}
    with fastzip.load(save(mixed(arrays))) as archive:
        yield archive, np.stack(list(arrays.values()))


@pytest.fixture(params=["zlib-ng", "libdeflate", "interleaved"])
def engine(request: Any) -> Any:
    """Runs a test with each engine that is usable."""
    info, lanes = fastzip.engines(), _core.lanes_from()
    if request.param == "libdeflate" and not info["libdeflate"]["available"]:
        pytest.skip("no usable libdeflate")
    if request.param != "libdeflate" and not info["zlib_ng"]["available"]:
        pytest.skip("no usable zlib-ng")
    level = os.environ.get("FASTZIP_CPU") or None
    _core.use_engine(request.param == "libdeflate")
    _core.use_lanes(request.param == "interleaved", level)
    yield request.param
    _core.use_engine(info["crc32"] == "libdeflate")
    _core.use_lanes(lanes, level)


@pytest.fixture
def path(lab: Any, save: Any) -> Any:
    """A file of two arrays."""
    return save(lab.npz(a=np.arange(4), b=np.ones((2, 3))))


@pytest.fixture
def check() -> Any:
    """Is this the archive of `path`, open? Closes it."""

    def check(npz: Any) -> None:
        assert isinstance(npz, fastzip.NpzFile)
        assert isinstance(npz, np.lib.npyio.NpzFile)
        assert npz.files == ["a", "b"]
        assert npz["a"].tolist() == [0, 1, 2, 3]
        assert npz["b"].shape == (2, 3)
        assert npz.fetch(["a", "a"])[1].tolist() == [0, 1, 2, 3]
        npz.close()

    return check


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the listing's own
    return found


@pytest.fixture(autouse=True)
def no_leaks(tmp_path_factory: Any) -> Any:
    """No test leaves a descriptor of one of its files behind, once threads have left their work."""
    before = _descriptors()
    yield
    own = str(tmp_path_factory.getbasetemp())
    until = time.monotonic() + 10
    while set(now := _descriptors()) - set(before):
        gc.collect()
        fastzip.trim()  # which lets go of work that the last thread has left
        left = {fd: to for fd, to in now.items() if fd not in before and to.startswith(own)}
        if not left:
            return
        assert time.monotonic() < until, left
        time.sleep(0.01)


@pytest.fixture(scope="session")
def faultlab() -> Any:
    """The module faultlab.py beside this file."""
    import faultlab  # this file is loaded without the tests, too, by the fuzzer

    return faultlab


@pytest.fixture(scope="session")
def injector(faultlab: Any, tmp_path_factory: Any) -> Any:
    """The compiled faultio.c, for `in_child`."""
    library = faultlab.build(tmp_path_factory.mktemp("faultio"))
    if library is None:
        pytest.skip("no C compiler to build the fault injector with")
    return library


@pytest.fixture
def aftermath(faultlab: Any, tmp_path: Any) -> Any:
    """When the test is over, the process must be as it was; see faultlab.py."""
    with faultlab.aftermath(tmp_path):
        yield


@pytest.fixture
def material(faultlab: Any, tmp_path: Any) -> Any:
    """An archive on disk with every way to read it; see faultlab.py."""
    return faultlab.Material(tmp_path / "material.npz")
