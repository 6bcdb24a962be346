"""Extraction: members to files, many at once, and none outside of the folder they belong in.

Names are made harmless as `zipfile` does it: no leading slash, no "." and ".." components. Each
file is written under a temporary name and then renamed, so it is complete or not there at all, and
a link of that name is replaced, not followed. A folder that is a link is entered only if it leads
to a place inside.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from fastzip import _core, errors
from fastzip._batch.many import MOST_BYTES, MOST_MEMBERS, Many
from fastzip._signals import let_pass
from fastzip._zip import WHOLE, Reader

_MOST_FOLDERS: Final = 64
"""Descriptors that are open at once: a process has 1,024."""

_BARRED: Final = 1
"""The status of a file whose folder can't be used."""

Parts: TypeAlias = tuple[str, ...]


def parts_of(name: str) -> Parts:
    """A member's name as the components of a path below the folder."""
    name = name.replace("/", os.sep)
    return tuple([part for part in name.split(os.sep) if part not in ("", os.curdir, os.pardir)])


class Extraction:
    """Members on their way to files below one folder.

    Parameters
    ----------
    reader : Reader
    path : str
        The folder; it is made when the first member needs it.
    threads : int
    pwd : bytes, optional
        For encrypted members.
    advance : callable, optional
        Told of the bytes that have been written.

    Notes
    -----
    Members are read and written in runs; what was written before a failure stays.
    """

    def __init__(
        self,
        reader: Reader,
        path: str,
        threads: int,
        pwd: bytes | None = None,
        advance: Callable[[int], Any] | None = None,
    ) -> None:
        self.reader = reader
        self.path = path
        self.threads = threads
        self.pwd = pwd
        self.advance = advance
        self._real = ""
        self._known: dict[Parts, str] = {}
        self._salt = secrets.randbits(64)
        self._serials = itertools.count()
        self._run: dict[Parts, int] = {}
        self._folders: set[Parts] = set()
        self._bytes = 0

    def place(self, name: str) -> str:
        """The path that a member of this name is extracted to."""
        return os.path.normpath(os.path.join(self.path, *parts_of(name)))

    def add(self, position: int, name: str) -> None:
        """Extract the member at this position, now or with the next ones."""
        parts = parts_of(name)
        if name.endswith("/"):
            try:
                self.folder(parts, explicit=True)
            except Exception:
                self.flush()
                raise
            return
        if not parts:
            raise ValueError("Empty filename.")
        size = self.reader.directory.row(position)[1]
        full = len(self._run) >= MOST_MEMBERS or len(self._folders) >= _MOST_FOLDERS
        if full or self._bytes >= MOST_BYTES or size > WHOLE or parts in self._run:
            self.flush()
        if size > WHOLE:
            with self._file(parts) as fd:
                for piece in self.reader.pieces(position, self.pwd):
                    self._write(fd, piece)
            return
        self._run[parts] = position
        self._folders.add(parts[:-1])
        self._bytes += size

    def flush(self) -> None:
        """Write what is still to be written. The first failure is raised, all others are done."""
        if not self._run:
            return
        run, self._run, self._folders, self._bytes = self._run, {}, set(), 0
        many = Many(self.reader, np.array(list(run.values()), np.int64), self.threads, self.pwd)
        failed = None
        for i, parts in enumerate(run):
            if i in many.decoded:
                try:
                    with self._file(parts) as fd:
                        self._write(fd, many.decoded[i])
                except (OSError, ValueError) as exc:
                    let_pass(exc)
                    failed = failed or exc
        self._write_block(many, list(run))
        if failed is not None:
            raise failed
        many.raise_failure()

    def _write_block(self, many: Many, names: list[Parts]) -> None:
        if many.block is None:
            return
        descriptors: dict[Parts, int] = {}
        folders = np.full(len(names), -1, np.int32)
        statuses = many.statuses.copy()
        barred: dict[Parts, Exception] = {}
        try:
            for i in np.flatnonzero(statuses == 0).tolist():
                parent = names[i][:-1]
                if parent not in descriptors and parent not in barred:
                    try:
                        descriptors[parent] = self._open_folder(parent)
                    except (OSError, ValueError) as exc:
                        let_pass(exc)
                        barred[parent] = exc
                if parent in barred:
                    statuses[i] = _BARRED
                else:
                    folders[i] = descriptors[parent]
            _core.write_files(
                many.block,
                many.places,
                many.sizes,
                [os.fsencode(parts[-1]) for parts in names],
                folders,
                self.threads,
                self._salt,
                next(self._serials) << 16,
                statuses,
            )
        finally:
            for descriptor in descriptors.values():
                os.close(descriptor)
        if self.advance is not None:
            self.advance(int(many.sizes[statuses == 0].sum()))
        for i in np.flatnonzero((statuses != 0) & (many.statuses == 0)).tolist():
            if statuses[i] == _BARRED:
                raise barred[names[i][:-1]]
            number = -int(statuses[i])
            raise OSError(number, os.strerror(number), os.path.join(self.path, *names[i]))

    def _open_folder(self, parts: Parts) -> int:
        return os.open(self.folder(parts), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def folder(self, parts: Parts, explicit: bool = False) -> str:
        """Make a folder below, or see that it lies inside; returns its path."""
        path = self._known.get(parts)
        if path is not None:
            return path
        if not parts:
            path = self.path
            os.makedirs(path, exist_ok=True)
            self._real = os.path.realpath(path)
        else:
            path = os.path.join(self.folder(parts[:-1]), parts[-1])
            try:
                os.mkdir(path)
            except FileExistsError:
                if os.path.islink(path):
                    self._check_link(path)
                if not os.path.isdir(path) and (explicit or not os.path.exists(path)):
                    raise
                if not os.path.isdir(path):
                    raise NotADirectoryError(20, os.strerror(20), path) from None
        self._known[parts] = path
        return path

    def _check_link(self, path: str) -> None:
        real = os.path.realpath(path)
        if os.path.commonpath([real, self._real]) != self._real:
            text = f"{path} is a link to {real}, outside of {self.path} [link_outside]"
            raise errors.refusal("link_outside", text, path)

    @contextlib.contextmanager
    def _file(self, parts: Parts) -> Iterator[int]:
        """A descriptor to write one file by; it gets its name when all has gone well."""
        folder = self.folder(parts[:-1])
        temporary = os.path.join(
            folder, f".fastzip-{self._salt:016x}-{next(self._serials) << 16:x}"
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o666)
        try:
            try:
                yield fd
            finally:
                os.close(fd)
            os.rename(temporary, os.path.join(folder, parts[-1]))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _write(self, fd: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            done = os.write(fd, view)
            view = view[done:]
            if self.advance is not None:
                self.advance(done)
