"""Padding: what stands in a row behind its member. Pure."""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from runtime.pool cimport pool_stopped

cdef enum:
    ROWS = 64                    # rows that a thread fills up at once

cdef struct Filling:
    uint8_t *out
    size_t n, row_bytes, unit
    const size_t *used
    const uint8_t *value
    bint one_byte                         # is the value the same byte throughout?


cdef inline void fill_group(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work: so many rows."""
    cdef Filling *f = <Filling *>arg
    cdef size_t i, left, done, end = ROWS * (group + 1)
    cdef uint8_t *p
    for i in range(ROWS * group, end if end < f.n else f.n):
        left = f.row_bytes - f.used[i]
        if left == 0 or pool_stopped(False):
            continue
        p = f.out + i * f.row_bytes + f.used[i]
        if f.one_byte:
            memset(p, f.value[0], left)
            continue
        memcpy(p, f.value, f.unit)
        done = f.unit
        while done < left:                # twice as much each time
            memcpy(p + done, p, done if done < left - done else left - done)
            done *= 2
