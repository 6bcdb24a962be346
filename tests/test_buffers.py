"""Memory that a caller lends: references are never overwritten, nor is the archive itself."""

from __future__ import annotations

import ctypes
import gc
import io
import mmap
import zipfile

import numpy as np
import pytest

import fastzip
from fastzip._zip.buffers import refuse_references

SIZE = 4096


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("n", ctypes.c_char), ("o", ctypes.py_object)]


class Held(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int), ("o", ctypes.py_object)]


class Derived(Held):
    _fields_ = [("more", ctypes.c_int)]


class Pointing(ctypes.Structure):
    _fields_ = [("p", ctypes.POINTER(ctypes.c_int) * 2)]


class Either(ctypes.Union):
    _fields_ = [("n", ctypes.c_int), ("s", ctypes.c_char_p)]


class Numbers(ctypes.Structure):
    _fields_ = [("Zoe&Xaver", ctypes.c_double), ("P", ctypes.c_uint8 * 3)]


def objects(n=SIZE):
    return np.array([object() for _ in range(n)])


def nested_objects():
    inner = np.dtype([("a", "u1"), ("o", object, (2,))])
    return np.array([((1, [[], []]), 2.0)] * SIZE, np.dtype([("inner", inner), ("x", "f8")]))


def texts():
    return np.array(["a text that is too long to be kept inside"] * SIZE, np.dtypes.StringDType())


REFERENCES = {
    "objects": objects,
    "no dimensions": lambda: np.array(object()),
    "a slice of objects": lambda: objects()[10:],
    "nested fields": nested_objects,
    "a view as bytes": lambda: memoryview(objects()).cast("B"),
    "an array of such a view": lambda: np.frombuffer(memoryview(objects()).cast("B"), np.uint8),
    "a view of objects": lambda: memoryview(objects()),
    "ctypes objects": lambda: (ctypes.py_object * SIZE)(*[object()] * SIZE),
    "a view of ctypes objects": lambda: memoryview((ctypes.py_object * 9)(*[[]] * 9)).cast("B"),
    "a structure": lambda: (Held * SIZE)(),
    "a derived structure": lambda: (Derived * SIZE)(),
    "a packed structure": lambda: (Packed * SIZE)(),
    "a union": lambda: (Either * SIZE)(),
    "pointers": lambda: (Pointing * SIZE)(),
    "functions": lambda: (ctypes.CFUNCTYPE(None) * SIZE)(),
    "texts by address": lambda: (ctypes.c_char_p * SIZE)(),
    "wide texts by address": lambda: (ctypes.c_wchar_p * SIZE)(),
    "addresses": lambda: (ctypes.c_void_p * SIZE)(),
}
if hasattr(np.dtypes, "StringDType"):
    REFERENCES["texts of any length"] = texts


@pytest.fixture
def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a", bytes(range(64)))
        written.writestr("empty", b"")
        with written.open("large.npy", "w") as member:
            np.save(member, np.zeros(9 << 20, "u1"))
    return fastzip.ZipFile(file)


@pytest.fixture(params=REFERENCES)
def references(request):
    return REFERENCES[request.param]


def contents(out):
    try:
        return bytes(memoryview(out))
    except (ValueError, NotImplementedError):  # texts are in no buffer
        return repr(out)


def test_reading_into_references(archive, references):
    out = references()
    before = contents(out)
    for name in ("a", "empty", "large.npy"):
        with pytest.raises(TypeError, match="references to objects, or addresses"):
            archive.read_into(name, out)
        with archive.open(name) as member:
            for read in (member.readinto, member.readinto1, member.raw.readinto):
                with pytest.raises(TypeError, match="references to objects, or addresses"):
                    read(out)
            assert member.tell() == 0
    assert contents(out) == before
    del out
    gc.collect()


def test_pieces_into_references(archive, monkeypatch, references):
    monkeypatch.setattr(fastzip._zip.stream, "WHOLE", 10)
    with archive.open("a") as member, pytest.raises(TypeError, match="references"):
        member.raw.readinto(references())


def test_the_archive_s_own_file_into_references(tmp_path, references):
    np.savez(tmp_path / "a.npz", x=np.arange(9))
    with fastzip.load(tmp_path / "a.npz") as npz:
        for read in (npz.fid.readinto, npz.fid.readinto1, npz.fid.raw.readinto):
            with pytest.raises(TypeError, match="references"):
                read(references())
        assert npz.fid.readinto(bytearray(9)) == npz.fid.readinto1(bytearray(9)) == 9


@pytest.mark.parametrize("file", [True, False])
def test_batches_into_references(tmp_path, references, file):
    np.savez(tmp_path / "a.npz", **{f"k{i}": np.arange(8) for i in range(4)})
    npz = fastzip.load(tmp_path / "a.npz" if file else (tmp_path / "a.npz").read_bytes())
    out = references()
    before = contents(out)
    for call in (npz.fetch, npz.fetch_ragged, npz.fetch_padded):
        for keys in ([0, 1], []):
            with pytest.raises(TypeError, match="references to objects, or addresses"):
                call(keys, out=out)
    assert contents(out) == before


def test_what_looks_like_references():
    """Names of fields, complex numbers, numbers beside objects."""
    for out in (
        (Numbers * 3)(),
        np.zeros(3, [("O:P", "f8"), ("&X", "c16")]),
        np.zeros(3, "c8"),
        np.zeros(3, "U5"),
        np.zeros(3, "M8[s]"),
        nested_objects()["x"],
        nested_objects()["inner"]["a"],
        (ctypes.c_uint8 * 3)(),
        ctypes.c_double(),
        memoryview(np.zeros(3, "c16")),
    ):
        refuse_references(out)


def test_numbers_beside_objects():
    npz = fastzip.load(
        written(lambda file: np.savez(file, **{f"k{i}": np.eye(9) * i for i in range(5)}))
    )
    records = np.zeros(5, [("image", "f8", (9, 9)), ("note", object)])
    records["note"] = [[] for _ in range(5)]
    npz.fetch(slice(None), out=records["image"])
    assert np.array_equal(records["image"], npz.fetch(slice(None)))
    assert records["note"].tolist() == [[]] * 5


def written(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def test_read_into_still_reads(archive):
    for out in (
        bytearray(64),
        np.zeros((8, 8), "u1"),
        np.zeros(4, "c16"),
        (ctypes.c_uint8 * 64)(),
        (Numbers * 8)(),
        memoryview(bytearray(64)),
        mmap.mmap(-1, 64),
    ):
        assert archive.read_into("a", out) == 64
        assert bytes(memoryview(out).cast("B")[:64]) == bytes(range(64))
    assert archive.read_into("empty", np.empty((0, 3), "u1")) == 0
    with pytest.raises(TypeError, match="read-only"):
        archive.read_into("a", bytes(64))


# ---- the archive's own memory ------------------------------------------------------------------

N, LENGTH = 6, 512


def plain(compress=False):
    save = np.savez_compressed if compress else np.savez
    arrays = {f"k{i}": np.full(LENGTH, i, "u1") for i in range(N)}
    return written(lambda file: save(file, **arrays))


def memories(tmp_path):
    data = plain()
    yield "bytearray", bytearray(data), None
    yield "array", np.frombuffer(bytearray(data), np.uint8), None
    yield "view", memoryview(bytearray(data)), None
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    yield "mmap", mapped, None
    (tmp_path / "m.npz").write_bytes(data)
    yield "memmap", np.memmap(tmp_path / "m.npz", np.uint8, "r+"), None
    yield "memmap, private", np.memmap(tmp_path / "m.npz", np.uint8, "c"), None


def own_memory(memory, start, shape):
    """A part of the archive's memory, and an array whose end reaches into it."""
    flat = np.frombuffer(memory, np.uint8)
    return flat[start : start + int(np.prod(shape))].reshape(shape)


def test_out_in_the_archive(tmp_path):
    for name, memory, _ in memories(tmp_path):
        before = bytes(memory)
        npz = fastzip.load(memory)
        expected = npz.fetch([0, 1])
        for start in (0, 100, len(before) - 2 * LENGTH):
            out = own_memory(memory, start, (2, LENGTH))
            for call in (npz.fetch, npz.fetch_padded):
                with pytest.raises(ValueError, match="shares memory with the archive <memory"):
                    call([0, 1], out=out)
            with pytest.raises(ValueError, match="shares memory"):
                npz.fetch([0, 1], out=out[::-1])
            with pytest.raises(ValueError, match="shares memory"):
                npz.fetch_ragged([0, 1], out=out.reshape(-1))
            with pytest.raises(ValueError, match="shares memory"):
                npz.fetch([0, 1], out=memoryview(out))
        assert bytes(memory) == before, name
        assert np.array_equal(npz.fetch([0, 1], out=np.empty((2, LENGTH), "u1")), expected)


def test_out_in_one_byte_of_the_archive():
    data = plain()
    room = bytearray(2 * LENGTH + len(data) + 2 * LENGTH)
    room[2 * LENGTH : 2 * LENGTH + len(data)] = data
    whole = np.frombuffer(room, np.uint8)
    npz = fastzip.load(memoryview(room)[2 * LENGTH : 2 * LENGTH + len(data)])
    end = 2 * LENGTH + len(data)
    for start in (1, end - 1):
        with pytest.raises(ValueError, match="shares memory"):
            npz.fetch([1, 2], out=whole[start : start + 2 * LENGTH].reshape(2, LENGTH))
    for start in (0, end):  # beside it, in the same buffer
        out = whole[start : start + 2 * LENGTH].reshape(2, LENGTH)
        assert npz.fetch([1, 2], out=out)[:, 0].tolist() == [1, 2]
    assert bytes(room[2 * LENGTH : end]) == data


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_out_in_the_archive_around(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as outer:
        outer.writestr("inner.npz", plain())
        outer.writestr("room", np.random.default_rng(0).bytes(2 * LENGTH))
    memory = bytearray(file.getvalue())
    inner = fastzip.load(memory).nested("inner.npz")
    out = np.frombuffer(memory, np.uint8)[-2 * LENGTH :].reshape(2, LENGTH)
    if method == zipfile.ZIP_STORED:
        with pytest.raises(ValueError, match="shares memory"):
            inner.fetch([0, 1], out=out)
        assert bytes(memory) == file.getvalue()
    else:  # it was inflated into memory of its own
        assert inner.fetch([0, 1], out=np.empty((2, LENGTH), "u1")).shape == (2, LENGTH)


def test_raw_reads_into_the_archive():
    memory = bytearray(plain())
    before = bytes(memory)
    npz = fastzip.load(memory)
    raw = npz.zip.fp.raw
    raw.seek(0)
    with pytest.raises(ValueError, match="shares memory"):
        raw.readinto(memoryview(memory)[10:99])
    assert bytes(memory) == before
    assert raw.readinto(bytearray(10)) == 10
    assert raw.readinto(bytearray()) == 0


def test_out_is_mapped_from_the_archive_s_file(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(plain())
    before = path.read_bytes()
    (tmp_path / "link.npz").hardlink_to(path)
    archive = fastzip.ZipFile(path)
    for name in ("a.npz", "link.npz"):
        mapped = np.memmap(tmp_path / name, np.uint8, "r+")
        for out in (mapped, np.asarray(mapped)):
            view = out[: 2 * LENGTH].reshape(2, LENGTH)
            with pytest.raises(ValueError, match=r"mapped from the archive's own file, .*a\.npz"):
                fastzip.load(path).fetch([0, 1], out=view)
    with pytest.raises(ValueError, match="mapped from"):
        archive.read_into("k0.npy", np.memmap(path, np.uint8, "r+"))
    assert path.read_bytes() == before
    private = np.memmap(path, np.uint8, "c")[: 2 * LENGTH].reshape(2, LENGTH)
    assert fastzip.load(path).fetch([3, 4], out=private)[:, 0].tolist() == [3, 4]
    other = np.memmap(tmp_path / "other", np.uint8, "w+", shape=(2, LENGTH))
    assert fastzip.load(path).fetch([3, 4], out=other)[:, 0].tolist() == [3, 4]
    (tmp_path / "other").unlink()
    assert fastzip.load(path).fetch([4, 5], out=other)[:, 0].tolist() == [4, 5]
    assert path.read_bytes() == before
