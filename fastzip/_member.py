"""One member of an archive: its bytes, its array, or what its .npy header says."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
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
from fastzip._sources import Opened
from fastzip.index import NO_LIMITS, Index, Limits

ALIGN: Final = 64
_LARGE: Final = 16 << 20
"""Bytes: of larger members the header is looked at before memory is taken for all of them."""
OTHER_HEADER: Final = _core.STATUS_CODES.index("other_header")
_MEMORY: Final = _core.STATUS_CODES.index("memory")
_SHORT_READ: Final = _core.STATUS_CODES.index("short_read")
_DEFLATE: Final = _core.STATUS_CODES.index("deflate")
_TRUNCATED: Final = _core.STATUS_CODES.index("truncated_stream")
_TOO_SHORT: Final = _core.STATUS_CODES.index("too_short_stream")
_TOO_LONG: Final = _core.STATUS_CODES.index("too_long")
_TRAILING: Final = _core.STATUS_CODES.index("trailing_data")
_CRC: Final = _core.STATUS_CODES.index("crc")
_PIECE: Final = 1 << 20
NOT_NATIVE: Final[set[int]] = set()
NO_HEADER: Final = Header(b"\0", ArraySpec(np.dtype("u1"), (), False), False, 0, 0)


class Reader:
    """Reads single members. Safe to use from many threads at once."""

    def __init__(self, opened: Opened, verify: bool = True, limits: Limits = NO_LIMITS) -> None:
        self.opened = opened
        self.source = opened.source
        self.verify = verify
        self.limits = limits.checked()
        self.index = Index(opened, self.limits)
        self.directory = self.index.directory
        self._last = NO_HEADER
        self._mapped: npt.NDArray[Any] | None = None

    def _read(self, position: int, lead: int, most: int = (1 << 64) - 1) -> _core.Block | int:
        try:
            return _core.read_member(self.source, self.directory, position, lead, self.verify, most)
        except MemoryError:
            return _MEMORY

    def check(self, position: int, pwd: bytes | None = None) -> None:
        """Raise what is wrong with the member, as far as its headers tell."""
        self.data_offset(position)

    def data_into(self, position: int, out: Any, pwd: bytes | None = None) -> None:
        """The member's bytes, verified, into memory of just that size."""
        if not out.nbytes:
            self.data(position, pwd)
            return
        status = np.empty(1, np.int32)
        rows = np.frombuffer(out, np.uint8).reshape(1, -1)
        _core.fetch(
            self.source,
            self.directory,
            np.array([position]),
            None,
            rows,
            b"",
            1,
            self.verify,
            status,
        )
        if status[0]:
            raise self.index.error(int(status[0]), position)

    def pieces(self, position: int, pwd: bytes | None = None) -> Iterator[bytes]:
        """The member's bytes piece by piece, for members that are too large to be held at once.

        The last piece comes when the whole has been verified."""
        where = self.data_offset(position)
        row = self.index.rows[position]
        size, left, method = int(row["size"]), int(row["compressed_size"]), int(row["method"])
        engine = zlib.decompressobj(-15) if method else None
        crc, made, waiting = 0, 0, b""
        while True:
            if engine is None or not engine.unconsumed_tail:
                n = min(left, _PIECE)
                raw = self.index.read(where, n)
                where += n
                left -= n
            else:
                raw = engine.unconsumed_tail
            try:
                piece = raw if engine is None else engine.decompress(raw, _PIECE)
            except zlib.error:
                raise self.index.error(_DEFLATE, position) from None
            made += len(piece)
            if made > size:
                raise self.index.error(_TOO_LONG, position)
            if self.verify:
                crc = zlib.crc32(piece, crc)
            if waiting and piece:
                yield waiting
            waiting = piece or waiting
            ended = not left if engine is None else engine.eof
            if ended or (not left and not piece):
                break
        if engine is not None and (engine.unused_data or left):
            raise self.index.error(_TRAILING, position)
        if not ended:
            raise self.index.error(_TRUNCATED, position)
        if made < size:
            raise self.index.error(_TOO_SHORT, position)
        if self.verify and crc != int(row["crc"]):
            raise self.index.error(_CRC, position)
        yield waiting

    def data(self, position: int, pwd: bytes | None = None) -> bytes:
        """The member's bytes, verified."""
        block: Any = self._read(position, 0)
        if isinstance(block, int):
            raise self.index.error(block, position)
        return bytes(block)

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
        block: Any = self._read(position, lead, _LARGE)
        if isinstance(block, int) and block == OTHER_HEADER:
            self.header(position, max_header_size)  # may it be read at all?
            block = self._read(position, lead)
        if isinstance(block, int):
            raise self.index.error(block, position)
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
        try:
            header = self._header(front, front, size, max_header_size)
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
            raise self.index.error(front, position)
        if len(front) < min(n, self.directory.row(position)[1]):
            return self.data(position)[:n]  # a stream that takes long to begin
        return front

    def data_offset(self, position: int) -> int:
        """Where in the source a member's data begin."""
        status, offset = _core.data_offset(self.source, self.directory, position)
        if status:
            raise self.index.error(status, position)
        return offset

    def mapped(
        self, position: int, mode: Literal["r", "c"], max_header_size: int
    ) -> npt.NDArray[Any] | None:
        """A view of a stored array where it lies in the file; None for what only NumPy's reader
        makes an array of, and for what is none.

        Nothing but the header is read now, so the CRC isn't verified."""
        header = self.header(position, max_header_size)
        if header is None or not header.plain or not header.nbytes:
            return None
        if self.directory.row(position)[2] != 0:
            name = self.index.name(position)
            raise errors.refusal(
                "mmap_deflated",
                f"{errors.place(self.index.where, name)}: a deflated member can't be mapped; write "
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
