"""The rows of the speed table: what is measured, against what, and how much is asked for."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import archives
import bare
import data
import fresh
import loaders
import loops
import work
from work import Pair

Target = float | dict[str, float] | None


@dataclass(frozen=True)
class Row:
    """One row. The ratio is A / B: how many times faster B is than A, or smaller.

    Either `pair` is timed inside one process, or `samples` yields (A, B) from fresh processes.
    """

    id: str
    title: str
    against: str
    target: Target = None  # at least; by engine where they differ; none: shown only
    pair: Callable[[], AbstractContextManager[Pair]] | None = None
    samples: Callable[[], Iterator[tuple[float, float]]] | None = None
    unit: str = "s"
    note: Callable[[], str] | None = None

    def wanted(self, engine: str) -> float | None:
        return self.target.get(engine) if isinstance(self.target, dict) else self.target


SIZES = {
    "bitmaps": "88 KB bitmaps, ratio near 30",
    "small": "members of 912 bytes",
    "float16k": "16 KB float32",
    "stored256k": "stored, 256 KB float32",
    "img3k": "3 KB images",
    "img96k": "96 KB images",
    "tokens": "2 KB token ids",
    "text": "22 KB text",
    "sentences": "1 to 2,048 token ids",
    "frames": "1 to 800 frames of 40 float32",
}


def opening() -> Iterator[Row]:
    many = "open 250,000 small members"
    yield Row("open-250k", many, "np.load", 200, partial(work.opening, "open250k"))
    first = partial(fresh.first_open, "open250k")
    yield Row("open-250k-first", f"{many}, first thing in a process", "np.load", 80, samples=first)
    lookup = partial(work.opening, "open250k", lookup=True)
    yield Row("open-250k-lookup", f"{many} and read one by name", "np.load", 70, lookup)
    position = partial(work.opening_by_position, "open250k")
    yield Row("open-250k-position", f"{many} and fetch one by position", "by name", None, position)
    yield Row("open-1m", "open 1,000,000 members", "np.load", 200, partial(work.opening, "open1m"))
    small = "open a small .npz, read its one array of 1 KB"
    yield Row("files-1k", small, "np.load", 3, partial(work.sample_files, 200))
    yield Row(
        *("memory", f"{many}, look up 1,000: resident, a member", "64 B and its name", 1),
        samples=fresh.resident,
        unit="B",
        note=fresh.numpy_memory,
    )
    yield Row(
        *("memory-peak", f"{many}, look up 1,000: peak, a member", "1.3 times that", 1),
        samples=fresh.peak,
        unit="B",
    )


def reading() -> Iterator[Row]:
    for name, count, target in ("small", 200, 8), ("bitmaps", 50, 5), ("stored256k", 30, 3):
        title = f"npz[key], random, {SIZES[name]}"
        yield Row(f"key-{name}", title, "np.load", target, partial(work.reading, name, count))
    yield Row(
        *("key-big32m", "npz[key], one deflated float32 array of 32 MB, second and later calls"),
        "np.load",
        {"zlib-ng": 1.3, "libdeflate": 1.7},
        partial(work.reading, "big32m", 1),
        note=fresh.first_read,
    )


def fetching() -> Iterator[Row]:
    for name in data.FETCHED:
        title, least = f"fetch of 256, {SIZES[name]}", 0.8 if name == "small" else 0.92
        target = dict.fromkeys(bare.ENGINES, least)  # the interleaved engine has no bare engine
        yield Row(f"fetch-{name}", title, "bare engine", target, partial(work.fetching, name))
    title, named = (
        f"fetch of 256 by name, {SIZES['small']}",
        partial(work.fetching, "small", "names"),
    )
    target = dict.fromkeys(bare.ENGINES, 0.75)
    yield Row("fetch-small-names", title, "bare engine", target, named)
    for name in "bitmaps", "small":
        title, room = f"fetch of 256, {SIZES[name]}", partial(work.fetching, name, room=512)
        yield Row(f"room-{name}", title, "bare engine with room", None, room)
    for name in data.FETCHED:
        title, target = f"fetch with 2 threads, {SIZES[name]}", 1.8
        if name in ("small", "stored256k"):
            target = 1.5
        two = partial(work.fetching_by_two, name)
        yield Row(f"fetch2-{name}", title, "1 thread", target, two)
        title = f"bare engine with 2 threads, {SIZES[name]}"
        yield Row(f"bare2-{name}", title, "1 thread", None, partial(work.bare_by_two, name))
    for name in "small", "bitmaps":
        title = f"first fetch in a process, 2 threads, {SIZES[name]}"
        first = partial(fresh.first_fetch, name)
        yield Row(f"first-{name}", title, "later calls", None, samples=first)
        title = f"fetch in a thread, main thread runs Python, {SIZES[name]}"
        busy = partial(work.fetching_while_busy, name)
        yield Row(f"busy-{name}", title, "main thread idle", None, busy)


def padding() -> Iterator[Row]:
    for name in data.UNEQUAL:
        for threads in 1, 2:
            title = f"fetch_padded of 64, {threads} thread(s), {SIZES[name]}"
            # Random floats hardly shrink: there both sides wait for the engine most of the time.
            target = 8 if name == "sentences" else None
            pair = partial(work.padding, name, threads)
            yield Row(f"padded{threads}-{name}", title, "np.load, np.pad, np.stack", target, pair)


def zipfiles() -> Iterator[Row]:
    files = "ZipFile, 100,000 text files of 1 KB"
    yield Row("zip-open", f"{files}: open", "zipfile", 200, partial(archives.opening, "text1k"))
    for name, size, count, target in (
        ("text1k", "1 KB", 200, {"zlib-ng": 3, "libdeflate": 3.3}),
        ("text100k", "100 KB", 20, {"zlib-ng": 2.2, "libdeflate": 2.6}),
    ):
        title = f"ZipFile.read, random, text of {size}"
        yield Row(
            f"zip-read-{name}", title, "zipfile", target, partial(archives.reading, name, count)
        )
    for threads, target in (1, None), (2, 7):
        yield Row(
            f"zip-many{threads}",
            f"ZipFile.read_many of 256, random, text of 1 KB, {threads} thread(s)",
            "zipfile",
            target,
            partial(archives.reading_many, "text1k", threads),
        )
        yield Row(
            f"zip-test{threads}",
            f"ZipFile.testzip, 20,000 text files of 1 KB, {threads} thread(s)",
            "zipfile",
            target and 3,
            partial(archives.testing, "text1k20k", threads),
        )
        title = f"ZipFile.extractall, 20,000 text files of 1 KB, {threads} thread(s)"
        yield Row(
            f"zip-extract{threads}",
            title,
            "zipfile",
            target and 3,
            partial(archives.extracting, "text1k20k", threads),
        )
    yield Row(
        *("zip-unzip", title, "unzip", None),
        partial(archives.extracting, "text1k20k", 2, "unzip"),
    )


def looping() -> Iterator[Row]:
    for name, batch_size, target in ("bitmaps", 64, 15), ("small", 256, 25), ("float16k", 64, 9):
        title = f"shuffled epoch by Loader, 2 threads, {SIZES[name]}"
        epochs = partial(loops.epochs, name, batch_size, 2)
        yield Row(f"loader-{name}", title, "a generator over np.load", target, epochs)
        title = f"the same, and 5 ms of Python a batch, {SIZES[name]}"
        busy = partial(loops.computing_epochs, name, batch_size, 2, 30)
        against = "loading or computing alone"
        yield Row(f"loader-busy-{name}", title, against, 1 / 1.1, busy)


def loading() -> Iterator[Row]:
    if find_spec("torch") is None:
        return
    for name, size, target in ("bitmaps", 64, 2.2), ("small", 256, 10), ("float16k", 64, 3.5):
        title = f"DataLoader, ArchiveDataset in 2 workers, an epoch, {SIZES[name]}"
        epoch = partial(loaders.loading, name, size)
        yield Row(f"torch-{name}", title, "np.load in 2 workers", target, epoch)
        title = f"Loader, 2 threads and no workers, an epoch, {SIZES[name]}"
        epoch = partial(loaders.without_workers, name, size, 2)
        against = "torch's DataLoader, np.load in 2 workers"
        yield Row(f"loader-torch-{name}", title, against, 20 if name == "small" else 6, epoch)


KINDS = (opening, reading, fetching, padding, looping, loading, zipfiles)
ROWS = {row.id: row for kind in KINDS for row in kind()}
