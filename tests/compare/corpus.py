"""Judges readers over a folder of hostile archives, and makes the table that compares them.

    python tests/compare/corpus.py FOLDER --judge JUDGE.PY [--python PYTHON] [--arrays] [--huge]

FOLDER holds archives and a manifest.json, whose "cases" say for each file what must happen, and at
which level: "must" (a bug if broken) or "policy" (another choice is fine). Folder and judge come
from a generator of one's own; the judge is a program that is called as

    PYTHON JUDGE.PY judge FOLDER --reader readers:FUNCTION --json FILE
        --timeout S --mem MIB --rss MIB [--npy] [--huge]

runs the function over the cases in child processes with these limits, prints a line "CATEGORY
VERDICT LEVEL COUNT" for each sum and "policy FILE VERDICT NOTE" for each other choice, and writes
what failed as a list of {file, verdict, note}.

The table is Markdown: for each reader how many of the cases it breaks at the level "must", by kind.
Exit status 1 if fastzip breaks any. The readers are those of readers.py; --only takes the rows with
a name that holds TEXT. Go's reader is left out where there is no `go`. Eight threads may take eight
times the memory and time.

For fastzip built with sanitizers (noxfile.py, session sanitizers, shows how), give the environment,
which the judge's children inherit, and room for the shadow memory:

    LD_PRELOAD="$(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libasan.so)"
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:verify_asan_link_order=0:abort_on_error=1
    UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
    PYTHONMALLOC=malloc
    python tests/compare/corpus.py FOLDER --judge JUDGE.PY --only fastzip --mem 67108864 --rss 4096

With --huge there are members above 4 GiB, which fastzip reads into memory: give --mem 12288.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
THREADS = 8

KINDS = {
    "ACCEPTS": "accepted, must be refused",
    "rejects": "refused, must be read",
    "SHORT": "fewer bytes, no error",
    "DROPS": "members dropped, no error",
    "WRONG": "wrong bytes",
    "BOMB": "unbounded",
    "OOM": "out of memory",
    "MEM": "too much memory",
    "HANG": "hang",
    "CRASH": "crash",
    "PICKLE": "ran a pickle",
}


@dataclass
class Reader:
    """A row of the table."""

    name: str
    function: str
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)
    at_once: int = 1
    """Readings at once: so many times the memory and time."""
    cases: int = 0
    broken: list[dict[str, str]] = field(default_factory=list)
    """At the level "must"."""
    choices: list[dict[str, str]] = field(default_factory=list)
    """At the level "policy"."""


def version_of(python: str) -> str:
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version_in(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.only or any(text in name for text in options.only)


def go_reader(folder: Path) -> Reader:
    """Build the program first."""
    program = str(folder / "gozip")
    command = ["go", "build", "-o", program, str(HERE / "gozip.go")]
    subprocess.run(command, check=True, env={**os.environ, "GO111MODULE": "off"})
    version = subprocess.run(["go", "version"], capture_output=True, text=True, check=True)
    number = version.stdout.split()[2].removeprefix("go")
    environment = {"COMPARE_GOZIP": program}
    return Reader(f"archive/zip, Go {number}", "go_members", environment=environment)


def readers(options: argparse.Namespace, folder: Path) -> list[Reader]:
    """The rows that there can be here."""
    engines = ("zlib-ng", "libdeflate")
    function = "fastzip_arrays" if options.arrays else "fastzip_members"
    rows = [
        Reader(f"fastzip, {engine}", function, environment={"FASTZIP_ENGINE": engine})
        for engine in engines
    ]
    if not options.huge:  # eight times 4 GiB is too much for most machines
        rows += [
            Reader(
                f"{row.name}, {THREADS} threads",
                f"{function}_{THREADS}_threads",
                environment=row.environment,
                at_once=THREADS,
            )
            for row in rows
        ]
    if options.arrays:
        rows.append(Reader(f"numpy.load {version_in('numpy')}", "numpy_arrays"))
        return rows
    for python in [sys.executable, *options.python]:
        rows.append(Reader(f"zipfile, Python {version_of(python)}", "zipfile_members", python))
    if shutil.which("go") and wanted("archive/zip, Go", options):
        rows.append(go_reader(folder))
    return rows


def judge(reader: Reader, options: argparse.Namespace, folder: Path) -> None:
    """Run the judge; what it finds goes into `reader`."""
    failures = folder / "failures.json"
    where = [os.path.abspath(name) for name in (options.judge, options.folder)]
    command = [reader.python, where[0], "judge", where[1]]
    command += ["--reader", f"readers:{reader.function}", "--json", str(failures)]
    command += ["--timeout", str(options.timeout * reader.at_once)]
    command += ["--mem", str(options.mem * reader.at_once)]
    command += ["--rss", str(options.rss * reader.at_once)]
    command += ["--npy"] * options.arrays + ["--huge"] * options.huge
    environment = {**os.environ, **reader.environment, "PYTHONPATH": str(HERE)}
    failures.unlink(missing_ok=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=HERE, env=environment)
    if not failures.exists():
        raise SystemExit(f"{reader.name}: the judge failed:\n{done.stdout[-2000:]}")
    level = {case["file"]: case["level"] for case in cases_of(options.folder)}
    for failure in json.loads(failures.read_text()):
        (reader.broken if level[failure["file"]] == "must" else reader.choices).append(failure)
    for line in done.stdout.splitlines():
        if total := re.fullmatch(r"\S+ \S+ (?:must|policy) (\d+)", line):
            reader.cases += int(total[1])
        elif choice := re.fullmatch(r"policy (\S+) (\S+) ?(.*)", line):
            reader.choices.append(
                dict(zip(("file", "verdict", "note"), choice.groups(), strict=True))
            )


def cases_of(folder: str) -> list[dict[str, Any]]:
    manifest = json.loads(Path(folder, "manifest.json").read_text())
    cases: list[dict[str, Any]] = manifest["cases"]
    return cases


def table(rows: list[Reader]) -> str:
    """In Markdown; a column for each kind that occurs."""
    kinds = [kind for kind in KINDS if any(b["verdict"] == kind for r in rows for b in r.broken)]
    heads = ["reader", "cases", "broken", *(KINDS[kind] for kind in kinds), "other choices"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        of = Counter(failure["verdict"] for failure in row.broken)
        cells = [
            row.name,
            f"{row.cases:,}",
            str(len(row.broken)),
            *(str(of[kind]) for kind in kinds),
        ]
        lines.append("| " + " | ".join([*cells, str(len(row.choices))]) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare readers over judged hostile archives.")
    parser.add_argument("folder", help="archives and their manifest.json")
    parser.add_argument("--judge", required=True, help="the program that judges a reader")
    parser.add_argument("--python", action="append", default=[], help="another one's zipfile, too")
    parser.add_argument("--arrays", action="store_true", help="judge .npy and .npz as arrays")
    parser.add_argument("--huge", action="store_true", help="with the giants")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="rows' names")
    parser.add_argument("--mem", type=int, default=2048, help="address space of a reader, MiB")
    parser.add_argument("--rss", type=int, default=512, help="memory that a case may take, MiB")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for a case")
    parser.add_argument("--details", action="store_true", help="list what is broken, or chosen")
    parser.add_argument("--json", metavar="FILE", help="write all that was found")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        rows = [row for row in readers(options, Path(name)) if wanted(row.name, options)]
        for row in rows:
            print(f"{row.name} …", file=sys.stderr, flush=True)
            judge(row, options, Path(name))
    print(table(rows))
    if options.details:
        for row in rows:
            for level, found in (("must", row.broken), ("policy", row.choices)):
                for one in found:
                    print(
                        f"\n{row.name}: {level}: {one['file']}: {one['verdict']}: {one['note']}",
                        end="",
                    )
        print()
    if options.json:
        found = {
            row.name: {"cases": row.cases, "must": row.broken, "policy": row.choices}
            for row in rows
        }
        Path(options.json).write_text(json.dumps(found, indent=1))
    return int(any(row.broken for row in rows if row.name.startswith("fastzip")))


if __name__ == "__main__":
    sys.exit(main())
