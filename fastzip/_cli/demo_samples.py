"""What ``fastzip demo`` takes for an archive's samples, and how they are read both ways."""

from __future__ import annotations

import contextlib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

import fastzip
from fastzip._cli import survey
from fastzip._cli.console import escape, plural, size
from fastzip._cli.demo_data import DemoError

Order: TypeAlias = NDArray[np.int64]
Read: TypeAlias = Callable[[Order], Any]

ROWS_BYTES: Final = 1 << 30
"""An array whose rows are compared is in memory twice."""


@dataclass(frozen=True)
class Samples:
    """What is read, and how: as usual, and with fastzip."""

    what: str
    count: int
    nbytes: int
    """Of one sample, on average."""
    name: Callable[[int], str]
    """What messages call a sample, …"""
    title: Callable[[int], str]
    """… and its picture."""
    dtype: np.dtype[Any] | None
    """Of a batch; None: it is a list of bytes."""
    one: str
    """How the table calls what is read one at a time, …"""
    member: Callable[[int], str]
    """… and its name in the archive, by the sample."""
    get_usually: Callable[[str], Any]
    get: Callable[[str], Any]
    read_usually: Read
    """Makes a batch of these samples."""
    begin: Callable[[Order, int, int | None], Read]
    """begin(order, batch, threads) gives what reads one batch after the other with fastzip."""
    weighed: bool = False
    """Is it worth while to measure what the open archive takes?"""
    usual: str = "np.load"
    open_usually: Callable[[Path], Any] = np.load
    open: Callable[[Path], Any] = fastzip.load


@dataclass
class Group:
    """Members of equal dtype and shape."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    keys: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of one member."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def _members(ours: Any, usual: Any, group: Group) -> Samples:
    """Arrays that are alike: a batch is what `fetch` gives."""
    keys, positions = group.keys, np.asarray(group.positions, np.int64)
    native = group.dtype.newbyteorder("=")  # whatever the file has

    def begin(order: Order, batch: int, threads: int | None) -> Read:
        out = np.empty((min(batch, len(order)), *group.shape), native)
        return lambda samples: ours.fetch(
            positions[samples], out=out[: len(samples)], threads=threads
        )

    return Samples(
        what=f"{len(keys):,} members of {group.dtype} {group.shape}",
        count=len(keys),
        nbytes=group.nbytes,
        name=keys.__getitem__,
        title=keys.__getitem__,
        dtype=native,
        one="one random member",
        member=keys.__getitem__,
        get_usually=usual.__getitem__,
        get=ours.__getitem__,
        read_usually=lambda samples: np.stack([usual[keys[i]] for i in samples]),
        begin=begin,
        weighed=True,
    )


def _rows(ours: Any, usual: Any, group: Group, labels: str | None) -> Samples:
    """The rows of one array, which is read whole: a batch is what `Loader` gives."""
    key, length = group.keys[0], group.shape[0]
    shown = escape(key)
    if group.nbytes > ROWS_BYTES:
        limit = size(ROWS_BYTES)
        raise DemoError(f"{shown} has {size(group.nbytes)}; arrays of up to {limit} are compared")
    words = None if labels is None else ours[labels]
    array = cache(lambda: usual[key])  # read with the first batch, as fastzip does below

    def begin(order: Order, batch: int, threads: int | None) -> Read:
        def batches() -> Iterator[Any]:
            yield from fastzip.Loader((ours[key], order), batch_size=batch, threads=threads)

        epoch = batches()
        return lambda samples: next(epoch)

    return Samples(
        what=f"{length:,} rows of {shown}, {group.dtype} {group.shape[1:]}",
        count=length,
        nbytes=group.nbytes // length,
        name=lambda i: f"{key}[{i}]",
        title=lambda i: f"{key}[{i}]" if words is None else str(words[i]),
        dtype=group.dtype,
        one=f"all of {shown}",
        member=lambda i: key,
        get_usually=usual.__getitem__,
        get=ours.__getitem__,
        read_usually=lambda samples: array()[samples],
        begin=begin,
    )


def _bytes(path: Path, names: list[str], stack: contextlib.ExitStack) -> Samples:
    """Members that are no arrays: a batch is what `read_many` gives."""
    ours = stack.enter_context(fastzip.ZipFile(path))
    usual = stack.enter_context(zipfile.ZipFile(path))
    total = sum(usual.getinfo(name).file_size for name in names)

    def begin(order: Order, batch: int, threads: int | None) -> Read:
        return lambda samples: ours.read_many([names[i] for i in samples], threads=threads)

    return Samples(
        what=f"{plural(len(names), 'member')} of bytes, not arrays",
        count=len(names),
        nbytes=total // len(names),
        name=names.__getitem__,
        title=names.__getitem__,
        dtype=None,
        one="one random member",
        member=names.__getitem__,
        get_usually=usual.read,
        get=ours.read,
        read_usually=lambda samples: [usual.read(names[i]) for i in samples],
        begin=begin,
        usual="zipfile",
        open_usually=zipfile.ZipFile,
        open=fastzip.ZipFile,
    )


def choose(
    path: Path, ours: Any, stack: contextlib.ExitStack, tick: Callable[[], object]
) -> tuple[Samples, list[str]]:
    """The samples of an open archive: what there is most of; and what that leaves out."""
    groups: dict[tuple[np.dtype[Any], tuple[int, ...]], Group] = {}
    others: list[str] = []
    left: Counter[str] = Counter()
    times = Counter(ours.files)
    for position, name in enumerate(ours.files):
        tick()
        if times[name] > 1:
            # A name finds the last of them, a position finds its own: no comparison.
            left["named twice"] += 1
            continue
        try:
            spec = ours.spec(name)
        except (ValueError, NotImplementedError) as error:
            if getattr(error, "code", "") == "no_array" and not name.endswith("/"):
                others.append(ours.index.name(position))
            else:
                left["not a plain array"] += 1
            continue
        if spec.dtype.hasobject:
            left["not a plain array"] += 1
            continue
        kind = (spec.dtype, tuple(spec.shape))
        group = groups.setdefault(kind, Group(*kind))
        group.keys.append(name)
        group.positions.append(position)
    notes: list[str] = []
    arrays = sum(len(group.keys) for group in groups.values())
    best = max(groups.values(), key=lambda group: len(group.keys), default=None)
    if best is None or arrays < len(others):
        if not others:
            raise DemoError(f"{path}: no member is a plain array, or bytes")
        left["arrays"] = arrays
        samples = _bytes(path, others, stack)
    else:
        usual = stack.enter_context(np.load(path))
        left["not a plain array"] += len(others)
        kinds = {(str(dtype), shape) for dtype, shape in groups}
        if survey.layout_of(kinds, arrays) == "rows":
            best = max(groups.values(), key=lambda group: (any(group.shape[:1]), group.nbytes))
            best = Group(best.dtype, best.shape, best.keys[:1])
            samples = _rows(ours, usual, best, _labels(groups.values(), best))
            notes.append(f"The epoch includes reading {escape(best.keys[0])}, whole.")
        else:
            samples = _members(ours, usual, best)
        left["of another dtype or shape"] = arrays - len(best.keys)
    if reasons := ", ".join(f"{count:,} {reason}" for reason, count in left.items() if count):
        notes.append(f"Left out: {reasons}.")
    return samples, notes


def _labels(groups: Any, rows: Group) -> str | None:
    """The key of an array with a number or a word for each of these rows."""
    for group in groups:
        if group.shape == rows.shape[:1] and group.keys[0] != rows.keys[0]:
            return str(group.keys[0])
    return None
