#define _GNU_SOURCE
#include "arena.h"
#include "memory.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

/* Below KEPT_FROM malloc's own caches are warm and quicker than a lock. From MAPPED on a block is a
 * mapping of its own, 2 MiB-aligned so that it can have huge pages: 16 faults instead of 8,192 for
 * 32 MB. In between, malloc, since a process may have only 65,530 mappings and somebody will keep
 * 100,000 arrays of 88 KB. */
#define KEPT_FROM ((size_t)64 << 10)
#define MAPPED ((size_t)4 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

/* Size classes: four to each power of two, so at most a fifth of a block is never touched. */
#define CLASSES (4 * 64)

typedef struct idle {
    struct idle *newer, *older;           /* all idle blocks, by when they came back */
    struct idle *next, *prev;             /* those of one class */
    arena_block block;
} idle;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static idle *by_class[CLASSES];
static idle *newest, *oldest;
static size_t idle_bytes, idle_limit = ARENA_IDLE_LIMIT;

static unsigned class_of(size_t size, size_t *cap) {
    unsigned e = 63 - (unsigned)__builtin_clzll(size);        /* size >= KEPT_FROM, so e >= 16 */
    size_t step = (size_t)1 << (e - 2);
    size_t quarters = (size + step - 1) >> (e - 2);           /* 4 to 8 */
    *cap = quarters << (e - 2);
    return (e * 4 + (unsigned)(quarters - 4)) % CLASSES;      /* 8 quarters: the next e's first */
}

static int obtain(arena_block *b, size_t cap) {
    *b = (arena_block){ NULL, 0, NULL };   /* what a failure leaves behind owns nothing */
    if (cap >= MAPPED) {
        size_t want = cap + HUGE_PAGE;
        char *p = memory_map(want);
        if (!p) return -1;
        char *at = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
        size_t page_cap = (cap + 4095) & ~(size_t)4095;
        if (at > p) munmap(p, (size_t)(at - p));
        if (p + want > at + page_cap) munmap(at + page_cap, (size_t)(p + want - at) - page_cap);
        madvise(at, page_cap, MADV_HUGEPAGE);                 /* a wish: an error changes nothing */
        b->ptr = at;
        b->cap = cap;
        return 0;
    }
    b->raw = memory_take(cap + ARENA_ALIGN);
    if (!b->raw) return -1;
    b->cap = cap;
    b->ptr = (void *)(((uintptr_t)b->raw + ARENA_ALIGN - 1) & ~(uintptr_t)(ARENA_ALIGN - 1));
    return 0;
}

static void release(const arena_block *b) {
    if (b->raw) memory_give(b->raw);
    else munmap(b->ptr, (b->cap + 4095) & ~(size_t)4095);
}

static void unlink_idle(idle *i, unsigned c) {
    if (i->newer) i->newer->older = i->older; else newest = i->older;
    if (i->older) i->older->newer = i->newer; else oldest = i->newer;
    if (i->prev) i->prev->next = i->next; else by_class[c] = i->next;
    if (i->next) i->next->prev = i->prev;
    idle_bytes -= i->block.cap;
}

int arena_alloc(arena_block *b, size_t size) {
    size_t cap;
    if (size < KEPT_FROM) return obtain(b, size);
    if (size > SIZE_MAX / 4) return -1;
    unsigned c = class_of(size, &cap);
    pthread_mutex_lock(&lock);
    idle *i = by_class[c];
    if (i) {
        unlink_idle(i, c);
        *b = i->block;                    /* the note stands in the block itself: read before use */
        pthread_mutex_unlock(&lock);
        return 0;
    }
    pthread_mutex_unlock(&lock);
    return obtain(b, cap);
}

void arena_free(arena_block *b) {
    size_t cap;
    if (b->cap < KEPT_FROM) { release(b); return; }
    unsigned c = class_of(b->cap, &cap);
    idle *dead = NULL;
    pthread_mutex_lock(&lock);
    if (b->cap > idle_limit) {
        pthread_mutex_unlock(&lock);
        release(b);
        return;
    }
    /* The oldest idle blocks make room: sizes that nobody asks for any more don't keep it. */
    while (idle_bytes > idle_limit - b->cap) {
        idle *o = oldest;
        size_t unused;
        unlink_idle(o, class_of(o->block.cap, &unused));
        o->next = dead;
        dead = o;
    }
    idle *i = b->ptr;
    i->block = *b;
    i->prev = NULL;
    i->next = by_class[c];
    if (i->next) i->next->prev = i;
    by_class[c] = i;
    i->newer = NULL;
    i->older = newest;
    if (newest) newest->newer = i; else oldest = i;
    newest = i;
    idle_bytes += b->cap;
    pthread_mutex_unlock(&lock);
    while (dead) {
        idle *next = dead->next;
        arena_block gone = dead->block;
        release(&gone);
        dead = next;
    }
}

void arena_expect(size_t size) {
    size_t cap, two;
    if (size < KEPT_FROM || size > SIZE_MAX / 16) return;
    class_of(size, &cap);
    two = 2 * cap;
    pthread_mutex_lock(&lock);
    if (two > idle_limit) idle_limit = two;
    pthread_mutex_unlock(&lock);
}

size_t arena_trim(void) {
    pthread_mutex_lock(&lock);
    idle *i = oldest;
    size_t given = idle_bytes;
    for (int c = 0; c < CLASSES; c++) by_class[c] = NULL;
    newest = oldest = NULL;
    idle_bytes = 0;
    idle_limit = ARENA_IDLE_LIMIT;
    pthread_mutex_unlock(&lock);
    while (i) {
        idle *next = i->newer;
        arena_block gone = i->block;
        release(&gone);
        i = next;
    }
    return given;
}

size_t arena_idle(void) {
    pthread_mutex_lock(&lock);
    size_t n = idle_bytes;
    pthread_mutex_unlock(&lock);
    return n;
}

/* The lock is held across a fork, so that the child finds the lists whole. The child then lets the
 * idle blocks go: it would otherwise pay for a copy of each page that either side writes. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_in_parent(void) { pthread_mutex_unlock(&lock); }
static void after_in_child(void) { pthread_mutex_unlock(&lock); arena_trim(); }

int arena_init(void) { return pthread_atfork(before_fork, after_in_parent, after_in_child); }
