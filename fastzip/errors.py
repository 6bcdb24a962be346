"""Exceptions, and the one table that turns a native status into one of them.

Every exception about what an archive holds, or about reading it, carries

``code``
    a short, stable string, such as ``"crc"``;
``path``
    the archive's path, or a description of where its bytes come from;
``member``
    the member's name, or None when the archive as a whole is meant;
``offset``
    where in the file the trouble is, or None;
``failed``
    for a batch: ``[(key, code), ...]`` of every member that failed;
``stale``
    has the file changed since it was opened? Then that is what is wrong with it.

A lie about the archive fails when it is opened; a lie about a member fails when that member is
read, and the others stay readable.
"""

from __future__ import annotations

import errno
import io
import os
import zipfile
from collections.abc import Callable
from typing import Any, Final

from fastzip import _core
from fastzip._signals import from_handler

__all__ = [
    "ArrayError",
    "BadZipFile",
    "CRCError",
    "ClosedError",
    "EmptyError",
    "InterruptedError",
    "LimitError",
    "MissingAttributeError",
    "MissingKeyError",
    "NoMemoryError",
    "NotSeekableError",
    "PasswordError",
    "PlaceError",
    "ReadError",
    "TruncatedError",
    "UnsupportedError",
    "UrlError",
]


class Located:
    """What every exception about an archive carries."""

    code: str = ""
    path: str | None = None
    member: str | None = None
    offset: int | None = None
    failed: list[tuple[str, str]] = []  # noqa: RUF012  (replaced, never changed)
    stale: bool = False


def is_failure(exc: BaseException) -> bool:
    """Does it say what is wrong with an archive, as nothing that a signal's handler raises does?"""
    return isinstance(exc, Located) and not from_handler(exc)


class BadZipFile(Located, zipfile.BadZipFile):
    """The archive, or one member of it, is not what it says it is.

    A `zipfile.BadZipFile`, with the attributes of `fastzip.errors`.

    Examples
    --------
    >>> import io, fastzip
    >>> try:
    ...     fastzip.ZipFile(io.BytesIO(bytes(100)))
    ... except fastzip.BadZipFile as exc:
    ...     print(exc.code)
    no_eocd
    """


class CRCError(BadZipFile):
    """A member's bytes don't have the CRC-32 that the directory states (APPNOTE 4.4.7).

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, x=np.arange(100))
    >>> data = bytearray(file.getvalue())
    >>> data[500] ^= 1
    >>> try:
    ...     fastzip.load(data)["x"]
    ... except fastzip.CRCError as exc:
    ...     print(exc.code, exc.member)
    crc x.npy
    """


class TruncatedError(BadZipFile):
    """The archive, or a member's compressed data, ends too early.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.TruncatedError, fastzip.BadZipFile)
    True
    """


class UnsupportedError(Located, NotImplementedError):
    """The member uses a part of the ZIP format that fastzip doesn't read.

    A NotImplementedError, as in `zipfile`.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.UnsupportedError, NotImplementedError)
    True
    """


class PasswordError(Located, RuntimeError):
    """The member is encrypted, and the password is missing or wrong.

    A RuntimeError, as in `zipfile`.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.PasswordError, RuntimeError)
    True
    """


class LimitError(Located, ValueError):
    """The archive, a member or a header is larger than the caller allows.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez_compressed(file, x=np.zeros(1000))
    >>> try:
    ...     fastzip.load(file.getvalue(), max_member_size=1000)["x"]
    ... except fastzip.LimitError as exc:
    ...     print(exc.code, exc.member)
    max_member_size x.npy
    """


class _Noted:
    """An exception with a note that is made when somebody looks at it, since most are caught."""

    _hint: Callable[[], str] | None = None
    __dict__: dict[str, Any]

    @property
    def __notes__(self) -> list[str]:
        notes: list[str] | None = self.__dict__.get("_notes")
        if notes is None:
            hint = self._hint
            notes = self.__dict__.setdefault("_notes", [] if hint is None else [hint()])
            self._hint = None
        return notes

    @__notes__.setter
    def __notes__(self, notes: list[str]) -> None:
        self._notes = notes
        self._hint = None

    def __reduce__(self) -> Any:
        reduced: Any = super().__reduce__()
        state = dict(reduced[2]) if len(reduced) > 2 else {}
        state = {name: value for name, value in state.items() if name not in ("_hint", "_notes")}
        return reduced[0], reduced[1], state | {"__notes__": self.__notes__}


class MissingKeyError(_Noted, KeyError):
    """There is no such name in the archive.

    A KeyError, and its text is NumPy's or `zipfile`'s. A note that is shown with it names the
    archive and says which name may have been meant, or which names there are.

    Notes
    -----
    The note is made when the exception is shown, pickled or asked for its ``__notes__``; a program
    that catches it doesn't wait for that.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, x_train=np.arange(3), y_train=np.arange(3))
    >>> npz = fastzip.load(file.getvalue())
    >>> try:
    ...     npz["x_trian"]
    ... except KeyError as exc:
    ...     print(exc.args[0], exc.__notes__, sep="; ")
    x_trian is not a file in the archive; ["<memory, 562 bytes>: did you mean 'x_train'?"]
    """


class MissingAttributeError(_Noted, AttributeError):
    """The same for an attribute of ``npz.f``: an AttributeError with a note.

    See Also
    --------
    MissingKeyError : What ``npz[key]`` raises.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, x_train=np.arange(3), y_train=np.arange(3))
    >>> npz = fastzip.load(file.getvalue())
    >>> try:
    ...     npz.f.x_trian
    ... except AttributeError as exc:
    ...     print(exc.__notes__)
    ["<memory, 562 bytes>: did you mean 'x_train'?"]
    """


class ArrayError(Located, ValueError):
    """A member isn't the array that it should be.

    A ValueError, as in NumPy.

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, a=np.zeros(2), b=np.zeros(3))
    >>> try:
    ...     fastzip.load(file.getvalue()).fetch(["a", "b"])
    ... except fastzip.errors.ArrayError as exc:
    ...     print(exc.code, exc.member)
    unlike b.npy
    """


class EmptyError(Located, EOFError):
    """The file is empty.

    An EOFError, as in NumPy.

    Examples
    --------
    >>> import io, fastzip
    >>> try:
    ...     fastzip.load(io.BytesIO())
    ... except fastzip.errors.EmptyError as exc:
    ...     print(exc.code)
    empty
    """


class PlaceError(Located, ValueError):
    """A file that is extracted would be written outside of the folder that was asked for.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.errors.PlaceError, ValueError)
    True
    """


class ReadError(Located, OSError):
    """Reading the archive failed; ``errno`` and ``filename`` are as in any OSError.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.errors.ReadError, OSError)
    True
    """


class NoMemoryError(Located, MemoryError):
    """There is not enough memory for what was asked for.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.errors.NoMemoryError, MemoryError)
    True
    """


class ClosedError(Located, ValueError):
    """The archive was closed.

    A ValueError, as for files.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.errors.ClosedError, ValueError)
    True
    """


class InterruptedError(Located, RuntimeError):
    """A signal handler forked while members were read, and the child can't go on with them.

    Not Python's own ``InterruptedError``, which is an OSError.

    Examples
    --------
    >>> import fastzip
    >>> issubclass(fastzip.errors.InterruptedError, RuntimeError)
    True
    """


class UrlError(Located, FileNotFoundError):
    """A URL stands where a path is wanted.

    A FileNotFoundError, which code that expects a path is prepared for.

    Examples
    --------
    >>> import fastzip
    >>> try:
    ...     fastzip.load("https://example.org/training.npz")
    ... except fastzip.errors.UrlError as exc:
    ...     print(exc.code, exc.path)
    url https://example.org/training.npz
    """


class NotSeekableError(Located, io.UnsupportedOperation):
    """A file object can't be read at random, which an archive needs.

    An `io.UnsupportedOperation`: an OSError and a ValueError.

    Examples
    --------
    >>> import io, fastzip
    >>> issubclass(fastzip.errors.NotSeekableError, io.UnsupportedOperation)
    True
    """


_BAD: Final = BadZipFile

# code -> (exception, what it means). docs/architecture.md says how to add one.
TABLE: Final[dict[str, tuple[type[Exception], str]]] = {
    "too_short": (_BAD, "the file is shorter than the smallest ZIP archive (22 bytes)"),
    "no_eocd": (
        _BAD,
        "there is no end of central directory record: no ZIP archive, or one cut short",
    ),
    "comment_length": (_BAD, "the archive comment doesn't end where the file ends"),
    "ambiguous_end": (_BAD, "two end records are consistent: the archive has two meanings"),
    "ambiguous_prefix": (_BAD, "two directories fit the end record: the archive has two meanings"),
    "multi_disk": (
        UnsupportedError,
        "the archive is one part of several, or the member is in another",
    ),
    "zip64_record": (_BAD, "the zip64 end of central directory record is missing"),
    "zip64_locator": (_BAD, "the zip64 locator doesn't lead to the zip64 record"),
    "zip64_version": (UnsupportedError, "the zip64 record is of a version with encryption"),
    "zip64_conflict": (_BAD, "the zip64 end record contradicts the plain one"),
    "zip64_sentinel": (_BAD, "a value is said to stand in a zip64 record, and there is none"),
    "cd_range": (_BAD, "the central directory doesn't fit into the file"),
    "cd_magic": (_BAD, "no central directory where the end record says it is"),
    "count": (_BAD, "the central directory doesn't hold as many entries as the end record says"),
    "count_too_large": (_BAD, "more entries are claimed than the central directory has room for"),
    "cd_entry": (_BAD, "an entry of the central directory doesn't begin with its signature"),
    "cd_entry_overrun": (_BAD, "an entry reaches beyond the end of the central directory"),
    "cd_trailing": (_BAD, "something else follows the entries of the central directory"),
    "extra_overrun": (_BAD, "an extra field reaches beyond its header"),
    "zip64_extra_duplicate": (_BAD, "a header has two zip64 extra fields"),
    "zip64_extra_short": (_BAD, "a zip64 extra field lacks a value that its header needs"),
    "zip64_extra_missing": (_BAD, "a header needs a zip64 extra field and has none"),
    "behind_archive": (_BAD, "there are bytes behind the archive, which strict=True refuses"),
    "zip64_disks": (_BAD, "the zip64 locator counts 0 disks, which strict=True refuses"),
    "prefix": (_BAD, "there are bytes in front of the first member, which strict=True refuses"),
    "duplicate_name": (_BAD, "two members are of one name or key, which strict=True refuses"),
    "max_members": (LimitError, "the archive has more members than max_members"),
    "max_total_size": (LimitError, "the members' sizes add up to more than max_total_size"),
    "version_needed": (UnsupportedError, "the member needs a later version of the ZIP format"),
    "max_member_size": (LimitError, "the member's size is above max_member_size"),
    "name_nul": (_BAD, "the name holds a NUL byte"),
    "name_utf8": (_BAD, "the name is said to be UTF-8 and isn't"),
    "encrypted": (
        UnsupportedError,
        "the member is encrypted in a way that isn't read (strong encryption, or masked headers)",
    ),
    "flags": (UnsupportedError, "the member uses reserved flags or patch data"),
    "method": (UnsupportedError, "the member's compression method isn't read"),
    "overlap": (_BAD, "the member reaches into the next one, or into the directory"),
    "lfh_magic": (_BAD, "no local header where the directory says it is"),
    "lfh_name": (_BAD, "the local header has another name than the directory"),
    "lfh_method": (_BAD, "the local header has another compression method than the directory"),
    "lfh_flags": (_BAD, "the local header has other flags than the directory"),
    "lfh_sizes": (_BAD, "the local header has other sizes or another CRC than the directory"),
    "descriptor": (
        _BAD,
        "the data descriptor is missing, or doesn't repeat the directory's sizes and CRC",
    ),
    "stored_size": (_BAD, "a stored member's two sizes differ"),
    "impossible_size": (_BAD, "no compressed stream of that length can hold so many bytes"),
    "deflate": (_BAD, "the deflate stream is invalid"),
    "truncated_stream": (TruncatedError, "the compressed stream doesn't end within its data"),
    "too_long": (_BAD, "the member holds more bytes than the directory says"),
    "too_short_stream": (TruncatedError, "the member holds fewer bytes than the directory says"),
    "trailing_data": (_BAD, "the compressed stream ends before its data do"),
    "crc": (CRCError, "the bytes don't have the CRC-32 that the directory states"),
    "directory_with_data": (_BAD, "a directory entry holds data"),
    "gap": (_BAD, "there are bytes behind the member that are nobody's; strict=True refuses them"),
    "short_read": (TruncatedError, "the file ends before the member does; was it cut short?"),
    "memory": (NoMemoryError, "there is not enough memory"),
    "closed": (ClosedError, "the archive is closed"),
    "interrupted": (InterruptedError, "a signal handler forked, and this child can't go on"),
}


# The same for what the Python half finds; the texts come from where it is found.
OTHERS: Final[dict[str, tuple[type[Exception], str]]] = {
    "npy_header": (ArrayError, "the .npy header is malformed, or of an unknown version"),
    "npy_data": (ArrayError, "the member holds fewer bytes than its .npy header says"),
    "npy_trailing": (ArrayError, "there are bytes behind the array, which strict=True refuses"),
    "max_header_size": (LimitError, "the .npy header is longer than max_header_size"),
    "pickle": (ArrayError, "the array holds Python objects, and allow_pickle is false"),
    "not_npz": (ArrayError, "the file is neither an .npz archive nor an .npy file"),
    "url": (UrlError, "the path is a URL, and URLs aren't read"),
    "not_seekable": (NotSeekableError, "the file object can't be read at random"),
    "max_buffered": (
        LimitError,
        "the file object would be read into memory as a whole, and holds more than max_buffered",
    ),
    "empty": (EmptyError, "the file is empty"),
    "no_array": (ArrayError, "an array is wanted, and the member isn't one"),
    "object_dtype": (ArrayError, "an array of Python objects can't be a row of a batch"),
    "dtype": (ArrayError, "an array of this dtype can't be a row of a batch"),
    "shape": (ArrayError, "members of this shape make no batch"),
    "unlike": (ArrayError, "the members of a batch differ in dtype or shape"),
    "doubled": (ArrayError, "two members are of the same sample and field"),
    "incomplete": (ArrayError, "a sample lacks a field that others have"),
    "length": (ArrayError, "a member is longer than the padded batch"),
    "fill_value": (ArrayError, "the fill value can't be an element of the padded batch"),
    "mmap_deflated": (
        ArrayError,
        "mmap_mode needs stored members, and this one is compressed or encrypted",
    ),
    "link_outside": (PlaceError, "a folder to extract into is a link that leads out"),
    "stream": (_BAD, "the compressed stream is invalid"),
    "window": (UnsupportedError, "decoding the member takes more memory than is allowed"),
    "package": (UnsupportedError, "decoding the member takes what isn't installed"),
    "password": (PasswordError, "the member is encrypted, and a password is required; see pwd="),
    "wrong_password": (PasswordError, "the password is wrong"),
    "aes_extra": (_BAD, "the member's AES extra field is malformed, or missing"),
    "authentication": (_BAD, "the encrypted bytes aren't those that were written"),
    "stale": (_BAD, "the file has changed since the archive was pickled, or while it was opened"),
}


def place(path: str | None, member: str | None = None) -> str:
    """How a message says where: the archive, and the member if there is one."""
    where = path or "archive"
    return where if member is None else f"{where}: {member}"


def locate(
    exc: Exception,
    code: str,
    path: str | None,
    member: str | None = None,
    offset: int | None = None,
    stale: bool = False,
) -> Any:
    """Give an exception its attributes."""
    located: Any = exc
    located.code, located.path, located.member, located.offset = code, path, member, offset
    located.failed, located.stale = [], stale
    return located


def refusal(
    code: str, text: str, path: str | None, member: str | None = None, offset: int | None = None
) -> Any:
    """The exception for a code that the Python half finds."""
    kind = (OTHERS.get(code) or TABLE[code])[0]
    return locate(kind(text), code, path, member, offset)


def code_of(status: int | str) -> str:
    """The reason code of a native status; ``"EIO"`` and the like for failed I/O."""
    if isinstance(status, str):
        return status
    return errno.errorcode.get(-status, str(status)) if status < 0 else _core.STATUS_CODES[status]


def error(
    status: int | str,
    path: str | None,
    member: str | None = None,
    offset: int | None = None,
    stale: bool = False,
    detail: str = "",
) -> Exception:
    """The exception for a native status, or for a code that decoding a member gave: the only place
    where one is made."""
    code = code_of(status)
    where = place(path, member)
    note = f": {detail}" if detail else ""
    note += "; the file has changed since it was opened" if stale else ""
    exc: Exception
    if isinstance(status, int) and status < 0:
        exc = ReadError(-status, f"{os.strerror(-status)} while reading {where}{note}", path)
    else:
        kind, text = TABLE.get(code) or OTHERS[code]
        at = "" if offset is None else f", at byte {offset:,}"
        exc = kind(f"{where}: {text}{note} [{code}{at}]")
    located: Exception = locate(exc, code, path, member, offset, stale)
    return located


def first_of(failed: dict[int, Exception], name: Callable[[int], str]) -> Exception:
    """Of the failures of a batch's members, the first one; its ``.failed`` lists them all."""
    order = sorted(failed)
    first: Any = failed[order[0]]
    first.failed = [(name(i), getattr(failed[i], "code", "")) for i in order]
    failure: Exception = first
    return failure
