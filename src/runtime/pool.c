#define _GNU_SOURCE
#include "pool.h"
#include "memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_WORKERS 1024
#define MAX_SPARE 1024
#define POLL_EVERY_NS 20000000             /* how often the caller looks for Ctrl-C */
#define PATIENCE_NS 20000000               /* helpers that are between small members leave sooner */
#define POLLED 2                           /* in stop: by its caller's poll, which is told at once */
#define SPIN_NS 50000                      /* as long as it takes to be woken: 37 to 66 us */

typedef struct pool_task {
    pool_work work;
    void *arg;
    size_t groups;
    size_t next;                           /* atomic: the first group that nobody has taken */
    int stop;                              /* atomic */
    unsigned wanted;                       /* helpers still welcome; under lock */
    unsigned active;                       /* helpers at work; atomic, and changed under lock */
    unsigned born;                         /* after so many forks */
    struct pool_task *link;
} task;

/* What this thread works on now, and for the task's caller, when it last looked for signals. */
static __thread struct here {
    task *task;
    pool_poll poll;
    long long asked;
} here;
static __thread unsigned polling;          /* calls of poll that this thread is inside of */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_here, task_left;
static task *tasks;
static unsigned workers, idle;
static unsigned forks;                     /* how many forks lie between the first process and this */
static unsigned generation;                /* likewise, but for forks in the midst of a task */

static void *(*make_scratch)(void);
static void (*destroy_scratch)(void *);
static void *spare[MAX_SPARE];
static unsigned spares;

void pool_init_scratch(void *(*make)(void), void (*destroy)(void *)) {
    make_scratch = make;
    destroy_scratch = destroy;
}

void *pool_take_scratch(void) {
    void *s = NULL;
    pthread_mutex_lock(&lock);
    if (spares) s = spare[--spares];
    pthread_mutex_unlock(&lock);
    return s ? s : make_scratch();
}

void pool_give_scratch(void *s) {
    pthread_mutex_lock(&lock);
    if (spares < MAX_SPARE) { spare[spares++] = s; s = NULL; }
    pthread_mutex_unlock(&lock);
    if (s) destroy_scratch(s);
}

void pool_drop_scratch(void) {
    for (;;) {
        pthread_mutex_lock(&lock);
        void *s = spares ? spare[--spares] : NULL;
        pthread_mutex_unlock(&lock);
        if (!s) return;
        destroy_scratch(s);
    }
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int stopped(task *t) { return __atomic_load_n(&t->stop, __ATOMIC_RELAXED); }
static int polled(task *t) { return __atomic_load_n(&t->stop, __ATOMIC_RELAXED) == POLLED; }
static int left(task *t) { return __atomic_load_n(&t->next, __ATOMIC_RELAXED) < t->groups; }

int pool_stopped(int at_once) {
    task *t = here.task;
    if (!t || stopped(t)) return t != NULL;
    if (!here.poll || (!at_once && now_ns() - here.asked < POLL_EVERY_NS)) return 0;
    /* A signal's handler may read archives of its own: it is no part of this task meanwhile, or the
     * exception of a second signal's handler would stop the wrong one. */
    struct here mine = here;
    here = (struct here){ NULL, NULL, 0 };
    polling++;
    int stop = mine.poll(t->arg);
    polling--;
    here = mine;
    here.asked = now_ns();
    if (stop) __atomic_store_n(&t->stop, POLLED, __ATOMIC_RELAXED);
    return stopped(t);
}

static void drain(task *t, void *scratch) {
    while (!pool_stopped(0)) {
        size_t g = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED);
        if (g >= t->groups) break;
        t->work(t->arg, g, scratch);
    }
}

static task *find_work(void) {
    for (task *t = tasks; t; t = t->link)
        if (t->wanted && !stopped(t) && left(t)) return t;
    return NULL;
}

static void *worker(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        task *t = find_work();
        if (!t) {
            idle++;
            pthread_cond_wait(&work_here, &lock);
            idle--;
            continue;
        }
        t->wanted--;
        __atomic_fetch_add(&t->active, 1, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&lock);
        void *scratch = pool_take_scratch();
        if (scratch) {                     /* without memory the others do this one's share */
            here.task = t;
            drain(t, scratch);
            here.task = NULL;
            pool_give_scratch(scratch);
        }
        pthread_mutex_lock(&lock);
        /* With this the task may be gone: nothing of it is touched any more. */
        if (__atomic_sub_fetch(&t->active, 1, __ATOMIC_RELEASE) == 0) pthread_cond_broadcast(&task_left);
    }
    return NULL;
}

/* Starts workers until there are `enough`; fewer when the system has no more. Under lock. */
static void start_workers(unsigned enough) {
    if (enough > MAX_WORKERS) enough = MAX_WORKERS;
    if (workers >= enough) return;
    pthread_attr_t attr;
    sigset_t all, before;
    if (pthread_attr_init(&attr)) return;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 << 10);
    sigfillset(&all);                      /* Python's signals belong to Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (workers < enough) {
        pthread_t id;
        if (pthread_create(&id, &attr, worker, NULL)) break;
        workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

/* Offers the task to the workers; what somebody waits for already goes first. Under lock. */
static void offer(task *t, unsigned helpers, int first) {
    task **at = &tasks;
    t->wanted = helpers;
    t->born = forks;
    while (!first && *at) at = &(*at)->link;
    t->link = *at;
    *at = t;
    for (unsigned i = 0; i < t->wanted && i < idle; i++) pthread_cond_signal(&work_here);
}

/* No helper comes any more. Under lock. */
static void withdraw(task *t) {
    for (task **p = &tasks; *p; p = &(*p)->link)
        if (*p == t) { *p = t->link; return; }
}

/* Does no helper work on the task, nor will one come back to it? In a child of a fork nobody does. */
static int alone(task *t) { return !t->active || t->born != forks; }

/* Sleeps until helpers have left some task, or for so long. Under lock. */
static void sleep_until_left(long ns) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000) { until.tv_sec++; until.tv_nsec -= 1000000000; }
    pthread_cond_timedwait(&task_left, &lock, &until);
}

/* Waits until no helper works on the task; `hasty`: not after poll has stopped it. Under lock, but not
 * while poll runs. */
static void wait_for_helpers(task *t, int hasty) {
    while (!alone(t) && !(hasty && polled(t))) {
        if (!here.poll) {
            pthread_cond_wait(&task_left, &lock);
            continue;
        }
        sleep_until_left(POLL_EVERY_NS);
        if (alone(t)) break;
        pthread_mutex_unlock(&lock);
        pool_stopped(0);                   /* Ctrl-C while a helper has a long member in hand */
        pthread_mutex_lock(&lock);
    }
}

static void pause_a_bit(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

/* Have the helpers left, or will they in the time that it would take to sleep and be woken? The last
 * groups of two threads end some 50 us apart: 96 bitmaps of 88 KB take 6 % less so, 3 KB images 3 %. */
static int gone_soon(task *t) {
    long long end = 0;
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (!__atomic_load_n(&t->active, __ATOMIC_ACQUIRE)) return 1;
            pause_a_bit();
        }
        if (!end) end = now_ns() + SPIN_NS;
        if (now_ns() >= end) return 0;
    }
}

int pool_run(pool_work work, void *arg, size_t groups, unsigned threads, pool_poll poll) {
    task t = { .work = work, .arg = arg, .groups = groups };
    void *scratch = pool_take_scratch();
    if (!scratch) return POOL_NO_MEMORY;
    struct here before = here;             /* a signal's handler reads in the midst of a read */
    here = (struct here){ &t, poll, poll ? now_ns() : 0 };
    if (threads > groups) threads = (unsigned)groups;
    if (threads < 2) {
        drain(&t, scratch);
        pool_give_scratch(scratch);
        here = before;
        return t.stop ? POOL_STOPPED : 0;
    }
    pthread_mutex_lock(&lock);
    start_workers(threads - 1);
    offer(&t, threads - 1, 1);
    pthread_mutex_unlock(&lock);

    drain(&t, scratch);
    pool_give_scratch(scratch);

    pthread_mutex_lock(&lock);
    withdraw(&t);
    pthread_mutex_unlock(&lock);
    if (!gone_soon(&t)) {
        pthread_mutex_lock(&lock);
        wait_for_helpers(&t, 0);
        pthread_mutex_unlock(&lock);
    }
    here = before;
    return t.stop || t.active ? POOL_STOPPED : 0;
}

pool_task *pool_start(pool_work work, void *arg, size_t groups, unsigned threads, unsigned least) {
    task *t = memory_zeroed(sizeof(task));
    if (!t) return NULL;
    t->work = work;
    t->arg = arg;
    t->groups = groups;
    if (threads > groups) threads = (unsigned)groups;
    pthread_mutex_lock(&lock);
    start_workers(least > threads ? least : threads);
    offer(t, threads, 0);
    pthread_mutex_unlock(&lock);
    return t;
}

int pool_wait(task *t, pool_poll poll) {
    int no_memory = 0;
    struct here before = here;
    here = (struct here){ t, poll, poll ? now_ns() : 0 };
    pthread_mutex_lock(&lock);
    if (polled(t)) pool_stop(t);           /* whoever asks again waits for the helpers */
    while (t->born == forks && left(t) && !stopped(t)) {
        if (t->active && !t->wanted) {     /* as many as may are at it */
            wait_for_helpers(t, 1);
            continue;
        }
        if (t->wanted) t->wanted--;        /* this thread takes a helper's place */
        pthread_mutex_unlock(&lock);
        void *scratch = pool_take_scratch();
        if (scratch) {
            drain(t, scratch);
            pool_give_scratch(scratch);
        }
        pthread_mutex_lock(&lock);
        if (!scratch && !t->active) {      /* and the helpers found none, or there are none */
            no_memory = 1;
            __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
        }
    }
    withdraw(t);
    wait_for_helpers(t, 1);
    int done = !t->active && !left(t) && !stopped(t);
    pthread_mutex_unlock(&lock);
    here = before;
    return done ? 0 : no_memory ? POOL_NO_MEMORY : POOL_STOPPED;
}

int pool_done(task *t) {
    pthread_mutex_lock(&lock);
    int done = !t->active && !left(t);
    pthread_mutex_unlock(&lock);
    return done;
}

void pool_stop(task *t) { __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED); }

int pool_leave(task *t, int patient) {
    long long end = 0;
    pool_stop(t);
    pthread_mutex_lock(&lock);
    withdraw(t);
    while (patient && !alone(t)) {
        long long now = now_ns();
        if (!end) end = now + PATIENCE_NS;
        if (now >= end) break;
        sleep_until_left((long)(end - now));
    }
    int left_alone = alone(t);
    pthread_mutex_unlock(&lock);
    return left_alone;
}

void pool_end(task *t) {
    pool_stop(t);
    pthread_mutex_lock(&lock);
    withdraw(t);
    wait_for_helpers(t, 0);
    pthread_mutex_unlock(&lock);
    memory_give(t);
}

unsigned pool_workers(void) {
    pthread_mutex_lock(&lock);
    unsigned n = workers;
    pthread_mutex_unlock(&lock);
    return n;
}

unsigned pool_generation(void) { return generation; }

static void init_conditions(void) {        /* their timeouts are not moved by a clock that is set */
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&work_here, &attr);
    pthread_cond_init(&task_left, &attr);
    pthread_condattr_destroy(&attr);
}

/* A child has none of its parent's threads, so it starts with an empty pool; scratch that a
 * vanished thread was using is lost to it, the spare ones are its own. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_in_parent(void) { pthread_mutex_unlock(&lock); }
static void after_in_child(void) {
    init_conditions();                     /* nobody waits any more */
    tasks = NULL;
    workers = idle = 0;
    forks++;
    if (!here.task && !polling) generation++;
    pthread_mutex_unlock(&lock);
}

int pool_init(void) {
    init_conditions();
    return pthread_atfork(before_fork, after_in_parent, after_in_child);
}
