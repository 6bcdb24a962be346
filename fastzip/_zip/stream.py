"""What `ZipFile.open` returns: a member as a file object, which is an `io.BufferedReader`.

Members of up to `WHOLE` bytes are inflated at the first read. Larger ones are decoded as they are
read, and verified when their end is reached.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, Final

from fastzip._zip.buffers import BufferedFile, writable
from fastzip._zip.member import Reader

WHOLE: Final = 64 << 20
BUFFER: Final = 64 << 10
_MODE: Final = "rb" if sys.version_info >= (3, 13) else "r"
_NAMES: Final[dict[int, str]] = getattr(zipfile, "compressor_names", {})


class _Raw(io.RawIOBase):
    """Position and names; seeking beyond an end leads to that end, as in `zipfile`."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.mode = _MODE
        self.newlines = None
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        self._check()
        return True

    def seekable(self) -> bool:
        self._check()
        return True

    def tell(self) -> int:
        self._check()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check()
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}
        if whence not in start:
            raise ValueError("whence must be os.SEEK_SET (0), os.SEEK_CUR (1), or os.SEEK_END (2)")
        self._at = max(0, min(self._size, start[whence] + offset))
        return self._at

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


class _Whole(_Raw):
    """A member that is inflated at once, when it is first read."""

    def __init__(self, name: str, size: int, read: Callable[[], bytes]) -> None:
        super().__init__(name, size)
        self._read: Callable[[], bytes] | None = read
        self._data = b""

    def _content(self) -> bytes:
        if self._read is not None:
            self._data = self._read()
            self._read = None
        return self._data

    def readall(self) -> bytes:
        self._check()
        data = self._content()
        at, self._at = self._at, len(data)
        return data[at:]

    def readinto(self, buffer: Any, /) -> int:
        self._check()
        view = writable(buffer)
        data = memoryview(self._content())[self._at : self._at + len(view)]
        view[: len(data)] = data
        n = len(data)
        self._at += n  # no call comes after it: who is told of an exception has nothing yet
        return n

    def close(self) -> None:
        super().close()
        self._data, self._read = b"", None


class _Pieces(_Raw):
    """A member that is decoded as it is read. Seeking backwards begins anew."""

    def __init__(self, name: str, size: int, pieces: Callable[[], Iterator[bytes]]) -> None:
        super().__init__(name, size)
        self._begin = pieces
        self._pieces = pieces()
        self._piece = memoryview(b"")
        self._decoded = 0  # where the piece in hand ends
        self._failed = False

    def readinto(self, buffer: Any, /) -> int:
        self._check()
        view = writable(buffer)
        if self._failed or self._at < self._decoded - len(self._piece):
            self._restart()
        self._failed = True  # unless it goes well: who reads on gets it again, and no end
        found = self._advance()
        self._failed = False
        if not found:
            return 0
        data = self._piece[len(self._piece) - (self._decoded - self._at) :][: len(view)]
        view[: len(data)] = data
        n = len(data)
        self._at += n  # no call comes after it: who is told of an exception has nothing yet
        return n

    def _restart(self) -> None:
        self._pieces, self._piece, self._decoded = self._begin(), memoryview(b""), 0

    def _advance(self) -> bool:
        """Decode as far as the position; False if that is the end."""
        while self._decoded <= self._at:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece = memoryview(piece)
            self._decoded += len(piece)
            if self._decoded >= self._size:  # verified now, for who reads no further than this
                next(self._pieces, None)
        return True

    def close(self) -> None:
        super().close()
        self._piece = memoryview(b"")
        self._pieces = iter(())


class Leases:
    """Who still needs the archive's source when the archive is closed."""

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._close: Callable[[], None] | None = None

    def hold(self, holder: int) -> None:
        self._held.add(holder)

    def drop(self, holder: int) -> None:
        self._held.discard(holder)
        if self._close is not None and not self._held:
            self._close()

    def end(self, close: Callable[[], None]) -> None:
        """Close as soon as nobody holds on."""
        self._close = close
        if not self._held:
            close()


class MemberFile(BufferedFile):
    """A member as a file object: what `ZipFile.open` returns.

    What the member's headers say is checked at once, its data when they are read."""

    MIN_READ_SIZE = 4096  # zipfile.ZipExtFile has one, and programs ask for it

    def __init__(
        self,
        reader: Reader,
        position: int,
        name: str,
        pwd: bytes | None,
        leases: Leases,
    ) -> None:
        _, size, method = reader.directory.row(position)
        reader.check(position, pwd)
        raw: _Raw
        if size <= WHOLE:
            raw = _Whole(name, size, lambda: reader.data(position, pwd))
        else:
            raw = _Pieces(name, size, lambda: reader.pieces(position, pwd))
        self._leases = leases
        how = f" compress_type={_NAMES.get(method, method)}" if method else ""
        mode = "" if _MODE == "rb" else f" mode={_MODE!r}"
        self._shown = f"name={name!r}{mode}{how}"
        leases.hold(id(self))
        super().__init__(raw, BUFFER)

    def close(self) -> None:
        super().close()
        self._leases.drop(id(self))

    def __repr__(self) -> str:
        shown = "[closed]" if self.closed else self._shown
        return f"<{type(self).__module__}.{type(self).__qualname__} {shown}>"
