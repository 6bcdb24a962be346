"""Members into rows: what one thread does with a group of jobs.

A member's bytes are its .npy header and its payload. Engines inflate into one contiguous piece, so the
rows of a group are done from the last to the first, and each header lands on the tail of the row
before, which is written next: no copy (a copy cost 12 % on sparse bitmaps). Where the row before is
not written next, or the member is small, the member goes through scratch memory.

Members of different lengths have headers of a few kinds instead of one header, and each a place of its
own, in ascending order, in one piece of memory. A group has the part of it from its first member's place
to its last one's end; what a header covers there is kept aside and put back.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from batch.jobs cimport HEAD_MOST, JOBS, QUICK, SLACK, SMALL, Job, inflate_many
from batch.lanes cimport in_reach, inflate_lanes, of_long_matches, worth_lanes
from batch.members cimport (Batch, Span, find_data, fz_hint, fz_prefetch, fz_set_hint, learn_extra,
    make_job, plan, read_spans, read_stored, row_of, span_length)
from inflate.engines cimport Scratch, reserve, trim
from runtime.pool cimport pool_stopped
from runtime.source cimport fill, is_cold, will_need
from runtime.status cimport INTERRUPTED, OK, READ_MORE, SHORT_READ
from zip.records cimport LOCAL_SIZE, SENTINEL32, STORED, Row, le16

cdef enum:
    INPUT = 512 << 10            # compressed bytes of a pass: half of a common level 2 cache
    LANES_GROUP = 16             # jobs that keep the interleaved engine's four lanes busy for a while: 64
                                 # members on two threads take up to 60 % longer by 4, 22 % by 8, the same
                                 # by 32
    INPUT_LANES = 2 << 20        # for the interleaved engine: rather more members than fewer bytes. By
                                 # 512 KiB members of 96 KB take 1 to 4 % longer, by 8 MiB nothing gains
    INPUT_SMALL = 24 << 10       # of small members: level 1, 2 % on members of 2 and 3 KB
    AHEAD = 256                  # jobs whose bytes are asked for when the page cache lacks them
    AHEAD_BYTES = 32 << 20
    DIRECT = 4096                # stored members from here on are read to where they belong


cdef inline void place_in_scratch(Scratch *s, Job *j) noexcept nogil:
    j.status = reserve(&s.output, j.stream.dst_len + SLACK)
    j.stream.dst = NULL          # its address may still change
    j.stream.dst_room += SLACK


cdef inline void place_job(const Batch *b, Scratch *s, Job *j, bint next_below) noexcept nogil:
    """Where does the engine write? `next_below`: what lies under the header is written later, or can be put
    back."""
    j.stream.dst_room = j.stream.dst_len
    if j.stored:
        # Only read; a header may land on its row, so it waits its turn too.
        j.stream.dst = <uint8_t *>j.stream.src
    elif b.kinds != NULL and next_below and j.stream.dst_len > SMALL:
        j.stream.dst = j.row - j.head_len
    elif b.kinds != NULL:
        place_in_scratch(s, j)
    elif b.n == 1 and b.head_len == 0 and (b.room_behind or j.stream.dst_len > SMALL):
        j.stream.dst = j.row
        j.stream.dst_room += b.room_behind
    elif j.stream.dst_len > SMALL and (b.places != NULL or (b.stride == <ssize_t>b.row_bytes
                                                            and (next_below or b.head_len == 0))):
        j.stream.dst = j.row - b.head_len
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
        if jobs[i].stream.dst == NULL:
            jobs[i].stream.dst = <uint8_t *>s.output.ptr
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
        covered = NULL if j.stored else j.stream.dst
        if covered != NULL:
            memcpy(kept, covered, j.head_len)
        elif j.stream.dst == NULL:
            j.stream.dst = <uint8_t *>s.output.ptr
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
    if j.stream.dst == NULL:
        j.stream.dst = <uint8_t *>s.output.ptr
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
