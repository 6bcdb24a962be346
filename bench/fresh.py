"""Samples (A, B) from fresh processes, which `probe.py` runs in."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data

MEMBERS = 250_000
ALLOWED = 64  # bytes a member, beside its name


def probe(*arguments: str) -> Any:
    """What a fresh process measured."""
    program = str(Path(__file__).with_name("probe.py"))
    done = subprocess.run(
        [sys.executable, program, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def first_open(name: str) -> Iterator[tuple[float, float]]:
    path = data.path(name)
    while True:
        yield probe("open", "numpy", path), probe("open", "fastzip", path)


def first_fetch(name: str) -> Iterator[tuple[float, float]]:
    while True:
        seconds = probe("fetch", data.path(name))
        yield seconds["later"], seconds["first"]


def first_read() -> str:
    """The first call on the 32 MB array, whose row times later ones."""
    path = data.path("big32m")
    numpys, ours = ([probe("read", side, path) for _ in range(3)] for side in ("numpy", "fastzip"))
    return f"first call {sorted(numpys)[1] * 1e3:.1f} and {sorted(ours)[1] * 1e3:.1f} ms"


def memory(side: str) -> dict[str, int]:
    grown: dict[str, int] = probe("memory", side, data.path("open250k"), data.path("tiny"))
    return grown


def resident() -> Iterator[tuple[float, float]]:
    """What is allowed and what is used, a member, the name's bytes included."""
    while True:
        yield ALLOWED + data.NAME_BYTES, memory("fastzip")["resident"] / MEMBERS


def peak() -> Iterator[tuple[float, float]]:
    """The same at the highest point, which may be 1.3 times as high."""
    while True:
        yield 1.3 * (ALLOWED + data.NAME_BYTES), memory("fastzip")["peak"] / MEMBERS


def numpy_memory() -> str:
    grown = memory("numpy")
    return f"np.load: {grown['resident'] / MEMBERS:.0f} B, peak {grown['peak'] / MEMBERS:.0f} B"
