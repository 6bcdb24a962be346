"""The index of an archive: its central directory, parsed once into flat arrays.

One 48-byte row for each member, the names in one piece of memory, a table for lookup by name that
is built at the first lookup. No Python object for any member, no local header read, and rows are
never written again, so every thread and every forked process can share an index.
"""

from __future__ import annotations

import operator
import os
import sys
import zipfile
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._signals import let_pass
from fastzip._zip import infos as _infos
from fastzip._zip.sources import Opened, described

__all__ = ["ROW", "Index", "Limits"]

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
            "status",
        ],
        "formats": ["<u8", "<u8", "<u8", "<u8", "<u4", "<u2", "<u2", "<u2", "<u2"],
        "offsets": [0, 8, 16, 24, 32, 36, 38, 40, 42],
        "itemsize": 48,
    }
)
"""A row of `Index.rows`: the fields of a central directory header (APPNOTE 4.3.12), where
``header_offset`` counts from the start of the file, a prefix included, and ``name_offset`` from the
start of the index's names. ``status`` is 0, or stands for what is wrong with the entry itself; that
is raised when the member is read."""

# Names whose hashes collide can't be written by somebody who doesn't know these.
_SEEDS: Final = (int.from_bytes(os.urandom(8)) >> 1, int.from_bytes(os.urandom(8)))

_PIECE: Final = 4096
_UNICODE_PATHS: Final = sys.version_info >= (3, 12)  # as of which zipfile looks at them
_END_MAX: Final = 65541 + 76 + 22 + 65535  # the records behind the directory, and the comment
_NO_LIMIT: Final = (1 << 64) - 1
_NO_ARCHIVE: Final = ("no_eocd", "too_short")
"""Codes of files that may be anything."""


class Limits(NamedTuple):
    """What a caller asks of an archive; the parameters of `fastzip.load`.

    Parameters
    ----------
    strict : bool, optional
        Refuse archives that other programs may understand differently.
    max_members : int, optional
        Refuse archives of more members.
    max_total_size, max_member_size : int, optional
        In bytes, uncompressed: of all members, and of each that is read.

    Examples
    --------
    >>> from fastzip._zip.index import Limits
    >>> Limits(max_members=1000).strict
    False
    """

    strict: bool = False
    max_members: int | None = None
    max_total_size: int | None = None
    max_member_size: int | None = None

    def checked(self) -> Limits:
        """These, as numbers that the core takes.

        Returns
        -------
        Limits
            With plain integers.

        Raises
        ------
        ValueError
            If a limit is no integer, or negative.

        Examples
        --------
        >>> from fastzip._zip.index import Limits
        >>> Limits(max_members=2**70).checked().max_members == 2**64 - 1
        True
        """
        if self == NO_LIMITS:
            return NO_LIMITS
        out: list[Any] = [bool(self.strict)]
        for name, value in zip(self._fields[1:], self[1:], strict=True):
            number = value
            if value is not None:
                try:
                    number = -1 if isinstance(value, bool) else operator.index(value)
                except TypeError as exc:
                    let_pass(exc)
                    number = -1
                if number < 0:
                    raise ValueError(f"{name} must be a number of 0 or more, or None: {value!r}")
            out.append(None if number is None else min(number, _NO_LIMIT))
        return Limits(*out)


NO_LIMITS: Final = Limits()


class Index:
    """The members of an archive, by position and by name; ``npz.index`` and ``ZipFile.index``.

    Parameters
    ----------
    opened : Opened
        The archive's bytes. The index doesn't own them.
    limits : Limits, optional
        What to refuse beyond what is wrong for everybody.

    Raises
    ------
    BadZipFile
        If the archive contradicts itself or the ZIP format; ``.code`` says how.
    LimitError
        If it has more members, or they more bytes, than `limits` allow.
    OSError
        If reading fails.

    Notes
    -----
    Safe to use from many threads at once. Positions are those of the central directory, which is
    the order of ``zipfile.ZipFile.namelist()``. What stands in the file alone (`comment`, `extra`,
    `infos`, `read`) takes an open archive; everything else outlives it.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, a=np.arange(3), b=np.arange(2))
    >>> npz = fastzip.load(file.getvalue())
    >>> index = npz.index
    >>> len(index), index.names(), index.find("b.npy")
    (2, ['a.npy', 'b.npy'], 1)
    >>> index.rows["size"]
    array([152, 144], dtype=uint64)
    """

    def __init__(self, opened: Opened, limits: Limits = NO_LIMITS) -> None:
        self.where = opened.where
        self._opened = opened
        self.directory = _core.Directory(
            opened.source,
            *_SEEDS,
            limits.strict,
            limits.max_members,
            limits.max_total_size,
            limits.max_member_size,
        )
        status, row = self.directory.status, self.directory.bad_row
        if status:
            member = None if row < 0 else self.name(row)
            offset = self.directory.bad_offset
            what = described(opened) if errors.code_of(status) in _NO_ARCHIVE else ""
            raise errors.error(status, self.where, member, offset, opened.changed(), what)
        if _UNICODE_PATHS and self.directory.unicode_paths:
            names = [info.filename for info in self.infos(0, len(self))]
            self.directory.rename(names)
        if limits.strict:
            self._check_wide_names()

    def _check_wide_names(self) -> None:
        """The core compares bytes; a name in UTF-8 and one in code page 437 may read the same."""
        seen = set()
        for row in self.directory.wide_rows():
            key = self.key(row)
            if key in seen:
                raise self.error(_core.STATUS_CODES.index("duplicate_name"), row)
            seen.add(key)

    def __len__(self) -> int:
        return len(self.directory)

    def __repr__(self) -> str:
        n = len(self)
        return f"<Index of {self.where!r}: {n:,} member{'s' * (n != 1)}>"

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """A row of type `ROW` for each member; read-only, not a copy."""
        directory: Any = self.directory
        rows: npt.NDArray[np.void] = np.frombuffer(directory, dtype=ROW)
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the index takes: rows, names, and the table once it is built."""
        return self.directory.nbytes

    def name(self, position: int) -> str:
        """The name of the member at this position.

        Parameters
        ----------
        position : int
            From 0 to ``len(index) - 1``.

        Returns
        -------
        str
            As `zipfile` decodes it.

        Raises
        ------
        IndexError
            If there is no such position.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.name(1)
        'b.npy'
        """
        return self.directory.names(position, position + 1, False)[0]

    def key(self, position: int) -> str:
        """The name of the member at this position, as NumPy's key.

        Parameters
        ----------
        position : int
            From 0 to ``len(index) - 1``.

        Returns
        -------
        str
            Without ``.npy``.

        Raises
        ------
        IndexError
            If there is no such position.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.key(1)
        'b'
        """
        return self.directory.names(position, position + 1, True)[0]

    def names(self) -> list[str]:
        """The names of all members, decoded now.

        Returns
        -------
        list of str
            In the archive's order.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.names()
        ['a.npy', 'b.npy']
        """
        return self.directory.names(0, len(self), False)

    def keys(self) -> Iterator[str]:
        """All names as NumPy's keys, decoded piece by piece.

        Yields
        ------
        str
            Each without ``.npy``, in the archive's order.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> list(index.keys())
        ['a', 'b']
        """
        n = len(self)
        for start in range(0, n, _PIECE):
            yield from self.directory.names(start, min(n, start + _PIECE), True)

    def find(self, name: str) -> int | None:
        """The position of the last member of this name.

        The first call builds a table of all names, 6 bytes for each.

        Parameters
        ----------
        name : str
            The whole name, with ``.npy`` if it has that.

        Returns
        -------
        int or None
            None if there is no such member.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.find("b.npy"), index.find("b")
        (1, None)
        """
        position = self.directory.find(name)
        return None if position < 0 else position

    def read(self, offset: int, n: int) -> bytes:
        """Bytes of the archive as they stand there.

        Parameters
        ----------
        offset : int
            From the archive's first byte.
        n : int
            How many bytes.

        Returns
        -------
        bytes
            So many.

        Raises
        ------
        TruncatedError
            If there are fewer.
        OSError
            If reading fails.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.read(int(index.rows["header_offset"][1]), 4)
        b'PK\\x03\\x04'
        """
        data = self._opened.source.read(offset, n)
        if isinstance(data, int):
            raise errors.error(data, self.where, None, offset, self._opened.changed())
        return data

    def extra(self, position: int) -> bytes:
        """The extra field of the directory's entry (APPNOTE 4.3.12).

        Parameters
        ----------
        position : int
            From 0 to ``len(index) - 1``.

        Returns
        -------
        bytes
            Read from the file again.

        Raises
        ------
        IndexError
            If there is no such position.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.extra(0)
        b''
        """
        at = self.directory.record(position)
        entry = self.read(at, self.directory.record(position + 1) - at)
        start = 46 + int.from_bytes(entry[28:30], "little")
        return entry[start : start + int.from_bytes(entry[30:32], "little")]

    def infos(self, start: int, stop: int, encoding: str | None = None) -> list[zipfile.ZipInfo]:
        """`zipfile.ZipInfo` objects of neighbouring members, made now.

        Parameters
        ----------
        start, stop : int
            Positions from `start` up to `stop`, which isn't among them.
        encoding : str, optional
            Of names without the UTF-8 flag; None: code page 437 (APPNOTE D.1).

        Returns
        -------
        list of zipfile.ZipInfo
            New objects; their comments and extra fields are read from the file again.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> [info.filename for info in index.infos(0, 2)]
        ['a.npy', 'b.npy']
        """
        out: list[zipfile.ZipInfo] = []
        for at in range(start, stop, _PIECE):
            end = min(stop, at + _PIECE)
            try:
                out += self._parse(at, end, encoding)
            except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as exc:
                let_pass(exc)
                if encoding is not None and isinstance(exc, UnicodeDecodeError):
                    raise
                if end - at == 1:
                    out.append(self._plain_info(at))
                else:  # one of them lies
                    for position in range(at, end):
                        out += self.infos(position, position + 1, encoding)
        return out

    def _parse(self, start: int, stop: int, encoding: str | None) -> list[zipfile.ZipInfo]:
        first, end = self.directory.record(start), self.directory.record(stop)
        infos = _infos.parse(self.read(first, end - first), encoding)
        if len(infos) != stop - start:
            raise self._changed()
        for info in infos:
            info.header_offset += self.directory.shift
        return infos

    def _plain_info(self, position: int) -> zipfile.ZipInfo:
        """What is left of an entry that zipfile makes no sense of; reading the member says why."""
        info = zipfile.ZipInfo(self.name(position))
        row = self.rows[position]
        info.header_offset, info.CRC = int(row["header_offset"]), int(row["crc"])
        info.compress_size, info.file_size = int(row["compressed_size"]), int(row["size"])
        info.compress_type, info.flag_bits = int(row["method"]), int(row["flags"])
        return info

    def comment(self) -> bytes:
        """The archive's comment.

        Returns
        -------
        bytes
            Read from the file again; at most 65,535.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.comment()
        b''
        """
        at = self.directory.record(len(self))
        comment = _infos.comment(self.read(at, min(self._opened.source.size - at, _END_MAX)))
        if comment is None:
            raise self._changed()
        return comment

    def _changed(self) -> Exception:
        text = f"{self.where}: the file has changed since it was opened [stale]"
        changed: Exception = errors.refusal("stale", text, self.where)
        return changed

    def error(self, status: int | str, position: int, detail: str = "") -> Exception:
        """The exception for what reading this member gave.

        Parameters
        ----------
        status : int or str
            A native status, a negated errno, or a reason code.
        position : int
            The member's.
        detail : str, optional
            More for the message.

        Returns
        -------
        Exception
            With its attributes set; it isn't raised here.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3), b=np.arange(2))
        >>> npz = fastzip.load(file.getvalue())
        >>> index = npz.index
        >>> index.error("crc", 1).member
        'b.npy'
        """
        offset = self.directory.row(position)[0]
        stale = self._opened.changed()
        return errors.error(status, self.where, self.name(position), offset, stale, detail)
