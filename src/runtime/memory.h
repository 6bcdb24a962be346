/* The one place where the native core takes memory, and so the one where a test can have it refused.
 * What the engines take for themselves is asked for here as well (memory_refused), right before.
 * Thread-safe. No Python.h. */
#ifndef FASTZIP_MEMORY_H
#define FASTZIP_MEMORY_H
#include <stddef.h>

void *memory_take(size_t size);            /* malloc; NULL when there is none */
void *memory_zeroed(size_t size);          /* calloc */
void memory_give(void *p);                 /* free; NULL is fine */
void *memory_map(size_t size);             /* whole pages of zeros, or NULL; give back by munmap */

/* Does this allocation have to fail, for a test? */
int memory_refused(void);
/* For tests: the nth allocation from now on fails, once; 0: none. Returns how many there were since
 * the last call that named one. */
size_t memory_refuse(size_t nth);
#endif
