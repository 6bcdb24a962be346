"""The speed table, by one command: every row, with either engine, as Markdown.

    python bench/speed_table.py [--engine both] [--quick] [--rows PATTERN] [--json FILE]

Every row is measured in a process of its own (`measure.py`). A row that misses its target says
`short`; the exit status tells only whether everything could be measured.
"""

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bare
import data
from rows import ROWS, Row

ENGINES = [*bare.ENGINES, bare.INTERLEAVED, "both"]
COLUMNS = ("work", "against", "engine", "A", "B", "A / B", "quartiles", "target", "", "note")


def measured(row: Row, engine: str, quick: bool) -> dict[str, Any]:
    """What `measure.py` says of this row, or why it couldn't."""
    program = str(Path(__file__).with_name("measure.py"))
    command = [sys.executable, program, row.id, *(["--quick"] if quick else [])]
    environment = os.environ | {"FASTZIP_ENGINE": engine}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result
    why = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return {"row": row.id, "engine": engine, "failed": why[0]}


def amount(value: float, unit: str) -> str:
    """Three digits and a unit that a reader needn't count zeros for."""
    if unit == "B":
        return f"{value:.1f} B"
    for scale, name in (1, "s"), (1e3, "ms"):
        if value * scale >= 1:
            return f"{value * scale:.3g} {name}"
    return f"{value * 1e6:.3g} µs"


def times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def line(row: Row, result: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one row of the table."""
    wanted = row.wanted(result["engine"])
    target = "shown" if wanted is None else f"{wanted:g}"
    head = (row.title, row.against, result["engine"])
    if "failed" in result:
        return (*head, "", "", "", "", target, "failed", result["failed"].replace("|", "/"))
    verdict = "" if wanted is None else "ok" if result["ratio"] >= wanted else "short"
    spread = " … ".join(map(times, result["quartiles"]))
    figures = (amount(result["a"], row.unit), amount(result["b"], row.unit), times(result["ratio"]))
    return (*head, *figures, spread, target, verdict, result["note"])


def surroundings() -> str:
    """What the figures depend on: versions and the processor."""
    parts = [f"Python {platform.python_version()}"]
    for name in "fastzip-reader", "numpy", "zlib-ng", "deflate":
        with suppress(PackageNotFoundError):
            parts.append(f"{name} {version(name)}")
    model = platform.machine()
    with suppress(OSError), open("/proc/cpuinfo") as file:
        named = [text.split(":", 1)[1].strip() for text in file if text.startswith("model name")]
        model = named[0] if named else model
    cpus = len(os.sched_getaffinity(0))
    return f"{', '.join(parts)}; {model}, {cpus} CPUs, load {os.getloadavg()[0]:.1f}"


def progress(tasks: list[tuple[Row, str]]) -> Any:
    """The tasks, with a bar where somebody looks and tqdm is there."""
    if sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm

            return tqdm(tasks, unit="row", leave=False)
    return tasks


def main() -> int:
    parser = argparse.ArgumentParser(description="Print fastzip's speed table.")
    parser.add_argument("--engine", choices=ENGINES, default="both")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure")
    parser.add_argument("--rows", metavar="PATTERN", default="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    rows = [row for row in ROWS.values() if fnmatch.fnmatch(row.id, asked.rows)]
    engines = [*bare.ENGINES] if asked.engine == "both" else [asked.engine]
    for engine in engines:
        if engine != bare.INTERLEAVED and not bare.available(engine):
            parser.error(f"{engine} isn't installed")
    if not rows:
        parser.error(f"no row is called {asked.rows}")
    for name in data.TABLE:
        data.path(name)  # built before any clock starts
    print(surroundings(), end="\n\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    results = []
    for row, engine in progress([(row, engine) for row in rows for engine in engines]):
        result = measured(row, engine, asked.quick)
        print(f"| {' | '.join(line(row, result))} |", flush=True)
        results.append(result | {"target": row.wanted(engine)})
    if asked.json:
        Path(asked.json).write_text(json.dumps({"on": surroundings(), "rows": results}, indent=1))
    return any("failed" in result for result in results)


if __name__ == "__main__":
    sys.exit(main())
