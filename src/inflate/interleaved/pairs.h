/* Entries for two literals, where both codes fit into one lookup: 12 to 27 % on images. Compiled once for
 * each level of CPU, see level.h. */

/* An entry looks at the one that its remaining bits lead to, which stands below it. So the table is walked
 * from its end to its start, and what an entry looks at is still a single literal. */
static void pair_literals(lane *l) {
    for (uint32_t i = 1u << l->lit_bits; i-- > 0;) {
        uint32_t e = l->lit[i], f = l->lit[i >> (e & 31)], bits = (e & 255) + (f & 255);
        if (IS_LITERAL(e) && IS_LITERAL(f) && bits <= l->lit_bits)
            l->lit[i] = 2u << 24 | (f & 0xff00) << 8 | (e & 0xff00) | bits;
    }
}

/* It takes 6,000 cycles, so it is for members with PAIRS_FROM bytes to come, and a third of short codes. */
enum { PAIRS_FROM = 6000 };
static void consider_pairs(lane *l, const code_lengths *c, const uint32_t *count) {
    uint32_t likely = 0;
    if (l->long_matches || l->out >= l->out_end || l->out_end - l->out < PAIRS_FROM) return;
    for (uint32_t length = 1; length <= l->lit_bits / 2; length++) {
        uint32_t n = count[length];
        while (n && c->symbols[length][n - 1] > 255) n--;
        likely += n * (32768u >> length);
    }
    if (likely < 32768 / 3) return;
    l->pairs = 1;
    pair_literals(l);
}
