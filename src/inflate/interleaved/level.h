/* The interleaved engine for one level of CPU: included by x86.h and portable.c, which name the
 * level and set what the compiler may use. One list of compiler flags serves all, and no ifunc is needed,
 * which sanitizers and musl don't have. */
#include "lane.h"

#include "exact.h"
#include "pairs.h"
#include "steps.h"
#include "tables.h"

#define LANES 1
#include "loops.h"
#undef LANES
#define LANES 2
#include "loops.h"
#undef LANES
#define LANES 3
#include "loops.h"
#undef LANES
#define LANES 4
#include "loops.h"
#undef LANES

enum { LITERALS_LOOP, PAIRS_LOOP, MIXED_2_LOOP, MIXED_1_LOOP, MIXED_LOOP, LONG_LOOP };
enum { STOP_BLOCKS = 16 };                 /* blocks between two looks at the stop flag */
enum { READY, OVER, HALT };
/* Long matches are bound by their copies: a fourth lane costs 5 to 15 % there, so it waits. */
enum { LONG_LANES = 3 };

static void (*const *const loops[INTERLEAVED_LANES + 1])(lane *lanes) = {
    NULL, loops_1, loops_2, loops_3, loops_4,
};

static void start_lane(interleaved_state *s, lane *l, interleaved_job *job) {
    uint64_t src = (uint64_t)(uintptr_t)job->src << 3;
    l->job = job;
    l->pos = src;
    l->pos_end = src + (uint64_t)job->src_len * 8;
    l->pos_limit = job->src_len >= TAIL ? l->pos_end - 8 * TAIL : 0;
    l->in_tail = 0;
    l->out = l->out_start = job->dst;
    l->out_end = job->dst + job->dst_len;
    l->out_room = job->dst + (job->dst_room > job->dst_len ? job->dst_room : job->dst_len);
    l->state = LANE_HEADER;
    l->last_block = 0;
    l->lit_bits = job->dst_len < SMALL_MEMBER ? LIT_BITS_SMALL : LIT_BITS;
    l->lit_mask = (1u << l->lit_bits) - 1;
    l->long_matches = s->forced ? s->forced - 1 == LONG_LOOP
                                : job->dst_len / INTERLEAVED_LONG_RATIO >= job->src_len;
    l->dist[NEVER] = (distance_entry){ 0, 0, 2 };
}

/* The last lane takes the place of one that is over. */
static void move_lane(lane *to, const lane *from) {
    memcpy(to, from, sizeof *to);
    if (to->in_tail) {
        uint64_t by = (uint64_t)(uintptr_t)to->tail * 8 - (uint64_t)(uintptr_t)from->tail * 8;
        to->pos += by;
        to->pos_end += by;
        to->pos_limit += by;
    }
}

static int finish(lane *l, int status) {
    l->job->status = status;
    return OVER;
}

static int must_stop(interleaved_state *s) {
    if (++s->blocks % STOP_BLOCKS || !s->feed->stopped) return 0;
    return s->feed->stopped(s->feed->context);
}

/* Does what no loop does, until the lane may go into one (READY) or its job is OVER. */
static int prepare(interleaved_state *s, lane *l) {
    size_t margin = l->long_matches ? MARGIN_LONG : MARGIN;
    for (;;) {
        if (l->state == LANE_DONE) {
            int all = (l->pos + 7) >> 3 == l->pos_end >> 3 && l->out == l->out_end;
            return finish(l, all ? INTERLEAVED_DONE : INTERLEAVED_REFUSED);
        }
        if (l->state == LANE_FAILED || l->out > l->out_end) return finish(l, INTERLEAVED_REFUSED);
        if (l->state == LANE_HEADER) {
            if (must_stop(s)) return HALT;
            if (block_header(s, l)) return finish(l, INTERLEAVED_REFUSED);
            continue;
        }
        if (need_input(l)) return finish(l, INTERLEAVED_REFUSED);
        if ((size_t)(l->out_room - l->out) >= margin) {
            l->out_limit = l->out_room - margin;
            return READY;
        }
        int result = one_symbol(l);
        if (result < 0) l->state = LANE_FAILED;
    }
}

/* The loop for what stands in the lanes now. The limits were found on zlib's streams; beside them a wrong
 * choice costs a few percent. */
static int choose(const interleaved_state *s, unsigned n) {
    uint32_t matches = 0;
    unsigned longs = 0, pairs = 0;
    if (s->forced) return s->forced - 1;
    for (unsigned k = 0; k < n; k++) {
        if (s->lanes[k].matches > matches) matches = s->lanes[k].matches;
        longs += s->lanes[k].long_matches != 0;
        pairs += s->lanes[k].pairs != 0;
    }
    if (longs == n) return LONG_LOOP;
    if (matches < 2600) return pairs ? PAIRS_LOOP : LITERALS_LOOP;
    return matches < 16000 ? MIXED_2_LOOP : matches < 28000 ? MIXED_1_LOOP : MIXED_LOOP;
}

void LEVEL_RUN(interleaved_state *s) {
    const interleaved_feed *feed = s->feed;
    unsigned n = 0;
    for (;;) {
        interleaved_job *job;
        while (n < INTERLEAVED_LANES && (job = feed->next(feed->context)) != NULL) {
            start_lane(s, &s->lanes[n++], job);
        }
        if (!n) return;
        for (unsigned k = 0; k < n;) {
            lane *l = &s->lanes[k];
            int how = prepare(s, l);
            if (how == READY) {
                k++;
                continue;
            }
            if (how == HALT) {
                for (k = 0; k < n; k++) {
                    finish(&s->lanes[k], INTERLEAVED_STOPPED);
                    feed->done(feed->context, s->lanes[k].job);
                }
                return;
            }
            feed->done(feed->context, l->job);
            job = feed->next(feed->context);
            if (job) start_lane(s, l, job);
            else if (k < --n) move_lane(l, &s->lanes[n]);
        }
        if (n) {
            int loop = choose(s, n);
            unsigned wide = loop == LONG_LOOP && n > LONG_LANES ? LONG_LANES : n;
            loops[wide][loop](s->lanes);
        }
    }
}
