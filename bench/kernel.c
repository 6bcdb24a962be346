// The clock of kernel.py: batches through the interleaved engine, the same members one by one through
// libdeflate. Called through ctypes, as a wheel's engine needs Python's symbols to resolve.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#include "inflate/interleaved/interleaved.h"

typedef int (*inflate_fn)(void *, const void *, size_t, void *, size_t, size_t *, size_t *);
static inflate_fn inflate_one;
static size_t room;                         // behind each input, for libdeflate
static void *inflater;
static interleaved_state *state;

static double now(void) {                  // of this thread alone: others may want the CPU, too
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// 0, or what failed.
int kernel_open(const char *library, const char *level, int forced, size_t input_room) {
    room = input_room;
    void *h = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    if (!h) return 1;
    void *(*alloc)(void) = (void *(*)(void))dlsym(h, "libdeflate_alloc_decompressor");
    inflate_one = (inflate_fn)dlsym(h, "libdeflate_deflate_decompress_ex");
    if (!alloc || !inflate_one) return 2;
    if (!inflater) inflater = alloc();
    if (!state) state = aligned_alloc(64, (interleaved_state_size() + 63) & ~(size_t)63);
    if (!inflater || !state) return 3;
    for (size_t i = 0; i < interleaved_state_size(); i++) ((char *)state)[i] = 0;
    interleaved_force(state, forced);
    return interleaved_use(level) ? 0 : 4;
}

static double kept(double took, double *best) {
    if (took < *best) *best = took;
    return took;
}

// Seconds for all of them, `batch` at a time; below 0: one failed. `best` keeps each batch's best time.
double kernel_batches(interleaved_job *jobs, size_t n, size_t batch, double *best) {
    double total = 0;
    for (size_t i = 0; i < n; i += batch) {
        double began = now();
        interleaved_many(state, jobs + i, n - i < batch ? n - i : batch);
        total += kept(now() - began, best++);
    }
    for (size_t i = 0; i < n; i++)
        if (jobs[i].status != INTERLEAVED_DONE) return -1 - (double)i;
    return total;
}

double kernel_libdeflate(const interleaved_job *jobs, size_t n, size_t batch, double *best) {
    double total = 0;
    for (size_t i = 0; i < n; i += batch) {
        double began = now();
        for (const interleaved_job *j = jobs + i; j < jobs + i + batch && j < jobs + n; j++) {
            size_t used, made;
            if (inflate_one(inflater, j->src, j->src_len + room, j->dst, j->dst_room, &used, &made)
                || used != j->src_len || made != j->dst_len) return -1;
        }
        total += kept(now() - began, best++);
    }
    return total;
}
