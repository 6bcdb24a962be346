"""The headers of .npy members: odd ones as NumPy reads them, hostile ones refused."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=150
)


def both(lab, member):
    data = lab.Archive([lab.Member(b"x.npy", member)]).build()
    return fastzip.load(data), np.load(io.BytesIO(data))


PAYLOAD = np.arange(6, dtype="<i4").tobytes()


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (6,), }\n",
        "{'shape': (2, 3), 'fortran_order': True, 'descr': '<i4'}",
        '{"descr": "<i4", "fortran_order": False, "shape": (6,)}' + " " * 64 + "\n",
        "   {'descr': '<i4',\n 'fortran_order': False,\n\t'shape': (0x6,)}\n\n",
        "{'descr': '<' 'i4', 'fortran_order': False, 'shape': (1_0,)}"[:-5] + ",)}",
        "{'descr': 'i4', 'fortran_order': False, 'shape': ()}",
        "{'descr': 'int32', 'fortran_order': False, 'shape': (6,)} # comment",
        "{'descr': [('a', '<i2'), ('', '|V2')], 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '|V4', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (3, 2)}",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (0, 1000000)}",
    ],
)
def test_odd_headers(lab, header, version):
    mine, reference = both(lab, lab.raw_npy(header, PAYLOAD, version))
    expected = reference["x"]
    got = mine["x"]
    assert lab.same(got, expected)
    assert got.flags.f_contiguous == expected.flags.f_contiguous
    again = mine["x"]
    assert lab.same(again, expected)


def test_header_of_python_2(lab):
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2L, 3L)}"
    mine, reference = both(lab, lab.raw_npy(header, PAYLOAD))
    with pytest.warns(UserWarning, match="Python 2"):
        expected = reference["x"]
    with pytest.warns(UserWarning, match="Python 2"):
        assert lab.same(mine["x"], expected)
    mine, _ = both(lab, lab.raw_npy(header, PAYLOAD, 3))
    with pytest.raises(ValueError):
        mine["x"]


GOOD = "{'descr': '<i4', 'fortran_order': False, 'shape': (6,)}"
HOSTILE = {
    "empty": "",
    "spaces": " " * 100,
    "number": "1",
    "list": "[1]",
    "brace": "{",
    "parentheses": "(" * 900,
    "minuses": "-" * 9000 + "1",
    "cut": GOOD[:-1],
    "cut string": GOOD[:5],
    "three quotes": "'''",
    "backslash": GOOD + "\\",
    "nul": GOOD + "\0",
    "two": GOOD + GOOD,
    "not latin": "é" + GOOD,
    "call": "__import__('os').abort()",
    "descr calls": "{'descr': exit(), 'fortran_order': False, 'shape': (6,)}",
    "missing key": "{'descr': '<i4', 'fortran_order': False}",
    "more keys": GOOD[:-1] + ", 'more': 1}",
    "dict as key": "{{}: 1}",
    "list as key": "{[]: 1}",
    "set": "{'descr', 'fortran_order', 'shape'}",
    "shape list": GOOD.replace("(6,)", "[6]"),
    "shape number": GOOD.replace("(6,)", "6"),
    "shape float": GOOD.replace("(6,)", "(6.0,)"),
    "shape bool": GOOD.replace("(6,)", "(True,)"),
    "shape negative": GOOD.replace("(6,)", "(-6,)"),
    "shape two negative": GOOD.replace("(6,)", "(-2, -3)"),
    "shape too large": GOOD.replace("(6,)", "(7,)"),
    "shape far too large": GOOD.replace("(6,)", "(1 << 60,)"),
    "shape wraps to 6": GOOD.replace("(6,)", f"({2**63 + 3}, 2)"),
    "shape wraps to 0": GOOD.replace("(6,)", f"({2**32}, {2**32})"),
    "shape wraps bytes": GOOD.replace("(6,)", f"({2**62 + 6},)"),
    "shape huge": GOOD.replace("(6,)", f"({10**4000},)"),
    "shape huge and 0": GOOD.replace("(6,)", f"(0, {2**70})"),
    "shape huge and 0, fits words": GOOD.replace("(6,)", f"(0, {2**62}, {2**62})"),
    "too many dimensions": GOOD.replace("(6,)", "(" + "1, " * 70 + ")"),
    "order number": GOOD.replace("False", "0"),
    "order none": GOOD.replace("False", "None"),
    "descr none": GOOD.replace("'<i4'", "None"),
    "descr number": GOOD.replace("'<i4'", "4"),
    "descr empty": GOOD.replace("'<i4'", "''"),
    "descr empty tuple": GOOD.replace("'<i4'", "()"),
    "descr empty list": GOOD.replace("'<i4'", "[]") + " ",
    "descr tuple": GOOD.replace("'<i4'", "('<i4',)"),
    "descr dict": GOOD.replace("'<i4'", "{'a': 1}"),
    "descr nested": GOOD.replace("'<i4'", "[" * 50 + "'<i4'" + "]" * 50),
    "descr twice": GOOD.replace("'<i4'", "[('a', '<i2'), ('a', '<i2')]"),
    "descr negative": GOOD.replace("'<i4'", "('<i4', (-1,))"),
    "descr huge": GOOD.replace("'<i4'", "('<i4', (1 << 60,))"),
    "descr huge number": GOOD.replace("'<i4'", f"('<i4', ({2**70},))"),
    "descr huge string": GOOD.replace("'<i4'", "'S99999999999999999999'"),
    "descr large string": GOOD.replace("'<i4'", "'S2147483647'"),
    "descr surrogate": GOOD.replace("'<i4'", "'\\ud800'"),
    "descr nul": GOOD.replace("'<i4'", "'<i4\\0'"),
    "descr unit": GOOD.replace("'<i4'", "'<M8[ns'"),
    "descr unit 0": GOOD.replace("'<i4'", "'<M8[0s]'"),
    "descr field number": GOOD.replace("'<i4'", "[(1, '<i4')]"),
    "descr field alone": GOOD.replace("'<i4'", "[('a',)]"),
    "descr field of four": GOOD.replace("'<i4'", "[('a', '<i4', 1, 1)]"),
    "descr bytes": GOOD.replace("'<i4'", "b'<i4'"),
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(lab, case, version):
    """Whatever a header says, it is a ValueError that says where, or what numpy.load returns."""
    mine, reference = both(lab, lab.raw_npy(HOSTILE[case], PAYLOAD, version))
    refused = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = reference["x"]
        except Exception:
            expected = None
        for act in (lambda: mine["x"], lambda: mine["x"], lambda: mine.fetch(["x", "x"])[0]):
            try:
                got = act()
            except ValueError as exc:
                refused.append(exc)
            else:
                assert expected is not None
                assert lab.same(got, expected)
        assert expected is None or not refused
        with contextlib.suppress(ValueError):
            mine.spec("x")
    for exc in refused:
        assert exc.member == "x.npy"
        assert "x.npy" in str(exc)


@SETTINGS
@given(data=st.data())
def test_mutated_headers(lab, data):
    header = bytearray(data.draw(st.sampled_from(list(HOSTILE.values()))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(header)))
        piece = data.draw(st.sampled_from(list(b"(){}[]'\",:0129-LuifOSUVMm<>|= \n\\#.")))
        header[at : at + data.draw(st.integers(0, 2))] = bytes([piece])
    member = lab.raw_npy(bytes(header), PAYLOAD, data.draw(st.integers(1, 3)))
    mine, reference = both(lab, member)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = reference["x"]
        except Exception:
            expected = None
        try:
            got = mine["x"]
        except ValueError:
            got = None
        if got is not None:
            assert expected is not None
            assert lab.same(got, expected)


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (2, 1), (4, 0), (255, 255)])
def test_other_versions(lab, version):
    member = bytearray(lab.npy(np.arange(3)))
    member[6:8] = version
    mine, _ = both(lab, bytes(member))
    with pytest.raises(ValueError):
        mine["x"]
    with pytest.raises(ValueError):
        mine.spec("x")
    with pytest.raises(ValueError):
        mine.fetch(["x"])


def test_max_header_size(lab):
    array = np.zeros(3, [(f"field {i:04}", "u1") for i in range(600)])
    data = lab.npz(x=array, y=array)
    for source in (data, io.BytesIO(data)):
        npz = fastzip.load(source)
        for act in (lambda npz=npz: npz["x"], lambda npz=npz: npz.spec("x"),
                    lambda npz=npz: npz.fetch(["x", "y"])):  # fmt: skip
            with pytest.raises(ValueError, match="max_header_size") as info:
                act()
            assert info.value.member == "x.npy"
    npz = fastzip.load(data, max_header_size=100_000)
    assert lab.same(npz["x"], array)
    assert npz.spec("x").dtype == array.dtype
    assert npz.fetch(["x", "y"]).shape == (2, 3)
    assert lab.same(fastzip.load(data, allow_pickle=True)["x"], array)


def test_limit_of_header_size_is_numpys(lab):
    """The header's own length counts, not that of the magic in front."""
    header = GOOD.ljust(500)
    for version in (1, 2, 3):
        member = lab.raw_npy(header, PAYLOAD, version)
        data = lab.Archive([lab.Member(b"x.npy", member)]).build()
        for limit, works in ((499, False), (500, True), (501, True)):
            npz = fastzip.load(data, max_header_size=limit)
            reference = np.load(io.BytesIO(data), max_header_size=limit)
            for act in (lambda r=reference: r["x"], lambda n=npz: n["x"],
                        lambda n=npz: n.fetch(["x"])[0]):  # fmt: skip
                if works:
                    assert act().tolist() == [0, 1, 2, 3, 4, 5]
                else:
                    with pytest.raises(ValueError):
                        act()


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 1 << 20])
def test_huge_header_lengths(lab, length):
    member = b"\x93NUMPY\2\0" + struct.pack("<I", length) + GOOD.encode() + PAYLOAD
    for options in ({}, {"allow_pickle": True}, {"max_header_size": 1 << 40}):
        data = lab.Archive([lab.Member(b"x.npy", member)]).build()
        npz = fastzip.load(data, **options)
        for act in (lambda n=npz: n["x"], lambda n=npz: n.spec("x"), lambda n=npz: n.fetch([0])):
            with pytest.raises(ValueError):
                act()


def test_header_as_long_as_its_member(lab):
    member = b"\x93NUMPY\1\0" + struct.pack("<H", 65535) + GOOD.encode()
    mine, _ = both(lab, member)
    with pytest.raises(ValueError):
        mine["x"]
    mine, reference = both(lab, lab.raw_npy(lab.header_text("<i4", (0,))))
    assert mine["x"].shape == reference["x"].shape == (0,)


@pytest.mark.parametrize("missing", [1, 3, 4, 23, 24])
def test_array_longer_than_its_member(lab, missing):
    mine, reference = both(lab, lab.raw_npy(GOOD, PAYLOAD[:-missing]))
    with pytest.raises(ValueError):
        reference["x"]
    for act in (lambda: mine["x"], lambda: mine.spec("x"), lambda: mine.fetch(["x"])):
        with pytest.raises(ValueError, match="Failed to read all data") as info:
            act()
        assert info.value.code == "npy_data"


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("more", [1, 4, 128, 5000])
def test_bytes_behind_the_array(lab, more, method):
    """Accepted as numpy.load does, with the CRC over the whole member."""
    member = lab.raw_npy(GOOD, PAYLOAD + bytes(more))
    for crc, works in ((None, True), (1234, False)):
        data = lab.Archive([lab.Member(b"x.npy", member, method=method, crc=crc)]).build()
        npz = fastzip.load(data)
        if works:
            assert npz["x"].tolist() == npz["x"].tolist() == [0, 1, 2, 3, 4, 5]
            assert npz.fetch([0, 0]).tolist() == [[0, 1, 2, 3, 4, 5]] * 2
        else:
            with pytest.raises(fastzip.CRCError):
                npz["x"]
            with pytest.raises(fastzip.CRCError):
                npz.fetch([0, 0])


def test_changing_headers(lab):
    """The header seen last is a guess; members with others are still read as they are."""
    arrays = {}
    for i in range(60):
        dtype = ("<i4", ">i4", "<f4", "<i2")[i % 4]
        array = np.arange(24).reshape((4, 6) if i % 3 else (24,)).astype(dtype)
        arrays[f"k{i}"] = np.asfortranarray(array) if i % 5 == 0 else array
    npz = fastzip.load(lab.npz(**arrays))
    for i in np.random.default_rng(0).integers(0, 60, 400):
        assert lab.same(npz[f"k{i}"], arrays[f"k{i}"])


def test_more_headers_than_are_kept(lab):
    arrays = {f"k{i}": np.zeros((1, i), "u1") for i in range(1100)}
    npz = fastzip.load(lab.npz(False, **arrays))
    for _ in range(2):
        assert all(npz[f"k{i}"].shape == (1, i) for i in range(1100))


@pytest.mark.parametrize("nested", [False, True])
def test_no_two_arrays_share_a_dtype_that_can_be_changed(lab, save, nested):
    """Assigning to `dtype.names` is common, and changes the dtype in place."""
    inner = np.dtype([("x", "<i4"), ("y", "<f8")])
    dtype = np.dtype([("in", inner), ("z", "<i2")]) if nested else inner
    data = lab.npz(False, a=np.zeros(3, dtype), b=np.zeros(3, dtype))

    def rename(dtype):
        if nested:
            dtype["in"].names = ("p", "q")
        dtype.names = ("r", "s")

    for make in (
        lambda npz: npz["a"].dtype,
        lambda npz: npz.spec("a").dtype,
        lambda npz: npz.fetch(["a", "b"]).dtype,
    ):
        for source in (data, save(data)):
            for mode in (None, "r", "c"):
                npz = fastzip.load(source, mmap_mode=mode)
                rename(make(npz))
                for other in (npz, fastzip.load(source)):
                    for key in ("a", "b"):
                        assert other[key].dtype == dtype
                        assert other.spec(key).dtype == dtype
                    assert other.fetch(["a", "b"]).dtype == dtype


@pytest.mark.filterwarnings("always:Reading")
def test_the_warning_of_python_2_comes_each_time(lab):
    """As NumPy's does; whether it is shown once is for the filters to say."""
    header = lab.header_text("<i2", (2,)).replace("(2,", "(2L,")
    data = lab.raw_npy(header.ljust(117) + "\n", b"\1\0\2\0")
    npz = fastzip.load(lab.Archive([lab.Member(b"%d.npy" % i, data) for i in range(3)]).build())
    for key in ("0", "1", "1", "2"):
        with pytest.warns(UserWarning, match="Python 2"):
            assert npz[key].tolist() == [1, 2]
    with pytest.warns(UserWarning, match="Python 2"):
        assert npz.fetch(["2", "0"]).tolist() == [[1, 2], [1, 2]]
