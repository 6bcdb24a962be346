# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, autotestdict=False
"""The boundary between Python and the native core: buffers and integers in, a status out.

Imports nothing of fastzip. The interpreter lock is released in Directory.__cinit__ and build_table,
Source.read, inflate, crc32, ZipCrypto, read_one, read_front, locate, run and Ahead; nothing inside
those blocks touches Python, but for poll_signals, which takes the lock on the caller's thread.
"""
import os
import threading

cimport cython
from cpython.buffer cimport (Py_buffer, PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release,
                             PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_ITEM
from cpython.unicode cimport PyUnicode_Check, PyUnicode_CheckExact
from libc.errno cimport errno
from libc.stddef cimport size_t
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport qsort
from libc.string cimport memchr, memcmp, memcpy, memset, strcmp, strlen
from batch.filling cimport ROWS, Filling, fill_group
from batch.front cimport FRONTS, Looking, c_find_data, c_read_front, look_at_group
from batch.groups cimport divide, run_group
from batch.jobs cimport HEAD_MOST, SLACK
from batch.kinds cimport Kind, holds_rows
from batch.members cimport Batch, Span, look_up
from inflate.engines cimport (FZ_LINKED, INTERLEAVED_DONE, LIBDEFLATE, RAW, ZLIB_NG, Z_OK, Engines,
    Scratch, Stream, alloc_fn, crc_fn, decompress_fn, free_fn, fz_linked, fz_version, inflate_fn,
    init_fn, interleaved_force, interleaved_job, interleaved_many, interleaved_use, ready_lanes,
    stream_fn, trim, whole, zng_stream)
from runtime.arena cimport (arena_alloc, arena_block, arena_expect, arena_free, arena_idle,
    arena_init, arena_trim)
from runtime.files cimport Writing, file_job, write_group
from runtime.memory cimport memory_give, memory_refuse, memory_take, memory_zeroed
from runtime.pool cimport (POOL_NO_MEMORY, c_pool_workers, pool_done, pool_drop_scratch, pool_end,
    pool_generation, pool_give_scratch, pool_init, pool_init_scratch, pool_leave, pool_poll,
    pool_run, pool_start, pool_stop, pool_take_scratch, pool_task, pool_wait, pool_work)
from runtime.source cimport Bytes, fill
from runtime.status cimport (CLOSED, DUPLICATE_NAME, INTERRUPTED, MEMORY, OK, OTHER_HEADER,
    SHORT_READ, STATUS_COUNT, status_codes)
from zip.crypt cimport Keys, begin, decrypt, make_cipher_table, stir
from zip.directory cimport (Listing, Place, Rules, Table, ask_for_name, build_table, check_rules,
    find_directory, find_name, find_twin, prefetch, record_of, release, same_entry, walk)
from zip.records cimport FLAG_UTF8, LOCAL_SIZE, Row, ascii_only, le16

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object s, Py_ssize_t *n) except NULL
    object PyUnicode_DecodeUTF8(const char *p, Py_ssize_t n, const char *errors)
    object PyUnicode_Decode(const char *p, Py_ssize_t n, const char *encoding, const char *errors)
    bint PyUnicode_IS_ASCII(object s)
    int PyErr_CheckSignals() noexcept      # the exception stays set; run() raises it
    void *PyErr_Occurred()

cdef extern from *:
    """
    static inline int fz_raise(int r) { return r; }    /* -1: an exception is set already */
    """
    int fz_raise(int r) except -1

STATUS_CODES = tuple([status_codes[i].decode() for i in range(STATUS_COUNT)])

# ------------------------------------------------------------------------------- engines, scratch

cdef Engines engines
memset(&engines, 0, sizeof(Engines))


cdef void *make_scratch() noexcept nogil:
    return memory_zeroed(sizeof(Scratch))


cdef void destroy_scratch(void *p) noexcept nogil:
    cdef Scratch *s = <Scratch *>p
    if s.stream_ready:
        engines.end(&s.stream)
    if s.ld != NULL:
        engines.ld_free(s.ld)
    if s.input.ptr != NULL:
        arena_free(&s.input)
    if s.output.ptr != NULL:
        arena_free(&s.output)
    if s.rooms.ptr != NULL:
        arena_free(&s.rooms)
    memory_give(s.lanes_memory)
    memory_give(s)


def fail_allocation(size_t nth):
    """For tests: the nth allocation of the native core from now on fails, once; 0: none.

    Returns how many allocations were made since the last call that named one."""
    return memory_refuse(nth)


cdef int poll_signals(void *task) noexcept nogil:
    with gil:
        return PyErr_CheckSignals()


cdef enum:
    LONG = 1 << 20                        # bytes from which on a call is worth a look for Ctrl-C


cdef pool_poll who_polls() except *:
    """Only the main thread is told of signals."""
    cdef pool_poll poll = NULL
    if threading.current_thread() is threading.main_thread():
        poll = poll_signals
    return poll


cdef int run(pool_work work, void *arg, size_t groups, unsigned threads) except -1:
    """Run native work without the interpreter lock. The main thread looks for signals meanwhile; what
    their handlers raise is raised.

    Returns POOL_NO_MEMORY, or 0 whatever became of the work."""
    cdef pool_poll poll = who_polls()
    cdef int failed
    with nogil:
        failed = pool_run(work, arg, groups, threads, poll)
    if failed and PyErr_Occurred() != NULL:
        fz_raise(-1)
    return failed if failed == POOL_NO_MEMORY else 0


make_cipher_table()
pool_init_scratch(make_scratch, destroy_scratch)
if arena_init() or pool_init():
    raise MemoryError("no memory for the fork handlers")


def linked_zlib_ng():
    """(version, addresses) of the zlib-ng that this module was linked with, or None."""
    if not FZ_LINKED:
        return None
    return fz_version().decode(), [fz_linked(i) for i in range(5)]


def bind_zlib_ng(uintptr_t init, uintptr_t inflate, uintptr_t reset, uintptr_t end, uintptr_t crc):
    """Bind zng_inflateInit2_, zng_inflate, zng_inflateReset, zng_inflateEnd, zng_crc32_z by address,
    and say whether zlib-ng accepts our layout of its stream. With zeros: forget it."""
    cdef zng_stream probe
    memset(&probe, 0, sizeof(zng_stream))
    if init and ((<init_fn>init)(&probe, RAW, b"2.0.0", sizeof(zng_stream)) != Z_OK
                 or (<stream_fn>end)(&probe) != Z_OK):
        return False
    pool_drop_scratch()                   # its streams belong to the one bound before
    engines.init = <init_fn>init
    engines.inflate = <inflate_fn>inflate
    engines.reset = <stream_fn>reset
    engines.end = <stream_fn>end
    engines.zng_crc = <crc_fn>crc
    engines.crc = engines.zng_crc
    return True


def bind_libdeflate(uintptr_t alloc, uintptr_t free_, uintptr_t decompress_ex, uintptr_t crc):
    """Bind libdeflate_alloc_decompressor, _free_decompressor, _deflate_decompress_ex, _crc32.
    With zeros: forget it."""
    pool_drop_scratch()
    engines.ld_alloc = <alloc_fn>alloc
    engines.ld_free = <free_fn>free_
    engines.ld_decompress = <decompress_fn>decompress_ex
    engines.ld_crc = <crc_fn>crc


def use_engine(bint libdeflate, bint alone=False):
    """Choose the engine for whole members and for CRCs; `alone`: zlib-ng has no last word."""
    engines.whole = LIBDEFLATE if libdeflate else ZLIB_NG
    engines.crc = engines.ld_crc if libdeflate else engines.zng_crc
    engines.alone = alone


def use_lanes(size_t least, level=None):
    """Have the interleaved engine do passes of at least so many jobs, 0: none, at this level of CPU, and
    single ones where libdeflate isn't the engine. Returns the level, or None if this CPU lacks it; then
    nothing changes."""
    cdef const char *used = interleaved_use(NULL) if level is None else interleaved_use(level.encode())
    if used == NULL:
        return None
    engines.lanes_from = least
    # Told of room behind the input, libdeflate makes up to 1.2 times as much of long matches as AVX2 does.
    engines.lanes_long = strcmp(used, b"avx512") == 0
    return used.decode()


def lanes_from():
    """As many jobs as the interleaved engine is used for; 0: none."""
    return engines.lanes_from


def inflate_together(list streams not None, list sizes not None, int loop=-1, size_t room=0):
    """For tests: streams through the interleaved engine alone, all blocks by this loop (-1: by choice); for
    each its `size` bytes, or None where it was refused."""
    cdef Py_ssize_t i, n = len(streams)
    cdef bytes jobs_memory = bytes(max(n, 1) * sizeof(interleaved_job))
    cdef interleaved_job *jobs = <interleaved_job *>PyBytes_AS_STRING(jobs_memory)
    cdef Scratch *s
    cdef bytes stream
    cdef list out = []
    for i in range(n):
        stream = streams[i]
        out.append(PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(<size_t>sizes[i] + room)))
        jobs[i].src, jobs[i].src_len = <const uint8_t *>PyBytes_AS_STRING(stream), <size_t>len(stream)
        jobs[i].dst = <uint8_t *>PyBytes_AS_STRING(out[i])
        jobs[i].dst_len, jobs[i].dst_room = sizes[i], <size_t>sizes[i] + room
    s = <Scratch *>pool_take_scratch()
    if s == NULL or ready_lanes(s) != OK:
        raise MemoryError
    with nogil:
        interleaved_force(s.lanes, loop)
        interleaved_many(s.lanes, jobs, <size_t>n)
        interleaved_force(s.lanes, -1)
        pool_give_scratch(s)
    return [out[i][:sizes[i]] if jobs[i].status == INTERLEAVED_DONE else None for i in range(n)]


def inflate(const uint8_t[::1] data not None, size_t size):
    """`size` bytes out of a raw deflate stream that is exactly `data`, or a status."""
    cdef Stream m
    cdef Scratch *s
    cdef int status
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    m.src = &data[0] if data.shape[0] else <const uint8_t *>b""
    m.src_len = m.src_room = <size_t>data.shape[0]
    m.dst, m.dst_len, m.dst_room = <uint8_t *>PyBytes_AS_STRING(out), size, size
    s = <Scratch *>pool_take_scratch()
    if s == NULL:
        return int(MEMORY)
    with nogil:
        status = whole(&engines, s, &m)
        pool_give_scratch(s)
    return out if status == OK else status


def crc32(const uint8_t[::1] data not None, uint32_t start=0):
    """CRC-32 as ZIP uses it (APPNOTE 4.4.7), continued from `start`."""
    if data.shape[0]:
        with nogil:
            start = engines.crc(start, &data[0], <size_t>data.shape[0])
    return start


@cython.final
cdef class ZipCrypto:
    """Traditional encryption (APPNOTE 6.1) with this password, from a member's first byte on."""
    cdef Keys keys

    def __cinit__(self, const uint8_t[::1] password not None):
        cdef Py_ssize_t i
        begin(&self.keys)
        for i in range(password.shape[0]):
            stir(&self.keys, password[i])

    def decrypt(self, uint8_t[::1] data not None):
        """Decrypt the member's next bytes, where they are."""
        if data.shape[0]:
            with nogil:
                decrypt(&self.keys, &data[0], <size_t>data.shape[0])

# ------------------------------------------------------------------------------------------ memory

cdef list leaving = []                    # of Work: stopped, and not yet left by the last thread


cdef int reap() except -1:
    """Let go of what the last thread has left meanwhile."""
    global leaving
    cdef list mine = leaving
    cdef Work work
    leaving = []                          # for other threads, while one is let go
    for work in mine:
        if not pool_leave(work.task, False):
            leaving.append(work)
    return 0


@cython.final
cdef class Block:
    """Output memory from the arena: 64-byte aligned, writable, returned when its last view dies."""
    cdef arena_block block
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, size_t size, size_t lead=0):
        self.nbytes = <Py_ssize_t>(size + lead)
        if leaving:                       # they may have left memory meanwhile
            reap()
        if size > (<size_t>1 << 62) or arena_alloc(&self.block, size + lead + SLACK):
            self.block.ptr = NULL
            raise MemoryError(f"cannot allocate {size:,} bytes")

    def __dealloc__(self):
        if self.block.ptr != NULL:
            arena_free(&self.block)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.block.ptr, self.nbytes, 0, flags)

    def startswith(self, bytes prefix not None, Py_ssize_t at):
        """Does the memory hold `prefix` from byte `at` on?"""
        cdef Py_ssize_t n = len(prefix)
        return at <= self.nbytes - n and memcmp(<uint8_t *>self.block.ptr + at,
                                                PyBytes_AS_STRING(prefix), <size_t>n) == 0


def expect_batch(size_t size):
    """Batches of this many bytes are in use, so two of them may lie idle."""
    arena_expect(size + SLACK)


def trim_arena():
    """Give idle memory back to the system; returns how many bytes of it were for output."""
    cdef size_t given
    reap()
    given = arena_trim()
    pool_drop_scratch()
    return given + arena_trim()


def idle_bytes():
    """Bytes of output memory that lie idle."""
    return arena_idle()


def pool_workers():
    """Worker threads that exist now in this process."""
    return c_pool_workers()

# The larger classes are a file each; docs/architecture.md says why they are included.
include "source.pxi"
include "directory.pxi"

# ------------------------------------------------------------------------------------ members, rows

cdef void prepare(Batch *b, Source source, Directory directory, bint verify) noexcept:
    memset(b, 0, sizeof(Batch))
    b.source = &source.bytes_
    b.listing = &directory.listing
    b.rules = &directory.rules
    b.limits = directory.limits
    b.extra_hint = &directory.extra_hint
    b.engines = &engines
    b.verify = verify
    b.group = b.last_group = 1


cdef int of_one(Batch *b, Source source, Directory directory, const int64_t *position,
                bint verify) except? -1:
    """Make it a batch of one member; a status."""
    if not 0 <= position[0] < <int64_t>directory.listing.count:
        raise IndexError(position[0])
    cdef int status = directory._need_limits(source)
    prepare(b, source, directory, verify)
    b.positions, b.n = position, 1
    return status


cdef int read_one(Batch *b, Source source, const Row *row, void *out, size_t room_behind) except? -1:
    """The whole member to `out`; a status."""
    cdef int32_t result = INTERRUPTED
    cdef Scratch *s
    cdef int64_t entered = source._enter()
    if entered < 0:
        return CLOSED
    b.out, b.row_bytes, b.room_behind = <uint8_t *>out, <size_t>row.size, room_behind
    b.statuses = &result
    try:
        if row.size > LONG or row.compressed_size > LONG:
            if run(run_group, b, 1, 1) == POOL_NO_MEMORY:
                result = MEMORY
        else:
            s = <Scratch *>pool_take_scratch()
            if s == NULL:
                return MEMORY
            with nogil:
                run_group(b, 0, s)
                pool_give_scratch(s)
    finally:
        source._leave(entered)
    return result


def read_member(Source source not None, Directory directory not None, int64_t position,
                size_t lead, bint verify, uint64_t most):
    """The whole member in a new Block, from byte `lead` on; or a status: OTHER_HEADER if it has more
    than `most` bytes, so that somebody looks at its header before memory is taken for all of it.

    Sizes are compared with what the archive can hold before memory is taken."""
    cdef Batch b
    cdef Span span
    cdef Block block
    cdef int status = of_one(&b, source, directory, &position, verify)
    if status == OK:
        status = look_up(&b, 0, &span)
    if status != OK:
        return int(status)
    if span.row.size > most:
        return int(OTHER_HEADER)
    block = Block(<size_t>span.row.size, lead)
    status = read_one(&b, source, span.row, <uint8_t *>block.block.ptr + lead, SLACK)
    return block if status == OK else int(status)


def read_bytes(Source source not None, Directory directory not None, int64_t position, bint verify):
    """The whole member as bytes, inflated right there if it isn't small; or a status."""
    cdef Batch b
    cdef Span span
    cdef bytes out
    cdef int status = of_one(&b, source, directory, &position, verify)
    if status == OK:
        status = look_up(&b, 0, &span)
    if status != OK:
        return int(status)
    if span.row.size > <uint64_t>1 << 62:
        return int(MEMORY)
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>span.row.size)
    status = read_one(&b, source, span.row, PyBytes_AS_STRING(out), 0)
    return out if status == OK else int(status)


def read_front(Source source not None, Directory directory not None, int64_t position, size_t n):
    """At most n bytes of the member's beginning, unverified; or a status."""
    cdef Batch b
    cdef Scratch *s
    cdef int64_t entered
    cdef int status = of_one(&b, source, directory, &position, False)
    cdef size_t got = 0
    cdef bytes out
    cdef uint8_t *p
    if status != OK:
        return int(status)
    if engines.init == NULL:              # only zlib-ng can stop in the middle
        whole = read_bytes(source, directory, position, True)
        return whole if isinstance(whole, int) else whole[:n]
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        p = <uint8_t *>PyBytes_AS_STRING(out)
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY)
        with nogil:
            status = c_read_front(&b, s, p, n, &got)
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    return out[:got] if status == OK else int(status)


def locate(Source source not None, Directory directory not None, int64_t position):
    """Where a member's data are and what they are, by whatever method and encrypted or not, all that
    header and directory say of it checked: (offset, compressed size, size, CRC, flags, method; and of the
    local header time, flags, extra field); or a status."""
    cdef Batch b
    cdef Row *row
    cdef Span p
    cdef Scratch *s
    cdef int64_t entered
    cdef uint64_t offset = 0
    cdef bytes header = b""
    cdef const uint8_t *local
    cdef int status = of_one(&b, source, directory, &position, False)
    if status != OK:
        return int(status)
    b.foreign = True
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY)
        try:
            with nogil:
                status = c_find_data(&b, s, &p, &offset)
            if status == OK:
                header = (<const char *>p.bytes)[:offset - p.start]
        finally:
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    if status != OK:
        return int(status)
    row = directory.listing.rows + position
    local = <const uint8_t *>PyBytes_AS_STRING(header)
    return (offset, row.compressed_size, row.size, row.crc, row.flags, row.method,
            le16(local + 10), le16(local + 6), header[LOCAL_SIZE + <size_t>le16(local + 26):])


cdef bint set_rows(Batch *b, Source source, Directory directory, const int64_t[::1] positions,
                   const int64_t[::1] rows, uint8_t[:, :] out, bytes head, bint verify,
                   int32_t[::1] statuses) except -1:
    """Set up a batch of rows, as `fetch` describes it. False if there is nothing to run: the statuses
    tell why."""
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef int status
    if statuses.shape[0] != n or (rows is not None and rows.shape[0] != n):
        raise ValueError("positions, rows and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        if not 0 <= (i if rows is None else rows[i]) < out.shape[0]:
            raise IndexError(f"no row for job {i}")
    if out.shape[1] > 1 and out.strides[1] != 1:
        raise ValueError("rows must be contiguous")
    if out.shape[0] > 1 and abs(out.strides[0]) < out.shape[1]:
        raise ValueError("rows overlap")
    if n == 0:
        return False
    status = directory._need_limits(source)
    if status != OK:
        set_all(statuses, status)
        return False
    prepare(b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    if rows is not None:
        b.rows = &rows[0]
    b.row_bytes = <size_t>out.shape[1]
    b.stride = out.strides[0] if out.shape[0] > 1 else out.shape[1]
    b.out = &out[0, 0] if out.shape[1] else <uint8_t *>PyBytes_AS_STRING(head)
    if not out.shape[1]:
        b.stride = 0
    b.head, b.head_len = <const uint8_t *>PyBytes_AS_STRING(head), <size_t>len(head)
    b.statuses = &statuses[0]
    set_all(statuses, INTERRUPTED)
    return True


cdef void set_all(int32_t[::1] statuses, int status) noexcept:
    cdef Py_ssize_t i
    for i in range(statuses.shape[0]):
        statuses[i] = status


def from_front(int64_t[::1] positions not None, int64_t n):
    """Make positions that count from the end (-1: the last of n) count from the front; returns the index of
    the first one that is out of range, or -1. NumPy's min() and max() take 2 us, and 8 with a cold cache."""
    cdef Py_ssize_t i
    for i in range(positions.shape[0]):
        if not -n <= positions[i] < n:
            return i
        if positions[i] < 0:
            positions[i] += n
    return -1


def fetch(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
          const int64_t[::1] rows, uint8_t[:, :] out not None, bytes head not None, unsigned threads,
          bint verify, int32_t[::1] statuses not None):
    """Fill out[rows[i]] (out[i] without rows) with the payload of member positions[i].

    Members must begin with the .npy header `head` and hold a row's bytes after it. statuses[i] tells
    how member i went. Rows must not overlap. Returns when no thread writes into `out` any more."""
    cdef Batch b
    cdef size_t groups
    cdef int64_t entered
    if not set_rows(&b, source, directory, positions, rows, out, head, verify, statuses):
        return
    if threads == 0:
        threads = 1
    groups = divide(&b, threads)
    entered = source._enter()
    if entered < 0:
        set_all(statuses, CLOSED)
        return
    try:
        if run(run_group, &b, groups, threads) == POOL_NO_MEMORY:
            set_all(statuses, MEMORY)
    finally:
        source._leave(entered)


def read_many(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
              unsigned threads, bint verify, size_t[::1] places not None, int32_t[::1] statuses not None):
    """Whole members of any sizes in one new Block: member positions[i] at places[i], aligned. statuses[i]
    tells how it went. Returns None, and no more than a status each, where there is no memory."""
    cdef Batch b
    cdef Block block
    cdef Span span
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef size_t total = 0, size, groups
    cdef int64_t entered
    cdef int failed
    if statuses.shape[0] != n or places.shape[0] != n:
        raise ValueError("positions, places and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        places[i] = 0
        statuses[i] = MEMORY
    if n == 0:
        return None
    failed = directory._need_limits(source)
    if failed != OK:
        set_all(statuses, failed)
        return None
    prepare(&b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    for i in range(n):                    # only what could be true is given room
        size = 0
        if look_up(&b, <size_t>i, &span) == OK:
            size = <size_t>span.row.size
        places[i] = total
        if size > (<size_t>1 << 62) - total - 64:
            return None
        total += (size + 63) & ~<size_t>63
    try:
        block = Block(total)
    except MemoryError:
        return None
    b.places, b.out, b.row_bytes = &places[0], <uint8_t *>block.block.ptr, total // <size_t>n
    b.statuses = &statuses[0]
    for i in range(n):
        statuses[i] = INTERRUPTED
    groups = divide(&b, threads if threads else 1)
    entered = source._enter()
    if entered < 0:
        for i in range(n):
            statuses[i] = CLOSED
        return block
    try:
        failed = run(run_group, &b, groups, threads)
    finally:
        source._leave(entered)
    if failed == POOL_NO_MEMORY:
        for i in range(n):
            statuses[i] = MEMORY
    return block


# ----------------------------------------------------------------------------------------- writing

def write_files(Block block not None, const size_t[::1] places not None, const size_t[::1] sizes not None,
                list names not None, const int32_t[::1] folders not None, unsigned threads,
                uint64_t salt, uint64_t serial, int32_t[::1] statuses not None):
    """Write the members that read_many has read: sizes[i] bytes at places[i] as names[i] (bytes, no
    slash) in the folder with the descriptor folders[i], where statuses[i] is OK; how it went goes there."""
    cdef Writing w
    cdef Py_ssize_t i, n = places.shape[0]
    cdef file_job *jobs
    cdef bytes name
    if not n == sizes.shape[0] == len(names) == folders.shape[0] == statuses.shape[0]:
        raise ValueError("the arguments differ in length")
    for i in range(n):
        if statuses[i] == OK and (places[i] > <size_t>block.nbytes
                                  or sizes[i] > <size_t>block.nbytes - places[i]):
            raise IndexError(i)
        name = names[i]
        if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise ValueError(f"no name for a file: {name!r}")
    if n == 0:
        return
    jobs = <file_job *>memory_take(<size_t>n * sizeof(file_job))
    if jobs == NULL:
        raise MemoryError("cannot allocate the jobs")
    for i in range(n):
        name = names[i]                   # the list keeps it alive
        jobs[i].folder, jobs[i].name, jobs[i].size = folders[i], PyBytes_AS_STRING(name), sizes[i]
        jobs[i].data = <uint8_t *>block.block.ptr + places[i]
    w.jobs, w.n, w.salt, w.serial, w.statuses = jobs, <size_t>n, salt, serial, &statuses[0]
    try:
        if run(write_group, &w, (<size_t>n + 7) // 8, threads if threads else 1) == POOL_NO_MEMORY:
            raise MemoryError("cannot allocate the scratch memory")
    finally:
        memory_give(jobs)

# ------------------------------------------------------------------------------------- unequal rows

cdef Kind *take_kinds(list kinds) except? NULL:
    """The kinds, out of tuples (text, before, head_len, unit); they stay valid as long as the list does."""
    cdef Py_ssize_t i, n = len(kinds)
    cdef Kind *out = <Kind *>memory_take(<size_t>max(n, 1) * sizeof(Kind))
    cdef bytes text
    cdef size_t before, head_len
    cdef uint64_t unit
    if out == NULL:
        raise MemoryError("cannot allocate the kinds")
    try:
        for i in range(n):
            text, before, head_len, unit = kinds[i]
            if unit == 0 or not before <= <size_t>len(text) < head_len:
                raise ValueError(kinds[i])
            out[i].text, out[i].before = <const uint8_t *>PyBytes_AS_STRING(text), before
            out[i].behind, out[i].head_len, out[i].unit = <size_t>len(text) - before, head_len, unit
    except BaseException:
        memory_give(out)
        raise
    return out


# --------------------------------------------------------------------------------------- the kinds

def find_kinds(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
               list kinds not None, unsigned threads, int32_t[::1] found not None):
    """found[i]: which of the kinds, a tuple (text, before, head_len, unit) each, the header of member
    positions[i] is, as its front and the directory say, unverified; -1 where it is none or can't be read."""
    cdef Batch b
    cdef Looking l
    cdef Kind *own
    cdef Py_ssize_t i, n = positions.shape[0]
    cdef int64_t entered
    if found.shape[0] != n:
        raise ValueError("positions and found differ in length")
    for i in range(n):
        found[i] = -1
        if not 0 <= positions[i] < <int64_t>directory.listing.count:
            raise IndexError(f"no member at position {positions[i]}")
    # Only zlib-ng can stop in the middle.
    if n == 0 or not kinds or engines.init == NULL or directory._need_limits(source) != OK:
        return
    prepare(&b, source, directory, False)
    b.positions, b.n = &positions[0], <size_t>n
    own = take_kinds(kinds)
    l.batch, l.kinds, l.n_kinds, l.front, l.found = &b, own, <size_t>len(kinds), 0, &found[0]
    try:
        for i in range(len(kinds)):
            if own[i].head_len > HEAD_MOST:
                raise ValueError(kinds[i])
            l.front = max(l.front, own[i].head_len)
        entered = source._enter()
        if entered < 0:
            return
        try:
            run(look_at_group, &l, (<size_t>n + FRONTS - 1) // FRONTS, threads if threads else 1)
        finally:
            source._leave(entered)
    finally:
        memory_give(own)

# -------------------------------------------------------------------------------------- the members

cdef bint set_parts(Batch *b, Source source, Directory directory, const int64_t[::1] positions,
                    const Kind *kinds, Py_ssize_t n_kinds, const int32_t[::1] which,
                    const size_t[::1] places, uint8_t[::1] out, bint verify,
                    int32_t[::1] statuses) except -1:
    """Set up a batch of parts, as `fetch_parts` describes it. False if there is nothing to run: the
    statuses tell why."""
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef size_t total = 0, at = 0
    cdef uint64_t size
    cdef int status
    if not n == which.shape[0] == places.shape[0] == statuses.shape[0]:
        raise ValueError("positions, which, places and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        if not 0 <= which[i] < n_kinds:
            raise IndexError(f"no kind {which[i]}")
        size = directory.listing.rows[positions[i]].size
        if not holds_rows(&kinds[which[i]], size):
            raise ValueError(f"member {positions[i]} is of another kind")
        size -= kinds[which[i]].head_len
        if places[i] < at or places[i] > <size_t>out.shape[0] or size > <size_t>out.shape[0] - places[i]:
            raise IndexError(f"no place for job {i}")
        at = places[i] + <size_t>size
        total += <size_t>size
    if n == 0:
        return False
    status = directory._need_limits(source)
    if status != OK:
        set_all(statuses, status)
        return False
    prepare(b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    b.kinds, b.which, b.places = kinds, &which[0], &places[0]
    b.out = &out[0] if out.shape[0] else <uint8_t *>kinds    # nothing is written there
    b.row_bytes = total // <size_t>n
    b.statuses = &statuses[0]
    set_all(statuses, INTERRUPTED)
    return True


def fetch_parts(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
                list kinds not None, const int32_t[::1] which not None, const size_t[::1] places not None,
                uint8_t[::1] out not None, unsigned threads, bint verify, int32_t[::1] statuses not None):
    """Put the payload of member positions[i], whose header is of the kind kinds[which[i]], at out[places[i]].

    Places rise, and each member ends where the next one begins, or before. Between them nothing is
    changed when this returns, though headers may have lain there meanwhile. statuses[i] tells how member
    i went. When it returns no thread writes into `out` any more."""
    cdef Batch b
    cdef Kind *own = take_kinds(kinds)
    cdef int64_t entered
    try:
        if not set_parts(&b, source, directory, positions, own, len(kinds), which, places, out, verify,
                         statuses):
            return
        entered = source._enter()
        if entered < 0:
            set_all(statuses, CLOSED)
            return
        try:
            if run(run_group, &b, divide(&b, threads if threads else 1), threads) == POOL_NO_MEMORY:
                set_all(statuses, MEMORY)
        finally:
            source._leave(entered)
    finally:
        memory_give(own)

# ---------------------------------------------------------------------------------------- filling up

def fill_rows(uint8_t[:, ::1] out not None, const size_t[::1] used not None, bytes value not None,
              unsigned threads):
    """Fill each row behind its first used[i] bytes with the value, again and again."""
    cdef Filling f
    cdef Py_ssize_t i, n = out.shape[0]
    cdef size_t row_bytes = <size_t>out.shape[1], unit = <size_t>len(value)
    if used.shape[0] != n or unit == 0 or row_bytes % unit:
        raise ValueError("rows, used and value don't fit together")
    for i in range(n):
        if used[i] > row_bytes or (row_bytes - used[i]) % unit:
            raise IndexError(i)
    if n == 0 or row_bytes == 0:
        return
    f.out, f.n, f.row_bytes, f.unit, f.used = &out[0, 0], <size_t>n, row_bytes, unit, &used[0]
    f.value = <const uint8_t *>PyBytes_AS_STRING(value)
    f.one_byte = value.count(value[:1]) == len(value)
    if run(fill_group, &f, (<size_t>n + ROWS - 1) // ROWS, threads if threads else 1) == POOL_NO_MEMORY:
        raise MemoryError("cannot allocate the scratch memory")

include "work.pxi"
include "ahead.pxi"
