"""Mutations that know the format: an archive is taken apart, one or a few of its parts are changed,
and it is put together again with every offset, count, size and CRC right but those that were made
to lie. Blind mutations seldom get past the first of them."""

from __future__ import annotations

import io
import math
import random
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from parts import builder, policy

Blind = Callable[[bytes, int], bytes]
"""libFuzzer's own mutation: (data, most bytes) -> data."""

WIDTHS = {
    "version flags method time date name_length extra_length comment_length disk": 16,
    "directory_disk count count_here version": 16,
    "crc compressed_size size offset disks": 32,
}
LOCAL = ["version", "flags", "method", "crc", "compressed_size", "size", "magic"]
LOCAL += ["name_length", "extra_length"]
CENTRAL = [*LOCAL, "offset", "disk", "comment_length"]
PLACE = ["disk", "directory_disk", "count_here", "count", "size", "offset"]
END = [*PLACE, "comment_length"]
RECORD = [*PLACE, "record_size", "version"]
EDGES = [0, 1, 2, 4, 8, 22, 30, 46, 76, 0x7F, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF]
EDGES += [0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
MAGICS = [b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\5\5", b"PK\7\x08", b"PK\0\0"]
MOST = 64  # members, and KiB of one
MAGIC = b"\x93NUMPY"


def bits(field: str, wide: bool = False) -> int:
    """How wide is this field?"""
    if wide and field not in ("version", "disk", "directory_disk", "disks"):
        return 64
    if wide and field != "version":
        return 32
    return next(n for names, n in WIDTHS.items() if field in names.split())


def dissect(data: bytes) -> Any:
    """The archive as the tests' builder knows it, or None; members keep the lies that they tell."""
    try:
        place = policy.find_directory(data, False)
        entries, at = [], place.start
        while at < place.start + place.size and len(entries) < MOST:
            entry, end = policy.entry(data[: place.start + place.size], at, place.shift)
            entries.append((entry, data[at:end]))
            at = end
    except policy.Refused:
        return None
    members = [take_apart(data, entry, raw) for entry, raw in entries]
    first = min((e.offset for e, _ in entries), default=place.start)
    archive = builder.Archive(members, zip64=place.is64, prefix=data[: min(first, 4096)])
    archive.counted = place.shift == 0
    archive.directory_tail = data[at : place.start + place.size][:64]
    end = data.rfind(b"PK\5\6")
    length = int.from_bytes(data[end + 20 : end + 22], "little")
    archive.comment, archive.trailing = data[end + 22 :][:length], data[end + 22 + length :]
    return archive


def take_apart(data: bytes, entry: Any, raw: bytes) -> Any:
    """One member: its entry in the directory, its local header, its data."""
    names, extras, comments = struct.unpack_from("<3H", raw, 28)
    at = policy.CENTRAL + names
    central = {
        "version": int.from_bytes(raw[6:8], "little"),
        "extra": raw[at : at + extras],
        "comment": raw[at + extras : at + extras + comments],
    }
    for field, where in (("crc", 16), ("compressed_size", 20), ("size", 24)):
        central[field] = int.from_bytes(raw[where : where + 4], "little")
    head = data[entry.offset : entry.offset + policy.LOCAL]
    local: dict[str, Any] = {}
    body = b""
    if len(head) == policy.LOCAL:
        magic, version, flags, method, crc, packed, size, n, x = struct.unpack("<4s3H4x3I2H", head)
        start = entry.offset + policy.LOCAL
        local = {"magic": magic, "version": version, "flags": flags, "method": method}
        local |= {"crc": crc, "compressed_size": packed, "size": size}
        local |= {"name": data[start : start + n], "extra": data[start + n : start + n + x]}
        body = data[start + n + x :][: min(entry.compressed_size, MOST << 10)]
    member = builder.Member(entry.name, b"", entry.method, entry.flags, body=body)
    member.size, member.crc, member.compressed_size = entry.size, entry.crc, entry.compressed_size
    if entry.flags & 8:
        end = entry.limit or entry.offset + policy.LOCAL
        member.descriptor = data[end:][:0] or "sig32"
    member.local, member.central = local, central
    return member


def honest(member: Any, data: bytes, rng: random.Random) -> None:
    """Give a member this content, and headers that say so."""
    member.data, member.body = data, None
    if member.method == 8:
        member.body = builder.deflate(data, rng.choice((0, 1, 6, 9)), rng.choice((0, 1, 2, 3, 4)))
    repair(member)


def repair(member: Any) -> None:
    """Sizes and CRC are those of the data again, in both headers."""
    member.size = member.crc = member.compressed_size = None
    for fields in (member.local, member.central):
        for field in ("size", "compressed_size", "crc", "extra", "name", "flags", "method"):
            fields.pop(field, None)


def content(member: Any) -> bytes | None:
    """What the member holds, as far as it can be told."""
    if member.body is None or member.method != 8:
        return member.data if member.body is None else member.body
    try:
        return zlib.decompressobj(-15).decompress(member.body, MOST << 10)
    except zlib.error:
        return None


def some_extra(rng: random.Random) -> bytes:
    """An extra field of a few records, zip64 ones among them; some are cut short."""
    out = b""
    for _ in range(rng.randrange(1, 4)):
        values = [rng.choice(EDGES) for _ in range(rng.randrange(5))]
        body = struct.pack(f"<{len(values)}Q", *values)[: rng.choice((99, 99, 4, 12))]
        length = len(body) + rng.choice((0, 0, 0, 0, 1, -1, 1000))
        out += struct.pack("<HH", rng.choice((1, 1, 0, 0x7075, 0xCAFE)), max(length, 0)) + body
    return out + bytes(rng.choice((0, 0, 1, 3)))


def lie(fields: dict[str, Any], names: list[str], rng: random.Random, wide: bool = False) -> None:
    """One field says something else than is true."""
    field = rng.choice(names)
    if field == "magic":
        fields[field] = rng.choice(MAGICS)
    else:
        known = fields.get(field)
        value = known + rng.choice((-1, 1)) if known and rng.random() < 0.5 else rng.choice(EDGES)
        fields[field] = value % (1 << (64 if field == "record_size" else bits(field, wide)))


def change_member(archive: Any, rng: random.Random, blind: Blind) -> None:
    """One change in one member, or in which members there are."""
    members = archive.members
    i = rng.randrange(len(members))
    m, kind = members[i], rng.randrange(14)
    if kind == 0:
        lie(m.local, LOCAL, rng)
    elif kind == 1:
        lie(m.central, CENTRAL, rng)
    elif kind == 2:
        honest(m, blind(content(m) or b"0", MOST << 10), rng)
    elif kind == 3:
        m.body = blind(m.packed() or b"0", MOST << 10)
        m.data = content(m) or b""
        if rng.random() < 0.8:
            repair(m)
    elif kind == 4:
        m.name = blind(m.name or b"n", 300)
        repair(m)
    elif kind == 5:
        rng.choice((m.local, m.central))["extra"] = some_extra(rng)
    elif kind == 6:
        m.descriptor = rng.choice(
            (None, "32", "64", "sig32", "sig64", b"", b"PK\7\x08" + bytes(16))
        )
        m.flags &= ~8
        m.local, m.central = {}, {}
    elif kind == 7:
        m.behind = rng.choice((b"", b"\0", b"gap", bytes(30)))
    elif kind == 8:
        copy = builder.Member(**{**vars(m), "local": dict(m.local), "central": dict(m.central)})
        members.insert(rng.randrange(len(members) + 1), copy)
    elif kind == 9:
        del members[i]
    elif kind == 10:
        data = content(m) or b""
        m.method = 8 - m.method if m.method in (0, 8) else 8
        honest(m, data, rng)
    elif kind == 11:  # the same name, or nearly, in code page 437 here and in UTF-8 there
        narrow = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        wide = narrow.decode("cp437").encode()
        wide = wide[:-1] if rng.random() < 0.1 else wide
        m.name, m.local["name"] = rng.choice(((wide, narrow), (narrow, wide)))
        for fields, name in ((m.local, m.local["name"]), (m.central, m.name)):
            fields["flags"] = m.flags & ~0x800 | (0x800 if name is wide else 0)
    elif kind == 12:  # one header says that there is a descriptor, or leaves sizes out
        rng.choice((m.local, m.central))["flags"] = m.flags ^ 8
        m.local |= dict.fromkeys(
            rng.sample(["crc", "size", "compressed_size"], rng.randrange(4)), 0
        )
    else:
        size = rng.choice((0, 1, 511, 4095, 4096, 8192, 8193, 9000, 70_000))
        data = (content(m) or b"x")[:size]
        honest(m, data + b"\1\2\3" * ((size - len(data)) // 3), rng)


def change_archive(archive: Any, rng: random.Random, blind: Blind) -> None:
    """One change around the members."""
    kind = rng.randrange(9)
    if kind == 0:
        lie(archive.end, END, rng)
    elif kind == 1:
        archive.zip64 = True
        lie(archive.record, RECORD, rng, wide=True)
    elif kind == 2:
        archive.zip64 = True
        lie(archive.locator, ["disk", "offset", "disks"], rng, wide=True)
    elif kind == 3:
        archive.zip64 = not archive.zip64
    elif kind == 4:
        archive.prefix = rng.choice((b"", b"x" * 7, b"PK\3\4" * 8, archive.build()))
        archive.counted = rng.random() < 0.5
    elif kind == 5:
        archive.comment = rng.choice((b"", b"c", b"PK\5\6" + bytes(18), archive.build()))[:65535]
    elif kind == 6:
        archive.trailing = rng.choice((b"", b"\n", bytes(22), b"PK\5\6" + bytes(18)))
    elif kind == 7:
        archive.directory_tail = rng.choice((b"", b"\0", b"PK\5\5\0\0", b"PK\5\5\1\0", bytes(46)))
    else:
        archive.behind_directory = rng.choice((b"", b"\0", b"PK\6\7" + bytes(16)))


def archive(data: bytes, most: int, seed: int, blind: Blind) -> bytes:
    """A mutated archive; every other time by libFuzzer's own mutations."""
    rng = random.Random(seed)
    if rng.random() < 0.3:
        return blind(data, most)
    try:
        parts = dissect(data)
        if parts is None:
            return blind(data, most)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if parts.members and rng.random() < 0.75:
                change_member(parts, rng, blind)
            else:
                change_archive(parts, rng, blind)
        if parts.members and rng.random() < 0.1:  # entries that stand there twice
            parts.order = rng.choices(range(len(parts.members)), k=rng.randrange(1, 9))
        out: bytes = parts.build()
    except struct.error:  # a number that the builder has no room for
        return blind(data, most)
    return out if len(out) <= most else blind(data, most)


DESCRS = ["<f4", ">f8", "|u1", "<i8", "|b1", "<c16", "<U3", "|S5", "|V2", "|O", "<M8[ns]", "=i4"]
DESCRS += ["i4", "<U0", "(2,)<f4", "|S0", "<f3", "T", ">U9999", "S99999999999"]
SHAPES = [
    "()",
    "(0,)",
    "(1,)",
    "(3,)",
    "(2, 3)",
    "(3L,)",
    "(0, 9)",
    "(-1,)",
    "(1, 1, 1)",
    "(True,)",
]
SHAPES += ["(99999999999,)", "(4294967296, 4294967296)", "(0, 9223372036854775808)", "3", "[3]"]


def npy(data: bytes, most: int, seed: int, blind: Blind) -> bytes:
    """A mutated .npy file, mostly with a header of the length that it says."""
    rng = random.Random(seed)
    if rng.random() < 0.3 or len(data) < 12:
        return blind(data, most)
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    text, payload = data[start:end].rstrip(), data[end:]
    kind = rng.randrange(6)
    if kind == 0:
        text = re.sub(rb"'descr': ?'[^']*'", b"'descr': '%s'" % rng.choice(DESCRS).encode(), text)
    elif kind == 1:
        text = re.sub(rb"'shape': ?\([^)]*\)", b"'shape': " + rng.choice(SHAPES).encode(), text)
    elif kind == 2:
        text = text.replace(b"False", b"\0").replace(b"True", b"False").replace(b"\0", b"True")
    elif kind == 3:
        text = blind(text or b"{", 9000)
    elif kind == 4:
        payload = rng.choice((payload + b"\0", payload[:-1], payload * 2, b""))
    version = rng.choice((1, 1, 1, 2, 3)) if kind == 5 else data[6]
    text += b" " * rng.choice((0, 0, -(len(text) + 1) % 64, 1)) + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return (data[:6] + bytes((version, data[7])) + length + text + payload)[:most]


def other_length(data: bytes, rng: random.Random) -> bytes:
    """An array like the one in this .npy file, of another length or, seldom, another in some other
    way."""
    try:
        true = policy.array(data)
        array = np.ndarray(true.shape, true.dtype, true.payload or None)
        trail = array.shape[1:]
        unit = max(math.prod(trail) * array.dtype.itemsize, 1)
        most = max((MOST << 10) // unit, 1)
        n = min(
            rng.choice((0, 1, 9, 10, 99, 100, rng.randrange(3000), rng.randrange(60_000))), most
        )
        array = np.resize(array, (n, *trail))
        array = array.astype(array.dtype.newbyteorder()) if rng.random() < 0.1 else array
        array = np.asfortranarray(array) if rng.random() < 0.1 else array
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.lib.format.write_array(file, array, rng.choice((None, None, None, (2, 0), (3, 0))))
    except Exception:  # no array, or none that NumPy writes
        return data
    made = file.getvalue()
    return made + b"\0" * rng.choice((0, 0, 0, 0, 1)) if rng.random() < 0.9 else made[:-1]


def unequal(data: bytes, most: int, seed: int, blind: Blind) -> bytes:
    """A mutated archive of arrays: mostly they stay arrays, of other lengths."""
    rng = random.Random(seed)
    parts = dissect(data) if rng.random() < 0.7 else None
    if parts is None or not parts.members:
        return archive(data, most, seed, blind)
    try:
        for _ in range(rng.choice((1, 1, 2, 4))):
            member = rng.choice(parts.members)
            member.method = rng.choice((8, 8, 8, 0))
            honest(member, other_length(content(member) or b"", rng), rng)
        if rng.random() < 0.2:
            change_member(parts, rng, blind)
        out: bytes = parts.build()
    except struct.error:
        return blind(data, most)
    return out if len(out) <= most else blind(data, most)
