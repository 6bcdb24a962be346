"""Members into rows: what one thread does with a group of jobs, and with a single member.

A member's bytes are its .npy header and its payload. Engines inflate into one contiguous piece, so the
rows of a group are done from the last to the first, and each header lands on the tail of the row
before, which is written next: no copy (a copy cost 12 % on sparse bitmaps). Where the row before is
not written next, or the member is small, the member goes through scratch memory.

Members of different lengths have headers of a few kinds instead of one header, and each a place of its
own, in ascending order, in one piece of memory. A group has the part of it from its first member's place
to its last one's end; what a header covers there is kept aside and put back.

Within a group the reads are sorted by file offset and merged where they touch.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from zip.directory cimport Listing, Rules
from inflate.engines cimport *
from batch.kinds cimport Kind, is_kind
from batch.lanes cimport *
from runtime.source cimport Bytes, fill, fill_two, is_cold, will_need
from runtime.status cimport *
from zip.records cimport *

cdef enum:
    INPUT = 512 << 10            # compressed bytes of a pass: half of a common level 2 cache
    LANES_GROUP = 16             # jobs that keep the batch kernel's four lanes busy for a while: 64 members
                                 # on two threads take up to 60 % longer by 4, 22 % by 8, the same by 32
    INPUT_LANES = 2 << 20        # for the batch kernel: rather more members than fewer bytes. By 512 KiB
                                 # members of 96 KB take 1 to 4 % longer, by 8 MiB nothing gains
    INPUT_SMALL = 24 << 10       # of small members: level 1, 2 % on members of 2 and 3 KB
    AHEAD = 256                  # jobs whose bytes are asked for when the page cache lacks them
    AHEAD_BYTES = 32 << 20
    NEAR = 2048                  # reading this much for nothing is cheaper than another pread
    EMPTY_STREAM = 64            # bytes: nothing is deflated to 2, and by writers that flush to 7 or 12
    DIRECT = 4096                # stored members from here on are read to where they belong

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
    j.src = p.bytes + data
    j.src_len = <size_t>p.row.compressed_size
    j.src_room = p.room - data
    if j.src_room - j.src_len > SLACK:
        j.src_room = j.src_len + SLACK
    j.dst_len = <size_t>p.row.size
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


cdef inline void place_in_scratch(Scratch *s, Job *j) noexcept nogil:
    j.status = reserve(&s.output, j.dst_len + SLACK)
    j.dst = NULL                 # its address may still change
    j.dst_room += SLACK


cdef inline void place_job(const Batch *b, Scratch *s, Job *j, bint next_below) noexcept nogil:
    """Where does the engine write? `next_below`: what lies under the header is written later, or can be put
    back."""
    j.dst_room = j.dst_len
    if j.stored:
        j.dst = <uint8_t *>j.src # only read; a header may land on its row, so it waits its turn too
    elif b.kinds != NULL and next_below and j.dst_len > SMALL:
        j.dst = j.row - j.head_len
    elif b.kinds != NULL:
        place_in_scratch(s, j)
    elif b.n == 1 and b.head_len == 0 and (b.room_behind or j.dst_len > SMALL):
        j.dst = j.row
        j.dst_room += b.room_behind
    elif j.dst_len > SMALL and (b.places != NULL or (b.stride == <ssize_t>b.row_bytes
                                                     and (next_below or b.head_len == 0))):
        j.dst = j.row - b.head_len
    else:
        place_in_scratch(s, j)


cdef inline void ask_ahead(Batch *b, size_t low) noexcept nogil:
    """If the jobs from `low` on aren't in the page cache, have the disk work on many at once: read one
    after another they would each wait for it alone."""
    cdef size_t at, high = low + AHEAD if AHEAD < b.n - low else b.n
    cdef const Row *row
    cdef uint64_t bytes = 0
    if b.n == 1 or fz_hint(&b.asked_for) > low \
            or not is_cold(b.source, b.listing.rows[b.positions[low]].header_offset):
        return
    fz_set_hint(&b.asked_for, <uint32_t>(high if high < SENTINEL32 else SENTINEL32))
    for at in range(low, high):
        row = b.listing.rows + b.positions[at]
        if row.compressed_size > AHEAD_BYTES - bytes:
            break
        bytes += row.compressed_size
        will_need(b.source, row.header_offset, <size_t>row.compressed_size + 128)


cdef inline void deliver_statuses(const Batch *b, const Job *jobs, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        b.statuses[jobs[i].at] = jobs[i].status


cdef inline void inflate_in_turn(const Batch *b, Scratch *s, Job *jobs, size_t n) noexcept nogil:
    """Do the jobs one after the other, from the last row to the first."""
    cdef size_t i, k, below
    for i in range(n):
        below = i + 1            # how far do consecutive rows go on below this one?
        k = 0
        while k < b.head_len and below < n and jobs[below].row + b.stride == jobs[below - 1].row:
            k += b.row_bytes if b.row_bytes else b.head_len
            below += 1
        place_job(b, s, &jobs[i], k >= b.head_len and b.row_bytes > 0)
    for i in range(n):
        if jobs[i].dst == NULL:
            jobs[i].dst = <uint8_t *>s.output.ptr
    inflate_many(b.engines, s, jobs, n)
    deliver_statuses(b, jobs, n)


cdef inline void inflate_parts(const Batch *b, Scratch *s, Job *jobs, size_t n,
                               const uint8_t *floor) noexcept nogil:
    """The same for members of different lengths, in the group's memory, which begins at `floor`. Scratch
    memory is asked for by one at a time: a longer one would take it from those before."""
    cdef uint8_t kept[HEAD_MOST]
    cdef uint8_t *covered
    cdef Job *j
    cdef size_t i
    for i in range(n):
        j = &jobs[i]
        place_job(b, s, j, in_reach(floor, j))
        covered = NULL if j.stored else j.dst
        if covered != NULL:
            memcpy(kept, covered, j.head_len)
        elif j.dst == NULL:
            j.dst = <uint8_t *>s.output.ptr
        inflate_many(b.engines, s, j, 1)
        if covered != NULL:
            memcpy(covered, kept, j.head_len)
    deliver_statuses(b, jobs, n)


cdef inline size_t run_some(const Batch *b, Scratch *s, size_t low, size_t high) noexcept nogil:
    """Do the jobs below `high`, as many as one pass holds, not under `low`; returns the new `high`."""
    cdef Span spans[JOBS]
    cdef Job jobs[JOBS]
    cdef size_t late[JOBS]
    cdef size_t at, n = 0, m = 0, lates = 0, i, data = 0, bytes = 0
    cdef size_t most = INPUT_SMALL if b.head_len + b.row_bytes <= SMALL else INPUT
    if b.engines.lanes_from:
        most = INPUT_LANES
    cdef Span *p
    cdef const uint8_t *floor = NULL if b.kinds == NULL else row_of(b, low)
    cdef int status
    # Rows and names of random members lie anywhere in many megabytes: fetched side by side they cost
    # one wait instead of two for each member (8 % of a batch of 912-byte members).
    low = high - JOBS if high - low > JOBS else low
    for at in range(low, high):
        fz_prefetch(b.listing.rows + b.positions[at])
        fz_prefetch(b.listing.rows + b.positions[at] + 1)
    for at in range(low, high):
        fz_prefetch(b.listing.names + b.listing.rows[b.positions[at]].name_offset)
    at = high
    while at > low and n < JOBS and bytes < most:
        at -= 1
        p = &spans[n]
        status = plan(b, at, p)
        if status == OK and p.row.method == STORED and p.row.size >= DIRECT and b.source.fd >= 0:
            status = INTERRUPTED if p.row.size > QUICK and pool_stopped(False) else read_stored(b, s, p)
        elif status == OK:       # no verdict yet: it stays "interrupted" until it is delivered
            bytes += p.length
            n += 1
            continue
        b.statuses[at] = status
    read_spans(b, s, spans, n)
    for i in range(n):
        p = &spans[i]
        status = p.status
        if status == OK:
            status = find_data(b, p, &data)
        if status == READ_MORE:
            late[lates] = i
            lates += 1
            continue
        if status != OK:
            b.statuses[p.at] = status
            continue
        make_job(b, p, data, &jobs[m])
        m += 1
    if worth_lanes(b.engines, jobs, m) \
            and inflate_lanes(b.engines, s, jobs, m, b.stride if b.places == NULL else <ssize_t>b.row_bytes,
                              b.row_bytes, floor) == OK:
        deliver_statuses(b, jobs, m)
    elif floor != NULL:
        inflate_parts(b, s, jobs, m, floor)
    else:
        inflate_in_turn(b, s, jobs, m)
    for i in range(lates):
        b.statuses[spans[late[i]].at] = run_late(b, s, &spans[late[i]])
    return at


cdef inline int run_late(const Batch *b, Scratch *s, Span *p) noexcept nogil:
    """A member whose local extra field is longer than was guessed: read again, alone."""
    cdef Job j
    cdef size_t data = 0
    cdef int status
    cdef uint8_t header[LOCAL_SIZE]
    status = fill(b.source, header, p.start, LOCAL_SIZE)
    if status != OK:
        return status
    learn_extra(b, header)
    p.length = span_length(p, le16(header + 26), le16(header + 28))
    p.status = OK
    read_spans(b, s, p, 1)
    if p.status != OK:
        return p.status
    status = find_data(b, p, &data)
    if status != OK:
        return SHORT_READ if status == READ_MORE else status    # it changed between two reads
    make_job(b, p, data, &j)
    place_job(b, s, &j, False)
    if j.dst == NULL:
        j.dst = <uint8_t *>s.output.ptr
    inflate_many(b.engines, s, &j, 1)
    return j.status


cdef inline size_t divide(Batch *b, unsigned threads) noexcept nogil:
    """Divide the batch into groups; returns how many.

    One thread takes as many jobs as one pass holds. Several take eight groups each, of which the last
    quarter is halved: waiting for the last group cost 6 % on 256 members of 912 bytes. Groups a quarter as
    large take 4 to 7 % less where members are made of long matches, which need no neighbours to be fast, but
    13 % more work for 16 KB floats; the first member tells."""
    cdef const Row *first = b.listing.rows + b.positions[0]
    cdef size_t left
    b.group = JOBS
    if threads > 1:
        b.group = b.n // (8 * threads)
        if b.engines.lanes_from and b.group < LANES_GROUP:
            b.group = LANES_GROUP if b.n >= LANES_GROUP * threads else (b.n + threads - 1) // threads
        b.group = JOBS if b.group > JOBS else b.group if b.group > 0 else 1
    b.groups, b.last_group = b.n // b.group, b.group
    if threads > 1:
        b.groups = (b.n - b.n // 4) // b.group
        b.last_group = (b.group + 1) // 2
        if first.compressed_size and of_long_matches(first.compressed_size, first.size):
            b.last_group = (b.group + 3) // 4
    left = b.n - b.groups * b.group
    return b.groups + (left + b.last_group - 1) // b.last_group


cdef inline void run_group(void *batch, size_t g, void *scratch) noexcept nogil:
    """The pool's work: group g of the batch, from its last row to its first."""
    cdef Batch *b = <Batch *>batch
    cdef Scratch *s = <Scratch *>scratch
    cdef size_t low, high, size
    if g < b.groups:
        low, size = g * b.group, b.group
    else:
        low, size = b.groups * b.group + (g - b.groups) * b.last_group, b.last_group
    high = low + size if size < b.n - low else b.n
    ask_ahead(b, low)
    while high > low and not (b.head_len + b.row_bytes > QUICK and pool_stopped(False)):
        high = run_some(b, s, low, high)
    trim(s)
