"""From an archive to its rows: the end record, the central directory, the table of names.

Reads through runtime.source, understands through records.pxd; runs without the interpreter lock.
"""
from libc.stddef cimport size_t
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from runtime.arena cimport arena_alloc, arena_block, arena_free
from runtime.memory cimport memory_give, memory_take
from runtime.pool cimport pool_stopped
from runtime.source cimport Bytes, fill
from runtime.status cimport (AMBIGUOUS_END, AMBIGUOUS_PREFIX, BEHIND_ARCHIVE, CD_ENTRY,
    CD_ENTRY_OVERRUN, CD_MAGIC, CD_RANGE, CD_TRAILING, COMMENT_LENGTH, COUNT, COUNT_TOO_LARGE,
    INTERRUPTED, MAX_MEMBERS, MAX_TOTAL_SIZE, MEMORY, MULTI_DISK, NO_EOCD, OK, PREFIX, READ_MORE,
    TOO_SHORT, ZIP64_CONFLICT, ZIP64_DISKS, ZIP64_LOCATOR, ZIP64_RECORD, ZIP64_SENTINEL,
    ZIP64_VERSION)
from zip.records cimport (CENTRAL_MAGIC, CENTRAL_SIZE, END64_MAGIC, END64_SIZE, END_MAGIC, END_SIZE,
    FLAG_UTF8, LOCATOR_MAGIC, LOCATOR_SIZE, SENTINEL16, SENTINEL32, SIGNATURE_MAGIC, SIGNATURE_SIZE,
    UNICODE_PATH, Row, ascii_only, central_header, check_any, check_row, has_extra, le16, le32,
    le64, unlikely)

cdef enum:
    COMMENT_MAX = 65535          # 4.4.12  its length has 16 bits
    BEHIND_MAX = 65536           # bytes behind the archive that are tolerated
    TAIL = END_SIZE + COMMENT_MAX + LOCATOR_SIZE + END64_SIZE
    STOP_MASK = 0xFFFF           # between two looks at the stop flag, so many rows; not in walk, where
                                 # a call in the loop cost 7 %: it looks at each piece that it reads
    PIECE = 512 << 10            # the directory is read in pieces; a record takes at most 196,651
    WIDE = 16                    # names are copied this many bytes at a time

cdef extern from *:
    """
    #include <string.h>
    """
    void *memrchr(const void *s, int c, size_t n) nogil

cdef struct Place:               # where the directory is
    uint64_t start, size, shift, count
    bint is64
    bint no_disks                # the zip64 locator says that there are none

cdef struct Rules:               # what the caller asks of an archive; UINT64_MAX: no limit
    bint strict                  # refuse what is ambiguous but common
    bint cp437_names             # names without the UTF-8 flag are in code page 437
    uint64_t max_members, max_total_size, max_member_size

cdef struct Listing:             # the directory, read
    Row *rows
    uint8_t *names
    uint64_t count, names_size
    uint64_t start, size         # of its entries, in the source
    bint ordered                 # header offsets rise from row to row
    bint unicode_paths           # some entry has a Unicode path extra field
    arena_block rows_block, names_block
    uint64_t bad_offset          # where in the file the trouble is


cdef inline int end_record(const Bytes *s, const uint8_t *tail, size_t n, uint64_t base, size_t at,
                           bint exact, Place *place) noexcept nogil:
    """Is there a self-consistent end record at tail[at]? 4.3.16, 4.3.15, 4.3.14.

    The directory must end exactly where the end records begin, so prefixed (self-extracting) archives
    are understood whether their offsets count the prefix or not. A zip64 record counts only if it and
    its locator touch: a locator alone could name a second, hidden directory (CVE-2025-8291)."""
    cdef const uint8_t *p = tail + at
    cdef uint8_t record[END64_SIZE]
    cdef uint8_t locator[LOCATOR_SIZE]
    cdef uint8_t magic[4]
    cdef uint64_t candidate[2]
    cdef uint64_t where = base + at, comment, end, stated
    cdef uint64_t count, here, size, offset, shift64 = 0
    cdef uint32_t disk, directory_disk
    cdef bint sentinel, bound = False
    cdef int i, status
    if n - at < END_SIZE:
        return NO_EOCD
    disk, directory_disk = le16(p + 4), le16(p + 6)
    here, count = le16(p + 8), le16(p + 10)
    size, offset, comment = le32(p + 12), le32(p + 16), le16(p + 20)
    end = where + END_SIZE + comment
    if end > s.size or (exact and end != s.size):
        return COMMENT_LENGTH
    if s.size - end > BEHIND_MAX:
        return NO_EOCD
    place.is64 = place.no_disks = False
    end = where
    if where >= LOCATOR_SIZE:
        status = fill(s, locator, where - LOCATOR_SIZE, LOCATOR_SIZE)
        if status != OK:
            return status
        if le32(locator) == LOCATOR_MAGIC:
            sentinel = (count == SENTINEL16 or here == SENTINEL16 or size == SENTINEL32
                        or offset == SENTINEL32 or disk == SENTINEL16)
            stated = le64(locator + 8)
            end = where - LOCATOR_SIZE
            # The record ends at the locator; with a prefix it isn't where the locator says.
            candidate[0] = stated
            candidate[1] = end - END64_SIZE if end >= END64_SIZE else 0
            for i in range(2):
                if end < END64_SIZE or candidate[i] > end - END64_SIZE:
                    continue
                status = fill(s, record, candidate[i], END64_SIZE)
                if status != OK:
                    return status
                if (le32(record) == END64_MAGIC and le64(record + 4) >= END64_SIZE - 12
                        and le64(record + 4) == end - candidate[i] - 12):
                    bound = True
                    break
            if bound:
                # OneDrive and SharePoint count 0 disks.
                if le32(locator + 4) != 0 or le32(locator + 16) > 1:
                    return MULTI_DISK
                place.no_disks = le32(locator + 16) == 0
                if record[14] > 45:
                    return ZIP64_VERSION
                if ((count != SENTINEL16 and count != le64(record + 32))
                        or (here != SENTINEL16 and here != le64(record + 24))
                        or (size != SENTINEL32 and size != le64(record + 40))
                        or (offset != SENTINEL32 and offset != le64(record + 48))
                        or (disk != SENTINEL16 and disk != le32(record + 16))
                        or (directory_disk != SENTINEL16 and directory_disk != le32(record + 20))):
                    return ZIP64_CONFLICT
                here, count = le64(record + 24), le64(record + 32)
                size, offset = le64(record + 40), le64(record + 48)
                disk, directory_disk = le32(record + 16), le32(record + 20)
                end = candidate[i]
                place.is64 = True
                if stated > end:
                    return ZIP64_LOCATOR
                shift64 = end - stated
            elif sentinel:
                return ZIP64_RECORD
            else:
                end = where      # twenty bytes that happen to look like a locator
    if disk != 0 or directory_disk != 0:
        return MULTI_DISK
    if count != here:
        return COUNT
    if not place.is64 and (size == SENTINEL32 or offset == SENTINEL32):
        return ZIP64_SENTINEL
    if size > end or offset > end - size:
        return CD_RANGE
    place.shift = end - size - offset
    if place.is64 and place.shift != shift64:
        return ZIP64_LOCATOR
    if count > size // CENTRAL_SIZE:
        return COUNT_TOO_LARGE
    place.start, place.size, place.count = end - size, size, count
    if size == 0:
        return OK
    status = fill(s, magic, place.start, 4)
    if status != OK:
        return status
    if le32(magic) != CENTRAL_MAGIC:
        return CD_MAGIC
    if place.shift and offset + size <= place.start:
        status = fill(s, magic, offset, 4)
        if status == OK and le32(magic) == CENTRAL_MAGIC:
            return AMBIGUOUS_PREFIX   # two archives, one behind the other: which one is meant?
    return OK


cdef inline int search(const Bytes *s, const uint8_t *tail, size_t n, uint64_t base, size_t lowest,
                       bint exact, Place *place, uint64_t *bad) noexcept nogil:
    """The one self-consistent end record in tail[lowest:]; two are refused, for an archive must have
    one meaning."""
    cdef size_t end = n
    cdef const uint8_t *hit
    cdef Place found
    cdef int first = NO_EOCD, verdict = OK, status, taken = 0
    while end > lowest:
        hit = <const uint8_t *>memrchr(tail + lowest, 0x50, end - lowest)
        if hit == NULL:
            break
        end = <size_t>(hit - tail)
        if n - end < 4 or le32(hit) != END_MAGIC:
            continue
        status = end_record(s, tail, n, base, end, exact, &found)
        if status < 0:
            return status        # a failing disk is no bad archive
        if status == OK or status == AMBIGUOUS_PREFIX:
            taken += 1
            if taken > 1:
                bad[0] = base + end
                return AMBIGUOUS_END
            place[0] = found
            verdict = status
        elif first == NO_EOCD or first == COMMENT_LENGTH:
            first = status       # what is wrong with a real candidate says more than a false one
        if taken == 0 or verdict == AMBIGUOUS_PREFIX:
            bad[0] = base + end
    return verdict if taken else first


cdef inline int find_directory(const Bytes *s, bint strict, Place *place, uint64_t *bad) noexcept nogil:
    """Candidates whose comment ends exactly where the file ends come first. Only if there is none,
    up to 64 KiB behind the archive are tolerated, under the same rule: so an archive whose last member
    is a stored archive opens as the outer one."""
    cdef uint8_t *tail
    cdef size_t n, last
    cdef int status, second
    bad[0] = 0
    if s.size < END_SIZE:
        return TOO_SHORT
    n = TAIL + BEHIND_MAX if s.size > TAIL + BEHIND_MAX else <size_t>s.size
    tail = <uint8_t *>memory_take(n)
    if tail == NULL:
        return MEMORY
    last = TAIL if s.size > TAIL else n
    status = fill(s, tail + (n - last), s.size - last, last)
    if status == OK:
        status = search(s, tail + (n - last), last, s.size - last,
                        last - END_SIZE - COMMENT_MAX if last > END_SIZE + COMMENT_MAX else 0,
                        True, place, bad)
        if status == NO_EOCD or status == COMMENT_LENGTH:
            second = fill(s, tail, s.size - n, n)
            if second == OK:
                second = search(s, tail, n, s.size - n, 0, False, place, bad)
            if second != NO_EOCD:
                status = BEHIND_ARCHIVE if second == OK and strict else second
    memory_give(tail)
    if status == OK and strict and place.no_disks:
        bad[0] = place.start + place.size
        return ZIP64_DISKS
    return status


cdef inline int walk(const Bytes *s, const Place *place, const Rules *rules, Listing *out) noexcept nogil:
    """4.3.12, one record after another: exactly `size` bytes, exactly `count` records.

    Writers exceed 65,535 members without zip64 records; the count is then modulo 65536."""
    # In locals: what the loop writes through pointers could be any field of `out` or `place`.
    cdef uint64_t got = 0, most, count, names_most, names_size = 0
    cdef uint64_t total = place.size, shift = place.shift
    cdef size_t have = 0, need, used = 0, length
    cdef uint8_t *buffer = NULL
    cdef uint8_t *names
    cdef const uint8_t *p
    cdef Row *row
    cdef Row *end
    cdef int status = OK
    cdef bint ordered = True, cut = False
    out.start, out.size = place.start, total
    most = place.count
    if most > rules.max_members:
        return MAX_MEMBERS
    if not place.is64 and not rules.strict and total // CENTRAL_SIZE >= place.count + 65536:
        most = total // CENTRAL_SIZE
        cut = most > rules.max_members
        most = rules.max_members if cut else most
    # Both bounds follow from the directory's own size, which lies within the file.
    if arena_alloc(&out.rows_block, <size_t>(most * sizeof(Row))):
        return MEMORY
    names_most = total - CENTRAL_SIZE * place.count
    if arena_alloc(&out.names_block, <size_t>names_most + WIDE):
        return MEMORY
    out.rows = row = <Row *>out.rows_block.ptr
    out.names = names = <uint8_t *>out.names_block.ptr
    end = row + most
    if s.fd < 0:
        p = s.base + place.start
        have = <size_t>total
        got = total
    else:
        buffer = <uint8_t *>memory_take(PIECE + WIDE)
        if buffer == NULL:
            return MEMORY
        p = buffer
    while have or got < total:   # got - have bytes are done
        status = central_header(p, have, shift, row, &used) if row < end else CD_ENTRY
        if status != OK:
            if got < total and (status == READ_MORE or have < SIGNATURE_SIZE):
                memmove(buffer, p, have)
                need = PIECE - have
                if need > total - got:
                    need = <size_t>(total - got)
                status = fill(s, buffer + have, place.start + got, need)
                if status == OK and pool_stopped(False):
                    status = INTERRUPTED
                if status != OK:
                    break
                p = buffer
                have += need
                got += need
                continue
            if have >= SIGNATURE_SIZE and le32(p) == SIGNATURE_MAGIC:
                out.size = got - have
                status = CD_TRAILING
                if total - out.size == SIGNATURE_SIZE + <uint64_t>le16(p + 4):
                    status = OK
            elif status == READ_MORE:
                status = CD_ENTRY_OVERRUN
            elif row == end:
                status = COUNT
                if have < 4 or le32(p) != CENTRAL_MAGIC:
                    status = CD_TRAILING
                elif cut:
                    status = MAX_MEMBERS
            break
        length = row.name_length
        if length > names_most - names_size:
            status = COUNT       # so long a name leaves no room for the records that were promised
            break
        row.name_offset, row.record = names_size, <uint32_t>(got - have)
        if unlikely(used > CENTRAL_SIZE + length and not out.unicode_paths):
            out.unicode_paths = has_extra(p + CENTRAL_SIZE + length, le16(p + 30), UNICODE_PATH)
        # Most names are short: 16 bytes at once, whatever they are, beat a call to memcpy.
        if length <= WIDE and (buffer != NULL or used >= CENTRAL_SIZE + WIDE):
            memcpy(names + names_size, p + CENTRAL_SIZE, WIDE)
        else:
            memcpy(names + names_size, p + CENTRAL_SIZE, length)
        names_size += length
        if row > out.rows and row.header_offset <= row[-1].header_offset:
            ordered = False
        row += 1
        p += used
        have -= used
    memory_give(buffer)
    count = <uint64_t>(row - out.rows)
    out.names_size = names_size
    out.bad_offset = place.start + got - have
    if status != OK:
        return status
    if count != place.count and (place.is64 or count < place.count
                                 or (count - place.count) % 65536 != 0):
        return COUNT
    out.count = count
    out.ordered = ordered
    return OK


cdef inline int check_rules(const Place *place, const Rules *rules, Listing *l) noexcept nogil:
    """What the caller asks of the directory as a whole: nothing in front of the members (strict), and
    not too much data in all. Members that no read gets past don't count, whatever size they claim."""
    cdef uint64_t i, first = place.start, total = 0
    cdef Row *row
    if not rules.strict and rules.max_total_size == UINT64_MAX:
        return OK
    for i in range(l.count):
        if i & STOP_MASK == STOP_MASK and pool_stopped(False):
            return INTERRUPTED
        row = l.rows + i
        first = row.header_offset if row.header_offset < first else first
        if check_row(row, place.start) != OK and check_any(row, place.start) != OK:
            continue
        if row.size > rules.max_total_size - total:
            l.bad_offset = row.header_offset
            return MAX_TOTAL_SIZE
        total += row.size
    if rules.strict and first != 0:
        l.bad_offset = 0
        return PREFIX
    return OK


cdef inline void release(Listing *l) noexcept nogil:
    if l.rows_block.ptr != NULL:
        arena_free(&l.rows_block)
    if l.names_block.ptr != NULL:
        arena_free(&l.names_block)
    memset(l, 0, sizeof(Listing))


# Lookup by name: open addressing over the name bytes. A slot is 32 bits: row number + 1 in the low
# ones, and as many bits of the name's hash as are left, so that other names are seldom looked at.
# Slots are 1.5 a member (6 bytes), not a power of two (up to 16).
cdef struct Table:
    uint32_t *slots
    uint64_t size
    uint32_t row_mask
    uint64_t seed0, seed1
    arena_block block


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    typedef unsigned __int128 fz_u128;
    static inline uint64_t fz_mix(uint64_t a, uint64_t b) {
        fz_u128 r = (fz_u128)a * b;
        return (uint64_t)r ^ (uint64_t)(r >> 64);
    }
    /* Keyed by random seeds, so that nobody can write an archive whose names all collide. */
    static inline uint64_t fz_hash(const uint8_t *p, size_t n, uint64_t k0, uint64_t k1) {
        uint64_t h = k0 ^ n, a, b;
        while (n > 16) {
            memcpy(&a, p, 8); memcpy(&b, p + 8, 8);
            h = fz_mix(a ^ k1, b ^ h);
            p += 16; n -= 16;
        }
        if (n >= 8) { memcpy(&a, p, 8); memcpy(&b, p + n - 8, 8); }
        else if (n >= 4) {
            uint32_t x, y;
            memcpy(&x, p, 4); memcpy(&y, p + n - 4, 4);
            a = x; b = y;
        } else { a = n ? ((uint64_t)p[0] << 16) | ((uint64_t)p[n / 2] << 8) | p[n - 1] : 0; b = 0; }
        h = fz_mix(a ^ k1, b ^ h);
        return fz_mix(h ^ k0, 0x9E3779B97F4A7C15u ^ k1);
    }
    static inline uint64_t fz_range(uint64_t h, uint64_t n) { return (uint64_t)(((fz_u128)h * n) >> 64); }
    """
    void prefetch "__builtin_prefetch"(const void *p) noexcept nogil
    uint64_t fz_hash(const uint8_t *p, size_t n, uint64_t k0, uint64_t k1) noexcept nogil
    uint64_t fz_range(uint64_t h, uint64_t n) noexcept nogil


cdef inline bint utf8_name(const Row *row, const uint8_t *name) noexcept nogil:
    """Equal bytes are different names if one is UTF-8 and one is code page 437."""
    return row.flags & FLAG_UTF8 and not ascii_only(name, row.name_length)


cdef inline uint64_t slot_of(const Listing *l, const Table *t, const uint8_t *name, size_t n,
                             bint utf8, bint *found) noexcept nogil:
    cdef uint64_t h = fz_hash(name, n, t.seed0 + utf8, t.seed1)
    cdef uint64_t at = fz_range(h, t.size)
    cdef uint32_t tag = <uint32_t>h & ~t.row_mask, slot
    cdef Row *row
    while True:
        slot = t.slots[at]
        if slot == 0:
            found[0] = False
            return at
        if slot & ~t.row_mask == tag:
            row = l.rows + ((slot & t.row_mask) - 1)
            if (row.name_length == n and memcmp(l.names + row.name_offset, name, n) == 0
                    and utf8_name(row, name) == utf8):
                found[0] = True
                return at
        at += 1
        if at == t.size:
            at = 0


cdef inline int build_table(const Listing *l, Table *t, uint64_t *twin) noexcept nogil:
    """The last of several equal names wins, as in zipfile; `twin` is one that isn't the first of its
    name, or l.count."""
    cdef uint64_t i, at
    cdef uint32_t mask = 1
    cdef bint found
    cdef Row *row
    if l.count >= <uint64_t>SENTINEL32 - 1:
        return COUNT_TOO_LARGE
    t.size = l.count + l.count // 2 + 2
    while mask < l.count + 1:
        mask = (mask << 1) | 1
    t.row_mask = mask
    if arena_alloc(&t.block, <size_t>t.size * 4):
        return MEMORY
    memset(t.block.ptr, 0, <size_t>t.size * 4)
    t.slots = <uint32_t *>t.block.ptr
    twin[0] = l.count
    for i in range(l.count):
        if i & STOP_MASK == STOP_MASK and pool_stopped(False):
            return INTERRUPTED
        row = l.rows + i
        at = slot_of(l, t, l.names + row.name_offset, row.name_length,
                     utf8_name(row, l.names + row.name_offset), &found)
        if found:
            twin[0] = i
        t.slots[at] = (<uint32_t>fz_hash(l.names + row.name_offset, row.name_length,
                                         t.seed0 + utf8_name(row, l.names + row.name_offset),
                                         t.seed1) & ~mask) | <uint32_t>(i + 1)
    return OK


cdef inline uint64_t find_name(const Listing *l, const Table *t, const uint8_t *name, size_t n,
                               bint utf8) noexcept nogil:
    """The row, or l.count when there is none."""
    cdef bint found
    cdef uint64_t at = slot_of(l, t, name, n, utf8, &found)
    return (t.slots[at] & t.row_mask) - 1 if found else l.count


cdef inline void ask_for_name(const Listing *l, const Table *t, const uint8_t *name, size_t n,
                              int step) noexcept nogil:
    """Fetch into the cache what find_name will want of its first slot (step 0), row (1), name (2)."""
    cdef uint64_t h = fz_hash(name, n, t.seed0, t.seed1)
    cdef uint64_t at = fz_range(h, t.size)
    cdef uint32_t slot
    if step == 0:
        prefetch(t.slots + at)
        return
    slot = t.slots[at]
    if slot == 0 or slot & ~t.row_mask != <uint32_t>h & ~t.row_mask:
        return
    slot = (slot & t.row_mask) - 1
    if step == 1:
        prefetch(l.rows + slot)
    else:
        prefetch(l.names + l.rows[slot].name_offset)


cdef inline uint64_t record_of(const Listing *l, uint64_t i) noexcept nogil:
    """Where entry i begins in the directory. Rows keep 32 bits of it, so beyond 4 GiB it takes a count
    of how often they have overflowed."""
    cdef uint64_t k, over = 0
    if i >= l.count:
        return l.size
    if l.size > SENTINEL32:
        for k in range(i):
            over += l.rows[k + 1].record < l.rows[k].record
    return (over << 32) | l.rows[i].record


cdef inline int same_entry(const Bytes *s, const Listing *l, uint64_t i, uint64_t j, uint64_t at_i,
                           uint64_t at_j, bint *same) noexcept nogil:
    """Are entries i and j of the directory, which begin at at_i and at_j, the same, byte for byte?"""
    cdef const Row *a = l.rows + i
    cdef const Row *b = l.rows + j
    cdef uint8_t left[4096]
    cdef uint8_t right[4096]
    # No entry is as long as 32 bits count.
    cdef uint32_t n = <uint32_t>((l.rows[i + 1].record if i + 1 < l.count else l.size) - at_i)
    cdef uint32_t m = <uint32_t>((l.rows[j + 1].record if j + 1 < l.count else l.size) - at_j)
    cdef size_t part
    cdef int status
    same[0] = (n == m and a.crc == b.crc and a.size == b.size and a.compressed_size == b.compressed_size
               and a.name_length == b.name_length)
    at_i += l.start
    at_j += l.start
    while same[0] and n:
        part = n if n < sizeof(left) else sizeof(left)
        status = fill(s, left, at_i, part)
        if status == OK:
            status = fill(s, right, at_j, part)
        if status != OK:
            return status
        same[0] = memcmp(left, right, part) == 0
        at_i += part
        at_j += part
        n -= <uint32_t>part
    return OK


cdef inline uint64_t find_twin(const Listing *l, const Table *t) noexcept nogil:
    """A row "x.npy" beside a row "x", which are one key for NumPy; or l.count."""
    cdef uint64_t i
    cdef Row *row
    cdef const uint8_t *name
    for i in range(l.count):
        row = l.rows + i
        name = l.names + row.name_offset
        if row.name_length >= 4 and memcmp(name + row.name_length - 4, b".npy", 4) == 0 \
                and find_name(l, t, name, row.name_length - 4, utf8_name(row, name)) < l.count:
            return i
    return l.count
