"""The directory: what opens, what it says, and which lies are found at open."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

import fastzip
from fastzip._zip.index import ROW

U16, U32 = 0xFFFF, 0xFFFFFFFF


def two(lab, **options):
    """Two members, one deflated and one stored."""
    members = [lab.Member(b"a", b"first " * 30), lab.Member(b"b", b"second", method=0)]
    return lab.Archive(members, **options)


# ------------------------------------------------------------------------------- what must open


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zip64": True},
        {"comment": b"a comment"},
        {"comment": b"x" * 65535},
        {"comment": b"PK\5\6 is no end record, nor is this: PK\5\6"},
        {"comment": b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 9, 9, 900, 7, 4) + b"1234"},
        {"comment": b"PK\5\6" * 1000, "zip64": True},
        {"comment": b"PK\6\7" + bytes(16)},
        {"prefix": b"#!/bin/sh\n"},
        {"prefix": b"#!/bin/sh\n", "counted": False},
        {"prefix": b"P" * 100_000, "counted": False, "comment": b"c"},
        {"prefix": b"stub", "zip64": True},
        {"prefix": b"stub", "zip64": True, "counted": False},
        {"prefix": b"PK\5\6PK\3\4PK\1\2" * 9, "counted": False},
        {"trailing": b"\0"},
        {"trailing": b"junk"},
        {"trailing": bytes(65535)},
        {"trailing": bytes(65536)},
        {"trailing": b"PK\5\6" * 16384},
        {"trailing": bytes(65536), "comment": b"c" * 65535},
        {"trailing": bytes(65536), "comment": b"c" * 65535, "zip64": True},
        {"trailing": b"junk", "prefix": b"stub", "counted": False},
        {"order": [1, 0]},
        {"directory_tail": b"PK\5\5" + struct.pack("<H", 4) + b"sign"},
        {"directory_tail": b"PK\5\5" + struct.pack("<H", 0)},
        {"zip64": True, "record": {"record_size": 44 + 10, "sector": b"ten bytes."}},
        {"zip64": True, "end": {"count": 2, "count_here": 2}},
        {"zip64": True, "end": {"disk": U16, "directory_disk": U16}},
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_opens(lab, read, options):
    archive = two(lab, **options)
    names = ("b", "a") if archive.order else ("a", "b")
    reader = read(archive.build())
    assert reader.index.names() == list(names)
    assert reader.data(names.index("a")) == b"first " * 30
    assert reader.data(names.index("b")) == b"second"
    assert reader.index.directory.shift == (0 if archive.counted else len(archive.prefix))


def test_trailing_bytes_beyond_the_limit(lab, read):
    for size in (65537, 70000, 200_000):
        with pytest.raises(fastzip.BadZipFile) as info:
            read(two(lab, trailing=bytes(size)).build())
        assert info.value.code == "no_eocd"


@pytest.mark.parametrize("inner_method", [0, 8])
def test_last_member_is_an_archive(lab, read, inner_method):
    inner = lab.npz(x=np.arange(5))
    outer = two(lab)
    outer.members.append(lab.Member(b"inner.npz", inner, method=inner_method))
    for trailing in (b"", b"tail"):
        outer.trailing = trailing
        if trailing and inner_method == 0:
            continue  # two end records could be meant then: whichever way, it isn't tested here
        reader = read(outer.build())
        assert reader.index.names() == ["a", "b", "inner.npz"]
        assert reader.data(2) == inner


def test_inner_archive_is_not_mistaken_for_a_damaged_outer_one(lab, read):
    """A false signature in the comment doesn't make the search settle for an inner archive."""
    inner = two(lab).build()
    outer = lab.Archive([lab.Member(b"inner.zip", inner, method=0)], comment=b"PK\5\6" + b"?" * 40)
    outer.end = {"size": 1000}
    with pytest.raises(fastzip.BadZipFile):
        read(outer.build())


def test_empty_archive(lab, read, save):
    data = lab.Archive([]).build()
    assert len(data) == 22
    reader = read(data)
    assert len(reader.index) == 0
    assert reader.index.names() == []
    assert reader.index.find("a") is None
    assert len(reader.index.rows) == 0
    npz = fastzip.load(save(data))
    assert npz.files == []
    with pytest.raises(KeyError):
        npz["a"]
    npz.close()


@pytest.mark.parametrize(
    ("n", "zip64"), [(65534, False), (65535, False), (65536, False), (70000, False),
                     (131072 + 5, False), (65535, True), (65536, True), (70000, True)]
)  # fmt: skip
def test_many_members(lab, read, n, zip64):
    data = lab.many(n, zip64=zip64)
    reader = read(data)
    assert len(reader.index) == n
    for i in (0, 1, 65535 % n, n // 2, n - 1):
        assert reader.index.find(f"{i:08}") == i
        assert reader.data(i) == i.to_bytes(4, "little")
    assert reader.index.find(f"{n:08}") is None


@pytest.mark.parametrize(("n", "count"), [(70000, 4465), (70000, 0), (70000, 65535), (9, 65535)])
def test_count_modulo_65536(lab, read, n, count):
    with pytest.raises(fastzip.BadZipFile) as info:
        read(lab.many(n, count))
    assert info.value.code in ("count", "count_too_large")


def test_lookup_of_many_names(lab):
    n = 100_000
    index = lab.memory_reader(lab.many(n, zip64=True)).index
    assert not index.directory.has_table
    before = index.nbytes
    assert before == n * (48 + 8)
    assert index.find("00000000") == 0
    assert index.directory.has_table
    assert before < index.nbytes <= n * (64 + 8)
    out = np.empty(n, np.int64)
    keys = [f"{i:08}" for i in range(n)]
    assert index.directory.find_all(keys, out, True) == -1
    assert np.array_equal(out, np.arange(n))
    assert index.directory.find_all([*keys[:10], "none", *keys], np.empty(99, np.int64), True) == 10
    assert all(index.find(f"{i:07}") is None for i in range(0, n, 97))


def test_no_table_without_a_lookup(lab, save):
    with fastzip.load(save(lab.npz(a=np.arange(3), b=np.arange(3)))) as npz:
        npz.fetch([1, 0])
        npz.fetch(slice(None))
        assert npz.files == ["a", "b"]
        assert repr(npz)
        assert not npz._reader.directory.has_table
        assert "a" in npz
        assert npz._reader.directory.has_table


def test_rows_are_those_of_zipfile(read):
    file = io.BytesIO(b"#!stub\n")
    file.seek(0, 2)
    with zipfile.ZipFile(file, "a") as z:
        for i in range(40):
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)[i % 3]
            z.writestr(f"näme {i}" * (i + 1), bytes(range(i)) * i, method)
        with z.open("big", "w", force_zip64=True) as member:
            member.write(b"zip64 " * 100)
    data = file.getvalue()
    index = read(data).index
    rows = index.rows
    assert rows.dtype == ROW
    assert not rows.flags.writeable
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        infos = z.infolist()
        assert len(rows) == len(index) == len(infos)
        assert rows["header_offset"].tolist() == [info.header_offset for info in infos]
        assert rows["compressed_size"].tolist() == [info.compress_size for info in infos]
        assert rows["size"].tolist() == [info.file_size for info in infos]
        assert rows["crc"].tolist() == [info.CRC for info in infos]
        assert rows["method"].tolist() == [info.compress_type for info in infos]
        assert rows["flags"].tolist() == [info.flag_bits for info in infos]
        assert index.names() == z.namelist()
    lengths = [len(name.encode()) for name in index.names()]
    assert rows["name_length"].tolist() == lengths
    assert rows["name_offset"].tolist() == np.cumsum([0, *lengths[:-1]]).tolist()


# -------------------------------------------------------------------------------------- names


def test_names(lab, read):
    long = b"n" * 65535
    names = [
        (b"plain", 0, "plain"),
        ("grüße €".encode(), 0x800, "grüße €"),
        (b"flagged ascii", 0x800, "flagged ascii"),
        (bytes(range(128, 256)), 0, bytes(range(128, 256)).decode("cp437")),
        (b"", 0, ""),
        (b"dir/", 0, "dir/"),
        (b"..\\x/../y", 0, "..\\x/../y"),
        (long, 0, long.decode()),
        ("𝄞".encode(), 0x800, "𝄞"),
        (b".npy", 0, ".npy"),
    ]
    members = [
        lab.Member(raw, b"" if raw.endswith(b"/") else b"%d" % i, flags=flags)
        for i, (raw, flags, _) in enumerate(names)
    ]
    reader = read(lab.Archive(members).build())
    assert reader.index.names() == [name for _, _, name in names]
    for i, (raw, _, name) in enumerate(names):
        assert reader.index.find(name) == i
        assert reader.index.name(i) == name
        assert reader.directory.raw_name(i) == raw
        assert reader.data(i) == (b"" if raw.endswith(b"/") else b"%d" % i)
    for missing in ("Plain", "plai", "plain ", "n" * 65534, "n" * 65536, "\ud800", "ü", "\0"):
        assert reader.index.find(missing) is None


def test_equal_bytes_in_two_encodings(lab, read):
    raw = "é".encode()
    members = [lab.Member(raw, b"utf-8", flags=0x800), lab.Member(raw, b"cp437")]
    index = read(lab.Archive(members).build()).index
    assert index.names() == ["é", "├⌐"]
    assert index.find("é") == 0
    assert index.find("├⌐") == 1


def test_equal_names_in_two_encodings(lab, read):
    members = [
        lab.Member("é".encode(), b"one", flags=0x800),
        lab.Member("é".encode("cp437"), b"two"),
    ]
    assert read(lab.Archive(members).build()).index.find("é") == 1
    assert read(lab.Archive(members[::-1]).build()).index.find("é") == 1


def test_last_of_equal_names_wins(lab, save):
    members = [lab.Member(b"x.npy", lab.npy(np.arange(i, i + 3))) for i in range(5)]
    members.insert(3, lab.Member(b"y.npy", lab.npy(np.arange(3))))
    path = save(lab.Archive(members).build())
    with fastzip.load(path) as npz, np.load(path) as reference:
        assert npz.files == reference.files
        assert npz["x"].tolist() == reference["x"].tolist() == [4, 5, 6]
        assert npz.fetch([0, "x", 2])[:, 0].tolist() == [0, 4, 2]


@pytest.mark.parametrize("n", range(40))
def test_names_of_every_short_length(lab, read, n):
    """Names are copied and hashed by other ways up to 4, 8 and 16 bytes."""
    names = [bytes([65 + i]) * n + b"%d" % i for i in range(8)]
    index = read(lab.Archive([lab.Member(name, b"") for name in names]).build()).index
    assert [index.find(name.decode()) for name in names] == list(range(8))
    assert index.names() == [name.decode() for name in names]
    assert index.find("A" * n) is None


def test_position_out_of_range(lab, read):
    reader = read(two(lab).build())
    for position in (-1, 2, 1 << 40):
        with pytest.raises(IndexError):
            reader.data(position)
        with pytest.raises(IndexError):
            reader.header(position)
        with pytest.raises(IndexError):
            reader.directory.raw_name(position)
    with pytest.raises(IndexError):
        reader.directory.names(0, 3, False)
    with pytest.raises(IndexError):
        reader.directory.names(-1, 1, False)


@pytest.mark.parametrize("behind", [0, 1, 3, 5, 6, 40])
def test_directory_as_long_as_what_is_read_at_once(lab, read, behind):
    """The directory is read in pieces of 512 KiB; records and signatures cross their edges."""
    n = (512 << 10) // 64
    name = b"%018d"
    members = [lab.Member(name % i, b"", method=0) for i in range(n)]
    tail = b"PK\5\5" + struct.pack("<H", behind) + bytes(behind)
    reader = read(lab.Archive(members, directory_tail=tail).build())
    assert len(reader.index) == n
    members[0].central = {"comment": bytes(behind)}
    reader = read(lab.Archive(members, directory_tail=tail).build())
    assert len(reader.index) == n
    assert reader.index.find(f"{n - 1:018}") == n - 1


def test_long_records_across_pieces(lab, read):
    """Records of 196,651 bytes, the longest there are."""
    members = [
        lab.Member(
            (b"%d-" % i).ljust(65535, b"n"),
            b"",
            method=0,
            central={"extra": struct.pack("<HH", 0xCAFE, 65531) + bytes(65531),
                     "comment": b"c" * 65535},
        )
        for i in range(12)
    ]  # fmt: skip
    index = read(lab.Archive(members).build()).index
    assert [name.split("-")[0] for name in index.names()] == [str(i) for i in range(12)]
    assert index.nbytes == 12 * (48 + 65535)
