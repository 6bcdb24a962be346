"""What the core doesn't decode: other compression methods, and encryption.

A member's raw bytes are read in pieces, decrypted, decompressed and counted piece by piece, so
nothing is held, and no memory taken, beyond what has been decoded so far. What is wrong is raised
as `Refused`, which the reader turns into an exception that says where.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from fastzip import _core
from fastzip._signals import let_pass

__all__ = ["METHODS", "Place", "Refused", "check_password", "decode"]

PIECE: Final = 1 << 20
"""Bytes that are read, and decoded, at a time: between two pieces Ctrl-C is seen."""
WINDOW: Final = 128 << 20
"""Bytes of history that every stream may ask for, as much as zstd's own default, …"""
WINDOW_RATIO: Final = 16
"""… and longer ones this many times their own length, so memory stays in proportion to the file."""

_PASSWORD: Final = 0x0001  # flag bits, APPNOTE 4.4.4
_MARKED_END: Final = 0x0002
_DESCRIPTOR: Final = 0x0008
_CIPHER_HEADER: Final = 12
AES: Final = 99
_WHOLE: Final = 16 << 20
"""Bytes: shorter AES members are held while they are authenticated, longer ones read twice."""


class Refused(Exception):
    """A member that can't be decoded: the reason code, and what there is to add to its text."""

    def __init__(self, code: str, note: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.note = note


class Place(NamedTuple):
    """What `_core.locate` found."""

    offset: int
    compressed_size: int
    size: int
    crc: int
    flags: int
    method: int
    time: int
    """Of the local header, as are the next two."""
    local_flags: int
    extra: bytes
    central: bytes = b""
    """The extra field of the directory's entry; empty where nobody asks for it."""


class Decoder(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


Read = Callable[[int, int], bytes]
"""read(offset, n): so many bytes of the archive; raises what reading fails with."""


# ---- methods ---------------------------------------------------------------------------------


def _need(module: str, requirement: str, what: str) -> Any:
    """Import an optional package, or say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise Refused(
            "package",
            f"{what} needs a package: pip install '{requirement}' ({exc})",
        ) from None


def _window(packed: int) -> int:
    """So much history a stream of this many bytes may ask for."""
    return max(WINDOW, WINDOW_RATIO * packed)


class _Deflate:
    """zlib's, with the others' attributes. Used behind encryption only."""

    def __init__(self, place: Place, packed: int) -> None:
        self._engine = zlib.decompressobj(-15)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not (self._full or self._engine.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        got = self._engine.decompress(self._engine.unconsumed_tail or data, max_length)
        self._full = len(got) == max_length  # there may be more, without a byte of input
        return got


class _Deflate64:
    """The package's has no limit to what it returns, and doesn't tell where its stream ended. So it
    gets few bytes at a time, which are 1.9 MB at most, and the last ones singly."""

    _FEW: Final = 64

    def __init__(self, place: Place, packed: int) -> None:
        self._engine = _need("inflate64", "inflate64>=1.0", "deflate64").Inflater()
        self._packed = packed
        self._ready: list[bytes] = []
        self._data = memoryview(b"")
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return not self._data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out, n = [], 0
        if data:
            self._data = memoryview(data)
        while self._data and not self.eof and n < max_length:
            few = min(self._FEW, max(1, self._packed - self._FEW))
            got = self._engine.inflate(bytes(self._data[:few]))
            taken = min(few, len(self._data))
            self._data = self._data[taken:]
            self._packed -= taken
            out.append(got)
            n += len(got)
            if self._engine.eof:
                self.eof = True
                self.unused_data = b"." * min(1, self._packed)
        return b"".join(out)


def _bzip2(place: Place, packed: int) -> Decoder:
    return _need_library("bz2", "bzip2").BZ2Decompressor()  # type: ignore[no-any-return]


def _need_library(module: str, what: str) -> Any:
    """Import a part of the standard library that some Pythons are built without."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise Refused("package", f"this Python was built without {what} ({exc})") from None


class _Lzma:
    """APPNOTE 5.8.8: a version, the properties' length, properties, a raw stream; flag bit 1 says
    that a marker ends it.

    Decoded as an .lzma file, whose header has room for the size: a decoder that isn't told one
    can't say whether a stream without a marker is over."""

    def __init__(self, place: Place, packed: int) -> None:
        self._place = place
        self._head = b""
        self._engine: Any = None
        self._lzma = _need_library("lzma", "lzma")
        self._limit = _window(packed)

    @property
    def eof(self) -> bool:
        return self._engine is not None and bool(self._engine.eof)

    @property
    def needs_input(self) -> bool:
        return self._engine is None or bool(self._engine.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._engine.unused_data)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if self._engine is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            data = self._begin(self._head[:9]) + self._head[9:]
        return bytes(self._engine.decompress(data, max_length))

    def _begin(self, head: bytes) -> bytes:
        length, properties, history = struct.unpack("<2xHBI", head)
        if length != 5:
            raise Refused("stream", f"its lzma properties have {length} bytes instead of 5")
        size = self._place.size
        history = min(history, max(size, 4096))  # more than there is can't be referred to
        if history > self._limit:
            raise Refused("window", _too_long(history, self._limit))
        size = (1 << 64) - 1 if self._place.flags & _MARKED_END else size
        self._engine = self._lzma.LZMADecompressor(self._lzma.FORMAT_ALONE)
        return struct.pack("<BIQ", properties, history, size)


def _too_long(history: int | None, limit: int) -> str:
    asked = "more" if history is None else f"{history:,} bytes of history"
    return f"it asks for {asked}, and {limit:,} are allowed"


class _Guarded:
    """A decoder whose refusals to take memory are told from its other ones."""

    def __init__(self, engine: Any, limit: int, *words: str) -> None:
        self._engine = engine
        self._limit = limit
        self._words = words

    @property
    def eof(self) -> bool:
        return bool(self._engine.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._engine.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._engine.unused_data)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        try:
            return bytes(self._engine.decompress(data, max_length))
        except Exception as exc:
            let_pass(exc)
            if any(word in str(exc) for word in self._words):
                raise Refused("window", _too_long(None, self._limit)) from exc
            raise


def _xz(place: Place, packed: int) -> Decoder:
    lzma = _need_library("lzma", "lzma")
    limit = _window(packed)
    # The decoder counts its own structures as well: some tens of thousands of bytes.
    engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, limit + (1 << 20))
    return _Guarded(engine, limit, "emory usage limit")


def _zstd(place: Place, packed: int) -> Decoder:
    if sys.version_info >= (3, 14):
        zstd = _need_library("compression.zstd", "zstd")
    else:
        zstd = _need("backports.zstd", "backports.zstd>=1.0", "zstd")
    limit = _window(packed)
    log = min(31, limit.bit_length() - 1)
    engine = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: log})
    return _Guarded(engine, 1 << log, "too much memory")


class Method(NamedTuple):
    """How one method is decoded."""

    name: str
    make: Callable[[Place, int], Decoder] | None
    """Makes a decoder for a stream of so many bytes; None: there is nothing to decode."""


METHODS: Final[dict[int, Method]] = {
    0: Method("stored", None),
    8: Method("deflate", _Deflate),
    9: Method("deflate64", _Deflate64),
    12: Method("bzip2", _bzip2),
    14: Method("lzma", _Lzma),
    20: Method("zstd", _zstd),  # the number before 93
    93: Method("zstd", _zstd),
    95: Method("xz", _xz),
}
"""APPNOTE 4.4.5. The core's check_any knows the same numbers."""


# ---- encryption ------------------------------------------------------------------------------


def check_password(pwd: object) -> bytes | None:
    """A password as `zipfile` takes it: bytes; nothing is none.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not pwd:
        return None
    if not isinstance(pwd, bytes):
        raise TypeError(f"pwd: expected bytes, got {type(pwd).__name__}")
    return pwd


class _Raw:
    """A range of the archive, in pieces."""

    def __init__(self, read: Read, offset: int, size: int, piece: int) -> None:
        self.read = read
        self.offset = offset
        self.size = size
        self.piece = piece

    def take(self, n: int) -> bytes:
        """The first n bytes, which are then no longer part of it."""
        if n > self.size:
            raise Refused("truncated_stream")
        data = self.read(self.offset, n) if n else b""
        self.offset += n
        self.size -= n
        return data

    def cut(self, n: int) -> bytes:
        """The same for the last n bytes."""
        if n > self.size:
            raise Refused("truncated_stream")
        self.size -= n
        return self.read(self.offset + self.size, n)

    def __iter__(self) -> Iterator[bytes]:
        at, end = self.offset, self.offset + self.size
        while at < end:
            n = min(self.piece, end - at)
            yield self.read(at, n)
            at += n


def _zip_crypto(raw: _Raw, place: Place, pwd: bytes) -> Iterator[bytes]:
    """APPNOTE 6.1: twelve bytes, of which the last one tells, mostly, a wrong password."""
    keys = _core.ZipCrypto(pwd)
    header = bytearray(raw.take(_CIPHER_HEADER))
    keys.decrypt(header)
    # With a descriptor the CRC wasn't known when this was written. Where the two headers disagree
    # on that, zipfile goes by the directory and Info-ZIP's unzip by the local one: either will do.
    checks = {
        place.time >> 8 if flags & _DESCRIPTOR else place.crc >> 24
        for flags in (place.flags, place.local_flags)
    }
    if header[-1] not in checks:
        raise Refused("wrong_password")

    def decrypted() -> Iterator[bytes]:
        for piece in raw:
            data = bytearray(piece)
            keys.decrypt(data)
            yield bytes(data)

    return decrypted()


class _AesExtra(NamedTuple):
    """WinZip's extra field 0x9901."""

    version: int
    """2: the CRC isn't stated, since it would tell what short members hold."""
    key: int
    """Bytes: 16, 24 or 32."""
    method: int
    """The true one."""


def _aes_extra(extra: bytes) -> _AesExtra:
    found = None
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<HH", extra)
        if length > len(extra) - 4:
            raise Refused("extra_overrun")
        if tag == 0x9901:
            if found is not None or length != 7:
                raise Refused("aes_extra")
            version, vendor, strength, method = struct.unpack_from("<H2sBH", extra, 4)
            found = _AesExtra(version, 8 + 8 * strength, method)
            if vendor != b"AE" or version not in (1, 2) or strength not in (1, 2, 3):
                raise Refused("aes_extra")
        extra = extra[4 + length :]
    if found is None:
        raise Refused("aes_extra")
    return found


def _aes(raw: _Raw, extra: _AesExtra, pwd: bytes) -> Iterator[bytes]:
    """WinZip's AES: PBKDF2 makes the keys, CTR with a little-endian counter from 1 encrypts, and
    the first half of an HMAC-SHA-1 of the encrypted bytes stands behind them.

    It is compared before the first byte is decrypted."""
    package = "cryptography.hazmat.primitives.ciphers"
    ciphers = _need(package, "cryptography>=42", "AES encryption")
    n = extra.key
    salt = raw.take(n // 2)
    check, stated = raw.take(2), raw.cut(10)
    made = hashlib.pbkdf2_hmac("sha1", pwd, salt, 1000, 2 * n + 2)
    if not hmac.compare_digest(made[2 * n :], check):
        raise Refused("wrong_password")
    first, second = (hmac.new(made[n : 2 * n], digestmod="sha1") for _ in range(2))
    kept = list(raw) if raw.size <= _WHOLE else None
    for piece in raw if kept is None else kept:
        first.update(piece)
    if not hmac.compare_digest(first.digest()[:10], stated):
        raise Refused("authentication")
    cipher = ciphers.Cipher(ciphers.algorithms.AES(made[:n]), ciphers.modes.ECB()).encryptor()

    def decrypted() -> Iterator[bytes]:
        counter = 1
        left = np.empty(0, np.uint8)  # of the last block of the key stream
        for piece in raw if kept is None else kept:
            if kept is None:
                second.update(piece)
            blocks = -(-(len(piece) - len(left)) // 16)
            counters = np.zeros((blocks, 2), "<u8")
            counters[:, 0] = np.arange(counter, counter + blocks, dtype=np.uint64)
            counter += blocks
            stream = np.frombuffer(cipher.update(counters.tobytes()), np.uint8)
            stream = np.concatenate([left, stream]) if len(left) else stream
            data = np.frombuffer(piece, np.uint8)
            yield (data ^ stream[: len(data)]).tobytes()
            left = stream[len(data) :]
        # What was read the second time must be what was authenticated.
        if kept is None and not hmac.compare_digest(second.digest()[:10], stated):
            raise Refused("authentication")

    return decrypted()


# ---- both ------------------------------------------------------------------------------------


def decode(
    read: Read, place: Place, pwd: bytes | None = None, verify: bool = True, piece: int = PIECE
) -> Iterator[bytes]:
    """A member's bytes, in pieces of at most `piece` or a few MB.

    Exactly as many as the directory says: what comes too early, too late, or is too much, is
    refused, and so is a CRC that is another one. Nothing has been verified before the last piece
    has been taken, except that what AES encrypted is authentic."""
    raw = _Raw(read, place.offset, place.compressed_size, piece)
    method, crc, note = place.method, verify, ""
    pieces: Iterator[bytes] = iter(raw)
    if place.flags & _PASSWORD:
        if pwd is None:
            raise Refused("password")
        if method == AES:
            extra = _aes_extra(place.extra)
            if _aes_extra(place.central) != extra:
                raise Refused("aes_extra", "directory and local header differ")
            method = extra.method
            _known(method)
            pieces = _aes(raw, extra, pwd)
            crc = verify and extra.version == 1
        else:
            note = "or else the password is wrong, which is noticed at once 255 times of 256"
            pieces = _zip_crypto(raw, place, pwd)
    made, value = 0, 0
    try:
        for data in _decompressed(pieces, raw, place, method):
            made += len(data)
            if made > place.size:
                raise Refused("too_long")
            if crc:
                value = _core.crc32(data, value)
            yield data
        if made < place.size:
            raise Refused("too_short_stream")
        if crc and value != place.crc:
            raise Refused("crc")
    except Refused as exc:
        exc.note = "; ".join(filter(None, (exc.note, note)))
        raise


def _known(method: int) -> Method:
    known = METHODS.get(method)
    if known is None:
        raise Refused("method", f"it is {method}")
    return known


def _decompressed(pieces: Iterator[bytes], raw: _Raw, place: Place, method: int) -> Iterator[bytes]:
    """The stream's content; at most one byte, or what 64 bytes of deflate64 hold, too much."""
    name, make = _known(method)
    if make is None:
        if raw.size != place.size:
            raise Refused("stored_size")
        yield from pieces
        return
    if raw.size == 0 and place.size == 0:
        return
    decoder = make(place, raw.size)
    left, fed = place.size, 0
    for data in pieces:
        fed += len(data)
        while not decoder.eof:
            most = min(left + 1, raw.piece)  # one more tells whether there is more
            try:
                got = decoder.decompress(data, most)
            except (Refused, MemoryError):
                raise
            except Exception as exc:  # each library has its own, down to OSError and EOFError
                let_pass(exc)
                code = "deflate" if method == 8 else "stream"
                raise Refused(code, f"{name}: {exc}") from exc
            data = b""
            left -= len(got)
            if got:
                yield got
            if left < 0:
                return
            if decoder.needs_input or not got:
                break
        if decoder.eof and (decoder.unused_data or fed < raw.size):
            raise Refused("trailing_data")
    if not decoder.eof:
        raise Refused("truncated_stream")
