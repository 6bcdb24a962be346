"""Limits that a caller sets, strict mode, and sizes that nobody takes memory for."""

from __future__ import annotations

import gc
import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest

import fastzip
from fastzip import _core, errors
from fastzip._dropin import loading as _load
from fastzip._npy.header import HEADERS
from fastzip._zip.index import Limits

U16, U32 = 0xFFFF, 0xFFFFFFFF


def arrays(lab, **central):
    """Two .npy members, deflated and stored; fields of the first one's directory entry changed."""
    return lab.Archive(
        [
            lab.Member(b"a.npy", lab.npy(np.arange(50)), central=central),
            lab.Member(b"b.npy", lab.npy(np.arange(50)), method=0),
        ]
    )


def with_fields(archive, **fields):
    for name, value in fields.items():
        setattr(archive, name, value)
    return archive


# ------------------------------------------------------------------------------------------- strict

AT_OPEN = {
    "bytes behind": (
        "behind_archive",
        lambda lab: with_fields(arrays(lab), trailing=b"x"),
    ),
    "64 KiB behind": (
        "behind_archive",
        lambda lab: with_fields(arrays(lab), trailing=bytes(65536)),
    ),
    "bytes in front, counted": (
        "prefix",
        lambda lab: with_fields(arrays(lab), prefix=b"#!/bin/sh\n"),
    ),
    "bytes in front, not counted": (
        "prefix",
        lambda lab: with_fields(arrays(lab), prefix=b"#!/bin/sh\n", counted=False),
    ),
    "empty, bytes in front": (
        "prefix",
        lambda lab: lab.Archive([], prefix=b"PK\3\4 but not really"),
    ),
    "equal names": (
        "duplicate_name",
        lambda lab: lab.Archive([lab.Member(b"a", b"1"), lab.Member(b"b"), lab.Member(b"a", b"2")]),
    ),
    "names that read the same": (
        "duplicate_name",
        lambda lab: lab.Archive(
            [
                lab.Member(b"\x82.npy", b"1"),  # in code page 437
                lab.Member("é.npy".encode(), b"2", flags=0x800),
            ]
        ),
    ),
    "equal keys": (
        "duplicate_name",
        lambda lab: lab.Archive([lab.Member(b"a.npy", b"1"), lab.Member(b"a", b"2")]),
    ),
}


@pytest.mark.parametrize("case", AT_OPEN)
def test_strict_at_open(lab, save, case):
    code, make = AT_OPEN[case]
    data = make(lab).build()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as theirs:
            names = theirs.namelist()
    except zipfile.BadZipFile:  # newer releases look no further back than a comment reaches
        assert case == "64 KiB behind"
        names = ["a.npy", "b.npy"]
    for source in (data, save(data)):
        with fastzip.NpzFile(source) as npz:
            assert npz._reader.index.names() == names
        with pytest.raises(fastzip.BadZipFile) as info:
            fastzip.NpzFile(source, strict=True)
        assert info.value.code == code
        assert (info.value.member is not None) == (code == "duplicate_name")


def test_strict_count(lab):
    """More than 65,535 members, counted modulo 65,536 because there is no zip64 record."""
    data = lab.many(70_000)
    assert len(fastzip.NpzFile(data)) == 70_000
    with pytest.raises(fastzip.BadZipFile) as info:
        fastzip.NpzFile(data, strict=True)
    assert info.value.code == "count"
    assert len(fastzip.NpzFile(lab.many(70_000, zip64=True), strict=True)) == 70_000


GAPS = {
    "deflated": lambda lab: lab.Member(b"a.npy", lab.npy(np.arange(50)), behind=b"x"),
    "stored": lambda lab: lab.Member(b"a.npy", lab.npy(np.arange(50)), method=0, behind=b"x"),
    "stored and large": lambda lab: lab.Member(
        b"a.npy", lab.npy(np.arange(5000)), method=0, behind=b"x"
    ),
    "large": lambda lab: lab.Member(b"a.npy", lab.npy(np.arange(5000)), behind=bytes(9000)),
    "empty": lambda lab: lab.Member(b"a.npy", b"", behind=bytes(60)),
    "empty, and one byte": lambda lab: lab.Member(b"a.npy", b"", behind=b"x"),
    "empty, and says so": lambda lab: lab.Member(
        b"a.npy", b"", descriptor="sig32", behind=bytes(9)
    ),
    # unzip inflates this one's data, whatever its size is said to be
    "empty, with a stream": lambda lab: lab.Member(
        b"a.npy", b"", body=lab.deflate(b"secret" * 99), size=0, crc=0
    ),
} | {
    f"{'stored' if method == 0 else 'deflated'}, {n}, descriptor {layout}, {more}": (
        lambda lab, n=n, method=method, layout=layout, more=more: lab.Member(
            b"a.npy", lab.npy(np.arange(n)), method, descriptor=layout, behind=bytes(more)
        )
    )
    for n in (5, 5000)
    for method in (0, 8)
    for layout in ("32", "64", "sig32", "sig64")
    for more in (1, 4, 8, 12, 40)
}


@pytest.mark.parametrize("case", GAPS)
def test_strict_gap(lab, read, save, case):
    """Bytes between a member and the next structure: hidden data, for some other reader."""
    make = GAPS[case]
    other = lab.Member(b"b.npy", lab.npy(np.arange(3)))
    for order in (None, [1, 0]):
        path = save(lab.Archive([make(lab), other], order=order).build())
        with fastzip.NpzFile(path) as npz, fastzip.NpzFile(path, strict=True) as strict:
            plain = npz["a"]
            with pytest.raises(fastzip.BadZipFile) as info:
                strict["a"]
            assert info.value.code == "gap"
            assert info.value.member == "a.npy"
            assert strict["b"].tolist() == [0, 1, 2]
            if len(plain):
                with pytest.raises(fastzip.BadZipFile) as info:
                    strict.fetch(["a", "a"])
                assert info.value.failed == [("a", "gap")] * 2


STRICT_HEADERS = {
    "the name's encoding": (
        "lfh_flags",
        lambda lab: lab.Member(
            "é.npy".encode(), lab.npy(np.arange(9)), flags=0x800, local={"flags": 0}
        ),
    ),
    "sizes in front of a descriptor": (
        "lfh_sizes",
        lambda lab: lab.Member(
            b"a.npy", lab.npy(np.arange(9)), descriptor="sig32", local={"compressed_size": 3}
        ),
    ),
    "size in front of a descriptor": (
        "lfh_sizes",
        lambda lab: lab.Member(b"a.npy", lab.npy(np.arange(9)), descriptor="32", local={"size": 3}),
    ),
    "CRC in front of a descriptor": (
        "lfh_sizes",
        lambda lab: lab.Member(b"a.npy", lab.npy(np.arange(9)), descriptor="64", local={"crc": 3}),
    ),
}


@pytest.mark.parametrize("case", STRICT_HEADERS)
def test_strict_local_headers(lab, made, case):
    """What a reader that goes by the local headers would believe."""
    code, make = STRICT_HEADERS[case]
    archive = lab.Archive([make(lab), lab.Member(b"b.npy", lab.npy(np.arange(3)))]).build()
    assert made(archive)[made(archive).files[0]].tolist() == list(range(9))
    npz = made(archive, strict=True)
    with pytest.raises(fastzip.BadZipFile) as info:
        npz[npz.files[0]]
    assert info.value.code == code
    assert npz["b"].tolist() == [0, 1, 2]


def test_strict_gaps_behind_what_is_mapped_or_nested(lab, made):
    member = lab.Member(b"a.npy", lab.npy(np.arange(9)), 0, behind=b"hidden")
    npz = made(lab.Archive([member]).build(), strict=True, mmap_mode="r")
    inner = lab.Member(b"a.npz", lab.npz(x=np.arange(3)), 0, descriptor="sig32", behind=b"hidden")
    nested = made(lab.Archive([inner]).build(), strict=True)
    for call in (lambda: npz["a"], lambda: nested.nested("a.npz")):
        with pytest.raises(fastzip.BadZipFile) as info:
            call()
        assert info.value.code == "gap"
    wrong = lab.Member(b"a.npy", lab.npy(np.arange(9)), 0, descriptor=b"PK\7\x08" + bytes(12))
    with pytest.raises(fastzip.BadZipFile) as info:
        made(lab.Archive([wrong]).build(), mmap_mode="r")["a"]
    assert info.value.code == "descriptor"


def test_strict_reads_what_is_clean(lab, save):
    """What NumPy and zipfile write has one meaning, and strict mode reads it."""
    values = {"x": np.arange(5000.0), "y": lab.sparse((3, 400), 1), "z": np.zeros((0, 3))}
    streamed = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return streamed.write(data)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as out:  # data descriptors
        for name, value in values.items():
            out.writestr(name + ".npy", lab.npy(value))
        out.comment = b"a comment"
    sources = [lab.npz(**values), lab.npz(False, **values), streamed.getvalue(), lab.mixed(values)]
    for layout in ("32", "64", "sig32", "sig64"):
        members = [
            lab.Member(k.encode() + b".npy", lab.npy(v), 8 * (i % 2), descriptor=layout)
            for i, (k, v) in enumerate(values.items())
        ]
        sources.append(lab.Archive(members, zip64=layout == "64", order=[1, 2, 0]).build())
    for data in sources:
        for source in (data, save(data)):
            with fastzip.NpzFile(source, strict=True) as npz:
                assert set(npz.files) == set(values)
                for name, value in values.items():
                    assert lab.same(npz[name], value)
                    assert npz.spec(name).shape == value.shape
                assert np.array_equal(npz.fetch(["x", "x"]), np.stack([values["x"]] * 2))
    assert fastzip.NpzFile(lab.Archive([]).build(), strict=True).files == []
    java = lab.Member(b"META-INF/", b"", body=b"\3\0")  # an empty directory that claims two bytes
    claimed = lab.Member(b"d/", b"", compressed_size=2, body=b"")
    flushed = lab.Member(b"py.typed", b"", body=b"\0\0\0\xff\xff\3\0")  # in many wheels
    reader = fastzip.NpzFile(lab.Archive([java, claimed, flushed]).build(), strict=True)
    assert [reader[name] for name in reader.files] == [b"", b"", b""]
    flushed.descriptor, flushed.name = "sig32", b"twice"
    flushed.body = b"\0\0\0\xff\xff" * 2 + b"\1\0\0\xff\xff"
    reader = fastzip.NpzFile(lab.Archive([flushed]).build(), strict=True)
    assert reader["twice"] == b""


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("n", [3, 6000])
def test_strict_bytes_behind_an_array(lab, made, n, method):
    data = lab.npy(np.arange(n)) + b"more"
    archive = lab.Archive([lab.Member(b"a.npy", data, method)] * 1).build()
    npz = made(archive)
    assert npz["a"].tolist() == list(range(n))
    assert npz.fetch([0, 0]).tolist() == [list(range(n))] * 2
    strict = made(archive, strict=True)
    for call in (
        lambda: strict["a"],
        lambda: strict["a"],
        lambda: strict.spec("a"),
        lambda: strict.fetch([0]),
    ):
        with pytest.raises(ValueError, match="4 bytes stand behind the array") as info:
            call()
        assert info.value.code == "npy_trailing"
        assert info.value.member == "a.npy"


# ------------------------------------------------------------------------------------------- limits


def test_max_members(lab, save):
    for data, n in (
        (lab.many(300), 300),
        (lab.many(70_000), 70_000),
        (lab.many(70_000, zip64=True), 70_000),
        (lab.Archive([]).build(), 0),
    ):
        for source in (data, save(data)):
            assert len(fastzip.NpzFile(source, max_members=n)) == n
            if n:
                with pytest.raises(fastzip.LimitError, match="max_members") as info:
                    fastzip.NpzFile(source, max_members=n - 1)
                assert info.value.code == "max_members"
                assert isinstance(info.value, ValueError)
                with pytest.raises(fastzip.LimitError):
                    fastzip.NpzFile(source, max_members=0)


def test_max_total_size(lab, made):
    data = lab.npz(a=np.arange(50), b=np.arange(50))
    total = 2 * (128 + 400)
    assert made(data, max_total_size=total)["b"].tolist() == list(range(50))
    with pytest.raises(fastzip.LimitError) as info:
        made(data, max_total_size=total - 1)
    assert info.value.code == "max_total_size"
    # What no read gets past doesn't count: one lie must not cost the user the other members.
    for size in (1 << 40, (1 << 64) - 1):
        extra = lab.zip64_extra(size)
        lying = made(arrays(lab, size=U32, extra=extra).build(), max_total_size=528)
        assert lying["b"].tolist() == list(range(50))
        with pytest.raises(fastzip.BadZipFile) as info:
            lying["a"]
        assert info.value.code == "impossible_size"
    unread = lab.Member(b"u", b"", central={"size": U32, "version": 99})
    members = [unread, lab.Member(b"v", b"abc", flags=1), lab.Member(b"w", b"abc")]
    assert made(lab.Archive(members).build(), max_total_size=3)["w"] == b"abc"
    # Sizes that could be true, and whose sum is beyond 64 bits, don't wrap.
    most = 1032 * 200
    members = [lab.Member(b"%d" % i, b"", body=bytes(200), size=most, crc=1) for i in range(3)]
    with pytest.raises(fastzip.LimitError):
        made(lab.Archive(members).build(), max_total_size=3 * most - 1)
    assert len(made(lab.Archive(members).build(), max_total_size=3 * most, strict=False)) == 3


@pytest.mark.parametrize("compressed", [False, True])
def test_max_member_size(lab, made, compressed):
    data = lab.npz(compressed, small=np.arange(50), large=np.arange(51))
    npz = made(data, max_member_size=528)
    assert npz["small"].tolist() == list(range(50))
    assert npz.fetch([0, 0]).shape == (2, 50)
    for call in (lambda: npz["large"], lambda: npz.spec("large"), lambda: npz.fetch(["large"])):
        with pytest.raises(fastzip.LimitError, match="max_member_size") as info:
            call()
        assert info.value.code == "max_member_size"
        assert info.value.member == "large.npy"
    with pytest.raises(fastzip.LimitError) as info:
        npz.fetch([0, 1, 0, 1])
    assert info.value.failed == [("large", "max_member_size")] * 2
    again = pickle.loads(pickle.dumps(npz))
    with pytest.raises(fastzip.LimitError):
        again["large"]
    again.close()


def test_a_bomb_is_the_callers_to_bound(lab, made):
    """A member that really holds a thousand times its size is honest; the limit is for it."""
    bomb = lab.Member(b"bomb", bytes(50_000_000))
    assert len(bomb.packed()) < 60_000
    archive = lab.Archive([bomb, lab.Member(b"ok", b"fine")]).build()
    assert len(made(archive)["bomb"]) == 50_000_000
    npz = made(archive, max_member_size=1 << 20)
    assert npz["ok"] == b"fine"
    with pytest.raises(fastzip.LimitError):
        npz["bomb"]


@pytest.mark.parametrize("name", ["max_members", "max_total_size", "max_member_size"])
@pytest.mark.parametrize("value", [-1, 1.5, "7", True, [3]])
def test_limits_that_are_none(lab, path, name, value):
    for source in (path, lab.npy(np.arange(3))):
        with pytest.raises(ValueError, match=name):
            fastzip.load(source, **{name: value})


def test_limits_as_numpy_integers_and_beyond_64_bits(path):
    with fastzip.load(path, max_members=np.int64(2), max_total_size=1 << 70) as npz:
        assert npz["a"].tolist() == [0, 1, 2, 3]
    assert Limits(max_members=5).checked() == Limits(max_members=5)


# --------------------------------------------------------------------------------- lies about sizes


def test_an_honest_archive_of_200_gib(lab, tmp_path):
    """Sparse on disk: one stored member of 200 GiB, and a small one behind it."""
    size = 200 << 30
    path = tmp_path / "giant.npz"
    giant = lab.Member(
        b"giant",
        b"",
        method=0,
        local={"size": U32, "compressed_size": U32, "extra": lab.zip64_extra(size, size)},
        central={"size": U32, "compressed_size": U32, "extra": lab.zip64_extra(size, size)},
        crc=1,
    )
    front = giant.local_bytes()
    at = len(front) + size
    small = lab.Member(b"small.npy", lab.npy(np.arange(7)))
    small.central = {"offset": U32, "extra": lab.zip64_extra(at)}
    directory = giant.central_bytes(0) + small.central_bytes(0)
    start = at + len(small.local_bytes())
    ends = lab.Archive(
        [],
        zip64=True,
        record={"count": 2, "count_here": 2, "size": len(directory), "offset": start},
        locator={"offset": start + len(directory)},
    ).build()
    with path.open("wb") as file:
        file.write(front)
        file.seek(at)
        file.write(small.local_bytes() + directory + ends)
    assert os.stat(path).st_blocks * 512 < 1 << 20
    with fastzip.load(path, strict=True) as npz:
        assert npz.files == ["giant", "small"]
        assert int(npz.index.rows["size"][0]) == size
        assert npz["small"].tolist() == list(range(7))
    with fastzip.load(path, max_member_size=1 << 30) as npz:
        with pytest.raises(fastzip.LimitError):
            npz["giant"]
        assert npz["small"].tolist() == list(range(7))
    with pytest.raises(fastzip.LimitError):
        fastzip.load(path, max_total_size=size)


def sparse_npy(path, header_length):
    """A version 2.0 file with so long a header: zeros that aren't on disk."""
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\2\0" + struct.pack("<I", header_length))
        file.truncate(12 + header_length)
    return path


def test_npy_header_of_4_gib(tmp_path):
    """NumPy reads such a header, all 4 GiB of it, before it compares the length with its limit."""
    path = sparse_npy(tmp_path / "long.npy", U32)
    with path.open("rb") as file:
        for source in (path, file):
            with pytest.raises(ValueError, match="Header info length") as info:
                fastzip.load(source)
            assert info.value.code == "max_header_size"
        assert file.tell() == 0


@pytest.mark.parametrize(
    ("front", "code"),
    [
        (b"\x93NUMPY\2\0" + struct.pack("<I", 40_000_000 - 12), "max_header_size"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", U32), "npy_header"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 64), "npy_header"),
    ],
)
def test_large_members_are_not_inflated_for_a_header_that_is_refused(lab, made, front, code):
    """40 KB on disk: the 40 MB are only inflated when the header has been looked at."""
    member = lab.Member(b"x.npy", front + b" " * (40_000_000 - len(front)))
    npz = made(lab.Archive([member]).build())
    gc.collect()  # what earlier tests left would come back in the midst
    fastzip.trim()
    with pytest.raises(ValueError) as info:
        npz["x"]
    assert info.value.code == code
    assert _core.idle_bytes() < 1 << 20  # where a block of 40 MB would lie now
    assert memoryview(npz._reader._read(0, 0)).nbytes == 40_000_000
    assert _core.idle_bytes() > 40_000_000


@pytest.mark.parametrize("compressed", [False, True])
def test_large_members(lab, made, compressed):
    values = np.arange(3 << 20)
    npz = made(lab.npz(compressed, x=values, o=np.array([{}]), text=np.array("x" * 5_000_000)))
    assert lab.same(npz["x"], values)
    assert lab.same(npz["x"], values)
    assert str(npz["text"]) == "x" * 5_000_000
    blank = lab.Archive([lab.Member(b"x", bytes(20_000_000), 8 * compressed)]).build()
    assert made(blank)["x"] == bytes(20_000_000)


def test_npy_files(lab, tmp_path):
    good = lab.npy(np.arange(20))
    path = tmp_path / "x.npy"
    huge = lab.raw_npy(lab.header_text("<f8", (1 << 40,)), bytes(64))
    cases = [
        (good[:-1], "npy_data"),
        (huge, "npy_data"),
        (lab.raw_npy(lab.header_text("<f8", (1 << 62, 1 << 62)), bytes(64)), "npy_header"),
        (lab.raw_npy(lab.header_text("<U0", (1 << 70,))), "npy_header"),
        (lab.raw_npy(lab.header_text("<f8", (0, 1 << 62))), "npy_header"),
        (lab.raw_npy(lab.header_text("<f8", (1,) * 65), bytes(8)), "npy_header"),
        (lab.raw_npy(lab.header_text("(2,)<f4", (1,)), bytes(8)), "npy_header"),
        (lab.npy(np.array([None])), "pickle"),
        (good[:60], "npy_header"),
        (lab.raw_npy("nonsense", bytes(8)), "npy_header"),
        (lab.raw_npy(lab.header_text("<i8", (1,)) + " " * 20_000, bytes(8)), "max_header_size"),
    ]
    for data, code in cases:
        path.write_bytes(data)
        with path.open("rb") as file, path.open("rb", buffering=0) as raw:
            for source in (path, data, file, raw, io.BytesIO(data)):
                with pytest.raises(ValueError) as info:
                    fastzip.load(source)
                assert info.value.code == code
                assert isinstance(info.value, errors.OTHERS[code][0])
        npz = fastzip.NpzFile(lab.Archive([lab.Member(b"x.npy", data)]).build())
        with pytest.raises(ValueError) as info:
            npz["x"]
        assert info.value.code == code
        assert info.value.member == "x.npy"
    path.write_bytes(good)
    assert fastzip.load(path, max_member_size=160).tolist() == list(range(20))
    assert fastzip.load(path, mmap_mode="r").tolist() == list(range(20))
    for limit in ("max_member_size", "max_total_size"):
        with pytest.raises(fastzip.LimitError) as info:
            fastzip.load(path, **{limit: 159})
        assert info.value.code == limit
    # Several arrays in one file are read one after another from where the file stands.
    path.write_bytes(good + good)
    with path.open("rb") as file:
        assert fastzip.load(file).tolist() == fastzip.load(file).tolist() == list(range(20))
        with pytest.raises(EOFError):
            fastzip.load(file)
    with pytest.raises(ValueError) as info:
        fastzip.load(path, strict=True)
    assert info.value.code == "npy_trailing"


# ------------------------------------------------------------------------------ all that has failed


@pytest.mark.parametrize("threads", [1, 4])
def test_failed_names_all(lab, made, threads):
    """Every member of a batch that failed, whatever is wrong with it, also behind the first."""
    good = lab.npy(np.arange(3000))
    swapped = lab.npy(np.arange(3000).astype(">i8"))
    kinds = {
        "crc": lambda i: lab.Member(b"%d.npy" % i, good, crc=1),
        "stored_size": lambda i: lab.Member(b"%d.npy" % i, good, method=0, size=5),
        "lfh_name": lambda i: lab.Member(b"%d.npy" % i, good, local={"name": b"%d.nop" % i}),
        "no_array": lambda i: lab.Member(b"%d.npy" % i, b"text"),
        "unlike": lambda i: lab.Member(b"%d.npy" % i, lab.npy(np.arange(7))),
        "object_dtype": lambda i: lab.Member(b"%d.npy" % i, lab.npy(np.array([None]))),
        "npy_data": lambda i: lab.Member(b"%d.npy" % i, good[:-8]),
        "npy_header": lambda i: lab.Member(b"%d.npy" % i, lab.raw_npy("{", bytes(90))),
        "method": lambda i: lab.Member(b"%d.npy" % i, good, body=b"x", method=97),
    }
    codes = ["", *kinds, "", "swapped", *kinds, ""]
    members = [
        kinds[code](i) if code in kinds else lab.Member(b"%d.npy" % i, swapped if code else good)
        for i, code in enumerate(codes)
    ]
    npz = made(lab.Archive(members).build())
    expected = [(str(i), code) for i, code in enumerate(codes) if code in kinds]
    rng = np.random.default_rng(3)
    for order in (range(len(codes)), rng.permutation(len(codes)), range(1, len(codes))):
        keys = list(order)
        out = np.full((len(keys), 3000), 77)
        nothing_known = codes[keys[0]] in kinds and codes[keys[0]] != "crc"  # its header is wrong
        for given in (None, out):
            with pytest.raises((ValueError, fastzip.BadZipFile, NotImplementedError)) as info:
                npz.fetch(keys, out=given, threads=threads)
            failed = info.value.failed
            place = {key: at for at, (key, _) in enumerate(failed)}
            assert sorted(failed, key=lambda f: int(f[0])) == [
                (key, code) for key, code in expected if int(key) in keys
            ]
            assert [int(key) for key in place] == [i for i in keys if codes[i] in kinds]
            assert info.value.code == failed[0][1]
        assert not nothing_known or (out == 77).all()


class TimeLimitError(Exception):
    code = 504  # as some libraries' exceptions have one


def test_what_a_handler_raises_is_no_members_failure(lab, made, monkeypatch):
    """A signal's handler may run, and raise, anywhere in Python code: here, while a header is
    parsed."""
    arrays = lab.npz(a=np.ones(7), b=np.ones(7))

    def alarm(*args, **kwargs):
        raise TimeLimitError("alarm")

    for call in (
        lambda npz: npz["a"],
        lambda npz: npz.spec("a"),
        lambda npz: npz.fetch(["a", "b"]),
        lambda npz: fastzip.load(lab.npy(np.ones(7))),
    ):
        npz = made(arrays)
        HEADERS._seen.clear()
        with monkeypatch.context() as patched:
            patched.setattr("fastzip._npy.header.npy_format.read_array_header_1_0", alarm)
            with pytest.raises(TimeLimitError):
                call(npz)
        with monkeypatch.context() as patched:
            patched.setattr("fastzip._npy.arrays.check_payload", alarm)
            patched.setattr("fastzip._dropin.loading.check_payload", alarm)
            with pytest.raises(TimeLimitError):
                call(npz)


def test_replaced_while_it_is_opened(lab, save, monkeypatch):
    """NumPy reads what was checked; and nobody gets an archive that fastzip hasn't opened."""
    path, other = save(lab.npy(np.arange(3))), save(lab.npz(x=np.arange(4)))
    check = _load._check_npy

    def replace(*args):
        check(*args)
        os.replace(other, path)

    monkeypatch.setattr(_load, "_check_npy", replace)
    assert fastzip.load(path).tolist() == [0, 1, 2]
    assert fastzip.load(path)["x"].tolist() == [0, 1, 2, 3]
    path.write_bytes(b"some pickle")
    monkeypatch.setattr(_load, "numpy_load", lambda *args, **kwargs: np.load(io.BytesIO(lab.npz())))
    with pytest.raises(fastzip.BadZipFile) as info:
        fastzip.load(path, allow_pickle=True)
    assert info.value.code == "stale"


def test_elements_of_no_bytes(lab, made):
    """10 ** 11 of them, and bytes behind: nothing is walked through."""
    data = lab.raw_npy(lab.header_text("<U0", (99_999_999_999,)), b"behind")
    npz = made(lab.Archive([lab.Member(b"x.npy", data)]).build())
    assert npz.fetch([0, 0]).shape == (2, 99_999_999_999)


def test_stale(lab, save):
    """A file that was written to while it was open is said to be the reason."""
    data = lab.npz(a=np.arange(3000))
    path = save(data)
    with fastzip.load(path) as npz:
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 1
        os.utime(path, ns=(1, 1))
        path.write_bytes(damaged)
        with pytest.raises(fastzip.BadZipFile, match="has changed since it was opened") as info:
            npz["a"]
        assert info.value.stale
    with fastzip.load(path) as npz, pytest.raises(fastzip.BadZipFile) as info:
        npz["a"]
    assert not info.value.stale
    assert "has changed" not in str(info.value)
    assert zlib.crc32(data) != zlib.crc32(damaged)
