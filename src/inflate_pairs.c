/* Entries for two literals, where both codes fit into one lookup: 12 to 27 % on images. Compiled once for
 * each level of CPU, see inflate_level.h. */

/* An entry looks at the one that its remaining bits lead to, which stands below it. So the table is walked
 * from its end to its start, and what an entry looks at is still a single literal. */
static void pair_literals(lane *l) {
    for (uint32_t i = 1u << l->lit_bits; i-- > 0;) {
        uint32_t e = l->lit[i], f = l->lit[i >> (e & 31)], bits = (e & 255) + (f & 255);
        if (IS_LITERAL(e) && IS_LITERAL(f) && bits <= l->lit_bits)
            l->lit[i] = 2u << 24 | (f & 0xff00) << 8 | (e & 0xff00) | bits;
    }
}

#ifdef LEVEL_AVX2
/* The same, sixteen at a time, for CPUs with AVX-512 where that is asked for: the one thing that the level
 * has of its own. All of a vector are loaded before any is written, so what they look at is single, too.
 * With AVX2 eight at a time take 2,800 cycles instead of 7,400 on Zen 3, which gains 1 % of images and
 * float16; but where gathering is slowed down, as by many Intel CPUs' microcode, it costs more than it
 * gains. So it is nobody's default. */
__attribute__((target("avx512f")))
static void pair_literals_by_16(lane *l) {
    const __m512i root = _mm512_set1_epi32((int)l->lit_bits), low = _mm512_set1_epi32(255);
    const __m512i byte = _mm512_set1_epi32(0xff00), no_literal = _mm512_set1_epi32(3 << 24);
    const __m512i step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int i = 1 << l->lit_bits; i > 0;) {
        i -= 16;
        __m512i e = _mm512_loadu_si512(l->lit + i);
        __m512i at = _mm512_add_epi32(_mm512_set1_epi32(i), step);
        __m512i next = _mm512_srlv_epi32(at, _mm512_and_si512(e, _mm512_set1_epi32(31)));
        __m512i f = _mm512_i32gather_epi32(next, l->lit, 4);
        __m512i bits = _mm512_add_epi32(_mm512_and_si512(e, low), _mm512_and_si512(f, low));
        __m512i both = _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(f, byte), 8), _mm512_and_si512(e, byte));
        __mmask16 ok = _mm512_cmplt_epu32_mask(e, no_literal) & _mm512_cmplt_epu32_mask(f, no_literal)
            & _mm512_cmple_epu32_mask(bits, root);
        both = _mm512_or_si512(_mm512_or_si512(both, bits), _mm512_set1_epi32(2 << 24));
        _mm512_storeu_si512(l->lit + i, _mm512_mask_blend_epi32(ok, e, both));
    }
}
#endif

/* It takes 6,000 cycles, so it is for members with PAIRS_FROM bytes to come, and a third of short codes. */
enum { PAIRS_FROM = 6000 };
static void consider_pairs(const fz_inflate_state *s, lane *l, const code_lengths *c, const uint32_t *count) {
    uint32_t likely = 0;
    if (l->long_matches || l->out >= l->out_end || l->out_end - l->out < PAIRS_FROM) return;
    for (uint32_t length = 1; length <= l->lit_bits / 2; length++) {
        uint32_t n = count[length];
        while (n && c->symbols[length][n - 1] > 255) n--;
        likely += n * (32768u >> length);
    }
    if (likely < 32768 / 3) return;
    l->pairs = 1;
#ifdef LEVEL_AVX2
    if (s->avx512) {
        pair_literals_by_16(l);
        return;
    }
#endif
    (void)s;
    pair_literals(l);
}
