// The bare engine: what fetch is measured against. Members of a ZIP archive, whose positions are
// known beforehand, go from the page cache into one contiguous, warm buffer: pread, inflate, CRC-32,
// and nothing else: no directory, no header parsing, no keys, no Python between two members.
// An engine gets the exact lengths of a member, or with `room` some bytes more at either end, which
// spare it the careful last steps; how much a member took is compared afterwards in any case.
// Each thread keeps its decompressor and its input buffer from run to run.
// Called through ctypes (bare.py), as a wheel's engine needs Python's symbols to resolve.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 64, CHUNK = 8, STORED = 0 };
enum { ZNG_FINISH = 4, ZNG_STREAM_END = 1, ZNG_RAW = -15 };

typedef struct {  // bare.py's MEMBER
    uint64_t offset, csize, size, crc, method, at;
} member;

typedef struct {  // zlib-ng 2's zng_stream
    const uint8_t *next_in;
    uint32_t avail_in;
    size_t total_in;
    uint8_t *next_out;
    uint32_t avail_out;
    size_t total_out;
    const char *msg;
    void *state, *zalloc, *zfree, *opaque;
    int data_type;
    uint32_t adler;
    unsigned long reserved;
} zng_stream;

typedef struct bare bare;
typedef struct {
    bare *owner;
    void *inflater;  // libdeflate's
    zng_stream stream;
    uint8_t *in;
} worker;

struct bare {
    int fd, threads, is_libdeflate;
    size_t room;
    void *(*libdeflate_alloc)(void);
    void (*libdeflate_free)(void *);
    int (*libdeflate_inflate)(void *, const void *, size_t, void *, size_t, size_t *, size_t *);
    uint32_t (*libdeflate_crc)(uint32_t, const void *, size_t);
    int (*zng_init)(zng_stream *, int);
    int (*zng_reset)(zng_stream *);
    int (*zng_inflate)(zng_stream *, int);
    int (*zng_end)(zng_stream *);
    uint32_t (*zng_crc)(uint32_t, const uint8_t *, size_t);
    worker workers[MAX_THREADS];
    // the run under way
    const member *members;
    size_t count, next, failed;
    uint8_t *out;
};

static int take(worker *w, const member *m, uint8_t *to) {
    bare *b = w->owner;
    uint8_t *in = m->method == STORED ? to : w->in;
    if (pread(b->fd, in, m->csize, (off_t)m->offset) != (ssize_t)m->csize) return 1;
    if (b->is_libdeflate) {
        if (m->method != STORED) {
            size_t used, made;
            if (b->libdeflate_inflate(w->inflater, in, m->csize + b->room, to, m->size + b->room, &used, &made)) return 1;
            if (used != m->csize || made != m->size) return 1;
        }
        return b->libdeflate_crc(0, to, m->size) != m->crc;
    }
    if (m->method != STORED) {
        zng_stream *s = &w->stream;
        if (b->zng_reset(s)) return 1;
        s->next_in = in;
        s->avail_in = (uint32_t)(m->csize + b->room);
        s->next_out = to;
        s->avail_out = (uint32_t)(m->size + b->room);
        if (b->zng_inflate(s, ZNG_FINISH) != ZNG_STREAM_END) return 1;
        if (s->avail_in != b->room || s->avail_out != b->room) return 1;
    }
    return b->zng_crc(0, to, m->size) != m->crc;
}

static void *work(void *argument) {
    worker *w = argument;
    bare *b = w->owner;
    for (;;) {
        size_t first = __atomic_fetch_add(&b->next, CHUNK, __ATOMIC_RELAXED);
        if (first >= b->count) return NULL;
        for (size_t i = first; i < first + CHUNK && i < b->count; i++)
            if (take(w, b->members + i, b->out + b->members[i].at)) {
                __atomic_store_n(&b->failed, i + 1, __ATOMIC_RELAXED);
                return NULL;
            }
    }
}

void bare_free(bare *b) {
    for (int k = 0; k < b->threads; k++) {
        worker *w = b->workers + k;
        if (w->inflater) b->libdeflate_free(w->inflater);
        if (w->stream.state) b->zng_end(&w->stream);
        free(w->in);
    }
    free(b);
}

// An engine over this file for T threads, or NULL. largest: the most compressed bytes of a member.
bare *bare_new(const char *library, int is_libdeflate, int fd, int threads, size_t largest, size_t room) {
    void *h = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    bare *b = h && threads >= 1 && threads <= MAX_THREADS ? calloc(1, sizeof *b) : NULL;
    if (!b) return NULL;
    b->fd = fd;
    b->threads = threads;
    b->is_libdeflate = is_libdeflate;
    b->room = room;
    b->libdeflate_alloc = dlsym(h, "libdeflate_alloc_decompressor");
    b->libdeflate_free = dlsym(h, "libdeflate_free_decompressor");
    b->libdeflate_inflate = dlsym(h, "libdeflate_deflate_decompress_ex");
    b->libdeflate_crc = dlsym(h, "libdeflate_crc32");
    b->zng_init = dlsym(h, "zng_inflateInit2");
    b->zng_reset = dlsym(h, "zng_inflateReset");
    b->zng_inflate = dlsym(h, "zng_inflate");
    b->zng_end = dlsym(h, "zng_inflateEnd");
    b->zng_crc = dlsym(h, "zng_crc32_z");
    int bound = is_libdeflate
        ? b->libdeflate_alloc && b->libdeflate_free && b->libdeflate_inflate && b->libdeflate_crc
        : b->zng_init && b->zng_reset && b->zng_inflate && b->zng_end && b->zng_crc;
    for (int k = 0; bound && k < threads; k++) {
        worker *w = b->workers + k;
        w->owner = b;
        w->in = calloc(1, largest + room + 1);
        if (is_libdeflate)
            w->inflater = b->libdeflate_alloc();
        else if (b->zng_init(&w->stream, ZNG_RAW))
            bound = 0;
        if (!w->in || (is_libdeflate && !w->inflater)) bound = 0;
    }
    if (bound) return b;
    bare_free(b);
    return NULL;
}

// One pass over these members; 0, or 1 + the number of one that failed.
size_t bare_run(bare *b, const member *members, size_t count, uint8_t *out) {
    pthread_t threads[MAX_THREADS];
    b->members = members;
    b->count = count;
    b->next = b->failed = 0;
    b->out = out;
    int started = 1;
    while (started < b->threads && !pthread_create(threads + started, NULL, work, b->workers + started)) started++;
    work(b->workers);
    for (int k = 1; k < started; k++) pthread_join(threads[k], NULL);
    return b->failed;
}
