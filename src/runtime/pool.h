/* Worker threads for the batch reader: started when first needed, asleep when there is nothing to
 * do, dropped in a forked child. They run plain functions and never touch Python. No Python.h. */
#ifndef FASTZIP_POOL_H
#define FASTZIP_POOL_H
#include <stddef.h>

/* Works on group number `group` of the task; `scratch` is this thread's for the call. */
typedef void (*pool_work)(void *task, size_t group, void *scratch);
/* Called on the caller's thread every 20 ms; anything but 0 stops the task. */
typedef int (*pool_poll)(void *task);

/* Runs work(task, g, scratch) for each g below groups on up to `threads` threads, the caller's
 * among them, and returns when no thread works on the task any more: 0; POOL_STOPPED when poll stopped
 * it, or forked, which leaves the child without the helpers; POOL_NO_MEMORY without scratch. */
#define POOL_STOPPED (-1)
#define POOL_NO_MEMORY (-2)
int pool_run(pool_work work, void *task, size_t groups, unsigned threads, pool_poll poll);

/* The same ahead of time: up to `threads` workers, of at least `workers` that there are for all tasks,
 * begin while the caller goes on; first come, first served. pool_end must be called before what `task`
 * points to may go. NULL: no memory. */
typedef struct pool_task pool_task;
pool_task *pool_start(pool_work work, void *task, size_t groups, unsigned threads, unsigned workers);
/* Returns when no thread works on the task any more; takes part where workers lack. What pool_run
 * returns; POOL_STOPPED also in a child of a fork, unless all was done before, and at once when poll
 * stopped it: helpers may then be in the midst of a member for a tenth of a second, or many of them. */
int pool_wait(pool_task *task, pool_poll poll);
int pool_done(pool_task *task);            /* is nothing left to wait for? */
void pool_stop(pool_task *task);           /* asks the threads to leave, and returns at once */
/* Stops the task, and says whether no thread works on it any more; `patient`: waits 20 ms for that.
 * Whoever is told so may call pool_end, which doesn't wait then. */
int pool_leave(pool_task *task, int patient);
/* Stops the task, waits until no thread works on it any more, and frees it. Nobody may wait for it. */
void pool_end(pool_task *task);

/* For work to ask between two steps of a long group: must it stop? Looks for signals on the caller's
 * thread; `at_once`, before a step of a tenth of a second, even if that was done a moment ago. 0 outside
 * of a task. */
int pool_stopped(int at_once);

/* Scratch: one for each thread that is working now, made by make() and kept for the next. */
void pool_init_scratch(void *(*make)(void), void (*destroy)(void *));
void *pool_take_scratch(void);             /* NULL: no memory */
void pool_give_scratch(void *scratch);
void pool_drop_scratch(void);              /* what lies idle */

unsigned pool_workers(void);               /* threads that exist now */
/* Changes in a forked child: what threads were doing at the fork, nobody does here. Not if the fork
 * was a signal handler's in the midst of a task, for then this thread goes on with it. */
unsigned pool_generation(void);
/* Call once: registers the fork handlers. */
int pool_init(void);
#endif
