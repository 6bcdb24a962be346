"""`NpzFile.fetch_ragged` and `lengths`: members of different lengths, one after another."""

from __future__ import annotations

import contextlib
import os
import threading

import numpy as np
import pytest
from archivelab import run_threads
from hypothesis import given
from hypothesis import strategies as st
from unequal import MEMBERS, SETTINGS, N, archive_of, native, unequal

import fastzip
from fastzip import _core
from fastzip._batch import unequal as _parts
from fastzip._npy import header as _npy
from fastzip._npy import kinds as _shapes
from fastzip._npy.kinds import ODD, shapes_of

DTYPES = ["?", "<i2", ">i2", "<f8", ">f4", "<c8", ">c16", "S5", "<U3", ">U3", "V7", "<M8[ns]",
          [("a", "<f4"), ("b", ">i2", (2,)), ("c", [("d", ">u8")])],
          [(("title", "a"), ">i4"), ("b", "u1")]]  # fmt: skip


def assert_ragged(got, members):
    values, offsets = got
    wanted = [native(member) for member in members]
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [0, *np.cumsum([len(member) for member in members])]
    assert values.dtype == wanted[0].dtype
    assert values.shape == (offsets[-1], *wanted[0].shape[1:])
    assert values.flags.c_contiguous
    assert values.flags.writeable
    for i, member in enumerate(wanted):
        assert lab_same(values[offsets[i] : offsets[i + 1]], member)


def lab_same(a, b):
    if a.dtype.names is not None:
        return a.dtype == b.dtype and all(lab_same(a[name], b[name]) for name in a.dtype.names)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("scale", "trail"),
    [(0, ()), (1, (3,)), (130, ()), (1000, (3,)), (5000, (2, 1, 4)), (40_000, ())],
)
def test_lengths_of_all_kinds(lab, made, engine, scale, trail):
    """Shorter than a header, around the limits between ways to inflate, and large."""
    arrays = unequal(lab, scale, trail=trail, dtype="u1")
    npz = made(lab.mixed(arrays))
    members = list(arrays.values())
    rng = np.random.default_rng(scale)
    for keys in (np.arange(N), rng.permutation(N), rng.integers(0, N, 90), [5] * 33, [3]):
        for threads in (1, 2, 4):
            got = npz.fetch_ragged(keys, threads=threads)
            assert_ragged(got, [members[key] for key in keys])
            assert got[0].ctypes.data % 64 == 0
    assert npz.lengths().tolist() == [len(member) for member in members]


@SETTINGS
@given(
    dtype=st.sampled_from(DTYPES),
    trail=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    members=MEMBERS,
    keys=st.lists(st.integers(0, 8), min_size=1, max_size=40),
    threads=st.integers(1, 4),
    use_out=st.sampled_from([None, 0, 5]),
)
def test_equals_concatenated_numpy(lab, dtype, trail, members, keys, threads, use_out):
    data, reference = archive_of(lab, np.dtype(dtype), trail, members)
    npz = fastzip.load(data)
    keys = [str(key % len(members)) for key in keys]
    wanted = [reference[key] for key in keys]
    kind = native(wanted[0]).dtype
    total = sum(len(member) for member in wanted)
    out = None if use_out is None else np.zeros((total + use_out, *trail), kind)
    for _ in range(2):  # before and after the kinds are known
        values, offsets = npz.fetch_ragged(keys, out=out, threads=threads)
        assert_ragged((values, offsets), wanted)
        if out is not None:
            assert values.base is out or values is out or not out.size
            assert out[total:].tobytes() == bytes(out[total:].nbytes)


@pytest.mark.parametrize("keys", [["k3", "k1.npy"], [3, -1], slice(2, 9, 3), ("k1", 2)], ids=str)
def test_keys(lab, keys):
    arrays = unequal(lab, 20, 12)
    npz = fastzip.load(lab.mixed(arrays))
    names = keys if not isinstance(keys, slice) else range(12)[keys]
    wanted = [arrays[k.removesuffix(".npy") if isinstance(k, str) else f"k{k % 12}"] for k in names]
    assert_ragged(npz.fetch_ragged(keys), wanted)
    assert npz.lengths(keys).tolist() == [len(member) for member in wanted]
    mask = np.zeros(12, bool)
    mask[[1, 5]] = True
    assert_ragged(npz.fetch_ragged(mask), [arrays["k1"], arrays["k5"]])
    for bad, kind in ((["none"], KeyError), ([12], IndexError), ("k1", TypeError)):
        for read in (npz.fetch_ragged, npz.lengths):
            with pytest.raises(kind):
                read(bad)


def test_no_keys(lab):
    npz = fastzip.load(lab.npz(a=np.zeros((3, 2), ">i2"), b=np.zeros((0, 2), ">i2")))
    values, offsets = npz.fetch_ragged([])
    assert (values.shape, values.dtype, offsets.tolist()) == ((0, 2), np.dtype("<i2"), [0])
    assert npz.lengths([]).tolist() == []
    assert npz.fetch_ragged(["b", "b"])[1].tolist() == [0, 0, 0]
    out = np.empty((0, 2), "<i2")
    assert npz.fetch_ragged([], out=out)[0] is out
    for data in (lab.Archive([]).build(), lab.Archive([lab.Member(b"a", b"text")]).build()):
        values, offsets = fastzip.load(data).fetch_ragged([])
        assert (values.shape, offsets.tolist()) == ((0,), [0])


# ---- what is learnt ----------------------------------------------------------------------------


def test_shapes_are_known_without_a_read(lab, save, monkeypatch):
    """After the first pass; and the parser of headers sees one of each kind."""
    arrays = unequal(lab, 3000, 500)
    npz = fastzip.load(save(lab.mixed(arrays)))
    assert "shapes" not in vars(npz._reader)
    parsed = []
    real = _npy.parse
    monkeypatch.setattr(_npy, "parse", lambda raw, most: parsed.append(raw) or real(raw, most))
    monkeypatch.setattr(_shapes, "parse", _npy.parse)
    monkeypatch.setattr(_npy.HEADERS, "_seen", {})
    wanted = [len(member) for member in arrays.values()]
    assert npz.lengths(threads=2).tolist() == wanted
    assert len(parsed) <= 2  # the first one, and its proof
    known = shapes_of(npz._reader)
    assert known.ids.nbytes == 4 * 500
    assert set(known.ids) == {1}

    def refuse(*_):
        raise AssertionError("a member was looked at again")

    monkeypatch.setattr(_core, "find_kinds", refuse)
    monkeypatch.setattr(_core, "read_front", refuse)
    assert npz.lengths().tolist() == wanted
    assert_ragged(npz.fetch_ragged([3, 2]), [arrays["k3"], arrays["k2"]])


def test_only_what_is_asked_for_is_looked_at(lab, made):
    npz = made(lab.mixed(unequal(lab, 100)))
    npz.lengths([3, 8, 3])
    assert np.flatnonzero(shapes_of(npz._reader).ids).tolist() == [3, 8]


def test_kinds_and_odd_members(lab, made):
    """Each dtype, order and row shape is a kind; what needs a look each time is none."""
    text = lab.header_text("<i4", (3,))
    twelve = np.arange(3, dtype="<i4").tobytes()
    contents = [
        lab.npy(np.zeros((4, 3))),
        lab.npy(np.zeros((10, 3))),
        lab.npy(np.asfortranarray(np.zeros((4, 3)))),
        lab.npy(np.zeros((4, 2))),
        lab.npy(np.zeros((4, 3), ">f8")),
        lab.npy(np.zeros((123_456, 3))),
        lab.npy(np.zeros(())),
        lab.npy(np.zeros((4, 0))),
        lab.npy(np.zeros((4, 3))) + b"more",
        lab.npy(np.array([None])),
        b"text",
        b"",
        lab.raw_npy(text.replace("(3,)", "( 3,)") + "\n", twelve),
        lab.raw_npy(text.replace("(3,)", "(3 ,)") + "\n", twelve),
        lab.raw_npy(text.replace("(3,)", "(0x3,)") + "\n", twelve),
        lab.raw_npy(text, twelve),  # no newline
        lab.raw_npy(text + "\n", twelve),
        lab.raw_npy("{'fortran_order': False, 'shape': (3,), 'descr': '<i4'}\n", twelve),
        lab.raw_npy(text + "\n", twelve, version=2),
        lab.raw_npy(lab.header_text([("'shape': (3,", "<i4")], (3,)) + "\n", twelve),
    ]
    members = [lab.Member(b"%d" % i, content) for i, content in enumerate(contents)]
    npz = made(lab.Archive(members).build())
    known = shapes_of(npz._reader)
    ids = known.find(npz._reader, np.arange(len(contents)), 2, 10_000)
    assert ids.tolist() == [0, 0, 1, 2, 3, 0, *[ODD] * 10, 4, 5, 6, 7]
    assert [kind.direct for kind in known.kinds] == [True, False, True, False, *[True] * 4]
    for i, kind in enumerate(known.kinds):
        header = npz._reader.header(int(np.flatnonzero(ids == i)[0]))
        assert kind.fits(header, header.offset + header.nbytes)
        assert kind.write(header.spec.shape[0]) == header.raw
        assert kind.write(10**300) is None
    assert npz.lengths([0, 1, 5, 7, 8, 12, 14, 15, 19]).tolist() == [
        *(4, 10, 123456, 4, 4, 3, 3, 3, 3)
    ]


def test_more_kinds_than_are_kept(lab, made):
    arrays = {f"{n}-{m}": np.full((m, n), n, "<u2") for n in range(1, 81) for m in (0, 2)}
    npz = made(lab.npz(**arrays))
    assert npz.lengths(threads=3).tolist() == [0, 2] * 80
    assert len(shapes_of(npz._reader).kinds) == 64
    assert_ragged(npz.fetch_ragged(["80-2", "80-0"]), [arrays["80-2"], arrays["80-0"]])


def test_long_headers_are_no_kinds(lab, made):
    dtype = np.dtype([(f"field {i}", "u1") for i in range(40)])
    arrays = {str(n): lab.sparse(40 * n, n).view(dtype) for n in range(5)}
    npz = made(lab.npz(**arrays))
    got = npz.fetch_ragged(slice(None))
    assert_ragged(got, list(arrays.values()))
    assert set(shapes_of(npz._reader).ids) == {ODD}
    npz.max_header_size = 100
    with pytest.raises(fastzip.LimitError):
        npz.fetch_ragged([1])


def test_a_limit_that_is_lowered_later(lab):
    npz = fastzip.load(lab.npz(a=np.arange(3), b=np.arange(4)))
    assert npz.lengths().tolist() == [3, 4]
    npz.max_header_size = 50
    for read in (npz.lengths, npz.fetch_ragged):
        with pytest.raises(fastzip.LimitError) as info:
            read([0, 1])
        assert info.value.failed == [("a", "max_header_size"), ("b", "max_header_size")]
    npz.max_header_size = 10_000
    assert npz.lengths().tolist() == [3, 4]


def test_pairs_of_kinds_take_turns(lab, save):
    """Images and labels of many samples: two looks at most."""
    arrays = {}
    for i in range(300):
        arrays[f"{i}.image"] = np.zeros((i % 7, 3), "u1")
        arrays[f"{i}.label"] = np.zeros(i % 5, "<i8")
    npz = fastzip.load(save(lab.npz(**arrays)))
    assert npz.lengths(threads=2).tolist() == [len(array) for array in arrays.values()]
    assert len(shapes_of(npz._reader).kinds) == 2


def test_many_threads_learn_at_once(lab, save, monkeypatch):
    arrays = {f"{i}": np.zeros((i, 1 + i % 3), "u1") for i in range(900)}
    npz = fastzip.load(save(lab.npz(**arrays)))
    gate = threading.Barrier(4)

    def work(i):
        gate.wait(10)
        keys = np.random.default_rng(i).permutation(900)
        assert npz.lengths(keys, threads=2).tolist() == keys.tolist()

    run_threads(work, 4)
    known = shapes_of(npz._reader)
    assert npz.lengths().tolist() == list(range(900))
    assert len(known.kinds) <= 12


# ---- what is refused ---------------------------------------------------------------------------


def test_members_that_do_not_belong(lab, made):
    members = [
        lab.Member(b"a.npy", lab.npy(np.zeros((3, 2), "f4"))),
        lab.Member(b"b.npy", lab.npy(np.zeros((5, 2), "f4"))),
        lab.Member(b"wide.npy", lab.npy(np.zeros((3, 3), "f4"))),
        lab.Member(b"flat.npy", lab.npy(np.zeros(3, "f4"))),
        lab.Member(b"double.npy", lab.npy(np.zeros((3, 2)))),
        lab.Member(b"scalar.npy", lab.npy(np.float32(1))),
        lab.Member(b"object.npy", lab.npy(np.array([None]))),
        lab.Member(b"text", b"no array"),
        lab.Member(b"short.npy", lab.raw_npy(lab.header_text("<f4", (9, 2)) + "\n", b"abc")),
        lab.Member(b"none.npy", lab.npy(np.zeros((3, 0), "f4"))),
    ]
    npz = made(lab.Archive(members).build())
    for key, code, words in (
        ("wide", "unlike", ["(n, 3)", "(n, 2)", "a.npy"]),
        ("flat", "unlike", ["(n,)", "(n, 2)"]),
        ("double", "unlike", ["float64", "float32"]),
        ("none", "unlike", ["(n, 0)"]),
        ("scalar", "shape", ["0-dimensional"]),
        ("object", "object_dtype", ["objects"]),
        ("text", "no_array", ["not an array"]),
        ("short", "npy_data", ["could only read"]),
    ):
        for keys in (["a", key, "b"], ["a", "b", key, "text"]):
            for read in (npz.fetch_ragged, npz.fetch_padded):
                out = np.full((8, 2), 7, "f4")
                with pytest.raises(ValueError) as info:
                    read(keys, out=out)
                exc = info.value
                assert exc.code == code
                assert exc.member.removesuffix(".npy") == key
                assert exc.failed[0] == (key, code)
                assert all(word in str(exc) for word in words), exc
                assert (out == 7).all()
    with pytest.raises(ValueError) as info:
        npz.lengths()
    assert info.value.failed == [
        ("scalar", "shape"),
        ("object", "object_dtype"),
        ("text", "no_array"),
        ("short", "npy_data"),
    ]
    with pytest.raises(ValueError) as info:
        npz.fetch_ragged(["text", "scalar"])
    assert info.value.failed == [("text", "no_array"), ("scalar", "shape")]


@pytest.mark.parametrize("scale", [30, 20_000])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_damaged_members_in_the_midst(lab, made, engine, scale, threads):
    """All of them are named, and the others stand where they should, byte for byte."""
    bad = {3: "crc", 4: "password", 9: "lfh_magic", 20: "crc", 33: "deflate", 35: "method"}
    arrays = list(unequal(lab, scale, dtype="u1").values())
    arrays[3] = arrays[20] = arrays[33] = lab.sparse(scale, 77)
    members = []
    for i, array in enumerate(arrays):
        member = lab.Member(b"k%d.npy" % i, lab.npy(array), method=8 if i % 3 else 0)
        if bad.get(i) == "crc":
            member.crc = 7
        elif bad.get(i) == "lfh_magic":
            member.local = {"magic": b"none"}
        elif bad.get(i) == "method":
            member.method, member.body = 97, b"whatever"
        elif bad.get(i) == "password":
            member.flags, member.method = 1, 8
        elif bad.get(i) == "deflate":  # its header can be read, then it ends in rubbish
            member.method = 8
            member.body = lab.deflate(member.data, 0)[: -len(array) // 2] + b"\xff" * 9
        members.append(member)
    npz = made(lab.Archive(members).build())
    rng = np.random.default_rng(scale)
    for keys in (np.arange(N), rng.permutation(N)):
        errors = (fastzip.BadZipFile, fastzip.UnsupportedError, fastzip.PasswordError)
        with pytest.raises(errors) as info:
            npz.fetch_ragged(keys, threads=threads)
        failed = dict(info.value.failed)
        assert set(failed) == {f"k{i}" for i in bad}
        assert {k: c for k, c in failed.items() if k != "k33"} == {
            f"k{i}": code for i, code in bad.items() if i != 33
        }
        first = next(key for key in keys.tolist() if key in bad)
        assert info.value.member == f"k{first}.npy"
    # What fails only when it is inflated leaves its neighbours alone.
    late = [i for i in range(N) if i not in bad or bad[i] == "crc"]
    good = [i for i in late if i not in bad]
    for keys in (late, late[::-1]):
        total = sum(len(arrays[key]) for key in keys)
        guarded = np.full(total + 20_000, 0x5A, "u1")
        out = guarded[10_000:-10_000]
        with pytest.raises(fastzip.CRCError) as info:
            npz.fetch_ragged(keys, out=out, threads=threads)
        assert len(info.value.failed) == 2
        at = 0
        for key in keys:
            n = len(arrays[key])
            assert key in bad or np.array_equal(out[at : at + n], arrays[key]), key
            at += n
        assert (guarded[:10_000] == 0x5A).all()
        assert (guarded[-10_000:] == 0x5A).all()
    assert_ragged(npz.fetch_ragged(good, threads=threads), [arrays[i] for i in good])


def test_headers_that_lie(lab, made):
    """A member that says another length than its size tells, or whose bytes say something else."""
    said = lab.raw_npy(lab.header_text("<u2", (100,)) + "\n", bytes(100))
    more = lab.raw_npy(lab.header_text("<u2", (100,)) + "\n", bytes(300))
    huge = lab.raw_npy(lab.header_text("<u2", (1 << 50,)) + "\n", bytes(300))
    good = lab.raw_npy(lab.header_text("<u2", (100,)) + "\n", bytes(200))
    members = [lab.Member(b"%d" % i, c) for i, c in enumerate([good, said, more, huge])]
    data = lab.Archive(members).build()
    npz = made(data)
    with pytest.raises(ValueError) as info:
        npz.fetch_ragged(slice(None))
    assert info.value.failed == [("1", "npy_data"), ("3", "npy_data")]
    assert npz.fetch_ragged(["0", "2"])[1].tolist() == [0, 100, 200]
    with pytest.raises(ValueError) as info:
        made(data, strict=True).fetch_ragged(["0", "2"])
    assert info.value.failed == [("2", "npy_trailing")]


@pytest.mark.parametrize("size", [50, 30_000])
def test_a_file_that_changes_behind_what_is_known(lab, save, size):
    """The header is compared with what was known whenever a member is read."""
    first, second = lab.sparse(size, 1), lab.sparse(size, 2)
    other = lab.npy(np.zeros((size // 2, 2), "u1") + 3)
    assert len(other) == len(lab.npy(first))
    for method in (0, 8):
        honest = [lab.npy(first), lab.npy(second)]
        members = [lab.Member(b"%d.npy" % i, c, method=method) for i, c in enumerate(honest)]
        body = members[1].packed()
        packed = lab.Member(b"1.npy", other, method=method).packed()
        path = save(lab.Archive(members).build())
        npz = fastzip.load(path, verify=False)
        assert npz.lengths().tolist() == [size, size]
        if len(packed) > len(body):
            continue
        data = path.read_bytes()
        at = data.index(body)
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(packed)
        with pytest.raises((fastzip.BadZipFile, ValueError)) as info:
            npz.fetch_ragged([0, 1])
        assert info.value.failed[0][0] == "1"


def test_foreign_members(lab, made):
    """By other methods and encrypted, among others."""
    import bz2

    arrays = unequal(lab, 4000)
    members = []
    for i, array in enumerate(arrays.values()):
        content = lab.npy(array)
        body = bz2.compress(content) if i % 4 == 1 else None
        members.append(lab.Member(b"k%d" % i, content, method=12 if body else 8, body=body))
    npz = made(lab.Archive(members).build())
    for threads in (1, 3):
        keys = np.random.default_rng(threads).permutation(N)
        wanted = [arrays[f"k{key}"] for key in keys]
        assert_ragged(npz.fetch_ragged(keys, threads=threads), wanted)
    assert set(shapes_of(npz._reader).ids) == {1}


def test_large_foreign_member_that_lies(lab, made):
    """It is decoded once before memory is taken for what it claims."""
    import bz2

    claim = 40 << 20
    content = lab.raw_npy(lab.header_text("|u1", (claim,)) + " " * 40 + "\n")
    size = len(content) + claim
    member = lab.Member(b"a", body=bz2.compress(content + bytes(9)), method=12, size=size, crc=1)
    good = lab.Member(b"b", lab.npy(np.zeros(3, "u1")))
    npz = made(lab.Archive([member, good]).build())
    with pytest.raises(fastzip.BadZipFile) as info:
        npz.fetch_ragged(["b", "a"])
    assert [key for key, _ in info.value.failed] == ["a"]


def test_more_elements_than_can_be_counted(lab):
    member = lab.Member(b"a", lab.raw_npy(lab.header_text("|V0", (2**60,)) + "\n"))
    npz = fastzip.load(lab.Archive([member]).build())
    with pytest.raises(ValueError) as info:
        npz.fetch_ragged([0] * 9)
    assert info.value.code == "shape"


# ---- out ---------------------------------------------------------------------------------------


def test_out(lab, made):
    arrays = unequal(lab, 5000, trail=(2,))
    npz = made(lab.mixed(arrays))
    keys = [3, 9, 12, 5]
    wanted = np.concatenate([arrays[f"k{key}"] for key in keys])
    total = len(wanted)
    out = np.full((total + 50, 2), 0x7777, "<u2")
    values, _ = npz.fetch_ragged(keys, out=out)
    assert values.base is out
    assert np.array_equal(values, wanted)
    assert (out[total:] == 0x7777).all()
    wide = np.full((2 * total + 1, 3, 2), 0x7777, "<u2")
    for view in (wide[: 2 * total : 2, 1], wide[total - 1 :: -1, 1]):
        values, _ = npz.fetch_ragged(keys, out=view)
        assert np.array_equal(view, wanted)
        view[...] = 0x7777
        assert (wide == 0x7777).all()
    buffer = bytearray(total * 4)
    memory = memoryview(buffer).cast("H", (total, 2))
    assert npz.fetch_ragged(keys, out=memory)[0] is memory
    assert bytes(buffer) == wanted.tobytes()
    frozen = out[:total].view()
    frozen.flags.writeable = False
    for bad in (out[: total - 1], out.view("<i2"), frozen, np.zeros(2 * total, "<u2"),
                np.zeros((total, 3), "<u2")[:, :2].T.copy().T, 5, wanted.tolist()):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match="out"):
            npz.fetch_ragged(keys, out=bad)


def test_long_pieces(lab, made, monkeypatch):
    """What goes by way of memory takes several pieces of it."""
    monkeypatch.setattr(_parts, "_PIECE", 5000)
    arrays = {f"k{i}": lab.sparse(300 * (i % 11), i, ">u2").reshape(-1, 3) for i in range(N)}
    npz = made(lab.mixed(arrays))
    assert_ragged(npz.fetch_ragged(slice(None), threads=3), list(arrays.values()))


# ---- faults ------------------------------------------------------------------------------------


def test_every_allocation(lab, save, engine):
    """Each fails once: a MemoryError, or the right result."""
    arrays = unequal(lab, 12_000, 12)
    path = save(lab.mixed(arrays))
    wanted = np.concatenate(list(arrays.values()))
    outcomes = set()
    for nth in range(1, 60):
        fastzip.trim()
        npz = fastzip.load(path)
        _core.fail_allocation(nth)
        try:
            values, _ = npz.fetch_ragged(slice(None), threads=1)
            assert np.array_equal(values, wanted)
            outcomes.add("right")
        except MemoryError:
            outcomes.add("memory")
        finally:
            made = _core.fail_allocation(0)
        assert np.array_equal(npz.fetch_ragged(slice(None))[0], wanted)
        npz.close()
        if made < nth:
            break
    assert outcomes == {"right", "memory"}
    assert made < nth


@pytest.mark.parametrize("large", [300_000, 900_000])
def test_scratch_memory_that_grows(lab, save, engine, large):
    """A group's first member goes through scratch memory, after smaller ones. Without memory for
    it, the others must not have less than they were promised."""
    sizes = [large, 350_000, 10, 20, 8000, 5, 300_000, 30]
    arrays = {f"k{i}": lab.sparse(n, i) for i, n in enumerate(sizes)}
    path = save(lab.npz(**arrays))
    wanted = np.concatenate(list(arrays.values()))
    for nth in range(1, 16):
        fastzip.trim()
        with fastzip.load(path) as npz:
            npz.lengths()
            _core.fail_allocation(nth)
            try:
                with contextlib.suppress(MemoryError):
                    assert np.array_equal(npz.fetch_ragged(slice(None), threads=1)[0], wanted)
            finally:
                _core.fail_allocation(0)


def test_closed(lab):
    npz = fastzip.load(lab.npz(a=np.arange(3)))
    npz.close()
    for read in (npz.fetch_ragged, npz.fetch_padded, npz.lengths):
        with pytest.raises(ValueError, match="closed"):
            read([0])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(lab, save):
    """What the parent learnt is the child's, too."""
    arrays = unequal(lab, 9000)
    npz = fastzip.load(save(lab.mixed(arrays)))
    npz.lengths()
    wanted = np.concatenate(list(arrays.values()))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            right = np.array_equal(npz.fetch_ragged(slice(None), threads=2)[0], wanted)
            code = 0 if right and shapes_of(npz._reader).ids.all() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- the native boundary -----------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_boundary_checks(lab, ahead):
    npz = fastzip.load(lab.npz(a=np.arange(3, dtype="u1"), b=np.arange(4, dtype="u1")))
    npz.lengths()
    reader, kind = npz._reader, shapes_of(npz._reader).kinds[0].native
    text, before, head, unit = kind

    def fetch(positions=(0, 1), kinds=(kind,), which=(0, 0), places=(0, 3), size=7, n=2):
        out, statuses = np.full(size, 9, "u1"), np.zeros(n, "i4")
        arguments = (
            *(reader.source, reader.directory, np.array(positions, "i8"), list(kinds)),
            *(np.array(which, "i4"), np.array(places, np.uintp), out, 1),
        )
        if ahead:
            assert _core.fetch_parts_ahead(*arguments, 1, True, statuses).wait()
        else:
            _core.fetch_parts(*arguments, True, statuses)
        assert not statuses.any()
        return out.tolist()

    assert fetch() == [0, 1, 2, 0, 1, 2, 3]
    assert fetch((), which=(), places=(), n=0) == [9] * 7
    assert fetch(places=(1, 6), size=12) == [9, 0, 1, 2, 9, 9, 0, 1, 2, 3, 9, 9]
    for wrong in (
        {"positions": (0, 2)}, {"positions": (-1, 0)}, {"which": (0, 1)}, {"which": (-1, 0)},
        {"places": (0, 2)}, {"places": (4, 0)}, {"places": (0, 4)}, {"size": 6}, {"n": 3},
        {"places": (0, (1 << 64) - 1)}, {"kinds": ((text, before, head, 0),)},
        {"kinds": ((text, len(text) + 1, head, unit),)}, {"kinds": ((text, before, 5, unit),)},
        {"kinds": ((text, before, head, 5),)}, {"kinds": ((text, before, head + 99, unit),)},
    ):  # fmt: skip
        with pytest.raises((ValueError, IndexError)):
            fetch(**wrong)
    found = np.empty(2, "i4")
    where = np.arange(2)
    _core.find_kinds(reader.source, reader.directory, where, [kind], 1, found)
    assert found.tolist() == [0, 0]
    _core.find_kinds(reader.source, reader.directory, where, [], 1, found)
    assert found.tolist() == [-1, -1]
    long = (text, before, 600, unit)
    with pytest.raises(ValueError):
        _core.find_kinds(reader.source, reader.directory, where, [long], 1, found)
    with pytest.raises(IndexError):
        _core.find_kinds(reader.source, reader.directory, where + 1, [kind], 1, found)
    with pytest.raises(ValueError):
        _core.find_kinds(reader.source, reader.directory, where, [kind], 1, found[:1])
