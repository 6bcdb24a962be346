/* One symbol at a time, exactly: near the ends of a member's output, and for whatever the loops leave
 * aside. Compiled once for each level of CPU, see level.h. */

/* Repeats of the first bytes: what byte i of a match at distance d is a copy of, i % d. Two shuffles of
 * the 32 bytes in front make any of the next 64, so overlapping matches need no branch (1.4 times on
 * sparse bitmaps with matches at distances 1 to 31; copying such matches in a loop cost 30 %). */
#ifdef LEVEL_AVX2
static const struct { uint8_t low[64], high[64]; } repeats[33] __attribute__((aligned(64))) = {
#define LOW(i, d) (uint8_t)((i) % (d) < 16 ? (i) % (d) : 0x80)
#define HIGH(i, d) (uint8_t)((i) % (d) < 16 ? 0x80 : (i) % (d) - 16)
#define ALL4(F, i, d) F(i, d), F(i + 1, d), F(i + 2, d), F(i + 3, d)
#define ALL16(F, i, d) ALL4(F, i, d), ALL4(F, i + 4, d), ALL4(F, i + 8, d), ALL4(F, i + 12, d)
#define ALL64(F, d) ALL16(F, 0, d), ALL16(F, 16, d), ALL16(F, 32, d), ALL16(F, 48, d)
#define AT(d) { { ALL64(LOW, d) }, { ALL64(HIGH, d) } }
    AT(1), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7), AT(8), AT(9), AT(10), AT(11), AT(12), AT(13),
    AT(14), AT(15), AT(16), AT(17), AT(18), AT(19), AT(20), AT(21), AT(22), AT(23), AT(24), AT(25), AT(26),
    AT(27), AT(28), AT(29), AT(30), AT(31), AT(32),
#undef AT
};

/* The 32 bytes that a match at distance d (at most 32) begins with, or with `from` 32 those behind. */
ALWAYS __m256i repeated(const uint8_t *src, size_t d, size_t from) {
    __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)src));
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(src + 16)));
    return _mm256_or_si256(
        _mm256_shuffle_epi8(low, _mm256_load_si256((const __m256i *)(repeats[d].low + from))),
        _mm256_shuffle_epi8(high, _mm256_load_si256((const __m256i *)(repeats[d].high + from))));
}
#endif

/* With AVX-512 one permutation of 64 bytes does it: 1.60 times libdeflate on bitmaps, 1.40 with AVX2. */
#ifdef LEVEL_AVX512
static const uint8_t repeats_by_64[65][64] __attribute__((aligned(64))) = {
#define REST(i, d) (uint8_t)((i) % (d))
#define AT(d) { ALL64(REST, d) }
#define AT8(d) AT(d), AT(d + 1), AT(d + 2), AT(d + 3), AT(d + 4), AT(d + 5), AT(d + 6), AT(d + 7)
    AT(1), AT8(1), AT8(9), AT8(17), AT8(25), AT8(33), AT8(41), AT8(49), AT8(57),
#undef AT
#undef AT8
};
#endif

ALWAYS void copy32(uint8_t *to, const uint8_t *from) {
#ifdef LEVEL_AVX2
    _mm256_storeu_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
#else
    unsigned char bytes[32];               /* read before it is written */
    memcpy(bytes, from, 32);
    memcpy(to, bytes, 32);
#endif
}

/* Copies a match of any length and distance. Writes up to 64 bytes beyond it, and reads some behind `to`
 * that it doesn't use. */
ALWAYS void copy_match(uint8_t *to, size_t distance, size_t length) {
    const uint8_t *from = to - distance;
    uint8_t *end = to + length;
    if (LIKELY(distance >= 32)) {
        do {
            copy32(to, from);
            to += 32;
            from += 32;
        } while (to < end);
        return;
    }
#ifdef LEVEL_AVX2
    __m256i v = repeated(from, distance, 0);
    size_t step = 32 - 32 % distance;
    do {
        _mm256_storeu_si256((__m256i *)to, v);
        to += step;
    } while (to < end);
#else
    if (distance >= 8) {
        do {
            uint64_t v = load64(from);
            memcpy(to, &v, 8);
            to += 8;
            from += 8;
        } while (to < end);
        return;
    }
    unsigned char v[8];
    size_t step = 8 - 8 % distance;
    for (size_t i = 0, k = 0; i < 8; i++) {
        v[i] = from[k];
        if (++k == distance) k = 0;
    }
    do {
        memcpy(to, v, 8);
        to += step;
    } while (to < end);
#endif
}

/* One symbol, or one entry's two literals. 0: go on; 1: the block is over; -1: refused. The caller has
 * made sure of the input (need_input). Nothing is written beyond out_end but within out_room. */
static __attribute__((noinline)) int one_symbol(lane *l) {
    uint64_t bits = peek(l->pos), from;
    uint32_t e = l->lit[bits & l->lit_mask];
    const distance_entry *d;
    size_t length, distance, room;
    if (l->out > l->out_end) return -1;
    room = (size_t)(l->out_end - l->out);
    if (IS_SPECIAL(e) && SPECIAL_KIND(e) == SUBTABLE) {
        e = l->lit[(e >> 8 & 0x1fff) + low_bits(bits >> l->lit_bits, e & 63)];
    }
    if (IS_LITERAL(e)) {
        length = ADVANCE(e);
        if (length > room) return -1;
        l->out[0] = (uint8_t)(e >> 8);
        if (length == 2) l->out[1] = (uint8_t)(e >> 16);
        l->out += length;
        l->pos += e & 255;
        return 0;
    }
    if (IS_SPECIAL(e)) {
        if (SPECIAL_KIND(e) != END_OF_BLOCK) return -1;
        l->pos += e & 255;
        l->state = l->last_block ? LANE_DONE : LANE_HEADER;
        return 1;
    }
    length = ADVANCE(e);
    if (length == EXTRA) length = (e >> 8 & 0x1ff) + (size_t)(low_bits(bits, e) >> (e >> 17 & 63));
    from = l->pos + (e & 255);
    bits = peek(from);                     /* 15 + 5 + 15 + 13 bits would do, unless room is needed */
    d = &l->dist[bits & ((1u << DIST_BITS) - 1)];
    if (!d->base) {
        unsigned sub = d->code;
        if (sub == 0) return -1;
        d = &l->dist[l->subs[sub - 1].offset + low_bits(bits >> DIST_BITS, l->subs[sub - 1].bits)];
        if (!d->base) return -1;
    }
    distance = d->base + (size_t)(low_bits(bits, d->bits) >> (d->code & 63));
    if (distance > (size_t)(l->out - l->out_start) || length > room) return -1;
    l->pos = from + d->bits;
    if ((size_t)(l->out_room - l->out) >= length + 64) {
        copy_match(l->out, distance, length);
        l->out += length;
    } else {
        const uint8_t *src = l->out - distance;
        while (length--) *l->out++ = *src++;
    }
    return 0;
}
