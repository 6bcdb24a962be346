"""`zipfile.ZipInfo` objects out of entries of the central directory, made by the standard library.

The entries are handed to `zipfile` as a directory without an archive, so that every field is what
this Python's own version of it says, and nothing of it is written twice.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Final

_ZipFile: Final = zipfile.ZipFile  # before somebody puts ours in its place


def _directory(entries: bytes) -> io.BytesIO:
    """An archive of nothing but these entries. The zip64 records (APPNOTE 4.3.14, 4.3.15) are there
    lest the last entry's comment be taken for them."""
    n = len(entries)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, n, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, n, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return io.BytesIO(entries + record + locator + end)


def parse(entries: bytes, encoding: str | None = None) -> list[zipfile.ZipInfo]:
    """The ZipInfo objects of these entries, whose offsets are as they are stated.

    A lie in one of them makes zipfile refuse all."""
    infos = _ZipFile(_directory(entries), metadata_encoding=encoding).infolist()
    for info in infos:
        if hasattr(info, "_end_offset"):
            info._end_offset = None  # the core knows where members end
    return infos


def comment(tail: bytes) -> bytes | None:
    """The archive's comment (APPNOTE 4.3.16), out of what stands behind the directory's entries: a
    digital signature (4.3.13) perhaps, zip64 records perhaps, and the end record. None if it isn't
    that."""
    for magic, size in ((b"PK\5\5", "<4xH"), (b"PK\6\6", "<4xQ")):
        if tail.startswith(magic):
            fixed = struct.calcsize(size)
            tail = tail[fixed + struct.unpack_from(size, tail)[0] :]
    if tail.startswith(b"PK\6\7"):
        tail = tail[20:]
    if len(tail) < 22 or not tail.startswith(b"PK\5\6"):
        return None
    return tail[22 : 22 + struct.unpack_from("<H", tail, 20)[0]]
