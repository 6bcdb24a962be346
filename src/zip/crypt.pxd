"""Traditional encryption (APPNOTE 6.1): three keys, stirred by every byte of plain text. Pure.

It is weak: who knows a dozen bytes of a member's plain text has its keys.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    static uint32_t fz_cipher_table[256];      /* CRC-32 of each byte, by the polynomial of 4.4.7 */
    static void fz_make_cipher_table(void) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
            fz_cipher_table[i] = crc;
        }
    }
    """
    const uint32_t *cipher_table "fz_cipher_table"
    void make_cipher_table "fz_make_cipher_table"() noexcept nogil

cdef struct Keys:
    uint32_t a, b, c


cdef inline void begin(Keys *k) noexcept nogil:
    """6.1.5. The password stirs them next."""
    k.a, k.b, k.c = 0x12345678, 0x23456789, 0x34567890


cdef inline void stir(Keys *k, uint8_t plain) noexcept nogil:
    k.a = (k.a >> 8) ^ cipher_table[(k.a ^ plain) & 0xFF]
    k.b = (k.b + (k.a & 0xFF)) * 134775813 + 1
    k.c = (k.c >> 8) ^ cipher_table[(k.c ^ (k.b >> 24)) & 0xFF]


cdef inline void decrypt(Keys *keys, uint8_t *p, size_t n) noexcept nogil:
    """6.1.7, in place."""
    cdef Keys k = keys[0]
    cdef uint32_t mix
    cdef size_t i
    for i in range(n):
        mix = (k.c & 0xFFFF) | 2
        p[i] ^= <uint8_t>((mix * (mix ^ 1)) >> 8)
        stir(&k, p[i])
    keys[0] = k
