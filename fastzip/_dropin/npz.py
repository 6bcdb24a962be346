"""`NpzFile`: NumPy's way to read .npz archives, and batches."""

from __future__ import annotations

import html
import io
import weakref
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, Final, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
from numpy.lib import npyio

from fastzip import _batch, _zip, errors
from fastzip._npy import ArrayReader, ArraySpec
from fastzip._signals import let_pass
from fastzip._zip import (
    MAX_BUFFERED,
    NO_LIMITS,
    BufferedFile,
    Identity,
    Index,
    Limits,
    Opened,
    SourceFile,
    checked_max_buffered,
    open_any,
    open_memory,
    open_same,
)

__all__ = ["NpzFile"]

Out = TypeVar("Out")
Keys: TypeAlias = Iterable[str | SupportsIndex] | slice
"""For `NpzFile.fetch`: a list of names or positions, an integer or boolean array, a slice."""

MAX_HEADER_SIZE: Final = 10000
NO_LIMIT: Final = 1 << 62
_COMPLETED: Final = 10_000
_SHOWN: Final = 20
"""So many keys are offered for completion and shown in a notebook: there may be millions."""


class _Fields:
    """``npz.f``: the members as attributes, as in NumPy."""

    def __init__(self, npz: NpzFile) -> None:
        self._npz = weakref.proxy(npz)  # no reference cycle

    def __getattribute__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_npz")[name]
        except errors.MissingKeyError as exc:
            missing = errors.MissingAttributeError(name)
            missing._hint = exc._hint
            raise missing from None
        except KeyError as exc:  # a subclass's own
            let_pass(exc)
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
        As for `fastzip.load`.
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
    strict, max_members, max_total_size, max_member_size, max_buffered : optional
        As for `fastzip.load`.
    mmap_mode : {None, 'r', 'c'}, optional
        As for `fastzip.load`; an attribute as well.
    pwd : bytes, optional
        As for `fastzip.load`. Pickling the archive carries it, in plain text.

    Attributes
    ----------
    files : list of str
        The names without ``.npy``, in the archive's order: position i is ``files[i]``.
    f
        The members as attributes, ``npz.f.x``.
    index : fastzip.Index
        The archive's directory as a structured array, one row for each member.
    fid : file or None
        The archive's file, if this opened it or owns it, with a position of its own.
    zip : zipfile.ZipFile
        The same archive as the standard library sees it; opened when it is asked for.

    Notes
    -----
    Safe to use from many threads at once, and after a fork. Pickling an archive that was opened by
    path carries the path, and the password if there is one; it is opened again, and must not have
    changed, where it is unpickled.

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
    _reader: ArrayReader
    _own: Any = None
    _fid: io.BufferedReader | None = None
    _files: list[str] | None = None
    _zip: zipfile.ZipFile | None = None
    f: Any = None

    def __init__(
        self,
        fid: Any,
        own_fid: bool = False,
        allow_pickle: bool = False,
        pickle_kwargs: dict[str, Any] | None = None,
        *,
        max_header_size: int = MAX_HEADER_SIZE,
        threads: int | None = None,
        verify: bool = True,
        strict: bool = False,
        max_members: int | None = None,
        max_total_size: int | None = None,
        max_member_size: int | None = None,
        max_buffered: int | None = MAX_BUFFERED,
        mmap_mode: str | None = None,
        pwd: bytes | None = None,
    ) -> None:
        limits = NO_LIMITS
        if strict or not max_members is max_total_size is max_member_size is None:
            limits = Limits(strict, max_members, max_total_size, max_member_size)
        if threads is not None:
            threads = _zip.thread_count(threads)
        max_buffered = checked_max_buffered(max_buffered)
        opened = fid if isinstance(fid, Opened) else open_any(fid, max_buffered)
        self._opened = opened
        self._own = fid if own_fid else None
        try:
            self._reader = ArrayReader(opened, verify, limits, pwd)
        except BaseException:
            self.close()
            raise
        self.allow_pickle = allow_pickle
        self.pickle_kwargs = pickle_kwargs
        self.max_header_size = max_header_size
        self.threads = threads
        self.mmap_mode = mmap_mode
        self._outer: tuple[NpzFile, str | SupportsIndex] | None = None
        self.f = _Fields(self)

    # No functools.cached_property: in Python 3.11 it holds a lock of the whole class, and a child
    # that is forked meanwhile waits for it for ever.

    @property
    def files(self) -> list[str]:  # type: ignore[override]
        """The names without ``.npy``, in the archive's order; made once, when asked for."""
        names = self._files
        if names is None:
            names = self._files = list(self._reader.index.keys())
        return names

    @property
    def zip(self) -> zipfile.ZipFile | None:  # type: ignore[override]
        """The same archive as the standard library sees it; None when this one is closed."""
        if self._closed:
            return None
        if self._zip is None:
            self._zip = zipfile.ZipFile(BufferedFile(SourceFile(self._live())))
            if self._reader.pwd is not None:
                self._zip.setpassword(self._reader.pwd)
        return self._zip

    @property
    def index(self) -> Index:
        """The archive's directory: rows, names, lookup; a `fastzip.Index`."""
        return self._reader.index

    @property
    def fid(self) -> Any:  # type: ignore[override]
        """The archive's file, with a position of its own; None if it was opened from memory."""
        if self._own is None and self._opened is not None and self._opened.by_path:
            if self._fid is None and not self._closed:
                self._fid = BufferedFile(SourceFile(self._opened))
            return self._fid
        return self._own

    @property
    def _closed(self) -> bool:
        return self._opened is None or self._opened.source.closed

    def _live(self) -> Opened:
        if self._opened is None or self._opened.source.closed:
            where = None if self._opened is None else self._opened.where
            raise errors.refusal("closed", f"{where or 'archive'}: the archive is closed", where)
        return self._opened

    def close(self) -> None:
        """Close the archive.

        Arrays that were read stay valid; reads under way in other threads finish first, and later
        ones raise ValueError.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez(file, x=np.arange(3))
        >>> npz = fastzip.load(file.getvalue())
        >>> x = npz["x"]
        >>> npz.close()
        >>> x
        array([0, 1, 2])
        """
        if self._zip is not None:
            theirs, self._zip = self._zip, None
            if theirs.fp is not None:
                file = theirs.fp
                theirs.close()
                file.close()
        if "_reader" in self.__dict__:
            self._reader.close()
        elif self._opened is not None:
            self._opened.source.close()
        if self._own is not None:
            self._own.close()
            self._own = None
        if self._fid is not None:
            self._fid.close()
            self._fid = None
        self.f = None

    def __del__(self) -> None:
        if self.f is not None:  # or it is closed, or was never open
            self.close()

    def _position(self, key: object) -> int:
        """Of a key that isn't a plain string of a member's name."""
        self._live()
        if isinstance(key, str) and type(key) is not str:
            return _zip.position_of(self._reader.index, key)
        raise _zip.no_key(self._reader.index, key)  # positions are none, as in NumPy's

    def __getitem__(self, key: str) -> npt.NDArray[Any]:
        position = self._reader.directory.find_key(key) if type(key) is str else -1
        if position < 0:
            position = self._position(key)
        mode: Any = self.mmap_mode
        if mode in ("r", "c"):
            self._live()
            view = self._reader.mapped(position, mode, self._header_limit())
            if view is not None:
                return view
        allow_pickle = self.allow_pickle
        limit = NO_LIMIT if allow_pickle else self.max_header_size  # a call less than _header_limit
        # NumPy's type, though a member that is no array is bytes, there as here.
        return self._reader.member(  # type: ignore[return-value]
            position, allow_pickle, self.pickle_kwargs, limit
        )

    def _header_limit(self) -> int:
        return NO_LIMIT if self.allow_pickle else self.max_header_size

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

    def __str__(self) -> str:
        """What `repr` says, which is NumPy's text, and how large the archive is."""
        n, size = len(self), self._reader.source.size
        closed = ", closed" if self._closed else ""
        return f"{self!r} ({n:,} member{'s' * (n != 1)}, {size:,} bytes{closed})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _ipython_key_completions_(self) -> list[str]:
        return self._reader.directory.names(0, min(len(self), _COMPLETED), True)

    def _repr_html_(self) -> str:
        """A table of the first members, for notebooks; what can't be read says why."""
        where = self._opened.where if self._opened is not None else "object"
        rows = []
        for position, key in enumerate(
            self._reader.directory.names(0, min(len(self), _SHOWN), True)
        ):
            try:
                header = self._reader.header(position, self._header_limit())
                cells = ["bytes", ""] if header is None else [*map(str, header.spec[:2])]
            except Exception as exc:
                let_pass(exc)
                cells = ["", getattr(exc, "code", type(exc).__name__)]
            size = f"{self._reader.directory.row(position)[1]:,}"
            cells = [html.escape(cell) for cell in (key, *cells, size)]
            rows.append(f"<tr><td>{'</td><td>'.join(cells)}</td></tr>")
        more = f"<p>… and {len(self) - _SHOWN:,} more</p>" if len(self) > _SHOWN else ""
        return (
            f"<p>NpzFile <code>{html.escape(where)}</code>, {len(self):,} members</p>"
            "<table><tr><th>key</th><th>dtype</th><th>shape</th><th>bytes</th></tr>"
            f"{''.join(rows)}</table>{more}"
        )

    def spec(self, key: str | SupportsIndex) -> ArraySpec:
        """What a member's .npy header says, without reading its data.

        Parameters
        ----------
        key : str or int
            The member's name, with or without ``.npy``, or its position in `files`; a negative one
            counts from the end.

        Returns
        -------
        ArraySpec
            ``(dtype, shape, fortran_order)``.

        Raises
        ------
        KeyError, IndexError
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
        self._live()
        position = _zip.position_of(self._reader.index, key)
        header = self._reader.header(position, self._header_limit())
        if header is None:
            index = self._reader.index
            name = index.name(position)
            text = f"{errors.place(index.where, name)}: the member is not an array"
            raise errors.refusal("no_array", text, index.where, name)
        return header.own_spec

    @overload
    def fetch(
        self, keys: Keys, out: None = None, *, threads: int | None = None
    ) -> npt.NDArray[Any]: ...
    @overload
    def fetch(self, keys: Keys, out: Out, *, threads: int | None = None) -> Out: ...
    def fetch(self, keys: Keys, out: Any = None, *, threads: int | None = None) -> Any:
        """Read many members of one shape and dtype into one array.

        The members are inflated by native threads, each straight into its row, without Python's
        lock. Members by other methods than stored and deflate, and encrypted ones, are decoded by
        as many threads of Python's, and copied into their rows.

        Parameters
        ----------
        keys : sequence
            Names; positions in `files` (negative ones count from the end); an integer array; a
            slice; or a boolean mask with an element for each member. A key may stand there several
            times. Other iterables, such as generators, are taken in their order; a set has none.
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
        TypeError
            If `keys` is one name or a set, or `out` holds references to objects, or pointers.
        ValueError
            If a member isn't an array, is one of Python objects, or differs from the first one in
            dtype or shape; or if `out` doesn't fit, or shares memory with the archive, which is
            found before a byte is written.
        BadZipFile
            If a member is damaged. The first one in the order of `keys` is named; ``.failed`` lists
            ``(key, code)`` of all that failed. What `out` holds is undefined then, and nothing
            writes into it any more.

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
        return _batch.fetch(self._reader, keys, out, threads, self._header_limit())

    def lengths(
        self, keys: Keys = slice(None), *, threads: int | None = None
    ) -> npt.NDArray[np.int64]:
        """The lengths of members, their shapes' first numbers, without reading their data.

        Each member's front is read once, by native threads; then the archive knows its kind of
        header (in 4 bytes a member, once anybody has asked), and the rest follows from its size.
        Members by other methods than stored and deflate are asked one at a time.

        Parameters
        ----------
        keys : sequence, optional
            As for `fetch`; all members by default.
        threads : int, optional
            As for `fetch`.

        Returns
        -------
        ndarray of int64, shape (len(keys),)
            In numbers of elements along axis 0.

        Raises
        ------
        KeyError, IndexError
            If there is no such name or position.
        TypeError
            If `keys` is one name or a set.
        ValueError
            If a member isn't an array, is one of Python objects, or has no dimensions.
        BadZipFile
            If a member's local header or the front of its data aren't what the directory says. The
            data themselves are not verified. ``.failed`` lists all members that failed.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez_compressed(file, **{f"text-{i}": np.arange(i * i) for i in range(4)})
        >>> fastzip.load(file.getvalue()).lengths()
        array([0, 1, 4, 9])
        """
        self._live()
        threads = self.threads if threads is None else threads
        return _batch.lengths(self._reader, keys, threads, self._header_limit())

    @overload
    def fetch_ragged(
        self, keys: Keys, out: None = None, *, threads: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
    @overload
    def fetch_ragged(
        self, keys: Keys, out: Out, *, threads: int | None = None
    ) -> tuple[Out, npt.NDArray[np.int64]]: ...
    def fetch_ragged(
        self, keys: Keys, out: Any = None, *, threads: int | None = None
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Read many members of different lengths into one array, one after another.

        The members are of one dtype, and of one shape but for axis 0. Each is inflated straight to
        where it belongs, as in `fetch`.

        Parameters
        ----------
        keys : sequence
            As for `fetch`.
        out : array, optional
            Where to: as for `fetch`, of shape (total, \\*shape[1:]), where total is the sum of the
            lengths, or longer.
        threads : int, optional
            As for `fetch`.

        Returns
        -------
        values : ndarray of shape (total, \\*shape[1:]), or the first elements of `out`
            All members, concatenated; in native byte order, C order, 64-byte aligned and writable.
        offsets : ndarray of int64, shape (len(keys) + 1,)
            Member ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

        Raises
        ------
        KeyError, IndexError
            If there is no such name or position.
        TypeError
            If `keys` is one name or a set, or `out` holds references to objects, or pointers.
        ValueError
            If a member isn't an array, is one of Python objects, has no dimensions, or differs from
            the first one in dtype or in another axis than the first; or if `out` doesn't fit, or
            shares memory with the archive, which is found before a byte is written.
        BadZipFile
            If a member is damaged, as in `fetch`. What `out` holds is undefined then.

        See Also
        --------
        lengths : How long members are, and so how large `out` must be.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez_compressed(file, a=np.arange(3), b=np.arange(0), c=np.arange(7, 9))
        >>> values, offsets = fastzip.load(file.getvalue()).fetch_ragged(["c", "b", "a"])
        >>> values
        array([7, 8, 0, 1, 2])
        >>> offsets
        array([0, 2, 2, 5])
        """
        self._live()
        threads = self.threads if threads is None else threads
        return _batch.fetch_ragged(self._reader, keys, out, threads, self._header_limit())

    @overload
    def fetch_padded(
        self,
        keys: Keys,
        fill_value: Any = 0,
        length: int | None = None,
        *,
        truncate: bool = False,
        out: None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
    @overload
    def fetch_padded(
        self,
        keys: Keys,
        fill_value: Any = 0,
        length: int | None = None,
        *,
        truncate: bool = False,
        out: Out,
        threads: int | None = None,
    ) -> tuple[Out, npt.NDArray[np.int64]]: ...
    def fetch_padded(
        self,
        keys: Keys,
        fill_value: Any = 0,
        length: int | None = None,
        *,
        truncate: bool = False,
        out: Any = None,
        threads: int | None = None,
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Read many members of different lengths into the rows of one array, filled up behind.

        The members are of one dtype, and of one shape but for axis 0. Each is inflated straight
        into its row, as in `fetch`; only what is behind it is filled.

        Parameters
        ----------
        keys : sequence
            As for `fetch`.
        fill_value : scalar, optional
            What stands behind the members. 0 is what `numpy.zeros` makes, in every dtype. Others
            must be of the dtype's kind and unchanged in it: no -1 among unsigned integers, no 0.5
            among integers. A float may be rounded to the dtype's precision, but not to infinity.
        length : int, optional
            How long the rows are; None for the longest of these members.
        truncate : bool, optional
            Keep the first `length` elements of longer members, instead of refusing them. They are
            inflated and verified as a whole.
        out : array, optional
            Where to: as for `fetch`, of shape (len(keys), length, \\*shape[1:]).
        threads : int, optional
            As for `fetch`.

        Returns
        -------
        batch : ndarray of shape (len(keys), length, \\*shape[1:]), or `out`
            In native byte order, C order, 64-byte aligned and writable.
        lengths : ndarray of int64, shape (len(keys),)
            How much of each row is the member's: its length, or `length` if it was cut. The mask of
            what isn't filling is ``numpy.arange(batch.shape[1]) < lengths[:, None]``.

        Raises
        ------
        KeyError, IndexError
            If there is no such name or position.
        TypeError
            If `keys` is one name or a set, or `out` holds references to objects, or pointers.
        ValueError
            If a member isn't an array, is one of Python objects, has no dimensions, differs from
            the first one in dtype or in another axis than the first, or is longer than `length`; or
            if `fill_value` or `out` don't fit, or `out` shares memory with the archive, which is
            found before a byte is written.
        BadZipFile
            If a member is damaged, as in `fetch`. What `out` holds is undefined then.
        MemoryError
            If there isn't enough: one long member makes all rows long. `length` bounds them.

        See Also
        --------
        lengths : How long members are, for batches of members of about one length.

        Examples
        --------
        >>> import io, numpy as np, fastzip
        >>> file = io.BytesIO()
        >>> np.savez_compressed(file, a=np.arange(3), b=np.arange(0), c=np.arange(7, 9))
        >>> npz = fastzip.load(file.getvalue())
        >>> batch, lengths = npz.fetch_padded(["c", "b", "a"], fill_value=-1)
        >>> batch
        array([[ 7,  8, -1],
               [-1, -1, -1],
               [ 0,  1,  2]])
        >>> lengths
        array([2, 0, 3])
        >>> npz.fetch_padded(["a"], length=2, truncate=True)[0]
        array([[0, 1]])
        """
        self._live()
        threads = self.threads if threads is None else threads
        return _batch.fetch_padded(
            *(self._reader, keys, fill_value, length, truncate, out, threads),
            self._header_limit(),
        )

    def nested(self, key: str | SupportsIndex, *, max_size: int = 1 << 30) -> NpzFile:
        """Open an archive that is a member of this one.

        A stored one is read where it lies, through this archive's file and without a copy; a
        compressed or encrypted one is decoded into memory, once.

        Parameters
        ----------
        key : str or int
            The name of an .npz or .zip inside this archive, or its position in `files`.
        max_size : int, optional
            Refuse to decode one of more bytes.

        Returns
        -------
        NpzFile
            With this one's options. It stays open when this one is closed. Pickling carries this
            archive, which must be open then, and the key.

        Raises
        ------
        KeyError, IndexError
            If there is no such member.
        LimitError
            If it is compressed, and larger than `max_size` or ``max_member_size``.
        BadZipFile
            If it is no archive, or damaged. The CRC of a stored one as a whole isn't verified;
            those of its members are, when they are read.

        Examples
        --------
        >>> import io, numpy as np, zipfile, fastzip
        >>> inner, outer = io.BytesIO(), io.BytesIO()
        >>> np.savez_compressed(inner, x=np.arange(3))
        >>> with zipfile.ZipFile(outer, "w") as file:
        ...     file.writestr("first.npz", inner.getvalue())
        >>> fastzip.load(outer.getvalue()).nested("first.npz")["x"]
        array([0, 1, 2])
        """
        opened, index = self._live(), self._reader.index
        position = _zip.position_of(index, key)
        name = index.name(position)
        size = self._reader.directory.row(position)[1]
        if self._reader.is_plain(position):
            inner = opened.part(self._reader.data_offset(position), size, name)
        else:
            if size > max_size:
                text = (
                    f"{errors.place(index.where, name)}: inflating this archive takes "
                    f"{size:,} bytes, above max_size; raise it, or store the member "
                    "instead of compressing it again [max_member_size]"
                )
                raise errors.refusal("max_member_size", text, index.where, name)
            inner = open_memory(self._reader.data(position))._replace(
                where=errors.place(index.where, name)
            )
        npz = type(self)(inner, **self._options())
        npz._outer = self, key
        return npz

    def _options(self) -> dict[str, Any]:
        return {
            "allow_pickle": self.allow_pickle,
            "pickle_kwargs": self.pickle_kwargs,
            "max_header_size": self.max_header_size,
            "threads": self.threads,
            "verify": self._reader.verify,
            "mmap_mode": self.mmap_mode,
            "pwd": self._reader.pwd,
            **self._reader.limits._asdict(),
        }

    def __reduce__(self) -> Any:
        opened = self._live()
        if self._outer is not None:
            return _open_nested, (*self._outer, self._options())
        options = self._options()
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
    return cls(open_same(path, identity), **options)


def _open_nested(outer: NpzFile, key: str | SupportsIndex, options: dict[str, Any]) -> NpzFile:
    """Unpickle an archive inside another one."""
    npz = outer.nested(key, max_size=NO_LIMIT)
    for name in ("allow_pickle", "pickle_kwargs", "max_header_size", "threads", "mmap_mode"):
        setattr(npz, name, options[name])
    return npz


def _open_copy(cls: type[NpzFile], data: bytes, options: dict[str, Any]) -> NpzFile:
    """Unpickle an archive in memory."""
    return cls(open_memory(data), **options)
