#define _GNU_SOURCE
#include "memory.h"

#include <stdlib.h>
#include <sys/mman.h>

static size_t made, refused;               /* atomic; `refused` is only read while no test runs */

int memory_refused(void) {
    size_t nth = __atomic_load_n(&refused, __ATOMIC_RELAXED);
    return nth && __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED) == nth;
}

size_t memory_refuse(size_t nth) {
    __atomic_store_n(&refused, nth, __ATOMIC_RELAXED);
    return __atomic_exchange_n(&made, 0, __ATOMIC_RELAXED);
}

void *memory_take(size_t size) { return memory_refused() ? NULL : malloc(size); }
void *memory_zeroed(size_t size) { return memory_refused() ? NULL : calloc(1, size); }
void memory_give(void *p) { free(p); }

void *memory_map(size_t size) {
    if (memory_refused()) return NULL;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
