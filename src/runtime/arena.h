/* Memory for large outputs, kept warm between uses.
 *
 * Fresh pages are dear: filling a 38 MB batch in new memory took 18 ms, in memory used before 2 ms.
 * So a block goes back to a free list when its last view has died (its owner calls arena_free then,
 * never before), and the next block of that size class gets it. What lies idle is bounded.
 * Thread-safe. A forked child gives up the idle blocks. No Python.h. */
#ifndef FASTZIP_ARENA_H
#define FASTZIP_ARENA_H
#include <stddef.h>

#define ARENA_ALIGN 64           /* a cache line; what DLPack, JAX and torch alias without a copy */
#define ARENA_IDLE_LIMIT ((size_t)256 << 20)

typedef struct {
    void *ptr;      /* ARENA_ALIGN-aligned */
    size_t cap;     /* usable bytes, at least what was asked for */
    void *raw;      /* what malloc returned, or NULL when mapped */
} arena_block;

/* 0, or -1 when there is no memory. A size of 0 gives a valid pointer. */
int arena_alloc(arena_block *block, size_t size);
void arena_free(arena_block *block);

/* Batches of this size are in use: two of them may lie idle, even above ARENA_IDLE_LIMIT. */
void arena_expect(size_t size);
/* Gives all idle memory back to the system and forgets arena_expect; returns the bytes given. */
size_t arena_trim(void);
size_t arena_idle(void);
/* Call once: registers the fork handlers. */
int arena_init(void);
#endif
