"""Build the core for coverage and AddressSanitizer, and run the fuzz targets on it.

Everything happens in copies: the checkout is only read. What was found, and the corpus as it grew,
stay in the folder --corpus; a later run goes on from there. Exit status: 0 nothing found, 1 a
finding, 2 this can't be run, 3 there is no atheris for this Python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("directory", "members", "npy", "unequal", "differential")
BUILT_FROM = ("src", "fastzip", "setup.py", "pyproject.toml", "README.md", "LICENSE")
FLAGS = "-O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize=address,fuzzer-no-link"
FUZZER = ["-max_len=16384", "-timeout=60", "-rss_limit_mb=3072", "-print_final_stats=1"]
ASAN = "detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1"
MOST_FINDINGS = 5
"""So many of one target are enough."""


@dataclass
class Result:
    """What became of one target."""

    target: str
    executions: int = 0
    edges: int = 0
    features: int = 0
    corpus: int = 0
    wall: float = 0
    cpu: float = 0
    findings: list[Path] = field(default_factory=list)


def stop(message: str, status: int = 2) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(status)


def call(*command: str | Path, **variables: str) -> None:
    """Run a command quietly; show what it said if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-3000:], file=sys.stderr)
        stop(f"failed: {' '.join(map(str, command))}")


def find_clang() -> str:
    """A clang; installed where that is allowed."""
    names = [*(f"clang-{n}" for n in range(14, 23)), "clang"]
    for attempt in range(2):
        found = next((name for name in names if shutil.which(name)), None)
        if found is not None:
            return found
        if attempt or os.geteuid() or not shutil.which("apt-get"):
            break
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        packages = ("clang-14", "libclang-rt-14-dev")
        call("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    stop("fuzzing needs clang; on Debian: apt-get install clang-14 libclang-rt-14-dev")


class Build:
    """A copy of the tree, and a virtual environment with the core built for fuzzing."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.venv = folder / "tree", folder / "venv"
        self.python, self.seeds = self.venv / "bin" / "python", folder / "seeds"
        files = [p for name in BUILT_FROM for p in sorted([ROOT / name, *(ROOT / name).rglob("*")])]
        state = hashlib.sha256(sys.version.encode() + FLAGS.encode())
        for path in files:
            if path.is_file() and path.suffix not in (".so", ".pyc") and path.name != "_core.c":
                state.update(path.name.encode() + path.read_bytes())
        shutil.rmtree(self.tree, ignore_errors=True)
        unwanted = shutil.ignore_patterns("*.so", "_core.c", "__pycache__")
        for name in (*BUILT_FROM, "tests"):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.tree / name, ignore=unwanted)
            else:
                shutil.copy2(ROOT / name, self.tree / name)
        stamp = folder / "built"
        if not stamp.exists() or stamp.read_text() != state.hexdigest():
            self.install()
            stamp.write_text(state.hexdigest())
        self.packages = next((self.venv / "lib").glob("python3*/site-packages"))

    def install(self) -> None:
        clang = find_clang()
        print(f"building with {clang} for Python {sys.version.split()[0]}", flush=True)
        shutil.rmtree(self.venv, ignore_errors=True)
        call(sys.executable, "-m", "venv", self.venv)
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        wheel = subprocess.run([*pip, "--only-binary", ":all:", "atheris"], check=False)
        if wheel.returncode:
            stop(f"there is no wheel of atheris for Python {sys.version.split()[0]}", 3)
        compiler = {"CC": clang, "LDSHARED": f"{clang} -shared", "CFLAGS": FLAGS, "LDFLAGS": ""}
        call(*pip, "pytest", f"{self.tree}[libdeflate,methods]", FASTZIP_DEBUG="1", **compiler)
        core = next(self.venv.glob("lib/python3*/site-packages/fastzip/_core.*.so"))
        for symbol in (b"__asan_report_load", b"__sanitizer_cov_trace"):
            if symbol not in core.read_bytes():
                stop(f"the core was built without {symbol.decode()}")

    def environment(self, mutator: bool) -> dict[str, str]:
        """libFuzzer looks for a custom mutator when it is loaded, so both must be preloaded."""
        preload = [self.packages / "asan_with_fuzzer.so"]
        if mutator:
            preload += (self.packages / "atheris").glob("custom_mutator.*.so")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FASTZIP"))}
        return {
            **kept,
            "LD_PRELOAD": " ".join(map(str, preload)),
            "PYTHONMALLOC": "malloc",  # in CPython's own arenas, blocks have no red zones
            "PYTHONDONTWRITEBYTECODE": "1",
            "ASAN_OPTIONS": f"{ASAN}:symbolize={int(not mutator)}",
        }

    def command(self, target: str, *arguments: str | Path) -> list[str]:
        script = self.tree / "tests" / "fuzz" / "targets.py"
        return [str(word) for word in (self.python, script, target, *arguments)]

    def write_seeds(self) -> None:
        script = self.tree / "tests" / "fuzz" / "seeds.py"
        call(self.python, script, self.seeds, **self.environment(mutator=False))


def numbers(log: str, result: Result) -> None:
    """What libFuzzer's output says, added to the result."""
    for executed in re.findall(r"number_of_executed_units: (\d+)", log):
        result.executions += int(executed)
    for edges, features, corpus in re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)[-1:]:
        result.edges = max(result.edges, int(edges))
        result.features = max(result.features, int(features))
        result.corpus = max(result.corpus, int(corpus))


def fuzz(
    build: Build, target: str, seconds: float, seed: int, folder: Path, result: Result
) -> None:
    """Run a target for that long, going on after a finding."""
    corpus, findings = folder / target, folder / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    began = time.monotonic()
    while (left := int(seconds - (time.monotonic() - began))) > 0:
        before = set(findings.iterdir())
        words = [f"-max_total_time={left}", f"-artifact_prefix={findings}/{target}-"]
        words += [*FUZZER, f"-seed={seed}", f"-dict={build.tree}/tests/fuzz/zip.dict"]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                build.command(target, *words, corpus, build.seeds / target),
                env=build.environment(mutator=True),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            log = output.read().decode(errors="replace")
        result.cpu += used.ru_utime + used.ru_stime
        numbers(log, result)
        if process.returncode:
            new = sorted(path for path in findings.iterdir() if path not in before)
            found = next((path for path in new if path.name.startswith(target)), None)
            if found is None:  # the same again, or nothing that can be repeated
                print(
                    f"{target} ended with status {process.returncode}\n{excerpt(log)}", flush=True
                )
                result.findings.append(findings / f"{target}-status-{process.returncode}")
                break
            result.findings.append(found)
            found.with_suffix(".log").write_text(log[-100_000:])
            (corpus / found.name.rpartition("-")[2]).unlink(missing_ok=True)  # or it ends the next
            print(f"FINDING in {target}: {found}\n{excerpt(log)}", flush=True)
            if len(result.findings) >= MOST_FINDINGS:
                break
    result.wall += time.monotonic() - began


def excerpt(log: str) -> str:
    """The part of a log that says what went wrong."""
    marks = ("=== Uncaught Python", "Traceback (most recent", "ERROR: ")
    at = max(next((log.find(mark) for mark in marks if mark in log), 0), 0)
    lines = [line[:400] for line in log[at:].splitlines() if not line.startswith("    #1")]
    return "\n".join(lines[:25])


def run_all(
    build: Build, targets: Sequence[str], minutes: float, jobs: int, seed: int, folder: Path
) -> int:
    """Share the time among the targets, print what came of it; how many findings there are."""
    build.write_seeds()
    results = {target: Result(target) for target in targets}
    queue = list(targets) * max(1, -(-jobs // len(targets)))
    seconds = minutes * 60 * jobs / len(queue)

    def work() -> None:
        while queue:
            target = queue.pop(0)
            fuzz(build, target, seconds, seed, folder, results[target])

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("target        executions    per s   edges  features  corpus  CPU min  findings")
    for r in results.values():
        print(
            f"{r.target:12}{r.executions:12,}{r.executions / max(r.wall, 1):9,.0f}{r.edges:8,}"
            f"{r.features:10,}{r.corpus:8,}{r.cpu / 60:9.1f}{len(r.findings):10}"
        )
    executions = sum(r.executions for r in results.values())
    cpu = sum(r.cpu for r in results.values())
    found = sum(len(r.findings) for r in results.values())
    print(f"in all      {executions:12,}{cpu / 60:44.1f}{found:10}")
    print(f"corpus and findings: {folder}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="in all; 10")
    parser.add_argument("--target", action="append", choices=TARGETS, help="all of them")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried; by chance")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    default = Path(tempfile.gettempdir()) / "fastzip-fuzz"
    parser.add_argument("--corpus", type=Path, default=default, help=f"the folder; {default}")
    parser.add_argument("--build", type=Path, help="keep the build there, for the next run")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="run a target on this alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastzip-fuzz-") as temporary:
        folder = (options.build or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        build = Build(folder)
        targets = options.target or TARGETS
        if options.repeat is not None:
            if len(targets) != 1:
                stop("--repeat wants one --target")
            command = build.command(targets[0], options.repeat.resolve())
            return int(subprocess.call(command, env=build.environment(mutator=False)) != 0)
        options.corpus.mkdir(parents=True, exist_ok=True)
        corpus = options.corpus.resolve()
        found = run_all(build, targets, options.minutes, options.jobs, options.seed, corpus)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
