"""What the tests of `ZipFile` share."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import zipfile
import zlib

from hypothesis import HealthCheck, settings

import fastzip

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
UNICODE_PATHS = sys.version_info >= (3, 12)
CLOSED = "Attempt to use ZIP archive that was already closed"


def fields(info):
    """Everything that a ZipInfo holds, but for where zipfile believes the member to end."""
    names = (*zipfile.ZipInfo.__slots__, *getattr(info, "__dict__", ()))
    return {name: getattr(info, name, None) for name in names if name != "_end_offset"}


def written(members, method=zipfile.ZIP_DEFLATED, comment=b""):
    """The archive that zipfile makes of {name: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


@contextlib.contextmanager
def both(data, **options):
    """The archive, opened by fastzip and by zipfile."""
    with (
        fastzip.ZipFile(io.BytesIO(data), **options) as mine,
        zipfile.ZipFile(io.BytesIO(data), **options) as reference,
    ):
        yield mine, reference


def is_native(archive):
    return archive._reader is not None


def same_lists(mine, reference):
    """Are all lists, comments, members and look-ups the same?"""
    assert mine.namelist() == reference.namelist()
    assert mine.comment == reference.comment
    assert mine.start_dir == reference.start_dir
    assert [fields(i) for i in mine.infolist()] == [fields(i) for i in reference.infolist()]
    assert list(mine.NameToInfo) == list(reference.NameToInfo)
    assert mine.namelist() == reference.namelist()
    for name in {*reference.namelist()}:
        assert fields(mine.getinfo(name)) == fields(reference.getinfo(name))
        assert mine.getinfo(name) is mine.NameToInfo[name]


def outcome(function, *args, **options):
    """(None, result), or (the exception's text, what kinds it is)."""
    try:
        return None, function(*args, **options)
    except Exception as exc:
        kinds = (KeyError, zipfile.BadZipFile, TypeError, ValueError, NotImplementedError, OSError)
        return str(exc), [kind for kind in kinds if isinstance(exc, kind)]


CONTENT = {"a": b"one " * 100, "d/b": b"two", "empty": b"", "d/": b""}


class Lookalike:
    """Reads like a file, and is none."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


class Bytes(io.BytesIO):
    pass


def run_threads(work, n):
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


LIES = {
    "flags": {"flags": 0x20},
    "version_needed": {"central": {"version": 99}},
    "extra_overrun": {"central": {"extra": b"\x01\x00\xff\x00"}},
    "zip64_extra_short": {"central": {"extra": b"\x01\x00\x00\x00", "compressed_size": 0xFFFFFFFF}},
    "name_utf8": {"name": b"\xff", "flags": 0x800},
    "name_nul": {"name": b"n\0b"},
    "multi_disk": {"central": {"disk": 3}},
    "lfh_magic": {"local": {"magic": b"PK\3\5"}},
    "lfh_name": {"local": {"name": b"not"}},
    "crc": {"crc": 1},
    "too_long": {"size": 20},
    "too_short_stream": {"size": 60},
    "trailing_data": {"body": zlib.compress(b"x" * 50, wbits=-15) + b"\0"},
    "truncated_stream": {"body": zlib.compress(bytes(range(50)), wbits=-15)[:-4]},
    "method": {"local": {"method": 97}, "central": {"method": 97}},
}
