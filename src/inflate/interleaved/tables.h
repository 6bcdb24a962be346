/* Block headers and the tables made of them (RFC 1951, 3.2.3 to 3.2.7). Compiled once for each level of
 * CPU, see level.h.
 *
 * For members of 1 or 2 KB this is half of the work: some 2,500 cycles a block. */

static const uint8_t precode_order[19] = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
};

/* Entries of the precode's table: 0-7 bits to drop, 8-15 the code's among them, 16-23 how many lengths,
 * 24-31 which one; 16 (copy the previous one) has the highest bit set instead. Per code length it grows
 * by 0x101. */
#define PRECODE_COPY 0x80000000u
#define P(n) ((uint32_t)(n) << 24 | 1u << 16)
static const uint32_t precode_entry[19] = {
    P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7), P(8), P(9), P(10), P(11), P(12), P(13), P(14), P(15),
    PRECODE_COPY | 3u << 16 | 2, 3u << 16 | 3, 11u << 16 | 7,
};
#undef P

/* Both tables are built as numbers; distance entries are read as structs. */
typedef uint32_t __attribute__((may_alias)) entry_word;

/* What a symbol's entry is made of: `start` + code length * `step`. */
typedef struct { uint32_t start, step; } entry_maker;
#define LITERAL(c) { 1u << 24 | (uint32_t)(c) << 8, 1 }
#define LITERALS_4(c) LITERAL(c), LITERAL(c + 1), LITERAL(c + 2), LITERAL(c + 3)
#define LITERALS_16(c) LITERALS_4(c), LITERALS_4(c + 4), LITERALS_4(c + 8), LITERALS_4(c + 12)
#define LITERALS_64(c) LITERALS_16(c), LITERALS_16(c + 16), LITERALS_16(c + 32), LITERALS_16(c + 48)
#define LITERALS LITERALS_64(0), LITERALS_64(64), LITERALS_64(128), LITERALS_64(192)
#define NO_MATCH(kind) { SPECIAL_ENTRY(kind), 1 }
#define WITH_EXTRA(base, extra) { (uint32_t)EXTRA << 24 | (base) << 8 | (extra), 1u << 17 | 1 }
#define AS_IT_IS(base, extra) { (uint32_t)(base) << 24, 1 }
/* RFC 1951, 3.2.5. S: lengths without extra bits that are up to DIRECT. */
#define SYMBOLS(S, X) { LITERALS, NO_MATCH(END_OF_BLOCK), \
    S(3, 0), S(4, 0), S(5, 0), S(6, 0), S(7, 0), S(8, 0), S(9, 0), S(10, 0), \
    X(11, 1), X(13, 1), X(15, 1), X(17, 1), X(19, 2), X(23, 2), X(27, 2), X(31, 2), \
    X(35, 3), X(43, 3), X(51, 3), X(59, 3), X(67, 4), X(83, 4), X(99, 4), X(115, 4), \
    X(131, 5), X(163, 5), X(195, 5), X(227, 5), X(258, 0), NO_MATCH(BAD_CODE), NO_MATCH(BAD_CODE) }
static const entry_maker lit_makers[2][288] = {
    SYMBOLS(AS_IT_IS, WITH_EXTRA), SYMBOLS(WITH_EXTRA, WITH_EXTRA),   /* [long_matches] */
};
#define LENGTH_BASE(maker) ((maker).start >> 8 & 0x1ff)
#define LENGTH_EXTRA(maker) ((maker).start & 0xff)

/* A distance_entry as one number. */
#define DISTANCE(base, extra) { (uint32_t)(base) << 16 | (extra), 0x101 }
#define DISTANCES(x, b) DISTANCE(b, x), DISTANCE((b) + (1 << (x)), x)
static const entry_maker dist_makers[32] = {
    DISTANCE(1, 0), DISTANCE(2, 0), DISTANCES(0, 3), DISTANCES(1, 5), DISTANCES(2, 9), DISTANCES(3, 17),
    DISTANCES(4, 33), DISTANCES(5, 65), DISTANCES(6, 129), DISTANCES(7, 257), DISTANCES(8, 513),
    DISTANCES(9, 1025), DISTANCES(10, 2049), DISTANCES(11, 4097), DISTANCES(12, 8193),
    DISTANCES(13, 16385), { 0, 0 }, { 0, 0 },
};

#define R2(n) n, n + 128, n + 64, n + 192
#define R4(n) R2(n), R2(n + 32), R2(n + 16), R2(n + 48)
#define R6(n) R4(n), R4(n + 8), R4(n + 4), R4(n + 12)
static const uint8_t reversed_byte[256] = { R6(0), R6(2), R6(1), R6(3) };

/* Huffman codes are packed from their most significant bit on (3.1.1), so tables are indexed by the code
 * reversed. Codes are counted in 16 bits, left-aligned: the next one of length n is 1 << (16 - n) on. */
ALWAYS uint32_t reversed(uint32_t code) {
    return (uint32_t)reversed_byte[code & 255] << 8 | reversed_byte[code >> 8 & 255];
}

/* Copies the input from pos on to the lane's own padded memory, so that steps may read beyond its end.
 * What they take of the zeros there is noticed later: a job is done only if it ends where it should. */
static __attribute__((noinline)) int enter_tail(lane *l) {
    size_t left;
    if (l->in_tail || l->pos > l->pos_end) return -1;
    left = (size_t)((l->pos_end >> 3) - (l->pos >> 3));
    memcpy(l->tail, (const void *)(uintptr_t)(l->pos >> 3), left);
    memset(l->tail + left, 0, sizeof l->tail - left);
    l->pos = (uint64_t)(uintptr_t)l->tail << 3 | (l->pos & 7);
    l->pos_end = (uint64_t)(uintptr_t)(l->tail + left) << 3;
    l->pos_limit = l->pos_end + 8 * TAIL;
    l->in_tail = 1;
    return 0;
}

/* May TAIL bytes be read from pos on? Else make it so; not 0: the input is over. */
ALWAYS int need_input(lane *l) { return LIKELY(l->pos <= l->pos_limit) ? 0 : enter_tail(l); }

/* Stored blocks (3.2.4): LEN, NLEN, and that many bytes. */
static int stored_block(lane *l) {
    const uint8_t *p = (const uint8_t *)(uintptr_t)((l->pos + 3 + 7) >> 3);
    const uint8_t *end = (const uint8_t *)(uintptr_t)(l->pos_end >> 3);
    size_t n;
    if (p > end || end - p < 4) return -1;
    n = (size_t)(p[0] | p[1] << 8);
    if ((n ^ (size_t)(p[2] | p[3] << 8)) != 0xffff) return -1;
    p += 4;
    if ((size_t)(end - p) < n || l->out > l->out_end || (size_t)(l->out_end - l->out) < n) return -1;
    if (n) memcpy(l->out, p, n);
    l->out += n;
    l->pos = (uint64_t)(uintptr_t)(p + n) << 3;
    return 0;
}

ALWAYS void double_table(entry_word *table, uint32_t size) {
    for (uint32_t i = 0; i < size; i += 8) {
        uint32_t eight[8];                 /* of small tables too many; rubbish is overwritten later */
        memcpy(eight, table + i, sizeof eight);
        memcpy(table + size + i, eight, sizeof eight);
    }
}

/* The table of the code for code lengths (3.2.7): 7 bits, so no subtables. */
static int build_precode(uint32_t *table, uint64_t bits, unsigned n) {
    uint32_t with[8] = { 0 }, left = 128, code = 0;
    for (unsigned i = 0; i < n; i++, bits >>= 3) with[bits & 7] |= 1u << precode_order[i];
    for (unsigned length = 1; length <= 7; length++) {
        left -= (uint32_t)__builtin_popcount(with[length]) << (7 - length);
    }
    if (left) return -1;                   /* zlib wants it complete, even if it is one code alone */
    for (unsigned length = 1; length <= 7; length++) {
        for (uint32_t rest = with[length]; rest; rest &= rest - 1) {
            table[reversed_byte[code]] = precode_entry[__builtin_ctz(rest)] + 0x101 * length;
            code += 1u << (8 - length);
        }
        if (length < 7) double_table(table, 1u << length);
    }
    return 0;
}

/* Reads code lengths up to number `end`; returns what number is next: a run may go on beyond the end of
 * the literals. Each step is a chain of and, load, shift; entering the symbols in their bucket fits into
 * the wait for it. -1: the input is over. */
ALWAYS int read_lengths(interleaved_state *s, lane *l, uint32_t i, uint32_t end, uint32_t *previous) {
    code_lengths *c = &s->lengths;
    uint64_t pos = l->pos;
    uint32_t length = *previous;
    while (i < end) {
        if (UNLIKELY(pos > l->pos_limit)) {
            l->pos = pos;
            if (enter_tail(l)) return -1;
            pos = l->pos;
        }
        uint64_t bits = peek(pos);
        for (int k = 0; k < 4 && i < end; k++) {         /* at most 14 bits each */
            uint32_t e = s->precode[bits & 127];
            uint32_t run = (e >> 16 & 255) + (uint32_t)(low_bits(bits, e) >> (e >> 8 & 63));
            uint64_t eight = i * UINT64_C(0x0001000100010001) + UINT64_C(0x0003000200010000);
            uint16_t *to;
            length = e & PRECODE_COPY ? length : e >> 24;
            bits >>= e & 63;
            pos += e & 255;
            to = c->symbols[length] + c->count[length];
            memcpy(to, &eight, 8);         /* runs of anything but zeros are at most 6 long */
            eight += UINT64_C(0x0004000400040004);
            memcpy(to + 4, &eight, 8);
            c->count[length] += run;
            i += run;
        }
    }
    l->pos = pos;
    *previous = length;
    return (int)i;
}

/* How many bits a subtable takes that begins with a code of this length, of which `left` are to come:
 * as many as hold whole codes. */
static uint32_t subtable_bits(const uint32_t *count, uint32_t length, uint32_t longest, uint32_t root,
                              uint32_t left) {
    uint32_t bits = length - root, room = 1u << bits;
    while (left < room && length < longest) {
        room = (room - left) << 1;
        bits++;
        left = count[++length];
    }
    return bits;
}

/* Codes of more than `root` bits, in a table of their own for each `root` bits they share. `code` is the
 * first of them, `next` where there is room. Not 0: no room; complete codes have it. */
static int build_subtables(lane *l, const code_lengths *c, const uint32_t *from, const uint32_t *count,
                           const entry_maker *makers, entry_word *table, uint32_t cap, uint32_t root,
                           uint32_t longest, uint32_t code, uint32_t minus) {
    uint32_t next = 1u << root, current = UINT32_MAX, bits = 0, offset = 0, subs = 0;
    for (uint32_t length = root + 1; length <= longest; length++) {
        for (uint32_t i = 0; i < count[length]; i++) {
            uint32_t symbol = (uint32_t)c->symbols[length][from[length] + i] - minus;
            uint32_t at = reversed(code), e = makers[symbol].start + makers[symbol].step * length;
            if ((at & ((1u << root) - 1)) != current) {
                current = at & ((1u << root) - 1);
                bits = subtable_bits(count, length, longest, root, count[length] - i);
                offset = next;
                next += 1u << bits;
                if (next > cap) return -1;
                if (minus == 0) {
                    table[current] = SPECIAL_ENTRY(SUBTABLE) | offset << 8 | bits;
                } else {
                    if (subs == MAX_DIST_SUBS) return -1;
                    l->subs[subs].offset = (uint16_t)offset;
                    l->subs[subs].bits = (uint16_t)bits;
                    table[current] = ++subs << 8;
                }
            }
            for (uint32_t x = at >> root; x < 1u << bits; x += 1u << (length - root)) table[offset + x] = e;
            code += 1u << (16 - length);
        }
    }
    return 0;
}

/* Codes of up to `root` bits: each table of n bits is the one of n - 1 bits twice, so every code is
 * entered once, and the rest is copying. `table` must hold the empty codes' entry in [0]. */
ALWAYS uint32_t build_root(const code_lengths *c, const uint32_t *from, const uint32_t *count,
                           const entry_maker *makers, entry_word *table, uint32_t root, uint32_t minus) {
    uint32_t code = 0;
    for (uint32_t length = 1; length <= root; length++) {
        const uint16_t *symbols = c->symbols[length] + from[length];
        if (code) double_table(table, 1u << (length - 1));
        for (uint32_t i = 0; i < count[length]; i++) {
            uint32_t symbol = symbols[i] - minus;
            table[reversed(code)] = makers[symbol].start + makers[symbol].step * length;
            code += 1u << (16 - length);
        }
    }
    return code;
}

/* 0: complete; 1: unused codes are left; -1: more codes than there can be. */
ALWAYS int completeness(const uint32_t *count, uint32_t *longest, uint32_t *used) {
    uint32_t sum = 0, n = 0, most = 0;
    for (uint32_t length = 1; length < LENGTHS; length++) {
        sum += count[length] << (15 - length);
        n += count[length];
        if (count[length]) most = length;
    }
    *longest = most;
    *used = n;
    return sum == 32768 ? 0 : sum < 32768 ? 1 : -1;
}

/* Lengths with extra bits, where code and extra bits fit into the lookup: one entry for each length they
 * can mean. Then a match of up to DIRECT bytes is one step like a literal. */
ALWAYS void fold_extra_bits(lane *l, uint32_t symbol, uint32_t length, uint32_t code, uint32_t root) {
    const entry_maker *m = &lit_makers[1][symbol];
    uint32_t base = LENGTH_BASE(*m), extra = LENGTH_EXTRA(*m), at = reversed(code);
    if (extra == 0 || length + extra > root || base + (1u << extra) - 1 > DIRECT) return;
    for (uint32_t more = 0; more < 1u << extra; more++) {
        uint32_t e = (base + more) << 24 | (length + extra);
        for (uint32_t i = at | more << length; i < 1u << root; i += 1u << (length + extra)) l->lit[i] = e;
    }
}

/* Small members get by with a shorter lookup, whose table is built sooner (text of 2 KB: 4 %), unless one
 * symbol in a hundred is longer than that (tokens of 2 KB: 8 % with the longer one, images of 3 KB: 2 %). */
ALWAYS void choose_lit_bits(lane *l, const uint32_t *count) {
    uint32_t longer = 0;                   /* of 32768 */
    if (l->out_end - l->out_start >= SMALL_MEMBER) return;
    for (uint32_t length = LIT_BITS_SMALL + 1; length < LENGTHS; length++) longer += count[length] << (15 - length);
    l->lit_bits = longer > 32768 / 100 ? LIT_BITS : LIT_BITS_SMALL;
    l->lit_mask = (1u << l->lit_bits) - 1;
}

static int build_literals(lane *l, const code_lengths *c, const uint32_t *count) {
    static const uint32_t zeros[LENGTHS];
    const entry_maker *makers = lit_makers[l->long_matches];
    uint32_t root, longest, used, code, matches = 0;
    int whole = completeness(count, &longest, &used);
    choose_lit_bits(l, count);
    root = l->lit_bits;
    l->pairs = 0;
    if (whole != 0) {
        /* zlib takes one code of one bit, which must be the end of the block. */
        if (whole < 0 || longest != 1) return -1;
        for (uint32_t i = 0; i < 1u << root; i++) {
            l->lit[i] = i & 1 ? SPECIAL_ENTRY(BAD_CODE) : SPECIAL_ENTRY(END_OF_BLOCK) | 1;
        }
        l->matches = 0;
        return c->symbols[1][0] == 256 ? 0 : -1;
    }
    code = build_root(c, zeros, count, makers, l->lit, root, 0);
    if (longest > root && build_subtables(l, c, zeros, count, makers, l->lit, LIT_CAP, root, longest, code, 0))
        return -1;
    /* The matches among the symbols of a length stand behind its literals, in ascending order. */
    code = 0;
    int end_of_block = 0;
    for (uint32_t length = 1; length <= longest; length++) {
        const uint16_t *symbols = c->symbols[length];
        uint32_t i = count[length], behind = code + (i << (16 - length));
        code = behind;
        while (i && symbols[i - 1] > 256) {
            i--;
            behind -= 1u << (16 - length);
            matches += 32768u >> length;
            if (!l->long_matches && symbols[i] > 264 && length < root)
                fold_extra_bits(l, symbols[i], length, behind, root);
        }
        end_of_block |= i && symbols[i - 1] == 256;
    }
    l->matches = matches;
    return end_of_block ? 0 : -1;          /* zlib: "missing end-of-block" */
}

static int build_distances(lane *l, const code_lengths *c, const uint32_t *from, const uint32_t *count,
                           uint32_t minus) {
    uint32_t longest, used, code;
    entry_word *table = (entry_word *)l->dist;
    int whole = completeness(count, &longest, &used);
    if (whole != 0) {
        /* No code at all, or one of one bit (3.2.7); nothing else may be incomplete. */
        if (whole < 0 || longest > 1) return -1;
        memset(l->dist, 0, sizeof *l->dist << DIST_BITS);
        if (used == 0) return 0;
        const entry_maker *m = &dist_makers[c->symbols[1][from[1]] - minus];
        for (uint32_t i = 0; i < 1u << DIST_BITS; i += 2) table[i] = m->start + m->step;
        return 0;
    }
    code = build_root(c, from, count, dist_makers, table, DIST_BITS, minus);
    if (longest <= DIST_BITS) return 0;
    return build_subtables(l, c, from, count, dist_makers, table, DIST_CAP, DIST_BITS, longest, code, minus);
}

/* What `fixed` says of tables of the fixed codes: they differ by the lookup's bits and by the loop. */
ALWAYS int fixed_tables(const lane *l) { return (int)l->lit_bits << 1 | !!l->long_matches; }

/* Fixed codes (3.2.6). Their tables stay until others are read, from member to member: small ones often
 * have no other, and a stream may be made of nothing but empty blocks, ten bits each. */
static int fixed_block(interleaved_state *s, lane *l) {
    static const struct { uint16_t first, last, length; } runs[] = {
        { 256, 279, 7 }, { 0, 143, 8 }, { 280, 287, 8 }, { 144, 255, 9 }, { 288, 319, 5 },
    };
    static const uint32_t count[LENGTHS] = { [7] = 24, [8] = 152, [9] = 112 };
    static const uint32_t zeros[LENGTHS], dist_count[LENGTHS] = { [5] = 32 };
    code_lengths *c = &s->lengths;
    if (l->fixed == fixed_tables(l)) return 0;
    l->fixed = 0;
    memset(c->count, 0, sizeof c->count);
    for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) {
        for (uint16_t i = runs[k].first; i <= runs[k].last; i++)
            c->symbols[runs[k].length][c->count[runs[k].length]++] = i;
    }
    if (build_literals(l, c, count) || build_distances(l, c, zeros, dist_count, 288)) return -1;
    l->fixed = fixed_tables(l);
    return 0;
}

static int dynamic_block(interleaved_state *s, lane *l, uint64_t bits) {
    code_lengths *c = &s->lengths;
    uint32_t lits = 257 + (bits >> 3 & 31), dists = 1 + (bits >> 8 & 31), n = 4 + (bits >> 13 & 15);
    uint32_t dist_count[LENGTHS], previous = NO_PREVIOUS;
    int i;
    l->fixed = 0;
    if (lits > 286 || dists > 30) return -1;
    l->pos += 17;
    if (need_input(l)) return -1;
    if (build_precode(s->precode, peek(l->pos), n)) return -1;
    l->pos += 3 * n;
    memset(c->count, 0, sizeof c->count);
    i = read_lengths(s, l, 0, lits, &previous);
    if (i < 0) return -1;
    memcpy(c->first_dist, c->count, sizeof c->count);
    c->first_dist[previous] -= (uint32_t)i - lits;
    i = read_lengths(s, l, (uint32_t)i, lits + dists, &previous);
    if (i < 0 || (uint32_t)i != lits + dists || c->count[NO_PREVIOUS]) return -1;
    for (int length = 0; length < LENGTHS; length++) {
        dist_count[length] = c->count[length] - c->first_dist[length];
    }
    if (build_distances(l, c, c->first_dist, dist_count, lits)) return -1;
    if (build_literals(l, c, c->first_dist)) return -1;
    consider_pairs(l, c, c->first_dist);
    return l->pos > l->pos_end ? -1 : 0;
}

/* Reads a block's header and sets the lane's state; -1: refused. */
static int block_header(interleaved_state *s, lane *l) {
    uint64_t bits;
    if (need_input(l)) return -1;
    bits = peek(l->pos);
    l->last_block = bits & 1;
    switch (bits >> 1 & 3) {
        case 0:
            if (stored_block(l)) return -1;
            l->state = l->last_block ? LANE_DONE : LANE_HEADER;
            return 0;
        case 1:
            l->pos += 3;
            l->state = LANE_CODES;
            return fixed_block(s, l);
        case 2:
            l->state = LANE_CODES;
            return dynamic_block(s, l, bits);
        default:
            return -1;
    }
}
