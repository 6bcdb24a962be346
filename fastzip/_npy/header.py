"""From the header of an .npy file to dtype, shape, order and the payload's offset.

NumPy's own readers understand the header; what they found is kept by the header's bytes, since the
members of an archive mostly share a few headers. The format is that of NEP 1.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import re
import tokenize
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from fastzip._signals import from_handler, let_pass

__all__ = ["ArraySpec", "BadNpyError", "Header", "HeaderCache"]

MAGIC: Final = b"\x93NUMPY"
FRONT: Final = 512
"""Bytes that hold most headers; NumPy pads them to multiples of 64, and 128 is the usual size."""
_KEPT: Final = 1024
_KEPT_SIZE: Final = 4096
"""So many headers are kept, of at most so many bytes."""
_LONG: Final = re.compile(rb"[0-9]L\s*[,)]")


# A hostile header makes the parser of literals fail in many ways; all mean the same. Not every
# exception is one of them: a signal's handler may raise its own here.
_PARSING: Final = (
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    AssertionError,
)


class BadNpyError(ValueError):
    """What is wrong with an .npy file, in NumPy's words where it has some."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class ArraySpec(NamedTuple):
    """What an .npy header says of its array.

    Parameters
    ----------
    dtype : numpy.dtype
        As it is stored, in either byte order.
    shape : tuple of int
        The length of each axis; ``()`` for a single number.
    fortran_order : bool
        Whether the first axis varies fastest in the file.

    Examples
    --------
    >>> import numpy as np, fastzip
    >>> spec = fastzip.ArraySpec(np.dtype("u1"), (220, 400), False)
    >>> spec.shape, spec.dtype.itemsize
    ((220, 400), 1)
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool


def has_titles(dtype: np.dtype[Any]) -> bool:
    """Has any field, at any level, a title beside its name?"""
    if dtype.subdtype is not None:
        return has_titles(dtype.subdtype[0])
    fields = dtype.fields
    return fields is not None and any(len(f) > 2 or has_titles(f[0]) for f in fields.values())


def is_native(dtype: np.dtype[Any]) -> bool:
    """Is all of it in the machine's byte order? NumPy's own answer leaves out sub-array fields."""
    if dtype.subdtype is not None:
        return is_native(dtype.subdtype[0])
    if dtype.fields is not None:
        return all(is_native(f[0]) for f in dtype.fields.values())
    return dtype.isnative


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same in the machine's byte order."""
    return dtype if is_native(dtype) else dtype.newbyteorder("=")


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
    def immutable(self) -> bool:
        """Can arrays share the dtype? The names of a structured one can be assigned to."""
        return self.spec.dtype.names is None and self.spec.dtype.subdtype is None

    @property
    def own_spec(self) -> ArraySpec:
        """The spec, for somebody else to keep: with a dtype that nobody else has."""
        dtype = self.spec.dtype
        if self.immutable:
            return self.spec
        # newbyteorder copies all levels in 0.5 µs, but drops titles; a pickle takes 36.
        copy = pickle.loads(pickle.dumps(dtype)) if has_titles(dtype) else dtype.newbyteorder("|")
        return self.spec._replace(dtype=copy)

    @property
    def offset(self) -> int:
        return len(self.raw)

    @property
    def warns(self) -> bool:
        """Did Python 2 write it, with 3L for 3? NumPy's parser warns of that each time."""
        return _LONG.search(self.raw) is not None

    @property
    def sized(self) -> bool:
        """Does the payload take `nbytes`? Not so if it is pickled, or StringDType's."""
        return not self.spec.dtype.hasobject and self.spec.dtype.kind != "T"


def is_malformed(exc: ValueError) -> bool:
    """Does it come from reading a header or an array? A signal's handler may raise its own."""
    ours = type(exc) in (ValueError, BadNpyError) or isinstance(exc, UnicodeError)
    return ours and not from_handler(exc)


def header_length(front: bytes) -> int | None:
    """How long is the header that begins here? None: this is no .npy file."""
    if len(front) < 10 or not front.startswith(MAGIC):
        return None
    if front[6] == 1:
        return 10 + int.from_bytes(front[8:10], "little")
    if len(front) < 12:
        return None
    return 12 + int.from_bytes(front[8:12], "little")


def check_length(front: bytes, size: int, max_header_size: int) -> int | None:
    """`header_length`, but nobody reads a header because of the length that it claims."""
    length = header_length(front)
    if length is None:
        return None
    said = length - (10 if front[6] == 1 else 12)
    if length > size:
        raise BadNpyError(
            "npy_header",
            f"EOF: reading array header, expected {said} bytes got {size - length + said}",
        )
    if said > max_header_size:
        raise BadNpyError(
            "max_header_size",
            f"Header info length ({said}) is large and may not be safe to load securely.\n"
            "To allow loading, adjust `max_header_size` or fully trust the `.npy` file using "
            "`allow_pickle=True`.",
        )
    return length


def check_payload(header: Header, size: int, strict: bool) -> None:
    """Does a file of `size` bytes hold the array? Strictly, and nothing else?"""
    left = size - header.offset
    if not header.sized:
        return
    if header.nbytes > left:
        got = left // header.spec.dtype.itemsize
        shape = ",".join(map(str, header.spec.shape))
        raise BadNpyError(
            "npy_data",
            "Failed to read all data for array. "
            f"Expected ({shape}) = {header.elements} elements, could only read {got} elements. "
            "(file seems not fully written?)",
        )
    if strict and header.nbytes < left:
        raise BadNpyError(
            "npy_trailing",
            f"{left - header.nbytes:,} bytes stand behind the array, which strict=True refuses",
        )


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
    except _PARSING as exc:
        let_pass(exc)
        raise ValueError(f"Cannot parse header: {raw[:100]!r}: {type(exc).__name__}") from exc
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"shape is not valid: {shape!r}")
    if dtype.itemsize < 0:  # NumPy 1.26 lets '|S4294967295' wrap
        raise ValueError(f"descr is not a valid dtype descriptor: {dtype!r}")
    try:
        np.broadcast_to(np.empty((), "V1"), shape)  # takes no memory
        too_large = math.prod(n for n in shape if n) * max(1, dtype.itemsize) >= 1 << 63
    except (ValueError, OverflowError) as exc:
        let_pass(exc)
        too_large = True
    if too_large:
        raise ValueError(f"shape is not valid: {shape!r}, of {dtype}, is more than NumPy can hold")
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
    """Headers seen before, by their bytes.

    Safe to use from many threads, in a forked child and from a signal's handler, since there is no
    lock: each step on the dictionary is atomic, and two threads may parse the same header."""

    def __init__(self) -> None:
        self._seen: dict[bytes, Header] = {}

    def understand(self, raw: bytes, max_header_size: int) -> Header:
        """The header with these bytes."""
        header = self._seen.get(raw)
        if header is None:
            header = parse(raw, max_header_size)
            if len(raw) <= _KEPT_SIZE and not header.warns:
                if len(self._seen) >= _KEPT:
                    self._seen.clear()
                self._seen[raw] = header
        return header


HEADERS: Final = HeaderCache()
"""For all archives of the process: people keep a small archive for each sample, all alike, and
NumPy's parser takes longer than the rest of reading one: 1.5 times np.load without this, 5 with."""


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
