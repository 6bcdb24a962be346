"""The engines: inflate whole streams, one after the other. batch/lanes.pxd does several at once.

The functions of zlib-ng and libdeflate are bound by address when fastzip is imported. zlib-ng is the
verdict of last resort: what another engine refuses is tried once more by it.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from runtime.arena cimport arena_alloc, arena_block, arena_free
from runtime.memory cimport memory_refused, memory_zeroed
from runtime.pool cimport pool_stopped
from runtime.status cimport (DEFLATE, INTERRUPTED, MEMORY, OK, TOO_LONG, TOO_SHORT_STREAM,
    TRAILING_DATA, TRUNCATED_STREAM)

cdef extern from "inflate/linked.h" nogil:
    const bint FZ_LINKED
    const char *fz_version()
    uintptr_t fz_linked(int i)

cdef extern from "inflate/interleaved/interleaved.h" nogil:
    enum:
        INTERLEAVED_DONE
        INTERLEAVED_STOPPED
        INTERLEAVED_ROOM
        INTERLEAVED_LANES
        INTERLEAVED_TINY
        INTERLEAVED_LONG_RATIO
        INTERLEAVED_LOOPS
    ctypedef struct interleaved_job:
        const uint8_t *src
        size_t src_len
        uint8_t *dst
        size_t dst_len
        size_t dst_room
        int status
        void *owner
    ctypedef struct interleaved_feed:
        interleaved_job *(*next)(void *) noexcept
        void (*done)(void *, interleaved_job *) noexcept
        bint (*stopped)(void *) noexcept
        void *context
    ctypedef struct interleaved_state:
        pass
    size_t interleaved_state_size()
    void interleaved_run(interleaved_state *state, const interleaved_feed *feed)
    void interleaved_many(interleaved_state *state, interleaved_job *jobs, size_t n)
    uint64_t interleaved_rank(size_t src_len, size_t dst_len)
    const char *interleaved_use(const char *level)
    void interleaved_force(interleaved_state *state, int loop)

cdef enum:                       # Z_*: as in zlib's and zlib-ng's headers
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
    LANES_MOST = 16 << 20        # members above this are none for the interleaved engine: four of them at once
                                 # take a tenth of a second, and nothing stops them in between
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
    size_t lanes_from            # so many jobs are done by the interleaved engine; 0: it isn't in use
    bint lanes_long              # those of long matches as well

cdef enum Whole:
    ZLIB_NG = 0
    LIBDEFLATE = 1

# What a thread needs while it works; see pool.h on how it is kept.
cdef struct Scratch:
    zng_stream stream
    bint stream_ready
    void *ld
    void *lanes_memory           # the interleaved engine's state, and where in it that begins
    interleaved_state *lanes
    arena_block input            # compressed bytes as read from the file
    arena_block output           # a member that can't be inflated where it belongs
    arena_block rooms            # the same, one for each of the interleaved engine's lanes

cdef struct Stream:
    const uint8_t *src
    size_t src_len               # the member's compressed bytes
    size_t src_room              # bytes that may be read from src on, at least src_len
    uint8_t *dst
    size_t dst_len               # the member's size
    size_t dst_room              # bytes that may be written from dst on, at least dst_len


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


cdef inline int zlib_ng_whole(const Engines *e, Scratch *s, Stream *m) noexcept nogil:
    """Room beyond the exact ends keeps zlib-ng in its fast loop up to the last byte, since that needs
    some 15 bytes of input and 260 of output in front of it (14 % on members of 912 bytes). What is
    refused so is tried without: the verdict never depends on bytes that aren't the member's."""
    cdef int status = zlib_ng_within(e, s, m, m.src_room, m.dst_room)
    if status != OK and status != INTERRUPTED and status != MEMORY \
            and (m.src_room > m.src_len or m.dst_room > m.dst_len):
        status = zlib_ng_within(e, s, m, m.src_len, m.dst_len)
    return status


cdef inline int zlib_ng_within(const Engines *e, Scratch *s, Stream *m, size_t in_left,
                               size_t out_left) noexcept nogil:
    cdef int status = ready_stream(e, s), r
    cdef size_t n, used, made
    cdef uint8_t more
    if status != OK:
        return status
    s.stream.next_in, s.stream.avail_in = m.src, 0
    s.stream.next_out, s.stream.avail_out = m.dst, 0
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
    used = <size_t>(s.stream.next_in - m.src)
    made = <size_t>(s.stream.next_out - m.dst)
    if r == Z_MEM_ERROR:
        return MEMORY
    if made > m.dst_len:
        return TOO_LONG
    if used > m.src_len:
        return TRUNCATED_STREAM  # it went on into what stands behind the member
    if r == Z_DATA_ERROR:
        return DEFLATE
    if r != Z_STREAM_END:        # is there more to come? One byte more tells
        s.stream.next_out, s.stream.avail_out = &more, 1
        r = e.inflate(&s.stream, Z_NO_FLUSH)
        if made == m.dst_len and s.stream.avail_out == 0:
            return TOO_LONG
        return DEFLATE if r == Z_DATA_ERROR else TRUNCATED_STREAM
    if used < m.src_len:
        return TRAILING_DATA
    return OK if made == m.dst_len else TOO_SHORT_STREAM


cdef inline int libdeflate_whole(const Engines *e, Scratch *s, Stream *m) noexcept nogil:
    cdef size_t used = 0, made = 0
    if (m.dst_len > UNSTOPPABLE or m.src_len > UNSTOPPABLE) and e.init != NULL and not e.alone:
        return zlib_ng_whole(e, s, m)    # a long stream may hold next to nothing: empty blocks
    if s.ld == NULL:
        s.ld = NULL if memory_refused() else e.ld_alloc()
        if s.ld == NULL:
            return MEMORY
    if e.ld_decompress(s.ld, m.src, m.src_room, m.dst, m.dst_room, &used, &made) == 0 \
            and used == m.src_len and made == m.dst_len:
        return OK
    if e.init != NULL and not e.alone:
        return zlib_ng_whole(e, s, m)
    return DEFLATE               # no zlib-ng to say more


cdef inline int ready_lanes(Scratch *s) noexcept nogil:
    if s.lanes != NULL:
        return OK
    s.lanes_memory = memory_zeroed(interleaved_state_size() + 64)
    if s.lanes_memory == NULL:
        return MEMORY
    s.lanes = <interleaved_state *>(((<uintptr_t>s.lanes_memory) + 63) & ~<uintptr_t>63)
    return OK


cdef inline bint worth_a_lane(const Engines *e, const Stream *m) noexcept nogil:
    """Does the interleaved engine do single members? Where it is forced; and instead of zlib-ng, since one lane
    alone is 0.98 to 1.19 times as fast, reading included (bench/kernel_fetch.py --alone)."""
    if m.dst_len > LANES_MOST or m.src_len > LANES_MOST:
        return False
    return e.lanes_from == 1 or (e.lanes_from and e.whole == ZLIB_NG and m.dst_len >= INTERLEAVED_TINY)


cdef inline int whole(const Engines *e, Scratch *s, Stream *m) noexcept nogil:
    """One member by itself."""
    cdef interleaved_job job
    if worth_a_lane(e, m):
        if ready_lanes(s) != OK:
            return MEMORY
        job.src, job.src_len = m.src, m.src_len
        job.dst, job.dst_len, job.dst_room = m.dst, m.dst_len, m.dst_room
        interleaved_many(s.lanes, &job, 1)
        return OK if job.status == INTERLEAVED_DONE else again(e, s, m)
    return libdeflate_whole(e, s, m) if e.whole == LIBDEFLATE else zlib_ng_whole(e, s, m)


cdef inline int again(const Engines *e, Scratch *s, Stream *m) noexcept nogil:
    """What the interleaved engine refused: zlib-ng has the verdict."""
    if e.alone:
        return DEFLATE
    return zlib_ng_whole(e, s, m) if e.init != NULL else libdeflate_whole(e, s, m)


