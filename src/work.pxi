"""Part of _core.pyx: what the threads of a batch work on, kept alive."""

@cython.final
@cython.no_gc_clear                       # memory stays until no thread writes into it
cdef class Work:
    """All that the threads of one batch read and write, kept alive; the archive's descriptor stays open.

    When it dies it stops them, and waits until they have."""
    cdef Batch batch
    cdef pool_task *task
    cdef Source source
    cdef Directory directory
    cdef object kept                      # the bytes that the batch's header or kinds point to
    cdef Kind *kinds
    cdef const int64_t[::1] positions
    cdef const int32_t[::1] which
    cdef const size_t[::1] places
    cdef uint8_t[:, :] rows
    cdef uint8_t[::1] parts
    cdef int32_t[::1] statuses
    cdef int64_t entered

    def __cinit__(self, Source source not None, Directory directory not None,
                  const int64_t[::1] positions not None, int32_t[::1] statuses not None):
        self.entered = -1
        self.source, self.directory, self.positions, self.statuses = source, directory, positions, statuses

    def __dealloc__(self):
        self.end()
        if self.entered >= 0:             # there was no memory for a task
            self.source._leave(self.entered)
        memory_give(self.kinds)

    cdef void end(self) noexcept:
        cdef pool_task *task = self.task
        if task == NULL:
            return
        self.task = NULL                  # for other threads, while the lock is released
        with nogil:
            pool_end(task)
        self.source._leave(self.entered)
        self.entered = -1
