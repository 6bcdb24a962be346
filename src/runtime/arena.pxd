"""Cython's view of arena.h: memory for large outputs, kept warm between uses."""
from libc.stddef cimport size_t

cdef extern from "runtime/arena.h" nogil:
    ctypedef struct arena_block:
        void *ptr
        size_t cap
        void *raw
    int arena_alloc(arena_block *block, size_t size)
    void arena_free(arena_block *block)
    void arena_expect(size_t size)
    size_t arena_trim()
    size_t arena_idle()
    int arena_init()
