#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_WORKERS 1024
#define MAX_SPARE 1024
#define POLL_EVERY_NS 20000000             /* Ctrl-C is answered within 20 ms and one group */

typedef struct task {
    pool_work work;
    void *arg;
    size_t groups;
    size_t next;                           /* atomic: the first group that nobody has taken */
    int stop;                              /* atomic */
    unsigned wanted, active;               /* helpers still welcome, helpers at work; under lock */
    struct task *link;
} task;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_here = PTHREAD_COND_INITIALIZER;
static pthread_cond_t task_left = PTHREAD_COND_INITIALIZER;
static task *tasks;
static unsigned workers, idle;
static unsigned forks;                     /* how many forks lie between the first process and this */

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

static void drain(task *t, void *scratch, pool_poll poll) {
    long long asked = poll ? now_ns() : 0;
    while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
        size_t g = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED);
        if (g >= t->groups) break;
        t->work(t->arg, g, scratch);
        if (poll && now_ns() - asked > POLL_EVERY_NS) {
            if (poll(t->arg)) __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
            asked = now_ns();
        }
    }
}

static task *find_work(void) {
    for (task *t = tasks; t; t = t->link)
        if (t->wanted && !__atomic_load_n(&t->stop, __ATOMIC_RELAXED)
            && __atomic_load_n(&t->next, __ATOMIC_RELAXED) < t->groups) return t;
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
        t->active++;
        pthread_mutex_unlock(&lock);
        void *scratch = pool_take_scratch();
        if (scratch) {                     /* without memory the others do this one's share */
            drain(t, scratch, NULL);
            pool_give_scratch(scratch);
        }
        pthread_mutex_lock(&lock);
        if (--t->active == 0) pthread_cond_broadcast(&task_left);
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

int pool_run(pool_work work, void *arg, size_t groups, unsigned threads, pool_poll poll) {
    task t = { .work = work, .arg = arg, .groups = groups };
    void *scratch = pool_take_scratch();
    if (!scratch) return POOL_NO_MEMORY;
    if (threads > groups) threads = (unsigned)groups;
    if (threads < 2) {
        drain(&t, scratch, poll);
        pool_give_scratch(scratch);
        return t.stop ? POOL_STOPPED : 0;
    }
    pthread_mutex_lock(&lock);
    unsigned born = forks;
    start_workers(threads - 1);
    t.wanted = threads - 1;
    t.link = tasks;
    tasks = &t;
    for (unsigned i = 0; i < t.wanted && i < idle; i++) pthread_cond_signal(&work_here);
    pthread_mutex_unlock(&lock);

    drain(&t, scratch, poll);
    pool_give_scratch(scratch);

    pthread_mutex_lock(&lock);
    for (task **p = &tasks; *p; p = &(*p)->link)
        if (*p == &t) { *p = t.link; break; }
    /* poll runs Python's signal handlers, and one of those may fork: helpers never come back then. */
    while (t.active && born == forks) pthread_cond_wait(&task_left, &lock);
    pthread_mutex_unlock(&lock);
    return t.stop || t.active ? POOL_STOPPED : 0;
}

unsigned pool_workers(void) {
    pthread_mutex_lock(&lock);
    unsigned n = workers;
    pthread_mutex_unlock(&lock);
    return n;
}

/* A child has none of its parent's threads, so it starts with an empty pool; scratch that a
 * vanished thread was using is lost to it, the spare ones are its own. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_in_parent(void) { pthread_mutex_unlock(&lock); }
static void after_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work_here, NULL);
    pthread_cond_init(&task_left, NULL);
    tasks = NULL;
    workers = idle = 0;
    forks++;
}

int pool_init(void) { return pthread_atfork(before_fork, after_in_parent, after_in_child); }
