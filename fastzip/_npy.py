"""From the header of an .npy file to dtype, shape, order and the payload's offset.

NumPy's own readers understand the header; what they found is kept by the header's bytes, since the
members of an archive mostly share a few headers. The format is that of NEP 1.
"""

from __future__ import annotations

import ast
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

__all__ = ["ArraySpec", "Header", "HeaderCache"]

MAGIC: Final = b"\x93NUMPY"
FRONT: Final = 512
"""Bytes that hold most headers; NumPy pads them to multiples of 64, and 128 is the usual size."""
_KEPT: Final = 1024
_KEPT_SIZE: Final = 65536
"""So many headers are kept, of at most so many bytes."""


class ArraySpec(NamedTuple):
    """What an .npy header says of its array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool


class Header(NamedTuple):
    """A header, understood."""

    raw: bytes
    """The bytes, from the magic to the payload."""
    spec: ArraySpec
    plain: bool
    """Can the payload be taken as the array's memory? Not so for objects (pickled) and for dtypes
    that only NumPy's reader knows what to do with."""
    elements: int
    nbytes: int
    """Elements and bytes of the payload, by the header."""

    @property
    def offset(self) -> int:
        return len(self.raw)


def header_length(front: bytes) -> int | None:
    """How long is the header that begins here? None: this is no .npy file."""
    if len(front) < 10 or not front.startswith(MAGIC):
        return None
    if front[6] == 1:
        return 10 + int.from_bytes(front[8:10], "little")
    if len(front) < 12:
        return None
    return 12 + int.from_bytes(front[8:12], "little")


def _read_version_3(raw: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Version 3.0 is 2.0 in UTF-8; NumPy has no public reader for it."""
    fields = ast.literal_eval(raw[12:].decode("utf-8"))
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"Header does not contain the correct keys: {raw[12:]!r}")
    shape, fortran_order = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or not all(isinstance(x, int) for x in shape):
        raise ValueError(f"shape is not valid: {shape!r}")
    if not isinstance(fortran_order, bool):
        raise ValueError(f"fortran_order is not a valid bool: {fortran_order!r}")
    return shape, fortran_order, npy_format.descr_to_dtype(fields["descr"])


def parse(raw: bytes, max_header_size: int) -> Header:
    """Understand a whole header; ValueError, in NumPy's words, if it can't be.

    Never evaluates anything: NumPy's reader and this one parse literals only."""
    file = io.BytesIO(raw)
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"we only support format version (1,0), (2,0), and (3,0), not {version}")
    try:
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file, max_header_size)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(file, max_header_size)
        else:
            shape, fortran, dtype = _read_version_3(raw)
    except ValueError:
        raise
    except Exception as exc:
        # A hostile header makes the parser of literals fail in many ways (SyntaxError, TokenError,
        # RecursionError, MemoryError, …); all mean the same.
        raise ValueError(f"Cannot parse header: {raw[:100]!r}: {type(exc).__name__}") from exc
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"shape is not valid: {shape!r}")
    if dtype.itemsize < 0:  # NumPy 1.26 lets '|S4294967295' wrap
        raise ValueError(f"descr is not a valid dtype descriptor: {dtype!r}")
    elements = math.prod(shape)
    # Kind "T" is StringDType, whose payload isn't the array's memory.
    plain = not dtype.hasobject and dtype.subdtype is None and dtype.kind != "T"
    return Header(
        raw,
        ArraySpec(dtype, tuple(shape), bool(fortran)),
        plain,
        elements,
        elements * dtype.itemsize,
    )


class HeaderCache:
    """Headers seen before, by their bytes. Safe to use from many threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, Header] = OrderedDict()
        self._lock = threading.Lock()

    def understand(self, raw: bytes, max_header_size: int) -> Header:
        """The header with these bytes."""
        header = self._seen.get(raw)
        if header is None:
            header = parse(raw, max_header_size)
            if len(raw) > _KEPT_SIZE:
                return header
            with self._lock:
                if len(self._seen) >= _KEPT:
                    self._seen.popitem(last=False)
                self._seen[raw] = header
        return header


def read_array(
    data: Any, allow_pickle: bool, pickle_kwargs: Mapping[str, Any] | None, max_header_size: int
) -> npt.NDArray[Any]:
    """NumPy's own reader, for what isn't plain: objects, odd dtypes, the errors they deserve."""
    array: npt.NDArray[Any] = npy_format.read_array(
        io.BytesIO(data),
        allow_pickle=allow_pickle,
        pickle_kwargs=None if pickle_kwargs is None else dict(pickle_kwargs),
        max_header_size=max_header_size,
    )
    return array
