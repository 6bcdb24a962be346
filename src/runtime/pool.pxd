"""Cython's view of pool.h: worker threads that run plain functions."""
from libc.stddef cimport size_t

cdef extern from "runtime/pool.h" nogil:
    ctypedef void (*pool_work)(void *, size_t, void *) noexcept nogil
    ctypedef int (*pool_poll)(void *) noexcept nogil
    int POOL_NO_MEMORY
    void pool_drop_scratch()
    int pool_run(pool_work work, void *task, size_t groups, unsigned threads, pool_poll poll)
    ctypedef struct pool_task:
        pass
    pool_task *pool_start(pool_work work, void *task, size_t groups, unsigned threads, unsigned workers)
    int pool_wait(pool_task *task, pool_poll poll)
    bint pool_done(pool_task *task)
    void pool_stop(pool_task *task)
    bint pool_leave(pool_task *task, bint patient)
    void pool_end(pool_task *task)
    void pool_init_scratch(void *(*make)() noexcept nogil, void (*destroy)(void *) noexcept nogil)
    void *pool_take_scratch()
    void pool_give_scratch(void *scratch)
    unsigned c_pool_workers "pool_workers"()
    unsigned pool_generation()
    int pool_init()
    bint pool_stopped(bint at_once) noexcept
