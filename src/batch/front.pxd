"""A member's beginning: its first bytes, or where its data stand, without inflating all of it."""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport memcpy
from batch.jobs cimport HEAD_MOST
from batch.kinds cimport Kind, is_kind
from batch.members cimport (Batch, Span, check_header, fz_hint, learn_extra, look_up, read_spans,
    span_length)
from inflate.engines cimport Scratch, trim, zlib_ng_prefix
from runtime.pool cimport pool_stopped
from runtime.source cimport fill
from runtime.status cimport GAP, OK, READ_MORE, SHORT_READ
from zip.records cimport (DESCRIPTOR_MAX, LOCAL_SIZE, STORED, behind_data, described,
    owns_nothing)

cdef enum:
    FRONTS = 64                  # members that a thread takes at once to look at their fronts


cdef inline int find_front(const Batch *b, Scratch *s, Span *p, size_t n, size_t *data) noexcept nogil:
    """Read and check the local header of the batch's one member, and with it n bytes of its data, as
    far as there are so many; `data` is where they begin, from p.bytes."""
    cdef size_t part = n + 4096, want = LOCAL_SIZE + 65535 * 2 + n + 4096
    cdef uint64_t all
    cdef int status = look_up(b, 0, p)
    if status != OK:
        return status
    all = span_length(p, p.row.name_length, fz_hint(b.extra_hint))
    part += p.row.name_length
    p.length = <size_t>(all if all < part else part)
    read_spans(b, s, p, 1)
    if p.status != OK:
        return p.status
    status = check_header(b, p, data)
    if status == READ_MORE or (status == OK and data[0] + 4 > p.length):
        learn_extra(b, p.bytes)
        p.length = <size_t>(p.limit - p.start if p.limit - p.start < want else want)
        read_spans(b, s, p, 1)
        if p.status != OK:
            return p.status
        status = check_header(b, p, data)
    return SHORT_READ if status == READ_MORE else status


cdef inline int c_read_front(const Batch *b, Scratch *s, uint8_t *out, size_t n, size_t *got) noexcept nogil:
    """The first n bytes of the batch's one member, or fewer; what is not needed is not read, and so
    nothing is verified."""
    cdef Span p
    cdef size_t data = 0, part
    cdef int status = find_front(b, s, &p, n, &data)
    got[0] = 0
    if status != OK or owns_nothing(p.row):
        return status
    part = p.length - data
    if part > p.row.compressed_size:
        part = <size_t>p.row.compressed_size
    if n > p.row.size:
        n = <size_t>p.row.size
    if p.row.method == STORED:
        got[0] = n if n < part else part
        memcpy(out, p.bytes + data, got[0])
        return OK
    return zlib_ng_prefix(b.engines, s, p.bytes + data, part, out, n, got)


cdef inline int c_find_data(const Batch *b, Scratch *s, Span *p, uint64_t *offset) noexcept nogil:
    """Where in the source the data of the batch's one member begin; what stands behind them is checked
    as ever. The local header stays at p.bytes."""
    cdef size_t data = 0
    cdef uint64_t end, room
    cdef uint8_t behind[DESCRIPTOR_MAX]
    cdef int status = find_front(b, s, p, 0, &data)
    if status != OK:
        return status
    offset[0] = p.start + data
    if owns_nothing(p.row):
        return OK
    end = offset[0] + p.row.compressed_size      # within the limit: local_header has compared
    room = p.limit - end
    if not described(p.bytes, p.row):
        return GAP if b.rules.strict and room else OK
    data = <size_t>(room if room < DESCRIPTOR_MAX else DESCRIPTOR_MAX)
    status = fill(b.source, behind, end, data)
    return behind_data(p.bytes, behind, data, p.row, room, b.rules.strict) if status == OK else status


cdef struct Looking:
    const Batch *batch
    const Kind *kinds
    size_t n_kinds, front                 # `front`: bytes of the longest header
    int32_t *found


cdef inline void look_at_group(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work: the fronts of so many members."""
    cdef Looking *l = <Looking *>arg
    cdef Scratch *s = <Scratch *>scratch
    cdef Batch one = l.batch[0]
    cdef uint8_t front[HEAD_MOST]
    cdef size_t i, k, got, last = 0, end = FRONTS * (group + 1)
    cdef uint64_t size
    one.n = 1
    for i in range(FRONTS * group, end if end < l.batch.n else l.batch.n):
        if pool_stopped(False):
            break
        one.positions = l.batch.positions + i
        if c_read_front(&one, s, front, l.front, &got) != OK:
            continue                      # whoever wants this member will hear of it
        size = l.batch.listing.rows[l.batch.positions[i]].size
        for k in range(l.n_kinds):        # mostly it is the last one's
            if is_kind(&l.kinds[(last + k) % l.n_kinds], front, got, size):
                last = (last + k) % l.n_kinds
                l.found[i] = <int32_t>last
                break
    trim(s)
