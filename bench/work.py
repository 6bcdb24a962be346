"""The work that is timed: pairs of callables, A and B, which do the same.

pytest-benchmark (`test_bench_*.py`) and the speed table (`speed_table.py`) both time what stands
here. Every pair proves on entry that A and B deliver the same arrays.

A pair is called on draws (random members) from a small pool, and no draw twice in a row: a branch
predictor learns the bits of 256 small members by heart and halves the time of whoever comes second.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import bare
import data
import numpy as np
from numpy.typing import NDArray

import fastzip

BATCH = 256  # members of one fetch
PADDED = 64  # and of one padded batch
DRAWS = 32  # different batches of a pair; both sides run all of them


@dataclass
class Pair:
    """A and B; each is called with a draw, and what it returns is dropped."""

    a_name: str
    b_name: str
    a: Callable[[Any], object]
    b: Callable[[Any], object]
    draws: list[Any]
    items: int = 1  # pieces of work in one call: times are shown for one piece
    item_bytes: int = 0  # of array data, when a rate makes sense
    reset: Callable[[], object] = lambda: None  # before every call, not timed

    def draw(self, side: str, number: int) -> Any:
        """What this side gets in its round of this number: B is half a pool behind A."""
        return self.draws[(number + (side == "b") * len(self.draws) // 2) % len(self.draws)]


def engine() -> str:
    """The engine in use, by the environment variable that fastzip itself reads."""
    return os.environ.get("FASTZIP_ENGINE") or bare.usual()


def mark() -> str:
    """The bare engine that `fetch` is held against: one stream after the other."""
    return bare.usual() if engine() == bare.INTERLEAVED else engine()


def positions(name: str, count: int, draws: int = DRAWS) -> list[NDArray[np.intp]]:
    """Random members of a set, without repetition inside a draw."""
    rng = np.random.default_rng(data.SETS[name].seed + 1000)
    members = data.SETS[name].members
    return [rng.permutation(members)[:count] for _ in range(draws)]


def keys(chosen: NDArray[np.intp]) -> list[str]:
    return [data.NAME.format(i) for i in chosen]


def same(one: NDArray[Any], other: NDArray[Any]) -> None:
    """An error unless both are equal to the last bit; before anything is timed."""
    if one.dtype != other.dtype or one.shape != other.shape or one.tobytes() != other.tobytes():
        raise AssertionError(
            f"A and B differ: {one.dtype} {one.shape}, {other.dtype} {other.shape}"
        )


@contextmanager
def opening(name: str, *, lookup: bool = False) -> Iterator[Pair]:
    """Open an archive of many members; with `lookup`, read one of them by name as well."""
    path = data.path(name)
    held: list[Any] = []  # closing isn't timed: what a call opened stays until the next one

    def reset() -> None:
        for npz in held:
            npz.close()
        held.clear()
        gc.collect()

    def side(load: Callable[[str], Any]) -> Callable[[str], object]:
        def call(key: str) -> None:
            held.append(load(path))
            if lookup:
                held[-1][key]

        return call

    a, b = side(np.load), side(fastzip.load)
    drawn = keys(positions(name, DRAWS, 1)[0])
    for call in a, b:
        call(drawn[0])
    if len(held[0]) != len(held[1]):
        raise AssertionError("A and B count different members")
    same(held[0][drawn[1]], held[1][drawn[1]])
    try:
        yield Pair("numpy", "fastzip", a, b, drawn, reset=reset)
    finally:
        reset()


@contextmanager
def sample_files(count: int) -> Iterator[Pair]:
    """Open a small archive, read its one array of 1 KB, close it: a file for each sample."""
    folder = data.folder() / "samples"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(11)
    paths = [str(folder / f"{i:03}.npz") for i in range(count)]
    for path in paths:
        np.savez_compressed(path, image=rng.integers(0, 50, 1024, np.uint8))

    def side(load: Callable[[str], Any]) -> Callable[[list[str]], object]:
        def call(names: list[str]) -> None:
            for name in names:
                with load(name) as npz:
                    npz["image"]

        return call

    for path in paths:
        with np.load(path) as theirs, fastzip.load(path) as ours:
            same(theirs["image"], ours["image"])
    drawn = [[paths[i] for i in rng.permutation(count)] for _ in range(DRAWS)]
    yield Pair("numpy", "fastzip", side(np.load), side(fastzip.load), drawn, items=count)


@contextmanager
def opening_by_position(name: str) -> Iterator[Pair]:
    """Open and read one member: by name, which builds a table, and by position, which doesn't."""
    path = data.path(name)
    held: list[fastzip.NpzFile] = []

    def reset() -> None:
        for npz in held:
            npz.close()
        held.clear()

    def by_name(position: int) -> object:
        held.append(fastzip.load(path))
        return held[-1].fetch([data.NAME.format(position)])

    def by_position(position: int) -> object:
        held.append(fastzip.load(path))
        return held[-1].fetch([position])

    drawn = positions(name, DRAWS, 1)[0].tolist()
    same(by_name(drawn[0]), by_position(drawn[0]))  # type: ignore[arg-type]
    try:
        yield Pair("by-name", "by-position", by_name, by_position, drawn, reset=reset)
    finally:
        reset()


@contextmanager
def reading(name: str, count: int) -> Iterator[Pair]:
    """`npz[key]`, one after the other, in random order."""
    path = data.path(name)
    with np.load(path) as numpys, fastzip.load(path) as ours:
        drawn = [keys(chosen) for chosen in positions(name, count)]
        for key in drawn[0]:
            same(numpys[key], ours[key])

        def side(npz: Any) -> Callable[[list[str]], object]:
            def call(draw: list[str]) -> None:
                for key in draw:
                    npz[key]

            return call

        size = numpys[drawn[0][0]].nbytes
        yield Pair("numpy", "fastzip", side(numpys), side(ours), drawn, len(drawn[0]), size)


class Draw(NamedTuple):
    """One batch, said in every way."""

    positions: NDArray[np.intp]
    names: list[str]
    batch: Any = None  # the bare engine's


Call = Callable[[Draw], object]


class Fetching:
    """What the pairs around `fetch` share: the open archive, a warm `out`, the checked draws."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.path = data.path(name)
        self.npz = stack.enter_context(fastzip.load(self.path))
        self.draws = [Draw(chosen, keys(chosen)) for chosen in positions(name, BATCH)]
        with np.load(self.path) as numpys:
            self.wanted = np.stack([numpys[key] for key in self.draws[0].names])
        self.out = np.ones_like(self.wanted)  # ones: every page is touched
        for by in "positions", "names":
            for threads in 1, 2:
                self.out[:] = 1
                self.call(threads, by)(self.draws[0])
                same(self.wanted, self.out)

    def call(self, threads: int, by: str = "positions") -> Call:
        """Fetch a draw into the warm `out`."""
        fetch, out = self.npz.fetch, self.out
        if by == "names":
            return lambda draw: fetch(draw.names, out=out, threads=threads)
        return lambda draw: fetch(draw.positions, out=out, threads=threads)

    def bare_call(self, stack: ExitStack, threads: int, room: int = 0) -> Call:
        """The bare engine on the same draws, which it prepares; checked against the same arrays."""
        alone = bare.Bare(self.path, mark(), threads, room)
        stack.callback(alone.close)
        self.draws = [draw._replace(batch=alone.prepare(draw.positions)) for draw in self.draws]
        alone.run(self.draws[0].batch)
        for i, array in enumerate(self.wanted):
            if not alone.member(self.draws[0].batch, i).endswith(array.tobytes()):
                raise AssertionError("the bare engine reads something else")
        return lambda draw: alone.run(draw.batch)

    def pair(self, a_name: str, b_name: str, a: Call, b: Call) -> Pair:
        return Pair(a_name, b_name, a, b, self.draws, len(self.wanted), self.wanted[0].nbytes)


@contextmanager
def fetching(name: str, by: str = "positions", *, room: int = 0) -> Iterator[Pair]:
    """`fetch` with one thread against the bare engine on the same members."""
    with ExitStack() as stack:
        ours = Fetching(name, stack)
        yield ours.pair("bare", "fastzip", ours.bare_call(stack, 1, room), ours.call(1, by))


@contextmanager
def padding(name: str, threads: int = 1) -> Iterator[Pair]:
    """A padded batch of members of different lengths: by NumPy alone, and by `fetch_padded`."""
    path = data.path(name)
    with np.load(path) as numpys, fastzip.load(path) as ours:

        def usual(draw: list[str]) -> NDArray[Any]:
            arrays = [numpys[key] for key in draw]
            most = max(map(len, arrays))
            others = [(0, 0)] * (arrays[0].ndim - 1)
            return np.stack([np.pad(a, [(0, most - len(a)), *others]) for a in arrays])

        def native(draw: list[str]) -> NDArray[Any]:
            batch: NDArray[Any] = ours.fetch_padded(draw, threads=threads)[0]
            return batch

        drawn = [keys(chosen) for chosen in positions(name, PADDED)]
        for draw in drawn[:3]:
            same(usual(draw), native(draw))
        size = int(ours.index.rows["size"].mean())
        yield Pair("numpy", "fastzip", usual, native, drawn, PADDED, size)


@contextmanager
def fetching_by_two(name: str) -> Iterator[Pair]:
    """`fetch` with one thread against itself with two."""
    with ExitStack() as stack:
        ours = Fetching(name, stack)
        yield ours.pair("1-thread", "2-threads", ours.call(1), ours.call(2))


@contextmanager
def bare_by_two(name: str) -> Iterator[Pair]:
    """The bare engine with one thread against itself with two: what this machine has to give."""
    with ExitStack() as stack:
        ours = Fetching(name, stack)
        calls = ours.bare_call(stack, 1), ours.bare_call(stack, 2)
        yield ours.pair("1-thread", "2-threads", *calls)


@contextmanager
def fetching_while_busy(name: str, calls: int = 8) -> Iterator[Pair]:
    """`fetch` in a second Python thread while the main one waits, and while it runs Python code."""
    with ExitStack() as stack:
        ours = Fetching(name, stack)
        fetch = ours.call(1)

        def start(draw: Draw) -> threading.Thread:
            def repeat() -> None:
                for _ in range(calls):
                    fetch(draw)

            thread = threading.Thread(target=repeat)
            thread.start()
            return thread

        def idle(draw: Draw) -> None:
            start(draw).join()

        def busy(draw: Draw) -> None:
            thread, spun = start(draw), 0
            while thread.is_alive():
                spun += 1

        pair = ours.pair("main-idle", "main-busy", idle, busy)
        pair.items, pair.item_bytes = calls, ours.out.nbytes
        yield pair
