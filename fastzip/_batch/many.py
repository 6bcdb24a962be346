"""Many members of any sizes at once, in one piece of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, _zip, errors
from fastzip._zip import FOREIGN, Reader

MOST_BYTES: Final = 16 << 20
MOST_MEMBERS: Final = 1024


class Many:
    """Members that were read at once; each has its bytes or its failure.

    Parameters
    ----------
    reader : Reader
    positions : ndarray of int64
    threads : int
    pwd : bytes, optional
        For encrypted members.

    Attributes
    ----------
    block, places, sizes, statuses
        Member ``i`` is ``sizes[i]`` bytes at ``places[i]``, where ``statuses[i]`` is 0.
    decoded : dict
        The bytes of members that aren't in the block, by index: those that aren't deflated.
    failed : dict
        What is wrong with the others, by index.
    """

    def __init__(
        self,
        reader: Reader,
        positions: npt.NDArray[np.int64],
        threads: int,
        pwd: bytes | None = None,
    ) -> None:
        self.reader = reader
        self.positions = positions
        n = len(positions)
        self.places = np.empty(n, np.uintp)
        self.statuses = np.empty(n, np.int32)
        self.sizes = reader.index.rows["size"][positions].astype(np.uintp)
        self.decoded: dict[int, memoryview] = {}
        self.failed: dict[int, Exception] = {}
        self.block = _core.read_many(
            reader.source,
            reader.directory,
            positions,
            _zip.threads_worth(threads, int(self.sizes.sum(dtype=np.float64))),
            reader.verify,
            self.places,
            self.statuses,
        )
        foreign = []
        for i in np.flatnonzero(self.statuses).tolist():
            if self.statuses[i] in FOREIGN:
                foreign.append(i)
            else:
                self.failed[i] = reader.index.error(int(self.statuses[i]), int(positions[i]))
        if not foreign:
            return

        def keep(k: int, block: Any) -> None:
            self.decoded[foreign[k]] = memoryview(block)

        failed = reader.foreign_each(positions[foreign].tolist(), keep, threads, pwd)
        self.failed.update((foreign[k], exc) for k, exc in failed.items())

    @property
    def views(self) -> list[memoryview]:
        """The members' bytes, one after another."""
        block: Any = self.block
        whole = memoryview(b"" if block is None else block)
        ends = (self.places + self.sizes).tolist()
        views = [whole[at:end] for at, end in zip(self.places.tolist(), ends, strict=True)]
        for i, data in self.decoded.items():
            views[i] = data
        return views

    def raise_failure(self) -> None:
        """Raise what is wrong with the first member that failed; ``.failed`` lists them all."""
        if self.failed:
            name = self.reader.index.name
            raise errors.first_of(self.failed, lambda i: name(int(self.positions[i])))


def aligned(data: bytes) -> memoryview:
    """A copy of these bytes, aligned and writable like those that are read natively."""
    block: Any = _core.Block(len(data))
    view = memoryview(block)
    view[:] = data
    return view


def pieces(sizes: npt.NDArray[np.uint64], threads: int, most: int) -> Iterator[slice]:
    """Divide members of these sizes into runs that are read at once; larger ones than `most` bytes
    come alone."""
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if size > most and start < i:
            yield slice(start, i)
            start, total = i, 0
        total += size
        n = i + 1 - start
        if n >= MOST_MEMBERS or size > most or (total >= MOST_BYTES and n >= threads):
            yield slice(start, i + 1)
            start, total = i + 1, 0
    if start < len(sizes):
        yield slice(start, len(sizes))
