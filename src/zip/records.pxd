"""ZIP records: bytes in, records out. Pure: no I/O, no allocation, no Python.

Numbers are little-endian and read byte by byte, so alignment and the machine's order don't matter.
Every function is told where its bytes end and compares before it advances. Section numbers are those
of APPNOTE.TXT 6.3.10.
"""
from libc.stddef cimport size_t
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp
from runtime.status cimport (CD_ENTRY, DESCRIPTOR, DIRECTORY_WITH_DATA, ENCRYPTED, EXTRA_OVERRUN,
    FLAGS, GAP, IMPOSSIBLE_SIZE, LFH_FLAGS, LFH_MAGIC, LFH_METHOD, LFH_NAME, LFH_SIZES, METHOD,
    MULTI_DISK, NAME_NUL, NAME_UTF8, OK, OVERLAP, READ_MORE, STORED_SIZE, VERSION_NEEDED,
    ZIP64_EXTRA_DUPLICATE, ZIP64_EXTRA_MISSING, ZIP64_EXTRA_SHORT)

cdef enum:
    LOCAL_SIZE = 30          # 4.3.7   local file header, without name and extra field
    CENTRAL_SIZE = 46        # 4.3.12  central directory header, likewise
    END_SIZE = 22            # 4.3.16  end of central directory record, without comment
    END64_SIZE = 56          # 4.3.14  zip64 end of central directory record, version 1
    LOCATOR_SIZE = 20        # 4.3.15  zip64 end of central directory locator
    DESCRIPTOR_MAX = 24      # 4.3.9   data descriptor with signature and 8-byte sizes
    LOCAL_MAGIC = 0x04034B50
    CENTRAL_MAGIC = 0x02014B50
    END_MAGIC = 0x06054B50
    END64_MAGIC = 0x06064B50
    LOCATOR_MAGIC = 0x07064B50
    SIGNATURE_MAGIC = 0x05054B50   # 4.3.13  digital signature: this, a length of two bytes, so many bytes
    SIGNATURE_SIZE = 6
    FLAG_ENCRYPTED = 0x2041  # 4.4.4   bits 0, 6, 13: encrypted, strongly, masked headers
    FLAG_PASSWORD = 0x0001   #         bit 0 alone: with a password, traditionally or by AES
    FLAG_DESCRIPTOR = 0x0008 #         bit 3: sizes and CRC stand behind the data
    FLAG_UTF8 = 0x0800       #         bit 11: the name is UTF-8, else code page 437
    FLAG_UNKNOWN = 0xC020    #         bits 5, 14, 15: patch data, reserved
    FLAG_BOTH = 0x2049       #         what local and central header must agree on, strictly; else all
                             #         but bit 3
    STORED = 0               # 4.4.5
    DEFLATED = 8
    DEFLATE64 = 9
    BZIP2 = 12
    LZMA = 14
    ZSTANDARD_OLD = 20
    ZSTANDARD = 93
    XZ = 95
    AES = 99                 # the true method stands in the extra field 0x9901
    DEFLATE_RATIO = 1032     # RFC 1951: a 258-byte match costs two bits at least
    CIPHER_HEADER = 12       # 6.1.3   what traditional encryption adds
    AES_LEAST = 20           #         and AES: a salt of 8 bytes or more, a check value, a MAC
    HIGHEST_VERSION = 63     # 4.4.3   version needed, low byte
    UNICODE_PATH = 0x7075    # 4.6.9   extra field: the name once more, in UTF-8
    DESCRIPTOR_MAGIC = 0x08074B50  # 4.3.9.3  in front of most data descriptors

cdef enum:
    SENTINEL16 = 0xFFFF
cdef extern from *:
    """
    #define FZ_SENTINEL32 0xFFFFFFFFu
    """
    const uint32_t SENTINEL32 "FZ_SENTINEL32"   # 4.4.1.4: the value stands in the zip64 record
    bint unlikely(bint) noexcept nogil          # Cython's own macro

cdef extern from *:
    """
    /* D.1: the upper half of code page 437, in Unicode. */
    static const uint16_t fz_cp437[128] = {
        0x00C7, 0x00FC, 0x00E9, 0x00E2, 0x00E4, 0x00E0, 0x00E5, 0x00E7,
        0x00EA, 0x00EB, 0x00E8, 0x00EF, 0x00EE, 0x00EC, 0x00C4, 0x00C5,
        0x00C9, 0x00E6, 0x00C6, 0x00F4, 0x00F6, 0x00F2, 0x00FB, 0x00F9,
        0x00FF, 0x00D6, 0x00DC, 0x00A2, 0x00A3, 0x00A5, 0x20A7, 0x0192,
        0x00E1, 0x00ED, 0x00F3, 0x00FA, 0x00F1, 0x00D1, 0x00AA, 0x00BA,
        0x00BF, 0x2310, 0x00AC, 0x00BD, 0x00BC, 0x00A1, 0x00AB, 0x00BB,
        0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556,
        0x2555, 0x2563, 0x2551, 0x2557, 0x255D, 0x255C, 0x255B, 0x2510,
        0x2514, 0x2534, 0x252C, 0x251C, 0x2500, 0x253C, 0x255E, 0x255F,
        0x255A, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256C, 0x2567,
        0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256B,
        0x256A, 0x2518, 0x250C, 0x2588, 0x2584, 0x258C, 0x2590, 0x2580,
        0x03B1, 0x00DF, 0x0393, 0x03C0, 0x03A3, 0x03C3, 0x00B5, 0x03C4,
        0x03A6, 0x0398, 0x03A9, 0x03B4, 0x221E, 0x03C6, 0x03B5, 0x2229,
        0x2261, 0x00B1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00F7, 0x2248,
        0x00B0, 0x2219, 0x00B7, 0x221A, 0x207F, 0x00B2, 0x25A0, 0x00A0,
    };
    """
    const uint16_t *cp437 "fz_cp437"

# One member, as the directory states it; ROW in fastzip/_zip/index.py shows it to NumPy.
cdef struct Row:
    uint64_t header_offset   # of the local header, from the start of the file
    uint64_t compressed_size
    uint64_t size
    uint64_t name_offset     # into the name blob
    uint32_t crc
    uint16_t name_length
    uint16_t method
    uint16_t flags
    uint16_t status          # what is wrong with its directory entry; raised when it is read
    uint32_t record          # where the entry begins in the directory, modulo 2 ** 32


cdef inline uint16_t le16(const uint8_t *p) noexcept nogil:
    return <uint16_t>(p[0] | (<uint16_t>p[1] << 8))

cdef inline uint32_t le32(const uint8_t *p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)

cdef inline uint64_t le64(const uint8_t *p) noexcept nogil:
    return <uint64_t>le32(p) | (<uint64_t>le32(p + 4) << 32)


cdef inline int zip64_extra(const uint8_t *p, size_t n, uint64_t **wanted, int count) noexcept nogil:
    """Fill `wanted` (the overflowed fields, in the order of 4.5.3) from the zip64 extra field.

    Padding is tolerated, since zipalign, APK and JAR writers leave it, and so are values that nobody
    asked for (4.5.3 notes that NumPy's and others' writers reserve them).
    """
    cdef size_t length, at, i
    cdef bint seen = False
    while n >= 4:
        length = le16(p + 2)
        if length > n - 4:
            return EXTRA_OVERRUN
        if le16(p) == 1:
            if seen:
                return ZIP64_EXTRA_DUPLICATE
            seen = True
            if length < 8 * <size_t>count:
                return ZIP64_EXTRA_SHORT
            for i in range(<size_t>count):
                wanted[i][0] = le64(p + 4 + 8 * i)
        p += 4 + length
        n -= 4 + length
    return OK if seen or count == 0 else ZIP64_EXTRA_MISSING


cdef inline int central_fields(const uint8_t *p, size_t names, size_t extras, Row *row) noexcept nogil:
    """What an entry says beside its lengths. A lie here is this member's own: the others stay readable."""
    cdef uint64_t *wanted[3]
    cdef int count = 0
    if le16(p + 34) != 0 and le16(p + 34) != SENTINEL16:
        return MULTI_DISK
    if p[6] > HIGHEST_VERSION:
        return VERSION_NEEDED
    if row.size == SENTINEL32:
        wanted[count] = &row.size
        count += 1
    if row.compressed_size == SENTINEL32:
        wanted[count] = &row.compressed_size
        count += 1
    if row.header_offset == SENTINEL32:
        wanted[count] = &row.header_offset
        count += 1
    if extras or count:
        return zip64_extra(p + CENTRAL_SIZE + names, extras, wanted, count)
    return OK


cdef inline int central_header(const uint8_t *p, size_t n, uint64_t shift, Row *row,
                               size_t *used) noexcept nogil:
    """4.3.12. `n` bytes are the whole rest of the directory, or what has been read of it: READ_MORE
    when they may not hold the record and more could. `shift` is added to the header's offset."""
    cdef size_t names, extras, comments
    if n < CENTRAL_SIZE:
        return READ_MORE
    if le32(p) != CENTRAL_MAGIC:
        return CD_ENTRY
    names, extras, comments = le16(p + 28), le16(p + 30), le16(p + 32)
    if names + extras + comments > n - CENTRAL_SIZE:     # three 16-bit numbers: the sum can't wrap
        return READ_MORE
    row.flags, row.method = le16(p + 8), le16(p + 10)
    row.crc = le32(p + 16)
    row.compressed_size, row.size, row.header_offset = le32(p + 20), le32(p + 24), le32(p + 42)
    row.name_length = <uint16_t>names
    row.status = OK
    # NumPy's entries have nothing of this. Told so, the compiler keeps the loop over them in registers.
    if unlikely(extras != 0 or p[6] > HIGHEST_VERSION or le16(p + 34) != 0 or row.size == SENTINEL32
                or row.compressed_size == SENTINEL32 or row.header_offset == SENTINEL32):
        row.status = <uint16_t>central_fields(p, names, extras, row)
    # An offset that overflows lies behind every limit, so the member is refused when it is read.
    row.header_offset = row.header_offset + shift if row.header_offset <= UINT64_MAX - shift else UINT64_MAX
    used[0] = CENTRAL_SIZE + names + extras + comments
    return OK


cdef inline bint has_extra(const uint8_t *p, size_t n, uint16_t wanted) noexcept nogil:
    """4.5.1: is there an extra field with this header ID?"""
    cdef size_t length
    while n >= 4:
        if le16(p) == wanted:
            return True
        length = le16(p + 2)
        if length > n - 4:
            break
        p += 4 + length
        n -= 4 + length
    return False


cdef inline bint owns_nothing(const Row *row) noexcept nogil:
    """Empty members have no data, whatever they claim: Java's empty directories say 2 bytes. Not so by
    other methods, or encrypted: there the data are decoded."""
    return (row.size == 0 and row.crc == 0 and (row.method == DEFLATED or row.method == STORED)
            and row.flags & FLAG_PASSWORD == 0)


cdef inline bint empty_stream(const uint8_t *p, size_t n) noexcept nogil:
    """RFC 1951: is this nothing, deflated? "03 00", or stored blocks of no bytes with it, from writers
    that flush (the py.typed of many wheels)."""
    while n >= 5 and p[0] <= 1 and p[1] == 0 and p[2] == 0 and p[3] == 0xFF and p[4] == 0xFF:
        if p[0] == 1:
            return n == 5
        p += 5
        n -= 5
    return n == 2 and p[0] == 3 and p[1] == 0


cdef inline uint64_t most_ratio(uint16_t method) noexcept nogil:
    """So many bytes at most come of one that is compressed by this method, rounded up generously; 0:
    no method that is read."""
    if method == STORED:
        return 1
    if method == DEFLATED:
        return DEFLATE_RATIO
    if method == DEFLATE64:
        return 32768             # a match of 65,538 bytes in 18 bits
    if method == LZMA or method == XZ:
        return 16384             # a match of 273 bytes in 14 coded bits of 0.022 each: 7,090
    if method == ZSTANDARD or method == ZSTANDARD_OLD:
        return 65536             # a block of 128 KiB in 4 bytes
    if method == BZIP2 or method == AES:
        return 2000000           # a block of 46.6 MB in 40 bytes; of AES the true method isn't known
    return 0


cdef inline uint16_t least_name(const Row *row) noexcept nogil:
    """So many bytes the name takes in the local header at least: there it may be in code page 437, whose
    characters have up to three bytes in UTF-8."""
    return row.name_length // 3 if row.flags & FLAG_UTF8 else row.name_length


cdef inline int check_any(const Row *row, uint64_t limit) noexcept nogil:
    """What check_row does, for members by every method that is read, and encrypted with a password."""
    cdef uint64_t room, packed = row.compressed_size, extra = 0, ratio = most_ratio(row.method)
    if row.status:
        return row.status
    if row.flags & FLAG_ENCRYPTED & ~FLAG_PASSWORD:
        return ENCRYPTED
    if row.flags & FLAG_UNKNOWN:
        return FLAGS
    if ratio == 0 or (row.method == AES and not row.flags & FLAG_PASSWORD):
        return METHOD
    if row.header_offset > limit or limit - row.header_offset < LOCAL_SIZE + <uint64_t>least_name(row):
        return OVERLAP
    room = limit - row.header_offset - LOCAL_SIZE - least_name(row)
    if packed > room:
        return OVERLAP
    if row.flags & FLAG_PASSWORD:
        extra = AES_LEAST if row.method == AES else CIPHER_HEADER
        if packed < extra:
            return IMPOSSIBLE_SIZE
    packed -= extra
    if row.method == STORED:
        return OK if packed == row.size else STORED_SIZE
    if row.size > 0 and (row.size - 1) // ratio >= packed:
        return IMPOSSIBLE_SIZE
    return OK


cdef inline int check_row(const Row *row, uint64_t limit) noexcept nogil:
    """What the directory alone tells of one member that the core itself reads; `limit` is where the
    next structure begins.

    Every size is compared with the room there is before anybody allocates or adds."""
    cdef uint64_t room
    if row.status:
        return row.status
    if row.flags & FLAG_ENCRYPTED:
        return ENCRYPTED
    if row.flags & FLAG_UNKNOWN:
        return FLAGS
    if row.method != STORED and row.method != DEFLATED:
        return METHOD
    if row.header_offset > limit or limit - row.header_offset < LOCAL_SIZE + <uint64_t>least_name(row):
        return OVERLAP
    if owns_nothing(row):
        return OK
    room = limit - row.header_offset - LOCAL_SIZE - least_name(row)
    if row.compressed_size > room:
        return OVERLAP
    if row.method == STORED:
        return OK if row.compressed_size == row.size else STORED_SIZE
    if row.size > 0 and (row.size - 1) // DEFLATE_RATIO >= row.compressed_size:
        return IMPOSSIBLE_SIZE
    return OK


cdef inline bint ascii_only(const uint8_t *p, size_t n) noexcept nogil:
    cdef uint8_t seen = 0
    cdef size_t i
    for i in range(n):
        seen |= p[i]
    return seen < 0x80


cdef inline bint left_out(uint32_t stated, uint64_t true) noexcept nogil:
    return stated == 0 or stated == SENTINEL32 or stated == true


cdef inline bint same_text(const uint8_t *narrow, size_t n, const uint8_t *wide, size_t m) noexcept nogil:
    """Is code page 437's `narrow` the text that `wide` is in UTF-8?"""
    cdef size_t i, at = 0
    cdef uint8_t form[3]
    cdef size_t length
    cdef uint16_t c
    for i in range(n):
        c = narrow[i] if narrow[i] < 0x80 else cp437[narrow[i] - 0x80]
        if c < 0x80:
            length, form[0] = 1, <uint8_t>c
        elif c < 0x800:
            length, form[0], form[1] = 2, <uint8_t>(0xC0 | (c >> 6)), <uint8_t>(0x80 | (c & 0x3F))
        else:
            length, form[0] = 3, <uint8_t>(0xE0 | (c >> 12))
            form[1], form[2] = <uint8_t>(0x80 | ((c >> 6) & 0x3F)), <uint8_t>(0x80 | (c & 0x3F))
        if length > m - at or memcmp(wide + at, form, length) != 0:
            return False
        at += length
    return at == m


cdef inline bint any_zip64(const uint8_t *p, size_t n, const uint64_t *said, int count) noexcept nogil:
    """Does any zip64 extra field, of several, begin with these values?"""
    cdef size_t length, i
    cdef bint found = count == 0, same
    while n >= 4:
        length = le16(p + 2)
        if length > n - 4:
            return False
        if le16(p) == 1 and length >= 8 * <size_t>count:
            same = True
            for i in range(<size_t>count):
                same = same and le64(p + 4 + 8 * i) == said[i]
            found = found or same
        p += 4 + length
        n -= 4 + length
    return found


cdef inline int local_sizes(const uint8_t *p, const Row *row, bint strict, bint given) noexcept nogil:
    """Do the sizes and the CRC of the local header at `p`, all of it in hand, say what the directory says?
    A 0 says nothing, and is read, but strictly it is refused, and if the sizes must be `given`, theirs.

    NumPy's writer puts 0xFFFFFFFF into both sizes and the values into a zip64 extra field, for members of
    any size. CPython's zipfile leaves the zip64 field of a copied ZipInfo, which is stale, in front of its
    own; one of them must be right."""
    cdef size_t names = le16(p + 26), extras = le16(p + 28)
    cdef uint64_t compressed = le32(p + 18), size = le32(p + 22)
    cdef uint32_t crc = le32(p + 14)
    cdef uint64_t *wanted[2]
    cdef uint64_t said[2]
    cdef int count = 0, status, i
    if size == SENTINEL32:
        wanted[count], said[count] = &size, row.size
        count += 1
    if compressed == SENTINEL32:
        wanted[count], said[count] = &compressed, row.compressed_size
        count += 1
    if extras or count:
        status = zip64_extra(p + LOCAL_SIZE + names, extras, wanted, count)
        if unlikely(status != OK):
            if (strict or (status != ZIP64_EXTRA_DUPLICATE and status != ZIP64_EXTRA_SHORT)
                    or not any_zip64(p + LOCAL_SIZE + names, extras, said, count)):
                return status
            for i in range(count):
                wanted[i][0] = said[i]
    if unlikely(size != row.size or compressed != row.compressed_size or crc != row.crc):
        if (strict or (crc and crc != row.crc) or (size != row.size and (size or given))
                or (compressed != row.compressed_size and (compressed or given))):
            return LFH_SIZES
    return OK


cdef inline int local_header(const uint8_t *p, size_t n, const Row *row, const uint8_t *name,
                             uint64_t room, bint strict, bint cp437_names, size_t *data) noexcept nogil:
    """4.3.7. What it says the directory must have said, too; `data` is where the data begin, from `p`. The
    next structure begins `room` bytes from there: header and data must fit, as check_row has found them to
    do with the shortest name and without an extra field. Whether sizes are right that a descriptor
    repeats, behind_data looks at.

    What it leaves unsaid is read. Strictly, it is refused: bit 3 in one of the headers alone, no sizes or
    CRC without bit 3, a name in another encoding; and sizes that a descriptor repeats must be left out or
    right.

    `cp437_names`: names without the UTF-8 flag are in code page 437, and not in an encoding that the caller
    knows. zipfile's append mode writes a directory of UTF-8 names over local headers that have them in
    code page 437."""
    cdef size_t names, extras
    cdef uint16_t flags
    cdef bint recoded
    if n < LOCAL_SIZE:
        return READ_MORE
    if le32(p) != LOCAL_MAGIC:
        return LFH_MAGIC
    flags, names, extras = le16(p + 6), le16(p + 26), le16(p + 28)
    recoded = not strict and cp437_names and (flags ^ row.flags) & FLAG_UTF8 != 0
    if names != row.name_length and not recoded:
        return LFH_NAME
    room -= LOCAL_SIZE
    if names + extras > room or (not owns_nothing(row) and row.compressed_size > room - names - extras):
        return OVERLAP
    if n - LOCAL_SIZE < names + extras:
        return READ_MORE
    if unlikely(names != row.name_length or memcmp(p + LOCAL_SIZE, name, names) != 0):
        if not recoded or not (same_text(p + LOCAL_SIZE, names, name, row.name_length)
                               if row.flags & FLAG_UTF8
                               else same_text(name, row.name_length, p + LOCAL_SIZE, names)):
            return LFH_NAME
    if le16(p + 8) != row.method:
        return LFH_METHOD
    # camlzip has set bit 3 in one header alone and written no descriptor, Racket's file/zip in the local
    # header alone in front of one.
    if (flags ^ row.flags) & (FLAG_BOTH if strict else FLAG_ENCRYPTED):
        return LFH_FLAGS
    if strict and (flags ^ row.flags) & FLAG_UTF8 and not ascii_only(name, names):
        return LFH_FLAGS
    data[0] = LOCAL_SIZE + names + extras
    if flags & FLAG_DESCRIPTOR:
        if strict and not (left_out(le32(p + 14), row.crc) and left_out(le32(p + 18), row.compressed_size)
                           and left_out(le32(p + 22), row.size)):
            return LFH_SIZES
        return OK
    return OK if owns_nothing(row) else local_sizes(p, row, strict, False)


cdef inline int descriptor(const uint8_t *p, size_t n, const Row *row, uint64_t exact) noexcept nogil:
    """4.3.9: with or without signature, 4-byte or 8-byte sizes; any of the four may match, since a
    CRC may happen to look like the signature. `exact`: so many bytes it must take, or there is a GAP
    behind it; 0: as many as it likes."""
    cdef size_t skip
    cdef int status = DESCRIPTOR
    for skip in range(0, 8, 4):
        if skip and (n < 4 or le32(p) != DESCRIPTOR_MAGIC):
            break
        if n < 12 + skip or le32(p + skip) != row.crc:
            continue
        if le32(p + skip + 4) == row.compressed_size and le32(p + skip + 8) == row.size:
            if exact == 0 or exact == 12 + skip:
                return OK
            status = GAP
        if (n >= 20 + skip and le64(p + skip + 4) == row.compressed_size
                and le64(p + skip + 12) == row.size):
            if exact == 0 or exact == 20 + skip:
                return OK
            status = GAP
    return status


cdef inline bint described(const uint8_t *header, const Row *row) noexcept nogil:
    """Does the local header or the directory say that there is a data descriptor?"""
    return (le16(header + 6) | row.flags) & FLAG_DESCRIPTOR != 0


cdef inline int behind_data(const uint8_t *header, const uint8_t *p, size_t n, const Row *row,
                            uint64_t room, bint strict) noexcept nogil:
    """What stands behind the data of a member that is `described`: `p`, `n` bytes of the `room` before the
    next structure. A data descriptor must be right, and strictly, be there.

    c-aff4, Archive::Zip and adm-zip set bit 3 in both headers, give the sizes, and write none. If both
    promise one and the sizes aren't given, it is missing; if one does, the other has promised nothing."""
    cdef int status = descriptor(p, n, row, room if strict else 0)
    if status == OK or strict or (n >= 4 and le32(p) == DESCRIPTOR_MAGIC):
        return status
    if le16(header + 6) & FLAG_DESCRIPTOR == 0:
        return OK                # local_header has looked at the sizes
    if row.flags & FLAG_DESCRIPTOR == 0:
        return local_sizes(header, row, False, False)
    return OK if local_sizes(header, row, False, True) == OK else DESCRIPTOR


cdef inline bint valid_utf8(const uint8_t *p, size_t n) noexcept nogil:
    """RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF."""
    cdef size_t i = 0, more, k
    cdef uint32_t c, least
    while i < n:
        c = p[i]
        i += 1
        if c < 0x80:
            continue
        if 0xC2 <= c <= 0xDF:
            more, least, c = 1, 0x80, c & 0x1F
        elif 0xE0 <= c <= 0xEF:
            more, least, c = 2, 0x800, c & 0x0F
        elif 0xF0 <= c <= 0xF4:
            more, least, c = 3, 0x10000, c & 0x07
        else:
            return False
        if more > n - i:
            return False
        for k in range(more):
            if p[i] & 0xC0 != 0x80:
                return False
            c = (c << 6) | (p[i] & 0x3F)
            i += 1
        if c < least or c > 0x10FFFF or 0xD800 <= c <= 0xDFFF:
            return False
    return True


cdef inline int check_name(const Row *row, const uint8_t *name) noexcept nogil:
    """Names that two readers would understand differently belong to no member that is read."""
    if memchr(name, 0, row.name_length) != NULL:
        return NAME_NUL
    if row.flags & FLAG_UTF8 and not ascii_only(name, row.name_length) \
            and not valid_utf8(name, row.name_length):
        return NAME_UTF8
    if row.size and row.name_length and name[row.name_length - 1] == 47:    # "/"
        return DIRECTORY_WITH_DATA
    return OK
