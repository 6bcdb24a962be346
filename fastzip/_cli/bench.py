"""``fastzip bench``: this archive, read in every way that is installed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

import fastzip
from fastzip._cli import console, members
from fastzip._cli.console import duration, escape, plural, size, table

if TYPE_CHECKING:
    from fastzip._cli.bench_rounds import Material, Task

HELP: Final = "measure every way to read this archive"
DESCRIPTION: Final = """\
Read this archive with np.load or zipfile, the same with zlib-ng and ISA-L in place of zlib, SPDL's
load_npz, libdeflate and cramjam called by hand, and with each of fastzip's engines, as far as they
are installed: open it, read members at random, a batch of 64 of them, and verify run after run of
neighbours. All must read the same before anything is timed. Readers take turns,
round by round; told are medians and quartiles, and how many times faster than the first reader,
also round by round. The file is in the page cache after the first round, so disks don't count."""
EXAMPLES: Final = """\
examples:
  fastzip bench training.npz
  fastzip bench training.npz --seconds 60 --threads 1 --plot bench.svg
  fastzip bench texts.zip --json > bench.json"""
_RIVALS: Final = ("cramjam", "spdl_io")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``bench``."""
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="time to take for all rounds, but one of each kind is done (default: 20)",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw bars into a .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="all rounds as one JSON object")
    members.add_threads(parser)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def run(args: argparse.Namespace) -> int:
    """Measure."""
    from fastzip._cli import bench_plot, bench_readers, bench_rounds

    if args.plot is not None:
        bench_plot.check(args.plot)
    threads = args.threads or fastzip.get_num_threads()
    material = bench_rounds.choose(args.archive)
    found, missing = bench_readers.readers(material.arrays, threads)
    tasks = bench_rounds.tasks(material)
    share = args.seconds / len(tasks)
    with contextlib.ExitStack() as stack:
        rivals, skipped = bench_rounds.check(material, found, stack)
        shown = console.bars(args.json)
        advance = stack.enter_context(console.count_bar("measuring", 100, shown))
        for task in tasks:
            bench_rounds.measure(
                task, rivals, share, lambda s: advance(round(100 * s / args.seconds))
            )
    names = [rival.reader.name for rival in rivals]
    about = _about(args.archive, material, threads, missing | skipped)
    if args.plot is not None:
        heading = f"{os.path.basename(args.archive)}, {plural(threads, 'thread')}"
        bench_plot.draw(args.plot, tasks, names, console.harmless(heading))
    if args.json:
        console.write(json.dumps(about | {"tasks": _as_json(tasks, names)}, indent=2) + "\n")
    else:
        console.write(_as_text(about, tasks, names))
    return 0


def _about(
    path: str, material: Material, threads: int, not_used: dict[str, str]
) -> dict[str, Any]:  # fmt: skip
    from fastzip._cli import machine

    versions = machine.versions() | {name: machine.version_of(name) for name in _RIVALS}
    return {
        "file": path,
        "file_size": os.stat(path).st_size,
        "members": len(material.names),
        "arrays": material.arrays,
        "threads": threads,
        "cpu": machine.cpu(),
        "versions": {k: v for k, v in versions.items() if v and k not in ("tqdm", "matplotlib")},
        "not_used": not_used,
        "notes": material.notes,
    }


def _as_json(tasks: list[Task], names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "task": task.name,
            "unit": task.unit,
            "readers": [
                {
                    "reader": name,
                    "seconds": dict(zip(("q1", "median", "q3"), task.summary(name), strict=True)),
                    "ratio": dict(
                        zip(("q1", "median", "q3"), task.ratio(name, names[0]), strict=True)
                    ),
                    "rounds": task.seconds[name],
                }
                for name in names
            ],
        }
        for task in tasks
    ]


def _as_text(about: dict[str, Any], tasks: list[Task], names: list[str]) -> str:
    paint = console.painter()
    kind = "arrays" if about["arrays"] else "members"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{paint(escape(about['file']), console.BOLD)}: {about['members']:,} {kind}, "
        f"{size(about['file_size'])}",
        f"{about['cpu']['model']}, {plural(about['threads'], 'thread')} for batches",
        versions,
        "all readers read the same; medians, [quartiles], times faster than the first",
    ]
    lines += about["notes"]
    out = "\n".join(lines) + "\n"
    for task in tasks:
        rounds = plural(len(task.seconds[names[0]]), "round")
        rows = [(f"{task.name} ({rounds})", "", "", "faster", "")]
        for name in names:
            low, middle, high = (_shown(task, value) for value in task.summary(name))
            if task.unit == "byte":  # the other way round, as a rate
                low, high = high, low
            first, ratio, last = (f"{r:.2f}" for r in task.ratio(name, names[0]))
            rows.append(
                (f"  {name}", middle, f"[{low}, {high}]", f"{ratio}x", f"[{first}, {last}]")
            )
        out += "\n" + table(rows)
    if about["not_used"]:
        out += "\nnot used:\n"
        for name, reason in about["not_used"].items():
            out += f"  {name}: {console.harmless(reason)}\n"
    return out


def _shown(task: Task, seconds: float) -> str:
    if task.unit == "byte":
        return f"{console.three(1 / seconds / 1e6)} MB/s"
    return duration(seconds)
