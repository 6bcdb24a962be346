"""`load` and `open_npz`: what a file is, is told by its first bytes."""

from __future__ import annotations

import io
import os
import pickle
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib import npyio

from fastzip import errors
from fastzip._dropin.npz import MAX_HEADER_SIZE, NO_LIMIT, NpzFile
from fastzip._npy import (
    MAGIC,
    BadNpyError,
    check_length,
    check_payload,
    header_length,
    is_malformed,
    parse,
)
from fastzip._signals import let_pass
from fastzip._zip import (
    FRONT,
    MAX_BUFFERED,
    ZIP_MAGIC,
    Limits,
    Opened,
    SourceFile,
    check_file,
    check_password,
    check_seekable,
    checked_max_buffered,
    describe_file,
    in_memory,
    is_pickle,
    open_any,
    open_file,
    read_up_to,
    size_of,
)

__all__ = ["load", "open_npz"]

numpy_load: Final = np.load
"""NumPy's own, also while `numpy.load` is patched."""


def _where(file: Any, opened: Opened | None) -> str:
    """How messages speak of it."""
    return str(getattr(file, "name", type(file).__name__)) if opened is None else opened.where


def _front(file: Any, opened: Opened | None, n: int) -> bytes:
    """The first bytes; of a file object, those at its position, which doesn't move."""
    if opened is None:
        front = read_up_to(file, n)
        file.seek(-len(front), io.SEEK_CUR)
        return front
    data = opened.source.read(0, min(n, opened.source.size))
    if isinstance(data, int):
        raise errors.error(data, opened.where)
    return data


def _neither(front: bytes, where: str) -> str | None:
    """What to say of a file that is neither an archive nor an .npy file; None for a pickle."""
    what = describe_file(front)
    if what is None:
        if is_pickle(front):
            return None
        what = f"it begins with {front[:8]!r}"
    return (
        f"{where}: this is not an .npz archive, an .npy file or a pickled array: {what} [not_npz]"
    )


def _check_npy(
    file: Any,
    where: str,
    allow_pickle: bool,
    max_header_size: int,
    limits: Limits,
    mmap_mode: str | None,
) -> None:
    """May NumPy read the .npy file that begins at the file's position, which doesn't move?

    NumPy reads a header, and takes memory for an array, before it looks at how much there is."""
    whole = size_of(file)
    start = 0 if whole is None else file.tell()
    front = b""  # what was read: a file object may have no more than read() and seek()
    try:
        front = read_up_to(file, 12)
        length = header_length(front)
        if length is None:
            return  # NumPy says what is wrong
        most = NO_LIMIT if allow_pickle else max_header_size
        check_length(front, length if whole is None else whole - start, most)
        front += read_up_to(file, length - len(front))
        header = parse(front, most)
        if header.spec.dtype.hasobject and not allow_pickle and mmap_mode is None:
            raise BadNpyError("pickle", "Object arrays cannot be loaded when allow_pickle=False")
        if mmap_mode is None and whole is not None:
            check_payload(header, whole - start, limits.strict)
        most = min((n for n in limits[2:] if n is not None), default=NO_LIMIT)
        if header.nbytes > most:
            code = "max_member_size" if most == limits.max_member_size else "max_total_size"
            raise BadNpyError(code, f"the array's size is {header.nbytes:,} bytes, above {code}")
    except ValueError as exc:
        if not is_malformed(exc):
            raise
        code = getattr(exc, "code", "npy_header")
        raise errors.refusal(code, f"{exc} [{where}]", where) from exc
    finally:
        file.seek(-len(front), io.SEEK_CUR)


def _check_encoding(encoding: str) -> None:
    if encoding not in ("ASCII", "latin1", "bytes"):
        raise ValueError("encoding must be 'ASCII', 'latin1', or 'bytes'")


def load(
    file: Any,
    mmap_mode: Literal["r", "r+", "w+", "c"] | None = None,
    allow_pickle: bool = False,
    fix_imports: bool = True,
    encoding: Literal["ASCII", "latin1", "bytes"] = "ASCII",
    *,
    max_header_size: int = MAX_HEADER_SIZE,
    threads: int | None = None,
    verify: bool = True,
    strict: bool = False,
    max_members: int | None = None,
    max_total_size: int | None = None,
    max_member_size: int | None = None,
    max_buffered: int | None = MAX_BUFFERED,
    pwd: bytes | None = None,
) -> NpzFile | npt.NDArray[Any] | Any:
    """Load an .npz archive; or an .npy or pickle file, as `numpy.load` does.

    Parameters
    ----------
    file : path, file or bytes-like object
        A path; a seekable binary file object; or the archive's bytes. What it is, is told by its
        first bytes. Of file objects, plain files are read through a descriptor of our own, and
        `io.BytesIO` isn't copied; an archive in any other is read into memory as a whole, up to
        `max_buffered`. URLs are not read.
    mmap_mode : {None, 'r+', 'r', 'w+', 'c'}, optional
        For .npy files, as in NumPy. For archives, ``'r'`` and ``'c'`` map stored arrays: a view of
        the file, read-only or copy-on-write, without a copy, so a part of a large array costs only
        what is touched. Compressed or encrypted arrays raise then. The data may begin at any byte,
        so the view may be unaligned (``flags.aligned``), which costs some speed. A view's CRC is
        not verified, and if the file is cut short while it is mapped, touching what is gone kills
        the process: map only files that nobody truncates. The other two modes have no effect on
        archives, as in NumPy.
    allow_pickle, fix_imports, encoding, max_header_size : optional
        As in `numpy.load`.
    threads : int, optional
        Threads for `NpzFile.fetch`.
    verify : bool, optional
        Compare the CRC-32 of every member that is read; ``False`` gives up noticing damaged data,
        for a few per cent of time.
    strict : bool, optional
        Refuse archives that are common, but that other programs may understand differently: bytes
        behind the archive or in front of its first member, two members of one name or key, bytes
        between members that are nobody's, bytes behind an array inside its member, a count of
        members that is only right modulo 65,536, and local headers that leave things unsaid.
    max_members : int, optional
        Refuse archives of more members.
    max_total_size : int, optional
        Refuse archives whose members' sizes, uncompressed, add up to more bytes.
    max_member_size : int, optional
        Refuse to read members of more bytes, uncompressed. The other members stay readable. For an
        .npy file both sizes bound the array's data.
    max_buffered : int, optional
        Refuse archives in file objects that are read into memory as a whole, such as those of
        fsspec or a decompressor, if they have more bytes, 256 MiB by default. None allows any size.
    pwd : bytes, optional
        The password of encrypted members, as bytes, as in `zipfile`.

    Returns
    -------
    NpzFile, or an array, or a pickled object
        By the content of the file.

    Raises
    ------
    BadZipFile
        If the archive's directory is damaged or has two meanings. ``.code`` tells which.
    LimitError
        If it is larger than the limits allow; this is a ValueError.
    TypeError
        If the password is text, or `file` is something else, such as a list of paths or a file in
        text mode.
    OSError
        If the file can't be opened or read, or a file object can't seek. The `FileNotFoundError`
        for a name that is a little wrong has a note with the one that there is.
    EOFError
        If it is empty.
    ValueError
        If it is a pickle and ``allow_pickle`` is false, or none of these kinds of file; or
        ``encoding`` is another one.

    See Also
    --------
    open_npz : For archives alone, so that the result's type is known.
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
    _check_encoding(encoding)
    check_password(pwd)
    max_buffered = checked_max_buffered(max_buffered)
    is_file = not isinstance(file, str) and hasattr(file, "read") and not in_memory(file)
    if is_file:
        check_file(file)
        check_seekable(file)
    opened, checked = None if is_file else open_any(file), None
    try:
        front = _front(file, opened, 6)
        if not front:
            raise errors.refusal("empty", "No data left in file", _where(file, opened))
        if front.startswith(ZIP_MAGIC):
            opened = open_file(file, max_buffered) if opened is None else opened
            npz = NpzFile(
                opened,
                allow_pickle=allow_pickle,
                pickle_kwargs={"encoding": encoding, "fix_imports": fix_imports},
                max_header_size=max_header_size,
                threads=threads,
                verify=verify,
                strict=strict,
                max_members=max_members,
                max_total_size=max_total_size,
                max_member_size=max_member_size,
                mmap_mode=mmap_mode,
                pwd=pwd,
            )
            opened = None  # the archive's own now
            return npz
        is_npy, neither = front.startswith(MAGIC), None
        if is_npy:
            limits = Limits(strict, max_members, max_total_size, max_member_size).checked()
            where = _where(file, opened)
            looked_at = file if opened is None else SourceFile(opened)
            _check_npy(looked_at, where, allow_pickle, max_header_size, limits, mmap_mode)
            if opened is not None and mmap_mode is None and opened.source.fileno() >= 0:
                # NumPy reads the file that was checked, not what its path leads to by now.
                file = checked = os.fdopen(os.dup(opened.source.fileno()), "rb")
        else:
            where = _where(file, opened)
            neither = _neither(_front(file, opened, FRONT), where)
            if neither is not None and not allow_pickle:
                raise errors.refusal("not_npz", neither, where)
        if in_memory(file):
            file = io.BytesIO(bytes(file))
        try:
            loaded = numpy_load(
                file,
                mmap_mode=mmap_mode,
                allow_pickle=allow_pickle,
                fix_imports=fix_imports,
                encoding=encoding,
                max_header_size=max_header_size,
            )
        except pickle.UnpicklingError as exc:
            if neither is not None:
                exc.add_note(neither)
            raise
        except ValueError as exc:
            let_pass(exc)
            if not is_npy and not allow_pickle:
                raise errors.locate(exc, "pickle", where) from None
            if not is_npy or allow_pickle or not is_malformed(exc):  # the unpickled object's own
                raise
            raise errors.refusal("npy_header", f"{exc} [{where}]", where) from exc
        if isinstance(loaded, npyio.NpzFile):  # it was no archive when it was looked at
            loaded.close()
            text = f"{file}: the file was replaced while it was opened [stale]"
            raise errors.refusal("stale", text, str(file))
        return loaded
    finally:
        if checked is not None:
            checked.close()
        if opened is not None:
            opened.source.close()


def open_npz(
    file: Any,
    *,
    mmap_mode: Literal["r", "c"] | None = None,
    allow_pickle: bool = False,
    fix_imports: bool = True,
    encoding: Literal["ASCII", "latin1", "bytes"] = "ASCII",
    max_header_size: int = MAX_HEADER_SIZE,
    threads: int | None = None,
    verify: bool = True,
    strict: bool = False,
    max_members: int | None = None,
    max_total_size: int | None = None,
    max_member_size: int | None = None,
    max_buffered: int | None = MAX_BUFFERED,
    pwd: bytes | None = None,
) -> NpzFile:
    """Open an .npz archive, or a .zip of .npy files, and nothing else.

    It does what `load` does with an archive. Since the result is always an `NpzFile`, editors and
    type checkers know its methods.

    Parameters
    ----------
    file : path, file or bytes-like object
        As for `load`. The archive is looked for from the file's beginning, and may have bytes in
        front of it.
    mmap_mode, allow_pickle, fix_imports, encoding, max_header_size : optional
        As for `load`.
    threads, verify, strict, max_members, max_total_size, max_member_size : optional
        As for `load`.
    max_buffered, pwd : optional
        As for `load`.

    Returns
    -------
    NpzFile
        The open archive.

    Raises
    ------
    BadZipFile
        If it is an .npy file, a pickle or something else that isn't an archive (``.code`` is
        ``no_eocd`` or ``too_short``, and the message says what it seems to be), or is damaged.
    LimitError, OSError, TypeError
        As `load` does.
    ValueError
        If it is a PyTorch checkpoint (``not_npz``), or ``encoding`` is another one.

    See Also
    --------
    load

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, x=np.arange(4))
    >>> with fastzip.open_npz(file) as npz:
    ...     npz["x"]
    array([0, 1, 2, 3])
    """
    _check_encoding(encoding)
    npz = NpzFile(
        file,
        allow_pickle=allow_pickle,
        pickle_kwargs={"encoding": encoding, "fix_imports": fix_imports},
        max_header_size=max_header_size,
        threads=threads,
        verify=verify,
        strict=strict,
        max_members=max_members,
        max_total_size=max_total_size,
        max_member_size=max_member_size,
        max_buffered=max_buffered,
        mmap_mode=mmap_mode,
        pwd=pwd,
    )
    if len(npz) and npz.index.name(0).endswith("/data.pkl"):
        npz.close()
        where = npz.index.where
        text = f"{where}: this is a PyTorch checkpoint; read it with torch.load [not_npz]"
        raise errors.refusal("not_npz", text, where)
    return npz
