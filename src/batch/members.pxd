"""A batch and its members: where each is, what the directory and its local header say, its bytes.

Within a group of jobs the reads are sorted by file offset and merged where they touch.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset
from batch.jobs cimport JOBS, SLACK, Job, check_crc
from batch.kinds cimport Kind, is_kind
from inflate.engines cimport Engines, Scratch, reserve
from runtime.source cimport Bytes, fill, fill_two
from runtime.status cimport GAP, MAX_MEMBER_SIZE, OK, OTHER_HEADER, READ_MORE, SHORT_READ
from zip.directory cimport Listing, Rules
from zip.records cimport (DEFLATED, DESCRIPTOR_MAX, FLAG_DESCRIPTOR, LOCAL_SIZE, STORED, Row,
    behind_data, check_any, check_name, check_row, described, empty_stream, le16, local_header,
    owns_nothing)

cdef enum:
    NEAR = 2048                  # reading this much for nothing is cheaper than another pread
    EMPTY_STREAM = 64            # bytes: nothing is deflated to 2, and by writers that flush to 7 or 12

cdef struct Batch:
    const Bytes *source
    const Listing *listing
    const Rules *rules
    const uint64_t *limits       # where each member must end; NULL: where the next row's begins
    const Engines *engines
    const int64_t *positions     # n members
    const int64_t *rows          # and the rows of `out` they belong to; NULL: 0, 1, 2, …
    size_t n
    uint8_t *out
    ssize_t stride
    size_t row_bytes
    size_t room_behind           # writable bytes behind the last row
    const size_t *places         # members of any sizes: where in `out` each belongs; NULL: rows
    const uint8_t *head
    size_t head_len
    const Kind *kinds            # NULL: all have this header; else they have places …
    const int32_t *which         # … and begin with headers of these kinds
    int32_t *statuses            # n results
    size_t group                 # jobs that a worker takes at once …
    size_t groups                # … so many times
    size_t last_group            # and then, so that all finish together: fewer
    bint verify
    bint foreign                 # only places are wanted, also of members that the core doesn't read
    uint32_t *extra_hint         # the local extra field's length, as seen last (a guess)
    uint32_t asked_for           # jobs below this have been asked for; only a hint, too

cdef struct Span:                # what is read for one job
    const Row *row
    const uint8_t *name
    uint64_t start, limit
    size_t length
    const uint8_t *bytes
    size_t room                  # readable bytes from there on
    size_t at                    # which of the batch's jobs
    int status


cdef extern from *:
    """
    static inline uint32_t fz_hint(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline void fz_set_hint(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    """
    uint32_t fz_hint(const uint32_t *p) noexcept nogil
    void fz_set_hint(uint32_t *p, uint32_t v) noexcept nogil
    void fz_prefetch "__builtin_prefetch"(const void *p) noexcept nogil


cdef inline uint64_t limit_of(const Listing *l, const uint64_t *limits, uint64_t i) noexcept nogil:
    cdef uint64_t limit
    if limits != NULL:
        return limits[i]
    limit = l.rows[i + 1].header_offset if i + 1 < l.count else l.start
    return limit if limit < l.start else l.start


cdef inline uint8_t *row_of(const Batch *b, size_t at) noexcept nogil:
    cdef ssize_t r
    if b.places != NULL:
        return b.out + b.places[at]
    r = <ssize_t>(at if b.rows == NULL else b.rows[at])
    return b.out + r * b.stride


cdef inline size_t head_of(const Batch *b, size_t at) noexcept nogil:
    """How long is the header of job `at`?"""
    return b.head_len if b.kinds == NULL else b.kinds[b.which[at]].head_len


cdef inline size_t span_length(const Span *s, size_t names, size_t extra) noexcept nogil:
    """Local header, data and a descriptor, which only the header may tell of, if its name and extra field
    are so long; never into the next structure. check_row has compared the sizes."""
    cdef uint64_t n = LOCAL_SIZE + names + extra + DESCRIPTOR_MAX
    if not owns_nothing(s.row) or s.row.compressed_size <= EMPTY_STREAM:
        n += s.row.compressed_size
    return <size_t>(n if n < s.limit - s.start else s.limit - s.start)


cdef inline int look_up(const Batch *b, size_t at, Span *s) noexcept nogil:
    """Where is the member of job `at`, and may it be read, as far as the directory tells?"""
    cdef uint64_t i = <uint64_t>b.positions[at]
    cdef int status
    s.at = at
    s.status = OK
    s.row = b.listing.rows + i
    s.name = b.listing.names + s.row.name_offset
    s.limit = limit_of(b.listing, b.limits, i)
    s.start = s.row.header_offset
    status = check_row(s.row, s.limit)
    if status != OK and b.foreign:
        status = check_any(s.row, s.limit)
    if status == OK and s.row.size > b.rules.max_member_size:
        return MAX_MEMBER_SIZE
    return check_name(s.row, s.name) if status == OK else status


cdef inline int plan(const Batch *b, size_t at, Span *s) noexcept nogil:
    cdef int status = look_up(b, at, s)
    if status == OK and s.row.size != b.head_len + b.row_bytes and b.places == NULL:
        status = OTHER_HEADER
    if status == OK:
        s.length = span_length(s, s.row.name_length, fz_hint(b.extra_hint))
    return status


cdef inline bint only_descriptor(const Span *s, uint64_t room) noexcept nogil:
    return room == 0 or (s.row.flags & FLAG_DESCRIPTOR and room <= DESCRIPTOR_MAX and room >= 12
                         and room % 4 == 0)


cdef inline int find_nothing(const Batch *b, const Span *s, size_t data, uint64_t room) noexcept nogil:
    """A member without bytes may claim some. Strictly, they must be an empty stream, or not be there
    at all (Java's empty directories), and but for a descriptor nothing else stand behind the header."""
    cdef uint64_t size = s.row.compressed_size
    if not b.rules.strict or only_descriptor(s, room):
        return OK
    if size > EMPTY_STREAM or size > room or s.row.method != DEFLATED or not only_descriptor(s, room - size):
        return GAP
    if size > s.length - data:
        return READ_MORE
    return OK if empty_stream(s.bytes + data, <size_t>size) else GAP


cdef inline int check_header(const Batch *b, const Span *s, size_t *data) noexcept nogil:
    """local_header, of the bytes in hand."""
    return local_header(s.bytes, s.length, s.row, s.name, s.limit - s.start, b.rules.strict,
                        b.rules.cp437_names, data)


cdef inline int find_data(const Batch *b, const Span *s, size_t *data) noexcept nogil:
    """Check the local header and what stands behind the data, from bytes in hand."""
    cdef uint64_t size = s.row.compressed_size, room = s.limit - s.start
    cdef int status = check_header(b, s, data)
    if status != OK:
        return status
    room -= data[0]
    if owns_nothing(s.row):
        return find_nothing(b, s, data[0], room)
    if size > s.length - data[0]:
        return READ_MORE
    room -= size
    if described(s.bytes, s.row):
        size = s.length - data[0] - size
        if size < DESCRIPTOR_MAX and size < room:
            return READ_MORE
        return behind_data(s.bytes, s.bytes + (s.length - size), <size_t>size, s.row, room, b.rules.strict)
    return GAP if b.rules.strict and room else OK


cdef inline void learn_extra(const Batch *b, const uint8_t *header) noexcept nogil:
    fz_set_hint(b.extra_hint, le16(header + 28))


cdef inline int read_stored(const Batch *b, Scratch *s, Span *p) noexcept nogil:
    """A stored member: header bytes to scratch, payload to its row, one read for both."""
    cdef size_t front = LOCAL_SIZE + p.row.name_length + fz_hint(b.extra_hint), data, tries
    cdef uint8_t *at = row_of(b, p.at)
    cdef uint8_t *scratch
    cdef uint8_t behind[DESCRIPTOR_MAX]
    cdef uint64_t most = p.limit - p.start - p.row.size, room, n    # check_row has compared
    cdef size_t head_len = head_of(b, p.at)
    cdef size_t row_bytes = <size_t>p.row.size - head_len
    cdef int status = OK
    for tries in range(2):
        if front > most:
            front = <size_t>most
        status = reserve(&s.output, front + head_len)
        if status != OK:
            return status
        scratch = <uint8_t *>s.output.ptr
        status = fill_two(b.source, scratch, front + head_len, at, row_bytes, p.start)
        if status != OK:
            return status
        p.bytes, p.length = scratch, front
        status = check_header(b, p, &data)
        if status == READ_MORE or (status == OK and data != front):
            front = LOCAL_SIZE + <size_t>le16(scratch + 26) + le16(scratch + 28)
            learn_extra(b, scratch)
            status = READ_MORE   # the guess was wrong, the second is not
            continue
        break
    if status != OK:
        return SHORT_READ if status == READ_MORE else status    # it changed between two reads
    room = most - data
    if described(scratch, p.row):
        n = room if room < DESCRIPTOR_MAX else DESCRIPTOR_MAX
        status = fill(b.source, behind, p.start + data + p.row.size, <size_t>n)
        if status == OK:
            status = behind_data(scratch, behind, <size_t>n, p.row, room, b.rules.strict)
        if status != OK:
            return status
    elif b.rules.strict and room:
        return GAP
    if b.verify:
        status = check_crc(b.engines, b.engines.crc(0, scratch + data, head_len), at, row_bytes,
                           p.row.crc)
        if status != OK:
            return status
    if b.kinds != NULL:
        return OK if is_kind(&b.kinds[b.which[p.at]], scratch + data, head_len, p.row.size) else OTHER_HEADER
    if head_len and memcmp(scratch + data, b.head, head_len) != 0:
        return OTHER_HEADER
    return OK


cdef inline void make_job(const Batch *b, const Span *p, size_t data, Job *j) noexcept nogil:
    j.stream.src = p.bytes + data
    j.stream.src_len = <size_t>p.row.compressed_size
    j.stream.src_room = p.room - data
    if j.stream.src_room - j.stream.src_len > SLACK:
        j.stream.src_room = j.stream.src_len + SLACK
    j.stream.dst_len = <size_t>p.row.size
    j.crc, j.verify = p.row.crc, b.verify
    j.head, j.head_len = b.head, b.head_len
    if b.kinds != NULL:
        j.kind = &b.kinds[b.which[p.at]]
        j.head_len = j.kind.head_len
    j.row = row_of(b, p.at)
    j.stored = p.row.method == STORED or owns_nothing(p.row)
    j.at = p.at
    j.status = OK


cdef inline void read_spans(const Batch *b, Scratch *s, Span *spans, size_t n) noexcept nogil:
    """Bring in the bytes of n spans: sorted, merged where they touch, one read each run."""
    cdef size_t order[JOBS]
    cdef size_t i, k, first, total = 0
    cdef uint64_t end, stop
    cdef uint8_t *to
    cdef Span *p
    cdef int status
    if n == 0:
        return
    for i in range(n):
        p = &spans[i]
        if b.source.fd < 0:
            p.bytes = b.source.base + p.start
            p.room = <size_t>(b.source.size - p.start)
            continue
        total += p.length + NEAR
        k = i                    # insertion sort: at most JOBS, and mostly in order
        while k > 0 and spans[order[k - 1]].start > p.start:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
    if b.source.fd < 0:
        return
    status = reserve(&s.input, total + SLACK)
    if status != OK:
        for i in range(n):
            spans[i].status = status
        return
    to = <uint8_t *>s.input.ptr
    first = 0
    while first < n:
        end = spans[order[first]].start + spans[order[first]].length
        k = first + 1
        while k < n and spans[order[k]].start <= end + NEAR:
            stop = spans[order[k]].start + spans[order[k]].length
            end = stop if stop > end else end
            k += 1
        status = fill(b.source, to, spans[order[first]].start, <size_t>(end - spans[order[first]].start))
        for i in range(first, k):
            p = &spans[order[i]]
            p.bytes = to + (p.start - spans[order[first]].start)
            if status != OK:     # whose fault it is shows when each is read alone
                p.status = fill(b.source, <uint8_t *>p.bytes, p.start, p.length)
        to += end - spans[order[first]].start
        first = k
    memset(to, 0, SLACK)
    for i in range(n):
        spans[i].room = <size_t>(to + SLACK - spans[i].bytes)
