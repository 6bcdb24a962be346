"""File objects that are read into memory as a whole: up to a limit, which is looked at first."""

from __future__ import annotations

import bz2
import gzip
import inspect
import io
import lzma
import os
import tempfile
import zipfile

import numpy as np
import pytest

import fastzip


class Own:
    """A seekable file object that counts what is read of it."""

    def __init__(self, data: bytes, size: int | None = None, crumbs: int | None = None) -> None:
        self._file, self._size, self._crumbs = io.BytesIO(data), size, crumbs
        self.count = 0

    def read(self, n: int = -1) -> bytes:
        if self._crumbs is not None:
            n = self._crumbs if n < 0 else min(n, self._crumbs)
        data = self._file.read(n)
        self.count += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == os.SEEK_END and self._size is not None:
            return self._size + offset
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


class Endless(Own):
    """It can't tell how much it holds, and never ends."""

    def read(self, n: int = -1) -> bytes:
        assert n >= 0, "all of it is asked for"
        front = super().read(n)
        self.count += n - len(front)
        return front + bytes(n - len(front))

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == os.SEEK_END:
            raise OSError("no end")
        return super().seek(offset, whence)


class InMemory(io.BytesIO):
    """As fsspec's file in memory: a class of its own."""


@pytest.fixture
def data(lab):
    rng = np.random.default_rng(0)
    return lab.npz(a=np.arange(4), b=rng.integers(0, 256, 9000, np.uint8))


def refused(call, file, **options):
    with pytest.raises(fastzip.LimitError) as info:
        call(file, **options)
    assert info.value.code == "max_buffered"
    text = str(info.value)
    assert "open a copy on disk by its path, or raise max_buffered" in text
    assert text.count("\n") == 0
    assert type(file).__name__ in text
    return text


def test_the_limit_is_256_mib():
    for call in (fastzip.load, fastzip.open_npz, fastzip.NpzFile):
        assert inspect.signature(call).parameters["max_buffered"].default == 256 << 20


@pytest.mark.parametrize("call", [fastzip.load, fastzip.open_npz, fastzip.NpzFile])
def test_large_ones_are_refused_before_they_are_read(data, call):
    file = Own(data, size=50_000_000_000)
    assert "50,000,000,000 bytes" in refused(call, file)
    assert file.count <= 6
    assert file.tell() == 0
    at_the_limit, above = Own(data, size=256 << 20), Own(data, size=(256 << 20) + 1)
    assert call(at_the_limit)["a"].tolist() == [0, 1, 2, 3]
    refused(call, above)


def test_the_limit_can_be_raised(data):
    n = len(data)
    for limit in (n, n + 1, 1 << 40, None, np.int64(n)):
        assert fastzip.load(Own(data), max_buffered=limit)["a"].tolist() == [0, 1, 2, 3]
    for limit in (0, 1, n - 1):
        file = Own(data)
        refused(fastzip.load, file, max_buffered=limit)
        assert (file.count <= 6, file.tell()) == (True, 0)
    for limit in (-1, "1", 1.5, True):
        with pytest.raises(ValueError, match="max_buffered must be None or an integer"):
            fastzip.load(Own(data), max_buffered=limit)


def test_without_a_size_a_byte_more_is_read(data):
    file = Endless(data)
    assert "more than that" in refused(fastzip.load, file, max_buffered=100_000)
    assert file.count <= 100_001 + 6
    assert file.tell() == 0


@pytest.mark.parametrize("crumbs", [1, 7, 4096])
def test_crumbs(data, crumbs):
    assert fastzip.load(Own(data, crumbs=crumbs))["a"].tolist() == [0, 1, 2, 3]
    npz = fastzip.load(Own(data, crumbs=crumbs), max_buffered=None)
    assert npz["a"].tolist() == [0, 1, 2, 3]
    refused(fastzip.load, Own(data, crumbs=crumbs), max_buffered=len(data) - 1)


def test_a_size_that_is_not_true(data):
    """Less is there, or more: what is read counts, and never more than the limit."""
    for size in (0, 10, len(data) - 1, len(data) + 5000):
        npz = fastzip.load(Own(data, size=size), strict=True)
        assert npz["a"].tolist() == [0, 1, 2, 3]
    file = Own(data + bytes(5_000_000), size=len(data))
    refused(fastzip.load, file, max_buffered=len(data) + 100)
    assert file.count <= len(data) + 101 + 6


@pytest.mark.parametrize("opener", [gzip, bz2, lzma])
def test_decompressors(data, tmp_path, opener):
    """They know no size but by reading all of it."""
    packed = opener.compress(data + bytes(30_000_000))
    with opener.open(io.BytesIO(opener.compress(data)), "rb") as file:
        assert fastzip.load(file)["a"].tolist() == [0, 1, 2, 3]
        assert file.tell() == 0
    with opener.open(io.BytesIO(packed), "rb") as file:
        seeks = []
        plain = file.seek
        file.seek = lambda *args: (seeks.append(args), plain(*args))[1]
        refused(fastzip.load, file, max_buffered=1_000_000)
        assert not [args for args in seeks if args[1:] == (os.SEEK_END,)]
        assert file.tell() == 0


def test_members_of_other_archives(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "o.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.npz", data)
    for kind in (zipfile.ZipFile, fastzip.ZipFile):
        with kind(tmp_path / "o.zip") as archive, archive.open("inner.npz") as file:
            assert fastzip.load(file)["a"].tolist() == [0, 1, 2, 3]
            refused(fastzip.load, file, max_buffered=100)


def test_what_is_in_memory_already(data):
    """Neither refused nor limited: their bytes are there."""
    for file in (io.BytesIO(data), InMemory(data), data, bytearray(data), memoryview(data)):
        assert fastzip.load(file, max_buffered=1)["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("rolled", [False, True])
def test_spooled(data, rolled):
    """In memory its bytes are shared; on disk it is a plain file."""
    with tempfile.SpooledTemporaryFile(max_size=1 << 20) as file:
        file.write(data)
        if rolled:
            file.rollover()
        file.seek(0)
        npz = fastzip.load(file, max_buffered=1)
        assert npz["a"].tolist() == [0, 1, 2, 3]
        assert (npz._opened.memory is None) == rolled
        file.seek(0)
        assert fastzip.ZipFile(file).index.names() == ["a.npy", "b.npy"]  # natively
        file.seek(0, os.SEEK_END)
        file.write(b"behind")  # not yet flushed, in a file
        file.seek(0)
        assert fastzip.load(file, max_buffered=1)["a"].tolist() == [0, 1, 2, 3]


def test_a_wrapper_of_a_local_file(path):
    """As fsspec's LocalFileOpener: what it wraps is read, if that is a plain file."""

    class LocalFileOpener(io.IOBase):
        def __init__(self, file):
            self.f = file
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

        def seekable(self):
            return True

        def readable(self):
            return True

    with open(path, "rb") as file:
        npz = fastzip.load(LocalFileOpener(file), max_buffered=1)
        assert npz["a"].tolist() == [0, 1, 2, 3]
        assert npz._opened.memory is None
    packed = io.BytesIO(gzip.compress(path.read_bytes()))
    with gzip.open(packed, "rb") as file:
        refused(fastzip.load, LocalFileOpener(file), max_buffered=1)
        assert fastzip.load(LocalFileOpener(file))["a"].tolist() == [0, 1, 2, 3]


def test_fsspec(path, data):
    fsspec = pytest.importorskip("fsspec", reason="fsspec isn't installed")
    with fsspec.open(str(path)) as file:
        assert fastzip.load(file, max_buffered=1)["a"].tolist() == [0, 1, 2, 3]
    memory = fsspec.filesystem("memory")
    memory.pipe("/x.npz", data)
    with memory.open("/x.npz") as file:
        assert fastzip.load(file, max_buffered=1)["a"].tolist() == [0, 1, 2, 3]
    with pytest.raises(TypeError, match=r"OpenFile; it is not open yet: pass what its open\(\)"):
        fastzip.load(fsspec.open(str(path)))


def test_npy_files_are_not_read_as_a_whole(lab):
    """NumPy reads them out of any file object; the limit is for archives."""
    file = Own(lab.npy(np.arange(1000)), size=50_000_000_000)
    assert fastzip.load(file, max_buffered=1).tolist() == list(range(1000))


def test_patched_numpy_reads_larger_ones_itself(data):
    class Lazy(Own):
        """Of an archive whose first member alone would be above the limit."""

        def seek(self, offset, whence=0):
            if whence == os.SEEK_END and offset == 0:
                self.asked += 1
                if self.asked == 1:  # by fastzip
                    return 50_000_000_000
            return super().seek(offset, whence)

    Lazy.asked = 0
    file = Lazy(data)
    with fastzip.patch_numpy(), pytest.warns(RuntimeWarning, match="this file object") as warned:
        npz = np.load(file)
    assert not isinstance(npz, fastzip.NpzFile)
    assert isinstance(npz, np.lib.npyio.NpzFile)
    assert npz["a"].tolist() == [0, 1, 2, 3]
    assert file.count < len(data) / 2  # only what was asked for
    assert warned[0].filename == __file__
    with fastzip.patch_numpy():
        assert isinstance(np.load(Own(data)), fastzip.NpzFile)


def test_zip_file_reads_only_what_is_asked_for(data):
    file = Own(data)
    with fastzip.ZipFile(file) as archive:
        assert archive.namelist() == ["a.npy", "b.npy"]
        assert len(archive.read("a.npy")) == 160
    assert file.count < len(data) / 2
