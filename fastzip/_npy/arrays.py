"""One member of an archive as an array, or what its .npy header says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._npy.header import (
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
from fastzip._signals import let_pass
from fastzip._zip import LARGE, MEMORY, Reader

ALIGN: Final = 64
OTHER_HEADER: Final = _core.STATUS_CODES.index("other_header")
_ANY: Final = (1 << 64) - 1
_SHORT_READ: Final = _core.STATUS_CODES.index("short_read")
NO_HEADER: Final = Header(b"\0", ArraySpec(np.dtype("u1"), (), False), False, 0, 0)


class ArrayReader(Reader):
    """Reads single members, and arrays. Safe to use from many threads at once."""

    _last: Header = NO_HEADER
    _mapped: npt.NDArray[Any] | None = None

    def _read(self, position: int, lead: int) -> _core.Block | int:
        try:
            return _core.read_member(self.source, self.directory, position, lead, self.verify, _ANY)
        except MemoryError as exc:
            let_pass(exc)
            return MEMORY

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
            block = MEMORY
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
        front = self.front(position, FRONT)
        length = header_length(front)
        if length is not None and len(front) < length <= min(size, max_header_size + 12):
            front = self.front(position, length)
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

    def close(self) -> None:
        """Close the source; views of it stay."""
        self._mapped = None
        super().close()
