"""A run of the suite as JSON and as Markdown."""

import datetime
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, CONTEXT
from rounds import Result
from suite import OVERVIEW
from work import engine

from fastzip._cli import machine as _machine
from fastzip._cli.console import duration, harmless

BEGIN, END = "<!-- python -m bench --publish -->", "<!-- end -->"
SHOWN = ("np.load + zlib-ng", "np.load + ISA-L", "SPDL", "libdeflate by hand", "fastzip",
         "fastzip, zlib-ng")  # fmt: skip
"""Who stands in the table and the picture for a README, beside np.load."""


def about(command: str, seconds: float, wanted: list[str]) -> dict[str, Any]:
    """What the figures depend on."""
    versions = {
        "python": _machine.versions()["python"],
        "fastzip": _machine.versions()["fastzip"],
    } | {c.package or c.name: c.version() for c in CONTENDERS.values() if c.package or c.program}
    return {
        "command": command,
        "seconds": seconds,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _machine.cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "engine": engine(),
        "versions": {name: version for name, version in versions.items() if version},
        "order": wanted,
    }


def as_json(results: Iterable[Result], run: dict[str, Any]) -> str:
    """Everything, round by round."""
    tasks = [_task(result) for result in results]
    return json.dumps({"about": run, "tasks": tasks}, indent=1) + "\n"


def _task(result: Result) -> dict[str, Any]:
    task = result.task
    assert task is not None
    return {
        "id": task.id,
        "title": task.title,
        "kind": task.kind,
        "set": task.set,
        "count": task.count,
        "threads": task.threads,
        "cold": task.cold,
        "unit": task.unit,
        "usual": result.usual if result.seconds else task.usual,
        "curve": task.curve,
        "x": task.x,
        "readers": [
            {
                "reader": name,
                "seconds": _three(result.summary(name)),
                "ratio": _three(result.ratio(name, result.usual)),
                "memory": result.memory.get(name),
                "rounds": seconds,
            }
            for name, seconds in result.seconds.items()
        ],
        "skipped": result.skipped,
        "wrong": result.wrong,
    }


def _three(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("q1", "median", "q3"), values, strict=True))


# ---- Markdown --------------------------------------------------------------------------------


def times(ratio: float) -> str:
    """A ratio, with as many digits as count."""
    return f"{ratio:.0f}" if ratio >= 99.5 else f"{ratio:.1f}" if ratio >= 9.95 else f"{ratio:.2f}"


def as_markdown(results: list[Result], run: dict[str, Any], pictures: Iterable[str] = ()) -> str:
    """Ratios at a glance, all figures, and what wasn't done."""
    parts = ["# Benchmark", _surroundings(run)]
    parts += [f"![{Path(name).stem}]({name})" for name in pictures]
    for usual in "np.load", "zipfile":
        some = [result for result in results if result.seconds and result.usual == usual]
        if some:
            there = {name for result in some for name in result.seconds} - {usual}
            names = [name for name in CONTENDERS if name in there]
            parts += [f"## Times faster than {usual}", _glance(some, usual, names)]
    parts.append("## Figures")
    parts.append(
        "Medians and quartiles of the rounds, for one of what is named; how many times faster than "
        "the first reader, round by round, with quartiles; by how much the process grows."
    )
    for result in results:
        parts += [f"### {result.name}", _figures(result)]
    parts += ["## Not done", _not_done(results)]
    return "\n\n".join(parts) + "\n"


def _surroundings(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    cpu, cpus = run["cpu"]["model"], run["cpus"]
    return (
        f"`{run['command']}`, {run['date']}, on {cpu}, {cpus} CPUs, load "
        f"{run['load']:.1f} at the end. {harmless(versions)}. Everyone read the same before "
        "anything was timed, and took turns."
    )


def _grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _glance(results: list[Result], usual: str, names: list[str]) -> str:
    """A line for each task, a column for each of these readers."""
    rows = []
    for result in results:
        cells = [result.name, duration(result.summary(usual)[1])]
        for name in names:
            known = name in result.seconds
            cells.append(times(result.ratio(name, usual)[1]) if known else "")
        rows.append(cells)
    return _grid(["", usual, *names], rows)


def _figures(result: Result) -> str:
    rows = []
    for name in result.seconds:
        low, middle, high = map(duration, result.summary(name))
        first, ratio, last = map(times, result.ratio(name, result.usual))
        grown = result.memory.get(name)
        memory = f"{grown['resident'] / 2**20:.1f} MiB" if grown else ""
        rows.append([_named(name), middle, f"{low} … {high}", ratio, f"{first} … {last}", memory])
    count = len(next(iter(result.seconds.values()), []))
    return _grid(
        [f"{count} rounds", f"one {result.unit}", "quartiles", "ratio", "quartiles", "memory"], rows
    )


def _named(name: str) -> str:
    return f"{name} (another format)" if name in CONTEXT else name


def _not_done(results: list[Result]) -> str:
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        assert result.task is not None
        for name, reason in (result.skipped | result.wrong).items():
            found.setdefault((name, reason), []).append(result.task.id)
    rows = []
    for name in CONTENDERS:
        for (who, reason), ids in found.items():
            if who == name:
                listed = ", ".join(ids) if len(ids) <= 4 else f"{len(ids)} tasks"
                rows.append([name, harmless(reason).replace("|", "/"), listed])
    return _grid(["reader", "why", "what"], rows)


# ---- for a README ----------------------------------------------------------------------------


def overview(results: list[Result]) -> list[Result]:
    """The tasks that a README shows, as far as they were done."""
    by_id = {result.task.id: result for result in results if result.task}
    done = [by_id[name] for name in OVERVIEW if name in by_id and by_id[name].seconds]
    return [result for result in done if result.usual == "np.load"]


def table(results: list[Result], run: dict[str, Any]) -> str:
    """A short table for a README."""
    chosen = overview(results)
    names = [n for n in SHOWN if any(n in result.seconds for result in chosen)]
    busy = run["load"] > 1.5 * run["cpus"]
    text = (
        f"`{run['command']}` on {run['cpu']['model']}, {run['cpus']} CPUs"
        + (f" that had much else to do (load {run['load']:.0f}), so a rough look" if busy else "")
        + "; one thread; `np.load`'s time, and how many times faster the others are:"
    )
    return f"{text}\n\n{_glance(chosen, 'np.load', names)}"


def publish(readme: Path, text: str) -> None:
    """Put the table between its marks."""
    before = readme.read_text()
    if BEGIN not in before or END not in before.partition(BEGIN)[2]:
        raise ValueError(f"{readme} has no lines {BEGIN} and {END}")
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
