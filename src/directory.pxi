"""Part of _core.pyx: the directory as an object; names to rows and back."""

cdef enum:
    ABREAST = 16                          # names that are looked up at the same time
    NAME_NPY = 1                          # what name_kinds tells
    NAME_ASIDE = 2

cdef struct Sortable:
    uint64_t offset
    uint64_t row


cdef int by_offset(const void *a, const void *b) noexcept nogil:
    cdef uint64_t x = (<const Sortable *>a).offset, y = (<const Sortable *>b).offset
    return (x > y) - (x < y)


cdef bint is_named(const uint8_t *p, size_t n, const char *name) noexcept nogil:
    return n == strlen(name) and memcmp(p, name, n) == 0


cdef uint8_t name_kind(const uint8_t *p, size_t n) noexcept nogil:
    """NAME_ASIDE for a folder, and for what macOS and Windows leave beside files; NAME_NPY, by its
    end; or 0."""
    cdef size_t base = n
    if n >= 9 and memcmp(p, b"__MACOSX/", 9) == 0:
        return NAME_ASIDE
    while base and p[base - 1] != 47:     # "/"
        base -= 1
    if base == n:                         # a folder, or no name at all
        return NAME_ASIDE if n else 0
    p += base
    n -= base
    if (n >= 2 and memcmp(p, b"._", 2) == 0 or is_named(p, n, b".DS_Store")
            or is_named(p, n, b"Thumbs.db") or is_named(p, n, b"desktop.ini")):
        return NAME_ASIDE
    return NAME_NPY if n >= 4 and memcmp(p + n - 4, b".npy", 4) == 0 else 0


cdef int find_limits(const Bytes *s, const Listing *l, Sortable *order, uint64_t *limits) noexcept nogil:
    """limits[i]: where the member of row i must end; a status.

    Members of equal offset overlap, and none has room. But an entry may stand in the directory twice, byte
    for byte, as in Android packages that were signed twice: then both are of the one member. More often is
    refused: nobody writes it, and so what an archive holds could grow with the square of its size."""
    cdef uint64_t n = l.count, next_ = l.start, limit, over = 0, i, k
    cdef bint same
    cdef int status
    for i in range(n):
        order[i].offset, order[i].row = l.rows[i].header_offset, i
        over += i > 0 and l.rows[i].record < l.rows[i - 1].record
        limits[i] = (over << 32) | l.rows[i].record     # for now, where its entry begins
    qsort(order, n, sizeof(Sortable), by_offset)
    i = n
    while i > 0:
        k = i - 1
        while k > 0 and order[k - 1].offset == order[k].offset:
            k -= 1
        same = i - k == 1
        if i - k == 2:
            status = same_entry(s, l, order[k].row, order[k + 1].row, limits[order[k].row],
                                limits[order[k + 1].row], &same)
            if status != OK:
                return status
        limit = next_ if same else order[k].offset
        if order[k].offset < next_:
            next_ = order[k].offset
        while i > k:
            i -= 1
            limits[order[i].row] = limit
    return OK


cdef struct Opening:
    const Bytes *source
    const Rules *rules
    Place place
    Listing *listing
    Table *table
    uint64_t bad, twin
    int status


cdef void open_directory(void *arg, size_t group, void *scratch) noexcept nogil:
    """The pool's work for an archive that is opened."""
    cdef Opening *o = <Opening *>arg
    o.status = find_directory(o.source, o.rules.strict, &o.place, &o.bad)
    if o.status != OK:
        return
    o.status = walk(o.source, &o.place, o.rules, o.listing)
    if o.status == OK:
        o.status = check_rules(&o.place, o.rules, o.listing)
    o.bad = o.listing.bad_offset
    if o.status == OK and o.rules.strict and o.listing.count:
        o.status = build_table(o.listing, o.table, &o.twin)
        if o.status == OK and o.twin == o.listing.count:
            o.twin = find_twin(o.listing, o.table)
        if o.status == OK and o.twin < o.listing.count:
            o.status = DUPLICATE_NAME
            o.bad = o.listing.rows[o.twin].header_offset


@cython.final
cdef class Directory:
    """The parsed central directory: a row for each member, the name bytes, a table for lookup.

    Rows and names never change. The buffer protocol gives the rows, read-only."""
    cdef Listing listing
    cdef Table table
    cdef Rules rules
    cdef uint64_t *limits
    cdef uint32_t extra_hint
    cdef readonly int status
    cdef readonly uint64_t bad_offset
    cdef readonly int64_t bad_row         # -1, or the member that the status is about
    cdef readonly uint64_t shift          # bytes in front of the archive
    cdef list renamed                     # names from Unicode path extra fields, if there are any …
    cdef dict by_name                     # … and then, the lookup

    def __cinit__(self, Source source not None, uint64_t seed0, uint64_t seed1, bint strict=False,
                  max_members=None, max_total_size=None, max_member_size=None):
        cdef Opening o
        cdef int64_t entered
        self.table.seed0, self.table.seed1 = seed0, seed1
        self.rules.strict = strict
        self.rules.cp437_names = True
        self.rules.max_members = UINT64_MAX if max_members is None else max_members
        self.rules.max_total_size = UINT64_MAX if max_total_size is None else max_total_size
        self.rules.max_member_size = UINT64_MAX if max_member_size is None else max_member_size
        self.extra_hint = 20              # what NumPy's writer leaves in local headers
        self.bad_row = -1
        memset(&o, 0, sizeof(Opening))
        o.source, o.rules, o.status = &source.bytes_, &self.rules, INTERRUPTED
        o.listing, o.table = &self.listing, &self.table
        entered = source._enter()
        if entered < 0:
            self.status = CLOSED
            return
        try:
            if source.bytes_.size > LONG:
                if run(open_directory, &o, 1, 1) == POOL_NO_MEMORY:
                    o.status = MEMORY
            else:
                with nogil:
                    open_directory(&o, 0, NULL)
        finally:
            source._leave(entered)
        self.shift, self.status, self.bad_offset = o.place.shift, o.status, o.bad
        if o.status == DUPLICATE_NAME:
            self.bad_row = <int64_t>o.twin

    def __dealloc__(self):
        release(&self.listing)
        if self.table.block.ptr != NULL:
            arena_free(&self.table.block)
        memory_give(self.limits)

    def __len__(self):
        return <Py_ssize_t>self.listing.count

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.listing.rows,
                          <Py_ssize_t>(self.listing.count * sizeof(Row)), 1, flags)

    @property
    def nbytes(self):
        """Bytes of rows, names and table."""
        return (self.listing.count * sizeof(Row) + self.listing.names_size
                + (self.table.size * 4 if self.table.slots != NULL else 0))

    @property
    def has_table(self):
        """Has anything been looked up by name?"""
        return self.table.slots != NULL

    cdef int _need_limits(self, Source source) noexcept:
        """Where each member must end, for archives that aren't in the order of their offsets; a
        status."""
        cdef uint64_t n = self.listing.count
        cdef Sortable *order
        cdef uint64_t *limits
        cdef int64_t entered
        cdef int status = MEMORY
        if self.listing.ordered or self.limits != NULL:
            return OK
        entered = source._enter()
        if entered < 0:
            return CLOSED
        order = <Sortable *>memory_take(n * sizeof(Sortable))
        limits = <uint64_t *>memory_take(n * sizeof(uint64_t))
        if order != NULL and limits != NULL:
            with nogil:
                status = find_limits(&source.bytes_, &self.listing, order, limits)
        source._leave(entered)
        memory_give(order)
        if status == OK and self.limits == NULL:
            self.limits = limits
        else:                             # it failed, or another thread was quicker
            memory_give(limits)
        return status

    def names_are_foreign(self):
        """Names without the UTF-8 flag are in an encoding that the caller knows, not in code page 437."""
        self.rules.cp437_names = False

    def build_table(self):
        """Prepare the lookup by name; done at the first one otherwise. Returns a status."""
        cdef Table table
        cdef uint64_t twin
        cdef int status
        if self.table.slots != NULL:
            return int(OK)
        memset(&table, 0, sizeof(Table))
        table.seed0, table.seed1 = self.table.seed0, self.table.seed1
        with nogil:
            status = build_table(&self.listing, &table, &twin)
        if self.table.slots != NULL:      # another thread was quicker
            if table.block.ptr != NULL:
                arena_free(&table.block)
        elif status == OK:
            self.table = table
        elif table.block.ptr != NULL:
            arena_free(&table.block)
        return status

    cdef int64_t _find(self, str key, bint npy) except -2:
        """The row of this name, or of this name + ".npy" (if npy); -1: none."""
        cdef Py_ssize_t n
        cdef const char *p
        cdef bytes encoded
        cdef uint64_t row, count = self.listing.count
        cdef char small[256]
        cdef bytes longer
        if self.renamed is not None:
            return self._find_renamed(key, npy)
        if self.table.slots == NULL and count:
            if self.build_table() != OK:
                raise MemoryError("cannot allocate the table of names")
        if count == 0:
            return -1
        if not PyUnicode_IS_ASCII(key):
            return self._find_wide(key, npy)
        p = PyUnicode_AsUTF8AndSize(key, &n)
        row = find_name(&self.listing, &self.table, <const uint8_t *>p, <size_t>n, False)
        if row == count and npy:
            if n <= 252:
                memcpy(small, p, <size_t>n)
                memcpy(small + n, b".npy", 4)
                row = find_name(&self.listing, &self.table, <uint8_t *>small, <size_t>n + 4, False)
            else:
                longer = p[:n] + b".npy"
                row = find_name(&self.listing, &self.table, <const uint8_t *>PyBytes_AS_STRING(longer),
                                <size_t>n + 4, False)
        return <int64_t>row if row < count else -1

    def rename(self, list names not None):
        """Give all members other names, before anybody has looked one up."""
        if len(names) != len(self) or self.renamed is not None:
            raise ValueError("one name for each member, and once")
        self.renamed = names

    cdef int64_t _find_renamed(self, str key, bint npy) except -2:
        if self.by_name is None:
            self.by_name = {name: i for i, name in enumerate(self.renamed)}
        found = self.by_name.get(key, -1)
        if found < 0 and npy:
            found = self.by_name.get(key + ".npy", -1)
        return found

    cdef int64_t _find_wide(self, str key, bint npy) except -2:
        """Names beyond ASCII are written as UTF-8 (flagged) or as code page 437; the last one wins."""
        cdef int64_t best = -1
        cdef uint64_t row
        cdef bytes name
        for suffix in ("", ".npy") if npy else ("",):
            for encoding, utf8 in (("utf-8", True), ("cp437", False)):
                try:
                    name = (key + suffix).encode(encoding, "surrogateescape" if utf8 else "strict")
                except UnicodeEncodeError:
                    continue
                row = find_name(&self.listing, &self.table, <const uint8_t *>PyBytes_AS_STRING(name),
                                <size_t>len(name), utf8)
                if row < self.listing.count and <int64_t>row > best:
                    best = <int64_t>row
            if best >= 0:
                break
        return best

    def find(self, str key not None):
        """The row of the last member of this name, or -1."""
        return self._find(key, False)

    def find_key(self, str key not None):
        """The row that NumPy means by this key: the member `key`, else `key.npy`; or -1."""
        return self._find(key, True)

    def find_all(self, list keys not None, int64_t[::1] out not None, bint npy):
        """find_key (find, without `npy`) for a list of names; returns the index of the first unknown
        one, or -1."""
        cdef Py_ssize_t i, n = min(len(keys), out.shape[0])
        for i in range(n):
            if i % ABREAST == 0:
                self._ask_for(keys, i, min(i + ABREAST, n), npy)
            key = keys[i]
            if not PyUnicode_CheckExact(key):
                if not PyUnicode_Check(key):
                    raise TypeError(f"a key must be a name or a position, not {type(key).__name__}")
                key = str.__str__(key)    # NumPy's strings are others
            out[i] = self._find(key, npy)
            if out[i] < 0:
                return i
        return -1

    cdef int _ask_for(self, list keys, Py_ssize_t start, Py_ssize_t stop, bint npy) except -1:
        """In a large archive each look-up waits for memory four times, key included; these wait for
        the next ones' at once. 256 of 100,000 names: from 0.9 to 0.4 µs each."""
        cdef Py_ssize_t i, n
        cdef int step
        cdef const char *p
        cdef uint8_t name[256]
        if self.table.slots == NULL:
            return 0
        for i in range(start, stop):
            prefetch(PyList_GET_ITEM(keys, i))
        for step in range(3):
            for i in range(start, stop):
                key = keys[i]
                if not PyUnicode_CheckExact(key) or not PyUnicode_IS_ASCII(key):
                    continue
                p = PyUnicode_AsUTF8AndSize(key, &n)
                if n > <Py_ssize_t>sizeof(name) - 4:
                    continue
                memcpy(name, p, <size_t>n)
                memcpy(name + n, b".npy", 4)
                ask_for_name(&self.listing, &self.table, name, <size_t>(n + 4 if npy else n), step)
        return 0

    def row(self, Py_ssize_t i):
        """(header offset, size, method) of row i; NumPy's own access takes ten times as long."""
        if not 0 <= i < <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        cdef Row *row = self.listing.rows + i
        return row.header_offset, row.size, row.method

    @property
    def start(self):
        """Where the directory begins in the source."""
        return self.listing.start

    @property
    def unicode_paths(self):
        """Does some entry give its name once more, as UTF-8 (APPNOTE 4.6.9)?"""
        return self.listing.unicode_paths

    def record(self, Py_ssize_t i):
        """Where in the source entry i of the directory begins; the one behind the last is its end."""
        if not 0 <= i <= <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        return self.listing.start + record_of(&self.listing, <uint64_t>i)

    def raw_name(self, Py_ssize_t i):
        """The bytes of row i's name."""
        if not 0 <= i < <Py_ssize_t>self.listing.count:
            raise IndexError(i)
        cdef Row *row = self.listing.rows + i
        return (<char *>self.listing.names + row.name_offset)[:row.name_length]

    @property
    def has_nul(self):
        """Does some name hold a NUL byte?"""
        return (self.listing.names_size != 0
                and memchr(self.listing.names, 0, <size_t>self.listing.names_size) != NULL)

    def wide_rows(self):
        """The rows whose names aren't ASCII, as a list."""
        cdef Py_ssize_t i
        cdef Row *row
        cdef list out = []
        for i in range(<Py_ssize_t>self.listing.count):
            row = self.listing.rows + i
            if not ascii_only(self.listing.names + row.name_offset, row.name_length):
                out.append(i)
        return out

    def name_kinds(self, uint8_t[::1] out not None):
        """For each row 2 if its name is that of a folder, or of what macOS and Windows leave beside
        files; 1 if it ends in ".npy"; else 0."""
        cdef size_t i, n = <size_t>min(len(out), len(self))
        cdef Row *row
        cdef bytes name
        if self.renamed is not None:
            for i in range(n):
                name = (<str>self.renamed[i]).encode("utf-8", "surrogateescape")
                out[i] = name_kind(<const uint8_t *>PyBytes_AS_STRING(name), <size_t>len(name))
            return
        with nogil:
            for i in range(n):
                row = self.listing.rows + i
                out[i] = name_kind(self.listing.names + row.name_offset, row.name_length)

    def names(self, Py_ssize_t start, Py_ssize_t stop, bint keys):
        """The names of these rows, decoded (APPNOTE 4.4.4 bit 11, D.1); `keys` drops ".npy"."""
        cdef Py_ssize_t i, n
        cdef Row *row
        cdef const uint8_t *p
        cdef list out = []
        if start < 0 or stop > <Py_ssize_t>self.listing.count:
            raise IndexError((start, stop))
        for i in range(start, stop):
            if self.renamed is not None:
                name = <str>self.renamed[i]
                out.append(name.removesuffix(".npy") if keys else name)
                continue
            row = self.listing.rows + i
            p = self.listing.names + row.name_offset
            n = row.name_length
            if keys and n >= 4 and memcmp(p + n - 4, b".npy", 4) == 0:
                n -= 4
            if row.flags & FLAG_UTF8 or ascii_only(p, <size_t>n):
                out.append(PyUnicode_DecodeUTF8(<const char *>p, n, "surrogateescape"))
            else:
                out.append(PyUnicode_Decode(<const char *>p, n, "cp437", NULL))
        return out
