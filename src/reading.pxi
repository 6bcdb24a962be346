"""Part of _core.pyx: members, one and many, to memory and to files."""

cdef void prepare(Batch *b, Source source, Directory directory, bint verify) noexcept:
    memset(b, 0, sizeof(Batch))
    b.source = &source.bytes_
    b.listing = &directory.listing
    b.rules = &directory.rules
    b.limits = directory.limits
    b.extra_hint = &directory.extra_hint
    b.engines = &engines
    b.verify = verify
    b.group = b.last_group = 1


cdef int of_one(Batch *b, Source source, Directory directory, const int64_t *position,
                bint verify) except? -1:
    """Make it a batch of one member; a status."""
    if not 0 <= position[0] < <int64_t>directory.listing.count:
        raise IndexError(position[0])
    cdef int status = directory._need_limits(source)
    prepare(b, source, directory, verify)
    b.positions, b.n = position, 1
    return status


cdef int read_one(Batch *b, Source source, const Row *row, void *out, size_t room_behind) except? -1:
    """The whole member to `out`; a status."""
    cdef int32_t result = INTERRUPTED
    cdef Scratch *s
    cdef int64_t entered = source._enter()
    if entered < 0:
        return CLOSED
    b.out, b.row_bytes, b.room_behind = <uint8_t *>out, <size_t>row.size, room_behind
    b.statuses = &result
    try:
        if row.size > LONG or row.compressed_size > LONG:
            if run(run_group, b, 1, 1) == POOL_NO_MEMORY:
                result = MEMORY
        else:
            s = <Scratch *>pool_take_scratch()
            if s == NULL:
                return MEMORY
            with nogil:
                run_group(b, 0, s)
                pool_give_scratch(s)
    finally:
        source._leave(entered)
    return result


def read_member(Source source not None, Directory directory not None, int64_t position,
                size_t lead, bint verify, uint64_t most):
    """The whole member in a new Block, from byte `lead` on; or a status: OTHER_HEADER if it has more
    than `most` bytes, so that somebody looks at its header before memory is taken for all of it.

    Sizes are compared with what the archive can hold before memory is taken."""
    cdef Batch b
    cdef Span span
    cdef Block block
    cdef int status = of_one(&b, source, directory, &position, verify)
    if status == OK:
        status = look_up(&b, 0, &span)
    if status != OK:
        return int(status)
    if span.row.size > most:
        return int(OTHER_HEADER)
    block = Block(<size_t>span.row.size, lead)
    status = read_one(&b, source, span.row, <uint8_t *>block.block.ptr + lead, SLACK)
    return block if status == OK else int(status)


def read_bytes(Source source not None, Directory directory not None, int64_t position, bint verify):
    """The whole member as bytes, inflated right there if it isn't small; or a status."""
    cdef Batch b
    cdef Span span
    cdef bytes out
    cdef int status = of_one(&b, source, directory, &position, verify)
    if status == OK:
        status = look_up(&b, 0, &span)
    if status != OK:
        return int(status)
    if span.row.size > <uint64_t>1 << 62:
        return int(MEMORY)
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>span.row.size)
    status = read_one(&b, source, span.row, PyBytes_AS_STRING(out), 0)
    return out if status == OK else int(status)


def read_front(Source source not None, Directory directory not None, int64_t position, size_t n):
    """At most n bytes of the member's beginning, unverified; or a status."""
    cdef Batch b
    cdef Scratch *s
    cdef int64_t entered
    cdef int status = of_one(&b, source, directory, &position, False)
    cdef size_t got = 0
    cdef bytes out
    cdef uint8_t *p
    if status != OK:
        return int(status)
    if engines.init == NULL:              # only zlib-ng can stop in the middle
        whole = read_bytes(source, directory, position, True)
        return whole if isinstance(whole, int) else whole[:n]
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        p = <uint8_t *>PyBytes_AS_STRING(out)
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY)
        with nogil:
            status = c_read_front(&b, s, p, n, &got)
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    return out[:got] if status == OK else int(status)


def locate(Source source not None, Directory directory not None, int64_t position):
    """Where a member's data are and what they are, by whatever method and encrypted or not, all that
    header and directory say of it checked: (offset, compressed size, size, CRC, flags, method; and of the
    local header time, flags, extra field); or a status."""
    cdef Batch b
    cdef Row *row
    cdef Span p
    cdef Scratch *s
    cdef int64_t entered
    cdef uint64_t offset = 0
    cdef bytes header = b""
    cdef const uint8_t *local
    cdef int status = of_one(&b, source, directory, &position, False)
    if status != OK:
        return int(status)
    b.foreign = True
    entered = source._enter()
    if entered < 0:
        return int(CLOSED)
    try:
        s = <Scratch *>pool_take_scratch()
        if s == NULL:
            return int(MEMORY)
        try:
            with nogil:
                status = c_find_data(&b, s, &p, &offset)
            if status == OK:
                header = (<const char *>p.bytes)[:offset - p.start]
        finally:
            trim(s)
            pool_give_scratch(s)
    finally:
        source._leave(entered)
    if status != OK:
        return int(status)
    row = directory.listing.rows + position
    local = <const uint8_t *>PyBytes_AS_STRING(header)
    return (offset, row.compressed_size, row.size, row.crc, row.flags, row.method,
            le16(local + 10), le16(local + 6), header[LOCAL_SIZE + <size_t>le16(local + 26):])


cdef bint set_rows(Batch *b, Source source, Directory directory, const int64_t[::1] positions,
                   const int64_t[::1] rows, uint8_t[:, :] out, bytes head, bint verify,
                   int32_t[::1] statuses) except -1:
    """Set up a batch of rows, as `fetch` describes it. False if there is nothing to run: the statuses
    tell why."""
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef int status
    if statuses.shape[0] != n or (rows is not None and rows.shape[0] != n):
        raise ValueError("positions, rows and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        if not 0 <= (i if rows is None else rows[i]) < out.shape[0]:
            raise IndexError(f"no row for job {i}")
    if out.shape[1] > 1 and out.strides[1] != 1:
        raise ValueError("rows must be contiguous")
    if out.shape[0] > 1 and abs(out.strides[0]) < out.shape[1]:
        raise ValueError("rows overlap")
    if n == 0:
        return False
    status = directory._need_limits(source)
    if status != OK:
        set_all(statuses, status)
        return False
    prepare(b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    if rows is not None:
        b.rows = &rows[0]
    b.row_bytes = <size_t>out.shape[1]
    b.stride = out.strides[0] if out.shape[0] > 1 else out.shape[1]
    b.out = &out[0, 0] if out.shape[1] else <uint8_t *>PyBytes_AS_STRING(head)
    if not out.shape[1]:
        b.stride = 0
    b.head, b.head_len = <const uint8_t *>PyBytes_AS_STRING(head), <size_t>len(head)
    b.statuses = &statuses[0]
    set_all(statuses, INTERRUPTED)
    return True


cdef void set_all(int32_t[::1] statuses, int status) noexcept:
    cdef Py_ssize_t i
    for i in range(statuses.shape[0]):
        statuses[i] = status


def from_front(int64_t[::1] positions not None, int64_t n):
    """Make positions that count from the end (-1: the last of n) count from the front; returns the index of
    the first one that is out of range, or -1. NumPy's min() and max() take 2 us, and 8 with a cold cache."""
    cdef Py_ssize_t i
    for i in range(positions.shape[0]):
        if not -n <= positions[i] < n:
            return i
        if positions[i] < 0:
            positions[i] += n
    return -1


def fetch(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
          const int64_t[::1] rows, uint8_t[:, :] out not None, bytes head not None, unsigned threads,
          bint verify, int32_t[::1] statuses not None):
    """Fill out[rows[i]] (out[i] without rows) with the payload of member positions[i].

    Members must begin with the .npy header `head` and hold a row's bytes after it. statuses[i] tells
    how member i went. Rows must not overlap. Returns when no thread writes into `out` any more."""
    cdef Batch b
    cdef size_t groups
    cdef int64_t entered
    if not set_rows(&b, source, directory, positions, rows, out, head, verify, statuses):
        return
    if threads == 0:
        threads = 1
    groups = divide(&b, threads)
    entered = source._enter()
    if entered < 0:
        set_all(statuses, CLOSED)
        return
    try:
        if run(run_group, &b, groups, threads) == POOL_NO_MEMORY:
            set_all(statuses, MEMORY)
    finally:
        source._leave(entered)


def read_many(Source source not None, Directory directory not None, const int64_t[::1] positions not None,
              unsigned threads, bint verify, size_t[::1] places not None, int32_t[::1] statuses not None):
    """Whole members of any sizes in one new Block: member positions[i] at places[i], aligned. statuses[i]
    tells how it went. Returns None, and no more than a status each, where there is no memory."""
    cdef Batch b
    cdef Block block
    cdef Span span
    cdef Py_ssize_t i, n = positions.shape[0], count = <Py_ssize_t>directory.listing.count
    cdef size_t total = 0, size, groups
    cdef int64_t entered
    cdef int failed
    if statuses.shape[0] != n or places.shape[0] != n:
        raise ValueError("positions, places and statuses differ in length")
    for i in range(n):
        if not 0 <= positions[i] < count:
            raise IndexError(f"no member at position {positions[i]}")
        places[i] = 0
        statuses[i] = MEMORY
    if n == 0:
        return None
    failed = directory._need_limits(source)
    if failed != OK:
        set_all(statuses, failed)
        return None
    prepare(&b, source, directory, verify)
    b.positions, b.n = &positions[0], <size_t>n
    for i in range(n):                    # only what could be true is given room
        size = 0
        if look_up(&b, <size_t>i, &span) == OK:
            size = <size_t>span.row.size
        places[i] = total
        if size > (<size_t>1 << 62) - total - 64:
            return None
        total += (size + 63) & ~<size_t>63
    try:
        block = Block(total)
    except MemoryError:
        return None
    b.places, b.out, b.row_bytes = &places[0], <uint8_t *>block.block.ptr, total // <size_t>n
    b.statuses = &statuses[0]
    for i in range(n):
        statuses[i] = INTERRUPTED
    groups = divide(&b, threads if threads else 1)
    entered = source._enter()
    if entered < 0:
        for i in range(n):
            statuses[i] = CLOSED
        return block
    try:
        failed = run(run_group, &b, groups, threads)
    finally:
        source._leave(entered)
    if failed == POOL_NO_MEMORY:
        for i in range(n):
            statuses[i] = MEMORY
    return block


# ----------------------------------------------------------------------------------------- writing

def write_files(Block block not None, const size_t[::1] places not None, const size_t[::1] sizes not None,
                list names not None, const int32_t[::1] folders not None, unsigned threads,
                uint64_t salt, uint64_t serial, int32_t[::1] statuses not None):
    """Write the members that read_many has read: sizes[i] bytes at places[i] as names[i] (bytes, no
    slash) in the folder with the descriptor folders[i], where statuses[i] is OK; how it went goes there."""
    cdef Writing w
    cdef Py_ssize_t i, n = places.shape[0]
    cdef file_job *jobs
    cdef bytes name
    if not n == sizes.shape[0] == len(names) == folders.shape[0] == statuses.shape[0]:
        raise ValueError("the arguments differ in length")
    for i in range(n):
        if statuses[i] == OK and (places[i] > <size_t>block.nbytes
                                  or sizes[i] > <size_t>block.nbytes - places[i]):
            raise IndexError(i)
        name = names[i]
        if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise ValueError(f"no name for a file: {name!r}")
    if n == 0:
        return
    jobs = <file_job *>memory_take(<size_t>n * sizeof(file_job))
    if jobs == NULL:
        raise MemoryError("cannot allocate the jobs")
    for i in range(n):
        name = names[i]                   # the list keeps it alive
        jobs[i].folder, jobs[i].name, jobs[i].size = folders[i], PyBytes_AS_STRING(name), sizes[i]
        jobs[i].data = <uint8_t *>block.block.ptr + places[i]
    w.jobs, w.n, w.salt, w.serial, w.statuses = jobs, <size_t>n, salt, serial, &statuses[0]
    try:
        if run(write_group, &w, (<size_t>n + 7) // 8, threads if threads else 1) == POOL_NO_MEMORY:
            raise MemoryError("cannot allocate the scratch memory")
    finally:
        memory_give(jobs)
