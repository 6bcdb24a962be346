"""Part of _core.pyx: a batch of rows that is filled while Python goes on."""

@cython.final
@cython.no_gc_clear                       # memory stays until no thread writes into it
cdef class Ahead:
    """What `fetch` does without `rows`, begun now by up to `threads` workers; there are at least
    `workers`, so that several batches can be in work at once.

    Keeps alive all that they read and write, and the archive's descriptor open. When it dies it stops
    them, and waits until they have."""
    cdef Batch batch
    cdef pool_task *task
    cdef Source source
    cdef Directory directory
    cdef bytes head
    cdef const int64_t[::1] positions
    cdef uint8_t[:, :] out
    cdef int32_t[::1] statuses
    cdef int64_t entered
    cdef bint done, waiting

    def __cinit__(self, Source source not None, Directory directory not None,
                  const int64_t[::1] positions not None, uint8_t[:, :] out not None,
                  bytes head not None, unsigned threads, unsigned workers, bint verify,
                  int32_t[::1] statuses not None):
        cdef size_t groups
        self.entered = -1
        self.source, self.directory, self.head = source, directory, head
        self.positions, self.out, self.statuses = positions, out, statuses
        self.done = True
        if not set_rows(&self.batch, source, directory, positions, None, out, head, verify, statuses):
            return
        threads = threads if threads else 1
        groups = divide(&self.batch, threads)
        self.entered = source._enter()
        if self.entered < 0:
            set_all(statuses, CLOSED)
            return
        self.task = pool_start(run_group, &self.batch, groups, threads, workers)
        if self.task == NULL:
            raise MemoryError("cannot allocate a task")
        self.done = False

    def __dealloc__(self):
        self._end()
        if self.entered >= 0:             # there was no memory for a task
            self.source._leave(self.entered)

    cdef void _end(self) noexcept:
        cdef pool_task *task = self.task
        if task == NULL:
            return
        self.task = NULL                  # for other threads, while the lock is released
        with nogil:
            pool_end(task)
        self.source._leave(self.entered)
        self.entered = -1

    def wait(self):
        """Take part until no thread works on the batch any more. Returns True if the statuses tell how
        it went; else it was stopped, or this is a child of a process that forked meanwhile, and the
        rows are undefined. What a signal's handler raises is raised, and then it is stopped."""
        cdef pool_poll poll
        cdef int failed
        if self.task == NULL or self.waiting:
            return self.done
        poll = who_polls()
        self.waiting = True
        with nogil:
            failed = pool_wait(self.task, poll)
        self.waiting = False
        try:
            if failed and PyErr_Occurred() != NULL:
                fz_raise(-1)
        finally:
            self._end()
        if failed == POOL_NO_MEMORY:
            set_all(self.statuses, MEMORY)
        self.done = failed == 0 or failed == POOL_NO_MEMORY
        return self.done

    def stop(self):
        """Have the threads leave the batch as it is, without waiting until they have."""
        if self.task != NULL:
            pool_stop(self.task)

    def cancel(self):
        """Stop; when this returns no thread works on the batch any more, but one that waits for it."""
        if self.waiting:
            pool_stop(self.task)
        else:
            self._end()

    @property
    def finished(self):
        """For tests: have the threads come to the batch's end?"""
        return self.task == NULL or pool_done(self.task)
