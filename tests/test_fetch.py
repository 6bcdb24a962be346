"""`NpzFile.fetch`: keys, sizes, orders and conversions."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip

N = 40


SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=120
)


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        (["k3"], [3]),
        (["k3", "k1", "k3.npy"], [3, 1, 3]),
        (("k0", "k7"), [0, 7]),
        ([0, 7, -1, -8], [0, 7, 7, 0]),
        ([np.int64(2), np.uint8(3), np.int16(-1)], [2, 3, 7]),
        (np.array([5, -2], np.int8), [5, 6]),
        (np.array([5, 2], np.uint64), [5, 2]),
        (np.array([[5, 2]])[0], [5, 2]),
        (range(1, 8, 3), [1, 4, 7]),
        (range(7, -1, -1), [7, 6, 5, 4, 3, 2, 1, 0]),
        (slice(None), list(range(8))),
        (slice(2, 5), [2, 3, 4]),
        (slice(-1, None, -3), [7, 4, 1]),
        (slice(5, 99), [5, 6, 7]),
        ([True, False] * 4, [0, 2, 4, 6]),
        (np.arange(8) > 5, [6, 7]),
        (np.array(["k1", "k6"]), [1, 6]),
        (np.array(["k1", "k6"], object), [1, 6]),
        ([np.str_("k4")], [4]),
        ([3, "k1", -1, "k0.npy"], [3, 1, 7, 0]),
        (["k1", 3, np.int8(2)], [1, 3, 2]),
        (lambda: (f"k{i}" for i in (2, 0)), [2, 0]),
        ({"k2": 1, "k5": 2}, [2, 5]),
        ([4] * 100, [4] * 100),
        (memoryview(np.array([1, 2])), [1, 2]),
    ],
    ids=lambda value: None if isinstance(value, list) else type(value).__name__,
)
@pytest.mark.parametrize("threads", [None, 2])
def test_keys(simple, keys, rows, threads):
    npz, batch = simple
    keys = keys() if callable(keys) else keys
    before = pickle.dumps(keys) if isinstance(keys, np.ndarray) else None
    got = npz.fetch(keys, threads=threads)
    assert got.dtype == batch.dtype
    assert np.array_equal(got, batch[rows])
    assert before is None or pickle.dumps(keys) == before


@pytest.mark.parametrize(
    "keys",
    [
        [],
        (),
        slice(3, 3),
        slice(99, None),
        range(0),
        np.zeros(8, bool),
        np.empty(0, int),
        np.array([], object),
        np.array([], str),
        {},
    ],
    ids=repr,
)
def test_no_keys(simple, keys):
    npz, _ = simple
    got = npz.fetch(keys)
    assert got.shape == (0, 2, 3)
    assert got.dtype == np.dtype("<i4")


def test_no_keys_with_out(simple):
    npz, _ = simple
    out = np.empty((0, 2, 3), "<i4")
    assert npz.fetch([], out=out) is out
    with pytest.raises(ValueError):
        npz.fetch([], out=np.empty((1, 2, 3), "<i4"))


def test_no_keys_of_nothing(lab):
    assert fastzip.load(lab.Archive([]).build()).fetch([]).shape == (0,)
    text = fastzip.load(lab.Archive([lab.Member(b"a.txt", b"text")]).build())
    assert text.fetch([]).shape == (0,)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ("k1", TypeError),
        (b"k1", TypeError),
        (1, TypeError),
        (None, TypeError),
        (np.array(1), TypeError),
        (np.int64(1), TypeError),
        ([1.0], TypeError),
        ([None], TypeError),
        ([b"k1"], TypeError),
        (["k1", None], TypeError),
        (["k1", 1.5], TypeError),
        ([[1, 2]], TypeError),
        (np.zeros((2, 2), int), TypeError),
        (["none"], KeyError),
        (["k1", "none", "also none"], KeyError),
        ([1, "none"], KeyError),
        ([8], IndexError),
        ([-9], IndexError),
        ([0, 1 << 62], IndexError),
        ([1 << 63], IndexError),
        ([-(1 << 63)], IndexError),
        (["k1", 8], IndexError),
        (range(7, 9), IndexError),
        ([True, False], IndexError),
        (np.ones(9, bool), IndexError),
        (slice(0, 5, 0), ValueError),
        (slice("a", "b"), TypeError),
    ],
    ids=repr,
)
def test_bad_keys(simple, keys, kind):
    npz, _ = simple
    out = np.full((1, 2, 3), 77, "<i4")
    with pytest.raises(kind) as info:
        npz.fetch(keys)
    with pytest.raises(kind):
        npz.fetch(keys, out=out)
    assert (out == 77).all()
    if kind is KeyError:
        assert "none is not a file in the archive" in str(info.value)


def test_result(simple):
    npz, _ = simple
    got = npz.fetch([1, 2])
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert got.ctypes.data % 64 == 0
    got[:] = 5


@pytest.mark.parametrize("n", [0, 1, 2, 7, 63, 64, 100, 128, 129, 200, 4000, 8064, 8192, 30_000])
def test_row_sizes(lab, made, n):
    """Rows smaller than their header, around the limits between ways to inflate, and large."""
    arrays = {f"k{i}": lab.sparse(n, i) for i in range(N)}
    npz = made(lab.mixed(arrays))
    expected = np.stack(list(arrays.values()))
    rng = np.random.default_rng(n)
    for keys in (np.arange(N), rng.permutation(N), rng.integers(0, N, 200), [5] * 33, [3]):
        for threads in (1, 2, 8):
            assert np.array_equal(npz.fetch(keys, threads=threads), expected[keys])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fields", [100, 700])
def test_headers_longer_than_rows(lab, made, compressed, fields):
    """A header that covers many rows; the longer one makes the member a large one."""
    dtype = np.dtype([(f"field {i:04}", "u1") for i in range(fields)])
    arrays = {f"k{i}": lab.sparse(fields, i).view(dtype)[0] for i in range(N)}
    npz = made(lab.npz(compressed, **arrays), max_header_size=100_000)
    keys = np.random.default_rng(0).integers(0, N, 100)
    for threads in (1, 3):
        got = npz.fetch(keys, threads=threads)
        assert got.shape == (100,)
        for row, key in zip(got, keys, strict=True):
            assert row.tobytes() == arrays[f"k{key}"].tobytes()


def test_large_rows_over_several_passes(lab, made):
    """Members whose compressed bytes fill more than one input buffer, out of order."""
    rng = np.random.default_rng(2)
    arrays = {f"k{i}": rng.integers(0, 256, 150_000, np.uint8) for i in range(12)}
    npz = made(lab.mixed(arrays))
    expected = np.stack(list(arrays.values()))
    for keys in (list(range(12)) * 2, [11, 0, 10, 1, 9, 2], [0] * 9):
        for threads in (1, 2):
            assert np.array_equal(npz.fetch(keys, threads=threads), expected[keys])


def test_extra_fields_and_descriptors_of_all_lengths(lab, made):
    """Local headers that aren't as long as the last ones, in one batch."""
    rng = np.random.default_rng(4)
    members, arrays = [], []
    for i in range(N):
        for size in (900, 20_000):
            array = lab.sparse(size, i)
            extra = int(rng.choice([0, 4, 20, 36, 64, 1000, 9000]))
            padding = b"\x99\x99" + (extra - 4).to_bytes(2, "little") if extra else b""
            members.append(
                lab.Member(
                    b"%d-%d" % (size, i),
                    lab.npy(array),
                    method=int(rng.choice([0, 8])),
                    descriptor=rng.choice(["32", "sig64"]) if i % 2 else None,
                    local={"extra": padding.ljust(extra, b"\0")},
                )
            )
            arrays.append(array)
    npz = made(lab.Archive(members).build())
    for first in (0, 1):
        keys = rng.permutation(np.arange(first, 2 * N, 2))
        expected = np.stack([arrays[key] for key in keys])
        for threads in (1, 4):
            assert np.array_equal(npz.fetch(keys, threads=threads), expected)


DTYPES = ["?", "<i2", ">i2", "<f8", ">f4", "<c8", ">c16", "<f2", "S5", "<U3", ">U3", "V7",
          "<M8[ns]", ">M8[s]", "<m8[D]", "g",
          [("a", "<f4"), ("b", ">i2", (2,)), ("c", [("d", ">u8")])],
          [(("title", "a"), ">i4"), ("b", "u1")]]  # fmt: skip


def native(array):
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@SETTINGS
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 6), max_size=4).map(tuple),
    long=st.integers(1, 3000),
    orders=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=9),
    keys=st.lists(st.integers(0, 8), min_size=1, max_size=40),
    threads=st.integers(1, 4),
    use_out=st.booleans(),
)
def test_equals_stacked_numpy(lab, dtype, shape, long, orders, keys, threads, use_out):
    shape = shape if long < 2000 else (*shape[:1], long)
    dtype = np.dtype(dtype)
    members = []
    for i, (fortran, swapped, stored) in enumerate(orders):
        kind = dtype.newbyteorder() if swapped else dtype
        data = np.random.default_rng(i).integers(0, 2, int(np.prod(shape)) * kind.itemsize, "u1")
        array = np.ndarray(shape, kind, data.tobytes())
        array = np.asfortranarray(array) if fortran and shape else array
        members.append(lab.Member(b"%d.npy" % i, lab.npy(array), method=0 if stored else 8))
    data = lab.Archive(members).build()
    npz, reference = fastzip.load(data), np.load(io.BytesIO(data))
    keys = [str(key % len(orders)) for key in keys]
    kind = native(reference[keys[0]]).dtype
    out = np.empty((len(keys), *shape), kind) if use_out else None
    got = npz.fetch(keys, out=out, threads=threads)
    assert got is out or not use_out
    assert got.dtype == kind
    assert got.shape == (len(keys), *shape)
    assert got.flags.c_contiguous
    for i, key in enumerate(keys):
        assert lab.same(got[i, ...], native(reference[key]))


def test_signalling_nans_survive(lab):
    bits = np.array([0x7FF0000000000001, 0xFFF4000000000000, 0x7FF8000000000005], "<u8")
    arrays = {"n": bits.view("<f8"), "s": bits.byteswap().view(">f8")}
    got = fastzip.load(lab.npz(**arrays)).fetch(["n", "s", "s", "n"])
    assert (got.view("<u8") == bits).all()


def test_many_kinds_of_headers(lab, made):
    """More of them in one batch than it makes rounds."""
    members = []
    for i in range(30):
        text = lab.header_text("<i4", (3,)) + " " * i
        payload = np.arange(i, i + 3, dtype="<i4").tobytes()
        members.append(lab.Member(b"%d" % i, lab.raw_npy(text, payload), method=8 * (i % 2)))
    npz = made(lab.Archive(members).build())
    for threads in (1, 2):
        assert npz.fetch(slice(None), threads=threads)[:, 0].tolist() == list(range(30))
        assert npz.fetch([29, 3, 3, 0])[:, 2].tolist() == [31, 5, 5, 2]


def test_many_headers_with_a_damaged_member(lab, made):
    members = []
    for i in range(30):
        text = lab.header_text("<i4", (3,)) + " " * i
        payload = np.arange(i, i + 3, dtype="<i4").tobytes()
        crc = 1 if i in (17, 21) else None
        members.append(lab.Member(b"%d" % i, lab.raw_npy(text, payload), crc=crc))
    npz = made(lab.Archive(members).build())
    for keys, name in ((slice(None), "17"), ([1, 21, 2, 17], "21"), ([17], "17")):
        with pytest.raises(fastzip.CRCError) as info:
            npz.fetch(keys)
        assert info.value.member == name
        assert info.value.failed[0] == (name, "crc")


@pytest.mark.parametrize("where", [0, 3, 11])
def test_bytes_behind_an_array(lab, made, where):
    members = [
        lab.Member(b"%d" % i, lab.npy(np.arange(i, i + 5)) + bytes(9 if i == where else 0))
        for i in range(12)
    ]
    npz = made(lab.Archive(members).build())
    for threads in (1, 2):
        got = npz.fetch(slice(None), threads=threads)
        assert np.array_equal(got, np.arange(12)[:, None] + np.arange(5))


def test_all_members_have_bytes_behind(lab, made):
    members = [lab.Member(b"%d" % i, lab.npy(np.arange(i, i + 5)) + bytes(i % 4)) for i in range(N)]
    got = made(lab.Archive(members).build()).fetch(slice(None))
    assert np.array_equal(got, np.arange(N)[:, None] + np.arange(5))


@pytest.mark.parametrize("dtype", ["S0", "U0", "V0"])
def test_no_itemsize(lab, made, dtype):
    descr = np.dtype(dtype).str
    members = [lab.Member(b"a", lab.raw_npy(lab.header_text(descr, (2, 3)))) for _ in range(2)]
    got = made(lab.Archive(members).build()).fetch([0, 1, 0])
    assert got.shape == (3, 2, 3)
    assert got.dtype == np.dtype(dtype)


def test_no_itemsize_and_a_huge_shape(lab, made):
    """Rows of no bytes need no memory and no time, however many elements they have."""
    for descr in ("|S0", "|V0"):
        for extent in (2**36, 2**60):
            member = lab.Member(b"a", lab.raw_npy(lab.header_text(descr, (extent,))))
            npz = made(lab.Archive([member]).build())
            try:
                assert npz.fetch([0]).shape == (1, extent)
            except ValueError as exc:
                assert exc.member == "a"  # noqa: PT017


def test_byte_order_inside_of_sub_arrays(lab, made):
    """NumPy calls this dtype native: it doesn't look at the fields' sub-arrays."""
    dtype = np.dtype([("x", "<i4"), ("y", ">f8", (2,)), ("z", [("w", ">i2", (3,))])])
    values = np.array([(1, (2.0, 3.0), ((4, 5, 6),)), (7, (8.0, 9.0), ((10, 11, 12),))], dtype)
    npz = made(lab.npz(a=values, b=values[::-1]))
    got = npz.fetch(["a", "b"])
    assert got.dtype == dtype.newbyteorder("=")
    assert got["y"].tolist() == [[[2, 3], [8, 9]], [[8, 9], [2, 3]]]
    assert got["z"]["w"][1, 1].tolist() == [4, 5, 6]
