"""Part of _core.pyx: a batch that is filled while Python goes on."""

@cython.final
@cython.no_gc_clear
cdef class Ahead:
    """What `fetch_ahead` or `fetch_parts_ahead` has begun.

    When it dies it stops the threads. Those that have a long member in hand aren't waited for: until the
    last one has left, its work is kept among the `leaving`."""
    cdef Work work
    cdef bint done, waiting

    def __cinit__(self, Source source not None, Directory directory not None,
                  const int64_t[::1] positions not None, int32_t[::1] statuses not None):
        self.done = True
        self.work = Work(source, directory, positions, statuses)
        if leaving:
            reap()

    cdef int _start(self, unsigned threads, unsigned workers) except -1:
        """Begin the batch that was set up."""
        cdef size_t groups
        cdef Work work = self.work
        threads = threads if threads else 1
        groups = divide(&work.batch, threads)
        work.entered = work.source._enter()
        if work.entered < 0:
            set_all(work.statuses, CLOSED)
            return 0
        work.task = pool_start(run_group, &work.batch, groups, threads, workers)
        if work.task == NULL:
            raise MemoryError("cannot allocate a task")
        self.done = False
        return 0

    def __dealloc__(self):
        cdef bint gone
        cdef bint patient = not leaving   # for the first of several, and not for each
        cdef pool_task *task = NULL if self.work is None else self.work.task
        if task == NULL:
            return
        with nogil:
            gone = pool_leave(task, patient)
        if not gone:
            leaving.append(self.work)

    def wait(self):
        """Take part until no thread works on the batch any more. Returns True if the statuses tell how
        it went; else it was stopped, or this is a child of a process that forked meanwhile, and the
        rows are undefined.

        What a signal's handler raises is raised at once, and the batch is stopped; threads may go on
        with the members they have in hand, until a second call returns."""
        cdef pool_poll poll
        cdef int failed
        if self.work.task == NULL or self.waiting:
            return self.done
        poll = who_polls()
        self.waiting = True
        with nogil:
            failed = pool_wait(self.work.task, poll)
        self.waiting = False
        if failed and PyErr_Occurred() != NULL:
            fz_raise(-1)
        self.work.end()
        if failed == POOL_NO_MEMORY:
            set_all(self.work.statuses, MEMORY)
        self.done = failed == 0 or failed == POOL_NO_MEMORY
        return self.done

    def stop(self):
        """Have the threads leave the batch as it is, without waiting until they have."""
        if self.work.task != NULL:
            pool_stop(self.work.task)

    def cancel(self):
        """Stop; when this returns no thread works on the batch any more, but one that waits for it."""
        if self.waiting:
            pool_stop(self.work.task)
        else:
            self.work.end()

    @property
    def finished(self):
        """For tests: have the threads come to the batch's end?"""
        return self.work.task == NULL or pool_done(self.work.task)


def fetch_ahead(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
                uint8_t[:, :] out not None, bytes head not None, unsigned threads, unsigned workers,
                bint verify, int32_t[::1] statuses not None):
    """What `fetch` does without `rows`, begun now by up to `threads` workers; there are at least
    `workers`, so that several batches can be in work at once."""
    cdef Ahead ahead = Ahead(source, directory, positions, statuses)
    cdef Work work = ahead.work
    work.kept, work.rows = head, out
    if set_rows(&work.batch, source, directory, work.positions, None, work.rows, head, verify, work.statuses):
        ahead._start(threads, workers)
    return ahead


def fetch_parts_ahead(Source source not None, Directory directory not None,
                      const int64_t[::1] positions not None, list kinds not None,
                      const int32_t[::1] which not None, const size_t[::1] places not None,
                      uint8_t[::1] out not None, unsigned threads, unsigned workers, bint verify,
                      int32_t[::1] statuses not None):
    """The same for `fetch_parts`."""
    cdef Ahead ahead = Ahead(source, directory, positions, statuses)
    cdef list own = kinds[:]              # the caller's may change
    cdef Work work = ahead.work
    work.kept, work.kinds = own, take_kinds(own)
    work.which, work.places, work.parts = which, places, out
    if set_parts(&work.batch, source, directory, work.positions, work.kinds, len(own), work.which,
                 work.places, work.parts, verify, work.statuses):
        ahead._start(threads, workers)
    return ahead
