"""A caller's memory that bytes are to be written to: what must not be overwritten is refused.

Bytes that are written over references to Python objects, or over addresses, end the process when
somebody follows them. An archive that lies in the same memory would change while it is read.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip._signals import let_pass

# PEP 3118, and ctypes: objects, pointers, functions, text by its address. Z is wide text, unless it
# says what a complex number is made of; what stands between colons is the name of a field.
_REFERENCES: Final = re.compile(r"[OPXz&]|Z(?![fdg])")
_FIELD_NAMES: Final = re.compile(r":[^:]*:")
_ADDRESSES: Final = frozenset("OPXzZ")
_SIMPLE: Final = ctypes.c_int.__mro__[1]  # _SimpleCData, which the others are made of
_CTYPES: Final = (ctypes.Structure, ctypes.Union, ctypes.Array, _SIMPLE)


def writable(out: Any) -> memoryview:
    """The bytes of a caller's buffer, if they may be overwritten."""
    check_buffer(out)
    view = memoryview(out)
    if view.readonly:
        raise TypeError("out is read-only")
    return view.cast("B") if view.nbytes else memoryview(bytearray())  # some can't be cast then


def check_buffer(out: Any) -> None:
    """What `refuse_references` does, for anything that has a buffer."""
    if type(out) is not bytearray:
        refuse_references(out if isinstance(out, np.ndarray) else memoryview(out))


def refuse_references(out: Any) -> None:
    """TypeError if the memory of this array or view holds Python objects, or addresses: of itself,
    or of what it shows as if these were numbers."""
    while isinstance(out, (np.ndarray, memoryview)):
        if isinstance(out, memoryview):
            if out.format != "B" and _REFERENCES.search(_FIELD_NAMES.sub(" ", out.format)):
                raise _refusal(f"a buffer of format {out.format!r}")
            out = out.obj
            continue
        if out.dtype.hasobject or out.dtype.kind == "T":  # NumPy's texts of any length
            raise _refusal(f"an array of {out.dtype}")
        while isinstance(out, np.ndarray):  # a field of numbers beside one of objects is harmless
            out = out.base
    if out is not None and isinstance(out, _CTYPES) and _has_addresses(type(out)):
        raise _refusal(f"a {type(out).__name__}")


def _has_addresses(kind: Any) -> bool:
    """Does a type of ctypes hold any? The formats of unions and of packed structures don't say."""
    if issubclass(kind, ctypes.Array):
        return _has_addresses(kind._type_)
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        own = [cls.__dict__.get("_fields_", ()) for cls in kind.__mro__]
        return any(_has_addresses(field[1]) for fields in own for field in fields)
    return not issubclass(kind, _SIMPLE) or kind._type_ in _ADDRESSES


def _refusal(what: str) -> TypeError:
    return TypeError(
        f"out is {what}: reading into it would overwrite references to objects, or addresses"
    )


class BufferedFile(io.BufferedReader):
    """A buffered reader that looks at what it reads into, as the interpreter's own doesn't."""

    def readinto(self, buffer: Any, /) -> int:
        check_buffer(buffer)
        return super().readinto(buffer)

    def readinto1(self, buffer: Any, /) -> int:
        check_buffer(buffer)
        return super().readinto1(buffer)


def check_separate(out: npt.NDArray[Any] | memoryview, opened: Any) -> None:
    """ValueError if this array or view of bytes is in the archive's memory, which would change
    while it is read.

    Of memory that is mapped from the archive's own file only a `numpy.memmap` says so."""
    memory = opened.memory if opened.around is None else opened.around
    if memory is not None:
        if type(memory) is not bytes:
            array = out if isinstance(out, np.ndarray) else np.frombuffer(out, np.uint8)
            if np.may_share_memory(array, np.frombuffer(memory, np.uint8)):
                raise ValueError(f"out shares memory with the archive {opened.where}")
        return
    base: Any = out
    while isinstance(base, (np.ndarray, memoryview)):
        if isinstance(base, np.memmap) and base.mode in ("r+", "w+") and _is_file(base, opened):
            raise ValueError(f"out is mapped from the archive's own file, {opened.where}")
        base = base.obj if isinstance(base, memoryview) else base.base


def _is_file(mapped: np.memmap[Any, Any], opened: Any) -> bool:
    try:
        theirs = opened.source.stat()
        return (
            mapped.filename is not None
            and theirs is not None
            and os.path.samestat(os.stat(mapped.filename), theirs)
        )
    except OSError as exc:
        let_pass(exc)
        return False
