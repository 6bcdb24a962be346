"""Where an archive's bytes come from: a path, an open file, or memory.

A path or an open file is read through a descriptor of our own and without a file position, so
threads and forked processes can share it. The archive is never mapped: a mapped file that is cut
short kills the process.
"""

from __future__ import annotations

import io
import mmap
import operator
import os
import stat
import zipfile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.lib import npyio

from fastzip import _core, errors
from fastzip._signals import let_pass
from fastzip._zip.buffers import check_separate, writable
from fastzip._zip.formats import FRONT, ZIP_MAGIC, describe_file, is_document, is_pickle

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


Identity: TypeAlias = tuple[int, int]

MAX_BUFFERED: Final = 1 << 28
"""A file object that is read into memory as a whole may hold so many bytes, unless the caller says
otherwise."""

_PATH_MAX: Final = 4096
"""No path is longer on Linux."""

_PIECE: Final = 1 << 22
_WRAPPERS: Final = {
    "_TemporaryFileWrapper": "file",  # tempfile.NamedTemporaryFile's
    "SpooledTemporaryFile": "_file",
    "LocalFileOpener": "f",  # fsspec's, of files on this machine
}
"""Classes that stand for a file of their own, by the attribute that holds it."""
_DECOMPRESSORS: Final = frozenset(("bz2", "compression", "gzip", "lzma", "zipfile"))
"""Modules whose file objects read everything to learn how much there is."""


class Opened(NamedTuple):
    """An open source, and how to speak of it."""

    source: _core.Source
    where: str
    """For messages: the path, or what kind of memory."""
    path: str | None
    """For opening it again in another process; None where that isn't possible."""
    identity: Identity | None
    """Size and time of change: is it still the same file, on whatever machine?"""
    memory: Any = None
    """The bytes-like object, for a source in memory."""
    by_path: bool = False
    """Was it opened here, and not by the caller?"""
    around: Any = None
    """Of an archive inside one in memory, the memory of the outermost one."""

    def part(self, offset: int, size: int, what: str) -> Opened:
        """A range of it, as an archive of its own; no copy is made."""
        where = f"{self.where}: {what}"
        source = self.source.part(offset, size)
        if isinstance(source, int):
            raise errors.error(source, where)
        memory, around = None, self.memory if self.around is None else self.around
        if self.memory is not None:
            memory = memoryview(self.memory).cast("B")[offset : offset + size]
        return Opened(source, where, None, self.identity, memory, around=around)

    def changed(self) -> bool:
        """Is the file no longer what it was when it was opened?"""
        try:
            status = self.source.stat()
        except OSError as exc:
            let_pass(exc)
            return False
        return status is not None and identity_of(status) != self.identity


def _regular(file: int | str | os.PathLike[str], path: str) -> os.stat_result:
    try:
        status = os.stat(file)
    except OSError as exc:
        raise _explained(exc, path) from None
    if stat.S_ISREG(status.st_mode):
        return status
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, os.strerror(21), path)
    raise OSError(29, "not a regular file, so it can't be read at random", path)


def _explained(exc: OSError, path: str) -> OSError:
    if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        return exc
    from fastzip._zip.missing import explained  # what it imports takes milliseconds

    return explained(exc, path)


def identity_of(status: os.stat_result) -> Identity:
    """What tells a file from another one, or from its own later state."""
    return status.st_size, status.st_mtime_ns


def absolute_path(path: str) -> str:
    """The path for another process, which may be in another folder.

    Not os.path.abspath, which drops "link/.." though it leads elsewhere."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def open_path(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Opened:
    """Open a file for reading at random; FIFOs and devices are refused without waiting for them."""
    name = os.fsdecode(path)
    absolute = absolute_path(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise _explained(exc, name) from None
    try:
        status = _regular(fd, name)
        source = _core.Source(fd, status.st_size)
    except BaseException:
        os.close(fd)
        raise
    return Opened(source, name, absolute, identity_of(status), by_path=True)


def open_same(path: str, identity: Identity) -> Opened:
    """Open a file that must still be the one it was."""
    opened = open_path(path)
    if opened.identity != identity:
        opened.source.close()
        text = f"{path}: the file has changed since the archive was pickled [stale]"
        raise errors.refusal("stale", text, path)
    return opened


def open_memory(data: ReadableBuffer, what: str = "memory") -> Opened:
    """Read out of a bytes-like object, which is kept alive and not copied."""
    source = _core.Source(buffer=data)
    return Opened(source, f"<{what}, {source.size:,} bytes>", None, None, data)


def _unwrapped(file: Any) -> Any:
    """The file object that does the work of another one."""
    attribute = _WRAPPERS.get(type(file).__name__)
    return file if attribute is None else getattr(file, attribute, file)


def _descriptor(file: Any) -> int | None:
    """The descriptor of a plain file object; None for anything that only looks like one.

    gzip.GzipFile has a fileno() too, and it is that of the compressed file."""
    file = _unwrapped(file)
    if type(file) is io.BufferedRandom:
        file.flush()
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    if type(raw) is not io.FileIO or not raw.readable():
        return None
    fd: int = raw.fileno()
    return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None


def random_access(file: Any) -> bool:
    """Can `open_file` read this file without reading all of it into memory?"""
    return type(_unwrapped(file)) is io.BytesIO or _descriptor(file) is not None


def refuse_devices(path: str | os.PathLike[str]) -> None:
    """Raise what `open_path` would: opening a FIFO would wait for a writer."""
    _regular(path, os.fspath(path))


def check_file(file: Any) -> None:
    """Raise what tells of something that is no path, file object or bytes what to pass instead."""
    if isinstance(file, (str, bytes, os.PathLike)):
        return
    if isinstance(file, (zipfile.ZipFile, npyio.NpzFile)):
        advice = "; it is open already: pass its path, or the file that it reads"
    elif isinstance(file, io.TextIOBase):
        advice = "; it is open in text mode: open it with mode 'rb'"
    elif isinstance(file, np.ndarray) and file.dtype.kind in "UO":
        advice = "; of an array that holds paths, pass one of them: str(array[()]), str(array[0])"
    elif in_memory(file) or hasattr(file, "read"):
        return
    elif isinstance(file, (list, tuple, set, frozenset)):
        advice = "; archives are opened one by one: [fastzip.load(path) for path in paths]"
    elif isinstance(file, int):
        advice = "; of a file descriptor, pass open(descriptor, 'rb')"
    elif hasattr(file, "open"):  # fsspec's OpenFile, zipfile.Path, importlib.resources' files
        mode = "" if hasattr(file, "fs") else "'rb'"
        advice = f"; it is not open yet: pass what its open({mode}) returns"
    else:
        advice = ""
    raise TypeError(
        "a path, a binary file object or an archive's bytes is wanted, not "
        f"{type(file).__name__}{advice}"
    )


def check_seekable(file: Any) -> None:
    """Refuse a file object without a position that can be set, before a byte of it is read."""
    seekable = getattr(file, "seekable", None)
    if hasattr(file, "seek") and (seekable is None or seekable()):
        return
    kind = type(file).__name__
    whole = "file.content" if hasattr(file, "content") else "file.read()"
    text = (
        f"{kind}: this file object can't seek, and archives are read at random; pass the bytes, "
        f"{whole}, or a copy on disk [not_seekable]"
    )
    raise errors.refusal("not_seekable", text, kind)


def open_file(file: Any, max_buffered: int | None = MAX_BUFFERED) -> Opened:
    """Read an open binary file, from its start; its position doesn't matter and doesn't move.

    A plain file is read through a copy of its descriptor, `io.BytesIO` shares its bytes; anything
    else that can be read is read into memory as a whole, up to `max_buffered` bytes.
    """
    fd = _descriptor(file)
    if fd is not None:
        name = getattr(file, "name", None)
        where = name if isinstance(name, str) else "<file>"
        path = name if isinstance(name, str) and os.path.isabs(name) else None
        fd = os.dup(fd)
        try:
            status = os.fstat(fd)
            source = _core.Source(fd, status.st_size)
        except BaseException:
            os.close(fd)
            raise
        return Opened(source, where, path, identity_of(status))
    inner = _unwrapped(file)
    if type(inner) is io.BytesIO:
        return open_memory(inner.getvalue(), "BytesIO")
    check_seekable(file)
    before = file.tell()
    try:
        data = _whole(file, max_buffered)
    finally:
        file.seek(before)
    return open_memory(data, type(file).__name__)


def checked_max_buffered(max_buffered: Any) -> int | None:
    """The limit as a number, or None for no limit."""
    if max_buffered is None:
        return None
    try:
        number = operator.index(max_buffered)
    except TypeError as exc:
        let_pass(exc)
        number = -1
    if number < 0 or isinstance(max_buffered, bool):
        raise ValueError(f"max_buffered must be None or an integer from 0 on: {max_buffered!r}")
    return number


def _whole(file: Any, limit: int | None) -> bytes | bytearray:
    """All that a file object holds; its position is wherever reading ended."""
    if isinstance(file, io.BytesIO):
        limit = None  # it is in memory already
    size = _end_of(file)
    if size is not None and limit is not None and size > limit:
        raise _too_large(file, limit, f"{size:,} bytes")
    file.seek(0)
    if limit is None:
        return b"".join(iter(lambda: _binary(file.read()), b""))  # some give crumbs
    left = limit + 1  # that byte tells that there is more, whatever the file said of its size
    data = bytearray()
    while left > 0 and (piece := _binary(file.read(min(left, _PIECE)))):
        data += piece
        left -= len(piece)
    if len(data) > limit:
        raise _too_large(file, limit, "more than that")
    return data


def _too_large(file: Any, limit: int, size: str) -> Any:
    kind = type(file).__name__
    text = (
        f"{kind}: this file object would be read into memory as a whole, and may hold "
        f"{limit:,} bytes, not {size}; open a copy on disk by its path, or raise max_buffered "
        "[max_buffered]"
    )
    return errors.refusal("max_buffered", text, kind)


def _end_of(file: Any) -> int | None:
    """How much a file object holds; None for one that would have to read all of it to tell."""
    for one in (file, getattr(file, "raw", None)):
        if any(base.__module__.partition(".")[0] in _DECOMPRESSORS for base in type(one).__mro__):
            return None
    try:
        end = file.seek(0, os.SEEK_END)
        end = file.tell() if end is None else end
    except (OSError, ValueError, TypeError, NotImplementedError) as exc:
        let_pass(exc)
        return None
    return end if isinstance(end, int) else None


def _binary(data: Any) -> bytes:
    """What a file object's read() gave."""
    if isinstance(data, str):
        raise TypeError("the file is open in text mode: open it with mode 'rb'")
    return data if isinstance(data, bytes) else bytes(data)


def read_up_to(file: Any, n: int) -> bytes:
    """The next n bytes of a file object, or what is left; raw ones may give them in crumbs."""
    data = _binary(file.read(n))
    while len(data) < n and (more := file.read(n - len(data))):
        data += more
    return data


def described(opened: Opened) -> str:
    """What a source is that couldn't be opened as an archive, as far as its first bytes tell."""
    front = opened.source.read(0, min(FRONT, opened.source.size))
    return "" if isinstance(front, int) else _described(front)


def described_file(file: Any) -> str:
    """The same of a file object, which the standard library couldn't open."""
    try:
        check_seekable(file)
        file.seek(0)
        return _described(read_up_to(file, FRONT))
    except (OSError, ValueError) as exc:
        let_pass(exc)
        return str(exc)


def _described(front: bytes) -> str:
    what = describe_file(front)
    if what is None and front.startswith(b"\x80") and is_pickle(front):
        what = "it is a pickle, which can run any code when it is loaded"
    return what or ""


def size_of(file: Any) -> int | None:
    """How many bytes a file object holds, if that can be told without asking it."""
    if isinstance(file, SourceFile):
        return file.size
    if isinstance(file, io.BytesIO):
        return len(file.getbuffer())
    fd = _descriptor(file)
    return None if fd is None else os.fstat(fd).st_size


class SourceFile(io.RawIOBase):
    """A source as a file with a position of its own, for `zipfile` and NumPy's own readers."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._at = 0
        self.name = opened.where

    @property
    def size(self) -> int:
        return self._opened.source.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._opened.source.size}
        self._at = start[whence] + offset
        if self._at < 0:
            raise OSError(22, "negative seek position")
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = writable(buffer)
        n = max(0, min(len(view), self._opened.source.size - self._at))
        if n == 0:
            return 0
        check_separate(view, self._opened)
        data = self._opened.source.read(self._at, n)
        if isinstance(data, int):
            raise errors.error(data, self._opened.where)
        view[:n] = data
        self._at += n
        return n


def in_memory(file: Any) -> bool:
    """Is this an archive's content? A path as bytes can't hold a NUL byte, and an archive does."""
    if isinstance(file, bytes):
        if b"\0" in file or not file or file.startswith(ZIP_MAGIC):
            return True
        return len(file) > _PATH_MAX or is_document(file[:FRONT])
    return isinstance(file, (bytearray, memoryview, mmap.mmap, np.ndarray))


def open_any(file: Any, max_buffered: int | None = MAX_BUFFERED) -> Opened:
    """Open a path, a file object or an archive's bytes."""
    if isinstance(file, str):
        return open_path(file)
    check_file(file)
    if in_memory(file):
        data: Any = np.ascontiguousarray(file) if isinstance(file, np.ndarray) else file
        return open_memory(data)
    return open_file(file, max_buffered) if hasattr(file, "read") else open_path(file)
