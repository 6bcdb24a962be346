"""`NpzFile.fetch_padded`: members of different lengths, side by side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unequal import MEMBERS, SETTINGS, N, archive_of, native, unequal

import fastzip
from fastzip import _core
from fastzip._batch import ragged as _ragged

FILLS = {
    "?": [0, True],
    "u1": [0, 255],
    "<i2": [0, -1],
    ">i4": [7],
    "<f8": [0, -1, np.nan, 0.1],
    ">f4": [np.inf, 1.5],
    "<c8": [1 + 2j, 0],
    "<M8[s]": [0, np.datetime64("NaT", "s")],
    "<U3": [0, "pad"],
    ">U3": ["x"],
    "S5": [0, b"end"],
    "V7": [0],
    "i4,f4": [0],
}


def padded(members, fill, length):
    """What it should be, by NumPy."""
    kind = native(members[0]).dtype
    length = max(map(len, members)) if length is None else length
    batch = np.zeros((len(members), length, *members[0].shape[1:]), kind)
    if kind.names is None and fill != 0:
        batch[...] = fill
    for row, member in zip(batch, members, strict=True):
        row[: len(member)] = native(member)[:length]
    return batch, [min(len(member), length) for member in members]


def assert_padded(lab, got, members, fill, length):
    batch, lengths = got
    wanted, true = padded(members, fill, length)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == true
    assert lab.same(batch, wanted)
    assert batch.flags.writeable


@pytest.mark.parametrize(
    ("scale", "trail"),
    [(0, ()), (1, (3,)), (130, ()), (1000, (3,)), (5000, (2, 1, 4)), (40_000, ())],
)
def test_lengths_of_all_kinds(lab, made, engine, scale, trail):
    arrays = unequal(lab, scale, trail=trail, dtype="u1")
    npz = made(lab.mixed(arrays))
    members = list(arrays.values())
    rng = np.random.default_rng(scale)
    for keys in (np.arange(N), rng.permutation(N), rng.integers(0, N, 70), [3]):
        wanted = [members[key] for key in keys]
        for threads in (1, 2, 4):
            for length in (None, scale + 3, scale // 2):
                got = npz.fetch_padded(keys, 9, length, truncate=True, threads=threads)
                assert_padded(lab, got, wanted, 9, length)
                assert got[0].ctypes.data % 64 == 0
                assert got[0].flags.c_contiguous


@SETTINGS
@given(
    dtype=st.sampled_from(sorted(FILLS)),
    fill=st.integers(0, 3),
    trail=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    members=MEMBERS,
    keys=st.lists(st.integers(0, 8), min_size=1, max_size=20),
    length=st.one_of(st.none(), st.integers(0, 20), st.integers(0, 3500)),
    threads=st.integers(1, 4),
    use_out=st.sampled_from(["no", "plain", "gaps"]),
)
def test_equals_padded_numpy(lab, dtype, fill, trail, members, keys, length, threads, use_out):
    kind = np.dtype(dtype)
    fill = FILLS[dtype][fill % len(FILLS[dtype])]
    data, reference = archive_of(lab, kind, trail, members)
    npz = fastzip.load(data)
    keys = [str(key % len(members)) for key in keys]
    wanted = [reference[key] for key in keys]
    extent = max(map(len, wanted)) if length is None else length
    out, around = None, np.empty(0)
    shape = (len(keys), extent, *trail)
    if use_out == "plain":
        out = np.ones(shape, native(wanted[0]).dtype)
    elif use_out == "gaps":
        around = np.ones((shape[0], 3, *shape[1:]), native(wanted[0]).dtype)
        out = around[:, 1]
    for _ in range(2):  # before and after the kinds are known
        got = npz.fetch_padded(keys, fill, length, truncate=True, out=out, threads=threads)
        assert out is None or got[0] is out
        assert_padded(lab, got, wanted, fill, length)
        if use_out == "gaps":
            assert lab.same(around[:, ::2], np.ones_like(around[:, ::2]))


# ---- the fill value ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("u1", 255), ("u1", 3.0), ("u1", True), ("u1", np.int64(7)), ("u1", np.array(7)),
        ("i1", -128), ("u8", 2**64 - 1), ("?", True), ("?", 1), ("f4", 0.1), ("f4", np.nan),
        ("f2", -np.inf), ("f2", 65504), ("f4", np.float64(1e-300)), ("f4", -1e9), ("f8", 2**53),
        ("c8", 1.5), ("c16", complex(1, np.nan)), ("g", 0.5), ("U2", "ab"), ("U2", ""),
        ("S2", b"ab"), ("M8[D]", np.datetime64("2020-01-02")), ("M8[D]", np.datetime64("NaT", "D")),
        ("m8[s]", np.timedelta64(5, "m")), ("u1", 0), ("f4", -0.0), ("f4", False), ("U2", 0),
        ("S2", 0), ("M8[D]", 0), ("i4,f4", 0), ("i4,f4", np.array((1, 2), "i4,f4")[()]),
    ],
)  # fmt: skip
def test_fill_values(dtype, value):
    kind = np.dtype(dtype)
    made = _ragged.fill_of(value, kind)
    assert made.dtype == kind
    assert made.shape == ()
    if isinstance(value, int) and value == 0:
        assert made.tobytes() == bytes(kind.itemsize)
    else:
        wanted = np.asarray(value).astype(kind)
        assert made == wanted or made.tobytes() == wanted.tobytes()  # not-a-numbers


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("u1", -1), ("u1", 256), ("u1", 0.5), ("u1", np.nan), ("u1", 10**30), ("u1", 1j),
        ("i1", 128), ("u1", "5"), ("u1", None), ("u1", [1]), ("u1", np.array([1])), ("u1", "x"),
        ("?", 2), ("?", -1), ("f4", 1e39), ("f2", 1e5), ("f2", 2049), ("f4", 2**24 + 1),
        ("f8", 2**53 + 1), ("f8", 10**400), ("f8", 1j), ("f8", "nan"), ("f8", None),
        ("U2", "abc"), ("U2", b"ab"), ("U2", 1), ("S2", b"abc"), ("S2", "ab"), ("V3", b"abc"),
        ("M8[D]", np.datetime64("2020-01-02T03")), ("M8[D]", 5), ("m8[s]", 1.5), ("f8", object()),
        ("M8[D]", np.timedelta64(5, "D")), ("i4,f4", 1), ("i4,f4", (1, 2)),
        ("i4,f4", np.array((1, 2), "i4,f8")[()]),
    ],
)  # fmt: skip
def test_fill_values_that_do_not_fit(lab, dtype, value):
    npz = fastzip.load(lab.npz(a=np.zeros(3, dtype)))
    out = np.ones((1, 5), dtype)
    with pytest.raises(ValueError, match="fill_value"):
        npz.fetch_padded([0], value, 5, out=out)
    assert lab.same(out, np.ones((1, 5), dtype))


def test_fill_rows():
    for n, extent, unit in ((1, 1, 1), (5, 300, 1), (200, 7, 3), (3, 1000, 16), (70, 1, 8)):
        rng = np.random.default_rng(n)
        for value in (bytes(unit), b"\7" * unit, bytes(range(1, unit + 1))):
            out = rng.integers(0, 256, (n, extent * unit), np.uint8)
            used = rng.integers(0, extent + 1, n)
            wanted = out.copy()
            for i, k in enumerate(used):
                wanted[i, k * unit :] = np.frombuffer(value * (extent - int(k)), np.uint8)
            for threads in (1, 3):
                _core.fill_rows(out, (used * unit).astype(np.uintp), value, threads)
                assert np.array_equal(out, wanted)
    out, used = np.zeros((2, 6), "u1"), np.zeros(2, np.uintp)
    for bad in (
        (out, used[:1], b"a"), (out, used, b""), (out, used, b"abcd"), (out, used + 7, b"a"),
        (out, used + 1, b"ab"),
    ):  # fmt: skip
        with pytest.raises((ValueError, IndexError)):
            _core.fill_rows(*bad, 1)
    assert not out.any()
    _core.fill_rows(np.zeros((3, 0), "u1"), np.zeros(3, np.uintp), b"abc", 1)


# ---- length ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 9000])
def test_length(lab, made, n):
    arrays = {"a": lab.sparse(n, 1), "b": lab.sparse(2 * n, 2), "c": lab.sparse(3 * n, 3)}
    npz = made(lab.mixed(arrays))
    out = np.full((3, 2 * n), 7, "u1")
    for threads in (1, 2):
        with pytest.raises(ValueError) as info:
            npz.fetch_padded(["c", "a", "c"], length=2 * n, out=out, threads=threads)
        exc = info.value
        assert (exc.code, exc.member) == ("length", "c.npy")
        assert exc.failed == [("c", "length"), ("c", "length")]
        assert f"of length {3 * n}, and length={2 * n}" in str(exc)
        assert (out == 7).all()
    for keys, length in ((["a", "b"], 2 * n), (["a", "b"], np.int64(2 * n + 1)), (["a"], n)):
        got = npz.fetch_padded(keys, 5, length)
        assert_padded(lab, got, [arrays[key] for key in keys], 5, int(length))
    for length in (0, 1, n, 3 * n, 4 * n):
        got = npz.fetch_padded(slice(None), 5, length, truncate=True)
        assert_padded(lab, got, list(arrays.values()), 5, length)
    for bad, kind in ((-1, ValueError), (1.5, TypeError), ("5", TypeError)):
        with pytest.raises(kind):
            npz.fetch_padded(["a"], length=bad)


def test_cut_members_are_verified_as_a_whole(lab, made):
    content = lab.npy(lab.sparse(20_000, 1))
    members = [lab.Member(b"a", content), lab.Member(b"b", content, crc=5)]
    npz = made(lab.Archive(members).build())
    with pytest.raises(fastzip.CRCError):
        npz.fetch_padded(["a", "b"], length=3, truncate=True)


def test_no_keys(lab):
    npz = fastzip.load(lab.npz(a=np.zeros((3, 2), ">i2")))
    for length, extent in ((None, 0), (5, 5)):
        batch, lengths = npz.fetch_padded([], length=length)
        assert (batch.shape, batch.dtype) == ((0, extent, 2), np.dtype("<i2"))
        assert (lengths.tolist(), lengths.dtype) == ([], np.int64)
    assert fastzip.load(lab.Archive([]).build()).fetch_padded([])[0].shape == (0, 0)


def test_too_much_memory(lab):
    npz = fastzip.load(lab.npz(a=np.zeros(3)))
    with pytest.raises(MemoryError):
        npz.fetch_padded(["a"], length=1 << 50)
    for length in (1 << 61, 1 << 70):
        with pytest.raises(ValueError) as info:
            npz.fetch_padded(["a", "a"], length=length)
        assert info.value.code == "shape"


# ---- out and damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [50, 9000])
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_around_out_is_written(lab, made, engine, n, threads):
    """Guard bytes on both sides, and between rows, through errors too."""
    arrays = unequal(lab, n, dtype="u1")
    members = list(arrays.values())
    npz = made(lab.mixed(arrays))
    wrong = [
        lab.Member(b"%d" % i, lab.npy(a), crc=5 if i % 4 == 1 else None)
        for i, a in enumerate(members)
    ]
    damaged = made(lab.Archive(wrong).build())
    for keys in ([3], [1, 2], list(range(N)), list(range(N))[::-1]):
        wanted = padded([members[key] for key in keys], 3, n)[0]
        guarded = np.full(len(keys) * n + 40_000, 0x5A, "u1")
        wide = np.full((len(keys), 3, n), 0x5A, "u1")
        for out in (guarded[20_000:-20_000].reshape(len(keys), n), wide[:, 1], wide[::-1, 1]):
            npz.fetch_padded(keys, 3, n, out=out, threads=threads)
            assert np.array_equal(out, wanted)
            out[...] = 0
            failing = [i for i, key in enumerate(keys) if key % 4 == 1]
            if failing:
                with pytest.raises(fastzip.CRCError) as info:
                    damaged.fetch_padded(keys, 3, n, out=out, threads=threads)
                assert len(info.value.failed) == len(failing)
            good = [i for i in range(len(keys)) if i not in failing]
            if failing:
                assert np.array_equal(out[good], wanted[good])
                for i in failing:  # what is behind the member is no part of it
                    assert (out[i, len(members[keys[i]]) :] == 3).all()
        assert (guarded[:20_000] == 0x5A).all()
        assert (guarded[-20_000:] == 0x5A).all()
        assert (wide[:, ::2] == 0x5A).all()


def test_bad_out(lab):
    npz = fastzip.load(lab.npz(a=np.zeros((3, 2), "<i2"), b=np.zeros((5, 2), "<i2")))
    for bad in (
        np.ones((2, 5, 2), ">i2"), np.ones((2, 5, 2), "<u2"), np.ones((2, 4, 2), "<i2"),
        np.ones((3, 5, 2), "<i2"), np.ones((2, 5, 4), "<i2")[:, :, ::2], np.ones((2, 10), "<i2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="out"):
            npz.fetch_padded(["a", "b"], 7, out=bad)
        assert (bad == 1).all()


def test_many_rows_and_threads(lab, save):
    """Enough to be filled up by several threads, members of very different lengths."""
    rng = np.random.default_rng(1)
    arrays = {f"{i}": np.arange(int(rng.exponential(8000)), dtype="<u4") for i in range(600)}
    npz = fastzip.load(save(lab.npz(**arrays)))
    for threads in (1, 4):
        keys = rng.permutation(600)
        got = npz.fetch_padded(keys, 77, threads=threads)
        assert_padded(lab, got, [arrays[str(key)] for key in keys], 77, None)
