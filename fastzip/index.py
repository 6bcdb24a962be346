"""The index of an archive: its central directory, parsed once into flat arrays.

One 48-byte row for each member, the names in one piece of memory, a table for lookup by name that
is built at the first lookup. No Python object for any member, no local header read, and rows are
never written again, so every thread and every forked process can share an index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._sources import Opened

__all__ = ["ROW", "Index"]

ROW: Final = np.dtype(
    {
        "names": [
            "header_offset",
            "compressed_size",
            "size",
            "name_offset",
            "crc",
            "name_length",
            "method",
            "flags",
        ],
        "formats": ["<u8", "<u8", "<u8", "<u8", "<u4", "<u2", "<u2", "<u2"],
        "offsets": [0, 8, 16, 24, 32, 36, 38, 40],
        "itemsize": 48,
    }
)
"""A row of `Index.rows`: the fields of a central directory header (APPNOTE 4.3.12), where
``header_offset`` counts from the start of the file, a prefix included, and ``name_offset`` from the
start of the index's names."""

# Names whose hashes collide can't be written by somebody who doesn't know these.
_SEEDS: Final = (int.from_bytes(os.urandom(8)) >> 1, int.from_bytes(os.urandom(8)))

_PIECE: Final = 4096


class Index:
    """The members of an archive, by position and by name.

    Parameters
    ----------
    opened : Opened
        The archive's bytes. The index doesn't own them.

    Raises
    ------
    BadZipFile
        If the archive contradicts itself or the ZIP format; ``.code`` says how.
    OSError
        If reading fails.

    Notes
    -----
    Safe to use from many threads at once. Positions are those of the central directory, which is
    the order of ``zipfile.ZipFile.namelist()``.
    """

    def __init__(self, opened: Opened) -> None:
        self.where = opened.where
        self.directory = _core.Directory(opened.source, *_SEEDS)
        status = self.directory.status
        if status:
            raise errors.error(status, self.where, offset=self.directory.bad_offset)

    def __len__(self) -> int:
        return len(self.directory)

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """A row of type `ROW` for each member; read-only, not a copy."""
        directory: Any = self.directory
        rows: npt.NDArray[np.void] = np.frombuffer(directory, dtype=ROW)
        return rows

    @property
    def nbytes(self) -> int:
        """Memory that the index takes: rows, names, and the table once it is built."""
        return self.directory.nbytes

    def name(self, position: int) -> str:
        """The name of the member at this position."""
        return self.directory.names(position, position + 1, False)[0]

    def key(self, position: int) -> str:
        """Its name as NumPy's key: without ``.npy``."""
        return self.directory.names(position, position + 1, True)[0]

    def names(self) -> list[str]:
        """All names, in the archive's order; decoded now."""
        return self.directory.names(0, len(self), False)

    def keys(self) -> Iterator[str]:
        """All names as NumPy's keys, decoded piece by piece."""
        n = len(self)
        for start in range(0, n, _PIECE):
            yield from self.directory.names(start, min(n, start + _PIECE), True)

    def find(self, name: str) -> int | None:
        """The position of the last member of this name, or None."""
        position = self.directory.find(name)
        return None if position < 0 else position

    def error(self, status: int, position: int) -> Exception:
        """The exception for a status that reading this member gave."""
        offset = int(self.rows[position]["header_offset"])
        return errors.error(status, self.where, self.name(position), offset)
