"""What the tests of faults share, in their own process and in the children that they start.

A child is this file, run as a script: it loads a test's file and calls one of its functions, with a
`Faults` to provoke faults with, inside of `aftermath`. tests/conftest.py makes fixtures of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import gc
import importlib.util
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import zipfile
from typing import Any

import numpy as np

import fastzip
from fastzip import _core

SANITIZED = any(name in os.environ.get("LD_PRELOAD", "") for name in ("asan", "tsan"))
"""Is a sanitizer's runtime at work? Everything takes several times as long then."""
FOREVER = 1 << 40

Outcome = tuple[str, Any]


def times(n: int) -> int:
    """How often to do what should be done n times; a tenth under a sanitizer."""
    return max(1, n // 10) if SANITIZED else n


# ---- a fault's aftermath ---------------------------------------------------------------------


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found.append(f"{fd} -> {os.readlink(f'/proc/self/fd/{fd}')}")
    return sorted(found)


def threads() -> int:
    """Threads of this process; the pool's may sleep, and don't count."""
    return len(os.listdir("/proc/self/task")) - _core.pool_workers()


def resident() -> int:
    """Bytes of memory that this process uses."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled(measure: Any, fine: Any) -> Any:
    """What `measure` gives when it is fine; ended threads are forgotten a moment later only."""
    until = time.monotonic() + 10
    while not fine(value := measure()) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    return value


def trimmed() -> Any:
    """The open descriptors, but for those of work that its last thread has left meanwhile."""
    fastzip.trim()
    return descriptors()


@contextlib.contextmanager
def aftermath(folder: pathlib.Path) -> Any:
    """After whatever happens in here the process is as it was: the same descriptors, no more
    threads, and a good archive, opened before and opened now, is read bit for bit."""
    good = Material(folder / "good.npz")
    with fastzip.load(good.path) as before:
        opened, running = descriptors(), threads()
        yield
        now = settled(trimmed, opened.__eq__)
        assert now == opened, sorted(set(now) ^ set(opened))
        now = settled(threads, lambda n: n <= running)  # pytest's own watchdog may have gone
        assert now <= running, f"{running} threads were running, and now {now}"
        good.check(before)
        with fastzip.load(good.path) as after:
            good.check(after)
        assert descriptors() == opened


# ---- an archive ------------------------------------------------------------------------------


class Material:
    """An archive with every way to read a member in it, and what must be read.

    "small" members go through scratch memory, "mid" ones are inflated in place, "stored" ones are
    read straight to their rows, "large" ones are more than a pass of a batch holds."""

    def __init__(self, path: pathlib.Path, salt: int = 0) -> None:
        self.path = path
        self.arrays, self.offsets, data = _content(salt)
        path.write_bytes(data)

    def keys(self, kind: str) -> list[str]:
        return [key for key in self.arrays if key.startswith(kind)]

    def index(self, key: str) -> int:
        return list(self.arrays).index(key)

    def batch(self, kind: str) -> Any:
        return np.stack([self.arrays[key] for key in self.keys(kind)])

    def reads(self, kinds: Any = ("small", "mid", "stored", "large")) -> dict[str, Any]:
        """Every way to read: what it is called -> (a function of an NpzFile, its right result)."""
        reads: dict[str, Any] = {}
        for kind in kinds:
            key, keys, batch = f"{kind}1", self.keys(kind), self.batch(kind)
            reads[f"one {kind}"] = (lambda npz, key=key: npz[key]), self.arrays[key]
            for n in (1, 3):
                what = f"fetch {kind} with {n} threads"
                reads[what] = (lambda npz, keys=keys, n=n: npz.fetch(keys, threads=n)), batch
            reads[f"spec {kind}"] = (lambda npz, key=key: npz.spec(key).shape), batch.shape[1:]
        return reads

    def check(self, npz: Any) -> None:
        """Is this the archive, bit for bit?"""
        assert npz.files == list(self.arrays)
        for what, (read, right) in self.reads().items():
            assert np.array_equal(read(npz), right), what
        for key, array in self.arrays.items():
            assert np.array_equal(npz[key], array), key


@functools.cache
def _content(salt: int) -> tuple[dict[str, Any], dict[str, int], bytes]:
    """The arrays of `Material`, where they begin in the archive, and the archive."""
    arrays = {
        f"{kind}{i}": _array(count, 1000 * salt + i)
        for kind, many, count in (
            ("small", 4, 500),
            ("mid", 6, 60_000),
            ("stored", 6, 9_000),
            ("large", 2, 1_500_000),
        )
        for i in range(many)
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compresslevel=1) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            stored = name.startswith("stored")
            method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            file.writestr(f"{name}.npy", content.getvalue(), method)
        offsets = {info.filename[:-4]: info.header_offset for info in file.infolist()}
    return arrays, offsets, archive.getvalue()


def _array(n: int, seed: int) -> Any:
    """Bytes that compress well but not to nothing."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, n, np.uint8) * (rng.random(n) < 0.1)


def outcome(read: Any, *args: Any, **options: Any) -> Outcome:
    """("right", result) or (the exception's class, the exception)."""
    try:
        return "right", read(*args, **options)
    except Exception as exc:
        return type(exc).__name__.strip("_"), exc


# ---- faults on command -----------------------------------------------------------------------


def build(folder: pathlib.Path) -> pathlib.Path | None:
    """The injector, compiled; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "faultio.so"
    source = pathlib.Path(__file__).with_name("faultio.c")
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, source, "-o", library, "-ldl"], check=True)
    return library


class Faults:
    """The injector, from within a process that it was preloaded into; and a folder for files."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.outcome = outcome
        self.sanitized = SANITIZED
        self.lab = sys.modules[__name__]
        self._library = ctypes.CDLL(None)

    def material(self) -> Material:
        return Material(self.folder / "material.npz")

    def arm(
        self,
        path: pathlib.Path,
        fault: str,
        after: int = 0,
        times: int = FOREVER,
        at: int = -1,
        call: str | None = None,
    ) -> None:
        """`fault`: short, crumbs (a byte a read), zero, flip, an errno's name, or milliseconds."""
        amount, name = 0, fault
        if fault == "crumbs":
            amount, name = 1, "short"
        elif fault.startswith("E"):
            amount, name = getattr(errno, fault), "fail"
        elif fault.isdigit():
            amount, name = 1000 * int(fault), "delay"
        where = None if call is None else call.encode()
        numbers = [ctypes.c_long(n) for n in (after, times, at, amount)]
        armed = self._library.faultio_arm(where, os.fsencode(path), name.encode(), *numbers)
        assert armed == 0

    def refuse_threads(self, after: int, times: int = FOREVER) -> None:
        self._library.faultio_threads(ctypes.c_long(after), ctypes.c_long(times))

    def disarm(self) -> None:
        self._library.faultio_disarm()

    def injected(self, call: str | None = None) -> int:
        """How many calls got a fault since `arm`."""
        count = self._library.faultio_injected
        count.restype = ctypes.c_long
        return int(count(None if call is None else call.encode()))

    @contextlib.contextmanager
    def during(self, path: pathlib.Path, fault: str, **options: Any) -> Any:
        """Armed inside of it."""
        self.arm(path, fault, **options)
        try:
            yield
        finally:
            self.disarm()


# ---- children --------------------------------------------------------------------------------


def run(
    function: Any,
    *args: Any,
    injector: pathlib.Path | None = None,
    timeout: float = 120,
    code: int = 0,
    **variables: str,
) -> Any:
    """Call a test file's function(faults, *args) in a child of its own; what it returns.

    `args` and the result are what JSON holds; `variables` are the environment's."""
    env = os.environ | variables
    if injector is not None:
        env["LD_PRELOAD"] = f"{env.get('LD_PRELOAD', '')} {injector}".strip()
    command = [sys.executable, __file__, function.__code__.co_filename, function.__name__]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, json.dumps(args), folder],
            env=env, capture_output=True, text=True, timeout=timeout * (5 if SANITIZED else 1),
        )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines and code == 0 else done.stderr


def load(path: str, name: str) -> types.ModuleType:
    """The module of this file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(path: str, function: str, args: str, folder: str) -> None:
    module = load(path, pathlib.Path(path).stem)
    with aftermath(pathlib.Path(folder)):
        result = getattr(module, function)(Faults(pathlib.Path(folder)), *json.loads(args))
    assert threading.active_count() == 1
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
