/* What the parts of the interleaved engine share: a lane, its tables, and the smallest steps. Each level of
 * CPU compiles these parts once, for itself (level.h). */
#ifndef FASTZIP_LANE_H
#define FASTZIP_LANE_H
#include <string.h>

#include "interleaved.h"

/* Functions that copy 64 bytes at a time. All others have AVX2 at most: with more, gcc 12 keeps integers in
 * vector registers. */
#ifdef LEVEL_AVX512
#define WIDE __attribute__((target("bmi,bmi2,lzcnt,avx2,avx512f,avx512bw,avx512vbmi")))
#else
#define WIDE
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The interleaved engine reads bits and table entries as little-endian numbers."
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ALWAYS static inline __attribute__((always_inline))

enum {
    LIT_BITS = 11,                         /* of the first lookup; 12 falls out of the level 1 cache */
    LIT_BITS_SMALL = 10,                   /* most members below SMALL_MEMBER: choose_lit_bits() */
    SMALL_MEMBER = 4096,
    DIST_BITS = 8,
    /* Subtables included: the most that complete codes can take ("enough 288 11 15" and "enough 32 8 15"
     * by zlib's program of that name). The builder checks as well. */
    LIT_CAP = 2342,
    DIST_CAP = 402,
    MAX_DIST_SUBS = 32,
    DIRECT = 32,                           /* matches up to this long need one step, one copy of 32 bytes */
    MARGIN = 64,                           /* output bytes that a loop's step may need */
    MARGIN_LONG = 384,                     /* ... and those of the loop for long matches */
    TAIL = 16,                             /* input bytes that a step may need */
};

/* An entry of the literal/length table, 32 bits:
 *   0-7    how many bits the code takes, extra bits included (RFC 1951, 3.2.5)
 *   8-23   one or two literal bytes; or what a special entry holds
 *   24-31  1, 2: so many literals; 3 to 32: a match of that length, its extra bits looked up as well;
 *          254: a match whose length is a base (8-16) and extra bits behind a code of so many bits (17-20)
 *          255: something else, see 22-23
 * so that one comparison tells literals, short matches and the rest apart. */
enum { EXTRA = 254, SPECIAL = 255 };
enum { END_OF_BLOCK, BAD_CODE, SUBTABLE };  /* bits 22-23; a subtable: offset in 8-20, its bits in 0-7 */
#define ADVANCE(e) ((e) >> 24)
#define IS_LITERAL(e) ((e) < (3u << 24))
#define IS_DIRECT(e) ((e) < ((DIRECT + 1u) << 24))
#define IS_SPECIAL(e) ((e) >= ((uint32_t)SPECIAL << 24))
#define SPECIAL_KIND(e) ((e) >> 22 & 3)
#define SPECIAL_ENTRY(kind) ((uint32_t)SPECIAL << 24 | (uint32_t)(kind) << 22)

/* An entry of the distance table. With base 0 it isn't a distance, but a subtable's number plus one (in
 * `code`), or a bad code (0); the distance comes out as 0 then, and the test for overlaps finds it without a
 * test of its own. PEXT would do with one instruction less, but is microcoded on AMD family 17h. */
typedef struct {
    uint8_t bits;                          /* that the code and its extra bits take */
    uint8_t code;                          /* those of the code */
    uint16_t base;
} distance_entry;

enum { LANE_FAILED = -1, LANE_HEADER, LANE_CODES, LANE_DONE };

typedef struct {
    /* The input is a bit address, byte address times eight: one number for pointer, bit buffer and count
     * leaves registers for four lanes (1.25 times on text against a bit buffer each). */
    uint64_t pos, pos_limit, pos_end;      /* a step may begin up to pos_limit */
    uint8_t *out, *out_limit;              /* likewise; set by whoever runs a loop */
    uint8_t *out_start, *out_end, *out_room;
    uint64_t lit_mask;
    unsigned lit_bits;
    int state;
    int last_block;                        /* BFINAL was set (RFC 1951, 3.2.3) */
    int long_matches;                      /* all matches are EXTRA entries, for the loop of that name */
    int pairs;                             /* some entries hold two literals */
    int fixed;                             /* the tables hold the fixed codes: see fixed_tables() */
    int in_tail;                           /* the rest of the input was copied to `tail` */
    uint32_t matches;                      /* how likely a symbol is a match, of 32768, by code lengths */
    interleaved_job *job;
    struct { uint16_t offset, bits; } subs[MAX_DIST_SUBS];
    uint8_t tail[128];
    distance_entry dist[DIST_CAP + 6] __attribute__((aligned(64)));
    uint32_t lit[LIT_CAP + 10] __attribute__((aligned(64)));
} lane;

/* Code lengths as they are read: for each length, its symbols in ascending order. That is the order in
 * which tables are built, so nothing is sorted. Literals and lengths come first, distances behind. */
enum { LENGTHS = 16, NO_PREVIOUS = 16, BUCKET = 288 + 32 + 138 + 14 };
typedef struct {
    uint16_t symbols[LENGTHS + 1][BUCKET];
    uint32_t count[LENGTHS + 1];
    uint32_t first_dist[LENGTHS + 1];      /* how many of count are literals and lengths */
} code_lengths;

struct interleaved_state {
    lane lanes[INTERLEAVED_LANES];
    code_lengths lengths;
    uint32_t precode[128];
    int forced;                            /* a loop plus 1, for tests */
    unsigned blocks;                       /* since the stop flag was looked at */
    const interleaved_feed *feed;
};

/* What one level of CPU has: a function that runs all of the feed's jobs. */
void interleaved_portable(interleaved_state *state);
void interleaved_avx2(interleaved_state *state);
void interleaved_avx512(interleaved_state *state);

ALWAYS uint64_t load64(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* At least 57 bits of input from bit address pos on. */
ALWAYS uint64_t peek(uint64_t pos) {
    return load64((const void *)(uintptr_t)(pos >> 3)) >> (pos & 7);
}

/* The lowest n bits; only bits 0-7 of n count, and they must be below 64. */
ALWAYS uint64_t low_bits(uint64_t bits, uint32_t n) {
#ifdef LEVEL_AVX2
    return _bzhi_u64(bits, n);
#else
    return bits & ((UINT64_C(1) << (n & 63)) - 1);
#endif
}
#endif
