"""numpy.load through fastzip, and what callers of numpy.load rely on."""

from __future__ import annotations

import inspect
import io
import pickle

import numpy as np
import pytest

import fastzip
from fastzip._dropin import loading as _load

NUMPYS = _load.numpy_load


@pytest.fixture(autouse=True)
def unpatched():
    assert np.load is NUMPYS
    yield
    while np.load is not NUMPYS:
        fastzip.unpatch_numpy()


def test_patched_as_a_context(lab, path):
    with fastzip.patch_numpy():
        with np.load(path) as npz:
            assert type(npz) is fastzip.NpzFile
            assert npz["a"].tolist() == [0, 1, 2, 3]
        assert np.load(io.BytesIO(lab.npy(np.arange(3)))).tolist() == [0, 1, 2]
    with np.load(path) as npz:
        assert type(npz) is not fastzip.NpzFile


def test_patches_nest(path):
    fastzip.patch_numpy()
    with fastzip.patch_numpy():
        fastzip.patch_numpy()
        fastzip.unpatch_numpy()
        assert np.load is not NUMPYS
    assert np.load is not NUMPYS
    with np.load(path) as npz:
        assert isinstance(npz, fastzip.NpzFile)
    fastzip.unpatch_numpy()
    assert np.load is NUMPYS
    fastzip.unpatch_numpy()
    assert np.load is NUMPYS


def test_context_is_left_by_an_exception():
    with pytest.raises(ZeroDivisionError), fastzip.patch_numpy():
        raise ZeroDivisionError
    assert np.load is NUMPYS


def test_somebody_elses_patch_stays(monkeypatch):
    def theirs(*args, **kwargs):
        return NUMPYS(*args, **kwargs)

    fastzip.patch_numpy()
    monkeypatch.setattr(np, "load", theirs)
    fastzip.unpatch_numpy()
    assert np.load is theirs
    monkeypatch.undo()
    np.load = NUMPYS


def test_looks_like_numpys():
    with fastzip.patch_numpy():
        assert np.load.__name__ == "load"
        assert inspect.signature(np.load) == inspect.signature(NUMPYS)
        assert np.load.__doc__ == NUMPYS.__doc__
    ours = list(inspect.signature(fastzip.load).parameters.values())
    theirs = list(inspect.signature(NUMPYS).parameters.values())
    for a, b in zip(ours, theirs, strict=False):
        assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) - 1 :])


def test_scipy_reads_through_it(tmp_path, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(200, 300, 0.05, "csr", rng=np.random.default_rng(3))
    sparse.save_npz(tmp_path / "m.npz", matrix)
    opened = []

    class Watched(fastzip.NpzFile):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            opened.append(self)

    monkeypatch.setattr(_load, "NpzFile", Watched)
    with fastzip.patch_numpy():
        again = sparse.load_npz(tmp_path / "m.npz")
    assert (again != matrix).nnz == 0
    assert len(opened) == 1


def test_an_object_with_read_and_seek_is_enough(lab):
    """NumPy asks no more of a file."""

    class Reader:
        def __init__(self, data):
            self._file = io.BytesIO(data)

        def read(self, n):
            return self._file.read(n)

        def seek(self, offset, whence=0):
            return self._file.seek(offset, whence)

    values = np.arange(500)
    assert lab.same(fastzip.load(Reader(lab.npy(values))), values)
    file = Reader(lab.npy(values) * 2)
    for _ in range(2):
        assert lab.same(fastzip.load(file), values)
    with pytest.raises(EOFError):
        fastzip.load(file)
    with pytest.raises(ValueError, match="Header info length"):
        fastzip.load(Reader(lab.raw_npy(" " * 20_000)))
    with pytest.raises(ValueError, match=r"Failed to read all data|cannot reshape|EOF"):
        fastzip.load(Reader(lab.npy(values)[:-8]))


def test_the_zipfile_is_closed_with_the_archive(path):
    npz = fastzip.load(path)
    file = npz.zip.fp
    npz.close()
    assert file.closed
    assert npz.zip is None
    npz.close()


def test_pickles_are_numpys(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with fastzip.patch_numpy():
        assert np.load(path, allow_pickle=True) == {"a": 1}
        with pytest.raises(ValueError, match="pickled"):
            np.load(path)
