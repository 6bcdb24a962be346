"""Where an archive's bytes come from: a path, an open file, or memory.

A path or an open file is read through a descriptor of our own and without a file position, so
threads and forked processes can share it. The archive is never mapped: a mapped file that is cut
short kills the process.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from fastzip import _core, errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


Identity: TypeAlias = tuple[int, int]

ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members


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

    def part(self, offset: int, size: int, what: str) -> Opened:
        """A range of it, as an archive of its own; no copy is made."""
        where = f"{self.where}: {what}"
        source = self.source.part(offset, size)
        if isinstance(source, int):
            raise errors.error(source, where)
        memory = None
        if self.memory is not None:
            memory = memoryview(self.memory).cast("B")[offset : offset + size]
        return Opened(source, where, None, self.identity, memory)

    def changed(self) -> bool:
        """Is the file no longer what it was when it was opened?"""
        try:
            status = self.source.stat()
        except OSError:
            return False
        return status is not None and identity_of(status) != self.identity


def _regular(file: int | str | os.PathLike[str], path: str) -> os.stat_result:
    status = os.stat(file)
    if stat.S_ISREG(status.st_mode):
        return status
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, os.strerror(21), path)
    raise OSError(29, "not a regular file, so it can't be read at random", path)


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
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
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


def _descriptor(file: Any) -> int | None:
    """The descriptor of a plain file object; None for anything that only looks like one.

    gzip.GzipFile has a fileno() too, and it is that of the compressed file."""
    if type(file).__name__ == "_TemporaryFileWrapper":  # tempfile.NamedTemporaryFile's
        file = file.file
    if type(file) is io.BufferedRandom:
        file.flush()
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    if type(raw) is not io.FileIO or not raw.readable():
        return None
    fd: int = raw.fileno()
    return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None


def random_access(file: Any) -> bool:
    """Can `open_file` read this file without reading all of it into memory?"""
    return type(file) is io.BytesIO or _descriptor(file) is not None


def refuse_devices(path: str | os.PathLike[str]) -> None:
    """Raise what `open_path` would: opening a FIFO would wait for a writer."""
    _regular(path, os.fspath(path))


def open_file(file: Any) -> Opened:
    """Read an open binary file, from its start; its position doesn't matter and doesn't move.

    A plain file is read through a copy of its descriptor, `io.BytesIO` shares its bytes; anything
    else that can be read is read into memory as a whole.
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
    if type(file) is io.BytesIO:
        return open_memory(file.getvalue(), "BytesIO")
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    if isinstance(data, str):
        raise TypeError("the file must be opened in binary mode")
    return open_memory(data, type(file).__name__)


def read_up_to(file: Any, n: int) -> bytes:
    """The next n bytes of a file object, or what is left; raw ones may give them in crumbs."""
    data = bytes(file.read(n))
    while len(data) < n and (more := file.read(n - len(data))):
        data += more
    return data


def size_of(file: Any) -> int | None:
    """How many bytes a file object holds, if that can be told without reading it."""
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
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self._opened.source.size - self._at))
        if n == 0:
            return 0
        data = self._opened.source.read(self._at, n)
        if isinstance(data, int):
            raise errors.error(data, self._opened.where)
        view[:n] = data
        self._at += n
        return n


def in_memory(file: Any) -> bool:
    """Is this an archive's content? A path as bytes can't hold a NUL byte, and an archive does."""
    if isinstance(file, bytes):
        return b"\0" in file or not file or file.startswith(ZIP_MAGIC)
    return isinstance(file, (bytearray, memoryview, mmap.mmap, np.ndarray))


def open_any(file: Any) -> Opened:
    """Open a path, a file object or an archive's bytes."""
    if isinstance(file, str):
        return open_path(file)
    if in_memory(file):
        data: Any = np.ascontiguousarray(file) if isinstance(file, np.ndarray) else file
        return open_memory(data)
    return open_file(file) if hasattr(file, "read") else open_path(file)
