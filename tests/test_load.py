"""`load` and `NpzFile` against `numpy.load`: equal arrays, keys, errors and manners."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import tempfile
import threading
import warnings
import zipfile

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=150
)

# --------------------------------------------------------------------- equal to numpy.load

DTYPES = [
    *"?bBhHiIlLqQefdgFDG",
    *(order + kind for order in "<>" for kind in ("i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16")),
    *("S1", "S3", "S17", "U1", "U3", ">U2", "V1", "V5"),
    *("M8[ns]", "M8[D]", "m8[s]", "M8[25us]", ">M8[ms]", ">m8[Y]", "M8", "m8"),
    np.dtype([("a", "<f4"), ("b", ">i2", (2, 3)), ("c", [("x", "u1"), ("y", "S3")])]),
    np.dtype([("é", "f8")]),
    np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [3, 16], "itemsize": 40}),
    np.dtype([("a", "u1"), ("b", "f8"), ("c", "u1")], align=True),
    np.dtype([(("a title", "a"), "<i4"), (("b title", "b"), "<f4")]),
    np.dtype([("outer", [("inner", [("core", "<M8[s]")], (2,))], (3,))]),
]

dtypes = st.one_of(
    st.sampled_from(DTYPES).map(np.dtype),
    hnp.array_dtypes(
        hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.byte_string_dtypes(min_len=1),
        allow_subarrays=True,
    ),
)
shapes = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    st.integers(6, 24).map(lambda n: (1,) * (n - 2) + (2, 3)),
    st.integers(0, 3000).map(lambda n: (n,)),
)


def random_array(dtype: np.dtype, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Any bits at all, but those of a bool are 0 or 1."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape)) * dtype.itemsize
    data = rng.integers(0, 2 if seed % 2 or dtype.kind == "?" else 256, n, np.uint8)
    return np.ndarray(shape, dtype, data.tobytes())


def test_most_dimensions(lab):
    """As many as NumPy has; those of a sub-array field count as well, so above there are fewer."""
    n = 64 if int(np.__version__.split(".")[0]) >= 2 else 32
    array = np.arange(6, dtype="<i2").reshape((1,) * (n - 2) + (2, 3))
    for order in "CF":
        npz = fastzip.load(lab.npz(True, x=np.asarray(array, order=order)))
        assert lab.same(npz["x"], array)
    assert lab.same(fastzip.load(lab.npz(True, x=array[0])).fetch(["x"]), array)


@SETTINGS
@given(
    spec=st.lists(st.tuples(dtypes, shapes, st.booleans(), st.integers(0, 999)), max_size=4),
    compressed=st.booleans(),
)
def test_arrays_equal_numpys(lab, spec, compressed):
    arrays = {}
    for i, (dtype, shape, fortran, seed) in enumerate(spec):
        array = random_array(dtype, shape, seed)
        arrays[f"key {i}"] = np.asfortranarray(array) if fortran else array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # format 2.0 or 3.0 was needed
        data = lab.npz(compressed, **arrays)
    mine, reference = fastzip.load(data), np.load(io.BytesIO(data))
    assert mine.files == reference.files
    for key in mine:
        got, expected = mine[key], reference[key]
        assert lab.same(got, expected)
        assert got.dtype.fields == expected.dtype.fields
        assert got.flags.c_contiguous == expected.flags.c_contiguous
        assert got.flags.f_contiguous == expected.flags.f_contiguous
        assert got.flags.writeable
        assert got.flags.aligned
        assert got.size == 0 or got.ctypes.data % 64 == 0
        assert mine.spec(key).dtype == expected.dtype
        assert mine.spec(key).shape == expected.shape


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n", [1, 100, 7000, 70_000, 1_500_000])
def test_results_are_aligned_and_own_their_memory(lab, save, n, compressed):
    arrays = {f"k{i}": np.arange(n + 7 * i, dtype=f"u{1 << i}") for i in range(4)}
    arrays["fields"] = np.zeros(n, [("a" * 50 * i, "u1") for i in range(1, 5)])
    with fastzip.load(save(lab.npz(compressed, **arrays))) as npz:
        got = [npz[key] for key in [*arrays, *arrays]]
    for array, expected in zip(got, [*arrays.values()] * 2, strict=True):
        assert array.ctypes.data % 64 == 0
        assert array.flags.writeable
        assert lab.same(array, expected)
        array[...] = array[-1]
    got[0][:] = 77
    assert not (got[5] == 77).all()


# --------------------------------------------------------------------- keys and manners


def test_mapping(lab, save):
    data = lab.npz(a=np.arange(3), b=np.ones(2), c=np.zeros(1), d=np.zeros(1), e=np.zeros(1))
    path = save(data)
    with fastzip.load(path) as npz, np.load(path) as reference:
        assert npz.files == reference.files == list(npz) == list(npz.keys())
        assert len(npz) == len(reference) == 5
        for key in ("a", "a.npy", "e", "f", "a.npy.npy", "", "A", 1, None, ("a",), b"a"):
            assert (key in npz) == (key in reference), key
            if key in reference:
                assert np.array_equal(npz[key], reference[key])
            else:
                with pytest.raises(KeyError) as mine:
                    npz[key]
                with pytest.raises(KeyError) as numpys:
                    reference[key]
                assert str(mine.value) == str(numpys.value)
        assert [(k, v.tolist()) for k, v in npz.items()] == [
            (k, v.tolist()) for k, v in reference.items()
        ]
        assert [v.tolist() for v in npz.values()] == [v.tolist() for v in reference.values()]
        assert npz.get("none") is None
        assert npz.f.a.tolist() == reference.f.a.tolist()
        assert dir(npz.f) == dir(reference.f)
        with pytest.raises(AttributeError):
            npz.f.none  # noqa: B018
        assert repr(npz) == repr(reference)
        assert npz.zip.namelist() == reference.zip.namelist()
        assert npz.zip.read("a.npy") == reference.zip.read("a.npy")
    more = save(lab.npz(**{f"k{i}": np.zeros(1) for i in range(6)}))
    with fastzip.load(more) as npz, np.load(more) as reference:
        assert repr(npz) == repr(reference)


def test_keys_of_other_string_types(lab):
    class Key(str):
        __slots__ = ()

    npz = fastzip.load(lab.npz(a=np.arange(3)))
    for key in (np.str_("a"), Key("a"), np.array(["a"])[0]):
        assert npz[key].tolist() == [0, 1, 2]
        assert key in npz
        assert npz.get(key) is not None
        assert npz.spec(key).shape == (3,)
        assert npz.fetch([key]).shape == (1, 3)


def test_other_members_are_bytes(lab, save):
    members = [
        lab.Member(b"note.txt", b"a note"),
        lab.Member(b"empty", b""),
        lab.Member(b"dir/"),
        lab.Member(b"a.npy", lab.npy(np.arange(3))),
        lab.Member(b"noext", lab.npy(np.arange(4))),
        lab.Member(b"text.npy", b"no array"),
        lab.Member(b"x", b"the x"),
        lab.Member(b"x.npy", lab.npy(np.arange(5))),
    ]
    path = save(lab.Archive(members).build())
    with fastzip.load(path) as npz, np.load(path) as reference:
        assert npz.files == reference.files
        for key in [*reference.files, "x.npy", "a.npy", "text.npy"]:
            mine, numpys = npz[key], reference[key]
            assert type(mine) is type(numpys), key
            assert np.array_equal(mine, numpys) if type(mine) is not bytes else mine == numpys
        with pytest.raises(ValueError, match="not an array") as info:
            npz.spec("note.txt")
        assert info.value.code == "no_array"
        assert info.value.member == "note.txt"


@pytest.mark.parametrize("prefix", [b"", b"\x93", b"\x93NUMPY", b"\x93NUMPY\1\0", b"\x93NUMPX"])
def test_beginnings_of_arrays(lab, prefix):
    data = lab.Archive([lab.Member(b"x.npy", prefix)]).build()
    mine, reference = fastzip.load(data), np.load(io.BytesIO(data))
    if prefix.startswith(b"\x93NUMPY"):
        for npz in (mine, reference):
            with pytest.raises(ValueError):
                npz["x"]
        with pytest.raises(ValueError):
            mine.spec("x")
        with pytest.raises(ValueError):
            mine.fetch(["x"])
    else:
        assert mine["x"] == reference["x"] == prefix


def test_close(lab, save):
    path = save(lab.npz(a=np.arange(3)))
    npz = fastzip.load(path)
    array, z = npz["a"], npz.zip
    assert z is not None
    npz.close()
    npz.close()
    assert array.tolist() == [0, 1, 2]
    assert npz.zip is None
    for act in (lambda: npz["a"], lambda: npz.fetch([0]), lambda: npz.spec("a"),
                lambda: pickle.dumps(npz)):  # fmt: skip
        with pytest.raises(ValueError, match="closed"):
            act()
    with pytest.raises(ValueError, match="closed"):
        z.read("a.npy")
    assert "a" in npz
    assert npz.files == ["a"]
    with fastzip.load(path) as inner:
        assert inner["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="closed"):
        inner["a"]


def test_fid_of_a_path(path):
    """As in NumPy it is the open file, and gone when the archive is closed."""
    with fastzip.load(path) as npz, np.load(path) as numpys:
        file = npz.fid
        assert file is npz.fid
        assert file.name == str(path)
        assert file.read(4) == b"PK\x03\x04"
    assert npz.fid is numpys.fid is None
    assert file.closed
    with path.open("rb") as opened, fastzip.load(opened) as npz, np.load(opened) as numpys:
        assert npz.fid is numpys.fid is None


@pytest.mark.parametrize(
    ("content", "code", "kind"),
    [(b"", "empty", EOFError), (b"\x80\x04K\x01.", "pickle", ValueError)],
)
def test_no_archive_and_no_array(tmp_path, content, code, kind):
    """NumPy's exception and words, with a code and the path."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(kind) as theirs:
        np.load(path)
    for file in (path, io.BytesIO(content)):
        with pytest.raises(kind) as ours:
            fastzip.load(file)
        assert str(ours.value) == str(theirs.value)
        assert ours.value.code == code
        assert ours.value.path == (str(path) if file is path else "BytesIO")


def test_own_fid(path):
    file = open(path, "rb")  # noqa: SIM115
    npz = fastzip.NpzFile(file, own_fid=True)
    assert npz.fid is file
    npz.close()
    assert file.closed
    with open(path, "rb") as file:
        fastzip.load(file).close()
        assert not file.closed


def test_cut_content_is_no_path():
    with pytest.raises(zipfile.BadZipFile):
        fastzip.load(b"PK\3\4")


def test_failed_open_leaves_nothing_behind(path, tmp_path):
    (tmp_path / "bad").write_bytes(b"PK\3\4" + bytes(100))
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        with pytest.raises(zipfile.BadZipFile):
            fastzip.load(tmp_path / "bad")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_pickling_by_path(path, monkeypatch, check):
    with fastzip.load(path, threads=3, max_header_size=500, verify=False) as npz:
        copy = pickle.loads(pickle.dumps(npz))
        assert (copy.threads, copy.max_header_size, copy.allow_pickle) == (3, 500, False)
        check(copy)
        relative = None
        monkeypatch.chdir(path.parent)
        with fastzip.load(path.name) as by_name:
            relative = pickle.dumps(by_name)
        monkeypatch.chdir("/")
        check(pickle.loads(relative))
        pickled = pickle.dumps(npz)
    data = path.read_bytes()
    os.utime(path, ns=(1, 1))
    with pytest.raises(fastzip.BadZipFile, match="changed") as info:
        pickle.loads(pickled)
    assert info.value.code == "stale"
    path.write_bytes(data + b"\0")
    with pytest.raises(fastzip.BadZipFile, match="changed"):
        pickle.loads(pickled)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled)


def test_pickling_others(path, tmp_path, check):
    data = path.read_bytes()
    for memory in (data, bytearray(data), io.BytesIO(data)):
        check(pickle.loads(pickle.dumps(fastzip.load(memory))))
    with open(path, "rb") as file:
        check(pickle.loads(pickle.dumps(fastzip.load(file))))
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        npz = fastzip.load(file)
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(npz)
        npz.close()


def test_many_threads_on_one_archive(lab, save):
    arrays = {f"k{i}": np.full(50 + i % 3, i) for i in range(200)}
    errors = []
    with fastzip.load(save(lab.npz(**arrays))) as npz:

        def work(seed):
            try:
                for i in np.random.default_rng(seed).integers(0, 200, 300):
                    if not np.array_equal(npz[f"k{i}"], arrays[f"k{i}"]):
                        errors.append(i)
            except Exception as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


# --------------------------------------------------------------------- pickled members


class Canary:
    """Unpickling it is seen."""

    ran = False

    def __reduce__(self):
        return _sing, ()


def _sing():
    Canary.ran = True


def test_objects(lab, save):
    array = np.array([1, "two", None, {"three": 3}], object)
    data = lab.npz(o=array, p=np.array([(1, None)], [("a", "i4"), ("b", "O")]), n=np.arange(3))
    path = save(data)
    with fastzip.load(path) as npz:
        for key in "op":
            with pytest.raises(ValueError, match="allow_pickle=False") as info:
                npz[key]
            assert info.value.member == f"{key}.npy"
        assert npz["n"].tolist() == [0, 1, 2]
        assert npz.spec("o").dtype == object
        npz.allow_pickle = True
        assert npz["o"].tolist() == array.tolist()
        assert npz["p"].tolist() == [(1, None)]
        assert npz["n"].tolist() == [0, 1, 2]
        npz.allow_pickle = False
        with pytest.raises(ValueError, match="allow_pickle=False"):
            npz["o"]
    with fastzip.load(path, allow_pickle=True) as npz:
        assert npz["o"].tolist() == array.tolist()
        copy = pickle.loads(pickle.dumps(npz))
        assert copy["o"].tolist() == array.tolist()
        copy.close()


def test_no_pickle_is_run(lab):
    data = lab.npz(x=np.array([Canary()], object))
    npz = fastzip.load(data)
    for act in (lambda: npz["x"], lambda: npz.fetch(["x"]), lambda: npz.fetch([])):
        with contextlib.suppress(ValueError):
            act()
        assert not Canary.ran


def test_encodings_of_pickles(lab):
    raw = pickle.dumps(np.array(["x"], object), 2)
    member = lab.raw_npy(lab.header_text("|O", (1,)), raw)
    data = lab.Archive([lab.Member(b"x.npy", member)]).build()
    for encoding in ("ASCII", "latin1", "bytes"):
        npz = fastzip.load(data, allow_pickle=True, encoding=encoding, fix_imports=True)
        assert npz["x"].tolist() == ["x"]
        assert npz.pickle_kwargs == {"encoding": encoding, "fix_imports": True}


class Spiteful:
    def __reduce__(self):
        return spite, ()


def spite():
    b"\xff".decode()


def test_what_unpickling_raises_stays_as_it_is(lab):
    data = lab.npz(False, x=np.array([Spiteful()], object))
    for load in (np.load, fastzip.load):
        with pytest.raises(UnicodeError):  # NumPy's own, with what to do
            load(io.BytesIO(data), allow_pickle=True)["x"]


def test_in_a_notebook(lab, made):
    """Completion and the HTML table are capped, and show what can't be read instead of failing."""
    arrays = [lab.Member(b"k%d.npy" % i, lab.npy(np.zeros((i, 2), "f4"))) for i in range(30)]
    arrays[1] = lab.Member(b"<b>.npy", b"text & more")
    arrays[2] = lab.Member(b"cut.npy", lab.npy(np.arange(9))[:-1])
    arrays[3] = lab.Member(b"odd.npy", b"x", body=b"x", method=97)
    npz = made(lab.Archive(arrays).build())
    assert npz._ipython_key_completions_() == npz.files
    page = npz._repr_html_()
    assert "30 members" in page
    assert "<td>k5</td><td>float32</td><td>(5, 2)</td><td>168</td>" in page
    assert "<td>&lt;b&gt;</td><td>bytes</td><td></td><td>11</td>" in page
    assert "<td>cut</td><td></td><td>npy_data</td>" in page
    assert "<td>odd</td><td></td><td>method</td>" in page
    assert "k19" in page
    assert "k20" not in page
    assert "and 10 more" in page
    many = fastzip.NpzFile(lab.many(20_000))
    assert len(many._ipython_key_completions_()) == 10_000
    assert many._repr_html_().count("<tr>") == 21
    npz.close()
    assert "30 members" in npz._repr_html_()
