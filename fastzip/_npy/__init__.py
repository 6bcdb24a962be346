"""Arrays in members: what a ``.npy`` header says, and one member as an array.

Headers are understood by NumPy's own reader and kept by their bytes. `ArrayReader` is a `Reader`
that gives arrays. `shapes_of` knows of each member what kind of header it has, once somebody
looked.
"""

from fastzip._npy.arrays import OTHER_HEADER, ArrayReader
from fastzip._npy.header import (
    MAGIC,
    ArraySpec,
    BadNpyError,
    Header,
    check_length,
    check_payload,
    header_length,
    is_malformed,
    is_native,
    native,
    parse,
)
from fastzip._npy.kinds import ODD, Kind, shapes_of

__all__ = [
    "ArrayReader",
    "ArraySpec",
    "BadNpyError",
    "Header",
    "Kind",
    "MAGIC",
    "ODD",
    "OTHER_HEADER",
    "check_length",
    "check_payload",
    "header_length",
    "is_malformed",
    "is_native",
    "native",
    "parse",
    "shapes_of",
]
