"""Part of _core.pyx: where an archive's bytes come from, with an owner."""

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
