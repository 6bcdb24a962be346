/* Random deflate streams (RFC 1951) for the interleaved engine's fuzzer: valid ones that no compressor would
 * write, with codes up to 15 bits, all kinds of blocks, and now and then something that isn't allowed. */
#ifndef STREAMS_H
#define STREAMS_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state[2];

static uint64_t random64(void) {           /* xoroshiro128+ */
    uint64_t a = random_state[0], b = random_state[1], sum = a + b;
    b ^= a;
    random_state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    random_state[1] = b << 37 | b >> 27;
    return sum;
}

static void seed_random(uint64_t seed) {
    random_state[0] = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    random_state[1] = seed ^ UINT64_C(0xD1B54A32D192ED03);
    for (int i = 0; i < 20; i++) random64();
}

static unsigned below(unsigned n) { return n ? (unsigned)((random64() >> 32) * n >> 32) : 0; }
static int chance(unsigned percent) { return below(100) < percent; }

typedef struct {
    uint8_t *bytes;
    size_t room, n;                        /* n: whole bytes so far */
    uint64_t held;
    unsigned bits;
    size_t made;                           /* bytes of output that the stream stands for */
    int full;
} writer;

static void put(writer *w, uint32_t value, unsigned bits) {
    w->held |= (uint64_t)value << w->bits;
    w->bits += bits;
    while (w->bits >= 8) {
        if (w->n == w->room) { w->full = 1; w->bits = 0; return; }
        w->bytes[w->n++] = (uint8_t)w->held;
        w->held >>= 8;
        w->bits -= 8;
    }
}

static void align(writer *w) { if (w->bits) put(w, 0, 8 - w->bits); }

/* A complete code for n symbols: a leaf is split until there are n. */
static void random_lengths(uint8_t *lengths, unsigned n, unsigned most) {
    unsigned leaves = 1;
    int deep = chance(30);
    lengths[0] = 0;
    while (leaves < n) {
        unsigned k = deep && chance(70) ? leaves - 1 : below(leaves);
        for (unsigned tries = 0; lengths[k] == most; tries++) k = (k + 1) % leaves;
        lengths[k]++;
        lengths[leaves] = lengths[k];
        leaves++;
    }
}

typedef struct { uint8_t lengths[320]; uint16_t codes[320]; unsigned n; } code;

static void assign(code *c) {              /* 3.2.2, bits reversed */
    unsigned next[17] = { 0 }, count[17] = { 0 };
    for (unsigned i = 0; i < c->n; i++) count[c->lengths[i]]++;
    count[0] = 0;
    for (unsigned length = 1; length <= 16; length++) next[length] = (next[length - 1] + count[length - 1]) << 1;
    for (unsigned i = 0; i < c->n; i++) {
        unsigned value = c->lengths[i] ? next[c->lengths[i]]++ : 0, reversed = 0;
        for (unsigned k = 0; k < c->lengths[i]; k++) reversed |= (value >> k & 1) << (c->lengths[i] - 1 - k);
        c->codes[i] = (uint16_t)reversed;
    }
}

static void put_symbol(writer *w, const code *c, unsigned symbol) {
    put(w, c->codes[symbol], c->lengths[symbol]);
}

/* A code over some of `n` symbols, `must` among them if it isn't n. */
static void random_code(code *c, unsigned n, unsigned used, unsigned must) {
    uint8_t lengths[320];
    unsigned left;
    memset(c, 0, sizeof *c);
    c->n = n;
    if (used > n) used = n;
    if (used < 2) {
        if (used) c->lengths[must < n ? must : below(n)] = 1;
        assign(c);
        return;
    }
    random_lengths(lengths, used, 15);
    left = used;
    if (must < n) c->lengths[must] = lengths[--left];
    while (left) {
        unsigned k = below(n);
        while (c->lengths[k]) k = (k + 1) % n;
        c->lengths[k] = lengths[--left];
    }
    assign(c);
}

static const uint16_t length_base[29] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43,
    51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258 };
static const uint8_t length_extra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4,
    4, 4, 5, 5, 5, 5, 0 };
static const uint16_t distance_base[30] = { 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257,
    385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577 };

static void put_header(writer *w, code *lits, code *dists) {
    static const uint8_t order[19] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };
    uint8_t all[320], plan[320][2];
    unsigned hlit = 286, hdist = 30, n, steps = 0, used[19] = { 0 }, kinds = 0;
    code pre;
    while (hlit > 257 && !lits->lengths[hlit - 1] && chance(95)) hlit--;
    while (hdist > 1 && !dists->lengths[hdist - 1] && chance(95)) hdist--;
    memcpy(all, lits->lengths, hlit);
    memcpy(all + hlit, dists->lengths, hdist);
    n = hlit + hdist;
    for (unsigned i = 0; i < n;) {
        unsigned run = 1;
        while (i + run < n && all[i + run] == all[i]) run++;
        if (all[i] == 0 && run >= 3 && chance(95)) {
            if (run > 138) run = 138;
            plan[steps][0] = run > 10 ? 18 : 17;
            plan[steps][1] = (uint8_t)(run - (run > 10 ? 11 : 3));
        } else if (i && all[i] == all[i - 1] && run >= 3 && chance(90)) {
            if (run > 6) run = 6;
            plan[steps][0] = 16;
            plan[steps][1] = (uint8_t)(run - 3);
        } else {
            run = 1;
            plan[steps][0] = all[i];
        }
        kinds += !used[plan[steps][0]]++;
        steps++;
        i += run;
    }
    memset(&pre, 0, sizeof pre);
    pre.n = 19;
    if (kinds < 2) for (unsigned k = 0; kinds < 2; k++) if (!used[k]) { used[k] = 1; kinds++; }
    uint8_t lengths[19];
    random_lengths(lengths, kinds, 7);
    for (unsigned k = 0; k < 19; k++) if (used[k]) pre.lengths[k] = lengths[--kinds];
    assign(&pre);
    unsigned hclen = 19;
    while (hclen > 4 && !pre.lengths[order[hclen - 1]] && chance(95)) hclen--;
    put(w, hlit - 257, 5);
    put(w, hdist - 1, 5);
    put(w, hclen - 4, 4);
    for (unsigned k = 0; k < hclen; k++) put(w, pre.lengths[order[k]], 3);
    for (unsigned k = 0; k < steps; k++) {
        put_symbol(w, &pre, plan[k][0]);
        if (plan[k][0] == 16) put(w, plan[k][1], 2);
        if (plan[k][0] == 17) put(w, plan[k][1], 3);
        if (plan[k][0] == 18) put(w, plan[k][1], 7);
    }
}

static void put_codes_block(writer *w, unsigned symbols, int fixed) {
    code lits, dists;
    unsigned matches = below(101), near = chance(50), has[320], n_lits = 0, n_lengths = 0, n_dists = 0;
    uint16_t lit_of[256], length_of[32], dist_of[32];
    if (fixed) {
        memset(&lits, 0, sizeof lits);
        memset(&dists, 0, sizeof dists);
        lits.n = 288;
        dists.n = 32;
        for (unsigned i = 0; i < 288; i++) lits.lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        memset(dists.lengths, 5, 32);
        assign(&lits);
        assign(&dists);
    } else {
        unsigned wanted = chance(3) ? 1 : 2 + below(chance(50) ? 12 : 285);
        random_code(&lits, 286, wanted, 256);
        random_code(&dists, 30, chance(10) ? 0 : chance(10) ? 1 : 2 + below(29), 30);
        put_header(w, &lits, &dists);
    }
    (void)has;
    for (unsigned i = 0; i < 256; i++) if (lits.lengths[i]) lit_of[n_lits++] = (uint16_t)i;
    for (unsigned i = 257; i < 286; i++) if (lits.lengths[i]) length_of[n_lengths++] = (uint16_t)i;
    for (unsigned i = 0; i < 30; i++) if (dists.lengths[i]) dist_of[n_dists++] = (uint16_t)i;
    if (fixed && chance(2) && w->made) {   /* codes that stand for nothing (3.2.6) */
        put_symbol(w, &lits, 286 + below(2));
    }
    while (symbols-- && !w->full) {
        if (n_lengths && n_dists && w->made && below(100) < matches) {
            unsigned l = length_of[below(n_lengths)] - 257u, d, tries = 0, distance, extra, most, value;
            unsigned more = below(1u << length_extra[l]);
            if (chance(20)) more = (1u << length_extra[l]) - 1;
            do {
                d = dist_of[near ? below(n_dists / 2 + 1) : below(n_dists)];
                extra = d < 2 ? 0 : d / 2 - 1;
                distance = distance_base[d];
            } while (distance > w->made && ++tries < 8);
            if (distance > w->made && !chance(2)) goto literal;
            most = 1u << extra;
            if (distance + most - 1 > w->made && distance <= w->made) most = (unsigned)w->made - distance + 1;
            value = chance(10) ? most - 1 : below(most);
            put_symbol(w, &lits, l + 257);
            put(w, more, length_extra[l]);
            put_symbol(w, &dists, d);
            put(w, value, extra);
            w->made += length_base[l] + more;
            continue;
        }
    literal:
        if (!n_lits) break;
        put_symbol(w, &lits, lit_of[chance(60) ? below(n_lits < 4 ? n_lits : 4) : below(n_lits)]);
        w->made++;
    }
    put_symbol(w, &lits, 256);
}

/* A stream in at most `room` bytes; returns how many, and what it should make. */
static size_t random_stream(uint8_t *bytes, size_t room, unsigned symbols, size_t *made) {
    writer w = { bytes, room, 0, 0, 0, 0, 0 };
    unsigned blocks = chance(60) ? 1 : 1 + below(6);
    for (unsigned b = 0; b < blocks && !w.full; b++) {
        unsigned kind = below(10);
        put(&w, b + 1 == blocks, 1);
        if (kind < 2) {
            unsigned n = chance(30) ? 0 : below(chance(20) ? 600 : 40);
            put(&w, 0, 2);
            align(&w);
            put(&w, n, 16);
            put(&w, n ^ 0xffff, 16);
            for (unsigned i = 0; i < n; i++) put(&w, chance(50) ? 0 : below(256), 8);
            w.made += n;
        } else {
            put(&w, kind < 4 ? 1 : 2, 2);
            put_codes_block(&w, chance(10) ? 0 : below(symbols) + 1, kind < 4);
        }
    }
    align(&w);
    *made = w.made;
    return w.n;
}
#endif
