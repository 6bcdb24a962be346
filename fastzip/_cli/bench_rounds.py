"""Readers measured in turn on one archive: for ``fastzip bench``.

Every round does the same work once with each reader, in an order that is drawn anew each time: what
else the machine does, and what the one before left in the caches, meets all alike. Before anything
is timed, all must read the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import fastzip
from fastzip import _dropin, errors
from fastzip._cli import members
from fastzip._cli.bench_readers import Reader
from fastzip._cli.console import CommandError, plural

OPEN: Final = "open, and one member"
BATCH: Final = 64
_LOOKED_AT: Final = 500
_CHECKED: Final = 32
_SINGLE: Final = 16
_BYTES: Final = 64 << 20
_RUN: Final = 1024
_LARGEST: Final = 1 << 30
_ENCRYPTED: Final = 0x0001
_ROUNDS: Final = 2000
_MOST_HEADERS: Final = 20_000


@dataclass
class Material:
    """What is read: members that every reader can read, in the archive's order."""

    path: str
    arrays: bool
    positions: npt.NDArray[np.int64]
    names: list[str]
    """Names, or NumPy's keys."""
    sizes: npt.NDArray[np.int64]
    alike: npt.NDArray[np.int64]
    """Indices of members that make batches: arrays of the commonest dtype and shape, or all."""
    notes: list[str] = field(default_factory=list)


@dataclass
class Rival:
    """A reader, an archive that it has opened, and how long that and reading one member took."""

    reader: Reader
    archive: Any
    opening: float


@dataclass
class Measured:
    """What one kind of work took each reader, round by round."""

    name: str
    unit: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """For a unit; of the readers that can do it."""

    def summary(self, reader: str) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the seconds."""
        return _quartiles(self.seconds[reader])

    def ratio(self, reader: str, usual: str) -> tuple[float, float, float]:
        """How many times faster than the usual one, round by round; the same three."""
        pairs = zip(self.seconds[usual], self.seconds[reader], strict=True)
        return _quartiles([a / b for a, b in pairs])


@dataclass
class Task(Measured):
    """One kind of work on this archive."""

    work: Callable[[Reader, Any, int], int] = lambda *_: 1
    """work(reader, archive, round) -> how many units."""


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, median(values), high


def choose(path: str) -> Material:
    """Look at an archive, and choose what is read."""
    with fastzip.ZipFile(path) as archive:
        reader = _dropin.reader_of(archive)
        index = archive.index
        rows = index.rows
        fine = ((rows["method"] == 0) | (rows["method"] == 8)) & (rows["status"] == 0)
        fine &= (rows["flags"] & _ENCRYPTED == 0) & (rows["size"] > 0) & (rows["size"] <= _LARGEST)
        found = np.flatnonzero(fine)
        all_names = index.names()
        names = [all_names[i] for i in found.tolist()]
        pairs = zip(found.tolist(), names, strict=True)
        last = np.array([index.find(name) == i for i, name in pairs], bool)
        positions = found[last]
        names = [name for name, good in zip(names, last.tolist(), strict=True) if good]
        if not len(positions):
            raise CommandError("no_member", f"{path}: no member that every reader could read")
        specs = _specs(reader, positions)
        arrays = all(spec is not None for spec in specs) and all(n.endswith(".npy") for n in names)
        material = Material(
            path=path,
            arrays=arrays,
            positions=positions,
            names=[name.removesuffix(".npy") for name in names] if arrays else names,
            sizes=rows["size"][positions].astype(np.int64),
            alike=np.arange(len(positions)),
        )
        left = len(index) - len(positions)
        if left:
            material.notes.append(
                f"left out: {plural(left, 'member')}, empty, encrypted, hidden by a later one of "
                "the same name, above 1 GiB, or by a method other than stored and deflate"
            )
        if arrays:
            _find_alike(reader, material, specs)
    return material


def _specs(reader: Any, positions: npt.NDArray[np.int64]) -> list[Any]:
    """dtype and shape of some members; None where it is no plain array."""
    chosen = positions
    if len(positions) > _LOOKED_AT:
        rng = np.random.default_rng(0)
        chosen = rng.choice(positions, _LOOKED_AT, replace=False)
    found = []
    for position in chosen.tolist():
        header, code = members.header_of(reader, position)
        if code:
            raise reader.index.error(code, position)
        plain = header is not None and header.plain and header.nbytes
        found.append((header.spec.dtype, header.spec.shape) if plain else None)
    return found


def _find_alike(reader: Any, material: Material, specs: list[Any]) -> None:
    """Members of the commonest dtype and shape, among the first ones."""
    kinds = {spec: specs.count(spec) for spec in set(specs)}
    common = max(kinds, key=lambda spec: kinds[spec])
    dtype, shape = common
    if len(kinds) > 1:
        material.notes.append(f"batches are of {dtype} {members.shape_text(shape)} alone")
    same = []
    for i, position in enumerate(material.positions[:_MOST_HEADERS].tolist()):
        header, _ = members.header_of(reader, position)
        if header is not None and header.plain and header.spec[:2] == common:
            same.append(i)
    material.alike = np.array(same, np.int64)


def check(
    material: Material, found: list[Reader], stack: contextlib.ExitStack
) -> tuple[list[Rival], dict[str, str]]:
    """Open the archive with each reader, and compare what they read.

    Parameters
    ----------
    material : Material
    found : list of Reader
        With fastzip's own first way among them.
    stack : ExitStack
        Closes the archives.

    Returns
    -------
    list of Rival, dict
        Those that can read it, and why others can't.

    Raises
    ------
    CommandError
        If two of them differ, or only fastzip can read it.
    """
    few = np.random.default_rng(1).permutation(len(material.names))[:_CHECKED]
    few = few[: _few(material.sizes[few])]
    rows = material.alike[: _batch_size(material)]
    fit: list[Rival] = []
    results: dict[str, list[Any]] = {}
    skipped = {}
    for reader in found:
        try:
            rival = _open(material, reader, stack)
            results[reader.name] = _results(rival, material, few, rows)
        except Exception as exc:
            if reader.name.startswith("fastzip"):
                raise
            skipped[reader.name] = f"{type(exc).__name__}: {exc}"
            continue
        fit.append(rival)
    if fit[0].reader.name.startswith("fastzip"):
        name, reason = next(iter(skipped.items()))
        raise CommandError("no_reader", f"{material.path}: {name} can't read it: {reason}")
    expected = results["fastzip"]
    for name, got in results.items():
        for i, (a, b) in enumerate(zip(expected, got, strict=True)):
            if not _same(a, b):
                what = material.names[few[i]] if i < len(few) else "a batch"
                where = errors.place(material.path, what)
                raise CommandError("differ", f"{where}: {name} reads something else")
    return fit, skipped


def _open(material: Material, reader: Reader, stack: contextlib.ExitStack) -> Rival:
    with reader.setting():
        start = time.perf_counter()
        archive = stack.enter_context(contextlib.closing(reader.open(material.path)))
        reader.one(archive, material.names[0], int(material.positions[0]))
        return Rival(reader, archive, time.perf_counter() - start)


def _results(rival: Rival, material: Material, few: Any, rows: Any) -> list[Any]:
    names, positions, reader = material.names, material.positions, rival.reader
    with reader.setting():
        out = [reader.one(rival.archive, names[i], int(positions[i])) for i in few.tolist()]
        keys = [names[i] for i in rows.tolist()]
        return [*out, reader.batch(rival.archive, keys, positions[rows])]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        native = b.astype(b.dtype.newbyteorder("="), copy=False)
        mine = a.astype(a.dtype.newbyteorder("="), copy=False)
        return bool(
            isinstance(b, np.ndarray)
            and mine.dtype == native.dtype
            and mine.shape == native.shape
            and mine.tobytes() == native.tobytes()
        )
    return bytes(a) == bytes(b)


def _few(sizes: npt.NDArray[np.int64]) -> int:
    """So many of these that they stay below 64 MiB; at least one."""
    return max(1, int(np.searchsorted(np.cumsum(sizes), _BYTES)))


def _batch_size(material: Material) -> int:
    return min(BATCH, len(material.alike), _few(material.sizes[material.alike]))


def tasks(material: Material) -> list[Task]:
    """What is measured."""
    names, positions = material.names, material.positions
    n, single = len(names), min(_SINGLE, _few(np.sort(material.sizes)[::-1]))
    batch = _batch_size(material)
    runs = _runs(material.sizes)

    def open_(reader: Reader, archive: Any, turn: int) -> int:
        with contextlib.closing(reader.open(material.path)) as new:
            reader.one(new, names[0], int(positions[0]))
        return 1

    def one(reader: Reader, archive: Any, turn: int) -> int:
        for i in np.random.default_rng(turn).integers(0, n, single).tolist():
            reader.one(archive, names[i], int(positions[i]))
        return single

    def batches(reader: Reader, archive: Any, turn: int) -> int:
        rows = np.random.default_rng(turn).choice(material.alike, batch, replace=False)
        reader.batch(archive, [names[i] for i in rows.tolist()], positions[rows])
        return 1

    def test(reader: Reader, archive: Any, turn: int) -> int:
        run = runs[turn % len(runs)]
        reader.run(archive, names[run], positions[run])
        return int(material.sizes[run].sum())

    found = [Task(OPEN, "archive", work=open_), Task("one member", "member", work=one)]
    if batch > 1:
        found.append(Task(f"batch of {batch}", "batch", work=batches))
    found.append(Task("verify", "byte", work=test))
    return found


def _runs(sizes: npt.NDArray[np.int64]) -> list[slice]:
    """Neighbours that are verified in one round."""
    runs, start, total = [], 0, 0
    for i, size in enumerate(sizes.tolist()):
        total += size
        if i + 1 - start >= _RUN or total >= _BYTES // 4 or i + 1 == len(sizes):
            runs.append(slice(start, i + 1))
            start, total = i + 1, 0
    return runs


def measure(
    task: Task, rivals: list[Rival], seconds: float, advance: Callable[[float], Any]
) -> None:
    """Do rounds of a task until the time is over. The first one warms up, and counts only if it
    took so long that there is no time for many more."""
    task.seconds = {rival.reader.name: [] for rival in rivals}
    if task.name == OPEN and 2 * sum(rival.opening for rival in rivals) > seconds:
        for rival in rivals:
            task.seconds[rival.reader.name].append(rival.opening)
        advance(seconds)
        return
    rng = np.random.default_rng(2)
    start = last = time.perf_counter()
    for turn in range(_ROUNDS):
        row = {}
        for i in rng.permutation(len(rivals)).tolist():
            reader, archive = rivals[i].reader, rivals[i].archive
            with reader.setting():
                begin = time.perf_counter()
                units = task.work(reader, archive, turn)
                row[reader.name] = (time.perf_counter() - begin) / units
        now = time.perf_counter()
        advance(now - last)
        last = now
        if turn > 0 or 2 * (now - start) > seconds:
            for name, taken in row.items():
                task.seconds[name].append(taken)
            if now - start > seconds:
                break
