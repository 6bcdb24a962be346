"""The native reader against tests/policy.py: the same verdict, the same reason code and the same
bytes for every archive here, member by member, out of memory and out of a file."""

from __future__ import annotations

import bz2
import itertools
import lzma
import math
import os
import struct
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import policy
import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

import fastzip
from fastzip import _core, errors
from fastzip._zip import sources as _sources
from fastzip._zip.index import Limits

# Fields that are worth lying about, by the signature of their record: (offset, bytes).
FIELDS = {
    b"PK\3\4": ((0, 4), (4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((0, 4), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2),
                (32, 2), (34, 2), (42, 4)),
    b"PK\5\6": ((0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((0, 4), (4, 8), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((0, 4), (4, 4), (8, 8), (16, 4)),
    b"PK\7\x08": ((0, 4), (4, 4), (8, 4), (8, 8), (12, 4), (16, 8)),
    b"PK\5\5": ((0, 4), (4, 2)),
    b"\1\0\x10\0": ((0, 2), (2, 2), (4, 8), (12, 8)),
    b"\1\0\x18\0": ((0, 2), (2, 2), (4, 8), (12, 8), (20, 8)),
}  # fmt: skip
EDGES = [0, 1, 2, 8, 46, 63, 64, 0x7F, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF]
EDGES += [0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
NEAR = (-46, -22, -4, -1, 1, 4, 22, 46)
UNREACHED = {"ok", "memory", "closed", "interrupted", "short_read", "other_header", "read_more"}
"""Codes that no archive has: they are the machine's, or never shown."""
NDIM = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
"""Dimensions that an array may have."""
STEP = 997
"""Of archives with more members only each so-manieth is read."""
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
NO_LIMITS, STRICT = Limits(), Limits(strict=True)


def some(n: int) -> range:
    """The members that are compared."""
    return range(0, n, STEP if n > STEP else 1)


class Compare:
    """Compares, and counts the codes that it has seen."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("archive")  # a file on a disk would be written to it each time
        self.seen: Counter[str] = Counter()

    def __call__(self, data: bytes, limits: Any = NO_LIMITS) -> None:
        expected = verdicts.stated(data, limits, some)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, data, 0)
        file = _core.Source(os.dup(self.fd), len(data))
        for opened in (_sources.open_memory(data), _sources.Opened(file, "file", None, None)):
            found = verdicts.natively(opened, limits, some)
            opened.source.close()
            assert found == expected, (limits, data)
        codes = [expected] if isinstance(expected, str) else [c for _, c in expected]
        self.seen.update(code for code in codes if isinstance(code, str))


@pytest.fixture
def compare() -> Any:
    compare = Compare()
    yield compare
    os.close(compare.fd)


def bases(lab: Any) -> dict[str, bytes]:
    """Small archives that between them have every record there is."""
    archive, member, extra = lab.Archive, lab.Member, lab.zip64_extra
    short = member(b"a", b"stored", method=0)
    packed = member(b"b.npy", b"deflated " * 4)
    sentinels = {"size": 0xFFFFFFFF, "compressed_size": 0xFFFFFFFF}
    numpys = member(b"n", b"numpy", 0, local={**sentinels, "extra": extra(5, 5)})
    wide = {**sentinels, "extra": extra(4, 4, 0), "offset": 0xFFFFFFFF}
    return {
        "tiny": archive([member(b"x", b"y", 0)]).build(),
        "plain": archive([short, packed], comment=b"so").build(),
        "descriptors": archive(
            [member(b"%d" % i, b"text", 8 * (i % 2), descriptor=kind)
             for i, kind in enumerate(("32", "64", "sig32", "sig64"))]
        ).build(),
        "zip64": archive([short, numpys], zip64=True).build(),
        "prefixed": archive([packed, short], prefix=b"#!...", counted=False, zip64=True).build(),
        "extras": archive([member(b"w", b"wide", 0, central=wide), short, numpys]).build(),
        "odd": archive(
            [packed, member(b"d/"), member("é".encode(), b"e", 0, 0x800), member(b"d/", b"")],
            order=[2, 0, 3, 1], trailing=b"\n", directory_tail=b"PK\5\5\2\0..",
        ).build(),
    }  # fmt: skip


def lies(data: bytes) -> Any:
    """The archive with one field changed, for every field and every interesting value."""
    for magic, fields in FIELDS.items():
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            for offset, width in fields:
                start, end = at + offset, at + offset + width
                true = int.from_bytes(data[start:end], "little")
                for value in {v % (1 << 8 * width) for v in (*EDGES, *(true + n for n in NEAR))}:
                    if value != true and end <= len(data):
                        yield data[:start] + value.to_bytes(width, "little") + data[end:]


def test_one_field_that_lies(lab: Any, compare: Compare) -> None:
    for data in bases(lab).values():
        compare(data)
        compare(data, STRICT)
        for i, changed in enumerate(lies(data)):
            compare(changed, STRICT if i % 3 == 0 else NO_LIMITS)
    assert len(compare.seen) > 35, compare.seen


def test_every_truncation_and_every_byte(lab: Any, compare: Compare) -> None:
    for name, data in bases(lab).items():
        for n in range(len(data)):
            compare(data[:n])
            changes = range(1, 256) if name in ("tiny", "zip64") else (1, 4, 8, 0x80, 0xFF)
            for change in changes:
                compare(data[:n] + bytes([data[n] ^ change]) + data[n + 1 :])


def test_pairs_of_lies(lab: Any, compare: Compare) -> None:
    """Which of two lies is named: the order of the checks is the same on both sides."""
    rng = np.random.default_rng(0)
    for data in bases(lab).values():
        one = list(lies(data))
        for a, b in rng.integers(len(one), size=(2000, 2)):
            both = np.frombuffer(data, np.uint8).copy()
            for k in (a, b):
                changed = np.frombuffer(one[k], np.uint8)
                both = np.where(changed != np.frombuffer(data, np.uint8), changed, both)
            compare(both.tobytes(), STRICT if a % 2 else NO_LIMITS)


def test_limits(lab: Any, compare: Compare) -> None:
    for data in bases(lab).values():
        for members, total, size in itertools.product((None, 0, 1, 3), (None, 0, 7, 40), (None, 5)):
            compare(data, Limits(False, members, total, size))
            compare(data, Limits(True, members, total, size))


def test_records_that_no_small_change_makes(lab: Any, compare: Compare) -> None:
    """What takes more than a few bytes: two archives in one file, lies that agree, large data."""
    archive, member, extra = lab.Archive, lab.Member, lab.zip64_extra
    plain = archive([member(b"a", b"1", 0)])
    inner = plain.build()
    end = inner[-22:]
    deep = archive([member(b"inner", inner, 0)])
    big = bytes(range(251)) * 40
    large = [member(b"%d" % i, big, 0, descriptor=d) for i, d in enumerate((None, "32", "sig64"))]
    for data in (
        archive([], prefix=b"12345", counted=False).build(),
        archive([], comment=end).build(),
        archive([member(b"a", b"1", 0)], comment=inner).build(),
        inner + inner,
        inner + b"\0" * 65536,
        inner + b"\0" * 65537,
        inner + b"\0" * 140_000,
        deep.build(),
        deep.build()[:-1],
        archive([member(b"a", b"1", 0)], prefix=inner, counted=False).build(),
        archive([member(b"a"), member(b"a")]).build(),
        archive([member(b"a"), member(b"a.npy")]).build(),
        archive([member(b"\x82"), member("é".encode(), flags=0x800)]).build(),
        archive([member(b"\xff", b"1", flags=0x800), member(b"n\0", b"1")]).build(),
        archive([member(b"d/", b"1")], zip64=True, record={"version": 62}).build(),
        archive([member(b"a", b"1", behind=b"gap"), member(b"e", behind=b"." * 25)]).build(),
        archive([member(b"a", b"1", central={"extra": extra(1) + extra(2)})]).build(),
        archive([member(b"a", b"1", central={"extra": extra(1)[:-1]})]).build(),
        archive([member(b"a", b"1", 0, central={"size": 0xFFFFFFFF})]).build(),
        archive([member(b"a", b"1", 0, central={"size": 0xFFFFFFFF, "extra": extra()})]).build(),
        archive([member(b"a" * 400, b"1")], end={"count": 2, "count_here": 2}).build(),
        archive(large).build(),
        archive([member(b"a", big, 0, local={"extra_length": 5000}), *large]).build(),
        archive([member(b"a", big, 0, local={"extra": extra(1) * 9}), *large]).build(),
        archive([member(b"a", b"", body=b"\3\0", crc=5, size=0)]).build(),
        archive([member(b"a", b"", body=b"K\4\0", crc=5, size=0)]).build(),
        archive([member(b"a", b"a", body=b"K\4B\0")]).build(),  # a match that begins too far back
        archive([member(b"a", b"", body=b"\3B\0", crc=5)]).build(),
        *(data[: len(data) - n] for data in (inner,) for n in range(23)),
    ):
        compare(data)
        compare(data, STRICT)
    wanted = {"ambiguous_end", "ambiguous_prefix", "behind_archive", "prefix", "duplicate_name",
              "zip64_version", "name_nul", "name_utf8", "gap", "zip64_extra_duplicate",
              "extra_overrun", "zip64_extra_missing", "zip64_extra_short"}  # fmt: skip
    assert wanted <= set(compare.seen)


def test_count_modulo_65536(lab: Any, compare: Compare) -> None:
    for data in (lab.many(65537), lab.many(65537, zip64=True), lab.many(65537, count=2)):
        compare(data)
    compare(lab.many(65537), STRICT)
    compare(lab.many(65537), Limits(max_members=65536))


@pytest.mark.parametrize("size", [0, 1, 600])
def test_deflate_streams(lab: Any, engine: str, compare: Compare, size: int) -> None:
    """Every kind of block, with every byte changed and every end cut off."""
    text = bytes(i * i % 7 + 65 for i in range(size))
    streams = {lab.deflate(text, level, s) for level in (0, 1, 9) for s in (0, zlib.Z_FIXED)}
    for stream in streams:
        bodies = [stream[:n] for n in range(len(stream))] + [stream + b"\0", stream]
        for n in range(min(len(stream), 90)):
            bodies += [stream[:n] + bytes([stream[n] ^ c]) + stream[n + 1 :] for c in (1, 16, 255)]
        for body in bodies:
            for more in (0, 1):
                wrong = lab.Member(b"m", text, body=body, size=size + more, crc=zlib.crc32(text))
                compare(lab.Archive([wrong, wrong]).build())
    assert {"deflate", "truncated_stream", "trailing_data"} <= set(compare.seen)


@pytest.mark.parametrize("method", [9, 12, 14, 93, 95])
@pytest.mark.parametrize("size", [0, 1, 600])
def test_other_streams(lab, compare: Compare, method: int, size: int) -> None:
    """The same for the other methods."""
    text = bytes(i * i % 7 + 65 for i in range(size))
    packer: Any = {
        9: lambda: pytest.importorskip("inflate64").Deflater(),
        12: bz2.BZ2Compressor,
        14: zipfile.LZMACompressor,
        93: lambda: policy.optional(ZSTD).ZstdCompressor(),
        95: lzma.LZMACompressor,
    }[method]()
    stream = (packer.deflate if method == 9 else packer.compress)(text) + packer.flush()
    bodies = [stream[:n] for n in range(len(stream))] + [stream + b"\0", stream * 2, stream]
    for n in range(min(len(stream), 120)):
        bodies += [stream[:n] + bytes([stream[n] ^ c]) + stream[n + 1 :] for c in (1, 16, 255)]
    flags = 2 if method == 14 else 0
    for body in bodies:
        for more in (0, 1) if size == 0 else (-1, 0, 1):
            crc = zlib.crc32(text)
            wrong = lab.Member(b"m", text, method, flags, body, size + more, crc=crc)
            compare(lab.Archive([wrong]).build())
    assert {"truncated_stream", "trailing_data"} <= set(compare.seen)


# ------------------------------------------------------------------------------ composed by chance


def composed(lab: Any) -> Any:
    """Archives of a few members with a few lies."""
    names = st.sampled_from([b"a", b"a.npy", b"b/", b"\x82", "é".encode(), b"n\0", b"", b"a/b"])
    contents = st.sampled_from([b"", b"1", b"PK\5\6" * 9, b"text" * 30, bytes(4096), bytes(9000)])
    numbers = st.sampled_from([*EDGES[:17], 20, 45])
    extras = st.sampled_from(
        [b"", b"\0", b"\0\0\0", *(lab.zip64_extra(*[n] * n) for n in range(4)), b"\1\0\xff\xff"]
    )
    fields = ("version", "flags", "method", "crc", "size", "compressed_size")

    def overrides(*more: str) -> Any:
        number = st.dictionaries(st.sampled_from((*fields, *more)), numbers, max_size=2)
        return st.one_of(st.just({}), number.map(fits), st.builds(dict, extra=extras))

    def fits(values: dict[str, int]) -> dict[str, int]:
        wide = ("crc", "size", "compressed_size", "offset", "directory_offset")
        return {k: v & (0xFFFFFFFF if k in wide else 0xFFFF) for k, v in values.items()}

    member = st.builds(
        lab.Member,
        names,
        contents,
        st.sampled_from([0, 8]),
        st.sampled_from([0, 0, 0, 0x800, 1, 0x20]),
        descriptor=st.sampled_from([None, None, None, "32", "64", "sig32", "sig64", b"PK\7\x08"]),
        behind=st.sampled_from([b"", b"", b"gap"]),
        local=overrides("name_length", "extra_length"),
        central=overrides("disk", "offset", "comment_length"),
    )
    ends = ("disk", "directory_disk", "count_here", "count", "size", "offset")
    return st.builds(
        lab.Archive,
        st.lists(member, max_size=4),
        prefix=st.sampled_from([b"", b"", b"12345"]),
        counted=st.booleans(),
        directory_tail=st.sampled_from([b"", b"", b"PK\5\5\0\0", b"\0"]),
        behind_directory=st.sampled_from([b"", b"", b"\0"]),
        comment=st.sampled_from([b"", b"comment", b"PK\5\6" + bytes(18)]),
        trailing=st.sampled_from([b"", b"", b"\n", bytes(70_000)]),
        zip64=st.booleans(),
        end=st.one_of(
            st.just({}),
            st.dictionaries(st.sampled_from(ends), numbers, max_size=1).map(
                lambda d: {k: v & (0xFFFFFFFF if k in ("size", "offset") else 0xFFFF)
                           for k, v in d.items()}
            ),
        ),
    )  # fmt: skip


LIMITS = st.sampled_from([NO_LIMITS, STRICT, Limits(False, 2, 100, 50), Limits(True, None, 9000)])


def test_composed_archives(lab: Any, compare: Compare) -> None:
    @settings(max_examples=600, deadline=None, database=None, derandomize=True)
    @given(composed(lab), LIMITS)
    def check(archive: Any, limits: Any) -> None:
        compare(archive.build(), limits)

    check()
    assert len(compare.seen) > 15, compare.seen


def silent(lab: Any) -> Any:
    """Archives whose local headers leave things unsaid, or say something else, in any mixture."""
    contents = st.sampled_from([b"", b"1", b"text" * 30, bytes(4096), bytes(range(251)) * 40])
    names = st.sampled_from(
        [b"a", b"b/c", b"\x82", "é".encode(), b"\x82\xb0", "é░".encode(), "è".encode()]
    )
    flags = st.sampled_from([0, 0, 8, 0x800, 0x808])
    what = st.sampled_from(["right", "right", "none", "sentinel", "sentinel", "wrong"])
    fields = st.lists(st.sampled_from(["right", "zeros", "stale", "short", "long"]), max_size=3)

    def member(
        name: bytes,
        local_name: bytes | None,
        data: bytes,
        method: int,
        flags: int,
        local_flags: int | None,
        kinds: tuple[str, str, str],
        zip64: list[str],
        descriptor: Any,
        behind: bytes,
    ) -> Any:
        made = lab.Member(name, data, method, descriptor=descriptor, behind=behind)
        true = made.fields()
        wide = (true["size"], true["compressed_size"])
        forms = {
            "right": wide,
            "zeros": (0, 0),
            "stale": (7, 7),
            "short": wide[:1],
            "long": (*wide, 5),
        }
        values = {
            field: {"right": true[field], "none": 0, "sentinel": 0xFFFFFFFF, "wrong": 7}[kind]
            for field, kind in zip(("crc", "size", "compressed_size"), kinds, strict=True)
        }
        made.central = {"flags": flags}
        made.local = values | {
            "flags": flags if local_flags is None else local_flags,
            "name": name if local_name is None else local_name,
            "extra": b"".join(lab.zip64_extra(*forms[form]) for form in zip64),
        }
        return made

    members = st.builds(
        member, names, st.one_of(st.none(), st.none(), names), contents, st.sampled_from([0, 8]),
        flags, st.one_of(st.none(), flags), st.tuples(what, what, what), fields,
        st.sampled_from([None, None, None, "32", "64", "sig32", "sig64", b"PK\7\x08", bytes(12)]),
        st.sampled_from([b"", b"", b"", b"gap", b"PK\7\x08 and more of it, and more"]),
    )  # fmt: skip

    def archive(
        members: list[Any], order: list[int], disks: int, zip64: bool, change: bool
    ) -> bytes:
        order = [i % len(members) for i in order] or list(range(len(members)))
        made = lab.Archive(members, order=order, zip64=zip64, locator={"disks": disks}).build()
        at = made.rindex(b"PK\1\2")
        return made[: at + 12] + b"?" + made[at + 13 :] if change else made

    return st.builds(
        archive, st.lists(members, min_size=1, max_size=3),
        st.one_of(st.just([]), st.lists(st.integers(0, 2), max_size=5)),
        st.sampled_from([1, 1, 0, 2]), st.booleans(), st.sampled_from([False, False, True]),
    )  # fmt: skip


def test_what_is_left_unsaid(lab: Any, compare: Compare) -> None:
    read: Counter[bool] = Counter()

    @settings(max_examples=2500, deadline=None, database=None, derandomize=True)
    @given(silent(lab), LIMITS)
    def check(data: bytes, limits: Any) -> None:
        compare(data, limits)
        found = verdicts.stated(data, limits, some)
        read.update(isinstance(x, bytes) for _, x in (() if isinstance(found, str) else found))

    check()
    wanted = {"lfh_name", "lfh_flags", "lfh_sizes", "descriptor", "overlap", "zip64_disks", "gap"}
    wanted |= {"zip64_extra_duplicate", "zip64_extra_short", "zip64_extra_missing"}
    assert wanted | {"duplicate_name", "multi_disk"} <= set(compare.seen), compare.seen
    assert min(read[True], read[False]) > 300, read


# ----------------------------------------------------------------------------------- the rest of it


def test_every_code_is_stated() -> None:
    """What the native core can say of an archive stands in the policy, and nothing else does."""
    text = Path(policy.__file__).read_text()
    codes = {code for code in _core.STATUS_CODES if f'"{code}"' in text}
    assert codes == set(_core.STATUS_CODES) - UNREACHED | {"ok"}
    npy = {"npy_header", "npy_data", "npy_trailing", "max_header_size", "pickle"}
    assert npy <= {code for code in errors.OTHERS if f'"{code}"' in text}


def test_a_file_is_read_like_bytes(lab: Any, save: Any) -> None:
    for data in bases(lab).values():
        file = policy.File(save(data))
        assert len(file) == len(data)
        assert verdicts.stated(file, NO_LIMITS, some) == verdicts.stated(data, NO_LIMITS, some)
        file.close()
        with pytest.raises(OSError):
            os.pread(file.fd, 1, 0)


# -------------------------------------------------------------------------------------- .npy files


def spellings(lab: Any) -> Any:
    """Headers, good and bad, with the payload that they need, less and more."""
    text, fields = lab.header_text, [("x", "<i4"), ("y", ">f8", (2,))]
    descrs: list[Any] = ["<f4", ">i2", "|u1", "=i8", "i4", "?", "<U3", "|S5", "|V3", "<M8[ns]"]
    descrs += [
        "m8",
        "|O",
        "<f3",
        "",
        "f4,i4",
        "(2,)<f4",
        "(1,)<f4",
        "<U0",
        "0f4",
        fields,
        [("a", "O")],
        5,
        None,
    ]
    shapes = ["()", "(0,)", "(1,)", "(2, 3)", "(3L,)", "(-1,)", "(True,)", "(1.0,)", "3", "[3]"]
    shapes += ["(0, 9)", "(1,) * 3", "(1 << 2,)", "(99999999999,)", "(4294967296, 4294967296)"]
    shapes += [f"(0, {1 << 63})", f"({1 << 62},)", "(1, " * 3 + ")" * 3]
    shapes += ["(" + "1," * n + ")" for n in (NDIM, NDIM + 1)]
    for descr in descrs:
        yield from ((text(descr, (2,)), n) for n in (0, 2, 6, 10, 16, 24, 40))
        yield text(descr, ()), 0
    for shape in shapes:
        yield from ((text("<i2", ()).replace("()", shape), n) for n in (0, 2, 6, 12))
    for spelling in (
        "", "{", "{}", "[]", "()", "1", "None", "{'descr': '<i2'}", "é", "\0", "{1: 2, 3: 4, 5: 6}",
        text("<i2", (1,)).replace("False", "True"), text("<i2", (1,)).replace("False", "0"),
        text("<i2", (1,)) + "x", text("<i2", (1,)).replace("}", "'more': 1}"), "(" * 300,
        text("<i2", (1,)).replace("'", '"'), " " + text("<i2", (1,)), text("<i2", (1,)) + "\n\n",
        "dict(descr='<i2', fortran_order=False, shape=(1,))", "__import__('os').getpid()",
        text("<i2", (1,)).replace("'<i2'", "'<' 'i2'"), text("<i2", (1,)) + "#" + "x" * 11000,
    ):  # fmt: skip
        yield from ((spelling, n) for n in (0, 2, 3))


def held(call: Any) -> Any:
    """An array's dtype, shape and bytes, or the code of its refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, on what Python 2 wrote
        try:
            array = call()
        except ValueError as exc:
            return getattr(exc, "code", exc)
    return array.dtype, array.shape, array.tobytes("A")


def check_npy(lab: Any, data: bytes, strict: bool) -> str:
    """An .npy file as such, as a member, and in a batch; returns the policy's verdict."""
    try:
        found = policy.array(data, strict)
        expected: Any = found.dtype, found.shape, found.payload
    except policy.Refused as exc:
        found, expected = None, exc.code
    npz = fastzip.load(lab.Archive([lab.Member(b"x.npy", data)]).build(), strict=strict)
    assert held(lambda: npz["x"]) == expected, data
    assert held(lambda: fastzip.load(bytearray(data), strict=strict)) == expected, data
    if found is None:
        with pytest.raises(ValueError):
            npz.fetch([0, 0])
        return str(expected)
    header = npz.spec("x")
    assert (header.dtype.base, header.shape) == expected[:2]
    if len(found.shape) == NDIM or header.dtype.subdtype is not None:
        with pytest.raises(ValueError, match=r"batch|fetched"):
            npz.fetch([0, 0])
        return "ok"
    rows = npz.fetch([0, 0])
    assert rows.shape == (2, *found.shape)
    assert rows.dtype == found.dtype.newbyteorder("=")
    if found.payload:
        order = "F" if found.fortran_order else "C"
        true = np.ndarray(found.shape, found.dtype, found.payload, order=order)
        for k in range(len(rows)):  # rows[k] of booleans would be True for any byte
            assert lab.same(rows[k, ...], true.astype(rows.dtype))
    return "ok"


@pytest.mark.filterwarnings("ignore:Reading .* Python 2:UserWarning")  # NumPy's, at each read
def test_npy_headers(lab: Any) -> None:
    seen: Counter[str] = Counter()
    for i, (header, n) in enumerate(spellings(lab)):
        for version in (1, 2, 3):
            text = header.encode("utf-8" if version == 3 else "latin-1")
            data = lab.raw_npy(text, b"7" * n, version)
            seen[check_npy(lab, data, strict=(i + version) % 2 == 0)] += 1
    assert set(seen) == {"ok", "npy_header", "npy_data", "npy_trailing", "pickle",
                         "max_header_size"}, seen  # fmt: skip


def test_npy_bytes(lab: Any) -> None:
    """Every truncation, and every byte changed, up to the header's padding."""
    data = lab.raw_npy(lab.header_text("<i2", (2, 3)) + "\n", bytes(range(12)))
    for n in range(6, len(data)):
        check_npy(lab, data[:n], strict=False)
        for change in (1, 2, 32, 0x80):
            check_npy(lab, data[:n] + bytes([data[n] ^ change]) + data[n + 1 :], strict=False)


def test_npy_header_limit(lab: Any) -> None:
    header = lab.header_text("<i2", (2,)).ljust(200)
    data = lab.raw_npy(header, bytes(4))
    for most in (0, 199, 200, 201):
        try:
            expected = policy.array(data, max_header_size=most).shape
        except policy.Refused as exc:
            expected = exc.code
        assert expected == ((2,) if most >= 200 else "max_header_size")
        try:
            found = fastzip.load(bytearray(data), max_header_size=most).shape
        except fastzip.LimitError as exc:
            found = exc.code
        assert found == expected


def test_the_policy_knows_sizes_exactly() -> None:
    """It counts in exact integers, where 64 bits would wrap to something small."""
    shape = (1 << 32, 1 << 32)
    assert math.prod(shape) % (1 << 64) == 0
    header = f"{{'descr': '<u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    with pytest.raises(policy.Refused, match="npy_header"):
        policy.array(data)
