"""Other compression methods than stored and deflate, and encryption: every method, plain and with
every cipher, as bytes, as arrays and in batches; lies, damage, bombs; passwords; missing packages.
"""

from __future__ import annotations

import base64
import bz2
import hashlib
import hmac
import io
import lzma
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip
from fastzip import _core, errors
from fastzip._npy.arrays import ArrayReader
from fastzip._zip import methods as _methods

inflate64 = pytest.importorskip("inflate64")
ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
zstd = pytest.importorskip(ZSTD)

PWD = b"secret"
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, XZ = 0, 8, 9, 12, 14, 95
COMPRESSED = (DEFLATE64, BZIP2, LZMA, 20, 93, XZ)
METHODS = (STORED, DEFLATED, *COMPRESSED)
CIPHERS = (None, "zip", "zip, streamed", *((s, v) for s in (1, 2, 3) for v in (1, 2)))
FOREIGN = [(m, c) for m in METHODS for c in CIPHERS if c or m in COMPRESSED]
REFUSALS = (
    fastzip.BadZipFile,
    fastzip.UnsupportedError,
    fastzip.PasswordError,
    fastzip.LimitError,
)
ARRAY = np.arange(300, dtype="<i4").reshape(3, 100) ** 2 % 1009

# 7-Zip's, taken out of a .7z: zipfile's encoder always ends its stream with a marker.
UNMARKED = b"a stream without a marker at its end; " * 8
UNMARKED_BODY = base64.b85decode(
    b"2^0kYT>uaO001zE3TK25bw-3Go7c0u`}EdBtIuoIh!+L4kBHf$tlW1{c;J$j*{jRq000"
)


# ---- writing them ----------------------------------------------------------------------------


def compress(data: bytes, method: int) -> bytes:
    if method == DEFLATED:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()
    if method == DEFLATE64:
        packer = inflate64.Deflater()
        return packer.deflate(data) + packer.flush()
    if method == BZIP2:
        return bz2.compress(data)
    if method == LZMA:
        packer = zipfile.LZMACompressor()
        return packer.compress(data) + packer.flush()
    if method == XZ:
        return lzma.compress(data)
    return data if method == STORED else zstd.compress(data)


def zip_encrypt(data: bytes, pwd: bytes, check: int) -> bytes:
    """APPNOTE 6.1, one byte at a time."""
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0xEDB88320 if i & 1 else 0)
        table.append(i)
    a, b, c = 0x12345678, 0x23456789, 0x34567890

    def stir(byte: int) -> None:
        nonlocal a, b, c
        a = a >> 8 ^ table[(a ^ byte) & 255]
        b = ((b + (a & 255)) * 134775813 + 1) & 0xFFFFFFFF
        c = c >> 8 ^ table[(c ^ b >> 24) & 255]

    for byte in pwd:
        stir(byte)
    out = bytearray()
    for byte in b"eleven byte" + bytes([check]) + data:
        mix = c & 0xFFFF | 2
        out.append(byte ^ (mix * (mix ^ 1) >> 8 & 255))
        stir(byte)
    return bytes(out)


def aes_encrypt(data: bytes, pwd: bytes, strength: int) -> bytes:
    """WinZip's scheme, by the library's own mode of counting, a block at a time."""
    n = 8 + 8 * strength
    salt = bytes(range(n // 2))
    key = hashlib.pbkdf2_hmac("sha1", pwd, salt, 1000, 2 * n + 2)
    cipher = ciphers.Cipher(ciphers.algorithms.AES(key[:n]), ciphers.modes.ECB()).encryptor()
    out = bytearray()
    for i in range(0, len(data), 16):
        stream = cipher.update((i // 16 + 1).to_bytes(16, "little"))
        out += bytes(x ^ y for x, y in zip(data[i : i + 16], stream, strict=False))
    mac = hmac.new(key[n : 2 * n], bytes(out), "sha1").digest()[:10]
    return salt + key[2 * n :] + bytes(out) + mac


def aes_extra(strength: int, version: int, method: int) -> bytes:
    return struct.pack("<HHH2sBH", 0x9901, 7, version, b"AE", strength, method)


def build(
    lab: Any,
    data: bytes,
    method: int,
    cipher: Any = None,
    name: bytes = b"x.npy",
    body: bytes | None = None,
    pwd: bytes = PWD,
    **options: Any,
) -> Any:
    """A member; `body` are the bytes before encryption."""
    body = compress(data, method) if body is None else body
    flags = options.pop("flags", 2 if method == LZMA else 0)
    crc = options.pop("crc", zlib.crc32(data))
    if cipher is None:
        return lab.Member(name, data, method, flags, body, crc=crc, **options)
    if cipher == "zip":
        body = zip_encrypt(body, pwd, crc >> 24)
        return lab.Member(name, data, method, flags | 1, body, crc=crc, **options)
    if cipher == "zip, streamed":  # the check byte is of the time, 0x6C20 there
        body = zip_encrypt(body, pwd, 0x6C)
        options.setdefault("descriptor", "sig32")
        return lab.Member(name, data, method, flags | 1, body, crc=crc, **options)
    strength, version = cipher
    extra = aes_extra(strength, version, method)
    for fields in ("local", "central"):
        options[fields] = {"extra": extra} | options.get(fields, {})
    return lab.Member(
        name,
        data,
        99,
        flags | 1,
        aes_encrypt(body, pwd, strength),
        crc=0 if version == 2 else crc,
        **options,
    )


def one(lab: Any, member: Any, pwd: bytes | None = PWD, **options: Any) -> Any:
    """An archive of it and a good one."""
    good = lab.Member(b"good.npy", lab.npy(ARRAY))
    return fastzip.load(lab.Archive([member, good]).build(), pwd=pwd, **options)


def code_of(call: Any) -> str:
    with pytest.raises(REFUSALS) as info:
        call()
    exc: Any = info.value
    assert exc.code in str(exc)
    assert type(exc) is (errors.TABLE | errors.OTHERS)[exc.code][0]
    assert exc.member is not None
    assert exc.offset == 0
    copy = pickle.loads(pickle.dumps(exc))
    assert (type(copy), copy.code, copy.member) == (type(exc), exc.code, exc.member)
    return str(exc.code)


def refused(lab: Any, member: Any, **options: Any) -> str:
    """Its code, in every way of reading; the neighbour is readable all the same."""
    npz = one(lab, member, **options)
    code = code_of(lambda: npz["x"])
    assert code_of(lambda: npz._reader.data(0)) == code
    out = np.full((2, *ARRAY.shape), 7, "<i4")
    with pytest.raises((*REFUSALS, ValueError)) as info:
        npz.fetch(["good", "x"], out=out)
    assert info.value.code == code
    assert info.value.failed == [("x", code)]
    assert (out[0] == ARRAY).all()
    assert (npz["good"] == ARRAY).all()
    return code


# ---- what is read ----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "cipher"), FOREIGN)
@pytest.mark.parametrize("strict", [False, True])
def test_read(lab, made, method, cipher, strict):
    data = lab.npy(ARRAY)
    texts = [b"", b"t", bytes(range(256)) * 5, os.urandom(70_000), bytes(3 << 20)]
    slow = cipher is not None  # the tests' own encryption is
    members = [build(lab, data, method, cipher)] + [
        build(lab, text, method, cipher, b"t%d" % i)
        for i, text in enumerate(texts[: 3 if slow else 5])
    ]
    npz = made(lab.Archive(members).build(), strict=strict, pwd=PWD)
    assert npz.spec("x") == fastzip.ArraySpec(np.dtype("<i4"), ARRAY.shape, False)
    array = npz["x"]
    assert lab.same(array, ARRAY)
    assert array.flags.writeable
    assert (
        array.ctypes.data % 64 == 0 or npz["x"].ctypes.data % 64 == 0
    )  # the second guess is right
    assert npz._reader.data(0) == data
    for i in range(len(members) - 1):
        assert npz[f"t{i}"] == texts[i]
    assert lab.same(npz.fetch([0, 0, 0], threads=2), np.stack([ARRAY] * 3))


@pytest.mark.parametrize("method", [BZIP2, LZMA])
def test_as_zipfile(made, method):
    """What the standard library writes, beside what it reads of it."""
    file = io.BytesIO()
    texts = [b"", b"a", os.urandom(5000), b"text " * 50_000]
    with zipfile.ZipFile(file, "w", method) as archive:
        for i, text in enumerate(texts):
            archive.writestr(f"{i}", text)
        with archive.open("streamed", "w", force_zip64=True) as stream:
            stream.write(b"streamed" * 999)
    npz = made(file.getvalue())
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            assert npz[name] == archive.read(name), name


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", [STORED, DEFLATED, BZIP2, LZMA])
def test_zipfile_decrypts_the_same(lab, made, method, streamed):
    text = b"what both can read " * 99
    member = build(lab, text, method, "zip, streamed" if streamed else "zip", b"x")
    data = lab.Archive([member]).build()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.setpassword(PWD)
        assert archive.read("x") == text
    npz = made(data, pwd=PWD)
    assert npz["x"] == text
    assert npz.zip.read("x") == text  # the standard library's view has the password, too


def test_pyzipper_writes_what_is_read(made, faultlab):
    if faultlab.SANITIZED:
        pytest.skip("pycryptodomex opens its libraries with RTLD_DEEPBIND, which ASan forbids")
    pyzipper = pytest.importorskip("pyzipper")
    file = io.BytesIO()
    with pyzipper.AESZipFile(file, "w", pyzipper.ZIP_LZMA) as archive:
        archive.setpassword(PWD)
        for bits in (128, 192, 256):
            archive.setencryption(pyzipper.WZ_AES, nbits=bits)
            archive.writestr(f"{bits}", b"%d" % bits * 999)
    npz = made(file.getvalue(), pwd=PWD)
    assert {key: npz[key] for key in npz} == {str(n): b"%d" % n * 999 for n in (128, 192, 256)}


def test_lzma_without_a_marker(lab):
    def member(**options: Any) -> Any:
        options.setdefault("body", UNMARKED_BODY)
        return build(lab, UNMARKED, LZMA, name=b"x", **{"flags": 0} | options)

    assert one(lab, member())["x"] == UNMARKED
    assert code_of(lambda: one(lab, member(flags=2))["x"]) == "truncated_stream"
    for n in range(len(UNMARKED_BODY) - 1):
        npz = one(lab, member(body=UNMARKED_BODY[:n]))
        assert code_of(lambda npz=npz: npz["x"]) in ("truncated_stream", "impossible_size")
    for size in (len(UNMARKED) - 1, len(UNMARKED) + 1):
        npz = one(lab, member(size=size))
        assert code_of(lambda npz=npz: npz["x"]) in ("stream", "trailing_data", "truncated_stream")
    npz = one(lab, member(body=UNMARKED_BODY + b"."))
    assert code_of(lambda: npz["x"]) == "trailing_data"


def test_streams_in_which_pieces_end_anywhere(lab, monkeypatch):
    """Header, stream and decoded bytes are cut at every place."""
    text = bytes(range(256)) * 9
    archive = lab.Archive(
        [build(lab, text, m, c, b"%d" % i) for i, (m, c) in enumerate(FOREIGN)]
    ).build()
    reader = ArrayReader(fastzip._zip.sources.open_memory(archive), pwd=PWD)
    for piece in (1, 7, 16, 100, 2303, 2304, 2305):
        for i in range(len(FOREIGN)):
            pieces = list(reader.pieces(i, piece=piece))
            assert b"".join(pieces) == text
            assert FOREIGN[i][0] == DEFLATE64 or max(map(len, pieces)) <= piece
    monkeypatch.setattr(_methods, "_WHOLE", 10)  # AES: authenticated first, then read again
    for i, (_, cipher) in enumerate(FOREIGN):
        assert reader.data(i) == text, cipher


def test_deflate_that_goes_on_after_its_last_byte(lab):
    """A match is cut at the end of a piece, and the bits of the end marker have been read."""
    for k in range(1, 9):
        text = bytes(1 + 258 * k)
        body = lab.deflate(text, strategy=zlib.Z_FIXED)
        member = build(lab, text, DEFLATED, "zip", b"x", body)
        reader = one(lab, member)
        assert b"".join(reader._reader.pieces(0, piece=100)) == text, k


def test_arrays_of_every_kind(lab, made):
    arrays = {
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big": np.arange(5, dtype=">u2"),
        "zero": np.float32(3),
        "nothing": np.empty((0, 4)),
        "fields": np.zeros(3, [("a", "<i4"), ("b", "S3")]),
    }
    members = [
        build(lab, lab.npy(array), (93, BZIP2, XZ)[i % 3], name=f"{name}.npy".encode())
        for i, (name, array) in enumerate(arrays.items())
    ]
    npz = made(lab.Archive(members).build())
    for name, array in arrays.items():
        assert lab.same(npz[name], np.asarray(array)), name
        assert npz[name].flags.f_contiguous == np.asarray(array).flags.f_contiguous
        rows = npz.fetch([name, name])
        assert rows.dtype == np.asarray(array).dtype.newbyteorder("=")
        assert np.array_equal(rows[1, ...], array)


def test_object_arrays(lab, made):
    data = build(lab, lab.npy(np.array([{"a": 1}, None])), 93)
    archive = lab.Archive([data]).build()
    with pytest.raises(ValueError, match="allow_pickle") as info:
        made(archive)["x"]
    assert info.value.code == "pickle"
    assert made(archive, allow_pickle=True)["x"][0] == {"a": 1}
    with pytest.raises(ValueError) as info:
        made(archive).fetch(["x", "x"])
    assert info.value.code == "object_dtype"


def test_nested(lab, made):
    inner = lab.Archive([build(lab, lab.npy(ARRAY), 93, "zip")]).build()
    for method, cipher in ((STORED, None), (STORED, "zip"), (XZ, None), (BZIP2, (3, 2))):
        outer = lab.Archive([build(lab, inner, method, cipher, b"in.zip")]).build()
        npz = made(outer, pwd=PWD)
        nested = npz.nested("in.zip")
        assert lab.same(nested["x"], ARRAY)
        assert lab.same(pickle.loads(pickle.dumps(nested))["x"], ARRAY)
        nested.close()
        if method or cipher:
            with pytest.raises(fastzip.LimitError) as info:
                npz.nested("in.zip", max_size=len(inner) - 1)
            assert info.value.code == "max_member_size"


def test_mapped(lab, made):
    members = [build(lab, lab.npy(ARRAY), m, c, b"%d" % i) for i, (m, c) in enumerate(FOREIGN)]
    members.append(lab.Member(b"s", lab.npy(ARRAY), 0))
    npz = made(lab.Archive(members).build(), mmap_mode="r", pwd=PWD)
    assert lab.same(np.asarray(npz["s"]), ARRAY)
    for i in range(len(FOREIGN)):
        with pytest.raises(ValueError, match=r"can't be mapped.*without mmap_mode") as info:
            npz[str(i)]
        assert info.value.code == "mmap_deflated"


# ---- batches ---------------------------------------------------------------------------------


def mixture(lab: Any, n: int, size: int = 300) -> tuple[bytes, Any]:
    """An archive in which members of all kinds take turns."""
    kinds = [(STORED, None), (DEFLATED, None), *FOREIGN]
    arrays = [np.arange(size, dtype="<i2") + i for i in range(n)]
    members = [
        build(lab, lab.npy(array), *kinds[i * 7 % len(kinds)], f"k{i}.npy".encode())
        for i, array in enumerate(arrays)
    ]
    return lab.Archive(members).build(), np.stack(arrays)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_batches_of_all_kinds(lab, made, threads):
    archive, rows = mixture(lab, 120)
    npz = made(archive, pwd=PWD)
    before = threading.active_count()
    rng = np.random.default_rng(threads)
    for _ in range(3):
        keys = rng.permutation(len(rows))
        out = np.empty((len(rows), 2 * rows.shape[1]), rows.dtype)[:, : rows.shape[1]]
        assert np.array_equal(npz.fetch(keys, out=out, threads=threads), rows[keys])
    assert threading.active_count() == before


def test_threads_are_used(lab, made, monkeypatch):
    """As many as are asked for, where the work is worth it."""
    archive, rows = mixture(lab, 60, 9000)
    npz = made(archive, pwd=PWD)
    names: set[str] = set()
    real = ArrayReader.foreign

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        names.add(threading.current_thread().name)
        time.sleep(0.001)
        return real(self, *args, **options)

    monkeypatch.setattr(ArrayReader, "foreign", watched)
    assert np.array_equal(npz.fetch(slice(None), threads=3), rows)
    assert len(names) == 3
    names.clear()
    assert np.array_equal(npz.fetch(slice(None), threads=1), rows)
    assert names == {threading.current_thread().name}
    names.clear()
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    assert np.array_equal(npz.fetch(slice(None), threads=3), rows)
    assert names == {threading.current_thread().name}


def refuse_to_start(self: Any) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("threads", [1, 4])
def test_failures_of_a_batch(lab, made, threads):
    """All are named, in the order of the keys; the good rows are written."""
    good, other = lab.npy(np.arange(3000)), lab.npy(np.arange(3001))
    kinds = {
        "": lambda name: build(lab, good, 93, name=name),
        "crc": lambda name: build(lab, good, BZIP2, crc=1, name=name),
        "trailing_data": lambda name: build(
            lab, good, XZ, body=compress(good, XZ) + b".", name=name
        ),
        "wrong_password": lambda name: build(lab, good, 93, (1, 1), pwd=b"another", name=name),
        "unlike": lambda name: build(lab, other, LZMA, name=name),
        "no_array": lambda name: build(lab, b"text", 93, name=name),
        "npy_data": lambda name: build(lab, good[:-1], 93, name=name),
        "authentication": lambda name: lab.Member(
            **{
                **vars(build(lab, good, 0, (1, 1), name=name)),
                "body": aes_encrypt(good, PWD, 1)[:-1] + b"?",
            }
        ),
        "method": lambda name: build(lab, good, 98, body=good, name=name),
    }
    codes = [code for i in range(3) for code in (*kinds, "")]
    members = [kinds[code](b"%d.npy" % i) for i, code in enumerate(codes)]
    npz = made(lab.Archive(members).build(), pwd=PWD)
    rng = np.random.default_rng(threads)
    for order in (range(len(codes)), *(rng.permutation(len(codes)) for _ in range(4))):
        keys = [0, *map(int, order)]
        out = np.full((len(keys), 3000), 77)
        with pytest.raises((*REFUSALS, ValueError)) as info:
            npz.fetch(keys, out=out, threads=threads)
        expected = [(str(i), codes[i]) for i in keys if codes[i]]
        assert info.value.failed == expected
        assert (info.value.code, info.value.member) == (expected[0][1], f"{expected[0][0]}.npy")
        for row, i in zip(out, keys, strict=True):
            assert codes[i] or (row == np.arange(3000)).all()


def test_the_first_of_a_batch_is_foreign_and_lies(lab, made, monkeypatch):
    """No memory for a batch on the word of a member that doesn't hold it."""
    header = lab.raw_npy(lab.header_text("<u1", (1 << 30,)).ljust(117) + "\n")
    body = bz2.compress(header + bytes(30 << 20))
    liar = build(lab, header, BZIP2, body=body * 20, size=len(header) + (1 << 30))
    npz = made(lab.Archive([liar]).build())
    allocated: list[int] = []
    real = _core.Block
    monkeypatch.setattr(_core, "Block", lambda *a: allocated.append(a[0]) or real(*a))
    for call in (lambda: npz.fetch([0] * 99), lambda: npz["x"], lambda: npz._reader.data(0)):
        assert code_of(call) == "trailing_data"
    assert max(allocated) <= 64 << 20
    assert npz.spec("x").shape == (1 << 30,)


def test_a_bug_or_a_handler_in_a_thread_is_no_members_failure(lab, made, monkeypatch):
    archive, rows = mixture(lab, 60, 9000)
    npz = made(archive, pwd=PWD)

    def broken(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(ArrayReader, "foreign", broken)
    for threads in (1, 3):
        with pytest.raises(ZeroDivisionError):
            npz.fetch(slice(None), threads=threads)
    monkeypatch.undo()
    assert np.array_equal(npz.fetch(slice(None), threads=3), rows)


@pytest.fixture(scope="module")
def endless(lab):
    """Members of 8 MiB whose decryption takes a while; their CRC, never reached, is wrong."""
    header = lab.raw_npy(lab.header_text("<u1", ((8 << 20) - 128,)).ljust(117) + "\n")
    assert len(header) == 128
    body = zip_encrypt(header, PWD, 0) + bytes((8 << 20) - 128)
    members = [
        lab.Member(b"%d.npy" % i, body=body, method=0, flags=1, size=8 << 20, crc=0x00123456)
        for i in range(20)
    ]
    return lab.Archive(members).build()


@pytest.fixture
def sigint() -> Any:
    """Python's own handler: a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c(endless, threads):
    npz = fastzip.load(endless, pwd=PWD)
    out = np.zeros((20, (8 << 20) - 128), np.uint8)
    assert npz.spec("0").shape == out.shape[1:]
    before = threading.active_count()

    def interrupt() -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        sent.append(time.monotonic())

    sent: list[float] = []
    for call in (
        lambda: npz.fetch(slice(None), out=out, threads=threads),
        lambda: [npz._reader.data(i, PWD) for i in range(20)],
    ):
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises((KeyboardInterrupt, fastzip.CRCError)) as info:
            call()
        late = time.monotonic() - sent[-1] if sent else 0
        thread.join()
        if info.type is KeyboardInterrupt:
            assert late < 5
            assert threading.active_count() == before
            break
    else:
        pytest.fail("it was never interrupted")
    state = out.sum()
    time.sleep(0.05)
    assert out.sum() == state


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_handler_that_forks(lab, made, monkeypatch):
    """The child has none of the threads, and doesn't wait for them."""
    archive, rows = mixture(lab, 60, 9000)
    npz = made(archive, pwd=PWD)
    real = ArrayReader.foreign
    main, child = threading.current_thread(), []
    taken, forked = threading.Event(), threading.Event()

    def foreign(self: Any, *args: Any, **options: Any) -> Any:
        if threading.current_thread() is not main:
            taken.set()
            forked.wait()
        elif not child:
            taken.wait()
            child.append(os.fork())
            forked.set()
        return real(self, *args, **options)

    monkeypatch.setattr(ArrayReader, "foreign", foreign)
    status = 9
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            result = npz.fetch(slice(None), threads=2)
        status = 8
    except RuntimeError as exc:
        status = 0 if exc.code == "interrupted" and len(exc.failed) == 1 else 7
        if child == [0]:
            os._exit(status)
        raise
    finally:
        if child == [0]:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1]) == 0
    assert np.array_equal(result, rows)


# ---- lies and damage -------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "cipher"), FOREIGN)
def test_wrong_sizes_and_sums(lab, method, cipher):
    data = lab.npy(ARRAY)
    n = len(data)
    if method == STORED:
        for size in (n - 1, n + 1):
            assert refused(lab, build(lab, data, method, cipher, size=size)) == "stored_size"
    else:
        too_long = refused(lab, build(lab, data, method, cipher, size=n - 1))
        assert too_long == "too_long"
        assert refused(lab, build(lab, data, method, cipher, size=0)) == "too_long"
        assert refused(lab, build(lab, data, method, cipher, size=n + 1)) == "too_short_stream"
        if not isinstance(cipher, tuple) and method != BZIP2:  # they have no such tight bounds
            large = build(lab, data, method, cipher, size=0xFFFFFFF0)
            assert refused(lab, large) == "impossible_size"
    if isinstance(cipher, tuple) and cipher[1] == 2:
        return  # no CRC is stated
    wrong = {"crc": zlib.crc32(data) ^ 1}
    assert refused(lab, build(lab, data, method, cipher, **wrong)) == "crc"
    npz = one(lab, build(lab, data, method, cipher, **wrong), verify=False)
    assert lab.same(npz["x"], ARRAY)
    assert lab.same(npz.fetch(["x"])[0], ARRAY)


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("cipher", [None, "zip", (2, 2)])
def test_damaged_streams(lab, method, cipher):
    data = lab.npy(ARRAY)
    body = compress(data, method)
    ends = ("trailing_data", "truncated_stream", "too_short_stream")
    for more in (b"\0", b"." * 70, body):
        member = build(lab, data, method, cipher, body=body + more)
        assert refused(lab, member) == "trailing_data"
    for n in {0, 1, 5, 8, 9, 20, len(body) // 2, len(body) - 5, len(body) - 1}:
        code = refused(lab, build(lab, data, method, cipher, body=body[:n]))
        assert code in ("truncated_stream", "impossible_size", "stream"), n
        assert code != "stream" or method == DEFLATE64
    junk = bytes(range(1, 200)) * 5
    code = refused(lab, build(lab, data, method, cipher, body=junk))
    assert code in ("stream", *ends)


@pytest.mark.parametrize("method", COMPRESSED)
def test_no_change_gives_other_bytes(lab, method):
    """Whatever is done to a stream, it is refused, or gives what was put in."""
    text = b"some text that compresses, and compresses; " * 20
    body = compress(text, method)
    codes = {"stream", "truncated_stream", "too_short_stream", "trailing_data", "too_long", "crc"}
    codes |= {"window", "impossible_size"}

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(1, 255)), max_size=4),
        st.integers(0, 9),
        st.binary(max_size=3),
    )
    def check(changes, cut, more):
        changed = bytearray(body)
        for at, change in changes:
            changed[at] ^= change
        member = build(lab, text, method, body=bytes(changed[: len(body) - cut]) + more, name=b"x")
        try:
            found = one(lab, member)["x"]
        except REFUSALS as exc:
            found = exc.code
        assert found == text or found in codes

    check()


@pytest.mark.parametrize("method", [DEFLATED, *COMPRESSED])
def test_bombs(lab, method):
    """A stream of 40 MB that is said to hold 1,000 bytes is left when it has given one too many,
    or what few bytes of input give."""
    body = compress(bytes(40 << 20), method)
    member = build(lab, b"", method, "zip" if method == DEFLATED else None, body=body, size=1000)
    npz = one(lab, member)
    tracemalloc.start()
    try:
        assert code_of(lambda: npz["x"]) == "too_long"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


def test_memory_grows_with_what_is_decoded(lab, monkeypatch):
    size = 100 << 20
    allocated: list[int] = []
    real = _core.Block
    monkeypatch.setattr(_core, "Block", lambda *a: allocated.append(a[0]) or real(*a))
    short = build(lab, b"", BZIP2, body=bz2.compress(bytes(1000)) + b"0" * 99, size=size)
    npz = one(lab, short)
    assert code_of(lambda: npz._reader.data(0)) == "trailing_data"
    assert max(allocated, default=0) <= 16 << 20
    whole = build(lab, b"", 93, body=zstd.compress(bytes(size)), size=size, name=b"x", crc=0)
    npz = one(lab, whole, verify=False)
    assert npz._reader.data(0) == bytes(size)
    assert allocated[-1] == size


def test_out_of_memory(lab, monkeypatch):
    npz = one(lab, build(lab, lab.npy(ARRAY), 93))

    def fail(*args: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(_core, "Block", fail)
        with pytest.raises(MemoryError) as info:
            npz["x"]
    assert (info.value.code, info.value.member) == ("memory", "x.npy")
    assert lab.same(npz["x"], ARRAY)


def history(method: int, size: int) -> bytes:
    """A stream that asks for so many bytes of history."""
    text = b"short text"
    if method == LZMA:
        return b"\x09\x04\x05\0" + struct.pack("<BI", 0x5D, size) + bytes(50)
    if method == XZ:
        body = bytearray(lzma.compress(text))
        assert body[14:16] == b"\x21\1"  # LZMA2, and one byte of properties
        body[16] = 2 * (size.bit_length() - 13)
        body[20:24] = zlib.crc32(body[12:20]).to_bytes(4, "little")  # of the block's header
        return bytes(body)
    log = size.bit_length() - 1
    descriptor = bytes([0, log - 10 << 3])  # no content size; an exponent, RFC 8878 3.1.1.1.2
    return b"\x28\xb5\x2f\xfd" + descriptor + struct.pack("<I", len(text) << 3 | 1)[:3] + text


@pytest.mark.parametrize("method", [93, XZ])
def test_history(lab, method):
    for size, fine in ((64 << 20, True), (128 << 20, True), (256 << 20, False), (1 << 30, False)):
        member = build(lab, b"short text", method, body=history(method, size), name=b"x")
        npz = one(lab, member)
        if fine:
            assert npz["x"] == b"short text"
        else:
            assert code_of(lambda npz=npz: npz["x"]) == "window"


def test_history_beyond_the_member_is_not_needed(lab):
    """lzma states it apart from the stream, so that it can be cut."""
    text = b"short text" * 9
    body = bytearray(compress(text, LZMA))
    body[5:9] = b"\xff\xff\xff\xff"
    assert one(lab, build(lab, text, LZMA, body=bytes(body), name=b"x"))["x"] == text
    size = 200 << 20
    long = build(lab, b"", LZMA, body=history(LZMA, 1 << 30) + bytes(size >> 13), size=size)
    assert code_of(lambda: one(lab, long)["x"]) == "window"


def test_longer_streams_may_ask_for_more(lab, monkeypatch):
    text = os.urandom(1 << 16)
    body = lzma.compress(text, preset=6)  # 8 MiB
    npz = one(lab, build(lab, text, XZ, body=body, name=b"x"))
    monkeypatch.setattr(_methods, "WINDOW", 1 << 20)
    assert code_of(lambda: npz["x"]) == "window"
    monkeypatch.setattr(_methods, "WINDOW_RATIO", 128)
    assert npz["x"] == text


@pytest.mark.parametrize("body", [b"\x09\x04\x06\0" + bytes(60), b"\x09\x04\x05\0\xff" + bytes(60)])
def test_lzma_properties(lab, body):
    assert refused(lab, build(lab, lab.npy(ARRAY), LZMA, body=body)) == "stream"


def test_limits(lab, made):
    data = lab.npy(ARRAY)
    members = [build(lab, data, m, c, b"%d" % i) for i, (m, c) in enumerate(FOREIGN)]
    archive = lab.Archive([*members, lab.Member(b"p", data, 98)]).build()
    npz = made(archive, max_member_size=len(data) - 1, pwd=PWD)
    for i in range(len(FOREIGN)):
        with pytest.raises(fastzip.LimitError) as info:
            npz[str(i)]
        assert info.value.code == "max_member_size"
    total = len(FOREIGN) * len(data)  # without the member that can't be read
    assert len(made(archive, max_total_size=total)) == len(FOREIGN) + 1
    with pytest.raises(fastzip.LimitError) as info:
        fastzip.load(archive, max_total_size=total - 1)
    assert info.value.code == "max_total_size"


@pytest.mark.parametrize("method", METHODS)
def test_the_core_knows_the_same_methods(lab, method):
    """And no other ones, whatever the table in _methods says."""
    reader = ArrayReader(fastzip._zip.sources.open_memory(one_of(lab, method)))
    assert isinstance(_core.locate(reader.source, reader.directory, 0), tuple)
    assert method in _methods.METHODS
    assert set(_methods.METHODS) == set(METHODS)
    others = [m for m in range(120) if m not in METHODS]
    for other in others:
        reader = ArrayReader(fastzip._zip.sources.open_memory(one_of(lab, other)))
        status = _core.locate(reader.source, reader.directory, 0)
        assert _core.STATUS_CODES[status] == "method", other


def one_of(lab: Any, method: int) -> bytes:
    archive: bytes = lab.Archive([lab.Member(b"x", b"text", method, 0, b"text")]).build()
    return archive


def test_how_much_a_stream_can_hold(lab):
    """No honest stream is refused for what it holds: these are the densest that there are."""
    zeros = bytes(30 << 20)
    for method in (DEFLATE64, BZIP2, LZMA, 93, XZ):
        body = compress(zeros, method)
        member = build(
            lab, b"", method, body=body, size=len(zeros), crc=zlib.crc32(zeros), name=b"x"
        )
        assert one(lab, member)["x"] == zeros
    blocks = (
        b"\x28\xb5\x2f\xfd\0\x70" + b"\x02\0\x10\0" * 199 + b"\x03\0\x10\0"
    )  # RLE, 128 KiB each
    member = build(lab, bytes(200 << 17), 93, body=blocks, name=b"x")
    assert one(lab, member)["x"] == bytes(200 << 17)


# ---- passwords -------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", CIPHERS[1:])
@pytest.mark.parametrize("method", [STORED, DEFLATED, 93])
def test_passwords(lab, made, cipher, method):
    data = lab.npy(ARRAY)
    assert refused(lab, build(lab, data, method, cipher), pwd=None) == "password"
    assert refused(lab, build(lab, data, method, cipher), pwd=b"") == "password"
    archive = lab.Archive([build(lab, data, method, cipher)]).build()
    for wrong in (b"Secret", b"secret ", b"\0", b"x" * 300):
        npz = made(archive, pwd=wrong)
        code = code_of(lambda npz=npz: npz["x"])
        # One password in 256 passes the traditional check, and fails later.
        assert code == "wrong_password" or (
            cipher in ("zip", "zip, streamed") and code != "password"
        )
        assert npz._reader.data(0, PWD) == data
    reader = made(archive)._reader
    assert code_of(lambda: reader.data(0)) == "password"
    assert reader.data(0, PWD) == data
    for text in ("secret", 5, bytearray(b"secret")):
        with pytest.raises(TypeError, match=r"pwd: expected bytes, got (str|int|bytearray)"):
            fastzip.load(archive, pwd=text)
        with pytest.raises(TypeError, match="pwd: expected bytes"):
            reader.data(0, text)
    assert "secret" not in repr(made(archive, pwd=PWD))


def test_a_password_is_asked_for_as_zipfile_does(lab):
    archive = lab.Archive([build(lab, b"text", 0, "zip", b"x")]).build()
    with zipfile.ZipFile(io.BytesIO(archive)) as theirs:
        for pwd in (None, b"wrong"):
            npz = fastzip.load(archive, pwd=pwd)
            with pytest.raises(RuntimeError, match=r"(?i)password"):
                theirs.read("x", pwd=pwd)
            with pytest.raises(RuntimeError, match=r"(?i)password"):
                npz["x"]


def test_a_wrong_password_that_passes_the_check(lab):
    """The error says that it may be the password."""
    text = b"text " * 99
    archive = lab.Archive([build(lab, text, DEFLATED, "zip", b"x")]).build()
    codes = set()
    for i in range(1500):
        with pytest.raises(REFUSALS, match="password is wrong") as info:
            fastzip.load(archive, pwd=b"%d" % i)["x"]
        codes.add(info.value.code)
    assert "wrong_password" in codes
    assert len(codes) > 1
    assert codes <= {"wrong_password", "deflate", "truncated_stream", "trailing_data", "too_long",
                     "too_short_stream", "crc"}  # fmt: skip


def test_pickling_carries_the_password(lab, save):
    path = save(lab.Archive([build(lab, lab.npy(ARRAY), 93, (3, 2))]).build())
    with fastzip.load(path, pwd=PWD) as npz:
        with pickle.loads(pickle.dumps(npz)) as copy:
            assert lab.same(copy["x"], ARRAY)
        with pytest.raises(fastzip.PasswordError):
            fastzip.load(path)["x"]


def test_no_password_for_what_is_not_encrypted(lab):
    npz = one(lab, build(lab, lab.npy(ARRAY), 93), pwd=b"whatever")
    assert lab.same(npz["x"], ARRAY)
    assert lab.same(npz["good"], ARRAY)


@pytest.mark.parametrize("whole", [True, False])
def test_aes_is_authenticated_before_it_is_used(lab, monkeypatch, whole):
    """Every byte of the member changed: nothing is decoded, not even for the header."""
    data = lab.npy(np.arange(20))
    true = build(lab, data, DEFLATED, (1, 2))
    if not whole:
        monkeypatch.setattr(_methods, "_WHOLE", 0)
    monkeypatch.setattr(_methods, "_decompressed", None)
    for i in range(len(true.body)):
        body = bytearray(true.body)
        body[i] ^= 0x10
        npz = one(lab, lab.Member(**{**vars(true), "body": bytes(body)}))
        expected = "wrong_password" if i < 10 else "authentication"  # the salt, the check
        assert code_of(lambda npz=npz: npz["x"]) == expected
        assert code_of(lambda npz=npz: npz.spec("x")) == expected


def test_aes_that_changes_while_it_is_read(lab, save, monkeypatch):
    monkeypatch.setattr(_methods, "_WHOLE", 0)
    member = build(lab, bytes(5000), STORED, (1, 2), b"x")
    path = save(lab.Archive([member]).build())
    with fastzip.load(path, pwd=PWD) as npz:
        pieces = npz._reader.pieces(0, piece=1000)
        assert next(pieces) == bytes(1000)
        content = bytearray(path.read_bytes())
        content[4000] ^= 1
        path.write_bytes(content)
        with pytest.raises(fastzip.BadZipFile) as info:
            list(pieces)
        assert info.value.code == "authentication"


AES_EXTRAS = {
    "missing": (b"", "aes_extra"),
    "of another kind": (struct.pack("<HH3s", 0x9902, 3, b"..."), "aes_extra"),
    "twice": (aes_extra(1, 2, 8) * 2, "aes_extra"),
    "short": (struct.pack("<HHH2sB", 0x9901, 5, 2, b"AE", 1), "aes_extra"),
    "of another vendor": (aes_extra(1, 2, 8).replace(b"AE", b"XY"), "aes_extra"),
    "version 3": (aes_extra(1, 3, 8), "aes_extra"),
    "strength 0": (aes_extra(0, 2, 8), "aes_extra"),
    "strength 4": (aes_extra(4, 2, 8), "aes_extra"),
    "another strength": (aes_extra(3, 2, 8), "wrong_password"),
    "method 98": (aes_extra(1, 2, 98), "method"),
    "method 99": (aes_extra(1, 2, 99), "method"),
    "stored": (aes_extra(1, 2, 0), "stored_size"),
}


@pytest.mark.parametrize("case", AES_EXTRAS)
def test_aes_extra_fields(lab, case):
    extra, code = AES_EXTRAS[case]
    fields = {"extra": extra}
    member = build(lab, lab.npy(ARRAY), DEFLATED, (1, 2), local=fields, central=fields)
    assert refused(lab, member) == code
    for where in ("local", "central"):  # an archive has one meaning
        member = build(lab, lab.npy(ARRAY), DEFLATED, (1, 2), **{where: fields})
        assert refused(lab, member) == "aes_extra"


def test_aes_members_too_short(lab):
    for n in range(40):
        member = build(lab, b"", STORED, (3, 2))
        member.body, member.name = bytes(n), b"x"
        code = code_of(lambda member=member: one(lab, member)["x"])
        expected = "impossible_size" if n < 20 else "truncated_stream" if n < 28 else None
        assert code == expected or (expected is None and code == "wrong_password"), n


# ---- packages --------------------------------------------------------------------------------

PACKAGES_ALL = {"bz2", "lzma", "inflate64", "cryptography", "backports.zstd", "compression.zstd"}
PACKAGES = {
    DEFLATE64: ("inflate64", "deflate64"),
    93: (ZSTD, "zstd"),
    20: (ZSTD, "zstd"),
    BZIP2: ("bz2", None),
    LZMA: ("lzma", None),
    XZ: ("lzma", None),
}


def requirement(extra):
    """What the project's extra installs, without its marker."""
    from importlib.metadata import requires

    of_extra = re.compile(rf"extra == ['\"]{extra}['\"]$")
    (line,) = filter(of_extra.search, requires("fastzip-reader"))
    return line.partition(";")[0].strip()


@pytest.mark.parametrize("method", PACKAGES)
def test_a_missing_package(lab, monkeypatch, method):
    module, extra = PACKAGES[method]
    if module == "compression.zstd":
        extra = None
    member = build(lab, lab.npy(ARRAY), method)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        assert refused(lab, member) == "package"
        with pytest.raises(NotImplementedError) as info:
            one(lab, member)["x"]
        wanted = "built without" if extra is None else f"pip install '{requirement(extra)}'"
        assert wanted in str(info.value)
    assert lab.same(one(lab, member)["x"], ARRAY)


def test_without_cryptography(lab, monkeypatch):
    member = build(lab, lab.npy(ARRAY), 93, (3, 2))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    assert refused(lab, member, pwd=None) == "password"  # the first thing that lacks
    assert refused(lab, member) == "package"
    with pytest.raises(NotImplementedError, match=f"pip install '{requirement('aes')}'"):
        one(lab, member)["x"]


def test_extras_are_those_of_the_project():
    from importlib.metadata import metadata

    extras = metadata("fastzip-reader").get_all("Provides-Extra")
    assert {"zstd", "deflate64", "aes", "methods"} <= set(extras)


def test_nothing_is_imported_before_it_is_needed():
    """Packages take long to import, and mostly nobody needs them."""

    def loaded(modules: str) -> set[str]:
        code = f"import sys, {modules}; print(*{PACKAGES_ALL} & sys.modules.keys())"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert loaded("fastzip") <= loaded("numpy.lib.npyio, zipfile")


def test_the_cipher(lab):
    """Piece by piece as at once, as zipfile's own."""
    data = os.urandom(500)
    theirs = zipfile._ZipDecrypter(PWD)(data)
    for step in (1, 3, 500):
        keys, out = _core.ZipCrypto(PWD), bytearray()
        for i in range(0, len(data), step):
            piece = bytearray(data[i : i + step])
            keys.decrypt(piece)
            out += piece
        assert out == theirs
    keys = _core.ZipCrypto(b"")
    keys.decrypt(bytearray())
    with pytest.raises((BufferError, TypeError, ValueError)):
        keys.decrypt(b"read-only")


def test_crc_continued():
    data = os.urandom(1000)
    assert _core.crc32(data[300:], _core.crc32(data[:300])) == zlib.crc32(data)
    assert _core.crc32(b"", 5) == 5
