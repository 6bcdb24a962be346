"""A task, done by all contenders in turns: each in a process of its own, round by round.

All processes are started first and stay; between their turns they sleep. In each round everyone
does the same draw once, in an order that is drawn anew, so that what else the machine does meets
all alike. Before the first round they must have read the same as the first of them.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import jobs
import numpy as np
from contenders import CONTENDERS, Contender
from suite import Size, Task

import fastzip
from fastzip._cli.bench_rounds import Measured

LIMIT = 300.0  # seconds for one round, or until all of a task are ready
MANY = 2000


class Gone(Exception):
    """The process has no answer; the message says why."""


_PROGRAM = str(Path(__file__).with_name("serve.py"))


def convert(contender: str, sets: list[str]) -> None:
    """Write the files of a contender that reads a format of its own; why it can't is told later."""
    command = [sys.executable, _PROGRAM, contender, "--build", *sets]
    subprocess.run(command, env=_environment(), capture_output=True)


def _environment() -> dict[str, str]:
    """With this fastzip, whatever is installed, and none of its engines forced."""
    environment = {k: v for k, v in os.environ.items() if k != "FASTZIP_ENGINE"}
    places = [environment.get("PYTHONPATH", ""), str(Path(fastzip.__file__).parents[1])]
    return environment | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


class Process:
    """A contender at its task."""

    def __init__(self, contender: Contender, task: Task) -> None:
        environment = _environment()
        if contender.engine:
            environment["FASTZIP_ENGINE"] = contender.engine
        self.name = contender.name
        self.errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.running = subprocess.Popen(
            [sys.executable, _PROGRAM, contender.name, task.id],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def answer(self, limit: float = LIMIT) -> Any:
        """Its next line; Gone if it says that it can't, dies, or says nothing for too long."""
        assert self.running.stdout
        if not select.select([self.running.stdout], [], [], limit)[0]:
            self.running.terminate()
            raise Gone(f"no answer in {limit:.0f} s")
        line = self.running.stdout.readline()
        if not line:
            status = self.running.wait()
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:] or ["nothing said"]
            raise Gone(f"ended with status {status}: {last[0][:200]}")
        try:
            said = json.loads(line)
        except ValueError:
            raise Gone(f"it said something else: {line.strip()[:200]}") from None
        if isinstance(said, dict) and "skipped" in said:
            raise Gone(said["skipped"])
        return said

    def turn(self, seed: int) -> float:
        """Seconds of a round."""
        assert self.running.stdin
        with suppress(BrokenPipeError):  # the answer says why
            print(seed, file=self.running.stdin, flush=True)
        return float(self.answer())

    def end(self) -> None:
        """Its input ends, and so does it."""
        assert self.running.stdin
        with suppress(BrokenPipeError):
            self.running.stdin.close()

    def close(self) -> None:
        """Wait until it has ended."""
        assert self.running.stdout
        try:
            self.running.wait(20)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running.stdout.close()
        self.errors.close()


@dataclass
class Result(Measured):
    """What a task took everyone, and who didn't do it, and why."""

    task: Task | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def usual(self) -> str:
        """Whom the others are held against: the first in the order."""
        return next(iter(self.seconds))


def able(task: Task, wanted: list[str]) -> tuple[list[Contender], dict[str, str]]:
    """Who does such work, in the order; why the others don't."""
    found, skipped = [], {}
    for name in CONTENDERS:
        contender = CONTENDERS[name]
        if name not in wanted:
            continue
        if task.kind not in contender.does:
            skipped[name] = contender.why
        elif task.cold and contender.holds:
            skipped[name] = "holds the whole file in memory"
        else:
            found.append(contender)
    return found, skipped


def measure(
    task: Task,
    wanted: list[str],
    size: Size,
    seconds: float,
    advance: Callable[[float], object] = lambda _: None,
) -> Result:
    """Do the task in rounds, for so many seconds, starting included, but `size.rounds` at least;
    half of them where they take more than twice as long."""
    begun = perf_counter()
    found, skipped = able(task, wanted)
    result = Result(task.title, task.unit, task=task, skipped=skipped)
    processes: list[Process] = []
    try:
        ready = _ready(task, found, processes, result)
        result.seconds = {process.name: [] for process in ready}
        rng = np.random.default_rng(3)
        for turn in range(MANY):
            row: dict[str, float] = {}
            for i in rng.permutation(len(ready)).tolist():
                try:
                    row[ready[i].name] = ready[i].turn(turn) / jobs.units(task)
                except Gone as exc:
                    result.skipped[ready[i].name] = str(exc)
            ready = [process for process in ready if process.name in row]
            result.seconds = {p.name: [*result.seconds[p.name], row[p.name]] for p in ready}
            spent = perf_counter() - begun
            advance(spent)
            least = size.rounds if spent < 2 * seconds else size.rounds / 2
            enough = turn + 1 >= least
            if not ready or (spent > seconds and enough):
                break
    finally:
        for process in processes:
            process.end()
        for process in processes:
            process.close()
    return result


def _ready(
    task: Task, found: list[Contender], processes: list[Process], result: Result
) -> list[Process]:
    """Start all of them; those that can do it, and read what the first one read."""
    if not task.cold:
        processes.extend(Process(contender, task) for contender in found)
    ready: list[Process] = []
    expected: Any = None
    first = ""
    begun = perf_counter()
    for i, contender in enumerate(found):
        if task.cold:  # one after another: who reads brings back what another one drops
            processes.append(Process(contender, task))
        try:
            said = processes[i].answer(max(1.0, LIMIT - (perf_counter() - begun)))
        except Gone as exc:
            result.skipped[contender.name] = str(exc)
            continue
        if said["memory"]:
            result.memory[contender.name] = said["memory"]
        if expected is None:
            expected, first = said["digests"], contender.name
        if said["digests"] == expected:
            ready.append(processes[i])
        else:
            result.wrong[contender.name] = f"reads something else than {first}"
    return ready
