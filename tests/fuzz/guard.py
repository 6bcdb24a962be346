"""Memory that ends, or begins, exactly where a page begins that nobody may touch: one byte too far
ends the process, with or without sanitizers."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Guarded:
    """A piece of memory between two forbidden pages (PROT_NONE is 0)."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // PAGE) * PAGE
        self._map = mmap.mmap(-1, self.size + 2 * PAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + PAGE
        for page in (self._start - PAGE, self._start + self.size):
            if _libc.mprotect(page, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def space(self, n: int, at_end: bool = True) -> Any:
        """n bytes of it: the last ones, or the first."""
        if n > self.size:
            raise ValueError(f"{n} bytes of {self.size}")
        start = self._start + (self.size - n if at_end else 0)
        return (ctypes.c_ubyte * n).from_address(start)

    def hold(self, data: bytes, at_end: bool = True) -> Any:
        """The same, filled with these bytes."""
        space = self.space(len(data), at_end)
        ctypes.memmove(space, data, len(data))
        return space

    def prove(self) -> None:
        """Does a process that reads one byte too far, at either end, die of it?"""
        for address in (self._start - 1, self._start + self.size):
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a sanitizer's report
                ctypes.string_at(address, 1)
                os._exit(0)
            if os.waitpid(child, 0)[1] == 0:
                raise RuntimeError("the guard pages can be read")
