"""What stands beside an archive is taken by position, whoever made it; or refused, by its place."""

from __future__ import annotations

import array
import collections
import importlib
import pickle

import numpy as np
import pytest

import fastzip
from fastzip import Loader
from fastzip._train.samples import Samples

N = 60
LABELS = np.random.default_rng(5).permutation(N) * 3
KEYS = np.random.default_rng(6).permutation(N)[:44]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Sample i holds i."""
    path = tmp_path_factory.mktemp("values") / "x.npz"
    np.savez(path, **{f"ix-{i:03}": np.full((2, 3), i, np.int32) for i in range(N)})
    with fastzip.load(path) as npz:
        yield npz


# ---- kinds: the labels, made something else ----------------------------------------------------


def needs(name):
    return importlib.import_module(name) if importlib.util.find_spec(name) else pytest.skip(name)


def shuffled_frame(labels, by):
    """A frame whose index says something else than its order, as after a sort, sample or split."""
    pd = needs("pandas")
    order = np.random.default_rng(9).permutation(len(labels))
    frame = pd.DataFrame({"label": labels[np.argsort(order)], "other": 0.5})
    if by == "sort_values":
        frame["key"] = np.argsort(order)
        return frame.take(order)
    return frame.iloc[order] if by == "split" else frame.loc[order]


class Indexed:
    """A column that is indexed by label, and says its order by __array__ alone."""

    def __init__(self, labels):
        self.labels = labels

    def __array__(self, dtype=None, copy=None):
        return np.array(self.labels, dtype)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows):
        return self.labels[::-1][rows]


class Ascending:
    """A data set as HDF5 has them: positions ascend, each comes once."""

    def __init__(self, labels):
        self.labels, self.shape, self.dtype = labels, labels.shape, labels.dtype

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert np.all(np.diff(rows) > 0)
        return self.labels[rows]


class Orthogonal(Ascending):
    """An array as Zarr has them: lists of positions go to `oindex`, and there is no len()."""

    class _Index:
        def __init__(self, labels):
            self.labels = labels

        def __getitem__(self, rows):
            return self.labels[rows]

    @property
    def oindex(self):
        return self._Index(self.labels)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.labels[rows]


class Plain:
    """What has a length and is indexed by an array, and says no more."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows):
        return self.labels[rows]


def hdf5(labels, tmp_path):
    file = needs("h5py").File(tmp_path / "y.h5", "w")
    return file.create_dataset("y", data=labels, chunks=(7,))


def zarr(labels, tmp_path):
    made = needs("zarr").open(
        str(tmp_path / "y.zarr"), mode="w", shape=labels.shape, chunks=(7,), dtype="i8"
    )
    made[:] = labels
    return made


def mapped(labels, tmp_path):
    np.save(tmp_path / "y.npy", labels)
    return np.load(tmp_path / "y.npy", mmap_mode="r")


def swapped(labels, tmp_path):
    return labels.astype(">i4")[::-1][::-1]


KINDS = {
    "array": lambda y, _: y,
    "swapped": swapped,
    "mapped": mapped,
    "list": lambda y, _: y.tolist(),
    "list of arrays": lambda y, _: list(y),
    "text": lambda y, _: [str(i) for i in y],
    "bytes": lambda y, _: [str(i).encode() for i in y],
    "deque": lambda y, _: collections.deque(y.tolist()),
    "array.array": lambda y, _: array.array("q", y.tolist()),
    "memoryview": lambda y, _: memoryview(y),
    "tensor": lambda y, _: needs("torch").tensor(y),
    "Series": lambda y, _: shuffled_frame(y, "take")["label"],
    "sorted Series": lambda y, _: shuffled_frame(y, "sort_values")["label"],
    "split Series": lambda y, _: shuffled_frame(y, "split")["label"],
    "object Series": lambda y, _: shuffled_frame(y, "split")["label"].astype(object),
    "text Series": lambda y, _: shuffled_frame(y, "split")["label"].astype(str),
    "nullable Series": lambda y, _: shuffled_frame(y, "split")["label"].astype("Int64"),
    "category": lambda y, _: shuffled_frame(y, "split")["label"].astype("category"),
    "Categorical": lambda y, _: needs("pandas").Categorical(y),
    "Index": lambda y, _: needs("pandas").Index(y),
    "frame": lambda y, _: shuffled_frame(y, "split")[["label"]],
    "Polars": lambda y, _: needs("polars").Series("y", y),
    "Polars text": lambda y, _: needs("polars").Series("y", [str(i) for i in y]),
    "Polars categories": lambda y, _: (
        needs("polars").Series("y", [str(i) for i in y]).cast(needs("polars").Categorical)
    ),
    "HDF5": hdf5,
    "Zarr": zarr,
    "indexed": lambda y, _: Indexed(y),
    "ascending": lambda y, _: Ascending(y),
    "orthogonal": lambda y, _: Orthogonal(y),
    "plain": lambda y, _: Plain(y),
}


def numbers(batch):
    """What comes is an array of NumPy's; its labels as numbers again."""
    assert type(batch) in (np.ndarray, np.memmap)
    return batch.reshape(len(batch)).astype(np.int64)


@pytest.mark.parametrize("keys", [None, "positions", "mask", "slice"])
@pytest.mark.parametrize("kind", KINDS)
def test_by_position(images, tmp_path, kind, keys):
    """Row i belongs to sample i, in any order, with keys and without, in Loader and adapters."""
    keys = {
        None: np.arange(N), "positions": KEYS, "mask": LABELS % 2 == 0, "slice": slice(3, None, 2),
    }[keys]  # fmt: skip
    chosen = np.arange(N)[keys]
    with_keys = (KINDS[kind](LABELS, tmp_path), keys)
    (tmp_path / "some").mkdir()
    for labels in with_keys, KINDS[kind](LABELS[keys], tmp_path / "some"):
        for shuffle in False, True:
            loader = Loader((images, keys), labels, batch_size=7, shuffle=shuffle, seed=2)
            seen = 0
            for x, y in loader:
                assert np.array_equal(numbers(y), LABELS[x[:, 0, 0]])
                seen += len(y)
            assert seen == len(chosen)
        samples = Samples((images, keys), labels, maker="test")
        for indices in ([3, 0, 3, 11, -1], slice(2, 9), []):
            x, y = samples.fetch(indices)
            assert np.array_equal(numbers(y), LABELS[x[:, 0, 0]])
            assert np.array_equal(x[:, 0, 0], chosen[indices])


def test_range(images):
    for x, y in Loader(images, range(0, 3 * N, 3), batch_size=7, shuffle=True):
        assert np.array_equal(3 * x[:, 0, 0], y)


def test_rows_of_several_values(images, tmp_path):
    """Of tables, and of what is read when asked."""
    rows = np.stack([LABELS, -LABELS], 1)
    h5py = needs("h5py")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = rows
        frame = needs("pandas").DataFrame(rows, index=np.arange(N)[::-1])
        for given in file["y"], frame, rows.tolist(), list(rows), Ascending(rows):
            for x, y in Loader(images, given, batch_size=7, shuffle=True):
                assert np.array_equal(y, rows[x[:, 0, 0]])


def test_a_lazy_array_stays_so(images):
    """Nothing is read before it is asked for, and then what the batch needs, in ascending order."""

    class Counted(Ascending):
        reads = 0

        def __getitem__(self, rows):
            found = super().__getitem__(rows)
            self.reads += len(found)
            return found

    labels = Counted(LABELS)
    loader = Loader(images, labels, batch_size=6, shuffle=True)
    samples = Samples(images, labels, maker="test")
    assert labels.reads == 0
    next(iter(loader))
    assert labels.reads == 6
    assert samples.fetch([5, 5, 5, 5])[1].tolist() == [LABELS[5]] * 4
    assert labels.reads == 7


def test_what_a_lazy_array_gives_is_counted(images):
    class Short(Ascending):
        def __getitem__(self, rows):
            return super().__getitem__(rows)[:-1]

    with pytest.raises(ValueError, match=r"Short gave an array of shape \(5,\) for 6 positions"):
        next(iter(Loader(images, Short(LABELS), batch_size=6)))


def test_text_that_no_array_holds(images):
    """NumPy's strings drop NULs at the end, and are all as wide as the widest."""
    for end in "\0", b"\0":
        text = [(str if end == "\0" else str.encode)(f"{i}") + end for i in range(N)]
        for x, y in Loader(images, text, batch_size=7, shuffle=True):
            assert y.tolist() == [text[i] for i in x[:, 0, 0]]
    text = ["x" * 2_000_000] + ["y"] * (N - 1)
    for _, y in Loader(images, text, batch_size=N):
        assert y.dtype == object
        assert y.tolist() == text


REFUSED = [
    ({1, 2}, "is a set; it takes an NpzFile, an array or list of values.* no order"),
    (frozenset([1]), "is a frozenset"),
    ({"a": 1}, r"is a dict; .* give \[d\[key\] for key in npz.files\]"),
    ({}.keys(), "is a dict_keys"),
    ((i for i in range(N)), "is a generator; .* only once"),
    (iter([1]), "is a list_iterator"),
    (3, "is an int; .* one value"),
    (np.array(3), "is an ndarray; .* one value"),
    (None, "is None; it takes"),
    (object(), "is an object; it takes"),
    (len, "is a builtin_function_or_method; it takes"),
    ([[1], [1, 2]], "is a list; .* make no array"),
    ([{}] * N, r"is a list; .* no array of numbers or text \(dict\)"),
    ([None] * N, r"is a list; .* \(NoneType\)"),
    ([1, "a"] * (N // 2), r"is a list; .* \(int, str\)"),
    (["a", b"a"] * (N // 2), r"is a list; .* \(bytes, str\)"),
    ([2**63, -1] * (N // 2), "is a list; .* no integers"),
    ([2**70] * N, "is a list; "),
    ((1, 2, 3), "is a tuple of 3; a tuple is a source and its keys"),
    ("labels.csv", "is a path, 'labels.csv'; give the values in it: a list, or a column"),
    ("labels.npy", "is a path, 'labels.npy'; give numpy.load"),
    ("labels.h5", "is a path, 'labels.h5'; give the data set"),
    (["a.npz", "b.npz"], "is a list of paths; open each of them"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED, ids=[repr(g)[:30] for g, _ in REFUSED])
def test_refused(images, given, text):
    """When it is made, by its place and type, by Loader and adapters alike."""
    for place, before in ("second", []), ("third", [LABELS]):
        with pytest.raises(TypeError, match=f"^the {place} source {text}"):
            Loader(images, *before, given, batch_size=4)
        with pytest.raises(TypeError, match=f"^the {place} source {text}"):
            Samples(images, *before, given, maker="test")


def test_refused_tables(images):
    pd = needs("pandas")
    frame = pd.DataFrame({"a": np.arange(N), "b": np.arange(N) / 2})
    for given, text in [
        (frame, r"is a DataFrame; .* several types \(int64, float64\); give one"),
        (pd.Series(["a", 1] * (N // 2)), r"is a Series; .* \(int, str\)"),
        (pd.date_range("2020", periods=N, tz="UTC"), "is a DatetimeIndex"),
        (needs("polars").DataFrame({"a": [1] * N, "b": ["x"] * N}), "is a DataFrame"),
    ]:
        with pytest.raises(TypeError, match=f"the second source {text}"):
            Loader(images, given, batch_size=4)


def test_refused_tensors(images):
    torch = needs("torch")
    for given, text in [
        (torch.zeros(()), "one value"),
        (torch.zeros(N, requires_grad=True), "requires grad"),
        (torch.zeros(N, device="meta"), "meta"),
    ]:
        with pytest.raises(TypeError, match=f"the second source is a Tensor; .*{text}"):
            Loader(images, given, batch_size=4)


def test_refused_indexing(images):
    class Single:
        def __len__(self):
            return N

        def __getitem__(self, i):
            return LABELS.tolist()[i]

    with pytest.raises(TypeError, match=r"the second source is a Single; .* by positions"):
        Loader(images, Single(), batch_size=4)


def test_refused_keys(images):
    for keys in {1, 2}, {0: 1}, "abc", 3, [[1]], (i for i in range(3)):
        with pytest.raises(TypeError, match="the keys of the second source must be one-dim"):
            Loader((images, slice(3)), (LABELS, keys), batch_size=4)
    for keys in ["a"], [0.5]:
        with pytest.raises(TypeError, match="the keys of the second source are "):
            Loader((images, slice(1)), (LABELS, keys), batch_size=4)


def test_places(images):
    """As a reader counts them."""
    wrong = LABELS[1:]
    for n, place in (0, "the second"), (1, "the third"), (8, "the tenth"), (9, "source 11"):
        text = f"the first source has 60 samples, and {place}.* has 59"
        with pytest.raises(ValueError, match=text):
            Loader(images, *[LABELS] * n, wrong, batch_size=4)
        with pytest.raises(ValueError, match=text):
            Samples(images, *[LABELS] * n, wrong, maker="test")


def test_pickled(images):
    """With keys, and as often as one likes."""
    series = shuffled_frame(LABELS, "split")["label"]
    loader = Loader((images, KEYS), (series, KEYS), batch_size=7, shuffle=True)
    for _ in range(2):
        loader = pickle.loads(pickle.dumps(loader))
        for x, y in loader:
            assert np.array_equal(y, LABELS[x[:, 0, 0]])
        loader.set_epoch(0)


def test_parameters_of_other_loaders(images):
    for name, text in [
        ("num_workers", "threads="), ("collate_fn", "collate="), ("pin_memory", "ArchiveDataset"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=f"Loader has no parameter '{name}': .*{text}"):
            Loader(images, batch_size=4, **{name: 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        Loader(images, batchsize=4)
