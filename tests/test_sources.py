"""What `load` opens: paths, open files, memory; and what it hands on to NumPy or refuses."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import pathlib
import pickle
import struct
import tempfile
import threading
import zipfile

import numpy as np
import pytest

import fastzip


def test_paths(path, monkeypatch, check):
    class Fs:
        def __fspath__(self):
            return str(path)

    for kind in (path, str(path), os.fsencode(path), Fs()):
        check(fastzip.load(kind))
    monkeypatch.chdir(path.parent)
    check(fastzip.load(path.name))
    check(fastzip.load(pathlib.Path(path.name)))
    check(fastzip.NpzFile(path.name))


def test_open_files(path, check):
    data = path.read_bytes()
    for options in ({}, {"buffering": 0}):
        with open(path, "rb", **options) as file:
            check(fastzip.load(file))
            assert not file.closed
            check(fastzip.load(file))
    with open(path, "r+b") as file:
        check(fastzip.load(file))
    for factory in (tempfile.TemporaryFile, tempfile.NamedTemporaryFile):
        with factory() as file:
            file.write(data)
            file.seek(0)
            check(fastzip.load(file))
    with tempfile.SpooledTemporaryFile(max_size=1 << 20) as file:
        file.write(data)
        file.seek(0)
        check(fastzip.load(file))
    check(fastzip.load(io.BytesIO(data)))


def test_what_is_not_yet_flushed(lab, tmp_path, check):
    data = lab.npz(a=np.arange(4), b=np.ones((2, 3)))
    with open(tmp_path / "w", "w+b") as file:
        file.write(data)
        file.seek(0)
        check(fastzip.load(file))


def test_file_objects_that_only_look_plain(lab, path, tmp_path, check):
    data = path.read_bytes()
    with gzip.open(tmp_path / "x.gz", "wb") as file:
        file.write(data)
    with gzip.open(tmp_path / "x.gz", "rb") as file:
        check(fastzip.load(file))

    class Own:
        """Only what a reader needs."""

        def __init__(self):
            self._file = io.BytesIO(data)
            self.read, self.seek, self.tell = (
                self._file.read,
                self._file.seek,
                self._file.tell,
            )

    check(fastzip.load(Own()))

    class Shifted(io.FileIO):
        """A plain file by its class, and yet not by what it reads."""

        def readinto(self, buffer):
            n = super().readinto(buffer)
            memoryview(buffer)[:n] = bytes(b ^ 0x55 for b in memoryview(buffer)[:n])
            return n

    other = tmp_path / "shifted"
    other.write_bytes(bytes(b ^ 0x55 for b in data))
    with io.BufferedReader(Shifted(other)) as file:
        check(fastzip.load(file))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as z:
        z.write(path, "inner.npz")
    with zipfile.ZipFile(outer) as z, z.open("inner.npz") as file:
        check(fastzip.load(file))


def test_file_object_with_an_attribute_file(path, tmp_path, check):
    """Such as an upload that keeps its raw file: what read() gives is what counts."""
    data = path.read_bytes()

    class Upload(io.BytesIO):
        pass

    other = tmp_path / "other"
    other.write_bytes(b"not this")
    upload = Upload(data)
    with open(other, "rb") as raw:
        upload.file = raw
        check(fastzip.load(upload))


def test_memory(path, check):
    data = path.read_bytes()
    for kind in (bytes, bytearray, memoryview):
        check(fastzip.load(kind(data)))
    check(fastzip.load(memoryview(bytes(9) + data)[9:]))
    check(fastzip.load(np.frombuffer(data, np.uint8)))
    spread = np.zeros((len(data), 2), np.uint8)
    spread[:, 0] = np.frombuffer(data, np.uint8)
    check(fastzip.load(spread[:, 0]))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
        check(fastzip.load(m))


def test_memory_is_kept_alive_and_given_back(lab):
    data = bytearray(lab.npz(a=np.arange(4)))
    npz = fastzip.load(data)
    with pytest.raises(BufferError):
        data.append(0)
    array = npz["a"]
    npz.close()
    data.append(0)
    data[:] = bytes(len(data))
    assert array.tolist() == [0, 1, 2, 3]


def test_position_of_a_file(lab, path):
    with open(path, "rb") as file:
        npz = fastzip.load(file)
        file.seek(50)
        assert npz["a"].tolist() == [0, 1, 2, 3]
        assert file.tell() == 50
        file.seek(0, 2)
        with pytest.raises(EOFError):
            fastzip.load(file)
    file = io.BytesIO()
    np.save(file, np.arange(3))
    np.save(file, np.arange(5))
    file.seek(0)
    assert fastzip.load(file).tolist() == [0, 1, 2]
    assert fastzip.load(file).tolist() == [0, 1, 2, 3, 4]


def test_npy_and_pickles(lab, tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    np.save(tmp_path / "x.npy", array)
    content = (tmp_path / "x.npy").read_bytes()
    for source in (tmp_path / "x.npy", str(tmp_path / "x.npy"), content, bytearray(content),
                   np.frombuffer(content, np.uint8), io.BytesIO(content)):  # fmt: skip
        assert np.array_equal(fastzip.load(source), array)
    mapped = fastzip.load(tmp_path / "x.npy", "r")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, array)
    mapped._mmap.close()
    with open(tmp_path / "p", "wb") as file:
        pickle.dump({"x": 1.0, "y": b"\0"}, file)
    with pytest.raises(ValueError, match="pickle"):
        fastzip.load(tmp_path / "p")
    assert fastzip.load(tmp_path / "p", allow_pickle=True)["x"] == 1.0
    with pytest.raises(ValueError, match="pickle"):
        fastzip.load(io.BytesIO(b"no archive at all"))


def test_nothing_there(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(EOFError):
        fastzip.load(tmp_path / "empty")
    for empty in (b"", bytearray(), io.BytesIO(), np.empty(0, np.uint8)):
        with pytest.raises(EOFError):
            fastzip.load(empty)
    with pytest.raises(FileNotFoundError) as info:
        fastzip.load(tmp_path / "missing")
    assert str(info.value.filename) == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        fastzip.load(tmp_path)
    with pytest.raises(TypeError):
        fastzip.load(None)


def test_pipes_and_devices_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    result = []

    def attempt():
        try:
            fastzip.load(tmp_path / "fifo")
        except OSError as exc:
            result.append(exc)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert result
    with pytest.raises(OSError, match="regular file"):
        fastzip.load("/dev/zero")


def test_encoding_is_checked_first(tmp_path):
    with pytest.raises(ValueError, match="encoding must be"):
        fastzip.load(tmp_path / "missing", encoding="utf-8")


def test_damaged_archives(path):
    data = path.read_bytes()
    with pytest.raises(zipfile.BadZipFile):
        fastzip.load(io.BytesIO(data[:-30]))
    with pytest.raises(zipfile.BadZipFile) as info:
        fastzip.load(io.BytesIO(data[:50]))
    assert info.value.code == "no_eocd"


def test_position_of_a_file_stays(lab, tmp_path):
    """An offset of 2**64 - 1 is, to the system, "from the file's position on"."""
    data = lab.npy(np.arange(9000))  # more than a file object reads at once
    members = [lab.Member(b"a", data, method=0), lab.Member(b"b", data, method=0)]
    extra = struct.pack("<HHQ", 1, 8, (1 << 64) - 1)
    members[0].central = {"offset": 0xFFFFFFFF, "extra": extra}
    (tmp_path / "a.zip").write_bytes(lab.Archive(members).build())
    with open(tmp_path / "a.zip", "rb") as file:
        npz = fastzip.load(file)
        for _ in range(5):
            for n in range(1, 40):  # wherever a thread's share begins
                with pytest.raises(fastzip.BadZipFile):
                    npz.fetch([1] * n + [0] * 8, threads=1)
        assert file.tell() == 0
