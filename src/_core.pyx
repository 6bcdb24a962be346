# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, autotestdict=False
"""The boundary between Python and the native core: buffers and integers in, a status out.

Imports nothing of fastzip. The interpreter lock is released in Directory.__cinit__ and build_table,
Source.read, inflate, crc32, ZipCrypto, read_member, read_front, find_one and run; nothing inside those
blocks touches Python, but for poll_signals, which takes the lock on the caller's thread.
"""
import os
import threading

cimport cython
from cpython.buffer cimport (Py_buffer, PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release,
                             PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_Check
from libc.errno cimport errno
from libc.stddef cimport size_t
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport qsort
from libc.string cimport memchr, memcpy, memset
from batch cimport *
from crypt cimport *
from directory cimport *
from front cimport *
from inflate cimport *
from lanes cimport *
from source cimport *
from status cimport *
from zipdir cimport *

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object s, Py_ssize_t *n) except NULL
    object PyUnicode_DecodeUTF8(const char *p, Py_ssize_t n, const char *errors)
    object PyUnicode_Decode(const char *p, Py_ssize_t n, const char *encoding, const char *errors)
    bint PyUnicode_IS_ASCII(object s)
    int PyErr_CheckSignals() noexcept      # the exception stays set; run() raises it
    void *PyErr_Occurred()

cdef extern from "pool.h" nogil:
    ctypedef void (*pool_work)(void *, size_t, void *) noexcept nogil
    ctypedef int (*pool_poll)(void *) noexcept nogil
    int POOL_NO_MEMORY
    void pool_drop_scratch()
    int pool_run(pool_work work, void *task, size_t groups, unsigned threads, pool_poll poll)
    void pool_init_scratch(void *(*make)() noexcept nogil, void (*destroy)(void *) noexcept nogil)
    void *pool_take_scratch()
    void pool_give_scratch(void *scratch)
    unsigned c_pool_workers "pool_workers"()
    unsigned pool_generation()
    int pool_init()

cdef extern from *:
    """
    static inline int fz_raise(int r) { return r; }    /* -1: an exception is set already */
    #ifdef FASTZIP_LINK_ZLIB_NG
    #include <zlib-ng.h>
    #define FZ_LINKED 1
    #define FZ_ADDRESS(f) ((uintptr_t)(f))
    static int fz_init2(zng_stream *s, int bits, const char *version, int size) {
        (void)version;
        return size == (int)sizeof(zng_stream) ? zng_inflateInit2(s, bits) : Z_VERSION_ERROR;
    }
    static const char *fz_version(void) { return zlibng_version(); }
    static uintptr_t fz_linked(int i) {
        switch (i) {
            case 0: return (uintptr_t)fz_init2;
            case 1: return (uintptr_t)zng_inflate;
            case 2: return (uintptr_t)zng_inflateReset;
            case 3: return (uintptr_t)zng_inflateEnd;
            default: return (uintptr_t)zng_crc32_z;
        }
    }
    #else
    #define FZ_LINKED 0
    static const char *fz_version(void) { return ""; }
    static uintptr_t fz_linked(int i) { (void)i; return 0; }
    #endif
    """
    int fz_raise(int r) except -1
    const bint FZ_LINKED
    const char *fz_version()
    uintptr_t fz_linked(int i)

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


cdef int run(pool_work work, void *arg, size_t groups, unsigned threads) except -1:
    """Run native work without the interpreter lock. The main thread, and no other is told of signals,
    looks for them meanwhile; what their handlers raise is raised.

    Returns POOL_NO_MEMORY, or 0 whatever became of the work."""
    cdef pool_poll poll = NULL
    cdef int failed
    if threading.current_thread() is threading.main_thread():
        poll = poll_signals
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
    """Have the batch kernel do passes of at least so many jobs, 0: none, at this level of CPU. Returns the
    level, or None if this CPU lacks it; then nothing changes."""
    cdef const char *used = fz_inflate_use(NULL) if level is None else fz_inflate_use(level.encode())
    if used == NULL:
        return None
    engines.lanes_from = least
    return used.decode()


def lanes_from():
    """As many jobs as the batch kernel is used for; 0: none."""
    return engines.lanes_from


def inflate_together(list streams not None, list sizes not None, int loop=-1, size_t room=0):
    """For tests: streams through the batch kernel alone, all blocks by this loop (-1: by choice); for each
    its `size` bytes, or None where it was refused."""
    cdef Py_ssize_t i, n = len(streams)
    cdef bytes jobs_memory = bytes(max(n, 1) * sizeof(fz_inflate_job))
    cdef fz_inflate_job *jobs = <fz_inflate_job *>PyBytes_AS_STRING(jobs_memory)
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
        fz_inflate_force(s.lanes, loop)
        fz_inflate_many(s.lanes, jobs, <size_t>n)
        fz_inflate_force(s.lanes, -1)
        pool_give_scratch(s)
    return [out[i][:sizes[i]] if jobs[i].status == FZ_INFLATE_DONE else None for i in range(n)]


def inflate(const uint8_t[::1] data not None, size_t size):
    """`size` bytes out of a raw deflate stream that is exactly `data`, or a status."""
    cdef Job j
    cdef Scratch *s
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    memset(&j, 0, sizeof(Job))
    j.src = &data[0] if data.shape[0] else <const uint8_t *>b""
    j.src_len = j.src_room = <size_t>data.shape[0]
    j.dst, j.dst_len, j.dst_room = <uint8_t *>PyBytes_AS_STRING(out), size, size
    j.row = j.dst
    s = <Scratch *>pool_take_scratch()
    if s == NULL:
        return int(MEMORY)
    with nogil:
        inflate_many(&engines, s, &j, 1)
        pool_give_scratch(s)
    return out if j.status == OK else int(j.status)


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

@cython.final
cdef class Block:
    """Output memory from the arena: 64-byte aligned, writable, returned when its last view dies."""
    cdef arena_block block
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, size_t size, size_t lead=0):
        self.nbytes = <Py_ssize_t>(size + lead)
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
    cdef size_t given = arena_trim()
    pool_drop_scratch()
    return given + arena_trim()


def idle_bytes():
    """Bytes of output memory that lie idle."""
    return arena_idle()


def pool_workers():
    """Worker threads that exist now in this process."""
    return c_pool_workers()

# ----------------------------------------------------------------------------------------- sources

@cython.final
cdef class Source:
    """An archive's bytes: a file descriptor that it owns, or a buffer that it keeps alive.

    Any number of threads may read at once; close() waits for nobody, the last reader closes."""
    cdef Bytes bytes_
    cdef Py_buffer view
    cdef bint has_view
    cdef Py_ssize_t readers
    cdef unsigned generation
    cdef readonly bint closed

    def __cinit__(self, int fd=-1, uint64_t size=0, buffer=None):
        self.closed = True
        self.bytes_.fd = -1
        self.generation = pool_generation()
        if buffer is not None:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
            self.has_view = True
            self.bytes_.base = <const uint8_t *>self.view.buf
            self.bytes_.size = <uint64_t>self.view.len
        else:
            self.bytes_.fd = fd
            self.bytes_.size = size
        self.closed = False

    def __dealloc__(self):
        self._drop()

    cdef void _drop(self) noexcept:
        self.closed = True
        if self.bytes_.fd >= 0:
            close_fd(self.bytes_.fd)
            self.bytes_.fd = -1
        if self.has_view:
            self.has_view = False
            PyBuffer_Release(&self.view)
            self.bytes_.base = NULL

    cdef void _count(self) noexcept:
        """Threads that were reading at a fork don't read in the child."""
        if self.generation != pool_generation():
            self.generation = pool_generation()
            self.readers = 0

    cdef int64_t _enter(self) noexcept:
        """-1 if it is closed, or what _leave wants."""
        if self.closed:
            return -1
        self._count()
        self.readers += 1
        return <int64_t>self.generation

    cdef void _leave(self, int64_t entered) noexcept:
        if entered != <int64_t>self.generation:
            return                        # a signal handler forked, and the child has counted anew
        self.readers -= 1
        if self.closed and self.readers == 0:
            self._drop()

    @property
    def size(self):
        """Bytes, when it was opened."""
        return self.bytes_.size

    def fileno(self):
        """The descriptor, or -1."""
        return self.bytes_.fd

    def close(self):
        """Reads that are under way finish; later ones are refused."""
        self.closed = True
        self._count()
        if self.readers == 0:
            self._drop()

    @property
    def start(self):
        """Where in its file the source begins."""
        return self.bytes_.start

    def part(self, uint64_t offset, uint64_t size):
        """A range of this source as a source of its own, without a copy; or a status."""
        cdef Source out = Source()        # before there is a descriptor that could be lost
        cdef int64_t entered
        cdef int fd
        if offset > self.bytes_.size or size > self.bytes_.size - offset:
            return int(SHORT_READ)
        entered = self._enter()
        if entered < 0:
            return int(CLOSED)
        try:
            if self.bytes_.fd < 0:
                return Source(buffer=memoryview(<object>self.view.obj).cast("B")[offset:offset + size])
            fd = fcntl(self.bytes_.fd, F_DUPFD_CLOEXEC, 0)
            if fd < 0:
                return -errno
            out.bytes_.fd = fd
            out.bytes_.start, out.bytes_.size = self.bytes_.start + offset, size
            return out
        finally:
            self._leave(entered)

    def stat(self):
        """os.fstat of the file; None for memory, and when it is closed."""
        cdef int64_t entered = self._enter()
        if entered < 0:
            return None
        try:
            return None if self.bytes_.fd < 0 else os.fstat(self.bytes_.fd)
        finally:
            self._leave(entered)

    def read(self, uint64_t offset, size_t n):
        """n bytes from offset, or a status."""
        cdef bytes out
        cdef char *p
        cdef int status
        if offset > self.bytes_.size or n > self.bytes_.size - offset:
            return int(SHORT_READ)
        cdef int64_t entered = self._enter()
        if entered < 0:
            return int(CLOSED)
        try:
            out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
            p = PyBytes_AS_STRING(out)
            with nogil:
                status = fill(&self.bytes_, p, offset, n)
        finally:
            self._leave(entered)
        return out if status == OK else status


cdef extern from *:
    """
    #include <fcntl.h>
    #include <unistd.h>
    """
    int F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, ...)
    int close_fd "close"(int fd)

# --------------------------------------------------------------------------------------- directory

cdef struct Sortable:
    uint64_t offset
    uint64_t row


cdef int by_offset(const void *a, const void *b) noexcept nogil:
    cdef uint64_t x = (<const Sortable *>a).offset, y = (<const Sortable *>b).offset
    return (x > y) - (x < y)


cdef struct Opening:
    const Bytes *source
    const Rules *rules
    Place place
    Listing *listing
    Table *table
    uint64_t bad, twin
    int status


cdef void open_directory(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work for an archive that is opened."""
    cdef Opening *o = <Opening *>arg
    o.status = find_directory(o.source, o.rules.strict, &o.place, &o.bad)
    if o.status != OK:
        return
    o.status = walk(o.source, &o.place, o.rules, o.listing)
    if o.status == OK:
        o.status = check_rules(&o.place, o.rules, o.listing)
    o.bad = o.listing.bad_offset
    if o.status == OK and o.rules.strict and o.listing.count:
        o.status = build_table(o.listing, o.table, &o.twin)
        if o.status == OK and o.twin == o.listing.count:
            o.twin = find_twin(o.listing, o.table)
        if o.status == OK and o.twin < o.listing.count:
            o.status = DUPLICATE_NAME
            o.bad = o.listing.rows[o.twin].header_offset


@cython.final
cdef class Directory:
    """The parsed central directory: a row for each member, the name bytes, a table for lookup.

    Rows and names never change. The buffer protocol gives the rows, read-only."""
    cdef Listing listing
    cdef Table table
    cdef Rules rules
    cdef uint64_t *limits
    cdef uint32_t extra_hint
    cdef readonly int status
    cdef readonly uint64_t bad_offset
    cdef readonly int64_t bad_row         # -1, or the member that the status is about
    cdef readonly uint64_t shift          # bytes in front of the archive
    cdef list renamed                     # names from Unicode path extra fields, if there are any …
    cdef dict by_name                     # … and then, the lookup

    def __cinit__(self, Source source not None, uint64_t seed0, uint64_t seed1, bint strict=False,
                  max_members=None, max_total_size=None, max_member_size=None):
        cdef Opening o
        cdef int64_t entered
        self.table.seed0, self.table.seed1 = seed0, seed1
        self.rules.strict = strict
        self.rules.max_members = UINT64_MAX if max_members is None else max_members
        self.rules.max_total_size = UINT64_MAX if max_total_size is None else max_total_size
        self.rules.max_member_size = UINT64_MAX if max_member_size is None else max_member_size
        self.extra_hint = 20              # what NumPy's writer leaves in local headers
        self.bad_row = -1
        memset(&o, 0, sizeof(Opening))
        o.source, o.rules, o.status = &source.bytes_, &self.rules, INTERRUPTED
        o.listing, o.table = &self.listing, &self.table
        entered = source._enter()
        if entered < 0:
            self.status = CLOSED
            return
        try:
            if source.bytes_.size > LONG:
                if run(open_directory, &o, 1, 1) == POOL_NO_MEMORY:
                    o.status = MEMORY
            else:
                with nogil:
                    open_directory(&o, 0, NULL)
        finally:
            source._leave(entered)
        self.shift, self.status, self.bad_offset = o.place.shift, o.status, o.bad
        if o.status == DUPLICATE_NAME:
            self.bad_row = <int64_t>o.twin

    def __dealloc__(self):
        release(&self.listing)
        if self.table.block.ptr != NULL:
            arena_free(&self.table.block)
        memory_give(self.limits)

    def __len__(self):
        return <Py_ssize_t>self.listing.count

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.listing.rows,
                          <Py_ssize_t>(self.listing.count * sizeof(Row)), 1, flags)

    @property
    def nbytes(self):
        """Bytes of rows, names and table."""
        return (self.listing.count * sizeof(Row) + self.listing.names_size
                + (self.table.size * 4 if self.table.slots != NULL else 0))

    @property
    def has_table(self):
        """Has anything been looked up by name?"""
        return self.table.slots != NULL

    cdef int _need_limits(self) noexcept:
        """Where each member must end, for archives that aren't in the order of their offsets; a
        status."""
        cdef uint64_t n = self.listing.count, i, next_ = self.listing.start, at
        cdef Sortable *order
        cdef uint64_t *limits
        if self.listing.ordered or self.limits != NULL:
            return OK
        order = <Sortable *>memory_take(n * sizeof(Sortable))
        limits = <uint64_t *>memory_take(n * sizeof(uint64_t))
        if order == NULL or limits == NULL:
            memory_give(order)
            memory_give(limits)
            return MEMORY
        for i in range(n):
            order[i].offset, order[i].row = self.listing.rows[i].header_offset, i
        qsort(order, n, sizeof(Sortable), by_offset)
        i = n
        while i > 0:                      # members of equal offset overlap: none has room
            i -= 1
            limits[order[i].row] = next_
            at = order[i].offset
            if at < next_:
                next_ = at
            if i + 1 < n and order[i + 1].offset == at:
                limits[order[i].row] = limits[order[i + 1].row] = at
        memory_give(order)
        self.limits = limits
        return OK

    def build_table(self):
        """Prepare the lookup by name; done at the first one otherwise. Returns a status."""
        cdef Table table
        cdef uint64_t twin
        cdef int status
        if self.table.slots != NULL:
            return int(OK)
        memset(&table, 0, sizeof(Table))
        table.seed0, table.seed1 = self.table.seed0, self.table.seed1
        with nogil:
            status = build_table(&self.listing, &table, &twin)
        if self.table.slots != NULL:      # another thread was quicker
            if table.block.ptr != NULL:
                arena_free(&table.block)
        elif status == OK:
            self.table = table
        elif table.block.ptr != NULL:
            arena_free(&table.block)
        return status

    cdef int64_t _find(self, str key, bint npy) except -2:
        """The row of this name, or of this name + ".npy" (if npy); -1: none."""
        cdef Py_ssize_t n
        cdef const char *p
        cdef bytes encoded
        cdef uint64_t row, count = self.listing.count
        cdef char small[256]
        cdef bytes longer
        if self.renamed is not None:
            return self._find_renamed(key, npy)
        if self.table.slots == NULL and count:
            if self.build_table() != OK:
                raise MemoryError("cannot allocate the table of names")
        if count == 0:
            return -1
        if not PyUnicode_IS_ASCII(key):
            return self._find_wide(key, npy)
        p = PyUnicode_AsUTF8AndSize(key, &n)
        row = find_name(&self.listing, &self.table, <const uint8_t *>p, <size_t>n, False)
        if row == count and npy:
            if n <= 252:
                memcpy(small, p, <size_t>n)
                memcpy(small + n, b".npy", 4)
                row = find_name(&self.listing, &self.table, <uint8_t *>small, <size_t>n + 4, False)
            else:
                longer = p[:n] + b".npy"
                row = find_name(&self.listing, &self.table, <const uint8_t *>PyBytes_AS_STRING(longer),
                                <size_t>n + 4, False)
        return <int64_t>row if row < count else -1

    def rename(self, list names not None):
        """Give all members other names, before anybody has looked one up."""
        if len(names) != len(self) or self.renamed is not None:
            raise ValueError("one name for each member, and once")
        self.renamed = names

    cdef int64_t _find_renamed(self, str key, bint npy) except -2:
        if self.by_name is None:
            self.by_name = {name: i for i, name in enumerate(self.renamed)}
        found = self.by_name.get(key, -1)
        if found < 0 and npy:
            found = self.by_name.get(key + ".npy", -1)
        return found

    cdef int64_t _find_wide(self, str key, bint npy) except -2:
        """Names beyond ASCII are written as UTF-8 (flagged) or as code page 437; the last one wins."""
        cdef int64_t best = -1
        cdef uint64_t row
        cdef bytes name
        for suffix in ("", ".npy") if npy else ("",):
            for encoding, utf8 in (("utf-8", True), ("cp437", False)):
                try:
                    name = (key + suffix).encode(encoding, "surrogateescape" if utf8 else "strict")
                except UnicodeEncodeError:
                    continue
                row = find_name(&self.listing, &self.table, <const uint8_t *>PyBytes_AS_STRING(name),
                                <size_t>len(name), utf8)
                if row < self.listing.count and <int64_t>row > best:
                    best = <int64_t>row
            if best >= 0:
                break
        return best

    def find(self, str key not None):
        """The row of the last member of this name, or -1."""
        return self._find(key, False)

    def find_key(self, str key not None):
        """The row that NumPy means by this key: the member `key`, else `key.npy`; or -1."""
        return self._find(key, True)

    def find_keys(self, list keys not None, int64_t[::1] out not None):
        """find_key for a list of names; returns the index of the first unknown one, or -1."""
        cdef Py_ssize_t i
        for i in range(min(len(keys), out.shape[0])):
            key = keys[i]
            if not PyUnicode_Check(key):
                raise TypeError(f"a key must be a name or a position, not {type(key).__name__}")
            out[i] = self._find(str(key) if type(key) is not str else key, True)
            if out[i] < 0:
                return i
        return -1

    def row(self, Py_ssize_t i):
        """(header offset, size, method) of row i; NumPy's own access takes ten times as long."""
        if not 0 <= i < <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        cdef Row *row = self.listing.rows + i
        return row.header_offset, row.size, row.method

    @property
    def start(self):
        """Where the directory begins in the source."""
        return self.listing.start

    @property
    def unicode_paths(self):
        """Does some entry give its name once more, as UTF-8 (APPNOTE 4.6.9)?"""
        return self.listing.unicode_paths

    def record(self, Py_ssize_t i):
        """Where in the source entry i of the directory begins; the one behind the last is its end."""
        if not 0 <= i <= <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        return self.listing.start + record_of(&self.listing, <uint64_t>i)

    def raw_name(self, Py_ssize_t i):
        """The bytes of row i's name."""
        if not 0 <= i < <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        cdef Row *row = self.listing.rows + i
        return (<char *>self.listing.names + row.name_offset)[:row.name_length]

    @property
    def has_nul(self):
        """Does some name hold a NUL byte?"""
        return (self.listing.names_size != 0
                and memchr(self.listing.names, 0, <size_t>self.listing.names_size) != NULL)

    def wide_rows(self):
        """The rows whose names aren't ASCII, as a list."""
        cdef Py_ssize_t i
        cdef Row *row
        cdef list out = []
        for i in range(<Py_ssize_t>self.listing.count):
            row = self.listing.rows + i
            if not ascii_only(self.listing.names + row.name_offset, row.name_length):
                out.append(i)
        return out

    def names(self, Py_ssize_t start, Py_ssize_t stop, bint keys):
        """The names of these rows, decoded (APPNOTE 4.4.4 bit 11, D.1); `keys` drops ".npy"."""
        cdef Py_ssize_t i, n
        cdef Row *row
        cdef const uint8_t *p
        cdef list out = []
        if start < 0 or stop > <Py_ssize_t>self.listing.count:
            raise IndexError((start, stop))
        for i in range(start, stop):
            if self.renamed is not None:
                name = <str>self.renamed[i]
                out.append(name.removesuffix(".npy") if keys else name)
                continue
            row = self.listing.rows + i
            p = self.listing.names + row.name_offset
            n = row.name_length
            if keys and n >= 4 and memcmp(p + n - 4, b".npy", 4) == 0:
                n -= 4
            if row.flags & FLAG_UTF8 or ascii_only(p, <size_t>n):
                out.append(PyUnicode_DecodeUTF8(<const char *>p, n, "surrogateescape"))
            else:
                out.append(PyUnicode_Decode(<const char *>p, n, "cp437", NULL))
        return out

# ----------------------------------------------------------------------------------------- reading

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


def read_member(Source source not None, Directory directory not None, int64_t position,
                size_t lead, bint verify, uint64_t most):
    """The whole member in a new Block, from byte `lead` on; or a status: OTHER_HEADER if it has more
    than `most` bytes, so that somebody looks at its header before memory is taken for all of it.

    Sizes are compared with what the archive can hold before memory is taken."""
    cdef Batch b
    cdef Block block
    cdef int32_t result = INTERRUPTED
    cdef Span span
    cdef Scratch *s
    cdef int64_t entered
    cdef int status
    if not 0 <= position < <int64_t>directory.listing.count:
        raise IndexError(position)
    if directory._need_limits() != OK:
        return int(MEMORY)
    prepare(&b, source, directory, verify)
    b.positions, b.n = &position, 1
    status = look_up(&b, 0, &span)
    if status != OK:
        return int(status)
    if span.row.size > most:
        return int(OTHER_HEADER)
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        block = Block(<size_t>span.row.size, lead)
        b.out = <uint8_t *>block.block.ptr + lead
        b.row_bytes = <size_t>span.row.size
        b.room_behind = SLACK
        b.statuses = &result
        if span.row.size > LONG or span.row.compressed_size > LONG:
            if run(run_group, &b, 1, 1) == POOL_NO_MEMORY:
                result = MEMORY
        else:
            s = <Scratch *>pool_take_scratch()
            if s == NULL:
                return int(MEMORY)
            with nogil:
                run_group(&b, 0, s)
                pool_give_scratch(s)
    finally:
        source._leave(entered)
    return block if result == OK else int(result)


def read_front(Source source not None, Directory directory not None, int64_t position, size_t n):
    """At most n bytes of the member's beginning, unverified; or a status."""
    cdef Batch b
    cdef Scratch *s
    cdef int64_t entered
    cdef int status
    cdef size_t got = 0
    cdef bytes out
    cdef uint8_t *p
    if not 0 <= position < <int64_t>directory.listing.count:
        raise IndexError(position)
    if engines.init == NULL:              # only zlib-ng can stop in the middle
        whole = read_member(source, directory, position, 0, True, UINT64_MAX)
        return whole if isinstance(whole, int) else bytes(memoryview(whole)[:n])
    if directory._need_limits() != OK:
        return int(MEMORY)
    prepare(&b, source, directory, False)
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        p = <uint8_t *>PyBytes_AS_STRING(out)
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY)
        b.positions, b.n = &position, 1
        with nogil:
            status = c_read_front(&b, s, p, n, &got)
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    return out[:got] if status == OK else int(status)


cdef tuple find_one(Source source, Directory directory, int64_t position, bint foreign):
    """(status, where in the source a member's data begin, its local header if it is wanted)."""
    cdef Batch b
    cdef Span p
    cdef Scratch *s
    cdef int64_t entered
    cdef uint64_t offset = 0
    cdef bytes header = b""
    cdef int status
    if not 0 <= position < <int64_t>directory.listing.count:
        raise IndexError(position)
    if directory._need_limits() != OK:
        return int(MEMORY), 0, header
    prepare(&b, source, directory, False)
    b.foreign = foreign
    entered = source._enter()
    if entered < 0:
        return int(CLOSED), 0, header
    try:
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY), 0, header
        b.positions, b.n = &position, 1
        try:
            with nogil:
                status = c_find_data(&b, s, &p, &offset)
            if status == OK and foreign:
                header = (<const char *>p.bytes)[:offset - p.start]
        finally:
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    return status, offset, header


def data_offset(Source source not None, Directory directory not None, int64_t position):
    """(status, where in the source the member's data begin). The row says how many there are."""
    return find_one(source, directory, position, False)[:2]


def locate(Source source not None, Directory directory not None, int64_t position):
    """Where a member's data are and what they are, by whatever method and encrypted or not, all that
    header and directory say of it checked: (offset, compressed size, size, CRC, flags, method, time of
    the local header, local extra field); or a status."""
    cdef Row *row
    cdef bytes header
    status, offset, header = find_one(source, directory, position, True)
    if status != OK:
        return status
    row = directory.listing.rows + position
    return (offset, row.compressed_size, row.size, row.crc, row.flags, row.method,
            le16(<const uint8_t *>PyBytes_AS_STRING(header) + 10), header[LOCAL_SIZE + row.name_length:])


def fetch(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
          const int64_t[::1] rows, uint8_t[:, :] out not None, bytes head not None, unsigned threads,
          bint verify, int32_t[::1] statuses not None):
    """Fill out[rows[i]] (out[i] without rows) with the payload of member positions[i].

    Members must begin with the .npy header `head` and hold a row's bytes after it. statuses[i] tells
    how member i went. Rows must not overlap. Returns when no thread writes into `out` any more."""
    cdef Batch b
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef size_t groups
    cdef int64_t entered
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
        return
    if directory._need_limits() != OK:
        for i in range(n):
            statuses[i] = MEMORY
        return
    prepare(&b, source, directory, verify)
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
    for i in range(n):
        statuses[i] = INTERRUPTED
    if threads == 0:
        threads = 1
    groups = divide(&b, threads)
    entered = source._enter()
    if entered < 0:
        for i in range(n):
            statuses[i] = CLOSED
        return
    try:
        if run(run_group, &b, groups, threads) == POOL_NO_MEMORY:
            for i in range(n):
                statuses[i] = MEMORY
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
    if n == 0 or directory._need_limits() != OK:
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

cdef extern from "files.h" nogil:
    ctypedef struct file_job:
        int folder
        const char *name
        const uint8_t *data
        size_t size
    int file_write(const file_job *job, unsigned long long salt, unsigned long long serial)

cdef struct Writing:
    const file_job *jobs
    size_t n
    unsigned long long salt, serial
    int32_t *statuses


cdef void write_group(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work: eight files."""
    cdef Writing *w = <Writing *>arg
    cdef size_t i
    for i in range(8 * group, 8 * group + 8 if 8 * group + 8 < w.n else w.n):
        if w.statuses[i] != OK:
            continue
        w.statuses[i] = INTERRUPTED if pool_stopped(False) else file_write(w.jobs + i, w.salt, w.serial + i)


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
