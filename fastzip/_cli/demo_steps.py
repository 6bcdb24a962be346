"""``fastzip demo``: one shuffled epoch the usual way and with fastzip, compared bit for bit.

Both ways are timed in turn, a batch of one and then the same batch of the other, and who goes
first changes with every batch: what else the machine does meets both alike.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import fastzip
from fastzip._cli import console, demo_data, demo_samples
from fastzip._cli.console import duration, plural, table, three
from fastzip._cli.demo_data import DemoError
from fastzip._cli.demo_samples import Samples

T = TypeVar("T")

# An archive of one's own may hold more than anyone wants to wait for, or than memory holds.
OWN_SAMPLES = 20_000
OWN_BYTES = 4 << 30
BATCH_BYTES = 256 << 20
WARM_BYTES = 2 << 30
# The heap grows in steps of about this size: smaller archives have no ratio worth printing.
HEAP_NOISE = 256 << 10


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    archive: Path | None = None
    members: int = 5000
    directory: Path | None = None
    batch: int = 64
    threads: int | None = None
    limit: int | None = None
    sheet: Path | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` says how many times better the last column is."""

    what: str
    usual: str
    ours: str
    ratio: str


def run(options: Options) -> None:
    """Run the demo and print what it found.

    Parameters
    ----------
    options : Options
        What to read and how.

    Raises
    ------
    DemoError
        If the extra is missing, the archive has nothing to fetch, or the two ways disagree.
    """
    demo_data.require_extra()
    with contextlib.ExitStack() as stack:
        directory = options.directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        sheet = options.sheet or _free(directory or Path())
        # Now, not after a minute of work.
        if not sheet.parent.is_dir():
            raise DemoError(f"{sheet.parent}: no such directory for the contact sheet")

        if options.archive is not None:
            _compare(options, options.archive, sheet)
            return
        if directory is None:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastzip-demo-"))
            directory = Path(name)
        made = _make(directory, options.members, kept=options.directory is not None)
        _compare(options, made.images, sheet, made.labels)


def _free(directory: Path) -> Path:
    """The first name for a contact sheet that no file has."""
    numbers = itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
    names = (directory / f"fastzip-demo{number}.png" for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def _make(directory: Path, members: int, *, kept: bool) -> demo_data.Made:
    start = time.perf_counter()
    with _progress(members, "drawing glyphs") as tick:
        made = demo_data.make(directory, members, tick=tick)
    seconds = time.perf_counter() - start
    if made.reused:
        _say(f"Reusing {made.images}")
    elif kept:
        _say(f"Made {made.images} with np.savez_compressed in {seconds:.1f} s")
    else:
        _say(
            f"Made {made.images.name} with np.savez_compressed in {seconds:.1f} s (--dir keeps it)"
        )
    return made


def _compare(options: Options, path: Path, sheet: Path, labels: Path | None = None) -> None:
    """Measure both ways on the archive at `path`, print the table and draw the sheet."""
    with contextlib.ExitStack() as stack:
        # fastzip goes first: np.load calls whatever is no zip file a pickle.
        ours = fastzip.open_npz(path)
        if not hasattr(ours, "fetch"):
            raise DemoError(f"{path}: this is a single array, not an .npz archive")
        stack.enter_context(ours)
        with _progress(len(ours.files), "reading headers") as tick:
            samples, notes = demo_samples.choose(path, ours, stack, tick)
        rng = np.random.default_rng(demo_data.SEED)
        order = rng.permutation(samples.count)
        order, batch = _cap(options, samples, order, notes)

        size = path.stat().st_size
        inflated = int(ours.index.rows["size"].sum())
        if size <= WARM_BYTES:
            _warm(path)

        with _progress(3, "open, memory, one member") as tick:
            rows = [_open_row(samples, path)]
            tick()
            if samples.weighed:
                rows.append(_memory_row(path, samples.name(0), len(ours)))
            tick()
            rows.append(_member_row(samples, [samples.member(i) for i in order[:300]]))
            tick()
        epoch, first = _epoch_row(samples, order, batch, options.threads)
        rows.append(epoch)

    _say(
        f"\n{path.name}: {samples.what}, {size / 2**20:.1f} MiB, "
        f"compressed {inflated / max(1, size):.1f}x"
    )
    for note in notes:
        _say(note)
    threads = options.threads or fastzip.get_num_threads()
    _say(
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"fastzip {fastzip.__version__} ({_engines()}), {plural(threads, 'thread')}, "
        f"batches of {batch}\n"
    )
    heading = Row("", samples.usual, "fastzip", "ratio")
    _say(table([astuple(row) for row in [heading, *rows]]))
    _say(
        f"All {len(order):,} samples, in {plural(-(-len(order) // batch), 'batch', 'batches')}, "
        "are equal bit for bit."
    )
    title = samples.title if labels is None else demo_data.read_labels(labels).__getitem__
    _draw(sheet, first, [title(i) for i in order[:batch]], path.name, samples.what)


def _draw(sheet: Path, batch: Any, titles: list[str], name: str, what: str) -> None:
    replaced = " (replaced)" if os.path.lexists(sheet) else ""
    heading = f"{name}: one batch of a shuffled epoch"
    try:
        drawn = demo_data.write_sheet(sheet, batch, titles, heading)
    except ImportError:
        _say("No contact sheet: pictures are decoded by Pillow (pip install pillow).")
        return
    if drawn:
        _say(f"Contact sheet of {plural(drawn, 'sample')}: {sheet}{replaced}")
    else:
        _say(f"No contact sheet: nothing to draw in {what}.")


def _cap(
    options: Options, samples: Samples, order: NDArray[np.int64], notes: list[str]
) -> tuple[NDArray[np.int64], int]:
    """Shorten the epoch and the batch to what is asked for or bearable, and note it."""
    most = options.limit or len(order)
    if options.archive is not None and options.limit is None:
        most = min(OWN_SAMPLES, max(1, OWN_BYTES // max(1, samples.nbytes)))
    if most < len(order):
        notes.append(
            f"The epoch is cut to {most:,} of {len(order):,} samples; --limit changes that."
        )
        order = order[:most]
    batch = min(options.batch, max(1, BATCH_BYTES // max(1, samples.nbytes)))
    if batch < options.batch:
        notes.append(f"Batches hold {batch}, not {options.batch}: the samples are large.")
    return order, batch


def _warm(path: Path) -> None:
    """Read the file once, so that neither way waits for the disk on behalf of the other."""
    piece = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _in_turn(
    first: Callable[[], T], second: Callable[[], T], turn: int
) -> tuple[tuple[float, T], tuple[float, T]]:
    """Time both, `first` before `second` in even turns; give them back in the order passed."""
    if turn % 2 == 0:
        one = _timed(first)
        return one, _timed(second)
    two = _timed(second)
    return _timed(first), two


def _rounds(count: int, seconds: float) -> Iterator[int]:
    """Count up to `count`, but stop early once `seconds` have passed."""
    end = time.perf_counter() + seconds
    for number in range(count):
        yield number
        if time.perf_counter() > end:
            return


def _open_row(samples: Samples, path: Path) -> Row:
    usual: list[float] = []
    ours: list[float] = []
    for turn in _rounds(15, seconds=10):
        opened = partial(samples.open_usually, path), partial(samples.open, path)
        (a, npz_a), (b, npz_b) = _in_turn(*opened, turn)
        npz_a.close()
        npz_b.close()
        usual.append(a)
        ours.append(b)
    return _time_row("open", statistics.median(usual), statistics.median(ours))


def _member_row(samples: Samples, names: list[str]) -> Row:
    times: list[tuple[float, float]] = []
    for turn in _rounds(len(names), seconds=10):
        read = partial(samples.get_usually, names[turn]), partial(samples.get, names[turn])
        (a, expected), (b, got) = _in_turn(*read, turn)
        if not _equal(got, expected):
            raise DemoError(f"{names[turn]} read by fastzip differs from {samples.usual}'s")
        times.append((a, b))
    usual, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return _time_row(samples.one, usual, ours)


# What an open archive weighs: the growth of a fresh process that has done everything once
# already, on another archive, so that modules and caches don't count. A lookup by name
# belongs to it, for it's then that an index of the names has to exist.
_CHILD = """
import gc, sys
loader, small, path, key = sys.argv[1:]
if loader == "numpy":
    from numpy import load
else:
    from fastzip import load

def resident():
    gc.collect()
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

with load(small) as npz:
    assert "a" in npz
before = resident()
with load(path) as npz:
    assert key in npz
    print(1024 * (resident() - before))
"""


def _memory_row(path: Path, key: str, members: int) -> Row:
    grown: dict[str, list[int]] = {"numpy": [], "fastzip": []}
    with tempfile.TemporaryDirectory(prefix="fastzip-demo-") as directory:
        small = Path(directory, "small.npz")
        np.savez(small, a=np.zeros(1))
        for _ in _rounds(5, seconds=5):
            for loader, values in grown.items():
                values.append(_growth(loader, small, path, key))
    # Memory comes in pages, so less than one of them can't be told apart from none.
    page = os.sysconf("SC_PAGE_SIZE")

    def cell(grown: float) -> str:
        return f"{'< ' if grown < page else ''}{max(grown, page) / members:,.0f} bytes"

    usual, ours = (statistics.median(values) for values in grown.values())
    ratio = "> " * (ours < page) + _ratio(max(usual, page) / max(ours, page))
    if max(usual, ours) < HEAP_NOISE:
        ratio = "-"
    return Row("memory per member", cell(usual), cell(ours), ratio)


def _growth(loader: str, small: Path, path: Path, key: str) -> int:
    # -P and PYTHONPATH: the child finds the modules where this process found them.
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path))
    child = subprocess.run(
        [sys.executable, "-P", "-c", _CHILD, loader, str(small), str(path), key],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        said = child.stderr.strip().splitlines() or [f"status {child.returncode}"]
        raise DemoError(f"the process that measures memory failed: {said[-1]}")
    return int(child.stdout)


def _epoch_row(
    samples: Samples, order: NDArray[np.int64], batch: int, threads: int | None
) -> tuple[Row, Any]:
    """Read the epoch both ways; give the table's row and the first batch."""
    read = samples.begin(order, batch, threads)
    first: Any = None
    seconds_usual = seconds_ours = 0.0
    with _progress(len(order), "one shuffled epoch") as tick:
        for number, start in enumerate(range(0, len(order), batch)):
            chosen = order[start : start + batch]
            (a, expected), (b, got) = _in_turn(
                partial(samples.read_usually, chosen), partial(read, chosen), number
            )
            seconds_usual += a
            seconds_ours += b
            _check_batch(number, samples, chosen, expected, got)
            first = expected if first is None else first
            tick(len(chosen))
    row = Row(
        "shuffled epoch",
        f"{three(len(order) / seconds_usual)} samples/s",
        f"{three(len(order) / seconds_ours)} samples/s",
        _ratio(seconds_usual / seconds_ours),
    )
    return row, first


def _check_batch(
    number: int, samples: Samples, chosen: NDArray[np.int64], expected: Any, got: Any
) -> None:
    names, dtype = [samples.name(i) for i in chosen], samples.dtype
    if dtype is not None:
        if got.dtype != dtype or got.shape != expected.shape:
            raise DemoError(
                f"batch {number} is {got.dtype} {got.shape}, not {dtype} {expected.shape}, "
                f"from member {names[0]} on"
            )
        expected = expected.astype(dtype, copy=False)
        if _equal(got, expected):
            return
    wrong = [name for name, a, b in zip(names, got, expected, strict=True) if not _equal(a, b)]
    if wrong:
        raise DemoError(
            f"batch {number} differs from {samples.usual} in {plural(len(wrong), 'member')}, "
            f"first in {wrong[0]}"
        )


def _equal(one: Any, other: Any) -> bool:
    """Are these arrays of the same dtype, shape and bits, with NaNs and zeros of either sign, or
    are these the same bytes?"""
    if isinstance(other, bytes):
        return bool(one == other)
    one, other = np.asarray(one), np.asarray(other)
    alike = one.dtype == other.dtype and one.shape == other.shape
    return bool(alike and one.tobytes() == other.tobytes())


def _progress(total: int, what: str) -> contextlib.AbstractContextManager[Callable[..., Any]]:
    return console.count_bar(what, total, console.bars(), lines=True)


def _say(text: str) -> None:
    print(text, flush=True)  # at once, also into a pipe


def _time_row(what: str, usual: float, ours: float) -> Row:
    return Row(what, duration(usual), duration(ours), _ratio(usual / ours))


def _ratio(value: float) -> str:
    return f"{value:,.1f}x" if value < 100 else f"{value:,.0f}x"


def _engines() -> str:
    """The engines in use, with the versions that fastzip.engines() tells."""
    found: dict[str, Any] = dict(fastzip.engines())
    named = []
    for name in dict.fromkeys(found[use] for use in ("batches", "inflate", "crc32")):
        version = found[name.replace("-", "_")]["version"]
        named.append(f"{name} {version}" if version else name)
    return ", ".join(named)
