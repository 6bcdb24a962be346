"""Lies about one member: found when it is read, told with their place, harmless to others."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest

import fastzip
from fastzip import _core, errors

U32 = 0xFFFFFFFF
MEMBER_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError)
ARRAY = np.arange(300, dtype="<u2").reshape(3, 100)


def around(lab, member):
    """The member between two good ones."""
    content = lab.npy(ARRAY)
    return lab.Archive(
        [lab.Member(b"a.npy", content), member, lab.Member(b"z.npy", content, method=0)]
    )


def good(lab, **options):
    options.setdefault("name", b"x.npy")
    options.setdefault("data", lab.npy(ARRAY))
    return lab.Member(**options)


def central_zip64(lab, member, **claims):
    """Put these sizes into a central zip64 extra field."""
    values = [claims[k] for k in ("size", "compressed_size", "offset") if k in claims]
    member.central = dict.fromkeys(claims, U32) | {"extra": lab.zip64_extra(*values)}
    return member


def flat(n):
    return b"\0" * n


# name -> (code, function from lab to the member); shared by the tests below
LIES = {
    "encrypted": ("password", lambda lab: good(lab, flags=1)),
    "encrypted, and no room for it": (
        "impossible_size",
        lambda lab: good(lab, body=b"eleven here", flags=1),
    ),
    "AES, and no room for it": (
        "impossible_size",
        lambda lab: good(lab, body=b"nineteen bytes here", method=99, flags=1),
    ),
    "encrypted, stored, in as many bytes": (
        "stored_size",
        lambda lab: good(lab, method=0, flags=1),
    ),
    "encrypted, and overlaps": ("overlap", lambda lab: good(lab, flags=1, compressed_size=4000)),
    "strongly encrypted": ("encrypted", lambda lab: good(lab, flags=0x41)),
    "bit 6 alone": ("encrypted", lambda lab: good(lab, flags=0x40)),
    "masked headers": ("encrypted", lambda lab: good(lab, flags=0x2000)),
    "patch data": ("flags", lambda lab: good(lab, flags=0x20)),
    "reserved 14": ("flags", lambda lab: good(lab, flags=0x4000)),
    "reserved 15": ("flags", lambda lab: good(lab, flags=0x8000)),
    "no bzip2": ("stream", lambda lab: good(lab, method=12)),
    "bzip2 that overlaps": ("overlap", lambda lab: good(lab, method=12, compressed_size=4000)),
    "bzip2 under another name": (
        "lfh_name",
        lambda lab: good(lab, method=12, local={"name": b"y.npy"}),
    ),
    "bzip2 with another crc": ("lfh_sizes", lambda lab: good(lab, method=12, local={"crc": 7})),
    "bzip2 with no descriptor": (
        "descriptor",
        lambda lab: good(lab, method=12, descriptor=b"PK\7\x08" + bytes(12)),
    ),
    "bzip2, as good as nothing": (
        "impossible_size",
        lambda lab: good(lab, method=12, body=b"BZ", size=2 * 2_000_000 + 1),
    ),
    "AES without encryption": ("method", lambda lab: good(lab, method=99)),
    "ppmd": ("method", lambda lab: good(lab, method=98)),
    "method 65535": ("method", lambda lab: good(lab, method=65535)),
    "local magic": ("lfh_magic", lambda lab: good(lab, local={"magic": b"PK\3\5"})),
    "local name": ("lfh_name", lambda lab: good(lab, local={"name": b"y.npy"})),
    "local name longer": ("lfh_name", lambda lab: good(lab, local={"name": b"x.npyy"})),
    "local name shorter": ("lfh_name", lambda lab: good(lab, local={"name": b"x.np"}, behind=b"0")),
    "local name length": ("lfh_name", lambda lab: good(lab, local={"name_length": 65535})),
    "local method": ("lfh_method", lambda lab: good(lab, local={"method": 0})),
    "local encrypted": ("lfh_flags", lambda lab: good(lab, local={"flags": 1})),
    "local size": ("lfh_sizes", lambda lab: good(lab, local={"size": 7})),
    "local compressed size": ("lfh_sizes", lambda lab: good(lab, local={"compressed_size": 7})),
    "local crc": ("lfh_sizes", lambda lab: good(lab, local={"crc": 7})),
    "central crc": ("lfh_sizes", lambda lab: good(lab, central={"crc": 7})),
    "central size": ("lfh_sizes", lambda lab: good(lab, central={"size": 727})),
    "local zip64 values": (
        "lfh_sizes",
        lambda lab: good(
            lab,
            local={"size": U32, "compressed_size": U32, "extra": lab.zip64_extra(1, 1)},
        ),
    ),
    "local zip64 missing": ("zip64_extra_missing", lambda lab: good(lab, local={"size": U32})),
    "local zip64 short": (
        "zip64_extra_short",
        lambda lab: good(
            lab, local={"size": U32, "compressed_size": U32, "extra": lab.zip64_extra(728)}
        ),
    ),
    "central zip64 twice": (
        "zip64_extra_duplicate",
        lambda lab: good(lab, central={"extra": lab.zip64_extra(728) * 2}),
    ),
    "local extra overruns": (
        "extra_overrun",
        lambda lab: good(lab, local={"extra": struct.pack("<HH", 7, 5) + b"1234"}),
    ),
    "local extra reaches into the next": (
        "overlap",
        lambda lab: good(lab, local={"extra_length": 65535}),
    ),
    "data reach into the next": ("overlap", lambda lab: good(lab, compressed_size=4000)),
    "offset behind the next": ("overlap", lambda lab: good(lab, central={"offset": 0xFFFFFF00})),
    "offset far": (
        "overlap",
        lambda lab: central_zip64(lab, good(lab), offset=(1 << 63) + 5),
    ),
    "compressed size far": (
        "overlap",
        lambda lab: central_zip64(lab, good(lab), compressed_size=(1 << 64) - 1),
    ),
    "size far": (
        "impossible_size",
        lambda lab: central_zip64(lab, good(lab), size=(1 << 64) - 1),
    ),
    "stored sizes": (
        "stored_size",
        lambda lab: good(lab, method=0, compressed_size=700),
    ),
    "stored, larger": ("stored_size", lambda lab: good(lab, method=0, size=1 << 30)),
    "impossible": (
        "impossible_size",
        lambda lab: good(lab, body=b"\3\0", size=2 * 1032 + 1, crc=1),
    ),
    "gigabyte": ("impossible_size", lambda lab: good(lab, body=flat(128), size=1 << 30)),
    "nothing compressed": ("impossible_size", lambda lab: good(lab, body=b"", size=1)),
    "one byte more": ("too_long", lambda lab: good(lab, size=len(lab.npy(ARRAY)) - 1)),
    "much more": ("too_long", lambda lab: good(lab, data=flat(5000), size=7, crc=9)),
    "claims nothing": ("too_long", lambda lab: good(lab, size=0, crc=9)),
    "one byte less": (
        "too_short_stream",
        lambda lab: good(lab, size=len(lab.npy(ARRAY)) + 1),
    ),
    "empty stream": ("too_short_stream", lambda lab: good(lab, body=b"\3\0", size=9, crc=1)),
    "cut stream": (
        "truncated_stream",
        lambda lab: good(lab, body=lab.deflate(lab.npy(ARRAY))[:-9]),
    ),
    "cut by one byte": (
        "truncated_stream",
        lambda lab: good(lab, body=lab.deflate(lab.npy(ARRAY))[:-1]),
    ),
    "cut stored block": (
        "truncated_stream",
        lambda lab: good(lab, body=lab.deflate(lab.npy(ARRAY), 0)[:-9]),
    ),
    "one byte behind": (
        "trailing_data",
        lambda lab: good(lab, body=lab.deflate(lab.npy(ARRAY)) + b"\0"),
    ),
    "stream behind": (
        "trailing_data",
        lambda lab: good(lab, body=lab.deflate(lab.npy(ARRAY)) * 2),
    ),
    "block type 3": ("deflate", lambda lab: good(lab, body=b"\7" * 40)),
    "far distance": ("deflate", lambda lab: good(lab, body=b"\3\2" + bytes(90))),
    "stored block's length": (
        "deflate",
        lambda lab: good(lab, body=b"\1\5\0\5\0hello" + bytes(30)),
    ),
    "crc": ("crc", lambda lab: good(lab, crc=0x12345678)),
    "crc 0": ("crc", lambda lab: good(lab, crc=0)),
    "crc, stored": ("crc", lambda lab: good(lab, crc=1, method=0)),
    "crc 0, stored": ("crc", lambda lab: good(lab, crc=0, method=0)),
    "nul": ("name_nul", lambda lab: good(lab, name=b"x\0y.npy")),
    "utf-8": ("name_utf8", lambda lab: good(lab, name=b"x\xff.npy", flags=0x800)),
    "utf-8 surrogate": ("name_utf8", lambda lab: good(lab, name=b"\xed\xa0\x80", flags=0x800)),
    "utf-8 overlong": ("name_utf8", lambda lab: good(lab, name=b"\xc0\xaf", flags=0x800)),
    "utf-8 cut": ("name_utf8", lambda lab: good(lab, name=b"\xe2\x82", flags=0x800)),
    "utf-8 too high": ("name_utf8", lambda lab: good(lab, name=b"\xf4\x90\x80\x80", flags=0x800)),
    "directory with data": ("directory_with_data", lambda lab: good(lab, name=b"x/")),
    "descriptor": ("descriptor", lambda lab: good(lab, descriptor=bytes(12))),
    "descriptor cut": ("descriptor", lambda lab: good(lab, descriptor=b"")),
    "descriptor's crc": (
        "descriptor",
        lambda lab: good(lab, descriptor=struct.pack("<4sIII", b"PK\7\x08", 1, 2, 3)),
    ),
    "descriptor, stored": (
        "descriptor",
        lambda lab: good(lab, descriptor=bytes(16), method=0),
    ),
}


def check_error(exc, code, name, path):
    assert exc.code == code
    assert type(exc) is (errors.TABLE | errors.OTHERS)[code][0]
    assert exc.member == name
    assert exc.path == path
    assert isinstance(exc.offset, int)
    assert path in str(exc)
    assert name in str(exc)
    assert f"[{code}" in str(exc)


@pytest.mark.parametrize("case", LIES)
def test_lies(lab, read, engine, case):
    code, make = LIES[case]
    reader = read(around(lab, make(lab)).build())
    for _ in range(2):
        with pytest.raises(MEMBER_ERRORS) as info:
            reader.data(1)
        check_error(info.value, code, reader.index.name(1), reader.index.where)
    with pytest.raises(MEMBER_ERRORS) as info:
        reader.member(1)
    assert info.value.code == code
    assert reader.data(0) == reader.data(2) == lab.npy(ARRAY)
    copy = pickle.loads(pickle.dumps(info.value))
    assert type(copy) is type(info.value)
    assert (copy.code, copy.member, copy.path) == (code, reader.index.name(1), info.value.path)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", LIES)
def test_lies_in_a_batch(lab, save, case, threads):
    code, make = LIES[case]
    path = save(around(lab, make(lab)).build())
    with fastzip.load(path) as npz:
        for keys in ([0, 1, 2], [2, 1, 0], [1], [1, 0, 2]):
            with pytest.raises((*MEMBER_ERRORS, ValueError)) as info:
                npz.fetch(keys, threads=threads)
            exc = info.value
            # A member of another size than its array's can't be a row: that may be found first.
            assert exc.code in (code, "unlike", "npy_data", "no_array")
            if exc.code == code:
                check_error(exc, code, npz._reader.index.name(1), str(path))
            assert exc.member == npz._reader.index.name(1)
            assert exc.failed == [(npz.files[1], exc.code)]
        assert np.array_equal(npz.fetch([2, 0], threads=threads), np.stack([ARRAY, ARRAY]))


def test_every_member_code_is_provoked():
    codes = _core.STATUS_CODES
    member = set(codes[codes.index("name_nul") : codes.index("directory_with_data") + 1])
    assert member <= {code for code, _ in LIES.values()}


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("layout", ["32", "64", "sig32", "sig64"])
@pytest.mark.parametrize("n", [0, 10, 5000])
def test_descriptors(lab, read, layout, method, n):
    data = np.random.default_rng(1).bytes(n)
    member = lab.Member(b"x", data, method=method, descriptor=layout)
    reader = read(around(lab, member).build())
    assert [len(reader.data(i)) for i in range(3)] == [728, n, 728]
    assert reader.data(1) == data
    last = lab.Archive([member])
    assert read(last.build()).data(0) == data


@pytest.mark.parametrize("method", [0, 8])
def test_descriptor_whose_crc_looks_like_the_signature(lab, read, method):
    """Without a signature of its own it is still understood."""
    data = bytearray(b"????" + bytes(200))
    target = 0x08074B50
    # CRC-32 is linear: solve for the first four bytes.
    basis = {}
    base = zlib.crc32(bytes(4) + bytes(data[4:]))
    for bit in range(32):
        word = (1 << bit).to_bytes(4, "little")
        vector, mask = zlib.crc32(word + bytes(data[4:])) ^ base, 1 << bit
        while vector:
            top = vector.bit_length() - 1
            if top not in basis:
                basis[top] = vector, mask
                break
            vector, mask = vector ^ basis[top][0], mask ^ basis[top][1]
    want, solution = target ^ base, 0
    while want:
        vector, mask = basis[want.bit_length() - 1]
        want, solution = want ^ vector, solution ^ mask
    data[:4] = solution.to_bytes(4, "little")
    assert zlib.crc32(data) == target
    for layout in ("32", "64", "sig32", "sig64"):
        member = lab.Member(b"x", bytes(data), method=method, descriptor=layout)
        assert read(lab.Archive([member]).build()).data(0) == bytes(data)


@pytest.mark.parametrize("extra", [0, 1, 3, 4, 19, 20, 21, 24, 100, 500, 4096, 5000, 65535])
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("n", [10, 5000, 100_000])
def test_local_extra_fields(lab, read, method, extra, n):
    """zipalign pads stored members with extra fields, of zeros or of proper form."""
    data = np.random.default_rng(n).integers(0, 4, n, np.uint8).tobytes()
    padding = bytes(extra) if extra < 4 else struct.pack("<HH", 0xD935, extra - 4)
    padding = padding.ljust(extra, b"\0")
    members = [
        lab.Member(b"a", data, method=method, local={"extra": padding}),
        lab.Member(b"b", data, method=method),
        lab.Member(b"c", data, method=method, local={"extra": padding[:4] and padding}),
        lab.Member(b"d", data, method=method, descriptor="sig32", local={"extra": padding}),
    ]
    reader = read(lab.Archive(members).build())
    for position in (0, 3, 1, 2, 1, 3):
        assert reader.data(position) == data
    reader = read(lab.Archive(members).build())
    assert _core.read_front(reader.source, reader.directory, 3, 8) == data[:8]
    assert _core.read_front(reader.source, reader.directory, 1, 8) == data[:8]


def test_zip64_local_extra_as_numpy_writes_it(lab, read):
    for method in (0, 8):
        data = lab.npy(ARRAY)
        body = lab.deflate(data) if method == 8 else data
        sizes = {"size": U32, "compressed_size": U32}
        sizes["extra"] = lab.zip64_extra(len(data), len(body))
        members = [lab.Member(b"x", data, method=method, local=sizes)]
        members.append(lab.Member(b"y", data, method=method, local=sizes, central=sizes))
        reader = read(lab.Archive(members).build())
        assert reader.data(0) == reader.data(1) == data


def test_padded_zip64_extras(lab, read):
    data = b"content"
    extra = lab.zip64_extra(len(data), len(lab.deflate(data)), 99, 99) + b"\0\0"
    sizes = {"size": U32, "compressed_size": U32, "extra": extra}
    spare = {"extra": lab.zip64_extra(0, 0)}
    members = [
        lab.Member(b"x", data, local=sizes, central=sizes),
        lab.Member(b"y", data, local=spare, central=spare),
    ]
    reader = read(lab.Archive(members).build())
    assert reader.data(0) == reader.data(1) == data


@pytest.mark.parametrize(
    "body",
    [b"", b"\3\0", b"\1\0\0\xff\xff"],
    ids=["nothing", "fixed block", "stored block"],
)
@pytest.mark.parametrize("name", [b"e", b"e/"])
def test_empty_members(lab, read, body, name):
    """Java's writers give empty directories a deflate stream of 2 bytes, or only claim one."""
    members = [
        lab.Member(name, method=8, body=body),
        lab.Member(b"1" + name, method=8, body=body, descriptor="sig32"),
        lab.Member(b"2" + name, method=0, body=b""),
        lab.Member(b"3" + name, method=8, body=b"", compressed_size=2),
        lab.Member(b"f", b"full"),
    ]
    reader = read(lab.Archive(members).build())
    assert [reader.data(i) for i in range(5)] == [b"", b"", b"", b"", b"full"]


def test_members_share_bytes(lab, read):
    """Of members that overlap, the inner one keeps its bytes; a bomb of overlaps is refused."""
    kernel = lab.Member(b"k", flat(1000))
    archive = lab.Archive([kernel, lab.Member(b"z", b"end")])
    data = archive.build()
    start = data.index(b"PK\1\2")
    records = b"".join(
        lab.Member(b"k", flat(1000)).central_bytes(0) for _ in range(50)
    ) + archive.members[1].central_bytes(data.index(b"z") - 30)
    end = struct.pack("<4H2IH", 0, 0, 51, 51, len(records), start, 0)
    reader = read(data[:start] + records + b"PK\5\6" + end)
    for i in range(49):
        with pytest.raises(fastzip.BadZipFile) as info:
            reader.data(i)
        assert info.value.code == "overlap"
    assert reader.data(50) == b"end"


def test_gap_between_members(lab, read):
    """Bytes that belong to nobody, as deleted members leave them, harm nothing."""
    members = [lab.Member(b"a", b"one", behind=bytes(9000)), lab.Member(b"b", b"two")]
    reader = read(lab.Archive(members, order=[1, 0]).build())
    assert reader.data(0) == b"two"
    assert reader.data(1) == b"one"


def test_highest_ratio_is_possible(lab, read):
    data = flat(30 << 20)
    body = lab.deflate(data, 9)
    assert len(data) / len(body) > 1020
    assert read(lab.Archive([lab.Member(b"x", data, body=body)]).build()).data(0) == data


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("n", [100, 100_000])
def test_file_cut_short_after_open(lab, save, method, n):
    array = np.random.default_rng(0).integers(0, 255, n, np.uint8)
    content = lab.npy(array)
    path = save(
        lab.Archive([lab.Member(b"%d.npy" % i, content, method=method) for i in range(4)]).build()
    )
    with fastzip.load(path) as npz:
        os.truncate(path, path.stat().st_size // 2 - 100)
        assert np.array_equal(npz["0"], array)
        with pytest.raises(fastzip.TruncatedError) as info:
            npz["3"]
        assert info.value.code == "short_read"
        for threads in (1, 4):
            with pytest.raises(fastzip.TruncatedError) as info:
                npz.fetch([0, 3, 2], threads=threads)
            assert info.value.code == "short_read"
            assert info.value.member == "3.npy"
            assert info.value.failed == [("3", "short_read"), ("2", "short_read")]
            assert np.array_equal(npz.fetch([0, 0], threads=threads), np.stack([array, array]))


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("n", [100, 100_000])
def test_failing_descriptor(lab, save, method, n):
    """Errors of the descriptor are OSErrors with an errno and the path."""
    content = lab.npy(np.random.default_rng(0).integers(0, 255, n, np.uint8))
    path = save(lab.Archive([lab.Member(b"x.npy", content, method=method)]).build())
    with fastzip.load(path) as npz:
        fd = npz._opened.source.fileno()
        saved = os.dup(fd)
        try:
            write_only = os.open(path, os.O_WRONLY)
            os.dup2(write_only, fd)
            os.close(write_only)
            for act in (lambda: npz["x"], lambda: npz.fetch([0, 0]), lambda: npz.spec("x")):
                with pytest.raises(OSError, match="while reading") as info:
                    act()
                assert info.value.errno == 9
                assert info.value.code == "EBADF"
                assert info.value.filename == str(path)
                assert info.value.member == "x.npy"
        finally:
            os.dup2(saved, fd, inheritable=False)
            os.close(saved)
        assert npz["x"].size == n


def test_no_verify_skips_only_the_crc(lab, save):
    archive = around(lab, good(lab, crc=5))
    with fastzip.load(save(archive.build()), verify=False) as npz:
        assert np.array_equal(npz["x"], ARRAY)
        assert np.array_equal(npz.fetch(["a", "x"]), np.stack([ARRAY, ARRAY]))
    archive = around(lab, good(lab, size=727))
    with (
        fastzip.load(save(archive.build()), verify=False) as npz,
        pytest.raises(fastzip.BadZipFile, match="too_long"),
    ):
        npz["x"]


DOCUMENTED = (zipfile.BadZipFile, NotImplementedError, ValueError, KeyError, EOFError)


def small_archive(lab, descriptor):
    a, b = np.arange(6, dtype="u1"), np.arange(6, 12, dtype="u1")
    members = [
        lab.Member(b"a.npy", lab.npy(a), descriptor=descriptor),
        lab.Member(b"b.npy", lab.npy(b), method=0),
    ]
    return lab.Archive(members, comment=b"c").build(), a, b


@pytest.mark.parametrize("descriptor", [None, "sig32"])
@pytest.mark.parametrize("change", ["low bit", "high bit", "zero", "ones"])
def test_every_byte_changed(lab, change, descriptor):
    """Each byte of an archive, changed: the right arrays, or an exception of a documented class."""
    alter = {"low bit": lambda x: x ^ 1, "high bit": lambda x: x ^ 0x80}
    alter |= {"zero": lambda x: 0, "ones": lambda x: 255}
    data, a, b = small_archive(lab, descriptor)
    both = np.stack([a, b])
    right = wrong = 0
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] = alter[change](bad[at])
        try:
            npz = fastzip.load(bytes(bad))
        except DOCUMENTED:
            wrong += 1
            continue
        assert isinstance(npz, fastzip.NpzFile)
        assert len(npz) == 2
        for key, array in zip(npz.files, (a, b), strict=True):
            try:
                got = npz[key]
            except DOCUMENTED:
                wrong += 1
            else:
                assert np.array_equal(got, array), at
                right += 1
        for threads in (1, 4):
            try:
                got = npz.fetch([0, 1], threads=threads)
            except DOCUMENTED:
                wrong += 1
            else:
                assert np.array_equal(got, both), at
                right += 1
        npz.close()
    assert right > 100
    assert wrong > 100


@pytest.mark.parametrize("descriptor", [None, "sig32"])
def test_every_cut(lab, descriptor):
    data, _, _ = small_archive(lab, descriptor)
    for n in range(len(data)):
        with pytest.raises(DOCUMENTED):
            fastzip.load(io.BytesIO(data[:n]))["a"]


@pytest.mark.parametrize("n", [100, 5000])
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("length", [1, 24, 5000, 65535])
def test_an_extra_field_that_reaches_into_the_data(lab, read, n, method, length):
    """What stands there is never taken for an extra field, and all ways to read say so alike."""
    fields = b"\7\0\1\0\0" * n
    lying = lab.Member(b"a", fields, method, body=None, local={"extra_length": length})
    reader = read(lab.Archive([lying, lab.Member(b"b", b"fine")]).build())
    for call in (
        lambda: reader.data(0),
        lambda: reader.header(0),
        lambda: reader.data_offset(0),
    ):
        with pytest.raises(fastzip.BadZipFile) as info:
            call()
        assert info.value.code == "overlap"
    assert reader.data(1) == b"fine"
