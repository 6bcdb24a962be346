/* The stages that the interleaved loops are made of, each for one lane. Their values live in registers, as
 * far as there are. A stage that returns not 0 has changed nothing: its lane met something rare.
 *
 * Bits: a peek holds at least 57. Two literal lookups of up to 11 bits, a third entry of as many and a
 * distance of 8 + 13 are 54; with long matches it is 11 + 5 + 8 + 13. */

typedef struct {
    uint64_t pos;                          /* where `bits` were read: it moves once a step */
    uint64_t bits;                         /* its highest bit was set then, so the zeros above it tell how
                                              many were taken since: no sum, no register for it */
    uint8_t *out;
    uint64_t at, distance;                 /* which entries; as indexes, since gcc folds their tables'
                                              addresses into the load then */
    size_t length;
    uint32_t entry;
    /* The rest are constants at each place, for whoever must settle there. */
    unsigned literals;                     /* written behind `out` */
    int begun;                             /* `entry` was taken from `bits`, but isn't done */
} flow;

#define NONE_TAKEN (UINT64_C(1) << 63)

enum { NEVER = DIST_CAP };                 /* lane.dist[NEVER]: "distance" of a literal, 2 in no bits */

/* Compilers make branches of what must be none. `otherwise`, or `literal` if the entry is one. */
ALWAYS uint64_t if_literal(uint32_t entry, uint64_t literal, uint64_t otherwise) {
#if defined __x86_64__
    __asm__("cmpl $0x3000000, %k[e]\n\tcmovb %[a], %[b]"
            : [b] "+r"(otherwise) : [e] "r"(entry), [a] "rm"(literal) : "cc");
    return otherwise;
#else
    return IS_LITERAL(entry) ? literal : otherwise;
#endif
}

ALWAYS uint32_t literal_or_zero(uint32_t entry) {
#if defined __x86_64__
    uint32_t zero = 0;
    __asm__("cmpl $0x3000000, %[e]\n\tcmovae %[z], %[e]" : [e] "+r"(entry) : [z] "r"(zero) : "cc");
    return entry;
#else
    return IS_LITERAL(entry) ? entry : 0;
#endif
}

/* Between two symbols again. */
ALWAYS void settle(flow *f) {
    f->pos += (unsigned)__builtin_clzll(f->bits) - (f->begun ? f->entry & 255 : 0);
    f->out += f->literals;
    f->bits = NONE_TAKEN;
    f->literals = 0;
    f->begun = 0;
}

ALWAYS void next_entry(flow *f, const lane *l) {
    f->at = f->bits & l->lit_mask;
    f->entry = l->lit[f->at];
}

ALWAYS void look(flow *f, const lane *l) {
    f->bits = peek(f->pos) | NONE_TAKEN;
    next_entry(f, l);
}

/* The i-th literal of a step. */
ALWAYS int one_literal(flow *f, const lane *l, unsigned i, unsigned most) {
    if (f->entry >= 2u << 24) return 1;
    f->out[i] = (uint8_t)(f->entry >> 8);
    f->bits >>= f->entry & 63;
    f->literals = i + 1;
    if (i + 1 < most) next_entry(f, l);
    return 0;
}

ALWAYS void put_literals(flow *f, uint32_t entry) {
    uint32_t literals = entry >> 8;        /* what is above them is overwritten soon */
    memcpy(f->out, &literals, 4);
    f->out += ADVANCE(entry);
    f->bits >>= entry & 63;
}

ALWAYS int some_literals(flow *f, const lane *l, unsigned i, unsigned most) {
    if (!IS_LITERAL(f->entry)) return 1;
    put_literals(f, f->entry);
    if (i + 1 < most) next_entry(f, l);
    return 0;
}

/* Takes literals if there are any, without a branch: no literals are an entry of zeros. */
ALWAYS void prefix(flow *f, const lane *l) {
    put_literals(f, literal_or_zero(f->entry));
    next_entry(f, l);
}

ALWAYS void take_entry(flow *f) {
    f->bits >>= f->entry & 63;
    f->distance = if_literal(f->entry, NEVER, f->bits & ((1u << DIST_BITS) - 1));
    f->begun = 1;
}

ALWAYS int symbol(flow *f) {
    if (UNLIKELY(!IS_DIRECT(f->entry))) return 1;
    f->length = ADVANCE(f->entry);
    take_entry(f);
    return 0;
}

ALWAYS int long_symbol(flow *f) {
    if (UNLIKELY(IS_SPECIAL(f->entry))) return 1;
    f->length = (f->entry >> 8 & 0x1ff) + (size_t)(low_bits(f->bits, f->entry) >> (f->entry >> 17 & 63));
    f->length = if_literal(f->entry, ADVANCE(f->entry), f->length);
    take_entry(f);
    return 0;
}

ALWAYS void end_symbol(flow *f, const distance_entry *d) {
    f->pos += (unsigned)__builtin_clzll(f->bits) + d->bits;
    f->out += f->length;
    f->bits = NONE_TAKEN;
    f->begun = 0;
}

ALWAYS size_t distance_of(uint64_t bits, const distance_entry *d) {
    return d->base + (size_t)(low_bits(bits, d->bits) >> (d->code & 63));
}

/* A literal is a copy, too: of the entry's own bytes. */
ALWAYS const uint8_t *source_of(const flow *f, const lane *l, uintptr_t match) {
    uintptr_t literal = (uintptr_t)&l->lit[f->at] + 1;
    return (const uint8_t *)if_literal(f->entry, literal, match);
}

ALWAYS int copy(flow *f, const lane *l) {
    const distance_entry *d = &l->dist[f->distance];
    size_t distance = distance_of(f->bits, d);
    uintptr_t from = (uintptr_t)f->out - distance;
    if (UNLIKELY(distance < f->length)) return 1;        /* overlaps, or no distance (0) */
    if (UNLIKELY(from < (uintptr_t)l->out_start)) return 1;
    copy32(f->out, source_of(f, l, from));
    end_symbol(f, d);
    return 0;
}

/* Copies the rest of a match of more than 64 bytes, as much as the longest one has: a loop that ends where
 * the match does is mispredicted, which costs more (masks: 1.15 times libdeflate with it, 1.45 without).
 * Only distances below a vector have a loop. */
ALWAYS void copy_rest(uint8_t *to, const uint8_t *from, size_t distance, size_t length) {
    if (distance < 32) copy_match(to, distance, length);
    else for (int i = 64; i < 320; i += 32) copy32(to + i, from + i);
}

/* Copies 64 bytes of a match or what a literal's entry holds, whose "distance" is 2, and longer matches whole;
 * up to 320 bytes are written. */
ALWAYS WIDE void copy_long(uint8_t *to, const uint8_t *from, size_t distance, size_t length) {
#if defined LEVEL_AVX512
    size_t near = distance < 64 ? distance : 64;
    __m512i first = _mm512_loadu_si512(from);
    first = _mm512_permutexvar_epi8(_mm512_load_si512(repeats_by_64[near]), first);
    _mm512_storeu_si512(to, first);
    if (LIKELY(length <= 64)) return;
    if (distance >= 64) {
        for (int i = 64; i < 320; i += 64) _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    } else {
        size_t step = 64 - 64 % distance;
        for (size_t i = step; i < length; i += step) _mm512_storeu_si512(to + i, first);
    }
#elif defined LEVEL_AVX2
    size_t near = distance < 32 ? distance : 32;
    __m256i first = repeated(from, near, 0);
    _mm256_storeu_si256((__m256i *)to, first);
    /* From distance 32 on the second half is read behind the first one, which may just have been written. */
    _mm256_storeu_si256((__m256i *)(to + 32), repeated(from + (near & 32), near, 32));
    if (UNLIKELY(length > 64)) copy_rest(to, from, distance, length);
#else
    if (distance < 32 && length > 2) {     /* not a literal */
        copy_match(to, distance, length);
    } else {
        copy32(to, from);
        copy32(to + 32, from + 32);
        if (length > 64) copy_rest(to, from, distance, length);
    }
#endif
}

ALWAYS WIDE int long_copy(flow *f, const lane *l) {
    const distance_entry *d = &l->dist[f->distance];
    size_t distance = distance_of(f->bits, d);
    uint8_t *to = f->out;
    if (UNLIKELY(distance == 0)) return 1;
    if (UNLIKELY((uintptr_t)to - distance < (uintptr_t)l->out_start)) return 1;
    copy_long(to, source_of(f, l, (uintptr_t)to - distance), distance, f->length);
    end_symbol(f, d);
    return 0;
}

/* One symbol of one lane: long or overlapping matches here, all else by one_symbol. Not 0: the lane's
 * block is over, or the lane is. */
ALWAYS int rare(flow *f, lane *l) {
    uint64_t bits;
    __asm__("" : "+r"(f->pos));            /* or gcc keeps parts of the loop's peek for this one */
    bits = peek(f->pos);
    uint32_t e = l->lit[bits & l->lit_mask];
    if (LIKELY(!IS_LITERAL(e) && !IS_SPECIAL(e))) {
        size_t length = ADVANCE(e), distance;
        if (length == EXTRA) length = (e >> 8 & 0x1ff) + (size_t)(low_bits(bits, e) >> (e >> 17 & 63));
        bits >>= e & 63;
        const distance_entry *d = &l->dist[bits & ((1u << DIST_BITS) - 1)];
        distance = distance_of(bits, d);
        if (LIKELY(d->base && distance <= (size_t)(f->out - l->out_start)
                   && length + 64 <= (size_t)(l->out_room - f->out))) {
            copy_match(f->out, distance, length);
            f->out += length;
            f->pos += (e & 255) + d->bits;
            return 0;
        }
    }
    l->pos = f->pos;
    l->out = f->out;
    int result = one_symbol(l);
    f->pos = l->pos;
    f->out = l->out;
    if (result < 0) l->state = LANE_FAILED;
    return result;
}
