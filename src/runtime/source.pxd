"""Where an archive's bytes come from, behind one narrow call: fill this range.

A source is a file descriptor, read with pread and so without a file position that threads and forked
processes would share, or a range of memory. Never mmap: a file that is cut short while it is mapped
kills the process.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy
from runtime.pool cimport pool_stopped
from runtime.status cimport INTERRUPTED, OK, SHORT_READ

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/syscall.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <unistd.h>
    /* By number, since musl has had preadv2 for a short while only. RWF_NOWAIT is 8. */
    static inline ssize_t fz_read_cached(int fd, const struct iovec *iov, long offset) {
        return syscall(SYS_preadv2, fd, iov, 1, offset, 0L, 8);
    }
    static inline void fz_will_need(int fd, long offset, long n) {
        (void)posix_fadvise(fd, offset, n, POSIX_FADV_WILLNEED);
    }
    """
    ssize_t fz_read_cached(int fd, const iovec *iov, long offset) nogil
    void fz_will_need(int fd, long offset, long n) nogil
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t pread(int fd, void *buf, size_t n, long offset) nogil
    ssize_t preadv(int fd, const iovec *iov, int count, long offset) nogil

cdef enum:
    READ_LIMIT = 16 << 20        # bytes between two looks at the stop flag, and far below the
                                 # 0x7ffff000 that one pread returns at most

cdef struct Bytes:               # the source
    int fd                       # -1: memory
    const uint8_t *base
    uint64_t start               # of the source in its file: an archive may lie inside another one
    uint64_t size


cdef inline int fill(const Bytes *s, void *out, uint64_t offset, size_t n) noexcept nogil:
    """Read exactly n bytes, or say SHORT_READ, INTERRUPTED, or a negated errno."""
    cdef uint8_t *to = <uint8_t *>out
    cdef ssize_t got
    if offset > s.size or n > s.size - offset:
        return SHORT_READ
    if s.fd < 0:
        memcpy(to, s.base + offset, n)
        return OK
    while n:
        got = pread(s.fd, to, n if n < READ_LIMIT else READ_LIMIT, <long>(s.start + offset))
        if got > 0:
            to += got
            offset += <uint64_t>got
            n -= <size_t>got
            if n == 0:
                break
        elif got == 0:
            return SHORT_READ    # the file has become shorter since it was opened
        elif errno != EINTR:
            return -errno
        if pool_stopped(False):
            return INTERRUPTED
    return OK


cdef inline int fill_two(const Bytes *s, void *first, size_t n1, void *second, size_t n2,
                         uint64_t offset) noexcept nogil:
    """The same for a range that goes to two places: a header here, its payload there."""
    cdef iovec parts[2]
    cdef ssize_t got
    cdef int status
    if offset > s.size or n1 > s.size - offset or n2 > s.size - offset - n1:
        return SHORT_READ
    if s.fd >= 0 and n2 < READ_LIMIT and n1 < READ_LIMIT:
        parts[0].iov_base, parts[0].iov_len = first, n1
        parts[1].iov_base, parts[1].iov_len = second, n2
        got = preadv(s.fd, parts, 2, <long>(s.start + offset))
        if got == <ssize_t>(n1 + n2):
            return OK            # else once more by the loops, which know why
    status = fill(s, first, offset, n1)
    return fill(s, second, offset + n1, n2) if status == OK else status


cdef inline bint is_cold(const Bytes *s, uint64_t offset) noexcept nogil:
    """Would a read from here wait for the disk? No, if the file system can't tell."""
    cdef uint8_t byte
    cdef iovec part
    part.iov_base, part.iov_len = &byte, 1
    if offset >= s.size:         # -1 would mean "from the file's position", and move it
        return False
    return s.fd >= 0 and fz_read_cached(s.fd, &part, <long>(s.start + offset)) < 0 and errno == EAGAIN


cdef inline void will_need(const Bytes *s, uint64_t offset, size_t n) noexcept nogil:
    """Have the system read ahead, without waiting for it."""
    if s.fd >= 0:
        fz_will_need(s.fd, <long>(s.start + offset), <long>n)
