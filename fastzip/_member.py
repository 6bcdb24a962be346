"""One member of an archive: its bytes, its array, or what its .npy header says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._npy import FRONT, MAGIC, ArraySpec, Header, HeaderCache, header_length, read_array
from fastzip._sources import Opened
from fastzip.index import Index

ALIGN: Final = 64
NO_HEADER: Final = Header(b"\0", ArraySpec(np.dtype("u1"), (), False), False, 0, 0)


class Reader:
    """Reads single members. Safe to use from many threads at once."""

    def __init__(self, opened: Opened, verify: bool = True) -> None:
        self.opened = opened
        self.source = opened.source
        self.verify = verify
        self.index = Index(opened)
        self.directory = self.index.directory
        self.headers = HeaderCache()
        self._last = NO_HEADER

    def data(self, position: int) -> bytes:
        """The member's bytes, verified."""
        block: Any = _core.read_member(self.source, self.directory, position, 0, self.verify)
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
        block: Any = _core.read_member(self.source, self.directory, position, lead, self.verify)
        if isinstance(block, int):
            raise self.index.error(block, position)
        raw, spec, plain, _, nbytes = last
        if plain and block.startswith(raw, lead) and lead + len(raw) + nbytes <= block.nbytes:
            return np.ndarray(
                spec.shape,
                spec.dtype,
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
        try:
            header = self._header(bytes(view[:12]), view, len(view), max_header_size)
            if header is not None and header.plain and header.spec.dtype.itemsize:
                array = self._view(header, block, lead)
                self._last = header
                return array
            if header is None or not (header.spec.dtype.hasobject and allow_pickle):
                return read_array(view, allow_pickle, pickle_kwargs, max_header_size)
        except ValueError as exc:
            raise self._bad_npy(exc, position) from exc
        # What unpickling raises is the user's own, and stays as it is.
        return read_array(view, allow_pickle, pickle_kwargs, max_header_size)

    def _view(self, header: Header, block: Any, lead: int) -> npt.NDArray[Any]:
        """The array whose header stands in the block at `lead`, without a copy."""
        self._check_payload(header, block.nbytes - lead)
        spec = header.spec
        at = lead + header.offset
        if at % ALIGN:  # the guess was wrong: move the payload to where it is aligned
            aligned: Any = _core.Block(header.nbytes)
            memoryview(aligned)[:] = memoryview(block)[at : at + header.nbytes]
            block, at = aligned, 0
        order: Literal["F", "C"] = "F" if spec.fortran_order else "C"
        return np.ndarray(spec.shape, spec.dtype, block, at, None, order)

    def _header(self, front: bytes, data: Any, size: int, max_header_size: int) -> Header | None:
        """The header of a member of `size` bytes, of which `data` has the beginning."""
        length = header_length(front)
        if length is None:
            return None
        if length - 12 > max_header_size:
            raise ValueError(
                f"Header info length ({length}) is large and may not be safe to load securely.\n"
                "To allow loading, adjust `max_header_size` or fully trust the `.npy` file using "
                "`allow_pickle=True`."
            )
        if length > size:
            raise ValueError(f"EOF: reading array header, expected {length} bytes got {size}")
        return self.headers.understand(bytes(data[:length]), max_header_size)

    def _check_payload(self, header: Header, size: int) -> None:
        if header.nbytes > size - header.offset:
            got = (size - header.offset) // header.spec.dtype.itemsize
            shape = ",".join(map(str, header.spec.shape))
            raise ValueError(
                "Failed to read all data for array. "
                f"Expected ({shape}) = {header.elements} elements, could only read {got} elements. "
                "(file seems not fully written?)"
            )

    def header(self, position: int, max_header_size: int = 10000) -> Header | None:
        """What the member's .npy header says; None if it is no .npy file.

        Only the front of the member is read, so neither CRC nor payload is verified."""
        size = int(self.index.rows[position]["size"])
        front = self._front(position, FRONT)
        length = header_length(front)
        if length is not None and len(front) < length <= min(size, max_header_size + 12):
            front = self._front(position, length)
        try:
            header = self._header(front, front, size, max_header_size)
            if header is not None and header.plain:
                self._check_payload(header, size)
        except ValueError as exc:
            raise self._bad_npy(exc, position) from exc
        return header

    def _front(self, position: int, n: int) -> bytes:
        front = _core.read_front(self.source, self.directory, position, n)
        if isinstance(front, int):
            raise self.index.error(front, position)
        if len(front) < min(n, int(self.index.rows[position]["size"])):
            return self.data(position)[:n]  # a stream that takes long to begin
        return front

    def _bad_npy(self, exc: ValueError, position: int) -> ValueError:
        """NumPy's words first, then where."""
        name = self.index.name(position)
        located: ValueError = errors.locate(
            ValueError(f"{exc} [{errors.place(self.index.where, name)}]"),
            "npy",
            self.index.where,
            name,
            int(self.index.rows[position]["header_offset"]),
        )
        return located
