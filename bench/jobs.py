"""The kinds of work, said once for all contenders: what is drawn, done and timed, and compared.

A draw says which members, and is made before the clock starts. Nothing that is opened, extracted
or allocated is let go while the clock runs.
"""

import gc
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data
import numpy as np
from cache import drop
from contenders import Ways
from suite import Task

import fastzip


@dataclass
class Job:
    """A task in the hands of a contender."""

    draw: Callable[[int], Any]
    do: Callable[[Any], object]  # what is timed
    check: Callable[[Any], str]  # the same, and a digest of what came out
    reset: Callable[[], object] = lambda: None  # before each, not timed


@contextmanager
def job(task: Task, ways: Ways) -> Iterator[Job]:
    """Everything that is opened for the task is closed at the end."""
    with ExitStack() as stack:
        path = ways.path(task.set)
        made = KINDS[task.kind](task, ways, path, stack)
        if task.cold:
            warm = made.reset

            def reset() -> None:
                warm()
                drop(path)

            made.reset = reset
        yield made


def digest(*arrays: Any) -> str:
    """Of dtypes, shapes and contents, whatever the order of the bytes in memory."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        found.update(f"{native.dtype} {native.shape}".encode())
        found.update(native.tobytes())
    return found.hexdigest()


def _opened(ways: Ways, path: str, stack: ExitStack) -> Any:
    archive, *ways.others = (ways.open(path) for _ in range(1 if ways.shared else ways.threads))
    for one in archive, *ways.others:
        stack.callback(one.close)
    return archive


def _members(task: Task, count: int, seed: int) -> tuple[list[str], Any]:
    chosen = np.random.default_rng(seed).permutation(data.SETS[task.set].members)[:count]
    return [data.NAME.format(i) for i in chosen.tolist()], chosen


def _opening(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    held: list[Any] = []

    def reset() -> None:
        for archive in held:
            archive.close()
        held.clear()
        gc.collect()

    def do(_: Any) -> None:
        for _ in range(task.count):
            held.append(ways.open(path))

    def check(seed: int) -> str:
        do(None)
        (key,), (position,) = _members(task, 1, seed)
        array = ways.one(held[-1], key, int(position))
        return f"{ways.count(held[-1])} members, {digest(array)}"

    stack.callback(reset)
    return Job(lambda seed: seed, do, check, reset)


def _ones(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    archive = _opened(ways, path, stack)

    def do(draw: Any) -> None:
        for key, position in draw:
            ways.one(archive, key, position)

    def draw(seed: int) -> Any:
        keys, chosen = _members(task, task.count, seed)
        return list(zip(keys, chosen.tolist(), strict=True))

    def check(draw: Any) -> str:
        return digest(*(ways.one(archive, key, position) for key, position in draw))

    return Job(draw, do, check)


def _batches(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    archive = _opened(ways, path, stack)
    read = ways.padded if task.kind == "padded" else ways.batch
    return Job(
        lambda seed: _members(task, task.count, seed),
        lambda draw: read(archive, *draw),
        lambda draw: digest(read(archive, *draw)),
    )


def _epochs(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    archive = _opened(ways, path, stack)
    keys = [data.NAME.format(i) for i in range(data.SETS[task.set].members)]

    def do(seed: int) -> None:
        for _batch in ways.epoch(archive, keys, seed, task.count):
            pass

    def check(seed: int) -> str:
        """Everyone has an order of their own: the samples are compared as a set."""
        batches = ways.epoch(archive, keys, seed, task.count)
        rows = [digest(row) for batch in batches for row in batch]
        return hashlib.blake2b("".join(sorted(rows)).encode()).hexdigest()[:32]

    return Job(lambda seed: seed, do, check)


def _files(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    folder = data.folder() / "samples"
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"suite-{i:03}.npz") for i in range(task.count)]
    for i, name in enumerate(paths):
        if not os.path.exists(name):
            values = np.random.default_rng(i).integers(0, 50, 1024, np.uint8)
            written = f"{name}.{os.getpid()}.npz"
            np.savez_compressed(written, image=values)
            os.replace(written, name)

    def read(name: str) -> Any:
        archive = ways.open(name)
        try:
            return ways.one(archive, "image", 0)
        finally:
            archive.close()

    return Job(
        lambda seed: [paths[i] for i in np.random.default_rng(seed).permutation(task.count)],
        lambda draw: [read(name) for name in draw] and None,
        lambda draw: digest(*map(read, draw)),
    )


def _extracting(task: Task, ways: Ways, path: str, stack: ExitStack) -> Job:
    """Into a new folder each time; in memory where there is /dev/shm, as in `archives.py`."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="fastzip-bench-", dir=base)
    stack.callback(shutil.rmtree, folder)
    made: list[str] = []

    def reset() -> None:
        while made:
            shutil.rmtree(made.pop())
        made.append(tempfile.mkdtemp(dir=folder))

    def check(_: Any) -> str:
        reset()
        ways.extract(path, made[-1])
        found = hashlib.blake2b(digest_size=16)
        for file in sorted(Path(made[-1]).rglob("*")):
            found.update(str(file.relative_to(made[-1])).encode())
            if file.is_file():
                found.update(hashlib.blake2b(file.read_bytes()).digest())
        return found.hexdigest()

    return Job(lambda _: None, lambda _: ways.extract(path, made[-1]), check, reset)


KINDS: dict[str, Callable[[Task, Ways, str, ExitStack], Job]] = {
    "open": _opening,
    "one": _ones,
    "big": _ones,
    "batch": _batches,
    "padded": _batches,
    "epoch": _epochs,
    "files": _files,
    "extract": _extracting,
}


def units(task: Task) -> int:
    """How many of the task's units one round has."""
    return task.count if task.kind in ("open", "one", "files") else 1


def growth(task: Task, ways: Ways) -> dict[str, int] | None:
    """Bytes by which the process grows when it opens the archive and reads a member by name; None
    where the system doesn't tell the peak.

    It has read a small one before, so that what is imported and allocated once doesn't count.
    """
    import probe

    def read(name: str) -> Any:
        archive = ways.open(ways.path(name))
        ways.one(archive, data.NAME.format(1), 1)
        return archive

    read("tiny").close()
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        return None
    before = probe.resident()
    archive = read(task.set)
    after, peak = probe.resident(), probe.peak()
    archive.close()
    fastzip.trim()
    return {"resident": after - before, "peak": peak - before}
