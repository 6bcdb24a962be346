"""A job: one member, from its compressed bytes to its place. Inflate, verify, compare the header, deliver.

A job's output is one contiguous piece of memory, .npy header included.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy
from batch.kinds cimport Kind, is_kind
from inflate.engines cimport INTERLEAVED_ROOM, Engines, Scratch, Stream, whole
from runtime.pool cimport pool_stopped
from runtime.status cimport CRC, INTERRUPTED, OK, OTHER_HEADER

cdef enum:
    JOBS = 32                    # jobs that are read and inflated together, at most
    SLACK = INTERLEAVED_ROOM     # room beyond the ends, for the engines' fast loops
    SMALL = 8192                 # up to here a copy costs less than the engine's slow last bytes
    HEAD_MOST = 512              # longer headers aren't kept aside
    SLOW = 16 << 20              # members above this take a twentieth of a second or more
    QUICK = 64 << 10             # a group of members up to this size isn't stopped in between
    AT_MEMORY_SPEED = 64 << 20   # the same for what only reads or copies

cdef struct Job:
    Stream stream
    uint32_t crc
    bint verify
    const uint8_t *head          # the .npy header that the member must begin with …
    const Kind *kind             # … or, where that is NULL, what kind of a header
    size_t head_len
    uint8_t *row                 # where the bytes after it go, if they are not there already
    bint stored                  # nothing to inflate: the member stands at dst
    size_t at                    # whose job it is
    int32_t status


cdef inline void inflate_many(const Engines *e, Scratch *s, Job *jobs, size_t n) noexcept nogil:
    """Do the jobs in their order: a header may lie on the tail of the row that comes next."""
    cdef size_t i
    cdef Job *j
    for i in range(n):
        j = &jobs[i]
        if j.status != OK:
            continue
        if j.stream.dst_len > QUICK and pool_stopped(j.stream.dst_len > SLOW):
            j.status = INTERRUPTED
            continue
        if not j.stored:
            j.status = whole(e, s, &j.stream)
        if j.status == OK:
            j.status = deliver(e, j)


cdef inline int check_crc(const Engines *e, uint32_t crc, const uint8_t *p, size_t n,
                          uint32_t want) noexcept nogil:
    """Does `crc`, continued over these bytes, become `want`?"""
    while n > AT_MEMORY_SPEED:
        crc = e.crc(crc, p, AT_MEMORY_SPEED)
        p += AT_MEMORY_SPEED
        n -= AT_MEMORY_SPEED
        if pool_stopped(False):
            return INTERRUPTED
    return OK if e.crc(crc, p, n) == want else CRC


cdef inline bint begins_right(const Job *j, const uint8_t *p) noexcept nogil:
    """Does the member, whose header stands at p, begin with the header that is wanted?"""
    if j.head == NULL:
        return is_kind(j.kind, p, j.head_len, j.stream.dst_len)
    return memcmp(p, j.head, j.head_len) == 0


cdef inline int deliver(const Engines *e, Job *j) noexcept nogil:
    """The member stands at dst: verify it, and put its payload where it belongs.

    Stored members in memory stand in the archive itself, which somebody may be writing to: there the
    copy is what is verified."""
    cdef int status
    cdef uint8_t *payload = j.stream.dst + j.head_len
    cdef uint32_t crc
    if j.verify and not j.stored:
        status = check_crc(e, 0, j.stream.dst, j.stream.dst_len, j.crc)
        if status != OK:
            return status
    if j.verify and j.stored:
        crc = e.crc(0, j.stream.dst, j.head_len)
        status = move(j.row, payload, j.stream.dst_len - j.head_len)
        if status == OK:
            status = check_crc(e, crc, j.row, j.stream.dst_len - j.head_len, j.crc)
        if status != OK:
            return status
        payload = j.row
    if j.head_len and not begins_right(j, j.stream.dst):
        return OTHER_HEADER
    return move(j.row, payload, j.stream.dst_len - j.head_len)


cdef inline int move(uint8_t *to, const uint8_t *p, size_t n) noexcept nogil:
    """memcpy that can be stopped; nothing to do where it is there already."""
    if to == p:
        return OK
    while n > AT_MEMORY_SPEED:
        memcpy(to, p, AT_MEMORY_SPEED)
        to += AT_MEMORY_SPEED
        p += AT_MEMORY_SPEED
        n -= AT_MEMORY_SPEED
        if pool_stopped(False):
            return INTERRUPTED
    memcpy(to, p, n)
    return OK
