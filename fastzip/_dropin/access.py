"""How other rooms reach what reads an archive that a user has opened."""

from __future__ import annotations

import zipfile
from typing import Any

from fastzip._dropin.archive import ZipFile
from fastzip._dropin.npz import NpzFile
from fastzip._npy import ArrayReader


def reader_of(archive: NpzFile | ZipFile) -> ArrayReader:
    """What reads its members; of a `ZipFile` that the standard library doesn't read."""
    reader: Any = archive._reader
    assert isinstance(reader, ArrayReader)
    return reader


def header_limit_of(npz: NpzFile) -> int:
    """The longest ``.npy`` header that may be read."""
    return npz._header_limit()


def check_open(npz: NpzFile) -> None:
    """Raise `ClosedError` if it is closed."""
    npz._live()


def info_at(archive: ZipFile, position: int) -> zipfile.ZipInfo:
    """The `ZipInfo` of the member at a position."""
    return archive._info(position)
