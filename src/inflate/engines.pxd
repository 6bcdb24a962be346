"""The engines: inflate whole members, one after the other. lanes.pxd does several at once.

The single-stream engines' functions are bound at import by address (fastzip/_codecs.py). A job's output is
one contiguous piece of memory, .npy header included. zlib-ng is the verdict of last resort: what another
engine refuses is tried once more by it.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memcmp, memset
from batch.kinds cimport Kind, is_kind
from runtime.status cimport *

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

cdef extern from "runtime/memory.h" nogil:
    void *memory_take(size_t size)
    void *memory_zeroed(size_t size)
    void memory_give(void *p)
    bint memory_refused()
    size_t memory_refuse(size_t nth)

cdef extern from "inflate/interleaved/interleaved.h" nogil:
    enum:
        FZ_INFLATE_DONE
        FZ_INFLATE_STOPPED
        FZ_INFLATE_TINY
        FZ_INFLATE_LOOPS
    ctypedef struct fz_inflate_job:
        const uint8_t *src
        size_t src_len
        uint8_t *dst
        size_t dst_len
        size_t dst_room
        int status
        void *owner
    ctypedef struct fz_inflate_feed:
        fz_inflate_job *(*next)(void *) noexcept
        void (*done)(void *, fz_inflate_job *) noexcept
        bint (*stopped)(void *) noexcept
        void *context
    ctypedef struct fz_inflate_state:
        pass
    size_t fz_inflate_state_size()
    void fz_inflate_run(fz_inflate_state *state, const fz_inflate_feed *feed)
    void fz_inflate_many(fz_inflate_state *state, fz_inflate_job *jobs, size_t n)
    uint64_t fz_inflate_rank(size_t src_len, size_t dst_len)
    const char *fz_inflate_use(const char *level)
    void fz_inflate_force(fz_inflate_state *state, int loop)

cdef extern from "runtime/pool.h" nogil:
    bint pool_stopped(bint at_once) noexcept

cdef enum:
    Z_OK = 0
    Z_STREAM_END = 1
    Z_DATA_ERROR = -3
    Z_MEM_ERROR = -4
    Z_NO_FLUSH = 0
    Z_FINISH = 4
    RAW = -15                    # window bits: deflate without a wrapper, 32 KiB window
    STEP = 1 << 30               # zlib-ng counts avail_in and avail_out in 32 bits
    STOP_EVERY = 4 << 20         # bytes in or out between two looks at the stop flag …
    STOP_LAST = 6 << 20          # … but no last step that isn't worth one
    UNSTOPPABLE = 40 << 20       # members above this aren't given to an engine that can't be stopped:
                                 # at 460 MB/s, float32 with libdeflate, that takes 91 ms
    SLOW = 16 << 20              # members above this take a twentieth of a second or more
    QUICK = 64 << 10             # a group of members up to this size isn't stopped in between
    AT_MEMORY_SPEED = 64 << 20   # the same for what only reads or copies
    LANES_MOST = 16 << 20        # members above this are no members for the batch kernel: four of them at
                                 # once take a tenth of a second, and nothing stops them in between
    ENOUGH = 256 << 10           # buffers are at least so large: what they grow out of would lie idle, 96 KiB
                                 # a thread after batches of 2 and 3 KB members; larger ones gain nothing
    KEEP = 4 << 20               # buffers above this go back to the arena after each use

# zlib-ng's zng_stream. inflateInit2_ is given its size and refuses another layout.
cdef struct zng_stream:
    const uint8_t *next_in
    uint32_t avail_in
    size_t total_in
    uint8_t *next_out
    uint32_t avail_out
    size_t total_out
    const char *msg
    void *state
    void *zalloc
    void *zfree
    void *opaque
    int data_type
    uint32_t adler
    unsigned long reserved

ctypedef int (*init_fn)(zng_stream *, int, const char *, int) noexcept nogil
ctypedef int (*stream_fn)(zng_stream *) noexcept nogil
ctypedef int (*inflate_fn)(zng_stream *, int) noexcept nogil
ctypedef uint32_t (*crc_fn)(uint32_t, const void *, size_t) noexcept nogil
ctypedef void *(*alloc_fn)() noexcept nogil
ctypedef void (*free_fn)(void *) noexcept nogil
ctypedef int (*decompress_fn)(void *, const void *, size_t, void *, size_t,
                              size_t *, size_t *) noexcept nogil

cdef struct Engines:             # NULL: not there
    init_fn init
    inflate_fn inflate
    stream_fn reset
    stream_fn end
    alloc_fn ld_alloc
    free_fn ld_free
    decompress_fn ld_decompress  # libdeflate_deflate_decompress_ex
    crc_fn zng_crc
    crc_fn ld_crc
    crc_fn crc                   # the one in use
    int whole                    # Whole: which engine inflates whole members
    bint alone                   # what it refuses isn't tried again: for its proof
    size_t lanes_from            # so many jobs are done by the batch kernel; 0: it isn't in use
    bint lanes_long              # those of long matches as well

cdef enum Whole:
    ZLIB_NG = 0
    LIBDEFLATE = 1

# What a thread needs while it works; see pool.h on how it is kept.
cdef struct Scratch:
    zng_stream stream
    bint stream_ready
    void *ld
    void *lanes_memory           # the batch kernel's state, and where in it that begins
    fz_inflate_state *lanes
    arena_block input            # compressed bytes as read from the file
    arena_block output           # a member that can't be inflated where it belongs
    arena_block rooms            # the same, one for each of the batch kernel's lanes

cdef struct Job:
    const uint8_t *src
    size_t src_len               # the member's compressed bytes
    size_t src_room              # bytes that may be read from src on, at least src_len
    uint8_t *dst
    size_t dst_len               # the member's size
    size_t dst_room              # bytes that may be written from dst on, at least dst_len
    uint32_t crc
    bint verify
    const uint8_t *head          # the .npy header that the member must begin with …
    const Kind *kind             # … or, where that is NULL, what kind of a header
    size_t head_len
    uint8_t *row                 # where the bytes after it go, if they are not there already
    bint stored                  # nothing to inflate: the member stands at dst
    size_t at                    # whose job it is
    int32_t status


cdef inline int reserve(arena_block *b, size_t n) noexcept nogil:
    """Make b hold at least n bytes; what it held is lost."""
    cdef size_t want = n + n // 4 if n < KEEP else n
    if n <= b.cap and b.ptr != NULL:
        return OK
    if b.ptr != NULL:
        arena_free(b)
    memset(b, 0, sizeof(arena_block))
    if want < ENOUGH:
        want = ENOUGH
    return OK if arena_alloc(b, want) == 0 else MEMORY


cdef inline void trim(Scratch *s) noexcept nogil:
    """Between two uses: no thread sits on a large buffer that another could use."""
    if s.input.ptr != NULL and s.input.cap > KEEP:
        arena_free(&s.input)
        memset(&s.input, 0, sizeof(arena_block))
    if s.output.ptr != NULL and s.output.cap > KEEP:
        arena_free(&s.output)
        memset(&s.output, 0, sizeof(arena_block))
    if s.rooms.ptr != NULL and s.rooms.cap > KEEP:
        arena_free(&s.rooms)
        memset(&s.rooms, 0, sizeof(arena_block))


cdef inline int ready_stream(const Engines *e, Scratch *s) noexcept nogil:
    if s.stream_ready:
        return OK if e.reset(&s.stream) == Z_OK else MEMORY
    memset(&s.stream, 0, sizeof(zng_stream))
    if memory_refused() or e.init(&s.stream, RAW, b"2.0.0", sizeof(zng_stream)) != Z_OK:
        return MEMORY
    s.stream_ready = True
    return OK


cdef inline int zlib_ng_prefix(const Engines *e, Scratch *s, const uint8_t *src, size_t src_len,
                               uint8_t *dst, size_t n, size_t *got) noexcept nogil:
    """The first n bytes of a member, as far as src goes. Nothing is verified."""
    cdef int status = ready_stream(e, s), r
    if n > STEP:
        n = STEP                 # as much as zlib-ng can count
    if status != OK:
        return status
    s.stream.next_in, s.stream.avail_in = src, <uint32_t>(src_len if src_len < STEP else STEP)
    s.stream.next_out, s.stream.avail_out = dst, <uint32_t>n
    r = e.inflate(&s.stream, Z_NO_FLUSH)
    got[0] = n - s.stream.avail_out
    if r == Z_DATA_ERROR:
        return DEFLATE
    return MEMORY if r == Z_MEM_ERROR else OK


cdef inline int zlib_ng_whole(const Engines *e, Scratch *s, Job *j) noexcept nogil:
    """Room beyond the exact ends keeps zlib-ng in its fast loop up to the last byte, since that needs
    some 15 bytes of input and 260 of output in front of it (14 % on members of 912 bytes). What is
    refused so is tried without: the verdict never depends on bytes that aren't the member's."""
    cdef int status = zlib_ng_within(e, s, j, j.src_room, j.dst_room)
    if status != OK and status != INTERRUPTED and status != MEMORY \
            and (j.src_room > j.src_len or j.dst_room > j.dst_len):
        status = zlib_ng_within(e, s, j, j.src_len, j.dst_len)
    return status


cdef inline int zlib_ng_within(const Engines *e, Scratch *s, Job *j, size_t in_left,
                               size_t out_left) noexcept nogil:
    cdef int status = ready_stream(e, s), r
    cdef size_t n, used, made
    cdef uint8_t more
    if status != OK:
        return status
    s.stream.next_in, s.stream.avail_in = j.src, 0
    s.stream.next_out, s.stream.avail_out = j.dst, 0
    while True:
        if s.stream.avail_in == 0 and in_left:
            if s.stream.total_in and pool_stopped(False):
                return INTERRUPTED
            n = in_left if in_left < STOP_LAST else STOP_EVERY
            s.stream.avail_in = <uint32_t>n
            in_left -= n
        if s.stream.avail_out == 0 and out_left:
            if s.stream.total_out and pool_stopped(False):
                return INTERRUPTED
            n = out_left if out_left < STOP_LAST else STOP_EVERY
            s.stream.avail_out = <uint32_t>n
            out_left -= n
        r = e.inflate(&s.stream, Z_FINISH if in_left == 0 and out_left == 0 else Z_NO_FLUSH)
        if r == Z_STREAM_END or r == Z_DATA_ERROR or r == Z_MEM_ERROR:
            break
        if not ((s.stream.avail_in == 0 and in_left) or (s.stream.avail_out == 0 and out_left)):
            break                # out of input or of room
    used = <size_t>(s.stream.next_in - j.src)
    made = <size_t>(s.stream.next_out - j.dst)
    if r == Z_MEM_ERROR:
        return MEMORY
    if made > j.dst_len:
        return TOO_LONG
    if used > j.src_len:
        return TRUNCATED_STREAM  # it went on into what stands behind the member
    if r == Z_DATA_ERROR:
        return DEFLATE
    if r != Z_STREAM_END:        # is there more to come? One byte more tells
        s.stream.next_out, s.stream.avail_out = &more, 1
        r = e.inflate(&s.stream, Z_NO_FLUSH)
        if made == j.dst_len and s.stream.avail_out == 0:
            return TOO_LONG
        return DEFLATE if r == Z_DATA_ERROR else TRUNCATED_STREAM
    if used < j.src_len:
        return TRAILING_DATA
    return OK if made == j.dst_len else TOO_SHORT_STREAM


cdef inline int libdeflate_whole(const Engines *e, Scratch *s, Job *j) noexcept nogil:
    cdef size_t used = 0, made = 0
    if (j.dst_len > UNSTOPPABLE or j.src_len > UNSTOPPABLE) and e.init != NULL and not e.alone:
        return zlib_ng_whole(e, s, j)    # a long stream may hold next to nothing: empty blocks
    if s.ld == NULL:
        s.ld = NULL if memory_refused() else e.ld_alloc()
        if s.ld == NULL:
            return MEMORY
    if e.ld_decompress(s.ld, j.src, j.src_room, j.dst, j.dst_room, &used, &made) == 0 \
            and used == j.src_len and made == j.dst_len:
        return OK
    if e.init != NULL and not e.alone:
        return zlib_ng_whole(e, s, j)
    return DEFLATE               # no zlib-ng to say more


cdef inline int ready_lanes(Scratch *s) noexcept nogil:
    if s.lanes != NULL:
        return OK
    s.lanes_memory = memory_zeroed(fz_inflate_state_size() + 64)
    if s.lanes_memory == NULL:
        return MEMORY
    s.lanes = <fz_inflate_state *>(((<uintptr_t>s.lanes_memory) + 63) & ~<uintptr_t>63)
    return OK


cdef inline bint worth_a_lane(const Engines *e, const Job *j) noexcept nogil:
    """Does the batch kernel do single members? Where it is forced; and instead of zlib-ng, since one lane
    alone is 0.98 to 1.19 times as fast, reading included (bench/kernel_fetch.py --alone)."""
    if j.dst_len > LANES_MOST or j.src_len > LANES_MOST:
        return False
    return e.lanes_from == 1 or (e.lanes_from and e.whole == ZLIB_NG and j.dst_len >= FZ_INFLATE_TINY)


cdef inline int whole(const Engines *e, Scratch *s, Job *j) noexcept nogil:
    """One member by itself."""
    cdef fz_inflate_job job
    if worth_a_lane(e, j):
        if ready_lanes(s) != OK:
            return MEMORY
        job.src, job.src_len, job.dst, job.dst_len, job.dst_room = j.src, j.src_len, j.dst, j.dst_len, j.dst_room
        fz_inflate_many(s.lanes, &job, 1)
        return OK if job.status == FZ_INFLATE_DONE else again(e, s, j)
    return libdeflate_whole(e, s, j) if e.whole == LIBDEFLATE else zlib_ng_whole(e, s, j)


cdef inline int again(const Engines *e, Scratch *s, Job *j) noexcept nogil:
    """What the batch kernel refused: zlib-ng has the verdict."""
    if e.alone:
        return DEFLATE
    return zlib_ng_whole(e, s, j) if e.init != NULL else libdeflate_whole(e, s, j)


cdef inline void inflate_many(const Engines *e, Scratch *s, Job *jobs, size_t n) noexcept nogil:
    """Do the jobs in their order: a header may lie on the tail of the row that comes next."""
    cdef size_t i
    cdef Job *j
    for i in range(n):
        j = &jobs[i]
        if j.status != OK:
            continue
        if j.dst_len > QUICK and pool_stopped(j.dst_len > SLOW):
            j.status = INTERRUPTED
            continue
        if not j.stored:
            j.status = whole(e, s, j)
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
        return is_kind(j.kind, p, j.head_len, j.dst_len)
    return memcmp(p, j.head, j.head_len) == 0


cdef inline int deliver(const Engines *e, Job *j) noexcept nogil:
    """The member stands at dst: verify it, and put its payload where it belongs.

    Stored members in memory stand in the archive itself, which somebody may be writing to: there the
    copy is what is verified."""
    cdef int status
    cdef uint8_t *payload = j.dst + j.head_len
    cdef uint32_t crc
    if j.verify and not j.stored:
        status = check_crc(e, 0, j.dst, j.dst_len, j.crc)
        if status != OK:
            return status
    if j.verify and j.stored:
        crc = e.crc(0, j.dst, j.head_len)
        status = move(j.row, payload, j.dst_len - j.head_len)
        if status == OK:
            status = check_crc(e, crc, j.row, j.dst_len - j.head_len, j.crc)
        if status != OK:
            return status
        payload = j.row
    if j.head_len and not begins_right(j, j.dst):
        return OTHER_HEADER
    return move(j.row, payload, j.dst_len - j.head_len)


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
