"""What fastzip accepts, as plain Python: one line and one reason code a check, in the order in
which the native core makes them. Slow, small, and independent of it.

`open_archive` gives the members of an archive, `read` the bytes of one, `array` what an .npy file
holds; what they refuse they refuse with `Refused`, whose code is one of src/runtime/status.h (or,
for .npy files, of fastzip.errors.OTHERS). An archive is anything that has a length and can be
sliced: bytes, or a `File`. Section numbers are those of APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import ast
import bisect
import bz2
import importlib
import io
import lzma
import math
import os
import re
import struct
import sys
import tokenize
import warnings
import zlib
from typing import Any, NamedTuple

LOCAL, CENTRAL, END, END64, LOCATOR, DESCRIPTOR = 30, 46, 22, 56, 20, 24
COMMENT_MAX, BEHIND_MAX = 65535, 65536  # bytes of a comment; bytes behind the archive
U16, U32 = 0xFFFF, 0xFFFFFFFF
ENCRYPTED, HAS_DESCRIPTOR, UTF8, UNKNOWN, BOTH = 0x2041, 0x0008, 0x0800, 0xC020, 0x2049
DESCRIPTOR_MARK = b"PK\7\x08"
PASSWORD = 0x0001  # the one way of being encrypted that is read
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, ZSTD_OLD, ZSTD, XZ, AES = 0, 8, 9, 12, 14, 20, 93, 95, 99
MARKED_END = 0x0002  # lzma: a marker ends the stream
MOST_VERSION, MOST_VERSION_64 = 63, 45
RATIO = 1032  # deflate: two bits for 258 bytes, at best
# For each method that is read, how many bytes can come of one at most, rounded up generously.
RATIOS = {STORED: 1, DEFLATED: RATIO, DEFLATE64: 32768, BZIP2: 2_000_000, LZMA: 16384}
RATIOS |= {ZSTD_OLD: 65536, ZSTD: 65536, XZ: 16384, AES: 2_000_000}
WINDOW, WINDOW_RATIO = 128 << 20, 16  # bytes of history; or so many times the stream's
# RFC 1951: nothing, deflated
EMPTY_STREAM = re.compile(rb"(\x00\x00\x00\xff\xff)*(\x03\x00|\x01\x00\x00\xff\xff)")


class Refused(Exception):
    """An archive, a member or an array that isn't accepted, and why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Limits(NamedTuple):
    """What a caller asks beyond what is asked of everybody."""

    strict: bool = False
    max_members: int | None = None
    max_total_size: int | None = None
    max_member_size: int | None = None


NO_LIMITS = Limits()


class Directory(NamedTuple):
    """Where the central directory is."""

    start: int
    size: int
    shift: int
    """Bytes in front of the archive that its offsets don't count."""
    count: int
    is64: bool
    code: str
    """"ok", or what is wrong with it all the same."""
    no_disks: bool = False
    """Does the zip64 locator count none?"""


class Member(NamedTuple):
    """One entry of the directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int
    """Of the local header, from the file's first byte."""
    code: str
    """"ok", or what is wrong with the entry, to be raised when it is read."""
    limit: int = 0
    """Where the next structure begins."""
    record: bytes = b""
    """All of the entry."""

    @property
    def owns_nothing(self) -> bool:
        """Empty members have no data, whatever they claim: Java's empty directories say 2 bytes."""
        return self.size == 0 and self.crc == 0 and not self.foreign

    @property
    def foreign(self) -> bool:
        """Is it one that takes more than inflating?"""
        return self.method not in (STORED, DEFLATED) or bool(self.flags & PASSWORD)

    @property
    def least_name(self) -> int:
        """Bytes that the name takes in the local header, where it may be in code page 437."""
        return len(self.name) // 3 if self.flags & UTF8 else len(self.name)

    @property
    def wide(self) -> bool:
        """Is the name UTF-8? Where it is ASCII, the flag says nothing."""
        return bool(self.flags & UTF8) and not self.name.isascii()


class File:
    """A file that can be sliced; every read is repeated until it has all that there is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.fd).st_size

    def close(self) -> None:
        os.close(self.fd)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        at, end, _ = part.indices(self.size)
        pieces = []
        while at < end and (piece := os.pread(self.fd, min(end - at, 1 << 30), at)):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)


def need(condition: object, code: str) -> None:
    if not condition:
        raise Refused(code)


# ------------------------------------------------------------------------------- the end record


def end_record(data: Any, at: int, exact: bool) -> Directory:
    """The end record at this place (4.3.16), if it and its zip64 record (4.3.14) are consistent."""
    need(len(data) - at >= END, "no_eocd")
    disk, disk2, here, count, size, offset, comment = struct.unpack("<4x4H2IH", data[at : at + END])
    stop = at + END + comment
    need(stop <= len(data) if not exact else stop == len(data), "comment_length")
    need(len(data) - stop <= BEHIND_MAX, "no_eocd")
    end, is64, shift64, no_disks = at, False, 0, False
    if at >= LOCATOR and data[at - LOCATOR : at - LOCATOR + 4] == b"PK\6\7":
        lead, stated, disks = struct.unpack("<4xIQI", data[at - LOCATOR : at])
        before = at - LOCATOR
        starts = [s for s in (stated, max(before - END64, 0)) if s <= before - END64]
        start = next((s for s in starts if bound(data, s, before)), None)
        if start is not None:
            version, *wide = struct.unpack("<14xH2I4Q", data[start : start + END64])
            short, sentinels = (disk, disk2, here, count, size, offset), (U16,) * 4 + (U32,) * 2
            need(lead == 0 and disks <= 1, "multi_disk")
            need(version & 0xFF <= MOST_VERSION_64, "zip64_version")
            agree = zip(short, wide, sentinels, strict=True)
            need(all(a in (mark, b) for a, b, mark in agree), "zip64_conflict")
            disk, disk2, here, count, size, offset = wide
            need(stated <= start, "zip64_locator")
            end, is64, shift64, no_disks = start, True, start - stated, disks == 0
        else:  # without a sentinel: twenty bytes that happen to look like a locator
            need(U16 not in (here, count, disk) and U32 not in (size, offset), "zip64_record")
    need(disk == 0 and disk2 == 0, "multi_disk")
    need(count == here, "count")
    need(is64 or U32 not in (size, offset), "zip64_sentinel")
    need(size + offset <= end, "cd_range")
    start, shift = end - size, end - size - offset
    need(not is64 or shift == shift64, "zip64_locator")
    need(count <= size // CENTRAL, "count_too_large")
    need(size == 0 or data[start : start + 4] == b"PK\1\2", "cd_magic")
    twofold = size and shift and offset + size <= start and data[offset : offset + 4] == b"PK\1\2"
    code = "ambiguous_prefix" if twofold else "ok"
    return Directory(start, size, shift, count, is64, code, no_disks)


def bound(data: Any, start: int, stop: int) -> bool:
    """Is there a zip64 record that ends exactly where its locator begins?"""
    magic, length = struct.unpack("<4sQ", data[start : start + 12])
    return magic == b"PK\6\6" and length >= END64 - 12 and length == stop - start - 12


def search(data: Any, reach: int, exact: bool) -> Directory:
    """The one consistent end record in the file's last `reach` bytes."""
    base = max(len(data) - reach, 0)
    tail, hits, wrong = data[base:], [], "no_eocd"
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at + 3)) >= 0:  # from the last one to the first
        try:
            hits.append(end_record(data, base + at, exact))
        except Refused as exc:
            wrong = exc.code if wrong in ("no_eocd", "comment_length") else wrong
        need(len(hits) < 2, "ambiguous_end")
    need(hits, wrong)
    need(hits[0].code == "ok", hits[0].code)
    return hits[0]


def find_directory(data: Any, strict: bool) -> Directory:
    """Candidates that end where the file ends come first; only if there is none, up to 64 KiB
    behind the archive are tolerated."""
    need(len(data) >= END, "too_short")
    try:
        found = search(data, END + COMMENT_MAX, True)
        need(not strict or not found.no_disks, "zip64_disks")
        return found
    except Refused as exc:
        if exc.code not in ("no_eocd", "comment_length"):
            raise
        wrong = exc.code
    try:
        found = search(data, END + COMMENT_MAX + LOCATOR + END64 + BEHIND_MAX, False)
    except Refused as exc:
        raise Refused(wrong if exc.code == "no_eocd" else exc.code) from None
    need(not strict, "behind_archive")
    return found


# ------------------------------------------------------------------------ the central directory


def widen(extra: bytes, values: list[int]) -> None:
    """Put what the zip64 extra field says (4.5.3) in place of every value that is 0xFFFFFFFF;
    padding and values that nobody asked for are tolerated."""
    wanted = [i for i, value in enumerate(values) if value == U32]
    at, seen = 0, False
    while len(extra) - at >= 4:
        tag, length = struct.unpack_from("<HH", extra, at)
        need(length <= len(extra) - at - 4, "extra_overrun")
        if tag == 1:
            need(not seen, "zip64_extra_duplicate")
            need(length >= 8 * len(wanted), "zip64_extra_short")
            for k, i in enumerate(wanted):
                (values[i],) = struct.unpack_from("<Q", extra, at + 4 + 8 * k)
            seen = True
        at += 4 + length
    need(seen or not wanted, "zip64_extra_missing")


def entry(data: bytes, at: int, shift: int) -> tuple[Member, int]:
    """The entry at this place of the directory (4.3.12), and where the next one is."""
    need(len(data) - at >= CENTRAL, "cd_entry_overrun")
    magic, version, flags, method, crc, compressed, size, *lengths, disk, offset = (
        struct.unpack_from("<4s2x3H4x3I4H6xI", data, at)
    )
    names, extras, comments = lengths
    need(magic == b"PK\1\2", "cd_entry")
    need(names + extras + comments <= len(data) - at - CENTRAL, "cd_entry_overrun")
    start = at + CENTRAL + names
    name = data[start - names : start]
    extra, code, values = data[start : start + extras], "ok", [size, compressed, offset]
    try:  # what follows is a lie about this member alone
        need(disk in (0, U16), "multi_disk")
        need(version & 0xFF <= MOST_VERSION, "version_needed")
        widen(extra, values)
    except Refused as exc:
        code = exc.code
    size, compressed, offset = values
    end = start + extras + comments
    member = Member(name, flags, method, crc, compressed, size, offset + shift, code)
    return member._replace(record=data[at:end]), end


def walk(data: bytes, place: Directory, limits: Limits) -> list[Member]:
    """Exactly as many bytes and as many entries as the end record says; without zip64 records the
    number may be modulo 65536, since writers exceed it."""
    members: list[Member] = []
    highest = math.inf if limits.max_members is None else limits.max_members
    need(place.count <= highest, "max_members")
    modulo = not place.is64 and not limits.strict and place.size // CENTRAL >= place.count + 65536
    most = place.size // CENTRAL if modulo else place.count
    at, names = 0, place.size - CENTRAL * place.count
    while at < place.size:
        magic = data[at : at + 4]
        if magic == b"PK\5\5" and place.size - at >= 6:  # 4.3.13, a signature, must be the last
            need(place.size - at == 6 + struct.unpack_from("<H", data, at + 4)[0], "cd_trailing")
            break
        if len(members) == min(most, highest):
            need(magic == b"PK\1\2", "cd_trailing")
            raise Refused("max_members" if most > highest else "count")
        member, at = entry(data, at, place.shift)
        names -= len(member.name)
        need(names >= 0, "count")  # so long a name leaves no room for the entries that are promised
        members.append(member)
    more = len(members) - place.count
    need(more == 0 or (more > 0 and more % 65536 == 0 and not place.is64), "count")
    return members


def decoded(name: bytes, flags: int) -> str:
    """A name as text (4.4.4 bit 11, D.1)."""
    return name.decode("utf-8" if flags & UTF8 else "cp437", "surrogateescape")


def check_rules(members: list[Member], place: Directory, limits: Limits) -> None:
    """What the caller asks of the archive as a whole. Members that can't be read don't count."""
    total = 0
    for member in members:
        if verdict(member._replace(limit=place.start)) == "ok":
            total += member.size
        need(limits.max_total_size is None or total <= limits.max_total_size, "max_total_size")
    if limits.strict:
        need(min([place.start, *(m.offset for m in members)]) == 0, "prefix")
        names = {(m.wide, m.name) for m in members}
        stems = {(wide, name.removesuffix(b".npy")) for wide, name in names if name[-4:] == b".npy"}
        need(len(names) == len(members) and not stems & names, "duplicate_name")
        wide = [m for m in members if not m.name.isascii()]
        keys = [decoded(m.name, m.flags).removesuffix(".npy") for m in wide]
        need(len(keys) == len(set(keys)), "duplicate_name")  # in two encodings


def open_archive(data: Any, limits: Limits = NO_LIMITS) -> list[Member]:
    """The archive's members, in the order of the directory."""
    place = find_directory(data, limits.strict)
    members = walk(data[place.start : place.start + place.size], place, limits)
    check_rules(members, place, limits)
    offsets = sorted(m.offset for m in members)
    sharing: dict[int, list[bytes]] = {}
    for m in members:
        sharing.setdefault(m.offset, []).append(m.record)

    def limit(offset: int) -> int:  # equal offsets overlap: none has room, but for one entry twice
        entries = sharing[offset]
        twice = len(entries) == 2 and entries[0] == entries[1]
        after = bisect.bisect_left(offsets, offset) + (2 if twice else 1)
        return min([place.start, *offsets[after : after + 1]])

    return [m._replace(limit=limit(m.offset)) for m in members]


# ------------------------------------------------------------------------------------ a member


def verdict(m: Member) -> str:
    """What the directory alone tells of a member: "ok" or a code."""
    try:
        check_entry(m)
    except Refused as exc:
        return exc.code
    return "ok"


def check_entry(m: Member) -> None:
    need(m.code == "ok", m.code)
    need(not m.flags & ENCRYPTED & ~PASSWORD, "encrypted")
    need(not m.flags & UNKNOWN, "flags")
    need(m.method in RATIOS and (m.method != AES or m.flags & PASSWORD), "method")
    room = m.limit - m.offset - LOCAL - m.least_name
    need(room >= 0, "overlap")
    if not m.owns_nothing:
        need(m.compressed_size <= room, "overlap")
        extra = 0 if not m.flags & PASSWORD else 20 if m.method == AES else 12
        packed = m.compressed_size - extra
        need(packed >= 0, "impossible_size")
        need(m.method != STORED or packed == m.size, "stored_size")
        need(m.method == STORED or m.size <= packed * RATIOS[m.method], "impossible_size")


def check_name(m: Member) -> None:
    """Names that two readers would understand differently belong to no member that is read."""
    need(b"\0" not in m.name, "name_nul")
    try:
        m.name.decode("utf-8" if m.flags & UTF8 else "latin-1")
    except UnicodeDecodeError:
        raise Refused("name_utf8") from None
    need(m.size == 0 or not m.name.endswith(b"/"), "directory_with_data")


def find_data(data: Any, m: Member, strict: bool) -> int:
    """Where the member's data begin: the local header (4.3.7) and what stands behind the data must
    say what the directory says, or, unless strict, leave it unsaid."""
    head = data[m.offset : m.offset + LOCAL]
    magic, flags, method, *sums, names, extras = struct.unpack("<4s2x2H4x3I2H", head)
    either, differ = flags | m.flags, flags ^ m.flags
    recoded = not strict and differ & UTF8
    need(magic == b"PK\3\4", "lfh_magic")
    need(names == len(m.name) or recoded, "lfh_name")
    at = m.offset + LOCAL + names + extras
    room = m.limit - at - (0 if m.owns_nothing else m.compressed_size)
    need(room >= 0, "overlap")
    name, extra = data[at - extras - names : at - extras], data[at - extras : at]
    alike = recoded and decoded(name, flags) == decoded(m.name, m.flags)
    need(name == m.name or alike, "lfh_name")
    need(method == m.method, "lfh_method")
    need(not differ & (BOTH if strict else ENCRYPTED), "lfh_flags")
    need(not strict or m.name.isascii() or not differ & UTF8, "lfh_flags")
    if flags & HAS_DESCRIPTOR and strict:  # what it repeats must be left out here, or right
        true = (m.crc, m.compressed_size, m.size)
        need(all(a in (0, U32, b) for a, b in zip(sums, true, strict=True)), "lfh_sizes")
    if m.owns_nothing:  # it may claim bytes; strictly, an empty stream that is there, or is not
        behind = (0, 12, 16, 20, 24) if m.flags & HAS_DESCRIPTOR else (0,)
        claimed = data[at : at + m.compressed_size] if m.compressed_size <= 64 else b""
        is_empty = m.method == DEFLATED and EMPTY_STREAM.fullmatch(claimed)
        fits = room in behind or (is_empty and room - m.compressed_size in behind)
        need(not strict or fits, "gap")
        return at
    if not flags & HAS_DESCRIPTOR:
        local_sums(sums, extra, m, (True, True) if strict else (False, False))
    if not either & HAS_DESCRIPTOR:
        need(not strict or room == 0, "gap")
        return at
    end = m.limit - room
    found = data[end : end + min(room, DESCRIPTOR)]
    lengths = descriptors(found, m)
    if lengths:
        need(not strict or room in lengths, "gap")
    else:
        need(not strict and not found.startswith(DESCRIPTOR_MARK), "descriptor")
        if differ & HAS_DESCRIPTOR == 0:  # both promise one, so the sizes must stand here
            try:
                local_sums(sums, extra, m, (False, True))
            except Refused:
                raise Refused("descriptor") from None
        elif flags & HAS_DESCRIPTOR:
            local_sums(sums, extra, m, (False, False))
    return at


def local_sums(sums: list[int], extra: bytes, m: Member, given: tuple[bool, bool]) -> None:
    """CRC and sizes of a local header must be right; if they needn't be `given` (the CRC, the
    sizes), 0 leaves them unsaid."""
    crc, *sizes = sums
    values, true = sizes[::-1], [m.size, m.compressed_size]
    try:
        widen(extra, values)
    except Refused as exc:
        stale = exc.code in ("zip64_extra_duplicate", "zip64_extra_short")
        need(stale and given != (True, True) and one_fits(extra, sizes[::-1], true), exc.code)
        values = [t if v == U32 else v for v, t in zip(sizes[::-1], true, strict=True)]
    need(crc == m.crc or (crc == 0 and not given[0]), "lfh_sizes")
    for value, right in zip(values, true, strict=True):
        need(value == right or (value == 0 and not given[1]), "lfh_sizes")


def one_fits(extra: bytes, values: list[int], true: list[int]) -> bool:
    """Does one of several zip64 fields, of which others are stale, say what the directory says?"""
    wanted = [t for v, t in zip(values, true, strict=True) if v == U32]
    form, at, fits = struct.pack(f"<{len(wanted)}Q", *wanted), 0, not wanted
    while len(extra) - at >= 4:
        tag, length = struct.unpack_from("<HH", extra, at)
        if length > len(extra) - at - 4:
            return False
        fits = fits or (tag == 1 and extra[at + 4 : at + 4 + length].startswith(form))
        at += 4 + length
    return fits


def descriptors(behind: bytes, m: Member) -> list[int]:
    """How long is the data descriptor (4.3.9), by each of its four layouts that fits?"""
    lengths = []
    for mark in (b"", DESCRIPTOR_MARK):
        for layout, most in (("<III", U32), ("<IQQ", 1 << 64)):
            if max(m.compressed_size, m.size) <= most:
                form = mark + struct.pack(layout, m.crc, m.compressed_size, m.size)
                lengths += [len(form)] if behind.startswith(form) else []
    return lengths


def inflate(raw: bytes, size: int) -> bytes:
    """The `size` bytes of a deflate stream that is exactly `raw`."""
    engine = zlib.decompressobj(-15)
    try:
        out = engine.decompress(raw, size) if size else b""  # 0 would mean: all that there is
        left = engine.unconsumed_tail if size else raw
        while not engine.eof:  # byte by byte: what is wrong later must not hide that there is more
            need(not engine.decompress(left[:1], 1), "too_long")
            need(left or engine.eof, "truncated_stream")
            left = left[1:]
    except zlib.error:
        raise Refused("deflate") from None
    need(not engine.unused_data + left, "trailing_data")
    need(len(out) == size, "too_short_stream")
    return out


def optional(name: str) -> Any:
    """A package, if it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Refused("package") from None


def library(m: Member, raw: bytes) -> Any:
    """What decodes this stream, and the stream that it takes."""
    window = max(WINDOW, WINDOW_RATIO * len(raw))
    if m.method == BZIP2:
        return bz2.BZ2Decompressor(), raw
    if m.method == XZ:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, window + (1 << 20)), raw
    if m.method == LZMA:  # 5.8.8: version, length of properties, properties, stream
        need(len(raw) >= 9, "truncated_stream")
        length, properties, history = struct.unpack_from("<2xHBI", raw)
        need(length == 5, "stream")
        history = min(history, max(m.size, 4096))
        need(history <= window, "window")
        size = (1 << 64) - 1 if m.flags & MARKED_END else m.size
        head = struct.pack("<BIQ", properties, history, size)
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE), head + raw[9:]
    if m.method in (ZSTD, ZSTD_OLD):
        zstd = optional("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        log = {zstd.DecompressionParameter.window_log_max: min(31, window.bit_length() - 1)}
        return zstd.ZstdDecompressor(options=log), raw
    return optional("inflate64").Inflater(), raw


def decode(m: Member, raw: bytes) -> bytes:
    """The bytes of a stream by another method that is exactly `raw`."""
    if not raw and m.size == 0:
        return b""
    engine, raw = library(m, raw)
    out, used, left = b"", 0, raw
    try:
        while m.method == DEFLATE64 and used < len(raw) and not engine.eof:
            few = min(64, max(1, len(raw) - used - 64))  # it has no limit; the last bytes singly
            out += engine.inflate(raw[used : used + few])
            need(len(out) <= m.size, "too_long")
            used += few
        while m.method != DEFLATE64 and not engine.eof:  # a byte too many tells that there is more
            got = engine.decompress(left, m.size + 1 - len(out))
            out, left = out + got, b""
            used = len(raw)
            need(len(out) <= m.size, "too_long")
            if not got:
                break
    except Refused:
        raise
    except Exception as exc:
        said = str(exc).lower()
        memory = "too much memory" in said or "usage limit" in said
        raise Refused("window" if memory else "stream") from exc
    behind = raw[used:] if m.method == DEFLATE64 else engine.unused_data
    need(engine.eof, "truncated_stream")
    need(not behind, "trailing_data")
    need(len(out) == m.size, "too_short_stream")
    return out


def read(data: Any, m: Member, limits: Limits = NO_LIMITS) -> bytes:
    """The member's bytes. Of encrypted ones only that a password is asked for."""
    check_entry(m)
    need(limits.max_member_size is None or m.size <= limits.max_member_size, "max_member_size")
    check_name(m)
    at = find_data(data, m, limits.strict)
    need(not m.flags & PASSWORD, "password")
    if m.foreign:
        out = decode(m, data[at : at + m.compressed_size])
    else:
        raw = b"" if m.owns_nothing else data[at : at + m.compressed_size]
        out = inflate(raw, m.size) if m.method == DEFLATED and not m.owns_nothing else raw
    need(zlib.crc32(out) == m.crc, "crc")
    return out


# ----------------------------------------------------------------------------------- .npy files


class Array(NamedTuple):
    """What an .npy file holds."""

    dtype: Any
    shape: tuple[int, ...]
    fortran_order: bool
    payload: bytes


def without_longs(header: str) -> str:
    """Python 2's 3L as 3, by way of tokens, as NumPy does it: white space at the end goes, too."""
    tokens: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(header).readline):
        if token.string != "L" or not tokens or tokens[-1].type != tokenize.NUMBER:
            tokens.append(token)
    return str(tokenize.untokenize(tokens))


def header_fields(text: bytes, version: int) -> tuple[Any, tuple[int, ...], bool]:
    """dtype, shape and order; the spellings are those that NumPy reads."""
    from numpy.lib.format import descr_to_dtype

    try:
        header = text.decode("utf-8" if version == 3 else "latin-1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fields = ast.literal_eval(header)
            except SyntaxError:
                need(version < 3, "npy_header")  # Python 2 wrote 3L for 3
                fields = ast.literal_eval(without_longs(header))
            dtype, shape, order = (fields[k] for k in ("descr", "shape", "fortran_order"))
            need(isinstance(fields, dict) and len(fields) == 3, "npy_header")
            dtype = descr_to_dtype(dtype)
    except Exception:  # of the parser, or of the dtype: all mean the same
        raise Refused("npy_header") from None
    need(isinstance(shape, tuple) and all(type(n) is int for n in shape), "npy_header")
    need(all(n >= 0 for n in shape), "npy_header")
    need(isinstance(order, bool), "npy_header")
    return dtype, shape, order


def array(data: bytes, strict: bool = False, max_header_size: int = 10000) -> Array:
    """The array in an .npy file (NEP 1) that begins with its magic."""
    import numpy as np  # for archives alone the standard library is enough

    need(len(data) >= (10 if data[6:7] == b"\1" else 12), "npy_header")
    major, minor = data[6], data[7]
    at = 10 if major == 1 else 12
    length = int.from_bytes(data[8:at], "little")
    need(length <= len(data) - at, "npy_header")
    need(length <= max_header_size, "max_header_size")
    need(major in (1, 2, 3) and minor == 0, "npy_header")
    dtype, shape, order = header_fields(data[at : at + length], major)
    at += length
    need(math.prod(n or 1 for n in shape) * max(dtype.itemsize, 1) < 1 << 63, "npy_header")
    most = 32 if np.__version__.startswith("1.") else 64  # dimensions that NumPy has room for
    need(len(shape) <= most, "npy_header")
    need(not dtype.hasobject, "pickle")
    nbytes, base = math.prod(shape) * dtype.itemsize, dtype
    while base.subdtype is not None:
        base = base.base
    need(nbytes <= len(data) - at, "npy_data")
    need(not strict or nbytes == len(data) - at, "npy_trailing")
    need(not math.prod(shape) or base.itemsize == dtype.itemsize, "npy_header")  # NumPy can't
    return Array(base, shape, order, data[at : at + nbytes])
