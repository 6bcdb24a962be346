/* The batch kernel's face: which level of CPU, and jobs in a good order. */
#include "lane.h"

static const struct { const char *name; void (*run)(fz_inflate_state *); } levels[] = {   /* the best first */
    { "avx512", fz_inflate_avx512 }, { "avx2", fz_inflate_avx2 }, { "portable", fz_inflate_portable },
};
static void (*run)(fz_inflate_state *) = fz_inflate_portable;

int fz_inflate_supports(const char *level) {
    if (strcmp(level, "portable") == 0) return 1;
#if defined __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")
        || !__builtin_cpu_supports("avx2")) return 0;
    if (strcmp(level, "avx2") == 0) return 1;
    if (strcmp(level, "avx512") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vbmi");
    }
#endif
    return 0;
}

const char *fz_inflate_use(const char *level) {
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (level && strcmp(level, levels[i].name)) continue;
        if (!fz_inflate_supports(levels[i].name)) continue;
        run = levels[i].run;
        return levels[i].name;
    }
    return NULL;
}

size_t fz_inflate_state_size(void) { return sizeof(fz_inflate_state); }

void fz_inflate_force(fz_inflate_state *state, int loop) {
    state->forced = loop < 0 || loop >= FZ_INFLATE_LOOPS ? 0 : loop + 1;
}

void fz_inflate_run(fz_inflate_state *state, const fz_inflate_feed *feed) {
    state->feed = feed;
    run(state);
    state->feed = NULL;
}

uint64_t fz_inflate_rank(size_t src_len, size_t dst_len) {
    return (uint64_t)src_len | (uint64_t)(dst_len / LONG_RATIO >= src_len) << 63;
}

/* Jobs one after the other, in order; batches are walked in windows so that sorting needs no memory. */
enum { WINDOW = 64 };
typedef struct {
    fz_inflate_job *jobs;
    size_t left, in_window, given;
    uint16_t order[WINDOW];
} queue;

static void sort_window(queue *q) {
    uint64_t ranks[WINDOW];                /* as ordered */
    q->in_window = q->left < WINDOW ? q->left : WINDOW;
    q->given = 0;                          /* at the end it stays empty, however often that is asked */
    for (size_t i = 0; i < q->in_window; i++) {
        uint64_t rank = fz_inflate_rank(q->jobs[i].src_len, q->jobs[i].dst_len);
        size_t k = i;
        for (; k && rank > ranks[k - 1]; k--) {
            ranks[k] = ranks[k - 1];
            q->order[k] = q->order[k - 1];
        }
        ranks[k] = rank;
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
