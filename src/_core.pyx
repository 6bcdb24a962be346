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

# One module, in parts that a reader can hold in mind.
include "source.pxi"
include "directory.pxi"
include "reading.pxi"
include "unequal.pxi"
include "ahead.pxi"
