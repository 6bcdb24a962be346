/* The batch kernel's face: which level of CPU, and jobs in a good order. */
#include "inflate_lane.h"

static void (*run)(fz_inflate_state *) = fz_inflate_portable;
static int avx512;

int fz_inflate_supports(const char *level) {
    if (strcmp(level, "portable") == 0) return 1;
#if defined __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")
        || !__builtin_cpu_supports("avx2")) return 0;
    if (strcmp(level, "avx2") == 0) return 1;
    if (strcmp(level, "avx512") == 0) return __builtin_cpu_supports("avx512f") != 0;
#endif
    return 0;
}

const char *fz_inflate_use(const char *level) {
    if (!level) level = fz_inflate_supports("avx2") ? "avx2" : "portable";
    if (!fz_inflate_supports(level)) return NULL;
    avx512 = strcmp(level, "avx512") == 0;
    run = strcmp(level, "portable") == 0 ? fz_inflate_portable : fz_inflate_avx2;
    return avx512 ? "avx512" : run == fz_inflate_avx2 ? "avx2" : "portable";
}

size_t fz_inflate_state_size(void) { return sizeof(fz_inflate_state); }

void fz_inflate_force(fz_inflate_state *state, int loop) {
    state->forced = loop < 0 || loop >= FZ_INFLATE_LOOPS ? 0 : loop + 1;
}

void fz_inflate_run(fz_inflate_state *state, const fz_inflate_feed *feed) {
    state->feed = feed;
    state->avx512 = avx512;
    run(state);
    state->feed = NULL;
}

/* What a member is made of, as far as its ratio tells: long matches, literals, or both. */
static int kind(const fz_inflate_job *job) {
    if (job->dst_len / LONG_RATIO >= job->src_len) return 0;
    return job->dst_len - job->dst_len / 4 < job->src_len ? 2 : 1;
}

int fz_inflate_before(const fz_inflate_job *a, const fz_inflate_job *b) {
    int x = kind(a), y = kind(b);
    return x != y ? x < y : a->dst_len > b->dst_len;
}

/* Jobs one after the other, in order; batches are walked in windows so that sorting needs no memory. */
enum { WINDOW = 256 };
typedef struct {
    fz_inflate_job *jobs;
    size_t left, in_window, given;
    uint16_t order[WINDOW];
} queue;

static void sort_window(queue *q) {
    q->in_window = q->left < WINDOW ? q->left : WINDOW;
    q->given = 0;                          /* at the end it stays empty, however often that is asked */
    for (size_t i = 0; i < q->in_window; i++) {
        size_t k = i;
        for (; k && fz_inflate_before(&q->jobs[i], &q->jobs[q->order[k - 1]]); k--) q->order[k] = q->order[k - 1];
        q->order[k] = (uint16_t)i;
    }
}

static fz_inflate_job *next(void *context) {
    queue *q = context;
    if (q->given == q->in_window) {
        q->jobs += q->in_window;
        q->left -= q->in_window;
        sort_window(q);
        if (!q->in_window) return NULL;
    }
    return &q->jobs[q->order[q->given++]];
}

static void done(void *context, fz_inflate_job *job) {
    (void)context;
    (void)job;
}

void fz_inflate_many(fz_inflate_state *state, fz_inflate_job *jobs, size_t n) {
    queue q = { .jobs = jobs, .left = n };  /* the first window is empty */
    fz_inflate_feed feed = { next, done, NULL, &q };
    fz_inflate_run(state, &feed);
}
