"""One member of an archive: where its data are, and its bytes by any method, verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from fastzip import _core, errors
from fastzip._signals import from_handler, let_pass
from fastzip._zip import threads as _threads
from fastzip._zip.index import NO_LIMITS, Index, Limits
from fastzip._zip.methods import AES, PIECE, Place, Refused, check_password, decode
from fastzip._zip.sources import Opened

LARGE: Final = 16 << 20
"""Bytes: of larger members something is looked at before memory is taken for all of them."""
FOREIGN: Final = tuple(map(_core.STATUS_CODES.index, ("encrypted", "method")))
"""The core says these of members that it doesn't decode, and `methods` may."""
MEMORY: Final = _core.STATUS_CODES.index("memory")
INTERRUPTED: Final = _core.STATUS_CODES.index("interrupted")
FRONT_PIECE: Final = 64 << 10


class Reader:
    """Reads single members. Safe to use from many threads at once."""

    def __init__(
        self,
        opened: Opened,
        verify: bool = True,
        limits: Limits = NO_LIMITS,
        pwd: bytes | None = None,
    ) -> None:
        self.opened = opened
        self.source = opened.source
        self.pwd = check_password(pwd)
        self.verify = verify
        self.limits = limits.checked()
        self.index = Index(opened, self.limits)
        self.directory = self.index.directory

    def locate(self, position: int) -> Place:
        """Where the member's data are, and what header and directory say of it."""
        found = _core.locate(self.source, self.directory, position)
        if isinstance(found, int):
            raise self.index.error(found, position)
        return Place(*found)

    def check(self, position: int, pwd: bytes | None = None) -> None:
        """Raise what is wrong with the member, as far as its headers tell, or with the password."""
        if self.is_foreign(position):
            next(self.pieces(position, pwd, FRONT_PIECE), None)
        else:
            self.locate(position)

    def data_into(self, position: int, out: Any, pwd: bytes | None = None) -> None:
        """The member's bytes, verified, into memory of just that size."""
        if not out.nbytes:
            self.data(position, pwd)
            return
        status = np.empty(1, np.int32)
        row = np.frombuffer(out, np.uint8).reshape(1, -1)
        where = np.array([position], np.int64)
        _core.fetch(self.source, self.directory, where, None, row, b"", 1, self.verify, status)
        if status[0] in FOREIGN:
            at = 0
            for piece in self.pieces(position, pwd):
                out[at : at + len(piece)] = piece
                at += len(piece)
        elif status[0]:
            raise self.index.error(int(status[0]), position)

    def data(self, position: int, pwd: bytes | None = None) -> bytes:
        """The member's bytes, verified. `pwd` goes before the reader's own."""
        data: bytes | int
        try:
            data = _core.read_bytes(self.source, self.directory, position, self.verify)
        except MemoryError as exc:
            let_pass(exc)
            data = MEMORY
        return bytes(self.foreign(position, data, 0, pwd)) if isinstance(data, int) else data

    def pieces(
        self, position: int, pwd: bytes | None = None, piece: int = PIECE
    ) -> Iterator[bytes]:
        """A member's bytes by any method, in pieces; verified when the last one has been taken."""
        pwd = check_password(pwd) or self.pwd
        place = self.locate(position)

        def read(offset: int, n: int) -> bytes:
            data = self.source.read(offset, n)
            if isinstance(data, int):
                raise self.index.error(data, position)
            return data

        try:
            if place.method == AES:
                place = place._replace(central=self.index.extra(position))
            yield from decode(read, place, pwd, self.verify, piece)
        except Refused as exc:
            raise self.index.error(exc.code, position, exc.note) from exc.__cause__
        except MemoryError as exc:
            if isinstance(exc, errors.Located) or from_handler(exc):
                raise
            raise self.index.error(MEMORY, position) from None

    def foreign(
        self,
        position: int,
        status: int,
        lead: int,
        pwd: bytes | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Any:
        """A member that the core refused with this status, in a block, from byte `lead` on.

        What its method makes of few bytes has no tight bound, so memory is taken as they come.
        `stop` is asked between the pieces; if it says so, the member is "interrupted"."""
        if status not in FOREIGN:
            raise self.index.error(status, position)
        size = self.directory.row(position)[1]
        room = min(size, LARGE)
        at = lead
        block: Any = None
        try:
            for data in self.pieces(position, pwd):
                if stop():
                    raise self.index.error(INTERRUPTED, position)
                if block is None:
                    block = _core.Block(room, lead)
                elif at + len(data) > lead + room:
                    room = min(size, 2 * room)
                    larger: Any = _core.Block(room, lead)
                    memoryview(larger)[:at] = memoryview(block)[:at]
                    block = larger
                memoryview(block)[at : at + len(data)] = data
                at += len(data)
            return _core.Block(0, lead) if block is None else block
        except MemoryError as exc:
            if isinstance(exc, errors.Located) or from_handler(exc):
                raise
            raise self.index.error(MEMORY, position) from None

    def foreign_each(
        self,
        positions: list[int],
        use: Callable[[int, Any], None],
        threads: int,
        pwd: bytes | None = None,
    ) -> dict[int, Exception]:
        """Call use(i, block) with the bytes of each of these members, which the core doesn't
        decode, in threads that end before this returns; what failed, by i."""

        def work(i: int, stop: Callable[[], bool]) -> None:
            use(i, self.foreign(positions[i], FOREIGN[0], 0, pwd, stop))

        size = sum(self.directory.row(position)[1] for position in positions)
        threads = _threads.threads_worth(threads, size)
        results = _threads.run_each(work, len(positions), threads, errors.is_failure)
        for i, position in enumerate(positions):
            if i not in results:
                results[i] = self.index.error(INTERRUPTED, position)
        return {i: exc for i, exc in results.items() if exc is not None}

    def is_foreign(self, position: int) -> bool:
        """Is the member one that the core doesn't decode?"""
        row = self.index.rows[position]
        return row["method"] not in (0, 8) or bool(row["flags"] & 1)

    def is_plain(self, position: int) -> bool:
        """Do the member's bytes stand in the archive as they are?"""
        row = self.index.rows[position]
        return not row["method"] and not row["flags"] & 1

    def front(self, position: int, n: int) -> bytes:
        front = _core.read_front(self.source, self.directory, position, n)
        if isinstance(front, int):
            if front not in FOREIGN:
                raise self.index.error(front, position)
            front = b""
            for data in self.pieces(position, piece=FRONT_PIECE):
                front += data
                if len(front) >= n:
                    break
            return front[:n]
        if len(front) < min(n, self.directory.row(position)[1]):
            return self.data(position)[:n]  # a stream that takes long to begin
        return front

    def data_offset(self, position: int) -> int:
        """Where in the source a member's data begin."""
        return self.locate(position).offset

    def close(self) -> None:
        """Close the source; views of it stay."""
        self.source.close()
