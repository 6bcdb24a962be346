"""Stored arrays mapped where they lie, and archives inside archives."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

import fastzip

VALUES = {
    "a": np.arange(5000, dtype="<f4").reshape(50, 100),
    "b": np.asfortranarray(np.arange(60).reshape(3, 4, 5)),
    "c": np.arange(7, dtype=">u2"),
    "d": np.array([(1, 2.5), (3, 4.5)], [("x", "i2"), ("y", "f8")]),
    "scalar": np.array(3.5),
}


def mapped_file(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array


@pytest.mark.parametrize("mode", ["r", "c"])
def test_mapped(lab, save, mode):
    path = save(lab.npz(False, **VALUES))
    before = path.read_bytes()
    with fastzip.load(path, mmap_mode=mode) as npz:
        assert npz.mmap_mode == mode
        views = {name: npz[name] for name in npz.files}
        again = pickle.loads(pickle.dumps(npz))
        assert isinstance(again["a"], np.memmap)
        again.close()
    for name, value in VALUES.items():  # the views outlive the archive
        assert lab.same(views[name], value)
        assert isinstance(views[name], np.memmap)
        assert views[name].flags.writeable == (mode == "c")
        assert views[name].flags.f_contiguous == value.flags.f_contiguous
    if mode == "c":
        views["a"][:] = 7
        assert (views["a"] == 7).all()
    else:
        with pytest.raises(ValueError, match="read-only"):
            views["a"][0] = 7
    assert path.read_bytes() == before


def test_mapping_takes_one_descriptor(lab, save):
    path = save(lab.npz(False, **{f"k{i}": np.full(5, i) for i in range(200)}))
    before = len(os.listdir("/proc/self/fd"))
    npz = fastzip.load(path, mmap_mode="r")
    views = [npz[key] for key in npz.files]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    npz.close()
    assert [view[0] for view in views] == list(range(200))
    del views
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("shift", range(9))
def test_mapped_at_any_byte(lab, save, shift):
    members = [
        lab.Member(b"pad", bytes(shift), method=0),
        lab.Member(b"x.npy", lab.npy(np.arange(100.0)), method=0),
    ]
    with fastzip.load(save(lab.Archive(members).build()), mmap_mode="r") as npz:
        assert npz["x"].tolist() == list(range(100))
        assert npz["x"].sum() == 4950
        assert npz["pad"] == bytes(shift)


def test_mapped_from_memory(lab):
    data = lab.npz(False, **VALUES)
    for mode in ("r", "c"):
        npz = fastzip.load(data, mmap_mode=mode)
        for name, value in VALUES.items():
            assert lab.same(npz[name], value)
            assert npz[name].flags.writeable == (mode == "c")
    npz["a"][:] = 9
    assert lab.same(fastzip.load(data)["a"], VALUES["a"])


def test_mapped_and_deflated(lab, made):
    npz = made(lab.npz(True, x=np.arange(10)), mmap_mode="r")
    with pytest.raises(ValueError, match=r"x\.npy.*can't be mapped.*numpy\.savez") as info:
        npz["x"]
    assert info.value.code == "mmap_deflated"
    npz.mmap_mode = None
    assert npz["x"].tolist() == list(range(10))
    assert npz.fetch(["x"]).shape == (1, 10)


def test_what_is_not_mapped(lab, made):
    """Empty arrays, objects, and what is no array are read as ever."""
    data = io.BytesIO()
    np.savez(data, empty=np.zeros((0, 4)), objects=np.array([None, {}]))
    npz = made(data.getvalue(), mmap_mode="r", allow_pickle=True)
    assert npz["empty"].shape == (0, 4)
    assert npz["objects"].tolist() == [None, {}]
    text = lab.Archive([lab.Member(b"text", b"some", method=0)]).build()
    assert made(text, mmap_mode="r")["text"] == b"some"
    for mode in ("r+", "w+"):  # nothing is written into an archive
        npz = made(lab.npz(True, x=np.arange(3)), mmap_mode=mode)
        assert npz["x"].tolist() == [0, 1, 2]


def test_mapped_lies(lab, made):
    """The header, and where the data lie, are checked as ever; the CRC can't be."""
    good = lab.npy(np.arange(50))
    cases = {
        "lfh_name": lab.Member(b"x.npy", good, 0, local={"name": b"y.npy"}),
        "lfh_sizes": lab.Member(b"x.npy", good, 0, local={"crc": 5}),
        "stored_size": lab.Member(b"x.npy", good, 0, size=99),
        "npy_data": lab.Member(b"x.npy", good[:-1], 0),
        "overlap": lab.Member(b"x.npy", good, 0, local={"extra_length": 600}),
    }
    for code, member in cases.items():
        npz = made(lab.Archive([member, lab.Member(b"z", b"1")]).build(), mmap_mode="r")
        with pytest.raises(ValueError if code == "npy_data" else fastzip.BadZipFile) as info:
            npz["x"]
        assert info.value.code == code
    npz = made(lab.Archive([lab.Member(b"x.npy", good, 0, crc=5)]).build(), mmap_mode="r")
    assert npz["x"].tolist() == list(range(50))
    npz.mmap_mode = None
    with pytest.raises(fastzip.CRCError):
        npz["x"]


@pytest.mark.parametrize("mode", ["r", "c"])
def test_mapping_a_file_that_was_cut(lab, save, mode):
    path = save(lab.npz(False, a=np.arange(5000), b=np.arange(5000)))
    with fastzip.load(path, mmap_mode=mode) as npz:
        os.truncate(path, 50_000)
        with pytest.raises(fastzip.BadZipFile) as info:
            npz["b"]
        assert info.value.code == "short_read"
        assert info.value.stale


def test_patched_load_does_not_map(lab, save):
    """np.load ignores mmap_mode for archives, and programs rely on that."""
    path = save(lab.npz(True, x=np.arange(3)))
    with fastzip.patch_numpy(), np.load(path, mmap_mode="r") as npz:
        assert npz["x"].flags.writeable


# ------------------------------------------------------------------------------------------- nested


def outer(lab, inner, method, prefix=b""):
    return lab.Archive(
        [
            lab.Member(b"first.npy", lab.npy(np.arange(3))),
            lab.Member(b"in/inner.npz", inner, method),
            lab.Member(b"last", b"text"),
        ],
        prefix=prefix,
    ).build()


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("compressed", [False, True])
def test_nested(lab, made, method, compressed):
    data = lab.npz(compressed, **VALUES)
    npz = made(outer(lab, data, method))
    assert npz["in/inner.npz"] == data
    inner = npz.nested("in/inner.npz")
    assert isinstance(inner, fastzip.NpzFile)
    assert "in/inner.npz" in repr(inner)
    again = pickle.loads(pickle.dumps(inner))
    npz.close()
    for archive in (inner, again):
        assert archive.files == list(VALUES)
        for name, value in VALUES.items():
            assert lab.same(archive[name], value)
        assert np.array_equal(archive.fetch(["a", "a"]), np.stack([VALUES["a"]] * 2))
        assert archive.zip.namelist() == [f"{name}.npy" for name in VALUES]
        assert archive.spec("a").shape == (50, 100)
        archive.close()


def test_nested_is_read_through_the_outer_file(lab, save):
    """Without a copy: what is written to the outer file shows."""
    data = lab.npz(False, x=np.arange(4000))
    path = save(outer(lab, data, 0))
    with fastzip.load(path) as npz, npz.nested("in/inner.npz") as inner:
        assert inner["x"].tolist() == list(range(4000))
        with path.open("r+b") as file:
            file.seek(path.read_bytes().index(data) + 5000)
            file.write(b"damage")
        with pytest.raises(fastzip.CRCError) as info:
            inner["x"]
        assert info.value.path == f"{path}: in/inner.npz"
        assert info.value.member == "x.npy"


def test_nested_and_mapped(lab, save):
    data = lab.npz(False, **VALUES)
    with fastzip.load(save(outer(lab, data, 0)), mmap_mode="r") as npz:
        with npz.nested("in/inner.npz") as inner:
            view = inner["a"]
        assert isinstance(view, np.memmap)
        assert lab.same(view, VALUES["a"])
    npz = fastzip.load(outer(lab, data, 0), mmap_mode="r")
    assert lab.same(npz.nested("in/inner.npz")["a"], VALUES["a"])


@pytest.mark.parametrize("methods", [(0, 0, 0), (0, 8, 0), (8, 0, 0), (8, 8, 8)])
def test_several_levels(lab, made, methods):
    data = lab.npz(True, x=np.arange(40))
    for method in methods:
        data = outer(lab, data, method, prefix=b"")
    npz = made(data)
    for _ in methods:
        npz = npz.nested("in/inner.npz")
    assert npz["x"].tolist() == list(range(40))
    again = pickle.loads(pickle.dumps(npz))
    assert again["x"].tolist() == list(range(40))


def test_nested_keeps_options_and_limits(lab, made):
    data = lab.npz(True, x=np.arange(1000), o=np.array([None]))
    npz = made(outer(lab, data, 8), allow_pickle=True, threads=3, max_member_size=5000)
    inner = npz.nested("in/inner.npz")
    assert (inner.allow_pickle, inner.threads) == (True, 3)
    assert inner["o"].tolist() == [None]
    with pytest.raises(fastzip.LimitError):
        inner["x"]
    with pytest.raises(fastzip.LimitError, match="max_size") as info:
        npz.nested("in/inner.npz", max_size=100)
    assert info.value.member == "in/inner.npz"
    with pytest.raises(fastzip.LimitError):
        made(outer(lab, data, 8), max_member_size=100).nested("in/inner.npz")


def test_nested_that_is_none(lab, made):
    npz = made(outer(lab, lab.npz(x=np.arange(3)), 0))
    with pytest.raises(KeyError, match="nope is not a file in the archive"):
        npz.nested("nope")
    with pytest.raises(fastzip.BadZipFile) as info:
        npz.nested("last")
    assert info.value.code == "too_short"
    damaged = lab.Member(b"inner.npz", lab.npz(x=np.arange(3)), 8, crc=1)
    with pytest.raises(fastzip.CRCError):
        made(lab.Archive([damaged]).build()).nested("inner.npz")
    npz.close()
    with pytest.raises(ValueError, match="closed"):
        npz.nested("in/inner.npz")


def test_nested_holds_one_descriptor_each(lab, save):
    path = save(outer(lab, lab.npz(x=np.arange(3)), 0))
    before = len(os.listdir("/proc/self/fd"))
    with fastzip.load(path) as npz:
        inner = [npz.nested("in/inner.npz") for _ in range(5)]
        assert len(os.listdir("/proc/self/fd")) == before + 6
        for archive in inner:
            archive.close()
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_zip_of_npz_as_people_make_it(lab, tmp_path):
    path = tmp_path / "outer.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i in range(3):
            file.writestr(f"shard-{i}.npz", lab.npz(x=np.full(4, i)))
    with fastzip.load(path) as npz:
        assert [npz.nested(key)["x"].tolist() for key in npz] == [[i] * 4 for i in range(3)]
