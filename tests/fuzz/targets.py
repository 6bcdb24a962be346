"""The fuzz targets. Usage: targets.py TARGET [libFuzzer's arguments]; tests/fuzz/run does it all.

Inputs lie in memory that ends, or begins, at a page that nobody may touch, and so do batches. What
else a target asserts stands in it. Every choice is made by the input's own CRC, so that a finding
can be repeated."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import random
import sys
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["fastzip"]):
    import fastzip
    from fastzip import _core
    from fastzip._npy.arrays import OTHER_HEADER
    from fastzip._zip import sources as _sources
    from fastzip._zip.index import ROW, Limits

import lengths
import mutate
from guard import Guarded
from parts import policy, verdicts

MEMBERS, SIZE = 16, 1 << 20
"""So many members are read of an archive, if they have at most so many bytes."""
CANARY = 0xA5
ALL = (1 << 64) - 1
DEFLATE = _core.STATUS_CODES.index("deflate")

REFUSALS = (
    ValueError, TypeError, OverflowError, NotImplementedError, zipfile.BadZipFile,
    fastzip.PasswordError,
)  # fmt: skip

inputs, outputs = Guarded(1 << 20), Guarded(SIZE)


# ------------------------------------------------------------------------------ how it is opened


def in_memory(data: bytes) -> Any:
    return _core.Source(buffer=inputs.hold(data, zlib.crc32(data) & 16 == 0))


def in_file(data: bytes) -> Any:
    fd = os.memfd_create("fuzz")
    os.write(fd, data)
    return _core.Source(fd, len(data))


def limits_of(data: bytes) -> Any:
    """No limits, mostly; otherwise strict, or small ones."""
    salt = zlib.crc32(data) >> 8
    return Limits(
        bool(salt & 1),
        *(n if salt >> k & 7 == 0 else None for k, n in ((1, 3), (4, 5000), (7, 300))),
    )


def open_directory(source: Any, limits: Any) -> Any:
    return _core.Directory(source, 1, 2, *limits)


def rows_of(directory: Any) -> Any:
    return np.frombuffer(directory, ROW)


# --------------------------------------------------------------------------------------- targets


def directory(data: bytes) -> None:
    """End records and the central directory: rows lie within bounds, names are found."""
    limits = limits_of(data)
    source = in_memory(data)
    listing = open_directory(source, limits)
    if zlib.crc32(data) & 3 == 0:
        other = in_file(data)
        again = open_directory(other, limits)
        assert (again.status, len(again)) == (listing.status, len(listing))
        assert again.status or bytes(rows_of(again)) == bytes(rows_of(listing))
        other.close()
    if listing.status == 0:
        n = len(listing)
        assert n * policy.CENTRAL <= len(data)
        assert limits.max_members is None or n <= limits.max_members
        assert listing.build_table() == 0
        listing.names(0, n, True)
        for i, name in enumerate(listing.names(0, min(n, MEMBERS), False)):
            assert listing.find(name) >= i
            assert listing.find_key(name.removesuffix(".npy")) >= 0
            assert len(listing.raw_name(i)) == rows_of(listing)[i]["name_length"]
    source.close()


def read(source: Any, listing: Any, i: int, verify: bool = True) -> Any:
    """A member's bytes, or its status; by either way to read one."""
    lead = zlib.crc32(b"%d" % i) % 64
    if lead & 1:
        return _core.read_bytes(source, listing, i, verify)
    block = _core.read_member(source, listing, i, lead, verify, ALL)
    return block if isinstance(block, int) else bytes(block)[lead:]


def read_all(source: Any, listing: Any) -> list[Any]:
    sizes = rows_of(listing)["size"]
    n = min(len(listing), MEMBERS)
    return [read(source, listing, i) if sizes[i] <= SIZE else None for i in range(n)]


def agree(found: list[Any], other: list[Any]) -> bool:
    """Do libdeflate and zlib-ng tell the same? zlib refuses the unused length codes 286 and 287
    (RFC 1951, 3.2.5), libdeflate takes them."""
    return all(
        a == b or (isinstance(a, bytes) and b == DEFLATE) for a, b in zip(found, other, strict=True)
    )


def as_usual() -> None:
    _core.use_engine(True)
    _core.use_lanes(4)


def by_zlib_ng(source: Any, listing: Any, i: int) -> Any:
    """What zlib-ng alone makes of a member."""
    _core.use_engine(False)
    _core.use_lanes(0)
    found = read(source, listing, i)
    as_usual()
    return found


def members(data: bytes) -> None:
    """Whole archives: both engines, memory and file, single reads and batches tell the same."""
    salt, limits = zlib.crc32(data), limits_of(data)
    source = in_memory(data)
    listing = open_directory(source, limits)
    if listing.status == 0:
        as_usual()
        found = read_all(source, listing)
        if salt & 2:
            _core.use_engine(False)
            _core.use_lanes(salt >> 5 & 4)  # the interleaved engine does single ones, too, then
            assert agree(found, read_all(source, listing))
            as_usual()
        if salt & 12 == 0:
            other = in_file(data)
            again = open_directory(other, limits)
            for a, b in zip(read_all(other, again), found, strict=True):
                assert a == b
            batch(other, again, found, salt)
            other.close()
        for i, whole in enumerate(found):
            row = rows_of(listing)[i]
            if isinstance(whole, bytes):
                assert (len(whole), zlib.crc32(whole)) == (row["size"], row["crc"])
                front = _core.read_front(source, listing, i, 64)
                if isinstance(front, bytes):
                    assert whole.startswith(front)
                else:
                    assert agree([whole], [front])
                    assert by_zlib_ng(source, listing, i) == front
                nested(data, source, listing, i, whole)
            elif whole is None:
                _core.read_front(source, listing, i, 64)
        batch(source, listing, found, salt)
        if salt & 64:
            for i, whole in enumerate(found):
                if whole is not None:
                    read(source, listing, i, verify=False)
    source.close()


def nested(data: bytes, source: Any, listing: Any, i: int, whole: bytes) -> None:
    """The data lie where they are said to, and open as an archive as if they were alone."""
    found = _core.locate(source, listing, i)
    assert not isinstance(found, int)
    offset = found[0]
    if rows_of(listing)[i]["method"] == 0:
        assert data[offset : offset + len(whole)] == whole
        part, alone = source.part(offset, len(whole)), _core.Source(buffer=whole)
        inner, same = (open_directory(s, Limits()) for s in (part, alone))
        assert (inner.status, len(inner)) == (same.status, len(same))
        assert inner.status or read_all(part, inner) == read_all(alone, same)
        part.close()


def batch(source: Any, listing: Any, found: list[Any], salt: int) -> None:
    """A batch of every member that is as large as the first good one, into rows at the very end, or
    the very beginning, of what may be written."""
    good = next((i for i, whole in enumerate(found) if isinstance(whole, bytes)), None)
    if good is None:
        return
    size, sizes = len(found[good]), rows_of(listing)["size"]
    head = found[good][: min(size, salt >> 16 & 15)]
    alike = [i for i in range(len(found)) if sizes[i] == size]
    positions = np.array(alike * (1 + (salt >> 20 & 1)), np.int64)
    width, n = size - len(head), len(positions) + 2
    stride = width + (salt >> 21 & 1) * 5
    if stride * n > outputs.size:
        return
    space = np.frombuffer(outputs.space(stride * (n - 1) + width, salt >> 22 & 1 == 0), np.uint8)
    space[:] = CANARY
    out = np.lib.stride_tricks.as_strided(space, (n, width), (stride, 1))
    rows = np.arange(1, n - 1) if salt >> 23 & 1 else np.arange(n - 2, 0, -1)
    statuses = np.empty(len(positions), np.int32)
    threads = 1 + (salt >> 24 & 3 == 3)
    _core.fetch(source, listing, positions, rows, out, head, threads, True, statuses)
    for i, row, status in zip(positions, rows, statuses, strict=True):
        whole = found[i]
        if not isinstance(whole, bytes):
            assert status == whole
        elif status == DEFLATE:  # the interleaved engine had it, and is as strict as zlib-ng
            assert by_zlib_ng(source, listing, i) == DEFLATE
        elif not whole.startswith(head):
            assert status == OTHER_HEADER
        else:
            assert status == 0
            assert out[row].tobytes() == whole[len(head) :]
    untouched = np.ones(len(space), bool)
    for row in rows:
        untouched[row * stride : row * stride + width] = False
    assert (space[untouched] == CANARY).all(), "bytes outside the rows were written"


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or why it is refused."""
    try:
        return call()
    except REFUSALS as exc:
        return getattr(exc, "code", None) or f"no code: {exc!r}"


def told(array: Any) -> Any:
    """An array's dtype, shape and bytes; of what is none, itself."""
    if not isinstance(array, np.ndarray):
        return array
    return array.dtype, array.shape, array.tobytes("A") if array.nbytes else b""


def npy(data: bytes) -> None:
    """Headers and arrays: as a file, as a member, by its header alone, in a batch, and by NumPy."""
    strict, data = bool(zlib.crc32(data) & 1), mutate.MAGIC + data[len(mutate.MAGIC) :]
    try:
        true = policy.array(data, strict)
        expected: Any = true.dtype, true.shape, true.payload
    except policy.Refused as exc:
        true, expected = None, exc.code
    archive = mutate.builder.Archive([mutate.builder.Member(b"x.npy", data, 0)]).build()
    npz = fastzip.load(archive, strict=strict)
    for call in (lambda: npz["x"], lambda: fastzip.load(bytearray(data), strict=strict)):
        found = told(outcome(call))
        assert found == expected, (found, expected)
    rows = outcome(lambda: npz.fetch([0, 0]))
    if true is None:
        assert isinstance(rows, str), rows
        return
    header = npz.spec("x")
    assert header.shape == true.shape, (header, true)
    assert header.dtype == true.dtype or header.dtype.subdtype, (header, true)
    if isinstance(rows, str):  # a batch has one dimension more, and no room for sub-arrays
        assert rows in ("shape", "dtype"), rows
    else:
        compare_rows(rows, true)
    other = told(outcome(lambda: np.load(io.BytesIO(data))))
    assert isinstance(other, str) or other == expected, (other, expected)


def compare_rows(rows: Any, true: Any) -> None:
    """Is each row of the batch the array, in native byte order?"""
    assert rows.dtype == true.dtype.newbyteorder("="), (rows.dtype, true)
    assert rows.shape == (2, *true.shape), (rows.shape, true)
    if true.payload:
        order: Any = "F" if true.fortran_order else "C"
        array = np.ndarray(true.shape, true.dtype, true.payload, order=order)
        for k in range(len(rows)):  # rows[k] of booleans would be True for any byte
            assert mutate.builder.same(rows[k, ...], array.astype(rows.dtype)), true


def first(n: int) -> range:
    """The members that are compared."""
    return range(min(n, MEMBERS))


def differential(data: bytes) -> None:
    """The native reader and tests/policy.py agree in verdict, code and bytes; and with zipfile in
    bytes wherever both succeed."""
    limits = limits_of(data)
    opened = _sources.open_memory(inputs.hold(data))
    found = verdicts.natively(opened, limits, first, SIZE)
    opened.source.close()
    expected = verdicts.stated(data, limits, first, SIZE)
    assert found == expected, (limits, found, expected)
    if zlib.crc32(data) & 3 == 0:
        source = in_file(data)
        again = verdicts.natively(_sources.Opened(source, "file", None, None), limits, first, SIZE)
        source.close()
        assert again == expected, (limits, again, expected)
    if isinstance(found, list) and zlib.crc32(data) & 4:
        others = by_zipfile(data)
        listed = policy.open_archive(data, policy.Limits(*limits))
        for member, (_, content) in zip(listed, found, strict=False):
            if isinstance(content, bytes) and member.offset in others:
                assert others[member.offset] == content


def unequal(data: bytes) -> None:
    """Members of different lengths: ragged and padded batches hold what the members hold one by
    one, and what zipfile and NumPy read."""
    salt = zlib.crc32(data)
    try:
        npz = fastzip.load(memoryview(inputs.hold(data, salt & 16 == 0)).cast("B"))
    except (*REFUSALS, EOFError):
        return
    if not isinstance(npz, fastzip.NpzFile):
        return
    rows, rng = rows_of(npz._reader.directory), random.Random(salt)
    some = [i for i, row in enumerate(rows[:MEMBERS]) if usable(row)]
    if some:
        keys = rng.choices(some, k=rng.randrange(1, lengths.MOST_JOBS))
        _core.use_engine(False)
        _core.use_lanes(0)
        alone = {i: read(npz._reader.source, npz._reader.directory, i) for i in set(keys)}
        others = by_zipfile(data)
        for i, content in alone.items():
            other = others.get(int(rows[i]["header_offset"]))
            assert other is None or not isinstance(content, bytes) or content == other
            array = lengths.parsed(content, False) if isinstance(content, bytes) else None
            if array is not None and other is not None:
                with contextlib.suppress(*REFUSALS, EOFError):
                    theirs = np.lib.format.read_array(io.BytesIO(other), allow_pickle=False)
                    assert told(theirs)[:2] == told(array)[:2], (theirs, array)
                    assert theirs.tobytes() == array.tobytes(), (theirs, array)
        _core.use_engine(bool(salt & 32))
        _core.use_lanes((0, 1, 4, 4)[salt >> 6 & 3], (None, "portable")[salt >> 8 & 1])
        lengths.compare(npz, keys, [alone[i] for i in keys], salt, outputs)
        _core.use_lanes(4)
    npz.close()


def usable(row: Any) -> bool:
    """A member that the core decodes, and of a size that is worth it."""
    return bool(row["size"] <= SIZE and row["method"] in (0, 8) and not row["flags"] & 1)


def by_zipfile(data: bytes) -> dict[int, bytes]:
    """What the standard library reads, by the offset of the local header."""
    found = {}
    with contextlib.suppress(Exception):
        archive = zipfile.ZipFile(io.BytesIO(data))
        for info in archive.infolist()[:MEMBERS]:
            with contextlib.suppress(Exception):
                if info.file_size <= SIZE:
                    found[info.header_offset] = archive.read(info)
    return found


TARGETS = {f.__name__: f for f in (directory, members, npy, unequal, differential)}


def main() -> None:
    """Run one target for ever, or as long as libFuzzer's arguments say."""
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv.pop(1)]
    inputs.prove()
    outputs.prove()
    change = {npy: mutate.npy, unequal: mutate.unequal}.get(target, mutate.archive)
    for name, function in inspect.getmembers(policy, inspect.isfunction):
        setattr(policy, name, atheris.instrument_func(function))

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        try:
            return change(data, most, seed, atheris.Mutate)
        except BaseException:  # atheris would hang
            traceback.print_exc()
            os._exit(70)

    atheris.Setup(sys.argv, target, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
