"""Lies about the archive as a whole: each is found when it is opened, and told by its code."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import fastzip
from fastzip import _core, errors
from fastzip._zip import sources as _sources
from fastzip._zip.index import Index

U16, U32 = 0xFFFF, 0xFFFFFFFF


def two(lab, **options):
    """Two members, one deflated and one stored."""
    members = [lab.Member(b"a", b"first " * 30), lab.Member(b"b", b"second", method=0)]
    return lab.Archive(members, **options)


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


# What is wrong with one entry alone is found when that member is read; the other stays readable.
OF_ONE_MEMBER = {
    "member's disk",
    "member offset 64",
    "extra overrun",
    "two extras",
    "short extra",
    "missing extra",
    "missing extra, other there",
    "version",
}

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
        "overlap",
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
    if name in OF_ONE_MEMBER:
        reader = read(data)
        with pytest.raises((fastzip.BadZipFile, fastzip.UnsupportedError)) as info:
            reader.data(0)
        assert info.value.code == code
        assert info.value.member == reader.index.name(0)
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
    at_open = codes[codes.index("too_short") : codes.index("behind_archive")]
    entries = codes[codes.index("extra_overrun") : codes.index("max_member_size")]
    assert set(at_open + entries) == {code for code, _ in LIES.values()} - {"overlap"}


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
