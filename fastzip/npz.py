"""`load` and `NpzFile`: NumPy's way to read .npz archives, and batches."""

from __future__ import annotations

import io
import mmap
import weakref
import zipfile
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.lib import npyio

from fastzip import _fetch, _threads, errors
from fastzip._member import Reader
from fastzip._npy import ArraySpec
from fastzip._sources import (
    Identity,
    Opened,
    SourceFile,
    open_file,
    open_memory,
    open_path,
)
from fastzip.index import Index

__all__ = ["NpzFile", "load"]

Keys: TypeAlias = Any
"""For `NpzFile.fetch`: a list of names or positions, an integer or boolean array, a slice."""

_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members
_MAX_HEADER_SIZE: Final = 10000


class _Fields:
    """``npz.f``: the members as attributes, as in NumPy."""

    def __init__(self, npz: NpzFile) -> None:
        self._npz = weakref.proxy(npz)  # no reference cycle

    def __getattribute__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_npz")[name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self) -> list[str]:
        npz: NpzFile = object.__getattribute__(self, "_npz")
        return list(npz.files)


class NpzFile(npyio.NpzFile):
    """An open .npz archive, or a .zip of .npy files: a mapping from names to arrays.

    A drop-in for NumPy's class, of which it is a subclass. Nothing is read before it is asked for;
    members are inflated straight into the memory of the array that is returned.

    Parameters
    ----------
    fid : path, file or bytes-like object
        As for `load`.
    own_fid : bool, optional
        Close the file object as well when this is closed.
    allow_pickle : bool, optional
        Read arrays of Python objects. They are pickled, and a pickle can run any code.
    pickle_kwargs : dict, optional
        Passed on to `pickle.load`.
    max_header_size : int, optional
        .npy headers of more bytes are refused, since parsing them may take long; not applied with
        ``allow_pickle=True``, as in NumPy.
    threads : int, optional
        Threads for `fetch`; None for `get_num_threads`.
    verify : bool, optional
        Compare the CRC-32 of every member that is read. Without it damaged data go unnoticed.

    Attributes
    ----------
    files : list of str
        The names without ``.npy``, in the archive's order: position i is ``files[i]``.
    f
        The members as attributes, ``npz.f.x``.
    index : fastzip.index.Index
        The archive's directory as a structured array, one row for each member.
    zip : zipfile.ZipFile
        The same archive as the standard library sees it; opened when it is asked for.

    Notes
    -----
    Safe to use from many threads at once, and after a fork. Pickling an archive that was opened by
    path carries the path; it is opened again, and must not have changed, where it is unpickled.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, a=np.arange(3), b=np.arange(3) * 10)
    >>> npz = fastzip.load(file.getvalue())
    >>> npz["a"]
    array([0, 1, 2])
    >>> npz.fetch(["b", "a"])
    array([[ 0, 10, 20],
           [ 0,  1,  2]])
    """

    _opened: Opened | None = None  # safe to close where opening failed
    _own: Any = None

    def __init__(
        self,
        fid: Any,
        own_fid: bool = False,
        allow_pickle: bool = False,
        pickle_kwargs: dict[str, Any] | None = None,
        *,
        max_header_size: int = _MAX_HEADER_SIZE,
        threads: int | None = None,
        verify: bool = True,
    ) -> None:
        if threads is not None:
            threads = _threads.resolve(threads)
        opened = fid if isinstance(fid, Opened) else _open(fid)
        self._opened = opened
        self._own = fid if own_fid else None
        try:
            self._reader = Reader(opened, verify)
        except BaseException:
            self.close()
            raise
        self.allow_pickle = allow_pickle
        self.pickle_kwargs = pickle_kwargs
        self.max_header_size = max_header_size
        self.threads = threads
        self.f: Any = _Fields(self)

    @cached_property
    def files(self) -> list[str]:  # type: ignore[override]
        return list(self._reader.index.keys())

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BufferedReader(SourceFile(self._live())))

    @property
    def zip(self) -> zipfile.ZipFile | None:  # type: ignore[override]
        return None if self._closed else self._zip

    @property
    def index(self) -> Index:
        """The archive's directory: rows, names, lookup; see `fastzip.index.Index`."""
        return self._reader.index

    @property
    def fid(self) -> Any:  # type: ignore[override]
        return self._own

    @property
    def _closed(self) -> bool:
        return self._opened is None or self._opened.source.closed

    def _live(self) -> Opened:
        if self._opened is None or self._opened.source.closed:
            where = None if self._opened is None else self._opened.where
            raise errors.locate(
                ValueError(f"{where or 'archive'}: the archive is closed"), "closed", where
            )
        return self._opened

    def close(self) -> None:
        """Close the archive. Arrays that were read stay valid; reads under way finish first."""
        if self._opened is not None:
            self._opened.source.close()
        if self._own is not None:
            self._own.close()
            self._own = None
        self.f = None

    def __del__(self) -> None:
        self.close()

    def _position(self, key: object) -> int:
        self._live()
        position = self._reader.directory.find_key(str(key)) if isinstance(key, str) else -1
        if position < 0:
            raise KeyError(f"{key} is not a file in the archive")
        return position

    def __getitem__(self, key: str) -> Any:
        position = self._reader.directory.find_key(key) if type(key) is str else -1
        if position < 0:
            position = self._position(key)
        return self._reader.member(
            position, self.allow_pickle, self.pickle_kwargs, self._header_limit()
        )

    def _header_limit(self) -> int:
        return (1 << 62) if self.allow_pickle else self.max_header_size

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._reader.directory.find_key(str(key)) >= 0

    def __len__(self) -> int:
        return len(self._reader.index)

    def __iter__(self) -> Iterator[str]:
        return self._reader.index.keys()

    def __repr__(self) -> str:
        where = self._opened.where if self._opened is not None else "object"
        shown = self._MAX_REPR_ARRAY_COUNT
        names = self._reader.directory.names(0, min(len(self), shown), True)
        more = "..." if len(self) > shown else ""
        return f"NpzFile {where!r} with keys: {', '.join(names)}{more}"

    def spec(self, key: str) -> ArraySpec:
        """What a member's .npy header says, without reading its data.

        Parameters
        ----------
        key : str
            The member's name, with or without ``.npy``.

        Returns
        -------
        ArraySpec
            ``(dtype, shape, fortran_order)``.

        Raises
        ------
        KeyError
            If there is no such member.
        ValueError
            If it is not an array, or its header is malformed.
        BadZipFile
            If its local header or the front of its data are not what the directory says. The data
            themselves are not verified.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, x=np.zeros((2, 3), "f4"))
        >>> fastzip.load(file.getvalue()).spec("x")
        ArraySpec(dtype=dtype('float32'), shape=(2, 3), fortran_order=False)
        """
        position = self._position(key)
        header = self._reader.header(position, self._header_limit())
        if header is None:
            index = self._reader.index
            name = index.name(position)
            text = f"{errors.place(index.where, name)}: the member is not an array"
            raise errors.locate(ValueError(text), "no_array", index.where, name)
        return header.spec

    def fetch(self, keys: Keys, out: Any = None, *, threads: int | None = None) -> Any:
        """Read many members of one shape and dtype into one array.

        The members are inflated by native threads, each straight into its row, without Python's
        lock.

        Parameters
        ----------
        keys : sequence
            Names; positions in `files` (negative ones count from the end); an integer array; a
            slice; or a boolean mask with an element for each member. A key may stand there several
            times.
        out : array, optional
            Where to: an array of the batch's shape and (native) dtype with C-contiguous rows that
            don't overlap, or something that `numpy.asarray` turns into one without a copy, such as
            a torch tensor on the CPU.
        threads : int, optional
            How many threads, the caller's among them; None for the archive's ``threads``, or else
            `get_num_threads`.

        Returns
        -------
        ndarray of shape (len(keys), \\*shape), or `out`
            In native byte order, C order, 64-byte aligned and writable.

        Raises
        ------
        KeyError, IndexError
            If there is no such name or position.
        ValueError
            If a member isn't an array, is one of Python objects, or differs from the first one in
            dtype or shape; or if `out` doesn't fit, which is found before a byte is written.
        BadZipFile
            If a member is damaged. The first one in the order of `keys` is named; ``.failed`` lists
            ``(key, code)`` of those that are known to have failed. What `out` holds is undefined
            then, and nothing writes into it any more.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez_compressed(file, **{f"ix-{i:06}": np.full(2, i) for i in range(5)})
        >>> npz = fastzip.load(file.getvalue())
        >>> npz.fetch([3, 0, -1])
        array([[3, 3],
               [0, 0],
               [4, 4]])
        >>> npz.fetch(slice(0, 2), out=np.empty((2, 2), np.int64))
        array([[0, 0],
               [1, 1]])
        """
        self._live()
        threads = self.threads if threads is None else threads
        return _fetch.fetch(self._reader, keys, out, threads, self._header_limit())

    def __reduce__(self) -> Any:
        opened = self._live()
        options = {
            "allow_pickle": self.allow_pickle,
            "pickle_kwargs": self.pickle_kwargs,
            "max_header_size": self.max_header_size,
            "threads": self.threads,
            "verify": self._reader.verify,
        }
        if opened.path is not None and opened.identity is not None:
            return _open_again, (type(self), opened.path, opened.identity, options)
        if opened.memory is None:
            raise TypeError(
                f"{opened.where} was opened as a file without a path, so it can't be pickled"
            )
        return _open_copy, (type(self), bytes(opened.memory), options)


def _open_again(
    cls: type[NpzFile], path: str, identity: Identity, options: dict[str, Any]
) -> NpzFile:
    """Unpickle: open the same file, if it is the same."""
    opened = open_path(path)
    if opened.identity != identity:
        opened.source.close()
        raise errors.locate(
            errors.BadZipFile(
                f"{path}: the file has changed since the archive was pickled [stale]"
            ),
            "stale",
            path,
        )
    return cls(opened, **options)


def _open_copy(cls: type[NpzFile], data: bytes, options: dict[str, Any]) -> NpzFile:
    """Unpickle an archive in memory."""
    return cls(open_memory(data), **options)


def _in_memory(file: Any) -> bool:
    """Is this an archive's content? A path as bytes can't hold a NUL byte, and an archive does."""
    if isinstance(file, bytes):
        return b"\0" in file or not file or file.startswith(_ZIP_MAGIC)
    return isinstance(file, (bytearray, memoryview, mmap.mmap, np.ndarray))


def _open(file: Any) -> Opened:
    if _in_memory(file):
        data: Any = np.ascontiguousarray(file) if isinstance(file, np.ndarray) else file
        return open_memory(data)
    return open_file(file) if hasattr(file, "read") else open_path(file)


def _front(file: Any, opened: Opened | None) -> bytes:
    """The first bytes; of a file object, those at its position, which doesn't move."""
    if opened is None:
        front: bytes = file.read(6)
        file.seek(-len(front), io.SEEK_CUR)
        return front
    data = opened.source.read(0, min(6, opened.source.size))
    if isinstance(data, int):
        raise errors.error(data, opened.where)
    return data


def load(
    file: Any,
    mmap_mode: Literal["r", "r+", "w+", "c"] | None = None,
    allow_pickle: bool = False,
    fix_imports: bool = True,
    encoding: Literal["ASCII", "latin1", "bytes"] = "ASCII",
    *,
    max_header_size: int = _MAX_HEADER_SIZE,
    threads: int | None = None,
    verify: bool = True,
) -> Any:
    """Load an .npz archive; or an .npy or pickle file, as `numpy.load` does.

    Parameters
    ----------
    file : path, file or bytes-like object
        A path; a binary file object, read through a descriptor of our own if it is a plain file and
        as a whole into memory otherwise (`io.BytesIO` isn't copied); or the archive's bytes. What
        it is, is told by its first bytes.
    mmap_mode : {None, 'r+', 'r', 'w+', 'c'}, optional
        For .npy files, as in NumPy. Has no effect on archives, as in NumPy.
    allow_pickle, fix_imports, encoding, max_header_size
        As in `numpy.load`.
    threads : int, optional
        Threads for `NpzFile.fetch`.
    verify : bool, optional
        Compare the CRC-32 of every member that is read; ``False`` gives up noticing damaged data,
        for a few per cent of time.

    Returns
    -------
    NpzFile, or an array, or a pickled object
        By the content of the file.

    Raises
    ------
    BadZipFile
        If the archive's directory is damaged or has two meanings. ``.code`` tells which.
    OSError
        If the file can't be opened or read.
    EOFError
        If it is empty.
    ValueError
        If it is a pickle and ``allow_pickle`` is false, or ``encoding`` is another one.

    See Also
    --------
    numpy.load

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, x=np.arange(4))
    >>> with fastzip.load(file.getvalue()) as npz:
    ...     npz["x"]
    array([0, 1, 2, 3])
    """
    if encoding not in ("ASCII", "latin1", "bytes"):
        raise ValueError("encoding must be 'ASCII', 'latin1', or 'bytes'")
    is_file = hasattr(file, "read") and not _in_memory(file)
    opened = None if is_file else _open(file)
    try:
        front = _front(file, opened)
        if not front:
            raise EOFError("No data left in file")
        if front.startswith(_ZIP_MAGIC):
            opened = open_file(file) if opened is None else opened
            npz = NpzFile(
                opened,
                allow_pickle=allow_pickle,
                pickle_kwargs={"encoding": encoding, "fix_imports": fix_imports},
                max_header_size=max_header_size,
                threads=threads,
                verify=verify,
            )
            opened = None
            return npz
    finally:
        if opened is not None:
            opened.source.close()
    if _in_memory(file):
        file = io.BytesIO(bytes(file))
    return np.load(
        file,
        mmap_mode=mmap_mode,
        allow_pickle=allow_pickle,
        fix_imports=fix_imports,
        encoding=encoding,
        max_header_size=max_header_size,
    )
