"""The command `python -m bench`: arguments, progress, files.

It writes results.json, results.md and pictures (PNG and SVG).
"""

import argparse
import fnmatch
import shlex
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import data
import report
from contenders import CONTENDERS, CONTEXT
from rounds import Result, able, convert, measure
from suite import SIZES, Size, Task, tasks

from fastzip._cli import console as _console


def main() -> int:
    asked = _parser().parse_args()
    work = [task for task in tasks(asked.size) if _fits(task.id, asked.work)]
    readers = [name for name in CONTENDERS if _fits(name, asked.readers)]
    if readers:  # these stay: others are held against them
        readers = [name for name in CONTENDERS if name in ("np.load", "zipfile", *readers)]
    if not work or not readers:
        print("bench: nothing of that name; --list shows what there is", file=sys.stderr)
        return 2
    if asked.list:
        return show(work)
    root = Path(__file__).resolve().parent.parent
    if asked.publish and (asked.work != "*" or asked.readers != "*" or asked.size == "check"):
        print("bench: only a whole run is published", file=sys.stderr)
        return 2
    folder = Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        results = run(work, readers, SIZES[asked.size], _seconds(asked))
    except KeyboardInterrupt:
        return 130
    run_of = report.about(_command(asked), _seconds(asked), readers)
    return write(results, run_of, folder, root if asked.publish else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Every way of reading that is installed, side by side.",
        epilog="sizes: " + "; ".join(f"{name}: {size.text}" for name, size in SIZES.items()),
    )
    parser.add_argument("--size", choices=SIZES, default="quick", help="default: quick")
    parser.add_argument("--out", metavar="FOLDER", default="bench-results", help="for the results")
    parser.add_argument("--work", metavar="PATTERN", default="*", help="tasks, such as 'open-*'")
    parser.add_argument("--readers", metavar="PATTERN", default="*", help="readers: 'np.load*'")
    parser.add_argument("--seconds", type=float, metavar="S", help="instead of the size's own")
    parser.add_argument("--list", action="store_true", help="show tasks and readers, and end")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write the picture docs/bench.svg and the table in README.md too",
    )
    return parser


def _fits(name: str, patterns: str) -> bool:
    """One of these patterns, between semicolons."""
    return any(fnmatch.fnmatchcase(name, pattern.strip()) for pattern in patterns.split(";"))


def _seconds(asked: argparse.Namespace) -> float:
    seconds: float = SIZES[asked.size].seconds if asked.seconds is None else asked.seconds
    return seconds


def _command(asked: argparse.Namespace) -> str:
    """What was typed, as far as figures depend on it."""
    words = ["python", "-m", "bench", "--size", asked.size]
    for name, usual in (("work", "*"), ("readers", "*"), ("seconds", None)):
        if getattr(asked, name) != usual:
            words += [f"--{name}", str(getattr(asked, name))]
    return shlex.join(words)


def show(work: list[Task]) -> int:
    for task in work:
        print(f"{task.id:20} {task.title}")
    print()
    for contender in CONTENDERS.values():
        version = contender.version() or "" if contender.package or contender.program else "-"
        print(f"{contender.name:20} {version or 'not installed'}")
    return 0


def run(work: list[Task], readers: list[str], size: Size, left: float) -> list[Result]:
    """Do all tasks; what seconds are left are shared by the tasks that are left."""
    build(work, readers)
    results = []
    for i, task in enumerate(_bar(work)):
        begun = perf_counter()
        result = measure(task, readers, size, left / (len(work) - i))
        left = max(0.0, left - (perf_counter() - begun))
        results.append(result)
    return results


def build(work: list[Task], readers: list[str]) -> None:
    """The sets, before any clock starts."""
    for name in dict.fromkeys(["tiny", *(task.set for task in work if able(task, readers)[0])]):
        if not (data.folder() / f"{name}.npz").exists():
            print(f"bench: building {name}, once", file=sys.stderr, flush=True)
            data.path(name)
    for reader in CONTEXT:  # in processes of their own: this one imports none of them
        sets = [t.set for t in work if reader in (c.name for c in able(t, readers)[0])]
        if sets:
            convert(reader, list(dict.fromkeys(sets)))


def _bar(work: list[Task]) -> Any:
    """The tasks with a bar where somebody looks, otherwise a line for each."""
    if _console.bars():
        from tqdm import tqdm

        with tqdm(work, unit="task", leave=False) as shown:
            for task in shown:
                shown.set_description(task.id)
                yield task
        return
    for i, task in enumerate(work):
        print(f"bench: {i + 1} of {len(work)}, {task.id}", file=sys.stderr, flush=True)
        yield task


def write(results: list[Result], run: dict[str, Any], folder: Path, root: Path | None) -> int:
    """The files; 1 if anyone read something else, or fastzip couldn't do what it should."""
    (folder / "results.json").write_text(report.as_json(results, run))
    pictures: list[str] = []
    why = "no task has two readers"
    try:
        import plots

        pictures = plots.draw(results, folder)
    except ImportError as exc:
        why = f"a picture needs matplotlib ({exc})"
    text = report.as_markdown(results, run, [f"{name}.svg" for name in pictures])
    (folder / "results.md").write_text(text)
    print(text.partition("\n## Figures")[0].partition("\n## ")[2].join(("## ", "")))
    print(f"in {folder}: results.json, results.md, {len(pictures)} pictures as SVG and PNG")
    if not pictures:
        print(f"bench: no pictures: {why}", file=sys.stderr)
    if root is not None and "overview" in pictures:
        (root / "docs" / "bench.svg").write_bytes((folder / "overview.svg").read_bytes())
        report.publish(root / "README.md", report.table(results, run))
        print("written: docs/bench.svg and the table in README.md")
    failed = [f"{name}: {why}" for result in results for name, why in result.wrong.items()]
    for result in results:
        for name, reason in result.skipped.items():
            if name == "fastzip" and result.task and not result.task.cold:
                failed.append(f"{name}, {result.name}: {reason}")
    for line in failed:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if failed else 0
