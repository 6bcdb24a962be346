"""One member of an archive: its bytes, its array, or what its .npy header says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fastzip import _core, _threads, errors
from fastzip._methods import AES, PIECE, Place, Refused, check_password, decode
from fastzip._npy import (
    FRONT,
    HEADERS,
    MAGIC,
    ArraySpec,
    Header,
    check_length,
    check_payload,
    header_length,
    is_malformed,
    read_array,
)
from fastzip._signals import from_handler, let_pass
from fastzip._sources import Opened
from fastzip.index import NO_LIMITS, Index, Limits

ALIGN: Final = 64
LARGE: Final = 16 << 20
"""Bytes: of larger members the header is looked at before memory is taken for all of them."""
OTHER_HEADER: Final = _core.STATUS_CODES.index("other_header")
FOREIGN: Final = tuple(map(_core.STATUS_CODES.index, ("encrypted", "method")))
"""The core says these of members that it doesn't decode, and _methods may."""
_ANY: Final = (1 << 64) - 1
_FRONT_PIECE: Final = 64 << 10
_MEMORY: Final = _core.STATUS_CODES.index("memory")
_INTERRUPTED: Final = _core.STATUS_CODES.index("interrupted")
_SHORT_READ: Final = _core.STATUS_CODES.index("short_read")
NO_HEADER: Final = Header(b"\0", ArraySpec(np.dtype("u1"), (), False), False, 0, 0)


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
        self._last = NO_HEADER
        self._mapped: npt.NDArray[Any] | None = None

    def _read(self, position: int, lead: int) -> _core.Block | int:
        try:
            return _core.read_member(self.source, self.directory, position, lead, self.verify, _ANY)
        except MemoryError as exc:
            let_pass(exc)
            return _MEMORY

    def locate(self, position: int) -> Place:
        """Where the member's data are, and what header and directory say of it."""
        found = _core.locate(self.source, self.directory, position)
        if isinstance(found, int):
            raise self.index.error(found, position)
        return Place(*found)

    def check(self, position: int, pwd: bytes | None = None) -> None:
        """Raise what is wrong with the member, as far as its headers tell, or with the password."""
        if self.is_foreign(position):
            next(self.pieces(position, pwd, _FRONT_PIECE), None)
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
            data = _MEMORY
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
            raise self.index.error(_MEMORY, position) from None

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
                    raise self.index.error(_INTERRUPTED, position)
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
            raise self.index.error(_MEMORY, position) from None

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
        threads = _threads.worth(threads, size)
        results = _threads.run_each(work, len(positions), threads, errors.is_failure)
        for i, position in enumerate(positions):
            if i not in results:
                results[i] = self.index.error(_INTERRUPTED, position)
        return {i: exc for i, exc in results.items() if exc is not None}

    def is_foreign(self, position: int) -> bool:
        """Is the member one that the core doesn't decode?"""
        row = self.index.rows[position]
        return row["method"] not in (0, 8) or bool(row["flags"] & 1)

    def is_plain(self, position: int) -> bool:
        """Do the member's bytes stand in the archive as they are?"""
        row = self.index.rows[position]
        return not row["method"] and not row["flags"] & 1

    def member(
        self,
        position: int,
        allow_pickle: bool = False,
        pickle_kwargs: Mapping[str, Any] | None = None,
        max_header_size: int = 10000,
    ) -> npt.NDArray[Any] | bytes:
        """What NumPy makes of this member: an array, or bytes if it is no .npy file.

        The array's memory is what the member was inflated into, header in front."""
        last = self._last  # mostly this member's header is the last one's
        lead = -len(last.raw) % ALIGN
        block: Any
        try:  # as _read does; a call more costs 1 % of a small member
            block = _core.read_member(
                self.source, self.directory, position, lead, self.verify, LARGE
            )
        except MemoryError as exc:
            let_pass(exc)
            block = _MEMORY
        if isinstance(block, int) and block == OTHER_HEADER:
            self.header(position, max_header_size)  # may it be read at all?
            block = self._read(position, lead)
        if isinstance(block, int):
            block = self.foreign(position, block, lead)
        raw, spec, plain, _, nbytes = last
        if plain and block.startswith(raw, lead) and lead + len(raw) + nbytes == block.nbytes:
            dtype = spec.dtype
            return np.ndarray(
                spec.shape,
                dtype if dtype.names is None else last.own_spec.dtype,
                block,
                lead + len(raw),
                None,
                "F" if spec.fortran_order else "C",
            )
        return self._other(block, lead, position, allow_pickle, pickle_kwargs, max_header_size)

    def _other(
        self,
        block: Any,
        lead: int,
        position: int,
        allow_pickle: bool,
        pickle_kwargs: Mapping[str, Any] | None,
        max_header_size: int,
    ) -> npt.NDArray[Any] | bytes:
        """A member with another header than the last one's."""
        view: Any = memoryview(block)[lead:]
        if view[: len(MAGIC)] != MAGIC:
            return bytes(view)
        header = None
        try:
            header = self._header(bytes(view[:12]), view, len(view), max_header_size)
            if header is not None and header.plain and header.spec.dtype.itemsize:
                array = self._view(header, block, lead)
                if not header.warns:
                    self._last = header
                return array
            if header is not None:
                check_payload(header, len(view), self.limits.strict)
            if header is None or not (header.spec.dtype.hasobject and allow_pickle):
                return read_array(view, allow_pickle, pickle_kwargs, max_header_size)
        except ValueError as exc:
            if not is_malformed(exc):
                raise
            code = "pickle" if header is not None and header.spec.dtype.hasobject else None
            raise self._bad_npy(exc, position, code) from exc
        # What unpickling raises is the user's own, and stays as it is.
        return read_array(view, allow_pickle, pickle_kwargs, max_header_size)

    def _view(self, header: Header, block: Any, lead: int) -> npt.NDArray[Any]:
        """The array whose header stands in the block at `lead`, without a copy."""
        check_payload(header, block.nbytes - lead, self.limits.strict)
        spec = header.own_spec
        at = lead + header.offset
        if at % ALIGN:  # the guess was wrong: move the payload to where it is aligned
            aligned: Any = _core.Block(header.nbytes)
            memoryview(aligned)[:] = memoryview(block)[at : at + header.nbytes]
            block, at = aligned, 0
        order: Literal["F", "C"] = "F" if spec.fortran_order else "C"
        return np.ndarray(spec.shape, spec.dtype, block, at, None, order)

    def _header(self, front: bytes, data: Any, size: int, max_header_size: int) -> Header | None:
        """The header of a member of `size` bytes, of which `data` has the beginning."""
        length = check_length(front, size, max_header_size)
        if length is None:
            return None
        return HEADERS.understand(bytes(data[:length]), max_header_size)

    def header(self, position: int, max_header_size: int = 10000) -> Header | None:
        """What the member's .npy header says; None if it is no .npy file.

        Only the front of the member is read, so neither CRC nor payload is verified."""
        size = self.directory.row(position)[1]
        front = self._front(position, FRONT)
        length = header_length(front)
        if length is not None and len(front) < length <= min(size, max_header_size + 12):
            front = self._front(position, length)
        return self.header_in(front, position, max_header_size)

    def header_in(self, data: Any, position: int, max_header_size: int) -> Header | None:
        """The same, of a member whose first bytes these are."""
        size = self.directory.row(position)[1]
        try:
            header = self._header(bytes(data[:12]), data, size, max_header_size)
            if header is not None:
                check_payload(header, size, self.limits.strict)
        except ValueError as exc:
            if not is_malformed(exc):
                raise
            raise self._bad_npy(exc, position) from exc
        return header

    def _front(self, position: int, n: int) -> bytes:
        front = _core.read_front(self.source, self.directory, position, n)
        if isinstance(front, int):
            if front not in FOREIGN:
                raise self.index.error(front, position)
            front = b""
            for data in self.pieces(position, piece=_FRONT_PIECE):
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

    def mapped(
        self, position: int, mode: Literal["r", "c"], max_header_size: int
    ) -> npt.NDArray[Any] | None:
        """A view of a stored array where it lies in the file; None for what only NumPy's reader
        makes an array of, and for what is none.

        Nothing but the header is read now, so the CRC isn't verified."""
        header = self.header(position, max_header_size)
        if header is None or not header.plain or not header.nbytes:
            return None
        if not self.is_plain(position):
            name = self.index.name(position)
            what = "deflated" if self.directory.row(position)[2] == 8 else "compressed or encrypted"
            raise errors.refusal(
                "mmap_deflated",
                f"{errors.place(self.index.where, name)}: a {what} member can't be mapped; write "
                "the archive with numpy.savez, or load it without mmap_mode [mmap_deflated]",
                self.index.where,
                name,
            )
        spec = header.own_spec
        order: Literal["F", "C"] = "F" if spec.fortran_order else "C"
        offset = self.data_offset(position) + header.offset
        if self.opened.memory is not None:
            memory = memoryview(self.opened.memory).cast("B").toreadonly()
            view: npt.NDArray[Any] = np.ndarray(spec.shape, spec.dtype, memory, offset, None, order)
            return view if mode == "r" else view.copy(order="K")
        if mode == "c":
            mapped = self._map(mode, spec, order, offset, header.nbytes)
            if mapped is None:
                raise self.index.error(_SHORT_READ, position)
            return mapped
        mapped = self._mapped
        if mapped is None:  # one for all: each holds a descriptor for as long as it lives
            size = self.source.size
            whole = ArraySpec(np.dtype("u1"), (size,), False)
            mapped = self._mapped = self._map(mode, whole, "C", 0, size)
        if mapped is None:
            raise self.index.error(_SHORT_READ, position)
        flat = mapped[offset : offset + header.nbytes]
        return flat.view(spec.dtype).reshape(spec.shape, order=order)

    def _map(
        self,
        mode: Literal["r", "c"],
        spec: ArraySpec,
        order: Literal["F", "C"],
        offset: int,
        nbytes: int,
    ) -> npt.NDArray[Any] | None:
        """None if the file has become shorter than that."""
        part = self.opened.part(0, self.source.size, "mapped").source  # nobody else closes this one
        with os.fdopen(os.dup(part.fileno()), "rb") as file:
            part.close()
            if os.fstat(file.fileno()).st_size < part.start + offset + nbytes:
                return None
            mapped: npt.NDArray[Any] = np.memmap(
                file, spec.dtype, mode, part.start + offset, spec.shape, order
            )
        return mapped

    def close(self) -> None:
        """Close the source; views of it stay."""
        self._mapped = None
        self.source.close()

    def _bad_npy(self, exc: ValueError, position: int, code: str | None = None) -> ValueError:
        """NumPy's words first, then where."""
        name = self.index.name(position)
        code = code or str(getattr(exc, "code", "npy_header"))
        located: ValueError = errors.refusal(
            code,
            f"{exc} [{errors.place(self.index.where, name)}]",
            self.index.where,
            name,
            self.directory.row(position)[0],
        )
        return located
