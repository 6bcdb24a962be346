/* The interleaved engine against zlib: streams that compressors and a generator of odd ones wrote, mutated, cut
 * off and of another size than said, in batches of 1 to 16, in buffers that end at a page nobody may touch
 * (or, under AddressSanitizer, of their exact size). Each verdict and each byte must be zlib's.
 *
 *   tests/fuzz/interleaved --streams 1000000 [--seed 1] [--level portable]
 *
 * Built by tests/fuzz/interleaved.sh. With -DLIBFUZZER it is a libFuzzer target instead. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "inflate/interleaved/interleaved.h"
#include "streams.h"

#if defined __SANITIZE_ADDRESS__ || defined LIBFUZZER
#define EXACT 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define EXACT 1
#endif
#endif
#ifndef EXACT
#define EXACT 0
#endif

enum { POOL = 2000, MOST_IN = 6000, MOST_OUT = 70000, JOBS = 16, SLOT = 80 << 10 };

typedef struct { uint8_t *bytes; size_t n, made; } stream;

static const char *const levels[] = { "portable", "avx2", "avx512" };

static stream pool[POOL];
static uint8_t *slots[2 * JOBS];           /* SLOT bytes between two pages without access */
static uint8_t expected[MOST_OUT + 1024];
static interleaved_state *state;
static z_stream z;

static void *page_pair(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = mmap(NULL, size + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) || mprotect(p + page + size, page, PROT_NONE)) abort();
    return p + page;
}

static uint8_t *buffer(unsigned which, size_t n) {
    if (EXACT) return malloc(n ? n : 1);
    return below(8) ? slots[which] + SLOT - n : slots[which];
}

static void release(uint8_t *p) { if (EXACT) free(p); }

static void begin(void) {
    state = aligned_alloc(64, (interleaved_state_size() + 63) & ~(size_t)63);
    memset(state, 0, interleaved_state_size());
    if (inflateInit2(&z, -15) != Z_OK) abort();
    if (!EXACT) for (unsigned i = 0; i < 2 * JOBS; i++) slots[i] = page_pair(SLOT);
}

/* Is `src` exactly a stream of n bytes, by zlib? Fills `expected`. */
static int verdict(const uint8_t *src, size_t src_len, size_t n) {
    int r;
    inflateReset(&z);
    z.next_in = (Bytef *)src;
    z.avail_in = (uInt)src_len;
    z.next_out = expected;
    z.avail_out = (uInt)n + 1;
    r = inflate(&z, Z_FINISH);
    return r == Z_STREAM_END && z.avail_in == 0 && z.total_out == n;
}

static void complain(const char *what, const interleaved_job *j, int loop, const char *level) {
    printf("%s: loop %d, level %s, dst_len %zu, dst_room %zu, stream of %zu bytes:\n", what, loop, level ? level : "best",
           j->dst_len, j->dst_room, j->src_len);
    for (size_t i = 0; i < j->src_len; i++) printf("%02x", j->src[i]);
    printf("\n");
    fflush(stdout);
    abort();
}

/* One batch, its jobs prepared; returns how many were accepted. */
static unsigned judge(interleaved_job *jobs, unsigned n, int loop, const char *level) {
    unsigned accepted = 0;
    interleaved_force(state, loop);
    if (!interleaved_use(level)) abort();
    interleaved_many(state, jobs, n);
    for (unsigned i = 0; i < n; i++) {
        interleaved_job *j = &jobs[i];
        int good = verdict(j->src, j->src_len, j->dst_len);
        if (good != (j->status == INTERLEAVED_DONE)) complain(good ? "refused" : "accepted", j, loop, level);
        if (good && memcmp(expected, j->dst, j->dst_len)) complain("other bytes", j, loop, level);
        accepted += (unsigned)good;
    }
    return accepted;
}

#ifdef LIBFUZZER
/* Two bytes of choices, then jobs: length of the stream (2), of the output (2), room (1), the stream. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    interleaved_job jobs[JOBS];
    unsigned n = 0;
    int loop;
    const char *level;
    if (!state) begin();
    if (size < 2) return 0;
    loop = data[0] % (INTERLEAVED_LOOPS + 1) - 1;
    level = levels[data[1] % 3];
    if (!interleaved_supports(level)) level = NULL;
    data += 2;
    size -= 2;
    while (n < JOBS && size > 5) {
        interleaved_job *j = &jobs[n++];
        memset(j, 0, sizeof *j);
        j->src_len = data[0] | (size_t)data[1] << 8;
        j->dst_len = data[2] | (size_t)data[3] << 8;
        j->dst_room = j->dst_len + data[4] * 2u;
        data += 5;
        size -= 5;
        if (j->src_len > size) j->src_len = size;
        j->src = memcpy(buffer(0, j->src_len), data, j->src_len);
        j->dst = buffer(0, j->dst_room);
        data += j->src_len;
        size -= j->src_len;
    }
    judge(jobs, n, loop, level);
    for (unsigned i = 0; i < n; i++) {
        release((uint8_t *)jobs[i].src);
        release(jobs[i].dst);
    }
    return 0;
}
#else

static const int strategies[] = { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED };

static void compressed(stream *s, size_t n) {
    uint8_t plain[MOST_OUT], out[MOST_IN];
    z_stream c;
    unsigned kind = below(6), range = 1 + below(255);
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < n; i++) {
        if (kind == 0) plain[i] = (uint8_t)below(256);
        else if (kind == 1) plain[i] = (uint8_t)below(range);
        else if (kind == 2) plain[i] = chance(97) && i ? plain[i - 1] : (uint8_t)below(256);
        else if (kind == 3) plain[i] = chance(90) && i >= range ? plain[i - range] : (uint8_t)below(range);
        else if (kind == 4) plain[i] = (uint8_t)("etaoin shrdlu"[below(13)]);
        else plain[i] = (uint8_t)(i / range + below(3));
    }
    if (deflateInit2(&c, (int)below(10), Z_DEFLATED, -15, 9, strategies[below(5)]) != Z_OK) abort();
    c.next_in = plain;
    c.avail_in = (uInt)n;
    c.next_out = out;
    c.avail_out = sizeof out;
    if (chance(20)) {
        c.avail_in = (uInt)(n / 2);
        deflate(&c, chance(50) ? Z_SYNC_FLUSH : Z_PARTIAL_FLUSH);
        c.avail_in += (uInt)(n - n / 2);
    }
    int r = deflate(&c, Z_FINISH);
    s->n = c.total_out;
    s->made = n;
    deflateEnd(&c);
    if (r != Z_STREAM_END) { compressed(s, n / 4); return; }
    s->bytes = realloc(s->bytes, s->n + 1);
    memcpy(s->bytes, out, s->n);
}

/* Mostly small streams, since most of what can go wrong needs few bytes. */
static void refresh(stream *s) {
    if (chance(50)) {
        compressed(s, chance(1) ? below(60000) : chance(10) ? below(3000) : below(300));
    } else {
        uint8_t out[MOST_IN];
        s->n = random_stream(out, sizeof out, chance(1) ? 3000 : chance(10) ? 300 : 40, &s->made);
        if (s->made > MOST_OUT - 64) { refresh(s); return; }
        s->bytes = realloc(s->bytes, s->n + 1);
        memcpy(s->bytes, out, s->n);
    }
}

static void make_job(interleaved_job *j, unsigned i, int *mutated) {
    static uint8_t work[MOST_IN + 64];
    const stream *s = &pool[below(POOL)];
    size_t n = s->n, made = s->made;
    memcpy(work, s->bytes, n);
    *mutated = chance(75);
    if (*mutated) {
        unsigned kind = below(10);
        if (kind < 5) {                    /* bits; near the start they matter most */
            for (unsigned k = 1 + below(3); k-- && n;) {
                size_t at = below(chance(50) && n > 80 ? 80 : (unsigned)n);
                work[at] ^= (uint8_t)(1u << below(8));
            }
        } else if (kind < 6) {
            if (n) work[below((unsigned)n)] = (uint8_t)below(256);
        } else if (kind < 7) {
            n = below((unsigned)n + 1);
        } else if (kind < 8) {
            for (unsigned k = 1 + below(20); k--;) work[n++] = (uint8_t)(chance(50) ? 0 : below(256));
        } else {
            if (chance(50)) made = below((unsigned)made + 2);
            else made += 1 + below(chance(50) ? 3 : 300);
        }
    }
    memset(j, 0, sizeof *j);
    j->src_len = n;
    j->dst_len = made;
    j->dst_room = made + (chance(50) ? 0 : below(INTERLEAVED_ROOM + 1));
    j->src = memcpy(buffer(2 * i, n), work, n);
    j->dst = buffer(2 * i + 1, j->dst_room);
}

int main(int argc, char **argv) {
    unsigned long long streams = 1000000, done = 0, accepted = 0, mutants = 0;
    const char *only = NULL;
    time_t began = time(NULL), told = began;
    uint64_t seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--streams")) streams = strtoull(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--seed")) seed = strtoull(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--level")) only = argv[i + 1];
        else return 2;
    }
    seed_random(seed);
    begin();
    for (unsigned i = 0; i < POOL; i++) refresh(&pool[i]);
    while (done < streams) {
        interleaved_job jobs[JOBS];
        unsigned n = 1 + below(JOBS);
        int loop = chance(50) ? -1 : (int)below(INTERLEAVED_LOOPS), mutated;
        const char *level = only ? only : chance(30) ? "portable" : levels[1 + below(2)];
        if (!only && !interleaved_supports(level)) level = NULL;
        for (unsigned i = 0; i < n; i++) {
            make_job(&jobs[i], i, &mutated);
            mutants += (unsigned)mutated;
        }
        accepted += judge(jobs, n, loop, level);
        for (unsigned i = 0; i < n; i++) {
            release((uint8_t *)jobs[i].src);
            release(jobs[i].dst);
        }
        done += n;
        refresh(&pool[below(POOL)]);
        if (time(NULL) - told >= 60) {
            told = time(NULL);
            printf("%llu streams, %llu accepted, %ld s\n", done, accepted, (long)(told - began));
            fflush(stdout);
        }
    }
    printf("%llu streams (%llu mutated), %llu accepted, %ld s, seed %llu: all as zlib says\n", done, mutants,
           accepted, (long)(time(NULL) - began), (unsigned long long)seed);
    return 0;
}
#endif
