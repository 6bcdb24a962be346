"""Members side by side through the interleaved engine, each to its row.

As for the other engines, a member is inflated with its .npy header on the tail of the row below it, without
a copy. But rows are written in no fixed order here, so that row may be finished: then its tail is kept aside
and put back. Or it still waits: then it waits on, until the header has been looked at. Only if it is being
written right now, or is no row of this pass, the member goes through scratch memory. Jobs stand in
descending order of their rows, and are begun in four runs of neighbours: within a run, the row below waits.
Where no header lies on a tail, members go by rank.

Members of different lengths lie in one piece of memory, of which a group has a part of its own. There the
bytes under a header are always put back, since they may belong to a member that this pass knows nothing of.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy
from batch.jobs cimport HEAD_MOST, JOBS, QUICK, SLACK, SMALL, Job, deliver
from inflate.engines cimport (INTERLEAVED_DONE, INTERLEAVED_LANES, INTERLEAVED_LONG_RATIO,
    INTERLEAVED_STOPPED, INTERLEAVED_TINY, LANES_MOST, LIBDEFLATE, Engines, Scratch, again,
    interleaved_feed, interleaved_job, interleaved_rank, interleaved_run, ready_lanes, reserve)
from runtime.pool cimport pool_stopped
from runtime.status cimport INTERRUPTED, OK

cdef enum Progress:
    WAITING = 0
    BLOCKED                      # the header of the row above lies on its tail
    IN_WORK
    OVER

cdef struct Lane:
    interleaved_job job
    size_t which                 # of the jobs
    bint busy
    bint in_place
    bint blocks                  # the row below waits
    size_t kept_bytes            # the tail of a finished row under the header
    uint8_t kept[HEAD_MOST]

cdef struct Pass:
    const Engines *engines
    Scratch *scratch
    Job *jobs
    size_t n
    ssize_t stride
    size_t row_bytes
    const uint8_t *floor         # NULL: rows; else where the group's memory begins
    size_t room                  # of one lane in the scratch memory
    bint stopped
    size_t order[JOBS]
    Progress progress[JOBS]
    Lane lanes[INTERLEAVED_LANES]


cdef inline bint in_reach(const uint8_t *floor, const Job *j) noexcept nogil:
    """Is there room for the header of a member that lies above `floor`, and can what it covers be kept?"""
    return j.head_len <= HEAD_MOST and j.head_len <= <size_t>(j.row - floor)


cdef inline bint has_below(const Pass *p, size_t i) noexcept nogil:
    return i + 1 < p.n and p.jobs[i + 1].row + p.stride == p.jobs[i].row


cdef inline bint place_in_lane(Pass *p, Lane *lane, size_t i) noexcept nogil:
    """Where does member i go?"""
    cdef Job *j = &p.jobs[i]
    cdef size_t head = j.head_len
    cdef bint below              # is what lies under the header, if anything of this pass, the next job's?
    lane.in_place = j.stream.dst_len > SMALL and p.stride == <ssize_t>p.row_bytes
    lane.kept_bytes = 0
    lane.blocks = False
    if p.floor != NULL:
        below = i + 1 < p.n
        lane.in_place = j.stream.dst_len > SMALL and in_reach(p.floor, j) \
            and (not below or p.jobs[i + 1].row + head <= j.row)
    elif lane.in_place and head:
        below = True
        lane.in_place = head <= HEAD_MOST and head <= p.row_bytes and has_below(p, i)
    else:
        below = False
    if lane.in_place and below:
        lane.in_place = p.progress[i + 1] != IN_WORK and p.progress[i + 1] != BLOCKED
    if not lane.in_place:
        j.stream.dst = <uint8_t *>p.scratch.rooms.ptr + <size_t>(lane - p.lanes) * p.room
        j.stream.dst_room = j.stream.dst_len + SLACK
        return True
    j.stream.dst = j.row - head
    j.stream.dst_room = j.stream.dst_len
    if p.floor != NULL or (below and p.progress[i + 1] == OVER):
        lane.kept_bytes = head
        memcpy(lane.kept, j.stream.dst, head)
    if below and p.progress[i + 1] == WAITING:
        p.progress[i + 1] = BLOCKED
        lane.blocks = True
    return True


cdef inline interleaved_job *next_member(void *context) noexcept nogil:
    cdef Pass *p = <Pass *>context
    cdef Lane *lane = p.lanes
    cdef Job *j
    cdef size_t k, i
    for k in range(p.n):
        i = p.order[k]
        if p.progress[i] != WAITING:
            continue
        j = &p.jobs[i]
        if p.stopped or (j.stream.dst_len > QUICK and pool_stopped(False)):
            j.status = INTERRUPTED
            p.progress[i] = OVER
            continue
        if j.stored:
            j.status = deliver(p.engines, j)
            p.progress[i] = OVER
            continue
        while lane.busy:
            lane += 1
        place_in_lane(p, lane, i)
        lane.busy, lane.which = True, i
        p.progress[i] = IN_WORK
        lane.job.src, lane.job.src_len = j.stream.src, j.stream.src_len
        lane.job.dst, lane.job.dst_len = j.stream.dst, j.stream.dst_len
        lane.job.dst_room = j.stream.dst_room
        lane.job.owner = lane
        return &lane.job
    return NULL


cdef inline void member_done(void *context, interleaved_job *job) noexcept nogil:
    """Look at it while it is in the cache, and make way for the next."""
    cdef Pass *p = <Pass *>context
    cdef Lane *lane = <Lane *>job.owner
    cdef size_t i = lane.which
    cdef Job *j = &p.jobs[i]
    if job.status == INTERLEAVED_STOPPED:
        p.stopped = True
        j.status = INTERRUPTED
    elif job.status != INTERLEAVED_DONE:
        j.status = again(p.engines, p.scratch, &j.stream)
    if j.status == OK:
        j.status = deliver(p.engines, j)
    if lane.kept_bytes:
        memcpy(j.row - j.head_len, lane.kept, lane.kept_bytes)
    if lane.blocks:
        p.progress[i + 1] = WAITING
    p.progress[i] = OVER
    lane.busy = False


cdef inline bint must_stop(void *context) noexcept nogil:
    return pool_stopped(False)


cdef inline bint of_long_matches(uint64_t packed, uint64_t made) noexcept nogil:
    return packed <= made // INTERLEAVED_LONG_RATIO


cdef inline bint worth_lanes(const Engines *e, const Job *jobs, size_t n) noexcept nogil:
    """Are there enough jobs of a good size for the interleaved engine?"""
    cdef size_t i, deflated = 0, packed = 0, made = 0
    if e.lanes_from == 0 or n < e.lanes_from or n < 2:
        return False
    for i in range(n):
        if jobs[i].stream.src_len > LANES_MOST or jobs[i].stream.dst_len > LANES_MOST:
            return False
        if not jobs[i].stored and (e.lanes_from == 1 or jobs[i].stream.dst_len >= INTERLEAVED_TINY):
            deflated += 1
            packed += jobs[i].stream.src_len
            made += jobs[i].stream.dst_len
    if e.lanes_from > 1 and e.whole == LIBDEFLATE and not e.lanes_long and of_long_matches(packed, made):
        return False
    return deflated >= e.lanes_from


cdef inline void by_rank(Pass *p) noexcept nogil:
    """The order that suits the kernel, where none is needed for the headers."""
    cdef uint64_t ranks[JOBS]    # as ordered
    cdef uint64_t rank
    cdef size_t i, k
    for i in range(p.n):
        rank = interleaved_rank(p.jobs[i].stream.src_len, p.jobs[i].stream.dst_len)
        k = i
        while k and ranks[k - 1] < rank:
            ranks[k], p.order[k] = ranks[k - 1], p.order[k - 1]
            k -= 1
        ranks[k], p.order[k] = rank, i


cdef inline void in_four_runs(Pass *p) noexcept nogil:
    """A job of each run of neighbours in turn."""
    cdef size_t run, step, i, at = 0, length = (p.n + INTERLEAVED_LANES - 1) // INTERLEAVED_LANES
    for step in range(length):
        for run in range(INTERLEAVED_LANES):
            i = run * length + step
            if i < p.n:
                p.order[at] = i
                at += 1


cdef inline int inflate_lanes(const Engines *e, Scratch *s, Job *jobs, size_t n, ssize_t stride,
                              size_t row_bytes, const uint8_t *floor) noexcept nogil:
    """Do all the jobs, stored ones as well; not OK: none has been touched."""
    cdef Pass p
    cdef interleaved_feed feed
    cdef size_t i, most = 0
    cdef bint on_tails = False
    cdef int status
    p.engines, p.scratch, p.jobs, p.n = e, s, jobs, n
    p.stride, p.row_bytes, p.floor, p.stopped = stride, row_bytes, floor, False
    for i in range(n):           # what may have to go through scratch memory
        if jobs[i].stored:
            continue
        if jobs[i].stream.dst_len <= SMALL or stride != <ssize_t>row_bytes:
            most = max(most, jobs[i].stream.dst_len)
        elif jobs[i].head_len or floor != NULL:
            on_tails = True
            most = max(most, jobs[i].stream.dst_len)
    p.room = (most + SLACK + 63) & ~<size_t>63
    status = ready_lanes(s)
    if status == OK:
        status = reserve(&s.rooms, p.room * INTERLEAVED_LANES)
    if status != OK:
        return status
    for i in range(INTERLEAVED_LANES):
        p.lanes[i].busy = False
    for i in range(n):
        p.progress[i] = WAITING
        if jobs[i].stored:
            jobs[i].stream.dst = <uint8_t *>jobs[i].stream.src
    if on_tails:
        in_four_runs(&p)
    else:
        by_rank(&p)
    feed.next, feed.done, feed.stopped, feed.context = next_member, member_done, must_stop, &p
    interleaved_run(s.lanes, &feed)
    return OK
