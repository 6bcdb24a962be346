"""Part of _core.pyx: members of different lengths. What kind each is, and many into one piece of memory."""

cdef Kind *take_kinds(list kinds) except? NULL:
    """The kinds, out of tuples (text, before, head_len, unit); they stay valid as long as the list does."""
    cdef Py_ssize_t i, n = len(kinds)
    cdef Kind *out = <Kind *>memory_take(<size_t>max(n, 1) * sizeof(Kind))
    cdef bytes text
    cdef size_t before, head_len
    cdef uint64_t unit
    if out == NULL:
        raise MemoryError("cannot allocate the kinds")
    try:
        for i in range(n):
            text, before, head_len, unit = kinds[i]
            if unit == 0 or not before <= <size_t>len(text) < head_len:
                raise ValueError(kinds[i])
            out[i].text, out[i].before = <const uint8_t *>PyBytes_AS_STRING(text), before
            out[i].behind, out[i].head_len, out[i].unit = <size_t>len(text) - before, head_len, unit
    except BaseException:
        memory_give(out)
        raise
    return out


# --------------------------------------------------------------------------------------- the kinds

def find_kinds(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
               list kinds not None, unsigned threads, int32_t[::1] found not None):
    """found[i]: which of the kinds, a tuple (text, before, head_len, unit) each, the header of member
    positions[i] is, as its front and the directory say, unverified; -1 where it is none or can't be read."""
    cdef Batch b
    cdef Looking l
    cdef Kind *own
    cdef Py_ssize_t i, n = positions.shape[0]
    cdef int64_t entered
    if found.shape[0] != n:
        raise ValueError("positions and found differ in length")
    for i in range(n):
        found[i] = -1
        if not 0 <= positions[i] < <int64_t>directory.listing.count:
            raise IndexError(f"no member at position {positions[i]}")
    # Only zlib-ng can stop in the middle.
    if n == 0 or not kinds or engines.init == NULL or directory._need_limits(source) != OK:
        return
    prepare(&b, source, directory, False)
    b.positions, b.n = &positions[0], <size_t>n
    own = take_kinds(kinds)
    l.batch, l.kinds, l.n_kinds, l.front, l.found = &b, own, <size_t>len(kinds), 0, &found[0]
    try:
        for i in range(len(kinds)):
            if own[i].head_len > HEAD_MOST:
                raise ValueError(kinds[i])
            l.front = max(l.front, own[i].head_len)
        entered = source._enter()
        if entered < 0:
            return
        try:
            run(look_at_group, &l, (<size_t>n + FRONTS - 1) // FRONTS, threads if threads else 1)
        finally:
            source._leave(entered)
    finally:
        memory_give(own)

# -------------------------------------------------------------------------------------- the members

cdef bint set_parts(Batch *b, Source source, Directory directory, const int64_t[::1] positions,
                    const Kind *kinds, Py_ssize_t n_kinds, const int32_t[::1] which,
                    const size_t[::1] places, uint8_t[::1] out, bint verify,
                    int32_t[::1] statuses) except -1:
    """Set up a batch of parts, as `fetch_parts` describes it. False if there is nothing to run: the
    statuses tell why."""
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef size_t total = 0, at = 0
    cdef uint64_t size
    cdef int status
    if not n == which.shape[0] == places.shape[0] == statuses.shape[0]:
        raise ValueError("positions, which, places and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        if not 0 <= which[i] < n_kinds:
            raise IndexError(f"no kind {which[i]}")
        size = directory.listing.rows[positions[i]].size
        if not holds_rows(&kinds[which[i]], size):
            raise ValueError(f"member {positions[i]} is of another kind")
        size -= kinds[which[i]].head_len
        if places[i] < at or places[i] > <size_t>out.shape[0] or size > <size_t>out.shape[0] - places[i]:
            raise IndexError(f"no place for job {i}")
        at = places[i] + <size_t>size
        total += <size_t>size
    if n == 0:
        return False
    status = directory._need_limits(source)
    if status != OK:
        set_all(statuses, status)
        return False
    prepare(b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    b.kinds, b.which, b.places = kinds, &which[0], &places[0]
    b.out = &out[0] if out.shape[0] else <uint8_t *>kinds    # nothing is written there
    b.row_bytes = total // <size_t>n
    b.statuses = &statuses[0]
    set_all(statuses, INTERRUPTED)
    return True


def fetch_parts(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
                list kinds not None, const int32_t[::1] which not None, const size_t[::1] places not None,
                uint8_t[::1] out not None, unsigned threads, bint verify, int32_t[::1] statuses not None):
    """Put the payload of member positions[i], whose header is of the kind kinds[which[i]], at out[places[i]].

    Places rise, and each member ends where the next one begins, or before. Between them nothing is
    changed when this returns, though headers may have lain there meanwhile. statuses[i] tells how member
    i went. When it returns no thread writes into `out` any more."""
    cdef Batch b
    cdef Kind *own = take_kinds(kinds)
    cdef int64_t entered
    try:
        if not set_parts(&b, source, directory, positions, own, len(kinds), which, places, out, verify,
                         statuses):
            return
        entered = source._enter()
        if entered < 0:
            set_all(statuses, CLOSED)
            return
        try:
            if run(run_group, &b, divide(&b, threads if threads else 1), threads) == POOL_NO_MEMORY:
                set_all(statuses, MEMORY)
        finally:
            source._leave(entered)
    finally:
        memory_give(own)

# ---------------------------------------------------------------------------------------- filling up

def fill_rows(uint8_t[:, ::1] out not None, const size_t[::1] used not None, bytes value not None,
              unsigned threads):
    """Fill each row behind its first used[i] bytes with the value, again and again."""
    cdef Filling f
    cdef Py_ssize_t i, n = out.shape[0]
    cdef size_t row_bytes = <size_t>out.shape[1], unit = <size_t>len(value)
    if used.shape[0] != n or unit == 0 or row_bytes % unit:
        raise ValueError("rows, used and value don't fit together")
    for i in range(n):
        if used[i] > row_bytes or (row_bytes - used[i]) % unit:
            raise IndexError(i)
    if n == 0 or row_bytes == 0:
        return
    f.out, f.n, f.row_bytes, f.unit, f.used = &out[0, 0], <size_t>n, row_bytes, unit, &used[0]
    f.value = <const uint8_t *>PyBytes_AS_STRING(value)
    f.one_byte = value.count(value[:1]) == len(value)
    if run(fill_group, &f, (<size_t>n + ROWS - 1) // ROWS, threads if threads else 1) == POOL_NO_MEMORY:
        raise MemoryError("cannot allocate the scratch memory")
