"""The suite's work: what is done with which data, at which size of a run.

A task is one kind of work (`jobs.py`) on one set (`data.py`). All contenders (`contenders.py`) do
the same task, each in a process of its own.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import data


@dataclass(frozen=True)
class Task:
    """One piece of work that is timed."""

    id: str
    kind: str
    set: str
    title: str
    size: str  # the smallest run that has it
    count: int = 1  # members of a batch, or pieces of work in one round
    threads: int = 1
    cold: bool = False  # the file's pages are dropped before each round
    unit: str = "batch"  # seconds are told for one
    curve: str = ""  # the curve that it is a point of,
    x: float = 0  # and where

    @property
    def usual(self) -> str:
        """What the others are held against."""
        return "zipfile" if self.kind == "extract" else "np.load"


@dataclass(frozen=True)
class Size:
    """How long a run may take, and how often each reader does each task at least."""

    seconds: float
    rounds: int
    text: str


SIZES = {
    "check": Size(5, 2, "seconds: do all readers agree here? No figures"),
    "quick": Size(80, 3, "under 2 minutes: a look"),
    "medium": Size(570, 7, "10 minutes"),
    "all": Size(3600, 11, "everything, about an hour"),
}
_ORDER = ("quick", "medium", "all")

CLASSES = {
    "small": "912 bytes (digits)",
    "bitmaps": "88 KB (bitmaps)",
    "tokens": "2 KB (token ids)",
    "img3k": "3 KB (images)",
    "float16k": "16 KB (float32)",
    "text": "22 KB (text)",
    "img96k": "96 KB (images)",
    "stored256k": "256 KB (float32, stored)",
}
_IN_QUICK = ("small", "bitmaps")
_IN_MEDIUM = (*_IN_QUICK, "img3k", "float16k", "stored256k")
MEMBERS = {"open1k": 1_000, "open60k": 60_000, "open250k": 250_000, "open1m": 1_000_000}
CURVES = {
    "members": "members of the archive",
    "member-size": "KiB of a member",
    "threads": "threads",
}


def _least(name: str) -> str:
    return "quick" if name in _IN_QUICK else "medium" if name in _IN_MEDIUM else "all"


def _threads() -> list[int]:
    """One, two and more: at least four, which a smaller machine has to share."""
    cpus = len(os.sched_getaffinity(0))
    return sorted({1, 2, 4, *([min(cpus, 16)] if cpus > 4 else [])})


def _opening() -> Iterator[Task]:
    for name, members in MEMBERS.items():
        yield Task(
            f"open-{members // 1000}k",
            "open",
            name,
            f"open {members:,} members",
            "all" if name == "open1m" else "quick",
            count=20 if members == 1000 else 1,
            unit="archive",
            curve="members",
            x=members,
        )


def _reading() -> Iterator[Task]:
    for name, title in CLASSES.items():
        text = f"one random member of {title}"
        yield Task(f"one-{name}", "one", name, text, _least(name), count=20, unit="array")
    for name, title, size in (
        ("big32m", "one array of 32 MB (float32)", "quick"),
        ("stored32m", "one array of 32 MB (float32, stored)", "medium"),
    ):
        yield Task(f"big-{name}", "big", name, title, size, unit="array")
        task = Task(f"big-{name}-2", "big", name, f"{title}, 2 threads", "medium", threads=2)
        yield replace(task, unit="array")


def _batches() -> Iterator[Task]:
    for name, title in CLASSES.items():
        for count in 64, 256:
            size = "all" if count == 256 and _least(name) == "medium" else _least(name)
            size = "medium" if count == 256 and size == "quick" else size
            text = f"batch of {count}, members of {title}"
            yield Task(f"batch{count}-{name}", "batch", name, text, size, count)
    for name, title in CLASSES.items():
        text = f"shuffled epoch in batches of 64, members of {title}"
        size = "quick" if name == "bitmaps" else "medium" if name in _IN_MEDIUM else "all"
        yield Task(f"epoch-{name}", "epoch", name, text, size, 64, unit="epoch")
        size = "medium" if size == "quick" else "all"
        text += ", 2 threads"
        yield Task(f"epoch-{name}-2", "epoch", name, text, size, 64, 2, unit="epoch")
    for name, title, size in (
        ("sentences", "1 to 2,048 token ids", "quick"),
        ("frames", "1 to 800 frames of 40 float32", "medium"),
    ):
        yield Task(f"padded-{name}", "padded", name, f"padded batch of 64, {title}", size, 64)


def _growing() -> Iterator[Task]:
    for kib in 1, 4, 16, 64, 256, 1024:
        name = f"grow{kib}k"
        text = f"batch of 64, members of {kib} KiB (text)"
        size = "quick" if kib in (1, 16, 256) else "medium"
        yield Task(name, "batch", name, text, size, 64, curve="member-size", x=kib)
    for threads in _threads():
        text = f"batch of 256, {threads} thread{'s' * (threads > 1)}, members of 16 KB (float32)"
        id = f"threads-{threads}"
        size = "medium" if threads <= 4 else "all"
        if threads <= 2:
            size = "quick"
        task = Task(id, "batch", "float16k", text, size, 256, threads)
        yield replace(task, curve="threads", x=threads)


def _files() -> Iterator[Task]:
    text = "a small file for each sample: open, read 1 KB, close"
    yield Task("files-1k", "files", "open1k", text, "quick", 100, unit="file")
    for name, title, size in (
        ("text10k", "2,000 files of 10 KB", "quick"),
        ("text1k20k", "20,000 files of 1 KB", "medium"),
        ("text100k", "1,500 files of 100 KB", "all"),
    ):
        for threads in 1, 2:
            text = f"extract {title}, {threads} thread{'s' * (threads > 1)}"
            least = size if threads == 1 or size != "quick" else "medium"
            id = f"extract-{name}" + "-2" * (threads == 2)
            yield Task(id, "extract", name, text, least, 1, threads, unit="archive")


def _cold() -> Iterator[Task]:
    for name, size in ("bitmaps", "quick"), ("img96k", "medium"), ("stored256k", "all"):
        text = f"batch of 64 of a file that isn't cached, members of {CLASSES[name]}"
        yield Task(f"cold-{name}", "batch", name, text, size, 64, 1, cold=True)
    text = "open 250,000 members of a file that isn't cached"
    yield Task("cold-open", "open", "open250k", text, "all", 1, 1, cold=True, unit="archive")


def _checks() -> Iterator[Task]:
    """All kinds of work on next to no data."""
    for kind, name, count, threads, unit in (
        ("open", "tiny", 2, 1, "archive"),
        ("one", "check", 5, 1, "array"),
        ("big", "check1", 1, 2, "array"),
        ("batch", "check", 20, 2, "batch"),
        ("padded", "check-unequal", 8, 1, "batch"),
        ("epoch", "check", 16, 2, "epoch"),
        ("files", "tiny", 5, 1, "file"),
        ("extract", "check-text", 1, 2, "archive"),
    ):
        yield Task(f"check-{kind}", kind, name, kind, "check", count, threads, unit=unit)
    yield Task("check-cold", "batch", "check", "batch, cold", "check", 20, cold=True)


KINDS = (_opening, _reading, _batches, _growing, _files, _cold, _checks)
TASKS = {task.id: task for kind in KINDS for task in kind()}
OVERVIEW = ("open-60k", "one-small", "batch64-bitmaps", "epoch-bitmaps", "big-big32m")
"""What the picture and the table for a README show; part of each run but `check`."""


def tasks(size: str) -> list[Task]:
    """Those of a run of this size, in their order."""
    if size == "check":
        return [task for task in TASKS.values() if task.size == "check"]
    wanted = _ORDER[: _ORDER.index(size) + 1]
    return [task for task in TASKS.values() if task.size in wanted]


def members(task: Task) -> int:
    return data.SETS[task.set].members
