"""Headers that differ in the length of axis 0 alone: one kind for all of them. Pure.

Such members may have any number of rows, and what the directory says of a member's size tells how many:
so a member's shape is known once its kind is, and its header needn't be kept to be recognised.
"""
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

cdef struct Kind:
    const uint8_t *text          # such a header without that number, and without the padding at its end
    size_t before, behind        # bytes of it in front of the number, and behind
    size_t head_len              # of the whole header
    uint64_t unit                # bytes of payload for each of axis 0, at least 1


@cython.cdivision(True)
cdef inline bint holds_rows(const Kind *k, uint64_t size) noexcept nogil:
    """Can a member of this size be a header of this kind and whole rows?"""
    return size >= k.head_len and (size - k.head_len) % k.unit == 0


@cython.cdivision(True)
cdef inline bint is_kind(const Kind *k, const uint8_t *p, size_t n, uint64_t size) noexcept nogil:
    """Do these n bytes begin a member of `size` bytes that is a header of this kind, with the number of
    rows that follow it, and nothing else? The header must be, byte for byte, as the first one was written."""
    cdef uint8_t digits[20]
    cdef size_t count = 0, i
    cdef uint64_t rows
    if n < k.head_len or not holds_rows(k, size):
        return False
    rows = (size - k.head_len) // k.unit
    while True:
        digits[count] = <uint8_t>(c'0' + rows % 10)
        count += 1
        rows //= 10
        if rows == 0:
            break
    if k.before + count + k.behind >= k.head_len or memcmp(p, k.text, k.before) != 0:
        return False
    n = k.head_len - k.before - count - k.behind     # the padding, with the newline
    p += k.before
    while count:
        count -= 1
        if p[0] != digits[count]:
            return False
        p += 1
    if memcmp(p, k.text + k.before, k.behind) != 0:
        return False
    p += k.behind
    for i in range(n - 1):
        if p[i] != c' ':
            return False
    return p[n - 1] == c'\n'
