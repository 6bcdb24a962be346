"""The directory: what opens, what it says, and which lies are found at open."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

import fastzip
from fastzip import _core, _sources, errors
from fastzip.index import ROW, Index

U16, U32 = 0xFFFF, 0xFFFFFFFF


def two(lab, **options):
    """Two members, one deflated and one stored."""
    members = [lab.Member(b"a", b"first " * 30), lab.Member(b"b", b"second", method=0)]
    return lab.Archive(members, **options)


def check_two(reader, names=("a", "b")):
    assert reader.index.names() == list(names)
    assert reader.data(0) == b"first " * 30
    assert reader.data(1) == b"second"


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
    assert index.directory.find_keys(keys, out) == -1
    assert np.array_equal(out, np.arange(n))
    assert index.directory.find_keys([*keys[:10], "none", *keys], np.empty(99, np.int64)) == 10
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


# ---------------------------------------------------------------------------- lies about archives

EXTRA64 = struct.pack("<HHQQ", 1, 16, 5, 5)


def lie(archive, **fields):
    for name, value in fields.items():
        setattr(archive, name, value)
    return archive.build()


def first_central(archive, **fields):
    archive.members[0].central = fields
    return archive.build()


def ambiguous_prefix(archive):
    """One archive behind another of the same length: the offset leads to the first directory."""
    archive.comment = b""
    once = archive.build()
    return once + once


def twice(archive):
    """A comment that is, all of it, an archive of its own."""
    archive.comment = type(archive)(archive.members[:1]).build()
    return archive.build()


def one_more(archive):
    """Room for a third entry, and none there."""
    archive.members[0].central = {"comment": bytes(60)}
    return lie(archive, end={"count": 3, "count_here": 3})


LIES = {
    "short": ("too_short", lambda a: b"PK\5\6" + bytes(17)),
    "empty": ("too_short", lambda a: b""),
    "no end": ("no_eocd", lambda a: a.build()[:-22] + b"x" * 22),
    "cut": ("no_eocd", lambda a: a.build()[:-40]),
    "zeros": ("no_eocd", lambda a: bytes(100_000)),
    "comment too long": ("comment_length", lambda a: lie(a, end={"comment_length": 7})),
    "end cut": ("no_eocd", lambda a: a.build()[:-1]),
    "twice": ("ambiguous_end", twice),
    "two directories": ("ambiguous_prefix", ambiguous_prefix),
    "disk": ("multi_disk", lambda a: lie(a, end={"disk": 1})),
    "directory disk": ("multi_disk", lambda a: lie(a, end={"directory_disk": 1})),
    "member's disk": ("multi_disk", lambda a: first_central(a, disk=1)),
    "locator's disk": ("multi_disk", lambda a: lie(a, zip64=True, locator={"disk": 1})),
    "locator's disks": ("multi_disk", lambda a: lie(a, zip64=True, locator={"disks": 2})),
    "no record": ("zip64_record", lambda a: lie(a, zip64=True, record={"magic": b"PK\6\5"})),
    "record size": ("zip64_record", lambda a: lie(a, zip64=True, record={"record_size": 45})),
    "record size huge": (
        "zip64_record",
        lambda a: lie(a, zip64=True, record={"record_size": (1 << 64) - 1}),
    ),
    "locator": ("zip64_locator", lambda a: lie(a, zip64=True, locator={"offset": 3})),
    "locator far": ("zip64_locator", lambda a: lie(a, zip64=True, locator={"offset": 1 << 62})),
    "record version": ("zip64_version", lambda a: lie(a, zip64=True, record={"version": 62})),
    "conflict count": ("zip64_conflict", lambda a: lie(a, zip64=True, end={"count": 1})),
    "conflict size": ("zip64_conflict", lambda a: lie(a, zip64=True, end={"size": 1})),
    "conflict offset": ("zip64_conflict", lambda a: lie(a, zip64=True, end={"offset": 1})),
    "conflict here": ("zip64_conflict", lambda a: lie(a, zip64=True, end={"count_here": 1})),
    "conflict disk": ("zip64_conflict", lambda a: lie(a, zip64=True, record={"disk": 1})),
    "sentinel size": ("zip64_sentinel", lambda a: lie(a, end={"size": U32})),
    "sentinel offset": ("zip64_sentinel", lambda a: lie(a, end={"offset": U32})),
    "directory size": ("cd_range", lambda a: lie(a, end={"size": 0xFFFF0000})),
    "directory offset": ("cd_range", lambda a: lie(a, end={"offset": 0xFFFF0000})),
    "directory size 64": (
        "cd_range",
        lambda a: lie(a, zip64=True, record={"size": (1 << 64) - 1}),
    ),
    "directory offset 64": (
        "cd_range",
        lambda a: lie(a, zip64=True, record={"offset": (1 << 64) - 8}),
    ),
    "member offset 64": (
        "overlap at open or later",
        lambda a: first_central(a, offset=U32, extra=struct.pack("<HHQ", 1, 8, (1 << 64) - 1)),
    ),
    "directory moved": ("cd_magic", lambda a: lie(a, behind_directory=b"x" * 7)),
    "no directory": ("cd_magic", lambda a: first_central(a, magic=b"PK\1\3")),
    "one less": ("count", lambda a: lie(a, end={"count": 1, "count_here": 1})),
    "here": ("count", lambda a: lie(a, end={"count_here": 1})),
    "one more": ("count", one_more),
    "many more": ("count_too_large", lambda a: lie(a, end={"count": 999, "count_here": 999})),
    "many more 64": (
        "count_too_large",
        lambda a: lie(a, zip64=True, record={"count": 1 << 60, "count_here": 1 << 60}),
    ),
    "modulo in zip64": (
        "count_too_large",
        lambda a: lie(a, zip64=True, record={"count": 65538, "count_here": 65538}),
    ),
    "entry overrun": ("cd_entry_overrun", lambda a: second_central(a, name_length=60)),
    "entry's comment overruns": (
        "cd_entry_overrun",
        lambda a: second_central(a, comment_length=65535),
    ),
    "second entry": ("cd_entry", lambda a: second_central(a, magic=b"PK\1\4")),
    "behind the entries": ("cd_trailing", lambda a: lie(a, directory_tail=b"some bytes")),
    "cut signature": (
        "cd_trailing",
        lambda a: lie(a, directory_tail=b"PK\5\5" + struct.pack("<H", 9) + b"123"),
    ),
    "bytes behind signature": (
        "cd_trailing",
        lambda a: lie(a, directory_tail=b"PK\5\5" + struct.pack("<H", 1) + b"123"),
    ),
    "extra overrun": (
        "extra_overrun",
        lambda a: first_central(a, extra=struct.pack("<HH", 7, 9) + bytes(8)),
    ),
    "two extras": ("zip64_extra_duplicate", lambda a: first_central(a, extra=EXTRA64 * 2)),
    "short extra": (
        "zip64_extra_short",
        lambda a: first_central(a, size=U32, offset=U32, extra=struct.pack("<HHQ", 1, 8, 5)),
    ),
    "missing extra": ("zip64_extra_missing", lambda a: first_central(a, size=U32)),
    "missing extra, other there": (
        "zip64_extra_missing",
        lambda a: first_central(a, offset=U32, extra=struct.pack("<HHQ", 2, 8, 5)),
    ),
    "version": ("version_needed", lambda a: first_central(a, version=64)),
}


def second_central(archive, **fields):
    archive.members[1].central = fields
    return archive.build()


@pytest.mark.parametrize("name", LIES)
def test_lies_found_at_open(lab, read, save, name):
    code, make = LIES[name]
    data = make(two(lab))
    if code == "overlap at open or later":
        reader = read(data)
        with pytest.raises(fastzip.BadZipFile) as info:
            reader.data(0)
        assert info.value.code == "overlap"
        assert reader.data(1) == b"second"
        return
    with pytest.raises((fastzip.BadZipFile, fastzip.UnsupportedError)) as info:
        read(data)
    exc = info.value
    assert exc.code == code
    assert type(exc) is errors.TABLE[code][0]
    assert exc.path is not None
    assert exc.path in str(exc)
    assert exc.member is None
    assert f"[{code}" in str(exc)
    assert 0 <= exc.offset <= len(data)


def test_two_archives_of_one_layout(lab, read):
    """The second one, in the first one's comment, has other names and else the same bytes: readers
    that take the last end record and those that take the first don't see the same members."""
    archive = two(lab)
    other = two(lab)
    other.members[0].name, other.members[1].name = b"c", b"d"
    archive.comment = other.build()
    with pytest.raises(fastzip.BadZipFile) as info:
        read(archive.build())
    assert info.value.code in ("ambiguous_end", "ambiguous_prefix")


def test_every_code_at_open_is_provoked():
    codes = _core.STATUS_CODES
    at_open = codes[codes.index("too_short") : codes.index("version_needed") + 1]
    assert set(at_open) == {code for code, _ in LIES.values()} - {"overlap at open or later"}


def test_long_name_and_a_large_count(lab, read):
    """Room for the names is what the records leave over: a false count must not overflow it."""
    for names in (1, 5, 60000):
        member = lab.Member(b"n" * names, b"")
        archive = lab.Archive([member, lab.Member(b"m", b"")])
        for count in (3, 4, 5 + (92 + names) // 46):
            archive.end = {"count": count, "count_here": count}
            with pytest.raises(fastzip.BadZipFile) as info:
                read(archive.build())
            assert info.value.code in ("count", "count_too_large")


def test_random_end_records(lab):
    """End records of random numbers open as nothing, or as what zipfile sees."""
    rng = np.random.default_rng(5)
    base = two(lab).build()
    interesting = np.array([0, 1, 2, 46, len(base), U16, U32, 0x7FFFFFFF], np.uint32)
    for _ in range(3000):
        data = bytearray(base)
        at = len(base) - 22 + int(rng.integers(4, 21))
        value = int(rng.choice(interesting) if rng.random() < 0.5 else rng.integers(1 << 32))
        data[at : at + 4] = value.to_bytes(4, "little")
        data = data[: len(base)]
        try:
            reader = lab.memory_reader(bytes(data))
        except (fastzip.BadZipFile, fastzip.UnsupportedError):
            continue
        assert reader.index.names() == ["a", "b"]


def test_opening_needs_no_local_headers(lab, read):
    data = bytearray(two(lab).build())
    data[:4] = b"none"
    reader = read(bytes(data))
    assert reader.data(1) == b"second"
    with pytest.raises(fastzip.BadZipFile, match="lfh_magic"):
        reader.data(0)


def test_closed_source(lab):
    opened = _sources.open_memory(two(lab).build())
    opened.source.close()
    with pytest.raises(ValueError, match="closed"):
        Index(opened)
