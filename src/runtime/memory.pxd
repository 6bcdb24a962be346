"""Cython's view of memory.h: the one place where the native core takes memory."""
from libc.stddef cimport size_t

cdef extern from "runtime/memory.h" nogil:
    void *memory_take(size_t size)
    void *memory_zeroed(size_t size)
    void memory_give(void *p)
    bint memory_refused()
    size_t memory_refuse(size_t nth)
