"""The memory of batches: new, or the caller's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastzip import _core
from fastzip._signals import let_pass
from fastzip._zip import Opened, check_separate, refuse_references


def rows_of_bytes(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same memory, a row of bytes for each element of the first axis."""
    if out.size == 0 or out.dtype.itemsize == 0:
        return np.empty((len(out), 0), np.uint8)
    if out.ndim == 1:
        return out[:, np.newaxis].view(np.uint8)
    return out.reshape(len(out), -1).view(np.uint8)


def new_batch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An uninitialised batch in the arena's memory: aligned, and warm if one was freed before."""
    nbytes = math.prod(shape) * dtype.itemsize
    _core.expect_batch(nbytes)
    block: Any = _core.Block(nbytes)
    return np.ndarray(shape, dtype, block)


def trim() -> int:
    """Give idle output memory back to the system.

    Batches and large arrays that were dropped leave at most 256 MiB (or two batches) behind for the
    next ones, since fresh memory is several times slower to fill.

    Returns
    -------
    int
        Bytes given back.

    Examples
    --------
    >>> import fastzip
    >>> fastzip.trim() >= 0
    True
    """
    return _core.trim_arena()


def check_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], opened: Opened
) -> npt.NDArray[Any]:
    """The caller's memory as an array, or what is wrong with it; nothing is written before."""
    refuse_references(out)
    if isinstance(out, np.ndarray):
        array = out
    else:
        try:
            array, again = np.asarray(out), np.asarray(out)
        except Exception as exc:  # CUDA tensors, tensors that require grad
            let_pass(exc)
            raise TypeError(f"out can't be used as an array: {exc}") from exc
        pointer = getattr(out, "data_ptr", None)
        copied = array.ctypes.data != again.ctypes.data if array.size else False
        if copied or (pointer is not None and array.size and pointer() != array.ctypes.data):
            raise TypeError(f"out is a {type(out).__name__}, which can't be written to as an array")
        refuse_references(array)
    if array.dtype != dtype or array.dtype.metadata != dtype.metadata:
        raise ValueError(f"out is of dtype {array.dtype}, and the members are {dtype}")
    if array.shape != shape:
        raise ValueError(f"out has the shape {array.shape}, and the batch {shape}")
    if not array.flags.writeable:
        raise ValueError("out is read-only")
    if array.size:
        row = array[0]
        if row.ndim and not row.flags.c_contiguous:
            raise ValueError(
                f"the rows of out must be C-contiguous; its strides are {array.strides}"
            )
        if len(array) > 1 and abs(array.strides[0]) < row.nbytes:
            raise ValueError(f"the rows of out overlap; its strides are {array.strides}")
        check_separate(array, opened)
    return array


def flat_bytes(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same memory as bytes; it must be contiguous."""
    return out.reshape(-1).view(np.uint8) if out.size else np.empty(0, np.uint8)


def new_piece(nbytes: int) -> npt.NDArray[np.uint8]:
    """Memory that members go through."""
    block: Any = _core.Block(nbytes)
    return np.frombuffer(block, np.uint8)
