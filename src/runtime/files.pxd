"""Extracted members to files: what a thread of the pool does with eight of them. See files.h."""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t
from runtime.pool cimport pool_stopped
from runtime.status cimport INTERRUPTED, OK

cdef extern from "runtime/files.h" nogil:
    ctypedef struct file_job:
        int folder
        const char *name
        const uint8_t *data
        size_t size
    int file_write(const file_job *job, unsigned long long salt, unsigned long long serial)

cdef struct Writing:
    const file_job *jobs
    size_t n
    unsigned long long salt, serial
    int32_t *statuses


cdef inline void write_group(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work: eight files."""
    cdef Writing *w = <Writing *>arg
    cdef size_t i
    for i in range(8 * group, 8 * group + 8 if 8 * group + 8 < w.n else w.n):
        if w.statuses[i] != OK:
            continue
        w.statuses[i] = INTERRUPTED if pool_stopped(False) else file_write(w.jobs + i, w.salt, w.serial + i)
