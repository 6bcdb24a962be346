"""Archives and arrays that are indexed alike, for the adapters: sample i is row i of each."""

from __future__ import annotations

import bisect
import itertools
import os
import pickle
import zlib
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib import npyio

from fastzip import _batch, _dropin, errors
from fastzip._dropin import NpzFile
from fastzip._npy import native
from fastzip._signals import let_pass
from fastzip._train import fit
from fastzip._train.values import OTHER_FILES, Values, path_refusal, place, values_of

Indices: TypeAlias = npt.NDArray[np.int64]
Empty: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], Any]
"""Makes the memory of a batch: an array, or something that `numpy.asarray` turns into one without
a copy."""


class _Archives:
    """The members of one archive, or of several one after the other."""

    def __init__(self, sources: Sequence[Any], what: str, threads: int | None) -> None:
        pairs = [source if isinstance(source, tuple) else (source, None) for source in sources]
        self._archives = [_opened(source, what) for source, _ in pairs]
        self._pickled: list[bytes] = []
        self.threads = threads
        self.positions = [
            fit.choose_samples(npz, keys, what)
            for npz, (_, keys) in zip(self._archives, pairs, strict=True)
        ]
        counts = [
            len(npz) if positions is None else len(positions)
            for npz, positions in zip(self._archives, self.positions, strict=True)
        ]
        self.ends = list(itertools.accumulate(counts))
        self.pid = os.getpid()
        self.seen: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    def __len__(self) -> int:
        return self.ends[-1]

    def __getstate__(self) -> dict[str, Any]:
        pickled = self._pickled or [pickle.dumps(npz) for npz in self._archives]
        return self.__dict__ | {"_archives": [], "_pickled": pickled, "pid": -1, "seen": None}

    @property
    def archives(self) -> list[NpzFile]:
        """Opened in a spawned worker when they are first needed: what fails then, fails in a batch,
        and the loader passes it on."""
        if not self._archives:
            self._archives = [pickle.loads(pickled) for pickled in self._pickled]
        return self._archives

    def check(self, alike: fit.Alike, maker: str) -> None:
        """Raise what keeps members from being samples; not asked again where this is unpickled."""
        for npz, positions in zip(self._archives, self.positions, strict=True):
            fit.check_samples(npz, positions, alike, maker)

    def _position(self, archive: int, indices: Indices) -> Indices:
        """Where these samples, which are this archive's, stand in it."""
        positions = self.positions[archive]
        local = indices - self.ends[archive - 1] if archive else indices
        return local if positions is None else positions[local]

    def place(self, index: int) -> str:
        """The archive and the member, for messages."""
        archive = bisect.bisect(self.ends, index)
        position = self._position(archive, np.array([index]))[0]
        found = self.archives[archive].index
        return errors.place(found.where, found.name(int(position)))

    def fetch(self, indices: Indices, empty: Empty | None) -> Any:
        """These samples as a batch, in memory that `empty` makes; by default the arena's."""
        if self.pid != os.getpid():
            self._check()
        if len(self.ends) == 1 or not len(indices):
            return self._fetch(0, indices, empty)
        which = np.searchsorted(self.ends, indices, side="right")
        first = int(which[0])
        if (which == first).all():
            return self._fetch(first, indices, empty)
        return self._from_several(indices, which, empty)

    def _from_several(self, indices: Indices, which: Indices, empty: Empty | None) -> Any:
        """A batch out of several archives: one read for each, and then a copy, since rows that lie
        apart can't be given."""
        out: Any = None
        for archive in dict.fromkeys(which.tolist()):
            rows = np.flatnonzero(which == archive)
            part = self._fetch(archive, indices[rows], None)
            if out is None:
                shape = (len(indices), *part.shape[1:])
                out = (empty or _batch.new_batch)(shape, part.dtype)
            array = np.asarray(out)
            if part.shape[1:] != array.shape[1:] or part.dtype != array.dtype:
                name = self.place(int(indices[rows[0]]))
                text = (
                    f"{name}: the member is {part.dtype} of shape {part.shape[1:]}, and "
                    f"{self.place(int(indices[0]))} is {array.dtype} of shape {array.shape[1:]}; "
                    "the members of a batch must be alike"
                )
                raise errors.refusal("unlike", text, self.archives[archive].index.where)
            array[rows] = part
        return out

    def _fetch(self, archive: int, indices: Indices, empty: Empty | None) -> Any:
        npz, positions = self.archives[archive], self._position(archive, indices)
        if empty is None:
            return npz.fetch(positions, threads=self.threads)
        if self.seen is not None:
            shape, dtype = self.seen
            try:
                out = empty((len(positions), *shape), dtype)
                return npz.fetch(positions, out, threads=self.threads)
            except ValueError as exc:
                let_pass(exc)
                if getattr(exc, "code", ""):
                    raise
        one = npz.fetch(positions[:1], threads=self.threads)  # other ones than before
        self.seen = one.shape[1:], one.dtype
        out = empty((len(positions), *one.shape[1:]), one.dtype)
        return npz.fetch(positions, out, threads=self.threads)

    def _check(self) -> None:
        """In a forked worker, which shares its parent's files: are they still what they were?"""
        for npz in self.archives:
            if _dropin.reader_of(npz).opened.changed():
                text = f"{npz.index.where}: the file has changed since it was opened [stale]"
                raise errors.refusal("stale", text, npz.index.where)
        self.pid = os.getpid()

    def describe(self) -> tuple[str, int]:
        """Its name, and a number that tells its content."""
        crc = 0
        for npz, positions in zip(self.archives, self.positions, strict=True):
            for field in ("crc", "size"):
                crc = zlib.crc32(npz.index.rows[field].tobytes(), crc)
            if positions is not None:
                crc = zlib.crc32(positions.tobytes(), crc)
        return ", ".join(PurePath(npz.index.where).name for npz in self.archives), crc


class _Array:
    """An array, a row for each sample."""

    def __init__(self, values: Values, what: str) -> None:
        self.values, self.what = values, what
        if values.array.dtype.hasobject:
            raise TypeError(
                f"{what} is an array of Python objects; it must be an archive (a path, an NpzFile, "
                "a list of them), or an array of numbers or text with a row for each sample"
            )

    def __len__(self) -> int:
        return len(self.values)

    def place(self, index: int) -> str:
        return self.what

    def fetch(self, indices: Indices, empty: Empty | None) -> Any:
        array, rows = self.values.array, self.values.chosen(indices)
        dtype = native(array.dtype)
        if empty is None:
            return np.asarray(array[rows], dtype)
        out = empty((len(rows), *array.shape[1:]), dtype)
        if isinstance(array, np.ndarray) and array.dtype == dtype and array.dtype.isnative:
            np.take(array, rows, axis=0, out=np.asarray(out), mode="clip")
        else:
            np.asarray(out)[...] = array[rows]
        return out

    def describe(self) -> tuple[str, int]:
        array = self.values.array
        text = f"{native(array.dtype)}{[len(self), *array.shape[1:]]}"
        return text, zlib.crc32(text.encode())


Column: TypeAlias = _Archives | _Array


class Samples:
    """Columns of equal length.

    Parameters
    ----------
    *sources : path, NpzFile, (one of these, keys), list of these, or array
        Sample i is member i of an archive, or ``keys[i]`` of it, where the keys are what
        `NpzFile.fetch` takes; archives in a list are one behind the other. Of an array it is row i.
        Beside the first source a list that holds text, or numbers, has a value for each sample.
    threads : int, optional
        For each batch.
    maker : str
        What takes these sources, for messages.
    alike : bool
        Whether all members of an archive are to be of one dtype and shape.
    """

    def __init__(
        self, *sources: Any, threads: int | None = None, maker: str, alike: bool = True
    ) -> None:
        self.columns = [
            _column(source, place(number), threads, number == 0)
            for number, source in enumerate(sources)
        ]
        archives = [
            column.archives[0] if isinstance(column, _Archives) and len(column.ends) == 1 else None
            for column in self.columns
        ]
        wrong = fit.mismatch([len(column) for column in self.columns], archives, maker)
        if wrong is not None:
            raise wrong
        for column in self.columns:
            if isinstance(column, _Archives):
                column.check("whole" if alike else "any", maker)

    def __len__(self) -> int:
        return len(self.columns[0])

    def resolve(self, indices: Any) -> Indices:
        """Indices into the samples as they are needed: checked, none negative."""
        n = len(self)
        if isinstance(indices, slice):
            return np.arange(*indices.indices(n), dtype=np.int64)
        array = np.asarray(indices)
        if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
            raise TypeError(f"indices must be a list of integers, not {indices!r}")
        array = array.astype(np.int64)
        if len(array) and (array.min() < -n or array.max() >= n):
            raise IndexError(f"an index of {array.min()} to {array.max()} for {n:,} samples")
        array[array < 0] += n
        return array

    def fetch(self, indices: Any) -> list[Any]:
        """A batch of each column."""
        resolved = self.resolve(indices)
        return [column.fetch(resolved, None) for column in self.columns]

    def describe(self) -> tuple[str, int]:
        """What the samples are, the same in every process and on every machine that has the same
        archives, and a number that tells their content."""
        parts = [column.describe() for column in self.columns]
        number = zlib.crc32(repr([crc for _, crc in parts]).encode())
        return ", ".join(text for text, _ in parts), number


def _column(source: Any, what: str, threads: int | None, first: bool) -> Column:
    several = isinstance(source, list) and all(_is_archive(one, first) for one in source)
    if several and first and not source:
        raise ValueError(f"{what} is an empty list")
    if several and source:
        return _Archives(source, what, threads)
    if _is_archive(source, True):
        return _Archives([source], what, threads)
    return _Array(values_of(source, what), what)


def _is_archive(value: Any, by_text: bool) -> bool:
    """Is it an archive, its path, or one of these and its keys? Text is a path only `by_text`: in a
    list beside the first source it is a label."""
    if isinstance(value, tuple) and len(value) == 2:
        value, by_text = value[0], True
    return isinstance(value, (os.PathLike, npyio.NpzFile)) or (by_text and isinstance(value, str))


def _opened(source: Any, what: str) -> NpzFile:
    if isinstance(source, NpzFile):
        return source
    if isinstance(source, npyio.NpzFile):
        raise TypeError(
            f"{what} is an archive that numpy.load opened; give its path, or use fastzip.load"
        )
    if os.fspath(source).lower().endswith(OTHER_FILES):
        raise path_refusal(source, what)
    return NpzFile(source)
