/* The interleaved engine's face: which level of CPU, and jobs in a good order. */
#include "lane.h"

static const struct { const char *name; void (*run)(interleaved_state *); } levels[] = {   /* the best first */
    { "avx512", interleaved_avx512 }, { "avx2", interleaved_avx2 }, { "portable", interleaved_portable },
};
static void (*run)(interleaved_state *) = interleaved_portable;

int interleaved_supports(const char *level) {
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

const char *interleaved_use(const char *level) {
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (level && strcmp(level, levels[i].name)) continue;
        if (!interleaved_supports(levels[i].name)) continue;
        run = levels[i].run;
        return levels[i].name;
    }
    return NULL;
}

size_t interleaved_state_size(void) { return sizeof(interleaved_state); }

void interleaved_force(interleaved_state *state, int loop) {
    state->forced = loop < 0 || loop >= INTERLEAVED_LOOPS ? 0 : loop + 1;
}

void interleaved_run(interleaved_state *state, const interleaved_feed *feed) {
    state->feed = feed;
    run(state);
    state->feed = NULL;
}

uint64_t interleaved_rank(size_t src_len, size_t dst_len) {
    return (uint64_t)src_len | (uint64_t)(dst_len / INTERLEAVED_LONG_RATIO >= src_len) << 63;
}

/* Jobs one after the other, in order; batches are walked in windows so that sorting needs no memory. */
enum { WINDOW = 64 };
typedef struct {
    interleaved_job *jobs;
    size_t left, in_window, given;
    uint16_t order[WINDOW];
} queue;

static void sort_window(queue *q) {
    uint64_t ranks[WINDOW];                /* as ordered */
    q->in_window = q->left < WINDOW ? q->left : WINDOW;
    q->given = 0;                          /* at the end it stays empty, however often that is asked */
    for (size_t i = 0; i < q->in_window; i++) {
        uint64_t rank = interleaved_rank(q->jobs[i].src_len, q->jobs[i].dst_len);
        size_t k = i;
        for (; k && rank > ranks[k - 1]; k--) {
            ranks[k] = ranks[k - 1];
            q->order[k] = q->order[k - 1];
        }
        ranks[k] = rank;
        q->order[k] = (uint16_t)i;
    }
}

static interleaved_job *next(void *context) {
    queue *q = context;
    if (q->given == q->in_window) {
        q->jobs += q->in_window;
        q->left -= q->in_window;
        sort_window(q);
        if (!q->in_window) return NULL;
    }
    return &q->jobs[q->order[q->given++]];
}

static void done(void *context, interleaved_job *job) {
    (void)context;
    (void)job;
}

void interleaved_many(interleaved_state *state, interleaved_job *jobs, size_t n) {
    queue q = { .jobs = jobs, .left = n };  /* the first window is empty */
    interleaved_feed feed = { next, done, NULL, &q };
    interleaved_run(state, &feed);
}
