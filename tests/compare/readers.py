"""Readers of ZIP archives behind one signature, for a judge that compares them.

A function for members takes a path and yields (name, bytes or the exception, the directory's size)
in the directory's order; one for arrays yields (key, array or the exception). What is wrong with
the archive as a whole is raised. Nothing is imported before it is needed: the standard library's
reader runs with any Python.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

Member = tuple[str, Any, int]

THREADS = 8
# A member of more bytes is a bomb to a reader that has no limits of its own.
MOST = 320 << 20


class DisagreeError(BaseException):
    """Threads got different results. No Exception, so that no judge takes it for a refusal."""


class Plain:
    """A member that is no array, as something that has an array's attributes."""

    class dtype:
        names = None
        str = "bytes"

    class flags:
        fnc = False

    shape = ""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def tobytes(self) -> bytes:
        return self._data


# ---- fastzip ---------------------------------------------------------------------------------


class _Members:
    """An archive whose members are read as bytes, which are not copied."""

    def __init__(self, path: str) -> None:
        from fastzip._npy.arrays import ArrayReader
        from fastzip._zip import sources as _sources

        self._opened = _sources.open_path(path)
        try:
            self._reader = ArrayReader(self._opened)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._reader.index)

    def __getitem__(self, position: int) -> Member:
        index = self._reader.index
        name, size = index.name(position), int(index.rows[position]["size"])
        try:
            return name, self._reader.data(position), size
        except Exception as exc:
            if not getattr(exc, "code", ""):
                raise
            return name, exc, size

    def close(self) -> None:
        self._opened.source.close()


class _Arrays:
    """An archive whose members are read as arrays; or one .npy file."""

    def __init__(self, path: str, load: Callable[[str], Any] | None = None) -> None:
        if load is None:
            from fastzip import load
        self._loaded: Any = load(path)
        self._keys = getattr(self._loaded, "files", None)

    def __len__(self) -> int:
        return 1 if self._keys is None else len(self._keys)

    def __getitem__(self, position: int) -> tuple[str, Any]:
        if self._keys is None:
            return "", self._loaded
        key = self._keys[position]
        try:
            array = self._loaded[key]
        except Exception as exc:
            return key, exc
        return key, Plain(array) if isinstance(array, bytes) else array

    def close(self) -> None:
        if self._keys is not None:
            self._loaded.close()


def _all(archive: Any) -> Iterator[Any]:
    try:
        for position in range(len(archive)):
            yield archive[position]
    finally:
        archive.close()


def fastzip_members(path: str) -> Iterator[Member]:
    """fastzip, one thread."""
    return _all(_Members(path))


def fastzip_members_8_threads(path: str) -> Iterator[Member]:
    """fastzip, 8 threads at once."""
    return _by_threads(path, _Members)


def fastzip_arrays(path: str) -> Iterator[tuple[str, Any]]:
    """fastzip.load."""
    return _all(_Arrays(path))


def fastzip_arrays_8_threads(path: str) -> Iterator[tuple[str, Any]]:
    """fastzip.load, 8 threads at once."""
    return _by_threads(path, _Arrays)


def _refusal(exc: Exception) -> tuple[Any, ...]:
    """What an exception says, but for its text: NumPy's may hold an object's address."""
    said = (getattr(exc, name, None) for name in ("code", "path", "member", "offset"))
    return type(exc).__name__, *said


def _outcome(item: tuple[Any, ...]) -> Any:
    """What is compared between threads: the refusal, or the bytes' digest and what goes with it."""
    name, data, *rest = item
    if isinstance(data, Exception):
        return name, *_refusal(data)
    like = [str(data.dtype), data.shape, data.flags.fnc] if hasattr(data, "dtype") else []
    raw = data.tobytes() if like else data
    return name, hashlib.sha256(raw).hexdigest(), *like, *rest


def _by_threads(path: str, opener: Callable[[str], Any]) -> Iterator[Any]:
    """Every thread reads everything, each from another place on; half of them share one archive,
    and half open their own. Then once more, to compare with and to yield."""
    try:
        shared = opener(path)
    except Exception as exc:
        shared, refusal = None, exc
    barrier = threading.Barrier(THREADS)
    results: list[Any] = [None] * THREADS

    def work(i: int) -> None:
        barrier.wait()
        try:
            archive = shared if shared is not None and i % 2 else opener(path)
        except Exception as exc:
            results[i] = _refusal(exc)
            return
        try:
            count = len(archive)
            order = [(p + i * count // THREADS) % count for p in range(count)]
            results[i] = {p: _outcome(archive[p]) for p in order}
        finally:
            if archive is not shared:
                archive.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(result != results[0] for result in results):
        raise DisagreeError(path)
    if shared is None:
        if results[0] != _refusal(refusal):
            raise DisagreeError(path)
        raise refusal
    for position, item in enumerate(_all(shared)):
        if results[0][position] != _outcome(item):
            raise DisagreeError(path)
        yield item


def numpy_arrays(path: str) -> Iterator[tuple[str, Any]]:
    """numpy.load."""
    import numpy

    return _all(_Arrays(path, numpy.load))


# ---- others ----------------------------------------------------------------------------------


def zipfile_members(path: str) -> Iterator[Member]:
    """The standard library's zipfile."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            data: Any = bytearray()
            try:
                with archive.open(info) as stream:
                    while piece := stream.read(1 << 20):
                        data += piece
                        if len(data) > MOST:
                            raise OverflowError(f"more than {MOST:,} bytes")
            except Exception as exc:
                data = exc
            yield info.filename, data, info.file_size


def go_members(path: str) -> Iterator[Member]:
    """Go's archive/zip, by way of the program that COMPARE_GOZIP names; gozip.go is its source."""
    command = [os.environ["COMPARE_GOZIP"], path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        out: Any = program.stdout

        def take(n: int) -> bytes:
            piece: bytes = out.read(n)
            if len(piece) < n:
                raise SystemExit(f"gozip: exit status {program.wait()}")  # a crash, no refusal
            return piece

        def number(form: str = "<I") -> int:
            value: int = struct.unpack(form, take(struct.calcsize(form)))[0]
            return value

        def text() -> str:
            return take(number()).decode("utf-8", "replace")

        while kind := out.read(1):
            if kind == b"\x02":
                raise ValueError(text())
            name, size, data = text(), number("<Q"), bytearray()
            while n := number():
                data += take(n)
            failure = text()
            yield name, ValueError(failure) if failure else data, size
        if program.wait():
            raise SystemExit(f"gozip: exit status {program.returncode}")
