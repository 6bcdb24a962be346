/* The interleaved loops, for LANES lanes; included once for each number of lanes (level.h).
 *
 * All lanes do a step's first stage, then all its second one, and so on, so that each wait for memory is
 * filled with the other lanes' work. Lane after lane gained nothing: the waiting instructions of one fill
 * the CPU's scheduler before the next one's come into sight. A branch is taken only for what is rare,
 * since a mispredicted one throws away the work of all lanes.
 *
 * A loop returns when a lane is near the end of its input or output, or its block is over. It leaves all
 * lanes between two symbols. */

#define NAME_(name, lanes) name##_##lanes
#define NAME__(name, lanes) NAME_(name, lanes)
#define NAME(name) NAME__(name, LANES)

#if LANES == 1
#define EACH(DO) DO(0)
#define EACH_AT(DO, i) DO(0, i)
#define SETTLE_ALL SETTLE(0)
#elif LANES == 2
#define EACH(DO) DO(0) DO(1)
#define EACH_AT(DO, i) DO(0, i) DO(1, i)
#define SETTLE_ALL SETTLE(0) SETTLE(1)
#elif LANES == 3
#define EACH(DO) DO(0) DO(1) DO(2)
#define EACH_AT(DO, i) DO(0, i) DO(1, i) DO(2, i)
#define SETTLE_ALL SETTLE(0) SETTLE(1) SETTLE(2)
#else
#define EACH(DO) DO(0) DO(1) DO(2) DO(3)
#define EACH_AT(DO, i) DO(0, i) DO(1, i) DO(2, i) DO(3, i)
#define SETTLE_ALL SETTLE(0) SETTLE(1) SETTLE(2) SETTLE(3)
#endif

#define BEGIN(k) flow f##k = { .pos = lanes[k].pos, .out = lanes[k].out, .bits = NONE_TAKEN };
#define SETTLE(k) settle(&f##k);
#define LEAVE(k) lanes[k].pos = f##k.pos; lanes[k].out = f##k.out;
#define ROOM(k) if (UNLIKELY(f##k.pos > lanes[k].pos_limit || f##k.out > lanes[k].out_limit)) goto leave;
#define PEEK(k) look(&f##k, lanes + k);
#define ONE(k, i) if (UNLIKELY(one_literal(&f##k, lanes + k, i, 5))) goto rare##k;
#define SOME(k, i) if (UNLIKELY(some_literals(&f##k, lanes + k, i, 5))) goto rare##k;
#define PREFIX(k) prefix(&f##k, lanes + k);
#define SYMBOL(k) if (UNLIKELY(symbol(&f##k))) goto rare##k;
#define COPY(k) if (UNLIKELY(copy(&f##k, lanes + k))) goto rare##k;
#define LONG_SYMBOL(k) if (UNLIKELY(long_symbol(&f##k))) goto rare##k;
#define LONG_COPY(k) if (UNLIKELY(long_copy(&f##k, lanes + k))) goto rare##k;
/* Lane k met something rare: it does that symbol for itself, and all begin a step anew. */
#define RARE(k) rare##k: SETTLE_ALL if (rare(&f##k, lanes + k)) goto leave; continue;

#define LOOP(name, steps) LOOP_OF(, name, steps)
#define LOOP_OF(width, name, steps) \
    static __attribute__((noinline)) width void NAME(name)(lane *lanes) { \
        EACH(BEGIN) \
        for (;;) { \
            EACH(ROOM) \
            EACH(PEEK) \
            steps \
            continue; \
            EACH(RARE) \
        } \
    leave: \
        SETTLE_ALL \
        EACH(LEAVE) \
    }

/* Blocks of literals (fewer than one match in twelve symbols): a match is rare enough to be a branch, so
 * a literal costs five operations. Five codes of 11 bits fit into one peek. Float32: 2.2 times, where
 * `mixed_2` gains 1.3. */
#define FIVE(DO) EACH_AT(DO, 0) EACH_AT(DO, 1) EACH_AT(DO, 2) EACH_AT(DO, 3) EACH_AT(DO, 4)
LOOP(literals, FIVE(ONE) EACH(SETTLE))
/* The same where entries may hold two literals. */
LOOP(literal_pairs, FIVE(SOME) EACH(SETTLE))
#undef FIVE
/* Anything: a literal or a match of up to 32 bytes, without a branch between the two. */
LOOP(mixed, EACH(SYMBOL) EACH(COPY))
/* Where literals are likely, one is taken in passing if there is one: 25 to 34 % on images and float16. */
LOOP(mixed_1, EACH(PREFIX) EACH(SYMBOL) EACH(COPY))
/* Where they are likelier still, two. */
LOOP(mixed_2, EACH(PREFIX) EACH(PREFIX) EACH(SYMBOL) EACH(COPY))
/* Sparse data: 64 bytes are copied whatever the match's length, so that there is a branch only from 65 on. */
LOOP_OF(WIDE, long_matches, EACH(LONG_SYMBOL) EACH(LONG_COPY))

static void (*const NAME(loops)[INTERLEAVED_LOOPS])(lane *lanes) = {
    NAME(literals), NAME(literal_pairs), NAME(mixed_2), NAME(mixed_1), NAME(mixed), NAME(long_matches),
};

#undef NAME_
#undef NAME__
#undef NAME
#undef EACH
#undef EACH_AT
#undef BEGIN
#undef SETTLE
#undef SETTLE_ALL
#undef LEAVE
#undef ROOM
#undef PEEK
#undef ONE
#undef SOME
#undef PREFIX
#undef SYMBOL
#undef COPY
#undef LONG_SYMBOL
#undef LONG_COPY
#undef RARE
#undef LOOP
#undef LOOP_OF
