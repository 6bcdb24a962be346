"""``fastzip demo``: one shuffled epoch the usual way and with fetch, compared bit for bit.

Both ways are timed in turn, a batch of one and then the same batch of the other, and who goes
first changes with every batch: what else the machine does meets both alike.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import fastzip
from fastzip import _demo_data
from fastzip._console import duration, plural, three
from fastzip._demo_data import DemoError

T = TypeVar("T")

# An archive of one's own may hold more than anyone wants to wait for, or than memory holds.
OWN_SAMPLES = 20_000
OWN_BYTES = 4 << 30
BATCH_BYTES = 256 << 20
WARM_BYTES = 2 << 30
# The heap grows in steps of about this size: smaller archives have no ratio worth printing.
HEAP_NOISE = 256 << 10
SHEET_NAME = "fastzip-demo.png"


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


@dataclass
class Group:
    """Members of equal dtype and shape, which can be stacked into batches."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    keys: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    @property
    def native(self) -> np.dtype[Any]:
        """The dtype of a batch: the byte order of this machine, whatever the file has."""
        return self.dtype.newbyteorder("=")

    @property
    def nbytes(self) -> int:
        """Bytes of one member."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


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
    _demo_data.require_extra()
    sheet = options.sheet or (options.directory or Path()) / SHEET_NAME
    with contextlib.ExitStack() as stack:
        if options.directory is not None:
            options.directory.mkdir(parents=True, exist_ok=True)
        # Now, not after a minute of work.
        if not sheet.parent.is_dir():
            raise DemoError(f"{sheet.parent}: no such directory for the contact sheet")

        if options.archive is not None:
            _compare(options, options.archive, sheet)
            return
        directory = options.directory
        if directory is None:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastzip-demo-"))
            directory = Path(name)
        made = _make(directory, options.members, kept=options.directory is not None)
        _compare(options, made.images, sheet, made.labels)


def _make(directory: Path, members: int, *, kept: bool) -> _demo_data.Made:
    start = time.perf_counter()
    with _progress(members, "drawing glyphs") as tick:
        made = _demo_data.make(directory, members, tick=tick)
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
        usual = stack.enter_context(np.load(path))
        own = options.archive is not None
        group, left_out = _choose(ours, path)
        rng = np.random.default_rng(_demo_data.SEED)
        order = rng.permutation(len(group.keys))
        notes = [left_out] if left_out else []
        order, batch = _cap(options, group, order, own, notes)

        size = path.stat().st_size
        inflated = sum(info.file_size for info in usual.zip.infolist())
        if size <= WARM_BYTES:
            _warm(path)

        rows = []
        with _progress(3, "open, memory, one member") as tick:
            rows.append(_open_row(path))
            tick()
            rows.append(_memory_row(path, group.keys[0], len(ours)))
            tick()
            rows.append(_member_row(usual, ours, [group.keys[i] for i in order[:300]]))
            tick()
        epoch, first = _epoch_row(usual, ours, group, order, batch, options.threads)
        rows.append(epoch)

    _say(
        f"\n{path.name}: {len(group.keys):,} members of {group.dtype} {group.shape}, "
        f"{size / 2**20:.1f} MiB, compressed {inflated / max(1, size):.1f}x"
    )
    for note in notes:
        _say(note)
    threads = options.threads or fastzip.get_num_threads()
    _say(
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"fastzip {fastzip.__version__} ({_engines()}), {plural(threads, 'thread')}, "
        f"batches of {batch}\n"
    )
    _print_table(rows)
    _say(
        f"\nAll {len(order):,} samples, in {plural(-(-len(order) // batch), 'batch', 'batches')}, "
        "are equal bit for bit."
    )
    keys = [group.keys[i] for i in order[:batch]]
    if labels is not None:
        classes = _demo_data.read_labels(labels)
        titles = [classes[i] for i in order[:batch]]
    else:
        titles = keys
    drawn = _demo_data.write_sheet(
        sheet, first, titles, f"{path.name}: one batch of a shuffled epoch"
    )
    if drawn:
        _say(f"Contact sheet of {plural(drawn, 'sample')}: {sheet}")
    else:
        _say(f"No contact sheet: {group.dtype} {group.shape} is nothing to draw.")


def _choose(npz: Any, path: Path) -> tuple[Group, str]:
    """Find the largest group of equal members, and say what it leaves out."""
    groups: dict[tuple[np.dtype[Any], tuple[int, ...]], Group] = {}
    left: Counter[str] = Counter()
    times = Counter(npz.files)
    with _progress(len(npz.files), "reading headers") as tick:
        for position, name in enumerate(npz.files):
            tick()
            if times[name] > 1:
                # A name finds the last of them, a position finds its own: no comparison.
                left["named twice"] += 1
                continue
            try:
                spec = npz.spec(name)
            except (ValueError, NotImplementedError):
                left["not a plain array"] += 1
                continue
            if spec.dtype.hasobject:
                left["not a plain array"] += 1
                continue
            kind = (spec.dtype, tuple(spec.shape))
            group = groups.setdefault(kind, Group(*kind))
            group.keys.append(name)
            group.positions.append(position)
    if not groups:
        raise DemoError(f"{path}: no member is a plain array that could be fetched")
    best = max(groups.values(), key=lambda group: len(group.keys))
    others = sum(len(group.keys) for group in groups.values()) - len(best.keys)
    if others:
        left["of another dtype or shape"] = others
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left.items())
    return best, f"Left out: {reasons}." if reasons else ""


def _cap(
    options: Options, group: Group, order: NDArray[np.int64], own: bool, notes: list[str]
) -> tuple[NDArray[np.int64], int]:
    """Shorten the epoch and the batch to what is asked for or bearable, and note it."""
    most = options.limit or len(order)
    if own and options.limit is None:
        most = min(OWN_SAMPLES, max(1, OWN_BYTES // max(1, group.nbytes)))
    if most < len(order):
        notes.append(
            f"The epoch is cut to {most:,} of {len(order):,} samples; --limit changes that."
        )
        order = order[:most]
    batch = min(options.batch, max(1, BATCH_BYTES // max(1, group.nbytes)))
    if batch < options.batch:
        notes.append(f"Batches hold {batch}, not {options.batch}: the members are large.")
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


def _open_row(path: Path) -> Row:
    usual: list[float] = []
    ours: list[float] = []
    for turn in _rounds(15, seconds=10):
        (a, npz_a), (b, npz_b) = _in_turn(lambda: np.load(path), lambda: fastzip.load(path), turn)
        npz_a.close()
        npz_b.close()
        usual.append(a)
        ours.append(b)
    return _time_row("open", statistics.median(usual), statistics.median(ours))


def _member_row(usual: Any, ours: Any, keys: list[str]) -> Row:
    times: list[tuple[float, float]] = []
    for turn in _rounds(len(keys), seconds=10):
        name = keys[turn]
        (a, expected), (b, got) = _in_turn(
            partial(usual.__getitem__, name), partial(ours.__getitem__, name), turn
        )
        if got.dtype != expected.dtype or not _equal(got, expected):
            raise DemoError(f"{name} read by fastzip differs from what np.load read")
        times.append((a, b))
    return _time_row(
        "one random member",
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


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
    usual: Any,
    ours: Any,
    group: Group,
    order: NDArray[np.int64],
    batch: int,
    threads: int | None,
) -> tuple[Row, NDArray[Any]]:
    """Read the epoch both ways; give the table's row and a copy of the first batch."""
    positions = np.asarray(group.positions, np.int64)
    out = np.empty((min(batch, len(order)), *group.shape), group.native)
    first: NDArray[Any] | None = None
    seconds_usual = seconds_ours = 0.0
    with _progress(len(order), "one shuffled epoch") as tick:
        for number, start in enumerate(range(0, len(order), batch)):
            rows = order[start : start + batch]
            keys = [group.keys[i] for i in rows]

            into = partial(ours.fetch, positions[rows], out=out[: len(rows)], threads=threads)
            (a, expected), (b, got) = _in_turn(partial(_stack, usual, keys), into, number)
            seconds_usual += a
            seconds_ours += b
            _check_batch(number, keys, expected, got, group.native)
            first = expected if first is None else first
            tick(len(rows))
    assert first is not None
    row = Row(
        "shuffled epoch",
        f"{three(len(order) / seconds_usual)} samples/s",
        f"{three(len(order) / seconds_ours)} samples/s",
        _ratio(seconds_usual / seconds_ours),
    )
    return row, first


def _stack(npz: Any, keys: list[str]) -> NDArray[Any]:
    """Read a batch the usual way."""
    return np.stack([npz[name] for name in keys])


def _check_batch(
    number: int,
    keys: list[str],
    expected: NDArray[Any],
    got: NDArray[Any],
    native: np.dtype[Any],
) -> None:
    if got.dtype != native or got.shape != expected.shape:
        raise DemoError(
            f"batch {number} is {got.dtype} {got.shape}, not {native} {expected.shape}, "
            f"from member {keys[0]} on"
        )
    expected = expected.astype(native, copy=False)
    if _equal(got, expected):
        return
    wrong = [name for name, a, b in zip(keys, got, expected, strict=True) if not _equal(a, b)]
    raise DemoError(
        f"batch {number} differs from np.load in {plural(len(wrong), 'member')}, "
        f"first in {wrong[0]}"
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether both have the same shape and the same bits; NaNs and zeros of either sign count."""
    return bool(np.shape(one) == np.shape(other) and one.tobytes() == other.tobytes())


@contextlib.contextmanager
def _progress(total: int, what: str) -> Iterator[Callable[..., object]]:
    """Show a bar on a terminal while the block runs; give what moves it on."""
    from tqdm import tqdm

    # An argument outranks tqdm's own reading of TQDM_DISABLE, so it's read here.
    off = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    with tqdm(total=total, desc=what, leave=False, disable=off or None) as bar:
        yield bar.update


def _print_table(rows: list[Row]) -> None:
    table = [astuple(row) for row in [Row("", "np.load", "fastzip", "ratio"), *rows]]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    for what, *cells in table:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        _say("   ".join((what.ljust(widths[0]), *aligned)))


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
