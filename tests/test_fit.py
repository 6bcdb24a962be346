"""Members that can't be samples are found when a source is made; folders and litter are none."""

from __future__ import annotations

import io
import pickle
import re
import zipfile

import numpy as np
import pytest
from forking import forked

import fastzip
from fastzip import Loader, Padded, Ragged, errors
from fastzip._train import fit as _fit
from fastzip._train.samples import Samples

N = 30
LITTER = (
    *("a/", "a/b/", "__MACOSX/", "__MACOSX/._000.npy", "__MACOSX/a/._x", "a/._000.npy", "._1.npy"),
    *(".DS_Store", "a/.DS_Store", "Thumbs.db", "a/b/desktop.ini"),
)
NO_LITTER = ("a._x.npy", "DS_Store.npy", "x__MACOSX/1.npy", "_MACOSX/1.npy", "MyThumbs.db.npy")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def opened(members, save=None):
    """An archive of these, (name, array or bytes) each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members:
            zipped.writestr(name, data if isinstance(data, bytes) else npy(data))
    return fastzip.load(save(file.getvalue()) if save else file.getvalue())


def equals(*others, n=N):
    """n arrays that are alike, sample i holding i, and others among them."""
    members = [(f"{i:03}.npy", np.full((2, 3), i, "i4")) for i in range(n)]
    for i, other in enumerate(others):
        members.insert(1 + 2 * i % n, other)
    return members


def by_adapter(npz, *, alike=True):
    return Samples(npz, maker="ArchiveDataset", alike=alike)


# ---- what is no sample -------------------------------------------------------------------------


def test_folders_and_litter():
    junk = b"\0\5\26\7" + bytes(len(npy(np.full((2, 3), 0, "i4"))) - 4)
    npz = opened(equals(*((name, b"" if name.endswith("/") else junk) for name in LITTER)))
    assert len(npz) == N + len(LITTER)
    loader = Loader(npz, np.arange(N), batch_size=7, shuffle=True)
    for x, y in loader:
        assert np.array_equal(x[:, 0, 0], y)
    assert loader.state_dict()["length"] == N
    samples = by_adapter(npz)
    assert len(samples) == N
    assert samples.fetch(slice(None))[0][:, 0, 0].tolist() == list(range(N))
    for kind in Padded, Ragged:
        assert sum(len(y) for _, y in Loader(kind(npz), np.arange(N), batch_size=4)) == N


def test_names_that_look_like_litter():
    names = [*NO_LITTER, "b"]
    npz = opened([(name, np.full(3, i)) for i, name in enumerate(names)])
    (batch,) = Loader(npz, batch_size=99)
    assert batch[:, 0].tolist() == list(range(len(names)))


def test_kinds_of_names():
    names = [*LITTER, *NO_LITTER, "x.txt", "a/x.npy.gz", ".npy", "a/.npy"]
    kinds = np.full(len(names), 9, np.uint8)
    opened([(name, b"") for name in names]).index.directory.name_kinds(kinds)
    expected = [2] * len(LITTER) + [1] * len(NO_LITTER) + [0, 0, 1, 1]
    assert kinds.tolist() == expected
    short = np.full(3, 9, np.uint8)
    opened([(name, b"") for name in names]).index.directory.name_kinds(short)
    assert short.tolist() == expected[:3]
    renamed = opened([(f"{i}.npy", b"") for i in range(3)]).index.directory
    renamed.rename(["漢字/", "漢字.npy", "漢字/._x\udcff"])  # as Unicode path extra fields do
    renamed.name_kinds(short)
    assert short.tolist() == [2, 1, 2]


def test_keys_that_choose_litter():
    """They are what was asked for, and no samples."""
    npz = opened(equals(*((name, b"") for name in LITTER)))
    with pytest.raises(errors.ArrayError, match="Leave them out of the keys") as info:
        Loader((npz, slice(None)), batch_size=4)
    assert [key for key, _ in info.value.failed] == [
        npz.files[i] for i in range(len(npz)) if npz.files[i] + ".npy" not in dict(equals())
    ]


# ---- what doesn't fit --------------------------------------------------------------------------

ODD = {
    "text": ("README.txt", b"words", "no_array", "is not an array"),
    "text of the samples' size": (
        "README.txt", bytes(len(npy(np.full((2, 3), 0, "i4")))), "no_array", "is not an array",
    ),
    "shape": ("x.npy", np.zeros((3, 4), "i4"), "unlike", r"is int32 of shape \(3, 4\); others"),
    "dtype": ("x.npy", np.zeros((2, 3)), "unlike", r"is float64 of shape \(2, 3\); others"),
    "number": ("x.npy", np.array(3), "unlike", r"is int64 of shape \(\); others"),
    "objects": ("x.npy", np.array([None] * 99), "object_dtype", "is an array of Python objects"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_ones(kind):
    """By name and reason, with what leaves them out."""
    name, data, code, text = ODD[kind]
    npz = opened(equals((name, data)))
    key = name.removesuffix(".npy")
    for make in (lambda npz: Loader(npz, batch_size=4)), by_adapter:
        with pytest.raises(errors.ArrayError, match=f"1 of 31 members .*'{key}' {text}") as info:
            make(npz)
        exc = info.value
        assert (exc.code, exc.member, exc.failed) == (code, name, [(key, code)])
        shown = re.search(r"keys = (\[.*\])", str(exc))[1]
        keys = eval(shown, {"npz": npz})
        assert len(keys) == N
    for x, y in Loader((npz, keys), np.arange(N), batch_size=4, shuffle=True):
        assert np.array_equal(x[:, 0, 0], y)
    for make in Padded, Ragged:
        with pytest.raises(errors.ArrayError) as info:
            Loader(make(npz), batch_size=4)
        assert info.value.failed[0][0] == key
    if code != "unlike":
        with pytest.raises(errors.ArrayError):
            by_adapter(npz, alike=False)
    else:
        assert len(by_adapter(npz, alike=False)) == N + 1


def test_many_odd_ones():
    """`.failed` lists them, and all that is no sample by its name."""
    others = [(f"note-{i}.txt", b"words") for i in range(7)] + [("a/", b"")]
    npz = opened(equals(*others))
    with pytest.raises(errors.ArrayError, match=r"7 of 37 members .* and 4 more") as info:
        Loader(npz, batch_size=4)
    shown = re.search(r"keys = (\[.*\])", str(info.value))[1]
    keys = eval(shown, {"npz": npz, "error": info.value, "dict": dict})
    assert sum(map(len, Loader((npz, keys), batch_size=4))) == N


def test_different_lengths():
    npz = opened([(f"{i}.npy", np.zeros((i, 2))) for i in range(20)])
    with pytest.raises(errors.ArrayError, match=r"Padded\(npz\) and Ragged\(npz\) take"):
        Loader(npz, batch_size=4)
    for kind in Padded, Ragged:
        Loader(kind(npz), batch_size=4)


def test_no_arrays():
    npz = opened([(f"{i}.jpg", bytes(300 + i)) for i in range(9)])
    for make in (
        lambda: Loader(npz, batch_size=2), lambda: Loader(Ragged(npz), batch_size=2),
        lambda: by_adapter(npz, alike=False),
    ):  # fmt: skip
        with pytest.raises(
            errors.ArrayError, match=r"9 of 9 .*A sample is a member that is an arr"
        ):
            make()


def test_more_than_is_looked_at(monkeypatch):
    monkeypatch.setattr(_fit, "_LOOKS", 4)
    others = [(f"note-{i}.txt", bytes(i)) for i in range(7)]
    with pytest.raises(errors.ArrayError, match="at least 4 of 37 members"):
        Loader(opened(equals(*others)), batch_size=2)


def test_equal_arrays_with_other_headers(lab):
    """Sizes differ, and all is well: other padding, byte order, Fortran order, no .npy."""
    array = np.arange(6, dtype="i4").reshape(2, 3)
    header = lab.header_text("<i4", (2, 3))
    members = equals(
        ("long.npy", lab.raw_npy(header.ljust(245) + "\n", array.tobytes())),
        ("short.npy", lab.raw_npy(header + "\n", array.tobytes())),
        ("two.npy", lab.raw_npy(header.ljust(500) + "\n", array.tobytes(), 2)),
        ("swapped.npy", array.astype(">i4")),
        ("fortran.npy", np.asfortranarray(array)),
        ("behind.npy", npy(array) + bytes(5)),
        ("nameless", array),
    )
    npz = opened(members)
    for make in (lambda npz: Loader(npz, batch_size=40)), by_adapter:
        make(npz)
    (batch,) = Loader(npz, batch_size=99)
    assert sum((row == array).all() for row in batch) == 7


# ---- what it costs, and what stays an error of a batch -----------------------------------------


class Counted:
    """How many fronts are read."""

    def __init__(self, monkeypatch):
        self.positions = []
        header = fastzip._npy.arrays.ArrayReader.header

        def counted(reader, position, limit=10000):
            self.positions.append(position)
            return header(reader, position, limit)

        monkeypatch.setattr(fastzip._npy.arrays.ArrayReader, "header", counted)


def test_one_front_is_read(monkeypatch):
    npz = opened(equals(n=500))
    counted = Counted(monkeypatch)
    Loader(npz, batch_size=4)
    by_adapter(npz)
    assert counted.positions == [0, 0]


def test_the_odd_ones_alone_are_read(monkeypatch):
    npz = opened(equals(("x.txt", b"words"), ("y.npy", np.zeros(9)), n=500))
    counted = Counted(monkeypatch)
    with pytest.raises(errors.ArrayError):
        Loader(npz, batch_size=4)
    assert len(counted.positions) == 3


def test_rare_sizes_are_looked_at_first(monkeypatch):
    """Half of the arrays have a longer header; the one of another shape is found all the same."""
    npz = opened(
        [*equals(n=600), *((f"s{i}.npy", np.zeros((2, 3), ">i4")) for i in range(3)),
         *((f"r{i}.npy", npy(np.zeros((2, 3), "i4")) + bytes(64)) for i in range(500)),
         ("z.npy", np.zeros(99, "i4"))]
    )  # fmt: skip
    counted = Counted(monkeypatch)
    with pytest.raises(errors.ArrayError, match=r"1 of 1,104|at least 1 of 1,104"):
        Loader(npz, batch_size=4)
    assert len(counted.positions) <= _fit._LOOKS + 3


def test_workers_do_not_look_again(save, monkeypatch):
    npz = opened(equals(("a/", b"")), save=save)
    loader, samples = Loader(npz, batch_size=4, prefetch=0), by_adapter(npz)
    monkeypatch.setattr(_fit, "check_samples", None)
    assert sum(map(len, pickle.loads(pickle.dumps(loader)))) == N
    assert len(pickle.loads(pickle.dumps(samples)).fetch([0, 3])[0]) == 2

    def child():
        assert sum(map(len, loader)) == N

    forked(child)


def test_damage_comes_with_its_batch(lab):
    """Also of the first member, of one of another size, and of a header."""
    first = npy(np.full((2, 3), 0, "i4"))
    members = [lab.Member(b"%03d.npy" % i, npy(np.full((2, 3), i, "i4"))) for i in range(12)]
    members[0].crc = 1
    members[4] = lab.Member(b"004.npy", lab.raw_npy("words\n", bytes(24)))
    members[6] = lab.Member(b"006.npy", b"\x94" + first[1:], crc=1)
    members[8] = lab.Member(b"008.npy", b"\x94" + first[1:] + b"more", crc=1)
    with fastzip.load(lab.Archive(members).build()) as npz:
        by_adapter(npz)
        it, got = iter(Loader(npz, batch_size=2)), []
        for _ in range(6):
            try:
                got.append(next(it)[:, 0, 0].tolist())
            except (fastzip.BadZipFile, ValueError) as exc:
                got.append(exc.failed)
    assert got == [
        [("000", "crc")], [2, 3], [("004", "npy_header")],
        [("006", "no_array")], [("008", "no_array")], [10, 11],
    ]  # fmt: skip


def test_encrypted_without_a_password(faultlab):
    """The batch says so, as ever."""
    if faultlab.SANITIZED:
        pytest.skip("pycryptodomex opens its libraries with RTLD_DEEPBIND, which ASan forbids")
    pyzipper = pytest.importorskip("pyzipper")
    file = io.BytesIO()
    with pyzipper.AESZipFile(file, "w", encryption=pyzipper.WZ_AES) as zipped:
        zipped.setpassword(b"secret")
        for i in range(4):
            zipped.writestr(f"{i}.npy", npy(np.zeros(i // 2 + 1)))
    npz = fastzip.load(file.getvalue())
    with pytest.raises(fastzip.PasswordError, match="a password is required"):
        next(iter(Loader(npz, batch_size=1)))
    npz = fastzip.load(file.getvalue(), pwd=b"secret")
    with pytest.raises(errors.ArrayError, match="different lengths"):
        Loader(npz, batch_size=1)


# ---- archives of large arrays ------------------------------------------------------------------

MNIST = {
    "x_train": np.zeros((60, 8, 8), "u1"), "y_train": np.zeros(60, "u1"),
    "x_test": np.zeros((10, 8, 8), "u1"), "y_test": np.zeros(10, "u1"),
}  # fmt: skip


def test_an_array_a_key(lab, save):
    npz = opened([(f"{key}.npy", array) for key, array in MNIST.items()])
    with pytest.raises(errors.ArrayError, match=r"holds 4 arrays with a row for each s") as info:
        Loader(npz, batch_size=4)
    written = "Loader(npz['x_train'], npz['y_train'], ...)"
    assert written in str(info.value)
    for key, array in MNIST.items():
        assert f"{key!r} is uint8 of shape {array.shape}" in str(info.value)
    assert len(eval(written.replace("...", "batch_size=4"), {"npz": npz, "Loader": Loader})) == 15
    with pytest.raises(TypeError, match=r"list of keys, not the one key 'x_train'.*npz\['x_train"):
        Loader((npz, "x_train"), batch_size=4)
    with pytest.raises(errors.ArrayError, match=r"ArchiveDataset\(npz\['x_train'\], npz\['y_tra"):
        by_adapter(npz)


def test_labels_in_an_archive(save):
    """Of one array with a row for each sample."""
    images = opened(equals())
    one = opened([("y.npy", np.arange(N))], save=save)
    for make in (lambda *s: Loader(*s, batch_size=4)), (lambda *s: Samples(*s, maker="test")):
        with pytest.raises(ValueError) as info:
            make(images, one)
        assert "the first source has 30 samples, and the second source has 1" in str(info.value)
        assert f"an array of 30 rows: fastzip.load({one.index.where!r})['y']" in str(info.value)
        with pytest.raises(ValueError, match=r"the first source has 1 sam.*array of 30 rows: fast"):
            make(one, np.arange(N))
    with pytest.raises(ValueError, match=r"the second source has 4; .*: it holds 4 arrays"):
        Loader(images, opened([(f"{key}.npy", a) for key, a in MNIST.items()]), batch_size=4)


# ---- exceptions --------------------------------------------------------------------------------


def test_exceptions_have_public_names():
    """Each that the tables have; and they are what they were after a pickle."""
    found = {kind for table in (errors.TABLE, errors.OTHERS) for kind, _ in table.values()}
    located = {name for name in errors.__all__ if issubclass(getattr(errors, name), errors.Located)}
    assert {kind.__name__ for kind in found} | {"ReadError"} == located
    assert set(errors.__all__) - located == {"MissingKeyError", "MissingAttributeError"}
    for name in located:
        kind = getattr(errors, name)
        assert (kind.__module__, kind.__qualname__) == ("fastzip.errors", name)
        exc = errors.locate(kind("text"), "code", "path", "member", 3)
        exc.failed = [("member", "code")]
        again = pickle.loads(pickle.dumps(exc))
        assert type(again) is kind
        assert str(again) == "text"
        assert vars(again) == vars(exc)
